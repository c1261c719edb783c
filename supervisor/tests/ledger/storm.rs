//! A run under random kills and stops: many connections, two workers, every request accounted for.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::account::{Account, Evidence, judge, percentile, read_notes};
use crate::chaos::{By, Chaos, Record};
use crate::client::Client;
use crate::plan::{Asked, Kind, Plan, Random};
use crate::processor::{Processor, Programs, wait_until};
use crate::stalls::Watch;

pub const WORKERS: u32 = 2;
/// Requests of a round that looks whether all is well again.
const CLOSING_REQUESTS: u64 = 200;
/// Every stopped worker has met its deadline and was replaced by then.
const CLOSING_LIMIT: Duration = Duration::from_secs(10);
/// Until counters of a processor without clients have come to rest.
const SETTLE_LIMIT: Duration = Duration::from_secs(5);
/// The bound, from a death to the next execution, another worker being up.
const REDISPATCH_NS_MEDIAN_MAX: u64 = 5_000_000;
/// With fewer there is no median worth the name.
const REDISPATCHES_MIN: usize = 20;
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// What a run is made of.
#[derive(Debug, Clone, Copy)]
pub struct Storm {
    pub kind: Kind,
    pub requests: u64,
    pub seed: u64,
    pub connections: usize,
    /// Of a hundred strikes so many stop a worker; the others kill it.
    pub stop_percent: u64,
}

/// Runs it; false if anything is wrong, which has been printed then.
pub fn run(programs: &Programs, storm: Storm) -> Result<bool, String> {
    let mut processor = Processor::start(programs, storm.kind, WORKERS)?;
    let pid = processor.pid();
    let before = processor.resting_stats()?;
    let begun = Instant::now();
    let plan = Plan { seed: storm.seed, kind: storm.kind };
    let planned = storm.requests;
    let asked_of = move |id: u64| if id <= planned { plan.asked(id) } else { Asked::plain(id) };

    let strikes = Random::new(storm.seed ^ 0x5717_1ce5).next();
    let watch = Watch::begin(pid);
    let chaos = Chaos::begin(processor.admin, pid, strikes, storm.stop_percent);
    let mut client = Client::new(processor.http, storm.connections)?;
    let mut told = Instant::now();
    let ran = client.run(storm.requests, asked_of, |done| {
        if told.elapsed() > PROGRESS_EVERY {
            told = Instant::now();
            println!("  {done} of {} after {} s", storm.requests, begun.elapsed().as_secs());
        }
        true
    });
    let mut record = chaos.end();
    ran?;
    let took = begun.elapsed();

    let mut account_of_end = Account::default();
    close(&mut processor, &mut client, &mut record, &mut account_of_end, asked_of)?;
    settle(&mut processor, &before, &mut account_of_end);
    let stalls = watch.end();
    let after = processor.stats();
    let rows = processor.workers().unwrap_or_default();
    match processor.stop() {
        Ok(Some(0)) => {}
        Ok(code) => account_of_end.add_fault(&format!("after SIGTERM it ended with {code:?}")),
        Err(why) => account_of_end.add_fault(&why),
    }
    let notes = read_notes(&processor.notes())?;
    let deaths = processor.deaths();
    let mut account = judge(&Evidence {
        lines: &client.lines,
        asked_of: &asked_of,
        notes: &notes,
        dooms: &record.dooms,
        deaths: &deaths,
        stalls: &stalls,
        one_at_a_time: storm.kind != Kind::Async,
    });
    for fault in account_of_end.faults.drain(..).chain(record.admin_faults.clone()) {
        account.add_fault(&fault);
    }
    let replaced: u64 = rows.iter().map(|row| row.restarts).sum();
    let after = after.unwrap_or_default();
    judge_speed(&mut account);
    if let Some(longest) = stalls.iter().map(|stall| stall.lost_ns).max() {
        println!(
            "  machine       no time for the processor {} times, {:.0} ms at most",
            stalls.len(),
            ms(longest)
        );
    }
    report(&mut account, storm, &record, replaced, &before, &after, took);
    if account.fault_count > 0 {
        println!("  folder kept: {}", processor.keep_folder().display());
    }
    Ok(account.fault_count == 0)
}

/// Nobody is struck any more: every stopped worker must be replaced, and then all is well.
fn close(
    processor: &mut Processor,
    client: &mut Client,
    record: &mut Record,
    account: &mut Account,
    asked_of: impl Fn(u64) -> Asked + Copy,
) -> Result<(), String> {
    let end = Instant::now() + CLOSING_LIMIT;
    loop {
        client.run(CLOSING_REQUESTS, asked_of, |_| true)?;
        record.watch(Duration::from_millis(20));
        if record.alive().is_empty() {
            break;
        }
        if Instant::now() > end {
            let left = record.alive();
            account.add_fault(&format!("not replaced within {CLOSING_LIMIT:?}: workers {left:?}"));
            break;
        }
    }
    if let Err(why) = processor.wait_ready(WORKERS as usize, CLOSING_LIMIT) {
        account.add_fault(&why);
    }
    let first = client.last_id() as usize + 1;
    client.run(CLOSING_REQUESTS, asked_of, |_| true)?;
    let lost = client.lines[first..].iter().filter(|line| line.status != 200).count();
    if lost > 0 {
        account.add_fault(&format!("{lost} of {CLOSING_REQUESTS} last requests were not served"));
    }
    if client.surplus > 0 {
        account.add_fault(&format!("{} times bytes came that nobody asked for", client.surplus));
    }
    client.close();
    Ok(())
}

/// What a processor holds must be what it held before, once nobody asks anything of it.
fn settle(processor: &mut Processor, before: &Value, account: &mut Account) {
    let settled = wait_until(SETTLE_LIMIT, || {
        let now = processor.stats()?;
        let slots = used_slots(&now);
        let rest: Vec<(&str, u64, u64)> =
            ["pending", "in_flight", "connections", "open_descriptors"]
                .into_iter()
                .map(|name| (name, count(&now, name), count(before, name)))
                .chain([("slots", slots, used_slots(before))])
                .filter(|(_, now, before)| now != before)
                .collect();
        if rest.is_empty() {
            Ok(())
        } else {
            Err(format!("left over (name, now, before): {rest:?}"))
        }
    });
    if let Err(why) = settled {
        account.add_fault(&why);
    }
    if !processor.is_alive() {
        account.add_fault("the processor has ended");
    }
    let counters = processor.stats().unwrap_or_default()["counters"].clone();
    for name in ["violations", "wakeup_rescues", "bad_requests"] {
        if counters[name].as_u64() != Some(0) {
            account.add_fault(&format!("{name}: {}", counters[name]));
        }
    }
}

fn judge_speed(account: &mut Account) {
    let median = percentile(&mut account.redispatch_ns, 50);
    if account.redispatch_ns.len() >= REDISPATCHES_MIN && median > REDISPATCH_NS_MEDIAN_MAX {
        account.add_fault(&format!("median from death to redispatch {:.3} ms", ms(median)));
    }
}

fn used_slots(stats: &Value) -> u64 {
    let classes = stats["slots"].as_object();
    classes.map_or(0, |classes| classes.values().map(|class| count(class, "used")).sum())
}

fn count(stats: &Value, name: &str) -> u64 {
    stats[name].as_u64().unwrap_or_default()
}

fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

#[allow(clippy::too_many_arguments)]
fn report(
    account: &mut Account,
    storm: Storm,
    record: &Record,
    replaced: u64,
    before: &Value,
    after: &Value,
    took: Duration,
) {
    let struck = |by: By| record.dooms.iter().filter(|doom| doom.by == by).count();
    let statuses = [200, 408, 502].map(|status| account.count(status));
    let other = account.requests - statuses.iter().sum::<u64>();
    let [ok, late, lost] = statuses;
    println!("  replies       {ok} x 200, {late} x 408, {lost} x 502, {other} others or none");
    println!("  executions    {}", account.executions);
    println!(
        "  workers       {} killed, {} stopped, {} died of a request; {replaced} replaced; {} begun \
         events lost",
        struck(By::Kill),
        struck(By::Stop),
        account.suicides,
        account.begun_lost
    );
    println!(
        "  408           {} begun, {} waiting; at the latest after {:.1} ms",
        account.late_begun,
        account.late_unbegun,
        ms(account.late_ns_max)
    );
    println!("  slowest 200   {:.1} ms", ms(account.slowest_ok_ns));
    for (name, values) in [
        ("another worker up", &mut account.redispatch_ns),
        ("none up", &mut account.redispatch_alone_ns),
    ] {
        let [p50, p90, max] = [50, 90, 100].map(|part| ms(percentile(values, part)));
        println!(
            "  death to redispatch, {name}: {} of them, median {p50:.3} ms, p90 {p90:.3}, max {max:.3}",
            values.len()
        );
    }
    println!("  processor     {}", after["counters"]);
    println!(
        "  at the end    {} slots, {} pending, {} in flight, {} descriptors (before: {})",
        used_slots(after),
        count(after, "pending"),
        count(after, "in_flight"),
        count(after, "open_descriptors"),
        count(before, "open_descriptors")
    );
    let rate = account.requests as f64 / took.as_secs_f64();
    println!("  took          {:.1} s, {rate:.0} requests a second", took.as_secs_f64());
    for fault in &account.faults {
        println!("  FAULT         {fault}");
    }
    if account.fault_count > 0 {
        println!("  {} faults; again with --seed {}", account.fault_count, storm.seed);
    }
}

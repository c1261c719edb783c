//! A run under random kills and stops: many connections, two workers, every request accounted for.

use std::fmt::Write;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::account::{Account, Evidence, LATE_NS, TIMEOUT_NS, TOLD_NS, judge, percentile};
use crate::chaos::{By, Chaos, Manner, Record};
use crate::client::Client;
use crate::kinds::{Helpers, Kind};
use crate::plan::{Asked, Deed, Plan, Random};
use crate::processor::{Processor, Programs, wait_until};
use crate::stalls::{Stall, Watch};
use crate::tree;

pub const WORKERS: u32 = 2;
/// Requests of a round that looks whether all is well again.
const CLOSING_REQUESTS: u64 = 200;
/// Every stopped worker has met its deadline and was replaced by then.
const CLOSING_LIMIT: Duration = Duration::from_secs(10);
/// Until counters of a processor without clients have come to rest.
const SETTLE_LIMIT: Duration = Duration::from_secs(5);
/// Between two strikes on a run that has the machine to itself: the words.
const PAUSE_MS: (u64, u64) = (50, 200);
/// What ten processors at once may add until a client has read its 408.
const LATE_NS_CROWDED: u64 = 2_000_000_000;
/// The same until a processor's log tells of a death.
const TOLD_NS_CROWDED: u64 = 1_000_000_000;
/// The bound, from a death to the next execution, another worker being up.
const REDISPATCH_NS_MEDIAN_MAX: u64 = 5_000_000;
/// With fewer there is no median worth the name.
const REDISPATCHES_MIN: usize = 20;

/// What a run is made of.
#[derive(Debug, Clone, Copy)]
pub struct Storm {
    pub kind: Kind,
    pub requests: u64,
    pub seed: u64,
    pub connections: usize,
    /// Of a hundred strikes so many stop a worker; the others kill it.
    pub stop_percent: u64,
    /// Others run beside it: everything has more time, and strikes are those of its kind.
    pub is_crowded: bool,
}

/// What came of it.
pub struct Outcome {
    pub account: Account,
    pub killed: usize,
    pub stopped: usize,
    pub helpers_killed: usize,
    /// Workers that were started anew.
    pub replaced: u64,
    pub held_before: Held,
    pub held_after: Held,
    pub counters: Value,
    pub took: Duration,
    stalls: Vec<Stall>,
}

/// What a processor holds, and the processes below it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    pub slots: u64,
    pub pending: u64,
    pub in_flight: u64,
    pub connections: u64,
    pub descriptors: u64,
    pub processes: u64,
}

impl Held {
    fn of(stats: &Value, processes: usize) -> Self {
        let count = |name: &str| stats[name].as_u64().unwrap_or_default();
        let classes = stats["slots"].as_object();
        let used = |class: &Value| class["used"].as_u64().unwrap_or_default();
        Self {
            slots: classes.map_or(0, |classes| classes.values().map(used).sum()),
            pending: count("pending"),
            in_flight: count("in_flight"),
            connections: count("connections"),
            descriptors: count("open_descriptors"),
            processes: processes as u64,
        }
    }
}

impl Storm {
    pub fn start(&self, programs: &Programs) -> Result<Processor, String> {
        Processor::start(programs, self.kind, WORKERS, Duration::from_nanos(self.timeout_ns()))
    }

    fn timeout_ns(&self) -> u64 {
        if self.is_crowded { self.kind.traits().timeout_s * 1_000_000_000 } else { TIMEOUT_NS }
    }

    fn closing_limit(&self) -> Duration {
        let traits = self.kind.traits();
        let crowded = Duration::from_secs(traits.timeout_s + traits.start_s);
        CLOSING_LIMIT + if self.is_crowded { crowded } else { Duration::ZERO }
    }

    fn manner(&self) -> Manner {
        let traits = self.kind.traits();
        Manner {
            seed: Random::new(self.seed ^ 0x5717_1ce5 ^ self.kind.number()).next(),
            pause_ms: if self.is_crowded { traits.pause_ms } else { PAUSE_MS },
            stop_percent: self.stop_percent,
            hits_helpers: traits.helpers != Helpers::None,
            leaves_one: traits.leaves_one,
        }
    }
}

/// Runs it on a processor that has just been started. `told` is called now and then with the number
/// of requests that are done.
pub fn run(
    processor: &mut Processor,
    storm: Storm,
    mut told: impl FnMut(u64),
) -> Result<Outcome, String> {
    let pid = processor.pid();
    let stats = processor.resting_stats()?;
    let held_before = Held::of(&stats, tree::descendants(pid).len());
    let begun = Instant::now();
    let plan = Plan { seed: storm.seed, kind: storm.kind };
    let planned = storm.requests;
    let asked_of = move |id: u64| if id <= planned { plan.asked(id) } else { plan.plain(id) };

    let watch = Watch::begin(pid);
    let chaos = Chaos::begin(processor.admin, pid, storm.manner());
    let mut client = Client::new(processor.http, storm.connections)?;
    let ran = client.run(storm.requests, asked_of, |done| {
        told(done);
        true
    });
    let mut record = chaos.end();
    ran?;
    told(storm.requests);
    let took = begun.elapsed();

    let mut closing = Account::default();
    close(processor, &mut client, &mut record, &mut closing, &storm, asked_of)?;
    let notes = processor.executions()?;
    let has_left = |id: u64| asked_of(id).deed == Deed::Leave;
    let left = notes.iter().filter(|note| has_left(note.id)).count() as u64;
    let held_after = settle(processor, &storm, held_before, left, &mut closing);
    let stalls = watch.end();
    let counters = processor.stats().unwrap_or_default()["counters"].clone();
    let rows = processor.workers().unwrap_or_default();
    end(processor, &mut closing);
    let deaths = processor.deaths();
    let mut account = judge(&Evidence {
        lines: &client.lines,
        asked_of: &asked_of,
        notes: &processor.executions()?,
        dooms: &record.dooms,
        deaths: &deaths,
        stalls: &stalls,
        traits: storm.kind.traits(),
        timeout_ns: storm.timeout_ns(),
        late_ns: if storm.is_crowded { LATE_NS_CROWDED } else { LATE_NS },
        told_ns: if storm.is_crowded { TOLD_NS_CROWDED } else { TOLD_NS },
    });
    for fault in closing.faults.drain(..).chain(record.admin_faults.clone()) {
        account.add_fault(&fault);
    }
    if !storm.is_crowded {
        judge_speed(&mut account);
    }
    let struck = |by: By| record.dooms.iter().filter(|doom| doom.by == by).count();
    Ok(Outcome {
        account,
        killed: struck(By::Kill),
        stopped: struck(By::Stop),
        helpers_killed: struck(By::KillHelper),
        replaced: rows.iter().map(|row| row.restarts).sum(),
        held_before,
        held_after,
        counters,
        took,
        stalls,
    })
}

/// Nobody is struck any more: every stopped worker must be replaced, and then all is well.
fn close(
    processor: &mut Processor,
    client: &mut Client,
    record: &mut Record,
    account: &mut Account,
    storm: &Storm,
    asked_of: impl Fn(u64) -> Asked + Copy,
) -> Result<(), String> {
    let limit = storm.closing_limit();
    let end = Instant::now() + limit;
    loop {
        client.run(CLOSING_REQUESTS, asked_of, |_| true)?;
        record.watch(Duration::from_millis(20));
        if record.alive().is_empty() {
            break;
        }
        if Instant::now() > end {
            let left = record.alive();
            account.add_fault(&format!("not replaced within {limit:?}: workers {left:?}"));
            break;
        }
    }
    if let Err(why) = processor.wait_ready(WORKERS as usize, limit) {
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

/// What a processor holds must be what it held before, once nobody asks anything of it. A resident
/// program that was killed is started with the next event, and `left` of them may have left one
/// process each for as long as their worker lives.
fn settle(
    processor: &mut Processor,
    storm: &Storm,
    before: Held,
    left: u64,
    account: &mut Account,
) -> Held {
    let is_resident = storm.kind.traits().helpers == Helpers::Resident;
    let most = before.processes + if is_resident { left } else { 0 };
    let least = if is_resident { u64::from(WORKERS) } else { before.processes };
    let mut held = Held::default();
    let limit = SETTLE_LIMIT + if storm.is_crowded { CLOSING_LIMIT } else { Duration::ZERO };
    let settled = wait_until(limit, || {
        let below = tree::descendants(processor.pid());
        held = Held::of(&processor.stats()?, below.len());
        let is_whole = below.iter().all(|one| one.state != 'Z');
        if held != (Held { processes: held.processes, ..before }) {
            Err(format!("left over: {held:?}, before: {before:?}"))
        } else if !(least..=most).contains(&held.processes) || !is_whole {
            let below = tree::list(&below);
            Err(format!("{least} to {most} processes expected below it, not these: {below}"))
        } else {
            Ok(())
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
    held
}

/// Ends the processor, after which nothing of it may run, wherever it went.
fn end(processor: &mut Processor, account: &mut Account) {
    match processor.stop() {
        Ok(Some(0)) => {}
        Ok(code) => account.add_fault(&format!("after SIGTERM it ended with {code:?}")),
        Err(why) => account.add_fault(&why),
    }
    let outlived = tree::marked(&processor.notes());
    if !outlived.is_empty() {
        let outlived = tree::list(&outlived);
        account.add_fault(&format!("still running after the processor: {outlived}"));
    }
}

fn judge_speed(account: &mut Account) {
    let median = percentile(&mut account.redispatch_ns, 50);
    if account.redispatch_ns.len() >= REDISPATCHES_MIN && median > REDISPATCH_NS_MEDIAN_MAX {
        account.add_fault(&format!("median from death to redispatch {:.3} ms", ms(median)));
    }
}

pub fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

impl Outcome {
    /// All figures, for people.
    pub fn report(&mut self) -> String {
        let mut to = String::new();
        // A String takes everything.
        let _ = self.write(&mut to);
        to
    }

    fn write(&mut self, to: &mut String) -> std::fmt::Result {
        if let Some(longest) = self.stalls.iter().map(|stall| stall.lost_ns).max() {
            let (count, longest) = (self.stalls.len(), ms(longest));
            writeln!(
                to,
                "  machine       no time for the processor {count} times, {longest:.0} ms at most"
            )?;
        }
        let account = &mut self.account;
        let statuses = [200, 408, 500, 502].map(|status| account.count(status));
        let other = account.requests - statuses.iter().sum::<u64>();
        let [ok, late, failed, lost] = statuses;
        writeln!(
            to,
            "  replies       {ok} x 200, {late} x 408, {failed} x 500, {lost} x 502, {other} others \
             or none"
        )?;
        writeln!(to, "  executions    {}", account.executions)?;
        writeln!(
            to,
            "  workers       {} killed, {} stopped, {} died of a request; {} replaced; {} begun \
             events lost; {} of their programs killed",
            self.killed,
            self.stopped,
            account.suicides,
            self.replaced,
            account.begun_lost,
            self.helpers_killed
        )?;
        writeln!(
            to,
            "  408           {} begun, {} waiting; at the latest after {:.1} ms",
            account.late_begun,
            account.late_unbegun,
            ms(account.late_ns_max)
        )?;
        writeln!(to, "  slowest 200   {:.1} ms", ms(account.slowest_ok_ns))?;
        for (name, values) in [
            ("another worker up", &mut account.redispatch_ns),
            ("none up", &mut account.redispatch_alone_ns),
        ] {
            let [p50, p90, max] = [50, 90, 100].map(|part| ms(percentile(values, part)));
            writeln!(
                to,
                "  death to redispatch, {name}: {} of them, median {p50:.3} ms, p90 {p90:.3}, max \
                 {max:.3}",
                values.len()
            )?;
        }
        writeln!(to, "  processor     {}", self.counters)?;
        let Held { slots, pending, in_flight, descriptors, processes, .. } = self.held_after;
        writeln!(
            to,
            "  at the end    {slots} slots, {pending} pending, {in_flight} in flight, \
             {descriptors} descriptors (before: {}), {processes} processes (before: {})",
            self.held_before.descriptors, self.held_before.processes
        )?;
        let rate = self.account.requests as f64 / self.took.as_secs_f64();
        let seconds = self.took.as_secs_f64();
        writeln!(to, "  took          {seconds:.1} s, {rate:.0} requests a second")?;
        for fault in &self.account.faults {
            writeln!(to, "  FAULT         {fault}")?;
        }
        Ok(())
    }
}

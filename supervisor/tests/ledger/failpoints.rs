//! Deaths at exact points of a worker's work, one after the other, each with its one right outcome.

use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::chaos::{By, Record};
use crate::client::{Client, Fault, Line};
use crate::kinds::Kind;
use crate::notes::Note;
use crate::plan::{Answer, Asked, Attempts, Deed, Method};
use crate::processor::{Processor, Programs};

/// Until both workers are ready again after a death, back-off included.
const READY_LIMIT: Duration = Duration::from_secs(15);
const IDLE_STOPS: usize = 2;
/// The event timeout, and what a busy machine may add.
const IDLE_STOP_LIMIT: Duration = Duration::from_secs(3);
/// From a worker that does not begin to one that does: two ticks, and what a busy machine may add.
const RECALL_LIMIT: Duration = Duration::from_millis(500);
/// A second for the event, and what a busy machine may add.
const DRAIN_LIMIT: Duration = Duration::from_secs(4);
const TIMEOUT_NS: u64 = crate::account::TIMEOUT_NS;
const TIMEOUT: Duration = Duration::from_nanos(TIMEOUT_NS);
const LATE_NS_MAX: u64 = 500_000_000;

/// What a client gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gets {
    Status(u16),
    /// The connection ends within the reply: no false end.
    Cut,
}

struct Point {
    deed: Deed,
    method: Method,
    attempts: Attempts,
    gets: Gets,
    /// The attempts that were executed.
    executed: &'static [u32],
}

const fn point(
    deed: Deed,
    method: Method,
    attempts: Attempts,
    gets: Gets,
    executed: &'static [u32],
) -> Point {
    Point { deed, method, attempts, gets, executed }
}

const OK: Gets = Gets::Status(200);
const LOST: Gets = Gets::Status(502);
const LATE: Gets = Gets::Status(408);

/// Section 8 of the data plane and section 5 of the contract, line by line.
const POINTS: [Point; 30] = {
    use Attempts::{Every, First};
    use Method::{Get, Post, Put};
    [
        point(Deed::Work, Get, First, OK, &[1]),
        point(Deed::Work, Post, First, OK, &[1]),
        // Not begun: given again, uncounted, whatever the method.
        point(Deed::DieBeforeBegin, Get, First, OK, &[1]),
        point(Deed::DieBeforeBegin, Post, First, OK, &[1]),
        // Begun: once again where that is allowed.
        point(Deed::DieBegun, Get, First, OK, &[2]),
        point(Deed::DieBegun, Put, First, OK, &[2]),
        point(Deed::DieBegun, Post, First, LOST, &[]),
        point(Deed::DieBegun, Get, Every, LOST, &[]),
        point(Deed::DieUnnoted, Get, First, OK, &[2]),
        point(Deed::DieUnnoted, Post, First, LOST, &[]),
        point(Deed::DieEarly, Get, First, OK, &[1, 2]),
        point(Deed::DieEarly, Put, First, OK, &[1, 2]),
        point(Deed::DieEarly, Post, First, LOST, &[1]),
        point(Deed::DieEarly, Get, Every, LOST, &[1, 2]),
        point(Deed::DieLate, Get, First, OK, &[1, 2]),
        point(Deed::DieLate, Post, First, LOST, &[1]),
        point(Deed::DieLate, Put, Every, LOST, &[1, 2]),
        // The reply is written and nobody was told.
        point(Deed::DieWritten, Get, First, OK, &[1, 2]),
        point(Deed::DieWritten, Post, First, LOST, &[1]),
        point(Deed::DieWritten, Put, Every, LOST, &[1, 2]),
        // Published is done, rung or not.
        point(Deed::DieSilent, Get, Every, OK, &[1]),
        point(Deed::DieSilent, Put, Every, OK, &[1]),
        point(Deed::DieSilent, Post, Every, OK, &[1]),
        point(Deed::DieRung, Get, Every, OK, &[1]),
        point(Deed::DieRung, Post, Every, OK, &[1]),
        // A reply that has begun is never taken back, nor begun anew.
        point(Deed::DieMidway, Get, Every, Gets::Cut, &[1]),
        point(Deed::DieMidway, Post, Every, Gets::Cut, &[1]),
        // A deadline, whatever the method; never given again.
        point(Deed::Stop, Get, Every, LATE, &[1]),
        point(Deed::Stop, Put, Every, LATE, &[1]),
        point(Deed::Stop, Post, Every, LATE, &[1]),
    ]
};

/// Requests sent at once to one worker; one in the middle kills it.
const ROUND: u64 = 16;
const ROUNDS: u64 = 20;
/// Starts of a worker that refuses at once; each takes some milliseconds.
const REFUSALS: usize = 50;
/// Quick requests before, so that the processor knows the worker as quick and hands ahead; a multiple
/// of the round.
const WARM_UP: u64 = 4000;

/// All of it; false if something is wrong, which has been printed then.
pub fn run(programs: &Programs) -> Result<bool, String> {
    let mut wrong = one_by_one(programs)?;
    wrong += handed_ahead(programs)?;
    wrong += stopped_while_idle(programs)?;
    wrong += drained_while_stopped(programs)?;
    wrong += on_one_core(|| refused_at_once(programs)).map_err(|errno| errno.to_string())?;
    Ok(wrong == 0)
}

fn one_by_one(programs: &Programs) -> Result<usize, String> {
    let workers = 2;
    let mut processor = Processor::start(programs, Kind::Native, workers, TIMEOUT)?;
    let mut client = Client::new(processor.http, 1)?;
    let mut wrong = 0;
    for point in &POINTS {
        processor.wait_ready(workers as usize, READY_LIMIT)?;
        // Some finished work first, so that the death to come is no sign of a worker that cannot
        // start: both have something at once.
        for _ in 0..4 {
            client.run(1, Asked::plain, |_| true)?;
        }
        let asked_of = |id| asked(id, point);
        client.run(1, asked_of, |_| true)?;
        let id = client.last_id();
        let notes = processor.executions()?;
        let own: Vec<Note> = notes.into_iter().filter(|note| note.id == id).collect();
        if let Err(why) = judge(point, &client.lines[id as usize], &own) {
            println!("  FAULT         {}: {why}; executed: {own:?}", asked_of(id).path());
            wrong += 1;
        }
    }
    client.close();
    wrong += usize::from(!ends_well(&mut processor));
    println!("  {} points, one by one: {wrong} wrong", POINTS.len());
    if wrong > 0 {
        println!("  folder kept: {}", processor.keep_folder().display());
    }
    Ok(wrong)
}

fn asked(id: u64, point: &Point) -> Asked {
    let Point { deed, method, attempts, .. } = *point;
    let body_bytes = if method == Method::Get { 0 } else { 300 };
    let answer = Answer::Copy;
    Asked { method, answer, deed, attempts, body_bytes, ..Asked::plain(id) }
}

fn judge(point: &Point, line: &Line, notes: &[Note]) -> Result<(), String> {
    let got = match line.fault {
        Some(Fault::Cut) => Gets::Cut,
        Some(fault) => return Err(format!("{fault:?}")),
        None => Gets::Status(line.status),
    };
    if got != point.gets {
        return Err(format!("{got:?} instead of {:?}", point.gets));
    }
    let executed: Vec<u32> = notes.iter().map(|note| note.attempt).collect();
    if executed != point.executed {
        return Err(format!("attempts {executed:?} instead of {:?}", point.executed));
    }
    let waited = line.ended_ns - line.sent_ns;
    let due = if point.gets == LATE { TIMEOUT_NS } else { 0 };
    if waited + 20_000_000 < due || waited > due.max(TIMEOUT_NS) + LATE_NS_MAX {
        return Err(format!("after {} ms", waited / 1_000_000));
    }
    Ok(())
}

/// Events that wait behind the one that kills their worker have not begun: none of them is lost or
/// counted, whatever its method.
fn handed_ahead(programs: &Programs) -> Result<usize, String> {
    let mut processor = Processor::start(programs, Kind::Native, 1, TIMEOUT)?;
    let mut client = Client::new(processor.http, ROUND as usize)?;
    let asked_of = |id: u64| {
        let mut asked = Asked { method: Method::Post, ..Asked::plain(id) };
        match if id > WARM_UP { id % ROUND } else { 0 } {
            // Holds the others up until all have been handed down.
            1 => asked.deed = Deed::Sleep,
            5 => asked.deed = Deed::DieEarly,
            _ => {}
        }
        asked
    };
    client.run(WARM_UP, asked_of, |_| true)?;
    for _ in 0..ROUNDS {
        processor.wait_ready(1, READY_LIMIT)?;
        client.run(ROUND, asked_of, |_| true)?;
    }
    client.close();
    let notes = processor.executions()?;
    let mut wrong = 0;
    for id in 1..=client.last_id() {
        let dies = asked_of(id).deed == Deed::DieEarly;
        let expected = if dies { 502 } else { 200 };
        let line = client.lines[id as usize];
        let attempts: Vec<u32> =
            notes.iter().filter(|note| note.id == id).map(|note| note.attempt).collect();
        if line.status != expected || attempts != [1] {
            println!("  FAULT         request {id}: {line:?}, attempts {attempts:?}");
            wrong += 1;
        }
    }
    let moved = processor.stats()?["counters"]["redispatched"].as_u64().unwrap_or_default();
    if moved == 0 {
        println!("  FAULT         no event was handed ahead, so this has shown nothing");
        wrong += 1;
    }
    wrong += usize::from(!ends_well(&mut processor));
    println!("  {ROUNDS} deaths before events handed ahead, {moved} of them: {wrong} wrong");
    Ok(wrong)
}

/// A worker that is stopped while it has nothing begins nothing: what it is given goes to the other
/// one soon, and it is replaced.
fn stopped_while_idle(programs: &Programs) -> Result<usize, String> {
    let mut processor = Processor::start(programs, Kind::Native, 2, TIMEOUT)?;
    let mut client = Client::new(processor.http, 1)?;
    let mut record = Record::default();
    let mut wrong = 0;
    for _ in 0..IDLE_STOPS {
        processor.wait_ready(2, READY_LIMIT)?;
        client.run(1, Asked::plain, |_| true)?;
        let notes = processor.executions()?;
        // The one used last is the next to be given something.
        let last = notes.iter().max_by_key(|note| note.begun_ns).ok_or("nothing was noted")?;
        record.send(last.pid, processor.pid(), By::Stop);
        let begun = Instant::now();
        while !record.alive().is_empty() && begun.elapsed() < READY_LIMIT {
            client.run(1, Asked::plain, |_| true)?;
            let line = client.lines[client.last_id() as usize];
            let waited = Duration::from_nanos(line.ended_ns - line.sent_ns);
            if line.status != 200 || waited > RECALL_LIMIT {
                println!(
                    "  FAULT         beside an idle stopped worker: {line:?} after {waited:?}"
                );
                wrong += 1;
            }
            record.watch(Duration::from_millis(5));
        }
        let took = begun.elapsed();
        if took > IDLE_STOP_LIMIT {
            println!("  FAULT         an idle stopped worker was not replaced within {took:?}");
            wrong += 1;
        }
    }
    client.close();
    wrong += usize::from(!ends_well(&mut processor));
    println!("  {IDLE_STOPS} workers stopped while idle: {wrong} wrong");
    Ok(wrong)
}

/// A drain with an event on a stopped worker: the client gets its 408, and the end is a clean one.
fn drained_while_stopped(programs: &Programs) -> Result<usize, String> {
    let mut processor = Processor::start(programs, Kind::Native, 2, TIMEOUT)?;
    let mut client = Client::new(processor.http, 1)?;
    let point = point(Deed::Stop, Method::Get, Attempts::Every, LATE, &[1]);
    let begun = Instant::now();
    let mut told = false;
    client.run(
        1,
        |id| asked(id, &point),
        |_| {
            if !told && begun.elapsed() > Duration::from_millis(100) {
                // A refusal shows below: the processor would not end.
                told = processor.terminate().is_ok();
            }
            true
        },
    )?;
    client.close();
    let end = processor.end();
    let notes = processor.executions()?;
    let result = judge(&point, &client.lines[1], &notes);
    let took = begun.elapsed();
    let good = result.is_ok() && told && end == Ok(Some(0)) && took < DRAIN_LIMIT;
    if !good {
        println!("  FAULT         a drain while stopped: {result:?}, {end:?} after {took:?}");
    }
    println!("  a drain while a worker is stopped: {} wrong", usize::from(!good));
    Ok(usize::from(!good))
}

/// Where all threads and workers take turns, a worker is gone before the processor looks.
fn on_one_core<T>(work: impl FnOnce() -> T) -> nix::Result<T> {
    let this = nix::unistd::Pid::from_raw(0);
    let before = sched_getaffinity(this)?;
    let mut one = CpuSet::new();
    let first = (0..CpuSet::count()).find(|core| before.is_set(*core) == Ok(true));
    one.set(first.unwrap_or(0))?;
    sched_setaffinity(this, &one)?;
    let result = work();
    sched_setaffinity(this, &before)?;
    Ok(result)
}

/// What a worker says before it ends is heard, however soon it ends.
fn refused_at_once(programs: &Programs) -> usize {
    let is_told = |told: &String| told.contains("refused as it was told to");
    let starts =
        (0..REFUSALS).map(|_| Processor::start(programs, Kind::Refusing, 2, TIMEOUT).err());
    let untold: Vec<_> = starts.filter(|told| !told.as_ref().is_some_and(is_told)).collect();
    if let Some(told) = untold.first() {
        println!("  FAULT         a refusal was not heard: {told:?}");
    }
    println!("  {REFUSALS} starts refused at once: {} wrong", untold.len());
    untold.len()
}

fn ends_well(processor: &mut Processor) -> bool {
    let stats = processor.stats().unwrap_or_default();
    let violations = stats["counters"]["violations"].as_u64();
    let end = processor.stop();
    if violations != Some(0) || end != Ok(Some(0)) {
        println!("  FAULT         violations: {violations:?}, end: {end:?}");
        return false;
    }
    true
}

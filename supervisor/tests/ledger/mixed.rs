//! All runtimes at once, a processor each, sharing the requests: whose bytes are in which reply, and
//! what is left at the end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::canary;
use crate::kinds::Kind;
use crate::processor::{Processor, Programs};
use crate::storm::{Outcome, Storm, run as ride};

/// Connections to each processor: enough for all its workers, few enough for ten of them.
const CONNECTIONS_EACH: usize = 12;
const PROGRESS_EVERY: Duration = Duration::from_secs(10);
/// Requests of a kind whose share is less: fewer would show nothing.
const REQUESTS_MIN: u64 = 500;

/// A mixed run.
#[derive(Debug)]
pub struct Mixed<'a> {
    pub kinds: &'a [Kind],
    pub requests: u64,
    pub seed: u64,
    pub stop_percent: u64,
}

/// Runs it; false if anything is wrong, which has been printed then.
pub fn run(programs: &Programs, mixed: &Mixed<'_>) -> Result<bool, String> {
    canary::self_test()?;
    let storms = mixed.storms();
    let mut processors = start(programs, &storms)?;
    let begun = Instant::now();
    let outcomes = ride_all(&mut processors, &storms)?;
    let mut good = true;
    let mut all = Line::default();
    println!("  {}", Line::head());
    for ((storm, mut outcome), processor) in storms.iter().zip(outcomes).zip(&mut processors) {
        let line = Line::of(&outcome);
        println!("  {}", line.text(storm.kind.traits().name));
        all.add(&line);
        if outcome.account.fault_count > 0 {
            good = false;
            print!("{}", outcome.report());
            let faults = outcome.account.fault_count;
            println!("  {faults} faults; again with --seed {}", mixed.seed);
            println!("  folder kept: {}", processor.keep_folder().display());
        }
    }
    println!("  {}", all.text("all"));
    println!("  took          {:.1} s", begun.elapsed().as_secs_f64());
    Ok(good)
}

impl Mixed<'_> {
    /// The requests by the shares of the kinds; what rounding leaves is the first one's.
    fn storms(&self) -> Vec<Storm> {
        let shares: u64 = self.kinds.iter().map(|kind| kind.traits().share).sum();
        let part = |kind: &Kind| self.requests * kind.traits().share / shares.max(1);
        let mut storms: Vec<Storm> = self
            .kinds
            .iter()
            .map(|kind| Storm {
                kind: *kind,
                requests: part(kind).max(REQUESTS_MIN),
                seed: self.seed,
                connections: CONNECTIONS_EACH,
                stop_percent: self.stop_percent,
                is_crowded: true,
            })
            .collect();
        let planned: u64 = storms.iter().map(|storm| storm.requests).sum();
        if let Some(first) = storms.first_mut() {
            first.requests += self.requests.saturating_sub(planned);
        }
        storms
    }
}

/// All of them at once: some build their function first.
fn start(programs: &Programs, storms: &[Storm]) -> Result<Vec<Processor>, String> {
    thread::scope(|scope| {
        let starts: Vec<_> =
            storms.iter().map(|storm| scope.spawn(move || storm.start(programs))).collect();
        starts.into_iter().zip(storms).map(|(start, storm)| named(start.join(), storm)).collect()
    })
}

/// What a thread has come to, with the name of its kind before what went wrong.
fn named<T>(ended: thread::Result<Result<T, String>>, storm: &Storm) -> Result<T, String> {
    let name = storm.kind.traits().name;
    let ended = ended.unwrap_or_else(|_| Err("its thread panicked".into()));
    ended.map_err(|why| format!("{name}: {why}"))
}

fn ride_all(processors: &mut [Processor], storms: &[Storm]) -> Result<Vec<Outcome>, String> {
    let done: Vec<AtomicU64> = storms.iter().map(|_| AtomicU64::new(0)).collect();
    let done = &done[..];
    thread::scope(|scope| {
        // Nothing is ever sent: its end is the word to end.
        let (until, over) = sync_channel::<()>(1);
        scope.spawn(move || tell(storms, done, &over));
        let rides: Vec<_> = processors
            .iter_mut()
            .zip(storms)
            .zip(done)
            .map(|((processor, storm), done)| {
                let told = move |count| done.store(count, Ordering::Relaxed);
                scope.spawn(move || ride(processor, *storm, told))
            })
            .collect();
        let ends: Vec<_> = rides.into_iter().map(|ride| ride.join()).collect();
        drop(until);
        ends.into_iter().zip(storms).map(|(end, storm)| named(end, storm)).collect()
    })
}

/// Says now and then how far each is.
fn tell(storms: &[Storm], done: &[AtomicU64], over: &Receiver<()>) {
    let begun = Instant::now();
    while over.recv_timeout(PROGRESS_EVERY) == Err(RecvTimeoutError::Timeout) {
        let parts = storms.iter().zip(done).map(|(storm, done)| {
            let percent = done.load(Ordering::Relaxed) * 100 / storm.requests.max(1);
            format!("{} {percent} %", storm.kind.traits().name)
        });
        let parts: Vec<String> = parts.collect();
        println!("  after {} s: {}", begun.elapsed().as_secs(), parts.join(", "));
    }
}

/// The figures of one kind, or of all.
#[derive(Debug, Default)]
struct Line([u64; COLUMNS.len()]);

/// Name and width of each figure.
const COLUMNS: [(&str, usize); 16] = [
    ("requests", 8),
    ("executed", 8),
    ("200", 7),
    ("408", 5),
    ("500", 5),
    ("502", 5),
    ("faults", 6),
    ("killed", 6),
    ("stopped", 7),
    ("own deaths", 10),
    ("programs killed", 15),
    ("replaced", 8),
    ("slots", 5),
    ("pending", 7),
    ("in flight", 9),
    ("seconds", 7),
];
const NAME_WIDTH: usize = 7;

impl Line {
    fn of(outcome: &Outcome) -> Self {
        let (account, held) = (&outcome.account, &outcome.held_after);
        Self([
            account.requests,
            account.executions,
            account.count(200),
            account.count(408),
            account.count(500),
            account.count(502),
            account.fault_count,
            outcome.killed as u64,
            outcome.stopped as u64,
            account.suicides,
            outcome.helpers_killed as u64,
            outcome.replaced,
            held.slots,
            held.pending,
            held.in_flight,
            outcome.took.as_secs(),
        ])
    }

    /// All kinds run at the same time: the longest is that of all.
    fn add(&mut self, other: &Self) {
        let last = COLUMNS.len() - 1;
        for (index, (sum, one)) in self.0.iter_mut().zip(&other.0).enumerate() {
            *sum = if index == last { (*sum).max(*one) } else { *sum + one };
        }
    }

    fn text(&self, name: &str) -> String {
        let figures = COLUMNS.iter().zip(self.0).map(|((_, width), one)| format!(" {one:>width$}"));
        format!("{name:<NAME_WIDTH$}{}", figures.collect::<String>())
    }

    fn head() -> String {
        let names = COLUMNS.iter().map(|(name, width)| format!(" {name:>width$}"));
        format!("{:<NAME_WIDTH$}{}", "", names.collect::<String>())
    }
}

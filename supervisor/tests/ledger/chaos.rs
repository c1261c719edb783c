//! Kills and stops workers at random moments, from outside, as a bad machine would.
//!
//! Sends signals through pidfds of processes whose parent is the processor under test, so that no
//! other process can ever be hit. A stopped worker is never continued.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rings::os::monotonic_ns;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::plan::Random;
use crate::processor::{Row, workers};
use crate::tree;

/// Of a hundred strikes so many hit a program that a worker keeps or has started, where there is one.
const HELPER_PERCENT: u64 = 40;
/// Of a hundred kills so many may hit a worker that is not ready yet.
const UNREADY_PERCENT: u64 = 5;
/// Of a hundred chances to kill a worker that is stopped already, so many are taken.
const STOPPED_PERCENT: u64 = 20;
/// In a long pause it is looked so often whether the run is over.
const LOOK: Duration = Duration::from_millis(200);
/// The processor may be slow to answer, but not for ever.
const ADMIN_FAULTS_MAX: usize = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    Kill,
    Stop,
    /// Kills a program of a worker's and not the worker.
    KillHelper,
}

/// How it is done.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    pub seed: u64,
    /// Between two strikes.
    pub pause_ms: (u64, u64),
    /// Of a hundred strikes so many stop a worker; the others kill.
    pub stop_percent: u64,
    /// Programs of workers are hit, too.
    pub hits_helpers: bool,
    /// Only strikes where another worker stays ready.
    pub leaves_one: bool,
}

/// What was done to a worker.
#[derive(Debug, Clone)]
pub struct Doom {
    pub pid: u32,
    pub by: By,
    /// When the signal was sent.
    pub at_ns: u64,
    /// When its end was seen; 0 = not yet.
    pub dead_ns: u64,
}

/// What has been done so far.
#[derive(Debug, Default)]
pub struct Record {
    pub dooms: Vec<Doom>,
    /// By number of the doom.
    alive: Vec<(usize, OwnedFd)>,
    pub admin_faults: Vec<String>,
}

/// A thread that does it.
pub struct Chaos {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Record>,
}

impl Chaos {
    pub fn begin(admin: SocketAddr, processor: u32, manner: Manner) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut record = Record::default();
            let mut random = Random::new(manner.seed);
            let (shortest, longest) = manner.pause_ms;
            while !seen.load(Ordering::Relaxed) && record.admin_faults.len() < ADMIN_FAULTS_MAX {
                let pause = shortest + random.below(longest - shortest + 1);
                record.rest(Duration::from_millis(pause), &seen);
                match workers(admin) {
                    Ok(rows) => record.strike(&rows, processor, &mut random, manner),
                    Err(why) => record.admin_faults.push(why),
                }
            }
            record
        });
        Self { stop, thread }
    }

    /// Ends the thread; what it stopped and did to the others stays as it is.
    pub fn end(self) -> Record {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}

impl Record {
    /// Waits for so long and notes who ends meanwhile.
    pub fn watch(&mut self, time: Duration) {
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).ok();
            let mut wanted: Vec<PollFd<'_>> =
                self.alive.iter().map(|(_, pidfd)| PollFd::new(pidfd, PollFlags::IN)).collect();
            let woken = poll(&mut wanted, timeout.as_ref()).unwrap_or(0);
            let ended: Vec<bool> = wanted.iter().map(|one| !one.revents().is_empty()).collect();
            let now = monotonic_ns();
            let mut index = 0;
            self.alive.retain(|(doom, _)| {
                index += 1;
                if woken > 0 && ended[index - 1] {
                    self.dooms[*doom].dead_ns = now;
                    return false;
                }
                true
            });
            if Instant::now() >= end {
                return;
            }
        }
    }

    /// Those that were stopped or killed and have not ended.
    pub fn alive(&self) -> Vec<u32> {
        self.alive.iter().map(|(doom, _)| self.dooms[*doom].pid).collect()
    }

    /// Waits, for not much longer than until it is told to end.
    fn rest(&mut self, time: Duration, told_to_end: &AtomicBool) {
        let end = Instant::now() + time;
        while !told_to_end.load(Ordering::Relaxed) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            self.watch(left.min(LOOK));
        }
    }

    fn strike(&mut self, rows: &[Row], processor: u32, random: &mut Random, manner: Manner) {
        let unready_too = random.below(100) < UNREADY_PERCENT;
        let stopped_too = random.below(100) < STOPPED_PERCENT;
        let candidates: Vec<&Row> = rows
            .iter()
            .filter(|row| row.pid != 0 && (row.state == "ready" || unready_too))
            .filter(|row| stopped_too || !self.is_doomed(row.pid))
            .collect();
        let hits_helper = manner.hits_helpers && random.below(100) < HELPER_PERCENT;
        let is_well = |row: &&Row| row.state == "ready" && !self.is_doomed(row.pid);
        let well = rows.iter().filter(is_well).count();
        if candidates.is_empty() || (manner.leaves_one && !hits_helper && well < 2) {
            return;
        }
        let row = candidates[random.below(candidates.len() as u64) as usize];
        if hits_helper {
            let helpers = tree::children(row.pid);
            if !helpers.is_empty() {
                let helper = &helpers[random.below(helpers.len() as u64) as usize];
                self.send(helper.pid, row.pid, By::KillHelper);
            }
            return;
        }
        let wants_stop = random.below(100) < manner.stop_percent;
        // What is not ready has a minute to become so; that is another test's matter.
        let by = if wants_stop && row.state == "ready" { By::Stop } else { By::Kill };
        self.send(row.pid, processor, by);
    }

    fn is_doomed(&self, pid: u32) -> bool {
        self.alive.iter().any(|(doom, _)| self.dooms[*doom].pid == pid)
    }

    /// Does it to one child of that parent.
    pub fn send(&mut self, pid: u32, parent: u32, by: By) {
        let Some(raw) = Pid::from_raw(pid as i32) else { return };
        // It may have ended since the page was written; the pidfd pins what is looked at next.
        let Ok(pidfd) = pidfd_open(raw, PidfdFlags::empty()) else { return };
        if !tree::process(pid).is_some_and(|one| one.parent == parent && !"ZX".contains(one.state))
        {
            return;
        }
        let signal = if by == By::Stop { Signal::STOP } else { Signal::KILL };
        let at_ns = monotonic_ns();
        if pidfd_send_signal(&pidfd, signal).is_ok() {
            self.alive.push((self.dooms.len(), pidfd));
            self.dooms.push(Doom { pid, by, at_ns, dead_ns: 0 });
        }
    }
}

//! Notices when the machine has no time for the processor: when a thread that only wakes, again and
//! again, does not wake, and what the kernel says the processor's data thread waited for a CPU.
//!
//! What is late because nobody runs is not the processor's fault; what is late while its thread could
//! have run is.

use std::fs::{read_dir, read_to_string};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rings::os::monotonic_ns;
use rustix::event::{Timespec, poll};

const TICK_NS: i64 = 5_000_000;
/// Shorter ones are within what a run allows anyway.
const STALL_NS_MIN: u64 = 20_000_000;

/// Time lost between two moments on CLOCK_MONOTONIC.
#[derive(Debug, Clone, Copy)]
pub struct Stall {
    from_ns: u64,
    until_ns: u64,
    pub lost_ns: u64,
}

pub struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Stall>>,
}

impl Watch {
    pub fn begin(processor: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = stop.clone();
        let thread = std::thread::spawn(move || watch(&seen, data_thread(processor)));
        Self { stop, thread }
    }

    pub fn end(self) -> Vec<Stall> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}

fn watch(stop: &AtomicBool, schedstat: Option<PathBuf>) -> Vec<Stall> {
    let waited = || schedstat.as_ref().and_then(waited_ns).unwrap_or_default();
    let mut stalls = Vec::new();
    let (mut last_ns, mut waited_before) = (monotonic_ns(), waited());
    while !stop.load(Ordering::Relaxed) {
        let _ = poll(&mut [], Some(&Timespec { tv_sec: 0, tv_nsec: TICK_NS }));
        let (now_ns, waited_now) = (monotonic_ns(), waited());
        let overslept_ns = (now_ns - last_ns).saturating_sub(TICK_NS as u64);
        // The kernel counts a wait when it ends, so it may reach back beyond this tick.
        let starved_ns = waited_now.saturating_sub(waited_before);
        let lost_ns = overslept_ns.max(starved_ns);
        if lost_ns > STALL_NS_MIN {
            let from_ns = (now_ns - lost_ns).min(last_ns);
            stalls.push(Stall { from_ns, until_ns: now_ns, lost_ns });
        }
        (last_ns, waited_before) = (now_ns, waited_now);
    }
    stalls
}

/// The file in which the kernel counts for the processor's data thread.
fn data_thread(processor: u32) -> Option<PathBuf> {
    let tasks = read_dir(format!("/proc/{processor}/task")).ok()?;
    let mut folders = tasks.flatten().map(|task| task.path());
    let is_data = |folder: &PathBuf| {
        read_to_string(folder.join("comm")).is_ok_and(|name| name.trim() == "data")
    };
    folders.find(is_data).map(|folder| folder.join("schedstat"))
}

/// Nanoseconds for which a thread could have run and did not.
fn waited_ns(schedstat: &PathBuf) -> Option<u64> {
    read_to_string(schedstat).ok()?.split_whitespace().nth(1)?.parse().ok()
}

/// How much of a time was lost.
pub fn lost_within(stalls: &[Stall], from_ns: u64, until_ns: u64) -> u64 {
    let lost = |stall: &Stall| {
        let both = until_ns.min(stall.until_ns).saturating_sub(from_ns.max(stall.from_ns));
        both.min(stall.lost_ns)
    };
    stalls.iter().map(lost).sum()
}

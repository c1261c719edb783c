//! What workers note of their executions, in files named after them, before they answer.
//!
//! `PID.notes` and `PID.unix` hold records of 24 bytes: number, nanoseconds, pid, attempt (0 where it
//! is not known); the second counts since the epoch. `PID.uptime` is for scripts: a line each, number,
//! seconds of /proc/uptime, pid.

use std::fs;
use std::path::Path;

use rings::os::{monotonic_ns, realtime_ns};
use rustix::time::{ClockId, clock_gettime};

const NOTE_BYTES: usize = 24;

/// One execution, noted by the worker before it answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Note {
    pub id: u64,
    /// On CLOCK_MONOTONIC.
    pub begun_ns: u64,
    pub pid: u32,
    /// 0: not known.
    pub attempt: u32,
}

/// What other clocks are ahead of CLOCK_MONOTONIC.
#[derive(Debug, Clone, Copy)]
pub struct Clocks {
    pub unix_ns: u64,
    uptime_ns: u64,
}

impl Clocks {
    pub fn now() -> Self {
        let boot = clock_gettime(ClockId::Boottime);
        let boot_ns = boot.tv_sec as u64 * 1_000_000_000 + boot.tv_nsec as u64;
        let now_ns = monotonic_ns();
        Self { unix_ns: realtime_ns() - now_ns, uptime_ns: boot_ns.saturating_sub(now_ns) }
    }
}

/// Reads every worker's notes, in the order of numbers, then of time.
pub fn read_notes(folder: &Path, clocks: Clocks) -> Result<Vec<Note>, String> {
    let mut notes = Vec::new();
    for entry in fs::read_dir(folder).map_err(|e| e.to_string())? {
        let path = entry.map_err(|e| e.to_string())?.path();
        let form = path.extension().and_then(|form| form.to_str()).unwrap_or_default();
        let bytes = || fs::read(&path).map_err(|e| format!("{}: {e}", path.display()));
        let cut = || format!("{} ends within a note", path.display());
        match form {
            "notes" => take_records(&bytes()?, 0, &mut notes).ok_or_else(cut)?,
            "unix" => take_records(&bytes()?, clocks.unix_ns, &mut notes).ok_or_else(cut)?,
            "uptime" => take_lines(&bytes()?, clocks.uptime_ns, &mut notes).ok_or_else(cut)?,
            _ => {}
        }
    }
    notes.sort_unstable_by_key(|note| (note.id, note.begun_ns));
    Ok(notes)
}

fn take_records(bytes: &[u8], ahead_ns: u64, notes: &mut Vec<Note>) -> Option<()> {
    for note in bytes.chunks(NOTE_BYTES) {
        let long = |at: usize| Some(u64::from_le_bytes(note.get(at..at + 8)?.try_into().ok()?));
        let both = long(16)?;
        let begun_ns = long(8)?.saturating_sub(ahead_ns);
        notes.push(Note { id: long(0)?, begun_ns, pid: both as u32, attempt: (both >> 32) as u32 });
    }
    Some(())
}

fn take_lines(bytes: &[u8], ahead_ns: u64, notes: &mut Vec<Note>) -> Option<()> {
    for line in std::str::from_utf8(bytes).ok()?.split_inclusive('\n') {
        let mut words = line.strip_suffix('\n')?.split(' ');
        let id = u64::from_str_radix(words.next()?, 16).ok()?;
        let (seconds, hundredths) = words.next()?.split_once('.')?;
        let hundredths = seconds.parse::<u64>().ok()? * 100 + hundredths.parse::<u64>().ok()?;
        let begun_ns = (hundredths * 10_000_000).saturating_sub(ahead_ns);
        notes.push(Note { id, begun_ns, pid: words.next()?.parse().ok()?, attempt: 0 });
    }
    Some(())
}

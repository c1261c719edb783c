//! Judges a run: every request against what the workers noted and what was done to them.
//!
//! Pure but for reading the notes. Says nothing is wrong only where the contract (sections 4 and 5)
//! allows what was seen.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::chaos::{By, Doom};
use crate::client::Line;
use crate::plan::{Asked, Attempts, Deed};
use crate::processor::Death;
use crate::stalls::{Stall, lost_within};

/// `eventTimeout` of every run.
pub const TIMEOUT_NS: u64 = 1_000_000_000;
/// The processor counts from the start of the turn in which it read the request.
const EARLY_NS: u64 = 20_000_000;
/// What a busy machine may add until the client has read the 408.
const LATE_NS: u64 = 500_000_000;
/// From a death until the processor's log tells of it, where nothing else does.
const TOLD_NS: u64 = 100_000_000;
/// Bytes of one note: number, CLOCK_MONOTONIC, pid, attempt.
const NOTE_BYTES: usize = 24;
/// Faults shown one by one; the rest is counted.
const SHOWN_MAX: usize = 20;

/// One execution, noted by the worker before it answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Note {
    pub id: u64,
    pub begun_ns: u64,
    pub pid: u32,
    pub attempt: u32,
}

/// Everything that is known of a run.
pub struct Evidence<'a> {
    /// By number, from 1.
    pub lines: &'a [Line],
    pub asked_of: &'a dyn Fn(u64) -> Asked,
    /// In the order of numbers, then of time.
    pub notes: &'a [Note],
    pub dooms: &'a [Doom],
    pub deaths: &'a HashMap<u32, Death>,
    /// When the machine had no time for the processor.
    pub stalls: &'a [Stall],
    /// Workers have one event at a time, so a death costs one at most.
    pub one_at_a_time: bool,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Account {
    pub requests: u64,
    pub statuses: HashMap<u16, u64>,
    pub faults: Vec<String>,
    pub fault_count: u64,
    /// 408s by where the event was: begun on a worker, or never begun.
    pub late_begun: u64,
    pub late_unbegun: u64,
    pub late_ns_max: u64,
    pub slowest_ok_ns: u64,
    /// From a death to the next execution of the event that it cost, another worker being up.
    pub redispatch_ns: Vec<u64>,
    /// The same while every worker was down.
    pub redispatch_alone_ns: Vec<u64>,
    pub suicides: u64,
    /// Attempts that must have been begun on workers that died.
    pub begun_lost: u64,
    pub executions: u64,
}

/// Reads every worker's notes.
pub fn read_notes(folder: &Path) -> Result<Vec<Note>, String> {
    let mut notes = Vec::new();
    for entry in fs::read_dir(folder).map_err(|e| e.to_string())? {
        let path = entry.map_err(|e| e.to_string())?.path();
        if path.extension().is_none_or(|extension| extension != "notes") {
            continue;
        }
        let bytes = fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        if bytes.len() % NOTE_BYTES != 0 {
            return Err(format!("{} ends within a note", path.display()));
        }
        for note in bytes.chunks_exact(NOTE_BYTES) {
            let long =
                |at: usize| note[at..at + 8].iter().rev().fold(0, |n, b| n << 8 | u64::from(*b));
            let both = long(16);
            let (pid, attempt) = (both as u32, (both >> 32) as u32);
            notes.push(Note { id: long(0), begun_ns: long(8), pid, attempt });
        }
    }
    notes.sort_unstable_by_key(|note| (note.id, note.begun_ns));
    Ok(notes)
}

/// What is known of the ends of workers, by pid.
struct Ends {
    /// When it died, as near as is known.
    died_ns: HashMap<u32, u64>,
    /// Sorted by time, for windows.
    order: Vec<(u64, u32)>,
    stopped: Vec<(u64, u64)>,
    stopped_pids: HashMap<u32, u64>,
    /// Those that were killed from outside.
    killed: HashSet<u32>,
}

impl Ends {
    fn of(evidence: &Evidence<'_>, account: &mut Account) -> Self {
        let mut died_ns: HashMap<u32, u64> = HashMap::new();
        let mut stopped_pids: HashMap<u32, u64> = HashMap::new();
        for death in evidence.deaths.values() {
            died_ns.insert(death.pid, death.at_ns);
        }
        for note in evidence.notes {
            let asked = (evidence.asked_of)(note.id);
            let does = note.attempt == 1 || asked.attempts == Attempts::Every;
            if does && asked.deed.dies_noted() {
                died_ns.insert(note.pid, note.begun_ns);
                account.suicides += 1;
            } else if does && asked.deed == Deed::Stop {
                note_first(&mut stopped_pids, note.pid, note.begun_ns);
            }
        }
        for doom in evidence.dooms {
            match doom.by {
                By::Kill => drop(died_ns.insert(doom.pid, doom.at_ns)),
                By::Stop => {
                    note_first(&mut stopped_pids, doom.pid, doom.at_ns);
                    if doom.dead_ns != 0 {
                        died_ns.entry(doom.pid).or_insert(doom.dead_ns);
                    }
                }
            }
        }
        let mut order: Vec<_> = died_ns.iter().map(|(pid, at)| (*at, *pid)).collect();
        order.sort_unstable();
        let until = |pid: &u32| died_ns.get(pid).copied().unwrap_or(u64::MAX);
        let stopped = stopped_pids.iter().map(|(pid, at)| (*at, until(pid))).collect();
        let killed = evidence.dooms.iter().filter(|doom| doom.by == By::Kill);
        let killed = killed.map(|doom| doom.pid).collect();
        Self { died_ns, order, stopped, stopped_pids, killed }
    }

    /// Workers that died between two moments, but for those that are named.
    fn deaths_within(&self, from_ns: u64, to_ns: u64, but: &[Note]) -> usize {
        let at = |ns: u64| self.order.partition_point(|(died, _)| *died < ns);
        let named = |pid: u32| but.iter().any(|note| note.pid == pid);
        self.order[at(from_ns)..at(to_ns)].iter().filter(|(_, pid)| !named(*pid)).count()
    }

    /// Some worker was stopped at some moment of these.
    fn stop_within(&self, from_ns: u64, to_ns: u64) -> bool {
        self.stopped.iter().any(|(from, until)| *from <= to_ns && *until >= from_ns)
    }
}

/// Judges everything.
pub fn judge(evidence: &Evidence<'_>) -> Account {
    let mut account = Account::default();
    let ends = Ends::of(evidence, &mut account);
    let first_noted = first_notes(evidence.notes);
    let mut notes = evidence.notes;
    account.executions = notes.len() as u64;
    for (id, line) in evidence.lines.iter().enumerate().skip(1) {
        let count = notes.iter().take_while(|note| note.id == id as u64).count();
        let (own, rest) = notes.split_at(count);
        notes = rest;
        let case = Case {
            asked: (evidence.asked_of)(id as u64),
            line: *line,
            notes: own,
            stalls: evidence.stalls,
        };
        account.requests += 1;
        *account.statuses.entry(line.status).or_default() += 1;
        if let Some(fault) = case.fault(&ends) {
            account.add_fault(&format!("{fault}: {}", case.told(&ends)));
        }
        case.measure(&ends, &first_noted, &mut account);
    }
    for note in notes {
        account.add_fault(&format!("a request nobody sent was executed: {note:?}"));
    }
    if evidence.one_at_a_time && account.begun_lost > ends.died_ns.len() as u64 {
        let (lost, deaths) = (account.begun_lost, ends.died_ns.len());
        account.add_fault(&format!("{deaths} deaths cost {lost} begun events, one each at most"));
    }
    account.judge_deaths(evidence);
    account
}

fn first_notes(notes: &[Note]) -> HashMap<u32, u64> {
    let mut first: HashMap<u32, u64> = HashMap::new();
    notes.iter().for_each(|note| note_first(&mut first, note.pid, note.begun_ns));
    first
}

/// Keeps the earliest moment of a worker.
fn note_first(moments: &mut HashMap<u32, u64>, pid: u32, at_ns: u64) {
    let first = moments.entry(pid).or_insert(at_ns);
    *first = at_ns.min(*first);
}

/// One request with all that is known of it.
struct Case<'a> {
    asked: Asked,
    line: Line,
    notes: &'a [Note],
    stalls: &'a [Stall],
}

impl Case<'_> {
    fn fault(&self, ends: &Ends) -> Option<String> {
        if let Some(fault) = self.line.fault {
            return Some(format!("no right and whole reply ({fault:?})"));
        }
        if self.notes.len() > 1 && !self.asked.method.may_be_repeated() {
            return Some("executed twice, though it may not be repeated".into());
        }
        if self.notes.len() > 2 {
            return Some("executed more than twice".into());
        }
        let ordered = self.notes.windows(2).all(|pair| pair[0].attempt < pair[1].attempt);
        if !ordered {
            return Some("two executions of the same attempt".into());
        }
        for note in self.notes.iter().take(self.notes.len().saturating_sub(1)) {
            if !ends.died_ns.contains_key(&note.pid) {
                return Some("executed again although its first worker did not die".into());
            }
        }
        match self.line.status {
            200 => self.fault_of_ok(),
            408 => self.fault_of_late(ends),
            502 => self.fault_of_lost(ends),
            other => Some(format!("status {other} has no place here")),
        }
    }

    /// The attempt that answered, if one did, did not do a deed that leaves no answer.
    fn fault_of_ok(&self) -> Option<String> {
        let Some(last) = self.notes.last() else {
            return Some("200 without an execution".into());
        };
        let does = last.attempt == 1 || self.asked.attempts == Attempts::Every;
        if does && (self.asked.deed.dies_noted() || self.asked.deed == Deed::Stop) {
            return Some("200 from an attempt that cannot have answered".into());
        }
        if self.is_late() {
            return Some("200 long after its deadline".into());
        }
        None
    }

    fn fault_of_late(&self, ends: &Ends) -> Option<String> {
        let waited = self.waited_ns();
        if waited + EARLY_NS < TIMEOUT_NS {
            return Some("408 before its deadline".into());
        }
        if self.is_late() {
            return Some("408 long after its deadline".into());
        }
        if !ends.stop_within(self.line.sent_ns, self.line.ended_ns) {
            return Some("408 although no worker was stopped".into());
        }
        None
    }

    fn fault_of_lost(&self, ends: &Ends) -> Option<String> {
        if !self.notes.iter().all(|note| ends.died_ns.contains_key(&note.pid)) {
            return Some("502 although its worker did not die".into());
        }
        let answered = self.asked.deed.dies_answered()
            && self.notes.last().is_some_and(|note| !ends.killed.contains(&note.pid));
        if answered {
            return Some("502 although its reply had been published".into());
        }
        // Each noted attempt explains one death; what is missing must have been begun unnoted.
        let needed = if self.asked.method.may_be_repeated() { 2 } else { 1 };
        let noted = self.notes.iter().filter_map(|note| ends.died_ns.get(&note.pid).copied());
        let (told_ns, from_ns) = (self.line.ended_ns + TOLD_NS, noted.max());
        if from_ns.is_some_and(|died| died > told_ns) {
            return Some("502 before its worker died".into());
        }
        let from_ns = from_ns.unwrap_or(self.line.sent_ns);
        let others = ends.deaths_within(from_ns, told_ns, self.notes);
        if self.notes.len() + others < needed {
            let noted = self.notes.len();
            return Some(format!("502 with {noted} noted and {others} other deaths of {needed}"));
        }
        None
    }

    /// Beyond what the deadline, and a machine that ran, explain.
    fn is_late(&self) -> bool {
        let stood = lost_within(self.stalls, self.line.sent_ns, self.line.ended_ns);
        self.waited_ns() > TIMEOUT_NS + LATE_NS + stood
    }

    fn waited_ns(&self) -> u64 {
        self.line.ended_ns.saturating_sub(self.line.sent_ns)
    }

    fn measure(&self, ends: &Ends, first_noted: &HashMap<u32, u64>, account: &mut Account) {
        account.begun_lost += match (self.line.status, self.asked.method.may_be_repeated()) {
            (502, true) => 2,
            (502, false) => 1,
            _ => self.notes.len().saturating_sub(1) as u64,
        };
        match self.line.status {
            200 => account.slowest_ok_ns = account.slowest_ok_ns.max(self.waited_ns()),
            408 => {
                account.late_ns_max = account.late_ns_max.max(self.waited_ns());
                if self.notes.is_empty() {
                    account.late_unbegun += 1;
                } else {
                    account.late_begun += 1;
                }
            }
            _ => {}
        }
        let [first, second] = self.notes else { return };
        let Some(died) = ends.died_ns.get(&first.pid).copied() else { return };
        // A log line may tell of a death later than the event was given again.
        let waited = second.begun_ns.saturating_sub(died.max(first.begun_ns));
        let was_stopped =
            ends.stopped_pids.get(&second.pid).is_some_and(|at| *at < second.begun_ns);
        let was_up = first_noted.get(&second.pid).is_some_and(|at| *at < died);
        if was_up && !was_stopped {
            account.redispatch_ns.push(waited);
        } else {
            account.redispatch_alone_ns.push(waited);
        }
    }

    /// For people who look for the cause.
    fn told(&self, ends: &Ends) -> String {
        let ms = |ns: u64| (ns as f64 - self.line.sent_ns as f64) / 1e6;
        let mut told = format!(
            "{} {} status {} after {:.3} ms",
            self.asked.method.token(),
            self.asked.path(),
            self.line.status,
            ms(self.line.ended_ns)
        );
        for note in self.notes {
            let _ = write!(
                told,
                "; attempt {} on {} at {:.3}",
                note.attempt,
                note.pid,
                ms(note.begun_ns)
            );
            if let Some(at) = ends.stopped_pids.get(&note.pid) {
                let _ = write!(told, ", stopped at {:.3}", ms(*at));
            }
            if let Some(at) = ends.died_ns.get(&note.pid) {
                let _ = write!(told, ", dead at {:.3}", ms(*at));
            }
        }
        told
    }
}

impl Account {
    pub fn add_fault(&mut self, fault: &str) {
        self.fault_count += 1;
        if self.faults.len() < SHOWN_MAX {
            self.faults.push(fault.to_owned());
        }
    }

    /// A worker may only die by what was done to it, by its own deed, or by its deadline.
    fn judge_deaths(&mut self, evidence: &Evidence<'_>) {
        let mut expected: HashSet<u32> = evidence.dooms.iter().map(|doom| doom.pid).collect();
        let mut unnoted = 0u64;
        for (id, _) in evidence.lines.iter().enumerate().skip(1) {
            let asked = (evidence.asked_of)(id as u64);
            if asked.deed.dies() && !asked.deed.dies_noted() {
                unnoted += if asked.attempts == Attempts::Every { 2 } else { 1 };
            }
        }
        for note in evidence.notes {
            let asked = (evidence.asked_of)(note.id);
            if asked.deed.dies() || asked.deed == Deed::Stop {
                expected.insert(note.pid);
            }
        }
        let mut unexpected = 0;
        let mut last = String::new();
        for death in evidence.deaths.values() {
            let by_deadline = death.cause.contains("eventTimeout");
            if !death.cause.contains("SIGKILL") || death.cause.contains("protocol") {
                self.add_fault(&format!("worker {} died by itself: {}", death.pid, death.cause));
            } else if !expected.contains(&death.pid) && !by_deadline {
                unexpected += 1;
                last = format!("{} ({})", death.pid, death.cause);
            }
        }
        if unexpected > unnoted {
            let what = format!("{unexpected} deaths that nobody caused, {unnoted} allowed; {last}");
            self.add_fault(&what);
        }
    }

    pub fn count(&self, status: u16) -> u64 {
        self.statuses.get(&status).copied().unwrap_or_default()
    }
}

/// The value that `part` of a hundred do not exceed; sorts.
pub fn percentile(values: &mut [u64], part: usize) -> u64 {
    values.sort_unstable();
    let last = values.len().saturating_sub(1);
    values.get(last * part / 100).copied().unwrap_or_default()
}

//! Judges a run: every request against what the workers noted and what was done to them.
//!
//! Pure. Says nothing is wrong only where the contract (sections 4 and 5) allows what was seen.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;

use crate::chaos::{By, Doom};
use crate::client::{Fault, Line};
use crate::kinds::{Helpers, Traits};
use crate::notes::Note;
use crate::plan::{Asked, Attempts, Deed, name_of};
use crate::processor::Death;
use crate::stalls::{Stall, lost_within};

/// `eventTimeout` where a run has the machine to itself.
pub const TIMEOUT_NS: u64 = 1_000_000_000;
/// The processor counts from the start of the turn in which it read the request.
const EARLY_NS: u64 = 20_000_000;
/// What a busy machine may add until the client has read the 408.
pub const LATE_NS: u64 = 500_000_000;
/// From a death until the processor's log tells of it, where nothing else does.
pub const TOLD_NS: u64 = 100_000_000;
/// From the death of a program until its worker, which has to be given a core, has seen it.
const SEEN_NS: u64 = 1_000_000_000;
/// Faults shown one by one; the rest is counted.
const SHOWN_MAX: usize = 20;

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
    pub traits: &'a Traits,
    pub timeout_ns: u64,
    pub late_ns: u64,
    pub told_ns: u64,
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
    /// Events whose program was to die of them.
    pub failures: u64,
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
    /// When programs of workers were killed from outside.
    helpers_killed: Vec<u64>,
    /// Times in which some worker had begun something and not ended, in their order.
    up: Vec<(u64, u64)>,
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
                By::KillHelper => {}
                By::Kill => drop(died_ns.insert(doom.pid, doom.at_ns)),
                By::Stop => {
                    note_first(&mut stopped_pids, doom.pid, doom.at_ns);
                    if doom.dead_ns != 0 {
                        died_ns.entry(doom.pid).or_insert(doom.dead_ns);
                    }
                }
            }
        }
        let until = |pid: &u32| died_ns.get(pid).copied().unwrap_or(u64::MAX);
        let stopped = stopped_pids.iter().map(|(pid, at)| (*at, until(pid))).collect();
        let runs_until = |pid: &u32| until(pid).min(*stopped_pids.get(pid).unwrap_or(&u64::MAX));
        let begun = first_notes(evidence.notes);
        let up = merged(begun.iter().map(|(pid, at)| (*at, runs_until(pid))));
        if !evidence.traits.one_at_a_time {
            // Retired first, so that the log does not tell of its end: some time after the stop.
            for (pid, at) in &stopped_pids {
                died_ns.entry(*pid).or_insert(*at);
            }
        }
        let mut order: Vec<_> = died_ns.iter().map(|(pid, at)| (*at, *pid)).collect();
        order.sort_unstable();
        let done = |by: By| evidence.dooms.iter().filter(move |doom| doom.by == by);
        let killed = done(By::Kill).map(|doom| doom.pid).collect();
        let helpers_killed = done(By::KillHelper).map(|doom| doom.at_ns).collect();
        Self { died_ns, order, stopped, stopped_pids, killed, helpers_killed, up }
    }

    /// Workers that died between two moments, but for those that are named.
    fn deaths_within(&self, from_ns: u64, to_ns: u64, but: &[Note]) -> usize {
        let at = |ns: u64| self.order.partition_point(|(died, _)| *died < ns);
        let named = |pid: u32| but.iter().any(|note| note.pid == pid);
        self.order[at(from_ns)..at(to_ns)].iter().filter(|(_, pid)| !named(*pid)).count()
    }

    /// For how long of a time some worker was up.
    fn up_within(&self, from_ns: u64, to_ns: u64) -> u64 {
        let first = self.up.partition_point(|(_, until)| *until <= from_ns);
        let here = self.up[first..].iter().take_while(|(from, _)| *from < to_ns);
        here.map(|(from, until)| to_ns.min(*until) - from_ns.max(*from)).sum()
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
        let case =
            Case { asked: (evidence.asked_of)(id as u64), line: *line, notes: own, evidence };
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
    let helpers_died = ends.helpers_killed.len() as u64 + account.failures;
    if account.count(500) > helpers_died {
        let failed = account.count(500);
        account.add_fault(&format!("{helpers_died} programs died and {failed} events failed"));
    }
    if evidence.traits.one_at_a_time && account.begun_lost > ends.died_ns.len() as u64 {
        let (lost, deaths) = (account.begun_lost, ends.died_ns.len());
        account.add_fault(&format!("{deaths} deaths cost {lost} begun events, one each at most"));
    }
    account.judge_deaths(evidence);
    account
}

/// Times in their order, those that touch made one.
fn merged(times: impl Iterator<Item = (u64, u64)>) -> Vec<(u64, u64)> {
    let mut times: Vec<_> = times.filter(|(from, until)| from < until).collect();
    times.sort_unstable();
    let mut merged: Vec<(u64, u64)> = Vec::new();
    for (from, until) in times {
        match merged.last_mut() {
            Some((_, last)) if from <= *last => *last = until.max(*last),
            _ => merged.push((from, until)),
        }
    }
    merged
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
    evidence: &'a Evidence<'a>,
}

impl Case<'_> {
    fn fault(&self, ends: &Ends) -> Option<String> {
        match self.line.fault {
            Some(Fault::Mixed(other)) => {
                let (own, other) = (name_of(self.asked.owner()), name_of(other));
                return Some(format!("the reply to {own} has bytes of {other}"));
            }
            Some(fault) => return Some(format!("no right and whole reply ({fault:?})")),
            None => {}
        }
        if self.notes.len() > 1 && !self.asked.method.may_be_repeated() {
            return Some("executed twice, though it may not be repeated".into());
        }
        if self.notes.len() > 2 {
            return Some("executed more than twice".into());
        }
        let in_order = |pair: &[Note]| pair[0].attempt < pair[1].attempt;
        if self.evidence.traits.tells_attempt && !self.notes.windows(2).all(in_order) {
            return Some("two executions of the same attempt".into());
        }
        // What a dead worker has left may note its execution after the next one has.
        let is_alive = |note: &&Note| !ends.died_ns.contains_key(&note.pid);
        let before = match self.notes.split_last() {
            Some((_, before)) if self.evidence.traits.tells_attempt => before,
            _ => self.notes,
        };
        let allowed = usize::from(!self.evidence.traits.tells_attempt);
        if before.iter().filter(is_alive).count() > allowed {
            return Some("executed again although its first worker did not die".into());
        }
        match self.line.status {
            200 => self.fault_of_ok(),
            500 => self.fault_of_failed(ends),
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
        let leaves_no_answer = matches!(self.asked.deed, Deed::Stop | Deed::Fail);
        if does && (self.asked.deed.dies_noted() || leaves_no_answer) {
            return Some("200 from an attempt that cannot have answered".into());
        }
        if self.is_late() {
            return Some("200 long after its deadline".into());
        }
        None
    }

    /// An event fails by the death of its program, and only by that.
    fn fault_of_failed(&self, ends: &Ends) -> Option<String> {
        if self.evidence.traits.helpers == Helpers::None {
            return Some("500, and no handler of this ledger fails".into());
        }
        let (from_ns, to_ns) = (self.line.sent_ns.saturating_sub(SEEN_NS), self.line.ended_ns);
        let is_hit = ends.helpers_killed.iter().any(|at| (from_ns..to_ns).contains(at));
        let fails = self.asked.deed == Deed::Fail && !self.notes.is_empty();
        (!is_hit && !fails).then(|| "500 although its program did not die".into())
    }

    fn fault_of_late(&self, ends: &Ends) -> Option<String> {
        let waited = self.waited_ns();
        if waited + EARLY_NS < self.evidence.timeout_ns {
            return Some("408 before its deadline".into());
        }
        if self.is_late() {
            return Some("408 long after its deadline".into());
        }
        // Where a start takes long, all workers can be gone for as long as an event waits.
        let up_ns = ends.up_within(self.line.sent_ns, self.line.ended_ns);
        let was_served = up_ns * 2 > waited;
        if was_served && !ends.stop_within(self.line.sent_ns, self.line.ended_ns) {
            return Some("408 although a worker was up and none was stopped".into());
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
        let (told_ns, from_ns) = (self.line.ended_ns + self.evidence.told_ns, noted.max());
        if from_ns.is_some_and(|died| died > told_ns) {
            return Some("502 before its worker died".into());
        }
        // The first attempt noted may be the second, after one that died unnoted.
        let is_first = self.notes.first().is_some_and(|note| note.attempt == 1);
        let from_ns = from_ns.filter(|_| is_first);
        let from_ns = from_ns.unwrap_or(self.line.sent_ns);
        let from_ns = from_ns.saturating_sub(self.evidence.traits.clock_slack_ns);
        let others = ends.deaths_within(from_ns, told_ns, self.notes);
        if self.notes.len() + others < needed {
            let noted = self.notes.len();
            return Some(format!("502 with {noted} noted and {others} other deaths of {needed}"));
        }
        None
    }

    /// Beyond what the deadline, and a machine that ran, explain.
    fn is_late(&self) -> bool {
        let Evidence { stalls, timeout_ns, late_ns, .. } = *self.evidence;
        let stood = lost_within(stalls, self.line.sent_ns, self.line.ended_ns);
        self.waited_ns() > timeout_ns + late_ns + stood
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
        if self.asked.deed == Deed::Fail && !self.notes.is_empty() {
            account.failures += 1;
        }
        let [first, second] = self.notes else { return };
        if !self.evidence.traits.tells_attempt {
            return;
        }
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

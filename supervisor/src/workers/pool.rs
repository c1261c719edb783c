//! The pool thread: one loop over signals, messages, handshakes, ends and output of workers.
//!
//! It owns every worker until the handshake is over; from then on the data thread watches the
//! process and says when it may be reaped. What follows from a birth or a death: `turnover.rs`.

use std::collections::{BTreeMap, HashSet};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rings::attach::{AttachError, ProcessorHandshake, Step};
use rings::processor_end::ProcessorEnd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::board::{RowState, WorkerRow};
use super::output::Output;
use super::recycle::{Recycler, Wear};
use super::restart::Restart;
use super::turnover::Failure;
use super::zygote::{ZygoteSeat, ZygoteWake};
use super::{Links, WorkersConfig, reaper};
use crate::crossing::{AttachedWorker, DeathCause, Generation, ToData, ToPool, WorkerId};
use crate::log::Level;
use crate::signals::Wish;

/// Exit code after a second SIGINT: what a shell reports for SIGINT.
const EXIT_INTERRUPTED: u8 = 130;
/// A worker that closed its socket is about to say why; it gets this long.
const LAST_WORDS_LIMIT: Duration = Duration::from_secs(1);
/// After a worker's death its descendants still turn up as our children for a while.
const STRAYS_SEEN_FOR: Duration = Duration::from_secs(1);
/// After the workers were killed at the end of a drain: until the data thread has settled it.
const SETTLE_LIMIT: Duration = Duration::from_secs(2);
/// Until killed processes are gone, at the very end.
const END_LIMIT: Duration = Duration::from_secs(1);
const END_LIMIT_INTERRUPTED: Duration = Duration::from_millis(200);

/// The pool thread's state.
pub struct Pool {
    pub(super) config: WorkersConfig,
    pub(super) links: Links,
    pub(super) workers: BTreeMap<WorkerId, Worker>,
    pub(super) seats: Vec<Seat>,
    pub(super) next_id: WorkerId,
    /// The generation given out last.
    pub(super) newest: Generation,
    /// The generation whose workers have been ready together; 0 = none yet.
    pub(super) serving: Generation,
    /// The generation that is to replace it.
    pub(super) reload: Option<Generation>,
    pub(super) phase: Phase,
    /// The code is broken and only a save can help.
    pub(super) waits_for_save: bool,
    /// What the data thread was told last of each pool.
    pub(super) crash_loop_told: Vec<bool>,
    pub(super) board_is_stale: bool,
    /// Set when the program ends.
    pub(super) exit: Option<u8>,
    pub(super) strays_until: Option<Instant>,
    pub(super) zygote: ZygoteSeat,
    pub(super) recycler: Recycler,
    interrupts: u32,
}

/// Where the program is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not all workers have been ready together yet.
    Starting,
    Serving,
    Draining {
        kill_at: Instant,
        killed: bool,
        drained: bool,
    },
}

/// One place in a worker pool, held by one worker after the other.
pub(super) struct Seat {
    /// Index in the configuration's list of pools.
    pub(super) pool: usize,
    pub(super) restart: Restart,
    pub(super) restarts: u64,
    pub(super) last_death: Option<String>,
    pub(super) last_id: WorkerId,
    /// When the next worker is started, after a pause.
    pub(super) due: Option<Instant>,
}

pub(super) struct Worker {
    pub(super) seat: usize,
    pub(super) generation: Generation,
    pub(super) pid: i32,
    pub(super) pidfd: OwnedFd,
    pub(super) state: State,
    pub(super) fate: Fate,
    pub(super) output: Output,
    pub(super) wear: Wear,
    pub(super) started: Instant,
    /// It is killed when it is not ready, or not gone, by then.
    pub(super) deadline: Option<Instant>,
}

pub(super) enum State {
    Attaching(Box<ProcessorHandshake>),
    /// The handshake failed with this; it ends soon.
    Lost(String),
    Attached,
    Ready,
}

/// What has been decided about a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Open,
    /// It cannot start, and that has been said.
    Failed,
    /// Ended by us; nobody need hear of it.
    Dismissed,
    /// Gets no new events and is stopped when it is idle.
    Retired,
}

impl Worker {
    pub(super) fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready)
    }

    pub(super) fn is_attached(&self) -> bool {
        matches!(self.state, State::Attached | State::Ready)
    }
}

enum Wake {
    Signals,
    Inbox,
    Handshake(WorkerId),
    Ended(WorkerId),
    Output(WorkerId, usize),
    Zygote(ZygoteWake),
}

impl Pool {
    pub fn new(config: WorkersConfig, links: Links) -> Pool {
        let seats = config.pools.iter().enumerate().flat_map(|(pool, plan)| {
            (0..plan.worker_count).map(move |_| Seat {
                pool,
                restart: Restart::default(),
                restarts: 0,
                last_death: None,
                last_id: 0,
                due: None,
            })
        });
        Pool {
            seats: seats.collect(),
            workers: BTreeMap::new(),
            next_id: 0,
            newest: 0,
            serving: 0,
            reload: None,
            phase: Phase::Starting,
            waits_for_save: false,
            crash_loop_told: vec![false; config.pools.len()],
            board_is_stale: true,
            exit: None,
            strays_until: None,
            zygote: ZygoteSeat::default(),
            recycler: Recycler::new(config.recycle.clone(), config.pools.len()),
            interrupts: 0,
            config,
            links,
        }
    }

    /// Ends when the program is to end, with no process left.
    pub fn run(mut self) {
        self.start_generation();
        while self.exit.is_none() {
            if std::mem::take(&mut self.board_is_stale) {
                self.links.board.write(self.rows());
            }
            for wake in self.wait(self.next_due()) {
                self.wake(&wake);
            }
            self.run_timers(Instant::now());
        }
        let code = self.exit.unwrap_or(1);
        self.end_all(if code == EXIT_INTERRUPTED { END_LIMIT_INTERRUPTED } else { END_LIMIT });
        let _ = self.links.end.send(code);
    }

    fn wake(&mut self, wake: &Wake) {
        match *wake {
            Wake::Signals => self.on_signals(),
            Wake::Inbox => self.on_messages(),
            Wake::Handshake(id) => self.on_handshake(id),
            // One that was attached in this very turn is the data thread's, which takes its last
            // words before it says that it died.
            Wake::Ended(id) if self.workers.get(&id).is_some_and(Worker::is_attached) => {}
            Wake::Ended(id) => self.died(id, false, 0, &DeathCause::Itself),
            Wake::Output(id, index) => {
                if let Some(worker) = self.workers.get_mut(&id) {
                    worker.output.drain(index, &self.links.log);
                }
            }
            Wake::Zygote(wake) => self.wake_zygote(wake),
        }
    }

    fn wait(&self, until: Option<Instant>) -> Vec<Wake> {
        let signals = PollFd::new(&self.links.signals, PollFlags::IN);
        let mut wakes = vec![Wake::Signals, Wake::Inbox];
        let mut fds = vec![signals, PollFd::new(&self.links.inbox, PollFlags::IN)];
        for (id, worker) in &self.workers {
            if let State::Attaching(handshake) = &worker.state {
                fds.push(PollFd::from_borrowed_fd(handshake.socket(), PollFlags::IN));
                wakes.push(Wake::Handshake(*id));
            }
            if !worker.is_attached() {
                fds.push(PollFd::new(&worker.pidfd, PollFlags::IN));
                wakes.push(Wake::Ended(*id));
            }
            for (index, pipe) in worker.output.pipes() {
                fds.push(PollFd::from_borrowed_fd(pipe, PollFlags::IN));
                wakes.push(Wake::Output(*id, index));
            }
        }
        for (wake, fd) in self.zygote.wakes() {
            fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
            wakes.push(Wake::Zygote(wake));
        }
        let left = until.map(|at| at.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        if poll(&mut fds, left.as_ref()).is_err() {
            return Vec::new();
        }
        let woken = fds.iter().map(|fd| !fd.revents().is_empty());
        woken.zip(wakes).filter_map(|(is_woken, wake)| is_woken.then_some(wake)).collect()
    }

    fn next_due(&self) -> Option<Instant> {
        let drain = match self.phase {
            Phase::Draining { kill_at, killed: false, .. } => Some(kill_at),
            Phase::Draining { kill_at, killed: true, .. } => Some(kill_at + SETTLE_LIMIT),
            _ => None,
        };
        let seats = self.seats.iter().filter_map(|seat| seat.due);
        let workers = self
            .workers
            .values()
            .flat_map(|worker| worker.deadline.into_iter().chain(worker.output.announce_at()))
            .chain(self.workers.values().filter_map(|worker| worker.wear.next_due()));
        let others = self.zygote.next_due().into_iter().chain(self.recycler.next_due());
        drain.into_iter().chain(seats).chain(workers).chain(others).min()
    }

    fn run_timers(&mut self, now: Instant) {
        for worker in self.workers.values_mut() {
            worker.output.announce(&self.links.log, now);
        }
        let is_overdue = |worker: &Worker| worker.deadline.is_some_and(|at| at <= now);
        let overdue: Vec<WorkerId> =
            self.workers.iter().filter(|(_, w)| is_overdue(w)).map(|(id, _)| *id).collect();
        for id in overdue {
            self.overdue(id);
        }
        for seat in 0..self.seats.len() {
            if self.seats[seat].due.is_some_and(|at| at <= now) {
                self.seats[seat].due = None;
                self.spawn_into(seat, self.target());
            }
        }
        self.run_zygote_timers(now);
        self.run_recycling(now);
        self.run_drain(now);
    }

    fn on_signals(&mut self) {
        for wish in self.links.signals.read() {
            match wish {
                // Its worker gets this Ctrl-C as well and decides: its debugger takes it, or it says
                // so. By SIGTERM, since a second SIGINT is one with the first until we read that.
                Wish::TerminalInterrupt if self.config.debug && !self.workers.is_empty() => {}
                Wish::Drain { sender } if self.is_debugged(sender) => self.interrupted(),
                Wish::Interrupt | Wish::TerminalInterrupt => self.interrupted(),
                Wish::Drain { .. } | Wish::HungUp => self.begin_drain(),
                Wish::Reload => self.begin_reload(),
                Wish::ChildEnded => self.tend_orphans(),
            }
        }
    }

    fn is_debugged(&self, pid: i32) -> bool {
        self.config.debug && self.workers.values().any(|worker| worker.pid == pid)
    }

    fn interrupted(&mut self) {
        self.interrupts += 1;
        if self.interrupts > 1 {
            self.exit = Some(EXIT_INTERRUPTED);
        }
        self.begin_drain();
    }

    fn on_messages(&mut self) {
        self.links.inbox.quiet();
        while let Some(message) = self.links.inbox.try_recv() {
            match message {
                ToPool::Ready { id, runtime_version } => self.became_ready(id, &runtime_version),
                ToPool::InitFailed { id, usage, text } => {
                    self.worker_failed(id, &Failure { usage, text });
                }
                ToPool::Died { id, was_ready, completed, cause } => {
                    self.died(id, was_ready, completed, &cause);
                }
                ToPool::Retiring { id, cause } => self.retiring(id, &cause),
                ToPool::Worn { id } => self.has_answered_enough(id),
                ToPool::Drained => self.drained(),
                ToPool::Reload => self.begin_reload(),
                ToPool::StopNow => self.exit = Some(EXIT_INTERRUPTED),
            }
        }
    }

    fn on_handshake(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let State::Attaching(handshake) = &mut worker.state else { return };
        match handshake.step() {
            Ok(Step::Wait) => {}
            Ok(Step::Done(end)) => self.attach(id, end),
            Err(AttachError::Closed) => {
                worker.state = State::Lost(AttachError::Closed.to_string());
                worker.deadline = Some(Instant::now() + LAST_WORDS_LIMIT);
            }
            Err(error) => {
                worker.state = State::Lost(error.to_string());
                let text = format!("worker {id} cannot be attached: {error}");
                self.worker_failed(id, &Failure { usage: false, text });
            }
        }
    }

    fn attach(&mut self, id: WorkerId, end: Box<ProcessorEnd>) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if let Some(failure) = wrong_version(&self.config, end.runtime_version()) {
            worker.state = State::Lost(failure.text.clone());
            return self.worker_failed(id, &failure);
        }
        let pidfd = match worker.pidfd.try_clone() {
            Ok(pidfd) => pidfd,
            Err(error) => {
                worker.state = State::Lost(error.to_string());
                let text = format!("worker {id} cannot be watched: {error}");
                return self.worker_failed(id, &Failure { usage: false, text });
            }
        };
        worker.state = State::Attached;
        worker.output.attached(&self.links.log);
        let attached = AttachedWorker {
            id,
            pool: self.config.pools[self.seats[worker.seat].pool].id,
            generation: worker.generation,
            pid: worker.pid,
            pidfd,
            worn_after: self.recycler.events(id),
            end: *end,
        };
        self.tell_data(ToData::Attached(Box::new(attached)));
    }

    /// The data thread ends only with the program, and its queue has room for all we may say.
    pub(super) fn tell_data(&mut self, message: ToData) {
        // Once the drain is over it has ended, and what could still be said is of no use.
        let drained = matches!(self.phase, Phase::Draining { drained: true, .. });
        let refused = self.links.to_data.send(message).is_err();
        if refused && !drained && self.exit.is_none() {
            self.links.log.error("the data thread does not listen any more; ending");
            self.exit = Some(1);
        }
    }

    /// Runs what was registered for the first time that all workers are ready.
    pub(super) fn announce_ready(&mut self, version: &str) {
        if let Some(on_ready) = self.links.on_ready.take() {
            // Who reads the ready line and asks at once finds the workers in the list.
            self.links.board.write(self.rows());
            on_ready(version);
        }
    }

    fn begin_drain(&mut self) {
        if matches!(self.phase, Phase::Draining { .. }) {
            return;
        }
        let kill_at = Instant::now() + self.config.termination_limit;
        self.phase = Phase::Draining { kill_at, killed: false, drained: false };
        self.links.log.info("draining: no new events, those in flight finish");
        for seat in &mut self.seats {
            seat.due = None;
        }
        self.tell_data(ToData::Drain);
        self.board_is_stale = true;
    }

    fn drained(&mut self) {
        let Phase::Draining { drained, .. } = &mut self.phase else { return };
        *drained = true;
        // Ready workers were told to stop; the others never had an event.
        for worker in self.workers.values_mut().filter(|worker| !worker.is_ready()) {
            worker.fate = Fate::Dismissed;
            reaper::kill_group(worker.pid);
        }
    }

    fn run_drain(&mut self, now: Instant) {
        let Phase::Draining { kill_at, killed, drained } = self.phase else { return };
        if !killed && now >= kill_at {
            let limit = self.config.termination_limit;
            let text = format!("not drained after {limit:?} (workerTerminationTimeout): ending");
            self.links.log.warn(text);
            for worker in self.workers.values_mut() {
                worker.fate = Fate::Dismissed;
                reaper::kill_group(worker.pid);
            }
            self.phase = Phase::Draining { kill_at, killed: true, drained };
        }
        let is_settled = self.workers.is_empty() && (drained || killed);
        if is_settled || now >= kill_at + SETTLE_LIMIT {
            // Whatever was cut off was in flight; a worker that only lingered had nothing left.
            self.exit = self.exit.or(Some(u8::from(!drained)));
        }
    }

    fn tend_orphans(&mut self) {
        if self.strays_until.is_some_and(|until| Instant::now() < until) {
            self.kill_strays();
        }
        let pids = self.pids();
        reaper::reap_orphans(|pid| pids.contains(&pid));
    }

    /// Call after a worker was taken from the list.
    pub(super) fn expect_strays(&mut self) {
        self.strays_until = Some(Instant::now() + STRAYS_SEEN_FOR);
        self.kill_strays();
    }

    fn kill_strays(&self) {
        let pids = self.pids();
        let is_alive = |id| self.workers.contains_key(&id) || self.zygote.is_alive(id);
        reaper::kill_strays(|pid| pids.contains(&pid), is_alive);
    }

    fn pids(&self) -> HashSet<i32> {
        self.workers.values().map(|worker| worker.pid).chain(self.zygote.pid()).collect()
    }

    /// Kills whatever still runs, and waits a moment until it is gone.
    fn end_all(&mut self, limit: Duration) {
        let deadline = Instant::now() + limit;
        self.end_zygote();
        for worker in self.workers.values() {
            reaper::kill_group(worker.pid);
        }
        while !self.workers.is_empty() && Instant::now() < deadline {
            self.wait_for_ends(deadline);
            let log = &self.links.log;
            self.workers.retain(|_, worker| {
                let is_gone = reaper::reap(worker.pidfd.as_fd()).is_some();
                if is_gone {
                    worker.output.finish(log);
                }
                !is_gone
            });
        }
        while reaper::has_children() && Instant::now() < deadline {
            self.kill_strays();
            let pids = self.pids();
            reaper::reap_orphans(|pid| pids.contains(&pid));
            self.wait_for_a_child(deadline);
        }
    }

    fn wait_for_ends(&self, deadline: Instant) {
        let mut fds: Vec<PollFd<'_>> =
            self.workers.values().map(|w| PollFd::new(&w.pidfd, PollFlags::IN)).collect();
        let left = deadline.saturating_duration_since(Instant::now());
        let _ = poll(&mut fds, Timespec::try_from(left).ok().as_ref());
    }

    /// A killed child says so by SIGCHLD; one that is handed to us only now does not.
    fn wait_for_a_child(&self, deadline: Instant) {
        const LOOK_AGAIN: Duration = Duration::from_millis(10);
        if !reaper::has_children() {
            return;
        }
        let left = deadline.saturating_duration_since(Instant::now()).min(LOOK_AGAIN);
        let mut fds = [PollFd::new(&self.links.signals, PollFlags::IN)];
        let _ = poll(&mut fds, Timespec::try_from(left).ok().as_ref());
        self.links.signals.read();
    }

    fn rows(&self) -> Vec<WorkerRow> {
        let mut rows: Vec<WorkerRow> =
            self.workers.iter().map(|(id, worker)| self.row(*id, worker)).collect();
        let held: HashSet<usize> = self.workers.values().map(|worker| worker.seat).collect();
        for (index, seat) in self.seats.iter().enumerate() {
            if held.contains(&index) {
                continue;
            }
            rows.push(WorkerRow {
                id: seat.last_id,
                pid: 0,
                pool: self.config.pools[seat.pool].name.clone(),
                state: if seat.due.is_some() { RowState::Backoff } else { RowState::Dead },
                generation: self.target(),
                restarts: seat.restarts,
                last_death: seat.last_death.clone(),
                started: None,
            });
        }
        rows
    }

    fn row(&self, id: WorkerId, worker: &Worker) -> WorkerRow {
        let seat = &self.seats[worker.seat];
        let state = match (worker.fate, worker.is_ready()) {
            (Fate::Open, true) => RowState::Ready,
            (Fate::Open, false) => RowState::Starting,
            _ => RowState::Draining,
        };
        WorkerRow {
            id,
            pid: worker.pid,
            pool: self.config.pools[seat.pool].name.clone(),
            state,
            generation: worker.generation,
            restarts: seat.restarts,
            last_death: seat.last_death.clone(),
            started: Some(worker.started),
        }
    }

    /// Says something about the start to the person who waits for it, or to the log later on.
    pub(super) fn complain(&self, text: &str) {
        match self.phase {
            Phase::Starting => self.links.log.state(Level::Error, text),
            _ => self.links.log.error(text),
        }
    }
}

/// `3.13` is satisfied by `3.13` and `3.13.1`, not by `3.1` nor `3.130`.
fn wrong_version(config: &WorkersConfig, found: &str) -> Option<Failure> {
    let wanted = config.version_wanted.as_deref()?;
    let matches = found.strip_prefix(wanted).is_some_and(|r| r.is_empty() || r.starts_with('.'));
    if matches {
        return None;
    }
    let language = &config.runtime_id;
    let program = config.launch.command_line.first().map_or("", String::as_str);
    let text = format!(
        "spec.runtime: {language}:{wanted} is asked for, but {program} is {language} {found}; name \
         an interpreter of that version, or ask for another version"
    );
    Some(Failure { usage: true, text })
}

//! Births, failures and deaths of workers, and what follows from them: replacements, reloads, the
//! end of a start that cannot succeed.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rings::attach::{ProcessorHandshake, WORKER_FD_ENV};

use super::init::EXIT_NOT_STARTED;
use super::output::Output;
use super::pool::{Fate, Phase, Pool, State, Worker};
use super::reaper::{self, Exit};
use super::recycle::Wear;
use super::restart::{Action, Death};
use super::spawn::{Spawned, spawn};
use crate::crossing::{DeathCause, Generation, ToData, WorkerId};
use crate::log::now_ns;

/// By this code (EX_CONFIG) a worker says that it refuses the interpreter or its surroundings; its
/// stderr says why.
const EXIT_REFUSED: i32 = 78;

/// Why a worker cannot become ready.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    /// A mistake of the kind that ends the program with 2 instead of 1.
    pub(super) usage: bool,
    /// For people; with the user's own traceback where there is one.
    pub(super) text: String,
}

impl Pool {
    /// Starts a worker for every place.
    pub(super) fn start_generation(&mut self) {
        self.newest += 1;
        self.waits_for_save = false;
        self.preload();
        for seat in 0..self.seats.len() {
            self.seats[seat].due = None;
            self.spawn_into(seat, self.newest);
            if self.exit.is_some() || self.waits_for_save {
                break;
            }
        }
        self.tell_crash_loops();
    }

    /// The generation that a worker started now belongs to.
    pub(super) fn target(&self) -> Generation {
        match self.reload {
            Some(generation) => generation,
            None if self.serving > 0 => self.serving,
            None => self.newest,
        }
    }

    pub(super) fn spawn_into(&mut self, seat: usize, generation: Generation) {
        let id = self.next_id;
        self.next_id += 1;
        self.seats[seat].last_id = id;
        self.board_is_stale = true;
        if !self.ask_zygote(id, seat, generation) {
            self.spawn_plainly(id, seat, generation);
        }
    }

    /// Starts a worker from nothing.
    pub(super) fn spawn_plainly(&mut self, id: WorkerId, seat: usize, generation: Generation) {
        match spawn(&self.config.launch, WORKER_FD_ENV, id) {
            Ok(spawned) => {
                let worker = self.worker_of(spawned, id, seat, generation);
                self.workers.insert(id, worker);
            }
            Err(error) => {
                let text = format!("worker {id} cannot be started: {error}");
                self.cannot_start(generation, &Failure { usage: false, text });
                let death = Death { was_ready: false, completed: 0, overdue: false };
                self.replace(seat, death);
            }
        }
    }

    pub(super) fn worker_of(
        &self,
        spawned: Spawned,
        id: WorkerId,
        seat: usize,
        generation: Generation,
    ) -> Worker {
        let mut offer = self.config.pools[self.seats[seat].pool].offer.clone();
        offer.worker_id = id;
        let memory = self.config.event_memory.clone();
        let handshake = ProcessorHandshake::new(spawned.socket, offer, memory);
        let started = Instant::now();
        Worker {
            seat,
            generation,
            pid: spawned.pid,
            pidfd: spawned.pidfd,
            state: State::Attaching(Box::new(handshake)),
            fate: Fate::Open,
            output: Output::new(id, spawned.stdout, spawned.stderr),
            wear: Wear::default(),
            started,
            deadline: started.checked_add(self.config.start_limit),
        }
    }

    pub(super) fn became_ready(&mut self, id: WorkerId, version: &str) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.state = State::Ready;
        self.board_is_stale = true;
        if worker.fate != Fate::Open {
            return;
        }
        worker.deadline = None;
        let generation = worker.generation;
        self.begin_wear(id);
        self.tell_crash_loops();
        if generation != self.target() || !self.is_complete(generation) {
            return;
        }
        match self.phase {
            Phase::Starting => {
                self.phase = Phase::Serving;
                self.serving = generation;
                self.announce_ready(version);
                self.want_zygote();
            }
            Phase::Serving if self.reload == Some(generation) => self.finish_reload(generation),
            _ => {}
        }
    }

    /// Whether every place has a ready worker of this generation; none ever has two.
    fn is_complete(&self, generation: Generation) -> bool {
        let serves =
            |w: &&Worker| w.generation == generation && w.is_ready() && w.fate == Fate::Open;
        self.workers.values().filter(serves).count() == self.seats.len()
    }

    pub(super) fn begin_reload(&mut self) {
        if self.config.debug {
            let text = "not reloaded: --debug has one worker; end it and start it again";
            return self.links.log.warn(text);
        }
        match self.phase {
            Phase::Draining { .. } => return,
            Phase::Starting => self.dismiss(self.newest, true),
            Phase::Serving => {
                if let Some(superseded) = self.reload {
                    self.dismiss(superseded, false);
                }
                self.reload = Some(self.newest + 1);
            }
        }
        self.links.log.info("reloading: starting new workers");
        self.start_generation();
    }

    fn finish_reload(&mut self, generation: Generation) {
        self.reload = None;
        self.serving = generation;
        let now = Instant::now();
        let mut since = now;
        for worker in self.workers.values_mut() {
            if worker.generation == generation {
                since = since.min(worker.started);
            } else if worker.fate == Fate::Open && !worker.is_attached() {
                // The data thread does not know it yet, so it could not stop it.
                worker.fate = Fate::Dismissed;
                reaper::kill_group(worker.pid);
            } else if worker.fate == Fate::Open {
                worker.fate = Fate::Retired;
                // While code is being written, old code may well loop for ever.
                worker.deadline = self.config.watch.then(|| now + self.config.termination_limit);
            }
        }
        let pools: Vec<_> = self.config.pools.iter().map(|plan| plan.id).collect();
        for pool in pools {
            self.tell_data(ToData::Retire { pool, below: generation });
        }
        self.links.log.info(format!("reloaded in {} ms", (now - since).as_millis()));
    }

    /// A worker cannot become ready, and is ended.
    pub(super) fn worker_failed(&mut self, id: WorkerId, failure: &Failure) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        reaper::kill_group(worker.pid);
        if worker.fate != Fate::Open {
            return;
        }
        worker.fate = Fate::Failed;
        let generation = worker.generation;
        self.cannot_start(generation, failure);
    }

    /// Its time to become ready, to explain itself or to go is over.
    pub(super) fn overdue(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.deadline = None;
        if let State::Lost(_) = worker.state {
            // Its death is reported like any other.
            return reaper::kill_group(worker.pid);
        }
        if worker.fate == Fate::Retired {
            self.links.log.warn(format!("worker {id} of the old code did not finish: ended"));
            return reaper::kill_group(worker.pid);
        }
        let text = format!(
            "worker {id} was not ready after {:?} (spec.readinessTimeoutSeconds): the import of \
             the code or init_context hangs or takes too long{}",
            self.config.start_limit,
            written(&worker.output)
        );
        self.worker_failed(id, &Failure { usage: false, text });
    }

    /// Decides what it means that a worker of this generation cannot start.
    fn cannot_start(&mut self, generation: Generation, failure: &Failure) {
        match self.phase {
            Phase::Starting if self.config.watch => {
                self.complain(&failure.text);
                self.links.log.info("waiting for the next save");
                self.waits_for_save = true;
                self.dismiss(generation, true);
                self.tell_crash_loops();
            }
            // Another worker has said it, most often in the same words.
            Phase::Starting if self.exit.is_some() => {}
            Phase::Starting => {
                self.complain(&failure.text);
                self.exit = Some(if failure.usage { 2 } else { 1 });
            }
            Phase::Serving if self.reload == Some(generation) && !self.has_ready(generation) => {
                self.complain(&format!("reload failed, the old code goes on: {}", failure.text));
                self.reload = None;
                self.dismiss(generation, false);
                self.fill_vacant_seats();
            }
            Phase::Serving | Phase::Draining { .. } => self.complain(&failure.text),
        }
    }

    fn has_ready(&self, generation: Generation) -> bool {
        self.workers.values().any(|worker| worker.generation == generation && worker.is_ready())
    }

    /// Ends the workers of a generation that is not wanted any more.
    fn dismiss(&mut self, generation: Generation, also_ready: bool) {
        for worker in self.workers.values_mut() {
            if worker.generation == generation && (also_ready || !worker.is_ready()) {
                worker.fate = Fate::Dismissed;
                worker.deadline = None;
                reaper::kill_group(worker.pid);
            }
        }
        self.board_is_stale = true;
    }

    /// The data thread will end this worker as soon as its other events have ended.
    pub(super) fn retiring(&mut self, id: WorkerId, cause: &DeathCause) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if worker.fate != Fate::Open {
            return;
        }
        worker.fate = Fate::Retired;
        let (seat, was_ready) = (worker.seat, worker.is_ready());
        self.board_is_stale = true;
        let why = match cause {
            DeathCause::Deadline => "an event ran past eventTimeout".to_string(),
            DeathCause::Violation(what) => format!("it broke the protocol ({what})"),
            DeathCause::Itself | DeathCause::Asked => "it is being stopped".to_string(),
        };
        self.links.log.warn(format!("worker {id} gets no new events: {why}; replaced at once"));
        if self.is_vacant(seat) {
            let overdue = *cause == DeathCause::Deadline;
            // Events it has completed are not known here; that it was ready is what counts.
            self.replace(seat, Death { was_ready, completed: u64::from(was_ready), overdue });
        }
        self.tell_crash_loops();
    }

    /// A worker has ended, and everything it held is settled.
    pub(super) fn died(
        &mut self,
        id: WorkerId,
        was_ready: bool,
        completed: u64,
        cause: &DeathCause,
    ) {
        let Some(mut worker) = self.workers.remove(&id) else { return };
        self.board_is_stale = true;
        // Still safe: its number is not given away before it is reaped.
        reaper::kill_group(worker.pid);
        worker.output.finish(&self.links.log);
        let exit = reaper::reap(worker.pidfd.as_fd()).unwrap_or(Exit::Unknown);
        self.expect_strays();
        self.seats[worker.seat].last_death = Some(death_text(cause, exit));
        if worker.fate == Fate::Open && !was_ready {
            self.cannot_start(worker.generation, &failure_of(id, &worker, cause, exit));
        }
        if !was_ready && worker.fate != Fate::Dismissed {
            self.relief_failed(worker.seat);
        }
        let is_draining = matches!(self.phase, Phase::Draining { .. });
        let was_asked = *cause == DeathCause::Asked;
        let action = if !self.is_vacant(worker.seat) || (is_draining && was_asked) {
            None
        } else if worker.fate == Fate::Dismissed || was_asked {
            self.replace_now(worker.seat)
        } else {
            let overdue = *cause == DeathCause::Deadline;
            self.replace(worker.seat, Death { was_ready, completed, overdue })
        };
        let text = death_line(id, worker.pid, cause, exit, action);
        // The end of one that could not start has been told already.
        if worker.fate != Fate::Open || was_asked || !was_ready {
            self.links.log.debug(text);
        } else {
            self.links.log.warn(text);
        }
        self.tell_crash_loops();
    }

    /// Whether nobody holds this place, and nobody is about to.
    fn is_vacant(&self, seat: usize) -> bool {
        let holds = |w: &Worker| w.seat == seat && matches!(w.fate, Fate::Open | Fate::Failed);
        let is_due = self.seats[seat].due.is_some() || self.zygote.owes(seat);
        !is_due && !self.workers.values().any(holds)
    }

    fn fill_vacant_seats(&mut self) {
        for seat in 0..self.seats.len() {
            if self.is_vacant(seat) {
                self.replace_now(seat);
            }
        }
    }

    /// By the rules for deaths in a row. Says what it does, if anything.
    fn replace(&mut self, seat: usize, death: Death) -> Option<Action> {
        // Clock and number of the worker are random enough for a jitter.
        let random = now_ns() as u32 ^ self.next_id;
        let action = self.seats[seat].restart.next(death, random);
        self.follow(seat, action)
    }

    fn replace_now(&mut self, seat: usize) -> Option<Action> {
        self.follow(seat, Action::Now)
    }

    fn follow(&mut self, seat: usize, action: Action) -> Option<Action> {
        if self.exit.is_some() || self.waits_for_save || !self.may_replace(seat, action) {
            return None;
        }
        let pause = match action {
            Action::Now => Duration::ZERO,
            Action::After(pause) | Action::CrashLoop(pause) => pause,
        };
        self.seats[seat].restarts += 1;
        // By the timers at the end of this very turn if the pause is none.
        self.seats[seat].due = Some(Instant::now() + pause);
        Some(action)
    }

    /// While draining only a pool's last worker is replaced: events may still wait for it.
    fn may_replace(&self, seat: usize, action: Action) -> bool {
        let Phase::Draining { killed, drained, .. } = self.phase else { return true };
        let pool = self.seats[seat].pool;
        let serves = |w: &Worker| self.seats[w.seat].pool == pool && w.fate == Fate::Open;
        action == Action::Now && !killed && !drained && !self.workers.values().any(serves)
    }

    /// Tells the data thread for which pools waiting is useless, if that has changed.
    fn tell_crash_loops(&mut self) {
        for pool in 0..self.config.pools.len() {
            let serves = |w: &Worker| self.seats[w.seat].pool == pool && w.is_ready();
            let is_served = self.workers.values().any(serves);
            let mut seats = self.seats.iter().filter(|seat| seat.pool == pool);
            let is_hopeless = self.waits_for_save || seats.all(|seat| seat.restart.in_crash_loop());
            let active = is_hopeless && !is_served;
            if self.crash_loop_told[pool] != active {
                self.crash_loop_told[pool] = active;
                let id = self.config.pools[pool].id;
                self.tell_data(ToData::CrashLoop { pool: id, active });
            }
        }
    }
}

fn death_text(cause: &DeathCause, exit: Exit) -> String {
    match cause {
        DeathCause::Itself | DeathCause::Asked => exit.to_string(),
        DeathCause::Deadline => format!("{exit}: an event ran past eventTimeout"),
        DeathCause::Violation(what) => format!("{exit}: it broke the protocol ({what})"),
    }
}

fn death_line(
    id: WorkerId,
    pid: i32,
    cause: &DeathCause,
    exit: Exit,
    action: Option<Action>,
) -> String {
    let what = death_text(cause, exit);
    let then = match action {
        None => String::new(),
        Some(Action::Now) => "; replaced at once".into(),
        Some(Action::After(pause)) => format!("; replaced in {} ms", pause.as_millis()),
        Some(Action::CrashLoop(pause)) => {
            format!("; crash loop, next try in {} ms", pause.as_millis())
        }
    };
    format!("worker {id} (pid {pid}) ended: {what}{then}")
}

/// What to tell people of a worker that ended before it was ready.
fn failure_of(id: WorkerId, worker: &Worker, cause: &DeathCause, exit: Exit) -> Failure {
    let refusals = [i32::from(EXIT_NOT_STARTED), EXIT_REFUSED].map(Exit::Code);
    let usage = !worker.is_attached() && refusals.contains(&exit);
    if usage && !worker.output.tail().trim_ascii().is_empty() {
        let text = String::from_utf8_lossy(worker.output.tail().trim_ascii()).into_owned();
        return Failure { usage, text };
    }
    let mut text = format!("worker {id} ended before it was ready: {}", death_text(cause, exit));
    // Who ends closes its socket: only for one that we had to end is that worth a word.
    if let (State::Lost(reason), Exit::Signal(_)) = (&worker.state, exit) {
        text.push_str(&format!(" ({reason})"));
    }
    text.push_str(&written(&worker.output));
    Failure { usage, text }
}

/// What a worker wrote to stderr before it was attached, to end a sentence with.
fn written(output: &Output) -> String {
    match output.tail().trim_ascii() {
        [] => String::new(),
        tail => format!("; it wrote:\n{}", String::from_utf8_lossy(tail)),
    }
}

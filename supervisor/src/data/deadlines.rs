//! Time: events that waited or ran too long, workers that must give events back, the tick.

use super::inflight::{ClaimKey, ClaimState, EventKey, Place, Worker, WorkerKey, WorkerState};
use super::reactor::Data;
use super::verdict::{Action, End, Request, request_reply};
use crate::crossing::{DeathCause, ToPool};
use crate::limits::{CANCEL_GRACE_NS_MIN, RECALL_AFTER_NS_MIN, RECALL_AFTER_TIMES, TICK_NS};

/// Compact the deadlines of a trigger when more than this many are of ended events.
const STALE_DEADLINES_MAX: usize = 4096;

impl Data {
    /// Notes an event's deadline, if it has one.
    pub fn queue_deadline(&mut self, trigger: usize, deadline_ns: u64, key: EventKey) {
        if deadline_ns == 0 {
            return;
        }
        let deadlines = &mut self.triggers[trigger].deadlines;
        // All deadlines of a trigger are equally long, so they are in order. Ended events leave
        // their entries; so that a long deadline does not keep them, they are swept out.
        if deadlines.len() > STALE_DEADLINES_MAX && deadlines.len() > 2 * self.events.len() {
            let events = &self.events;
            deadlines.retain(|(_, key)| events.get(*key).is_some_and(|e| e.place != Place::Ended));
        }
        deadlines.push_back((deadline_ns, key));
    }

    /// The next moment at which an event is due.
    pub fn next_deadline_ns(&mut self) -> Option<u64> {
        let mut due: Option<u64> = None;
        for number in 0..self.triggers.len() {
            self.drop_ended(number);
            let trigger = &mut self.triggers[number];
            while let Some((_, key)) = trigger.deadlines.front() {
                if self.events.get(*key).is_some_and(|e| e.place != Place::Ended) {
                    break;
                }
                trigger.deadlines.pop_front();
            }
            let is_patient = trigger.wait_limit_ns == u64::MAX;
            let waits = trigger.pending.front().filter(|_| !is_patient);
            let waits = waits.and_then(|key| self.events.get(*key));
            let limit = trigger.wait_limit_ns.saturating_add(trigger.batch_wait_ns());
            let wait = waits.map(|event| event.arrived_ns.saturating_add(limit));
            let deadline = trigger.deadlines.front().map(|(due, _)| *due);
            due = [due, wait, deadline].into_iter().flatten().min();
        }
        let kill = self.workers.values().map(|w| w.kill_at_ns).filter(|at| *at != 0).min();
        [due, kill, self.next_batch_ns()].into_iter().flatten().min()
    }

    /// Runs everything that is due.
    pub fn run_timers(&mut self) {
        let now = self.clock.now_ns;
        self.expire_connections(now);
        self.expire_deadlines(now);
        self.expire_waits(now);
        self.kill_overdue(now);
        if self.needs_tick() && now >= self.next_tick_ns {
            self.next_tick_ns = now + TICK_NS;
            self.tick(now);
        }
    }

    /// True while something is in flight that no wake-up may announce.
    pub fn needs_tick(&self) -> bool {
        !self.pinned.is_empty() || self.workers.values().any(|w| w.in_flight + w.recalled > 0)
    }

    fn tick(&mut self, now: u64) {
        self.unpin();
        self.recall_from_slow(now);
        self.kill_deaf(now);
    }

    /// Takes events back from workers whose present event runs far longer than usual, or that do not
    /// begin what they have although they are idle, where another worker could have them.
    fn recall_from_slow(&mut self, now: u64) {
        let is_slow = |w: &Worker| {
            let (runs, waits) = w.runs_and_waits();
            let usual = if runs { self.usual_ns(w.pool) * RECALL_AFTER_TIMES } else { 0 };
            waits && now.saturating_sub(w.busy_since_ns) > usual.max(RECALL_AFTER_NS_MIN)
        };
        let slow: Vec<WorkerKey> =
            self.workers.iter().filter(|(_, w)| is_slow(w)).map(|(key, _)| key).collect();
        for key in &slow {
            let pool = self.workers[*key].pool;
            // It is idle or gets on with its work: what is taken back is the next it gets.
            let another = self.workers.iter().any(|(k, w)| {
                w.pool == pool && w.state == WorkerState::Ready && w.recalled == 0 && {
                    let moves = now.saturating_sub(w.busy_since_ns) <= RECALL_AFTER_NS_MIN;
                    !slow.contains(&k) && (moves || w.units() < w.concurrency)
                }
            });
            if another {
                self.recall(*key);
            }
        }
    }

    /// Kills workers that run nothing and still have not looked at what was taken back from them for
    /// as long as an event may run: stopped, or hung between events.
    fn kill_deaf(&mut self, now: u64) {
        let is_deaf = |w: &Worker| {
            let of_pool = self.triggers.iter().filter(|t| t.pool == w.pool);
            let timeout = of_pool.map(|t| t.event_timeout_ns).max().filter(|ns| *ns > 0);
            w.recalled > 0
                && w.in_flight == 0
                && timeout.is_some_and(|ns| {
                    now.saturating_sub(w.busy_since_ns) >= ns.max(CANCEL_GRACE_NS_MIN)
                })
        };
        let deaf: Vec<WorkerKey> =
            self.workers.iter().filter(|(_, w)| is_deaf(w)).map(|(key, _)| key).collect();
        for key in deaf {
            self.kill(key, DeathCause::Deadline);
        }
    }

    /// How long events of a pool usually run.
    fn usual_ns(&self, pool: u16) -> u64 {
        let of_pool = self.triggers.iter().filter(|t| t.pool == pool);
        of_pool.filter_map(|t| t.run.ns()).max().unwrap_or(0)
    }

    fn expire_deadlines(&mut self, now: u64) {
        for number in 0..self.triggers.len() {
            while let Some((due, key)) = self.triggers[number].deadlines.front().copied() {
                if due > now {
                    break;
                }
                self.triggers[number].deadlines.pop_front();
                self.expire(key);
            }
        }
    }

    /// An event's deadline has passed: its client is answered now, its worker is stopped or asked.
    fn expire(&mut self, key: EventKey) {
        let Some(event) = self.events.get(key) else { return };
        let trigger = event.trigger as usize;
        let request =
            Request { attempt: event.attempt, idempotent: event.idempotent, reply_begun: false };
        match event.place {
            Place::Ended => return,
            Place::Arriving | Place::Pending => {}
            Place::Claimed(worker, claim) => {
                if !self.take_from_worker(worker, claim) {
                    // Recalled in time: it waits again, and ends here.
                    debug_assert!(self.events.get(key).is_none_or(|e| e.place == Place::Pending));
                }
            }
        }
        self.counters.timed_out += 1;
        self.triggers[trigger].handled_error += 1;
        if let Action::Refuse { status } = request_reply(End::Expired, request) {
            self.refuse_event(key, status, b"");
        }
    }

    /// Stops a worker's work on a claim. False if the event had not begun and was taken back.
    fn take_from_worker(&mut self, key: WorkerKey, claim: ClaimKey) -> bool {
        let Some(worker) = self.workers.get(key) else { return true };
        let index = worker.claims[claim].index;
        if !worker.has_begun(index) {
            self.recall(key);
        }
        let Some(held) = self.workers[key].claims.get_mut(claim) else { return true };
        if held.state == ClaimState::Recalled {
            return false;
        }
        held.state = ClaimState::GivenUp;
        let worker = &mut self.workers[key];
        if worker.concurrency <= 1 {
            self.kill(key, DeathCause::Deadline);
            return true;
        }
        let grace = worker_grace(self.triggers.iter().map(|t| t.event_timeout_ns).max());
        if worker.kill_at_ns == 0 {
            worker.kill_at_ns = self.clock.now_ns + grace;
        }
        let number = super::inflight::Worker::claim_number(claim);
        if let Err(violation) = worker.end.cancel(number, 0) {
            self.violated(key, violation);
            return true;
        }
        worker.unpublished = true;
        true
    }

    /// Asynchronous workers that did not end a cancelled event in its grace are retired; those that
    /// were and still have events past their deadlines are killed.
    fn kill_overdue(&mut self, now: u64) {
        let due: Vec<WorkerKey> = self
            .workers
            .iter()
            .filter(|(_, w)| w.kill_at_ns != 0 && w.kill_at_ns <= now)
            .map(|(key, _)| key)
            .collect();
        for key in due {
            let worker = &mut self.workers[key];
            let states = || worker.claims.values().map(|c| c.state);
            let given_up = states().filter(|s| *s == ClaimState::GivenUp).count();
            let others = states().any(|s| matches!(s, ClaimState::Owed | ClaimState::Answering));
            worker.kill_at_ns = 0;
            if worker.state == WorkerState::Stopping {
                self.kill(key, DeathCause::Asked);
                continue;
            }
            if given_up == 0 {
                continue;
            }
            if worker.state == WorkerState::Ready {
                worker.state = WorkerState::Retiring;
                let id = worker.id;
                self.to_pool.send(ToPool::Retiring { id, cause: DeathCause::Deadline });
            }
            if others && !self.is_deaf(key) {
                // Its other events may end; each has a deadline of its own.
                let grace = worker_grace(self.triggers.iter().map(|t| t.event_timeout_ns).max());
                let pong = self.ping(key);
                self.workers[key].kill_at_ns = pong.unwrap_or(now + grace);
            } else {
                self.kill(key, DeathCause::Deadline);
            }
        }
    }

    /// Events that found no worker in time.
    fn expire_waits(&mut self, now: u64) {
        for number in 0..self.triggers.len() {
            loop {
                self.drop_ended(number);
                let trigger = &self.triggers[number];
                let Some(key) = trigger.pending.front().copied() else { break };
                let Some(event) = self.events.get(key) else { break };
                // It waits for a worker from the moment on at which it need not wait for others.
                let limit = trigger.wait_limit_ns;
                let end =
                    event.arrived_ns.saturating_add(limit.saturating_add(trigger.batch_wait_ns()));
                if now < end || (limit == 0 && self.has_room(number)) {
                    break;
                }
                self.counters.rejected_full += 1;
                self.triggers[number].handled_error += 1;
                self.refuse_event(key, 503, b"No worker became free in time.");
            }
        }
    }

    /// A worker of the trigger's pool is idle, so the next dispatch will give it the event.
    fn has_room(&self, trigger: usize) -> bool {
        let pool = self.triggers[trigger].pool;
        let is_open = |w: &Worker| w.state == WorkerState::Ready && w.recalled == 0;
        let mut workers = self.workers.values().filter(|w| w.pool == pool && is_open(w));
        workers.any(|w| w.units() < w.concurrency)
    }

    /// Moves a drain on: idle connections close, then workers stop, then all is over.
    pub fn progress_drain(&mut self) {
        let Some(since) = self.draining else { return };
        self.end_waiting_for_clients(self.clock.now_ns.saturating_sub(since));
        if self.conn_count > 0 || self.events.values().any(|e| e.place != Place::Ended) {
            return;
        }
        let alive: Vec<(WorkerKey, WorkerState)> =
            self.workers.iter().map(|(key, worker)| (key, worker.state)).collect();
        for (key, state) in alive {
            match state {
                // It has done nothing yet, and may take a minute until it would read a request.
                WorkerState::Starting => self.kill(key, DeathCause::Asked),
                WorkerState::Ready => {
                    self.workers[key].state = WorkerState::Retiring;
                    self.stop_if_idle(key);
                }
                _ => {}
            }
        }
        // A worker that does not stop has nothing to lose any more: how it ends is the pool's matter.
        if !std::mem::replace(&mut self.drain_told, true) {
            self.to_pool.send(ToPool::Drained);
        }
    }

    /// The drain is over: nobody waits for anything and every worker has ended.
    pub fn is_over(&self) -> bool {
        self.drain_told && self.conn_count == 0 && self.workers.is_empty()
    }
}

/// What a cancelled event may still take: a tenth of its timeout, at least a second.
fn worker_grace(timeout_ns: Option<u64>) -> u64 {
    (timeout_ns.unwrap_or(0) / 10).max(CANCEL_GRACE_NS_MIN)
}

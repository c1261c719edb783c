//! The end of a worker: what it had is settled, nobody else's events are touched.

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use rings::error::Violation;
use rings::os::monotonic_ns;

use super::inflight::{ClaimState, EventKey, Place, WorkerKey, WorkerState, began};
use super::reactor::Data;
use super::verdict::{Action, End, Request, request_reply};
use crate::crossing::{DeathCause, ToPool};
use crate::limits::UNCOUNTED_REPEATS_MAX;
use crate::log::{Level, Record};

/// Answers a dead worker can have left: its whole ring.
const COMPLETIONS_LEFT_MAX: u32 = rings::limits::RING_ENTRIES_MAX;
/// Log records a dead worker can have left: its whole log ring in the smallest records.
const LOG_RECORDS_LEFT_MAX: usize = rings::limits::LOG_RING_BYTES as usize / 32;

impl Data {
    /// Kills a worker with all that it started. Its end comes by the pidfd.
    pub fn kill(&mut self, key: WorkerKey, cause: DeathCause) {
        let Some(worker) = self.workers.get_mut(key) else { return };
        if worker.state == WorkerState::Killed {
            return;
        }
        worker.state = WorkerState::Killed;
        worker.cause = cause;
        // Not reaped before its end was told to the pool, so the number is still its own.
        end(worker.pid);
    }

    /// A worker has broken the protocol: it is killed, and counted once.
    pub fn violated(&mut self, key: WorkerKey, violation: Violation) {
        let Some(worker) = self.workers.get(key) else { return };
        if worker.state == WorkerState::Killed {
            return;
        }
        self.counters.violations += 1;
        let text = violation.to_string();
        let mut record = Record::new(Level::Error, "the worker broke the protocol and is killed: ");
        record.message.extend_from_slice(text.as_bytes());
        self.log.say(record.of_worker(worker.id));
        self.kill(key, DeathCause::Violation(text));
    }

    /// A worker process has ended: takes what it had published, judges the rest, tells the pool.
    pub fn ended(&mut self, number: u32) {
        let Some(key) = self.worker_key(number) else { return };
        let by_violation = matches!(self.workers[key].cause, DeathCause::Violation(_));
        let mut violated_now = false;
        if !by_violation {
            // What it says after its end can only be wrong, not hostile to anybody: it is dead.
            let drained = self
                .drain_some(key, COMPLETIONS_LEFT_MAX)
                .and_then(|()| self.drain_logs(key, LOG_RECORDS_LEFT_MAX));
            if let Err(violation) = drained {
                violated_now = true;
                self.violated(key, violation);
            }
        }
        let started = self.workers[key].end.started();
        let claims = std::mem::take(&mut self.workers[key].claims);
        let mut claims: Vec<_> = claims.into_iter().map(|(_, claim)| claim).collect();
        // From the last to the first, so that those which go back to the front keep their order.
        // Indices wrap, so they are counted from one far before all of them.
        let far_before = started.wrapping_sub(1 << 30);
        claims.sort_by_key(|claim| std::cmp::Reverse(claim.index.wrapping_sub(far_before)));
        for claim in claims {
            // After a violation its word about what it began counts for nothing.
            let begun = by_violation || violated_now || began(started, claim.index);
            self.bereave(key, claim.event, claim.state, begun);
        }
        self.bury(key);
    }

    /// Settles one claim of a dead worker.
    fn bereave(&mut self, key: WorkerKey, event_key: EventKey, state: ClaimState, begun: bool) {
        let busy = matches!(state, ClaimState::Owed | ClaimState::Answering | ClaimState::GivenUp);
        if busy && let Some(event) = self.events.get(event_key) {
            self.triggers[event.trigger as usize].in_flight -= 1;
        }
        let lost = self.is_claimed_by(event_key, key)
            && matches!(state, ClaimState::Owed | ClaimState::Answering);
        if lost && let Some(event) = self.events.get(event_key) {
            let request = Request {
                attempt: event.attempt,
                idempotent: event.idempotent,
                reply_begun: state == ClaimState::Answering,
            };
            // A worker that lies about what it began could have an event repeated for ever.
            let believed = !begun && event.repeats < UNCOUNTED_REPEATS_MAX;
            let end = if believed { End::DiedBefore } else { End::DiedWithin };
            self.repeat_or_refuse(event_key, request_reply(end, request));
        }
        self.drop_event_hold(event_key);
    }

    fn repeat_or_refuse(&mut self, event_key: EventKey, action: Action) {
        match action {
            Action::Again { counts } => {
                if let Some(event) = self.events.get_mut(event_key) {
                    event.attempt += u16::from(counts);
                    event.repeats += u8::from(!counts);
                    event.bereaved_ns = monotonic_ns();
                    self.counters.redispatched += 1;
                }
                self.requeue(event_key);
            }
            Action::Refuse { status } | Action::Reply { status } => {
                if let Some(event) = self.events.get(event_key) {
                    self.triggers[event.trigger as usize].handled_error += 1;
                }
                self.refuse_event(
                    event_key,
                    status,
                    b"The worker ended while it had this request.",
                );
            }
        }
    }

    /// Forgets a worker and tells the pool, which reaps it.
    pub fn bury(&mut self, key: WorkerKey) {
        self.unwatch_worker(key);
        let Some(worker) = self.workers.remove(key) else { return };
        // Whatever it started and left in its group ends too; the group's number is still taken by
        // the process that the pool has not reaped.
        end(worker.pid);
        let cause = match (worker.cause, worker.state) {
            (DeathCause::Itself, WorkerState::Stopping) => DeathCause::Asked,
            (cause, _) => cause,
        };
        self.to_pool.send(ToPool::Died {
            id: worker.id,
            was_ready: worker.was_ready,
            completed: worker.completed,
            cause,
        });
    }

    /// Takes back what was handed to a worker and not begun; those events go to the front again.
    pub fn recall(&mut self, key: WorkerKey) {
        let Some(worker) = self.workers.get_mut(key) else { return };
        let started = worker.end.recall();
        let waiting: Vec<_> = worker
            .order
            .iter()
            .filter(|(index, _)| !began(started, *index))
            .map(|(_, claim)| *claim)
            .collect();
        for claim in waiting.into_iter().rev() {
            let Some(worker) = self.workers.get_mut(key) else { return };
            let Some(held) = worker.claims.get_mut(claim) else { continue };
            if held.state != ClaimState::Owed {
                continue;
            }
            held.state = ClaimState::Recalled;
            let event_key = held.event;
            let batch = held.batch;
            worker.leaves_flight(batch);
            worker.recalled += 1;
            self.counters.recalled += 1;
            if let Some(event) = self.events.get(event_key) {
                self.triggers[event.trigger as usize].in_flight -= 1;
                if matches!(event.place, Place::Claimed(k, _) if k == key) {
                    self.requeue(event_key);
                }
            }
        }
        if let Some(worker) = self.workers.get_mut(key) {
            worker.trim_order();
        }
    }
}

/// Kills a worker and its process group; one at the terminal has no group of its own.
fn end(pid: i32) {
    let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
}

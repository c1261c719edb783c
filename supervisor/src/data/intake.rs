//! The door for other threads: their messages, a bounded number a turn.

use slotmap::SlotMap;
use std::collections::VecDeque;

use super::batch::OpenBatches;
use super::inflight::{Worker, WorkerState};
use super::ping::Ping;
use super::reactor::Data;
use crate::crossing::{AttachedWorker, DeathCause, PoolId, ToData};
use crate::limits::TO_DATA_MAX;

impl Data {
    /// Takes the messages that are there.
    pub fn take_messages(&mut self) {
        for _ in 0..TO_DATA_MAX {
            let Ok(message) = self.messages.try_recv() else { return };
            match message {
                ToData::Attached(worker) => self.attach(*worker),
                ToData::Retire { pool, below } => {
                    self.retire_if(|worker| worker.pool == pool && worker.generation < below);
                }
                ToData::RetireWorker { id } => {
                    self.retire_if(|worker| worker.id == id);
                }
                ToData::Drain => self.begin_drain(),
                ToData::CrashLoop { pool, active } => self.crash_loop(pool, active),
                ToData::Snapshot(reply) => {
                    // Who asked may have gone.
                    let _ = reply.send(Box::new(self.snapshot()));
                }
            }
        }
    }

    fn attach(&mut self, attached: AttachedWorker) {
        let worker = Worker {
            id: attached.id,
            pool: attached.pool,
            generation: attached.generation,
            pid: attached.pid,
            pidfd: attached.pidfd,
            end: attached.end,
            claims: SlotMap::with_key(),
            order: VecDeque::new(),
            state: WorkerState::Starting,
            concurrency: 1,
            in_flight: 0,
            batches: OpenBatches::default(),
            recalled: 0,
            completed: 0,
            worn_after: attached.worn_after,
            kept_bytes: 0,
            unpublished: false,
            used_turn: 0,
            busy_since_ns: self.clock.now_ns,
            cause: DeathCause::Itself,
            kill_at_ns: 0,
            ping: Ping::default(),
            was_ready: false,
            silent_since_ns: 0,
        };
        let key = self.workers.insert(worker);
        if self.watch_worker(key).is_err() {
            // No descriptor can be watched: without it the worker's end would be missed.
            self.log.error("a worker cannot be watched by epoll and is given up");
            self.kill(key, DeathCause::Itself);
            // Nothing will tell of its end; it has no events yet.
            self.bury(key);
            return;
        }
        // It may have spoken before it was watched.
        self.undrained.push(key);
    }

    /// These workers get no more events and stop when idle.
    fn retire_if(&mut self, is_meant: impl Fn(&Worker) -> bool) {
        let old: Vec<_> = self
            .workers
            .iter()
            .filter(|(_, worker)| is_meant(worker))
            .map(|(key, _)| key)
            .collect();
        for key in old {
            if self.workers[key].state == WorkerState::Ready {
                self.workers[key].state = WorkerState::Retiring;
                // What was handed ahead runs on its successors.
                self.recall(key);
            } else if self.workers[key].state == WorkerState::Starting {
                self.workers[key].state = WorkerState::Retiring;
            }
            self.stop_if_idle(key);
        }
    }

    fn begin_drain(&mut self) {
        if self.draining.is_none() {
            self.draining = Some(self.clock.now_ns);
            self.stop_listening();
        }
    }

    /// While no worker can be started, events are refused at once.
    fn crash_loop(&mut self, pool: PoolId, active: bool) {
        let Some(pool) = self.pools.get_mut(pool as usize) else { return };
        pool.crash_loop = active;
        if !active {
            return;
        }
        let triggers = pool.triggers.clone();
        for trigger in triggers {
            while let Some(key) = self.triggers[trigger as usize].pending.pop_front() {
                if self.events.get(key).is_some_and(|e| e.place == super::inflight::Place::Pending)
                {
                    self.counters.rejected_full += 1;
                    self.refuse_event(
                        key,
                        503,
                        b"The function's workers end as soon as they start.",
                    );
                }
            }
            self.triggers[trigger as usize].stale = 0;
        }
    }

    /// At least one worker can take events, and the processor is not draining.
    pub fn is_ready(&self) -> bool {
        let served = self.workers.values().any(|w| w.state == WorkerState::Ready);
        self.draining.is_none() && served && self.pools.iter().all(|p| !p.crash_loop)
    }
}

//! Gives pending events to workers: whose turn, which worker, how far ahead.

use std::collections::VecDeque;
use std::net::TcpListener;
use std::sync::Arc;

use rings::abi::{Entry, UNKNOWN_LENGTH, down, down_flag, place};
use rings::limits::HAND_AHEAD_MAX;
use rings::os::monotonic_ns;

use super::TriggerConfig;
use super::batch::Batcher;
use super::figures::{P99, observe};
use super::http::cors::Cors;
use super::inflight::{Claim, ClaimState, EventKey, Place, Worker, WorkerKey, WorkerState};
use super::reactor::Data;
use crate::crossing::{Histogram, PoolId};
use crate::limits::HAND_AHEAD_NS;

/// An event source's entry in function.yaml, as the data thread needs it.
pub struct Trigger {
    pub name: Arc<str>,
    pub kind: Arc<str>,
    pub pool: PoolId,
    pub body_bytes_max: u64,
    pub wait_limit_ns: u64,
    pub event_timeout_ns: u64,
    pub idempotent: bool,
    pub streams_requests: bool,
    pub cors: Option<Cors>,
    /// Events that wait for a worker, oldest first; bounded by the pending quota. Entries of events
    /// that have ended are dropped when they come to the front, and counted in `stale`.
    pub pending: VecDeque<EventKey>,
    pub stale: usize,
    /// Deadlines in the order of arrival, see `deadlines`.
    pub deadlines: VecDeque<(u64, EventKey)>,
    /// Set where events go down together.
    pub batcher: Option<Batcher>,
    pub run: P99,
    pub in_flight: u32,
    pub handled_ok: u64,
    pub handled_error: u64,
    pub duration: Histogram,
    pub wait: Histogram,
}

impl Trigger {
    /// Separates what the listener needs from the rest.
    pub fn split(config: TriggerConfig) -> (TcpListener, Self) {
        let trigger = Self {
            name: config.name,
            kind: config.kind,
            pool: config.pool,
            body_bytes_max: config.body_bytes_max,
            wait_limit_ns: config.wait_limit_ns,
            event_timeout_ns: config.event_timeout_ns,
            idempotent: config.idempotent,
            streams_requests: config.streams_requests,
            cors: config.cors,
            pending: VecDeque::new(),
            stale: 0,
            deadlines: VecDeque::new(),
            batcher: config.batch.map(Batcher::new),
            run: P99::default(),
            in_flight: 0,
            handled_ok: 0,
            handled_error: 0,
            duration: Histogram::default(),
            wait: Histogram::default(),
        };
        (config.listener, trigger)
    }

    /// Events handed down beyond the one that runs: as many as run in [`HAND_AHEAD_NS`].
    fn hand_ahead(&self) -> u32 {
        match self.run.ns() {
            _ if self.batcher.is_some() => 0,
            None => 1,
            Some(ns) => (HAND_AHEAD_NS / ns).min(u64::from(HAND_AHEAD_MAX)) as u32,
        }
    }
}

/// A worker pool and the triggers it serves.
pub struct Pool {
    pub triggers: Vec<u16>,
    /// Whose turn it is.
    pub next: usize,
    /// No worker can be started: answer 503 at once.
    pub crash_loop: bool,
}

impl Pool {
    /// The pool with this number.
    pub fn of(pool: PoolId, triggers: &[Trigger]) -> Self {
        let of_pool = |(_, t): &(usize, &Trigger)| t.pool == pool;
        let numbers = triggers.iter().enumerate().filter(of_pool).map(|(i, _)| i as u16).collect();
        Self { triggers: numbers, next: 0, crash_loop: false }
    }
}

impl Data {
    /// Puts an event at the end of its trigger's queue; false if it may not wait.
    pub fn enqueue(&mut self, trigger: usize, key: EventKey) -> bool {
        if self.pools[self.triggers[trigger].pool as usize].crash_loop {
            return false;
        }
        if !self.pending_quota.take(trigger, 1) {
            if let Some(batcher) = &mut self.triggers[trigger].batcher {
                batcher.is_full = true;
            }
            return false;
        }
        if let Some(batcher) = &mut self.triggers[trigger].batcher {
            batcher.newest_ns = self.clock.now_ns;
        }
        if let Some(event) = self.events.get_mut(key) {
            event.place = Place::Pending;
        }
        self.triggers[trigger].pending.push_back(key);
        true
    }

    /// Puts an event back at the front: it has waited for longest. Above the quota if need be, since
    /// it was admitted once.
    pub fn requeue(&mut self, key: EventKey) {
        let Some(event) = self.events.get_mut(key) else { return };
        let trigger = event.trigger as usize;
        event.place = Place::Pending;
        if self.pending_quota.take(trigger, 1) {
            self.triggers[trigger].pending.push_front(key);
        } else {
            // As many could wait as may; the counted place is given back by refusing.
            event.place = Place::Arriving;
            self.counters.rejected_full += 1;
            self.refuse_event(key, 503, b"No worker is free and no more events can wait.");
        }
    }

    /// Hands down what can be handed down, then publishes to each worker once.
    pub fn dispatch(&mut self) {
        for pool in 0..self.pools.len() {
            while self.dispatch_one(pool) {}
        }
        self.publish_all();
    }

    /// Gives one event of a pool to a worker; false if none waits or no worker can take one.
    fn dispatch_one(&mut self, pool: usize) -> bool {
        let Some((trigger, key)) = self.next_pending(pool) else { return false };
        if self.triggers[trigger].batcher.is_some() {
            if !self.give_batch(pool, trigger) {
                return false;
            }
        } else {
            let Some(worker) = self.choose_worker(pool, trigger, 1) else { return false };
            if !self.give(worker, key, None) {
                return false;
            }
            self.triggers[trigger].pending.pop_front();
            self.pending_quota.give(trigger, 1);
        }
        let count = self.pools[pool].triggers.len();
        self.pools[pool].next = (self.pools[pool].next + 1) % count.max(1);
        true
    }

    /// The oldest live event of the trigger whose turn it is, left in its queue.
    fn next_pending(&mut self, pool: usize) -> Option<(usize, EventKey)> {
        let count = self.pools[pool].triggers.len();
        for step in 0..count {
            let at = (self.pools[pool].next + step) % count;
            let number = self.pools[pool].triggers[at] as usize;
            self.drop_ended(number);
            if let Some(key) = self.triggers[number].pending.front().copied()
                && self.due_ns(number) <= self.clock.now_ns
            {
                self.pools[pool].next = at;
                return Some((number, key));
            }
        }
        None
    }

    /// Drops entries of ended events from the front of a queue.
    pub fn drop_ended(&mut self, trigger: usize) {
        let trigger = &mut self.triggers[trigger];
        while let Some(key) = trigger.pending.front() {
            let waits = self.events.get(*key).is_some_and(|e| e.place == Place::Pending);
            if waits {
                return;
            }
            trigger.pending.pop_front();
            trigger.stale = trigger.stale.saturating_sub(1);
        }
    }

    /// The worker with the fewest events in flight, of those the one used last (its caches are
    /// warm). Beyond its concurrency a worker gets events only when no other is idle, and after a
    /// recall only when it has looked: a stopped one would swallow them again and again.
    pub fn choose_worker(&self, pool: usize, trigger: usize, events: u32) -> Option<WorkerKey> {
        let ready = self.workers.iter().filter(|(_, w)| {
            let is_open = w.state == WorkerState::Ready && w.recalled == 0;
            w.pool as usize == pool && is_open && w.has_tags(events)
        });
        let (key, worker) =
            ready.min_by_key(|(_, w)| (w.in_flight, std::cmp::Reverse(w.used_turn)))?;
        let ahead = if worker.concurrency > 1 { 0 } else { self.triggers[trigger].hand_ahead() };
        (worker.units() < worker.concurrency + ahead).then_some(key)
    }

    /// Writes the EVENT entry and the claim; false if the worker's ring has no room for events.
    /// `batch` = the id of its batch, and whether more of it follow.
    pub fn give(
        &mut self,
        key: WorkerKey,
        event_key: EventKey,
        batch: Option<(u32, bool)>,
    ) -> bool {
        let now = self.clock.now_ns;
        let Some(event) = self.events.get_mut(event_key) else { return false };
        let Some(worker) = self.workers.get_mut(key) else { return false };
        let claim = worker.claims.insert(Claim {
            event: event_key,
            index: 0,
            state: ClaimState::Owed,
            pieces: None,
            batch: batch.map_or(0, |(id, _)| id),
        });
        let (segment, offset, _) = self.slots.place(event.header);
        let entry = Entry {
            kind: down::EVENT,
            flags: if event.logs.is_some() { down_flag::WANT_LOGS } else { 0 }
                | if let Some((_, true)) = batch { down_flag::BATCH_MORE } else { 0 },
            aux: event.trigger,
            value: event.header_bytes,
            claim: Worker::claim_number(claim),
            a: place(segment, offset),
            b: event.deadline_ns,
            c: if event.incoming.is_some() { UNKNOWN_LENGTH } else { u64::from(event.body_bytes) },
            d: u64::from(event.attempt),
            e: event.logs.as_ref().map_or(0, |logs| u64::from(logs.level)),
            ..Default::default()
        };
        let index = match worker.end.push_event(&entry) {
            Ok(Some(index)) => index,
            Ok(None) => {
                worker.claims.remove(claim);
                return false;
            }
            Err(violation) => {
                worker.claims.remove(claim);
                self.violated(key, violation);
                return false;
            }
        };
        worker.claims[claim].index = index;
        worker.order.push_back((index, claim));
        if worker.in_flight == 0 {
            worker.busy_since_ns = now;
        }
        worker.in_flight += 1;
        worker.unpublished = true;
        worker.used_turn = self.turn;
        event.holds += 1;
        event.place = Place::Claimed(key, claim);
        let trigger = &mut self.triggers[event.trigger as usize];
        trigger.in_flight += 1;
        observe(&mut trigger.wait, now.saturating_sub(event.arrived_ns));
        if event.bereaved_ns != 0 {
            // By the clock itself: most are given again in the turn that saw the death.
            let ns = monotonic_ns().saturating_sub(event.bereaved_ns);
            event.bereaved_ns = 0;
            observe(&mut self.counters.redispatch, ns);
            self.counters.redispatch_ns_max = self.counters.redispatch_ns_max.max(ns);
        }
        if event.incoming.is_some() {
            self.body_claimed(event_key);
        }
        true
    }

    /// Makes entries visible and rings those who sleep.
    fn publish_all(&mut self) {
        let mut violations = Vec::new();
        for (key, worker) in &mut self.workers {
            if !std::mem::take(&mut worker.unpublished) {
                continue;
            }
            match worker.end.publish() {
                Ok(rang) => self.counters.bells_down += u64::from(rang),
                Err(violation) => violations.push((key, violation)),
            }
        }
        for (key, violation) in violations {
            self.violated(key, violation);
        }
    }
}

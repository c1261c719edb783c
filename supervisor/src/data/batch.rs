//! Batches: events of one trigger that go to a worker together.
//!
//! When a batch is due is a pure function of what waits, asked when something happens and once
//! before the poll sleeps; so a trigger without waiting events costs nothing.

use rings::header::set_last_in_batch;

use super::dispatch::Trigger;
use super::inflight::{EventKey, Place, WorkerKey};
use super::reactor::Data;

/// `batch` in function.yaml.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchRule {
    /// Most events in one batch.
    pub events_max: usize,
    /// The oldest event waits for others no longer than this.
    pub timeout_ns: u64,
    /// A batch is closed when none came for this long; `None` = only by the two above.
    pub quiet_ns: Option<u64>,
}

impl BatchRule {
    /// When a batch of `waiting` events is due; 0 = now. `oldest_ns` and `newest_ns` say when the
    /// first and the last of them came.
    pub fn due_ns(&self, waiting: usize, oldest_ns: u64, newest_ns: u64) -> u64 {
        if waiting >= self.events_max {
            return 0;
        }
        let timeout = oldest_ns.saturating_add(self.timeout_ns);
        let quiet = self.quiet_ns.map_or(u64::MAX, |quiet| newest_ns.saturating_add(quiet));
        timeout.min(quiet)
    }
}

/// The batch that a trigger is collecting; its events are those of the pending queue.
#[derive(Debug)]
pub struct Batcher {
    pub rule: BatchRule,
    /// When the last event came.
    pub newest_ns: u64,
    /// No more events may wait, so waiting for more is in vain.
    pub is_full: bool,
}

impl Batcher {
    pub fn new(rule: BatchRule) -> Self {
        Self { rule, newest_ns: 0, is_full: false }
    }
}

/// Batches that one worker has, as far as their events are not answered. A batch is one unit of
/// what a worker may have, however many events it holds.
#[derive(Debug, Default)]
pub struct OpenBatches {
    last_id: u32,
    /// Id and unanswered events of each; bounded by the worker's concurrency.
    open: Vec<(u32, u32)>,
    events: u32,
}

impl OpenBatches {
    /// A batch of so many events goes down; its id is never 0.
    pub fn open(&mut self, events: u32) -> u32 {
        self.last_id = self.last_id.wrapping_add(1).max(1);
        self.open.push((self.last_id, events));
        self.events += events;
        self.last_id
    }

    /// One event of a batch is no longer in flight; 0 = of none.
    pub fn leave(&mut self, id: u32) {
        if id == 0 {
            return;
        }
        let Some(at) = self.open.iter().position(|(open, _)| *open == id) else { return };
        self.events -= 1;
        self.open[at].1 -= 1;
        if self.open[at].1 == 0 {
            self.open.swap_remove(at);
        }
    }

    /// What a worker with so many events in flight has: batches, and events of none.
    pub fn units(&self, in_flight: u32) -> u32 {
        in_flight - self.events + self.open.len() as u32
    }
}

impl Trigger {
    /// Events that wait, those that have ended meanwhile not counted.
    pub fn waiting(&self) -> usize {
        self.pending.len() - self.stale.min(self.pending.len())
    }

    /// Longest time that an event may wait for others before it waits for a worker.
    pub fn batch_wait_ns(&self) -> u64 {
        self.batcher.as_ref().map_or(0, |batcher| batcher.rule.timeout_ns)
    }
}

impl Data {
    /// When what waits at a trigger may go down; 0 = now. The queue's front is a live event.
    pub fn due_ns(&self, number: usize) -> u64 {
        let trigger = &self.triggers[number];
        let Some(batcher) = &trigger.batcher else { return 0 };
        let Some(oldest) = trigger.pending.front().and_then(|key| self.events.get(*key)) else {
            return 0;
        };
        // What a dead worker had has waited once already, and a drain brings no more events.
        if batcher.is_full || oldest.bereaved_ns != 0 || self.draining.is_some() {
            return 0;
        }
        batcher.rule.due_ns(trigger.waiting(), oldest.arrived_ns, batcher.newest_ns)
    }

    /// The next moment at which a batch is due that is not due yet: one that is waits for a worker,
    /// which nobody's clock brings.
    pub fn next_batch_ns(&mut self) -> Option<u64> {
        let now = self.clock.now_ns;
        let collects = |data: &Self, number: usize| data.triggers[number].batcher.is_some();
        let numbers = 0..self.triggers.len();
        numbers.filter(|n| collects(self, *n)).map(|n| self.due_ns(n)).filter(|at| *at > now).min()
    }

    /// Gives the oldest events of a trigger to one worker; false if none can take them.
    pub fn give_batch(&mut self, pool: usize, number: usize) -> bool {
        let trigger = &self.triggers[number];
        let most = trigger.batcher.as_ref().map_or(1, |batcher| batcher.rule.events_max);
        let most = trigger.waiting().min(most);
        let Some(worker) = self.choose_worker(pool, number, most as u32) else { return false };
        match self.workers[worker].end.event_room() {
            Ok(room) if room as usize >= most => {}
            Ok(_) => return false,
            Err(violation) => {
                self.violated(worker, violation);
                return true;
            }
        }
        let keys = self.take_batch(number, most);
        self.give_all(worker, &keys);
        if let Some(batcher) = &mut self.triggers[number].batcher {
            batcher.is_full = false;
        }
        true
    }

    /// Takes the oldest live events out of a queue.
    fn take_batch(&mut self, number: usize, most: usize) -> Vec<EventKey> {
        let mut keys = Vec::with_capacity(most);
        while keys.len() < most {
            self.drop_ended(number);
            let Some(key) = self.triggers[number].pending.pop_front() else { break };
            self.pending_quota.give(number, 1);
            keys.push(key);
        }
        keys
    }

    /// Writes the entries of one batch; what could not be written waits again.
    fn give_all(&mut self, worker: WorkerKey, keys: &[EventKey]) {
        let id = self.workers[worker].batches.open(keys.len() as u32);
        let mut given = 0;
        for (at, key) in keys.iter().enumerate() {
            let is_last = at + 1 == keys.len();
            if let Some(event) = self.events.get(*key) {
                set_last_in_batch(self.slots.bytes_mut(event.header), is_last);
            }
            if !self.give(worker, *key, Some((id, !is_last))) {
                break;
            }
            given += 1;
        }
        // Only a worker that broke the protocol takes less than there was room for, and it is dead.
        for key in keys[given..].iter().rev() {
            self.workers[worker].batches.leave(id);
            if let Some(event) = self.events.get_mut(*key) {
                event.place = Place::Arriving;
            }
            self.requeue(*key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: BatchRule = BatchRule { events_max: 3, timeout_ns: 1000, quiet_ns: Some(100) };

    #[test]
    fn a_batch_is_due_when_it_is_full_or_old_or_nobody_comes_any_more() {
        assert_eq!(RULE.due_ns(3, 5000, 5000), 0);
        assert_eq!(RULE.due_ns(4, 5000, 5000), 0);
        assert_eq!(RULE.due_ns(1, 5000, 5000), 5100);
        assert_eq!(RULE.due_ns(2, 5000, 5090), 5190);
        // Whoever keeps coming does not hold up the oldest.
        assert_eq!(RULE.due_ns(2, 5000, 5990), 6000);
        let patient = BatchRule { quiet_ns: None, ..RULE };
        assert_eq!(patient.due_ns(2, 5000, 5000), 6000);
        let endless = BatchRule { timeout_ns: u64::MAX, ..patient };
        assert_eq!(endless.due_ns(2, 5000, 5000), u64::MAX);
        assert_eq!(BatchRule { timeout_ns: 0, ..RULE }.due_ns(1, 5000, 5000), 5000);
    }

    #[test]
    fn a_batch_counts_once_until_its_last_event_has_left() {
        let mut batches = OpenBatches::default();
        assert_eq!(batches.units(2), 2);
        let (one, two) = (batches.open(3), batches.open(1));
        assert_eq!(batches.units(2 + 3 + 1), 4);
        batches.leave(0);
        batches.leave(one);
        batches.leave(one);
        assert_eq!(batches.units(2 + 1 + 1), 4);
        batches.leave(two);
        batches.leave(one);
        batches.leave(one);
        assert_eq!(batches.units(2), 2);
    }

    #[test]
    fn ids_are_never_nought() {
        let mut batches = OpenBatches { last_id: u32::MAX, ..Default::default() };
        assert_eq!((batches.open(1), batches.open(1)), (1, 2));
    }
}

//! Slots of ended events that handlers still look at, and what they may hold in all.
//!
//! The memory stays as it is as long as somebody looks, or the worker lives. A function that keeps
//! more than its share is named, and the worker that keeps most of it is replaced: with it ends what
//! it holds.

use rings::limits::ESCAPE_MAX;

use super::inflight::{EventKey, WorkerKey, WorkerState};
use super::reactor::Data;
use crate::crossing::{DeathCause, ToPool};
use crate::limits::KEPT_SHARE_DIVISOR;
use crate::log::{Level, Record};

impl Data {
    /// An event was answered and its slot is still looked at.
    pub fn keep(&mut self, key: WorkerKey, event_key: EventKey) {
        let bytes = self.events.get(event_key).map_or(0, |event| event.slot_bytes);
        let worker = &mut self.workers[key];
        worker.kept_bytes += bytes;
        // Its tags for such events are used up soon, whatever the others keep.
        let kept = worker.claims.len() as u32 - worker.in_flight;
        if kept > ESCAPE_MAX {
            self.replace_keeper(key);
            return;
        }
        let open = || self.workers.iter().filter(|(_, w)| w.state == WorkerState::Ready);
        let all: u64 = open().map(|(_, worker)| worker.kept_bytes).sum();
        if all > self.slots.total_bytes() / KEPT_SHARE_DIVISOR
            && let Some((most, _)) = open().max_by_key(|(_, worker)| worker.kept_bytes)
        {
            self.replace_keeper(most);
        }
    }

    /// Nobody looks at the slot of an answered event any more.
    pub fn keep_no_more(&mut self, key: WorkerKey, event_key: EventKey) {
        let bytes = self.events.get(event_key).map_or(0, |event| event.slot_bytes);
        let kept = &mut self.workers[key].kept_bytes;
        *kept = kept.saturating_sub(bytes);
    }

    fn replace_keeper(&mut self, key: WorkerKey) {
        let worker = &mut self.workers[key];
        if worker.state != WorkerState::Ready || self.spares_keepers {
            return;
        }
        worker.state = WorkerState::Retiring;
        let id = worker.id;
        let text = self.kept_text.to_vec();
        let record = Record { message: text, ..Record::new(Level::Warn, "") };
        self.log.say(record.of_worker(id));
        self.to_pool.send(ToPool::Retiring { id, cause: DeathCause::Asked });
        self.stop_if_idle(key);
    }
}

//! The figures of the data thread at one moment, for the admin side.

use super::inflight::WorkerState;
use super::reactor::Data;
use crate::crossing::{SlotClassSnapshot, Snapshot, TriggerSnapshot, WorkerSnapshot};

impl Data {
    /// Copies all figures.
    pub fn snapshot(&self) -> Snapshot {
        let workers = self.workers.values().map(|w| WorkerSnapshot {
            id: w.id,
            pool: w.pool,
            generation: w.generation,
            pid: w.pid,
            ready: w.state == WorkerState::Ready,
            draining: matches!(w.state, WorkerState::Retiring | WorkerState::Stopping),
            in_flight: w.in_flight - w.units().saturating_sub(w.concurrency),
            handed_ahead: w.units().saturating_sub(w.concurrency),
            completed: w.completed,
        });
        let triggers = self.triggers.iter().map(|t| TriggerSnapshot {
            name: t.name.clone(),
            kind: t.kind.clone(),
            pending: t.waiting() as u32,
            in_flight: t.in_flight,
            handled_ok: t.handled_ok,
            handled_error: t.handled_error,
            duration: t.duration.clone(),
            wait: t.wait.clone(),
        });
        let slots = self.slots.usage().map(|(slot_bytes, total, used)| SlotClassSnapshot {
            slot_bytes,
            total,
            used,
        });
        Snapshot {
            ready: self.is_ready(),
            draining: self.draining.is_some(),
            connections: self.conn_count as u64,
            workers: workers.collect(),
            triggers: triggers.collect(),
            slots: slots.collect(),
            counters: self.counters.clone(),
        }
    }
}

//! What the admin pages show of the workers: written by the pool thread, read by others.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::crossing::{Generation, WorkerId};

/// What a place in a worker pool is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowState {
    /// Started, not yet ready.
    Starting,
    Ready,
    /// Gets no new events.
    Draining,
    /// Ended, not yet replaced.
    Dead,
    /// Ended, and replaced only after a pause.
    Backoff,
}

impl RowState {
    pub const ALL: [RowState; 5] = [
        RowState::Starting,
        RowState::Ready,
        RowState::Draining,
        RowState::Dead,
        RowState::Backoff,
    ];

    pub fn name(self) -> &'static str {
        match self {
            RowState::Starting => "starting",
            RowState::Ready => "ready",
            RowState::Draining => "draining",
            RowState::Dead => "dead",
            RowState::Backoff => "backoff",
        }
    }
}

/// One worker, or an empty place.
#[derive(Debug, Clone)]
pub struct WorkerRow {
    pub id: WorkerId,
    /// 0 when there is no process.
    pub pid: i32,
    pub pool: Arc<str>,
    pub state: RowState,
    pub generation: Generation,
    /// Of this place in its pool.
    pub restarts: u64,
    pub last_death: Option<String>,
    pub started: Option<Instant>,
}

/// The rows as they were last written.
#[derive(Clone, Default)]
pub struct Board(Arc<Mutex<Vec<WorkerRow>>>);

impl Board {
    pub fn write(&self, rows: Vec<WorkerRow>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = rows;
    }

    pub fn read(&self) -> Vec<WorkerRow> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

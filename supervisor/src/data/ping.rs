//! Whether a worker that is retired still moves: an event loop that a handler blocks answers nothing,
//! so its other events would only wait for their deadlines.

use rings::abi::{Entry, down};

use super::inflight::WorkerKey;
use super::reactor::Data;
use crate::limits::PONG_NS_MAX;

/// Where a worker stands with PING.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ping {
    /// Not asked.
    #[default]
    Quiet,
    /// Asked; it must answer until then.
    Asked { until_ns: u64 },
    /// It has answered, so its loop turns.
    Answered,
}

impl Data {
    /// Asks a worker whether it moves; when it must have answered, or `None` if it need not.
    ///
    /// Threads that all run handlers answer nothing, and have done nothing wrong.
    pub fn ping(&mut self, key: WorkerKey) -> Option<u64> {
        let until_ns = self.clock.now_ns + PONG_NS_MAX;
        let is_asked = |ping| matches!(ping, Ping::Asked { .. });
        let worker = self.workers.get_mut(key).filter(|worker| !is_asked(worker.ping))?;
        if !self.pings {
            return None;
        }
        worker.ping = Ping::Asked { until_ns };
        let entry = Entry { kind: down::PING, ..Default::default() };
        if let Err(violation) = worker.end.push_control(entry) {
            self.violated(key, violation);
            return None;
        }
        worker.unpublished = true;
        Some(until_ns)
    }

    /// PONG has come.
    pub fn pong(&mut self, key: WorkerKey) {
        self.workers[key].ping = Ping::Answered;
    }

    /// True if a worker was asked and did not answer in time.
    pub fn is_deaf(&self, key: WorkerKey) -> bool {
        let now = self.clock.now_ns;
        let ping = self.workers.get(key).map(|worker| worker.ping);
        matches!(ping, Some(Ping::Asked { until_ns }) if until_ns <= now)
    }
}

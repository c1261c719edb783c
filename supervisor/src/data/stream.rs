//! Replies whose length nobody knows yet: credits, clients that leave, figures.
//!
//! The pieces themselves go the way of every reply in pieces (`complete`, `http/reply`). What a
//! client does not take stays bounded: its stream gets no credit and waits in the worker.

use rings::error::Violation;
use rings::limits::STREAM_PIECES_MAX;

use super::figures::observe;
use super::inflight::{ClaimKey, ClaimState, EventKey, Place, Worker, WorkerKey};
use super::reactor::Data;

/// CANCEL's reason: the client has left.
const CLIENT_LEFT: u16 = 1;

impl Data {
    /// One more piece of a reply has come. A stream that sends more than its credits is a violation.
    pub fn count_piece(
        &mut self,
        key: WorkerKey,
        claim: ClaimKey,
        number: u64,
    ) -> Result<(), Violation> {
        let kind = rings::abi::up::CHUNK;
        let bad = |why| Err(Violation::Claim { kind, claim: number, why });
        let Some(pieces) = &mut self.workers[key].claims[claim].pieces else {
            return bad("has not begun its reply");
        };
        pieces.out += u32::from(pieces.streamed);
        if pieces.out > STREAM_PIECES_MAX { bad("more pieces than credits") } else { Ok(()) }
    }

    /// A piece was sent or dropped, so that its stream may send another. After the end of its reply
    /// nobody counts any more.
    pub fn piece_taken(&mut self, key: WorkerKey, number: u64) {
        let Some(worker) = self.workers.get_mut(key) else { return };
        if let Some(claim) = worker.claim_of(number)
            && let Some(pieces) = &mut worker.claims[claim].pieces
        {
            pieces.out = pieces.out.saturating_sub(1);
        }
    }

    /// The event's slot is let go of while its reply is under way; the claim goes on.
    pub fn release_within(&mut self, key: WorkerKey, number: u64) -> bool {
        let worker = &mut self.workers[key];
        let Some(claim) = worker.claim_of(number) else { return false };
        let held = &mut worker.claims[claim];
        if !matches!(held.state, ClaimState::Answering | ClaimState::GivenUp) {
            return false;
        }
        match &mut held.pieces {
            Some(pieces) if !pieces.released => {
                pieces.released = true;
                true
            }
            _ => false,
        }
    }

    /// Counts a stream that has ended.
    pub fn count_stream(&mut self, key: EventKey, broken: bool) {
        let now = self.clock.now_ns;
        let Some(event) = self.events.get(key) else { return };
        let figures = &mut self.triggers[event.trigger as usize];
        observe(&mut figures.duration, now.saturating_sub(event.arrived_ns));
        if broken {
            figures.handled_error += 1;
        } else {
            figures.handled_ok += 1;
        }
    }

    /// Stops a stream that nobody listens to, if it is one and its client has left.
    pub fn stop_unheard(&mut self, key: EventKey) {
        let Some(event) = self.events.get(key) else { return };
        if event.client.is_some() {
            return;
        }
        let Place::Claimed(worker_key, claim) = event.place else { return };
        let Some(worker) = self.workers.get_mut(worker_key) else { return };
        let Some(held) = worker.claims.get(claim) else { return };
        let streamed = held.pieces.is_some_and(|pieces| pieces.streamed);
        if !streamed || held.state != ClaimState::Answering {
            return;
        }
        let told = worker
            .end
            .cancel(Worker::claim_number(claim), CLIENT_LEFT)
            .and_then(|()| worker.end.publish());
        match told {
            Ok(rang) => self.counters.bells_down += u64::from(rang),
            Err(violation) => self.violated(worker_key, violation),
        }
    }
}

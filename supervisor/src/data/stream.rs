//! Replies in pieces: their lengths and, where nobody knows the length yet, credits, clients that
//! leave, and figures.
//!
//! The pieces themselves go the way of every reply in pieces (`complete`, `http/reply`). What a
//! client does not take stays bounded: its stream gets no credit and waits in the worker.

use rings::error::Violation;
use rings::limits::STREAM_PIECES_MAX;

use super::figures::observe;
use super::inflight::{ClaimKey, ClaimState, EventKey, InPieces, Place, Worker, WorkerKey};
use super::reactor::Data;

/// CANCEL's reason: the client has left.
const CLIENT_LEFT: u16 = 1;

impl InPieces {
    /// A reply whose first `bytes` came with its head.
    pub fn begun(length: Option<u64>, bytes: u32, released: bool) -> Result<Self, &'static str> {
        let mut pieces = Self { left: length, released, out: 0 };
        pieces.promise(bytes)?;
        Ok(pieces)
    }

    pub fn is_stream(&self) -> bool {
        self.left.is_none()
    }

    /// A worker's lie about the length would put the rest before the next reply on the connection,
    /// which may be somebody else's; one that sends more of a stream than its credits fills memory.
    fn take(&mut self, bytes: u32) -> Result<(), &'static str> {
        self.out += u32::from(self.is_stream());
        if self.out > STREAM_PIECES_MAX {
            return Err("more pieces than credits");
        }
        self.promise(bytes)
    }

    fn promise(&mut self, bytes: u32) -> Result<(), &'static str> {
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(u64::from(bytes)).ok_or("more bytes than were announced")?;
        }
        Ok(())
    }

    /// At the end of a reply that is not broken off.
    pub fn end(&self) -> Result<(), &'static str> {
        match self.left {
            None | Some(0) => Ok(()),
            Some(_) => Err("less bytes than were announced"),
        }
    }
}

impl Data {
    /// One more piece of a reply has come.
    pub fn count_piece(
        &mut self,
        key: WorkerKey,
        claim: ClaimKey,
        number: u64,
        bytes: u32,
    ) -> Result<(), Violation> {
        let pieces = &mut self.workers[key].claims[claim].pieces;
        let taken = pieces.as_mut().ok_or("has not begun its reply").and_then(|p| p.take(bytes));
        let kind = rings::abi::up::CHUNK;
        taken.map_err(|why| Violation::Claim { kind, claim: number, why })
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
        let streamed = held.pieces.is_some_and(|pieces| pieces.is_stream());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_has_the_length_that_was_announced() {
        let mut pieces = InPieces::begun(Some(10), 4, false).unwrap();
        assert_eq!(pieces.end(), Err("less bytes than were announced"));
        pieces.take(5).unwrap();
        assert_eq!(pieces.take(2), Err("more bytes than were announced"));
        pieces.take(1).unwrap();
        assert_eq!(pieces.end(), Ok(()));
        assert!(InPieces::begun(Some(3), 4, false).is_err());
    }

    #[test]
    fn a_stream_has_credits_and_no_length() {
        let mut pieces = InPieces::begun(None, 0, true).unwrap();
        for _ in 0..STREAM_PIECES_MAX {
            pieces.take(u32::MAX).unwrap();
        }
        assert_eq!(pieces.end(), Ok(()));
        assert_eq!(pieces.take(1), Err("more pieces than credits"));
    }
}

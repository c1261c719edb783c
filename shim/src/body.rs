//! Request bodies that come piece by piece while the handler runs.
//!
//! Nothing here waits, as with streamed replies: where no piece is there, the runtime waits in its own
//! way until [`Worker::poll`] or [`Worker::take_controls`] has met news.

use std::collections::{HashMap, VecDeque};

use rings::abi::{Entry, UNKNOWN_LENGTH, down, unplace, up};

use crate::worker::{ShimError, Worker};

/// What asking for the next piece of a body gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyStep {
    /// A piece was taken.
    Piece,
    /// The whole body has come.
    End,
    /// The client left, or broke its framing, before the whole body had come.
    Broken,
    /// The event was answered, or its body was never streamed.
    Over,
    /// Nothing yet: call again after something has come down.
    Wait,
}

/// Bodies on their way, by claim; bounded by the claims, and each by its pieces.
#[derive(Debug, Default)]
pub(crate) struct Bodies {
    by_claim: HashMap<u64, Body>,
}

#[derive(Debug, Default)]
struct Body {
    /// Place and length of what has come and is not yet taken.
    pieces: VecDeque<(u64, u32)>,
    /// Set when nothing more comes.
    ended: Option<BodyStep>,
    /// Taken, and the processor does not know yet.
    untold: u32,
}

impl Bodies {
    /// An EVENT entry was met: what follows for its claim is kept until the claim is closed.
    #[inline]
    pub(crate) fn note(&mut self, entry: &Entry) {
        if entry.kind == down::EVENT && entry.c == UNKNOWN_LENGTH {
            self.by_claim.insert(entry.claim, Body::default());
        }
    }

    /// A BODY_CHUNK or BODY_END has come. For a claim that was skipped or answered it means nothing.
    pub(crate) fn came(&mut self, entry: &Entry) {
        let Some(body) = self.by_claim.get_mut(&entry.claim) else { return };
        if entry.kind == down::BODY_CHUNK {
            body.pieces.push_back((entry.a, entry.value));
        } else {
            body.ended = Some(if entry.aux == 0 { BodyStep::End } else { BodyStep::Broken });
        }
    }

    /// The claim is answered or was skipped.
    #[inline]
    pub(crate) fn close(&mut self, claim: u64) {
        if !self.by_claim.is_empty() {
            self.by_claim.remove(&claim);
        }
    }
}

impl Worker {
    /// Hands the next piece of a streamed request body to `take`, which must copy what it wants to
    /// keep: the bytes are the processor's again afterwards.
    pub fn body_piece(
        &mut self,
        claim: u64,
        take: impl FnOnce(&[u8]),
    ) -> Result<BodyStep, ShimError> {
        self.tell_taken(claim)?;
        let Some(body) = self.bodies.by_claim.get_mut(&claim) else { return Ok(BodyStep::Over) };
        let Some((at, bytes)) = body.pieces.pop_front() else {
            return Ok(body.ended.unwrap_or(BodyStep::Wait));
        };
        body.untold += 1;
        let (segment, offset) = unplace(at);
        let piece = self.memory.held(segment, offset, bytes as usize);
        take(piece.ok_or(ShimError::Protocol("a piece of a body outside the event memory"))?);
        self.tell_taken(claim)?;
        Ok(BodyStep::Piece)
    }

    /// True if there is neither a piece nor the end of this body.
    pub fn waits_for_body(&self, claim: u64) -> bool {
        let body = self.bodies.by_claim.get(&claim);
        body.is_some_and(|body| body.pieces.is_empty() && body.ended.is_none())
    }

    /// Says which pieces are taken, if there is room; else the processor rings when there is.
    fn tell_taken(&mut self, claim: u64) -> Result<(), ShimError> {
        let untold = |worker: &mut Self| worker.bodies.by_claim.get(&claim).map_or(0, |b| b.untold);
        let pieces = untold(self);
        if pieces == 0 || !self.end.has_room_beyond(self.stream_reserve())? {
            return Ok(());
        }
        if let Some(body) = self.bodies.by_claim.get_mut(&claim) {
            body.untold = 0;
        }
        self.push(&Entry { kind: up::BODY_TAKEN, claim, value: pieces, ..Default::default() })
    }
}

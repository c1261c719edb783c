//! Replies whose length is not known before their end: the head, pieces as they come, the end.
//!
//! Nothing here waits. A piece that has no credit or no room is not taken, and the runtime waits in
//! its own way until [`Worker::poll`] or [`Worker::take_controls`] has met news.

use std::collections::HashMap;

use rings::abi::{Entry, UNKNOWN_LENGTH, up};
use rings::limits::{STREAM_PIECE_BYTES_MAX, STREAM_PIECES_MAX, stream_reserve};

use crate::reply::Reply;
use crate::worker::{ShimError, Worker};

/// Pieces of streams on their way, by claim.
#[derive(Debug)]
pub(crate) struct Streams {
    /// Bounded by the pieces on their way: who has none is not in here.
    by_claim: HashMap<u64, u32>,
    reserve: u32,
}

impl Streams {
    pub(crate) fn new(tags: u32) -> Self {
        Self { by_claim: HashMap::new(), reserve: stream_reserve(tags) }
    }

    fn has_credit(&self, claim: u64) -> bool {
        self.by_claim.get(&claim).is_none_or(|out| *out < STREAM_PIECES_MAX)
    }

    fn sent(&mut self, claim: u64) {
        *self.by_claim.entry(claim).or_insert(0) += 1;
    }

    /// Credits came; false if they are not for a stream.
    pub(crate) fn taken(&mut self, claim: u64, pieces: u32) -> bool {
        let Some(of_claim) = self.by_claim.get_mut(&claim) else { return false };
        *of_claim = of_claim.saturating_sub(pieces);
        if *of_claim == 0 {
            self.by_claim.remove(&claim);
        }
        true
    }
}

impl Worker {
    /// Begins a streamed reply, whose body is not looked at; false if there is no room, and then call
    /// again after something has come down. Other than that as [`Worker::reply_begun`].
    pub fn begin_stream(
        &mut self,
        claim: u64,
        begun_ns: u64,
        reply: &Reply<'_>,
        released: bool,
    ) -> Result<bool, ShimError> {
        let head = reply.head.as_bytes();
        let Some(at) = self.block_for(claim, head.len() as u32) else { return Ok(false) };
        self.end.write_block(at, 0, head);
        let mut entry = self.response(claim, begun_ns, reply, released);
        entry.a = rings::abi::block(at, head.len() as u32);
        entry.e = UNKNOWN_LENGTH;
        self.push(&entry)?;
        Ok(true)
    }

    /// Sends what it can of `bytes` as one piece; how many bytes that was, 0 if the stream must
    /// wait.
    pub fn try_piece(&mut self, claim: u64, bytes: &[u8]) -> Result<usize, ShimError> {
        let may_send = !bytes.is_empty()
            && self.streams.has_credit(claim)
            && self.end.has_room_beyond(self.streams.reserve)?;
        if !may_send {
            return Ok(0);
        }
        let piece = &bytes[..bytes.len().min(self.stream_piece_bytes_max())];
        let Some(at) = self.block_for(claim, piece.len() as u32) else { return Ok(0) };
        self.end.write_block(at, 0, piece);
        self.streams.sent(claim);
        let (value, a) = (piece.len() as u32, rings::abi::block(at, 0));
        self.push(&Entry { kind: up::CHUNK, claim, value, a, ..Default::default() })?;
        Ok(piece.len())
    }

    /// Ends a streamed reply; `broken` = the client must not take it for whole.
    pub fn end_stream(&mut self, claim: u64, broken: bool) -> Result<(), ShimError> {
        self.waits_no_more(claim);
        self.end_reply(claim, broken)
    }

    /// Works off control entries and puts events aside, as inside a large reply. True if the bell
    /// must be waited for before anything can have changed; any thread may do that.
    pub fn take_controls(&mut self) -> Result<bool, ShimError> {
        Ok(!self.control_inside()? && self.end.arm())
    }

    /// Places of the completion ring that stay free for what the credit law counts.
    pub(crate) fn stream_reserve(&self) -> u32 {
        self.streams.reserve
    }

    /// A small arena must hold the pieces of several streams.
    fn stream_piece_bytes_max(&self) -> usize {
        self.piece_bytes_max().min(STREAM_PIECE_BYTES_MAX as usize)
    }
}

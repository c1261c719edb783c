//! A reply on its way up, which stops where there is no room and goes on later.
//!
//! Nothing here waits, so that a worker with several threads can wait outside its lock.

use rings::abi::{Entry, up, up_flag};
use rings::limits::CHUNK_CREDITS;

use crate::reply::{Reply, ReplyBody};
use crate::worker::{ShimError, Worker};

/// A reply, and what of it is sent; made by [`Worker::sending`].
#[derive(Debug)]
pub struct Sending<'a> {
    entry: Entry,
    head: &'a [u8],
    body: ReplyBody<'a>,
    /// Bytes of the body that are on their way; meaningless before the head is.
    sent: usize,
    is_begun: bool,
}

impl Worker {
    /// A reply of which nothing is sent yet; parameters as of [`Worker::reply_begun`].
    #[inline]
    pub fn sending<'a>(
        &mut self,
        claim: u64,
        begun_ns: u64,
        reply: &Reply<'a>,
        released: bool,
    ) -> Sending<'a> {
        let entry = self.response(claim, begun_ns, reply, released);
        let (head, body) = (reply.head.as_bytes(), reply.body);
        Sending { entry, head, body, sent: 0, is_begun: false }
    }

    /// Sends what there is room for; true if that was all. Otherwise call again after something has
    /// come down.
    #[inline]
    pub fn go_on(&mut self, sending: &mut Sending<'_>) -> Result<bool, ShimError> {
        if !sending.is_begun && !self.begin_sending(sending)? {
            return Ok(false);
        }
        match sending.body {
            ReplyBody::Bytes(body) if sending.sent < body.len() => self.send_rest(sending, body),
            _ => Ok(true),
        }
    }

    /// Sends the head with as much of the body as goes with it; false if there is no block.
    fn begin_sending(&mut self, sending: &mut Sending<'_>) -> Result<bool, ShimError> {
        let (head, entry) = (sending.head, &mut sending.entry);
        let room = self.piece_bytes_max() - head.len();
        let (whole, first) = match sending.body {
            ReplyBody::InEvent { .. } => (true, &b""[..]),
            ReplyBody::Bytes(body) if body.len() <= room => (true, body),
            ReplyBody::Bytes(body) => (false, &body[..room]),
        };
        let Some(at) = self.block_for(entry.claim, (head.len() + first.len()) as u32) else {
            return Ok(false);
        };
        self.end.write_block(at, 0, head);
        self.end.write_block(at, head.len() as u32, first);
        entry.a = rings::abi::block(at, head.len() as u32);
        entry.flags |= if whole { up_flag::LAST } else { 0 };
        match sending.body {
            ReplyBody::InEvent { offset, bytes } => {
                entry.flags |= up_flag::BODY_IN_Q;
                entry.value = bytes;
                entry.b = u64::from(offset);
            }
            ReplyBody::Bytes(body) => {
                entry.value = first.len() as u32;
                entry.e = if whole { 0 } else { body.len() as u64 };
            }
        }
        (sending.is_begun, sending.sent) = (true, first.len());
        if whole {
            self.bodies.close(sending.entry.claim);
        }
        self.push(&sending.entry)?;
        Ok(true)
    }

    fn send_rest(&mut self, sending: &mut Sending<'_>, body: &[u8]) -> Result<bool, ShimError> {
        let claim = sending.entry.claim;
        let piece_max = self.piece_bytes_max();
        while sending.sent < body.len() {
            // The other half is for streams.
            if self.chunks_out >= CHUNK_CREDITS / 2 {
                return Ok(false);
            }
            let piece = &body[sending.sent..];
            let piece = &piece[..piece.len().min(piece_max)];
            let Some(at) = self.block_for(claim, piece.len() as u32) else { return Ok(false) };
            self.end.write_block(at, 0, piece);
            self.chunks_out += 1;
            sending.sent += piece.len();
            let (value, a) = (piece.len() as u32, rings::abi::block(at, 0));
            self.push(&Entry { kind: up::CHUNK, claim, value, a, ..Default::default() })?;
        }
        self.end_reply(claim, false)?;
        Ok(true)
    }
}

//! Replies in pieces. Nothing here waits: what finds no room is sent again after the next look.
//!
//! The event stays open until its stream has ended, so that its body can still be read.

use napi_derive::napi;
use rings::abi::{content_type, outcome};
use shim::{Reply, ReplyBody};

use crate::link;
use crate::reply::{LATE, NO_HEAD, SENT, head_block};

/// There is no room for the head.
const NO_ROOM: u32 = 3;

/// Sends the head; `head` = name, value, name, value.
#[napi]
pub fn stream_begin(
    tag: u32,
    generation: u32,
    status: u32,
    of_type: u32,
    head: Option<Vec<String>>,
) -> napi::Result<u32> {
    let head = head_block(head.as_deref().unwrap_or_default())?;
    let reply = Reply {
        status: status as u16,
        outcome: outcome::OK,
        content_type: (of_type as u8).min(content_type::HTML),
        head: head.as_ref().unwrap_or(&NO_HEAD),
        body: ReplyBody::Bytes(&[]),
        retry_after_ns: 0,
    };
    link::with(|link| {
        let claim = link::claim(tag, generation);
        let Some(begun_ns) = link.event(claim).map(shim::Event::begun_ns) else { return Ok(LATE) };
        let has_room = link.worker.begin_stream(claim, begun_ns, &reply, false)?;
        Ok(if has_room { SENT } else { NO_ROOM })
    })
}

/// Sends what it can of a piece from `at` on; how many bytes that was.
#[napi]
pub fn stream_piece(tag: u32, generation: u32, piece: &[u8], at: u32) -> napi::Result<u32> {
    let rest = piece.get(at as usize..).unwrap_or_default();
    let claim = link::claim(tag, generation);
    link::with(|link| Ok(link.worker.try_piece(claim, rest)? as u32))
}

/// Ends a stream; `broken` = the client must not take it for whole.
#[napi]
pub fn stream_end(tag: u32, generation: u32, broken: bool) -> napi::Result<()> {
    link::with(|link| {
        let claim = link::claim(tag, generation);
        let Some(event) = link.end(claim) else { return Ok(()) };
        link.worker.end_stream(claim, broken)?;
        link.worker.release(event)
    })
}

//! Takes the answers of handlers. What a processor would refuse is refused by `lib/answer.js`.

use napi::bindgen_prelude::Either;
use napi_derive::napi;
use rings::abi::{content_type, outcome};
use shim::{HeadBlock, Reply, ReplyBody, ShimError};

use crate::link::{self, Link};

/// What came of an answer.
pub const SENT: u32 = 0;
/// The same, and the loop must look for work again: the bell may have been used up meanwhile.
const SENT_LOOK_AGAIN: u32 = 1;
/// The event was answered before.
pub const LATE: u32 = 2;

pub static NO_HEAD: HeadBlock = HeadBlock::new();

/// Answers with 200 and nothing.
#[napi]
pub fn reply_empty(tag: u32, generation: u32) -> napi::Result<u32> {
    link::with(|link| send(link, link::claim(tag, generation), &Reply::ok(b"")))
}

/// Answers with 200 and a text: what most handlers return.
#[napi]
pub fn reply_text(tag: u32, generation: u32, body: String) -> napi::Result<u32> {
    link::with(|link| send(link, link::claim(tag, generation), &Reply::ok(body.as_bytes())))
}

/// Answers with all that an answer can say. `head` = name, value, name, value.
#[napi]
#[allow(clippy::too_many_arguments)]
pub fn reply(
    tag: u32,
    generation: u32,
    status: u32,
    kind: u32,
    of_type: u32,
    head: Option<Vec<String>>,
    body: Either<String, &[u8]>,
    retry_after_ms: f64,
) -> napi::Result<u32> {
    let head = head_block(head.as_deref().unwrap_or_default())?;
    let bytes = match &body {
        Either::A(text) => text.as_bytes(),
        Either::B(bytes) => bytes,
    };
    let reply = Reply {
        status: status as u16,
        outcome: [outcome::OK, outcome::ERROR, outcome::RETRY, outcome::REJECT]
            [kind.min(3) as usize],
        content_type: (of_type as u8).min(content_type::HTML),
        head: head.as_ref().unwrap_or(&NO_HEAD),
        body: ReplyBody::Bytes(bytes),
        retry_after_ns: (retry_after_ms.max(0.0) * 1e6) as u64,
    };
    link::with(|link| send(link, link::claim(tag, generation), &reply))
}

pub fn head_block(lines: &[String]) -> napi::Result<Option<HeadBlock>> {
    if lines.is_empty() {
        return Ok(None);
    }
    let mut head = HeadBlock::new();
    for line in lines.chunks_exact(2) {
        if !head.push(line[0].as_bytes(), line[1].as_bytes()) {
            let most = rings::limits::REPLY_HEAD_BYTES_MAX;
            let text = format!("the reply's headers are larger than {most} bytes");
            return Err(napi::Error::from_reason(text));
        }
    }
    Ok(Some(head))
}

fn send(link: &mut Link, claim: u64, reply: &Reply<'_>) -> Result<u32, ShimError> {
    // Nothing of the slot is looked at any more: JavaScript has copies only.
    let Some(event) = link.end(claim) else { return Ok(LATE) };
    link.worker.reply_begun(claim, event.begun_ns(), reply, true)?;
    Ok(if link.worker.took_inside() { SENT_LOOK_AGAIN } else { SENT })
}

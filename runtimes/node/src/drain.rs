//! Takes what has come down: one call a batch fills a table of events and copies what they hold.
//!
//! A row is sixteen words; `lib/serve.js` reads them by the same numbers. Header and small body are
//! copied into the slab, so that an event that the handler keeps never changes. A larger body stays
//! in the shared memory until it is asked for or the event is answered.

use napi_derive::napi;
use rings::limits::BODY_INLINE_BYTES_MAX;
use shim::{Body, Down, Event, ShimError};

use crate::link::{self, Link};

/// Memory that JavaScript lends for a call; by these names, since the macro knows no `&mut [T]`.
type Words<'a> = &'a mut [u32];
type Bytes<'a> = &'a mut [u8];

const ROW_WORDS: usize = 16;
/// Offset of a body that was not copied.
const NOT_COPIED: u32 = u32::MAX;
/// No log records of this event are wanted.
const NOT_WANTED: u32 = 255;

/// Kinds of rows.
const EVENT: u32 = 1;
const CANCEL: u32 = 2;
const DRAIN: u32 = 3;
const STOP: u32 = 4;

/// Flags of the result, above the number of rows.
const ARMED: u32 = 1 << 16;
const SLAB_FULL: u32 = 1 << 17;

/// Fills rows until the table is full, the slab is full or nothing is left. Arms the bell only when
/// there was nothing at all, so that a busy worker is not rung for.
#[napi]
pub fn drain(table: Words<'_>, slab: Bytes<'_>, at: u32) -> napi::Result<u32> {
    link::with(|link| fill(link, table, slab, at as usize))
}

fn fill(
    link: &mut Link,
    table: &mut [u32],
    slab: &mut [u8],
    mut at: usize,
) -> Result<u32, ShimError> {
    let mut rows = 0;
    for row in table.chunks_exact_mut(ROW_WORDS) {
        let (down, batch) = match link.aside.take() {
            Some((event, batch)) => (Some(Down::Event(event)), batch),
            None => (link.worker.poll_each()?, link.worker.batch_at_hand()),
        };
        match down {
            Some(Down::Event(event)) => {
                let Some(end) = place(&event, row, slab, at) else {
                    link.aside = Some((event, batch));
                    return Ok(rows | SLAB_FULL);
                };
                at = end;
                (row[13], row[14]) = (batch.0 as u32, batch.1 as u32);
                link.begin(event)?;
            }
            Some(Down::Batch(_)) => return Err(ShimError::Protocol("a batch that was not split")),
            Some(Down::Cancel { claim }) => control(row, CANCEL, claim, 0),
            Some(Down::Drain { trigger }) => control(row, DRAIN, 0, trigger),
            Some(Down::Stop) => control(row, STOP, 0, 0),
            None if rows > 0 => return Ok(rows),
            None if link.worker.arm() => return Ok(ARMED),
            // Something came between the look and the arming.
            None => return Ok(0),
        }
        rows += 1;
    }
    Ok(rows)
}

fn control(row: &mut [u32], kind: u32, claim: u64, trigger: u16) {
    row[0] = kind;
    row[1] = claim as u32;
    row[2] = (claim >> 32) as u32;
    row[7] = trigger.into();
}

/// Copies an event into the slab and describes it; where its bytes end, or `None` without room.
fn place(event: &Event, row: &mut [u32], slab: &mut [u8], at: usize) -> Option<usize> {
    // Words of the header are read as such, so it begins at a multiple of eight.
    let start = at.next_multiple_of(8);
    let header = event.header_bytes();
    let body_at = start + header.len();
    slab.get_mut(start..body_at)?.copy_from_slice(header);
    let bytes = event.body_bytes();
    let mut end = body_at;
    let mut copied_at = NOT_COPIED;
    if bytes <= BODY_INLINE_BYTES_MAX {
        end += bytes;
        copy_body(event, slab.get_mut(body_at..end)?);
        copied_at = body_at as u32;
    }
    let deadline = event.deadline_ns();
    row[0] = EVENT;
    row[1] = event.claim() as u32;
    row[2] = (event.claim() >> 32) as u32;
    row[3] = start as u32;
    row[4] = header.len() as u32;
    row[5] = copied_at;
    row[6] = bytes as u32;
    row[7] = event.trigger().into();
    row[8] = event.wanted_log_level().map_or(NOT_WANTED, u32::from);
    row[9] = event.attempt();
    row[10] = deadline as u32;
    row[11] = (deadline >> 32) as u32;
    row[12] = end as u32;
    Some(end)
}

fn copy_body(event: &Event, into: &mut [u8]) {
    match event.body() {
        Body::Whole(bytes) if bytes.len() == into.len() => into.copy_from_slice(bytes),
        Body::Whole(_) => {}
        Body::Pieces(pieces) => {
            let mut rest = into;
            for piece in pieces {
                let Some((to, after)) = rest.split_at_mut_checked(piece.len()) else { return };
                to.copy_from_slice(piece);
                rest = after;
            }
        }
    }
}

/// Copies the body of an event that has not been answered; false if it has.
#[napi]
pub fn read_body(tag: u32, generation: u32, into: Bytes<'_>) -> napi::Result<bool> {
    link::with(|link| {
        let event = link.event(link::claim(tag, generation));
        let event = event.filter(|event| event.body_bytes() == into.len());
        Ok(event.map(|event| copy_body(event, into)).is_some())
    })
}

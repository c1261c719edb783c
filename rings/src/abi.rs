//! Every byte that both sides share: entry kinds, flags, the event header, where words live.
//!
//! Version 1.0-rc. Little-endian, explicit padding, sizes asserted below; `docs/abi/` describes the
//! same layout with golden bytes, and a test compares them. Numbers that nothing uses yet are
//! reserved here so that they cannot be given away.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

#[cfg(not(target_endian = "little"))]
compile_error!("the shared-memory protocol is little-endian");

/// Major version: a worker with another one is refused.
pub const ABI_MAJOR: u16 = 1;
/// Minor version: newer kinds are optional and answered UNSUPPORTED by those who do not know them.
pub const ABI_MINOR: u16 = 0;

/// One ring entry. What the fields mean depends on `kind`; unused ones are zero.
#[derive(
    Debug, Default, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
#[repr(C, align(64))]
pub struct Entry {
    /// One of [`down`] or [`up`]; 0 is never valid.
    pub kind: u8,
    /// Bits of [`down_flag`] or [`up_flag`].
    pub flags: u8,
    /// Small operand: trigger, status, reason.
    pub aux: u16,
    /// Length or count.
    pub value: u32,
    /// Who must answer: `generation << 32 | tag`; 0 where no event is meant.
    pub claim: u64,
    /// Operands, see the kind.
    pub a: u64,
    /// See the kind.
    pub b: u64,
    /// See the kind.
    pub c: u64,
    /// See the kind.
    pub d: u64,
    /// See the kind.
    pub e: u64,
    /// See the kind.
    pub f: u64,
}

/// Kinds of entries that go down, from the processor to a worker.
pub mod down {
    /// An event. aux = trigger, value = header bytes, a = place of the header ([`super::place`]),
    /// b = deadline on CLOCK_MONOTONIC in ns (0 = none), c = body bytes ([`UNKNOWN_LENGTH`]: the body
    /// follows in BODY_CHUNKs), d = attempt (first is 1), e = with WANT_LOGS the lowest level wanted.
    ///
    /// [`UNKNOWN_LENGTH`]: super::UNKNOWN_LENGTH
    pub const EVENT: u8 = 1;
    /// A piece of a streamed request body, never empty. claim, value = bytes, a = place.
    pub const BODY_CHUNK: u8 = 2;
    /// The end of a streamed request body. claim, aux = 0 complete, 1 the client left.
    pub const BODY_END: u8 = 3;
    /// The processor has taken pieces of a reply. claim, value = pieces.
    pub const CREDIT: u8 = 4;
    /// Stop working on an event. claim, aux = 0 deadline, 1 the client left.
    pub const CANCEL: u8 = 5;
    /// Blocks of the response arena are the worker's again. value = count (1 to 6), a to f = one
    /// block each ([`super::block`]).
    pub const RSP_RELEASE: u8 = 6;
    /// The answer to a CALL. claim, a = call, b = place, value = bytes, aux = status.
    pub const CALL_RESULT: u8 = 7;
    /// A further segment is passed on the socket. value = segment, a = bytes.
    pub const MAP_SEG: u8 = 8;
    /// A segment will not be named again. value = segment.
    pub const UNMAP_SEG: u8 = 9;
    /// Run the drain callback of one trigger and keep going. aux = trigger.
    pub const DRAIN: u8 = 10;
    /// Finish what is in flight and exit.
    pub const STOP: u8 = 11;
    /// Answer with PONG. value = any number, given back.
    pub const PING: u8 = 12;
    /// Kinds from here on are optional: who does not know one answers UNSUPPORTED.
    pub const OPTIONAL_FROM: u8 = 128;
}

/// Flags of entries that go down.
pub mod down_flag {
    /// After a failed event, the linked entries behind it come back SKIPPED.
    pub const LINK: u8 = 1;
    /// More entries of the same batch follow.
    pub const BATCH_MORE: u8 = 2;
    /// The last piece.
    pub const LAST: u8 = 4;
    /// Log records of this event are wanted in its reply, from the level in `e` on.
    pub const WANT_LOGS: u8 = 8;
}

/// Kinds of entries that go up, from a worker to the processor.
pub mod up {
    /// The user's code is loaded; events may come. value = events that may be in flight at once (1
    /// for a handler that runs one after the other).
    pub const READY: u8 = 1;
    /// The user's code could not be loaded. aux = [`super::init_failed`], value = bytes of text,
    /// a = block offset << 32.
    pub const INIT_FAILED: u8 = 2;
    /// The answer to an event. aux = status, value = body bytes in this block (or of the event's own
    /// body with BODY_IN_Q), a = block offset << 32 | head bytes, b = with BODY_IN_Q the offset in
    /// the event's body, c = run time in ns << 32 | content type << 8 | outcome, d = log position,
    /// e = whole length of a reply sent in pieces (with LAST unset; [`UNKNOWN_LENGTH`] for a stream,
    /// whose RESPONSE carries the head only), f = retry delay in ns.
    pub const RESPONSE: u8 = 3;
    /// A piece of a reply, never empty. claim, value = bytes, a = block offset << 32.
    pub const CHUNK: u8 = 4;
    /// The end of a reply in pieces. claim, aux = 0 complete, 1 broken off, d = log position.
    pub const END: u8 = 5;
    /// The event's slot is no longer looked at. claim.
    pub const REQ_RELEASE: u8 = 6;
    /// A deferred event is done. a, b, c = its `ack_token`.
    pub const ACK: u8 = 7;
    /// A deferred event failed. a, b, c = its `ack_token`, f = retry delay in ns.
    pub const NACK: u8 = 8;
    /// A call to another function. claim, a = call, value = bytes, b = block offset << 32.
    pub const CALL: u8 = 9;
    /// The drain callback has run. aux = trigger.
    pub const DRAINED: u8 = 10;
    /// A recalled or linked entry was not begun. claim.
    pub const SKIPPED: u8 = 11;
    /// The answer to PING. value = its number.
    pub const PONG: u8 = 12;
    /// An optional kind that this worker does not know. aux = the kind.
    pub const UNSUPPORTED: u8 = 13;
    /// Pieces of a streamed request body, the oldest first, are no longer looked at. claim, value =
    /// pieces (never 0).
    pub const BODY_TAKEN: u8 = 14;
}

/// RESPONSE's `e` when nobody knows yet how long the reply will be; EVENT's `c` for a request body.
pub const UNKNOWN_LENGTH: u64 = u64::MAX;

/// Flags of entries that go up.
pub mod up_flag {
    /// The event's slot is no longer looked at: REQ_RELEASE in the same entry.
    pub const REQ_RELEASED: u8 = 1;
    /// The body is a range of the event's own body.
    pub const BODY_IN_Q: u8 = 2;
    /// Reserved: the body is in a descriptor passed on the socket.
    pub const BODY_IN_FD: u8 = 4;
    /// The block begins with a reply head.
    pub const HAS_HEAD: u8 = 8;
    /// Nothing more of this reply follows.
    pub const LAST: u8 = 16;
}

/// Outcomes of an event, the low byte of RESPONSE's `c`.
pub mod outcome {
    /// The handler returned.
    pub const OK: u8 = 1;
    /// The handler raised.
    pub const ERROR: u8 = 2;
    /// The handler asked for another attempt after `f` ns.
    pub const RETRY: u8 = 3;
    /// The handler refused the event for good.
    pub const REJECT: u8 = 4;
    /// The handler will acknowledge later.
    pub const DEFERRED: u8 = 5;
}

/// Content types frequent enough for a number, the second byte of RESPONSE's `c`.
pub mod content_type {
    /// Given in the head, or none.
    pub const NONE: u8 = 0;
    /// text/plain
    pub const TEXT: u8 = 1;
    /// application/json
    pub const JSON: u8 = 2;
    /// application/octet-stream
    pub const BYTES: u8 = 3;
    /// text/html
    pub const HTML: u8 = 4;
}

/// Why INIT_FAILED, its `aux`.
pub mod init_failed {
    /// The user's code ran and failed.
    pub const FAILED: u16 = 1;
    /// It cannot be a function as it stands: syntax, no handler, several handlers.
    pub const USAGE: u16 = 2;
}

/// Event kinds, the first byte of [`EventHeader`].
pub mod event_kind {
    /// An HTTP request.
    pub const HTTP: u8 = 1;
    /// A record of a stream partition.
    pub const STREAM: u8 = 2;
    /// A message of a queue.
    pub const QUEUE: u8 = 3;
    /// A tick of a schedule.
    pub const SCHEDULE: u8 = 4;
    /// An item found by polling.
    pub const POLLING: u8 = 5;
    /// An asynchronous invocation.
    pub const ASYNC: u8 = 6;
}

/// Flags of [`EventHeader`].
pub mod event_flag {
    /// `id` is empty and the event's id is the first 16 bytes of `ack_token`, written as a UUID.
    pub const ID_IN_TOKEN: u16 = 1;
    /// Reserved: the body comes in pieces.
    pub const BODY_STREAMED: u16 = 2;
    /// The last event of a batch.
    pub const LAST_IN_BATCH: u16 = 4;
}

/// A range of bytes, counted from the start of the event header.
#[derive(
    Debug, Default, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
#[repr(C)]
pub struct Range {
    /// First byte.
    pub offset: u32,
    /// Number of bytes.
    pub length: u32,
}

/// The head of an event in its slot. Behind it: `header_count` [`HeaderEntry`], `extent_count`
/// [`Extent`], then the raw bytes that the ranges point into.
#[derive(Debug, Default, Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct EventHeader {
    /// One of [`event_kind`].
    pub kind: u8,
    /// Method number (RFC 9110 methods, see `docs/abi/`); 255 = its text is in `ext`.
    pub method: u8,
    /// Number of [`HeaderEntry`].
    pub header_count: u16,
    /// Trigger, as interned in the OFFER.
    pub trigger: u16,
    /// First attempt is 1.
    pub attempt: u16,
    /// Arrival, nanoseconds since the epoch.
    pub timestamp_ns: u64,
    /// Position in its partition.
    pub offset: u64,
    /// Partition of a stream.
    pub partition: u32,
    /// Shard as nuclio counts them.
    pub shard: u32,
    /// Given back in ACK and NACK; opaque to workers.
    pub ack_token: [u8; 24],
    /// Event id; empty with `ID_IN_TOKEN`.
    pub id: Range,
    /// Path, without query.
    pub path: Range,
    /// Query, without the question mark.
    pub query: Range,
    /// Content type of the body.
    pub content_type: Range,
    /// Key of a stream record.
    pub key: Range,
    /// Topic, queue or stream.
    pub topic: Range,
    /// W3C trace context.
    pub traceparent: Range,
    /// MessagePack map of what has no fixed place.
    pub ext: Range,
    /// Number of [`Extent`].
    pub extent_count: u16,
    /// Bits of [`event_flag`].
    pub flags: u16,
    /// Sum of the extents' lengths.
    pub body_bytes: u32,
}

/// One header line: ranges of its name and value.
#[derive(
    Debug, Default, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
#[repr(C)]
pub struct HeaderEntry {
    /// The name.
    pub name: Range,
    /// The value.
    pub value: Range,
}

/// A contiguous piece of a body.
#[derive(
    Debug, Default, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
#[repr(C)]
pub struct Extent {
    /// Segment of the event memory.
    pub segment: u32,
    /// Bytes.
    pub length: u32,
    /// First byte in the segment.
    pub offset: u64,
}

const _: () = {
    assert!(size_of::<Entry>() == 64 && align_of::<Entry>() == 64);
    assert!(size_of::<EventHeader>() == 128);
    assert!(size_of::<HeaderEntry>() == 16);
    assert!(size_of::<Extent>() == 16);
};

/// Packs where an event header lives: segment in the top byte, byte offset below.
pub const fn place(segment: u32, offset: u64) -> u64 {
    (segment as u64) << 56 | offset
}

/// Unpacks [`place`] into segment and offset.
pub const fn unplace(place: u64) -> (u32, u64) {
    ((place >> 56) as u32, place & ((1 << 56) - 1))
}

/// Packs a block of the response arena: offset in the high half, bytes in the low.
pub const fn block(offset: u32, bytes: u32) -> u64 {
    (offset as u64) << 32 | bytes as u64
}

/// Unpacks [`block`] into offset and bytes.
pub const fn unblock(block: u64) -> (u32, u32) {
    ((block >> 32) as u32, block as u32)
}

/// Where the words of segment D live; written by the processor. 128 bytes apart: caches fetch lines
/// in pairs, and a word that one side polls must not share a pair with one that changes often.
pub mod d_word {
    /// Tail of the submission ring.
    pub const SQ_TAIL: usize = 0x000;
    /// Head of the completion ring.
    pub const CQ_HEAD: usize = 0x080;
    /// Where the processor went to sleep on the completion ring.
    pub const CQ_WAKE_AT: usize = 0x100;
    /// Where the processor began to wait for room in the submission ring.
    pub const SQ_SPACE_WAKE_AT: usize = 0x180;
    /// Bytes of the log ring taken so far.
    pub const LOG_HEAD: usize = 0x200;
    /// Where the processor went to sleep on the log ring.
    pub const LOG_WAKE_AT: usize = 0x280;
    /// Entries of the submission ring before this one are taken back.
    pub const RECALL: usize = 0x300;
    /// Cancelled generations, one u32 a tag.
    pub const CANCEL: usize = 0x1000;
}

/// Where the words of segment U live; written by the worker, 128 bytes apart like those of D.
pub mod u_word {
    /// Tail of the completion ring.
    pub const CQ_TAIL: usize = 0x000;
    /// Head of the submission ring.
    pub const SQ_HEAD: usize = 0x080;
    /// Where the worker went to sleep on the submission ring.
    pub const SQ_WAKE_AT: usize = 0x100;
    /// Where the worker began to wait for room in the completion ring.
    pub const CQ_SPACE_WAKE_AT: usize = 0x180;
    /// One more than the last entry begun.
    pub const STARTED: usize = 0x200;
    /// Bytes of the log ring written so far.
    pub const LOG_TAIL: usize = 0x280;
    /// Log records that found no room, counted.
    pub const LOG_DROPPED: usize = 0x300;
    /// 1 while the worker waits for blocks of its arena to come back.
    pub const ARENA_WAIT: usize = 0x380;
    /// The completion ring's entries.
    pub const ENTRIES: usize = 0x1000;
}

/// Page size of the layout; independent of the machine's.
pub const PAGE: usize = 4096;

/// Sizes of the two segments of one worker; both sides compute the same offsets from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Entries of the submission ring.
    pub sq_capacity: u32,
    /// Entries of the completion ring.
    pub cq_capacity: u32,
    /// Tags, the length of the cancel table.
    pub tags: u32,
    /// Bytes of the response arena.
    pub arena_bytes: u32,
    /// Bytes of the log ring.
    pub log_bytes: u32,
}

impl Layout {
    /// First byte of the submission ring's entries in D.
    pub const fn sq_entries(&self) -> usize {
        (d_word::CANCEL + 4 * self.tags as usize).next_multiple_of(PAGE)
    }

    /// Bytes of segment D.
    pub const fn d_bytes(&self) -> usize {
        (self.sq_entries() + 64 * self.sq_capacity as usize).next_multiple_of(PAGE)
    }

    /// First byte of the response arena in U.
    pub const fn arena(&self) -> usize {
        (u_word::ENTRIES + 64 * self.cq_capacity as usize).next_multiple_of(PAGE)
    }

    /// First byte of the log ring in U.
    pub const fn log(&self) -> usize {
        (self.arena() + self.arena_bytes as usize).next_multiple_of(PAGE)
    }

    /// Bytes of segment U.
    pub const fn u_bytes(&self) -> usize {
        (self.log() + self.log_bytes as usize).next_multiple_of(PAGE)
    }
}

/// Head of one log record in the log ring; the message and the fields (JSON object text, may be
/// empty) follow, padded to 8 bytes. Records wrap byte by byte at the end of the ring.
#[derive(
    Debug, Default, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
#[repr(C)]
pub struct LogHead {
    /// The event being handled; 0 for none.
    pub claim: u64,
    /// Nanoseconds since the epoch.
    pub time_ns: u64,
    /// Bytes of the message.
    pub message_bytes: u32,
    /// Bytes of the fields.
    pub fields_bytes: u32,
    /// 0 debug, 1 info, 2 warn, 3 error.
    pub level: u8,
    /// 0 logger, 1 standard output, 2 standard error, 3 traceback.
    pub origin: u8,
    /// Zero.
    pub reserved: [u8; 6],
}

const _: () = assert!(size_of::<LogHead>() == 32);

/// The first 16 bytes of a token in the form of a UUID, the id of an event with `ID_IN_TOKEN`.
pub fn uuid_text(token: &[u8; 24]) -> String {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(36);
    for (i, byte) in token[..16].iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push(HEX[usize::from(byte >> 4)] as char);
        text.push(HEX[usize::from(byte & 15)] as char);
    }
    text
}

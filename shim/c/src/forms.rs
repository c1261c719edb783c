//! The numbers and structures of `nuclio.h`. No code: what is done with them is in `ffi.rs`.

use std::cell::OnceCell;

use shim::Offer;

/// It worked.
pub const NUCLIO_OK: i32 = 0;
/// There is none: nothing to do, no such field.
pub const NUCLIO_NONE: i32 = 1;
/// An argument is wrong; nothing was done.
pub const NUCLIO_INVALID: i32 = -1;
/// The processor is gone: end the process.
pub const NUCLIO_GONE: i32 = -2;
/// The connection cannot go on: end the process.
pub const NUCLIO_FAILED: i32 = -3;
/// A fault of this library: end the process.
pub const NUCLIO_PANIC: i32 = -4;

/// Kinds of `nuclio_down`: run the handler.
pub const NUCLIO_DOWN_EVENT: u32 = 1;
/// The processor no longer waits for the event `claim`.
pub const NUCLIO_DOWN_CANCEL: u32 = 2;
/// Run the drain callback of `trigger`, then call nuclio_drained.
pub const NUCLIO_DOWN_DRAIN: u32 = 3;
/// Finish what is in flight and exit.
pub const NUCLIO_DOWN_STOP: u32 = 4;

/// Fields of nuclio_event_text.
pub const NUCLIO_FIELD_ID: u32 = 1;
/// Such as POST.
pub const NUCLIO_FIELD_METHOD: u32 = 2;
/// Without the query, as it came.
pub const NUCLIO_FIELD_PATH: u32 = 3;
/// Without the question mark, as it came.
pub const NUCLIO_FIELD_QUERY: u32 = 4;
/// Of the body.
pub const NUCLIO_FIELD_CONTENT_TYPE: u32 = 5;
/// Of a stream record.
pub const NUCLIO_FIELD_KEY: u32 = 6;
/// Topic, queue or stream.
pub const NUCLIO_FIELD_TOPIC: u32 = 7;
/// W3C trace context.
pub const NUCLIO_FIELD_TRACEPARENT: u32 = 8;

/// Outcomes of a reply: the handler answered.
pub const NUCLIO_OUTCOME_OK: u8 = 1;
/// The handler failed.
pub const NUCLIO_OUTCOME_ERROR: u8 = 2;
/// Once more, after `retry_after_ns`.
pub const NUCLIO_OUTCOME_RETRY: u8 = 3;
/// Never again.
pub const NUCLIO_OUTCOME_REJECT: u8 = 4;

/// Content types of a reply: given among its headers, or none.
pub const NUCLIO_CONTENT_NONE: u8 = 0;
/// text/plain
pub const NUCLIO_CONTENT_TEXT: u8 = 1;
/// application/json
pub const NUCLIO_CONTENT_JSON: u8 = 2;
/// application/octet-stream
pub const NUCLIO_CONTENT_BYTES: u8 = 3;
/// text/html
pub const NUCLIO_CONTENT_HTML: u8 = 4;

/// Levels and origins of log records.
pub const NUCLIO_LOG_DEBUG: u8 = 0;
/// For who runs the function.
pub const NUCLIO_LOG_INFO: u8 = 1;
/// Something is off.
pub const NUCLIO_LOG_WARN: u8 = 2;
/// Something failed.
pub const NUCLIO_LOG_ERROR: u8 = 3;
/// The record comes from a logger.
pub const NUCLIO_ORIGIN_LOGGER: u8 = 0;
/// From standard output.
pub const NUCLIO_ORIGIN_STDOUT: u8 = 1;
/// From standard error.
pub const NUCLIO_ORIGIN_STDERR: u8 = 2;
/// The trace of a failed handler.
pub const NUCLIO_ORIGIN_TRACEBACK: u8 = 3;

/// Bytes that belong to somebody else; not ended by zero.
#[repr(C)]
pub struct Bytes {
    /// May be null if `length` is 0.
    pub data: *const u8,
    /// Their number.
    pub length: usize,
}

/// One connection to the processor.
pub struct Worker {
    pub(crate) inner: shim::Worker,
    pub(crate) offer: Offer,
    pub(crate) numbers: [String; 4],
}

/// An event, and the right to look at its memory.
pub struct Event {
    pub(crate) inner: shim::Event,
    pub(crate) id: OnceCell<String>,
    pub(crate) gathered: OnceCell<Vec<u8>>,
}

/// What came down.
#[repr(C)]
pub struct Down {
    /// One of NUCLIO_DOWN_...
    pub kind: u32,
    /// With DRAIN.
    pub trigger: u32,
    /// With EVENT and CANCEL.
    pub claim: u64,
    /// With EVENT; yours until it is answered without `keep`, or released.
    pub event: *mut Event,
    /// With EVENT: events of its batch, each of which is answered by itself; 0 = it is in none.
    pub batch: u32,
    /// With EVENT: so many of the next ones are of the same batch.
    pub more: u32,
}

impl Default for Down {
    fn default() -> Self {
        Self { kind: 0, trigger: 0, claim: 0, event: std::ptr::null_mut(), batch: 0, more: 0 }
    }
}

/// The numbers of an event.
#[repr(C)]
pub struct EventHead {
    /// Names the event in nuclio_log and nuclio_is_cancelled.
    pub claim: u64,
    /// When the answer is due on CLOCK_MONOTONIC; 0 = no limit.
    pub deadline_ns: u64,
    /// Arrival, since the epoch.
    pub timestamp_ns: u64,
    /// Position in its partition.
    pub offset: u64,
    /// Bytes of the body.
    pub body_bytes: u64,
    /// Partition of a stream.
    pub partition: u32,
    /// Shard as nuclio counts them.
    pub shard: u32,
    /// Lines for nuclio_event_header.
    pub header_count: u32,
    /// The first is 1.
    pub attempt: u32,
    /// Number of the trigger, as in the setting `trigger.N.name`.
    pub trigger: u16,
    /// 1 HTTP, 2 stream, 3 queue, 4 schedule, 5 polling, 6 asynchronous.
    pub kind: u8,
    /// The lowest level of log records that the client wants with its reply; 255 = none.
    pub wanted_level: u8,
}

/// One header of a reply.
#[repr(C)]
pub struct HeaderLine {
    /// Its name.
    pub name: Bytes,
    /// Its value.
    pub value: Bytes,
}

/// An answer; all zero but `status` and `outcome` is a good start.
#[repr(C)]
pub struct Reply {
    /// HTTP status, 100 to 599; 0 where the outcome has none.
    pub status: u16,
    /// One of NUCLIO_OUTCOME_...
    pub outcome: u8,
    /// One of NUCLIO_CONTENT_...
    pub content_type: u8,
    /// 1 = the event is looked at later and given back by nuclio_release; else it ends here.
    pub keep: u8,
    /// Zero.
    pub reserved: [u8; 3],
    /// How many headers.
    pub header_count: usize,
    /// The headers.
    pub headers: *const HeaderLine,
    /// The body; a part of the event's own body is sent from where it is.
    pub body: Bytes,
    /// With the outcome RETRY.
    pub retry_after_ns: u64,
}

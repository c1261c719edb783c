//! The structures and functions between a handler in a shared library and the worker that has
//! loaded it; `nuclio_handler.h` is made from this file.

use std::ffi::c_void;

/// Version of this header: major << 16 | minor. Another major version is refused.
pub const ABI: u32 = 1 << 16;

/// The value is there.
pub const NUCLIO_HANDLER_OK: i32 = 0;
/// There is none.
pub const NUCLIO_HANDLER_NONE: i32 = 1;

/// Fields of `text`: the event's id.
pub const NUCLIO_TEXT_ID: u32 = 1;
/// Such as POST.
pub const NUCLIO_TEXT_METHOD: u32 = 2;
/// Without the query, as it came.
pub const NUCLIO_TEXT_PATH: u32 = 3;
/// Without the question mark, as it came.
pub const NUCLIO_TEXT_QUERY: u32 = 4;
/// Of the body.
pub const NUCLIO_TEXT_CONTENT_TYPE: u32 = 5;
/// Of a stream record.
pub const NUCLIO_TEXT_KEY: u32 = 6;
/// Topic, queue or stream.
pub const NUCLIO_TEXT_TOPIC: u32 = 7;
/// W3C trace context.
pub const NUCLIO_TEXT_TRACEPARENT: u32 = 8;
/// Kind of the trigger, such as http.
pub const NUCLIO_TEXT_TRIGGER_KIND: u32 = 9;
/// Name of the trigger.
pub const NUCLIO_TEXT_TRIGGER_NAME: u32 = 10;

/// Bytes that belong to somebody else; not ended by zero.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Bytes {
    /// May be null if `length` is 0.
    pub data: *const u8,
    /// Their number.
    pub length: usize,
}

/// The numbers of an event.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Numbers {
    /// Arrival, nanoseconds since the epoch.
    pub timestamp_ns: u64,
    /// When the answer is due on CLOCK_MONOTONIC; 0 = no limit.
    pub deadline_ns: u64,
    /// Position in its partition.
    pub offset: u64,
    /// Bytes of the body.
    pub body_bytes: u64,
    /// Partition of a stream.
    pub partition: u32,
    /// Shard as nuclio counts them.
    pub shard: u32,
    /// Lines for `header`.
    pub header_count: u32,
    /// The first is 1.
    pub attempt: u32,
    /// 1 HTTP, 2 stream, 3 queue, 4 schedule, 5 polling, 6 asynchronous.
    pub kind: u32,
    /// Zero.
    pub reserved: u32,
}

/// An event; good until the handler returns.
#[repr(C)]
#[derive(Debug)]
pub struct Event {
    /// Not for handlers.
    pub hidden: *const c_void,
}

/// What a handler is called with besides the event; the same in each call. Use it, and events, on
/// the thread of the call only.
#[repr(C)]
#[derive(Debug)]
pub struct Context {
    /// What can be asked for.
    pub api: *const Api,
    /// The handler's own; null at the start.
    pub user_data: *mut c_void,
    /// Number of the worker.
    pub worker_id: u32,
    /// Lowest level that is logged: 0 debug to 3 error.
    pub log_level: u32,
}

/// One header of a response.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct HeaderLine {
    /// Its name.
    pub name: Bytes,
    /// Its value.
    pub value: Bytes,
}

/// The answer. It comes as 200 without a body; what it points to must stay until `release` is
/// called, or for ever if that is null.
#[repr(C)]
#[derive(Debug)]
pub struct Response {
    /// HTTP status, 100 to 599.
    pub status: u16,
    /// 1 answered, 2 failed, 3 once more after `retry_after_ns`, 4 never again.
    pub outcome: u8,
    /// 0 among the headers or none, 1 text, 2 JSON, 3 bytes, 4 HTML.
    pub content_type: u8,
    /// Zero.
    pub reserved: u32,
    /// How many headers.
    pub header_count: usize,
    /// The headers.
    pub headers: *const HeaderLine,
    /// The body; a part of the event's own body is sent from where it is.
    pub body: Bytes,
    /// With the outcome 3.
    pub retry_after_ns: u64,
    /// Given to `release`.
    pub owner: *mut c_void,
    /// Called once when the answer has been sent.
    pub release: Option<extern "C" fn(owner: *mut c_void)>,
}

/// What a handler can ask the worker for. Later versions add functions at the end; `size` tells.
#[repr(C)]
#[derive(Debug)]
pub struct Api {
    /// Bytes of this structure.
    pub size: usize,
    /// One text of an event, NUCLIO_TEXT_...
    pub text: extern "C" fn(event: *const Event, field: u32, out: *mut Bytes) -> i32,
    /// The numbers of an event.
    pub numbers: extern "C" fn(event: *const Event, out: *mut Numbers) -> i32,
    /// Header line `index`, in the order they came.
    pub header:
        extern "C" fn(event: *const Event, index: u32, name: *mut Bytes, value: *mut Bytes) -> i32,
    /// The first value of the header with this name, in any case.
    pub header_named: extern "C" fn(event: *const Event, name: Bytes, value: *mut Bytes) -> i32,
    /// The body, nearly always where it lies in shared memory.
    pub body: extern "C" fn(event: *const Event, out: *mut Bytes) -> i32,
    /// 1 if the processor no longer waits for the event.
    pub is_cancelled: extern "C" fn(event: *const Event) -> i32,
    /// Nanoseconds until the answer is due, 0 if it is overdue, -1 without a limit.
    pub time_left_ns: extern "C" fn(event: *const Event) -> i64,
    /// Writes a record of level 0 to 3 and origin 0 (logger) or 3 (trace of a failure); `fields` is
    /// the text of a JSON object or empty.
    pub log: extern "C" fn(level: u8, origin: u8, message: Bytes, fields: Bytes),
    /// What the processor told about the function: `function`, `namespace`, `version`, `handler`,
    /// `code_path`, `settings.NAME`.
    pub told: extern "C" fn(name: Bytes, out: *mut Bytes) -> i32,
    /// The lowest level that is recorded now: that of the function, or lower if the client of the
    /// event asked for its records.
    pub wanted_level: extern "C" fn() -> u32,
}

/// `int nuclio_handle(...)`: what a library must export, or the name that the handler setting says.
/// Any value but 0 fails the event with the response's body as the reason.
pub type Handle =
    extern "C" fn(context: *const Context, event: *const Event, response: *mut Response) -> i32;

/// `int nuclio_init(...)`: called once before the first event, if the library exports it. Any value
/// but 0 says that the function cannot be served; `problem->body` tells why.
pub type Init = extern "C" fn(context: *mut Context, problem: *mut Response) -> i32;

/// `uint32_t nuclio_handler_abi(void)`: if the library exports it, NUCLIO_HANDLER_ABI as it was when
/// it was built.
pub type HandlerAbi = extern "C" fn() -> u32;

impl Bytes {
    /// None.
    pub const EMPTY: Self = Self { data: std::ptr::null(), length: 0 };

    /// These, for as long as they live.
    pub fn of(bytes: &[u8]) -> Self {
        Self { data: bytes.as_ptr(), length: bytes.len() }
    }
}

impl Response {
    /// 200 without a body.
    pub const OK: Self = Self {
        status: 200,
        outcome: 1,
        content_type: 1,
        reserved: 0,
        header_count: 0,
        headers: std::ptr::null(),
        body: Bytes::EMPTY,
        retry_after_ns: 0,
        owner: std::ptr::null_mut(),
        release: None,
    };
}

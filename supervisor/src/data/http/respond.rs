//! Writes the heads of replies, and the small replies the processor gives by itself.
//!
//! Pure: bytes are appended to a buffer the caller reuses. What a worker says about headers is
//! checked before a byte of it is written, and a worker never decides about framing.

use std::io::Write;
use std::time::{Duration, UNIX_EPOCH};

use httpdate::HttpDate;

use super::method::Method;
use super::parse::{Head, Reject, is_token_byte};

/// Sent at once to a client that waits with its body (`Head::expect_continue`).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// Body of the 408 after `eventTimeout`; the same bytes as nuclio's.
pub const HANDLER_TIMED_OUT: &[u8] = b"{\"error\": \"handler timed out\"}";

pub const TEXT: FieldValue<'static> = FieldValue(b"text/plain");
pub const TEXT_UTF8: FieldValue<'static> = FieldValue(b"text/plain; charset=utf-8");
pub const JSON: FieldValue<'static> = FieldValue(b"application/json");
pub const BYTES: FieldValue<'static> = FieldValue(b"application/octet-stream");
pub const HTML: FieldValue<'static> = FieldValue(b"text/html");

/// A header value that cannot end its line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldValue<'a>(&'a [u8]);

impl<'a> FieldValue<'a> {
    /// `None` when the bytes hold CR, LF or NUL.
    pub fn check(bytes: &'a [u8]) -> Option<FieldValue<'a>> {
        is_value(bytes).then_some(FieldValue(bytes))
    }

    pub fn bytes(self) -> &'a [u8] {
        self.0
    }
}

/// `Server` and `Date` of every reply, rendered once a second.
#[derive(Debug, Clone)]
pub struct DateCache {
    unix_s: u64,
    lines: [u8; SERVER_LINE.len() + DATE_LINE_BYTES],
}

const SERVER_LINE: &[u8] = b"Server: nuclio\r\n";
const DATE_NAME: &[u8] = b"Date: ";
/// `Sun, 06 Nov 1994 08:49:37 GMT`
const DATE_BYTES: usize = 29;
const DATE_LINE_BYTES: usize = DATE_NAME.len() + DATE_BYTES + 2;
/// The last second of the year 9999; `httpdate` knows no later one.
const UNIX_S_MAX: u64 = 253_402_300_799;

impl DateCache {
    pub fn new(unix_s: u64) -> Self {
        let mut cache = DateCache { unix_s, lines: [b' '; _] };
        cache.render(unix_s);
        cache
    }

    /// Tells the time; cheap while the second stays the same.
    #[inline]
    pub fn set(&mut self, unix_s: u64) {
        if unix_s != self.unix_s {
            self.render(unix_s);
        }
    }

    /// The date alone, `Sun, 06 Nov 1994 08:49:37 GMT`.
    pub fn date(&self) -> &[u8] {
        &self.date_line()[DATE_NAME.len()..][..DATE_BYTES]
    }

    fn date_line(&self) -> &[u8] {
        &self.lines[SERVER_LINE.len()..]
    }

    fn render(&mut self, unix_s: u64) {
        self.unix_s = unix_s;
        let date = HttpDate::from(UNIX_EPOCH + Duration::from_secs(unix_s.min(UNIX_S_MAX)));
        let mut rest = &mut self.lines[..];
        let written = rest
            .write_all(SERVER_LINE)
            .and_then(|()| rest.write_all(DATE_NAME))
            .and_then(|()| write!(rest, "{date}\r\n"));
        debug_assert!(written.is_ok() && rest.is_empty());
    }
}

/// What must be known of a request to answer it; outlives the buffer of its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asker {
    pub version_minor: u8,
    /// HEAD: the reply has the head of a GET and no body.
    pub is_head: bool,
    /// The connection is to go on. Cleared by the caller while draining.
    pub keep_alive: bool,
}

impl Asker {
    /// Somebody whose request could not be read.
    pub const UNKNOWN: Asker = Asker { version_minor: 1, is_head: false, keep_alive: false };

    pub fn of(head: &Head) -> Asker {
        Asker {
            version_minor: head.version_minor,
            is_head: head.method == Method::Head,
            keep_alive: head.keep_alive,
        }
    }
}

/// Everything that goes into the head of a reply.
#[derive(Debug, Clone, Copy)]
pub struct ResponseHead<'a> {
    /// A final status (see [`is_final_status`]); any other is written as 500.
    pub status: u16,
    pub asker: Asker,
    pub date: &'a DateCache,
    /// Used unless `headers` has one.
    pub content_type: Option<FieldValue<'a>>,
    /// `None`: not known yet, the body is streamed.
    pub content_length: Option<u64>,
    /// The worker's own headers; `HeaderBlock::EMPTY` for none.
    pub headers: HeaderBlock<'a>,
    /// Whole lines from `cors`; left out when the worker's headers speak about CORS themselves.
    pub cors_lines: &'a [u8],
    /// Further whole lines, each ending with CR LF (see [`append_line`]).
    pub extra_lines: &'a [u8],
}

impl<'a> ResponseHead<'a> {
    /// A head with nothing but what is required.
    pub fn new(status: u16, asker: Asker, date: &'a DateCache) -> Self {
        ResponseHead {
            status,
            asker,
            date,
            content_type: None,
            content_length: Some(0),
            headers: HeaderBlock::EMPTY,
            cors_lines: b"",
            extra_lines: b"",
        }
    }
}

/// How the body must follow a head just written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFraming {
    /// Send no byte of a body, whatever the handler gave.
    None,
    Length(u64),
    Chunked,
    /// Raw bytes, then close: HTTP/1.0 has no chunks.
    UntilClose,
}

/// What [`write_head`] has promised the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promise {
    pub body: BodyFraming,
    pub keep_alive: bool,
}

/// May a handler end an event with this status? 1xx are announcements of the processor's own: a
/// client would go on waiting for the reply.
pub const fn is_final_status(status: u16) -> bool {
    matches!(status, 200..=599)
}

/// Appends a complete head, and says what must follow it.
pub fn write_head(out: &mut Vec<u8>, head: &ResponseHead<'_>) -> Promise {
    let status = if is_final_status(head.status) { head.status } else { 500 };
    out.reserve(256 + head.headers.bytes.len() + head.cors_lines.len() + head.extra_lines.len());
    append_status_line(out, status);
    let block = &head.headers;
    match (block.has_server, block.has_date) {
        (false, false) => out.extend_from_slice(&head.date.lines),
        (true, false) => out.extend_from_slice(head.date.date_line()),
        (false, true) => out.extend_from_slice(SERVER_LINE),
        (true, true) => {}
    }
    let bodiless = is_bodiless(status);
    if let Some(value) = head.content_type
        && !block.has_content_type
        && !bodiless
    {
        out.extend_from_slice(b"Content-Type: ");
        out.extend_from_slice(value.0);
        out.extend_from_slice(b"\r\n");
    }
    block.append_to(out);
    if !block.has_cors {
        out.extend_from_slice(head.cors_lines);
    }
    out.extend_from_slice(head.extra_lines);
    let promise = append_framing(out, status, head);
    out.extend_from_slice(b"\r\n");
    promise
}

/// Content-Length or Transfer-Encoding, and Connection where the version's default is not meant.
fn append_framing(out: &mut Vec<u8>, status: u16, head: &ResponseHead<'_>) -> Promise {
    let asker = head.asker;
    let http_1_1 = asker.version_minor == 1;
    let body = match head.content_length {
        _ if is_bodiless(status) => BodyFraming::None,
        // 205 tells the client to clear a form; RFC 9110, 15.3.6 forbids it a body.
        _ if status == 205 => BodyFraming::Length(0),
        Some(length) => BodyFraming::Length(length),
        None if http_1_1 => BodyFraming::Chunked,
        None => BodyFraming::UntilClose,
    };
    match body {
        BodyFraming::Length(length) => {
            out.extend_from_slice(b"Content-Length: ");
            append_decimal(out, length);
            out.extend_from_slice(b"\r\n");
        }
        BodyFraming::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        BodyFraming::None | BodyFraming::UntilClose => {}
    }
    let body = if asker.is_head { BodyFraming::None } else { body };
    let keep_alive = asker.keep_alive && body != BodyFraming::UntilClose;
    match (http_1_1, keep_alive) {
        (true, false) => out.extend_from_slice(b"Connection: close\r\n"),
        (false, true) => out.extend_from_slice(b"Connection: keep-alive\r\n"),
        _ => {}
    }
    Promise { body, keep_alive }
}

/// RFC 9110, 6.4.1 and 8.6: never a body, never a Content-Length of one.
const fn is_bodiless(status: u16) -> bool {
    matches!(status, 100..=199 | 204 | 304)
}

/// A reply the processor gives by itself.
#[derive(Debug, Clone, Copy)]
pub struct PlainError<'a> {
    pub status: u16,
    pub content_type: FieldValue<'a>,
    pub body: &'a [u8],
    pub asker: Asker,
    pub date: &'a DateCache,
    /// So that a page in a browser may read the error as well.
    pub cors_lines: &'a [u8],
}

/// Appends head and body. A 503 asks the client to come back after a second.
pub fn plain_error(out: &mut Vec<u8>, error: &PlainError<'_>) -> Promise {
    let promise = write_head(
        out,
        &ResponseHead {
            content_type: Some(error.content_type),
            content_length: Some(error.body.len() as u64),
            cors_lines: error.cors_lines,
            extra_lines: if error.status == 503 { b"Retry-After: 1\r\n" } else { b"" },
            ..ResponseHead::new(error.status, error.asker, error.date)
        },
    );
    if matches!(promise.body, BodyFraming::Length(length) if length > 0) {
        out.extend_from_slice(error.body);
    }
    promise
}

/// Appends the reply to a request that could not be read. The connection closes after it.
pub fn rejection(out: &mut Vec<u8>, reject: Reject, date: &DateCache) -> Promise {
    plain_error(
        out,
        &PlainError {
            status: reject.status(),
            content_type: TEXT_UTF8,
            body: reject.reason().as_bytes(),
            asker: Asker::UNKNOWN,
            date,
            cors_lines: b"",
        },
    )
}

/// Appends one line for `ResponseHead::extra_lines`.
pub fn append_line(out: &mut Vec<u8>, name: &'static str, value: FieldValue<'_>) {
    debug_assert!(!name.is_empty() && name.bytes().all(is_token_byte));
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.0);
    out.extend_from_slice(b"\r\n");
}

/// Why a worker's header block is a violation of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockFault {
    /// An entry reaches beyond the end of the block.
    Truncated,
    /// Empty, or a byte that is no `tchar`.
    Name,
    /// CR, LF or NUL.
    Value,
}

impl BlockFault {
    pub const fn text(self) -> &'static str {
        match self {
            BlockFault::Truncated => "a header of the reply reaches beyond the end of its block",
            BlockFault::Name => "a header name of the reply is not a token",
            BlockFault::Value => "a header value of the reply holds CR, LF or NUL",
        }
    }
}

/// Headers as a worker wrote them, checked: entries of `u16 name length, u32 value length, name,
/// value`, little-endian, without padding. Repeated names are kept.
///
/// Copy the bytes out of worker memory first: what was checked must be what is written.
#[derive(Debug, Clone, Copy)]
pub struct HeaderBlock<'a> {
    bytes: &'a [u8],
    has_content_type: bool,
    has_server: bool,
    has_date: bool,
    has_cors: bool,
}

/// What a header in a worker's block is to us.
#[derive(PartialEq, Eq)]
enum Role {
    Plain,
    /// Decided by the processor alone; ignored.
    Framing,
    ContentType,
    Server,
    Date,
    Cors,
}

impl<'a> HeaderBlock<'a> {
    pub const EMPTY: HeaderBlock<'static> = HeaderBlock {
        bytes: b"",
        has_content_type: false,
        has_server: false,
        has_date: false,
        has_cors: false,
    };

    pub fn check(bytes: &'a [u8]) -> Result<HeaderBlock<'a>, BlockFault> {
        let mut block = HeaderBlock { bytes, ..HeaderBlock::EMPTY };
        let mut rest = bytes;
        while !rest.is_empty() {
            let (name, value, behind) = entry(rest).ok_or(BlockFault::Truncated)?;
            if name.is_empty() || !name.iter().all(|byte| is_token_byte(*byte)) {
                return Err(BlockFault::Name);
            }
            if !is_value(value) {
                return Err(BlockFault::Value);
            }
            match role(name) {
                Role::ContentType => block.has_content_type = true,
                Role::Server => block.has_server = true,
                Role::Date => block.has_date = true,
                Role::Cors => block.has_cors = true,
                Role::Plain | Role::Framing => {}
            }
            rest = behind;
        }
        Ok(block)
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Name and value of each entry, framing headers included.
    pub fn entries(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let mut rest = self.bytes;
        std::iter::from_fn(move || {
            let (name, value, behind) = entry(rest)?;
            rest = behind;
            Some((name, value))
        })
    }

    fn append_to(&self, out: &mut Vec<u8>) {
        let (mut content_type, mut server, mut date) = (false, false, false);
        for (name, value) in self.entries() {
            // Of the three that must be single, the first counts.
            let repeated = match role(name) {
                Role::Framing => true,
                Role::ContentType => std::mem::replace(&mut content_type, true),
                Role::Server => std::mem::replace(&mut server, true),
                Role::Date => std::mem::replace(&mut date, true),
                Role::Plain | Role::Cors => false,
            };
            if !repeated {
                out.extend_from_slice(name);
                out.extend_from_slice(b": ");
                out.extend_from_slice(value);
                out.extend_from_slice(b"\r\n");
            }
        }
    }
}

/// Name and value of the first entry, and what is behind it.
fn entry(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (name_len, bytes) = bytes.split_first_chunk::<2>()?;
    let (value_len, bytes) = bytes.split_first_chunk::<4>()?;
    let (name, bytes) = bytes.split_at_checked(u16::from_le_bytes(*name_len) as usize)?;
    let (value, bytes) = bytes.split_at_checked(u32::from_le_bytes(*value_len) as usize)?;
    Some((name, value, bytes))
}

fn role(name: &[u8]) -> Role {
    let is = |text: &[u8]| name.eq_ignore_ascii_case(text);
    match name.len() {
        2 if is(b"te") => Role::Framing,
        4 if is(b"date") => Role::Date,
        6 if is(b"server") => Role::Server,
        7 if is(b"upgrade") || is(b"trailer") => Role::Framing,
        10 if is(b"connection") || is(b"keep-alive") => Role::Framing,
        12 if is(b"content-type") => Role::ContentType,
        14 if is(b"content-length") => Role::Framing,
        16 if is(b"proxy-connection") => Role::Framing,
        17 if is(b"transfer-encoding") => Role::Framing,
        27 if is(b"access-control-allow-origin") => Role::Cors,
        _ => Role::Plain,
    }
}

fn is_value(bytes: &[u8]) -> bool {
    memchr::memchr3(b'\r', b'\n', 0, bytes).is_none()
}

/// Appends `number` in decimal.
fn append_decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

fn append_status_line(out: &mut Vec<u8>, status: u16) {
    match status_line(status) {
        Some(line) => out.extend_from_slice(line),
        None => {
            out.extend_from_slice(b"HTTP/1.1 ");
            append_decimal(out, status as u64);
            // The blank stays although the phrase is empty (RFC 9112, 4).
            out.extend_from_slice(b" \r\n");
        }
    }
}

macro_rules! status_lines {
    ($($status:literal $phrase:literal)*) => {
        const fn status_line(status: u16) -> Option<&'static [u8]> {
            match status {
                $($status => {
                    Some(concat!("HTTP/1.1 ", $status, " ", $phrase, "\r\n").as_bytes())
                })*
                _ => None,
            }
        }
    };
}

// The registry of RFC 9110, 15 and the later ones that are in use.
status_lines! {
    200 "OK" 201 "Created" 202 "Accepted" 203 "Non-Authoritative Information" 204 "No Content"
    205 "Reset Content" 206 "Partial Content" 207 "Multi-Status" 208 "Already Reported"
    226 "IM Used"
    300 "Multiple Choices" 301 "Moved Permanently" 302 "Found" 303 "See Other" 304 "Not Modified"
    305 "Use Proxy" 307 "Temporary Redirect" 308 "Permanent Redirect"
    400 "Bad Request" 401 "Unauthorized" 402 "Payment Required" 403 "Forbidden" 404 "Not Found"
    405 "Method Not Allowed" 406 "Not Acceptable" 407 "Proxy Authentication Required"
    408 "Request Timeout" 409 "Conflict" 410 "Gone" 411 "Length Required"
    412 "Precondition Failed" 413 "Content Too Large" 414 "URI Too Long"
    415 "Unsupported Media Type" 416 "Range Not Satisfiable" 417 "Expectation Failed"
    418 "I'm a teapot" 421 "Misdirected Request" 422 "Unprocessable Content" 423 "Locked"
    424 "Failed Dependency" 425 "Too Early" 426 "Upgrade Required" 428 "Precondition Required"
    429 "Too Many Requests" 431 "Request Header Fields Too Large"
    451 "Unavailable For Legal Reasons"
    500 "Internal Server Error" 501 "Not Implemented" 502 "Bad Gateway" 503 "Service Unavailable"
    504 "Gateway Timeout" 505 "HTTP Version Not Supported" 506 "Variant Also Negotiates"
    507 "Insufficient Storage" 508 "Loop Detected" 511 "Network Authentication Required"
}

#[cfg(test)]
#[path = "respond_tests.rs"]
mod tests;

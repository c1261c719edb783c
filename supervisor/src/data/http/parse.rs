//! Reads the head of a request into offsets, and refuses every head two programs could read
//! differently.
//!
//! Pure: no socket, no clock, no allocation, no copy. `httparse` does the request line and the
//! header lines; what it tolerates and we do not (bare LF, empty lines, sizes) is checked here.
//! After any [`Reject`] the connection cannot go on: nobody knows where the next request begins.

use std::mem::MaybeUninit;
use std::ops::Range;

use httparse::Status;

use super::method::Method;

/// Longest head, leading empty line included: nuclio's `readBufferSize`, and what a `Span` and the
/// private buffer of a slow connection are sized for.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Longest request target: half a head, so that a long query still leaves room for headers.
pub const URI_BYTES_MAX: usize = 8 * 1024;
/// Most header lines. Browsers behind several proxies send 40; more is a mistake or an attack, and
/// a fixed table costs no allocation.
pub const HEADERS_MAX: usize = 100;

const _: () = {
    assert!(HEAD_BYTES_MAX <= u16::MAX as usize);
    assert!(URI_BYTES_MAX < HEAD_BYTES_MAX);
};

/// A piece of the buffer a head was parsed from.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub start: u16,
    pub len: u16,
}

impl Span {
    /// The bytes; `buf` must be the buffer given to [`parse_head`].
    #[inline]
    pub fn of(self, buf: &[u8]) -> &[u8] {
        &buf[self.range()]
    }

    #[inline]
    pub fn range(self) -> Range<usize> {
        let start = self.start as usize;
        start..start + self.len as usize
    }

    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    /// `piece` must lie inside `window`, and `window` inside the first `HEAD_BYTES_MAX` bytes.
    #[inline]
    fn locate(window: &[u8], piece: &[u8]) -> Span {
        let start = (piece.as_ptr() as usize).wrapping_sub(window.as_ptr() as usize);
        debug_assert!(start + piece.len() <= window.len());
        Span { start: start as u16, len: piece.len() as u16 }
    }
}

/// One header line; the value is without the blanks around it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub name: Span,
    pub value: Span,
}

/// The header lines of one head, in order; reused from request to request.
#[derive(Debug)]
pub struct HeaderTable {
    entries: [Header; HEADERS_MAX],
    count: usize,
}

impl Default for HeaderTable {
    fn default() -> Self {
        HeaderTable { entries: [Header::default(); HEADERS_MAX], count: 0 }
    }
}

impl HeaderTable {
    pub fn new() -> Self {
        Self::default()
    }

    /// The lines of the last head parsed; none after `Partial` or `Reject`.
    #[inline]
    pub fn lines(&self) -> &[Header] {
        &self.entries[..self.count]
    }
}

/// Where the body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is no body: neither Content-Length nor Transfer-Encoding.
    None,
    Length(u64),
    Chunked,
}

/// `X-Nuclio-Log-Level`; numbered as in log records.
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    Debug = 0,
    Info = 1,
    Warn = 2,
    Error = 3,
}

/// A complete, unambiguous head.
///
/// Of a repeated `Content-Type`, `Origin`, `traceparent` or `X-Nuclio-Log-Level` the first counts;
/// all of them stay in the [`HeaderTable`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub method: Method,
    pub method_span: Span,
    /// Never empty: begins with `/`, or is `*`. Not decoded.
    pub path: Span,
    /// Without the question mark.
    pub query: Span,
    /// 0 or 1.
    pub version_minor: u8,
    /// Bytes of the head, up to and with the empty line; the body begins there.
    pub head_len: usize,
    pub framing: Framing,
    /// The client lets the connection go on after the reply.
    pub keep_alive: bool,
    /// The client waits for `100 Continue` before it sends the body.
    pub expect_continue: bool,
    pub host: Option<Span>,
    pub content_type: Option<Span>,
    pub traceparent: Option<Span>,
    pub origin: Option<Span>,
    pub log_level: Option<LogLevel>,
    pub access_control_request_method: Option<Span>,
    pub access_control_request_headers: Option<Span>,
}

/// What the bytes received so far are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// The beginning of a head; call again with more bytes behind these.
    Partial,
    Head(Head),
    Reject(Reject),
}

/// Why a request is refused. Answer `status()` with `reason()` as the text, then close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reject {
    HeadTooLarge,
    TooManyHeaders,
    UriTooLong,
    EmptyLines,
    RequestLine,
    Target,
    Version,
    ConnectMethod,
    LineEnd,
    HeaderName,
    HeaderValue,
    HostMissing,
    HostRepeated,
    HostInvalid,
    LengthInvalid,
    LengthRepeated,
    LengthAndEncoding,
    EncodingRepeated,
    EncodingUnknown,
    EncodingInOldVersion,
    Expectation,
    ChunkSize,
    ChunkExtension,
    ChunkEnd,
    ChunkOverhead,
    Trailer,
}

impl Reject {
    pub const fn status(self) -> u16 {
        match self {
            Reject::HeadTooLarge | Reject::TooManyHeaders => 431,
            Reject::UriTooLong => 414,
            Reject::Version => 505,
            // RFC 9110, 9.1: a method this server knows for no resource at all is 501, not 405.
            Reject::ConnectMethod | Reject::EncodingUnknown => 501,
            Reject::Expectation => 417,
            _ => 400,
        }
    }

    /// One sentence for the client.
    pub const fn reason(self) -> &'static str {
        match self {
            Reject::HeadTooLarge => "The request head is larger than 16 KiB.",
            Reject::TooManyHeaders => "The request has more than 100 header lines.",
            Reject::UriTooLong => "The request target is longer than 8 KiB.",
            Reject::EmptyLines => "More than one empty line before the request line.",
            Reject::RequestLine => "The first line is not METHOD, space, target, space, HTTP/1.1.",
            Reject::Target => "The request target is not a path, an http URL, or * with OPTIONS.",
            Reject::Version => "Only HTTP/1.1 and HTTP/1.0 are spoken here.",
            Reject::ConnectMethod => "CONNECT is not supported; this is not a proxy.",
            Reject::LineEnd => "A line of the head does not end with CR LF.",
            Reject::HeaderName => {
                "A header line has no valid name before its colon, or is a folded line."
            }
            Reject::HeaderValue => "A header value contains a control byte.",
            Reject::HostMissing => "HTTP/1.1 requires a Host header.",
            Reject::HostRepeated => "More than one Host header.",
            Reject::HostInvalid => "The Host header is not a host name and port.",
            Reject::LengthInvalid => "Content-Length is not one decimal number below 2^64.",
            Reject::LengthRepeated => "More than one Content-Length header.",
            Reject::LengthAndEncoding => "Both Content-Length and Transfer-Encoding.",
            Reject::EncodingRepeated => "More than one Transfer-Encoding header.",
            Reject::EncodingUnknown => "The only Transfer-Encoding understood is: chunked.",
            Reject::EncodingInOldVersion => "HTTP/1.0 has no Transfer-Encoding.",
            Reject::Expectation => "The only expectation understood is: 100-continue.",
            Reject::ChunkSize => "A chunk size is not 1 to 16 hexadecimal digits.",
            Reject::ChunkExtension => "A chunk extension is malformed or longer than 1 KiB.",
            Reject::ChunkEnd => "A line or the data of a chunk does not end with CR LF.",
            Reject::ChunkOverhead => "The body is cut into tiny chunks with long extensions.",
            Reject::Trailer => "The trailer section is malformed or larger than 8 KiB.",
        }
    }
}

/// Parses the head at the start of `buf`; bytes behind it are ignored.
///
/// The verdict does not depend on how the bytes arrive: once a prefix is a head or a reject, so is
/// every longer buffer, and it is the same one.
pub fn parse_head(buf: &[u8], table: &mut HeaderTable) -> Parsed {
    table.count = 0;
    let window = &buf[..buf.len().min(HEAD_BYTES_MAX)];
    // One CR LF left over from an earlier body is forgiven (RFC 9112, 2.2), nothing else is.
    let lead = match window {
        [b'\r', b'\n', ..] => 2,
        [b'\r'] => return Parsed::Partial,
        _ => 0,
    };
    let bytes = &window[lead..];
    if matches!(bytes.first(), Some(b'\r' | b'\n')) {
        return Parsed::Reject(Reject::EmptyLines);
    }
    let mut raw = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut []);
    let result = request.parse_with_uninit_headers(bytes, &mut raw);
    match result {
        Ok(Status::Complete(len)) => match accept(window, lead + len, &request, table) {
            Ok(head) => Parsed::Head(head),
            Err(reject) => {
                table.count = 0;
                Parsed::Reject(reject)
            }
        },
        Ok(Status::Partial) => match first_fault(bytes, None) {
            Some(reject) => Parsed::Reject(reject),
            None if window.len() == HEAD_BYTES_MAX => Parsed::Reject(Reject::HeadTooLarge),
            None => Parsed::Partial,
        },
        Err(error) => {
            Parsed::Reject(first_fault(bytes, Some(error)).unwrap_or(error_of(bytes, error)))
        }
    }
}

/// Turns a head that `httparse` took into ours, or says why not.
fn accept(
    window: &[u8],
    head_len: usize,
    request: &httparse::Request<'_, '_>,
    table: &mut HeaderTable,
) -> Result<Head, Reject> {
    let (Some(method), Some(target), Some(version_minor)) =
        (request.method, request.path, request.version)
    else {
        return Err(Reject::RequestLine);
    };
    if target.len() > URI_BYTES_MAX {
        return Err(Reject::UriTooLong);
    }
    // A value cannot contain LF, so every LF of the head ends the line before a header name or one
    // of the last two lines. Looking there costs less than searching the head.
    if window[head_len - 4..head_len] != *b"\r\n\r\n" {
        return Err(Reject::LineEnd);
    }
    let mut fields = Fields::default();
    let mut meaning = Ok(());
    for (entry, raw) in table.entries.iter_mut().zip(request.headers.iter()) {
        let name = Span::locate(window, raw.name.as_bytes());
        if window[name.start as usize - 2] != b'\r' {
            return Err(Reject::LineEnd);
        }
        let value = Span::locate(window, raw.value);
        *entry = Header { name, value };
        // Not returned at once: a bare LF further down would have been met first by a slower read.
        meaning = meaning.and_then(|()| fields.note(raw.name.as_bytes(), raw.value, value));
    }
    meaning?;
    table.count = request.headers.len();

    let method_span = Span::locate(window, method.as_bytes());
    let method = Method::from_token(method.as_bytes());
    if method == Method::Connect {
        return Err(Reject::ConnectMethod);
    }
    let (path, query) = split_target(target.as_bytes(), Span::locate(window, target.as_bytes()))?;
    if path.of(window) == b"*" && method != Method::Options {
        return Err(Reject::Target);
    }
    if fields.host.is_none() && version_minor == 1 {
        return Err(Reject::HostMissing);
    }
    let framing = fields.framing(version_minor)?;
    Ok(Head {
        method,
        method_span,
        path,
        query,
        version_minor,
        head_len,
        framing,
        keep_alive: !fields.close && (version_minor == 1 || fields.keep_alive),
        expect_continue: fields.expect_continue && version_minor == 1 && framing != Framing::None,
        host: fields.host,
        content_type: fields.content_type,
        traceparent: fields.traceparent,
        origin: fields.origin,
        log_level: fields.log_level,
        access_control_request_method: fields.access_control_request_method,
        access_control_request_headers: fields.access_control_request_headers,
    })
}

/// What the headers that mean something to the processor have said so far.
#[derive(Default)]
struct Fields {
    host: Option<Span>,
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    expect_continue: bool,
    content_type: Option<Span>,
    traceparent: Option<Span>,
    origin: Option<Span>,
    log_level: Option<LogLevel>,
    access_control_request_method: Option<Span>,
    access_control_request_headers: Option<Span>,
}

impl Fields {
    /// Length first: nearly every header is dismissed by one comparison.
    #[inline]
    fn note(&mut self, name: &[u8], value: &[u8], span: Span) -> Result<(), Reject> {
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.note_host(value, span)?,
            6 if name.eq_ignore_ascii_case(b"expect") => self.note_expect(value)?,
            6 if name.eq_ignore_ascii_case(b"origin") => first(&mut self.origin, span),
            10 if name.eq_ignore_ascii_case(b"connection") => self.note_connection(value),
            11 if name.eq_ignore_ascii_case(b"traceparent") => first(&mut self.traceparent, span),
            12 if name.eq_ignore_ascii_case(b"content-type") => first(&mut self.content_type, span),
            14 if name.eq_ignore_ascii_case(b"content-length") => self.note_length(value)?,
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.note_encoding(value)?,
            18 if name.eq_ignore_ascii_case(b"x-nuclio-log-level") => self.note_log_level(value),
            29 if name.eq_ignore_ascii_case(b"access-control-request-method") => {
                first(&mut self.access_control_request_method, span);
            }
            30 if name.eq_ignore_ascii_case(b"access-control-request-headers") => {
                first(&mut self.access_control_request_headers, span);
            }
            _ => {}
        }
        Ok(())
    }

    fn note_host(&mut self, value: &[u8], span: Span) -> Result<(), Reject> {
        if self.host.replace(span).is_some() {
            return Err(Reject::HostRepeated);
        }
        if value.iter().all(|byte| AUTHORITY[*byte as usize]) {
            Ok(())
        } else {
            Err(Reject::HostInvalid)
        }
    }

    fn note_length(&mut self, value: &[u8]) -> Result<(), Reject> {
        let length = decimal(value).ok_or(Reject::LengthInvalid)?;
        match self.length.replace(length) {
            // Even two equal ones: a program before us may have taken only the first or the last.
            Some(_) => Err(Reject::LengthRepeated),
            None => Ok(()),
        }
    }

    fn note_encoding(&mut self, value: &[u8]) -> Result<(), Reject> {
        if self.chunked {
            return Err(Reject::EncodingRepeated);
        }
        if !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Reject::EncodingUnknown);
        }
        self.chunked = true;
        Ok(())
    }

    fn note_expect(&mut self, value: &[u8]) -> Result<(), Reject> {
        if !value.eq_ignore_ascii_case(b"100-continue") {
            return Err(Reject::Expectation);
        }
        self.expect_continue = true;
        Ok(())
    }

    fn note_connection(&mut self, value: &[u8]) {
        for token in value.split(|byte| *byte == b',') {
            let token = token.trim_ascii();
            self.close |= token.eq_ignore_ascii_case(b"close");
            self.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    fn note_log_level(&mut self, value: &[u8]) {
        const LEVELS: [(&[u8], LogLevel); 4] = [
            (b"debug", LogLevel::Debug),
            (b"info", LogLevel::Info),
            (b"warn", LogLevel::Warn),
            (b"error", LogLevel::Error),
        ];
        let found = LEVELS.iter().find(|(text, _)| value.eq_ignore_ascii_case(text));
        self.log_level = self.log_level.or(found.map(|(_, level)| *level));
    }

    fn framing(&self, version_minor: u8) -> Result<Framing, Reject> {
        match (self.length, self.chunked) {
            (Some(_), true) => Err(Reject::LengthAndEncoding),
            (None, true) if version_minor == 0 => Err(Reject::EncodingInOldVersion),
            (None, true) => Ok(Framing::Chunked),
            (Some(length), false) => Ok(Framing::Length(length)),
            (None, false) => Ok(Framing::None),
        }
    }
}

#[inline]
fn first(slot: &mut Option<Span>, span: Span) {
    slot.get_or_insert(span);
}

/// Digits only: no sign, no blank, no list, no overflow. Leading zeros are decimal in every reader.
fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |sum, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        sum.checked_mul(10)?.checked_add(digit as u64)
    })
}

/// Path and query of an origin-form, absolute-form or asterisk-form target.
fn split_target(target: &[u8], span: Span) -> Result<(Span, Span), Reject> {
    let part = |range: Range<usize>| Span {
        start: span.start + range.start as u16,
        len: range.len() as u16,
    };
    if memchr::memchr(b'#', target).is_some() {
        return Err(Reject::Target);
    }
    let query_mark = memchr::memchr(b'?', target);
    let path_end = query_mark.unwrap_or(target.len());
    let query = part(query_mark.map_or(target.len(), |mark| mark + 1)..target.len());
    match target {
        [b'/', ..] | [b'*'] => return Ok((part(0..path_end), query)),
        _ => {}
    }
    let scheme = [&b"http://"[..], b"https://"]
        .into_iter()
        .find(|scheme| target.get(..scheme.len()).is_some_and(|t| t.eq_ignore_ascii_case(scheme)))
        .ok_or(Reject::Target)?;
    let rest = &target[scheme.len()..path_end.max(scheme.len())];
    let authority_len = memchr::memchr(b'/', rest).unwrap_or(rest.len());
    let authority = &rest[..authority_len];
    if authority.is_empty() || !authority.iter().all(|byte| AUTHORITY[*byte as usize]) {
        return Err(Reject::Target);
    }
    let path_start = scheme.len() + authority_len;
    if path_start == path_end {
        // `http://host` and `http://host?q` mean the path `/`: the scheme has a slash to point at.
        return Ok((part(scheme.len() - 1..scheme.len()), query));
    }
    Ok((part(path_start..path_end), query))
}

/// Bytes of `host:port`. User names (`@`), lists (`,`) and everything that begins a path are not
/// among them: proxies have been fooled with each.
static AUTHORITY: [bool; 256] = {
    let mut table = [false; 256];
    let marks = b"-._~%!$&'()*+;=:[]";
    let mut i = 0;
    while i < marks.len() {
        table[marks[i] as usize] = true;
        i += 1;
    }
    let mut byte = 0;
    while byte < 256 {
        if (byte as u8).is_ascii_alphanumeric() {
            table[byte] = true;
        }
        byte += 1;
    }
    table
};

/// A byte that may stand in a header name (RFC 9110, `tchar`).
pub(super) const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// The fault that comes first in the bytes of an incomplete or malformed head: one of our own
/// limits, or `error`. `None` when only `error`, or nothing, is wrong.
///
/// Ours are found by position, so that the verdict does not depend on where a read ended.
#[cold]
fn first_fault(bytes: &[u8], error: Option<httparse::Error>) -> Option<Reject> {
    let faults =
        [(long_target_at(bytes), Reject::UriTooLong), (bare_lf_at(bytes), Reject::LineEnd)];
    let (end, reject) =
        faults.into_iter().filter_map(|(at, reject)| Some((at?, reject))).min_by_key(|f| f.0)?;
    if error.is_some() {
        let mut raw = [const { MaybeUninit::uninit() }; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut []);
        // Already refused by `httparse` up to here: its own fault comes no later than ours.
        request.parse_with_uninit_headers(&bytes[..end], &mut raw).ok()?;
    }
    Some(reject)
}

/// Length of the shortest prefix with a target that is too long.
fn long_target_at(bytes: &[u8]) -> Option<usize> {
    let start = memchr::memchr(b' ', bytes)? + 1;
    let end = start + URI_BYTES_MAX + 1;
    let target = bytes.get(start..end)?;
    target.iter().all(|byte| *byte > b' ').then_some(end)
}

/// Length of the shortest prefix that has an LF without a CR before it.
fn bare_lf_at(bytes: &[u8]) -> Option<usize> {
    memchr::memchr_iter(b'\n', bytes).find(|at| *at == 0 || bytes[at - 1] != b'\r').map(|at| at + 1)
}

fn error_of(bytes: &[u8], error: httparse::Error) -> Reject {
    match error {
        httparse::Error::HeaderName => Reject::HeaderName,
        httparse::Error::HeaderValue => Reject::HeaderValue,
        httparse::Error::NewLine => Reject::LineEnd,
        httparse::Error::TooManyHeaders => Reject::TooManyHeaders,
        httparse::Error::Version => {
            let version = bytes.splitn(3, |byte| *byte == b' ').nth(2).unwrap_or_default();
            match version {
                [b'H', b'T', b'T', b'P', b'/', digit, ..] if digit.is_ascii_digit() => {
                    Reject::Version
                }
                _ => Reject::RequestLine,
            }
        }
        httparse::Error::Token | httparse::Error::Status => Reject::RequestLine,
    }
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;

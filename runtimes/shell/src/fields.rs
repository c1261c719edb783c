//! What an event says of itself, as text: for environment variables and for requests.
//!
//! Pure reading; whatever a client wrote, there is an answer.

use std::fmt::Write as _;

use shim::Event;

/// Fields of one event, read once.
#[derive(Debug, Default)]
pub struct Fields {
    pub id: String,
    pub method: String,
    /// Decoded.
    pub path: Vec<u8>,
    /// As it came: path and query.
    pub url: Vec<u8>,
    pub query: Vec<u8>,
    pub content_type: Vec<u8>,
    pub timestamp_ns: u64,
    pub shard: u32,
}

impl Fields {
    pub fn of(event: &Event) -> Self {
        let view = event.view();
        let header = view.header();
        let (path, query) = (view.get(header.path), view.get(header.query).to_vec());
        let mut url = path.to_vec();
        if !query.is_empty() {
            url.push(b'?');
            url.extend_from_slice(&query);
        }
        Self {
            id: event.id(),
            method: method(header.method, view.get(header.ext)),
            path: decoded(path, false),
            url,
            query,
            content_type: view.get(header.content_type).to_vec(),
            timestamp_ns: header.timestamp_ns,
            shard: header.shard,
        }
    }

    /// Names and values of the query, decoded, in their order.
    pub fn query_pairs(&self) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
        self.query.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()).map(|pair| {
            let mut parts = pair.splitn(2, |byte| *byte == b'=');
            let mut next = || decoded(parts.next().unwrap_or_default(), true);
            (next(), next())
        })
    }
}

/// The value of a header of the event, by its lower-case name.
pub fn header_value<'a>(event: &'a Event, name: &str) -> Option<&'a [u8]> {
    let mut lines = event.view().lines();
    lines.find(|(given, _)| given.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
}

fn method(number: u8, ext: &[u8]) -> String {
    const NAMES: [&str; 9] =
        ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"];
    match NAMES.get(usize::from(number).wrapping_sub(1)) {
        Some(name) => (*name).to_owned(),
        None => {
            let ext: Option<serde_json::Value> = rmp_serde::from_slice(ext).ok();
            let text = ext.as_ref().and_then(|ext| ext.get("method")?.as_str());
            text.unwrap_or_default().to_owned()
        }
    }
}

/// Replaces each `%XX`, and in a form `+` by a blank. A NUL stays an escape: neither the environment
/// nor an argument can hold one.
fn decoded(bytes: &[u8], form: bool) -> Vec<u8> {
    let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16).map(|digit| digit as u8);
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let (high, low) = (digit(bytes.get(at + 1)), digit(bytes.get(at + 2)));
        match (bytes[at], high, low) {
            (b'%', Some(high), Some(low)) if high | low != 0 => {
                out.push(high << 4 | low);
                at += 3;
                continue;
            }
            (b'+', ..) if form => out.push(b' '),
            (byte, ..) => out.push(byte),
        }
        at += 1;
    }
    out
}

/// Seconds since the epoch in the form of RFC 3339, in UTC.
pub fn rfc3339(timestamp_ns: u64) -> String {
    let seconds = timestamp_ns / 1_000_000_000;
    let (mut days, in_day) = (seconds / 86_400, seconds % 86_400);
    let mut year = 1970;
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute, second) = (in_day / 3600, in_day / 60 % 60, in_day % 60);
    let mut text = String::with_capacity(20);
    let _ = write!(text, "{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", days + 1);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_as_calendars_do() {
        let cases = [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ];
        for (seconds, text) in cases {
            assert_eq!(rfc3339(seconds * 1_000_000_000 + 999_999_999), text);
        }
    }

    #[test]
    fn escapes_are_decoded_and_a_nul_is_not() {
        assert_eq!(decoded(b"/a%20b+c%2", false), b"/a b+c%2");
        assert_eq!(decoded(b"a+b%2Bc", true), b"a b+c");
        assert_eq!(decoded(b"%00%zz%", true), b"%00%zz%");
    }

    #[test]
    fn a_method_of_nobody_comes_from_the_extras() {
        let ext = rmp_serde::to_vec(&serde_json::json!({"method": "BREW"})).unwrap();
        assert_eq!(method(255, &ext), "BREW");
        assert_eq!(method(255, b""), "");
        assert_eq!(method(3, b""), "POST");
        assert_eq!(method(0, b""), "");
    }
}

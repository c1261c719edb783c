//! What heads of replies look like, and that no worker can break one.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

/// The example of RFC 9110, 5.6.7.
const UNIX_S: u64 = 784_111_777;
const KEEP: Asker = Asker { version_minor: 1, is_head: false, keep_alive: true };

fn block(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in headers {
        out.extend_from_slice(&(name.len() as u16).to_le_bytes());
        out.extend_from_slice(&(value.len() as u32).to_le_bytes());
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(value.as_bytes());
    }
    out
}

static DATE: LazyLock<DateCache> = LazyLock::new(|| DateCache::new(UNIX_S));

fn write<'a>(change: impl FnOnce(&mut ResponseHead<'a>)) -> (String, Promise) {
    let mut head = ResponseHead::new(200, KEEP, &DATE);
    change(&mut head);
    let mut out = Vec::new();
    let promise = write_head(&mut out, &head);
    (String::from_utf8(out).unwrap(), promise)
}

#[test]
fn hello() {
    let (text, promise) = write(|head| {
        head.content_type = Some(TEXT);
        head.content_length = Some(13);
    });
    assert_eq!(
        text,
        "HTTP/1.1 200 OK\r\nServer: nuclio\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
         Content-Type: text/plain\r\nContent-Length: 13\r\n\r\n"
    );
    assert_eq!(promise, Promise { body: BodyFraming::Length(13), keep_alive: true });
}

#[test]
fn connection_is_named_only_when_it_is_not_the_default() {
    let cases = [
        (1, true, None, true),
        (1, false, Some("close"), false),
        (0, true, Some("keep-alive"), true),
        (0, false, None, false),
    ];
    for (version_minor, keep_alive, line, kept) in cases {
        let (text, promise) = write(|head| {
            head.asker = Asker { version_minor, is_head: false, keep_alive };
        });
        let found = text.lines().find_map(|l| l.strip_prefix("Connection: "));
        assert_eq!((found, promise.keep_alive), (line, kept), "{text}");
    }
}

#[test]
fn framing_of_each_kind_of_reply() {
    use BodyFraming::{Chunked, Length, None as Nothing, UntilClose};
    let length = "Content-Length: 7\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n";
    let cases = [
        (200, 1, false, Some(7), Length(7), length),
        (200, 1, true, Some(7), Nothing, length),
        (200, 0, false, Some(7), Length(7), length),
        (200, 1, false, None, Chunked, chunked),
        (200, 1, true, None, Nothing, chunked),
        (200, 0, false, None, UntilClose, ""),
        (200, 0, true, None, Nothing, ""),
        (204, 1, false, Some(7), Nothing, ""),
        (204, 1, false, None, Nothing, ""),
        (304, 1, false, Some(7), Nothing, ""),
        (205, 1, false, Some(7), Length(0), "Content-Length: 0\r\n"),
        (205, 1, false, None, Length(0), "Content-Length: 0\r\n"),
        (404, 1, false, Some(7), Length(7), length),
    ];
    for (status, version_minor, is_head, content_length, body, line) in cases {
        let (text, promise) = write(|head| {
            head.status = status;
            head.content_length = content_length;
            head.content_type = Some(TEXT);
            head.asker = Asker { version_minor, is_head, keep_alive: true };
        });
        assert_eq!(promise.body, body, "{text}");
        assert_eq!(promise.keep_alive, body != UntilClose);
        let framing = text.contains("Content-Length") || text.contains("Transfer-Encoding");
        assert!(text.contains(line) && framing != line.is_empty(), "{text}");
        assert_eq!(text.contains("Content-Type"), !is_bodiless(status), "{text}");
        assert!(text.ends_with("\r\n\r\n"));
    }
}

#[test]
fn statuses() {
    let first = |status| write(|head| head.status = status).0.lines().next().unwrap().to_owned();
    assert_eq!(first(418), "HTTP/1.1 418 I'm a teapot");
    assert_eq!(first(503), "HTTP/1.1 503 Service Unavailable");
    assert_eq!(first(299), "HTTP/1.1 299 ");
    assert_eq!(first(599), "HTTP/1.1 599 ");
    // A handler cannot leave a client waiting, nor write a status of four digits.
    for status in [0, 100, 101, 199, 600, 999, 1000, u16::MAX] {
        assert!(!is_final_status(status));
        assert_eq!(first(status), "HTTP/1.1 500 Internal Server Error");
    }
    for status in 200..=599u16 {
        let line = first(status);
        assert_eq!(line[9..12].parse(), Ok(status));
        assert_eq!(&line[12..13], " ");
    }
}

#[test]
fn date_follows_the_second() {
    let mut date = DateCache::new(UNIX_S);
    assert_eq!(date.date(), b"Sun, 06 Nov 1994 08:49:37 GMT");
    date.set(UNIX_S + 1);
    assert_eq!(date.date(), b"Sun, 06 Nov 1994 08:49:38 GMT");
    date.set(0);
    assert_eq!(date.date(), b"Thu, 01 Jan 1970 00:00:00 GMT");
    date.set(u64::MAX);
    assert_eq!(date.date(), b"Fri, 31 Dec 9999 23:59:59 GMT");
}

#[test]
fn headers_of_the_worker() {
    let bytes = block(&[
        ("X-One", "1"),
        ("Set-Cookie", "a=b"),
        ("set-cookie", "c=d"),
        ("Empty", ""),
        ("Content-Length", "999"),
        ("transfer-ENCODING", "chunked"),
        ("Connection", "close"),
        ("Keep-Alive", "timeout=5"),
        ("Upgrade", "h2c"),
        ("TE", "trailers"),
        ("Trailer", "X"),
        ("Proxy-Connection", "close"),
    ]);
    let headers = HeaderBlock::check(&bytes).unwrap();
    assert_eq!(headers.entries().count(), 12);
    let (text, _) = write(|head| {
        head.headers = headers;
        head.cors_lines = b"Vary: Origin\r\n";
        head.extra_lines = b"X-Nuclio-Logs: []\r\n";
    });
    assert_eq!(
        text,
        "HTTP/1.1 200 OK\r\nServer: nuclio\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
         X-One: 1\r\nSet-Cookie: a=b\r\nset-cookie: c=d\r\nEmpty: \r\nVary: Origin\r\n\
         X-Nuclio-Logs: []\r\nContent-Length: 0\r\n\r\n"
    );
}

#[test]
fn headers_that_replace_ours_come_once() {
    let bytes = block(&[
        ("content-type", "text/x"),
        ("SERVER", "mine"),
        ("Date", "today"),
        ("Content-Type", "text/y"),
        ("Access-Control-Allow-Origin", "*"),
    ]);
    let (text, _) = write(|head| {
        head.headers = HeaderBlock::check(&bytes).unwrap();
        head.content_type = Some(TEXT);
        head.cors_lines = b"Access-Control-Allow-Origin: https://a\r\n";
    });
    assert_eq!(
        text,
        "HTTP/1.1 200 OK\r\ncontent-type: text/x\r\nSERVER: mine\r\nDate: today\r\n\
         Access-Control-Allow-Origin: *\r\nContent-Length: 0\r\n\r\n"
    );
    let one = block(&[("Date", "today")]);
    let (text, _) = write(|head| head.headers = HeaderBlock::check(&one).unwrap());
    assert!(text.starts_with("HTTP/1.1 200 OK\r\nServer: nuclio\r\nDate: today\r\n"), "{text}");
    let one = block(&[("Server", "mine")]);
    let (text, _) = write(|head| head.headers = HeaderBlock::check(&one).unwrap());
    assert!(text.starts_with("HTTP/1.1 200 OK\r\nDate: Sun, "), "{text}");
}

#[test]
fn broken_blocks() {
    let fault = |bytes: &[u8]| HeaderBlock::check(bytes).err();
    let good = block(&[("A", "b"), ("C", "d")]);
    for len in 0..good.len() {
        let whole = len == 0 || len == good.len() / 2;
        assert_eq!(fault(&good[..len]), (!whole).then_some(BlockFault::Truncated), "{len}");
    }
    let huge = [&2u16.to_le_bytes()[..], &u32::MAX.to_le_bytes(), b"ab"].concat();
    assert_eq!(fault(&huge), Some(BlockFault::Truncated));
    for name in ["", "a b", "a:", "a\r\nb", "é", "a\0", "(a)"] {
        assert_eq!(fault(&block(&[(name, "v")])), Some(BlockFault::Name), "{name:?}");
    }
    for value in ["a\r\nSet-Cookie: x", "a\nb", "a\rb", "\0"] {
        assert_eq!(fault(&block(&[("N", value)])), Some(BlockFault::Value), "{value:?}");
        assert_eq!(FieldValue::check(value.as_bytes()), None);
    }
    assert_eq!(fault(&block(&[("N", "é\t\x1b")])), None);
    assert!(BlockFault::Value.text().contains("CR"));
}

#[test]
fn replies_of_the_processor_itself() {
    let date = DateCache::new(UNIX_S);
    let error = PlainError {
        status: 503,
        content_type: TEXT_UTF8,
        body: b"no worker",
        asker: KEEP,
        date: &date,
        cors_lines: b"",
    };
    let mut out = Vec::new();
    plain_error(&mut out, &error);
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains("\r\nRetry-After: 1\r\n") && text.ends_with("\r\n\r\nno worker"));

    let timed_out =
        PlainError { status: 408, content_type: JSON, body: HANDLER_TIMED_OUT, ..error };
    let mut out = Vec::new();
    let promise = plain_error(&mut out, &timed_out);
    assert!(promise.keep_alive);
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains("Content-Type: application/json\r\nContent-Length: 30\r\n"), "{text}");
    assert!(text.ends_with("\r\n\r\n{\"error\": \"handler timed out\"}"));
    assert!(!text.contains("Retry-After"));

    let mut out = Vec::new();
    plain_error(&mut out, &PlainError { asker: Asker { is_head: true, ..KEEP }, ..timed_out });
    assert!(out.ends_with(b"Content-Length: 30\r\n\r\n"));

    let mut out = Vec::new();
    let promise = rejection(&mut out, Reject::LengthAndEncoding, &date);
    assert!(!promise.keep_alive);
    let text = String::from_utf8(out).unwrap();
    assert!(text.starts_with("HTTP/1.1 400 Bad Request\r\n"));
    assert!(text.contains("Connection: close\r\n"));
    assert!(text.ends_with(Reject::LengthAndEncoding.reason()));
}

#[test]
fn extra_lines() {
    let mut out = Vec::new();
    append_line(&mut out, "X-Nuclio-Logs", FieldValue::check(b"[]").unwrap());
    assert_eq!(out, b"X-Nuclio-Logs: []\r\n");
}

#[test]
fn decimals() {
    for number in [0, 1, 9, 10, 99, 100, 12345, u64::MAX] {
        let mut out = Vec::new();
        append_decimal(&mut out, number);
        assert_eq!(String::from_utf8(out).unwrap(), number.to_string());
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Whatever a worker writes, our own strict parser reads exactly one head back.
    #[test]
    fn no_block_splits_a_reply(
        bytes in proptest::collection::vec(any::<u8>(), 0..120),
        headers in proptest::collection::vec(
            ("[A-Za-z-]{1,12}|Content-Length|Transfer-Encoding", "[ -~\t\r\n]{0,8}"), 0..6),
        random in any::<bool>(),
    ) {
        let pairs: Vec<_> = headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let bytes = if random { bytes } else { block(&pairs) };
        let Ok(checked) = HeaderBlock::check(&bytes) else { return Ok(()) };
        let date = DateCache::new(UNIX_S);
        let head = ResponseHead { headers: checked, ..ResponseHead::new(200, KEEP, &date) };
        let mut out = Vec::new();
        write_head(&mut out, &head);
        let ends = memchr::memmem::find_iter(&out, b"\r\n\r\n").count();
        prop_assert_eq!(ends, 1);
        prop_assert!(out.ends_with(b"\r\nContent-Length: 0\r\n\r\n"));
        let lower = out.to_ascii_lowercase();
        let lengths = memchr::memmem::find_iter(&lower, b"\r\ncontent-length:").count();
        prop_assert_eq!(lengths, 1);
        prop_assert!(memchr::memmem::find(&lower, b"\r\ntransfer-encoding:").is_none());
    }
}

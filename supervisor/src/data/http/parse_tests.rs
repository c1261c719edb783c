//! Heads that have fooled servers and proxies, each with the verdict it must get here, and the
//! proof that no verdict depends on how the bytes arrive.

use proptest::prelude::*;

use super::*;

/// What an entry of the corpus must become.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Must {
    Pass(Framing),
    Fail(Reject),
    Wait,
}

use Framing::{Chunked, Length};
use Must::{Fail, Pass, Wait};

const PLAIN: Must = Pass(Framing::None);

#[rustfmt::skip]
const CORPUS: &[(&str, &[u8], Must)] = &[
    // Ordinary requests.
    ("smallest", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", PLAIN),
    ("http/1.0 without host", b"GET / HTTP/1.0\r\n\r\n", PLAIN),
    ("empty host", b"GET / HTTP/1.1\r\nHost:\r\n\r\n", PLAIN),
    ("host with port", b"GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", PLAIN),
    ("host at the end", b"GET / HTTP/1.1\r\nA: b\r\nhOsT: a\r\n\r\n", PLAIN),
    ("length", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", Pass(Length(5))),
    ("length zero", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", Pass(Length(0))),
    ("length with zeros in front", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0005\r\n\r\n", Pass(Length(5))),
    ("largest length", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551615\r\n\r\n", Pass(Length(u64::MAX))),
    ("blanks around a length", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \t 5 \t\r\n\r\n", Pass(Length(5))),
    ("chunked", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", Pass(Chunked)),
    ("chunked in capitals", b"POST / HTTP/1.1\r\nHost: a\r\nTRANSFER-ENCODING: CHUNKED\r\n\r\n", Pass(Chunked)),
    ("no blank after the colon", b"POST / HTTP/1.1\r\nHost:a\r\nTransfer-Encoding:chunked\r\n\r\n", Pass(Chunked)),
    ("body of a GET", b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", Pass(Length(3))),
    ("next request behind", b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n", PLAIN),
    ("own method", b"PURGE / HTTP/1.1\r\nHost: a\r\n\r\n", PLAIN),
    ("absolute target", b"GET http://a/b?c HTTP/1.1\r\nHost: a\r\n\r\n", PLAIN),
    ("absolute target without path", b"GET http://a HTTP/1.1\r\nHost: a\r\n\r\n", PLAIN),
    ("asterisk", b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", PLAIN),
    ("bytes above ascii in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: \xc3\xa9\xff\r\n\r\n", PLAIN),
    ("utf-8 in the target", b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", PLAIN),
    ("tab inside a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\tb\r\n\r\n", PLAIN),
    ("one empty line first", b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", PLAIN),
    ("underscore is another name", b"GET / HTTP/1.1\r\nHost: a\r\nContent_Length: 5\r\n\r\n", PLAIN),
    ("encoding in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: Transfer-Encoding: chunked\r\n\r\n", PLAIN),
    ("encoding in the query", b"GET /?Transfer-Encoding:chunked HTTP/1.1\r\nHost: a\r\n\r\n", PLAIN),

    // Two framings at once.
    ("length, then chunked", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG", Fail(Reject::LengthAndEncoding)),
    ("chunked, then length", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n", Fail(Reject::LengthAndEncoding)),
    ("chunked and length zero", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n", Fail(Reject::LengthAndEncoding)),
    ("length hidden in connection", b"POST / HTTP/1.1\r\nHost: a\r\nConnection: content-length\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n", Fail(Reject::LengthAndEncoding)),
    ("two lengths", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", Fail(Reject::LengthRepeated)),
    ("two equal lengths", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", Fail(Reject::LengthRepeated)),
    ("two lengths apart", b"POST / HTTP/1.1\r\nContent-Length: 5\r\nHost: a\r\ncontent-length: 50\r\n\r\n", Fail(Reject::LengthRepeated)),
    ("two encodings", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", Fail(Reject::EncodingRepeated)),
    ("identity behind chunked", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n", Fail(Reject::EncodingRepeated)),
    ("identity before chunked", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n", Fail(Reject::EncodingUnknown)),

    // Lengths that are not one.
    ("plus", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n", Fail(Reject::LengthInvalid)),
    ("minus", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n", Fail(Reject::LengthInvalid)),
    ("list", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n", Fail(Reject::LengthInvalid)),
    ("list without blanks", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5,6\r\n\r\n", Fail(Reject::LengthInvalid)),
    ("blank inside", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5 6\r\n\r\n", Fail(Reject::LengthInvalid)),
    ("hexadecimal", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\n", Fail(Reject::LengthInvalid)),
    ("letters", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: five\r\n\r\n", Fail(Reject::LengthInvalid)),
    ("fraction", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5.0\r\n\r\n", Fail(Reject::LengthInvalid)),
    ("underscore", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1_0\r\n\r\n", Fail(Reject::LengthInvalid)),
    ("quotes", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \"5\"\r\n\r\n", Fail(Reject::LengthInvalid)),
    ("empty length", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", Fail(Reject::LengthInvalid)),
    ("blank length", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:  \r\n\r\n", Fail(Reject::LengthInvalid)),
    ("2^64", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n", Fail(Reject::LengthInvalid)),
    ("2^64 + 5", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551621\r\n\r\n", Fail(Reject::LengthInvalid)),
    ("arabic digits", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \xd9\xa5\r\n\r\n", Fail(Reject::LengthInvalid)),
    ("no-break blank", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \xc2\xa05\r\n\r\n", Fail(Reject::LengthInvalid)),

    // Encodings that are not exactly chunked.
    ("gzip", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", Fail(Reject::EncodingUnknown)),
    ("gzip, chunked", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", Fail(Reject::EncodingUnknown)),
    ("chunked, identity", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n", Fail(Reject::EncodingUnknown)),
    ("chunked twice in a list", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", Fail(Reject::EncodingUnknown)),
    ("comma behind", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked,\r\n\r\n", Fail(Reject::EncodingUnknown)),
    ("comma before", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: ,chunked\r\n\r\n", Fail(Reject::EncodingUnknown)),
    ("parameter", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n", Fail(Reject::EncodingUnknown)),
    ("letter before", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", Fail(Reject::EncodingUnknown)),
    ("letter behind", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunkedx\r\n\r\n", Fail(Reject::EncodingUnknown)),
    ("quoted", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n", Fail(Reject::EncodingUnknown)),
    ("empty encoding", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n", Fail(Reject::EncodingUnknown)),
    ("long s for s", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \xc5\xbfchunked\r\n\r\n", Fail(Reject::EncodingUnknown)),
    ("vertical tab before", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n", Fail(Reject::HeaderValue)),
    ("form feed behind", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\x0c\r\n\r\n", Fail(Reject::HeaderValue)),
    ("chunked in http/1.0", b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", Fail(Reject::EncodingInOldVersion)),

    // Header names.
    ("blank before the colon", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n", Fail(Reject::HeaderName)),
    ("tab before the colon", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length\t: 5\r\n\r\n", Fail(Reject::HeaderName)),
    ("control byte in the name", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\x0b: chunked\r\n\r\n", Fail(Reject::HeaderName)),
    ("NUL in the name", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length\0: 5\r\n\r\n", Fail(Reject::HeaderName)),
    ("blank inside the name", b"POST / HTTP/1.1\r\nHost: a\r\nContent Length: 5\r\n\r\n", Fail(Reject::HeaderName)),
    ("byte above ascii in the name", b"POST / HTTP/1.1\r\nHost: a\r\nContent-L\xc3\xa9ngth: 5\r\n\r\n", Fail(Reject::HeaderName)),
    ("no name", b"GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n", Fail(Reject::HeaderName)),
    ("no colon", b"GET / HTTP/1.1\r\nHost: a\r\nfoo\r\n\r\n", Fail(Reject::HeaderName)),
    ("blank before the first name", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", Fail(Reject::HeaderName)),
    ("folded with a blank", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n", Fail(Reject::HeaderName)),
    ("folded with a tab", b"POST / HTTP/1.1\r\nHost: a\r\nX: a\r\n\tContent-Length: 5\r\n\r\n", Fail(Reject::HeaderName)),
    ("folded empty line", b"GET / HTTP/1.1\r\nHost: a\r\n \r\n\r\n", Fail(Reject::HeaderName)),
    ("brackets in the name", b"GET / HTTP/1.1\r\nHost: a\r\n[x]: y\r\n\r\n", Fail(Reject::HeaderName)),

    // Values and line ends.
    ("NUL in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", Fail(Reject::HeaderValue)),
    ("DEL in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x7fb\r\n\r\n", Fail(Reject::HeaderValue)),
    ("escape in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: \x1b[2J\r\n\r\n", Fail(Reject::HeaderValue)),
    ("backspace behind a length", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\x08\r\n\r\n", Fail(Reject::HeaderValue)),
    ("bare CR in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rTransfer-Encoding: chunked\r\n\r\n", Fail(Reject::HeaderValue)),
    ("two CR before LF", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\r\n\r\n", Fail(Reject::HeaderValue)),
    ("CR before the name", b"GET / HTTP/1.1\r\nHost: a\r\n\rX: a\r\n\r\n", Fail(Reject::LineEnd)),
    ("bare LF behind a header", b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", Fail(Reject::LineEnd)),
    ("bare LF behind an empty value", b"GET / HTTP/1.1\r\nHost: a\r\nX:\nY: b\r\n\r\n", Fail(Reject::LineEnd)),
    ("bare LF behind the last header", b"GET / HTTP/1.1\r\nHost: a\n\r\n", Fail(Reject::LineEnd)),
    ("bare LF as the empty line", b"GET / HTTP/1.1\r\nHost: a\r\n\n", Fail(Reject::LineEnd)),
    ("bare LF hides a header", b"POST / HTTP/1.1\r\nHost: a\r\nX: y\nTransfer-Encoding: chunked\r\n\r\n", Fail(Reject::LineEnd)),
    ("LF, then a blank", b"GET / HTTP/1.1\r\nHost: a\r\nX: y\n z\r\n\r\n", Fail(Reject::LineEnd)),
    ("LF only", b"GET / HTTP/1.1\nHost: a\n\n", Fail(Reject::LineEnd)),
    ("LF behind the request line", b"GET / HTTP/1.1\nHost: a\r\n\r\n", Fail(Reject::LineEnd)),
    ("CR CR behind the request line", b"GET / HTTP/1.1\r\rHost: a\r\n\r\n", Fail(Reject::LineEnd)),
    ("no header, LF", b"GET / HTTP/1.0\r\n\n", Fail(Reject::LineEnd)),
    ("bad length before a bare LF", b"GET / HTTP/1.1\r\nContent-Length: x\r\nHost: a\nX: b\r\n\r\n", Fail(Reject::LineEnd)),
    ("bare LF before a bad name", b"GET / HTTP/1.1\r\nHost: a\nX y: b\r\n\r\n", Fail(Reject::LineEnd)),
    ("bad name before a bare LF", b"GET / HTTP/1.1\r\nX y: b\r\nHost: a\n\r\n", Fail(Reject::HeaderName)),

    // The request line.
    ("two empty lines first", b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Fail(Reject::EmptyLines)),
    ("LF first", b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Fail(Reject::EmptyLines)),
    ("empty line, then LF", b"\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Fail(Reject::EmptyLines)),
    ("CR first", b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", Fail(Reject::EmptyLines)),
    ("blank first", b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", Fail(Reject::RequestLine)),
    ("two blanks before the target", b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", Fail(Reject::RequestLine)),
    ("two blanks before the version", b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", Fail(Reject::RequestLine)),
    ("blank behind the version", b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", Fail(Reject::LineEnd)),
    ("tab between", b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", Fail(Reject::RequestLine)),
    ("blank in the target", b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", Fail(Reject::RequestLine)),
    ("request inside the target", b"GET / HTTP/1.1\r\n/ HTTP/1.1\r\nHost: a\r\n\r\n", Fail(Reject::HeaderName)),
    ("no version", b"GET /\r\nHost: a\r\n\r\n", Fail(Reject::RequestLine)),
    ("no target", b"GET HTTP/1.1\r\nHost: a\r\n\r\n", Fail(Reject::RequestLine)),
    ("slash in the method", b"GE/T / HTTP/1.1\r\nHost: a\r\n\r\n", Fail(Reject::RequestLine)),
    ("NUL in the target", b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", Fail(Reject::RequestLine)),
    ("DEL in the target", b"GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n", Fail(Reject::RequestLine)),
    ("broken utf-8 in the target", b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", Fail(Reject::RequestLine)),
    ("TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", Fail(Reject::RequestLine)),
    ("http/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Fail(Reject::Version)),
    ("http/1.2", b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", Fail(Reject::Version)),
    ("http/0.9", b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", Fail(Reject::Version)),
    ("http/3", b"GET / HTTP/3\r\nHost: a\r\n\r\n", Fail(Reject::Version)),
    ("http/1.10", b"GET / HTTP/1.10\r\nHost: a\r\n\r\n", Fail(Reject::LineEnd)),
    ("small http", b"GET / http/1.1\r\nHost: a\r\n\r\n", Fail(Reject::RequestLine)),
    ("other protocol", b"GET / ICY/1.1\r\nHost: a\r\n\r\n", Fail(Reject::RequestLine)),
    ("connect", b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", Fail(Reject::ConnectMethod)),
    ("asterisk with GET", b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", Fail(Reject::Target)),
    ("asterisk with a query", b"OPTIONS *?a HTTP/1.1\r\nHost: a\r\n\r\n", Fail(Reject::Target)),
    ("fragment", b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", Fail(Reject::Target)),
    ("no slash", b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", Fail(Reject::Target)),
    ("host as target", b"GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", Fail(Reject::Target)),
    ("file scheme", b"GET file:///etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", Fail(Reject::Target)),
    ("absolute without host", b"GET http:///b HTTP/1.1\r\nHost: a\r\n\r\n", Fail(Reject::Target)),
    ("user in the target", b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", Fail(Reject::Target)),
    ("backslash in the authority", b"GET http://a\\b/ HTTP/1.1\r\nHost: a\r\n\r\n", Fail(Reject::Target)),

    // Host.
    ("no host", b"GET / HTTP/1.1\r\nX: a\r\n\r\n", Fail(Reject::HostMissing)),
    ("absolute target does not replace it", b"GET http://a/ HTTP/1.1\r\n\r\n", Fail(Reject::HostMissing)),
    ("two hosts", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Fail(Reject::HostRepeated)),
    ("two equal hosts", b"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", Fail(Reject::HostRepeated)),
    ("two hosts in http/1.0", b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", Fail(Reject::HostRepeated)),
    ("list of hosts", b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", Fail(Reject::HostInvalid)),
    ("user in host", b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", Fail(Reject::HostInvalid)),
    ("path in host", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", Fail(Reject::HostInvalid)),
    ("query in host", b"GET / HTTP/1.1\r\nHost: a?b\r\n\r\n", Fail(Reject::HostInvalid)),
    ("byte above ascii in host", b"GET / HTTP/1.1\r\nHost: \xc3\xa9\r\n\r\n", Fail(Reject::HostInvalid)),

    // Expect.
    ("unknown expectation", b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\nContent-Length: 1\r\n\r\n", Fail(Reject::Expectation)),
    ("list of expectations", b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue, x\r\nContent-Length: 1\r\n\r\n", Fail(Reject::Expectation)),

    // Not complete.
    ("nothing", b"", Wait),
    ("CR", b"\r", Wait),
    ("CR LF", b"\r\n", Wait),
    ("half a method", b"GE", Wait),
    ("half a version", b"GET / HTTP/1", Wait),
    ("half a line end", b"GET / HTTP/1.1\r", Wait),
    ("half a header", b"GET / HTTP/1.1\r\nHost", Wait),
    ("empty line is missing", b"GET / HTTP/1.1\r\nHost: a\r\n", Wait),
    ("last LF is missing", b"GET / HTTP/1.1\r\nHost: a\r\n\r", Wait),
];

fn parse(buf: &[u8]) -> Parsed {
    parse_head(buf, &mut HeaderTable::new())
}

fn head(buf: &[u8]) -> Head {
    match parse(buf) {
        Parsed::Head(head) => head,
        other => panic!("{other:?} for {}", buf.escape_ascii()),
    }
}

/// Feeds every prefix: a verdict, once reached, must be the whole buffer's.
fn check_prefixes(buf: &[u8]) -> Result<(), String> {
    let whole = parse(buf);
    let reached = (0..buf.len()).map(|len| parse(&buf[..len])).find(|p| *p != Parsed::Partial);
    match reached {
        Some(early) if early != whole => {
            Err([format!("{early:?} then {whole:?}"), buf.escape_ascii().to_string()].join(": "))
        }
        _ => Ok(()),
    }
}

/// What every accepted head must look like, whoever sent it.
fn check_sound(buf: &[u8]) {
    let mut table = HeaderTable::new();
    let Parsed::Head(head) = parse_head(buf, &mut table) else {
        assert!(table.lines().is_empty());
        return;
    };
    let bytes = &buf[..head.head_len];
    assert!(bytes.ends_with(b"\r\n\r\n") && bytes.len() <= HEAD_BYTES_MAX);
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'\n' => assert_eq!(bytes[at - 1], b'\r'),
            b'\r' => assert_eq!(bytes[at + 1], b'\n'),
            _ => assert_ne!(*byte, 0),
        }
    }
    let mut framings = 0;
    for line in table.lines() {
        let (name, value) = (line.name.of(buf), line.value.of(buf));
        assert!(!name.is_empty() && name.iter().all(|byte| is_token_byte(*byte)));
        assert!(!value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
        assert_eq!(value, value.trim_ascii());
        framings += usize::from(
            name.eq_ignore_ascii_case(b"content-length")
                || name.eq_ignore_ascii_case(b"transfer-encoding"),
        );
    }
    assert_eq!(framings, usize::from(head.framing != Framing::None));
    let path = head.path.of(buf);
    assert!(path.starts_with(b"/") || path == b"*");
    assert!(!head.query.of(buf).contains(&b'#') && !path.contains(&b'?'));
}

#[test]
fn corpus() {
    assert!(CORPUS.len() >= 80);
    for (name, bytes, must) in CORPUS {
        let got = match parse(bytes) {
            Parsed::Head(head) => Pass(head.framing),
            Parsed::Reject(reject) => Fail(reject),
            Parsed::Partial => Wait,
        };
        assert_eq!(got, *must, "{name}");
        check_sound(bytes);
        check_prefixes(bytes).unwrap_or_else(|text| panic!("{name}: {text}"));
    }
}

#[test]
fn every_field_of_a_full_head() {
    let buf = b"\r\nOPTIONS /a/b?c=d&e HTTP/1.1\r\nHost: h:1\r\nContent-Type: text/x\r\n\
        content-length: 12\r\nTraceparent: 00-1-2-03\r\nORIGIN: https://o\r\nExpect: 100-Continue\r\n\
        X-Nuclio-Log-Level: Warn\r\nAccess-Control-Request-Method: PUT\r\n\
        Access-Control-Request-Headers: x, y\r\nConnection: foo, Close\r\n\r\nbody";
    let mut table = HeaderTable::new();
    let Parsed::Head(head) = parse_head(buf, &mut table) else { panic!() };
    let text = |span: Option<Span>| span.map(|span| span.of(buf));
    assert_eq!(head.method, Method::Options);
    assert_eq!(head.method_span.of(buf), b"OPTIONS");
    assert_eq!(head.path.of(buf), b"/a/b");
    assert_eq!(head.query.of(buf), b"c=d&e");
    assert_eq!(head.version_minor, 1);
    assert_eq!(&buf[head.head_len..], b"body");
    assert_eq!(head.framing, Framing::Length(12));
    assert!(!head.keep_alive && head.expect_continue);
    assert_eq!(text(head.host), Some(&b"h:1"[..]));
    assert_eq!(text(head.content_type), Some(&b"text/x"[..]));
    assert_eq!(text(head.traceparent), Some(&b"00-1-2-03"[..]));
    assert_eq!(text(head.origin), Some(&b"https://o"[..]));
    assert_eq!(head.log_level, Some(LogLevel::Warn));
    assert_eq!(text(head.access_control_request_method), Some(&b"PUT"[..]));
    assert_eq!(text(head.access_control_request_headers), Some(&b"x, y"[..]));
    let names: Vec<_> = table.lines().iter().map(|line| line.name.of(buf)).collect();
    assert_eq!(names.len(), 10);
    assert_eq!(names[3], b"Traceparent");
}

#[test]
fn targets() {
    let cases: [(&str, &str, &str); 10] = [
        ("/", "/", ""),
        ("/a?", "/a", ""),
        ("/a?b?c", "/a", "b?c"),
        ("//x/y", "//x/y", ""),
        ("/http://x/y?z", "/http://x/y", "z"),
        ("http://h/p?q", "/p", "q"),
        ("HTTPS://h:1/p/", "/p/", ""),
        ("http://h", "/", ""),
        ("http://h?q=/x", "/", "q=/x"),
        ("http://[::1]:80/?", "/", ""),
    ];
    for (target, path, query) in cases {
        let buf = [b"GET ", target.as_bytes(), b" HTTP/1.1\r\nHost: h\r\n\r\n"].concat();
        let head = head(&buf);
        assert_eq!(head.path.of(&buf), path.as_bytes(), "{target}");
        assert_eq!(head.query.of(&buf), query.as_bytes(), "{target}");
    }
}

#[test]
fn connection_and_expect() {
    let cases: [(&str, &str, bool, bool); 12] = [
        ("1.1", "", true, false),
        ("1.0", "", false, false),
        ("1.0", "Connection: keep-alive\r\n", true, false),
        ("1.0", "Connection: Keep-Alive, close\r\n", false, false),
        ("1.1", "Connection: close\r\n", false, false),
        ("1.1", "Connection: x\r\nConnection:\tCLOSE \r\n", false, false),
        ("1.1", "Connection: closed, xclose, ,\r\n", true, false),
        ("1.1", "Connection: keep-alive\r\n", true, false),
        ("1.1", "Expect: 100-continue\r\nContent-Length: 1\r\n", true, true),
        ("1.1", "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n", true, true),
        // Nothing to wait for, or nobody who knows how to wait.
        ("1.1", "Expect: 100-continue\r\n", true, false),
        ("1.0", "Expect: 100-continue\r\nContent-Length: 1\r\n", false, false),
    ];
    for (version, lines, keep_alive, expect) in cases {
        let parts = ["GET / HTTP/", version, "\r\nHost: a\r\n", lines, "\r\n"];
        let head = head(parts.concat().as_bytes());
        assert_eq!((head.keep_alive, head.expect_continue), (keep_alive, expect), "{parts:?}");
    }
}

#[test]
fn log_levels() {
    let level = |text: &str| {
        head(["GET / HTTP/1.0\r\nx-nuclio-log-level: ", text, "\r\n\r\n"].concat().as_bytes())
            .log_level
    };
    assert_eq!(level("debug"), Some(LogLevel::Debug));
    assert_eq!(level("INFO"), Some(LogLevel::Info));
    assert_eq!(level("error"), Some(LogLevel::Error));
    assert_eq!(level("loud"), None);
    assert_eq!(level(""), None);
    assert!(LogLevel::Debug < LogLevel::Error);
}

#[test]
fn sizes() {
    // A target of exactly the limit, and one byte more.
    let target = |len: usize| {
        [&b"GET /"[..], &vec![b'a'; len - 1], b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat()
    };
    assert_eq!(head(&target(URI_BYTES_MAX)).path.len as usize, URI_BYTES_MAX);
    let long = target(URI_BYTES_MAX + 1);
    assert_eq!(parse(&long), Parsed::Reject(Reject::UriTooLong));
    assert_eq!(parse(&long[..4 + URI_BYTES_MAX]), Parsed::Partial);
    assert_eq!(parse(&long[..5 + URI_BYTES_MAX]), Parsed::Reject(Reject::UriTooLong));
    // Wrong further on, but too long first.
    let both = [&long[..long.len() - 4], b"\nX y\r\n\r\n"].concat();
    assert_eq!(parse(&both), Parsed::Reject(Reject::UriTooLong));

    // A head of exactly the limit, and one byte more; a body behind does not count.
    let sized = |len: usize| {
        let start = b"GET / HTTP/1.1\r\nHost: a\r\nX: ";
        [&start[..], &vec![b'x'; len - start.len() - 4], b"\r\n\r\n", b"body"].concat()
    };
    assert_eq!(head(&sized(HEAD_BYTES_MAX)).head_len, HEAD_BYTES_MAX);
    let large = sized(HEAD_BYTES_MAX + 1);
    assert_eq!(parse(&large), Parsed::Reject(Reject::HeadTooLarge));
    assert_eq!(parse(&large[..HEAD_BYTES_MAX - 1]), Parsed::Partial);
    assert_eq!(parse(&large[..HEAD_BYTES_MAX]), Parsed::Reject(Reject::HeadTooLarge));
    assert_eq!(parse(&vec![b'A'; 2 * HEAD_BYTES_MAX]), Parsed::Reject(Reject::HeadTooLarge));

    let lines = |count: usize| {
        ["GET / HTTP/1.1\r\nHost: a\r\n", &"X: y\r\n".repeat(count - 1), "\r\n"].concat()
    };
    let mut table = HeaderTable::new();
    let full = lines(HEADERS_MAX);
    assert!(matches!(parse_head(full.as_bytes(), &mut table), Parsed::Head(_)));
    assert_eq!(table.lines().len(), HEADERS_MAX);
    let more = lines(HEADERS_MAX + 1);
    assert_eq!(parse_head(more.as_bytes(), &mut table), Parsed::Reject(Reject::TooManyHeaders));
    assert!(table.lines().is_empty());
    check_prefixes(more.as_bytes()).unwrap();
}

#[test]
fn every_reject_has_a_status_and_a_sentence() {
    for (_, _, must) in CORPUS {
        if let Fail(reject) = must {
            assert!(matches!(reject.status(), 400 | 414 | 417 | 431 | 501 | 505));
            assert!(reject.reason().ends_with('.') && reject.reason().len() < 100);
        }
    }
    assert_eq!(Reject::HeadTooLarge.status(), 431);
    assert_eq!(Reject::UriTooLong.status(), 414);
    assert_eq!(Reject::Version.status(), 505);
    assert_eq!(Reject::ConnectMethod.status(), 501);
    assert_eq!(Reject::LengthAndEncoding.status(), 400);
}

/// Pieces that make almost-requests, far likelier than chance to meet a rule.
const PIECES: &[&[u8]] = &[
    b"GET ",
    b"POST ",
    b"OPTIONS ",
    b"CONNECT ",
    b"/",
    b"/a?b",
    b"*",
    b"http://a/",
    b"#",
    b" ",
    b" HTTP/1.1",
    b" HTTP/1.0",
    b" HTTP/2.0",
    b"\r\n",
    b"\r\n",
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\r",
    b"\t",
    b"\0",
    b"\x7f",
    b"\xff",
    b":",
    b"Host: a\r\n",
    b"Host: b",
    b"Content-Length: 5\r\n",
    b"Content-Length: 6",
    b"content-length:",
    b"5",
    b",",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding:",
    b"chunked",
    b"Connection: close\r\n",
    b"Expect: 100-continue\r\n",
    b"X: y\r\n",
    b"GET / HTTP/1.1\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n",
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        check_sound(&bytes);
        prop_assert_eq!(check_prefixes(&bytes), Ok(()));
    }

    #[test]
    fn almost_requests_get_one_verdict(
        picks in proptest::collection::vec(0..PIECES.len(), 1..24),
        started in any::<bool>(),
    ) {
        let start: &[u8] = if started { b"POST /x HTTP/1.1\r\nHost: a\r\n" } else { b"" };
        let bytes: Vec<u8> = picks.iter().fold(start.to_vec(), |sum, i| [&sum, PIECES[*i]].concat());
        check_sound(&bytes);
        prop_assert_eq!(check_prefixes(&bytes), Ok(()));
    }

    #[test]
    fn a_changed_byte_is_still_one_verdict(
        entry in 0..CORPUS.len(),
        at in any::<prop::sample::Index>(),
        byte in prop::sample::select(b"\r\n \t\0:,;Aa05\x7f\xff#?/".to_vec()),
        insert in any::<bool>(),
    ) {
        let mut bytes = CORPUS[entry].1.to_vec();
        let at = at.index(bytes.len() + 1);
        if insert || at == bytes.len() {
            bytes.insert(at, byte);
        } else {
            bytes[at] = byte;
        }
        check_sound(&bytes);
        prop_assert_eq!(check_prefixes(&bytes), Ok(()));
    }

    #[test]
    fn what_is_behind_the_head_does_not_matter(
        entry in 0..CORPUS.len(),
        behind in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let bytes = CORPUS[entry].1;
        let whole = parse(bytes);
        if whole != Parsed::Partial {
            prop_assert_eq!(parse(&[bytes, &behind].concat()), whole);
        }
    }
}

//! The two framings of resident mode: how a request is written and a reply is read.
//!
//! Pure: bytes in, bytes out. What ends the program (its replies can no longer be told apart) is
//! kept apart from what fails one event only.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shim::abi::content_type;

use crate::answer::Answer;
use crate::fields::Fields;
use crate::limits::{LENGTH_LINE_BYTES_MAX, REPLY_BYTES_MAX};
use crate::settings::{Framing, Sent};

/// An event as a request needs it.
#[derive(Debug)]
pub struct Request<'a> {
    pub fields: &'a Fields,
    /// What the program wants to know.
    pub sent: Sent,
    /// Empty if they are not wanted.
    pub headers: Vec<(&'a [u8], &'a [u8])>,
    pub body: &'a [u8],
}

/// What the bytes read so far are.
#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    /// The beginning of a reply.
    Part,
    /// A reply of so many bytes.
    Whole(usize, Answer),
    /// A reply of so many bytes that makes no sense.
    Wrong(usize, String),
    /// No reply: where the next begins cannot be known.
    Lost(String),
}

/// Writes a request.
pub fn write(framing: Framing, request: &Request<'_>, to: &mut Vec<u8>) {
    match framing {
        Framing::Lines => write_line(request, to),
        Framing::Length => write_length(request, to),
    }
}

/// Looks whether a whole reply is there; `id` gives that of the event that waits, which is made for
/// replies that name one. `looked` is how much was there the last time.
pub fn read(framing: Framing, bytes: &[u8], looked: usize, id: impl FnOnce() -> String) -> Read {
    match framing {
        Framing::Lines => read_line(bytes, looked, id),
        Framing::Length => read_length(bytes),
    }
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    query: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

fn write_line(request: &Request<'_>, to: &mut Vec<u8>) {
    let (fields, text) =
        (request.fields, |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned());
    let sent = request.sent;
    let body = std::str::from_utf8(if sent.body { request.body } else { b"" });
    let query = fields.query_pairs().map(|(name, value)| (text(&name), text(&value)));
    let mut headers = BTreeMap::new();
    for (name, value) in &request.headers {
        let lines: &mut String = headers.entry(text(name).to_ascii_lowercase()).or_default();
        if !lines.is_empty() {
            lines.push_str(", ");
        }
        lines.push_str(&text(value));
    }
    let line = Line {
        id: sent.id.then_some(&*fields.id),
        method: sent.method.then_some(&*fields.method),
        path: sent.path.then(|| text(&fields.path)),
        query: if sent.query { query.collect() } else { BTreeMap::new() },
        headers,
        body: body.ok().filter(|body| !body.is_empty()),
        body_base64: body.is_err().then(|| BASE64.encode(request.body)),
    };
    // Texts only: there is nothing that could not be written.
    let _ = serde_json::to_writer(&mut *to, &line);
    to.push(b'\n');
}

fn write_length(request: &Request<'_>, to: &mut Vec<u8>) {
    let mut head = Vec::new();
    let fields = request.fields;
    for part in [fields.method.as_bytes(), b" ", &fields.url, b" ", fields.id.as_bytes(), b"\n"] {
        head.extend_from_slice(part);
    }
    for (name, value) in &request.headers {
        for part in [&name.to_ascii_lowercase(), &b": "[..], value, b"\n"] {
            head.extend_from_slice(part);
        }
    }
    head.push(b'\n');
    to.extend_from_slice(format!("{}\n", head.len() + request.body.len()).as_bytes());
    to.extend_from_slice(&head);
    to.extend_from_slice(request.body);
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LineReply {
    #[serde(default)]
    id: Option<String>,
    #[serde(default = "ok")]
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, Value>,
    #[serde(default)]
    body: Option<Value>,
    #[serde(default)]
    body_base64: Option<String>,
}

fn ok() -> u16 {
    200
}

fn read_line(bytes: &[u8], looked: usize, id: impl FnOnce() -> String) -> Read {
    let Some(end) = bytes[looked..].iter().position(|byte| *byte == b'\n') else {
        return if bytes.len() > REPLY_BYTES_MAX { too_large() } else { Read::Part };
    };
    let (end, size) = (looked + end, looked + end + 1);
    let reply = match reply_of_line(&bytes[..end], size) {
        Ok(reply) => reply,
        Err(wrong) => return wrong,
    };
    if let Some(other) = &reply.id {
        let id = id();
        if *other != id {
            return Read::Lost(format!("a reply to {other:?}, while {id} waits"));
        }
    }
    match answer_of_line(reply) {
        Ok(answer) => Read::Whole(size, answer),
        Err(problem) => Read::Wrong(size, problem),
    }
}

fn reply_of_line(line: &[u8], size: usize) -> Result<LineReply, Read> {
    // An array would do for a structure, too, with its values in the order of the fields.
    if line.first() == Some(&b'{')
        && let Ok(reply) = serde_json::from_slice(line)
    {
        return Ok(reply);
    }
    // What is wrong with it, or that it only has blanks in front or a key twice.
    let Ok(value) = serde_json::from_slice::<Value>(line) else {
        return Err(Read::Lost(format!("a line that is no JSON: {}", start_of(line))));
    };
    if !value.is_object() {
        return Err(Read::Wrong(size, format!("the reply {value} is no JSON object")));
    }
    serde_json::from_value(value)
        .map_err(|error| Read::Wrong(size, format!("the reply is not understood: {error}")))
}

fn answer_of_line(reply: LineReply) -> Result<Answer, String> {
    let (body, content_type) = match (reply.body, reply.body_base64) {
        (Some(_), Some(_)) => return Err("the reply has body and body_base64; send one".into()),
        (None, Some(text)) => {
            let bytes = BASE64.decode(text).map_err(|e| format!("body_base64: {e}"))?;
            (bytes, content_type::BYTES)
        }
        (Some(Value::String(text)), None) => (text.into_bytes(), content_type::TEXT),
        (Some(value), None) => (value.to_string().into_bytes(), content_type::JSON),
        (None, None) => (Vec::new(), content_type::TEXT),
    };
    let text = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    let head = reply.headers.into_iter().map(|(name, value)| (name, text(value))).collect();
    finished(reply.status, head, body, content_type)
}

fn read_length(bytes: &[u8]) -> Read {
    let Some(line_end) = bytes.iter().position(|byte| *byte == b'\n') else {
        return match bytes.len() > LENGTH_LINE_BYTES_MAX {
            true => Read::Lost(no_length(bytes)),
            false => Read::Part,
        };
    };
    let number = std::str::from_utf8(&bytes[..line_end]).ok();
    let is_number = |text: &&str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let Some(length) = number.filter(is_number).and_then(|text| text.parse::<usize>().ok()) else {
        return Read::Lost(no_length(&bytes[..line_end]));
    };
    if length > REPLY_BYTES_MAX {
        return too_large();
    }
    let size = line_end + 1 + length;
    let Some(payload) = bytes.get(line_end + 1..size) else { return Read::Part };
    match answer_of_payload(payload) {
        Ok(answer) => Read::Whole(size, answer),
        Err(problem) => Read::Wrong(size, problem),
    }
}

/// Head lines up to an empty one, then the body; the first line may be a status.
fn answer_of_payload(payload: &[u8]) -> Result<Answer, String> {
    let (mut status, mut head, mut rest) = (200, Vec::new(), payload);
    for number in 0.. {
        let end = rest.iter().position(|byte| *byte == b'\n');
        let end = end.ok_or("the reply has no empty line between its head and its body")?;
        let line = std::str::from_utf8(&rest[..end]).map_err(|_| "a head line is no UTF-8 text")?;
        rest = &rest[end + 1..];
        match line.split_once(':') {
            _ if line.is_empty() => break,
            Some((name, value)) => head.push((name.trim().to_owned(), value.trim().to_owned())),
            None if number == 0 => {
                status = line.parse().map_err(|_| format!("{line:?} is no status; write 200"))?;
            }
            None => return Err(format!("{line:?} is no head line; write NAME: VALUE")),
        }
    }
    finished(status, head, rest.to_vec(), content_type::TEXT)
}

fn finished(
    status: u16,
    head: Vec<(String, String)>,
    body: Vec<u8>,
    content_type: u8,
) -> Result<Answer, String> {
    if !(200..=599).contains(&status) {
        return Err(format!("{status} is no status of a reply; write 200 to 599"));
    }
    let named = head.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    let content_type = if named { content_type::NONE } else { content_type };
    Ok(Answer { status, head, content_type, body })
}

fn too_large() -> Read {
    Read::Lost(format!("a reply of more than {REPLY_BYTES_MAX} bytes"))
}

fn no_length(bytes: &[u8]) -> String {
    format!("a line that is no length: {}", start_of(bytes))
}

/// Enough of what was read to recognise it.
fn start_of(bytes: &[u8]) -> String {
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
    format!("{shown:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> Fields {
        Fields {
            id: "7".into(),
            method: "POST".into(),
            path: b"/a b".to_vec(),
            url: b"/a%20b?x=1&y=%C3%A9".to_vec(),
            query: b"x=1&y=%C3%A9".to_vec(),
            content_type: Vec::new(),
            timestamp_ns: 0,
            shard: 0,
        }
    }

    fn written(framing: Framing, body: &[u8]) -> String {
        let fields = fields();
        let headers = vec![(&b"X-A"[..], &b"1"[..]), (b"x-a", b"2")];
        let mut out = Vec::new();
        write(framing, &Request { fields: &fields, sent: Sent::ALL, headers, body }, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn requests_are_one_line_or_counted_bytes() {
        assert_eq!(
            written(Framing::Lines, b"two\nlines"),
            "{\"id\":\"7\",\"method\":\"POST\",\"path\":\"/a b\",\"query\":{\"x\":\"1\",\"y\":\"é\"},\
             \"headers\":{\"x-a\":\"1, 2\"},\"body\":\"two\\nlines\"}\n"
        );
        assert!(written(Framing::Lines, b"\xff").ends_with("\"body_base64\":\"/w==\"}\n"));
        assert_eq!(
            written(Framing::Length, b"body\n"),
            "47\nPOST /a%20b?x=1&y=%C3%A9 7\nx-a: 1\nx-a: 2\n\nbody\n"
        );
    }

    #[test]
    fn what_is_not_wanted_is_not_sent() {
        let (fields, mut out) = (fields(), Vec::new());
        let sent = Sent { body: true, ..Sent::NONE };
        let request = Request { fields: &fields, sent, headers: Vec::new(), body: b"x" };
        write(Framing::Lines, &request, &mut out);
        write(Framing::Lines, &Request { sent: Sent::NONE, ..request }, &mut out);
        assert_eq!(out, b"{\"body\":\"x\"}\n{}\n");
    }

    fn lines(text: &str) -> Read {
        read(Framing::Lines, text.as_bytes(), 0, || "7".into())
    }

    #[test]
    fn a_line_is_a_reply() {
        let Read::Whole(15, answer) = lines("{\"body\": \"hi\"}\nrest") else { panic!() };
        assert_eq!((answer.status, &answer.body[..]), (200, &b"hi"[..]));
        let Read::Whole(_, answer) = lines("{\"id\":\"7\",\"status\":201,\"body\":[1]}\n") else {
            panic!()
        };
        assert_eq!((answer.status, &answer.body[..]), (201, &b"[1]"[..]));
        assert_eq!(answer.content_type, content_type::JSON);
        assert_eq!(lines("{\"body\""), Read::Part);
        for wrong in [
            "{\"status\":\"x\"}",
            "{\"bdy\":1}",
            "[]",
            "[\"7\", 200]",
            "{\"status\":99}",
            "{\"body_base64\":\"*\"}",
        ] {
            assert!(matches!(lines(&format!("{wrong}\n")), Read::Wrong(..)), "{wrong}");
        }
        for lost in ["debug: 3", "", "{\"id\":\"8\"}", "{"] {
            assert!(matches!(lines(&format!("{lost}\n")), Read::Lost(_)), "{lost}");
        }
    }

    fn counted(text: &str) -> Read {
        read(Framing::Length, text.as_bytes(), 0, || "7".into())
    }

    #[test]
    fn counted_bytes_are_a_reply() {
        let Read::Whole(5, answer) = counted("3\n\nhi") else { panic!() };
        assert_eq!((answer.status, &answer.body[..]), (200, &b"hi"[..]));
        let Read::Whole(_, answer) = counted("15\n201\nX-A: b: c\n\n") else { panic!() };
        assert_eq!((answer.status, answer.head), (201, vec![("X-A".into(), "b: c".into())]));
        assert_eq!(counted("3\n\nh"), Read::Part);
        assert_eq!(counted("3"), Read::Part);
        for wrong in ["0\n", "2\nhi", "4\nabc\n", "5\n200\n\n!"] {
            assert!(matches!(counted(wrong), Read::Wrong(..) | Read::Whole(..)), "{wrong}");
        }
        for lost in ["-3\n", "\n", "x\n", "99999999999999999999999", "+1\n", "999999999999\n"] {
            assert!(matches!(counted(lost), Read::Lost(_)), "{lost}");
        }
    }
}

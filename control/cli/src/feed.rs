//! Sends one recorded event as the bytes it came as, and reads the whole answer.
//!
//! HTTP/1.1 by hand: a client library would write the head anew.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use spec::RecordedEvent;

use crate::recording::is_chunked;

/// The largest answer read; what does not fit in memory is none.
const BODY_BYTES_MAX: usize = 1 << 30;
/// The largest head of an answer read; above any function's own headers and log lines.
const HEAD_BYTES_MAX: usize = 1 << 20;
/// Header lines of an answer.
const LINES_MAX: usize = 1024;
/// Bytes of a body sent as one chunk.
const CHUNK_BYTES: usize = 64 * 1024;
/// Longest wait for the connection; the function is on this machine.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// The first final status; what is below announces another.
const FINAL_STATUS_MIN: u16 = 200;

/// What the function answered.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Unanswered {
    /// The function is not there any more.
    Gone,
    /// For people.
    Broken(String),
}

/// Sends an event and waits for its answer, at most `time_max`.
pub fn feed(
    address: SocketAddr,
    event: &RecordedEvent,
    time_max: Option<Duration>,
) -> Result<Answer, Unanswered> {
    let stream =
        TcpStream::connect_timeout(&address, CONNECT_TIME_MAX).map_err(|error| {
            match error.kind() {
                ErrorKind::ConnectionRefused => Unanswered::Gone,
                _ => Unanswered::Broken(format!("cannot be reached: {error}")),
            }
        })?;
    let deadline = time_max.map(|time| Instant::now() + time);
    let mut link = Link { stream, deadline, bytes: Vec::new() };
    // A function that answers early may not read on; what it said is there to be read.
    let sent = link.stream.set_nodelay(true).and_then(|()| link.send(event));
    link.answer(event).map_err(|broken| match (broken, sent) {
        (Unanswered::Broken(_), Err(error)) => Unanswered::Broken(told(&error)),
        (unanswered, _) => unanswered,
    })
}

struct Link {
    stream: TcpStream,
    deadline: Option<Instant>,
    /// Read and not used yet.
    bytes: Vec<u8>,
}

impl Link {
    fn send(&mut self, event: &RecordedEvent) -> std::io::Result<()> {
        let mut head = Vec::new();
        for line in std::iter::once(&event.request).chain(&event.headers) {
            head.extend_from_slice(&line.0);
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        let limit = self.left()?;
        self.stream.set_write_timeout(limit)?;
        self.stream.write_all(&head)?;
        let body = &event.body.0;
        if !is_chunked(event) {
            return self.stream.write_all(body);
        }
        for chunk in body.chunks(CHUNK_BYTES) {
            self.stream.write_all(format!("{:x}\r\n", chunk.len()).as_bytes())?;
            self.stream.write_all(chunk)?;
            self.stream.write_all(b"\r\n")?;
        }
        self.stream.write_all(b"0\r\n\r\n")
    }

    fn answer(&mut self, event: &RecordedEvent) -> Result<Answer, Unanswered> {
        let broken = |error: std::io::Error| match error.kind() {
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset => Unanswered::Gone,
            _ => Unanswered::Broken(told(&error)),
        };
        loop {
            let head = self.head().map_err(broken)?;
            if head.status < FINAL_STATUS_MIN {
                continue;
            }
            let is_bare = event.request.0.starts_with(b"HEAD ") || matches!(head.status, 204 | 304);
            let body = match head.framing {
                _ if is_bare => Ok(Vec::new()),
                Framing::Length(bytes) => self.take(bytes),
                Framing::Chunked => self.chunks(),
                Framing::Close => self.rest(),
            };
            // A head was there, so the function was, too.
            let body = body.map_err(|error| {
                Unanswered::Broken(format!("the answer broke off: {}", told(&error)))
            })?;
            return Ok(Answer { status: head.status, body });
        }
    }

    fn head(&mut self) -> std::io::Result<Head> {
        loop {
            let mut lines = [httparse::EMPTY_HEADER; LINES_MAX];
            let mut reply = httparse::Response::new(&mut lines);
            let parsed = reply.parse(&self.bytes).map_err(std::io::Error::other)?;
            if let httparse::Status::Complete(bytes) = parsed {
                let head =
                    Head { status: reply.code.unwrap_or(0), framing: framing(reply.headers)? };
                self.bytes.drain(..bytes);
                return Ok(head);
            }
            if self.bytes.len() > HEAD_BYTES_MAX {
                return Err(std::io::Error::other("the head of the answer has no end"));
            }
            self.more()?;
        }
    }

    /// Reads some more bytes; the end of the connection is an error.
    fn more(&mut self) -> std::io::Result<()> {
        let limit = self.left()?;
        self.stream.set_read_timeout(limit)?;
        let mut piece = [0; 64 * 1024];
        loop {
            match self.stream.read(&mut piece) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    self.bytes.extend_from_slice(&piece[..count]);
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// What is left of the time.
    fn left(&self) -> std::io::Result<Option<Duration>> {
        let Some(deadline) = self.deadline else { return Ok(None) };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }

    fn take(&mut self, bytes: usize) -> std::io::Result<Vec<u8>> {
        if bytes > BODY_BYTES_MAX {
            return Err(std::io::Error::other(format!("it has more than {BODY_BYTES_MAX} bytes")));
        }
        while self.bytes.len() < bytes {
            self.more()?;
        }
        let rest = self.bytes.split_off(bytes);
        Ok(std::mem::replace(&mut self.bytes, rest))
    }

    fn chunks(&mut self) -> std::io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let (head, size) = loop {
                match httparse::parse_chunk_size(&self.bytes) {
                    Ok(httparse::Status::Complete((head, size))) => {
                        break (head, usize::try_from(size).unwrap_or(usize::MAX));
                    }
                    Ok(httparse::Status::Partial) => self.more()?,
                    Err(_) => return Err(std::io::Error::other("a chunk has no length")),
                }
            };
            self.bytes.drain(..head);
            if size > BODY_BYTES_MAX - body.len() {
                return Err(std::io::Error::other(format!(
                    "it has more than {BODY_BYTES_MAX} bytes"
                )));
            }
            body.extend_from_slice(&self.take(size)?);
            self.take(b"\r\n".len())?;
            if size == 0 {
                return Ok(body);
            }
        }
    }

    fn rest(&mut self) -> std::io::Result<Vec<u8>> {
        loop {
            match self.more() {
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    return Ok(std::mem::take(&mut self.bytes));
                }
                Err(error) => return Err(error),
                Ok(()) if self.bytes.len() > BODY_BYTES_MAX => return self.take(usize::MAX),
                Ok(()) => {}
            }
        }
    }
}

struct Head {
    status: u16,
    framing: Framing,
}

/// How the end of a body is known.
enum Framing {
    Length(usize),
    Chunked,
    Close,
}

fn framing(lines: &[httparse::Header<'_>]) -> std::io::Result<Framing> {
    let value = |name: &str| {
        lines.iter().find(|line| line.name.eq_ignore_ascii_case(name)).map(|line| line.value)
    };
    if value("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case(b"chunked")) {
        return Ok(Framing::Chunked);
    }
    let Some(length) = value("content-length") else { return Ok(Framing::Close) };
    let text = std::str::from_utf8(length).ok();
    let bytes = text.and_then(|text| text.parse().ok());
    bytes.map(Framing::Length).ok_or_else(|| std::io::Error::other("its Content-Length is none"))
}

fn told(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => "no whole answer in time (--timeout)".into(),
        ErrorKind::UnexpectedEof => "its end is missing".into(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use spec::Raw;
    use std::net::TcpListener;

    fn event(request: &str, headers: &[&[u8]], body: &[u8]) -> RecordedEvent {
        RecordedEvent {
            id: "a".into(),
            time_unix_ns: 1,
            trigger: "web".into(),
            kind: "http".into(),
            request: Raw(request.as_bytes().to_vec()),
            headers: headers.iter().map(|line| Raw(line.to_vec())).collect(),
            body: Raw(body.to_vec()),
        }
    }

    /// Feeds an event to a server that reads `expected` bytes and says `reply`.
    fn fed(
        event: &RecordedEvent,
        expected: usize,
        reply: &'static [u8],
        time_max: Option<Duration>,
    ) -> (Vec<u8>, Result<Answer, Unanswered>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut got = vec![0; expected];
            stream.read_exact(&mut got).unwrap();
            stream.write_all(reply).unwrap();
            if reply.is_empty() {
                // Until the client gives up.
                let _ = stream.read(&mut [0]);
            }
            got
        });
        let answer = feed(address, event, time_max);
        (server.join().unwrap(), answer)
    }

    #[test]
    fn the_bytes_are_those_that_came() {
        let lines: [&[u8]; 4] = [b"hOsT:x", b"X-Two:  a ", b"X-Two: caf\xe9", b"Content-Length: 3"];
        let sent = event("PUT /a%20b?c HTTP/1.1", &lines, b"\x00\r\n");
        let raw = b"PUT /a%20b?c HTTP/1.1\r\nhOsT:x\r\nX-Two:  a \r\nX-Two: caf\xe9\r\n\
                    Content-Length: 3\r\n\r\n\x00\r\n";
        let reply = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        let (got, answer) = fed(&sent, raw.len(), reply, None);
        assert_eq!(got, raw);
        assert_eq!(answer.unwrap(), Answer { status: 200, body: b"ok".to_vec() });
    }

    #[test]
    fn a_chunked_body_is_chunked_again() {
        let body = vec![7; CHUNK_BYTES + 1];
        let sent = event("POST / HTTP/1.1", &[b"Transfer-Encoding: chunked"], &body);
        let head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n10000\r\n".len();
        let tail = b"\r\n1\r\n\x07\r\n0\r\n\r\n";
        let reply = b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n\
                      2\r\nab\r\n1;x=y\r\nc\r\n0\r\n\r\n";
        let (got, answer) = fed(&sent, head + CHUNK_BYTES + tail.len(), reply, None);
        assert_eq!(&got[head + CHUNK_BYTES..], tail);
        assert_eq!(answer.unwrap(), Answer { status: 201, body: b"abc".to_vec() });
    }

    #[test]
    fn answers_without_a_body_or_an_end_of_it() {
        let get = event("GET / HTTP/1.1", &[], b"");
        let head = event("HEAD / HTTP/1.1", &[], b"");
        let (_, answer) = fed(&head, 19, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", None);
        assert_eq!(answer.unwrap().body, b"");
        let (_, answer) = fed(&get, 18, b"HTTP/1.1 200 OK\r\n\r\nto the end", None);
        assert_eq!(answer.unwrap().body, b"to the end");
        let (_, answer) = fed(&get, 18, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", None);
        let Err(Unanswered::Broken(why)) = answer else { panic!("{answer:?}") };
        assert_eq!(why, "the answer broke off: its end is missing");
        let (_, answer) = fed(&get, 18, b"SSH-2.0-x\r\n", None);
        assert!(matches!(answer, Err(Unanswered::Broken(_))), "{answer:?}");
    }

    #[test]
    fn who_does_not_answer_in_time_has_not_answered() {
        let get = event("GET / HTTP/1.1", &[], b"");
        let (_, answer) = fed(&get, 18, b"", Some(Duration::from_millis(50)));
        let Err(Unanswered::Broken(why)) = answer else { panic!("{answer:?}") };
        assert_eq!(why, "no whole answer in time (--timeout)");
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(matches!(feed(nobody, &get, None), Err(Unanswered::Gone)));
    }
}

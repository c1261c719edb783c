//! The do-nothing floor: the bytes that nuclio would answer, with no worker behind them.
//!
//! epoll (through mio, edge-triggered) and httparse: GET answers `hello`, a body comes back as it
//! is. One read and one write a request where the sockets allow it. Not a web server: no chunked
//! bodies, no limits beyond the two named below, no timeouts. Only loopback should reach it.
#![forbid(unsafe_code)]

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use clap::Parser;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

const HELLO: &[u8] = b"hello";
const LISTENER: Token = Token(usize::MAX);
const EVENTS_PER_POLL: usize = 1024;
/// Room for a head and a small body; the connection's buffer starts with it.
const BUFFER_BYTES: usize = 16 * 1024;
/// Up to here the body is copied behind the head, so that one plain write sends both.
const COPY_BYTES_MAX: usize = 16 * 1024;
/// A body above it is refused: one connection must not take all memory.
const BODY_BYTES_MAX: usize = 256 * 1024 * 1024;
const HEADERS_MAX: usize = 64;

#[derive(Parser)]
#[command(about = "Answers hello and echoes bodies with nothing behind it")]
struct Args {
    #[arg(long, default_value_t = 8100)]
    port: u16,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let address = SocketAddr::from(([127, 0, 0, 1], args.port));
    let listener = TcpListener::bind(address).with_context(|| format!("cannot use {address}"))?;
    println!("floor is ready: http://{}", listener.local_addr()?);
    Server::new(listener)?.run()
}

struct Server {
    poll: Poll,
    listener: TcpListener,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    clock: Clock,
}

impl Server {
    fn new(mut listener: TcpListener) -> io::Result<Self> {
        let poll = Poll::new()?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let (connections, free, clock) = (Vec::new(), Vec::new(), Clock::now());
        Ok(Self { poll, listener, connections, free, clock })
    }

    fn run(&mut self) -> Result<()> {
        let mut events = Events::with_capacity(EVENTS_PER_POLL);
        loop {
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                result => result?,
            }
            self.clock.refresh();
            for event in &events {
                match event.token() {
                    LISTENER => self.accept()?,
                    Token(index) => self.turn(index, event),
                }
            }
        }
    }

    fn accept(&mut self) -> Result<()> {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error).context("cannot accept a connection"),
            };
            stream.set_nodelay(true)?;
            let index = self.free.pop().unwrap_or(self.connections.len());
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut stream, Token(index), interest)?;
            if index == self.connections.len() {
                self.connections.push(None);
            }
            self.connections[index] = Some(Connection::new(stream));
        }
    }

    fn turn(&mut self, index: usize, event: &mio::event::Event) {
        let Some(connection) = self.connections[index].as_mut() else { return };
        connection.has_unread |= event.is_readable();
        connection.is_ending |= event.is_read_closed();
        if !matches!(connection.turn(&self.clock), Ok(Step::Wait)) {
            // Dropping the stream also takes it out of epoll.
            self.connections[index] = None;
            self.free.push(index);
        }
    }
}

enum Step {
    Wait,
    Close,
}

struct Connection {
    stream: TcpStream,
    /// `input[..filled]` has been read and belongs to requests not yet answered.
    input: Vec<u8>,
    filled: usize,
    /// The request at the front of `input`, once its head is known.
    request: Option<Request>,
    /// Sent so far of the answer to `request`; `None` while no answer has been made.
    sent: Option<usize>,
    /// Head of the answer, with a small body behind it.
    output: Vec<u8>,
    /// The socket may hold bytes: an edge came and no read has come back short since.
    has_unread: bool,
    /// The client has closed its side: read to the very end.
    is_ending: bool,
}

#[derive(Clone)]
struct Request {
    body: Range<usize>,
    keep_alive: bool,
    is_echo: bool,
}

impl Connection {
    fn new(stream: TcpStream) -> Self {
        let (input, output) = (vec![0; BUFFER_BYTES], Vec::with_capacity(BUFFER_BYTES));
        let (request, sent) = (None, None);
        Self {
            stream,
            input,
            filled: 0,
            request,
            sent,
            output,
            has_unread: false,
            is_ending: false,
        }
    }

    /// Does all that can be done without waiting.
    fn turn(&mut self, clock: &Clock) -> io::Result<Step> {
        loop {
            if self.request.is_none() {
                self.request = parse(&self.input[..self.filled])?;
            }
            if let Some(request) = self.request.clone() {
                if request.body.end <= self.filled {
                    if !self.answer(&request, clock)? {
                        return Ok(Step::Wait);
                    }
                    self.finish(&request);
                    if !request.keep_alive {
                        return Ok(Step::Close);
                    }
                    continue;
                }
                if self.input.len() < request.body.end {
                    self.input.resize(request.body.end, 0);
                }
            }
            if !self.has_unread {
                return Ok(Step::Wait);
            }
            if !self.read()? {
                return Ok(Step::Close);
            }
        }
    }

    /// False once the client has gone.
    fn read(&mut self) -> io::Result<bool> {
        let room = &mut self.input[self.filled..];
        if room.is_empty() {
            return Err(io::Error::other("a head does not fit the buffer"));
        }
        match self.stream.read(room) {
            Ok(0) => return Ok(false),
            Ok(count) => {
                // A short read emptied the socket; new bytes bring a new edge.
                self.has_unread = count == room.len() || self.is_ending;
                self.filled += count;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.has_unread = false,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    /// True when the whole answer has been taken by the socket.
    fn answer(&mut self, request: &Request, clock: &Clock) -> io::Result<bool> {
        let body = if request.is_echo { &self.input[request.body.clone()] } else { HELLO };
        let mut sent = match self.sent {
            Some(sent) => sent,
            None => {
                write_head(&mut self.output, request.is_echo, body.len(), clock);
                if body.len() <= COPY_BYTES_MAX {
                    self.output.extend_from_slice(body);
                }
                0
            }
        };
        let tail: &[u8] = if body.len() <= COPY_BYTES_MAX { &[] } else { body };
        let total = self.output.len() + tail.len();
        while sent < total {
            let head_rest = &self.output[sent.min(self.output.len())..];
            let tail_rest = &tail[sent.saturating_sub(self.output.len())..];
            let result = if tail_rest.is_empty() {
                self.stream.write(head_rest)
            } else {
                self.stream.write_vectored(&[IoSlice::new(head_rest), IoSlice::new(tail_rest)])
            };
            match result {
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.sent = Some(sent);
                    return Ok(false);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.sent = None;
        Ok(true)
    }

    /// Drops an answered request; what was read behind it becomes the front.
    fn finish(&mut self, request: &Request) {
        self.input.copy_within(request.body.end..self.filled, 0);
        self.filled -= request.body.end;
        self.request = None;
    }
}

/// The request at the start of `bytes`, `None` while its head is not complete.
fn parse(bytes: &[u8]) -> io::Result<Option<Request>> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Request::new(&mut headers);
    let head_bytes = match head.parse(bytes).map_err(io::Error::other)? {
        httparse::Status::Complete(count) => count,
        httparse::Status::Partial => return Ok(None),
    };
    let mut body_bytes = 0;
    let mut keep_alive = head.version == Some(1);
    for header in head.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            body_bytes = length(header.value)?;
        } else if header.name.eq_ignore_ascii_case("connection") {
            keep_alive = header.value.eq_ignore_ascii_case(b"keep-alive")
                || keep_alive && !header.value.eq_ignore_ascii_case(b"close");
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(io::Error::other("chunked bodies are not part of the floor"));
        }
    }
    let is_echo = head.method == Some("POST");
    Ok(Some(Request { body: head_bytes..head_bytes + body_bytes, keep_alive, is_echo }))
}

fn length(value: &[u8]) -> io::Result<usize> {
    let digits = std::str::from_utf8(value).map_err(io::Error::other)?.trim();
    match digits.parse() {
        Ok(count) if count <= BODY_BYTES_MAX => Ok(count),
        Ok(count) => Err(io::Error::other(format!("a body of {count} bytes"))),
        Err(error) => Err(io::Error::other(error)),
    }
}

/// The same lines as nuclio's own head, so the same number of bytes.
fn write_head(output: &mut Vec<u8>, is_echo: bool, body_bytes: usize, clock: &Clock) {
    output.clear();
    output.extend_from_slice(b"HTTP/1.1 200 OK\r\nServer: nuclio\r\nDate: ");
    output.extend_from_slice(clock.text.as_bytes());
    output.extend_from_slice(if is_echo {
        b"\r\nContent-Type: application/octet-stream\r\nContent-Length: ".as_slice()
    } else {
        b"\r\nContent-Type: text/plain\r\nContent-Length: "
    });
    write!(output, "{body_bytes}\r\n\r\n").expect("a Vec takes every byte");
}

/// The Date header, made again once a second.
struct Clock {
    made: SystemTime,
    text: String,
}

impl Clock {
    fn now() -> Self {
        let made = SystemTime::now();
        Self { made, text: httpdate::fmt_http_date(made) }
    }

    fn refresh(&mut self) {
        if self.made.elapsed().map_or(true, |age| age >= Duration::from_secs(1)) {
            *self = Self::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_says_where_its_body_lies() {
        let bytes = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET";
        let request = parse(bytes).unwrap().unwrap();
        assert_eq!(&bytes[request.body.clone()], b"abc");
        assert!(request.keep_alive && request.is_echo);
        assert!(parse(&bytes[..20]).unwrap().is_none());
    }

    #[test]
    fn what_the_floor_does_not_do_is_an_error() {
        assert!(parse(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
        assert!(parse(b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n").is_err());
        assert!(parse(b"POST / HTTP/1.1\r\nContent-Length: 999999999999\r\n\r\n").is_err());
    }

    #[test]
    fn old_clients_close() {
        let request = parse(b"GET / HTTP/1.0\r\n\r\n").unwrap().unwrap();
        assert!(!request.keep_alive && !request.is_echo);
    }
}

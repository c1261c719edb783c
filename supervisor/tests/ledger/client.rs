//! The other side of the sockets: many keep-alive connections, one request at a time on each, and a
//! line in the ledger for every one of them.
//!
//! Never sends a request twice: what was not answered is a loss, and is written down as one.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rings::os::monotonic_ns;

use crate::plan::{Answer, Asked};

/// Far beyond the event timeout of a second.
const REPLY_LIMIT_NS: u64 = 10_000_000_000;
/// So often losses are looked for, and the caller is asked whether to go on.
const LOOK: Duration = Duration::from_millis(20);
/// A head of the processor's is far smaller.
const HEADER_LINES_MAX: usize = 32;
const READ_BYTES: usize = 64 * 1024;

/// What is wrong with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection ended before the reply was whole, or could not be made.
    Cut,
    /// No whole reply in [`REPLY_LIMIT_NS`].
    Silence,
    /// Not HTTP as the processor speaks it.
    Unreadable,
    /// Not the bytes that belong to this request.
    Foreign,
    /// Bytes of another request, whose name this is.
    Mixed(u64),
    /// Bytes after the reply.
    Surplus,
}

/// A line of the ledger.
#[derive(Debug, Default, Clone, Copy)]
pub struct Line {
    pub sent_ns: u64,
    /// When the whole reply was there, or the fault was seen.
    pub ended_ns: u64,
    /// 0 = no whole reply.
    pub status: u16,
    pub fault: Option<Fault>,
}

struct Conn {
    stream: TcpStream,
    out: Vec<u8>,
    written: usize,
    inbox: Vec<u8>,
    asked: Option<Asked>,
    sent_ns: u64,
}

/// A set of connections. Lines are kept by request number, from 1.
pub struct Client {
    poll: Poll,
    events: Events,
    address: SocketAddr,
    conns: Vec<Option<Conn>>,
    scratch: Vec<u8>,
    pub lines: Vec<Line>,
    /// Bytes came on a connection that had asked for nothing.
    pub surplus: u64,
}

impl Client {
    pub fn new(address: SocketAddr, connections: usize) -> Result<Self, String> {
        let poll = Poll::new().map_err(|e| e.to_string())?;
        let conns = (0..connections).map(|_| None).collect();
        let events = Events::with_capacity(connections * 2);
        let scratch = vec![0; READ_BYTES];
        let lines = vec![Line::default()];
        Ok(Self { poll, events, address, conns, scratch, lines, surplus: 0 })
    }

    /// The number of the last request sent or planned.
    pub fn last_id(&self) -> u64 {
        self.lines.len() as u64 - 1
    }

    /// Sends `count` further requests and returns when each has its line. `watch` is called now and
    /// then with the number of lines written; false stops sending.
    pub fn run(
        &mut self,
        count: u64,
        asked_of: impl Fn(u64) -> Asked,
        mut watch: impl FnMut(u64) -> bool,
    ) -> Result<(), String> {
        let mut next = self.last_id() + 1;
        let mut last = self.last_id() + count;
        let first = next;
        self.lines.resize(last as usize + 1, Line::default());
        let mut open = 0usize;
        for slot in 0..self.conns.len() {
            open += usize::from(self.send_next(slot, &mut next, last, &asked_of));
        }
        let mut looked_ns = monotonic_ns();
        while open > 0 {
            match self.poll.poll(&mut self.events, Some(LOOK)) {
                Err(e) if e.kind() != ErrorKind::Interrupted => return Err(e.to_string()),
                _ => {}
            }
            let ready: Vec<usize> = self.events.iter().map(|event| event.token().0).collect();
            for slot in ready {
                if self.work(slot) {
                    open -= 1;
                    open += usize::from(self.send_next(slot, &mut next, last, &asked_of));
                }
            }
            let now = monotonic_ns();
            if now - looked_ns >= LOOK.as_nanos() as u64 {
                looked_ns = now;
                for slot in self.overdue(now) {
                    self.end(slot, 0, Some(Fault::Silence));
                    open -= 1;
                    open += usize::from(self.send_next(slot, &mut next, last, &asked_of));
                }
                if !watch(next - first - open as u64) {
                    last = next - 1;
                }
            }
        }
        self.lines.truncate(next as usize);
        Ok(())
    }

    /// Closes every connection.
    pub fn close(&mut self) {
        self.conns.iter_mut().for_each(|conn| *conn = None);
    }

    /// Sends the next request on a connection that has none; false if there is none left.
    fn send_next(
        &mut self,
        slot: usize,
        next: &mut u64,
        last: u64,
        asked_of: &impl Fn(u64) -> Asked,
    ) -> bool {
        while *next <= last {
            let asked = asked_of(*next);
            *next += 1;
            if self.send(slot, asked) {
                return true;
            }
        }
        false
    }

    /// False if the fault is there at once.
    fn send(&mut self, slot: usize, asked: Asked) -> bool {
        let now = monotonic_ns();
        if self.conns[slot].is_none() {
            match self.connect(slot) {
                Ok(conn) => self.conns[slot] = Some(conn),
                Err(_) => {
                    let fault = Some(Fault::Cut);
                    self.lines[asked.id as usize] =
                        Line { sent_ns: now, ended_ns: now, status: 0, fault };
                    return false;
                }
            }
        }
        if let Some(conn) = &mut self.conns[slot] {
            conn.out.clear();
            conn.written = 0;
            asked.write_request(&mut conn.out);
            conn.asked = Some(asked);
            conn.sent_ns = now;
        }
        !self.work(slot)
    }

    fn connect(&self, slot: usize) -> std::io::Result<Conn> {
        let mut stream = TcpStream::connect(self.address)?;
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(slot), both)?;
        let (out, inbox) = (Vec::new(), Vec::new());
        Ok(Conn { stream, out, written: 0, inbox, asked: None, sent_ns: 0 })
    }

    fn overdue(&self, now: u64) -> Vec<usize> {
        let is_overdue = |conn: &Option<Conn>| {
            let waits = conn.as_ref().filter(|conn| conn.asked.is_some());
            waits.is_some_and(|conn| now - conn.sent_ns > REPLY_LIMIT_NS)
        };
        (0..self.conns.len()).filter(|slot| is_overdue(&self.conns[*slot])).collect()
    }

    /// Moves a connection on; true if its request has its line now.
    fn work(&mut self, slot: usize) -> bool {
        let Some(conn) = &mut self.conns[slot] else { return false };
        match conn.move_on(&mut self.scratch) {
            Progress::Waits => false,
            Progress::Idle { surplus } => {
                // The processor may close an idle connection; the next request gets a new one.
                self.surplus += u64::from(surplus);
                self.conns[slot] = None;
                false
            }
            Progress::Reply { status, fault, goes_on } => {
                self.end(slot, status, fault);
                if !goes_on || fault.is_some() {
                    self.conns[slot] = None;
                }
                true
            }
            Progress::Cut => {
                self.end(slot, 0, Some(Fault::Cut));
                true
            }
        }
    }

    /// Writes the line of a connection's request.
    fn end(&mut self, slot: usize, status: u16, fault: Option<Fault>) {
        let Some(conn) = &mut self.conns[slot] else { return };
        if let Some(asked) = conn.asked.take() {
            let (sent_ns, ended_ns) = (conn.sent_ns, monotonic_ns());
            self.lines[asked.id as usize] = Line { sent_ns, ended_ns, status, fault };
        }
        if fault.is_some() {
            self.conns[slot] = None;
        }
    }
}

enum Progress {
    Waits,
    /// Closed while nothing was asked, or spoke then.
    Idle {
        surplus: bool,
    },
    Cut,
    Reply {
        status: u16,
        fault: Option<Fault>,
        goes_on: bool,
    },
}

impl Conn {
    fn move_on(&mut self, scratch: &mut [u8]) -> Progress {
        while self.written < self.out.len() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(count) => self.written += count,
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                    break;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                // A reply may have come before the request was read; what was sent is read below.
                Err(_) => break,
            }
        }
        let mut ended = false;
        loop {
            match self.stream.read(scratch) {
                Ok(0) => ended = true,
                Ok(count) => {
                    self.inbox.extend_from_slice(&scratch[..count]);
                    continue;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {}
                Err(_) => ended = true,
            }
            break;
        }
        let Some(asked) = self.asked else {
            let surplus = !self.inbox.is_empty();
            return if ended || surplus { Progress::Idle { surplus } } else { Progress::Waits };
        };
        match read_reply(&asked, &self.inbox) {
            None if ended => Progress::Cut,
            None => Progress::Waits,
            Some(reply) => {
                self.inbox.clear();
                Progress::Reply {
                    status: reply.status,
                    fault: reply.fault,
                    goes_on: reply.goes_on && !ended,
                }
            }
        }
    }
}

struct Reply {
    status: u16,
    fault: Option<Fault>,
    goes_on: bool,
}

/// Judges what has come so far; `None` while the reply is not whole.
fn read_reply(asked: &Asked, inbox: &[u8]) -> Option<Reply> {
    let mut headers = [httparse::EMPTY_HEADER; HEADER_LINES_MAX];
    let mut head = httparse::Response::new(&mut headers);
    let unreadable = Some(Reply { status: 0, fault: Some(Fault::Unreadable), goes_on: false });
    let body_at = match head.parse(inbox) {
        Ok(httparse::Status::Complete(bytes)) => bytes,
        Ok(httparse::Status::Partial) => return None,
        Err(_) => return unreadable,
    };
    let value = |name: &str| {
        head.headers.iter().find(|line| line.name.eq_ignore_ascii_case(name)).map(|line| line.value)
    };
    let length = value("content-length").and_then(|v| std::str::from_utf8(v).ok()?.parse().ok());
    let (Some(status), Some(length)) = (head.code, length) else { return unreadable };
    let length: usize = length;
    if inbox.len() < body_at + length {
        return None;
    }
    let body = &inbox[body_at..body_at + length];
    let wants_line = asked.answer == Answer::Header;
    let path = asked.path();
    let own = match status {
        200 => {
            let line = value("x-ledger");
            let line_fits = if wants_line { line == Some(path.as_bytes()) } else { line.is_none() };
            body == asked.reply() && line_fits
        }
        408 => body == b"{\"error\": \"handler timed out\"}",
        _ => !body.is_empty(),
    };
    // A whole answer of a handler is its own byte for byte; all else could hold anything.
    let stranger = if own && status == 200 { None } else { stranger(asked, inbox) };
    let fault = match (own, inbox.len() > body_at + length) {
        _ if stranger.is_some() => stranger.map(Fault::Mixed),
        (false, _) => Some(Fault::Foreign),
        (true, true) => Some(Fault::Surplus),
        (true, false) => None,
    };
    let goes_on = value("connection").is_none_or(|v| !v.eq_ignore_ascii_case(b"close"));
    Some(Reply { status, fault, goes_on })
}

/// Another request of which there are bytes: of its body, or its path.
fn stranger(asked: &Asked, bytes: &[u8]) -> Option<u64> {
    let own = asked.path();
    let of_path = bytes.windows(own.len()).find_map(|path| {
        let (id, rest) = path.strip_prefix(b"/")?.split_at_checked(16)?;
        let id = u64::from_str_radix(std::str::from_utf8(id).ok()?, 16).ok()?;
        let is_path = rest.first() == Some(&b'/') && path != own.as_bytes();
        is_path.then(|| Asked { id, ..*asked }.owner())
    });
    asked.canary.stranger(asked.owner(), bytes).or(of_path)
}

//! One HTTP connection: where it is in its request, and what it still has to send.
//!
//! State only. `receive` moves bytes in, `reply` decides what goes out, `send` moves it.

use mio::net::TcpStream;
use rings::slots::SlotRef;

use super::chunked::Chunked;
use super::cors::Grant;
use super::parse::{Head, Header};
use super::respond::{Asker, BodyFraming};
use super::send::Out;
use super::upload::Upload;
use crate::data::inflight::EventKey;
use crate::limits::{DRAIN_ARRIVAL_NS, DRAIN_IDLE_NS};

/// A connection in the table, with a generation so that a late wake-up finds nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnId {
    pub index: u32,
    pub generation: u32,
}

/// See the module.
#[derive(Debug)]
pub struct Conn {
    pub stream: TcpStream,
    pub generation: u32,
    pub trigger: u16,
    pub phase: Phase,
    /// The kernel may have bytes for us.
    pub readable: bool,
    /// The client sends nothing more.
    pub read_closed: bool,
    /// Bytes that came and are not yet part of an event; empty between whole requests.
    pub inbuf: Vec<u8>,
    /// Look at `inbuf` again when it has this many bytes.
    pub need: usize,
    pub asker: Asker,
    /// Bytes of a further request came with the present one.
    pub has_more: bool,
    pub grant: Option<Grant>,
    /// Lines for `Grant::Reflect`.
    pub reflected: Vec<u8>,
    pub event: Option<EventKey>,
    /// The rest of a body whose handler runs already; the bytes in `inbuf` are the next of it.
    pub upload: Option<Box<Upload>>,
    pub out: Out,
    /// How the body of the reply under way must follow.
    pub framing: BodyFraming,
    /// Close when all is sent.
    pub closing: bool,
    /// The client still sends what was refused: read it away before closing.
    pub lingers: bool,
    /// A request was answered or begun on this connection.
    pub used: bool,
    /// When the phase began, or its present window.
    pub since_ns: u64,
    /// Bytes moved in the present window.
    pub moved: u64,
    /// Has an entry in the queue of short, of long timers.
    pub in_short: bool,
    pub in_long: bool,
    /// Is looked at in the next turn.
    pub in_again: bool,
}

/// What a connection waits for.
#[derive(Debug)]
pub enum Phase {
    /// A head, or the rest of a small request.
    Head,
    /// The rest of a body that has left `inbuf`.
    Body(Box<Receiving>),
    /// The answer of a handler.
    Waiting,
    /// A reply is under way.
    Replying,
    /// Refused: bytes are read away until the client has seen why.
    Lingering { bytes: u64 },
}

/// A body on its way in.
#[derive(Debug)]
pub struct Receiving {
    pub head: Head,
    pub head_bytes: Box<[u8]>,
    pub lines: Box<[Header]>,
    pub framing: Arriving,
    /// Bytes kept while no slot is needed or none is free.
    pub private: Vec<u8>,
    pub slots: Vec<SlotRef>,
    /// Bytes that lie in `slots`.
    pub filled: usize,
    /// Bytes that `slots` can hold.
    pub room: usize,
    /// Counted against the upload share and the trigger's quota.
    pub slot_bytes: u64,
    /// No slot was free: nothing is read until one is.
    pub starved: bool,
}

/// How the end of a body is known.
#[derive(Debug)]
pub enum Arriving {
    /// So many bytes in all.
    Length(usize),
    /// By chunks.
    Chunked(Chunked),
}

impl Receiving {
    /// Body bytes that have come.
    pub fn received(&self) -> usize {
        self.filled + self.private.len()
    }
}

impl Conn {
    /// A fresh connection of a trigger's listener.
    pub fn new(stream: TcpStream, generation: u32, trigger: u16, now_ns: u64) -> Self {
        Self {
            stream,
            generation,
            trigger,
            phase: Phase::Head,
            readable: true,
            read_closed: false,
            inbuf: Vec::new(),
            need: 0,
            asker: Asker::UNKNOWN,
            has_more: false,
            grant: None,
            reflected: Vec::new(),
            event: None,
            upload: None,
            out: Out::default(),
            framing: BodyFraming::None,
            closing: false,
            lingers: false,
            used: false,
            since_ns: now_ns,
            moved: 0,
            in_short: false,
            in_long: false,
            in_again: false,
        }
    }

    /// How long it may stay after a drain has begun; `None` while it waits for us.
    pub fn drain_limit_ns(&self) -> Option<u64> {
        match self.phase {
            Phase::Head if self.is_idle() => Some(DRAIN_IDLE_NS),
            Phase::Head | Phase::Body(_) => Some(DRAIN_ARRIVAL_NS),
            Phase::Waiting | Phase::Replying | Phase::Lingering { .. } => None,
        }
    }

    /// A handler that runs waits for more of the request's body.
    pub fn waits_for_body(&self) -> bool {
        self.upload.as_ref().is_some_and(|upload| upload.waits)
    }

    /// Between requests: nothing received, nothing to send.
    pub fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Head) && self.inbuf.is_empty() && self.out.is_empty()
    }
}

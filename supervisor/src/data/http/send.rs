//! What a connection has still to send, and sending it: from private memory, from a worker's arena
//! or from an event's own slot, without a copy where the socket takes it at once.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;

use mio::net::TcpStream;
use rings::check::Block;
use rings::memory::Map;
use rings::os::{PARTS_MAX, Part, send_parts};

use crate::data::inflight::{EventKey, WorkerKey};

/// A range of bytes to send and what is to be done when it is sent.
#[derive(Debug)]
pub struct Piece {
    pub bytes: Bytes,
    pub done: Done,
}

/// Where the bytes are.
#[derive(Debug)]
pub enum Bytes {
    /// Ours; `at` = how many are sent.
    Private { bytes: Vec<u8>, at: usize },
    /// In a segment. The map stays while the piece lives, even if the worker is dead.
    Shared { map: Map, offset: usize, bytes: usize },
}

/// Whom to tell when a piece is sent or dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// Nobody.
    Nothing,
    /// The block goes back to its worker; with a claim, it is also owed a credit.
    Block { worker: WorkerKey, block: Block, credit: Option<u64> },
    /// A piece of a stream, moved to private memory: only the credit is still owed.
    Credit { worker: WorkerKey, claim: u64 },
    /// The event's slots were looked at.
    Hold(EventKey),
}

/// The outgoing queue of one connection; bounded, since one reply is under way at a time and its
/// pieces are bounded by the arena of its worker or by the event.
#[derive(Debug, Default)]
pub struct Out {
    pieces: VecDeque<Piece>,
    private_bytes: usize,
}

impl Piece {
    fn len(&self) -> usize {
        match &self.bytes {
            Bytes::Private { bytes, at } => bytes.len() - at,
            Bytes::Shared { bytes, .. } => *bytes,
        }
    }

    fn part(&self) -> Part<'_> {
        match &self.bytes {
            Bytes::Private { bytes, at } => Part::Bytes(&bytes[*at..]),
            Bytes::Shared { map, offset, bytes } => {
                Part::Shared { map, offset: *offset, bytes: *bytes }
            }
        }
    }

    fn advance(&mut self, sent: usize) {
        match &mut self.bytes {
            Bytes::Private { at, .. } => *at += sent,
            Bytes::Shared { offset, bytes, .. } => {
                *offset += sent;
                *bytes -= sent;
            }
        }
    }
}

impl Out {
    /// Nothing to send.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Private bytes waiting.
    pub fn private_bytes(&self) -> usize {
        self.private_bytes
    }

    /// Adds a piece. Empty pieces are kept for what they do when done.
    pub fn push(&mut self, piece: Piece) {
        if let Bytes::Private { bytes, at } = &piece.bytes {
            self.private_bytes += bytes.len() - at;
        }
        self.pieces.push_back(piece);
    }

    /// Sends as much as the socket takes; done pieces are handed to `done`. How many bytes went out,
    /// and true if the socket took all.
    pub fn send(
        &mut self,
        stream: &TcpStream,
        mut done: impl FnMut(Done),
    ) -> io::Result<(usize, bool)> {
        let mut total = 0;
        loop {
            self.drop_sent(&mut done);
            if self.pieces.is_empty() {
                return Ok((total, true));
            }
            let mut parts = [Part::Bytes(&[]); PARTS_MAX];
            let mut count = 0;
            for (slot, piece) in parts.iter_mut().zip(&self.pieces) {
                *slot = piece.part();
                count += 1;
            }
            match send_parts(stream.as_fd(), &parts[..count]) {
                Ok(sent) => {
                    total += sent;
                    self.advance(sent);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok((total, false)),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    fn advance(&mut self, mut sent: usize) {
        for piece in &mut self.pieces {
            let step = sent.min(piece.len());
            piece.advance(step);
            if matches!(piece.bytes, Bytes::Private { .. }) {
                self.private_bytes -= step;
            }
            sent -= step;
            if sent == 0 {
                return;
            }
        }
    }

    fn drop_sent(&mut self, done: &mut impl FnMut(Done)) {
        while self.pieces.front().is_some_and(|p| p.len() == 0) {
            if let Some(piece) = self.pieces.pop_front() {
                done(piece.done);
            }
        }
    }

    /// Moves what lies in worker memory into private memory, at most `room` bytes of it, so that a
    /// slow client does not keep a worker from its arena. Returns the bytes moved. With
    /// `owes_credits` the blocks go back without their credits, so that no more pieces come.
    pub fn spill(
        &mut self,
        mut room: usize,
        owes_credits: bool,
        mut done: impl FnMut(Done),
    ) -> usize {
        let mut moved = 0;
        for piece in &mut self.pieces {
            let Bytes::Shared { map, offset, bytes } = &piece.bytes else { continue };
            if !matches!(piece.done, Done::Block { .. }) || *bytes > room {
                continue;
            }
            let mut copy = vec![0; *bytes];
            map.copy_out(*offset, &mut copy);
            room -= copy.len();
            moved += copy.len();
            piece.bytes = Bytes::Private { bytes: copy, at: 0 };
            let mut given = std::mem::replace(&mut piece.done, Done::Nothing);
            if owes_credits
                && let Done::Block { worker, credit, .. } = &mut given
                && let Some(claim) = credit.take()
            {
                piece.done = Done::Credit { worker: *worker, claim };
            }
            done(given);
        }
        self.private_bytes += moved;
        moved
    }

    /// Drops everything unsent.
    pub fn clear(&mut self, mut done: impl FnMut(Done)) {
        for piece in self.pieces.drain(..) {
            done(piece.done);
        }
        self.private_bytes = 0;
    }
}

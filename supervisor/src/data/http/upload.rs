//! Request bodies that go to their handlers while they come, seen from the connection: read only
//! when the handler's worker has room, decoded, put into slots.
//!
//! The reply may begin, and even end, before the body does. What then still comes is read away.

use std::io::{ErrorKind, Read};

use rings::slots::SlotRef;

use super::chunked::{Chunked, Step};
use super::conn::{Arriving, ConnId, Phase};
use super::parse::{Framing, Head, Header, Reject};
use super::receive::Read1;
use crate::data::inflight::EventKey;
use crate::data::reactor::Data;
use crate::limits::{BODY_PIECE_BYTES_MAX, PIECES_SHARE_DIVISOR};

/// BODY_END's reasons.
const COMPLETE: u16 = 0;
const BROKEN: u16 = 1;

/// A body on its way to a handler that runs.
#[derive(Debug)]
pub struct Upload {
    framing: Arriving,
    received: u64,
    /// It is the client that is waited for, since `Conn::since_ns`.
    pub waits: bool,
    /// It waits for a slot, in `Data::starved_uploads`.
    starved: bool,
}

/// Why no more of a body is taken.
enum Refusal {
    TooLarge,
    Fault(Reject),
}

impl Upload {
    fn new(framing: Framing) -> Self {
        let framing = match framing {
            Framing::Chunked => Arriving::Chunked(Chunked::new()),
            Framing::Length(bytes) => Arriving::Length(bytes as usize),
            Framing::None => Arriving::Length(0),
        };
        Self { framing, received: 0, waits: false, starved: false }
    }

    /// Bytes still to come, where the length is known.
    fn left(&self) -> Option<usize> {
        match &self.framing {
            Arriving::Length(total) => Some(total - self.received as usize),
            Arriving::Chunked(_) => None,
        }
    }

    fn is_whole(&self) -> bool {
        match &self.framing {
            Arriving::Length(_) => self.left() == Some(0),
            Arriving::Chunked(decoder) => decoder.is_done(),
        }
    }

    /// Puts body bytes from the front of `bytes` into `out`, which is at least as long; how many.
    fn decode(
        &mut self,
        bytes: &mut &[u8],
        out: &mut [u8],
        body_max: u64,
    ) -> Result<usize, Refusal> {
        let mut filled = 0;
        loop {
            let (data, end) = match (&mut self.framing, self.received) {
                (Arriving::Length(total), received) => {
                    let end = bytes.len().min(*total - received as usize);
                    (0..end, end)
                }
                (Arriving::Chunked(decoder), _) => {
                    match decoder.next(bytes).map_err(Refusal::Fault)? {
                        Step::NeedMore { consumed } | Step::End { consumed } => (0..0, consumed),
                        Step::Data { range } => (range.clone(), range.end),
                    }
                }
            };
            let piece = &bytes[data];
            out[filled..filled + piece.len()].copy_from_slice(piece);
            filled += piece.len();
            self.received += piece.len() as u64;
            let ends = piece.is_empty() || matches!(self.framing, Arriving::Length(_));
            *bytes = &bytes[end..];
            let announced = match &self.framing {
                Arriving::Chunked(decoder) => decoder.announced_bytes(),
                Arriving::Length(_) => 0,
            };
            // Saturating: a chunk may announce 2^64 - 1 bytes.
            if self.received.saturating_add(announced) > body_max {
                return Err(Refusal::TooLarge);
            }
            if ends {
                return Ok(filled);
            }
        }
    }
}

impl Data {
    /// Makes an event of a head whose body follows; the bytes behind the head stay in the buffer.
    pub fn begin_upload(&mut self, id: ConnId, head_bytes: &[u8], head: &Head, lines: &[Header]) {
        if let Some(conn) = self.conn(id) {
            conn.upload = Some(Box::new(Upload::new(head.framing)));
            conn.moved = 0;
        }
        if !self.answer_without_handler(id, head, head_bytes) {
            self.begin_event(id, head_bytes, head, lines);
        }
    }

    /// Moves a piece of a body on; false when nothing more can be done now.
    pub fn receive_upload(&mut self, id: ConnId) -> bool {
        let Some(conn) = self.conn(id) else { return false };
        // Without an event it is answered: the rest is read away when the reply is out.
        let Some(key) = conn.event else { return false };
        if !self.takes_body(key) {
            // The handler is waited for, not the client.
            self.set_waits(id, false);
            return false;
        }
        let Some(conn) = self.conn(id) else { return false };
        let left = conn.upload.as_ref().and_then(|upload| upload.left());
        if !conn.inbuf.is_empty() {
            let bytes = std::mem::take(&mut conn.inbuf);
            return self.take_upload_bytes(id, key, &bytes);
        }
        if !conn.readable {
            self.set_waits(id, true);
            return false;
        }
        if let Some(left) = left {
            return self.read_upload(id, key, left);
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        let read = self.read(id, &mut scratch);
        let mut taken = true;
        if let Read1::Bytes(n) = read {
            taken = self.take_upload_bytes(id, key, &scratch[..n]);
        }
        self.scratch = scratch;
        self.read_on(id, &read) && taken
    }

    /// Reads a part of a body of known length straight into a slot.
    fn read_upload(&mut self, id: ConnId, key: EventKey, left: usize) -> bool {
        let want = left.min(BODY_PIECE_BYTES_MAX);
        let Some(slot) = self.piece_slot(id, want) else { return false };
        let Some(conn) = self.conns[id.index as usize].as_deref_mut() else { return false };
        let read = match conn.stream.read(&mut self.slots.bytes_mut(slot)[..want]) {
            Ok(0) => Read1::Closed,
            Ok(n) => {
                conn.moved += n as u64;
                Read1::Bytes(n)
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                conn.readable = false;
                Read1::Nothing
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => Read1::Nothing,
            Err(_) => Read1::Closed,
        };
        if let (Read1::Bytes(n), Some(upload)) = (&read, conn.upload.as_mut()) {
            upload.received += *n as u64;
            self.add_piece(key, slot, *n);
            self.finish_upload(id, key);
        } else {
            self.drop_piece_slot(id, slot);
        }
        self.read_on(id, &read)
    }

    /// As `went_on`, but whoever finds nothing waits for the client from now on.
    fn read_on(&mut self, id: ConnId, read: &Read1) -> bool {
        if matches!(read, Read1::Nothing) {
            self.set_waits(id, true);
        }
        self.went_on(id, read)
    }

    /// Decodes bytes into a slot; what finds no room stays in the buffer. False if it must wait.
    fn take_upload_bytes(&mut self, id: ConnId, key: EventKey, bytes: &[u8]) -> bool {
        let trigger = self.conn(id).map_or(0, |conn| conn.trigger);
        let body_max = self.triggers[trigger as usize].body_bytes_max;
        let mut rest = &bytes[..bytes.len().min(BODY_PIECE_BYTES_MAX)];
        let behind = &bytes[rest.len()..];
        let Some(slot) = self.piece_slot(id, rest.len()) else {
            self.keep_bytes(id, &[bytes]);
            return false;
        };
        let Some(conn) = self.conns[id.index as usize].as_deref_mut() else { return false };
        let Some(upload) = conn.upload.as_mut() else { return false };
        let decoded = upload.decode(&mut rest, self.slots.bytes_mut(slot), body_max);
        match decoded {
            Ok(filled) => {
                self.keep_bytes(id, &[rest, behind]);
                if filled > 0 {
                    self.add_piece(key, slot, filled);
                } else {
                    self.drop_piece_slot(id, slot);
                }
                self.finish_upload(id, key);
                true
            }
            Err(refusal) => {
                self.drop_piece_slot(id, slot);
                self.refuse_upload(id, refusal);
                false
            }
        }
    }

    fn keep_bytes(&mut self, id: ConnId, parts: &[&[u8]]) {
        if let Some(conn) = self.conn(id) {
            for part in parts {
                conn.inbuf.extend_from_slice(part);
            }
        }
    }

    /// A slot for a piece, counted; `None` = the upload waits until some are given back.
    fn piece_slot(&mut self, id: ConnId, bytes: usize) -> Option<SlotRef> {
        let trigger = self.conn(id)?.trigger as usize;
        let share = self.slots.total_bytes() / PIECES_SHARE_DIVISOR;
        let slot = if self.piece_bytes < share { self.slots.reserve(bytes) } else { None };
        if let Some(slot) = slot {
            let room = u64::from(self.slots.place(slot).2);
            if self.slot_quota.take(trigger, room) {
                self.piece_bytes += room;
                return Some(slot);
            }
            self.slots.release(slot);
        }
        self.set_waits(id, false);
        let upload = self.conn(id)?.upload.as_mut()?;
        if !std::mem::replace(&mut upload.starved, true) {
            self.starved_uploads.push_back(id);
        }
        None
    }

    fn drop_piece_slot(&mut self, id: ConnId, slot: SlotRef) {
        let trigger = self.conn(id).map_or(0, |conn| conn.trigger);
        let room = u64::from(self.slots.place(slot).2);
        self.slots.release(slot);
        self.piece_bytes -= room;
        self.slot_quota.give(trigger as usize, room);
    }

    /// Tries again for uploads that wait for a slot, in their order, until one finds none.
    pub fn feed_starved_uploads(&mut self) {
        for _ in 0..self.starved_uploads.len() {
            let Some(id) = self.starved_uploads.pop_front() else { return };
            let upload = self.conn(id).and_then(|conn| conn.upload.as_mut());
            let Some(upload) = upload else { continue };
            upload.starved = false;
            self.receive(id);
            if self.starved_uploads.back() == Some(&id) {
                // First come, first served: it keeps its place.
                self.starved_uploads.rotate_right(1);
                return;
            }
        }
    }

    /// If the whole body has come, its handler is told, and a further request may follow.
    fn finish_upload(&mut self, id: ConnId, key: EventKey) {
        let Some(conn) = self.conn(id) else { return };
        if conn.upload.as_ref().is_some_and(|upload| upload.is_whole()) {
            conn.upload = None;
            self.end_body(key, COMPLETE);
        }
    }

    /// The client's framing is wrong, or its body too large.
    fn refuse_upload(&mut self, id: ConnId, refusal: Refusal) {
        match refusal {
            Refusal::TooLarge => {
                let text = b"The request body is larger than maxRequestBodySize.";
                self.cut_upload(id, 413, text);
            }
            Refusal::Fault(reject) => {
                self.counters.bad_requests += 1;
                self.cut_upload(id, reject.status(), reject.reason().as_bytes());
            }
        }
    }

    /// Gives a body up: the handler is told, and the client gets this answer if it has no other.
    pub fn cut_upload(&mut self, id: ConnId, status: u16, text: &[u8]) {
        let Some(conn) = self.conn(id) else { return };
        if matches!(conn.phase, Phase::Waiting) {
            conn.upload = None;
            if let Some(key) = conn.event.take() {
                self.client_left(key);
            }
            self.refuse(id, status, text);
        } else {
            self.counters.connections_cut += 1;
            self.close(id);
        }
    }

    /// The client of an event that runs has gone, or its body will not be whole.
    pub fn body_broken(&mut self, key: EventKey) {
        self.end_body(key, BROKEN);
    }

    /// Notes whether it is the client that is waited for; its time begins when that changes.
    fn set_waits(&mut self, id: ConnId, waits: bool) {
        let now = self.clock.now_ns;
        let Some(conn) = self.conn(id) else { return };
        let Some(upload) = conn.upload.as_mut() else { return };
        let begins = waits && !upload.waits;
        upload.waits = waits;
        if begins {
            conn.since_ns = now;
            conn.moved = 0;
            self.queue_short(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Decodes the pieces one after the other, as a connection does; what came, and what stayed.
    fn decode(framing: Framing, pieces: &[&[u8]], max: u64) -> Option<(Vec<u8>, Vec<u8>, bool)> {
        let mut upload = Upload::new(framing);
        let (mut body, mut kept) = (Vec::new(), Vec::new());
        for piece in pieces {
            let mut input = std::mem::take(&mut kept);
            input.extend_from_slice(piece);
            let mut rest = &input[..];
            let mut out = vec![0; rest.len()];
            if !upload.is_whole() {
                let filled = upload.decode(&mut rest, &mut out, max).ok()?;
                body.extend_from_slice(&out[..filled]);
            }
            kept = rest.to_vec();
        }
        Some((body, kept, upload.is_whole()))
    }

    proptest! {
        #[test]
        fn a_body_is_the_same_however_it_is_cut(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..50), 0..8),
            cuts in proptest::collection::vec(0usize..600, 0..10),
        ) {
            let body: Vec<u8> = chunks.concat();
            let mut wire = Vec::new();
            for chunk in &chunks {
                wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\n\r\n");
            let length = Framing::Length(body.len() as u64);
            for (framing, sent) in [(Framing::Chunked, wire), (length, body.clone())] {
                let whole = [&sent[..], b"next"].concat();
                let mut at: Vec<usize> = cuts.iter().map(|cut| cut % (whole.len() + 1)).collect();
                at.extend([0, whole.len()]);
                at.sort_unstable();
                let pieces: Vec<&[u8]> = at.windows(2).map(|w| &whole[w[0]..w[1]]).collect();
                let max = body.len() as u64;
                prop_assert_eq!(
                    decode(framing, &pieces, max),
                    Some((body.clone(), b"next".to_vec(), true))
                );
                if max > 0 && framing == Framing::Chunked {
                    prop_assert!(decode(framing, &pieces, max - 1).is_none());
                }
            }
        }
    }
}

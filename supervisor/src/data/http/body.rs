//! Bodies on their way in: private while small, then straight into slots; a client that stalls holds
//! no more than it has sent.

use std::io::{ErrorKind, Read};

use rings::limits::SLOT_CLASS_BYTES;
use rings::slots::{SlotRef, Slots};

use super::chunked::{Chunked, Step};
use super::conn::{Arriving, ConnId, Phase, Receiving};
use super::parse::{Framing, Head, Header, Reject};
use super::receive::Read1;
use crate::data::reactor::Data;
use crate::limits::{BODY_PRIVATE_BYTES_MAX, UPLOAD_ROUNDING_BYTES, UPLOAD_SHARE_DIVISOR};

impl Data {
    /// Starts a body that goes into slots.
    pub fn begin_body(
        &mut self,
        id: ConnId,
        buf: &[u8],
        head: &Head,
        lines: &[Header],
        bytes: u64,
    ) {
        let framing = match head.framing {
            Framing::Chunked => Arriving::Chunked(Chunked::new()),
            _ => Arriving::Length(bytes as usize),
        };
        let receiving = Receiving {
            head: *head,
            head_bytes: buf[..head.head_len].into(),
            lines: lines.into(),
            framing,
            private: Vec::new(),
            slots: Vec::new(),
            filled: 0,
            room: 0,
            slot_bytes: 0,
            starved: false,
        };
        let now = self.clock.now_ns;
        if let Some(conn) = self.conn(id) {
            conn.phase = Phase::Body(Box::new(receiving));
            conn.since_ns = now;
            conn.moved = 0;
            self.queue_short(id);
        }
    }

    /// Reads the rest of a body: of known length straight into its slots, else through the decoder.
    pub fn receive_body(&mut self, id: ConnId) -> bool {
        let Some(mut receiving) = self.take_receiving(id) else { return false };
        if receiving.starved {
            self.put_receiving(id, receiving);
            return false;
        }
        let direct = matches!(receiving.framing, Arriving::Length(_)) && receiving.room > 0;
        if !direct {
            self.put_receiving(id, receiving);
            let mut scratch = std::mem::take(&mut self.scratch);
            let read = self.read(id, &mut scratch);
            if let Read1::Bytes(n) = read {
                self.take_body_bytes(id, &scratch[..n]);
            }
            self.scratch = scratch;
            return self.went_on(id, &read);
        }
        let Arriving::Length(total) = receiving.framing else { return false };
        let (slot, at) = slot_at(&self.slots, &receiving, receiving.filled);
        let Some(conn) = self.conns[id.index as usize].as_deref_mut() else { return false };
        let bytes = self.slots.bytes_mut(slot);
        let want = (bytes.len() - at).min(total - receiving.filled);
        let read = match conn.stream.read(&mut bytes[at..at + want]) {
            Ok(0) => Read1::Closed,
            Ok(n) => {
                receiving.filled += n;
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
        let complete = receiving.filled == total;
        self.put_receiving(id, receiving);
        if complete {
            self.finish_body(id);
        }
        self.went_on(id, &read)
    }

    fn take_receiving(&mut self, id: ConnId) -> Option<Box<Receiving>> {
        match std::mem::replace(&mut self.conn(id)?.phase, Phase::Waiting) {
            Phase::Body(receiving) => Some(receiving),
            other => {
                self.conn(id)?.phase = other;
                None
            }
        }
    }

    fn put_receiving(&mut self, id: ConnId, receiving: Box<Receiving>) {
        if let Some(conn) = self.conn(id) {
            conn.phase = Phase::Body(receiving);
        }
    }

    /// Adds bytes that were read into private memory to the body, through its decoder.
    pub fn take_body_bytes(&mut self, id: ConnId, mut bytes: &[u8]) {
        let Some(mut receiving) = self.take_receiving(id) else { return };
        let Some(trigger) = self.conn(id).map(|c| c.trigger) else { return };
        let arrived = match receiving.framing {
            Arriving::Length(total) => self.take_length(id, &mut receiving, total, &mut bytes),
            Arriving::Chunked(_) => {
                let body_max = self.triggers[trigger as usize].body_bytes_max;
                take_chunks(&mut receiving, body_max, &mut bytes)
            }
        };
        self.move_to_slots(id, &mut receiving);
        let starved = receiving.starved;
        self.put_receiving(id, receiving);
        match arrived {
            Arrived::TooLarge => {
                self.refuse(id, 413, b"The request body is larger than maxRequestBodySize.");
            }
            Arrived::Fault(reject) => self.reject(id, reject),
            Arrived::Part if !starved => {}
            Arrived::Part | Arrived::Whole => {
                // What is behind this body stays with it, also until it has slots.
                if let Some(conn) = self.conn(id) {
                    conn.inbuf.extend_from_slice(bytes);
                }
                if starved && self.first_upload == Some(id) {
                    self.starved.push_front(id);
                } else if starved {
                    self.starved.push_back(id);
                } else {
                    self.finish_body(id);
                }
            }
        }
    }

    /// Takes what belongs to a body of known length, into its slots if it has or gets them.
    fn take_length(
        &mut self,
        id: ConnId,
        receiving: &mut Receiving,
        total: usize,
        bytes: &mut &[u8],
    ) -> Arrived {
        let left = total - receiving.received();
        let (data, rest) = bytes.split_at(bytes.len().min(left));
        *bytes = rest;
        if receiving.room > 0 || self.add_slots(id, receiving, total) {
            fill(&mut self.slots, receiving, data);
        } else {
            receiving.private.extend_from_slice(data);
        }
        if data.len() == left { Arrived::Whole } else { Arrived::Part }
    }

    /// Gives private bytes slots where the body is too large to stay private.
    fn move_to_slots(&mut self, id: ConnId, receiving: &mut Receiving) {
        receiving.starved = false;
        let whole = match receiving.framing {
            Arriving::Length(total) => total,
            Arriving::Chunked(_) => receiving.received(),
        };
        if whole <= BODY_PRIVATE_BYTES_MAX {
            return;
        }
        while receiving.filled + receiving.private.len() > receiving.room {
            let wanted = match receiving.framing {
                Arriving::Length(total) => total,
                // Grows by doubling, so that a body of n bytes takes log n slots up to the largest.
                Arriving::Chunked(_) => {
                    receiving.room.clamp(SLOT_CLASS_BYTES[3] as usize, SLOT_CLASS_BYTES[5] as usize)
                }
            };
            if !self.add_slots(id, receiving, wanted) {
                receiving.starved = true;
                return;
            }
        }
        let private = std::mem::take(&mut receiving.private);
        fill(&mut self.slots, receiving, &private);
    }

    fn add_slots(&mut self, id: ConnId, receiving: &mut Receiving, bytes: usize) -> bool {
        let Some(trigger) = self.conn(id).map(|c| c.trigger) else { return false };
        if !self.may_take(id, trigger, bytes as u64) {
            return false;
        }
        let Some(slots) = self.slots.reserve_body(bytes) else { return false };
        let taken: u64 = slots.iter().map(|s| u64::from(self.slots.place(*s).2)).sum();
        if !self.slot_quota.take(trigger as usize, taken) {
            for slot in slots {
                self.slots.release(slot);
            }
            return false;
        }
        self.upload_bytes += taken;
        receiving.slot_bytes += taken;
        receiving.room += taken as usize;
        receiving.slots.extend(slots);
        true
    }

    /// Whether an upload may take so many more bytes of the event memory. Of the share of all
    /// uploads, as much as the largest body needs is for one of them at a time: so one can always be
    /// finished, and bodies that grow do not wait for each other.
    fn may_take(&mut self, id: ConnId, trigger: u16, bytes: u64) -> bool {
        let largest = self.triggers[trigger as usize].body_bytes_max + UPLOAD_ROUNDING_BYTES;
        let share = (self.slots.total_bytes() / UPLOAD_SHARE_DIVISOR).max(largest);
        let taken = self.upload_bytes + bytes;
        if taken + largest <= share {
            return true;
        }
        if let Some(first) = self.first_upload.filter(|first| *first != id)
            && self.conn(first).is_some_and(|conn| matches!(conn.phase, Phase::Body(_)))
        {
            return false;
        }
        self.first_upload = Some(id);
        taken <= share
    }

    /// Gives back what a body had that will not become an event.
    pub fn drop_receiving(&mut self, trigger: u16, receiving: &Receiving) {
        for slot in &receiving.slots {
            self.slots.release(*slot);
        }
        self.upload_bytes -= receiving.slot_bytes;
        self.slot_quota.give(trigger as usize, receiving.slot_bytes);
    }

    /// Tries again for connections that wait for a slot, in their order, until one finds none.
    pub fn feed_starved(&mut self) {
        while let Some(id) = self.starved.pop_front() {
            let Some(mut receiving) = self.take_receiving(id) else { continue };
            self.move_to_slots(id, &mut receiving);
            let starved = receiving.starved;
            let complete = match &receiving.framing {
                Arriving::Length(total) => receiving.filled == *total,
                Arriving::Chunked(decoder) => decoder.is_done(),
            };
            self.put_receiving(id, receiving);
            if starved {
                self.starved.push_front(id);
                return;
            }
            if complete {
                self.finish_body(id);
                continue;
            }
            let behind = self.conn(id).map(|c| std::mem::take(&mut c.inbuf)).unwrap_or_default();
            if !behind.is_empty() {
                self.take_body_bytes(id, &behind);
            }
            self.receive(id);
        }
    }

    /// The body is there: makes the event.
    fn finish_body(&mut self, id: ConnId) {
        let Some(mut receiving) = self.take_receiving(id) else { return };
        let Some(trigger) = self.conn(id).map(|c| c.trigger) else { return };
        let head = receiving.head;
        let head_bytes = std::mem::take(&mut receiving.head_bytes);
        if self.answer_without_handler(id, &head, &head_bytes) {
            self.drop_receiving(trigger, &receiving);
            return;
        }
        if receiving.slots.is_empty() {
            let mut whole = head_bytes.into_vec();
            whole.extend_from_slice(&receiving.private);
            self.begin_event(id, &whole, &head, &receiving.lines);
        } else {
            self.begin_large_event(id, &head_bytes, receiving);
        }
    }
}

/// What the bytes of a body were.
enum Arrived {
    /// More must come.
    Part,
    /// The body is complete.
    Whole,
    /// It is larger than allowed, or says that it will be.
    TooLarge,
    /// It breaks its framing.
    Fault(Reject),
}

/// Takes what belongs to a chunked body, into private memory.
fn take_chunks(receiving: &mut Receiving, body_max: u64, bytes: &mut &[u8]) -> Arrived {
    let Arriving::Chunked(decoder) = &mut receiving.framing else { return Arrived::Part };
    loop {
        let step = match decoder.next(bytes) {
            Ok(step) => step,
            Err(reject) => return Arrived::Fault(reject),
        };
        let end = match &step {
            Step::NeedMore { .. } => bytes.len(),
            Step::Data { range } => range.end,
            Step::End { consumed } => *consumed,
        };
        if let Step::Data { range } = &step {
            receiving.private.extend_from_slice(&bytes[range.clone()]);
        }
        *bytes = &bytes[end..];
        let have = (receiving.filled + receiving.private.len()) as u64;
        // Saturating: a chunk may announce 2^64 - 1 bytes.
        if have.saturating_add(decoder.announced_bytes()) > body_max {
            return Arrived::TooLarge;
        }
        match step {
            Step::NeedMore { .. } => return Arrived::Part,
            Step::Data { .. } => {}
            Step::End { .. } => return Arrived::Whole,
        }
    }
}

/// Slot and offset in it where byte `at` of the body goes; all slots but the last are full.
fn slot_at(slots: &Slots, receiving: &Receiving, at: usize) -> (SlotRef, usize) {
    let mut start = 0;
    for slot in &receiving.slots[..receiving.slots.len() - 1] {
        let bytes = slots.place(*slot).2 as usize;
        if at < start + bytes {
            return (*slot, at - start);
        }
        start += bytes;
    }
    (receiving.slots[receiving.slots.len() - 1], at - start)
}

/// Copies bytes behind those that are in the slots already.
fn fill(slots: &mut Slots, receiving: &mut Receiving, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let (slot, at) = slot_at(slots, receiving, receiving.filled);
        let room = slots.bytes_mut(slot);
        let n = bytes.len().min(room.len() - at);
        room[at..at + n].copy_from_slice(&bytes[..n]);
        receiving.filled += n;
        bytes = &bytes[n..];
    }
}

//! Bytes from a connection into events: small requests once, large bodies straight into slots.

use std::io::{ErrorKind, Read};

use rings::abi::{EventHeader, Extent, HeaderEntry, Range, event_flag, event_kind};
use rings::header::{raw_offset, write};
use rings::limits::SLOT_CLASS_BYTES;
use rings::slots::{SlotRef, Slots};

use super::chunked::{Chunked, Step};
use super::conn::{Arriving, ConnId, Phase, Receiving};
use super::cors::CorsVerdict;
use super::method::Method;
use super::parse::{Framing, Head, Header, Parsed, Reject, Span, parse_head};
use super::respond::{Asker, CONTINUE};
use crate::data::inflight::{Event, Place, WantedLogs};
use crate::data::reactor::Data;
use crate::limits::{BODY_PRIVATE_BYTES_MAX, LINGER_BYTES_MAX, READ_BYTES, UPLOAD_SHARE_DIVISOR};

/// What became of the bytes at the front of a buffer.
enum Taken {
    /// So many belong to a request that is now under way or refused.
    Request(usize),
    /// Nothing yet; look again when so many are there.
    More(usize),
}

/// How a read ended.
enum Read1 {
    Bytes(usize),
    Nothing,
    Closed,
}

/// Reads of one connection in a turn; then others have theirs.
const READS_PER_TURN_MAX: usize = 64;

impl Data {
    /// Reads and works off what a connection has, as far as its phase allows.
    pub fn receive(&mut self, id: ConnId) {
        for _ in 0..READS_PER_TURN_MAX {
            let Some(conn) = self.conn(id) else { return };
            if !conn.readable {
                return;
            }
            let go_on = match conn.phase {
                Phase::Head => self.receive_head(id),
                Phase::Body(_) => self.receive_body(id),
                Phase::Lingering { .. } => self.read_away(id),
                // The kernel's buffer fills and pushes back until the reply is sent.
                Phase::Waiting | Phase::Replying => false,
            };
            if !go_on {
                return;
            }
        }
        self.again.push_back(id);
    }

    /// One read into `buf`; a short one means that the kernel has no more for now.
    fn read(&mut self, id: ConnId, buf: &mut [u8]) -> Read1 {
        let Some(conn) = self.conn(id) else { return Read1::Closed };
        match conn.stream.read(buf) {
            Ok(0) => Read1::Closed,
            Ok(n) => {
                conn.readable = n == buf.len();
                conn.moved += n as u64;
                Read1::Bytes(n)
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                conn.readable = false;
                Read1::Nothing
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => Read1::Nothing,
            Err(_) => Read1::Closed,
        }
    }

    fn receive_head(&mut self, id: ConnId) -> bool {
        let mut scratch = std::mem::take(&mut self.scratch);
        let read = self.read(id, &mut scratch);
        let go_on = match read {
            Read1::Bytes(n) => {
                self.take_bytes(id, &scratch[..n]);
                true
            }
            Read1::Nothing => false,
            Read1::Closed => {
                self.close(id);
                false
            }
        };
        self.scratch = scratch;
        go_on
    }

    /// Works off new bytes in the phase `Head`; what is left over is kept.
    fn take_bytes(&mut self, id: ConnId, bytes: &[u8]) {
        let now = self.clock.now_ns;
        let Some(conn) = self.conn(id) else { return };
        if conn.inbuf.is_empty() {
            conn.since_ns = now;
            self.take_requests(id, bytes, false);
            return;
        }
        conn.inbuf.extend_from_slice(bytes);
        if conn.inbuf.len() >= conn.need {
            let buf = std::mem::take(&mut conn.inbuf);
            self.take_requests(id, &buf, true);
        }
    }

    /// Goes on with bytes that came behind the last request.
    pub fn next_request(&mut self, id: ConnId) {
        let now = self.clock.now_ns;
        let Some(conn) = self.conn(id) else { return };
        conn.since_ns = now;
        if !conn.inbuf.is_empty() {
            let buf = std::mem::take(&mut conn.inbuf);
            self.take_requests(id, &buf, true);
        }
        if self.conn(id).is_some_and(|c| c.readable && matches!(c.phase, Phase::Head)) {
            // Not at once: replies to many pipelined requests would nest.
            self.again.push_back(id);
        }
    }

    /// Takes the request at the front of `buf`; the rest goes into `inbuf` or the body.
    fn take_requests(&mut self, id: ConnId, buf: &[u8], seen_before: bool) {
        match self.take_request(id, buf, seen_before) {
            Taken::Request(used) => {
                let rest = &buf[used..];
                let Some(conn) = self.conn(id) else { return };
                match conn.phase {
                    Phase::Body(_) => self.take_body_bytes(id, rest),
                    Phase::Lingering { .. } => {}
                    _ => {
                        conn.inbuf.extend_from_slice(rest);
                        conn.need = 0;
                    }
                }
            }
            Taken::More(need) => {
                if let Some(conn) = self.conn(id) {
                    conn.inbuf.clear();
                    conn.inbuf.extend_from_slice(buf);
                    conn.need = need;
                    self.queue_short(id);
                }
            }
        }
    }

    fn take_request(&mut self, id: ConnId, buf: &[u8], seen_before: bool) -> Taken {
        // A head that came in pieces is parsed when its end may be there, not at each byte.
        if seen_before && buf.len() < super::parse::HEAD_BYTES_MAX && !has_head_end(buf) {
            return Taken::More(buf.len() + 1);
        }
        let mut table = std::mem::take(&mut self.table);
        let taken = match parse_head(buf, &mut table) {
            Parsed::Partial => Taken::More(buf.len() + 1),
            Parsed::Reject(reject) => {
                self.reject(id, reject);
                Taken::Request(buf.len())
            }
            Parsed::Head(head) => self.take_head(id, buf, &head, table.lines()),
        };
        self.table = table;
        taken
    }

    fn reject(&mut self, id: ConnId, reject: Reject) {
        self.counters.bad_requests += 1;
        self.refuse(id, reject.status(), reject.reason().as_bytes());
    }

    /// A whole head is at the front of `buf`.
    fn take_head(&mut self, id: ConnId, buf: &[u8], head: &Head, lines: &[Header]) -> Taken {
        let draining = self.draining.is_some();
        let Some(conn) = self.conn(id) else { return Taken::Request(buf.len()) };
        let trigger = conn.trigger as usize;
        conn.used = true;
        conn.asker = Asker::of(head);
        conn.asker.keep_alive &= !draining;
        let body_bytes = match head.framing {
            Framing::None => 0,
            Framing::Length(n) => n,
            Framing::Chunked => u64::MAX,
        };
        if head.framing != Framing::Chunked && body_bytes > self.triggers[trigger].body_bytes_max {
            self.refuse(id, 413, b"The request body is larger than maxRequestBodySize.");
            return Taken::Request(buf.len());
        }
        let have = buf.len() - head.head_len;
        if head.framing != Framing::Chunked && (have as u64) >= body_bytes {
            let end = head.head_len + body_bytes as usize;
            if self.answer_without_handler(id, head, buf) {
                return Taken::Request(end);
            }
            self.begin_event(id, &buf[..end], head, lines);
            return Taken::Request(end);
        }
        if head.expect_continue && have == 0 {
            self.send_continue(id);
        }
        let private_max = BODY_PRIVATE_BYTES_MAX as u64;
        if head.framing != Framing::Chunked
            && (body_bytes <= private_max || have < BODY_PRIVATE_BYTES_MAX)
        {
            // Small, or hardly begun: a stalled upload holds no slot.
            return Taken::More(head.head_len + body_bytes.min(private_max) as usize);
        }
        self.begin_body(id, buf, head, lines, body_bytes);
        Taken::Request(head.head_len)
    }

    fn send_continue(&mut self, id: ConnId) {
        if let Some(conn) = self.conn(id)
            && conn.need == 0
            && conn.out.is_empty()
        {
            // Twelve words fit any socket buffer; a client that does not see them sends anyway.
            let _ = std::io::Write::write(&mut conn.stream, CONTINUE);
        }
    }

    /// Health and CORS are answered here; true if so.
    fn answer_without_handler(&mut self, id: ConnId, head: &Head, buf: &[u8]) -> bool {
        if head.path.of(buf) == b"/__internal/health" {
            let ready = self.is_ready();
            let (status, text): (u16, &[u8]) =
                if ready { (200, b"ready") } else { (503, b"not ready") };
            self.reply_text(id, status, text);
            return true;
        }
        let Some(conn) = self.conn(id) else { return true };
        let trigger = conn.trigger as usize;
        let Some(cors) = self.triggers[trigger].cors.take() else { return false };
        let verdict = cors.decide(head, buf);
        let origin = head.origin.map_or(&b""[..], |span| span.of(buf));
        let answered = match verdict {
            CorsVerdict::Call(grant) => {
                if let Some(conn) = self.conn(id) {
                    conn.grant = Some(grant);
                    conn.reflected.clear();
                    if grant == super::cors::Grant::Reflect {
                        cors.append_reflected(&mut conn.reflected, origin);
                    }
                }
                false
            }
            CorsVerdict::Forbidden => {
                self.reply_text(id, 403, b"This origin is not allowed.");
                true
            }
            CorsVerdict::Preflight | CorsVerdict::BadPreflight => {
                let asker = self.conn(id).map_or(Asker::UNKNOWN, |c| c.asker);
                let mut out = Vec::new();
                let promise = match verdict {
                    CorsVerdict::Preflight => {
                        cors.write_preflight(&mut out, origin, asker, &self.date)
                    }
                    _ => cors.write_bad_preflight(&mut out, asker, &self.date),
                };
                self.send_own(id, &out, promise.keep_alive);
                true
            }
        };
        self.triggers[trigger].cors = Some(cors);
        answered
    }

    /// Starts a body that goes into slots.
    fn begin_body(&mut self, id: ConnId, buf: &[u8], head: &Head, lines: &[Header], bytes: u64) {
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
    fn receive_body(&mut self, id: ConnId) -> bool {
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

    fn went_on(&mut self, id: ConnId, read: &Read1) -> bool {
        match read {
            Read1::Bytes(_) => true,
            Read1::Nothing => false,
            Read1::Closed => {
                self.close(id);
                false
            }
        }
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
    fn take_body_bytes(&mut self, id: ConnId, mut bytes: &[u8]) {
        let Some(mut receiving) = self.take_receiving(id) else { return };
        let Some(conn) = self.conn(id) else { return };
        let trigger = conn.trigger;
        let body_max = self.triggers[trigger as usize].body_bytes_max;
        let mut fault: Option<Reject> = None;
        let mut too_large = false;
        let mut done = false;
        loop {
            let data = match &mut receiving.framing {
                Arriving::Length(total) => {
                    let total = *total;
                    let left = total - receiving.filled - receiving.private.len();
                    let n = bytes.len().min(left);
                    let (data, rest) = bytes.split_at(n);
                    bytes = rest;
                    done = n == left;
                    if receiving.room > 0 || self.add_slots(trigger, &mut receiving, total) {
                        fill(&mut self.slots, &mut receiving, data);
                    } else {
                        receiving.private.extend_from_slice(data);
                    }
                    break;
                }
                Arriving::Chunked(decoder) => match decoder.next(bytes) {
                    Ok(Step::NeedMore { .. }) => {
                        bytes = &[];
                        break;
                    }
                    Ok(Step::Data { range }) => {
                        let data = &bytes[range.clone()];
                        bytes = &bytes[range.end..];
                        let announced = decoder.announced_bytes();
                        let have = receiving.filled + receiving.private.len() + data.len();
                        too_large = have as u64 + announced > body_max;
                        data
                    }
                    Ok(Step::End { consumed }) => {
                        bytes = &bytes[consumed..];
                        done = true;
                        break;
                    }
                    Err(reject) => {
                        fault = Some(reject);
                        break;
                    }
                },
            };
            if too_large {
                break;
            }
            receiving.private.extend_from_slice(data);
        }
        self.move_to_slots(trigger, &mut receiving);
        let starved = receiving.starved;
        self.put_receiving(id, receiving);
        if too_large {
            self.refuse(id, 413, b"The request body is larger than maxRequestBodySize.");
        } else if let Some(reject) = fault {
            self.reject(id, reject);
        } else if starved {
            self.starved.push_back(id);
            // What is behind this body stays with it until it has slots.
            if let Some(conn) = self.conn(id) {
                conn.inbuf.extend_from_slice(bytes);
            }
        } else if done {
            if let Some(conn) = self.conn(id) {
                conn.inbuf.extend_from_slice(bytes);
            }
            self.finish_body(id);
        }
    }

    /// Gives private bytes slots where the body is too large to stay private.
    fn move_to_slots(&mut self, trigger: u16, receiving: &mut Receiving) {
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
            if !self.add_slots(trigger, receiving, wanted) {
                receiving.starved = true;
                return;
            }
        }
        let private = std::mem::take(&mut receiving.private);
        fill(&mut self.slots, receiving, &private);
    }

    fn add_slots(&mut self, trigger: u16, receiving: &mut Receiving, bytes: usize) -> bool {
        let share = self.slots.total_bytes() / UPLOAD_SHARE_DIVISOR;
        if self.upload_bytes + bytes as u64 > share {
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
            let Some(trigger) = self.conn(id).map(|c| c.trigger) else { continue };
            self.move_to_slots(trigger, &mut receiving);
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

    /// Makes an event of a head and a body that lie one behind the other in `bytes`.
    fn begin_event(&mut self, id: ConnId, bytes: &[u8], head: &Head, lines: &[Header]) {
        let body_bytes = bytes.len() - head.head_len;
        let extent_count = usize::from(body_bytes > 0);
        let ext = extension(head, bytes);
        let ext_at = raw_offset(lines.len(), extent_count);
        let raw_at = ext_at + ext.len();
        let slot_bytes = raw_at + bytes.len();
        let Some(slot) = self.slots.reserve(slot_bytes) else {
            self.refuse_full(id);
            return;
        };
        let (segment, offset, room) = self.slots.place(slot);
        let body_at = raw_at + head.head_len;
        let extent = Extent { segment, length: body_bytes as u32, offset: offset + body_at as u64 };
        let event = self.event(id, head, Vec::new(), body_bytes, slot, u64::from(room));
        let mut header = fixed_header(&event, head, raw_at, self.clock.unix_ns);
        let memory = self.slots.bytes_mut(slot);
        header.ext = Range { offset: ext_at as u32, length: ext.len() as u32 };
        write(memory, &mut header, entries(lines, raw_at), &[extent][..extent_count]);
        memory[ext_at..raw_at].copy_from_slice(&ext);
        memory[raw_at..slot_bytes].copy_from_slice(bytes);
        let event = Event { header_bytes: body_at as u32, body_inline_at: body_at as u32, ..event };
        self.submit(id, event);
    }

    /// Makes an event whose body has slots of its own.
    fn begin_large_event(&mut self, id: ConnId, head_bytes: &[u8], mut receiving: Box<Receiving>) {
        let (head, lines) = (receiving.head, &receiving.lines);
        let mut left = receiving.filled;
        let extents: Vec<Extent> = receiving
            .slots
            .iter()
            .map(|slot| {
                let (segment, offset, bytes) = self.slots.place(*slot);
                let length = left.min(bytes as usize);
                left -= length;
                Extent { segment, length: length as u32, offset }
            })
            .filter(|extent| extent.length > 0)
            .collect();
        let ext = extension(&head, head_bytes);
        let ext_at = raw_offset(lines.len(), extents.len());
        let raw_at = ext_at + ext.len();
        let Some(trigger) = self.conn(id).map(|c| c.trigger) else { return };
        let Some(slot) = self.slots.reserve(raw_at + head_bytes.len()) else {
            self.drop_receiving(trigger, &receiving);
            self.refuse_full(id);
            return;
        };
        let room = u64::from(self.slots.place(slot).2);
        // From here on the body's bytes belong to the event, not to an upload.
        self.upload_bytes -= receiving.slot_bytes;
        self.slot_quota.give(trigger as usize, receiving.slot_bytes);
        let slot_bytes = room + receiving.slot_bytes;
        let body = std::mem::take(&mut receiving.slots);
        let event = self.event(id, &head, body, receiving.filled, slot, slot_bytes);
        let mut header = fixed_header(&event, &head, raw_at, self.clock.unix_ns);
        let memory = self.slots.bytes_mut(slot);
        header.ext = Range { offset: ext_at as u32, length: ext.len() as u32 };
        write(memory, &mut header, entries(&receiving.lines, raw_at), &extents);
        memory[ext_at..raw_at].copy_from_slice(&ext);
        memory[raw_at..raw_at + head_bytes.len()].copy_from_slice(head_bytes);
        let event = Event { header_bytes: (raw_at + head_bytes.len()) as u32, ..event };
        self.submit(id, event);
    }

    /// The processor's record of an event.
    fn event(
        &mut self,
        id: ConnId,
        head: &Head,
        body: Vec<SlotRef>,
        body_bytes: usize,
        header: SlotRef,
        slot_bytes: u64,
    ) -> Event {
        let trigger = self.conn(id).map_or(0, |c| c.trigger);
        let settings = &self.triggers[trigger as usize];
        self.event_number += 1;
        let mut token = [0u8; 24];
        token[..8].copy_from_slice(&self.run_id);
        token[8..16].copy_from_slice(&self.event_number.to_be_bytes());
        let timeout = settings.event_timeout_ns;
        Event {
            trigger,
            client: Some(id),
            header,
            header_bytes: 0,
            body,
            body_inline_at: 0,
            body_bytes: body_bytes as u32,
            slot_bytes,
            token,
            attempt: 1,
            idempotent: settings.idempotent || head.method.is_idempotent(),
            arrived_ns: self.clock.now_ns,
            deadline_ns: if timeout == 0 { 0 } else { self.clock.now_ns + timeout },
            bereaved_ns: 0,
            place: Place::Pending,
            holds: 1,
            logs: head.log_level.map(|level| {
                Box::new(WantedLogs { level: level as u8, bytes: 0, cut: 0, records: Vec::new() })
            }),
        }
    }

    /// Puts an event before its trigger's workers, or refuses it.
    fn submit(&mut self, id: ConnId, event: Event) {
        let trigger = event.trigger as usize;
        let slot_bytes = event.slot_bytes;
        let deadline_ns = event.deadline_ns;
        if !self.slot_quota.take(trigger, slot_bytes) {
            self.slots.release(event.header);
            for slot in event.body {
                self.slots.release(slot);
            }
            self.refuse_full(id);
            return;
        }
        let key = self.events.insert(event);
        if let Some(conn) = self.conn(id) {
            conn.event = Some(key);
            conn.phase = Phase::Waiting;
        }
        self.counters.events += 1;
        if self.enqueue(trigger, key) {
            self.queue_deadline(trigger, deadline_ns, key);
        } else {
            self.end_event(key);
            if let Some(conn) = self.conn(id) {
                conn.event = None;
            }
            self.refuse_full(id);
        }
    }

    /// Reads what a refused client still sends, so that it sees the answer and not a reset.
    fn read_away(&mut self, id: ConnId) -> bool {
        let mut scratch = std::mem::take(&mut self.scratch);
        let read = self.read(id, &mut scratch);
        self.scratch = scratch;
        let Read1::Bytes(n) = read else { return self.went_on(id, &read) };
        let Some(conn) = self.conn(id) else { return false };
        if let Phase::Lingering { bytes } = &mut conn.phase {
            *bytes += n as u64;
            if *bytes > LINGER_BYTES_MAX {
                self.close(id);
                return false;
            }
        }
        true
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

/// What has no fixed place in the header, as a MessagePack map: a method without a number.
fn extension(head: &Head, buf: &[u8]) -> Vec<u8> {
    if head.method != Method::Other {
        return Vec::new();
    }
    let token = head.method_span.of(buf);
    // A map of one pair; a text of up to 7 bytes; a text with a 16-bit length.
    let mut ext = vec![0x81, 0xa6];
    ext.extend_from_slice(b"method");
    ext.push(0xda);
    ext.extend_from_slice(&(token.len() as u16).to_be_bytes());
    ext.extend_from_slice(token);
    ext
}

/// True if an empty line is in the last bytes that can hold the end of a head.
fn has_head_end(buf: &[u8]) -> bool {
    memchr::memmem::find(buf, b"\r\n\r\n").is_some()
        || memchr::memchr(b'\n', buf).is_some_and(|i| i == 0 || buf[i - 1] != b'\r')
}

fn entries(lines: &[Header], raw_at: usize) -> impl ExactSizeIterator<Item = HeaderEntry> + '_ {
    lines.iter().map(move |line| HeaderEntry {
        name: range(line.name, raw_at),
        value: range(line.value, raw_at),
    })
}

fn range(span: Span, raw_at: usize) -> Range {
    Range { offset: raw_at as u32 + u32::from(span.start), length: u32::from(span.len) }
}

fn fixed_header(event: &Event, head: &Head, raw_at: usize, unix_ns: u64) -> EventHeader {
    let optional = |span: Option<Span>| span.map(|s| range(s, raw_at)).unwrap_or_default();
    EventHeader {
        kind: event_kind::HTTP,
        method: head.method.number(),
        trigger: event.trigger,
        attempt: event.attempt,
        timestamp_ns: unix_ns,
        ack_token: event.token,
        path: range(head.path, raw_at),
        query: range(head.query, raw_at),
        content_type: optional(head.content_type),
        traceparent: optional(head.traceparent),
        flags: event_flag::ID_IN_TOKEN,
        body_bytes: event.body_bytes,
        ..Default::default()
    }
}

const _: () = assert!(READ_BYTES >= super::parse::HEAD_BYTES_MAX);

//! Makes an event of a whole request: the header in its slot, the record in our table, the place in
//! its trigger's queue.

use rings::abi::{EventHeader, Extent, HeaderEntry, Range, event_flag, event_kind};
use rings::header::{raw_offset, write};
use rings::slots::SlotRef;

use super::conn::{ConnId, Phase, Receiving};
use super::method::Method;
use super::parse::{Head, Header, Span};
use crate::data::inflight::{Event, Place, WantedLogs};
use crate::data::reactor::Data;

impl Data {
    /// Makes an event of a head and a body that lie one behind the other in `bytes`.
    pub fn begin_event(&mut self, id: ConnId, bytes: &[u8], head: &Head, lines: &[Header]) {
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
    pub fn begin_large_event(
        &mut self,
        id: ConnId,
        head_bytes: &[u8],
        mut receiving: Box<Receiving>,
    ) {
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
        let streams = self.conn(id).is_some_and(|conn| conn.upload.is_some());
        let settings = &self.triggers[trigger as usize];
        Event {
            trigger,
            client: Some(id),
            header,
            header_bytes: 0,
            body,
            body_inline_at: 0,
            body_bytes: body_bytes as u32,
            incoming: streams.then(Box::default),
            slot_bytes,
            token,
            attempt: 1,
            repeats: 0,
            // A body that has gone by cannot be given to another worker.
            idempotent: !streams && (settings.idempotent || head.method.is_idempotent()),
            arrived_ns: self.clock.now_ns,
            deadline_ns: if timeout == 0 { 0 } else { self.clock.now_ns + timeout },
            bereaved_ns: 0,
            place: Place::Arriving,
            holds: 1,
            logs: head.log_level.map(|level| {
                Box::new(WantedLogs { level: level as u8, bytes: 0, cut: 0, records: Vec::new() })
            }),
            is_recorded: false,
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
            self.record_event(key);
        } else {
            self.end_event(key);
            if let Some(conn) = self.conn(id) {
                conn.event = None;
            }
            self.refuse_full(id);
        }
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
        flags: event_flag::ID_IN_TOKEN
            | if event.incoming.is_some() { event_flag::BODY_STREAMED } else { 0 },
        body_bytes: event.body_bytes,
        ..Default::default()
    }
}

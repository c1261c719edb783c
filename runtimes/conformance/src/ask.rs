//! An event as it goes down: the request, and the slots it is written into.

use anyhow::{Context, Result};
use rings::abi::{
    Entry, EventHeader, Extent, HeaderEntry, Range, down, event_flag, event_kind, place,
};
use rings::header::{raw_offset, write};
use rings::limits::BODY_INLINE_BYTES_MAX;
use rings::slots::{SlotRef, Slots};

/// POST is method 3 in `docs/abi`.
const POST: u8 = 3;

/// What is asked.
#[derive(Debug, Clone, Default)]
pub struct Ask {
    pub path: String,
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    pub body: Vec<u8>,
    pub is_last_in_batch: bool,
}

impl Ask {
    pub fn of(path: &str) -> Self {
        Self { path: path.into(), ..Self::default() }
    }

    pub fn with_body(path: &str, body: Vec<u8>) -> Self {
        Self { body, ..Self::of(path) }
    }

    pub fn header(mut self, name: &[u8], value: &[u8]) -> Self {
        self.headers.push((name.to_vec(), value.to_vec()));
        self
    }
}

/// The slots of an event, and where its body lies in them.
#[derive(Debug)]
pub struct Written {
    pub slots: Vec<SlotRef>,
    /// Slot, first byte in it, bytes.
    pieces: Vec<(SlotRef, usize, usize)>,
    pub body_bytes: usize,
    pub entry: Entry,
}

impl Written {
    /// A part of the body, for a reply that is one; `None` if it is not inside.
    pub fn part(&self, slots: &Slots, at: usize, bytes: usize) -> Option<Vec<u8>> {
        let mut whole = Vec::with_capacity(self.body_bytes);
        for (slot, from, length) in &self.pieces {
            whole.extend_from_slice(&slots.bytes(*slot)[*from..from + length]);
        }
        Some(whole.get(at..at.checked_add(bytes)?)?.to_vec())
    }
}

/// Raw bytes as they are put behind the header, and ranges of them.
struct Raw {
    bytes: Vec<u8>,
    at: usize,
}

impl Raw {
    fn put(&mut self, bytes: &[u8]) -> Range {
        let offset = (self.at + self.bytes.len()) as u32;
        self.bytes.extend_from_slice(bytes);
        Range { offset, length: bytes.len() as u32 }
    }
}

/// Writes an event into slots; the entry lacks its claim.
pub fn write_event(slots: &mut Slots, ask: &Ask, unix_ns: u64) -> Result<Written> {
    let is_inline = ask.body.len() <= BODY_INLINE_BYTES_MAX / 2;
    let own = match is_inline {
        true => Vec::new(),
        false => slots.reserve_body(ask.body.len()).context("the event memory is full")?,
    };
    let mut pieces = spread(slots, &own, &ask.body);
    let extent_count = if is_inline { usize::from(!ask.body.is_empty()) } else { pieces.len() };
    let mut raw = Raw { bytes: Vec::new(), at: raw_offset(ask.headers.len(), extent_count) };
    let path = raw.put(ask.path.as_bytes());
    let lines: Vec<HeaderEntry> = ask
        .headers
        .iter()
        .map(|(name, value)| HeaderEntry { name: raw.put(name), value: raw.put(value) })
        .collect();
    let header_bytes = raw.at + raw.bytes.len();
    let body_inline = if is_inline { &ask.body[..] } else { &[] };
    let slot = slots.reserve(header_bytes + body_inline.len()).context("no slot is free")?;
    if extent_count > 0 && is_inline {
        pieces = vec![(slot, header_bytes, ask.body.len())];
    }
    let extents: Vec<Extent> = pieces
        .iter()
        .map(|(slot, at, bytes)| {
            let (segment, offset, _) = slots.place(*slot);
            Extent { segment, length: *bytes as u32, offset: offset + *at as u64 }
        })
        .collect();
    let last = if ask.is_last_in_batch { event_flag::LAST_IN_BATCH } else { 0 };
    let mut header = EventHeader {
        kind: event_kind::HTTP,
        method: POST,
        attempt: 1,
        timestamp_ns: unix_ns,
        path,
        flags: event_flag::ID_IN_TOKEN | last,
        body_bytes: ask.body.len() as u32,
        ..EventHeader::default()
    };
    let memory = slots.bytes_mut(slot);
    write(memory, &mut header, lines.into_iter(), &extents);
    memory[raw.at..header_bytes].copy_from_slice(&raw.bytes);
    memory[header_bytes..header_bytes + body_inline.len()].copy_from_slice(body_inline);
    let (segment, offset, _) = slots.place(slot);
    let (a, c) = (place(segment, offset), ask.body.len() as u64);
    let entry =
        Entry { kind: down::EVENT, value: header_bytes as u32, a, c, d: 1, ..Entry::default() };
    let all = std::iter::once(slot).chain(own).collect();
    Ok(Written { slots: all, pieces, body_bytes: ask.body.len(), entry })
}

/// Copies a body into slots of its own.
fn spread(slots: &mut Slots, own: &[SlotRef], body: &[u8]) -> Vec<(SlotRef, usize, usize)> {
    let mut rest = body;
    let mut pieces = Vec::new();
    for slot in own {
        let memory = slots.bytes_mut(*slot);
        let bytes = rest.len().min(memory.len());
        memory[..bytes].copy_from_slice(&rest[..bytes]);
        rest = &rest[bytes..];
        pieces.push((*slot, 0, bytes));
    }
    pieces
}

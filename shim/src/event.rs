//! An event as a worker holds it: fields and body straight from the shared memory.
//!
//! An `Event` is the hold: the slot stays as it is until the event is given back with the reply
//! (`released = true`) or by `Worker::release`. It may outlive the reply.

use rings::abi::{EventHeader, Extent, UNKNOWN_LENGTH, down_flag, event_flag, unplace};
use rings::header::EventView;
use rings::memory::EventMemory;

use crate::worker::Down;

/// An event that this worker must answer, and the right to look at its slot.
#[derive(Debug)]
pub struct Event {
    pub(crate) claim: u64,
    pub(crate) deadline_ns: u64,
    pub(crate) begun_ns: u64,
    trigger: u16,
    flags: u8,
    wanted_level: u8,
    attempt: u32,
    body_bytes: u32,
    header: &'static [u8],
    memory: EventMemory,
}

/// The body of an event: one range, or several pieces under fragmentation.
#[derive(Debug)]
pub enum Body<'a> {
    /// One range of the shared memory.
    Whole(&'a [u8]),
    /// Several; gathered by [`Body::to_vec`].
    Pieces(Vec<&'a [u8]>),
}

impl Body<'_> {
    /// A copy of the whole body.
    pub fn to_vec(&self) -> Vec<u8> {
        match self {
            Body::Whole(bytes) => bytes.to_vec(),
            Body::Pieces(pieces) => pieces.concat(),
        }
    }
}

impl Event {
    /// Reads what an EVENT entry says; `None` if it points outside the event memory, which only a
    /// broken processor writes.
    pub(crate) fn read(entry: &rings::abi::Entry, memory: EventMemory) -> Option<Self> {
        let (segment, offset) = unplace(entry.a);
        let header = memory.held(segment, offset, entry.value as usize)?;
        EventView::new(header)?;
        Some(Self {
            claim: entry.claim,
            deadline_ns: entry.b,
            begun_ns: 0,
            trigger: entry.aux,
            flags: entry.flags,
            wanted_level: entry.e as u8,
            attempt: entry.d as u32,
            body_bytes: if entry.c == UNKNOWN_LENGTH { 0 } else { entry.c as u32 },
            header,
            memory,
        })
    }

    /// Whom the reply must name.
    pub fn claim(&self) -> u64 {
        self.claim
    }

    /// Deadline on CLOCK_MONOTONIC in nanoseconds; 0 = none.
    pub fn deadline_ns(&self) -> u64 {
        self.deadline_ns
    }

    /// When the worker began it, on CLOCK_MONOTONIC; for [`crate::Worker::reply_begun`].
    pub fn begun_ns(&self) -> u64 {
        self.begun_ns
    }

    /// Number of the trigger in the offer.
    pub fn trigger(&self) -> u16 {
        self.trigger
    }

    /// First attempt is 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The lowest level of the event's log records that are wanted in its reply; `None` = none are.
    pub fn wanted_log_level(&self) -> Option<u8> {
        (self.flags & down_flag::WANT_LOGS != 0).then_some(self.wanted_level)
    }

    /// True for the last event of a batch; a batch of one is its only event.
    pub fn is_last_in_batch(&self) -> bool {
        self.view().header().flags & event_flag::LAST_IN_BATCH != 0
    }

    /// What comes down when no more of its batch follow.
    pub(crate) fn alone(self) -> Down {
        if self.is_last_in_batch() { Down::Batch(vec![self]) } else { Down::Event(self) }
    }

    /// True if the body comes while the handler runs: [`crate::Worker::body_piece`].
    pub fn is_body_streamed(&self) -> bool {
        self.view().header().flags & event_flag::BODY_STREAMED != 0
    }

    /// Bytes of the body; 0 if it is streamed.
    pub fn body_bytes(&self) -> usize {
        self.body_bytes as usize
    }

    /// The fixed header, copied.
    pub fn header(&self) -> EventHeader {
        self.view().header()
    }

    /// The header lines and ranges.
    pub fn view(&self) -> EventView<'_> {
        // The bytes were checked when the event was read.
        EventView::new(self.header).expect("checked when read")
    }

    /// All bytes of the header: fixed part, lines, extents and raw bytes, to be copied out when the
    /// event must outlive its slot.
    pub fn header_bytes(&self) -> &[u8] {
        self.header
    }

    /// The event's id: as given, or the UUID form of its token.
    pub fn id(&self) -> String {
        id_of(self.view())
    }

    /// The body if it is one range. The bytes stay as they are until the hold is given back, not
    /// longer: the caller counts who can still look.
    pub fn body_range(&self) -> Option<&'static [u8]> {
        let mut extents = self.view().extents();
        let Some(first) = extents.next() else { return Some(&[]) };
        let mut range = first;
        for extent in extents {
            if !touches(&range, &extent) {
                return None;
            }
            range.length += extent.length;
        }
        self.memory.held(range.segment, range.offset, range.length as usize)
    }

    /// The body, in place: neighbouring slots are one range.
    pub fn body(&self) -> Body<'_> {
        let mut ranges: Vec<Extent> = Vec::new();
        for extent in self.view().extents() {
            match ranges.last_mut() {
                Some(last) if touches(last, &extent) => last.length += extent.length,
                _ => ranges.push(extent),
            }
        }
        let bytes = |e: &Extent| {
            self.memory.held(e.segment, e.offset, e.length as usize).unwrap_or_default()
        };
        match ranges.as_slice() {
            [] => Body::Whole(&[]),
            [one] => Body::Whole(bytes(one)),
            several => Body::Pieces(several.iter().map(bytes).collect()),
        }
    }
}

fn touches(first: &Extent, second: &Extent) -> bool {
    first.segment == second.segment && first.offset + u64::from(first.length) == second.offset
}

/// The id of an event as text.
pub fn id_of(view: EventView<'_>) -> String {
    let header = view.header();
    if header.flags & rings::abi::event_flag::ID_IN_TOKEN == 0 {
        return String::from_utf8_lossy(view.get(header.id)).into_owned();
    }
    rings::abi::uuid_text(&header.ack_token)
}

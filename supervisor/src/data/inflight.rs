//! The processor's own truth: which events exist, which worker must answer which, and who still
//! looks at which slot. What workers write is only their word against this table.

use slotmap::{Key, KeyData, SlotMap, new_key_type};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use rings::log_ring::LogRecord;
use rings::processor_end::ProcessorEnd;
use rings::slots::{SlotRef, Slots};

use super::batch::OpenBatches;
use super::body::Incoming;
use super::http::conn::ConnId;
use super::ping::Ping;
use crate::crossing::{DeathCause, Generation, PoolId, WorkerId};

new_key_type! {
    /// An event alive in this processor.
    pub struct EventKey;
    /// A worker attached to this processor.
    pub struct WorkerKey;
    /// A claim of one worker; as a number it is what travels in entries.
    pub struct ClaimKey;
}

/// An event, from its arrival until nobody needs its slots any more.
#[derive(Debug)]
pub struct Event {
    pub trigger: u16,
    /// Who waits for the answer; `None` when the client has left or has its answer.
    pub client: Option<ConnId>,
    pub header: SlotRef,
    /// Bytes of the header in its slot, raw bytes of the head included.
    pub header_bytes: u32,
    pub body: Vec<SlotRef>,
    /// Where an inline body starts in the header's slot.
    pub body_inline_at: u32,
    pub body_bytes: u32,
    /// A body that comes while the handler runs.
    pub incoming: Option<Box<Incoming>>,
    /// Bytes counted against the trigger's quota of slots.
    pub slot_bytes: u64,
    pub token: [u8; 24],
    pub attempt: u16,
    /// Times it went to another worker uncounted, since the first had not begun it.
    pub repeats: u8,
    pub idempotent: bool,
    pub arrived_ns: u64,
    pub deadline_ns: u64,
    /// When its worker died with it, until it is dispatched again.
    pub bereaved_ns: u64,
    pub place: Place,
    /// Who may still look at the slots: the event itself until it is answered, claims, and replies
    /// that are sent from its body.
    pub holds: u32,
    /// Log records wanted in the reply.
    pub logs: Option<Box<WantedLogs>>,
    /// Recorded, and its answer is not yet.
    pub is_recorded: bool,
}

/// Log records collected for `X-Nuclio-Logs`.
#[derive(Debug)]
pub struct WantedLogs {
    pub level: u8,
    pub bytes: usize,
    pub cut: u32,
    pub records: Vec<LogRecord>,
}

/// Where an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Not admitted yet: counted nowhere.
    Arriving,
    /// In its trigger's pending queue.
    Pending,
    /// With a worker.
    Claimed(WorkerKey, ClaimKey),
    /// Answered, refused or given up.
    Ended,
}

/// Events by key.
pub type Events = SlotMap<EventKey, Event>;

/// What a worker owes or holds.
#[derive(Debug)]
pub struct Claim {
    pub event: EventKey,
    /// Index of the EVENT entry.
    pub index: u32,
    pub state: ClaimState,
    /// The reply has begun and comes in pieces.
    pub pieces: Option<InPieces>,
    /// Its batch, while it is in flight; 0 = none.
    pub batch: u32,
}

/// A reply in pieces, as far as its worker has told it.
#[derive(Debug, Clone, Copy, Default)]
pub struct InPieces {
    /// Bytes still to come; `None` for a stream, whose length nobody knows before its end.
    pub left: Option<u64>,
    /// The slot of the event is no longer looked at.
    pub released: bool,
    /// Pieces of a stream that the client has not taken yet.
    pub out: u32,
}

/// How far a claim has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimState {
    /// The worker must answer.
    Owed,
    /// Its first piece of a reply has come, the end has not.
    Answering,
    /// Taken back; SKIPPED must come.
    Recalled,
    /// The event ended without it (deadline); an answer will be dropped.
    GivenUp,
    /// Answered, but the slot is still looked at.
    Held,
}

/// A worker process, as the data thread knows it.
#[derive(Debug)]
pub struct Worker {
    pub id: WorkerId,
    pub pool: PoolId,
    pub generation: Generation,
    pub pid: i32,
    pub pidfd: OwnedFd,
    pub end: ProcessorEnd,
    pub claims: SlotMap<ClaimKey, Claim>,
    /// Claims not yet answered, in the order of their entries; answered ones are dropped lazily.
    pub order: VecDeque<(u32, ClaimKey)>,
    pub state: WorkerState,
    pub concurrency: u32,
    /// Claims owed, answering or given up: what keeps the worker busy.
    pub in_flight: u32,
    pub batches: OpenBatches,
    /// Claims taken back whose SKIPPED has not come: it gets nothing new before it has looked.
    pub recalled: u32,
    pub completed: u64,
    /// With so many answers it is worn.
    pub worn_after: u64,
    /// Bytes of slots that its handler still looks at after their events.
    pub kept_bytes: u64,
    /// Entries pushed and not yet published.
    pub unpublished: bool,
    /// Turn in which it was last given an event.
    pub used_turn: u64,
    /// When the event it runs now can have begun, at the earliest.
    pub busy_since_ns: u64,
    pub cause: DeathCause,
    /// Asked to retire: killed at the latest then.
    pub kill_at_ns: u64,
    pub ping: Ping,
    pub was_ready: bool,
    /// An answer was found that no bell had told of, and none has rung since; 0 = no.
    pub silent_since_ns: u64,
}

/// What a worker may be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerState {
    /// Loading the user's code.
    Starting,
    /// May get events.
    Ready,
    /// Gets no more events; is stopped when idle.
    Retiring,
    /// Told to stop.
    Stopping,
    /// Killed or seen dead; only its end is awaited.
    Killed,
}

impl Worker {
    /// Number of a claim in entries.
    pub fn claim_number(key: ClaimKey) -> u64 {
        key.data().as_ffi()
    }

    /// The claim that an entry names, if it is one of this worker's.
    pub fn claim_of(&self, number: u64) -> Option<ClaimKey> {
        let key = ClaimKey::from(KeyData::from_ffi(number));
        self.claims.contains_key(key).then_some(key)
    }

    /// True if so many more claims fit the tags that both sides agreed on.
    pub fn has_tags(&self, events: u32) -> bool {
        (self.claims.len() as u32) + events < self.end.tags()
    }

    /// What it has of what its concurrency counts.
    pub fn units(&self) -> u32 {
        self.batches.units(self.in_flight)
    }

    /// A claim is no longer in flight; `batch` is its own.
    pub fn leaves_flight(&mut self, batch: u32) {
        self.in_flight -= 1;
        self.batches.leave(batch);
    }

    /// True if the worker says that it has begun the entry.
    pub fn has_begun(&self, index: u32) -> bool {
        began(self.end.started(), index)
    }

    /// Whether it runs anything, and whether anything waits in it, by its own word.
    pub fn runs_and_waits(&self) -> (bool, bool) {
        let started = self.end.started();
        let (mut runs, mut waits) = (false, false);
        for (index, key) in &self.order {
            match self.claims.get(*key).map(|claim| claim.state) {
                Some(ClaimState::Owed) if !began(started, *index) => waits = true,
                Some(ClaimState::Owed | ClaimState::Answering | ClaimState::GivenUp) => runs = true,
                _ => {}
            }
        }
        (runs, waits)
    }

    /// Forgets answered claims at the front of the order, so that the front is what runs now.
    pub fn trim_order(&mut self) {
        while let Some((_, key)) = self.order.front() {
            match self.claims.get(*key).map(|c| c.state) {
                Some(ClaimState::Owed | ClaimState::Answering | ClaimState::GivenUp) => break,
                _ => self.order.pop_front(),
            };
        }
    }
}

/// True if `started` covers entry `index`; both wrap.
pub fn began(started: u32, index: u32) -> bool {
    (started.wrapping_sub(index) as i32) > 0
}

/// Drops one hold; at the last the slots are given back. True if the event is gone.
pub fn drop_hold(events: &mut Events, slots: &mut Slots, key: EventKey) -> Option<Event> {
    let event = events.get_mut(key)?;
    event.holds -= 1;
    if event.holds > 0 {
        return None;
    }
    let event = events.remove(key)?;
    slots.release(event.header);
    let pieces = event.incoming.iter().flat_map(|incoming| incoming.slots());
    for slot in event.body.iter().copied().chain(pieces) {
        slots.release(slot);
    }
    Some(event)
}

//! Request bodies that go to their handlers while they come, seen from the event: pieces in slots,
//! told to the worker, given back as it takes them.
//!
//! A piece stays as it is until its worker has taken it or the claim is over. An event none of whose
//! pieces was taken has not been begun, so another worker gets all of them again.

use std::collections::VecDeque;

use rings::abi::{Entry, down, place, up};
use rings::error::Violation;
use rings::limits::BODY_PIECES_MAX;
use rings::slots::SlotRef;

use super::inflight::{ClaimState, Event, EventKey, Place, Worker, WorkerKey};
use super::reactor::Data;

/// The body of an event, as far as it has come.
#[derive(Debug, Default)]
pub struct Incoming {
    /// Pieces that are not taken, the oldest first; at most [`BODY_PIECES_MAX`].
    pieces: VecDeque<(SlotRef, u32)>,
    /// How many of them the worker knows of.
    told: usize,
    /// Nothing more comes; BODY_END's reason.
    ended: Option<u16>,
    end_told: bool,
    /// Bytes of the slots of `pieces`.
    slot_bytes: u64,
}

impl Incoming {
    /// Slots to be given back when the event is gone.
    pub fn slots(&self) -> impl Iterator<Item = SlotRef> + '_ {
        self.pieces.iter().map(|(slot, _)| *slot)
    }

    /// Bytes of these slots.
    pub fn slot_bytes(&self) -> u64 {
        self.slot_bytes
    }

    /// The next entry that its worker should see.
    fn next_entry(&mut self, place_of: impl Fn(SlotRef) -> u64) -> Option<Entry> {
        if let Some((slot, bytes)) = self.pieces.get(self.told) {
            self.told += 1;
            let (value, a) = (*bytes, place_of(*slot));
            return Some(Entry { kind: down::BODY_CHUNK, value, a, ..Entry::default() });
        }
        let aux = self.ended.filter(|_| !self.end_told)?;
        self.end_told = true;
        Some(Entry { kind: down::BODY_END, aux, ..Entry::default() })
    }
}

impl Data {
    /// The worker that runs an event and its claim; `None` before and after.
    fn runner_of(&self, key: EventKey) -> Option<(WorkerKey, super::inflight::ClaimKey)> {
        let Place::Claimed(worker, claim) = self.events.get(key)?.place else { return None };
        let state = self.workers.get(worker)?.claims.get(claim)?.state;
        matches!(state, ClaimState::Owed | ClaimState::Answering).then_some((worker, claim))
    }

    /// True if a further piece of the event's body may be read.
    pub fn takes_body(&self, key: EventKey) -> bool {
        let incoming = self.events.get(key).and_then(|event| event.incoming.as_ref());
        let has_room = incoming
            .is_some_and(|i| i.ended.is_none() && (i.pieces.len() as u32) < BODY_PIECES_MAX);
        has_room && self.runner_of(key).is_some()
    }

    /// A worker has got the event: it gets what has come of the body, and the rest may come.
    pub fn body_claimed(&mut self, key: EventKey) {
        let Some(event) = self.events.get_mut(key) else { return };
        let client = event.client;
        let Some(incoming) = event.incoming.as_mut() else { return };
        (incoming.told, incoming.end_told) = (0, false);
        self.tell_body(key);
        if let Some(id) = client {
            self.look_later(id);
        }
    }

    /// Adds a piece whose slot is counted in the trigger's quota.
    pub fn add_piece(&mut self, key: EventKey, slot: SlotRef, bytes: usize) {
        let room = u64::from(self.slots.place(slot).2);
        let Some(event) = self.events.get_mut(key) else { return };
        let Some(incoming) = event.incoming.as_mut() else { return };
        incoming.pieces.push_back((slot, bytes as u32));
        incoming.slot_bytes += room;
        event.slot_bytes += room;
        self.tell_body(key);
    }

    /// Nothing more of the body comes, for BODY_END's `reason`.
    pub fn end_body(&mut self, key: EventKey, reason: u16) {
        let incoming = self.events.get_mut(key).and_then(|event| event.incoming.as_mut());
        if let Some(incoming) = incoming
            && incoming.ended.is_none()
        {
            incoming.ended = Some(reason);
            self.tell_body(key);
        }
    }

    /// Tells the worker what it does not know yet.
    fn tell_body(&mut self, key: EventKey) {
        let Some((worker_key, claim)) = self.runner_of(key) else { return };
        let Some(incoming) = self.events.get_mut(key).and_then(|e| e.incoming.as_mut()) else {
            return;
        };
        let slots = &self.slots;
        let place_of = |slot| {
            let (segment, offset, _) = slots.place(slot);
            place(segment, offset)
        };
        let worker = &mut self.workers[worker_key];
        let claim = Worker::claim_number(claim);
        let mut told = Ok(());
        while told.is_ok()
            && let Some(entry) = incoming.next_entry(place_of)
        {
            told = worker.end.push_control(Entry { claim, ..entry });
            worker.unpublished = true;
        }
        if let Err(violation) = told {
            self.violated(worker_key, violation);
        }
    }

    /// A worker no longer looks at the oldest pieces: their slots are free, and more may come.
    pub fn take_body_taken(
        &mut self,
        key: WorkerKey,
        number: u64,
        pieces: u32,
    ) -> Result<(), Violation> {
        let kind = up::BODY_TAKEN;
        let (claim, event_key) = self.claim_in(key, number, kind, |state| {
            matches!(state, ClaimState::Owed | ClaimState::Answering | ClaimState::GivenUp)
        })?;
        let wrong = |why| Err(Violation::Claim { kind, claim: number, why });
        let worker = &self.workers[key];
        if !worker.has_begun(worker.claims[claim].index) {
            return wrong("takes a body before it was begun");
        }
        let Some(event) = self.events.get_mut(event_key) else { return Ok(()) };
        let told = event.incoming.as_ref().map_or(0, |incoming| incoming.told);
        if pieces as usize > told {
            return wrong("takes more of a body than it was told of");
        }
        let freed = event.take_pieces(pieces as usize);
        let (trigger, client) = (event.trigger as usize, event.client);
        let mut bytes = 0;
        for slot in freed {
            bytes += u64::from(self.slots.place(slot).2);
            self.slots.release(slot);
        }
        if let Some(event) = self.events.get_mut(event_key) {
            event.slot_bytes -= bytes;
            if let Some(incoming) = event.incoming.as_mut() {
                incoming.slot_bytes -= bytes;
            }
        }
        self.slot_quota.give(trigger, bytes);
        self.piece_bytes -= bytes;
        if let Some(id) = client {
            self.look_later(id);
        }
        Ok(())
    }
}

impl Event {
    /// Takes the oldest pieces of the body out.
    fn take_pieces(&mut self, count: usize) -> Vec<SlotRef> {
        let Some(incoming) = self.incoming.as_mut() else { return Vec::new() };
        incoming.told -= count;
        incoming.pieces.drain(..count).map(|(slot, _)| slot).collect()
    }
}

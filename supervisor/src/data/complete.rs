//! Takes answers from workers: checks them against the table, replies, frees.

use rings::abi::init_failed;
use rings::check::{Block, Response, Up};
use rings::error::Violation;
use rings::limits::{COMPLETIONS_PER_TURN_MAX, ESCAPE_MAX, HAND_AHEAD_MAX};
use rings::log_ring::LogRecord;

use super::figures::observe;
use super::inflight::{
    ClaimKey, ClaimState, EventKey, InPieces, Place, Worker, WorkerKey, WorkerState,
};
use super::reactor::Data;
use super::verdict::{Action, End, Request, request_reply};
use crate::crossing::{DeathCause, ToPool};
use crate::limits::{
    KEEPER_STOP_NS, LOG_RECORDS_PER_TURN_MAX, PIECE_BYTES_PER_TURN_MAX, REPLY_LOG_BYTES_MAX,
};
use crate::log::{Level, Record};

impl Data {
    /// A worker has rung.
    pub fn rung(&mut self, number: u32) {
        if let Some(key) = self.worker_key(number) {
            self.counters.bells_up += 1;
            self.undrained.push(key);
            self.workers[key].silent_since_ns = 0;
            self.workers[key].end.keep_bell_empty();
        }
    }

    /// Drains every worker that may have something, a bounded number of answers each.
    pub fn drain_undrained(&mut self) {
        let mut keys = std::mem::take(&mut self.undrained);
        keys.sort_unstable();
        keys.dedup();
        for key in keys.drain(..) {
            self.drain(key);
        }
        // Keep the memory; what was pushed meanwhile stays.
        if self.undrained.is_empty() {
            self.undrained = keys;
        }
    }

    /// Drains one worker; what is left makes the next turn come at once, since arming will fail.
    fn drain(&mut self, key: WorkerKey) {
        if let Err(violation) = self.drain_some(key, COMPLETIONS_PER_TURN_MAX) {
            self.violated(key, violation);
        }
    }

    /// Takes up to `most` answers and the log records before them.
    pub fn drain_some(&mut self, key: WorkerKey, most: u32) -> Result<(), Violation> {
        self.drain_logs(key, LOG_RECORDS_PER_TURN_MAX)?;
        let mut piece_bytes = 0;
        for _ in 0..most {
            let Some(worker) = self.workers.get_mut(key) else { return Ok(()) };
            if worker.state == WorkerState::Killed && worker.cause_is_violation() {
                return Ok(());
            }
            let Some(up) = worker.end.next_up()? else { break };
            if let Up::Chunk { block, .. } = &up {
                piece_bytes += block.bytes;
            }
            self.take(key, up)?;
            if piece_bytes >= PIECE_BYTES_PER_TURN_MAX && most <= COMPLETIONS_PER_TURN_MAX {
                break;
            }
        }
        let now = self.clock.now_ns;
        let Some(worker) = self.workers.get_mut(key) else { return Ok(()) };
        worker.busy_since_ns = now;
        worker.end.release_entries();
        if worker.end.release_if_awaited()? {
            self.counters.bells_down += 1;
        }
        self.stop_if_idle(key);
        Ok(())
    }

    fn take(&mut self, key: WorkerKey, up: Up) -> Result<(), Violation> {
        match up {
            Up::Response(response) => self.take_response(key, &response),
            Up::BodyTaken { claim, pieces } => self.take_body_taken(key, claim, pieces),
            Up::RequestReleased { claim } => self.take_release(key, claim),
            Up::Skipped { claim } => self.take_skipped(key, claim),
            Up::Chunk { claim, block } => self.take_chunk(key, claim, block),
            Up::End { claim, broken, log_position } => {
                self.drain_logs_to(key, log_position)?;
                self.take_end(key, claim, broken)
            }
            Up::Ready { concurrency } => {
                self.worker_ready(key, concurrency);
                Ok(())
            }
            Up::InitFailed { reason, block } => {
                self.init_failed(key, reason, block);
                Ok(())
            }
            Up::Pong(_) => {
                self.pong(key);
                Ok(())
            }
            Up::Drained(_) | Up::Unsupported(_) => Ok(()),
        }
    }

    fn take_response(&mut self, key: WorkerKey, r: &Response) -> Result<(), Violation> {
        let (claim, event_key) =
            self.claim_in(key, r.claim, rings::abi::up::RESPONSE, |state| {
                matches!(state, ClaimState::Owed | ClaimState::GivenUp)
            })?;
        let worker = &mut self.workers[key];
        let given_up = worker.claims[claim].state == ClaimState::GivenUp;
        if !worker.has_begun(worker.claims[claim].index) {
            let why = "answered before it was begun";
            return Err(Violation::Claim { kind: rings::abi::up::RESPONSE, claim: r.claim, why });
        }
        let event_body = self.events.get(event_key).map_or(0, |e| u64::from(e.body_bytes));
        if let Some(at) = r.body_in_event_at
            && u64::from(at) + u64::from(r.body_bytes) > event_body
        {
            let why = "the body is outside the event's";
            return Err(Violation::Claim { kind: rings::abi::up::RESPONSE, claim: r.claim, why });
        }
        let pieces = r.in_pieces.map(|length| InPieces::begun(length, r.body_bytes, r.released));
        let pieces = pieces.transpose().map_err(|why| Violation::Claim {
            kind: rings::abi::up::RESPONSE,
            claim: r.claim,
            why,
        })?;
        // What the handler wrote belongs to this event, and after the answer nobody could tell.
        self.drain_logs_to(key, r.log_position)?;
        if given_up {
            let block = r.block;
            self.piece_done(super::http::send::Done::Block { worker: key, block, credit: None });
        } else {
            self.finish(key, event_key, r)?;
        }
        let worker = &mut self.workers[key];
        worker.completed += 1;
        if worker.completed == worker.worn_after {
            self.to_pool.send(ToPool::Worn { id: worker.id });
        }
        match pieces {
            Some(_) => {
                let held = &mut worker.claims[claim];
                held.state = if given_up { ClaimState::GivenUp } else { ClaimState::Answering };
                held.pieces = pieces;
                self.stop_unheard(event_key);
            }
            None => self.settle(key, claim, event_key, r.released),
        }
        Ok(())
    }

    /// The answer decides what the client gets.
    fn finish(
        &mut self,
        key: WorkerKey,
        event_key: EventKey,
        r: &Response,
    ) -> Result<(), Violation> {
        let now = self.clock.now_ns;
        let Some(event) = self.events.get(event_key) else { return Ok(()) };
        let trigger = event.trigger as usize;
        let request =
            Request { attempt: event.attempt, idempotent: event.idempotent, reply_begun: false };
        let figures = &mut self.triggers[trigger];
        figures.run.observe(r.run_ns);
        // A stream is counted at its end, when it is known how it went and how long it took.
        if r.in_pieces != Some(None) {
            observe(&mut figures.duration, now.saturating_sub(event.arrived_ns));
            if r.outcome == rings::abi::outcome::OK {
                figures.handled_ok += 1;
            } else {
                figures.handled_error += 1;
            }
        }
        let end = End::Answered { outcome: r.outcome, status: r.status };
        if let Action::Reply { status } = request_reply(end, request) {
            self.respond(key, event_key, status, r)?;
            self.record_answer(event_key, status);
        }
        if r.in_pieces.is_none() {
            self.end_event(event_key);
        }
        Ok(())
    }

    /// The worker owes nothing more for this claim; without `released` it still looks at the slot.
    pub fn settle(&mut self, key: WorkerKey, claim: ClaimKey, event_key: EventKey, released: bool) {
        let worker = &mut self.workers[key];
        worker.leaves_flight(worker.claims[claim].batch);
        if let Some(event) = self.events.get(event_key) {
            self.triggers[event.trigger as usize].in_flight -= 1;
        }
        if released {
            worker.claims.remove(claim);
            self.drop_event_hold(event_key);
        } else {
            worker.claims[claim].state = ClaimState::Held;
            self.keep(key, event_key);
        }
        self.workers[key].trim_order();
    }

    fn take_release(&mut self, key: WorkerKey, number: u64) -> Result<(), Violation> {
        let kind = rings::abi::up::REQ_RELEASE;
        if self.release_within(key, number) {
            return Ok(());
        }
        let held = |state| state == ClaimState::Held;
        let (claim, event_key) = self.claim_in(key, number, kind, held)?;
        self.workers[key].claims.remove(claim);
        self.keep_no_more(key, event_key);
        self.drop_event_hold(event_key);
        Ok(())
    }

    fn take_skipped(&mut self, key: WorkerKey, number: u64) -> Result<(), Violation> {
        let (claim, event_key) = self.claim_in(key, number, rings::abi::up::SKIPPED, |state| {
            matches!(state, ClaimState::Owed | ClaimState::Recalled | ClaimState::GivenUp)
        })?;
        let state = self.workers[key].claims[claim].state;
        match state {
            // It was not begun although its entry was before the recall's answer.
            ClaimState::Owed => {
                self.counters.recalled += 1;
                self.settle(key, claim, event_key, true);
                self.requeue(event_key);
            }
            ClaimState::GivenUp => self.settle(key, claim, event_key, true),
            _ => {
                self.workers[key].claims.remove(claim);
                self.workers[key].recalled -= 1;
                self.drop_event_hold(event_key);
            }
        }
        Ok(())
    }

    fn take_chunk(&mut self, key: WorkerKey, number: u64, block: Block) -> Result<(), Violation> {
        let (claim, event_key) = self.claim_in(key, number, rings::abi::up::CHUNK, |state| {
            matches!(state, ClaimState::Answering | ClaimState::GivenUp)
        })?;
        self.count_piece(key, claim, number, block.bytes)?;
        if self.workers[key].claims[claim].state == ClaimState::GivenUp {
            let credit = Some(number);
            self.piece_done(super::http::send::Done::Block { worker: key, block, credit });
        } else {
            self.respond_piece(key, event_key, number, block);
        }
        Ok(())
    }

    fn take_end(&mut self, key: WorkerKey, number: u64, broken: bool) -> Result<(), Violation> {
        let (claim, event_key) = self.claim_in(key, number, rings::abi::up::END, |state| {
            matches!(state, ClaimState::Answering | ClaimState::GivenUp)
        })?;
        let held = &self.workers[key].claims[claim];
        let Some(pieces) = held.pieces else {
            let (kind, why) = (rings::abi::up::END, "has not begun its reply");
            return Err(Violation::Claim { kind, claim: number, why });
        };
        if !broken {
            let kind = rings::abi::up::END;
            pieces.end().map_err(|why| Violation::Claim { kind, claim: number, why })?;
        }
        if held.state == ClaimState::Answering {
            if pieces.is_stream() {
                self.count_stream(event_key, broken);
            }
            self.respond_end(event_key, broken);
            self.end_event(event_key);
        }
        self.settle(key, claim, event_key, pieces.released);
        Ok(())
    }

    /// The claim that an entry names, if it is this worker's and in a state that allows the entry.
    pub fn claim_in(
        &self,
        key: WorkerKey,
        number: u64,
        kind: u8,
        allowed: impl Fn(ClaimState) -> bool,
    ) -> Result<(ClaimKey, EventKey), Violation> {
        let worker = &self.workers[key];
        let Some(claim) = worker.claim_of(number) else {
            return Err(Violation::Claim { kind, claim: number, why: "not one of this worker's" });
        };
        let held = &worker.claims[claim];
        if !allowed(held.state) {
            return Err(Violation::Claim { kind, claim: number, why: "not in a state for it" });
        }
        Ok((claim, held.event))
    }

    fn worker_ready(&mut self, key: WorkerKey, concurrency: u32) {
        let worker = &mut self.workers[key];
        if worker.state != WorkerState::Starting {
            return;
        }
        worker.state = WorkerState::Ready;
        worker.was_ready = true;
        let most = worker.end.tags().saturating_sub(HAND_AHEAD_MAX + ESCAPE_MAX);
        worker.concurrency = concurrency.min(most.max(1));
        let runtime_version = worker.end.runtime_version().to_owned();
        let id = worker.id;
        if self.draining.is_some() {
            self.workers[key].state = WorkerState::Retiring;
            self.stop_if_idle(key);
        }
        self.to_pool.send(ToPool::Ready { id, runtime_version });
    }

    fn init_failed(&mut self, key: WorkerKey, reason: u16, block: Block) {
        let worker = &mut self.workers[key];
        let mut text = vec![0; block.bytes as usize];
        worker.end.copy_block(block, &mut text);
        let text = String::from_utf8_lossy(&text).into_owned();
        let (id, usage) = (worker.id, reason == init_failed::USAGE);
        self.to_pool.send(ToPool::InitFailed { id, usage, text });
    }

    /// Moves log records of a worker to the log thread.
    pub fn drain_logs(&mut self, key: WorkerKey, most: usize) -> Result<(), Violation> {
        for _ in 0..most {
            let Some(worker) = self.workers.get_mut(key) else { return Ok(()) };
            let Some(record) = worker.end.next_log()? else { break };
            self.take_log(key, record);
        }
        if let Some(worker) = self.workers.get_mut(key) {
            let dropped = u64::from(worker.end.newly_dropped_logs());
            if dropped > 0 {
                self.log.count_dropped(dropped);
            }
        }
        Ok(())
    }

    /// Takes the records before a position: those of the event whose reply follows.
    fn drain_logs_to(&mut self, key: WorkerKey, position: u32) -> Result<(), Violation> {
        while (position.wrapping_sub(self.workers[key].end.log_position()) as i32) > 0 {
            match self.workers[key].end.next_log()? {
                Some(record) => self.take_log(key, record),
                None => break,
            }
        }
        Ok(())
    }

    fn take_log(&mut self, key: WorkerKey, record: LogRecord) {
        let worker = &self.workers[key];
        let worker_id = worker.id;
        let claim = worker.claim_of(record.head.claim);
        let event_key = claim.map(|claim| worker.claims[claim].event);
        let event = event_key.and_then(|event_key| self.events.get_mut(event_key));
        let mut line = Record {
            time_ns: record.head.time_ns,
            level: level_of(record.head.level),
            worker: Some(worker_id),
            trigger: None,
            event_id: Vec::new(),
            message: Vec::new(),
            fields: Vec::new(),
        };
        if let Some(event) = event {
            line.trigger = Some(self.triggers[event.trigger as usize].name.clone());
            line.event_id = rings::abi::uuid_text(&event.token).into_bytes();
            if let Some(logs) = event.logs.as_mut().filter(|l| record.head.level >= l.level) {
                let bytes = record.message.len() + record.fields.len();
                if logs.bytes + bytes <= REPLY_LOG_BYTES_MAX {
                    logs.bytes += bytes;
                    logs.records.push(record.clone());
                } else {
                    logs.cut += 1;
                }
            }
        }
        line.message = record.message;
        line.fields = record.fields;
        self.log.try_send(line);
    }

    /// A worker that gets no more events is told to stop when it has none left.
    pub fn stop_if_idle(&mut self, key: WorkerKey) {
        let Some(worker) = self.workers.get_mut(key) else { return };
        if worker.state != WorkerState::Retiring || worker.in_flight > 0 {
            return;
        }
        worker.state = WorkerState::Stopping;
        if !worker.claims.is_empty() && self.draining.is_none() {
            // What it keeps is missed by the others until it ends.
            worker.kill_at_ns = self.clock.now_ns + KEEPER_STOP_NS;
        }
        let entry = |kind, aux| rings::abi::Entry { kind, aux, ..Default::default() };
        // A worker that makes room for another is not the end of its triggers.
        let draining = self.draining.is_some();
        let drains = self.pools[worker.pool as usize].triggers.iter().filter(|_| draining);
        let told = drains
            .map(|trigger| entry(rings::abi::down::DRAIN, *trigger))
            .chain([entry(rings::abi::down::STOP, 0)])
            .try_for_each(|entry| worker.end.push_control(entry))
            .and_then(|()| worker.end.publish());
        match told {
            Ok(rang) => self.counters.bells_down += u64::from(rang),
            Err(violation) => self.violated(key, violation),
        }
    }

    /// Where an event is now, for its worker's end.
    pub fn is_claimed_by(&self, event_key: EventKey, key: WorkerKey) -> bool {
        matches!(self.events.get(event_key).map(|e| e.place), Some(Place::Claimed(k, _)) if k == key)
    }
}

impl Worker {
    fn cause_is_violation(&self) -> bool {
        matches!(self.cause, DeathCause::Violation(_))
    }
}

fn level_of(number: u8) -> Level {
    Level::ALL[usize::from(number).min(Level::ALL.len() - 1)]
}

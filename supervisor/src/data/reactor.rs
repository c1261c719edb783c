//! The loop of the data thread: everything that can wake it, and what is done in a turn.
//!
//! A turn: wake-ups, messages, completions, timers, dispatch, then arm every worker and sleep. No
//! turn is unbounded: what is left over makes the next poll return at once.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;
use mio::unix::SourceFd;
use mio::{Events as Wakes, Interest, Poll, Token, Waker};
use rings::os::{monotonic_ns, realtime_ns};
use rings::slots::Slots;
use slotmap::SlotMap;

use super::http::conn::{Conn, ConnId};
use super::http::listen::Listener;
use super::http::parse::HeaderTable;
use super::http::respond::DateCache;
use super::inflight::{Events, Worker, WorkerKey};
use super::quota::Quota;
use super::timers::TimerQueue;
use super::{DataConfig, dispatch::Pool, dispatch::Trigger};
use crate::crossing::{Counters, ToData, ToPoolSender};
use crate::limits::{PENDING_MAX, READ_BYTES, TICK_NS, WAKES_PER_TURN_MAX};
use crate::log::Log;
use crate::record::Recorder;

/// Everything that can wake the data thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// A message from another thread.
    Message,
    /// A connection waits at a trigger's listener.
    Accept { trigger: u16 },
    /// A connection can be read or written.
    Connection(ConnId),
    /// A worker has rung.
    Completions(u32),
    /// A worker process has ended.
    Ended(u32),
}

const KIND_SHIFT: u32 = 60;
const GENERATION_SHIFT: u32 = 32;
/// Generations of connections are counted in the bits between index and kind.
pub const GENERATION_MASK: u32 = (1 << (KIND_SHIFT - GENERATION_SHIFT)) - 1;

impl Wake {
    /// As the number that the kernel gives back.
    pub fn token(self) -> Token {
        let (kind, high, low) = match self {
            Wake::Message => (0, 0, 0),
            Wake::Accept { trigger } => (1, 0, u32::from(trigger)),
            Wake::Connection(id) => (2, id.generation, id.index),
            Wake::Completions(worker) => (3, 0, worker),
            Wake::Ended(worker) => (4, 0, worker),
        };
        Token(kind << KIND_SHIFT | (high as usize) << GENERATION_SHIFT | low as usize)
    }

    /// Back from that number.
    pub fn of(token: Token) -> Wake {
        let (high, low) = ((token.0 >> GENERATION_SHIFT) as u32 & GENERATION_MASK, token.0 as u32);
        match token.0 >> KIND_SHIFT {
            0 => Wake::Message,
            1 => Wake::Accept { trigger: low as u16 },
            2 => Wake::Connection(ConnId { index: low, generation: high }),
            3 => Wake::Completions(low),
            _ => Wake::Ended(low),
        }
    }
}

/// The time, read once a turn.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clock {
    pub now_ns: u64,
    pub unix_ns: u64,
}

/// Everything the data thread owns.
pub struct Data {
    pub poll: Poll,
    pub messages: Receiver<ToData>,
    pub to_pool: ToPoolSender,
    pub log: Log,
    pub clock: Clock,
    pub date: DateCache,
    pub turn: u64,

    pub slots: Slots,
    pub events: Events,
    pub workers: SlotMap<WorkerKey, Worker>,
    /// Worker numbers in tokens to keys; grows with workers alive, freed numbers are used again.
    pub worker_keys: Vec<Option<WorkerKey>>,
    pub triggers: Vec<Trigger>,
    pub pools: Vec<Pool>,
    pub pending_quota: Quota,
    pub slot_quota: Quota,
    pub upload_bytes: u64,
    /// Bytes of slots with pieces of bodies that go to running handlers.
    pub piece_bytes: u64,

    pub listeners: Vec<Listener>,
    pub conns: Vec<Option<Box<Conn>>>,
    pub free_conns: Vec<u32>,
    pub conn_count: usize,
    pub conn_generation: u32,
    pub connections_max: usize,
    pub accept_paused_until_ns: u64,
    pub accept_silent_until_ns: u64,
    pub short_timers: TimerQueue<ConnId>,
    pub long_timers: TimerQueue<ConnId>,
    pub linger_timers: TimerQueue<ConnId>,
    /// Connections that wait for a slot, first come first served.
    pub starved: VecDeque<ConnId>,
    /// Connections whose body goes to a running handler and waits for a slot.
    pub starved_uploads: VecDeque<ConnId>,
    /// The upload that may take the last part of the share of all uploads.
    pub first_upload: Option<ConnId>,
    /// Connections whose reply has not left worker memory.
    pub pinned: VecDeque<(u64, ConnId)>,
    /// Connections with bytes left to be looked at in the next turn.
    pub again: VecDeque<ConnId>,
    pub spilled_bytes: usize,

    pub scratch: Vec<u8>,
    /// Taken out while a head is parsed; boxed, so that taking moves a pointer.
    pub table: Option<Box<HeaderTable>>,
    pub head_buf: Vec<u8>,
    pub block_buf: Vec<u8>,

    pub draining: Option<u64>,
    /// The pool knows that nothing is in flight any more and that every worker was told to stop.
    pub drain_told: bool,
    pub counters: Counters,
    pub event_number: u64,
    pub run_id: [u8; 8],
    pub kept_text: Arc<[u8]>,
    pub pings: bool,
    pub spares_keepers: bool,
    pub recorder: Option<Recorder>,
    pub next_tick_ns: u64,
    /// A worker may have completions that nobody rang for.
    pub undrained: Vec<WorkerKey>,
    /// The last poll was allowed to wait.
    pub slept: bool,
}

impl Data {
    /// Registers listeners; nothing runs yet.
    pub fn new(config: DataConfig, messages: Receiver<ToData>) -> io::Result<Self> {
        let trigger_count = config.triggers.len();
        let total_bytes = config.slots.total_bytes();
        let poll = Poll::new()?;
        let mut listeners = Vec::new();
        let mut triggers = Vec::new();
        for (number, trigger) in config.triggers.into_iter().enumerate() {
            let (listener, trigger) = Trigger::split(trigger);
            listeners.push(Listener::register(&poll, listener, number as u16)?);
            triggers.push(trigger);
        }
        let pools = (0..config.pool_count).map(|pool| Pool::of(pool as u16, &triggers)).collect();
        let unix_ns = realtime_ns();
        Ok(Self {
            poll,
            messages,
            to_pool: config.to_pool,
            log: config.log,
            clock: Clock { now_ns: monotonic_ns(), unix_ns },
            date: DateCache::new(unix_ns / 1_000_000_000),
            turn: 0,
            slots: config.slots,
            events: Events::with_key(),
            workers: SlotMap::with_key(),
            worker_keys: Vec::new(),
            triggers,
            pools,
            pending_quota: Quota::new(u64::from(PENDING_MAX), trigger_count),
            slot_quota: Quota::new(total_bytes, trigger_count),
            upload_bytes: 0,
            piece_bytes: 0,
            listeners,
            conns: Vec::new(),
            free_conns: Vec::new(),
            conn_count: 0,
            conn_generation: 0,
            connections_max: config.connections_max,
            accept_paused_until_ns: 0,
            accept_silent_until_ns: 0,
            short_timers: TimerQueue::default(),
            long_timers: TimerQueue::default(),
            linger_timers: TimerQueue::default(),
            starved: VecDeque::new(),
            starved_uploads: VecDeque::new(),
            first_upload: None,
            pinned: VecDeque::new(),
            again: VecDeque::new(),
            spilled_bytes: 0,
            scratch: vec![0; READ_BYTES],
            table: Some(Box::new(HeaderTable::new())),
            head_buf: Vec::with_capacity(1024),
            block_buf: Vec::new(),
            draining: None,
            drain_told: false,
            counters: Counters::default(),
            event_number: 0,
            run_id: config.run_id,
            kept_text: config.kept_text,
            pings: config.pings,
            spares_keepers: config.spares_keepers,
            recorder: config.recorder,
            next_tick_ns: 0,
            undrained: Vec::new(),
            slept: false,
        })
    }

    /// What other threads wake the loop with.
    pub fn waker(&self) -> io::Result<Arc<Waker>> {
        Ok(Arc::new(Waker::new(self.poll.registry(), Wake::Message.token())?))
    }

    /// Runs until the drain is over and every worker has ended.
    pub fn run(&mut self) {
        let mut wakes = Wakes::with_capacity(WAKES_PER_TURN_MAX);
        loop {
            let timeout = self.sleep_time();
            self.slept = timeout != Some(Duration::ZERO);
            match self.poll.poll(&mut wakes, timeout) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // The only other errors are bugs of ours (bad descriptor, bad argument).
                Err(e) => panic!("poll: {e}"),
            }
            self.turn(&wakes);
            if self.is_over() {
                return;
            }
        }
    }

    fn turn(&mut self, wakes: &Wakes) {
        self.turn += 1;
        self.counters.polls += 1;
        let slept_ns = self.clock.now_ns;
        self.read_clock();
        if self.slept && wakes.is_empty() && self.clock.now_ns - slept_ns >= TICK_NS / 2 {
            self.look_for_lost_bells();
        }
        // Completions first: they free workers, slots and connections for what comes after.
        for wake in wakes {
            match Wake::of(wake.token()) {
                Wake::Completions(worker) => self.rung(worker),
                Wake::Ended(worker) => self.ended(worker),
                _ => {}
            }
        }
        self.drain_undrained();
        for wake in wakes {
            match Wake::of(wake.token()) {
                Wake::Message => self.take_messages(),
                Wake::Accept { trigger } => self.accept(trigger),
                Wake::Connection(id) => self.connection_ready(id, wake),
                _ => {}
            }
        }
        self.look_again();
        self.feed_starved();
        self.feed_starved_uploads();
        self.run_timers();
        self.dispatch();
        self.progress_drain();
    }

    /// After a sleep that nothing ended, an answer may wait whose bell is still on its way, if the
    /// worker was stopped between the two. If the bell does not come for two ticks, it was lost:
    /// counted, because it must not happen; the answer is taken either way, since arming sees it.
    fn look_for_lost_bells(&mut self) {
        let now = self.clock.now_ns;
        for worker in self.workers.values_mut() {
            match worker.silent_since_ns {
                0 if worker.end.has_more() => worker.silent_since_ns = now,
                0 => {}
                since if now - since >= 2 * TICK_NS => {
                    self.counters.wakeup_rescues += 1;
                    worker.silent_since_ns = 0;
                }
                _ => {}
            }
        }
    }

    /// Reads both clocks.
    pub fn read_clock(&mut self) {
        self.clock = Clock { now_ns: monotonic_ns(), unix_ns: realtime_ns() };
        self.date.set(self.clock.unix_ns / 1_000_000_000);
    }

    /// Arms every worker and says how long the poll may sleep; `None` = until something happens.
    fn sleep_time(&mut self) -> Option<Duration> {
        for (key, worker) in &mut self.workers {
            if !worker.end.arm() {
                self.undrained.push(key);
            }
        }
        if !self.undrained.is_empty() || !self.again.is_empty() {
            return Some(Duration::ZERO);
        }
        let due = self.next_due_ns()?;
        Some(Duration::from_nanos(due.saturating_sub(monotonic_ns())))
    }

    /// The earliest thing that must happen without a wake-up.
    fn next_due_ns(&mut self) -> Option<u64> {
        let tick = self.needs_tick().then(|| self.clock.now_ns + TICK_NS);
        let dues = [tick, self.next_deadline_ns(), self.next_connection_timer_ns()];
        dues.into_iter().flatten().min()
    }

    /// Registers both descriptors of a worker.
    pub fn watch_worker(&mut self, key: WorkerKey) -> io::Result<()> {
        let number = match self.worker_keys.iter().position(Option::is_none) {
            Some(free) => free,
            None => {
                self.worker_keys.push(None);
                self.worker_keys.len() - 1
            }
        };
        let worker = &self.workers[key];
        let registry = self.poll.registry();
        let up = worker.end.up_bell().as_raw_fd();
        let ended = worker.pidfd.as_fd().as_raw_fd();
        let number_u32 = number as u32;
        registry.register(
            &mut SourceFd(&up),
            Wake::Completions(number_u32).token(),
            Interest::READABLE,
        )?;
        registry.register(
            &mut SourceFd(&ended),
            Wake::Ended(number_u32).token(),
            Interest::READABLE,
        )?;
        self.worker_keys[number] = Some(key);
        Ok(())
    }

    /// Takes a worker's descriptors out of the poll; they are closed with it.
    pub fn unwatch_worker(&mut self, key: WorkerKey) {
        let registry = self.poll.registry();
        if let Some(worker) = self.workers.get(key) {
            for fd in [worker.end.up_bell().as_raw_fd(), worker.pidfd.as_fd().as_raw_fd()] {
                // Fails only for a descriptor that was never registered.
                let _ = registry.deregister(&mut SourceFd(&fd));
            }
        }
        if let Some(slot) = self.worker_keys.iter_mut().find(|slot| **slot == Some(key)) {
            *slot = None;
        }
    }

    /// The worker behind the number in a token.
    pub fn worker_key(&self, number: u32) -> Option<WorkerKey> {
        self.worker_keys.get(number as usize).copied().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wake_survives_its_token() {
        let id = ConnId { index: u32::MAX, generation: GENERATION_MASK };
        for wake in [
            Wake::Message,
            Wake::Accept { trigger: u16::MAX },
            Wake::Connection(id),
            Wake::Completions(u32::MAX),
            Wake::Ended(7),
        ] {
            assert_eq!(Wake::of(wake.token()), wake);
        }
    }
}

//! The one connection of this process to its processor, and whose event is being handled.
//!
//! Any Python thread may log or let go of a view, so the worker stands behind a lock. Whoever holds
//! the lock never runs Python code and never waits for the interpreter, so threads that hold the
//! interpreter may wait for the lock. A forked child has no connection: the rings are its parent's.

use std::cell::Cell;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::ThreadId;

use pyo3::prelude::*;
use shim::{BodyStep, Down, Level, Offer, Origin, Reply, ReplyBody, Sending, ShimError, Worker};

use crate::buffer;
use crate::finish::Turn;
use crate::trigger::TriggerInfo;

static LINK: OnceLock<Link> = OnceLock::new();
/// The event a sync handler is working on; 0 between events.
static CURRENT_CLAIM: AtomicU64 = AtomicU64::new(0);
/// Several threads run the handler, each with an event of its own.
static IS_PER_THREAD: AtomicBool = AtomicBool::new(false);
thread_local! {
    /// The event that this thread of several works on; 0 between events.
    static CLAIM_OF_THREAD: Cell<u64> = const { Cell::new(0) };
}
/// When the answers are due that have a deadline, by tag: `context.deadline` asks.
static DEADLINES: OnceLock<Box<[AtomicU64]>> = OnceLock::new();
/// Events under way whose client wants log records, and the lowest level any of them wants.
static WANTING: AtomicU32 = AtomicU32::new(0);
static WANTED_LEVEL: AtomicU8 = AtomicU8::new(NOT_WANTED);
const NOT_WANTED: u8 = u8::MAX;
/// With an async handler: the `ContextVar` that holds the claim of the running task's event.
static CURRENT_OF_TASK: OnceLock<Py<PyAny>> = OnceLock::new();

/// See the module.
pub struct Link {
    inner: Mutex<Inner>,
    /// Rung when `Inner::news` has changed.
    came: Condvar,
    bell: OwnedFd,
    /// The thread that calls the handler.
    thread: ThreadId,
    offer: Offer,
    triggers: Vec<Py<TriggerInfo>>,
}

/// What the lock guards. Several threads may wait for something to come down, of which one alone
/// reads the bell: who waits beside it waits for that one, and all look again when it has woken.
struct Inner {
    worker: Worker,
    /// A thread sleeps on the bell.
    has_sleeper: bool,
    /// Threads that wait for the sleeper.
    beside: u32,
    /// Counts the wakes of sleepers.
    news: u32,
}

/// Bodies from here on are copied without holding the interpreter, so that other Python threads
/// run meanwhile; below, letting go of it costs more than the copy.
const DETACH_BYTES: usize = 256 * 1024;

/// Attaches this process to the processor that started it.
pub fn attach(py: Python<'_>, python_version: &str) -> Result<&'static Link, ShimError> {
    let (worker, offer) = py.detach(|| Worker::attach("python", python_version))?;
    let bell = worker.bell().try_clone_to_owned()?;
    buffer::note_forks();
    let triggers = offer
        .triggers
        .iter()
        .filter_map(|t| Py::new(py, TriggerInfo::of(py, &t.kind, &t.name)).ok())
        .collect();
    let _ = DEADLINES.set((0..offer.tags).map(|_| AtomicU64::new(0)).collect());
    let inner = Mutex::new(Inner { worker, has_sleeper: false, beside: 0, news: 0 });
    let thread = std::thread::current().id();
    let link = Link { inner, came: Condvar::new(), bell, thread, offer, triggers };
    Ok(LINK.get_or_init(|| link))
}

/// The connection; `None` without a processor and in a forked child.
#[inline]
pub fn link() -> Option<&'static Link> {
    if buffer::is_forked() { None } else { LINK.get() }
}

/// The trigger with this number, as handlers see it.
pub fn trigger(py: Python<'_>, number: u16) -> Option<Py<TriggerInfo>> {
    let triggers = &LINK.get()?.triggers;
    triggers.get(usize::from(number)).map(|trigger| trigger.clone_ref(py))
}

/// The event that the running code belongs to; 0 for none.
pub fn current_claim(py: Python<'_>) -> u64 {
    match CURRENT_OF_TASK.get() {
        None if is_per_thread() => CLAIM_OF_THREAD.get(),
        None => CURRENT_CLAIM.load(Ordering::Relaxed),
        Some(variable) => variable
            .bind(py)
            .call_method0(pyo3::intern!(py, "get"))
            .and_then(|claim| claim.extract())
            .unwrap_or(0),
    }
}

/// Notes which event a sync handler works on.
#[inline]
pub fn set_current_claim(claim: u64) {
    if is_per_thread() {
        CLAIM_OF_THREAD.set(claim);
    } else {
        CURRENT_CLAIM.store(claim, Ordering::Relaxed);
    }
}

/// True if each of several threads has an event of its own.
#[inline]
pub fn is_per_thread() -> bool {
    IS_PER_THREAD.load(Ordering::Relaxed)
}

/// From now on several threads run the handler.
pub fn set_current_per_thread() {
    IS_PER_THREAD.store(true, Ordering::Relaxed);
}

/// Notes when the answer to an event is due that has begun.
#[inline]
pub fn note_deadline(claim: u64, deadline_ns: u64) {
    if deadline_ns != 0
        && let Some(place) = DEADLINES.get().and_then(|all| all.get(claim as u32 as usize))
    {
        place.store(deadline_ns, Ordering::Relaxed);
    }
}

/// When the answer to the current event is due, on CLOCK_MONOTONIC; 0 = never, or no event.
pub fn current_deadline_ns(py: Python<'_>) -> u64 {
    let claim = current_claim(py);
    let place = DEADLINES.get().and_then(|all| all.get(claim as u32 as usize));
    place.filter(|_| claim != 0).map_or(0, |place| place.load(Ordering::Relaxed))
}

/// An event begins whose client wants log records from this level on. While one is under way, all
/// records from its level on go up; the processor sorts them by event and by its own level.
pub fn want_from(level: Option<u8>) {
    if let Some(level) = level {
        WANTING.fetch_add(1, Ordering::Relaxed);
        WANTED_LEVEL.fetch_min(level, Ordering::Relaxed);
    }
}

/// Such an event has been answered.
fn want_no_more(level: Option<u8>) {
    if level.is_some() && WANTING.fetch_sub(1, Ordering::Relaxed) == 1 {
        WANTED_LEVEL.store(NOT_WANTED, Ordering::Relaxed);
    }
}

/// The lowest level that an event under way wants in its reply.
#[inline]
pub fn wanted_level() -> u8 {
    WANTED_LEVEL.load(Ordering::Relaxed)
}

/// From now on each task has its own event, kept in this `ContextVar`.
pub fn set_current_of_task(variable: Py<PyAny>) {
    let _ = CURRENT_OF_TASK.set(variable);
}

/// True in the worker of an async handler.
pub fn is_per_task() -> bool {
    CURRENT_OF_TASK.get().is_some()
}

/// What came of looking for work.
pub enum Next {
    /// Work.
    Down(Down),
    /// Nothing, and the bell will ring when there is.
    Armed,
}

impl Link {
    #[inline]
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing that panics half-way leaves the worker in a worse state than the panic itself.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the processor said at the start.
    pub fn offer(&self) -> &Offer {
        &self.offer
    }

    /// True for the thread that calls the handler.
    pub fn is_served_by(&self, thread: ThreadId) -> bool {
        self.thread == thread
    }

    /// The next thing to do, or a promise of the bell to an event loop.
    #[inline]
    pub fn next(&self) -> Result<Next, ShimError> {
        let worker = &mut self.lock().worker;
        loop {
            if let Some(down) = worker.poll()? {
                return Ok(Next::Down(down));
            }
            if worker.arm() {
                return Ok(Next::Armed);
            }
        }
    }

    /// The next thing to do; `None` after a sleep, so that signal handlers have their turn. Neither
    /// the lock nor the interpreter is held meanwhile.
    #[inline]
    pub fn next_or_sleep(&self, py: Python<'_>) -> Result<Option<Down>, ShimError> {
        let mut inner = self.lock();
        loop {
            if let Some(down) = inner.worker.poll()? {
                return Ok(Some(down));
            }
            if inner.has_sleeper {
                let seen = inner.news;
                drop(inner);
                py.detach(|| self.wait_beside(self.lock(), seen).worker.woken());
                return Ok(None);
            }
            if inner.worker.arm() {
                inner.has_sleeper = true;
                drop(inner);
                py.detach(|| self.sleep().map(|mut inner| inner.worker.woken()))?;
                return Ok(None);
            }
        }
    }

    /// Waits until somebody has slept on the bell since `seen`.
    fn wait_beside<'a>(
        &self,
        mut inner: MutexGuard<'a, Inner>,
        seen: u32,
    ) -> MutexGuard<'a, Inner> {
        inner.beside += 1;
        while inner.news == seen {
            inner = self.came.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        inner.beside -= 1;
        inner
    }

    /// Sleeps on the bell as the one who does.
    fn sleep(&self) -> Result<MutexGuard<'_, Inner>, ShimError> {
        let slept = rings::worker_end::sleep_on(self.bell.as_fd());
        let mut inner = self.lock();
        inner.has_sleeper = false;
        inner.news = inner.news.wrapping_add(1);
        if inner.beside > 0 {
            self.came.notify_all();
        }
        if slept? { Ok(inner) } else { Err(ShimError::ProcessorGone) }
    }

    /// Waits for something to come down, for one that found no room just now.
    fn wait<'a>(
        &'a self,
        mut inner: MutexGuard<'a, Inner>,
    ) -> Result<MutexGuard<'a, Inner>, ShimError> {
        if inner.has_sleeper {
            let seen = inner.news;
            return Ok(self.wait_beside(inner, seen));
        }
        if !inner.worker.take_controls()? {
            return Ok(inner);
        }
        inner.has_sleeper = true;
        drop(inner);
        self.sleep()
    }

    /// Answers an event. True if a loop that sleeps on the bell must poll again. `may_detach` =
    /// other Python threads may run while a large body is copied.
    pub fn reply(
        &self,
        py: Python<'_>,
        turn: Turn,
        reply: &Reply<'_>,
        released: bool,
        may_detach: bool,
    ) -> Result<bool, ShimError> {
        want_no_more(turn.wanted_level);
        if may_detach && matches!(reply.body, ReplyBody::Bytes(b) if b.len() >= DETACH_BYTES) {
            let mut sending = self.sending(turn, reply, released);
            return py.detach(|| self.send(&mut sending));
        }
        let mut inner = self.lock();
        let mut sending = inner.worker.sending(turn.claim, turn.begun_ns, reply, released);
        if inner.worker.go_on(&mut sending)? {
            return Ok(inner.worker.took_inside());
        }
        drop(inner);
        if may_detach { py.detach(|| self.send(&mut sending)) } else { self.send(&mut sending) }
    }

    fn sending<'a>(&self, turn: Turn, reply: &Reply<'a>, released: bool) -> Sending<'a> {
        self.lock().worker.sending(turn.claim, turn.begun_ns, reply, released)
    }

    fn send(&self, sending: &mut Sending<'_>) -> Result<bool, ShimError> {
        let mut inner = self.lock();
        while !inner.worker.go_on(sending)? {
            inner = self.wait(inner)?;
        }
        Ok(inner.worker.took_inside())
    }

    /// Sends the head of a streamed reply.
    pub fn begin_stream(
        &self,
        py: Python<'_>,
        turn: Turn,
        reply: &Reply<'_>,
        released: bool,
    ) -> Result<(), ShimError> {
        want_no_more(turn.wanted_level);
        let begin = |inner: &mut Inner| {
            inner.worker.begin_stream(turn.claim, turn.begun_ns, reply, released)
        };
        if begin(&mut self.lock())? {
            return Ok(());
        }
        py.detach(|| {
            let mut inner = self.lock();
            while !begin(&mut inner)? {
                inner = self.wait(inner)?;
            }
            Ok(())
        })
    }

    /// Sends what it can of a piece; 0 if the stream must wait.
    pub fn try_piece(&self, claim: u64, bytes: &[u8]) -> Result<usize, ShimError> {
        self.lock().worker.try_piece(claim, bytes)
    }

    /// The same, but where the stream must wait, it waits; 0 after that. The interpreter is not held
    /// meanwhile.
    pub fn piece_or_wait(
        &self,
        py: Python<'_>,
        claim: u64,
        bytes: &[u8],
    ) -> Result<usize, ShimError> {
        let sent = self.try_piece(claim, bytes)?;
        if sent > 0 || bytes.is_empty() {
            return Ok(sent);
        }
        py.detach(|| {
            let mut inner = self.lock();
            // Room may have come since.
            let sent = inner.worker.try_piece(claim, bytes)?;
            if sent == 0 {
                drop(self.wait(inner)?);
            }
            Ok(sent)
        })
    }

    /// Ends a streamed reply.
    pub fn end_stream(&self, claim: u64, broken: bool) -> Result<(), ShimError> {
        self.lock().worker.end_stream(claim, broken)
    }

    /// The next piece of a streamed request body, handed to `take` to be copied.
    pub fn body_piece(&self, claim: u64, take: impl FnOnce(&[u8])) -> Result<BodyStep, ShimError> {
        self.lock().worker.body_piece(claim, take)
    }

    /// Waits for something to come down, unless there is news of this body already. The interpreter
    /// is not held meanwhile.
    pub fn wait_for_body(&self, py: Python<'_>, claim: u64) -> Result<(), ShimError> {
        py.detach(|| {
            let inner = self.lock();
            if inner.worker.waits_for_body(claim) {
                drop(self.wait(inner)?);
            }
            Ok(())
        })
    }

    /// True if sending has used up a ring of the bell, so that a loop must poll again.
    pub fn took_inside(&self) -> bool {
        self.lock().worker.took_inside()
    }

    /// True if the processor no longer waits for this event.
    pub fn is_cancelled(&self, claim: u64) -> bool {
        self.lock().worker.is_cancelled(claim)
    }

    /// Gives up the right to look at an event's slot.
    pub fn release(&self, claim: u64) -> Result<(), ShimError> {
        self.lock().worker.release_claim(claim)
    }

    /// Writes one log record; never waits for the processor.
    pub fn log(&self, level: Level, origin: Origin, claim: u64, message: &[u8], fields: &[u8]) {
        self.lock().worker.log(level, origin, claim, message, fields);
    }

    /// Says that events may come.
    pub fn ready(&self, concurrency: u32) -> Result<(), ShimError> {
        let worker = &mut self.lock().worker;
        // Loading the code is not part of the first event.
        worker.woken();
        worker.ready(concurrency)
    }

    /// Says that the user's code cannot be served.
    pub fn init_failed(&self, usage: bool, text: &str) -> Result<(), ShimError> {
        self.lock().worker.init_failed(usage, text)
    }

    /// Says that the drain callback of a trigger has run.
    pub fn drained(&self, trigger: u16) -> Result<(), ShimError> {
        self.lock().worker.drained(trigger)
    }

    /// Number of the bell's descriptor, for an event loop that waits on it by itself.
    pub fn watch_bell(&self) -> Result<i32, ShimError> {
        rings::worker_end::watch(self.bell.as_fd())?;
        Ok(self.bell.as_raw_fd())
    }

    /// Reads the bell without waiting; false if the processor is gone.
    pub fn take_ring(&self) -> Result<bool, ShimError> {
        let alive = rings::worker_end::take_ring(self.bell.as_fd())?;
        self.lock().worker.woken();
        Ok(alive)
    }
}

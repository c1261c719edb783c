//! One worker: attach, ready, poll, reply, log, sleep.
//!
//! Not tied to a thread, but used by one at a time. What it must never do: begin a recalled event,
//! reuse a block before it came back, or write anything after it was told to stop.

use std::collections::{HashSet, VecDeque};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use rings::abi::{Entry, LogHead, down, down_flag, init_failed, outcome, up, up_flag};
use rings::attach::{AttachError, Offer, WORKER_FD_ENV, attach_worker};
use rings::memory::EventMemory;
use rings::os::{adopt_from_env, monotonic_ns, realtime_ns};
use rings::queue::Unreachable;
use rings::worker_end::WorkerEnd;

use crate::body::Bodies;
use crate::event::Event;
use crate::log::{Level, Origin};
use crate::reply::Reply;
use crate::stream::Streams;

/// What comes down to a worker.
#[derive(Debug)]
pub enum Down {
    /// Run the handler.
    Event(Event),
    /// Run the handler once with all of these; each must be answered by itself.
    Batch(Vec<Event>),
    /// Stop working on an event.
    Cancel {
        /// Which.
        claim: u64,
    },
    /// Run the drain callback of a trigger, then call [`Worker::drained`].
    Drain {
        /// Which.
        trigger: u16,
    },
    /// Finish what is in flight and exit.
    Stop,
}

/// Why a worker cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ShimError {
    /// Not started by a processor.
    #[error("{WORKER_FD_ENV} is not set: a worker is started by the processor, not by hand")]
    NotAWorker,
    /// The handshake failed.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// The rings are not in a state that a correct processor leaves them in.
    #[error("the processor broke the protocol: {0}")]
    Protocol(&'static str),
    /// The bell failed.
    #[error("waiting for the processor: {0}")]
    Bell(#[from] std::io::Error),
    /// The processor has ended.
    #[error("the processor is gone")]
    ProcessorGone,
}

impl From<Unreachable> for ShimError {
    fn from(_: Unreachable) -> Self {
        ShimError::Protocol("an index that it cannot have reached")
    }
}

/// Entries taken before their places are given back, so that the processor sees room early.
const RELEASE_EVERY_ENTRIES: u32 = 32;

/// See the module.
#[derive(Debug)]
pub struct Worker {
    pub(crate) end: WorkerEnd,
    pub(crate) memory: EventMemory,
    /// Entries met while waiting for something else; bounded by half of the submission ring, since
    /// only events are put aside.
    aside: VecDeque<(u32, Entry)>,
    taken: u32,
    /// Clock at the last wake or reply: when the next event begins.
    mark_ns: u64,
    /// A linked event failed: the linked rest comes back.
    link_broken: bool,
    pub(crate) chunks_out: u32,
    pub(crate) streams: Streams,
    pub(crate) bodies: Bodies,
    /// Claims whose replies found no block; while there are any, the processor holds none back.
    /// Bounded by the claims.
    without_block: HashSet<u64>,
    /// Entries were taken, or the bell was read, inside a reply.
    took_inside: bool,
    /// Begun events that [`Worker::poll_each`] has not handed out yet; bounded by a batch.
    of_batch: VecDeque<Event>,
    /// Events of the batch that [`Worker::poll_each`] hands out; 0 for none.
    batch_size: usize,
}

impl Worker {
    /// Attaches to the processor that started this process; `runtime_version` is the language's.
    pub fn attach(runtime: &str, runtime_version: &str) -> Result<(Self, Offer), ShimError> {
        let socket = adopt_from_env(WORKER_FD_ENV).ok_or(ShimError::NotAWorker)?;
        let (end, offer) = attach_worker(socket, runtime, runtime_version)?;
        let memory = end.event_memory();
        let tags = end.layout().tags;
        let worker = Self {
            end,
            memory,
            aside: VecDeque::new(),
            taken: 0,
            mark_ns: monotonic_ns(),
            link_broken: false,
            chunks_out: 0,
            streams: Streams::new(tags),
            bodies: Bodies::default(),
            without_block: HashSet::new(),
            took_inside: false,
            of_batch: VecDeque::new(),
            batch_size: 0,
        };
        Ok((worker, offer))
    }

    /// Says that the user's code is loaded; `concurrency` = events it can have in flight at once.
    pub fn ready(&mut self, concurrency: u32) -> Result<(), ShimError> {
        self.push(&Entry { kind: up::READY, value: concurrency, ..Default::default() })
    }

    /// Says that the user's code cannot be loaded; `usage` = it cannot be a function as it stands.
    pub fn init_failed(&mut self, usage: bool, text: &str) -> Result<(), ShimError> {
        let most = self.end.layout().arena_bytes as usize / 8;
        let text = &text.as_bytes()[..text.len().min(most)];
        let offset = self.end.take_block(text.len() as u32);
        let offset = offset.ok_or(ShimError::Protocol("the arena is in use before any event"))?;
        self.end.write_block(offset, 0, text);
        let reason = if usage { init_failed::USAGE } else { init_failed::FAILED };
        let a = rings::abi::block(offset, 0);
        let value = text.len() as u32;
        self.push(&Entry { kind: up::INIT_FAILED, aux: reason, value, a, ..Default::default() })
    }

    /// The next thing to do; `None` when there is nothing now.
    pub fn poll(&mut self) -> Result<Option<Down>, ShimError> {
        loop {
            let Some((index, entry)) = self.next_entry()? else { return Ok(None) };
            match entry.kind {
                down::EVENT if entry.flags & down_flag::BATCH_MORE != 0 => {
                    if let Some(events) = self.begin_batch(index, entry)? {
                        return Ok(Some(Down::Batch(events)));
                    }
                }
                down::EVENT => {
                    if let Some(event) = self.begin(index, &entry)? {
                        return Ok(Some(event.alone()));
                    }
                }
                down::CANCEL => return Ok(Some(Down::Cancel { claim: entry.claim })),
                down::DRAIN => return Ok(Some(Down::Drain { trigger: entry.aux })),
                down::STOP => return Ok(Some(Down::Stop)),
                _ => self.control(&entry)?,
            }
        }
    }

    /// As [`Worker::poll`] for runtimes that handle one event at a time: a batch comes event by event.
    pub fn poll_each(&mut self) -> Result<Option<Down>, ShimError> {
        if self.of_batch.is_empty() {
            self.batch_size = 0;
            match self.poll()? {
                Some(Down::Batch(events)) => {
                    self.batch_size = events.len();
                    self.of_batch.extend(events);
                }
                down => return Ok(down),
            }
        }
        Ok(self.of_batch.pop_front().map(|mut event| {
            event.begun_ns = self.mark_ns;
            Down::Event(event)
        }))
    }

    /// Of the batch whose event [`Worker::poll_each`] gave last: how many events it has, 0 for no
    /// batch, and how many of them are still to come.
    pub fn batch_at_hand(&self) -> (usize, usize) {
        (self.batch_size, self.of_batch.len())
    }

    pub(crate) fn next_entry(&mut self) -> Result<Option<(u32, Entry)>, ShimError> {
        if let Some(aside) = self.aside.pop_front() {
            return Ok(Some(aside));
        }
        let next = self.pop()?;
        if next.is_some() {
            self.taken += 1;
            if self.taken >= RELEASE_EVERY_ENTRIES {
                self.taken = 0;
                self.end.release_entries();
            }
        }
        Ok(next)
    }

    /// The next entry of the ring.
    fn pop(&mut self) -> Result<Option<(u32, Entry)>, ShimError> {
        let next = self.end.pop()?;
        if let Some((_, entry)) = &next {
            self.bodies.note(entry);
        }
        Ok(next)
    }

    /// Begins an event unless it was recalled or its chain is broken.
    fn begin(&mut self, index: u32, entry: &Entry) -> Result<Option<Event>, ShimError> {
        if self.must_skip(index, index, entry) {
            self.skip(entry)?;
            return Ok(None);
        }
        self.begun(entry).map(Some)
    }

    /// Begins the entries from `first` to `last`, or says that they come back; `entry` is the first.
    pub(crate) fn must_skip(&mut self, first: u32, last: u32, entry: &Entry) -> bool {
        let linked = entry.flags & down_flag::LINK != 0;
        self.link_broken &= linked;
        self.link_broken || !self.end.begin_all(first, last)
    }

    pub(crate) fn skip(&mut self, entry: &Entry) -> Result<(), ShimError> {
        self.bodies.close(entry.claim);
        self.push(&Entry { kind: up::SKIPPED, claim: entry.claim, ..Default::default() })
    }

    /// The event of an entry whose work begins now.
    pub(crate) fn begun(&self, entry: &Entry) -> Result<Event, ShimError> {
        let mut event = Event::read(entry, self.memory)
            .ok_or(ShimError::Protocol("an event outside the event memory"))?;
        event.begun_ns = self.mark_ns;
        Ok(event)
    }

    /// What needs nothing from the language.
    fn control(&mut self, entry: &Entry) -> Result<(), ShimError> {
        match entry.kind {
            down::RSP_RELEASE => {
                self.end.take_back(entry);
                Ok(())
            }
            down::CREDIT => {
                if !self.streams.taken(entry.claim, entry.value) {
                    self.chunks_out = self.chunks_out.saturating_sub(entry.value);
                }
                Ok(())
            }
            down::BODY_CHUNK | down::BODY_END => {
                self.bodies.came(entry);
                Ok(())
            }
            down::PING => {
                self.push(&Entry { kind: up::PONG, value: entry.value, ..Default::default() })
            }
            kind if kind >= down::OPTIONAL_FROM => {
                let aux = u16::from(kind);
                self.push(&Entry { kind: up::UNSUPPORTED, aux, ..Default::default() })
            }
            _ => Err(ShimError::Protocol("an entry kind this worker does not know")),
        }
    }

    /// Answers an event. `released` = its slot will not be looked at again (the `Event` must be
    /// dropped); otherwise [`Worker::release`] must follow.
    pub fn reply(
        &mut self,
        claim: u64,
        reply: &Reply<'_>,
        released: bool,
    ) -> Result<(), ShimError> {
        let begun = self.mark_ns;
        self.reply_begun(claim, begun, reply, released)
    }

    /// As [`Worker::reply`], for an event that others have run beside: `begun_ns` says when it began.
    pub fn reply_begun(
        &mut self,
        claim: u64,
        begun_ns: u64,
        reply: &Reply<'_>,
        released: bool,
    ) -> Result<(), ShimError> {
        let mut sending = self.sending(claim, begun_ns, reply, released);
        while !self.go_on(&mut sending)? {
            self.wait_for_control()?;
        }
        Ok(())
    }

    /// A RESPONSE with everything but its block.
    #[inline]
    pub(crate) fn response(
        &mut self,
        claim: u64,
        begun_ns: u64,
        reply: &Reply<'_>,
        released: bool,
    ) -> Entry {
        let now = monotonic_ns();
        let run_ns = u32::try_from(now.saturating_sub(begun_ns)).unwrap_or(u32::MAX);
        self.mark_ns = now;
        self.link_broken = reply.outcome != outcome::OK;
        let mut entry = Entry {
            kind: up::RESPONSE,
            aux: reply.status,
            claim,
            c: u64::from(run_ns) << 32
                | u64::from(reply.content_type) << 8
                | u64::from(reply.outcome),
            d: u64::from(self.end.log_position()),
            f: reply.retry_after_ns,
            ..Default::default()
        };
        entry.flags |= if released { up_flag::REQ_RELEASED } else { 0 };
        entry.flags |= if reply.head.as_bytes().is_empty() { 0 } else { up_flag::HAS_HEAD };
        entry
    }

    pub(crate) fn end_reply(&mut self, claim: u64, broken: bool) -> Result<(), ShimError> {
        self.bodies.close(claim);
        let aux = u16::from(broken);
        let d = u64::from(self.end.log_position());
        self.push(&Entry { kind: up::END, claim, aux, d, ..Default::default() })
    }

    /// Pieces of a large reply: a quarter of the arena, so that several are on their way at once.
    pub(crate) fn piece_bytes_max(&self) -> usize {
        self.end.layout().arena_bytes as usize / 4
    }

    /// Largest reply that goes up whole.
    pub fn reply_bytes_whole_max(&self) -> usize {
        self.piece_bytes_max()
    }

    /// A block of the arena for this claim; `None` if there is none, and then the processor is told
    /// that one is waited for.
    #[inline]
    pub(crate) fn block_for(&mut self, claim: u64, bytes: u32) -> Option<u32> {
        let block = self.end.take_block(bytes);
        match block {
            Some(_) if self.without_block.is_empty() => {}
            Some(_) => self.waits_no_more(claim),
            None => {
                // Who waits first rings: the processor may hold releases back.
                if self.without_block.is_empty() {
                    self.end.wait_for_blocks(true);
                }
                self.without_block.insert(claim);
            }
        }
        block
    }

    /// This claim has its block, or wants none any more.
    pub(crate) fn waits_no_more(&mut self, claim: u64) {
        if self.without_block.remove(&claim) && self.without_block.is_empty() {
            self.end.wait_for_blocks(false);
        }
    }

    /// Sleeps until something came down and works off control entries; events are put aside and
    /// begun later, never inside the reply of another.
    fn wait_for_control(&mut self) -> Result<(), ShimError> {
        let progressed = self.control_inside()?;
        if !progressed && self.end.arm() && !self.end.sleep()? {
            return Err(ShimError::ProcessorGone);
        }
        Ok(())
    }

    /// Works off the control entries that are there; true if there were any.
    pub(crate) fn control_inside(&mut self) -> Result<bool, ShimError> {
        self.took_inside = true;
        let mut progressed = false;
        while let Some((index, entry)) = self.pop()? {
            match entry.kind {
                down::RSP_RELEASE
                | down::CREDIT
                | down::PING
                | down::BODY_CHUNK
                | down::BODY_END => {
                    self.control(&entry)?;
                    progressed = true;
                }
                _ => self.aside.push_back((index, entry)),
            }
        }
        Ok(progressed)
    }

    /// Says that the event's slot will not be looked at again.
    pub fn release(&mut self, event: Event) -> Result<(), ShimError> {
        self.release_claim(event.claim)
    }

    /// As [`Worker::release`], when only the claim was kept.
    pub fn release_claim(&mut self, claim: u64) -> Result<(), ShimError> {
        self.push(&Entry { kind: up::REQ_RELEASE, claim, ..Default::default() })
    }

    /// Says that the drain callback of a trigger has run.
    pub fn drained(&mut self, trigger: u16) -> Result<(), ShimError> {
        self.push(&Entry { kind: up::DRAINED, aux: trigger, ..Default::default() })
    }

    /// True if the processor no longer waits for this event.
    pub fn is_cancelled(&self, claim: u64) -> bool {
        self.end.is_cancelled(claim)
    }

    /// Writes a log record of the event `claim` (0 for none); never waits.
    pub fn log(&mut self, level: Level, origin: Origin, claim: u64, message: &[u8], fields: &[u8]) {
        let head = LogHead {
            claim,
            time_ns: realtime_ns(),
            level: level as u8,
            origin: origin as u8,
            ..Default::default()
        };
        self.end.log(head, message, fields);
    }

    /// True if a reply since the last call had to wait, so that a ring of the bell may have been
    /// used up: a runtime that sleeps in an event loop of its own must poll again.
    pub fn took_inside(&mut self) -> bool {
        std::mem::take(&mut self.took_inside)
    }

    /// Says that the worker will sleep; true if it may.
    pub fn arm(&mut self) -> bool {
        self.aside.is_empty() && self.of_batch.is_empty() && self.end.arm()
    }

    /// Sleeps until the bell rings; false if the processor is gone. Call only after
    /// [`Worker::arm`] said true.
    pub fn sleep(&mut self) -> Result<bool, ShimError> {
        let alive = self.end.sleep()?;
        self.woken();
        Ok(alive)
    }

    /// For an event loop that waits for the bell by itself: its descriptor, which is only to be read
    /// by [`Worker::take_ring`]. Poll and arm behind everything that was done before the loop waits.
    pub fn watch_bell(&self) -> Result<RawFd, ShimError> {
        rings::worker_end::watch(self.end.bell())?;
        Ok(self.end.bell().as_raw_fd())
    }

    /// Reads a watched bell that was seen to ring, without waiting: a large reply may have used the
    /// ring up meanwhile. False if the processor is gone.
    pub fn take_ring(&mut self) -> Result<bool, ShimError> {
        let alive = rings::worker_end::take_ring(self.end.bell())?;
        self.woken();
        Ok(alive)
    }

    /// Tells the clock of run times that the worker slept until now; for runtimes that wait on the
    /// bell by themselves.
    pub fn woken(&mut self) {
        self.mark_ns = monotonic_ns();
    }

    /// When the event now polled began; for [`Worker::reply_begun`].
    pub fn mark_ns(&self) -> u64 {
        self.mark_ns
    }

    /// The bell, for an event loop.
    pub fn bell(&self) -> BorrowedFd<'_> {
        self.end.bell()
    }

    pub(crate) fn push(&mut self, entry: &Entry) -> Result<(), ShimError> {
        if self.end.push(entry)? {
            Ok(())
        } else {
            Err(ShimError::Protocol("the completion ring is full, against the credit law"))
        }
    }
}

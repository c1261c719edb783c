//! The processor's end of one worker's rings: publish events, drain answers, recall, lend and
//! release blocks, ring and arm. Never blocks and never trusts.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::abi::{Entry, Layout, block, d_word, down, u_word};
use crate::check::{Block, Lent, Up, check_up};
use crate::error::Violation;
use crate::log_ring::{LogMaps, LogReader, LogRecord};
use crate::memory::Map;
use crate::os::{self, ring_pipe};
use crate::queue::{Consumer, Mem, Producer, Word};
use crate::sync::Ordering;

/// The submission ring: entries and tail in D, head in U.
#[derive(Debug)]
pub struct SubmissionMem {
    pub(crate) d: Map,
    pub(crate) u: Map,
    pub(crate) entries: usize,
}

impl Mem for SubmissionMem {
    type Index = u32;
    fn load(&self, word: Word, order: Ordering) -> u32 {
        match word {
            Word::Tail => self.d.load(d_word::SQ_TAIL, order),
            Word::Head => self.u.load(u_word::SQ_HEAD, order),
            Word::WakeAt => self.u.load(u_word::SQ_WAKE_AT, order),
            Word::SpaceWakeAt => self.d.load(d_word::SQ_SPACE_WAKE_AT, order),
            Word::Started => self.u.load(u_word::STARTED, order),
            Word::Recall => self.d.load(d_word::RECALL, order),
        }
    }
    fn store(&self, word: Word, value: u32, order: Ordering) {
        match word {
            Word::Tail => self.d.store(d_word::SQ_TAIL, value, order),
            Word::Head => self.u.store(u_word::SQ_HEAD, value, order),
            Word::WakeAt => self.u.store(u_word::SQ_WAKE_AT, value, order),
            Word::SpaceWakeAt => self.d.store(d_word::SQ_SPACE_WAKE_AT, value, order),
            Word::Started => self.u.store(u_word::STARTED, value, order),
            Word::Recall => self.d.store(d_word::RECALL, value, order),
        }
    }
    fn read_entry(&self, place: u32) -> Entry {
        self.d.read_entry(self.entries + 64 * place as usize)
    }
    fn write_entry(&self, place: u32, entry: &Entry) {
        self.d.write_entry(self.entries + 64 * place as usize, entry);
    }
    fn touch_entry(&self, place: u32) {
        std::hint::black_box(self.d.load(self.entries + 64 * place as usize, Ordering::Relaxed));
    }
}

/// The completion ring: entries and tail in U, head in D. Nothing is recalled upwards.
#[derive(Debug)]
pub struct CompletionMem {
    pub(crate) d: Map,
    pub(crate) u: Map,
}

impl Mem for CompletionMem {
    type Index = u32;
    fn load(&self, word: Word, order: Ordering) -> u32 {
        match word {
            Word::Tail => self.u.load(u_word::CQ_TAIL, order),
            Word::Head => self.d.load(d_word::CQ_HEAD, order),
            Word::WakeAt => self.d.load(d_word::CQ_WAKE_AT, order),
            Word::SpaceWakeAt => self.u.load(u_word::CQ_SPACE_WAKE_AT, order),
            Word::Started | Word::Recall => 0,
        }
    }
    fn store(&self, word: Word, value: u32, order: Ordering) {
        match word {
            Word::Tail => self.u.store(u_word::CQ_TAIL, value, order),
            Word::Head => self.d.store(d_word::CQ_HEAD, value, order),
            Word::WakeAt => self.d.store(d_word::CQ_WAKE_AT, value, order),
            Word::SpaceWakeAt => self.u.store(u_word::CQ_SPACE_WAKE_AT, value, order),
            Word::Started | Word::Recall => {}
        }
    }
    fn read_entry(&self, place: u32) -> Entry {
        self.u.read_entry(u_word::ENTRIES + 64 * place as usize)
    }
    fn write_entry(&self, place: u32, entry: &Entry) {
        self.u.write_entry(u_word::ENTRIES + 64 * place as usize, entry);
    }
    fn touch_entry(&self, place: u32) {
        std::hint::black_box(self.u.load(u_word::ENTRIES + 64 * place as usize, Ordering::Relaxed));
    }
}

/// Blocks one RSP_RELEASE entry carries.
const BLOCKS_AN_ENTRY: usize = 6;

/// See the module.
#[derive(Debug)]
pub struct ProcessorEnd {
    sq: Producer<SubmissionMem>,
    cq: Consumer<CompletionMem>,
    d: Map,
    u: Map,
    layout: Layout,
    bell: OwnedFd,
    up: OwnedFd,
    lent: Lent,
    log: LogReader<LogMaps>,
    /// Blocks given back but not yet told to the worker.
    releases: Vec<u64>,
    releases_bytes: u32,
    /// Control entries that found no room; bounded by the tables of the caller (claims).
    controls: std::collections::VecDeque<Entry>,
    /// Found while arming, told by the next drain.
    violation: Option<Violation>,
    runtime_version: String,
}

impl ProcessorEnd {
    /// Over freshly created segments; made by the handshake.
    pub fn new(
        layout: Layout,
        d: Map,
        u: Map,
        bell: OwnedFd,
        up: OwnedFd,
        runtime_version: String,
    ) -> Self {
        let sq_mem = SubmissionMem { d: d.clone(), u: u.clone(), entries: layout.sq_entries() };
        let cq_mem = CompletionMem { d: d.clone(), u: u.clone() };
        Self {
            sq: Producer::new(sq_mem, layout.sq_capacity, 0),
            cq: Consumer::new(cq_mem, layout.cq_capacity, 0),
            log: LogReader::new(&layout, u.clone(), d.clone()),
            lent: Lent::new(layout.arena_bytes),
            releases: Vec::new(),
            releases_bytes: 0,
            controls: std::collections::VecDeque::new(),
            d,
            u,
            layout,
            bell,
            up,
            violation: None,
            runtime_version,
        }
    }

    /// Version of the interpreter, as the worker said.
    pub fn runtime_version(&self) -> &str {
        &self.runtime_version
    }

    /// Number of tags the cancel table has.
    pub fn tags(&self) -> u32 {
        self.layout.tags
    }

    /// Descriptor that becomes readable when the worker rings.
    pub fn up_bell(&self) -> BorrowedFd<'_> {
        self.up.as_fd()
    }

    /// Takes the rings out of the bell, for a wait that ends on what is in it.
    pub fn take_rings(&self) {
        os::take_rings(self.up.as_fd());
    }

    /// To be called after each ring by a wait that ends on every new one: takes the rings out where
    /// they would fill the bell. An eventfd has room for all of them, and is never read.
    pub fn keep_bell_empty(&self) {
        if os::UP_BELL_FILLS {
            self.take_rings();
        }
    }

    /// Entries that events may still use: at most half of the ring.
    pub fn event_room(&mut self) -> Result<u32, Violation> {
        let half = self.layout.sq_capacity / 2;
        if self.sq.room() <= half {
            self.sq.refresh()?;
        }
        Ok(self.sq.room().saturating_sub(half))
    }

    /// Writes an EVENT entry; `None` if events have used their half. Returns the entry's index.
    pub fn push_event(&mut self, entry: &Entry) -> Result<Option<u32>, Violation> {
        if self.event_room()? == 0 {
            return Ok(None);
        }
        Ok(self.sq.push(entry))
    }

    /// Writes a control entry, or keeps it until there is room.
    pub fn push_control(&mut self, entry: Entry) -> Result<(), Violation> {
        self.controls.push_back(entry);
        self.flush_controls()
    }

    fn flush_controls(&mut self) -> Result<(), Violation> {
        while let Some(entry) = self.controls.front() {
            if self.sq.room() == 0 {
                self.sq.refresh()?;
            }
            if self.sq.push(entry).is_none() {
                return Ok(());
            }
            self.controls.pop_front();
        }
        Ok(())
    }

    /// Stops an event: sets its place in the cancel table and sends CANCEL.
    pub fn cancel(&mut self, claim: u64, reason: u16) -> Result<(), Violation> {
        let (tag, generation) = (claim as u32, (claim >> 32) as u32);
        if tag < self.layout.tags {
            // Relaxed: the word is all that is said, nothing is read on its account.
            self.d.store(d_word::CANCEL + 4 * tag as usize, generation, Ordering::Relaxed);
        }
        self.push_control(Entry { kind: down::CANCEL, claim, aux: reason, ..Default::default() })
    }

    /// Makes everything pushed visible, blocks to be released included, and rings if the worker
    /// sleeps; true if it rang. What finds no room stays here, and the worker will ring when it has
    /// made some: [`ProcessorEnd::arm`] then sends the rest.
    pub fn publish(&mut self) -> Result<bool, Violation> {
        let mut rang = false;
        loop {
            self.flush_controls()?;
            self.push_releases()?;
            rang |= self.publish_pushed()?;
            let all_pushed = self.controls.is_empty() && self.releases.is_empty();
            if all_pushed || self.sq.arm_for_room()? {
                return Ok(rang);
            }
        }
    }

    fn publish_pushed(&mut self) -> Result<bool, Violation> {
        let ring = self.sq.publish();
        if ring {
            // A worker whose bell cannot be rung is dying; its end comes by the pidfd.
            let _ = ring_pipe(self.bell.as_fd());
        }
        Ok(ring)
    }

    fn push_releases(&mut self) -> Result<(), Violation> {
        while !self.releases.is_empty() {
            if self.sq.room() == 0 {
                self.sq.refresh()?;
            }
            let count = self.releases.len().min(BLOCKS_AN_ENTRY);
            let mut blocks = [0u64; BLOCKS_AN_ENTRY];
            blocks[..count].copy_from_slice(&self.releases[self.releases.len() - count..]);
            let [a, b, c, d, e, f] = blocks;
            let kind = down::RSP_RELEASE;
            let entry = Entry { kind, value: count as u32, a, b, c, d, e, f, ..Default::default() };
            if self.sq.push(&entry).is_none() {
                return Ok(());
            }
            self.releases.truncate(self.releases.len() - count);
        }
        self.releases_bytes = 0;
        Ok(())
    }

    /// Gives a block back. The worker is told with the next event, or sooner if it waits for room
    /// or a quarter of the arena is held back; so no worker is woken for this alone.
    pub fn release_block(&mut self, b: Block) -> Result<bool, Violation> {
        if b.bytes == 0 {
            return Ok(false);
        }
        self.lent.give_back(b);
        self.releases.push(block(b.offset, b.bytes));
        self.releases_bytes += b.bytes;
        if self.is_waited_for() || self.releases_bytes >= self.layout.arena_bytes / 4 {
            return self.publish();
        }
        Ok(false)
    }

    /// Tells the worker of released blocks if it waits for them; true if it was rung.
    pub fn release_if_awaited(&mut self) -> Result<bool, Violation> {
        if self.is_waited_for() && !self.releases.is_empty() { self.publish() } else { Ok(false) }
    }

    fn is_waited_for(&self) -> bool {
        // Relaxed: a worker that begins to wait rings, and `arm` looks here after every bell.
        self.u.load(u_word::ARENA_WAIT, Ordering::Relaxed) != 0
    }

    /// Bytes of the arena that replies still occupy.
    pub fn lent_bytes(&self) -> u32 {
        self.lent.lent_bytes()
    }

    /// Bytes of the whole arena.
    pub fn arena_bytes(&self) -> u32 {
        self.layout.arena_bytes
    }

    /// Takes the next answer, checked; blocks it names are lent from now on.
    pub fn next_up(&mut self) -> Result<Option<Up>, Violation> {
        if let Some(violation) = self.violation.take() {
            return Err(violation);
        }
        let next = self.cq.pop();
        if self.u.is_cut() {
            return Err(Violation::Cut);
        }
        match next? {
            Some((_, entry)) => check_up(&entry, &mut self.lent).map(Some),
            None => Ok(None),
        }
    }

    /// True if an answer waits that was not taken.
    pub fn has_more(&self) -> bool {
        self.cq.has_more()
    }

    /// Gives the places of taken entries back to the worker.
    pub fn release_entries(&mut self) {
        // Only streams wait for room: the rest of the ring is kept for what the credit law counts.
        if self.cq.release() {
            let _ = ring_pipe(self.bell.as_fd());
        }
    }

    /// Says that the processor will sleep; true if there is nothing to drain, so that it may.
    ///
    /// First sends what had found no room, and blocks that the worker waits for. False also if the
    /// worker broke the protocol there: the next [`ProcessorEnd::next_up`] tells.
    pub fn arm(&mut self) -> bool {
        let untold =
            !self.controls.is_empty() || (!self.releases.is_empty() && self.is_waited_for());
        if untold && let Err(violation) = self.publish() {
            self.violation = Some(violation);
            return false;
        }
        let nothing = self.cq.arm();
        self.log.arm() && nothing
    }

    /// Takes back what was published and not begun; see [`Producer::recall`].
    pub fn recall(&mut self) -> u32 {
        self.sq.recall()
    }

    /// What the worker says it has begun.
    pub fn started(&self) -> u32 {
        self.sq.started()
    }

    /// The map that holds the arena, and where the arena starts in it: replies are sent from there.
    pub fn arena(&self) -> (&Map, usize) {
        (&self.u, self.layout.arena())
    }

    /// Copies the start of a lent block out.
    pub fn copy_block(&self, block: Block, out: &mut [u8]) {
        debug_assert!(out.len() <= block.bytes as usize);
        self.u.copy_out(self.layout.arena() + block.offset as usize, out);
    }

    /// Takes the next log record.
    pub fn next_log(&mut self) -> Result<Option<LogRecord>, Violation> {
        self.log.pop()
    }

    /// Bytes of the log ring taken so far.
    pub fn log_position(&self) -> u32 {
        self.log.position()
    }

    /// Log records the worker had to drop since the last call.
    pub fn newly_dropped_logs(&mut self) -> u32 {
        self.log.newly_dropped()
    }
}

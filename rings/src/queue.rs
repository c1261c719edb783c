//! Single-producer single-consumer rings of 64-byte entries: publish, drain, arm, recall.
//!
//! Safe code over [`Mem`]; knows nothing of maps, processes or what an entry means. Every word has
//! one writer.
//!
//! Why it is sound. (1) An entry is written before the tail that covers it is stored (`publish`,
//! Release) and read after that tail was loaded (`tail_seen`, Acquire). (2) An entry's place is
//! reused only after the consumer stored a head past it (`release`, Release) and the producer
//! loaded that head (`head_seen`, Acquire). (3) A sleeper stores `wake_at`, fences, then looks at
//! the tail once more; a producer stores the tail, fences, then looks at `wake_at`: of two
//! sequentially consistent fences one comes first, so at least one side sees the other's store.
//! (4) Recall is the same shape with `started` and `recall` in the place of tail and `wake_at`.
//! Every other load and store is Relaxed on purpose: it only decides about ringing, sleeping or
//! recalling, the fence beside it orders it, and no entry is read on its word.
//!
//! Marks. Each ordering stronger than Relaxed in this crate stands on a line of its own that ends in
//! `// ord: NAME`, with a NAME used once; on such a line there is either one `Ordering::` stronger
//! than Relaxed or one `fence(..);` statement and nothing else. `cargo xtask ci ordering` weakens
//! them one by one (the ordering becomes Relaxed, the fence's line goes) and demands each time that
//! some model in `tests/loom.rs` fails. What no model could miss must not be there.

use crate::abi::Entry;
use crate::bell::{Index, is_reachable, is_recalled, must_ring};
use crate::sync::{Ordering, fence};

/// A word that both sides of one ring can see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// Entries published so far. Written by the producer.
    Tail,
    /// Entries taken so far. Written by the consumer.
    Head,
    /// The head at which the consumer last found nothing and meant to sleep. By the consumer.
    WakeAt,
    /// The tail at which the producer last found no room and meant to wait. By the producer.
    SpaceWakeAt,
    /// One more than the last entry whose work the consumer began. By the consumer.
    Started,
    /// Entries before this index are taken back unless begun. By the producer.
    Recall,
}

/// The memory that the two ends of one ring share.
pub trait Mem {
    /// Width of the words: `u32` in shared memory, `u8` where a test runs through the whole circle.
    type Index: Index;
    /// Loads a shared word.
    fn load(&self, word: Word, order: Ordering) -> Self::Index;
    /// Stores a shared word; each end stores only its own words.
    fn store(&self, word: Word, value: Self::Index, order: Ordering);
    /// Copies an entry out of `place` (already masked).
    fn read_entry(&self, place: u32) -> Entry;
    /// Copies an entry into `place` (already masked).
    fn write_entry(&self, place: u32, entry: &Entry);
}

/// The other side published an index that it cannot have reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreachable {
    /// What it published.
    pub found: u32,
    /// Our own index at that moment.
    pub ours: u32,
}

/// The producing end. Entries pushed become visible at the next [`Producer::publish`].
#[derive(Debug)]
pub struct Producer<M: Mem> {
    mem: M,
    capacity: M::Index,
    tail: M::Index,
    published: M::Index,
    head_seen: M::Index,
    recall_stored_at: M::Index,
}

impl<M: Mem> Producer<M> {
    /// An end that starts at index `start`; `capacity` is a power of two.
    pub fn new(mem: M, capacity: u32, start: M::Index) -> Self {
        assert!(capacity.is_power_of_two());
        Self {
            mem,
            capacity: M::Index::of(capacity),
            tail: start,
            published: start,
            head_seen: start,
            recall_stored_at: start,
        }
    }

    /// The memory below, for words that are not the ring's.
    pub fn mem(&self) -> &M {
        &self.mem
    }

    /// The index that the next pushed entry will get.
    pub fn tail(&self) -> M::Index {
        self.tail
    }

    /// The consumer's head as last seen.
    pub fn head_seen(&self) -> M::Index {
        self.head_seen
    }

    /// Looks at the consumer's head again; its word is checked, not trusted.
    pub fn refresh(&mut self) -> Result<(), Unreachable> {
        let head = self.mem.load(Word::Head, Ordering::Acquire); // ord: head_seen
        if head.back_to(self.head_seen) > self.tail.back_to(self.head_seen) {
            return Err(Unreachable { found: head.number(), ours: self.tail.number() });
        }
        self.head_seen = head;
        Ok(())
    }

    /// Places that can be pushed into, as far as is known without looking again.
    pub fn room(&self) -> u32 {
        self.capacity.back_to(self.tail.back_to(self.head_seen)).number()
    }

    /// Writes one entry; `None` if there is no room (call [`Producer::refresh`] first). Returns
    /// the entry's index.
    pub fn push(&mut self, entry: &Entry) -> Option<M::Index> {
        if self.room() == 0 {
            return None;
        }
        let index = self.tail;
        self.mem.write_entry(place(index, self.capacity), entry);
        self.tail = index.next();
        Some(index)
    }

    /// Makes all pushed entries visible; true if the consumer sleeps and must be rung.
    #[must_use]
    pub fn publish(&mut self) -> bool {
        if self.tail == self.published {
            return false;
        }
        // So that an old recall never comes to mean new entries, when the circle has come round.
        if self.tail.back_to(self.recall_stored_at) >= M::Index::QUARTER {
            self.mem.store(Word::Recall, self.head_seen, Ordering::Relaxed);
            self.recall_stored_at = self.tail;
        }
        self.mem.store(Word::Tail, self.tail, Ordering::Release); // ord: publish
        fence(Ordering::SeqCst); // ord: publish_fence
        let wake_at = self.mem.load(Word::WakeAt, Ordering::Relaxed);
        let old = std::mem::replace(&mut self.published, self.tail);
        must_ring(old, self.tail, wake_at)
    }

    /// Says that this side will wait for room; true if there is still none, so that it may sleep.
    pub fn arm_for_room(&mut self) -> Result<bool, Unreachable> {
        self.mem.store(Word::SpaceWakeAt, self.head_seen, Ordering::Relaxed);
        fence(Ordering::SeqCst); // ord: room_arm_fence
        self.refresh()?;
        Ok(self.room() == 0)
    }

    /// Takes back every published entry whose work has not begun. Entries from the returned index
    /// on will not run; one before it may have begun and will be answered either way.
    pub fn recall(&mut self) -> M::Index {
        self.mem.store(Word::Recall, self.published, Ordering::Relaxed);
        self.recall_stored_at = self.published;
        fence(Ordering::SeqCst); // ord: recall_fence
        self.mem.load(Word::Started, Ordering::Relaxed)
    }

    /// What the consumer says it has begun: one more than the last begun entry.
    pub fn started(&self) -> M::Index {
        self.mem.load(Word::Started, Ordering::Relaxed)
    }
}

/// The consuming end.
#[derive(Debug)]
pub struct Consumer<M: Mem> {
    mem: M,
    capacity: M::Index,
    head: M::Index,
    released: M::Index,
    tail_seen: M::Index,
}

impl<M: Mem> Consumer<M> {
    /// An end that starts at index `start`; `capacity` is a power of two.
    pub fn new(mem: M, capacity: u32, start: M::Index) -> Self {
        assert!(capacity.is_power_of_two());
        let capacity = M::Index::of(capacity);
        Self { mem, capacity, head: start, released: start, tail_seen: start }
    }

    /// The memory below, for words that are not the ring's.
    pub fn mem(&self) -> &M {
        &self.mem
    }

    /// The index of the next entry to be taken.
    pub fn head(&self) -> M::Index {
        self.head
    }

    /// Takes the next entry with its index; `None` if nothing is published.
    pub fn pop(&mut self) -> Result<Option<(M::Index, Entry)>, Unreachable> {
        if self.head == self.tail_seen {
            let tail = self.mem.load(Word::Tail, Ordering::Acquire); // ord: tail_seen
            if !is_reachable(tail, self.head, self.capacity) {
                return Err(Unreachable { found: tail.number(), ours: self.head.number() });
            }
            self.tail_seen = tail;
            if tail == self.head {
                return Ok(None);
            }
        }
        let index = self.head;
        let entry = self.mem.read_entry(place(index, self.capacity));
        self.head = index.next();
        Ok(Some((index, entry)))
    }

    /// Gives the places of all taken entries back; true if the producer waits for room and must be
    /// rung.
    #[must_use]
    pub fn release(&mut self) -> bool {
        if self.head == self.released {
            return false;
        }
        self.mem.store(Word::Head, self.head, Ordering::Release); // ord: release
        fence(Ordering::SeqCst); // ord: release_fence
        let waits_at = self.mem.load(Word::SpaceWakeAt, Ordering::Relaxed);
        let old = std::mem::replace(&mut self.released, self.head);
        must_ring(old, self.head, waits_at)
    }

    /// Says that this side will sleep; true if there is still nothing, so that it may.
    ///
    /// False also when the other side's index is absurd: the next [`Consumer::pop`] tells.
    #[must_use]
    pub fn arm(&mut self) -> bool {
        self.mem.store(Word::WakeAt, self.head, Ordering::Relaxed);
        fence(Ordering::SeqCst); // ord: arm_fence
        self.mem.load(Word::Tail, Ordering::Relaxed) == self.head
    }

    /// Says that the work of entry `index` begins; false if the entry was recalled, so that it must
    /// be answered as skipped instead. Entries begin in the order in which they were taken; one may
    /// begin long after it was taken and its place given back.
    #[must_use]
    pub fn begin(&mut self, index: M::Index) -> bool {
        self.mem.store(Word::Started, index.next(), Ordering::Relaxed);
        fence(Ordering::SeqCst); // ord: begin_fence
        let recall = self.mem.load(Word::Recall, Ordering::Relaxed);
        !is_recalled(recall, index)
    }
}

/// Where an entry lies; `capacity` is a power of two.
fn place<I: Index>(index: I, capacity: I) -> u32 {
    index.number() & (capacity.number() - 1)
}

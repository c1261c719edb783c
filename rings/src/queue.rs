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
//! a comment `ord: NAME`, with a NAME used once. Such a line holds either one `Ordering::Release` or
//! `Ordering::Acquire`, written out, or one whole statement `fence(Ordering::SeqCst);`. `cargo xtask
//! ci ordering` weakens them one by one (the ordering becomes Relaxed, the fence's line goes) and
//! demands each time that some model in `tests/loom.rs` fails: an ordering that no model misses has
//! no reason to be there.

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
    /// Looks at an entry that is not published yet, so that its line travels beside the tail's and
    /// not after it. A hint: what is read is not used.
    fn touch_entry(&self, _place: u32) {}
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

    /// Takes back every entry pushed so far whose work has not begun, those not yet published
    /// included. Entries from the returned index on will not run; one before it may have begun and
    /// will be answered either way.
    pub fn recall(&mut self) -> M::Index {
        self.mem.store(Word::Recall, self.tail, Ordering::Relaxed);
        self.recall_stored_at = self.tail;
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
                self.mem.touch_entry(place(self.head, self.capacity));
                return Ok(None);
            }
        }
        let index = self.head;
        let entry = self.mem.read_entry(place(index, self.capacity));
        self.head = index.next();
        Ok(Some((index, entry)))
    }

    /// True if something is published that was not taken; only a look, nothing is read.
    pub fn has_more(&self) -> bool {
        self.mem.load(Word::Tail, Ordering::Relaxed) != self.head
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
        self.begin_all(index, index)
    }

    /// As [`Consumer::begin`] for the entries from `first` to `last`, which begin together or not at
    /// all: the recall is held against the first.
    #[must_use]
    pub fn begin_all(&mut self, first: M::Index, last: M::Index) -> bool {
        self.mem.store(Word::Started, last.next(), Ordering::Relaxed);
        fence(Ordering::SeqCst); // ord: begin_fence
        let recall = self.mem.load(Word::Recall, Ordering::Relaxed);
        !is_recalled(recall, first)
    }
}

/// Where an entry lies; `capacity` is a power of two.
fn place<I: Index>(index: I, capacity: I) -> u32 {
    index.number() & (capacity.number() - 1)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::cell::Cell;
    use std::collections::HashSet;
    use std::rc::Rc;

    use super::*;

    /// Words of 8 bits, and the numbers of up to 32 entries.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    struct Memory {
        words: [u8; 6],
        entries: [u8; 32],
    }

    #[derive(Clone)]
    struct Mem8(Rc<Cell<Memory>>);

    impl Mem for Mem8 {
        type Index = u8;
        fn load(&self, word: Word, _: Ordering) -> u8 {
            self.0.get().words[word as usize]
        }
        fn store(&self, word: Word, value: u8, _: Ordering) {
            let mut memory = self.0.get();
            memory.words[word as usize] = value;
            self.0.set(memory);
        }
        fn read_entry(&self, place: u32) -> Entry {
            numbered(self.0.get().entries[place as usize])
        }
        fn write_entry(&self, place: u32, entry: &Entry) {
            let mut memory = self.0.get();
            memory.entries[place as usize] = entry.value as u8;
            self.0.set(memory);
        }
    }

    fn numbered(index: u8) -> Entry {
        Entry { value: u32::from(index), ..Entry::default() }
    }

    fn ring(capacity: u32, start: u8) -> (Producer<Mem8>, Consumer<Mem8>) {
        let memory = Memory { words: [start; 6], entries: [0; 32] };
        let mem = Mem8(Rc::new(Cell::new(memory)));
        (Producer::new(mem.clone(), capacity, start), Consumer::new(mem, capacity, start))
    }

    /// Wherever the circle stands, a batch comes back whole or runs whole.
    #[test]
    fn a_batch_begins_together_or_not_at_all() {
        for start in 0..=u8::MAX {
            let (mut tx, mut rx) = ring(8, start);
            let indices = [0, 1, 2].map(|n| tx.push(&numbered(n)).unwrap());
            assert!(tx.publish());
            for index in indices {
                assert_eq!(rx.pop().unwrap().unwrap().0, index);
            }
            let [first, .., last] = indices;
            assert!(rx.begin_all(first, last));
            // Begun before it was taken back: every entry of it will be answered.
            assert_eq!(tx.recall(), last.next());

            let next = tx.push(&numbered(3)).and_then(|_| tx.push(&numbered(4))).unwrap();
            assert_eq!(tx.recall(), last.next());
            assert!(!rx.begin_all(last.next(), next));
        }
    }

    /// A whole ring between two calls: what both ends know, and who sleeps.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    struct State {
        memory: Memory,
        capacity: u8,
        tx: [u8; 4],
        rx: [u8; 3],
        consumer_sleeps: bool,
        producer_waits: bool,
        consumer_armed: bool,
    }

    impl State {
        fn new(capacity: u8, start: u8) -> Self {
            Self {
                memory: Memory { words: [start; 6], entries: [0; 32] },
                capacity,
                tx: [start; 4],
                rx: [start; 3],
                consumer_sleeps: false,
                producer_waits: false,
                // Nobody has slept, but the words say so: one ring too many at the start.
                consumer_armed: true,
            }
        }

        fn with_producer(mut self, act: impl FnOnce(&mut Producer<Mem8>, &mut Self)) -> Self {
            let mem = Mem8(Rc::new(Cell::new(self.memory)));
            let [tail, published, head_seen, recall_stored_at] = self.tx;
            let capacity = self.capacity;
            let mut tx = Producer { mem, capacity, tail, published, head_seen, recall_stored_at };
            act(&mut tx, &mut self);
            self.tx = [tx.tail, tx.published, tx.head_seen, tx.recall_stored_at];
            self.memory = tx.mem.0.get();
            self
        }

        fn with_consumer(mut self, act: impl FnOnce(&mut Consumer<Mem8>, &mut Self)) -> Self {
            let mem = Mem8(Rc::new(Cell::new(self.memory)));
            let [head, released, tail_seen] = self.rx;
            let mut rx = Consumer { mem, capacity: self.capacity, head, released, tail_seen };
            act(&mut rx, &mut self);
            self.rx = [rx.head, rx.released, rx.tail_seen];
            self.memory = rx.mem.0.get();
            self
        }

        fn published(&self) -> u8 {
            self.memory.words[Word::Tail as usize]
        }

        fn released(&self) -> u8 {
            self.memory.words[Word::Head as usize]
        }

        /// All that may happen next.
        fn next(self, tail_max: u8) -> Vec<State> {
            let mut next = Vec::new();
            if !self.producer_waits {
                if self.tx[0] != tail_max {
                    next.push(self.push());
                }
                next.push(self.publish());
                next.push(self.with_producer(|tx, _| tx.refresh().unwrap()));
                next.push(self.with_producer(|tx, now| {
                    now.producer_waits = tx.arm_for_room().unwrap();
                    let full = tx.tail.wrapping_sub(now.released()) == now.capacity;
                    assert_eq!(now.producer_waits, full);
                }));
            }
            if !self.consumer_sleeps {
                next.push(self.pop());
                next.push(self.release());
                next.push(self.with_consumer(|rx, now| {
                    now.consumer_sleeps = rx.arm();
                    now.consumer_armed = true;
                    assert_eq!(now.consumer_sleeps, rx.head == now.published());
                }));
            }
            next
        }

        fn push(self) -> Self {
            self.with_producer(|tx, now| {
                let index = tx.tail;
                let room = now.capacity - index.wrapping_sub(tx.head_seen);
                assert_eq!(tx.room(), u32::from(room));
                assert_eq!(tx.push(&numbered(index)), (room > 0).then_some(index));
            })
        }

        fn publish(self) -> Self {
            self.with_producer(|tx, now| {
                let rings = tx.publish();
                assert!(!rings || now.consumer_armed, "rung without having armed");
                let is_news = now.rx[0] != tx.tail;
                assert!(rings || !(now.consumer_sleeps && is_news), "sleeps on an entry");
                now.consumer_sleeps &= !rings;
                now.consumer_armed &= !rings;
            })
        }

        fn pop(self) -> Self {
            self.with_consumer(|rx, now| {
                let expected = (rx.head != now.published()).then_some(rx.head);
                let taken = rx.pop().unwrap();
                assert_eq!(taken.map(|(index, _)| index), expected);
                assert!(taken.is_none_or(|(index, entry)| entry == numbered(index)));
            })
        }

        fn release(self) -> Self {
            self.with_consumer(|rx, now| {
                let gives = rx.head != rx.released;
                let rings = rx.release();
                assert!(rings || !(now.producer_waits && gives), "waits for room that there is");
                now.producer_waits &= !rings;
            })
        }
    }

    /// Every order of calls over the first few entries from `start` on.
    fn every_order_of_calls(capacity: u8, start: u8) {
        let tail_max = start.wrapping_add(3);
        let first = State::new(capacity, start);
        let (mut seen, mut left) = (HashSet::from([first]), vec![first]);
        while let Some(state) = left.pop() {
            for next in state.next(tail_max) {
                if seen.insert(next) {
                    left.push(next);
                }
            }
        }
        let all_taken = seen.iter().any(|s| s.rx[0] == tail_max && s.consumer_sleeps);
        assert!(all_taken && seen.len() > 200, "{} states", seen.len());
    }

    #[test]
    fn every_order_of_calls_from_every_start_at_8_bits() {
        for start in 0..=255 {
            every_order_of_calls(1, start);
        }
        // Many more states: from where the end, the sign or a quarter of the circle is crossed.
        for start in (0..=255u8).filter(|start| start.wrapping_add(4) % 64 < 5) {
            every_order_of_calls(2, start);
        }
    }

    /// Hands entries over in batches of all sizes in turn; says which of `count` were skipped.
    fn skipped(tx: &mut Producer<Mem8>, rx: &mut Consumer<Mem8>, count: usize) -> Vec<usize> {
        let (mut skipped, mut sent, mut begun) = (Vec::new(), 0, 0);
        for round in 0.. {
            if begun == count {
                break;
            }
            tx.refresh().unwrap();
            for _ in 0..(round % 33).min(count - sent) {
                sent += usize::from(tx.push(&numbered(tx.tail())).is_some());
            }
            let _ = tx.publish();
            while let Some((index, entry)) = rx.pop().unwrap() {
                assert_eq!(entry, numbered(index));
                if !rx.begin(index) {
                    skipped.push(begun);
                }
                begun += 1;
            }
            let _ = rx.release();
        }
        skipped
    }

    #[test]
    fn without_a_recall_nothing_is_skipped_over_two_wraps_at_8_bits() {
        for capacity in [1, 4, 32] {
            for start in 0..=255 {
                let (mut tx, mut rx) = ring(capacity, start);
                assert_eq!(skipped(&mut tx, &mut rx, 600), [0; 0], "{capacity} {start}");
            }
        }
    }

    #[test]
    fn a_recall_takes_back_what_has_not_begun_and_nothing_later_at_8_bits() {
        for capacity in [1u32, 2, 8, 32] {
            for start in 0..=255u8 {
                for begun in [0, 1, 2, 8, 31].into_iter().filter(|b| u32::from(*b) <= capacity) {
                    let (mut tx, mut rx) = ring(capacity, start);
                    for n in 0..capacity as u8 {
                        tx.push(&numbered(start.wrapping_add(n))).unwrap();
                    }
                    let _ = tx.publish();
                    for n in 0..begun {
                        assert!(rx.pop().unwrap().is_some_and(|(i, _)| rx.begin(i)), "entry {n}");
                    }
                    assert_eq!(tx.recall(), start.wrapping_add(begun));
                    while let Some((index, _)) = rx.pop().unwrap() {
                        assert!(!rx.begin(index));
                    }
                    let _ = rx.release();
                    assert_eq!(skipped(&mut tx, &mut rx, 300), [0; 0], "{capacity} {start}");
                }
            }
        }
    }

    #[test]
    fn a_recall_takes_back_what_is_pushed_and_not_yet_published() {
        let (mut tx, mut rx) = ring(4, 254);
        for n in 0..3 {
            tx.push(&numbered(254u8.wrapping_add(n))).unwrap();
        }
        assert_eq!(tx.recall(), 254);
        let _ = tx.publish();
        while let Some((index, _)) = rx.pop().unwrap() {
            assert!(!rx.begin(index), "entry {index}");
        }
        assert_eq!(rx.head(), 1);
    }

    #[test]
    fn an_index_that_cannot_be_is_refused_for_every_value_at_8_bits() {
        for capacity in [1u32, 2, 32] {
            for found in 0..=255u8 {
                let (mut tx, mut rx) = ring(capacity, 250);
                tx.push(&numbered(250)).unwrap();
                rx.mem().store(Word::Head, found, Ordering::Relaxed);
                assert_eq!(tx.refresh().is_ok(), matches!(found, 250 | 251), "head {found}");
                rx.mem().store(Word::Tail, found, Ordering::Relaxed);
                let can_be = u32::from(found.wrapping_sub(250)) <= capacity;
                assert_eq!(rx.pop().is_ok(), can_be, "tail {found}");
            }
        }
    }
}

//! What the models share: memory in which a race shows, bells, and the end of a thread.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64 as Count;

use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use loom::thread::{self, Thread};
use rings::abi::Entry;
use rings::queue::{Consumer, Mem, Producer, Word};

/// Indices start here, so that every model crosses the end of the 32-bit circle.
pub const START: u32 = u32::MAX - 1;

/// Explores a model; `preemptions` bounds the switches away from a thread that could go on, where
/// the whole space takes too long. `LOOM_MAX_PREEMPTIONS` overrides it. Says with `--nocapture` how
/// many executions there were.
pub fn check(preemptions: Option<usize>, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(preemptions);
    let executions = Arc::new(Count::new(0));
    let counted = Arc::clone(&executions);
    let begun = std::time::Instant::now();
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        model();
    });
    let (count, seconds) = (executions.load(Ordering::Relaxed), begun.elapsed().as_secs_f32());
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    println!("{name}: {count} executions, {seconds:.2} s");
}

/// The entry with number `n`, recognisable from both of its ends.
pub fn numbered(n: u32) -> Entry {
    Entry { kind: 1, value: n, claim: u64::from(n), f: !u64::from(n), ..Entry::default() }
}

/// The number of an entry, which must be whole.
pub fn number(entry: &Entry) -> u32 {
    assert_eq!(*entry, numbered(entry.value), "a torn or stale entry");
    entry.value
}

/// The memory of one ring. Entries are plain cells: the checker reports an access to one that is
/// not ordered after the last write, and a write not ordered after the last read.
#[derive(Clone)]
pub struct RingMem(Rc<Ring>);

struct Ring {
    words: [AtomicU32; 6],
    entries: Vec<loom::cell::Cell<Entry>>,
}

impl RingMem {
    /// An empty ring at [`START`].
    pub fn new(capacity: u32) -> Self {
        Self(Rc::new(Ring {
            words: std::array::from_fn(|_| AtomicU32::new(START)),
            entries: (0..capacity).map(|_| loom::cell::Cell::new(Entry::default())).collect(),
        }))
    }
}

/// A ring of `capacity` entries that starts at [`START`].
pub fn ring(capacity: u32) -> (Producer<RingMem>, Consumer<RingMem>) {
    let mem = RingMem::new(capacity);
    (Producer::new(mem.clone(), capacity, START), Consumer::new(mem, capacity, START))
}

impl Mem for RingMem {
    type Index = u32;
    fn load(&self, word: Word, order: Ordering) -> u32 {
        self.0.words[word as usize].load(order)
    }
    fn store(&self, word: Word, value: u32, order: Ordering) {
        self.0.words[word as usize].store(value, order);
    }
    fn read_entry(&self, place: u32) -> Entry {
        self.0.entries[place as usize].get()
    }
    fn write_entry(&self, place: u32, entry: &Entry) {
        self.0.entries[place as usize].set(*entry);
    }
}

/// A bell with one sleeper: a ring that comes before the sleep ends it at once, as a byte in a pipe
/// does. It orders no memory unless the sleeper really slept, so that no model leans on it.
///
/// A sleeper that nobody rings is found by the checker as a deadlock.
#[derive(Clone, Default)]
pub struct Bell(Rc<BellState>);

#[derive(Default)]
struct BellState {
    rung: Cell<bool>,
    asleep: RefCell<Option<Thread>>,
}

impl Bell {
    /// Rings.
    pub fn ring(&self) {
        match self.0.asleep.take() {
            Some(sleeper) => sleeper.unpark(),
            None => self.0.rung.set(true),
        }
    }

    /// Sleeps until rung.
    pub fn sleep(&self) {
        if !self.0.rung.take() {
            self.0.asleep.replace(Some(thread::current()));
            thread::park();
        }
    }
}

/// The end of a thread, which another can wait for: all that it did is then seen, as after `waitid`.
#[derive(Clone)]
pub struct End {
    ended: Rc<AtomicBool>,
    bell: Bell,
}

impl End {
    /// Not ended; its end rings `bell`.
    pub fn on(bell: Bell) -> Self {
        Self { ended: Rc::new(AtomicBool::new(false)), bell }
    }

    /// Runs `body` on a thread of its own.
    pub fn spawn(&self, body: impl FnOnce() + 'static) {
        let end = self.clone();
        thread::spawn(move || {
            body();
            end.ended.store(true, Ordering::Release);
            end.bell.ring();
        });
    }

    /// True once it has ended. An exchange, since that never sees an old value: the kernel's word on
    /// the end of a process is never late either.
    pub fn has_come(&self) -> bool {
        self.ended.compare_exchange(true, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Waits for it.
    pub fn wait(&self) {
        while !self.has_come() {
            self.bell.sleep();
        }
    }
}

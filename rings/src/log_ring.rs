//! The log ring of one worker: records from the worker's logger, print and tracebacks.
//!
//! A byte ring in segment U. A full ring never blocks the handler: what does not fit is dropped and
//! counted by the writer. The reader copies a record out and checks the copy. The same shape as
//! `queue` with bytes in the place of entries, and sound for the same reasons; safe code over
//! [`LogMem`], with the same marks and models.

use zerocopy::{FromBytes, IntoBytes};

use crate::abi::LogHead;
use crate::bell::must_ring;
use crate::error::Violation;
use crate::limits::LOG_RECORD_BYTES_MAX;
use crate::sync::{Ordering, fence};

#[cfg(not(loom))]
pub use maps::LogMaps;

const HEAD: usize = size_of::<LogHead>();

/// A word that both ends can see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogWord {
    /// Bytes written so far. By the writer.
    Tail,
    /// Bytes taken so far. By the reader.
    Head,
    /// The head at which the reader last found nothing and meant to sleep. By the reader.
    WakeAt,
    /// Records that found no room. By the writer.
    Dropped,
}

/// The memory that the two ends share.
pub trait LogMem {
    /// Loads a shared word.
    fn load(&self, word: LogWord, order: Ordering) -> u32;
    /// Stores a shared word; each end stores only its own words.
    fn store(&self, word: LogWord, value: u32, order: Ordering);
    /// Copies bytes out of the ring, from `place` on; the range does not wrap.
    fn read(&self, place: usize, out: &mut [u8]);
    /// Copies bytes into the ring, from `place` on; the range does not wrap.
    fn write(&self, place: usize, bytes: &[u8]);
}

/// The worker's end.
#[derive(Debug)]
pub struct LogWriter<M> {
    mem: M,
    capacity: u32,
    tail: u32,
    dropped: u32,
}

impl<M: LogMem> LogWriter<M> {
    /// An end that starts at position `start`; `capacity` is a power of two, in bytes.
    pub fn over(mem: M, capacity: u32, start: u32) -> Self {
        assert!(capacity.is_power_of_two());
        Self { mem, capacity, tail: start, dropped: 0 }
    }

    /// Position behind the last record, for the reply that must come after it.
    pub fn position(&self) -> u32 {
        self.tail
    }

    /// Appends a record, cut to the largest size; true if the processor sleeps and must be rung.
    pub fn append(&mut self, mut head: LogHead, message: &[u8], fields: &[u8]) -> bool {
        let room = LOG_RECORD_BYTES_MAX as usize - HEAD;
        let message = &message[..message.len().min(room)];
        let fields = if fields.len() <= room - message.len() { fields } else { &[] };
        head.message_bytes = message.len() as u32;
        head.fields_bytes = fields.len() as u32;
        let bytes = record_bytes(message.len(), fields.len());
        let head_seen = self.mem.load(LogWord::Head, Ordering::Acquire); // ord: log_head_seen
        let taken = self.tail.wrapping_sub(head_seen);
        if taken > self.capacity || bytes > self.capacity - taken {
            self.dropped = self.dropped.wrapping_add(1);
            self.mem.store(LogWord::Dropped, self.dropped, Ordering::Relaxed);
            return false;
        }
        self.put(0, head.as_bytes());
        self.put(HEAD as u32, message);
        self.put((HEAD + message.len()) as u32, fields);
        let old = self.tail;
        self.tail = old.wrapping_add(bytes);
        self.mem.store(LogWord::Tail, self.tail, Ordering::Release); // ord: log_publish
        fence(Ordering::SeqCst); // ord: log_publish_fence
        must_ring(old, self.tail, self.mem.load(LogWord::WakeAt, Ordering::Relaxed))
    }

    fn put(&self, at: u32, bytes: &[u8]) {
        let place = (self.tail.wrapping_add(at) & (self.capacity - 1)) as usize;
        let first = bytes.len().min(self.capacity as usize - place);
        self.mem.write(place, &bytes[..first]);
        self.mem.write(0, &bytes[first..]);
    }
}

/// A record as copied out of the ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// Its head.
    pub head: LogHead,
    /// The message; not checked for UTF-8.
    pub message: Vec<u8>,
    /// JSON object text by the worker's word, or empty.
    pub fields: Vec<u8>,
}

/// The processor's end.
#[derive(Debug)]
pub struct LogReader<M> {
    mem: M,
    capacity: u32,
    head: u32,
    dropped_seen: u32,
}

impl<M: LogMem> LogReader<M> {
    /// An end that starts at position `start`; `capacity` is a power of two, in bytes.
    pub fn over(mem: M, capacity: u32, start: u32) -> Self {
        assert!(capacity.is_power_of_two());
        Self { mem, capacity, head: start, dropped_seen: 0 }
    }

    /// Bytes taken so far.
    pub fn position(&self) -> u32 {
        self.head
    }

    /// Takes the next record.
    pub fn pop(&mut self) -> Result<Option<LogRecord>, Violation> {
        let tail_seen = self.mem.load(LogWord::Tail, Ordering::Acquire); // ord: log_tail_seen
        let waiting = tail_seen.wrapping_sub(self.head);
        if waiting == 0 {
            return Ok(None);
        }
        if waiting > self.capacity || (waiting as usize) < HEAD {
            return Err(Violation::Log("its end is out of range"));
        }
        let mut raw = [0u8; HEAD];
        self.get(0, &mut raw);
        let head = LogHead::read_from_bytes(&raw).unwrap_or_default();
        let (message_bytes, fields_bytes) =
            (head.message_bytes as usize, head.fields_bytes as usize);
        let most = LOG_RECORD_BYTES_MAX as usize;
        if message_bytes > most || fields_bytes > most {
            return Err(Violation::Log("too large"));
        }
        let bytes = record_bytes(message_bytes, fields_bytes);
        if bytes > waiting {
            return Err(Violation::Log("longer than what was written"));
        }
        let mut message = vec![0; message_bytes];
        self.get(HEAD as u32, &mut message);
        let mut fields = vec![0; fields_bytes];
        self.get((HEAD + message_bytes) as u32, &mut fields);
        self.head = self.head.wrapping_add(bytes);
        self.mem.store(LogWord::Head, self.head, Ordering::Release); // ord: log_release
        Ok(Some(LogRecord { head, message, fields }))
    }

    /// Says that the processor will sleep; true if there is nothing to take, so that it may.
    pub fn arm(&self) -> bool {
        self.mem.store(LogWord::WakeAt, self.head, Ordering::Relaxed);
        fence(Ordering::SeqCst); // ord: log_arm_fence
        self.mem.load(LogWord::Tail, Ordering::Relaxed) == self.head
    }

    /// Records dropped by the worker since the last call.
    pub fn newly_dropped(&mut self) -> u32 {
        let dropped = self.mem.load(LogWord::Dropped, Ordering::Relaxed);
        dropped.wrapping_sub(std::mem::replace(&mut self.dropped_seen, dropped))
    }

    fn get(&self, at: u32, out: &mut [u8]) {
        let place = (self.head.wrapping_add(at) & (self.capacity - 1)) as usize;
        let first = out.len().min(self.capacity as usize - place);
        let (a, b) = out.split_at_mut(first);
        self.mem.read(place, a);
        self.mem.read(0, b);
    }
}

fn record_bytes(message: usize, fields: usize) -> u32 {
    (HEAD + message + fields).next_multiple_of(8) as u32
}

#[cfg(not(loom))]
mod maps {
    use super::{LogMem, LogReader, LogWord, LogWriter};
    use crate::abi::{Layout, d_word, u_word};
    use crate::memory::Map;
    use crate::sync::Ordering;

    /// The log ring in shared memory: bytes and tail in U, head in D.
    #[derive(Debug)]
    pub struct LogMaps {
        u: Map,
        d: Map,
        base: usize,
    }

    impl LogMem for LogMaps {
        fn load(&self, word: LogWord, order: Ordering) -> u32 {
            match word {
                LogWord::Tail => self.u.load(u_word::LOG_TAIL, order),
                LogWord::Head => self.d.load(d_word::LOG_HEAD, order),
                LogWord::WakeAt => self.d.load(d_word::LOG_WAKE_AT, order),
                LogWord::Dropped => self.u.load(u_word::LOG_DROPPED, order),
            }
        }
        fn store(&self, word: LogWord, value: u32, order: Ordering) {
            match word {
                LogWord::Tail => self.u.store(u_word::LOG_TAIL, value, order),
                LogWord::Head => self.d.store(d_word::LOG_HEAD, value, order),
                LogWord::WakeAt => self.d.store(d_word::LOG_WAKE_AT, value, order),
                LogWord::Dropped => self.u.store(u_word::LOG_DROPPED, value, order),
            }
        }
        fn read(&self, place: usize, out: &mut [u8]) {
            self.u.copy_out(self.base + place, out);
        }
        fn write(&self, place: usize, bytes: &[u8]) {
            self.u.copy_in(self.base + place, bytes);
        }
    }

    impl LogWriter<LogMaps> {
        /// At the start of an empty ring.
        pub fn new(layout: &Layout, u: Map, d: Map) -> Self {
            Self::over(LogMaps { u, d, base: layout.log() }, layout.log_bytes, 0)
        }
    }

    impl LogReader<LogMaps> {
        /// At the start of an empty ring.
        pub fn new(layout: &Layout, u: Map, d: Map) -> Self {
            Self::over(LogMaps { u, d, base: layout.log() }, layout.log_bytes, 0)
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::abi::Layout;
    use crate::memory::{Writer, create};

    fn pair() -> (LogWriter<LogMaps>, LogReader<LogMaps>) {
        let layout = Layout {
            sq_capacity: 256,
            cq_capacity: 256,
            tags: 8,
            arena_bytes: 4096,
            log_bytes: 65536,
        };
        let (_d_fd, d) = create("test-d", layout.d_bytes(), Writer::Creator).unwrap();
        let (_u_fd, u) = create("test-u", layout.u_bytes(), Writer::Creator).unwrap();
        (LogWriter::new(&layout, u.clone(), d.clone()), LogReader::new(&layout, u, d))
    }

    #[test]
    fn records_come_out_whole_across_many_wraps() {
        let (mut writer, mut reader) = pair();
        for i in 0..5000u32 {
            let message = vec![i as u8; (i % 997) as usize];
            writer.append(LogHead { claim: u64::from(i), ..Default::default() }, &message, b"{}");
            let record = reader.pop().unwrap().unwrap();
            assert_eq!((record.head.claim, record.message), (u64::from(i), message));
            assert_eq!(record.fields, b"{}");
        }
        assert_eq!((reader.pop().unwrap(), reader.newly_dropped()), (None, 0));
    }

    #[test]
    fn a_full_ring_drops_and_counts() {
        let (mut writer, mut reader) = pair();
        for _ in 0..100 {
            writer.append(LogHead::default(), &[1; 10_000], b"");
        }
        let taken = std::iter::from_fn(|| reader.pop().unwrap()).count() as u32;
        assert_eq!(taken + reader.newly_dropped(), 100);
        assert_eq!(reader.newly_dropped(), 0);
    }

    #[test]
    fn a_lying_writer_is_a_violation() {
        let (writer, mut reader) = pair();
        writer.mem.store(LogWord::Tail, 70_000, Ordering::Relaxed);
        assert!(reader.pop().is_err());
        writer.mem.store(LogWord::Tail, 64, Ordering::Relaxed);
        writer.mem.write(16, &u32::MAX.to_le_bytes());
        assert!(reader.pop().is_err());
    }
}

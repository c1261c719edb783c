//! The log ring of one worker: records from the worker's logger, print and tracebacks.
//!
//! A byte ring in segment U. A full ring never blocks the handler: what does not fit is dropped and
//! counted by the writer. The reader copies a record out and checks the copy.

use std::sync::atomic::{Ordering, fence};

use zerocopy::{FromBytes, IntoBytes};

use crate::abi::{Layout, LogHead, d_word, u_word};
use crate::bell::must_ring;
use crate::error::Violation;
use crate::limits::LOG_RECORD_BYTES_MAX;
use crate::memory::Map;

const HEAD: usize = size_of::<LogHead>();

/// The worker's end.
#[derive(Debug)]
pub struct LogWriter {
    u: Map,
    d: Map,
    base: usize,
    capacity: u32,
    tail: u32,
    dropped: u32,
}

impl LogWriter {
    /// At the start of an empty ring.
    pub fn new(layout: &Layout, u: Map, d: Map) -> Self {
        let (base, capacity) = (layout.log(), layout.log_bytes);
        Self { u, d, base, capacity, tail: 0, dropped: 0 }
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
        let taken = self.tail.wrapping_sub(self.d.load(d_word::LOG_HEAD, Ordering::Acquire));
        if taken > self.capacity || bytes > self.capacity - taken {
            self.dropped = self.dropped.wrapping_add(1);
            self.u.store(u_word::LOG_DROPPED, self.dropped, Ordering::Relaxed);
            return false;
        }
        self.put(0, head.as_bytes());
        self.put(HEAD as u32, message);
        self.put((HEAD + message.len()) as u32, fields);
        let old = self.tail;
        self.tail = old.wrapping_add(bytes);
        self.u.store(u_word::LOG_TAIL, self.tail, Ordering::Release);
        fence(Ordering::SeqCst);
        must_ring(old, self.tail, self.d.load(d_word::LOG_WAKE_AT, Ordering::Relaxed))
    }

    fn put(&self, at: u32, bytes: &[u8]) {
        let place = (self.tail.wrapping_add(at) & (self.capacity - 1)) as usize;
        let first = bytes.len().min(self.capacity as usize - place);
        self.u.copy_in(self.base + place, &bytes[..first]);
        self.u.copy_in(self.base, &bytes[first..]);
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
pub struct LogReader {
    u: Map,
    d: Map,
    base: usize,
    capacity: u32,
    head: u32,
    dropped_seen: u32,
}

impl LogReader {
    /// At the start of an empty ring.
    pub fn new(layout: &Layout, u: Map, d: Map) -> Self {
        let (base, capacity) = (layout.log(), layout.log_bytes);
        Self { u, d, base, capacity, head: 0, dropped_seen: 0 }
    }

    /// Bytes taken so far.
    pub fn position(&self) -> u32 {
        self.head
    }

    /// Takes the next record.
    pub fn pop(&mut self) -> Result<Option<LogRecord>, Violation> {
        let waiting = self.u.load(u_word::LOG_TAIL, Ordering::Acquire).wrapping_sub(self.head);
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
        self.d.store(d_word::LOG_HEAD, self.head, Ordering::Release);
        Ok(Some(LogRecord { head, message, fields }))
    }

    /// Says that the processor will sleep; true if there is nothing to take, so that it may.
    pub fn arm(&self) -> bool {
        self.d.store(d_word::LOG_WAKE_AT, self.head, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        self.u.load(u_word::LOG_TAIL, Ordering::Acquire) == self.head
    }

    /// Records dropped by the worker since the last call.
    pub fn newly_dropped(&mut self) -> u32 {
        let dropped = self.u.load(u_word::LOG_DROPPED, Ordering::Relaxed);
        dropped.wrapping_sub(std::mem::replace(&mut self.dropped_seen, dropped))
    }

    fn get(&self, at: u32, out: &mut [u8]) {
        let place = (self.head.wrapping_add(at) & (self.capacity - 1)) as usize;
        let first = out.len().min(self.capacity as usize - place);
        let (a, b) = out.split_at_mut(first);
        self.u.copy_out(self.base + place, a);
        self.u.copy_out(self.base, b);
    }
}

fn record_bytes(message: usize, fields: usize) -> u32 {
    (HEAD + message + fields).next_multiple_of(8) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{Writer, create};

    fn pair() -> (LogWriter, LogReader) {
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
        writer.u.store(u_word::LOG_TAIL, 70_000, Ordering::Release);
        assert!(reader.pop().is_err());
        writer.u.store(u_word::LOG_TAIL, 64, Ordering::Release);
        writer.u.copy_in(writer.base + 16, &u32::MAX.to_le_bytes());
        assert!(reader.pop().is_err());
    }
}

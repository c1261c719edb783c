//! The last records of the log, kept in bounded memory for `nuclio logs`.
//!
//! The log thread puts them in and never waits: who reads has a place in the sequence and takes
//! what is still there. Who is too slow has lost records, and is told how many.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::Record;

/// Records kept: some minutes of a chatty function.
const KEPT_RECORDS_MAX: usize = 10_000;
/// Bytes of them, since a record may have 16 KiB.
const KEPT_BYTES_MAX: usize = 4 << 20;
/// Records taken out at once, so that the log thread waits some microseconds at most.
const TAKEN_AT_ONCE_MAX: usize = 256;
/// An event is named by the end of its id; less than this many characters name too many.
pub const EVENT_END_LEN_MIN: usize = 8;

/// See the module.
pub struct History {
    kept: Mutex<Kept>,
    newest: watch::Sender<u64>,
}

#[derive(Default)]
struct Kept {
    records: VecDeque<Arc<Record>>,
    bytes: usize,
    /// Place of the oldest record kept; the first of all had 0.
    first: u64,
}

/// Which records are wanted.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// The end of an event's id; empty = all records.
    pub event: Vec<u8>,
    /// Not older than this.
    pub since_ns: u64,
}

/// Some records in order.
pub struct Taken {
    pub records: Vec<Arc<Record>>,
    /// Where to go on.
    pub next: u64,
    /// Records between the place asked for and the first one here that are kept no more.
    pub lost: u64,
}

impl Default for History {
    fn default() -> History {
        History { kept: Mutex::default(), newest: watch::Sender::new(0) }
    }
}

impl Wanted {
    pub fn wants(&self, record: &Record) -> bool {
        record.time_ns >= self.since_ns && record.event_id.ends_with(&self.event)
    }
}

impl History {
    pub(super) fn keep(&self, record: Record) {
        let mut kept = self.kept();
        kept.bytes += cost(&record);
        kept.records.push_back(Arc::new(record));
        while kept.bytes > KEPT_BYTES_MAX || kept.records.len() > KEPT_RECORDS_MAX {
            let Some(oldest) = kept.records.pop_front() else { return };
            kept.bytes -= cost(&oldest);
            kept.first += 1;
        }
    }

    pub(super) fn tell_followers(&self) {
        let next = self.kept().next();
        self.newest.send_if_modified(|newest| std::mem::replace(newest, next) != next);
    }

    /// Changes whenever there is more to read.
    pub fn follow(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// Where to begin to read the last `count` records wanted, and where the sequence ends now.
    pub fn last(&self, count: usize, wanted: &Wanted) -> (u64, u64) {
        let kept = self.kept();
        let places = kept.records.iter().enumerate().rev();
        let begin = places.filter(|(_, record)| wanted.wants(record)).take(count).last();
        (begin.map_or(kept.next(), |(index, _)| kept.first + index as u64), kept.next())
    }

    /// Some records from this place on; none when there are no more for now.
    pub fn take(&self, from: u64) -> Taken {
        let kept = self.kept();
        let begin = from.max(kept.first);
        let skipped = usize::try_from(begin - kept.first).unwrap_or(usize::MAX);
        let records: Vec<_> =
            kept.records.iter().skip(skipped).take(TAKEN_AT_ONCE_MAX).cloned().collect();
        Taken { next: begin + records.len() as u64, lost: begin - from, records }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn next(&self) -> u64 {
        self.first + self.records.len() as u64
    }
}

fn cost(record: &Record) -> usize {
    size_of::<Record>() + record.bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Level;

    fn record(text: &str, event: &str) -> Record {
        let record = Record::new(Level::Info, text);
        Record { event_id: event.as_bytes().to_vec(), ..record }
    }

    #[test]
    fn memory_is_bounded_by_count_and_by_bytes() {
        let history = History::default();
        for _ in 0..KEPT_RECORDS_MAX + 5 {
            history.keep(record("x", ""));
        }
        let taken = history.take(2);
        assert_eq!((taken.lost, taken.next), (3, 5 + TAKEN_AT_ONCE_MAX as u64));
        let large = "x".repeat(KEPT_BYTES_MAX / 4);
        for _ in 0..8 {
            history.keep(record(&large, ""));
        }
        assert!(history.kept().bytes <= KEPT_BYTES_MAX);
        assert_eq!(history.kept().records.len(), 3);
    }

    #[test]
    fn the_last_wanted_are_found_by_the_end_of_an_id() {
        let history = History::default();
        for (text, event) in [("a", "r-0001"), ("b", "r-0002"), ("c", "r-0001"), ("d", "")] {
            history.keep(record(text, event));
        }
        let of_event = Wanted { event: b"0001".to_vec(), since_ns: 0 };
        assert_eq!(history.last(1, &of_event), (2, 4));
        assert_eq!(history.last(9, &of_event), (0, 4));
        assert_eq!(history.last(0, &of_event), (4, 4));
        assert_eq!(history.last(9, &Wanted { since_ns: u64::MAX, ..Wanted::default() }), (4, 4));
    }

    #[test]
    fn followers_are_told_once_for_many() {
        let history = History::default();
        let newest = history.follow();
        history.keep(record("a", ""));
        history.keep(record("b", ""));
        assert!(!newest.has_changed().unwrap());
        history.tell_followers();
        assert_eq!(*newest.borrow(), 2);
        assert!(history.take(2).records.is_empty());
    }
}

//! The one door for log records, and the thread that writes them.
//!
//! A caller never waits: what does not fit into the bounded queue is counted, and one line says how
//! many are missing. A reader of stderr that has gone or stands still stops the log thread only.

mod format;
pub mod history;

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

pub use format::{Format, record as write_record};
use history::History;

/// Records waiting for the log thread: a burst of some milliseconds at full speed.
const RECORDS_MAX: usize = 8192;
/// Bytes of text waiting, since a record may have 16 KiB.
const BYTES_MAX: usize = 16 << 20;
/// Room beyond that for what the processor itself says: that a worker has died must not be lost
/// among the lines it printed.
const OWN_RECORDS_MAX: usize = 512;
const OWN_BYTES_MAX: usize = 1 << 20;
/// Records and bytes that may wait when the processor speaks.
const OWN_ROOM: (usize, usize) = (RECORDS_MAX + OWN_RECORDS_MAX, BYTES_MAX + OWN_BYTES_MAX);
/// Records written with one system call.
const RECORDS_PER_WRITE_MAX: usize = 256;
/// While records are being dropped the count is announced this often.
const ANNOUNCE_EVERY: Duration = Duration::from_secs(1);

/// How much a record matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

impl Level {
    pub const ALL: [Level; 4] = [Level::Debug, Level::Info, Level::Warn, Level::Error];

    pub fn name(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        }
    }

    pub fn from_name(name: &str) -> Option<Level> {
        Level::ALL.into_iter().find(|level| level.name() == name)
    }
}

/// One line of the log, as it was said. Nothing in it is trusted or need be UTF-8.
#[derive(Debug, Clone)]
pub struct Record {
    /// Since 1970.
    pub time_ns: u64,
    pub level: Level,
    pub worker: Option<u32>,
    pub trigger: Option<Arc<str>>,
    /// Empty when no event was running.
    pub event_id: Vec<u8>,
    pub message: Vec<u8>,
    /// Text of a JSON object, or empty.
    pub fields: Vec<u8>,
}

impl Record {
    pub fn new(level: Level, message: impl Into<Vec<u8>>) -> Record {
        Record {
            time_ns: now_ns(),
            level,
            worker: None,
            trigger: None,
            event_id: Vec::new(),
            message: message.into(),
            fields: Vec::new(),
        }
    }

    pub fn of_worker(mut self, worker: u32) -> Record {
        self.worker = Some(worker);
        self
    }

    fn bytes(&self) -> usize {
        self.event_id.len() + self.message.len() + self.fields.len()
    }
}

/// Nanoseconds since 1970.
pub fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Who speaks, and how it is written.
#[derive(Clone)]
pub struct LogConfig {
    pub function: Arc<str>,
    pub format: Format,
    /// Records below are not even queued.
    pub level: Level,
    pub colour: bool,
}

enum Item {
    Record(Box<Record>),
    /// A sentence to the person who started the program, without time and level in front.
    Statement(Level, Box<str>),
    /// A result, for stdout.
    Result(Box<str>),
    /// Answer when everything before has been written.
    Flush(Sender<()>),
}

struct Shared {
    level: Level,
    queued: AtomicUsize,
    queued_bytes: AtomicUsize,
    /// To be announced by the log thread.
    dropped: AtomicU64,
    announced_elsewhere: AtomicU64,
    history: History,
}

/// A cheap handle that any thread may keep.
#[derive(Clone)]
pub struct Log {
    queue: Sender<Item>,
    shared: Arc<Shared>,
}

impl Log {
    /// Starts the log thread, which lives as long as the process.
    pub fn start(config: LogConfig) -> io::Result<Log> {
        let (log, receiver) = Log::new(config.level);
        let shared = log.shared.clone();
        let writer = Writer { config, shared, announced: 0, announced_at: None };
        thread::Builder::new().name("log".into()).spawn(move || writer.run(&receiver))?;
        Ok(log)
    }

    fn new(level: Level) -> (Log, Receiver<Item>) {
        #[expect(
            clippy::disallowed_methods,
            reason = "bounded by `offer`; a bounded channel would touch all of its memory at once"
        )]
        let (queue, receiver) = crossbeam_channel::unbounded();
        let shared = Arc::new(Shared {
            level,
            queued: AtomicUsize::new(0),
            queued_bytes: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
            announced_elsewhere: AtomicU64::new(0),
            history: History::default(),
        });
        (Log { queue, shared }, receiver)
    }

    pub fn level(&self) -> Level {
        self.shared.level
    }

    /// For what workers say. False when the record was dropped (and counted) for want of room.
    pub fn try_send(&self, record: Record) -> bool {
        self.record(record, (RECORDS_MAX, BYTES_MAX))
    }

    /// For what the processor says.
    pub fn say(&self, record: Record) {
        self.record(record, OWN_ROOM);
    }

    fn record(&self, record: Record, room: (usize, usize)) -> bool {
        if record.level < self.shared.level {
            return true;
        }
        let bytes = record.bytes();
        self.offer(Item::Record(Box::new(record)), bytes, room)
    }

    pub fn debug(&self, message: impl Into<Vec<u8>>) {
        self.say(Record::new(Level::Debug, message));
    }

    pub fn info(&self, message: impl Into<Vec<u8>>) {
        self.say(Record::new(Level::Info, message));
    }

    pub fn warn(&self, message: impl Into<Vec<u8>>) {
        self.say(Record::new(Level::Warn, message));
    }

    pub fn error(&self, message: impl Into<Vec<u8>>) {
        self.say(Record::new(Level::Error, message));
    }

    /// Says something to the person who started the program; may have several lines.
    pub fn state(&self, level: Level, text: impl Into<Box<str>>) {
        let text = text.into();
        let bytes = text.len();
        self.offer(Item::Statement(level, text), bytes, OWN_ROOM);
    }

    /// Writes one line to stdout, in order with the log.
    pub fn result(&self, line: impl Into<Box<str>>) {
        let line = line.into();
        let bytes = line.len();
        self.offer(Item::Result(line), bytes, OWN_ROOM);
    }

    /// Adds to the count of records that were dropped before they reached this door; the next
    /// announcement includes them.
    pub fn count_dropped(&self, records: u64) {
        self.shared.dropped.fetch_add(records, Ordering::Relaxed);
    }

    /// The same for records whose loss the caller announces itself.
    pub fn count_dropped_elsewhere(&self, records: u64) {
        self.shared.announced_elsewhere.fetch_add(records, Ordering::Relaxed);
    }

    /// Records dropped since the start.
    pub fn dropped(&self) -> u64 {
        let elsewhere = self.shared.announced_elsewhere.load(Ordering::Relaxed);
        self.shared.dropped.load(Ordering::Relaxed) + elsewhere
    }

    /// What was said last, for who asks later.
    pub fn history(&self) -> &History {
        &self.shared.history
    }

    /// Waits until what was said so far is written, at most `limit`. False when it was not.
    pub fn flush(&self, limit: Duration) -> bool {
        let (done, is_done) = crossbeam_channel::bounded(1);
        self.queue.send(Item::Flush(done)).is_ok() && is_done.recv_timeout(limit).is_ok()
    }

    fn offer(&self, item: Item, bytes: usize, (records_max, bytes_max): (usize, usize)) -> bool {
        let shared = &self.shared;
        let bytes_before = shared.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        let items_before = shared.queued.fetch_add(1, Ordering::Relaxed);
        let fits = bytes_before + bytes <= bytes_max && items_before < records_max;
        if fits && self.queue.send(item).is_ok() {
            return true;
        }
        shared.taken(bytes);
        shared.dropped.fetch_add(1, Ordering::Relaxed);
        false
    }
}

impl Shared {
    fn taken(&self, bytes: usize) {
        self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.queued.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Writer {
    config: LogConfig,
    shared: Arc<Shared>,
    announced: u64,
    announced_at: Option<Instant>,
}

impl Writer {
    fn run(mut self, queue: &Receiver<Item>) {
        let mut text = Vec::with_capacity(4096);
        loop {
            let first = if self.has_unannounced() {
                match queue.recv_timeout(ANNOUNCE_EVERY) {
                    Err(RecvTimeoutError::Disconnected) => break,
                    item => item.ok(),
                }
            } else {
                match queue.recv() {
                    Err(_) => break,
                    Ok(item) => Some(item),
                }
            };
            for item in first.into_iter().chain(queue.try_iter().take(RECORDS_PER_WRITE_MAX - 1)) {
                self.take(item, &mut text);
            }
            self.announce(queue.is_empty(), &mut text);
            self.shared.history.tell_followers();
            write_out(&mut text);
        }
    }

    fn take(&self, item: Item, text: &mut Vec<u8>) {
        match item {
            Item::Record(record) => {
                self.shared.taken(record.bytes());
                format::record(text, &self.config, &record);
                self.shared.history.keep(*record);
            }
            Item::Statement(level, statement) => {
                self.shared.taken(statement.len());
                format::statement(text, &self.config, level, &statement);
                self.shared.history.keep(Record::new(level, statement.as_bytes()));
            }
            Item::Result(line) => {
                self.shared.taken(line.len());
                write_out(text);
                // A reader of stdout that has gone must not end a server.
                let mut out = io::stdout();
                let _ = out.write_all(format!("{line}\n").as_bytes());
                let _ = out.flush();
            }
            Item::Flush(done) => {
                write_out(text);
                let _ = done.try_send(());
            }
        }
    }

    fn has_unannounced(&self) -> bool {
        self.shared.dropped.load(Ordering::Relaxed) > self.announced
    }

    /// One line for all records dropped lately: when the flood is over, or once a second in it.
    fn announce(&mut self, calm: bool, text: &mut Vec<u8>) {
        let dropped = self.shared.dropped.load(Ordering::Relaxed);
        let recently = self.announced_at.is_some_and(|at| at.elapsed() < ANNOUNCE_EVERY);
        if dropped == self.announced || (recently && !calm) {
            return;
        }
        let line =
            format!("{} log records were dropped: too many at once", dropped - self.announced);
        let record = Record::new(Level::Warn, line);
        format::record(text, &self.config, &record);
        self.shared.history.keep(record);
        self.announced = dropped;
        self.announced_at = Some(Instant::now());
    }
}

/// Writes all of `text` to stderr, or gives it up when nobody can read it.
fn write_out(text: &mut Vec<u8>) {
    let mut rest = text.as_slice();
    while !rest.is_empty() {
        match rustix::io::write(rustix::stdio::stderr(), rest) {
            Ok(written) => rest = &rest[written..],
            Err(rustix::io::Errno::INTR) => {}
            // Another program has made the terminal or pipe that we share non-blocking.
            Err(rustix::io::Errno::AGAIN) => wait_for_stderr(),
            Err(_) => break,
        }
    }
    text.clear();
}

fn wait_for_stderr() {
    use rustix::event::{PollFd, PollFlags, poll};
    let _ = poll(&mut [PollFd::new(&rustix::stdio::stderr(), PollFlags::OUT)], None);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_counted() {
        let (log, receiver) = Log::new(Level::Info);
        for _ in 0..RECORDS_MAX {
            assert!(log.try_send(Record::new(Level::Info, "x")));
        }
        assert!(!log.try_send(Record::new(Level::Info, "x")));
        assert!(log.try_send(Record::new(Level::Debug, "below the level: not even counted")));
        assert_eq!(log.dropped(), 1);
        drop(receiver);
        assert!(!log.flush(Duration::from_millis(1)));
    }

    #[test]
    fn what_workers_say_leaves_room_for_the_processor() {
        let (log, _receiver) = Log::new(Level::Info);
        while log.try_send(Record::new(Level::Info, "of a worker")) {}
        for _ in 0..OWN_RECORDS_MAX {
            log.warn("of the processor");
        }
        assert_eq!(log.dropped(), 1);
        log.warn("of the processor");
        assert_eq!(log.dropped(), 2);
    }

    #[test]
    fn large_records_are_bounded_by_their_bytes() {
        let (log, _receiver) = Log::new(Level::Info);
        let large = vec![b'x'; BYTES_MAX / 2];
        assert!(log.try_send(Record::new(Level::Info, large.clone())));
        assert!(log.try_send(Record::new(Level::Info, large.clone())));
        assert!(!log.try_send(Record::new(Level::Info, "x")));
        assert_eq!(log.dropped(), 1);
    }

    #[test]
    fn levels_have_names() {
        for level in Level::ALL {
            assert_eq!(Level::from_name(level.name()), Some(level));
        }
        assert_eq!(Level::from_name("loud"), None);
        assert!(Level::Debug < Level::Error);
    }
}

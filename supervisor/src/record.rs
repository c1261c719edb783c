//! `--record FILE`: the one door for events that are recorded, and the thread that writes them.
//!
//! The data thread never waits for the disk: what does not fit into the bounded backlog is not
//! recorded, counted, and told in the log and in the file. A file that cannot be written any more
//! costs the recording, never an event.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use rustix::fs::{FlockOperation, OFlags, flock};
use spec::limits::RECORDING_BYTES_MAX;
use spec::{
    Raw, RecordedAnswer, RecordedEvent, RecordingEnd, RecordingHead, RecordingLine, RecordingStop,
};

use crate::log::Log;

/// Events and answers waiting for the record thread.
const ITEMS_MAX: usize = 16_384;
/// Beyond this only answers are taken: to events that wait here, and to those still in flight.
const EVENTS_MAX: usize = ITEMS_MAX / 2;
/// Bytes of events waiting: a disk that stands still for a second at 64 MiB a second.
const BYTES_MAX: usize = 64 << 20;
/// Lines written with one system call.
const LINES_PER_WRITE_MAX: usize = 256;
/// Bytes of lines before they are written.
const TEXT_BYTES_MAX: usize = 1 << 20;
/// Room that is kept for the last line.
const END_BYTES: u64 = 256;
/// While events are missing the count is announced this often.
const ANNOUNCE_EVERY: Duration = Duration::from_secs(1);

/// An event as the data thread has copied it.
#[derive(Debug)]
pub struct EventCopy {
    pub id: String,
    /// Since 1970.
    pub time_ns: u64,
    pub trigger: Arc<str>,
    pub kind: Arc<str>,
    /// Request line and header lines, each with its CRLF, and the empty line.
    pub head: Vec<u8>,
    pub body: Vec<u8>,
}

enum Item {
    Event(Box<EventCopy>),
    Answer {
        id: String,
        status: u16,
    },
    /// Answer when the last line is written.
    Finish(Sender<()>),
}

#[derive(Default)]
struct Shared {
    queued_bytes: AtomicUsize,
    missing: AtomicU64,
    lost_answers: AtomicU64,
    is_over: AtomicBool,
}

/// A cheap handle; one thread alone puts events in.
#[derive(Clone)]
pub struct Recorder {
    queue: Sender<Item>,
    shared: Arc<Shared>,
}

/// Opens the file and writes the first line; an error is a sentence.
pub fn open(path: &Path, head: RecordingHead) -> Result<File, String> {
    let told = |error: io::Error| format!("--record {}: {error}", path.display());
    let is_pipe = path.metadata().is_ok_and(|found| found.file_type().is_fifo());
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        // Events hold what their senders said, passwords included.
        .mode(0o600)
        // A pipe that nobody reads is an error, not a reason to wait.
        .custom_flags(OFlags::NONBLOCK.bits() as i32)
        .open(path)
        .map_err(|error| match error.raw_os_error() {
            Some(errno) if is_pipe && errno == rustix::io::Errno::NXIO.raw_os_error() => {
                format!("--record {}: is a pipe that nobody reads", path.display())
            }
            _ => told(error),
        })?;
    rustix::io::ioctl_fionbio(&file, false).map_err(|errno| told(errno.into()))?;
    let found = file.metadata().map_err(told)?;
    if found.is_file() {
        if found.len() > 0 {
            return Err(format!(
                "--record {}: exists already and is not overwritten; remove it, or write another \
                 name",
                path.display()
            ));
        }
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let path = path.display();
            return Err(format!("--record {path}: another function is being recorded into it"));
        }
    }
    let line = text_of(&RecordingLine::Recording(Box::new(head)));
    file.write_all(&line).map_err(told)?;
    Ok(file)
}

impl Recorder {
    /// Starts the record thread, which lives as long as the process.
    pub fn start(file: File, path: &Path, log: Log) -> io::Result<Recorder> {
        let (recorder, queue) = Recorder::new();
        let shared = recorder.shared.clone();
        let writer = Writer::new(file, path, RECORDING_BYTES_MAX, shared, log);
        thread::Builder::new().name("record".into()).spawn(move || writer.run(&queue))?;
        Ok(recorder)
    }

    fn new() -> (Recorder, Receiver<Item>) {
        let (queue, receiver) = crossbeam_channel::bounded(ITEMS_MAX);
        (Recorder { queue, shared: Arc::default() }, receiver)
    }

    /// Whether an event of this size should be copied; if there is no room it is counted.
    pub fn wants(&self, bytes: usize) -> bool {
        if self.shared.is_over.load(Ordering::Relaxed) {
            return false;
        }
        let queued = self.shared.queued_bytes.load(Ordering::Relaxed);
        let has_room = queued + bytes <= BYTES_MAX && self.queue.len() < EVENTS_MAX;
        if !has_room {
            self.shared.missing.fetch_add(1, Ordering::Relaxed);
        }
        has_room
    }

    /// An event cannot be recorded: counted.
    pub fn leave_out(&self) {
        if !self.shared.is_over.load(Ordering::Relaxed) {
            self.shared.missing.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes an event that [`Self::wants`] was asked about; false if it was counted instead.
    pub fn event(&self, event: Box<EventCopy>) -> bool {
        let bytes = event.bytes();
        self.shared.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        let sent = self.queue.try_send(Item::Event(event)).is_ok();
        if !sent {
            self.shared.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.shared.missing.fetch_add(1, Ordering::Relaxed);
        }
        sent
    }

    /// How an event was answered. One that finds no room is counted; its event then has none, and a
    /// replay says so.
    pub fn answer(&self, id: String, status: u16) {
        if self.queue.try_send(Item::Answer { id, status }).is_err() {
            self.shared.lost_answers.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Writes what is queued and the last line; false if that took longer than `limit`.
    pub fn finish(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let (done, is_done) = crossbeam_channel::bounded(1);
        let sent = self.queue.send_deadline(Item::Finish(done), deadline).is_ok();
        sent && is_done.recv_deadline(deadline).is_ok()
    }
}

impl EventCopy {
    fn bytes(&self) -> usize {
        self.head.len() + self.body.len()
    }

    fn into_line(self) -> RecordingLine {
        let head = self.head.strip_suffix(b"\r\n\r\n").unwrap_or(&self.head);
        // The parser lets no other line end through.
        let mut lines = head.split(|byte| *byte == b'\n');
        let line = |line: &[u8]| Raw(line.strip_suffix(b"\r").unwrap_or(line).to_vec());
        RecordingLine::Event(Box::new(RecordedEvent {
            id: self.id,
            time_unix_ns: self.time_ns,
            trigger: self.trigger.to_string(),
            kind: self.kind.to_string(),
            request: lines.next().map(line).unwrap_or_default(),
            headers: lines.map(line).collect(),
            body: Raw(self.body),
        }))
    }
}

/// One line with its end.
fn text_of(line: &RecordingLine) -> Vec<u8> {
    // Only a map with keys that are no text could fail, and the types have none.
    let mut text = serde_json::to_vec(line).unwrap_or_default();
    text.push(b'\n');
    text
}

struct Writer {
    file: File,
    path: PathBuf,
    bytes_max: u64,
    shared: Arc<Shared>,
    log: Log,
    /// Lines that are not written yet, and the events among them.
    text: Vec<u8>,
    lines: usize,
    unwritten: u64,
    /// Bytes and events that are written.
    bytes: u64,
    events: u64,
    announced: u64,
    announced_at: Option<Instant>,
}

impl Writer {
    fn new(file: File, path: &Path, bytes_max: u64, shared: Arc<Shared>, log: Log) -> Writer {
        let bytes = file.metadata().map_or(0, |found| found.len());
        Writer {
            file,
            path: path.to_owned(),
            bytes_max,
            shared,
            log,
            text: Vec::new(),
            lines: 0,
            unwritten: 0,
            bytes,
            events: 0,
            announced: 0,
            announced_at: None,
        }
    }

    fn run(mut self, queue: &Receiver<Item>) {
        loop {
            let item = if self.has_unannounced() {
                match queue.recv_timeout(ANNOUNCE_EVERY) {
                    Err(RecvTimeoutError::Disconnected) => return,
                    item => item.ok(),
                }
            } else {
                match queue.recv() {
                    Err(_) => return,
                    Ok(item) => Some(item),
                }
            };
            let is_calm = queue.is_empty();
            if let Some(item) = item {
                self.take(item);
            }
            self.announce(is_calm);
            if is_calm || self.lines >= LINES_PER_WRITE_MAX || self.text.len() >= TEXT_BYTES_MAX {
                self.write();
            }
        }
    }

    fn take(&mut self, item: Item) {
        match item {
            Item::Event(event) => {
                let bytes = event.bytes();
                self.add(&event.into_line());
                self.shared.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            }
            Item::Answer { id, status } => {
                self.add(&RecordingLine::Answer(RecordedAnswer { id, status }));
            }
            Item::Finish(done) => {
                self.announce(true);
                self.end(RecordingStop::Stopped);
                let _ = done.try_send(());
            }
        }
    }

    fn add(&mut self, line: &RecordingLine) {
        if self.is_over() {
            return;
        }
        let text = text_of(line);
        let after = self.bytes + (self.text.len() + text.len()) as u64;
        if after + END_BYTES > self.bytes_max {
            self.end(RecordingStop::Full);
            if !self.is_over() {
                return;
            }
            self.log.warn(format!(
                "{} has reached the limit of a recording, {} bytes: {} events are in it, and no \
                 more are recorded",
                self.path.display(),
                self.bytes_max,
                self.events
            ));
            return;
        }
        self.text.extend_from_slice(&text);
        self.lines += 1;
        self.unwritten += u64::from(matches!(line, RecordingLine::Event(_)));
    }

    /// The last line, and the end of all recording.
    fn end(&mut self, reason: RecordingStop) {
        if self.is_over() {
            return;
        }
        let (events, missing) = (self.events + self.unwritten, self.missing());
        let end = RecordingLine::End(RecordingEnd { events, missing, reason });
        self.text.extend_from_slice(&text_of(&end));
        self.write();
        self.shared.is_over.store(true, Ordering::Relaxed);
    }

    /// One line for all events that are missing lately: when there is room again, or once a second.
    fn announce(&mut self, is_calm: bool) {
        let missing = self.missing() - self.announced;
        let recently = self.announced_at.is_some_and(|at| at.elapsed() < ANNOUNCE_EVERY);
        if !self.has_unannounced() || self.is_over() || (recently && !is_calm) {
            return;
        }
        self.announced += missing;
        self.announced_at = Some(Instant::now());
        if missing > 0 {
            self.add(&RecordingLine::Missing(missing));
        }
        let answers = match self.shared.lost_answers.swap(0, Ordering::Relaxed) {
            0 => String::new(),
            lost => format!(" and {lost} answers"),
        };
        self.log.warn(format!(
            "{missing} events{answers} were not recorded: they came faster than {} takes them \
             ({EVENTS_MAX} events or {} MiB may wait), or their bodies were streamed",
            self.path.display(),
            BYTES_MAX >> 20
        ));
    }

    /// Writes what was added. A file that refuses it ends the recording at its last whole line.
    fn write(&mut self) {
        let mut written = 0;
        let result = loop {
            if written == self.text.len() {
                break Ok(());
            }
            match self.file.write(&self.text[written..]) {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        if let Err(error) = result {
            self.give_up(written, &error);
        } else {
            self.bytes += written as u64;
            self.events += self.unwritten;
        }
        self.text.clear();
        self.text.shrink_to(TEXT_BYTES_MAX);
        (self.lines, self.unwritten) = (0, 0);
    }

    fn give_up(&mut self, written: usize, error: &io::Error) {
        let whole = memchr::memrchr(b'\n', &self.text[..written]).map_or(0, |end| end + 1);
        let is_event = |line: &&[u8]| line.starts_with(b"{\"event\"");
        let of_text = self.text[..whole].split(|byte| *byte == b'\n').filter(is_event).count();
        self.events += of_text as u64;
        // Not of a pipe; and a disk that takes nothing may still give.
        let _ = self.file.set_len(self.bytes + whole as u64);
        self.shared.is_over.store(true, Ordering::Relaxed);
        self.log.error(format!(
            "{} cannot be written any more: {error}; {} events are in it, and no more are \
             recorded; the function goes on",
            self.path.display(),
            self.events
        ));
    }

    fn has_unannounced(&self) -> bool {
        let lost = self.shared.lost_answers.load(Ordering::Relaxed);
        self.missing() > self.announced || lost > 0
    }

    fn missing(&self) -> u64 {
        self.shared.missing.load(Ordering::Relaxed)
    }

    fn is_over(&self) -> bool {
        self.shared.is_over.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Format, Level, LogConfig};

    fn log() -> Log {
        let config = LogConfig {
            function: "f".into(),
            format: Format::Json,
            level: Level::Info,
            colour: false,
        };
        Log::start(config).unwrap()
    }

    fn said(log: &Log) -> String {
        assert!(log.flush(Duration::from_secs(10)));
        let records = log.history().take(0).records;
        let texts = records.iter().map(|r| String::from_utf8_lossy(&r.message).into_owned());
        texts.collect::<Vec<_>>().join("\n")
    }

    fn head() -> RecordingHead {
        RecordingHead {
            version: spec::RECORDING_VERSION,
            time_unix_ns: 1,
            namespace: "default".into(),
            interpreter: None,
            function: serde_json::json!({}),
        }
    }

    fn event(number: usize, body: &[u8]) -> Box<EventCopy> {
        Box::new(EventCopy {
            id: format!("{number:08}"),
            time_ns: 1,
            trigger: "web".into(),
            kind: "http".into(),
            head: b"POST / HTTP/1.1\r\nHost: a\r\nX:\r\n\r\n".to_vec(),
            body: body.to_vec(),
        })
    }

    fn lines(path: &Path) -> Vec<RecordingLine> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn events_answers_and_the_end_are_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events");
        let file = open(&path, head()).unwrap();
        assert!(open(&path, head()).unwrap_err().contains("exists already"));
        let log = log();
        let recorder = Recorder::start(file, &path, log.clone()).unwrap();
        assert!(recorder.wants(10) && recorder.event(event(1, b"\xff")));
        recorder.answer("00000001".into(), 200);
        assert!(recorder.finish(Duration::from_secs(10)));
        assert!(!recorder.wants(10), "it is over");
        let lines = lines(&path);
        assert_eq!(lines.len(), 4);
        let RecordingLine::Event(event) = &lines[1] else { panic!("{lines:?}") };
        let headers = vec![Raw(b"Host: a".to_vec()), Raw(b"X:".to_vec())];
        assert_eq!((&event.headers, &event.body), (&headers, &Raw(vec![0xff])));
        let end = RecordingEnd { events: 1, missing: 0, reason: RecordingStop::Stopped };
        assert_eq!(lines[3], RecordingLine::End(end));
        assert_eq!(said(&log), "");
    }

    #[test]
    fn at_its_limit_a_recording_ends_whole_and_says_so_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events");
        let (recorder, queue) = Recorder::new();
        let (log, shared) = (log(), recorder.shared.clone());
        let writer = Writer::new(open(&path, head()).unwrap(), &path, 4096, shared, log.clone());
        let thread = thread::spawn(move || writer.run(&queue));
        for number in 0..50 {
            recorder.event(event(number, b"a body of some bytes"));
        }
        assert!(recorder.finish(Duration::from_secs(10)));
        drop(recorder);
        thread.join().unwrap();
        assert!(path.metadata().unwrap().len() <= 4096);
        let lines = lines(&path);
        let events = lines.len() as u64 - 2;
        let end = RecordingEnd { events, missing: 0, reason: RecordingStop::Full };
        assert_eq!(lines.last(), Some(&RecordingLine::End(end)));
        assert_eq!(said(&log).matches("the limit of a recording").count(), 1);
    }

    #[test]
    fn a_full_disk_is_told_once() {
        let path = Path::new("/dev/full");
        let file = OpenOptions::new().write(true).open(path).unwrap();
        assert!(open(path, head()).unwrap_err().contains("No space left"));
        let log = log();
        let recorder = Recorder::start(file, path, log.clone()).unwrap();
        for number in 0..100 {
            recorder.event(event(number, b""));
        }
        assert!(recorder.finish(Duration::from_secs(10)));
        let said = said(&log);
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains("No space left") && said.contains("0 events are in it"), "{said}");
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let (recorder, _queue) = Recorder::new();
        assert!(!recorder.wants(BYTES_MAX + 1));
        let large = vec![0; BYTES_MAX / 2];
        assert!(recorder.wants(large.len()) && recorder.event(event(1, &large)));
        assert!(!recorder.wants(large.len()));
        while recorder.wants(1) {
            recorder.event(event(2, b""));
        }
        assert_eq!(recorder.shared.missing.load(Ordering::Relaxed), 3);
        assert_eq!(recorder.queue.len(), EVENTS_MAX);
        for _ in 0..=ITEMS_MAX - EVENTS_MAX {
            recorder.answer("00000002".into(), 200);
        }
        assert_eq!(recorder.shared.lost_answers.load(Ordering::Relaxed), 1);
        assert!(!recorder.finish(Duration::from_millis(1)), "nobody writes");
    }
}

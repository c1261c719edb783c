//! Drains what workers write to their descriptors 1 and 2, and makes log records of the lines.
//!
//! A worker never waits for us: pipes are always read, and lines beyond the bound are dropped,
//! counted and announced.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::crossing::WorkerId;
use crate::log::{Level, Log, Record};

/// A longer line is cut.
const LINE_BYTES_MAX: usize = 16 * 1024;
/// Records one worker may make of its raw output; beyond it nobody reads along any more.
const LINES_PER_SECOND_MAX: u32 = 2000;
/// Read from one pipe in a turn, so that one worker cannot keep the others waiting.
const BYTES_PER_TURN_MAX: usize = 64 * 1024;
/// Read from a dead worker's pipe: all that a pipe can hold, and no more from what it left behind.
const BYTES_AT_DEATH_MAX: usize = 1 << 20;
/// Of a worker that is not attached yet, kept to explain its death.
const TAIL_BYTES_MAX: usize = 64 * 1024;

/// Both pipes of one worker.
pub struct Output {
    worker: WorkerId,
    streams: [Stream; 2],
    budget: Budget,
    /// stderr until the worker is attached.
    tail: Option<Vec<u8>>,
}

struct Stream {
    pipe: Option<OwnedFd>,
    lines: Lines,
    level: Level,
}

impl Output {
    /// The pipes must not block; none where a worker writes to our terminal itself.
    pub fn new(worker: WorkerId, stdout: Option<OwnedFd>, stderr: Option<OwnedFd>) -> Output {
        let stream = |pipe, level| Stream { pipe, lines: Lines::default(), level };
        Output {
            worker,
            streams: [stream(stdout, Level::Info), stream(stderr, Level::Warn)],
            budget: Budget::new(Instant::now()),
            tail: Some(Vec::new()),
        }
    }

    /// The pipes that are still open, with the number to give to [`Self::drain`].
    pub fn pipes(&self) -> impl Iterator<Item = (usize, BorrowedFd<'_>)> {
        let streams = self.streams.iter().enumerate();
        streams.filter_map(|(index, stream)| Some((index, stream.pipe.as_ref()?.as_fd())))
    }

    /// Takes what one pipe has, up to the bound of a turn.
    pub fn drain(&mut self, index: usize, log: &Log) {
        self.read(index, BYTES_PER_TURN_MAX, log);
        self.announce(log, Instant::now());
    }

    /// Takes what a dead worker left in its pipes and closes them.
    pub fn finish(&mut self, log: &Log) {
        for index in 0..self.streams.len() {
            self.read(index, BYTES_AT_DEATH_MAX, log);
            let Output { worker, streams, budget, .. } = self;
            let stream = &mut streams[index];
            stream.pipe = None;
            stream.lines.end(&mut |line| say(*worker, stream.level, line, budget, log));
        }
        self.budget.is_over = true;
        self.announce(log, Instant::now());
    }

    /// From now on stderr goes to the log at once; so does what was kept.
    pub fn attached(&mut self, log: &Log) {
        let Some(tail) = self.tail.take() else { return };
        let Output { worker, streams, budget, .. } = self;
        let stream = &mut streams[1];
        stream.lines.feed(&tail, &mut |line| say(*worker, stream.level, line, budget, log));
    }

    /// What a worker wrote to stderr before it was attached.
    pub fn tail(&self) -> &[u8] {
        self.tail.as_deref().unwrap_or_default()
    }

    /// When to call [`Self::announce`], if lines have been dropped.
    pub fn announce_at(&self) -> Option<Instant> {
        (self.budget.dropped > 0).then(|| self.budget.window_ends())
    }

    /// Says how many lines are missing, once the second in which they were dropped is over.
    pub fn announce(&mut self, log: &Log, now: Instant) {
        let Some(dropped) = self.budget.take_dropped(now) else { return };
        log.count_dropped_elsewhere(dropped);
        let text = format!(
            "{dropped} lines of this worker's output were dropped: more than \
             {LINES_PER_SECOND_MAX} a second"
        );
        log.say(Record::new(Level::Warn, text).of_worker(self.worker));
    }

    fn read(&mut self, index: usize, limit: usize, log: &Log) {
        let mut piece = [0u8; 16 * 1024];
        let mut taken = 0;
        while taken < limit {
            let Some(pipe) = &self.streams[index].pipe else { return };
            match rustix::io::read(pipe, &mut piece) {
                Ok(0) => {
                    self.streams[index].pipe = None;
                    return;
                }
                Ok(n) => {
                    taken += n;
                    self.take(index, &piece[..n], log);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return,
                Err(_) => {
                    self.streams[index].pipe = None;
                    return;
                }
            }
        }
    }

    fn take(&mut self, index: usize, bytes: &[u8], log: &Log) {
        let Output { worker, streams, budget, tail } = self;
        let stream = &mut streams[index];
        match tail {
            Some(tail) if index == 1 => keep_tail(tail, bytes),
            _ => {
                stream.lines.feed(bytes, &mut |line| say(*worker, stream.level, line, budget, log))
            }
        }
    }
}

fn keep_tail(tail: &mut Vec<u8>, bytes: &[u8]) {
    tail.extend_from_slice(bytes);
    if tail.len() > TAIL_BYTES_MAX {
        tail.drain(..tail.len() - TAIL_BYTES_MAX);
    }
}

fn say(worker: WorkerId, level: Level, line: &[u8], budget: &mut Budget, log: &Log) {
    if budget.allows(Instant::now()) {
        log.try_send(Record::new(level, line).of_worker(worker));
    }
}

/// Cuts a stream of bytes into lines of bounded length.
#[derive(Debug, Default)]
struct Lines {
    partial: Vec<u8>,
    /// Bytes of the present line that were not kept.
    cut: usize,
}

impl Lines {
    fn feed(&mut self, bytes: &[u8], emit: &mut impl FnMut(&[u8])) {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            self.keep(&rest[..end]);
            self.emit(emit);
            rest = &rest[end + 1..];
        }
        self.keep(rest);
    }

    /// The last line may lack its line break.
    fn end(&mut self, emit: &mut impl FnMut(&[u8])) {
        if !self.partial.is_empty() {
            self.emit(emit);
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let kept = bytes.len().min(LINE_BYTES_MAX - self.partial.len());
        self.partial.extend_from_slice(&bytes[..kept]);
        self.cut += bytes.len() - kept;
    }

    fn emit(&mut self, emit: &mut impl FnMut(&[u8])) {
        if self.cut > 0 {
            self.partial.extend_from_slice(format!("… ({} bytes cut)", self.cut).as_bytes());
        }
        emit(&self.partial);
        self.partial.clear();
        self.partial.shrink_to(1024);
        self.cut = 0;
    }
}

/// How many lines may pass in a second.
struct Budget {
    window_start: Instant,
    used: u32,
    dropped: u64,
    is_over: bool,
}

impl Budget {
    fn new(now: Instant) -> Budget {
        Budget { window_start: now, used: 0, dropped: 0, is_over: false }
    }

    fn window_ends(&self) -> Instant {
        self.window_start + Duration::from_secs(1)
    }

    fn allows(&mut self, now: Instant) -> bool {
        if now >= self.window_ends() {
            self.window_start = now;
            self.used = 0;
        }
        if self.used == LINES_PER_SECOND_MAX {
            self.dropped += 1;
            return false;
        }
        self.used += 1;
        true
    }

    fn take_dropped(&mut self, now: Instant) -> Option<u64> {
        let due = self.is_over || now >= self.window_ends();
        (self.dropped > 0 && due).then(|| std::mem::take(&mut self.dropped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(pieces: &[&[u8]]) -> Vec<String> {
        let mut lines = Lines::default();
        let mut found = Vec::new();
        let mut emit = |line: &[u8]| found.push(String::from_utf8_lossy(line).into_owned());
        for piece in pieces {
            lines.feed(piece, &mut emit);
        }
        lines.end(&mut emit);
        found
    }

    #[test]
    fn lines_are_put_together() {
        assert_eq!(lines_of(&[b"a\nb", b"c\n\nd"]), ["a", "bc", "", "d"]);
        assert_eq!(lines_of(&[b"", b"\n"]), [""]);
        assert!(lines_of(&[b""]).is_empty());
    }

    #[test]
    fn long_lines_are_cut() {
        let long = vec![b'x'; LINE_BYTES_MAX];
        let found = lines_of(&[&long, b"yyy", b"\nnext\n"]);
        assert_eq!(found.len(), 2);
        assert!(found[0].ends_with("x… (3 bytes cut)"));
        assert_eq!(found[1], "next");
        assert!(!lines_of(&[&long, b"\n"])[0].contains("cut"));
    }

    #[test]
    fn a_flood_is_counted_and_announced_once_a_second() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        for _ in 0..LINES_PER_SECOND_MAX {
            assert!(budget.allows(start));
        }
        assert!(!budget.allows(start) && !budget.allows(start));
        assert_eq!(budget.take_dropped(start), None, "the flood may go on");
        let later = start + Duration::from_secs(1);
        assert_eq!(budget.take_dropped(later), Some(2));
        assert_eq!(budget.take_dropped(later), None);
        assert!(budget.allows(later));
    }

    #[test]
    fn the_tail_keeps_the_end() {
        let mut tail = Vec::new();
        keep_tail(&mut tail, &vec![b'a'; TAIL_BYTES_MAX]);
        keep_tail(&mut tail, b"end");
        assert_eq!(tail.len(), TAIL_BYTES_MAX);
        assert!(tail.ends_with(b"aend"));
    }
}

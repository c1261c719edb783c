//! A worker for tests: dies or stops at a point of its work that the request names.
//!
//! `/<number>/<answer><deed><attempts>`, as `supervisor/tests/ledger/plan.rs` writes it. Works on the
//! rings themselves, since the points are between the steps that the shim takes together. Notes each
//! execution in a file before it answers. It breaks nothing but itself: what it does publish is right.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::fs::{File, OpenOptions, read_dir, read_link};
use std::io::Write;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, raise};
use rings::abi::{Entry, content_type, down, outcome, unplace, up, up_flag};
use rings::attach::{WORKER_FD_ENV, attach_worker};
use rings::header::EventView;
use rings::os::{adopt_from_env, monotonic_ns};
use rings::queue::Unreachable;
use rings::worker_end::WorkerEnd;
use shim::HeadBlock;

type Failed = Box<dyn std::error::Error>;

/// Its folder.
const NOTES_ENV: &str = "LEDGER_NOTES";
/// A reply in pieces that is broken off promises so much more than it sends.
const MISSING_BYTES: u64 = 1000;

fn main() -> Result<(), Failed> {
    let socket = adopt_from_env(WORKER_FD_ENV).ok_or("started by hand, not by a processor")?;
    let folder = PathBuf::from(std::env::var_os(NOTES_ENV).ok_or("LEDGER_NOTES is not set")?);
    let notes = folder.join(format!("{}.notes", std::process::id()));
    let notes = OpenOptions::new().append(true).create(true).open(notes)?;
    let (end, _) = attach_worker(socket, "failpoints", env!("CARGO_PKG_VERSION"))?;
    let mut worker = Worker { end, notes, folder, aside: VecDeque::new() };
    if std::env::args().nth(1).as_deref() == Some("refuse") {
        return worker.refuse();
    }
    worker.push(&Entry { kind: up::READY, value: 1, ..Default::default() })?;
    worker.serve()
}

/// One request, understood.
struct Asked {
    number: u64,
    path: Vec<u8>,
    answer: u8,
    /// The deed's letter, or `n` where this attempt just works.
    deed: u8,
    attempt: u32,
    body: Vec<u8>,
}

struct Worker {
    end: WorkerEnd,
    notes: File,
    folder: PathBuf,
    /// Entries met while waiting for blocks.
    aside: VecDeque<(u32, Entry)>,
}

impl Worker {
    /// Says why it cannot serve and is gone before anybody can have heard it.
    fn refuse(&mut self) -> Result<(), Failed> {
        const WHY: &[u8] = b"refused as it was told to";
        let offset = self.end.take_block(WHY.len() as u32).ok_or("no block")?;
        self.end.write_block(offset, 0, WHY);
        let (value, a) = (WHY.len() as u32, rings::abi::block(offset, 0));
        let aux = rings::abi::init_failed::FAILED;
        self.push(&Entry { kind: up::INIT_FAILED, aux, value, a, ..Default::default() })
    }

    fn serve(&mut self) -> Result<(), Failed> {
        loop {
            let next = match self.aside.pop_front() {
                Some(aside) => Some(aside),
                None => reached(self.end.pop())?,
            };
            let Some((index, entry)) = next else {
                if self.end.arm() && !self.end.sleep()? {
                    return Ok(());
                }
                continue;
            };
            match entry.kind {
                down::EVENT => self.event(index, &entry)?,
                down::RSP_RELEASE => self.end.take_back(&entry),
                down::STOP => return Ok(()),
                down::DRAIN => {
                    self.push(&Entry { kind: up::DRAINED, aux: entry.aux, ..Default::default() })?;
                }
                down::PING => {
                    let value = entry.value;
                    self.push(&Entry { kind: up::PONG, value, ..Default::default() })?;
                }
                _ => {}
            }
            self.end.release_entries();
        }
    }

    fn event(&mut self, index: u32, entry: &Entry) -> Result<(), Failed> {
        let asked = self.read(entry)?;
        if asked.deed == b'p' && self.is_first_of(asked.number)? {
            die()?;
        }
        if !self.end.begin(index) {
            let claim = entry.claim;
            return self.push(&Entry { kind: up::SKIPPED, claim, ..Default::default() });
        }
        let begun_ns = monotonic_ns();
        if matches!(asked.deed, b'b' | b'u') {
            die()?;
        }
        self.note(&asked, begun_ns)?;
        match asked.deed {
            b'k' => die()?,
            b's' => raise(Signal::SIGSTOP)?,
            b'd' => work(Duration::from_millis(1 + asked.number % 5)),
            _ => {}
        }
        if asked.deed == b'l' {
            die()?;
        }
        self.answer(entry.claim, &asked, begun_ns)
    }

    fn read(&self, entry: &Entry) -> Result<Asked, Failed> {
        let memory = self.end.event_memory();
        let (segment, offset) = unplace(entry.a);
        let slot = memory.held(segment, offset, entry.value as usize).ok_or("a wrong place")?;
        let view = EventView::new(slot).ok_or("a wrong header")?;
        let path = view.get(view.header().path).to_vec();
        let [b'/', number @ .., b'/', answer, deed, attempts] = path.as_slice() else {
            return Err("a path of another test".into());
        };
        let number = u64::from_str_radix(std::str::from_utf8(number)?, 16)?;
        let attempt = entry.d as u32;
        let does = attempt == 1 || *attempts == b'2';
        let (answer, deed) = (*answer, if does { *deed } else { b'n' });
        let mut body = Vec::new();
        for extent in view.extents() {
            let bytes = memory.held(extent.segment, extent.offset, extent.length as usize);
            body.extend_from_slice(bytes.ok_or("a wrong extent")?);
        }
        Ok(Asked { number, path, answer, deed, attempt, body })
    }

    /// True once for a number, in whichever process: a death before the beginning is not counted as
    /// an attempt, so it would come again for ever.
    fn is_first_of(&self, number: u64) -> Result<bool, Failed> {
        let mark = self.folder.join(format!("{number:016x}.met"));
        match OpenOptions::new().write(true).create_new(true).open(mark) {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    fn note(&mut self, asked: &Asked, begun_ns: u64) -> Result<(), Failed> {
        let mut note = Vec::with_capacity(24);
        note.extend_from_slice(&asked.number.to_le_bytes());
        note.extend_from_slice(&begun_ns.to_le_bytes());
        note.extend_from_slice(&std::process::id().to_le_bytes());
        note.extend_from_slice(&asked.attempt.to_le_bytes());
        // One system call, so that a note is there or not there.
        Ok(self.notes.write_all(&note)?)
    }

    fn answer(&mut self, claim: u64, asked: &Asked, begun_ns: u64) -> Result<(), Failed> {
        let mut head = HeadBlock::new();
        if asked.answer == b'h' && !head.push(b"X-Ledger", &asked.path) {
            return Err("the head is too long".into());
        }
        let mut body = Vec::new();
        if asked.answer != b'e' {
            body.extend_from_slice(&asked.path);
            body.push(b'\n');
            body.extend_from_slice(&asked.body);
        }
        let head = head.as_bytes();
        let block = self.block((head.len() + body.len()) as u32)?;
        self.end.write_block(block, 0, head);
        self.end.write_block(block, head.len() as u32, &body);
        if asked.deed == b'w' {
            die()?;
        }
        let run_ns = monotonic_ns().saturating_sub(begun_ns).min(u64::from(u32::MAX));
        let mut entry = Entry {
            kind: up::RESPONSE,
            flags: up_flag::REQ_RELEASED | up_flag::LAST,
            aux: 200,
            value: body.len() as u32,
            claim,
            a: rings::abi::block(block, head.len() as u32),
            c: run_ns << 32 | u64::from(content_type::BYTES) << 8 | u64::from(outcome::OK),
            d: u64::from(self.end.log_position()),
            ..Default::default()
        };
        entry.flags |= if head.is_empty() { 0 } else { up_flag::HAS_HEAD };
        if asked.answer == b'e' {
            entry.flags |= up_flag::BODY_IN_Q;
            entry.value = asked.body.len() as u32;
        }
        if asked.deed == b'm' {
            entry.flags &= !up_flag::LAST;
            entry.e = u64::from(entry.value) + MISSING_BYTES;
        }
        if asked.deed == b't' {
            // Publishing and ringing are one step of the rings: without its bell it cannot ring.
            nix::unistd::close(bell_up()?)?;
        }
        self.push(&entry)?;
        if matches!(asked.deed, b't' | b'r' | b'm') {
            die()?;
        }
        Ok(())
    }

    fn block(&mut self, bytes: u32) -> Result<u32, Failed> {
        loop {
            if let Some(block) = self.end.take_block(bytes) {
                return Ok(block);
            }
            self.end.wait_for_blocks(true);
            let mut progressed = false;
            while let Some((index, entry)) = reached(self.end.pop())? {
                if entry.kind == down::RSP_RELEASE {
                    self.end.take_back(&entry);
                    progressed = true;
                } else {
                    self.aside.push_back((index, entry));
                }
            }
            if !progressed && self.end.arm() && !self.end.sleep()? {
                return Err("the processor is gone".into());
            }
            self.end.wait_for_blocks(false);
        }
    }

    fn push(&mut self, entry: &Entry) -> Result<(), Failed> {
        let pushed = reached(self.end.push(entry))?;
        if pushed { Ok(()) } else { Err("the completion ring is full".into()) }
    }
}

/// The number of the only eventfd of this process.
fn bell_up() -> Result<RawFd, Failed> {
    for entry in read_dir("/proc/self/fd")? {
        let path = entry?.path();
        let target = read_link(&path).unwrap_or_default();
        if target == Path::new("anon_inode:[eventfd]") {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            return Ok(name.parse()?);
        }
    }
    Err("no eventfd is open".into())
}

fn reached<T>(result: Result<T, Unreachable>) -> Result<T, Failed> {
    result.map_err(|_| "the processor broke the protocol: an impossible index".into())
}

#[expect(clippy::disallowed_methods, reason = "the time it takes is what this handler does")]
fn work(time: Duration) {
    std::thread::sleep(time);
}

/// As a kill from outside at this very point.
fn die() -> Result<(), Failed> {
    raise(Signal::SIGKILL)?;
    Ok(())
}

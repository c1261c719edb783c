//! The processor's side: starts a worker, sends numbered events, takes replies and memory back.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::BorrowedFd;
use std::process::{Child, Command, Stdio};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rings::abi::{Entry, EventHeader, Extent, HeaderEntry, Layout, Range, down, place};
use rings::attach::{AttachError, Offer, ProcessorHandshake, Step, socket_pair};
use rings::check::{Block, Response, Up};
use rings::header::{self, raw_offset};
use rings::limits::{ARENA_BYTES_DEFAULT, BODY_INLINE_BYTES_MAX};
use rings::processor_end::ProcessorEnd;
use rings::slots::{SlotRef, Slots};

use crate::worker::Role;

/// Longest wait for something that must come; far beyond what a loaded machine needs.
const WAIT_MS: u16 = 60_000;
/// Bytes in front of a body in the same slot, for the events of this test.
pub const HEADER_BYTES: usize = raw_offset(1, 1) + PATH_BYTES + LINE.len();
/// `/event/` and eight digits.
const PATH_BYTES: usize = 15;
const LINE: &[u8] = b"x-testyes";

pub fn path(n: u32) -> String {
    format!("/event/{n:08}")
}

/// The claim of event `n`: tag and generation.
pub fn claim(n: u32) -> u64 {
    u64::from(n) << 32 | u64::from(n % 500)
}

/// A body of `bytes` that no other event has.
pub fn body(n: u32, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| (i as u32).wrapping_mul(n.wrapping_add(7)).to_le_bytes()[1]).collect()
}

/// A whole reply.
pub struct Reply {
    pub status: u16,
    pub head: Vec<u8>,
    pub body: Vec<u8>,
    pub log_position: u32,
    whole_bytes: usize,
}

/// A processor with one worker.
pub struct Processor {
    pub end: ProcessorEnd,
    pub slots: Slots,
    pub child: Child,
    pub layout: Layout,
    ups: VecDeque<Up>,
    held: BTreeMap<u64, Vec<SlotRef>>,
    open: BTreeMap<u32, Reply>,
}

/// Starts this binary again as a worker and begins the handshake.
pub fn spawn(role: Role) -> (Child, ProcessorHandshake, Slots) {
    let slots = Slots::new(64 << 20).unwrap();
    let (ours, theirs) = socket_pair().unwrap();
    let offer = Offer { function: "test".into(), ..Default::default() };
    let offer = offer.with_sizes(64, ARENA_BYTES_DEFAULT, slots.segment_bytes());
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["the_other_process", "--exact", "--nocapture"])
        .env(Role::ENV, role.name())
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(if role == Role::Ledger { Stdio::piped() } else { Stdio::inherit() })
        .spawn()
        .unwrap();
    let handshake = ProcessorHandshake::new(ours, offer, slots.fds());
    (child, handshake, slots)
}

/// Goes through the handshake; `None` if the worker leaves.
pub fn shake(handshake: &mut ProcessorHandshake) -> Option<Box<ProcessorEnd>> {
    loop {
        match handshake.step() {
            Ok(Step::Done(end)) => return Some(end),
            Ok(Step::Wait) => wait_readable(handshake.socket()),
            Err(AttachError::Closed) => return None,
            Err(AttachError::Io(e)) if e.kind() == std::io::ErrorKind::ConnectionReset => {
                return None;
            }
            Err(e) => panic!("handshake: {e}"),
        }
    }
}

fn wait_readable(fd: BorrowedFd<'_>) {
    let ready = poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], PollTimeout::from(WAIT_MS));
    assert_eq!(ready, Ok(1), "nothing came");
}

impl Processor {
    pub fn start(role: Role) -> Self {
        let (child, mut handshake, slots) = spawn(role);
        let layout = Offer::default().with_sizes(64, ARENA_BYTES_DEFAULT, [0; 2]).layout();
        let end = *shake(&mut handshake).expect("the worker left");
        assert_eq!(end.runtime_version(), "1.2.3");
        assert_eq!(end.tags(), layout.tags);
        let (ups, held, open) = Default::default();
        let mut p = Self { end, slots, child, layout, ups, held, open };
        assert_eq!(p.next_up(), Up::Ready { concurrency: 1 });
        p
    }

    /// Writes event `n` and pushes its entry; the entry's index.
    pub fn push(&mut self, n: u32, body: &[u8]) -> u32 {
        let path = path(n);
        let body_slots = match body.len() > BODY_INLINE_BYTES_MAX - HEADER_BYTES {
            true => self.slots.reserve_body(body.len()).expect("event memory"),
            false => Vec::new(),
        };
        let extent_count = body_slots.len().max(1);
        let raw_at = raw_offset(1, extent_count);
        let inline = if body_slots.is_empty() { body.len() } else { 0 };
        let slot = self.slots.reserve(raw_at + path.len() + LINE.len() + inline).unwrap();
        let (segment, offset, _) = self.slots.place(slot);
        let mut extents = Vec::new();
        let mut rest = body;
        for part in &body_slots {
            let (segment, offset, bytes) = self.slots.place(*part);
            let (now, later) = rest.split_at(rest.len().min(bytes as usize));
            self.slots.bytes_mut(*part)[..now.len()].copy_from_slice(now);
            extents.push(Extent { segment, length: now.len() as u32, offset });
            rest = later;
        }
        let line_at = raw_at + path.len();
        let body_at = line_at + LINE.len();
        if body_slots.is_empty() {
            let offset = offset + body_at as u64;
            extents.push(Extent { segment, length: body.len() as u32, offset });
        }
        let range = |at: usize, bytes: usize| Range { offset: at as u32, length: bytes as u32 };
        let mut event = EventHeader {
            kind: 1,
            attempt: 1,
            offset: u64::from(n),
            path: range(raw_at, path.len()),
            body_bytes: body.len() as u32,
            ..Default::default()
        };
        let line = HeaderEntry { name: range(line_at, 6), value: range(line_at + 6, 3) };
        let bytes = self.slots.bytes_mut(slot);
        header::write(bytes, &mut event, [line].into_iter(), &extents);
        bytes[raw_at..line_at].copy_from_slice(path.as_bytes());
        bytes[line_at..body_at].copy_from_slice(LINE);
        bytes[body_at..body_at + inline].copy_from_slice(&body[..inline]);
        let entry = Entry {
            kind: down::EVENT,
            value: (body_at + inline) as u32,
            claim: claim(n),
            a: place(segment, offset),
            c: body.len() as u64,
            d: 1,
            ..Default::default()
        };
        let slots = body_slots.into_iter().chain([slot]).collect();
        assert!(self.held.insert(claim(n), slots).is_none());
        self.end.push_event(&entry).unwrap().expect("room for an event")
    }

    pub fn send(&mut self, n: u32, body: &[u8]) {
        self.push(n, body);
        self.end.publish().unwrap();
    }

    /// Sleeps until the worker has sent something.
    pub fn wait(&mut self) {
        loop {
            while let Some(up) = self.end.next_up().unwrap() {
                self.ups.push_back(up);
            }
            self.end.release_entries();
            if !self.ups.is_empty() {
                return;
            }
            if self.end.arm() {
                wait_readable(self.end.up_bell());
                // So that the next wait is for the next ring.
                self.end.take_rings();
            }
        }
    }

    pub fn next_up(&mut self) -> Up {
        self.wait();
        self.ups.pop_front().expect("waited for")
    }

    /// Takes what is there, without waiting; the replies that became whole.
    pub fn take_replies(&mut self) -> Vec<(u32, Reply)> {
        let mut replies = Vec::new();
        loop {
            let next = self.ups.pop_front().map_or_else(|| self.end.next_up(), |up| Ok(Some(up)));
            match next.unwrap() {
                Some(up) => replies.extend(self.take(up)),
                None => break,
            }
        }
        self.end.release_entries();
        replies
    }

    pub fn wait_for_replies(&mut self) -> Vec<(u32, Reply)> {
        self.wait();
        self.take_replies()
    }

    pub fn reply(&mut self, n: u32) -> Reply {
        loop {
            if let Some((for_whom, reply)) = self.wait_for_replies().pop() {
                assert_eq!(for_whom, n);
                return reply;
            }
        }
    }

    pub fn wait_for_releases(&mut self) {
        while !self.held.is_empty() {
            assert!(self.wait_for_replies().is_empty());
        }
    }

    fn take(&mut self, up: Up) -> Option<(u32, Reply)> {
        match up {
            Up::Response(r) => {
                let reply = self.begin_reply(&r);
                let n = (r.claim >> 32) as u32;
                if r.released {
                    self.release(r.claim);
                }
                if r.in_pieces.is_none() {
                    return Some((n, reply));
                }
                assert!(self.open.insert(n, reply).is_none());
                None
            }
            Up::Chunk { claim, block } => {
                let bytes = self.take_block(block);
                self.open.get_mut(&((claim >> 32) as u32)).unwrap().body.extend(bytes);
                None
            }
            Up::End { claim, broken, .. } => {
                let n = (claim >> 32) as u32;
                let reply = self.open.remove(&n).unwrap();
                assert!(!broken && reply.body.len() == reply.whole_bytes);
                Some((n, reply))
            }
            Up::RequestReleased { claim } => {
                self.release(claim);
                None
            }
            other => panic!("unexpected {other:?}"),
        }
    }

    fn begin_reply(&mut self, r: &Response) -> Reply {
        let mut head = self.take_block(r.block);
        let body = head.split_off(r.head_bytes as usize);
        let whole_bytes = r.in_pieces.flatten().unwrap_or(0) as usize;
        Reply { status: r.status, head, body, log_position: r.log_position, whole_bytes }
    }

    fn take_block(&mut self, block: Block) -> Vec<u8> {
        let mut bytes = vec![0; block.bytes as usize];
        self.end.copy_block(block, &mut bytes);
        self.end.release_block(block).unwrap();
        bytes
    }

    fn release(&mut self, claim: u64) {
        for slot in self.held.remove(&claim).expect("released twice") {
            self.slots.release(slot);
        }
    }

    /// Asks the worker to end and waits for it.
    pub fn stop(mut self) {
        self.end.push_control(Entry { kind: down::STOP, ..Default::default() }).unwrap();
        self.end.publish().unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

//! The worker's side, in a process of its own: standard input is its handshake socket.

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

use rings::abi::{self, Entry, LogHead, down, outcome, up, up_flag};
use rings::attach::{Hello, MAGIC, Offer, attach_worker};
use rings::header::EventView;
use rings::limits::HANDSHAKE_BYTES_MAX;
#[cfg(feature = "portable")]
use rings::memory;
use rings::memory::Map;
use rings::os::{receive_with_fds, send_with_fds};
use rings::worker_end::WorkerEnd;

/// The event that needs the whole arena for its reply.
pub const NEEDS_ALL: u32 = 99_999;
/// In the ledger: the answer was published, not only the handler entered.
pub const ANSWERED: u32 = 1 << 31;
/// Longest piece of a reply.
const PIECE_BYTES_MAX: usize = 1 << 20;

/// What the worker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Answers each event with its own body; releases every other slot later than it answers.
    Echo,
    /// In each event, says so with a PONG and waits for a PING; events meanwhile are put aside.
    Waiting,
    /// As Echo, and keeps a ledger on standard error.
    Ledger,
    /// Tries to write what it must not.
    Intruder,
    /// Cuts its own segment short as soon as it has it, and stays.
    #[cfg(feature = "portable")]
    Cutter,
    /// Looks at a file that has lost its end, with a watched segment beside it.
    #[cfg(feature = "portable")]
    Stray,
}

impl Role {
    pub const ENV: &str = "RINGS_TEST_ROLE";
    const ALL: &[Self] = &[
        Self::Echo,
        Self::Waiting,
        Self::Ledger,
        Self::Intruder,
        #[cfg(feature = "portable")]
        Self::Cutter,
        #[cfg(feature = "portable")]
        Self::Stray,
    ];

    pub fn name(self) -> String {
        format!("{self:?}")
    }

    pub fn of_this_process() -> Option<Self> {
        let name = std::env::var(Self::ENV).ok()?;
        Self::ALL.iter().copied().find(|role| role.name() == name)
    }
}

pub fn run(role: Role) {
    let socket = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
    if role == Role::Intruder {
        return intrude(&socket);
    }
    #[cfg(feature = "portable")]
    match role {
        Role::Cutter => return cut(&socket),
        Role::Stray => return stray(),
        _ => {}
    }
    let (end, offer) = attach_worker(socket, "test", "1.2.3").unwrap();
    assert_eq!(offer.function, "test");
    let mut worker = Worker { end, role, aside: Vec::new(), release_later: None };
    worker.push(&Entry { kind: up::READY, value: 1, ..Default::default() });
    worker.serve();
}

struct Worker {
    end: WorkerEnd,
    role: Role,
    aside: Vec<(u32, Entry)>,
    release_later: Option<u64>,
}

impl Worker {
    fn serve(&mut self) {
        loop {
            let next = match self.aside.is_empty() {
                false => Some(self.aside.remove(0)),
                true => self.end.pop().unwrap(),
            };
            match next {
                Some((_, entry)) if entry.kind == down::STOP => return,
                Some((index, entry)) => self.take(index, &entry),
                None => {
                    self.release_held();
                    if self.end.arm() && !self.end.sleep().unwrap() {
                        return;
                    }
                }
            }
        }
    }

    fn take(&mut self, index: u32, entry: &Entry) {
        match entry.kind {
            down::EVENT if self.end.begin(index) => self.handle(entry),
            down::EVENT => {
                let claim = entry.claim;
                self.push(&Entry { kind: up::SKIPPED, claim, ..Default::default() });
            }
            down::RSP_RELEASE => self.end.take_back(entry),
            down::PING => {
                self.push(&Entry { kind: up::PONG, value: entry.value, ..Default::default() });
            }
            down::CANCEL => assert!(self.end.is_cancelled(entry.claim)),
            other => panic!("unexpected entry of kind {other}"),
        }
    }

    fn handle(&mut self, entry: &Entry) {
        let (segment, offset) = abi::unplace(entry.a);
        let memory = self.end.event_memory();
        let bytes = memory.held(segment, offset, entry.value as usize).unwrap();
        let view = EventView::new(bytes).unwrap();
        let n = view.header().offset as u32;
        let path = view.get(view.header().path);
        assert_eq!(path, crate::processor::path(n).as_bytes());
        assert_eq!(view.lines().collect::<Vec<_>>(), [(&b"x-test"[..], &b"yes"[..])]);
        let mut body = Vec::new();
        for extent in view.extents() {
            let bytes = memory.held(extent.segment, extent.offset, extent.length as usize);
            body.extend_from_slice(bytes.unwrap());
        }
        assert_eq!(body.len() as u64, entry.c);
        let head = LogHead { claim: entry.claim, level: 1, ..Default::default() };
        match self.role {
            Role::Waiting => self.wait_for_ping(n),
            Role::Ledger => note(n),
            _ => self.end.log(head, format!("event {n}").as_bytes(), b"{}"),
        }
        if n == NEEDS_ALL {
            let arena = self.end.layout().arena_bytes;
            let all = self.block(arena);
            self.end.give_block(all);
        }
        self.reply(n, entry.claim, path, &body);
        if self.role == Role::Ledger {
            note(n | ANSWERED);
        }
    }

    fn reply(&mut self, n: u32, claim: u64, head: &[u8], body: &[u8]) {
        let mut pieces = body.chunks(PIECE_BYTES_MAX);
        let first = pieces.next().unwrap_or_default();
        let at = self.block((head.len() + first.len()) as u32);
        self.end.write_block(at, 0, head);
        self.end.write_block(at, head.len() as u32, first);
        let whole = first.len() == body.len();
        let release_now = n.is_multiple_of(2);
        let flag = |on: bool, bit: u8| if on { bit } else { 0 };
        self.push(&Entry {
            kind: up::RESPONSE,
            flags: up_flag::HAS_HEAD
                | flag(whole, up_flag::LAST)
                | flag(release_now, up_flag::REQ_RELEASED),
            aux: 200,
            value: first.len() as u32,
            claim,
            a: abi::block(at, head.len() as u32),
            c: u64::from(outcome::OK),
            d: u64::from(self.end.log_position()),
            e: if whole { 0 } else { body.len() as u64 },
            ..Default::default()
        });
        for piece in pieces {
            let at = self.block(piece.len() as u32);
            self.end.write_block(at, 0, piece);
            let (value, a) = (piece.len() as u32, abi::block(at, 0));
            self.push(&Entry { kind: up::CHUNK, value, claim, a, ..Default::default() });
        }
        if !whole {
            self.push(&Entry { kind: up::END, claim, ..Default::default() });
        }
        self.release_held();
        self.release_later = (!release_now).then_some(claim);
    }

    fn release_held(&mut self) {
        if let Some(claim) = self.release_later.take() {
            self.push(&Entry { kind: up::REQ_RELEASE, claim, ..Default::default() });
        }
    }

    /// A block, once the processor has given enough of them back.
    fn block(&mut self, bytes: u32) -> u32 {
        loop {
            if let Some(offset) = self.end.take_block(bytes) {
                return offset;
            }
            self.end.wait_for_blocks(true);
            match self.end.pop().unwrap() {
                Some((_, entry)) if entry.kind == down::RSP_RELEASE => self.end.take_back(&entry),
                Some(other) => self.aside.push(other),
                None => assert!(!self.end.arm() || self.end.sleep().unwrap()),
            }
            self.end.wait_for_blocks(false);
        }
    }

    fn wait_for_ping(&mut self, n: u32) {
        self.push(&Entry { kind: up::PONG, value: n, ..Default::default() });
        loop {
            match self.end.pop().unwrap() {
                Some((_, entry)) if entry.kind == down::PING => return,
                Some(other) => self.aside.push(other),
                None => assert!(!self.end.arm() || self.end.sleep().unwrap()),
            }
        }
    }

    fn push(&mut self, entry: &Entry) {
        assert!(self.end.push(entry).unwrap(), "the credit law");
    }
}

/// One record of the ledger, by one system call.
fn note(n: u32) {
    std::io::stderr().write_all(&n.to_le_bytes()).unwrap();
}

/// The handshake's packets; the crate keeps them to itself.
#[derive(serde::Serialize, serde::Deserialize)]
enum Packet {
    Hello(Hello),
    Offer(Box<Offer>),
    Accept,
    Decline(String),
    Descriptors,
    Attached,
}

fn send(socket: &OwnedFd, packet: &Packet) {
    let bytes = rmp_serde::to_vec_named(packet).unwrap();
    send_with_fds(socket.as_fd(), &bytes, &[]).unwrap();
}

fn receive(socket: &OwnedFd) -> (Packet, Vec<OwnedFd>) {
    let mut bytes = vec![0; HANDSHAKE_BYTES_MAX];
    let (count, fds) = receive_with_fds(socket.as_fd(), &mut bytes).unwrap();
    (rmp_serde::from_slice(&bytes[..count]).unwrap(), fds)
}

/// Takes the descriptors as a worker does.
fn descriptors(socket: &OwnedFd, runtime: &str) -> (Box<Offer>, Vec<OwnedFd>) {
    send(
        socket,
        &Packet::Hello(Hello {
            magic: MAGIC.into(),
            abi_major: abi::ABI_MAJOR,
            abi_minor: abi::ABI_MINOR,
            features: 0,
            runtime: runtime.into(),
            runtime_version: "1.2.3".into(),
        }),
    );
    let (Packet::Offer(offer), _) = receive(socket) else { panic!("no OFFER") };
    send(socket, &Packet::Accept);
    let (Packet::Descriptors, fds) = receive(socket) else { panic!("no descriptors") };
    (offer, fds)
}

/// Tries every door to the processor's memory.
fn intrude(socket: &OwnedFd) {
    let (offer, fds) = descriptors(socket, "intruder");
    let layout = offer.layout();
    let [small, large] = offer.event_memory_bytes.map(|bytes| bytes as usize);
    let names = ["small events", "large events", "D"];
    for (name, (fd, bytes)) in
        names.into_iter().zip(fds.iter().zip([small, large, layout.d_bytes()]))
    {
        assert!(Map::read_only(name, fd.as_fd(), bytes).is_ok());
        assert!(Map::writable(name, fd.as_fd(), bytes).is_err(), "{name} maps writable");
        assert!(nix::unistd::write(fd, b"x").is_err(), "write(2) reaches {name}");
        assert!(nix::unistd::ftruncate(fd, 0).is_err(), "{name} can be cut");
        // A descriptor opened anew for writing is no way around a seal. Without seals it is one, for
        // a process of the same user: docs/adr/0008.
        #[cfg(feature = "portable")]
        continue;
        #[cfg(not(feature = "portable"))]
        reopen(name, fd, bytes);
    }
    // Its own segment it may write, but not resize under the processor's map; see `cut`.
    let own = &fds[3];
    assert!(Map::writable("U", own.as_fd(), layout.u_bytes()).is_ok());
    #[cfg(not(feature = "portable"))]
    assert!(nix::unistd::ftruncate(own, 0).is_err(), "U can be cut");
}

#[cfg(not(feature = "portable"))]
fn reopen(name: &'static str, fd: &OwnedFd, bytes: usize) {
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(fd));
    if let Ok(again) = std::fs::OpenOptions::new().read(true).write(true).open(path) {
        assert!(Map::writable(name, again.as_fd(), bytes).is_err(), "{name} maps writable");
    }
}

/// Attaches, with nothing in the place of its segment when it says so.
#[cfg(feature = "portable")]
fn cut(socket: &OwnedFd) {
    let (_, fds) = descriptors(socket, "cutter");
    nix::unistd::ftruncate(&fds[3], 0).unwrap();
    send(socket, &Packet::Attached);
    // Until the processor is gone.
    assert_eq!(nix::unistd::read(&fds[4], &mut [0; 1]), Ok(0));
}

/// Does not come back from its last look.
#[cfg(feature = "portable")]
fn stray() {
    use nix::sys::memfd::{MFdFlags, memfd_create};
    use rings::sync::Ordering;
    let (fd, watched) = memory::create("watched", 8192, memory::Writer::Peer).unwrap();
    nix::unistd::ftruncate(&fd, 0).unwrap();
    assert_eq!(watched.load(0, Ordering::Relaxed), 0);
    let fd = memfd_create(c"stray", MFdFlags::MFD_CLOEXEC).unwrap();
    nix::unistd::ftruncate(&fd, 8192).unwrap();
    let other = Map::read_only("stray", fd.as_fd(), 8192).unwrap();
    nix::unistd::ftruncate(&fd, 0).unwrap();
    println!("{}", other.load(0, Ordering::Relaxed));
}

//! The handshake between the processor and a new worker: versions, features, settings, descriptors.
//!
//! One inherited `SOCK_SEQPACKET` socket; MessagePack packets: HELLO up, OFFER down, ACCEPT up,
//! descriptors down, ATTACHED up. After that everything goes over the rings and the socket stays
//! open only for segments passed later.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::abi::{ABI_MAJOR, ABI_MINOR, Layout};
use crate::error::RingError;
use crate::limits::{HANDSHAKE_BYTES_MAX, LOG_RING_BYTES, capacities, tags};
use crate::memory::{EventMemory, Map, Writer, create};
use crate::os::{bell_pipe, bell_up, receive_with_fds, send_with_fds};
use crate::processor_end::ProcessorEnd;
use crate::worker_end::WorkerEnd;

/// Name of the environment variable that carries the socket's number to a worker.
pub const WORKER_FD_ENV: &str = "NUCLIO_WORKER_FD";
/// First word of a HELLO.
pub const MAGIC: &str = "nuclio-worker";

/// Why a handshake did not end in a pair of ends.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The other side closed the socket.
    #[error("the other side closed the socket during the handshake")]
    Closed,
    /// The socket failed.
    #[error("handshake: {0}")]
    Io(#[from] io::Error),
    /// A packet that is not what is due.
    #[error("handshake: {0}")]
    Packet(String),
    /// Another major version of the protocol.
    #[error(
        "the worker speaks shared-memory protocol {theirs}.x, this processor {ours}.x: use the runtimes folder that came with this processor"
    )]
    Version {
        /// The worker's.
        theirs: u16,
        /// Ours.
        ours: u16,
    },
    /// The worker declined the offer.
    #[error("the worker declined: {0}")]
    Declined(String),
    /// Segments or bells could not be made.
    #[error(transparent)]
    Ring(#[from] RingError),
}

#[derive(Debug, Serialize, Deserialize)]
enum Packet {
    Hello(Hello),
    Offer(Box<Offer>),
    Accept,
    Decline(String),
    Descriptors,
    Attached,
}

/// What a worker says of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hello {
    /// [`MAGIC`].
    pub magic: String,
    /// Its protocol.
    pub abi_major: u16,
    /// Its protocol.
    pub abi_minor: u16,
    /// Reserved for optional features, one bit each.
    pub features: u64,
    /// Language, such as `python`.
    pub runtime: String,
    /// Version of the interpreter, such as `3.13.0`.
    pub runtime_version: String,
}

/// A trigger as a worker knows it: entries and headers name it by number.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct TriggerOffer {
    /// The number.
    pub id: u16,
    /// Kind, as in function.yaml.
    pub kind: String,
    /// Name, as in function.yaml.
    pub name: String,
}

/// All that a worker must know to serve a function.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Offer {
    /// Protocol of the processor.
    pub abi_major: u16,
    /// Protocol of the processor.
    pub abi_minor: u16,
    /// Optional features, one bit each.
    pub features: u64,
    /// Number of the worker, unique in the processor's life.
    pub worker_id: u32,
    /// Function name.
    pub function: String,
    /// Namespace.
    pub namespace: String,
    /// Function version.
    pub version: String,
    /// Function description.
    pub description: String,
    /// Handler as configured; empty = the worker finds it.
    pub handler: String,
    /// Absolute path of the code, a file or a folder.
    pub code_path: String,
    /// Triggers whose events may come.
    pub triggers: Vec<TriggerOffer>,
    /// Most events in flight at once for a handler that can have several.
    pub max_inflight: u32,
    /// The function's `eventTimeout`, 0 = none.
    pub event_timeout_ns: u64,
    /// Lowest level that the logger records: 0 debug to 3 error.
    pub log_level: u8,
    /// Further settings by name (runtimeAttributes).
    pub settings: BTreeMap<String, String>,
    /// Bytes of the two segments of the event memory.
    pub event_memory_bytes: [u64; 2],
    /// Entries of the submission ring.
    pub sq_capacity: u32,
    /// Entries of the completion ring.
    pub cq_capacity: u32,
    /// Tags.
    pub tags: u32,
    /// Bytes of the response arena.
    pub arena_bytes: u32,
    /// Bytes of the log ring.
    pub log_bytes: u32,
}

impl Offer {
    /// Sets the sizes that follow from `max_inflight` and the arena.
    pub fn with_sizes(
        mut self,
        max_inflight: u32,
        arena_bytes: u32,
        event_memory: [u64; 2],
    ) -> Self {
        let (sq, cq) = capacities(max_inflight);
        self.max_inflight = max_inflight;
        self.sq_capacity = sq;
        self.cq_capacity = cq;
        self.tags = tags(max_inflight);
        self.arena_bytes = arena_bytes;
        self.log_bytes = LOG_RING_BYTES;
        self.event_memory_bytes = event_memory;
        self.abi_major = ABI_MAJOR;
        self.abi_minor = ABI_MINOR;
        self
    }

    /// The layout both sides compute from the sizes.
    pub fn layout(&self) -> Layout {
        Layout {
            sq_capacity: self.sq_capacity,
            cq_capacity: self.cq_capacity,
            tags: self.tags,
            arena_bytes: self.arena_bytes,
            log_bytes: self.log_bytes,
        }
    }
}

fn send(
    socket: BorrowedFd<'_>,
    packet: &Packet,
    fds: &[BorrowedFd<'_>],
) -> Result<(), AttachError> {
    let bytes = rmp_serde::to_vec_named(packet).map_err(|e| AttachError::Packet(e.to_string()))?;
    if bytes.len() > HANDSHAKE_BYTES_MAX {
        let text = format!("settings of {} bytes, {HANDSHAKE_BYTES_MAX} are allowed", bytes.len());
        return Err(AttachError::Packet(text));
    }
    Ok(send_with_fds(socket, &bytes, fds)?)
}

fn receive(socket: BorrowedFd<'_>) -> Result<(Packet, Vec<OwnedFd>), AttachError> {
    let mut bytes = vec![0; HANDSHAKE_BYTES_MAX];
    let (n, fds) = receive_with_fds(socket, &mut bytes)?;
    if n == 0 {
        return Err(AttachError::Closed);
    }
    let packet =
        rmp_serde::from_slice(&bytes[..n]).map_err(|e| AttachError::Packet(e.to_string()))?;
    Ok((packet, fds))
}

/// A connected pair of handshake sockets: the processor's end (not blocking) and the worker's.
pub fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
    let (ours, theirs) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    fcntl(&ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok((ours, theirs))
}

/// How far a handshake has come.
#[derive(Debug)]
pub enum Step {
    /// Nothing more to read now.
    Wait,
    /// The worker is attached.
    Done(Box<ProcessorEnd>),
}

/// The processor's side of the handshake: call [`ProcessorHandshake::step`] when the socket is
/// readable, until it is done or fails. Never blocks.
#[derive(Debug)]
pub struct ProcessorHandshake {
    socket: OwnedFd,
    offer: Offer,
    event_memory: Arc<[OwnedFd; 2]>,
    hello: Option<Hello>,
    end: Option<Box<ProcessorEnd>>,
}

impl ProcessorHandshake {
    /// Waits for the HELLO of a worker on `socket`.
    pub fn new(socket: OwnedFd, offer: Offer, event_memory: Arc<[OwnedFd; 2]>) -> Self {
        Self { socket, offer, event_memory, hello: None, end: None }
    }

    /// The socket to wait on.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// What the worker said of itself, once it has.
    pub fn hello(&self) -> Option<&Hello> {
        self.hello.as_ref()
    }

    /// Takes the packets that are there.
    pub fn step(&mut self) -> Result<Step, AttachError> {
        loop {
            let packet = match receive(self.socket.as_fd()) {
                Ok((packet, _)) => packet,
                Err(AttachError::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Step::Wait);
                }
                Err(e) => return Err(e),
            };
            match packet {
                Packet::Hello(hello) if self.hello.is_none() => self.greet(hello)?,
                Packet::Accept if self.hello.is_some() && self.end.is_none() => self.pass()?,
                Packet::Decline(reason) => return Err(AttachError::Declined(reason)),
                Packet::Attached => {
                    if let Some(end) = self.end.take() {
                        return Ok(Step::Done(end));
                    }
                    return Err(AttachError::Packet("ATTACHED out of turn".into()));
                }
                _ => return Err(AttachError::Packet("a packet out of turn".into())),
            }
        }
    }

    fn greet(&mut self, hello: Hello) -> Result<(), AttachError> {
        if hello.magic != MAGIC {
            return Err(AttachError::Packet("not a worker's HELLO".into()));
        }
        if hello.abi_major != ABI_MAJOR {
            return Err(AttachError::Version { theirs: hello.abi_major, ours: ABI_MAJOR });
        }
        self.hello = Some(hello);
        send(self.socket.as_fd(), &Packet::Offer(Box::new(self.offer.clone())), &[])
    }

    fn pass(&mut self) -> Result<(), AttachError> {
        let layout = self.offer.layout();
        let (d_fd, d) = create("nuclio-d", layout.d_bytes(), Writer::Creator)?;
        let (u_fd, u) = create("nuclio-u", layout.u_bytes(), Writer::Peer)?;
        let (bell_read, bell_write) = bell_pipe().map_err(RingError::Bell)?;
        let (up, theirs) = bell_up().map_err(RingError::Bell)?;
        let [small, large] = &*self.event_memory;
        let up_write = theirs.as_ref().unwrap_or(&up);
        let fds = [small, large, &d_fd, &u_fd, &bell_read, up_write].map(AsFd::as_fd);
        send(self.socket.as_fd(), &Packet::Descriptors, &fds)?;
        let hello = self.hello.clone().ok_or(AttachError::Closed)?;
        let end = ProcessorEnd::new(layout, d, u, bell_write, up, hello.runtime_version);
        self.end = Some(Box::new(end));
        Ok(())
    }
}

/// The worker's side of the handshake; blocks until it is attached.
pub fn attach_worker(
    socket: OwnedFd,
    runtime: &str,
    runtime_version: &str,
) -> Result<(WorkerEnd, Offer), AttachError> {
    let hello = Hello {
        magic: MAGIC.into(),
        abi_major: ABI_MAJOR,
        abi_minor: ABI_MINOR,
        features: 0,
        runtime: runtime.into(),
        runtime_version: runtime_version.into(),
    };
    send(socket.as_fd(), &Packet::Hello(hello), &[])?;
    let Packet::Offer(offer) = receive(socket.as_fd())?.0 else {
        return Err(AttachError::Packet("an OFFER was due".into()));
    };
    if offer.abi_major != ABI_MAJOR {
        let text = format!("protocol {}.x is not {ABI_MAJOR}.x", offer.abi_major);
        send(socket.as_fd(), &Packet::Decline(text.clone()), &[])?;
        return Err(AttachError::Packet(text));
    }
    send(socket.as_fd(), &Packet::Accept, &[])?;
    let (Packet::Descriptors, fds) = receive(socket.as_fd())? else {
        return Err(AttachError::Packet("descriptors were due".into()));
    };
    let Ok([small, large, d, u, bell, up]) = <[OwnedFd; 6]>::try_from(fds) else {
        return Err(AttachError::Packet("six descriptors were due".into()));
    };
    let layout = offer.layout();
    let [small_bytes, large_bytes] = offer.event_memory_bytes.map(|b| b as usize);
    let q = EventMemory::new(
        Map::read_only("nuclio-q-small", small.as_fd(), small_bytes)?,
        Map::read_only("nuclio-q-large", large.as_fd(), large_bytes)?,
    );
    let d = Map::read_only("nuclio-d", d.as_fd(), layout.d_bytes())?;
    let u = Map::writable("nuclio-u", u.as_fd(), layout.u_bytes())?;
    let end = WorkerEnd::new(layout, q, d, u, bell, up, socket)?;
    send(end.socket(), &Packet::Attached, &[])?;
    Ok((end, *offer))
}

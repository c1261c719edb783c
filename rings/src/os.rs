//! Descriptors over a socket, bells, and writing to a socket straight from shared memory.
//!
//! [unsafe] Another file of the data plane that may: the safe wrappers take slices, and there must
//! be no slice over memory that a worker can write.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, FdFlag};
use nix::sys::socket::MsgFlags;

use crate::memory::Map;

/// Pieces of one write; more are sent in the next.
pub const PARTS_MAX: usize = 16;

/// A piece of what is sent: our bytes, or a range of a segment.
#[derive(Debug, Clone, Copy)]
pub enum Part<'a> {
    /// Bytes of ours.
    Bytes(&'a [u8]),
    /// A range of a segment; who writes it may do so meanwhile, the kernel copies what is there.
    Shared {
        /// The segment.
        map: &'a Map,
        /// First byte.
        offset: usize,
        /// Bytes.
        bytes: usize,
    },
}

impl Part<'_> {
    /// Bytes of this part.
    pub fn len(&self) -> usize {
        match self {
            Part::Bytes(b) => b.len(),
            Part::Shared { bytes, .. } => *bytes,
        }
    }

    /// True for a part of nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Sends up to [`PARTS_MAX`] parts in one call without SIGPIPE; how many bytes the socket took.
pub fn send_parts(socket: BorrowedFd<'_>, parts: &[Part<'_>]) -> io::Result<usize> {
    if let [Part::Bytes(bytes)] = parts {
        // One range of ours needs no message header, which costs the kernel two copies more.
        return Ok(nix::sys::socket::send(socket.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL)?);
    }
    let mut iov = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; PARTS_MAX];
    let count = parts.len().min(PARTS_MAX);
    for (slot, part) in iov.iter_mut().zip(parts) {
        let address = match part {
            Part::Bytes(b) => b.as_ptr(),
            Part::Shared { map, offset, bytes } => map.address(*offset, *bytes),
        };
        *slot = libc::iovec { iov_base: address.cast_mut().cast(), iov_len: part.len() };
    }
    // SAFETY: an all-zero msghdr is a valid empty one.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = iov.as_mut_ptr();
    message.msg_iovlen = count as _;
    // SAFETY: every iovec points to bytes that live for the call (borrowed slices, borrowed maps);
    // the kernel only reads them.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &message, libc::MSG_NOSIGNAL) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(sent as usize) }
}

/// Sends one packet with descriptors attached.
pub fn send_with_fds(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    use nix::sys::socket::{ControlMessage, sendmsg};
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let control = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &control };
    let sent = sendmsg::<()>(
        socket.as_raw_fd(),
        &[io::IoSlice::new(bytes)],
        control,
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Descriptors that one packet of the handshake may carry.
pub const FDS_MAX: usize = 8;

/// Receives one packet of at most `bytes.len()` bytes and its descriptors; `Ok(0, ..)` = closed.
pub fn receive_with_fds(
    socket: BorrowedFd<'_>,
    bytes: &mut [u8],
) -> io::Result<(usize, Vec<OwnedFd>)> {
    use nix::sys::socket::{ControlMessageOwned, recvmsg};
    let mut space = nix::cmsg_space!([RawFd; FDS_MAX]);
    let mut iov = [io::IoSliceMut::new(bytes)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut iov, Some(&mut space), flags)?;
    let mut fds = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = control {
            // SAFETY: the kernel made these descriptors for us in this call; nobody else owns them.
            fds.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    if message.flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "packet larger than the limit"));
    }
    Ok((message.bytes, fds))
}

/// Takes over the descriptor whose number stands in the environment variable `name`, and removes
/// the variable so that no child takes it for its own; `None` if it is not there or not a number.
pub fn adopt_from_env(name: &str) -> Option<OwnedFd> {
    let number: RawFd = std::env::var(name).ok()?.parse().ok()?;
    if number <= 2 {
        return None;
    }
    // SAFETY: the processor passed this descriptor to this process for this one use; the variable is
    // read once because it is removed below. `remove_var` is called before any thread is started
    // that could read the environment.
    unsafe {
        std::env::remove_var(name);
        let fd = OwnedFd::from_raw_fd(number);
        // Came through an exec; must not go through another.
        nix::fcntl::fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).ok()?;
        Some(fd)
    }
}

/// Rings a bell that is a pipe: one byte, never blocking; a full pipe has been rung already.
pub fn ring_pipe(bell: BorrowedFd<'_>) -> io::Result<()> {
    match nix::unistd::write(bell, &[1]) {
        Ok(_) | Err(nix::errno::Errno::EAGAIN) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Rings the processor's bell, whatever it is made of; never blocks.
pub fn ring_up(bell: BorrowedFd<'_>) -> io::Result<()> {
    match nix::unistd::write(bell, &1u64.to_ne_bytes()) {
        Ok(_) | Err(nix::errno::Errno::EAGAIN) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// The bell of one worker, downwards: a pipe whose write end only the processor has, so that its
/// end of file tells the worker that the processor is gone. Each end has its own flags.
pub fn bell_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    use nix::fcntl::OFlag;
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    nix::fcntl::fcntl(&write, nix::fcntl::FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok((read, write))
}

/// True if rings that nobody takes out of the upward bell fill it, and a full one wakes nobody.
pub const UP_BELL_FILLS: bool = cfg!(feature = "portable");

/// The bell of one worker, upwards: our end, and the worker's if it is not the same.
#[cfg(not(feature = "portable"))]
pub fn bell_up() -> io::Result<(OwnedFd, Option<OwnedFd>)> {
    use nix::sys::eventfd::{EfdFlags, EventFd};
    let bell = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
    Ok((bell.into(), None))
}

/// The bell of one worker, upwards: a pipe, which takes the eight bytes of [`ring_up`] as an eventfd
/// does, and exists everywhere.
#[cfg(feature = "portable")]
pub fn bell_up() -> io::Result<(OwnedFd, Option<OwnedFd>)> {
    let (read, write) = bell_pipe()?;
    nix::fcntl::fcntl(&read, FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK))?;
    Ok((read, Some(write)))
}

/// Takes the rings out of an upward bell, at most as many as a pipe holds: a worker that never stops
/// ringing does not keep us here.
pub fn take_rings(bell: BorrowedFd<'_>) {
    const PIPE_BYTES: usize = 64 * 1024;
    let mut rings = [0u8; 4096];
    for _ in 0..PIPE_BYTES / rings.len() {
        // An eventfd gives one number, and errors are an empty bell or one that is gone.
        if !matches!(nix::unistd::read(bell, &mut rings), Ok(taken) if taken == rings.len()) {
            return;
        }
    }
}

/// Nanoseconds on CLOCK_MONOTONIC, the clock of deadlines on both sides.
pub fn monotonic_ns() -> u64 {
    clock_ns(libc::CLOCK_MONOTONIC)
}

/// Nanoseconds since the epoch.
pub fn realtime_ns() -> u64 {
    clock_ns(libc::CLOCK_REALTIME)
}

fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec, which lives for the call; both clocks exist on every Linux.
    unsafe { libc::clock_gettime(clock, &mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

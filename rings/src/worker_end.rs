//! The worker's end of its rings: poll, begin, answer, log, ring and arm.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::abi::{Entry, Layout, LogHead, d_word, u_word, unblock};
use crate::arena::Arena;
use crate::error::RingError;
use crate::log_ring::{LogMaps, LogWriter};
use crate::memory::{EventMemory, Map};
use crate::os::ring_up;
use crate::processor_end::{CompletionMem, SubmissionMem};
use crate::queue::{Consumer, Producer, Unreachable};
use crate::sync::Ordering;

/// See the module. One thread of the worker uses it at a time.
#[derive(Debug)]
pub struct WorkerEnd {
    sq: Consumer<SubmissionMem>,
    cq: Producer<CompletionMem>,
    q: EventMemory,
    d: Map,
    u: Map,
    layout: Layout,
    bell: OwnedFd,
    up: OwnedFd,
    socket: OwnedFd,
    arena: Arena,
    log: LogWriter<LogMaps>,
}

impl WorkerEnd {
    /// Over the maps of passed segments; made by the handshake.
    pub fn new(
        layout: Layout,
        q: EventMemory,
        d: Map,
        u: Map,
        bell: OwnedFd,
        up: OwnedFd,
        socket: OwnedFd,
    ) -> Result<Self, RingError> {
        // A forked child must not write the rings of its parent.
        for map in [&d, &u] {
            map.keep_from_forks().map_err(|source| RingError::Map {
                name: "ring segment",
                bytes: map.len(),
                source,
            })?;
        }
        let sq_mem = SubmissionMem { d: d.clone(), u: u.clone(), entries: layout.sq_entries() };
        let cq_mem = CompletionMem { d: d.clone(), u: u.clone() };
        Ok(Self {
            sq: Consumer::new(sq_mem, layout.sq_capacity, 0),
            cq: Producer::new(cq_mem, layout.cq_capacity, 0),
            arena: Arena::new(layout.arena_bytes),
            log: LogWriter::new(&layout, u.clone(), d.clone()),
            q,
            d,
            u,
            layout,
            bell,
            up,
            socket,
        })
    }

    /// The handshake socket.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Readable when the processor has rung; end of file when it is gone.
    pub fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// The event memory.
    pub fn event_memory(&self) -> EventMemory {
        self.q
    }

    /// Sizes.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Takes the next entry with its index.
    pub fn pop(&mut self) -> Result<Option<(u32, Entry)>, Unreachable> {
        self.sq.pop()
    }

    /// Gives the places of taken entries back; rings if the processor waits for room.
    pub fn release_entries(&mut self) {
        if self.sq.release() {
            let _ = ring_up(self.up.as_fd());
        }
    }

    /// Says that the worker will sleep; true if there is nothing, so that it may.
    pub fn arm(&mut self) -> bool {
        self.release_entries();
        self.sq.arm()
    }

    /// Says that the work of entry `index` begins; false if it was recalled.
    pub fn begin(&mut self, index: u32) -> bool {
        self.sq.begin(index)
    }

    /// As [`WorkerEnd::begin`] for a batch: from its first entry to its last.
    pub fn begin_all(&mut self, first: u32, last: u32) -> bool {
        self.sq.begin_all(first, last)
    }

    /// True if the processor has cancelled this claim.
    pub fn is_cancelled(&self, claim: u64) -> bool {
        let (tag, generation) = (claim as u32, (claim >> 32) as u32);
        // No claim has generation 0, which is what stands in a table nothing was written to.
        generation != 0
            && tag < self.layout.tags
            && self.d.load(d_word::CANCEL + 4 * tag as usize, Ordering::Relaxed) == generation
    }

    /// Publishes one answer at once and rings if the processor sleeps. False if the ring is full,
    /// which the credit law rules out for a correct worker.
    pub fn push(&mut self, entry: &Entry) -> Result<bool, Unreachable> {
        if self.cq.room() == 0 {
            self.cq.refresh()?;
        }
        if self.cq.push(entry).is_none() {
            return Ok(false);
        }
        if self.cq.publish() {
            let _ = ring_up(self.up.as_fd());
        }
        Ok(true)
    }

    /// True if more than `reserve` answers find room; else the processor rings when it has taken some.
    pub fn has_room_beyond(&mut self, reserve: u32) -> Result<bool, Unreachable> {
        if self.cq.room() > reserve {
            return Ok(true);
        }
        self.cq.refresh()?;
        if self.cq.room() <= reserve {
            self.cq.arm_for_room()?;
        }
        Ok(self.cq.room() > reserve)
    }

    /// A block of the arena; `None` until the processor gives some back.
    pub fn take_block(&mut self, bytes: u32) -> Option<u32> {
        self.arena.take(bytes)
    }

    /// Puts blocks named by an RSP_RELEASE entry back into the arena.
    pub fn take_back(&mut self, entry: &Entry) {
        let blocks = [entry.a, entry.b, entry.c, entry.d, entry.e, entry.f];
        for block in blocks.into_iter().take(entry.value as usize) {
            self.arena.give(unblock(block).0);
        }
    }

    /// Gives a block back that was taken and not published.
    pub fn give_block(&mut self, offset: u32) {
        self.arena.give(offset);
    }

    /// Copies bytes into a taken block.
    pub fn write_block(&mut self, offset: u32, at: u32, bytes: &[u8]) {
        self.u.copy_in(self.layout.arena() + offset as usize + at as usize, bytes);
    }

    /// Says whether the worker waits for blocks; on true the processor is rung, since it may hold
    /// releases back.
    pub fn wait_for_blocks(&mut self, waits: bool) {
        // Relaxed is enough: what was stored before the system call that rings is seen by whom it
        // wakes, and the processor looks at this word before it sleeps again.
        self.u.store(u_word::ARENA_WAIT, u32::from(waits), Ordering::Relaxed);
        if waits {
            let _ = ring_up(self.up.as_fd());
        }
    }

    /// Appends a log record; dropped and counted if the ring is full.
    pub fn log(&mut self, head: LogHead, message: &[u8], fields: &[u8]) {
        if self.log.append(head, message, fields) {
            let _ = ring_up(self.up.as_fd());
        }
    }

    /// Position of the log ring, for RESPONSE.
    pub fn log_position(&self) -> u32 {
        self.log.position()
    }

    /// Sleeps until the bell rings; false if the processor is gone.
    pub fn sleep(&self) -> io::Result<bool> {
        sleep_on(self.bell.as_fd())
    }
}

/// Waits until the bell rings and reads it; false at its end of file. Blocks also when the
/// descriptor does not.
pub fn sleep_on(bell: BorrowedFd<'_>) -> io::Result<bool> {
    loop {
        if let Some(alive) = read_bell(bell)? {
            return Ok(alive);
        }
        match poll(&mut [PollFd::new(bell, PollFlags::POLLIN)], PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// From now on [`take_ring`] may be called: reading the bell no longer blocks.
pub fn watch(bell: BorrowedFd<'_>) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(bell, FcntlArg::F_GETFL)?);
    fcntl(bell, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Reads the bell where an event loop has seen it ring; false at its end of file. Does not wait:
/// the ring may have been used up since, by a reply that waited for room.
pub fn take_ring(watched: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(read_bell(watched)?.unwrap_or(true))
}

/// `None` when there is nothing to read.
fn read_bell(bell: BorrowedFd<'_>) -> io::Result<Option<bool>> {
    let mut rung = [0u8; 64];
    match nix::unistd::read(bell, &mut rung) {
        Ok(n) => Ok(Some(n > 0)),
        Err(Errno::EINTR) => Ok(Some(true)),
        Err(Errno::EAGAIN) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_ring_used_up_meanwhile_is_not_waited_for() {
        let (bell, ringer) = nix::unistd::pipe().unwrap();
        watch(bell.as_fd()).unwrap();
        nix::unistd::write(&ringer, b"!!").unwrap();
        assert!(sleep_on(bell.as_fd()).unwrap());
        assert!(take_ring(bell.as_fd()).unwrap());
        drop(ringer);
        assert!(!take_ring(bell.as_fd()).unwrap());
    }

    #[test]
    fn a_watched_bell_can_be_slept_on() {
        let (bell, ringer) = nix::unistd::pipe().unwrap();
        watch(bell.as_fd()).unwrap();
        let sleeper = std::thread::spawn(move || (sleep_on(bell.as_fd()), sleep_on(bell.as_fd())));
        nix::unistd::write(&ringer, b"!").unwrap();
        drop(ringer);
        let (first, second) = sleeper.join().unwrap();
        assert!(first.unwrap());
        assert!(!second.unwrap());
    }
}

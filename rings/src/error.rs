//! What can go wrong, split by whose fault it is.

use crate::queue::Unreachable;

/// A failure of ours or of the system.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// The kernel refused anonymous shared memory.
    #[error(
        "memfd_create({name}, {bytes} bytes) failed: {source}; shared memory by memfd is needed (Linux 3.17 or later, not blocked by a seccomp profile)"
    )]
    Memfd {
        /// Which segment.
        name: &'static str,
        /// Its size.
        bytes: usize,
        /// The errno.
        source: std::io::Error,
    },
    /// The kernel cannot keep a segment from being written by others.
    #[error("sealing {name} failed: {source}; F_SEAL_FUTURE_WRITE is needed (Linux 5.1 or later)")]
    Seal {
        /// Which segment.
        name: &'static str,
        /// The errno.
        source: std::io::Error,
    },
    /// Feature `portable`: the system refused named shared memory, or has no room for it.
    #[cfg(feature = "portable")]
    #[error(
        "shared memory for {name} ({bytes} bytes) failed: {source}; this processor was built with `portable` and takes all of it in /dev/shm at once: give that folder more room (docker run --shm-size), or set smaller spec.limits.eventMemory and responseArena"
    )]
    Portable {
        /// Which segment.
        name: &'static str,
        /// Its size.
        bytes: usize,
        /// The errno.
        source: std::io::Error,
    },
    /// The address space is exhausted or limited.
    #[error("mapping {name} ({bytes} bytes) failed: {source}")]
    Map {
        /// Which segment.
        name: &'static str,
        /// Its size.
        bytes: usize,
        /// The errno.
        source: std::io::Error,
    },
    /// A pipe or eventfd could not be made.
    #[error("no bell: {0}")]
    Bell(std::io::Error),
}

/// A worker wrote something that a correct worker never writes. It is killed for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// An index that it cannot have reached.
    #[error("published index {found} where {ours} is ours")]
    Index {
        /// What it published.
        found: u32,
        /// Ours.
        ours: u32,
    },
    /// A kind that does not go up.
    #[error("unknown entry kind {0}")]
    Kind(u8),
    /// Bits or fields that must be zero, or an operand out of its range.
    #[error("entry kind {kind}: {what} is {value}")]
    Field {
        /// The entry's kind.
        kind: u8,
        /// Which field.
        what: &'static str,
        /// What stood there.
        value: u64,
    },
    /// A block outside the arena, misaligned, or lent already.
    #[error("block at {offset}, {bytes} bytes, {why} (arena {arena} bytes)")]
    Block {
        /// Its offset.
        offset: u32,
        /// Its length.
        bytes: u32,
        /// The arena's length.
        arena: u32,
        /// What is wrong with it.
        why: &'static str,
    },
    /// An answer for an event that this worker does not have, or not in that state.
    #[error("entry kind {kind} for claim {claim:#x}: {why}")]
    Claim {
        /// The entry's kind.
        kind: u8,
        /// The claim it named.
        claim: u64,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A reply head that does not parse.
    #[error("reply head: {0}")]
    Head(&'static str),
    /// Memory that it shares is gone: seals rule that out, without them (`portable`) it can happen.
    #[error("cut its segment short")]
    Cut,
    /// A log record that does not fit its ring.
    #[error("log record: {0}")]
    Log(&'static str),
}

impl From<Unreachable> for Violation {
    fn from(u: Unreachable) -> Self {
        Violation::Index { found: u.found, ours: u.ours }
    }
}

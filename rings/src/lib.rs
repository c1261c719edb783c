//! Event rings in shared memory: both ends of the protocol between the processor and its workers.
//!
//! No policy, no logging, no async. The processor trusts nothing that a worker wrote: see `check`.
//! The ring algorithms (`queue`, `bell`, `log_ring`) are safe code over the traits [`queue::Mem`]
//! and [`log_ring::LogMem`], so that the loom models check the very source that ships; with
//! `cfg(loom)` only that part is compiled.
#![deny(missing_docs)]

pub mod abi;
pub mod bell;
pub mod error;
pub mod limits;
pub mod log_ring;
pub mod queue;
pub mod sync;

#[cfg(not(loom))]
pub mod arena;
#[cfg(not(loom))]
pub mod attach;
#[cfg(not(loom))]
pub mod check;
#[cfg(not(loom))]
pub mod header;
#[cfg(not(loom))]
pub mod memory;
#[cfg(not(loom))]
pub mod os;
#[cfg(all(feature = "portable", not(loom)))]
pub mod portable;
#[cfg(not(loom))]
pub mod processor_end;
#[cfg(not(loom))]
pub mod slots;
#[cfg(not(loom))]
pub mod worker_end;

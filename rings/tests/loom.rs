//! Models of the rings: every interleaving of a few threads, and every value that a weakly ordered
//! memory may show them, within small bounds.
//!
//! Only compiled with `--cfg loom` (`cargo xtask ci loom`). What runs here is the source that ships:
//! `queue`, `bell` and `log_ring`, over memory made of the checker's cells. `cargo xtask ci
//! ordering` weakens each marked ordering in turn; one of these models must then fail.
//!
//! What the checker cannot see is said in `litmus`: it treats a sequentially consistent fence as
//! stronger than the language does, which is why no entry is read on the word of a fence alone.
#![cfg(loom)]

#[path = "loom/death.rs"]
mod death;
#[path = "loom/litmus.rs"]
mod litmus;
#[path = "loom/log.rs"]
mod log;
#[path = "loom/queue.rs"]
mod queue;
#[path = "loom/recall.rs"]
mod recall;
#[path = "loom/shared.rs"]
mod shared;
#[path = "loom/slot.rs"]
mod slot;

//! The one door to atomics, so that the model checker can be swapped in.

#[cfg(not(loom))]
pub use std::sync::atomic::{Ordering, fence};

#[cfg(loom)]
pub use loom::sync::atomic::{Ordering, fence};

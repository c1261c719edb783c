//! What the benchmark programs share: pinning, medians, a shared cache line, the date.
//!
//! The programs themselves are in `bin/`. Nothing here is linked into the product.
#![deny(unsafe_code)]

pub mod date;
pub mod line;
pub mod pin;
pub mod ring_worker;
pub mod shared_line;
pub mod stats;

//! The C door: `libnuclio`, which lets any language that can call C be a worker.
//!
//! `nuclio.h` is made from `forms.rs` and `ffi.rs`. Nothing but bytes, numbers and opaque pointers crosses it: an
//! error is a number and a text, a panic becomes one where the library is built to unwind and ends
//! the process where it is not.
#![deny(missing_docs)]

pub mod ffi;
pub mod forms;
mod last_error;

//! The Node runtime's addon: a worker over the shim, inside Node, on its one JavaScript thread.
//!
//! JavaScript never sees shared memory: what goes up and what comes down is copied here. The way of
//! an event is in `nuclio-sdk/lib/serve.js`; this side drains the ring, takes answers and wakes
//! libuv.
//!
//! Unsafe code is in `wake` only. Never here: HTTP, brokers, configuration files.
#![deny(unsafe_code)]
// The macro registers nothing in a test build, which clippy makes and nobody runs.
#![cfg_attr(test, allow(dead_code))]

mod drain;
mod link;
mod log;
mod reply;
mod start;
mod stream;
#[allow(unsafe_code)]
mod wake;

//! Ctrl-C during a short command: the program ends with 130, wherever it was waiting.

use nix::sys::signal::{SigSet, Signal};

use crate::output::EXIT_INTERRUPTED;

/// Call before any other thread exists, so that all of them leave the signal to this one.
/// Where no thread can be made, Ctrl-C keeps its usual effect.
pub fn end_with_130() {
    let mut interrupt = SigSet::empty();
    interrupt.add(Signal::SIGINT);
    if interrupt.thread_block().is_err() {
        return;
    }
    let waiter = std::thread::Builder::new().name("interrupt".into()).spawn(move || {
        if interrupt.wait().is_ok() {
            std::process::exit(EXIT_INTERRUPTED.into());
        }
    });
    if waiter.is_err() {
        let _ = interrupt.thread_unblock();
    }
}

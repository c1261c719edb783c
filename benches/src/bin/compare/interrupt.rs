//! Starts programs, and takes the server along when `compare` itself is told to stop.

use std::io;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;

use anyhow::{Context, Result};
use benches::pin::pinned;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;

use crate::gauge::processes_of;

/// What shells report for a program ended by Ctrl-C.
const EXIT_INTERRUPTED: i32 = 130;
const NONE: i32 = 0;

/// The server that runs now; there is at most one.
static SERVER: AtomicI32 = AtomicI32::new(NONE);

/// Starts a program on `core`, with the signals that are blocked here unblocked there.
pub fn spawn(command: &mut Command, core: usize) -> io::Result<Child> {
    // A child inherits the mask of the thread that starts it. A signal in this short window ends
    // `compare` as if nobody watched.
    watched().thread_unblock()?;
    let child = pinned(core, || command.spawn());
    watched().thread_block()?;
    child?
}

/// Notes the server that runs now.
pub fn server_runs(pid: i32) {
    SERVER.store(pid, Ordering::SeqCst);
}

/// Notes that it has been stopped.
pub fn server_stopped() {
    SERVER.store(NONE, Ordering::SeqCst);
}

/// From now on SIGINT and SIGTERM end the server first. To be called before any other thread
/// starts.
pub fn watch() -> Result<()> {
    let signals = watched();
    signals.thread_block().context("cannot block signals")?;
    thread::Builder::new().name("interrupt".into()).spawn(move || {
        if signals.wait().is_ok() {
            end_server();
            std::process::exit(EXIT_INTERRUPTED);
        }
    })?;
    Ok(())
}

fn watched() -> SigSet {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals
}

fn end_server() {
    let server = SERVER.load(Ordering::SeqCst);
    if server == NONE {
        return;
    }
    for process in processes_of(server).unwrap_or_default() {
        // One that has just ended needs no signal.
        let _ = kill(Pid::from_raw(process.pid), Signal::SIGTERM);
    }
}

//! The pool thread's room: starts worker processes, watches over them, replaces them.
//!
//! Knows nothing of events: what a worker does with them is between it and the data thread.

mod ask;
pub mod board;
pub mod init;
mod output;
mod pool;
pub mod reaper;
mod recycle;
mod restart;
pub mod runtime;
pub mod spawn;
mod turnover;
pub mod zygote;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::Sender;
use nix::sys::prctl;
use rings::attach::Offer;

use crate::crossing::{PoolId, ToDataSender, ToPoolReceiver};
use crate::log::Log;
use crate::signals::Signals;
use board::Board;
use spawn::Launch;
use zygote::ZygotePlan;

/// A worker pool as it is configured.
pub struct PoolPlan {
    pub id: PoolId,
    pub name: Arc<str>,
    pub worker_count: u32,
    /// What each worker of this pool is told; the pool fills in the worker's number.
    pub offer: Offer,
}

/// All that the pool thread must know.
pub struct WorkersConfig {
    pub pools: Vec<PoolPlan>,
    pub launch: Launch,
    /// How workers are forked, where the language can and the function allows it.
    pub zygote: Option<ZygotePlan>,
    pub runtime_id: String,
    /// The version of the language that the function asks for.
    pub version_wanted: Option<String>,
    /// The segments that the data thread has made for events.
    pub event_memory: Arc<[OwnedFd; 2]>,
    /// From the start of a worker until it is ready.
    pub start_limit: Duration,
    /// From the wish to drain until workers that still work are killed.
    pub termination_limit: Duration,
    /// When a worker is replaced although nothing is wrong with it.
    pub recycle: spec::Recycle,
    /// One worker with the terminal: never ended for taking long, never a second beside it.
    pub debug: bool,
    /// The code may change at any moment: a mistake in it is waited out.
    pub watch: bool,
}

/// What to do once; given the language's version.
pub type OnReady = Box<dyn FnOnce(&str) + Send>;

/// Everything that ties the pool thread to the others.
pub struct Links {
    pub log: Log,
    pub signals: Signals,
    pub to_data: ToDataSender,
    pub inbox: ToPoolReceiver,
    pub board: Board,
    /// Called when all workers are ready for the first time.
    pub on_ready: Option<OnReady>,
    /// Gets the exit code of the program.
    pub end: Sender<u8>,
}

/// Starts the pool thread. It lives until it has sent the exit code.
pub fn start(config: WorkersConfig, links: Links) -> io::Result<()> {
    // What a worker leaves behind becomes a child of ours, where it can be found and ended.
    prctl::set_child_subreaper(true)?;
    let thread = thread::Builder::new().name("pool".into());
    thread.spawn(move || pool::Pool::new(config, links).run())?;
    Ok(())
}

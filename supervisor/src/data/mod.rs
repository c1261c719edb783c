//! The data thread: sockets, slots, rings. It never waits for anything but its poll.
//!
//! No async runtime, no lock, no text formatting on the way of an event.

mod batch;
mod body;
mod complete;
mod deadlines;
mod death;
mod dispatch;
mod figures;
pub mod http;
mod inflight;
mod intake;
mod kept;
mod ping;
mod quota;
mod reactor;
mod record;
mod snapshot;
mod stream;
mod timers;
mod verdict;

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;

use rings::slots::Slots;

use crate::crossing::{PoolId, ToDataSender, ToPoolSender};
use crate::limits::TO_DATA_MAX;
use crate::log::Log;
use crate::record::Recorder;
pub use batch::BatchRule;
use http::cors::Cors;

/// All that the data thread must know.
pub struct DataConfig {
    pub triggers: Vec<TriggerConfig>,
    pub pool_count: usize,
    /// Created before, since workers get its descriptors.
    pub slots: Slots,
    pub log: Log,
    pub to_pool: ToPoolSender,
    /// Open connections at once, from the descriptor limit.
    pub connections_max: usize,
    /// First eight bytes of every event id: different in each run.
    pub run_id: [u8; 8],
    /// What is said of a handler that keeps too much of what it got.
    pub kept_text: Arc<[u8]>,
    /// A worker that answers no PING is stuck.
    pub pings: bool,
    /// A worker that keeps too many bodies is not replaced.
    pub spares_keepers: bool,
    /// Where events are recorded, if they are.
    pub recorder: Option<Recorder>,
}

/// An HTTP trigger. Its number is its index.
pub struct TriggerConfig {
    pub name: Arc<str>,
    pub kind: Arc<str>,
    pub pool: PoolId,
    pub listener: TcpListener,
    pub body_bytes_max: u64,
    /// How long an event waits for a worker; 0 = not at all.
    pub wait_limit_ns: u64,
    /// `eventTimeout`; 0 = none.
    pub event_timeout_ns: u64,
    /// Every request may be repeated, whatever its method.
    pub idempotent: bool,
    pub cors: Option<Cors>,
    /// A handler begins before the whole body has come.
    pub streams_requests: bool,
    /// Events go down together.
    pub batch: Option<BatchRule>,
}

/// Starts the data thread. It ends when the drain is over and every worker has ended.
pub fn start(config: DataConfig) -> io::Result<(ToDataSender, JoinHandle<()>)> {
    let (sender, receiver) = crossbeam_channel::bounded(TO_DATA_MAX);
    let mut data = reactor::Data::new(config, receiver)?;
    let to_data = ToDataSender::new(sender, data.waker()?);
    let thread = std::thread::Builder::new().name("data".into()).spawn(move || data.run())?;
    Ok((to_data, thread))
}

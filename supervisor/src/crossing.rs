//! Every message that crosses between the processor's threads, and nothing else.
//!
//! The data thread never waits for another thread: it only ever `try_send`s to the pool, over a
//! queue sized so that it cannot be full (see `limits.rs`), and is woken through mio's `Waker`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, TrySendError};
use rings::processor_end::ProcessorEnd;
use rustix::event::{EventfdFlags, eventfd};

/// Identifies one worker process for the processor's whole life; never used again after its death.
pub type WorkerId = u32;
/// Index of a worker pool in the configuration (one a trigger, or shared by an allocator name).
pub type PoolId = u16;
/// Counts reloads of the user's code; the first is 1.
pub type Generation = u32;

/// What the data thread is told.
pub enum ToData {
    /// The pool finished the handshake with a new worker; READY will come over its ring.
    Attached(Box<AttachedWorker>),
    /// Send no new events to workers of this pool older than `below`; stop each when it is idle.
    Retire { pool: PoolId, below: Generation },
    /// Send no new events to this worker; stop it when it is idle.
    RetireWorker { id: WorkerId },
    /// Readiness off, no new events, finish what is in flight, then stop every worker.
    Drain,
    /// No worker of this pool can be started now (crash loop): answer 503 at once while true.
    CrashLoop { pool: PoolId, active: bool },
    /// Fill in a snapshot for the admin pages.
    Snapshot(tokio::sync::oneshot::Sender<Box<Snapshot>>),
}

/// A worker whose rings are mapped on both sides.
pub struct AttachedWorker {
    pub id: WorkerId,
    pub pool: PoolId,
    pub generation: Generation,
    /// Also the process group.
    pub pid: i32,
    /// The data thread's own duplicate; readable once the process has ended.
    pub pidfd: OwnedFd,
    /// After so many answers it is worn, and the pool is told.
    pub worn_after: u64,
    pub end: ProcessorEnd,
}

/// What the pool is told.
#[derive(Debug)]
pub enum ToPool {
    Ready {
        id: WorkerId,
        runtime_version: String,
    },
    /// The user's code could not be loaded. `usage` = a mistake of the kind that exits with 2.
    InitFailed {
        id: WorkerId,
        usage: bool,
        text: String,
    },
    /// The data thread has seen the end of the process and settled everything it held; reap it.
    Died {
        id: WorkerId,
        was_ready: bool,
        completed: u64,
        cause: DeathCause,
    },
    /// This worker gets no new events and will be killed when its others have ended: start its
    /// replacement now.
    Retiring {
        id: WorkerId,
        cause: DeathCause,
    },
    /// This worker has given as many answers as it may; it goes on until its replacement is ready.
    Worn {
        id: WorkerId,
    },
    /// Everything in flight has ended and every worker was told to stop.
    Drained,
    /// Asked for by the file watch or SIGHUP: start a new generation of every pool.
    Reload,
    /// Asked for by the admin side or a second signal: end now.
    StopNow,
}

/// Why a worker ended, as far as the data thread knows; the pool adds the exit status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeathCause {
    /// It ended by itself; the exit status says the rest.
    Itself,
    /// It was told to stop (drain, retire) and did.
    Asked,
    /// An event ran past `eventTimeout`, so it was killed.
    Deadline,
    /// It broke the protocol, so it was killed.
    Violation(String),
}

/// Figures of the data thread at one moment.
#[derive(Debug, Default, Clone)]
pub struct Snapshot {
    pub ready: bool,
    pub draining: bool,
    pub connections: u64,
    pub workers: Vec<WorkerSnapshot>,
    pub triggers: Vec<TriggerSnapshot>,
    pub slots: Vec<SlotClassSnapshot>,
    pub counters: Counters,
}

#[derive(Debug, Default, Clone)]
pub struct WorkerSnapshot {
    pub id: WorkerId,
    pub pool: PoolId,
    pub generation: Generation,
    pub pid: i32,
    pub ready: bool,
    pub draining: bool,
    pub in_flight: u32,
    pub handed_ahead: u32,
    pub completed: u64,
}

#[derive(Debug, Default, Clone)]
pub struct TriggerSnapshot {
    pub name: Arc<str>,
    pub kind: Arc<str>,
    pub pending: u32,
    pub in_flight: u32,
    pub handled_ok: u64,
    pub handled_error: u64,
    pub duration: Histogram,
    pub wait: Histogram,
}

#[derive(Debug, Default, Clone)]
pub struct SlotClassSnapshot {
    pub slot_bytes: u32,
    pub total: u32,
    pub used: u32,
}

/// Monotonic counters since the start.
#[derive(Debug, Default, Clone)]
pub struct Counters {
    pub events: u64,
    pub redispatched: u64,
    pub recalled: u64,
    pub timed_out: u64,
    pub rejected_full: u64,
    pub violations: u64,
    pub bells_down: u64,
    pub bells_up: u64,
    pub polls: u64,
    pub wakeup_rescues: u64,
    pub bad_requests: u64,
    pub connections_accepted: u64,
    pub connections_cut: u64,
    pub responses_by_class: [u64; 6],
    /// From the sight of a worker's death to the redispatch of its events.
    pub redispatch: Histogram,
    pub redispatch_ns_max: u64,
}

/// A latency histogram with fixed bounds, cheap enough for one increment an event.
#[derive(Debug, Default, Clone)]
pub struct Histogram {
    pub buckets: [u64; BUCKET_BOUNDS_S.len() + 1],
    pub sum_ns: u64,
    pub count: u64,
}

/// Upper bounds in seconds; the last bucket has none.
pub const BUCKET_BOUNDS_S: [f64; 14] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0];

/// Puts a message before the pool thread and wakes it. Never waits.
#[derive(Clone)]
pub struct ToPoolSender {
    queue: Sender<ToPool>,
    bell: Arc<OwnedFd>,
}

/// The pool's end of [`ToPoolSender`]; its descriptor is readable while something may be waiting.
pub struct ToPoolReceiver {
    queue: Receiver<ToPool>,
    bell: Arc<OwnedFd>,
}

/// A queue to the pool for at most `capacity` messages under way.
pub fn to_pool_channel(capacity: usize) -> io::Result<(ToPoolSender, ToPoolReceiver)> {
    let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
    let (sender, receiver) = crossbeam_channel::bounded(capacity);
    let ends = (
        ToPoolSender { queue: sender, bell: bell.clone() },
        ToPoolReceiver { queue: receiver, bell },
    );
    Ok(ends)
}

impl ToPoolSender {
    /// False when the pool has ended or, which its size rules out for the data thread, is full.
    pub fn send(&self, message: ToPool) -> bool {
        let sent = self.queue.try_send(message).is_ok();
        // A full counter means that the bell has been rung already.
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
        sent
    }
}

impl ToPoolReceiver {
    /// Takes what is waiting; call [`Self::quiet`] first so that no ring is lost.
    pub fn try_recv(&self) -> Option<ToPool> {
        self.queue.try_recv().ok()
    }

    pub fn quiet(&self) {
        let mut count = [0u8; 8];
        let _ = rustix::io::read(&self.bell, &mut count);
    }
}

impl AsFd for ToPoolReceiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

/// Puts a message before the data thread and wakes its poll. Never waits.
#[derive(Clone)]
pub struct ToDataSender {
    queue: Sender<ToData>,
    waker: Arc<mio::Waker>,
}

impl ToDataSender {
    pub fn new(queue: Sender<ToData>, waker: Arc<mio::Waker>) -> ToDataSender {
        ToDataSender { queue, waker }
    }

    /// Gives the message back when the data thread has ended or its queue is full.
    pub fn send(&self, message: ToData) -> Result<(), Box<ToData>> {
        let sent = self.queue.try_send(message);
        let _ = self.waker.wake();
        sent.map_err(|e| match e {
            TrySendError::Full(m) | TrySendError::Disconnected(m) => Box::new(m),
        })
    }
}

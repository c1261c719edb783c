//! Each maximum of the processor, with its reason. Those of the shared memory are in `rings`.

/// Events waiting for a worker, over all triggers: at 10 us an event, 40 ms of work.
pub const PENDING_MAX: u32 = 4096;
/// Open HTTP connections; the descriptor limit, less a reserve, may be lower.
pub const CONNECTIONS_MAX: usize = 65_536;
/// Descriptors kept free for workers, pipes and files.
pub const DESCRIPTOR_RESERVE: u64 = 64;
/// Connections accepted in one turn, so that a flood of them cannot starve those that exist.
pub const ACCEPTS_PER_TURN_MAX: usize = 64;
/// Readiness events taken from the kernel in one turn.
pub const WAKES_PER_TURN_MAX: usize = 512;
/// One read: a small request whole; of a large body what is copied once before it has slots.
pub const READ_BYTES: usize = 20 * 1024;
/// Bytes of a body kept in private memory before it gets slots: what a stalled upload can hold.
pub const BODY_PRIVATE_BYTES_MAX: usize = 16 * 1024;
/// Share of the event memory that bodies on their way in may take: half.
pub const UPLOAD_SHARE_DIVISOR: u64 = 2;
/// One piece of a body that goes to its handler while it comes.
pub const BODY_PIECE_BYTES_MAX: usize = 64 * 1024;
/// Share of the event memory that such pieces may take together: a quarter. Whoever finds none left
/// waits, and its client with it; each piece goes when its handler has taken it.
pub const PIECES_SHARE_DIVISOR: u64 = 4;
/// Share of the event memory that handlers may keep after their events, over all workers: a quarter.
pub const KEPT_SHARE_DIVISOR: u64 = 4;
/// A worker that keeps bodies and was told to stop is killed after this, the default of
/// `workerTerminationTimeout`.
pub const KEEPER_STOP_NS: u64 = 10 * S;
/// A worker that was asked whether it moves, and does not answer within this, is stuck.
pub const PONG_NS_MAX: u64 = S;
/// More than a body's slots can hold beyond its bytes: those that a growing body began with, and the
/// rest of its last one.
pub const UPLOAD_ROUNDING_BYTES: u64 = 2 << 20;
/// A body up to this size is copied behind its head: cheaper than to name two ranges to the kernel.
pub const SMALL_REPLY_BYTES: usize = 2048;
/// Private memory for replies that slow clients have not taken, over all connections.
pub const REPLY_BUFFER_BYTES_MAX: usize = 64 << 20;
/// A reply that waits in worker memory for its client longer than this is moved to private memory.
pub const REPLY_PIN_NS: u64 = 10 * MS;
/// Bytes read away after a refusal, so that the client sees it instead of a reset.
pub const LINGER_BYTES_MAX: u64 = 128 << 20;

const MS: u64 = 1_000_000;
const S: u64 = 1000 * MS;

/// From the first byte of a head to its last.
pub const HEAD_TIMEOUT_NS: u64 = 10 * S;
/// An idle connection is closed after this.
pub const IDLE_TIMEOUT_NS: u64 = 75 * S;
/// A body or a reply must move at least `WINDOW_BYTES_MIN` in each such window.
pub const WINDOW_NS: u64 = 10 * S;
/// 1 KiB a second: slower than any modem, faster than an attacker likes.
pub const WINDOW_BYTES_MIN: u64 = 10 * 1024;
/// How long refused bytes are read away.
pub const LINGER_NS: u64 = 2 * S;
/// While draining, an idle connection may still send a request for this long.
pub const DRAIN_IDLE_NS: u64 = 500 * MS;
/// While draining, a request that has begun must arrive within this. With the time that its refusal
/// may linger, it stays below what a drain may take in all (10 s unless function.yaml says more).
pub const DRAIN_ARRIVAL_NS: u64 = 5 * S;
/// Accepting pauses for this long when descriptors run out.
pub const ACCEPT_PAUSE_NS: u64 = 100 * MS;
/// That accepting pauses is said this often.
pub const ACCEPT_WARNING_NS: u64 = 10 * S;
/// While events are in flight the data thread looks around this often.
pub const TICK_NS: u64 = 10 * MS;
/// Hand ahead as many events as run in this time.
pub const HAND_AHEAD_NS: u64 = 100_000;
/// An event that runs this many times longer than usual gives back what was handed ahead.
pub const RECALL_AFTER_TIMES: u64 = 20;
/// Least time before events are taken back from a running worker.
pub const RECALL_AFTER_NS_MIN: u64 = TICK_NS;
/// After its deadline, an asynchronous event may take a tenth of `eventTimeout`, at least this.
pub const CANCEL_GRACE_NS_MIN: u64 = S;
/// Attempts of an event whose worker died, where it may be repeated: the first and one more.
pub const REQUEST_ATTEMPTS_MAX: u16 = 2;
/// Times that an event goes to another worker because the dead one says that it had not begun it.
/// Its word; a correct worker dies rarely enough that nothing comes near.
pub const UNCOUNTED_REPEATS_MAX: u8 = 8;
/// Log records of one event kept for its reply.
pub const REPLY_LOG_BYTES_MAX: usize = 16 * 1024;
/// Log records moved from one worker in a turn.
pub const LOG_RECORDS_PER_TURN_MAX: usize = 256;
/// Bytes of replies in pieces taken from one worker in a turn, so that one fast stream does not hold
/// up everybody else for longer than about a millisecond.
pub const PIECE_BYTES_PER_TURN_MAX: u32 = 1 << 20;
/// Messages under way to the data thread: one for each worker that attaches, and the admin pages.
pub const TO_DATA_MAX: usize = 4096;
/// Messages under way to the pool: at most four for each worker alive.
pub const TO_POOL_MAX: usize = 16_384;

const _: () = {
    assert!(BODY_PRIVATE_BYTES_MAX <= rings::limits::BODY_INLINE_BYTES_MAX);
    assert!(READ_BYTES > BODY_PRIVATE_BYTES_MAX);
    assert!(BODY_PIECE_BYTES_MAX >= READ_BYTES);
    assert!(WINDOW_NS == HEAD_TIMEOUT_NS);
};

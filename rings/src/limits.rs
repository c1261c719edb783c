//! Each maximum of the shared-memory protocol, with its reason, and the relations between them.

/// Smallest and largest number of entries in a ring; powers of two.
pub const RING_ENTRIES_MIN: u32 = 256;
/// 32768 entries are 2 MiB; more in flight than that is a batch job, not a queue.
pub const RING_ENTRIES_MAX: u32 = 32768;
/// Events that one worker may have in flight (contract: `maxInflight`).
pub const INFLIGHT_MAX: u32 = 8192;
/// Events handed down beyond those in flight, so that a worker finds its next one ready.
pub const HAND_AHEAD_MAX: u32 = 256;
/// Slots that handlers of one worker may keep beyond the end of their events.
pub const ESCAPE_MAX: u32 = 256;
/// Pieces of replies that may be on their way up at once, over all replies of a worker.
pub const CHUNK_CREDITS: u32 = 64;
/// Pieces of one streamed reply that may be on their way to its client: what a client that does not
/// read can keep is these, and the stream waits.
pub const STREAM_PIECES_MAX: u32 = 4;
/// Bytes in one piece of a streamed reply; more are sent as several pieces.
pub const STREAM_PIECE_BYTES_MAX: u32 = 32 * 1024;
/// Pieces of one streamed request body that wait for the handler: enough that it and its client work
/// at the same time; the rest waits in the client's socket.
pub const BODY_PIECES_MAX: u32 = 4;
/// Explicit acknowledgements on their way up.
pub const ACK_WINDOW: u32 = 64;
/// Nested calls on their way up.
pub const CALL_CREDITS: u32 = 16;
/// READY, PONG, DRAINED and their like.
pub const CONTROL_RESERVE: u32 = 16;

/// Head of a reply: status and headers. As large as the largest head of a request.
pub const REPLY_HEAD_BYTES_MAX: u32 = 16 * 1024;
/// Response arena of one worker unless configured otherwise.
pub const ARENA_BYTES_DEFAULT: u32 = 8 * 1024 * 1024;
/// Smallest arena: four times the largest reply head plus room for bodies.
pub const ARENA_BYTES_MIN: u32 = 256 * 1024;
/// Largest arena; offsets in entries are 32 bits wide.
pub const ARENA_BYTES_MAX: u32 = 256 * 1024 * 1024;
/// Unit in which the arena is lent; blocks are powers of two of it.
pub const ARENA_GRANULE_BYTES: u32 = 256;
/// Log ring of one worker: what a burst may hold while the processor is busy.
pub const LOG_RING_BYTES: u32 = 256 * 1024;
/// One log record; longer messages are cut.
pub const LOG_RECORD_BYTES_MAX: u32 = 16 * 1024;
/// Completions taken from one worker in a turn, so that a flood cannot starve the others.
pub const COMPLETIONS_PER_TURN_MAX: u32 = 256;

/// Size classes of slots, in bytes.
pub const SLOT_CLASS_BYTES: [u32; 6] = [512, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20];
/// Classes that live in the small segment; the rest live in the large one.
pub const SLOT_CLASSES_SMALL: usize = 3;
/// A body up to this size shares its header's slot; a larger one gets slots of its own.
pub const BODY_INLINE_BYTES_MAX: usize = 16 << 10;
/// Event memory of a function, both segments together.
pub const EVENT_MEMORY_BYTES_MAX: u64 = 256 << 20;
/// Below this the largest class would have too few slots to be of use.
pub const EVENT_MEMORY_BYTES_MIN: u64 = 8 << 20;

/// One handshake message, packed; function settings are small.
pub const HANDSHAKE_BYTES_MAX: usize = 64 * 1024;

/// Tags a worker needs: in flight, handed ahead, and finished events whose slot is still held.
pub const fn tags(max_inflight: u32) -> u32 {
    max_inflight + HAND_AHEAD_MAX + ESCAPE_MAX
}

/// Smallest capacities (submission, completion) that keep the credit law.
///
/// Credit law: `2 x tags + escaped holds + chunk credits + ack window + call credits + 16` entries
/// fit into the completion ring, so it cannot fill. Events use at most half of the submission ring,
/// so control entries always find room in the other half or wait in a bounded private list.
pub const fn capacities(max_inflight: u32) -> (u32, u32) {
    let up = 2 * tags(max_inflight)
        + ESCAPE_MAX
        + CHUNK_CREDITS
        + ACK_WINDOW
        + CALL_CREDITS
        + CONTROL_RESERVE;
    let down = 2 * (max_inflight + HAND_AHEAD_MAX);
    (at_least(down), at_least(up))
}

/// Places in the completion ring that streamed replies leave free, so that all that the credit law
/// counts still fits; half of the chunk credits are theirs.
pub const fn stream_reserve(tags: u32) -> u32 {
    2 * tags + ESCAPE_MAX + CHUNK_CREDITS / 2 + ACK_WINDOW + CALL_CREDITS + CONTROL_RESERVE
}

const fn at_least(entries: u32) -> u32 {
    let power = entries.next_power_of_two();
    if power < RING_ENTRIES_MIN { RING_ENTRIES_MIN } else { power }
}

const _: () = {
    let (down, up) = capacities(INFLIGHT_MAX);
    assert!(down <= RING_ENTRIES_MAX && up <= RING_ENTRIES_MAX);
    assert!(RING_ENTRIES_MIN.is_power_of_two() && RING_ENTRIES_MAX.is_power_of_two());
    assert!(ARENA_BYTES_MIN >= 4 * REPLY_HEAD_BYTES_MAX);
    assert!(LOG_RECORD_BYTES_MAX * 4 <= LOG_RING_BYTES);
    assert!(SLOT_CLASS_BYTES[SLOT_CLASSES_SMALL - 1] as usize == BODY_INLINE_BYTES_MAX);
};

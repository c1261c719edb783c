//! Each maximum of this worker, with its reason.

use std::time::Duration;

/// What is read from a pipe in one go: as much as a pipe holds.
pub const READ_BYTES: usize = 64 * 1024;
/// What is read from one pipe in a turn, so that who writes without end does not keep the others from
/// their turn.
pub const TURN_BYTES_MAX: usize = 1 << 20;
/// One reply. Larger results belong into a file or a store; the processor itself keeps at most 64 MiB
/// for clients that read slowly.
pub const REPLY_BYTES_MAX: usize = 128 << 20;
/// All replies that are being collected, so that many large ones at once cannot take all memory.
pub const COLLECTED_BYTES_MAX: usize = 256 << 20;
/// After a program has ended, what it started may still write for so long. Then its group is killed.
pub const TAIL: Duration = Duration::from_millis(250);
/// A line of standard error; longer ones become several records.
pub const LOG_LINE_BYTES_MAX: usize = 8 * 1024;
/// Descriptors looked at in one turn, so that the rings are looked at too.
pub const READY_PER_TURN: usize = 128;
/// Descriptors of one running program: input, output, errors and the process itself.
pub const DESCRIPTORS_PER_PROGRAM: u64 = 4;
/// Descriptors for the rings, the log and what a start needs for a moment.
pub const DESCRIPTORS_KEPT: u64 = 48;
/// A resident program that ended without having answered anything is started again after so long,
/// then after twice as long each time, up to the second.
pub const RESTART_AFTER_MIN: Duration = Duration::from_millis(50);
pub const RESTART_AFTER_MAX: Duration = Duration::from_secs(5);
/// A resident program whose input has ended may finish for so long.
pub const FAREWELL: Duration = Duration::from_millis(500);
/// A `length` line: twenty digits hold any number of 64 bits.
pub const LENGTH_LINE_BYTES_MAX: usize = 20;
/// A worker that cannot serve stays so long for the processor to hear why; that ends it sooner.
pub const HEARD: Duration = Duration::from_secs(1);
/// Of what a command that prepares a program prints: the first errors matter, the rest follows.
pub const PREPARED_BYTES_MAX: u64 = 32 * 1024;

/// `poll_each` hands out the events of a batch one by one.
pub const UNSPLIT: &str = "a batch that was not split";

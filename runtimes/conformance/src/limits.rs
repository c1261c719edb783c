//! Every bound of the kit, with its reason.

use std::time::Duration;

/// A native function is compiled first, and the machine may be busy.
pub const READY: Duration = Duration::from_secs(180);
/// For one fact: generous, since other tests may run beside.
pub const FACT: Duration = Duration::from_secs(30);
/// A worker that was told to stop, or whose processor is gone, has nothing to wait for.
pub const END: Duration = Duration::from_secs(10);
/// A cancelled event must end within the grace that the processor gives (10 %, at least 1 s).
pub const CANCEL: Duration = Duration::from_secs(3);
/// While log records are left unread, or the submission ring is full, nobody rings: then the kit looks
/// this often.
pub const LOOK: Duration = Duration::from_millis(2);
/// Events in flight that a worker is offered: the default of `maxInflight`.
pub const IN_FLIGHT: u32 = 64;
/// Of the event memory: room for a body of 64 MiB and more beside it.
pub const EVENT_MEMORY_BYTES: u64 = 256 << 20;
/// Of what a worker printed, when a check fails.
pub const LAST_WORDS_BYTES: usize = 2000;
/// A description of a runtime or of its functions is a page.
pub const DESCRIPTION_BYTES: u64 = 64 * 1024;

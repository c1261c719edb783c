//! Every maximum that a function.yaml meets, each with its reason. Only numbers live here.

/// Longest text accepted by the loader. Kubernetes keeps an object in 1.5 MiB and a ConfigMap in
/// 1 MiB, so a larger file could never be deployed; larger code belongs beside the file.
pub const TEXT_BYTES_MAX: usize = 1024 * 1024;

/// Deepest nesting of lists and maps. The deepest nuclio field (an affinity term) needs 14; the
/// bound keeps every recursive walk of this crate far from the end of a thread's stack.
pub const DEPTH_MAX: usize = 48;

/// Most nodes after aliases are expanded, so that a few lines of YAML cannot become gigabytes.
pub const NODES_MAX: usize = 100_000;

/// Most mistakes reported for one file. More than that means it is a file of another kind.
pub const ERRORS_MAX: usize = 100;

/// Longest piece of a wrong value that is repeated in an error.
pub const SHOWN_CHARS_MAX: usize = 60;

/// Longest function or namespace name: a label of the domain name system, as in Kubernetes.
pub const NAME_BYTES_MAX: usize = 63;

/// Most triggers of one function. Each has its own worker pool and its own share of the memory.
pub const TRIGGERS_MAX: usize = 256;

/// Most workers of one trigger, the number nuclio allows.
pub const WORKERS_MAX: u32 = 100_000;

/// Most events in flight in one worker: its completion ring has an entry for each of them.
pub const IN_FLIGHT_MAX: u32 = 8192;

/// Most events in one batch: a batch must fit in half of the largest submission ring that is
/// kept small enough to stay in cache.
pub const BATCH_EVENTS_MAX: u32 = 4096;

/// Most attempts at one event; beyond it an event that always fails would never leave its source.
pub const ATTEMPTS_MAX: u32 = 1000;

/// Largest request body that may be allowed: bodies are addressed by 32-bit lengths.
pub const REQUEST_BODY_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// Longest duration: what nuclio can hold, a signed 64-bit number of nanoseconds (292 years).
pub const DURATION_NS_MAX: u64 = i64::MAX as u64;

/// Longest recording of events: some hundred thousand of a usual size, and no disk filled by a run
/// that was forgotten.
pub const RECORDING_BYTES_MAX: u64 = 1 << 30;

/// Longest first line of a recording: a function without its code, and what JSON adds.
pub const RECORDING_HEAD_BYTES_MAX: u64 = 4 * TEXT_BYTES_MAX as u64;

const _: () = assert!(BATCH_EVENTS_MAX <= IN_FLIGHT_MAX);

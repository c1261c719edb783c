//! Names of log levels and of where a record comes from.

/// Levels of nuclio's logger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// For the author of the function.
    Debug = 0,
    /// For who runs it.
    Info = 1,
    /// Something is off.
    Warn = 2,
    /// Something failed.
    Error = 3,
}

/// Where a record comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Origin {
    /// The logger of the context.
    Logger = 0,
    /// Standard output.
    Stdout = 1,
    /// Standard error.
    Stderr = 2,
    /// The traceback of a failed handler.
    Traceback = 3,
}

//! Why an event was not answered, and what its client is told.

use std::fmt::{self, Display};
use std::time::Duration;

/// What handlers return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed event. Made from any error by `?`; without another word it is a 500.
#[derive(Debug)]
pub struct Error {
    pub(crate) status: u16,
    pub(crate) outcome: u8,
    pub(crate) retry_after_ns: u64,
    pub(crate) text: String,
}

/// Outcomes as `abi::Response` counts them.
const FAILED: u8 = 2;
const RETRY: u8 = 3;
const REJECT: u8 = 4;

impl Error {
    /// A 500 with this text.
    pub fn new(text: impl Display) -> Self {
        Self { status: 500, outcome: FAILED, retry_after_ns: 0, text: text.to_string() }
    }

    /// Another status with this text.
    pub fn status(status: u16, text: impl Display) -> Self {
        Self { status, ..Self::new(text) }
    }

    /// The event is to come again after this time; over HTTP, 503 with `Retry-After`.
    pub fn retry(after: Duration) -> Self {
        let retry_after_ns = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
        let seconds = retry_after_ns.div_ceil(1_000_000_000);
        let text = format!("try again in {seconds} s");
        Self { status: 503, outcome: RETRY, retry_after_ns, text }
    }

    /// The event is not to come again; over HTTP, 422 with the reason.
    pub fn reject(reason: impl Display) -> Self {
        Self { status: 422, outcome: REJECT, ..Self::new(reason) }
    }

    pub(crate) fn is_failure(&self) -> bool {
        self.outcome == FAILED
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The error's own words and those of what caused it.
impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            text.push_str(": ");
            text.push_str(&inner.to_string());
            cause = inner.source();
        }
        Self::new(text)
    }
}

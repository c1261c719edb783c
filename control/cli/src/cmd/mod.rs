//! One file a verb. A verb ends with an exit code, or with a `Failure` that says why.

pub mod completion;
pub mod delete;
pub mod exec;
pub mod get;
pub mod logs;
pub mod replay;
pub mod run;

use std::io::{ErrorKind, Write};

use crate::output::Failure;

/// Writes a result to stdout; that nobody reads it is no failure.
fn print_text(text: &str) -> Result<(), Failure> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::failed(format!("the result cannot be written: {e}")))
        }
        _ => Ok(()),
    }
}

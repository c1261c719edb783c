//! Log records. Nothing here ever waits: what the log ring has no room for is dropped and counted.

use napi_derive::napi;
use shim::{Level, Origin};

use crate::link;

/// Writes one record; `fields` is JSON or empty.
#[napi]
pub fn log(
    level: u32,
    origin: u32,
    tag: u32,
    generation: u32,
    message: String,
    fields: String,
) -> napi::Result<()> {
    let level = match level {
        0 => Level::Debug,
        1 => Level::Info,
        2 => Level::Warn,
        _ => Level::Error,
    };
    let origin = match origin {
        0 => Origin::Logger,
        1 => Origin::Stdout,
        2 => Origin::Stderr,
        _ => Origin::Traceback,
    };
    link::with(|link| {
        let claim = link::claim(tag, generation);
        link.worker.log(level, origin, claim, message.as_bytes(), fields.as_bytes());
        Ok(())
    })
}

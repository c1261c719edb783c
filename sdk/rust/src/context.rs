//! What a handler knows besides its event: the function, its settings, the log.

use std::fmt::Display;

use crate::abi::Bytes;
use crate::door::RawContext;
use crate::text::push_json;

/// Levels of log records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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

/// The function and its log. Cannot leave the thread of the call.
#[derive(Debug)]
pub struct Context<'a> {
    pub(crate) raw: RawContext<'a>,
}

impl Context<'_> {
    /// Name of the function.
    pub fn function(&self) -> &str {
        self.raw.told("function").unwrap_or_default()
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        self.raw.told("namespace").unwrap_or_default()
    }

    /// One of `spec.runtimeAttributes`.
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.raw.told(&format!("settings.{name}"))
    }

    /// Number of this worker.
    pub fn worker_id(&self) -> u32 {
        self.raw.worker_id()
    }

    /// True if records of this level are wanted now.
    pub fn wants(&self, level: Level) -> bool {
        level as u32 >= self.raw.wanted_level()
    }

    /// Logs at level debug.
    pub fn debug(&self, message: impl Display) {
        self.log(Level::Debug, message, &[]);
    }

    /// Logs at level info.
    pub fn info(&self, message: impl Display) {
        self.log(Level::Info, message, &[]);
    }

    /// Logs at level warn.
    pub fn warn(&self, message: impl Display) {
        self.log(Level::Warn, message, &[]);
    }

    /// Logs at level error.
    pub fn error(&self, message: impl Display) {
        self.log(Level::Error, message, &[]);
    }

    /// Logs with fields. Never waits; what is not wanted is not even formatted.
    pub fn log(&self, level: Level, message: impl Display, fields: &[(&str, &dyn Display)]) {
        if !self.wants(level) {
            return;
        }
        let mut object = String::new();
        for (name, value) in fields {
            object.push(if object.is_empty() { '{' } else { ',' });
            push_json(&mut object, name);
            object.push(':');
            push_json(&mut object, &value.to_string());
        }
        if !object.is_empty() {
            object.push('}');
        }
        let message = message.to_string();
        self.raw.log(level as u8, 0, Bytes::of(message.as_bytes()), Bytes::of(object.as_bytes()));
    }
}

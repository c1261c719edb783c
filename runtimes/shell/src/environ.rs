//! The environment of a program: what nuclio gives, that of the function, and PATH.
//!
//! Nothing else of the processor's own environment reaches a program in exec mode.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use shim::{Event, Offer};

use crate::fields::{Fields, rfc3339};

/// By which the processor finds what a worker that died has left behind.
const WORKER_ID: &str = "NUCLIO_WORKER_ID";
/// Ours and nobody else's.
pub const WORKER_SOCKET: &str = "NUCLIO_WORKER_FD";

/// What is the same for all events of a worker.
#[derive(Debug)]
pub struct Environment {
    fixed: Vec<(OsString, OsString)>,
    /// Kind of each trigger, by its number.
    kinds: Vec<(u16, String)>,
}

impl Environment {
    /// `names` are those of `spec.env`; their values are in our own environment.
    pub fn of(offer: &Offer, names: &[String]) -> Self {
        let own = |name: &str| Some((name.into(), std::env::var_os(name)?));
        let mut fixed: Vec<(OsString, OsString)> =
            ["PATH", WORKER_ID].into_iter().filter_map(own).collect();
        fixed.extend(names.iter().filter_map(|name| own(name)));
        fixed.extend(function(offer).map(|(name, value)| (name.into(), value.into())));
        Self { fixed, kinds: offer.triggers.iter().map(|t| (t.id, t.kind.clone())).collect() }
    }

    /// Gives a command the environment of an event.
    pub fn apply(&self, command: &mut Command, event: &Event, fields: &Fields) {
        let kind = self.kinds.iter().find(|(id, _)| *id == event.trigger());
        let kind = kind.map_or("", |(_, kind)| kind.as_str());
        let bytes = OsStr::from_bytes;
        command.env_clear().envs(self.fixed.iter().map(|(name, value)| (name, value)));
        command
            .env("NUCLIO_EVENT_ID", &fields.id)
            .env("NUCLIO_TRIGGER_CLASS", if kind == "http" { "sync" } else { "async" })
            .env("NUCLIO_TRIGGER_KIND", kind)
            .env("NUCLIO_EVENT_CONTENT_TYPE", bytes(&fields.content_type))
            .env("NUCLIO_EVENT_TIMESTAMP", rfc3339(fields.timestamp_ns))
            .env("NUCLIO_EVENT_PATH", bytes(&fields.path))
            .env("NUCLIO_EVENT_URL", bytes(&fields.url))
            .env("NUCLIO_EVENT_METHOD", &fields.method)
            .env("NUCLIO_EVENT_SHARD_ID", fields.shard.to_string())
            .env("NUCLIO_EVENT_NUM_SHARDS", "0")
            .env("NUCLIO_EVENT_TYPE", "")
            .env("NUCLIO_EVENT_TYPE_VERSION", "")
            .env("NUCLIO_EVENT_VERSION", "");
    }
}

/// What names the function.
pub fn function(offer: &Offer) -> impl Iterator<Item = (&'static str, &String)> {
    [
        ("NUCLIO_FUNCTION_NAME", &offer.function),
        ("NUCLIO_FUNCTION_DESCRIPTION", &offer.description),
        ("NUCLIO_FUNCTION_VERSION", &offer.version),
        ("NUCLIO_FUNCTION_HANDLER", &offer.handler),
    ]
    .into_iter()
}

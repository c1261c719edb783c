//! What a worker says and learns before its first event.

use std::collections::HashMap;

use napi_derive::napi;
use shim::ShimError;

use crate::link;

/// A trigger as handlers see it.
#[napi(object)]
pub struct Trigger {
    pub id: u32,
    pub kind: String,
    pub name: String,
}

/// What the processor says at the start.
#[napi(object)]
pub struct Start {
    pub worker_id: u32,
    pub function_name: String,
    pub function_version: String,
    pub namespace: String,
    pub handler: String,
    pub code_path: String,
    pub triggers: Vec<Trigger>,
    pub max_inflight: u32,
    pub log_level: u32,
    pub settings: HashMap<String, String>,
}

/// Attaches to the processor that started this process.
#[napi]
pub fn attach(version: String) -> napi::Result<Start> {
    let offer = match link::attach(&version) {
        Ok(offer) => offer,
        Err(error @ ShimError::NotAWorker) => {
            return Err(napi::Error::from_reason(error.to_string()));
        }
        Err(error) => link::give_up(&error),
    };
    let trigger = |t: shim::TriggerOffer| Trigger { id: t.id.into(), kind: t.kind, name: t.name };
    Ok(Start {
        worker_id: offer.worker_id,
        function_name: offer.function,
        function_version: offer.version,
        namespace: offer.namespace,
        handler: offer.handler,
        code_path: offer.code_path,
        triggers: offer.triggers.into_iter().map(trigger).collect(),
        max_inflight: offer.max_inflight.max(1),
        log_level: offer.log_level.into(),
        settings: offer.settings.into_iter().collect(),
    })
}

/// Says that events may come, so many at once.
#[napi]
pub fn ready(concurrency: u32) -> napi::Result<()> {
    link::with(|link| {
        // Loading the code is not part of the first event.
        link.worker.woken();
        link.worker.ready(concurrency)
    })
}

/// Says that the user's code cannot be served; `usage` = it cannot be a function as it stands.
#[napi]
pub fn init_failed(usage: bool, text: String) -> napi::Result<()> {
    link::with(|link| link.worker.init_failed(usage, &text))
}

/// Says that the drain callback of a trigger has run.
#[napi]
pub fn drained(trigger: u32) -> napi::Result<()> {
    link::with(|link| link.worker.drained(trigger as u16))
}

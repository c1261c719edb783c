//! The words of function.yaml: types, reading, errors.
//!
//! Text in, [`Function`] out. No I/O, no environment, no clock; imports no crate of ours.
#![forbid(unsafe_code)]

mod built;
mod check;
mod duration;
mod error;
mod expand;
mod function;
mod http;
mod inline;
mod kubernetes;
pub mod limits;
mod load;
mod nearest;
mod path;
mod pools;
mod recording;
mod reference;
mod rules;
mod schema;
mod size;
mod tree;
mod trigger;

pub use built::WITHOUT_EFFECT;
pub use duration::{format_duration, parse_duration};
pub use error::ConfigError;
pub use function::{
    ApiVersion, Build, BuildMode, Directive, EnvVar, Function, FunctionKind, FunctionSpec,
    Isolation, Limits, LogLevel, LoggerSink, Metadata, Recycle, RuntimeAttributes, Secret,
};
pub use http::{Cors, HttpAttributes, Ingress};
pub use inline::inline_config;
pub use kubernetes::{KubernetesMetadata, KubernetesSpec};
pub use load::{EnvLookup, LoadOptions, Loaded, load, to_json};
pub use pools::{DEFAULT_HTTP_TRIGGER, WorkerPool};
pub use recording::{
    RECORDING_VERSION, Raw, RecordedAnswer, RecordedEvent, RecordingEnd, RecordingHead,
    RecordingLine, RecordingStop, without_secrets,
};
pub use reference::reference_markdown;
pub use rules::{check_built_kinds, check_function_name, function_name_from};
pub use schema::schema_json;
pub use size::ByteSize;
pub use trigger::{
    Attributes, Batch, BatchMode, DeadLetter, ErrorDetail, ExplicitAckMode, OnExhausted, Ordering,
    Partition, Retry, Trigger, TriggerKind, TriggerMode, Workers,
};

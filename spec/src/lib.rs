//! The words of function.yaml: types, reading, errors.
//!
//! Text in, [`Function`] out. No I/O, no environment, no clock; imports no crate of ours.
#![forbid(unsafe_code)]

mod duration;
mod function;
mod http;
mod kubernetes;
pub mod limits;
mod size;
mod trigger;

pub use duration::{format_duration, parse_duration};
pub use function::{
    ApiVersion, Build, BuildMode, Directive, EnvVar, Function, FunctionKind, FunctionSpec,
    Isolation, Limits, LogLevel, LoggerSink, Metadata, Recycle, RuntimeAttributes, Secret,
};
pub use http::{Cors, HttpAttributes, Ingress};
pub use kubernetes::{KubernetesMetadata, KubernetesSpec};
pub use size::ByteSize;
pub use trigger::{
    Attributes, Batch, BatchMode, DeadLetter, ErrorDetail, ExplicitAckMode, OnExhausted, Ordering,
    Partition, Retry, Trigger, TriggerKind, TriggerMode, Workers,
};

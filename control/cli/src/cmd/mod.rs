//! One file a verb. A verb ends with an exit code, or with a `Failure` that says why.

pub mod completion;
pub mod exec;
pub mod run;

//! A worker that serves a function in a shared library: C, Rust, or whatever makes one.
//!
//! A Rust source or package is built first. What is wrong with the function goes to the processor
//! as one sentence; what is wrong with this process goes to standard error.

mod compile;
mod door;
mod serve;
mod state;

use std::path::Path;
use std::process::ExitCode;

use shim::{Offer, ShimError};

use crate::door::Library;

/// Why the function cannot be served.
pub struct Refusal {
    /// It cannot be a function as it stands, as opposed to code that ran and failed.
    pub usage: bool,
    pub text: String,
}

impl Refusal {
    pub fn usage(text: impl Into<String>) -> Self {
        Self { usage: true, text: text.into() }
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        // It has ended before us; nobody is left to be told.
        Err(ShimError::ProcessorGone) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("nuclio native worker: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), ShimError> {
    let (worker, offer) = shim::Worker::attach("native", env!("CARGO_PKG_VERSION"))?;
    let loaded = load(&offer);
    let context = door::context(&offer);
    state::enter(worker, offer);
    let ready = loaded.and_then(|library| library.init(context).map(|()| library));
    match ready {
        Ok(library) => {
            state::with_worker(|worker| worker.ready(1))?;
            serve::serve(&library, context)
        }
        Err(refusal) => {
            state::with_worker(|worker| worker.init_failed(refusal.usage, &refusal.text))?;
            serve::wait_for_end()
        }
    }
}

/// The function's library, built if it is Rust.
fn load(offer: &Offer) -> Result<Library, Refusal> {
    let code = Path::new(&offer.code_path);
    let built;
    let file = if compile::is_rust(code) {
        built = compile::library_of(code)?;
        &*built
    } else {
        code
    };
    Library::open(file, code, &offer.handler)
}

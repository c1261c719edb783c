//! The worker of the shell runtime: runs programs for events, one process an event or one for all.
//!
//! Started by the processor. Further arguments make it the worker of another language:
//! `nuclio-shell lines|length PROGRAM ARGUMENT...` keeps that program resident, and with `prepared-by`
//! before PROGRAM the one whose path that program prints.
//!
//! It never gives a text to a shell: programs are started by lists of arguments.
#![forbid(unsafe_code)]

mod answer;
mod environ;
mod exec;
mod fields;
mod frames;
mod limits;
mod pipes;
mod prepare;
mod program;
mod records;
mod resident;
mod run;
mod settings;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Resource, getrlimit};
use shim::{Offer, ShimError, Worker};

use environ::Environment;
use exec::Exec;
use limits::{DESCRIPTORS_KEPT, DESCRIPTORS_PER_PROGRAM, HEARD};
use program::Program;
use resident::Resident;
use settings::{Framing, Mode, Settings};

/// Said when this worker cannot serve at all; the sentence on standard error is shown.
const CANNOT_SERVE: u8 = 78;
/// Between the framing and a program: it makes the one that is to be kept.
const PREPARED_BY: &str = "prepared-by";

fn main() -> ExitCode {
    let fixed = match fixed_program(std::env::args_os().skip(1).map(PathBuf::from).collect()) {
        Ok(fixed) => fixed,
        Err(mistake) => {
            eprintln!("{mistake}");
            return ExitCode::from(CANNOT_SERVE);
        }
    };
    match work(fixed) {
        Ok(()) | Err(ShimError::ProcessorGone) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("nuclio shell worker: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What a runtime's own command line names.
struct Fixed {
    framing: Framing,
    program: Program,
    /// The program makes the one that is to be kept.
    prepares: bool,
}

fn fixed_program(words: Vec<PathBuf>) -> Result<Option<Fixed>, String> {
    let mut words = words.into_iter();
    let Some(first) = words.next() else { return Ok(None) };
    let framing = match first.to_str() {
        Some("lines") => Framing::Lines,
        Some("length") => Framing::Length,
        _ => return Err(format!("{}: write lines or length, then a program", first.display())),
    };
    let missing = "the program after the framing is missing; add it";
    let mut file = words.next().ok_or(missing)?;
    let prepares = file.as_os_str() == PREPARED_BY;
    if prepares {
        file = words.next().ok_or(missing)?;
    }
    let program = Program { file, arguments: words.collect() };
    Ok(Some(Fixed { framing, program, prepares }))
}

fn work(fixed: Option<Fixed>) -> Result<(), ShimError> {
    let (mut worker, offer) = Worker::attach("shell", env!("CARGO_PKG_VERSION"))?;
    match plan(&offer, fixed) {
        Ok((program, settings)) => serve(worker, &offer, program, settings),
        Err(mistake) => refuse(&mut worker, &mistake),
    }
}

/// Says why nothing can be served, and stays until the processor has had time to hear it.
pub fn refuse(worker: &mut Worker, mistake: &str) -> Result<(), ShimError> {
    worker.init_failed(true, mistake)?;
    let limit = Timespec::try_from(HEARD).ok();
    let bell = worker.bell();
    let _ = poll(&mut [PollFd::new(&bell, PollFlags::IN)], limit.as_ref());
    Ok(())
}

fn plan(offer: &Offer, fixed: Option<Fixed>) -> Result<(Program, Settings), String> {
    let framing = fixed.as_ref().map(|fixed| fixed.framing);
    let settings = Settings::read(&offer.settings, framing)?;
    let program = match fixed {
        Some(Fixed { program, prepares: true, .. }) => prepare::prepared(&program, offer)?,
        Some(Fixed { program, .. }) => program,
        None => program::find(Path::new(&offer.code_path), &offer.handler)?,
    };
    Ok((program, settings))
}

fn serve(
    worker: Worker,
    offer: &Offer,
    program: Program,
    settings: Settings,
) -> Result<(), ShimError> {
    match settings.mode {
        Mode::Exec => {
            let environment = Environment::of(offer, &settings.env_names);
            Exec::new(worker, program, settings, environment)?.serve(concurrency(offer))
        }
        Mode::Resident(framing) => Resident::new(worker, offer, program, settings, framing).serve(),
    }
}

/// As many programs at once as the function wants and descriptors allow.
fn concurrency(offer: &Offer) -> u32 {
    let open = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let most = open.saturating_sub(DESCRIPTORS_KEPT) / DESCRIPTORS_PER_PROGRAM;
    offer.max_inflight.min(u32::try_from(most).unwrap_or(u32::MAX)).max(1)
}

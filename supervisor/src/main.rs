//! `processor`: flags, configuration, run, exit code.
#![forbid(unsafe_code)]

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use supervisor::Processor;
use supervisor::args::Args;
use supervisor::signals::Signals;
use supervisor::workers::init;

/// Wrong usage or configuration: nothing was started.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let started = Instant::now();
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    if arguments.first().is_some_and(|first| first == init::SUBCOMMAND) {
        return init::run(&arguments[1..]);
    }
    end_loudly_on_bugs();
    let args = Args::parse();
    let signals = match Signals::take_over() {
        Ok(signals) => signals,
        Err(error) => return refuse(&[format!("signals cannot be read: {error}")]),
    };
    let configured = Processor::configure(args, started);
    match configured.and_then(|config| Processor::start(config, signals)) {
        Ok(handle) => handle.wait(),
        Err(mistakes) => refuse(&mistakes),
    }
}

fn refuse(mistakes: &[String]) -> ExitCode {
    for mistake in mistakes {
        eprintln!("error: {mistake}");
    }
    ExitCode::from(EXIT_USAGE)
}

/// A thread that ended alone would leave a processor that looks alive.
fn end_loudly_on_bugs() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        report(info);
        std::process::abort();
    }));
}

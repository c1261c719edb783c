//! One door for every chore of the project: `cargo xtask <command>`.
//!
//! Starts programs by argument lists only, never through a shell. Holds no product code: what a
//! user runs must not depend on anything in here.

#![forbid(unsafe_code)]

mod assemble;
mod conformance;
mod gates;
mod ledger;
mod python;
mod runner;
mod setup;
mod source;
mod suite;
mod tarball;
mod wheel;

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::runner::Runner;

const USAGE: &str = "\
cargo xtask <command>

  run [EXAMPLE] [-- ARGS]   build what is needed and serve an example on 127.0.0.1:8080
                            (EXAMPLE: a name in runtimes/python/examples or a path; default hello)
  test                      setup, then every gate and every test; a summary at the end
  setup                     install what the tests need (as root), or list it and exit 2
  build                     build the programs into target/dev-dist/nuclio
  dist                      release build: target/dist/nuclio, its tarball and the wheel
  ledger [WORDS]            build, then account for every request while workers are killed and
                            stopped; --mixed --requests 1000000 is the long form of all
                            runtimes at once
  conformance [--portable] [FOLDER]
                            build, then play the processor against the workers of runtimes/NAME, or
                            of all there are; --portable: over POSIX shared memory, and without a
                            FOLDER with a processor built so, too
  codegen                   write the files made from code again
  ci <gate>                 one gate alone";

/// What `main` turns into an exit code.
enum End {
    Passed,
    Failed,
    /// Something is missing on the machine or in the arguments; nothing was started.
    Usage,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(End::Passed) => ExitCode::SUCCESS,
        Ok(End::Failed) => ExitCode::from(1),
        Ok(End::Usage) => ExitCode::from(2),
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::from(1)
        }
    }
}

fn dispatch(arguments: &[String]) -> Result<End> {
    let runner = Runner::streaming()?;
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["run", rest @ ..] => assemble::run_example(&runner, rest).map(|()| End::Passed),
        ["test"] => suite::run(&runner),
        ["setup"] => setup::run(&runner),
        ["build"] => assemble::dev(&runner).map(|_| End::Passed),
        ["dist"] => assemble::dist(&runner).map(|()| End::Passed),
        ["ledger", rest @ ..] => ledger::run(&runner, rest).map(|()| End::Passed),
        ["conformance", rest @ ..] => conformance::run(&runner, rest).map(|()| End::Passed),
        ["codegen"] => gates::codegen::write(&runner).map(|()| End::Passed),
        ["ci", name] => match gates::find(name) {
            Some(gate) => (gate.run)(&runner).map(|()| End::Passed),
            None => {
                eprintln!("xtask: no gate `{name}`; there are: {}", gates::names());
                Ok(End::Usage)
            }
        },
        ["ci"] => bail!("name a gate: {}", gates::names()),
        [] | ["help" | "--help" | "-h"] => {
            println!("{USAGE}\n                            ({})", gates::names());
            Ok(End::Passed)
        }
        [other, ..] => {
            eprintln!("xtask: no command `{other}`\n\n{USAGE}");
            Ok(End::Usage)
        }
    }
}

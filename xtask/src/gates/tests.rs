//! The test programs: Rust's unit tests, the black-box tests, Python's.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::runner::Runner;
use crate::{assemble, ledger, python, setup, source};

/// Everything that needs no running processor.
pub fn rust(runner: &Runner) -> Result<()> {
    let without = [
        "test",
        "--no-fail-fast",
        "--workspace",
        "--exclude",
        "supervisor",
        "--exclude",
        "nuclio-python",
    ];
    let mut others = runner.cargo(without);
    let others = runner.run(with_tools(runner, &mut others));
    let mut supervisor = runner.cargo(["test", "-p", "supervisor", "--lib", "--bins"]);
    runner.run(with_tools(runner, &mut supervisor)).and(others)
}

/// Tests that start the programs as a user would and look at them from outside: those in Python,
/// then the ledger.
pub fn black_box(runner: &Runner) -> Result<()> {
    let tests = runner.root.join("supervisor/tests/blackbox");
    ensure!(!source::files_below(&tests, "py")?.is_empty(), "{} is empty", tests.display());
    let mut outside = runner.command(&test_python(runner)?, ["-m", "unittest", "discover"]);
    outside.arg("-s").arg(&tests).env("PYTHONDONTWRITEBYTECODE", "1");
    let outside = runner.run(with_tools(runner, &mut outside));
    ledger::build_worker(runner)?;
    let mut others = runner.cargo(["test", "-p", "supervisor", "--test", "*", "--no-fail-fast"]);
    runner.run(with_tools(runner, &mut others)).and(outside)
}

/// The runtime's own tests, on one interpreter of each version found.
pub fn python(runner: &Runner) -> Result<()> {
    let tests = runner.root.join("runtimes/python/tests");
    let runtime = assemble::dev_folder(runner).join("runtimes/python");
    let mut failed = Vec::new();
    for interpreter in python::each_version() {
        runner.note(format!("--- python {}", interpreter.version()));
        let mut discover = runner.command(&interpreter.executable, ["-m", "unittest", "discover"]);
        discover.arg("-s").arg(&tests).env("PYTHONPATH", &runtime);
        discover.env("PYTHONDONTWRITEBYTECODE", "1");
        if runner.run(with_tools(runner, &mut discover)).is_err() {
            failed.push(interpreter.version());
        }
    }
    ensure!(failed.is_empty(), "failed on Python {}", failed.join(", "));
    Ok(())
}

/// Tells the tests where the programs are and which Python to use.
pub fn with_tools<'a>(runner: &Runner, command: &'a mut Command) -> &'a mut Command {
    command.env("NUCLIO_TEST_DIST", assemble::dev_folder(runner));
    if let Ok(python) = test_python(runner) {
        command.env("NUCLIO_TEST_PYTHON", python);
    }
    command
}

pub fn test_python(runner: &Runner) -> Result<PathBuf> {
    let chosen = || python::chosen().map(|one| one.executable);
    setup::environment_python(runner).or_else(chosen).context("no CPython 3.11 or later")
}

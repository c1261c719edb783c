//! Files of the project that are made from its code: written again, or compared.
//!
//! The crate that owns a definition has a test called `committed...` which compares the file with
//! what the code makes now, and writes it when `UPDATE` is set.

use std::process::Command;

use anyhow::Result;

use crate::runner::Runner;

/// Crates with such tests: `spec` makes the schema and the reference page of function.yaml,
/// `nuclio-shim-c` and `nuclio-native` their C headers.
const OWNERS: [&str; 6] = ["-p", "spec", "-p", "nuclio-shim-c", "-p", "nuclio-native"];

pub fn check(runner: &Runner) -> Result<()> {
    runner.run(&mut committed(runner))
}

pub fn write(runner: &Runner) -> Result<()> {
    runner.run(committed(runner).env("UPDATE", "1"))
}

fn committed(runner: &Runner) -> Command {
    runner.cargo(["test"].into_iter().chain(OWNERS).chain(["committed"]))
}

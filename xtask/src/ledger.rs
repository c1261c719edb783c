//! `cargo xtask ledger`: what `supervisor/tests/ledger` needs, then the run itself.
//!
//! The words behind it go to the ledger as they are; its first lines say which there are.

use anyhow::Result;

use crate::assemble;
use crate::gates::tests::with_tools;
use crate::runner::Runner;

pub fn run(runner: &Runner, words: &[&str]) -> Result<()> {
    assemble::dev(runner)?;
    build_worker(runner)?;
    let mut ledger = runner.cargo(["test", "-p", "supervisor", "--test", "ledger", "--"]);
    runner.run(with_tools(runner, ledger.args(words)))
}

/// The worker that dies where it is told to.
pub fn build_worker(runner: &Runner) -> Result<()> {
    runner.run(&mut runner.cargo(["build", "-p", "shim", "--example", "failpoints"]))
}

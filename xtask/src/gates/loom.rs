//! Runs the loom models of the rings: every interleaving of two threads, small capacities.

use std::process::Command;

use anyhow::{Result, bail};

use crate::runner::Runner;
use crate::source;

pub fn run(runner: &Runner) -> Result<()> {
    if !runner.root.join("rings/tests/loom.rs").is_file() {
        bail!("rings/tests/loom.rs, the models, is missing");
    }
    let models = source::read(&runner.root.join("rings/tests/loom.rs"))?;
    if !models.contains("cfg(loom)") {
        bail!("rings/tests/loom.rs is not gated by cfg(loom): it would run without the models");
    }
    runner.run(&mut models_of(runner, &[]))
}

/// `cargo test` of the models. They have a target folder of their own: the cfg changes every crate.
pub fn models_of(runner: &Runner, more: &[&str]) -> Command {
    let arguments = ["test", "-p", "rings", "--profile", "quick", "--test", "loom"];
    let mut command = runner.cargo(arguments.iter().chain(more));
    command.env("RUSTFLAGS", "--cfg loom").env("CARGO_TARGET_DIR", runner.target.join("loom"));
    command
}

//! The Node runtime's own tests, on each Node found: the one on PATH and those in `target/nodes`.
//!
//! `target/nodes` is filled by `cargo xtask setup`: one folder a version of the npm package that
//! holds the program.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::tests::with_tools;
use crate::runner::Runner;
use crate::setup::on_path;
use crate::source;

pub fn run(runner: &Runner) -> Result<()> {
    let folder = runner.root.join("runtimes/node/tests");
    let tests = source::files_below(&folder, "js")?;
    let tests: Vec<_> =
        tests.into_iter().filter(|file| file.to_string_lossy().ends_with(".test.js")).collect();
    ensure!(!tests.is_empty(), "{} is empty", folder.display());
    let mut failed = Vec::new();
    for node in programs(runner)? {
        runner.note(format!("--- {}", node.display()));
        let mut test = runner.command(&node, ["--test", "--test-reporter=tap"]);
        test.args(&tests).env("NUCLIO_TEST_NODE", &node);
        if runner.run(with_tools(runner, &mut test)).is_err() {
            failed.push(node.display().to_string());
        }
    }
    ensure!(failed.is_empty(), "failed on {}", failed.join(", "));
    Ok(())
}

fn programs(runner: &Runner) -> Result<Vec<PathBuf>> {
    let mut found = vec![on_path("node").context("node is not on PATH")?];
    let others = std::fs::read_dir(runner.target.join("nodes/node_modules")).into_iter().flatten();
    let programs = others.flatten().map(|entry| entry.path().join("bin/node"));
    found.extend(programs.filter(|program| program.is_file()));
    found.sort();
    Ok(found)
}

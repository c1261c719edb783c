//! `cargo xtask conformance runtimes/NAME`: the kit against a language's folder, as it is shipped.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::gates::tests::test_python;
use crate::runner::Runner;
use crate::{assemble, source};

/// Functions of the kit's own test, which are served by this runtime.
const WRONG: &str = "runtimes/conformance/wrong";
const PYTHON: &str = "python";

/// Builds, then runs the kit against the folders named, or against all there are.
pub fn run(runner: &Runner, words: &[&str]) -> Result<()> {
    assemble::dev(runner)?;
    if words.is_empty() {
        return gate(runner);
    }
    let kit = build(runner)?;
    words.iter().try_for_each(|word| against(runner, &kit, &runner.root.join(word)))
}

/// All languages, and the functions that are wrong on purpose.
pub fn gate(runner: &Runner) -> Result<()> {
    let kit = build(runner)?;
    let mut failed = Vec::new();
    for description in source::files_below(&runner.root.join("runtimes"), "toml")? {
        let is_one = description.ends_with("conformance/conformance.toml");
        let Some(home) = description.parent().and_then(Path::parent).filter(|_| is_one) else {
            continue;
        };
        if against(runner, &kit, home).is_err() {
            failed.push(home.display().to_string());
        }
    }
    if play(runner, &kit, PYTHON, &runner.root.join(WRONG)).is_err() {
        failed.push(WRONG.to_owned());
    }
    ensure!(failed.is_empty(), "the kit failed on {}", failed.join(", "));
    Ok(())
}

fn build(runner: &Runner) -> Result<PathBuf> {
    let words = ["build", "--profile", "quick", "-p", "nuclio-conformance"];
    runner.run(&mut runner.cargo(words))?;
    Ok(runner.target.join("quick/nuclio-conformance"))
}

fn against(runner: &Runner, kit: &Path, home: &Path) -> Result<()> {
    let name =
        home.file_name().and_then(|name| name.to_str()).context("a folder without a name")?;
    play(runner, kit, name, &home.join("conformance"))
}

fn play(runner: &Runner, kit: &Path, name: &str, functions: &Path) -> Result<()> {
    let shipped = assemble::dev_folder(runner).join("runtimes").join(name);
    let mut command = runner.command(kit, [&shipped, functions]);
    if name == PYTHON {
        command.env("NUCLIO_CONFORMANCE_INTERPRETER", test_python(runner)?);
    }
    // What native functions are built into.
    command.env("XDG_CACHE_HOME", runner.target.join("conformance-cache"));
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    runner.run(&mut command)
}

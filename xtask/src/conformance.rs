//! `cargo xtask conformance runtimes/NAME`: the kit against a language's folder, as it is shipped.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::gates::tests::test_python;
use crate::runner::Runner;
use crate::{assemble, source};

/// Functions of the kit's own test, which are served by this runtime.
const WRONG: &str = "runtimes/conformance/wrong";
const PYTHON: &str = "python";
/// Whom the gate plays the processor over POSIX shared memory against: bodies in place and copied
/// ones, a bell in asyncio and one in libuv. The command takes all.
const PORTABLE_FOLDERS: [&str; 2] = ["runtimes/python", "runtimes/node"];
const PORTABLE_TESTS: &str = "supervisor/tests/portable";
const PORTABLE: &str = "--portable";

/// Builds, then runs the kit against the folders named, or against all there are.
pub fn run(runner: &Runner, words: &[&str]) -> Result<()> {
    let (folders, is_portable) = match words {
        [first, rest @ ..] if *first == PORTABLE => (rest, true),
        _ => (words, false),
    };
    assemble::dev(runner)?;
    if folders.is_empty() && is_portable {
        return portable(runner);
    }
    let kit = build(runner, is_portable)?;
    if folders.is_empty() {
        return all(runner, &kit);
    }
    folders.iter().try_for_each(|folder| against(runner, &kit, &runner.root.join(folder)))
}

/// All languages, the functions that are wrong on purpose, and two languages over POSIX shared memory.
pub fn gate(runner: &Runner) -> Result<()> {
    let result = all(runner, &build(runner, false)?);
    runner.run(&mut runner.cargo(["test", "-p", "rings", "--features", "portable"]))?;
    let kit = build(runner, true)?;
    for folder in PORTABLE_FOLDERS {
        against(runner, &kit, &runner.root.join(folder))?;
    }
    result
}

/// All that there is of the feature `portable`: both ends, every language, the processor.
fn portable(runner: &Runner) -> Result<()> {
    runner.run(&mut runner.cargo(["test", "-p", "rings", "--features", "portable"]))?;
    all(runner, &build(runner, true)?)?;
    let dist = assemble::portable(runner)?;
    let (python, tests) = (test_python(runner)?, runner.root.join("supervisor/tests"));
    let mut outside = runner.command(&python, ["-m", "unittest", "discover", "-s"]);
    outside.arg(runner.root.join(PORTABLE_TESTS)).env("PYTHONPATH", tests.join("blackbox"));
    outside.env("NUCLIO_TEST_DIST", dist).env("NUCLIO_TEST_PYTHON", &python);
    runner.run(outside.env("PYTHONDONTWRITEBYTECODE", "1"))
}

fn all(runner: &Runner, kit: &Path) -> Result<()> {
    let mut failed = Vec::new();
    for description in source::files_below(&runner.root.join("runtimes"), "toml")? {
        let is_one = description.ends_with("conformance/conformance.toml");
        let Some(home) = description.parent().and_then(Path::parent).filter(|_| is_one) else {
            continue;
        };
        if against(runner, kit, home).is_err() {
            failed.push(home.display().to_string());
        }
    }
    if play(runner, kit, PYTHON, &runner.root.join(WRONG)).is_err() {
        failed.push(WRONG.to_owned());
    }
    ensure!(failed.is_empty(), "the kit failed on {}", failed.join(", "));
    Ok(())
}

/// The kit; the two forms of it take each other's place, so that one is built just before it is used.
fn build(runner: &Runner, is_portable: bool) -> Result<PathBuf> {
    let mut build = runner.cargo(["build", "--profile", "quick", "-p", "nuclio-conformance"]);
    if is_portable {
        build.args(["--features", "portable"]);
    }
    runner.run(&mut build)?;
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

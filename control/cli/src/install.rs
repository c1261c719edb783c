//! `nuclio run --install`: has the runtime's own program install what the function lists.
//!
//! Which file lists it and how it is installed is the language's business; see `install` in its
//! `runtime.toml`.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::function::Made;
use crate::output::{EXIT_USAGE, Failure};

/// The path of an interpreter is no longer than this.
const ANSWER_BYTES_MAX: u64 = 4096;

/// The interpreter that the packages were installed for; `chosen` is the user's.
pub fn install(runtimes: &Path, made: &Made, chosen: Option<PathBuf>) -> Result<PathBuf, Failure> {
    let runtime = &made.code.runtime;
    let interpreter = chosen.unwrap_or_else(|| match made.function.spec.runtime_version() {
        Some(version) if !runtime.interpreter_versioned.is_empty() => {
            runtime.interpreter_versioned.replace("{version}", version).into()
        }
        _ => PathBuf::from(&runtime.interpreter),
    });
    let folder = runtimes.join(&runtime.id);
    let fill = |part: &String| {
        part.replace("{interpreter}", &interpreter.to_string_lossy())
            .replace("{runtime}", &folder.to_string_lossy())
            .replace("{code}", &made.code.path.to_string_lossy())
    };
    let command: Vec<String> = runtime.install.iter().map(fill).collect();
    let [program, arguments @ ..] = &command[..] else {
        return Err(Failure::usage(format!(
            "--install: the runtime {} installs nothing; leave it out",
            runtime.id
        )));
    };
    run(program, arguments)
}

fn run(program: &str, arguments: &[String]) -> Result<PathBuf, Failure> {
    let not_started =
        |error| Failure::failed(format!("--install: {program} cannot be started: {error}"));
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(not_started)?;
    let mut answer = String::new();
    let read =
        child.stdout.take().map(|pipe| pipe.take(ANSWER_BYTES_MAX).read_to_string(&mut answer));
    let status = child.wait().map_err(not_started)?;
    let found = answer.lines().last().map(PathBuf::from).filter(|path| path.is_absolute());
    match found {
        Some(path) if status.success() && matches!(read, Some(Ok(_))) => Ok(path),
        // It has said on stderr what is wrong.
        _ if status.code() == Some(i32::from(EXIT_USAGE)) => {
            Err(Failure { code: EXIT_USAGE, lines: Vec::new() })
        }
        _ => Err(Failure::failed("--install has failed; nothing was started")),
    }
}

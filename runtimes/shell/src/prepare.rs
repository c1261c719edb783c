//! A language whose code is compiled first: a command of its runtime makes the program that is kept
//! resident, and prints its path.
//!
//! It runs in the worker's process group, so that whoever ends the worker ends it, too.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use shim::Offer;

use crate::limits::PREPARED_BYTES_MAX;
use crate::program::Program;
use crate::resident::{CODE_PATH, HANDLER};

/// The program that the command has made of the function's code, or the command's own words.
pub fn prepared(by: &Program, offer: &Offer) -> Result<Program, String> {
    let shown = by.file.display();
    let mut child = Command::new(&by.file)
        .args(&by.arguments)
        .env(CODE_PATH, &offer.code_path)
        .env(HANDLER, &offer.handler)
        .env_remove(crate::environ::WORKER_SOCKET)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{shown} cannot be started: {error}; install it"))?;
    let errors = child.stderr.take();
    let words = thread::spawn(move || errors.map(text_of).unwrap_or_default());
    let said = child.stdout.take().map(text_of).unwrap_or_default();
    let status = child.wait().map_err(|error| format!("{shown}: {error}"))?;
    let words = words.join().unwrap_or_default();
    let has_refused = said.trim().is_empty() && !words.trim().is_empty();
    if !status.success() || has_refused {
        return Err(words.trim_end().to_owned());
    }
    let file = PathBuf::from(said.trim_end());
    if !file.is_absolute() {
        return Err(format!("{shown} printed no path of a program, but {said:?}"));
    }
    Ok(Program { file, arguments: Vec::new() })
}

/// The beginning of what a command prints; the rest is read and forgotten, so that it does not wait.
fn text_of(mut output: impl Read) -> String {
    let mut bytes = Vec::new();
    let _ = output.by_ref().take(PREPARED_BYTES_MAX).read_to_end(&mut bytes);
    let _ = std::io::copy(&mut output, &mut std::io::sink());
    String::from_utf8_lossy(&bytes).into_owned()
}

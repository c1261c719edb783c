//! Exceptions as text: one line for the client, a traceback for the log.
//!
//! Python's own `traceback` module takes 40 to 120 microseconds; this walk takes a few. It leaves
//! out frames of this runtime and of the import system, marks no columns, and hands what it has no
//! form for (exception groups, syntax errors) to `traceback`.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use pyo3::exceptions::{PyBaseExceptionGroup, PySyntaxError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyType;

/// Exceptions shown of one chain of causes.
const CHAIN_MAX: usize = 8;
/// Frames shown at each end of a long traceback; a log record holds 16 KiB.
const RUNS_SHOWN: usize = 40;
/// Frames that are looked at: as many as the recursion limit that Python starts with.
const FRAMES_MAX: usize = 1000;
/// Source files kept for tracebacks, and the largest that is read.
const SOURCES_MAX: usize = 64;
const SOURCE_BYTES_MAX: u64 = 1 << 20;

/// The folder of this runtime's Python files: its frames are not the user's.
static RUNTIME_FOLDER: OnceLock<String> = OnceLock::new();

/// Says where this runtime's Python files are.
pub fn set_runtime_folder(folder: String) {
    let _ = RUNTIME_FOLDER.set(folder);
}

/// `ValueError: some error`, the last line of a traceback.
pub fn last_line(error: &Bound<'_, PyAny>) -> String {
    let class = error.get_type();
    let name = class.qualname().map(|name| name.to_string()).unwrap_or_default();
    // A module's name says nothing to a client, and the traceback has it.
    match error.str() {
        Ok(text) if text.is_empty().unwrap_or(true) => name,
        Ok(text) => format!("{name}: {}", text.to_string_lossy()),
        Err(_) => format!("{name}: <exception str() failed>"),
    }
}

/// The whole traceback with causes, as Python prints it.
pub fn traceback(error: &Bound<'_, PyAny>) -> String {
    let mut out = String::with_capacity(512);
    let mut seen = Vec::new();
    if write_chain(error, &mut out, &mut seen).is_err() {
        // Some attribute of the exception has code of its own that fails: the last line is left.
        out.push_str(&last_line(error));
        out.push('\n');
    }
    out
}

fn write_chain(error: &Bound<'_, PyAny>, out: &mut String, seen: &mut Vec<usize>) -> PyResult<()> {
    let py = error.py();
    seen.push(error.as_ptr() as usize);
    let cause = error.getattr(intern!(py, "__cause__"))?;
    let (before, sentence) = if !cause.is_none() {
        (cause, "The above exception was the direct cause of the following exception:")
    } else if error.getattr(intern!(py, "__suppress_context__"))?.is_truthy()? {
        (cause, "")
    } else {
        let context = error.getattr(intern!(py, "__context__"))?;
        (context, "During handling of the above exception, another exception occurred:")
    };
    if !before.is_none() && seen.len() < CHAIN_MAX && !seen.contains(&(before.as_ptr() as usize)) {
        write_chain(&before, out, seen)?;
        out.push_str(&format!("\n{sentence}\n\n"));
    }
    if error.is_instance_of::<PyBaseExceptionGroup>() || error.is_instance_of::<PySyntaxError>() {
        return write_by_python(error, out);
    }
    let frames = frames(error)?;
    if !frames.is_empty() {
        out.push_str("Traceback (most recent call last):\n");
        write_frames(&frames, out);
    }
    write_last_line(error, out);
    write_notes(error, out)
}

fn write_last_line(error: &Bound<'_, PyAny>, out: &mut String) {
    if let Some(module) = module_of(&error.get_type()) {
        out.push_str(&module);
        out.push('.');
    }
    out.push_str(&last_line(error));
    out.push('\n');
}

fn module_of(class: &Bound<'_, PyType>) -> Option<String> {
    let module = class.module().ok()?.to_string();
    (module != "builtins" && module != "__main__").then_some(module)
}

fn write_notes(error: &Bound<'_, PyAny>, out: &mut String) -> PyResult<()> {
    let Some(notes) = error.getattr_opt(intern!(error.py(), "__notes__"))? else { return Ok(()) };
    for note in notes.try_iter()? {
        out.push_str(&note?.str()?.to_string_lossy());
        out.push('\n');
    }
    Ok(())
}

fn write_by_python(error: &Bound<'_, PyAny>, out: &mut String) -> PyResult<()> {
    let py = error.py();
    let options = pyo3::types::PyDict::new(py);
    options.set_item(intern!(py, "chain"), false)?;
    let module = py.import(intern!(py, "traceback"))?;
    let lines = module.getattr(intern!(py, "format_exception"))?.call((error,), Some(&options))?;
    for line in lines.try_iter()? {
        out.push_str(&line?.extract::<String>()?);
    }
    Ok(())
}

#[derive(PartialEq, Eq)]
struct Frame {
    file: String,
    line: usize,
    function: String,
}

/// The frames of the user's code, outermost first.
fn frames(error: &Bound<'_, PyAny>) -> PyResult<Vec<Frame>> {
    let py = error.py();
    let mut frames = Vec::new();
    let mut at = error.getattr(intern!(py, "__traceback__"))?;
    while !at.is_none() && frames.len() < FRAMES_MAX {
        let code = at.getattr(intern!(py, "tb_frame"))?.getattr(intern!(py, "f_code"))?;
        let file = code.getattr(intern!(py, "co_filename"))?.str()?.to_string_lossy().into_owned();
        if !is_ours(&file) {
            let line = at.getattr(intern!(py, "tb_lineno"))?.extract().unwrap_or(0);
            let function = code.getattr(intern!(py, "co_name"))?.str()?.to_string_lossy().into();
            frames.push(Frame { file, line, function });
        }
        at = at.getattr(intern!(py, "tb_next"))?;
    }
    Ok(frames)
}

fn is_ours(file: &str) -> bool {
    file.starts_with("<frozen importlib")
        || RUNTIME_FOLDER.get().is_some_and(|folder| file.starts_with(folder.as_str()))
}

/// Equal frames in a row are one run, printed three times at most, as Python does.
fn write_frames(frames: &[Frame], out: &mut String) {
    let runs: Vec<&[Frame]> = frames.chunk_by(|one, next| one == next).collect();
    let left_out = runs.len().saturating_sub(2 * RUNS_SHOWN);
    for (i, run) in runs.iter().enumerate() {
        if i == RUNS_SHOWN && left_out > 0 {
            out.push_str(&format!("  [{left_out} frames left out]\n"));
        }
        if i < RUNS_SHOWN || i >= RUNS_SHOWN + left_out {
            write_run(run, out);
        }
    }
}

fn write_run(run: &[Frame], out: &mut String) {
    for Frame { file, line, function } in run.iter().take(3) {
        out.push_str(&format!("  File \"{file}\", line {line}, in {function}\n"));
        if let Some(source) = source_line(file, *line) {
            out.push_str(&format!("    {source}\n"));
        }
    }
    match run.len().saturating_sub(3) {
        0 => {}
        1 => out.push_str("  [Previous line repeated 1 more time]\n"),
        times => out.push_str(&format!("  [Previous line repeated {times} more times]\n")),
    }
}

/// Lines of source files, each read once: a worker's code does not change under it.
static SOURCES: Mutex<Option<HashMap<String, Vec<String>>>> = Mutex::new(None);

fn source_line(file: &str, line: usize) -> Option<String> {
    let mut guard = SOURCES.lock().unwrap_or_else(PoisonError::into_inner);
    let sources = guard.get_or_insert_default();
    if !sources.contains_key(file) {
        if sources.len() >= SOURCES_MAX {
            return None;
        }
        sources.insert(file.to_owned(), read_lines(file).unwrap_or_default());
    }
    let text = sources.get(file)?.get(line.checked_sub(1)?)?;
    (!text.is_empty()).then(|| text.clone())
}

fn read_lines(file: &str) -> Option<Vec<String>> {
    if std::fs::metadata(file).ok().filter(|m| m.is_file())?.len() > SOURCE_BYTES_MAX {
        return None;
    }
    let bytes = std::fs::read(file).ok()?;
    Some(String::from_utf8_lossy(&bytes).lines().map(|line| line.trim().to_owned()).collect())
}

//! `print` and the standard streams: lines become log records of the event they belong to.
//!
//! Text without a line end waits until its line is whole or its event is over. Nothing here waits
//! for anybody: what the log ring has no room for is dropped there and counted. Without a processor
//! and in a forked child the text goes to the real descriptors.

use std::collections::HashMap;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use shim::{Level, Origin};

use crate::{buffer, link};

/// A line that grows beyond this is cut into records.
const LINE_BYTES_MAX: usize = rings::limits::LOG_RECORD_BYTES_MAX as usize - 256;

/// Beginnings of lines that wait for their ends. Threads and tasks that outlive their event could
/// leave one each.
const PARTIAL_MAX: usize = 1024;

/// Whose line it is: without this, lines that are printed in pieces would mix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Owner {
    /// An event, on the thread that serves.
    Event(u64),
    /// Any other thread.
    Thread(ThreadId),
}

/// Beginnings of lines, by owner and stream.
type Partial = HashMap<(Owner, bool), Vec<u8>>;
static PARTIAL: Mutex<Option<Partial>> = Mutex::new(None);
/// False while `PARTIAL` is empty, so that an event that prints nothing pays one load.
static HAS_PARTIAL: AtomicBool = AtomicBool::new(false);

fn owner(link: &link::Link, claim: u64) -> Owner {
    let thread = std::thread::current().id();
    let serves = link.is_served_by(thread) || (claim != 0 && link::is_per_thread());
    if serves { Owner::Event(claim) } else { Owner::Thread(thread) }
}

fn partial() -> MutexGuard<'static, Option<Partial>> {
    PARTIAL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes what was written to standard output or, if `is_error`, to standard error.
#[pyfunction]
pub fn write_stream<'py>(
    py: Python<'py>,
    is_error: bool,
    data: &Bound<'py, PyAny>,
) -> PyResult<usize> {
    if let Ok(bytes) = data.cast::<PyBytes>() {
        let bytes = bytes.as_bytes();
        write(py, is_error, bytes);
        return Ok(bytes.len());
    }
    let bytes = PyBuffer::<u8>::get(data)?.to_vec(py)?;
    write(py, is_error, &bytes);
    Ok(bytes.len())
}

fn write(py: Python<'_>, is_error: bool, bytes: &[u8]) {
    let Some(link) = link::link() else { return write_real(is_error, bytes) };
    let claim = link::current_claim(py);
    let owner = owner(link, claim);
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let rest = lines.next_back().unwrap_or_default();
    let mut start = Vec::new();
    let mut waiting = 0;
    {
        let mut guard = partial();
        let partial = guard.get_or_insert_default();
        let ends_line = rest.len() < bytes.len();
        if ends_line && let Some(kept) = partial.remove(&(owner, is_error)) {
            start = kept;
        }
        if !rest.is_empty() {
            let begun = partial.entry((owner, is_error)).or_default();
            begun.extend_from_slice(rest);
            let begun = begun.len();
            waiting = if partial.len() > PARTIAL_MAX { usize::MAX } else { begun };
        }
        HAS_PARTIAL.store(!partial.is_empty(), Ordering::Relaxed);
    }
    for line in lines {
        if start.is_empty() {
            log(link, is_error, claim, line);
        } else {
            start.extend_from_slice(line);
            log(link, is_error, claim, &std::mem::take(&mut start));
        }
    }
    if waiting >= LINE_BYTES_MAX {
        flush_partial(owner, claim);
    }
}

/// One line, in as many records as it needs; an empty line is a record, too.
fn log(link: &link::Link, is_error: bool, claim: u64, line: &[u8]) {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let origin = if is_error { Origin::Stderr } else { Origin::Stdout };
    if line.is_empty() {
        return link.log(Level::Info, origin, claim, b"", b"");
    }
    for piece in line.chunks(LINE_BYTES_MAX) {
        link.log(Level::Info, origin, claim, piece, b"");
    }
}

/// Logs the unfinished lines of an event that is over.
#[inline]
pub fn flush(claim: u64) {
    if HAS_PARTIAL.load(Ordering::Relaxed) {
        flush_partial(Owner::Event(claim), claim);
    }
}

/// Logs the unfinished lines of this thread after a batch, which is no event.
pub fn flush_of_thread(link: &link::Link) {
    if HAS_PARTIAL.load(Ordering::Relaxed) {
        flush_partial(owner(link, 0), 0);
    }
}

#[cold]
fn flush_partial(owner: Owner, claim: u64) {
    let mut kept = [false, true].map(|is_error| (is_error, Vec::new()));
    {
        let mut guard = partial();
        let Some(partial) = guard.as_mut() else { return };
        for (is_error, bytes) in &mut kept {
            *bytes = partial.remove(&(owner, *is_error)).unwrap_or_default();
        }
        HAS_PARTIAL.store(!partial.is_empty(), Ordering::Relaxed);
    }
    for (is_error, bytes) in kept.iter().filter(|(_, bytes)| !bytes.is_empty()) {
        match link::link() {
            Some(link) => log(link, *is_error, claim, bytes),
            None => write_real(*is_error, bytes),
        }
    }
}

/// Writes all unfinished lines, before the process ends.
pub fn flush_all() {
    // A child may have been forked in the middle of a write by another thread.
    let Ok(guard) = PARTIAL.try_lock() else { return };
    let owners: Vec<Owner> = guard.iter().flat_map(|p| p.keys().map(|(owner, _)| *owner)).collect();
    drop(guard);
    for owner in owners {
        let claim = if let Owner::Event(claim) = owner { claim } else { 0 };
        flush_partial(owner, claim);
    }
}

/// Where text goes that no processor takes; an error there has nobody left to be told.
fn write_real(is_error: bool, bytes: &[u8]) {
    let _ = if is_error {
        std::io::stderr().write_all(bytes)
    } else {
        let mut out = std::io::stdout();
        out.write_all(bytes).and_then(|()| out.flush())
    };
}

/// True in a child that the worker forked.
#[pyfunction]
pub fn is_forked() -> bool {
    buffer::is_forked()
}

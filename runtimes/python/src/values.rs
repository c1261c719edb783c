//! Makes the Python objects that an event's fields are.
//!
//! Those of the first half are made under an event's lock: `str`, `bytes` and numbers only, which
//! never run Python code. The second half is free to.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Mutex, PoisonError};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyBytes, PyDateTime, PyDict, PyInt, PyString, PyType, PyTzInfo};
use rings::abi::EventHeader;
use rings::header::EventView;

use crate::fields::{canonical_name, civil_time, query_pairs, text};
use crate::strings::{self, string};
use shim::{Extra, extra};

/// A name and its value.
pub type Pair<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>);

pub fn number<'py>(py: Python<'py>, value: u64) -> Bound<'py, PyAny> {
    PyInt::new(py, value).into_any()
}

pub fn truth<'py>(py: Python<'py>, value: bool) -> Bound<'py, PyAny> {
    PyBool::new(py, value).to_owned().into_any()
}

/// Nanoseconds on the monotonic clock as Python's `time.monotonic()` gives them.
pub fn seconds<'py>(py: Python<'py>, nanos: u64) -> Bound<'py, PyAny> {
    pyo3::types::PyFloat::new(py, nanos as f64 / 1e9).into_any()
}

/// The method's name; the numbers are those of `docs/abi/`.
pub fn method<'py>(
    py: Python<'py>,
    view: &EventView<'_>,
    header: &EventHeader,
) -> Bound<'py, PyAny> {
    let known = match header.method {
        1 => intern!(py, "GET"),
        2 => intern!(py, "HEAD"),
        3 => intern!(py, "POST"),
        4 => intern!(py, "PUT"),
        5 => intern!(py, "DELETE"),
        6 => intern!(py, "OPTIONS"),
        7 => intern!(py, "PATCH"),
        8 => intern!(py, "TRACE"),
        9 => intern!(py, "CONNECT"),
        _ => {
            let token = match extra(view.get(header.ext), "method") {
                Some(Extra::Text(token)) => token,
                _ => b"",
            };
            return string(py, token);
        }
    };
    strings::of_kept(known)
}

/// Path and query as they came.
pub fn url<'py>(py: Python<'py>, view: &EventView<'_>, header: &EventHeader) -> Bound<'py, PyAny> {
    let (path, query) = (view.get(header.path), view.get(header.query));
    if query.is_empty() {
        return string(py, path);
    }
    string(py, &[path, b"?", query].concat())
}

/// Names met so far, in their canonical form. Clients send few different ones; a stranger who sends
/// many finds the table full and costs only himself.
static NAMES: Mutex<Option<Names>> = Mutex::new(None);
type Names = HashMap<Box<[u8]>, Py<PyString>, BuildHasherDefault<NameHasher>>;
const NAMES_MAX: usize = 256;
const NAME_BYTES_MAX: usize = 64;

/// FNV-1a: names are short, and a table of so few cannot be attacked through its hash.
struct NameHasher(u64);

impl Default for NameHasher {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for NameHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

fn name<'py>(py: Python<'py>, sent: &[u8]) -> Bound<'py, PyString> {
    let mut guard = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    let names = guard.get_or_insert_default();
    if let Some(known) = names.get(sent) {
        return known.bind(py).clone();
    }
    let made = PyString::new(py, &text(&canonical_name(sent)));
    if names.len() < NAMES_MAX && sent.len() <= NAME_BYTES_MAX {
        names.insert(sent.into(), made.clone().unbind());
    }
    made
}

/// Header lines with canonical names.
pub fn header_lines<'py>(py: Python<'py>, view: &EventView<'_>) -> Vec<Pair<'py>> {
    view.lines().map(|(n, value)| (strings::of_kept(&name(py, n)), string(py, value))).collect()
}

/// Names and values of a query.
pub fn query<'py>(py: Python<'py>, query: &[u8]) -> Vec<Pair<'py>> {
    query_pairs(query).map(|(name, value)| (string(py, &name), string(py, &value))).collect()
}

/// A `nuclio_sdk.Headers`: the first value of each name, and all of them by `get_all`.
pub fn headers<'py>(py: Python<'py>, lines: Vec<Pair<'py>>) -> PyResult<Bound<'py, PyAny>> {
    let made = headers_class(py)?.call0()?;
    let dict = made.cast::<PyDict>()?;
    for (name, value) in lines {
        if !dict.contains(&name)? {
            dict.set_item(name, value)?;
            continue;
        }
        made.call_method1(intern!(py, "add"), (name, value))?;
    }
    Ok(made)
}

/// The class of `event.headers`.
pub fn headers_class(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    CLASS.import(py, "nuclio_sdk._headers", "Headers")
}

/// The query as a dict; of a repeated name the last value counts, as in nuclio.
pub fn fields<'py>(py: Python<'py>, pairs: Vec<Pair<'py>>) -> PyResult<Bound<'py, PyAny>> {
    let dict = PyDict::new(py);
    for (name, value) in pairs {
        dict.set_item(name, value)?;
    }
    Ok(dict.into_any())
}

/// A `datetime` in UTC: naive as in nuclio, or aware.
pub fn datetime(py: Python<'_>, unix_ns: u64, aware: bool) -> PyResult<Bound<'_, PyAny>> {
    let (year, [month, day, hour, minute, second], micros) = civil_time(unix_ns);
    let utc = if aware { Some(PyTzInfo::utc(py)?.to_owned()) } else { None };
    let zone = utc.as_ref();
    PyDateTime::new(py, year, month, day, hour, minute, second, micros, zone)
        .map(|moment| moment.into_any())
}

/// What JSON text says; `None` if it is none.
pub fn json<'py>(py: Python<'py>, raw: &Bound<'py, PyBytes>) -> Option<Bound<'py, PyAny>> {
    static LOADS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let text = std::str::from_utf8(raw.as_bytes()).ok()?;
    LOADS.import(py, "json", "loads").ok()?.call1((text,)).ok()
}

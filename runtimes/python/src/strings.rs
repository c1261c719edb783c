//! Texts of events as Python objects: `str`, or `bytes` where nuclio's setting
//! `NUCLIO_PYTHON_DECODE_EVENT_STRINGS` asks for what came over the wire.

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use crate::fields::text;

/// Written once, before the first event.
static RAW: AtomicBool = AtomicBool::new(false);

/// The setting, and the words that nuclio takes for no.
const VARIABLE: &str = "NUCLIO_PYTHON_DECODE_EVENT_STRINGS";
const NO: [&str; 4] = ["false", "disable", "disabled", "no"];

/// Reads the setting.
pub fn read_setting() {
    let said = std::env::var(VARIABLE).unwrap_or_default();
    RAW.store(NO.iter().any(|no| said.trim().eq_ignore_ascii_case(no)), Ordering::Relaxed);
}

/// True if texts are given as bytes.
#[inline]
pub fn are_raw() -> bool {
    RAW.load(Ordering::Relaxed)
}

/// What a client wrote.
#[inline]
pub fn string<'py>(py: Python<'py>, bytes: &[u8]) -> Bound<'py, PyAny> {
    if are_raw() {
        return PyBytes::new(py, bytes).into_any();
    }
    PyString::new(py, &text(bytes)).into_any()
}

/// A text that is kept ready as `str`.
pub fn of_kept<'py>(kept: &Bound<'py, PyString>) -> Bound<'py, PyAny> {
    if !are_raw() {
        return kept.clone().into_any();
    }
    let bytes = kept.to_str().unwrap_or_default().as_bytes();
    PyBytes::new(kept.py(), bytes).into_any()
}

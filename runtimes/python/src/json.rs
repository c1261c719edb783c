//! Writes JSON as `json.dumps` does, for the plain types; everything else is left to `json.dumps`.
//!
//! Plain means exactly `str`, `int`, `float`, `bool`, `None`, `list`, `tuple` and `dict` with keys
//! of `str`: no code of the user runs, so nothing changes under the walk. The same text as Python's
//! comes out, byte for byte.

use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

/// Nesting beyond this is left to Python, which also finds cycles.
const DEPTH_MAX: usize = 100;

/// The value as JSON text, as `json.dumps(value)` gives it.
pub fn dumps(value: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    let mut out = Vec::with_capacity(128);
    if write(value, &mut out, 0) {
        return Ok(out);
    }
    let text = python_dumps(value.py())?.call1((value,))?;
    Ok(utf8(&text)?.to_vec())
}

/// The value as JSON text; what JSON does not know becomes its `str()`. Empty if that fails, too.
pub fn dumps_lenient(value: &Bound<'_, PyAny>) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    if write(value, &mut out, 0) {
        return out;
    }
    let py = value.py();
    let lenient = || {
        let options = PyDict::new(py);
        options.set_item(intern!(py, "default"), py.get_type::<PyString>())?;
        options.set_item(intern!(py, "skipkeys"), true)?;
        let text = python_dumps(py)?.call((value,), Some(&options))?;
        PyResult::Ok(utf8(&text)?.to_vec())
    };
    lenient().unwrap_or_default()
}

fn python_dumps(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static DUMPS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    DUMPS.import(py, "json", "dumps")
}

fn utf8<'a>(text: &'a Bound<'_, PyAny>) -> PyResult<&'a [u8]> {
    let text = text.cast::<PyString>().map_err(|_| PyTypeError::new_err("json gave no text"))?;
    Ok(text.to_str()?.as_bytes())
}

/// Appends the value; false if it is not plain, with some of it written.
fn write(value: &Bound<'_, PyAny>, out: &mut Vec<u8>, depth: usize) -> bool {
    if let Ok(text) = value.cast_exact::<PyString>() {
        return text.to_str().is_ok_and(|text| {
            write_string(text, out);
            true
        });
    }
    if depth == DEPTH_MAX {
        return false;
    }
    if let Ok(number) = value.cast_exact::<PyInt>() {
        return write_int(number, out);
    }
    if value.is_none() {
        out.extend_from_slice(b"null");
    } else if let Ok(truth) = value.cast_exact::<PyBool>() {
        out.extend_from_slice(if truth.is_true() { b"true" } else { b"false" });
    } else if let Ok(number) = value.cast_exact::<PyFloat>() {
        write_float(number.value(), out);
    } else if let Ok(dict) = value.cast_exact::<PyDict>() {
        return write_dict(dict, out, depth);
    } else if let Ok(list) = value.cast_exact::<PyList>() {
        return write_items(list.iter(), out, depth);
    } else if let Ok(tuple) = value.cast_exact::<PyTuple>() {
        return write_items(tuple.iter(), out, depth);
    } else {
        return false;
    }
    true
}

fn write_dict(dict: &Bound<'_, PyDict>, out: &mut Vec<u8>, depth: usize) -> bool {
    out.push(b'{');
    for (i, (key, value)) in dict.iter().enumerate() {
        if i > 0 {
            out.extend_from_slice(b", ");
        }
        let Ok(key) = key.cast_exact::<PyString>() else { return false };
        let Ok(key) = key.to_str() else { return false };
        write_string(key, out);
        out.extend_from_slice(b": ");
        if !write(&value, out, depth + 1) {
            return false;
        }
    }
    out.push(b'}');
    true
}

fn write_items<'py>(
    items: impl Iterator<Item = Bound<'py, PyAny>>,
    out: &mut Vec<u8>,
    depth: usize,
) -> bool {
    out.push(b'[');
    for (i, item) in items.enumerate() {
        if i > 0 {
            out.extend_from_slice(b", ");
        }
        if !write(&item, out, depth + 1) {
            return false;
        }
    }
    out.push(b']');
    true
}

fn write_int(number: &Bound<'_, PyInt>, out: &mut Vec<u8>) -> bool {
    if let Ok(small) = number.extract::<i64>() {
        out.extend_from_slice(small.to_string().as_bytes());
        return true;
    }
    // Python refuses numbers of too many digits in its own words.
    false
}

/// As `float.__repr__`: the shortest digits that read back, with an exponent from 1e16 on and below
/// 1e-4.
fn write_float(value: f64, out: &mut Vec<u8>) {
    if !value.is_finite() {
        let name: &[u8] = match (value.is_nan(), value > 0.0) {
            (true, _) => b"NaN",
            (false, true) => b"Infinity",
            (false, false) => b"-Infinity",
        };
        return out.extend_from_slice(name);
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..16).contains(&exponent) {
        let plain = format!("{value}");
        out.extend_from_slice(plain.as_bytes());
        if !plain.contains('.') {
            out.extend_from_slice(b".0");
        }
        return;
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    out.extend_from_slice(format!("{digits}e{sign}{:02}", exponent.abs()).as_bytes());
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut plain_from = 0;
    for (i, character) in text.char_indices() {
        if matches!(character, ' '..='~') && !matches!(character, '"' | '\\') {
            continue;
        }
        out.extend_from_slice(&bytes[plain_from..i]);
        plain_from = i + character.len_utf8();
        write_escaped(character, out);
    }
    out.extend_from_slice(&bytes[plain_from..]);
    out.push(b'"');
}

fn write_escaped(character: char, out: &mut Vec<u8>) {
    let short: &[u8] = match character {
        '"' => b"\\\"",
        '\\' => b"\\\\",
        '\n' => b"\\n",
        '\r' => b"\\r",
        '\t' => b"\\t",
        '\u{8}' => b"\\b",
        '\u{c}' => b"\\f",
        _ => {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                out.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
            }
            return;
        }
    };
    out.extend_from_slice(short);
}

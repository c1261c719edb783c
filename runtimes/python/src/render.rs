//! What a handler's result would be on the wire, for tests and for tools; no processor is needed.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use rings::abi::content_type;

use crate::buffer;
use crate::event::Event;
use crate::reply::{self, Answer, Content};

/// Status, header lines, content type, body.
type Rendered<'py> = (u16, Vec<(String, String)>, Option<String>, Bound<'py, PyBytes>);

/// The answer that `result` is to `event`; raises what the processor would be told of as a failure.
#[pyfunction]
pub fn render<'py>(
    event: &Bound<'py, Event>,
    result: Bound<'py, PyAny>,
) -> PyResult<Rendered<'py>> {
    let answer = reply::of(event.get(), result)?;
    if matches!(answer.body, Content::Pieces(_)) {
        return Err(PyTypeError::new_err("a reply in pieces has no whole body: iterate it"));
    }
    let body = whole_body(event, &answer)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut lines: Vec<_> = answer.head.lines().map(|(n, value)| (text(n), text(value))).collect();
    let named = content_type_name(answer.content_type);
    let content_type = named.map(str::to_owned).or_else(|| take_content_type(&mut lines));
    Ok((answer.status, lines, content_type, body))
}

/// The body as one object; empty for one in pieces.
pub fn whole_body<'py>(
    event: &Bound<'py, Event>,
    answer: &Answer<'py>,
) -> PyResult<Bound<'py, PyBytes>> {
    let py = event.py();
    Ok(match &answer.body {
        Content::Text(text) => PyBytes::new(py, text.to_str()?.as_bytes()),
        Content::Bytes(bytes) => bytes.clone(),
        Content::Made(bytes) => PyBytes::new(py, bytes),
        Content::Buffer(view) => buffer::with_bytes(view, |bytes| bytes.to_vec())
            .map_or_else(|| PyBytes::new(py, b""), |bytes| PyBytes::new(py, &bytes)),
        Content::Pieces(_) => PyBytes::new(py, b""),
        Content::InEvent(offset, length) => {
            let whole = Event::read(event, crate::event::Field::Body)?;
            let (from, to) = (*offset as usize, (*offset + *length) as usize);
            PyBytes::new(py, &whole.extract::<Vec<u8>>()?[from..to])
        }
    })
}

/// The content type of a number; `None` where the headers have it.
pub fn content_type_name(number: u8) -> Option<&'static str> {
    Some(match number {
        content_type::TEXT => "text/plain",
        content_type::JSON => "application/json",
        content_type::BYTES => "application/octet-stream",
        content_type::HTML => "text/html",
        _ => return None,
    })
}

fn take_content_type(lines: &mut Vec<(String, String)>) -> Option<String> {
    let at = lines.iter().position(|(name, _)| name.eq_ignore_ascii_case("content-type"))?;
    Some(lines.remove(at).1)
}

/// A function of the SDK's Python part, loaded when it is first asked for.
pub fn sdk_function<'py>(
    py: Python<'py>,
    module: &str,
    name: &Bound<'py, PyString>,
) -> PyResult<Bound<'py, PyAny>> {
    py.import(module)?.getattr(name)
}

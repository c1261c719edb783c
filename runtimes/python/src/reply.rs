//! From what a handler returned to what goes up: the return forms of nuclio, and ours.
//!
//! Everything a processor would refuse is refused here with a sentence for the author, since a
//! worker that sends it is killed.

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyBaseException, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyList, PyMemoryView, PyString, PyTuple, PyType};
use rings::abi::{content_type, outcome};
use shim::HeadBlock;

use crate::event::Event;
use crate::response::Response;
use crate::{buffer, json};

/// Longest delay of another attempt: a month. More is a mistake in the unit.
const RETRY_SECONDS_MAX: f64 = 31.0 * 86_400.0;

/// An answer that is ready to be sent.
pub struct Answer<'py> {
    pub status: u16,
    pub outcome: u8,
    pub content_type: u8,
    pub head: HeadBlock,
    pub body: Content<'py>,
    pub retry_after_ns: u64,
}

/// The body of an answer.
pub enum Content<'py> {
    Text(Bound<'py, PyString>),
    Bytes(Bound<'py, PyBytes>),
    /// Any other buffer object in one piece.
    Buffer(PyBuffer<u8>),
    Made(Vec<u8>),
    /// A part of the event's own body: offset and length. Nothing is copied.
    InEvent(u32, u32),
    /// An iterator, or an async one, that gives the body piece by piece.
    Pieces(Bound<'py, PyAny>),
}

impl<'py> Answer<'py> {
    fn of(body: Content<'py>, content_type: u8) -> Self {
        let head = HeadBlock::new();
        Self { status: 200, outcome: outcome::OK, content_type, head, body, retry_after_ns: 0 }
    }

    /// A failed event.
    pub fn error(text: Vec<u8>) -> Self {
        let status = 500;
        let answer = Self::of(Content::Made(text), content_type::TEXT);
        Self { status, outcome: outcome::ERROR, ..answer }
    }

    /// Another attempt is wanted.
    pub fn retry(after_ns: u64) -> Self {
        let seconds = after_ns.div_ceil(1_000_000_000).to_string();
        let mut head = HeadBlock::new();
        let fits = head.push(b"Retry-After", seconds.as_bytes());
        debug_assert!(fits);
        let text = format!("try again in {seconds} s").into_bytes();
        let answer = Self::of(Content::Made(text), content_type::TEXT);
        Self { status: 503, outcome: outcome::RETRY, head, retry_after_ns: after_ns, ..answer }
    }

    /// The event is refused for good.
    pub fn reject(reason: String) -> Self {
        let answer = Self::of(Content::Made(reason.into_bytes()), content_type::TEXT);
        Self { status: 422, outcome: outcome::REJECT, ..answer }
    }
}

/// What a handler's result means.
#[inline]
pub fn of<'py>(event: &Event, result: Bound<'py, PyAny>) -> PyResult<Answer<'py>> {
    if let Ok(text) = result.cast_exact::<PyString>() {
        return Ok(Answer::of(encoded(text.clone())?, content_type::TEXT));
    }
    if let Ok(response) = result.cast::<Response>() {
        return of_response(event, response);
    }
    if let Ok(pair) = result.cast::<PyTuple>()
        && pair.len() == 2
    {
        return of_pair(event, pair);
    }
    if let Ok(error) = result.cast::<PyBaseException>()
        && let Some(answer) = asked_for(error)
    {
        return Ok(answer);
    }
    if let Some(response) = own_response(&result)? {
        return of_response(event, &response);
    }
    let (body, content_type) = content(event, result)?;
    Ok(Answer::of(body, content_type))
}

/// The response that an object makes of itself, as a CloudEvent does; `None` for all others. Looked
/// up on its class, as Python does for such names.
fn own_response<'py>(result: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, Response>>> {
    let is_plain = result.is_none()
        || result.is_exact_instance_of::<PyDict>()
        || result.is_exact_instance_of::<PyList>()
        || result.is_exact_instance_of::<PyBytes>();
    if is_plain {
        return Ok(None);
    }
    let class = result.get_type();
    let Some(method) = class.getattr_opt(intern!(result.py(), "__nuclio_response__"))? else {
        return Ok(None);
    };
    Ok(Some(method.call1((result,))?.cast_into()?))
}

/// `context.retry(..)` and `context.reject(..)`, returned or raised.
pub fn asked_for<'py>(error: &Bound<'py, PyBaseException>) -> Option<Answer<'py>> {
    static RETRY: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static REJECT: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let py = error.py();
    if error.is_instance(RETRY.import(py, "nuclio_sdk", "Retry").ok()?).ok()? {
        let after: f64 = error.getattr(intern!(py, "after")).ok()?.extract().ok()?;
        return Some(Answer::retry((after.clamp(0.0, RETRY_SECONDS_MAX) * 1e9) as u64));
    }
    if error.is_instance(REJECT.import(py, "nuclio_sdk", "Reject").ok()?).ok()? {
        let reason = error.getattr(intern!(py, "reason")).ok()?.str().ok()?;
        return Some(Answer::reject(reason.to_string_lossy().into_owned()));
    }
    None
}

/// `ExceptionWithResponse` of the SDK: the answer that an exception brings along. Its class is known
/// only where somebody has loaded it.
pub fn brought_along<'py>(
    event: &Event,
    error: &Bound<'py, PyBaseException>,
) -> Option<PyResult<Answer<'py>>> {
    let py = error.py();
    let modules = py.import(intern!(py, "sys")).ok()?.getattr(intern!(py, "modules")).ok()?;
    let module = modules.get_item(intern!(py, "nuclio_sdk.exceptions")).ok()?;
    let class = module.getattr(intern!(py, "ExceptionWithResponse")).ok()?;
    if !error.is_instance(&class).ok()? {
        return None;
    }
    let answer = || {
        let part = |name: &str| error.getattr(name);
        let (body, natural) = content(event, part("body")?)?;
        if matches!(body, Content::Pieces(_)) {
            let text = "the body of an ExceptionWithResponse cannot be a generator";
            return Err(PyTypeError::new_err(text));
        }
        let mut answer =
            Answer { status: status(&part("status_code")?)?, ..Answer::of(body, natural) };
        let given = part("content_type")?;
        if !given.is_none() {
            answer.content_type = set_content_type(&mut answer.head, &given)?;
        }
        Ok(answer)
    };
    Some(answer())
}

/// Text that can be sent: lone surrogates cannot.
fn encoded(text: Bound<'_, PyString>) -> PyResult<Content<'_>> {
    text.to_str()?;
    Ok(Content::Text(text))
}

/// `(status, body)`: a body that is neither text nor bytes is JSON, whatever it is.
fn of_pair<'py>(event: &Event, pair: &Bound<'py, PyTuple>) -> PyResult<Answer<'py>> {
    let status = status(&pair.get_item(0)?)?;
    let body = pair.get_item(1)?;
    let plain = body.is_none()
        || is_bytes_like(&body)
        || body.is_instance_of::<PyString>()
        || is_pieces(&body)?;
    let (body, content_type) = if plain {
        content(event, body)?
    } else {
        (Content::Made(json::dumps(&body)?), content_type::JSON)
    };
    Ok(Answer { status, ..Answer::of(body, content_type) })
}

fn of_response<'py>(event: &Event, response: &Bound<'py, Response>) -> PyResult<Answer<'py>> {
    let parts = response.try_borrow()?.parts(response.py());
    let (body, natural_type) = match parts.body {
        None => (Content::Made(Vec::new()), content_type::TEXT),
        Some(body) => content(event, body)?,
    };
    let mut answer = Answer::of(body, natural_type);
    if let Some(code) = parts.status_code {
        answer.status = status(&code)?;
    }
    let mut typed = false;
    if let Some(given) = parts.content_type {
        typed = true;
        answer.content_type = set_content_type(&mut answer.head, &given)?;
    }
    if let Some(headers) = parts.headers {
        set_headers(&mut answer, &headers, typed)?;
    }
    Ok(answer)
}

/// The body, and the content type that is natural for it.
fn content<'py>(event: &Event, value: Bound<'py, PyAny>) -> PyResult<(Content<'py>, u8)> {
    let py = value.py();
    if let Ok(text) = value.cast::<PyString>() {
        return Ok((encoded(text.clone())?, content_type::TEXT));
    }
    if value.is_none() {
        return Ok((Content::Made(Vec::new()), content_type::TEXT));
    }
    if let Ok(bytes) = value.cast::<PyBytes>() {
        let content = match event.place_of_bytes(bytes) {
            Some((offset, length)) => Content::InEvent(offset, length),
            None => Content::Bytes(bytes.clone()),
        };
        return Ok((content, content_type::TEXT));
    }
    if value.is_instance_of::<PyDict>() || value.is_instance_of::<PyList>() {
        return Ok((Content::Made(json::dumps(&value)?), content_type::JSON));
    }
    if is_bytes_like(&value) {
        return Ok((buffer_content(py, event, &value)?, content_type::TEXT));
    }
    if is_pieces(&value)? {
        return Ok((Content::Pieces(value), content_type::TEXT));
    }
    refuse_unfinished(&value)?;
    Ok((encoded(value.str()?)?, content_type::TEXT))
}

/// Iterators and async ones; what can only be iterated over, such as a set, is none.
fn is_pieces(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = value.py();
    let class = value.get_type();
    Ok(class.hasattr(intern!(py, "__next__"))? || class.hasattr(intern!(py, "__anext__"))?)
}

pub fn is_bytes_like(value: &Bound<'_, PyAny>) -> bool {
    value.is_instance_of::<PyBytes>()
        || value.is_instance_of::<PyMemoryView>()
        || value.is_instance_of::<PyByteArray>()
}

fn buffer_content<'py>(
    py: Python<'py>,
    event: &Event,
    value: &Bound<'py, PyAny>,
) -> PyResult<Content<'py>> {
    let Ok(view) = PyBuffer::<u8>::get(value) else {
        // A memoryview of other items than bytes, or with gaps: Python knows how to flatten it.
        let bytes = value.call_method0(intern!(py, "tobytes"))?;
        return Ok(Content::Bytes(bytes.cast_into()?));
    };
    match buffer::with_bytes(&view, |bytes| event.place_of_view(bytes)) {
        Some(Some((offset, length))) => Ok(Content::InEvent(offset, length)),
        Some(None) => Ok(Content::Buffer(view)),
        None => Ok(Content::Made(view.to_vec(py)?)),
    }
}

/// Coroutines and functions have a `str()`, but nobody means it as an answer.
fn refuse_unfinished(value: &Bound<'_, PyAny>) -> PyResult<()> {
    let class = value.get_type();
    if class.module()? != "builtins" {
        return Ok(());
    }
    let what = class.name()?;
    let advice = match what.to_str()? {
        "coroutine" => "declare it with `async def`, so that it is awaited",
        "function" | "method" | "type" | "builtin_function_or_method" => "call it",
        _ => return Ok(()),
    };
    if what == "coroutine" {
        value.call_method0(intern!(value.py(), "close"))?;
    }
    Err(PyTypeError::new_err(format!("the handler returned a {what}: {advice}")))
}

fn status(code: &Bound<'_, PyAny>) -> PyResult<u16> {
    match code.extract::<u16>() {
        Ok(status @ 200..=599) => Ok(status),
        _ => Err(PyValueError::new_err(format!(
            "the status code must be a whole number from 200 to 599, not {}",
            code.repr()?
        ))),
    }
}

/// The number of a content type; one without a number goes into the head.
fn set_content_type(head: &mut HeadBlock, given: &Bound<'_, PyAny>) -> PyResult<u8> {
    if let Ok(text) = given.cast::<PyString>()
        && let Some(number) = content_type_number(text.to_str()?)
    {
        return Ok(number);
    }
    push_header(head, "Content-Type", &header_value("Content-Type", given)?)?;
    Ok(content_type::NONE)
}

fn content_type_number(name: &str) -> Option<u8> {
    Some(match name {
        "text/plain" => content_type::TEXT,
        "application/json" => content_type::JSON,
        "application/octet-stream" => content_type::BYTES,
        "text/html" => content_type::HTML,
        _ => return None,
    })
}

fn set_headers(answer: &mut Answer<'_>, headers: &Bound<'_, PyAny>, typed: bool) -> PyResult<()> {
    let py = headers.py();
    let items = match headers.cast::<PyDict>() {
        Ok(dict) => dict.items().into_any(),
        Err(_) if headers.hasattr(intern!(py, "items"))? => {
            headers.call_method0(intern!(py, "items"))?
        }
        Err(_) => headers.clone(),
    };
    for item in items.try_iter()? {
        let (name, value) = item?.extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>)>()?;
        let name = header_name(&name)?;
        if name.eq_ignore_ascii_case("content-type") {
            if !typed {
                answer.content_type = set_content_type(&mut answer.head, &value)?;
            }
            continue;
        }
        if value.is_instance_of::<PyList>() || value.is_instance_of::<PyTuple>() {
            for one in value.try_iter()? {
                push_header(&mut answer.head, &name, &header_value(&name, &one?)?)?;
            }
        } else {
            push_header(&mut answer.head, &name, &header_value(&name, &value)?)?;
        }
    }
    Ok(())
}

fn push_header(head: &mut HeadBlock, name: &str, value: &[u8]) -> PyResult<()> {
    if head.push(name.as_bytes(), value) {
        return Ok(());
    }
    let most = rings::limits::REPLY_HEAD_BYTES_MAX;
    Err(PyValueError::new_err(format!("the reply's headers are larger than {most} bytes")))
}

fn header_name(name: &Bound<'_, PyAny>) -> PyResult<String> {
    let text = match name.cast::<PyBytes>() {
        Ok(bytes) => String::from_utf8_lossy(bytes.as_bytes()).into_owned(),
        Err(_) => name.str()?.to_cow()?.into_owned(),
    };
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if text.is_empty() || !text.bytes().all(is_token) {
        return Err(PyValueError::new_err(format!("{} is not a header name", name.repr()?)));
    }
    Ok(text)
}

fn header_value(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    let bytes = match value.cast::<PyBytes>() {
        Ok(bytes) => bytes.as_bytes().to_vec(),
        Err(_) => value.str()?.to_str()?.as_bytes().to_vec(),
    };
    if bytes.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        return Err(PyValueError::new_err(format!(
            "the value of header {name} has a line break or a NUL: {}",
            value.repr()?
        )));
    }
    Ok(bytes)
}

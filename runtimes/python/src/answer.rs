//! What `nuclio_sdk.testing` needs to call handlers without a processor: events as they come over
//! the rings, and answers as they would go up.
//!
//! Every decision is made by the functions that a worker uses; nothing here is used by a worker.

use pyo3::exceptions::{PyBaseException, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};
use rings::abi::{EventHeader, HeaderEntry, Range, event_flag, event_kind, outcome};
use rings::header;

use crate::event::Event;
use crate::finish::{self, Failed};
use crate::reply::{self, Answer, Content};
use crate::stream::{self, Piece};
use crate::{batch, failure, render, strings};

/// Methods by their numbers, from 1 on.
const METHODS: [&[u8]; 9] =
    [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE", b"CONNECT"];
const METHOD_WITHOUT_NUMBER: u8 = 255;

/// An answer as the processor would get it.
#[pyclass(frozen, get_all, module = "_nuclio")]
pub struct Answered {
    status: u16,
    /// `None` where the headers have it.
    content_type: Option<&'static str>,
    headers: Vec<(Py<PyBytes>, Py<PyBytes>)>,
    body: Py<PyBytes>,
    /// What gives the body piece by piece.
    pieces: Option<Py<PyAny>>,
    is_event_stream: bool,
    outcome: &'static str,
    /// What the log is told; empty unless something failed.
    log: String,
    /// What failed.
    error: Option<Py<PyBaseException>>,
}

/// Reads the settings that a worker reads at its start; `folder` holds this runtime's Python files,
/// which are left out of tracebacks.
#[pyfunction]
pub fn ready_for_tests(folder: String) {
    strings::read_setting();
    failure::set_runtime_folder(folder);
}

/// The event of an HTTP request; `token` becomes its id.
#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "the parts of a request, each used once")]
pub fn event_of_request(
    token: [u8; 16],
    method: &[u8],
    path: &[u8],
    query: &[u8],
    lines: Vec<(Vec<u8>, Vec<u8>)>,
    body: Bound<'_, PyBytes>,
    unix_ns: u64,
    deadline_ns: u64,
) -> PyResult<Event> {
    let too_large = || PyValueError::new_err("the event is larger than an event can be");
    if lines.len() > usize::from(u16::MAX) {
        return Err(too_large());
    }
    let mut raw = Raw { bytes: Vec::new(), at: header::raw_offset(lines.len(), 0) };
    let mut ack_token = [0; 24];
    ack_token[..16].copy_from_slice(&token);
    let (number, ext) = method_of(method);
    let mut event = EventHeader {
        kind: event_kind::HTTP,
        method: number,
        attempt: 1,
        timestamp_ns: unix_ns,
        ack_token,
        path: raw.put(path),
        query: raw.put(query),
        ext: raw.put(&ext),
        flags: event_flag::ID_IN_TOKEN,
        body_bytes: u32::try_from(body.as_bytes().len()).map_err(|_| too_large())?,
        ..Default::default()
    };
    let mut entries = Vec::with_capacity(lines.len());
    for (name, value) in &lines {
        let entry = HeaderEntry { name: raw.put(name), value: raw.put(value) };
        if name.eq_ignore_ascii_case(b"content-type") && event.content_type.length == 0 {
            event.content_type = entry.value;
        }
        entries.push(entry);
    }
    u32::try_from(raw.at + raw.bytes.len()).map_err(|_| too_large())?;
    let mut slot = vec![0; raw.at + raw.bytes.len()];
    slot[raw.at..].copy_from_slice(&raw.bytes);
    header::write(&mut slot, &mut event, entries.into_iter(), &[]);
    Ok(Event::of_copy(slot.into(), body.unbind(), deadline_ns, 1))
}

/// The number of a method, and the `ext` that names one without a number; see `docs/abi/`.
fn method_of(token: &[u8]) -> (u8, Vec<u8>) {
    if let Some(at) = METHODS.iter().position(|name| *name == token) {
        return (at as u8 + 1, Vec::new());
    }
    // A map of one pair; a text of up to 7 bytes; a text with a 32-bit length.
    let mut ext = b"\x81\xa6method\xdb".to_vec();
    ext.extend_from_slice(&(token.len() as u32).to_be_bytes());
    ext.extend_from_slice(token);
    (METHOD_WITHOUT_NUMBER, ext)
}

/// The raw bytes behind an event header.
struct Raw {
    bytes: Vec<u8>,
    at: usize,
}

impl Raw {
    /// Appends bytes. Ranges are checked by the caller, once all of them are known.
    fn put(&mut self, bytes: &[u8]) -> Range {
        let offset = (self.at + self.bytes.len()) as u32;
        self.bytes.extend_from_slice(bytes);
        Range { offset, length: bytes.len() as u32 }
    }
}

/// The answer to an event whose handler returned, or raised, this.
#[pyfunction]
pub fn answer_to(
    event: &Bound<'_, Event>,
    result: Bound<'_, PyAny>,
    is_raised: bool,
) -> PyResult<Answered> {
    if is_raised {
        return of_error(event, result.cast::<PyBaseException>()?);
    }
    match reply::of(event.get(), result) {
        Ok(answer) => answered(event, &answer, String::new(), None),
        Err(error) => {
            let error = error.into_value(event.py()).into_bound(event.py());
            of_failed(event, finish::unsendable(&error), &error)
        }
    }
}

/// The answers to the events of a batch, and what the log is told of the whole of it.
#[pyfunction]
pub fn answers_to_batch(
    py: Python<'_>,
    events: Vec<Py<Event>>,
    result: Bound<'_, PyAny>,
    is_raised: bool,
) -> PyResult<(Vec<Answered>, Vec<String>)> {
    let each = |make: &dyn Fn(&Bound<'_, Event>) -> PyResult<Answered>| {
        events.iter().map(|event| make(event.bind(py))).collect::<PyResult<Vec<_>>>()
    };
    if is_raised {
        let error = result.cast::<PyBaseException>()?;
        return Ok((each(&|event| of_error(event, error))?, Vec::new()));
    }
    let Ok(list) = result.cast::<PyList>() else {
        let text = batch::wrong_kind(&result);
        return Ok((each(&|event| of_text(event, &text))?, Vec::new()));
    };
    let sorted = batch::sort(&events, list);
    let answers = sorted.answers.into_iter().zip(&events).map(|(answer, event)| {
        let event = event.bind(py);
        let Some(answer) = answer else { return of_text(event, &sorted.missing) };
        let is_raised = answer.is_instance_of::<PyBaseException>();
        let answered = answer_to(event, answer, is_raised)?;
        if answered.pieces.is_none() {
            return Ok(answered);
        }
        let error = PyRuntimeError::new_err(stream::GIVEN_UP).into_value(py).into_bound(py);
        of_error(event, &error)
    });
    Ok((answers.collect::<PyResult<_>>()?, sorted.warnings))
}

/// The iterator of a sync handler's reply in pieces.
#[pyfunction]
pub fn iterator_of<'py>(pieces: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let items = pieces.try_iter();
    items.map(Bound::into_any).map_err(|_| PyTypeError::new_err(stream::ASYNC_PIECES))
}

/// The bytes that are sent for one item of a generator.
#[pyfunction]
pub fn piece_bytes<'py>(
    item: &Bound<'py, PyAny>,
    is_event_stream: bool,
) -> PyResult<Bound<'py, PyBytes>> {
    Ok(match stream::piece_of(item, is_event_stream)? {
        Piece::Bytes(bytes) => bytes.into_bound(item.py()),
        Piece::Made(bytes) => PyBytes::new(item.py(), &bytes),
    })
}

fn of_error<'py>(
    event: &Bound<'py, Event>,
    error: &Bound<'py, PyBaseException>,
) -> PyResult<Answered> {
    of_failed(event, finish::of_error(event.get(), error), error)
}

fn of_failed<'py>(
    event: &Bound<'py, Event>,
    failed: Failed<'py>,
    error: &Bound<'py, PyBaseException>,
) -> PyResult<Answered> {
    answered(event, &failed.answer, failed.log, Some(error))
}

/// An event that fails without an exception.
fn of_text(event: &Bound<'_, Event>, text: &str) -> PyResult<Answered> {
    let answer = finish::error_answer(text.to_owned(), text.to_owned());
    answered(event, &answer, text.to_owned(), None)
}

fn answered<'py>(
    event: &Bound<'py, Event>,
    answer: &Answer<'py>,
    log: String,
    error: Option<&Bound<'py, PyBaseException>>,
) -> PyResult<Answered> {
    let py = event.py();
    let pieces = match &answer.body {
        Content::Pieces(pieces) => Some(pieces.clone().unbind()),
        _ => None,
    };
    let mut head = answer.head.clone();
    let is_event_stream = pieces.is_some() && stream::is_event_stream(&head);
    if is_event_stream {
        stream::forbid_caches(&mut head);
    }
    let bytes = |bytes| PyBytes::new(py, bytes).unbind();
    Ok(Answered {
        status: answer.status,
        content_type: render::content_type_name(answer.content_type),
        headers: head.lines().map(|(name, value)| (bytes(name), bytes(value))).collect(),
        body: render::whole_body(event, answer)?.unbind(),
        pieces,
        is_event_stream,
        outcome: outcome_name(answer.outcome),
        log,
        error: error.map(|error| error.clone().unbind()),
    })
}

fn outcome_name(number: u8) -> &'static str {
    match number {
        outcome::OK => "ok",
        outcome::RETRY => "retry",
        outcome::REJECT => "reject",
        _ => "error",
    }
}

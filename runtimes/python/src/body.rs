//! `Event.body_stream`: a request body piece by piece, while it comes or, where it came whole, at
//! once.
//!
//! Each piece is a copy, after which its memory is the processor's again: so a handler that reads
//! slowly slows its client, and one that keeps pieces keeps its own memory.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::{PyConnectionResetError, PyRuntimeError, PyStopAsyncIteration, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use shim::BodyStep;

use crate::event::{Event, Source};
use crate::link;
use crate::start::give_up;

/// Bodies copied into `bytes`, views given out, and views that needed a copy since the memory was
/// in pieces.
pub static BODY_COPIES: AtomicU64 = AtomicU64::new(0);
pub static BODY_VIEWS: AtomicU64 = AtomicU64::new(0);
pub static BODY_GATHERS: AtomicU64 = AtomicU64::new(0);

/// The three counters above.
pub fn counters() -> [(&'static str, u64); 3] {
    [
        ("body_copies", BODY_COPIES.load(Ordering::Relaxed)),
        ("body_views", BODY_VIEWS.load(Ordering::Relaxed)),
        ("body_gathers", BODY_GATHERS.load(Ordering::Relaxed)),
    ]
}

/// Copies ranges one behind the other.
pub fn gather(pieces: &[&[u8]], mut whole: &mut [u8]) {
    for piece in pieces {
        let (to, rest) = whole.split_at_mut(piece.len());
        to.copy_from_slice(piece);
        whole = rest;
    }
}

/// An iterator and an async iterator over the pieces of a body.
#[pyclass(module = "nuclio_sdk", frozen)]
pub struct BodyStream {
    /// Whose body comes in pieces; `None` where `whole` is all of it.
    claim: Option<u64>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    begun: bool,
    whole: Option<Py<PyBytes>>,
}

enum Step<'py> {
    Piece(Bound<'py, PyBytes>),
    End,
    Wait,
}

impl BodyStream {
    /// Of a body that comes while the handler runs.
    pub fn of_claim(claim: u64) -> Self {
        Self { claim: Some(claim), state: Mutex::default() }
    }

    /// Of a body that is here.
    pub fn of_bytes(whole: Bound<'_, PyBytes>) -> Self {
        let state = State { begun: false, whole: Some(whole.unbind()) };
        Self { claim: None, state: Mutex::new(state) }
    }

    /// True if a piece was taken.
    pub fn is_begun(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).begun
    }

    /// The next piece, if it is here.
    fn step<'py>(&self, py: Python<'py>) -> PyResult<Step<'py>> {
        let whole = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.begun = true;
            state.whole.take()
        };
        let Some(claim) = self.claim else {
            let whole = whole.map(|bytes| bytes.into_bound(py));
            return Ok(match whole.filter(|bytes| !bytes.as_bytes().is_empty()) {
                Some(bytes) => Step::Piece(bytes),
                None => Step::End,
            });
        };
        let over = || PyRuntimeError::new_err("the event is answered: its body cannot be read now");
        let link = link::link().ok_or_else(over)?;
        let mut piece = None;
        let step = link.body_piece(claim, |bytes| piece = Some(PyBytes::new(py, bytes)));
        match (step.unwrap_or_else(|error| give_up(error)), piece) {
            (BodyStep::Piece, Some(piece)) => Ok(Step::Piece(piece)),
            (BodyStep::End, _) => Ok(Step::End),
            (BodyStep::Wait | BodyStep::Piece, _) => Ok(Step::Wait),
            (BodyStep::Over, _) => Err(over()),
            (BodyStep::Broken, _) => {
                let text = "the request body ends early: its client left or sent it wrongly";
                Err(PyConnectionResetError::new_err(text))
            }
        }
    }
}

#[pymethods]
impl BodyStream {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __aiter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    /// The next piece, as soon as it is here.
    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        if self.claim.is_some() && link::is_per_task() {
            let text = "in an async handler write `async for piece in event.body_stream`";
            return Err(PyTypeError::new_err(text));
        }
        loop {
            match self.step(py)? {
                Step::Piece(piece) => return Ok(Some(piece)),
                Step::End => return Ok(None),
                Step::Wait => {}
            }
            if let (Some(link), Some(claim)) = (link::link(), self.claim) {
                link.wait_for_body(py, claim).unwrap_or_else(|error| give_up(error));
            }
            py.check_signals()?;
        }
    }

    fn __anext__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        if slf.get().claim.is_some() && !link::is_per_task() {
            let text = "in a sync handler write `for piece in event.body_stream`";
            return Err(PyTypeError::new_err(text));
        }
        py.import(intern!(py, "nuclio_sdk._body"))?.call_method1(intern!(py, "piece"), (slf,))
    }

    /// For the event loop: the next piece, or None if it is not here yet.
    fn _take<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        match self.step(py)? {
            Step::Piece(piece) => Ok(Some(piece)),
            Step::Wait => Ok(None),
            Step::End => Err(PyStopAsyncIteration::new_err(())),
        }
    }
}

/// Reads what comes in pieces, so that an event has its whole body; nothing to do for others.
pub fn ensure_whole(event: &Bound<'_, Event>) -> PyResult<()> {
    let Some(stream) = event.get().unread_stream(event.py())? else { return Ok(()) };
    let py = event.py();
    if stream.get().is_begun() {
        let text = "the body of this event is read through `body_stream` already";
        return Err(PyRuntimeError::new_err(text));
    }
    if link::is_per_task() {
        let text = "the body of this event comes in pieces (`streamRequests`): in an async handler \
                    write `async for piece in event.body_stream`";
        return Err(PyTypeError::new_err(text));
    }
    let mut whole = Vec::new();
    while let Some(piece) = stream.get().__next__(py)? {
        whole.extend_from_slice(piece.as_bytes());
    }
    event.get().keep_body(PyBytes::new(py, &whole));
    Ok(())
}

impl Event {
    /// The pieces of a body that comes while the handler runs, unless it was read as a whole.
    pub fn unread_stream<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, BodyStream>>> {
        let state = self.lock();
        if !state.has_unread_stream() {
            return Ok(None);
        }
        let known = state.stream.as_ref().map(|stream| stream.bind(py).clone());
        // 0 = answered: nobody gets more of it.
        let claim = if let Source::Slot(event) = &state.source { event.claim() } else { 0 };
        drop(state);
        if known.is_some() {
            return Ok(known);
        }
        let stream = Bound::new(py, BodyStream::of_claim(claim))?;
        self.lock().stream = Some(stream.clone().unbind());
        Ok(Some(stream))
    }

    /// The whole of a body that came in pieces.
    pub fn keep_body(&self, whole: Bound<'_, PyBytes>) {
        self.lock().raw = Some(whole.unbind());
    }

    /// What `event.body_stream` is.
    pub fn stream<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, BodyStream>> {
        let py = slf.py();
        if let Some(stream) = slf.get().unread_stream(py)? {
            return Ok(stream);
        }
        let view = Self::view(slf)?;
        let whole = py.get_type::<PyBytes>().call1((view,))?.cast_into::<PyBytes>()?;
        Bound::new(py, BodyStream::of_bytes(whole))
    }
}

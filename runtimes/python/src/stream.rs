//! Replies piece by piece: from generators and other iterators, with back-pressure to them.
//!
//! The first piece is asked for before the head goes up, so that a generator which fails at once is
//! an ordinary 500. After that a failure breaks the reply off; it never ends as if it were whole.

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};
use shim::{HeadBlock, Level, Origin, ReplyBody, ShimError};

use crate::event::Event;
use crate::finish::{self, Turn, finish_failed};
use crate::link::{self, Link};
use crate::reply::{Answer, Content};
use crate::start::give_up;
use crate::{buffer, failure, json, output};

const EVENT_STREAM: &[u8] = b"text/event-stream";

/// What is told of an async generator that a sync handler returned.
pub const ASYNC_PIECES: &str = "an async generator can only be returned by an `async def` handler";
/// What is told of a reply in pieces that nobody sent to its end.
pub const GIVEN_UP: &str = "the streamed reply was given up before its end";

/// A reply under way. Dropped before its end it is broken off, so that its client never waits.
#[pyclass(module = "_nuclio")]
pub struct Stream {
    turn: Turn,
    /// Until the head is sent.
    event: Option<Py<Event>>,
    status: u16,
    content_type: u8,
    head: HeadBlock,
    pieces: Py<PyAny>,
    /// What is being sent, and how much of it is.
    piece: Piece,
    sent: usize,
    is_event_stream: bool,
    /// The client gets a head and nothing more.
    head_only: bool,
    over: bool,
}

/// What is sent for one item.
pub enum Piece {
    Bytes(Py<PyBytes>),
    Made(Vec<u8>),
}

impl Stream {
    pub fn new(turn: Turn, event: Bound<'_, Event>, answer: Answer<'_>) -> Self {
        let py = event.py();
        let head_only = event.get().is_head() || matches!(answer.status, 204 | 205 | 304);
        let pieces = match answer.body {
            Content::Pieces(pieces) => pieces.unbind(),
            _ => py.None(),
        };
        Self {
            turn,
            event: Some(event.unbind()),
            status: answer.status,
            content_type: answer.content_type,
            is_event_stream: is_event_stream(&answer.head),
            head: answer.head,
            pieces,
            piece: Piece::Made(Vec::new()),
            sent: 0,
            head_only,
            over: false,
        }
    }

    /// Sends everything a sync handler's iterator gives; waits whenever the client is slow.
    pub fn run(mut self, py: Python<'_>, link: &Link) -> Result<(), ShimError> {
        match self.send_all(py, link)? {
            Ok(()) => self.end_with(link, false),
            Err(error) => self.failed_with(py, link, error),
        }?;
        output::flush(self.turn.claim);
        Ok(())
    }

    /// The inner result is what the user's code raised, or what is wrong with its pieces.
    fn send_all(&mut self, py: Python<'_>, link: &Link) -> Result<PyResult<()>, ShimError> {
        let pieces = self.pieces.bind(py).clone();
        let Ok(mut items) = pieces.try_iter() else {
            return Ok(Err(PyTypeError::new_err(ASYNC_PIECES)));
        };
        while !link.is_cancelled(self.turn.claim) {
            let item = match items.next() {
                None => return self.begin(py, link).map(Ok),
                Some(Ok(item)) => item,
                Some(Err(error)) => return Ok(Err(error)),
            };
            output::flush(self.turn.claim);
            if let Err(error) = self.take(&item) {
                return Ok(Err(error));
            }
            drop(item);
            self.begin(py, link)?;
            if self.head_only {
                return Ok(close(&pieces));
            }
            while !self.send_some(py, link, Link::piece_or_wait)? {
                if link.is_cancelled(self.turn.claim) {
                    break;
                }
                if let Err(error) = py.check_signals() {
                    return Ok(Err(error));
                }
            }
        }
        Ok(close(&pieces).and_then(|()| Err(PyRuntimeError::new_err("nobody listens any more"))))
    }

    /// Makes bytes of what the iterator gave.
    fn take(&mut self, item: &Bound<'_, PyAny>) -> PyResult<()> {
        self.sent = 0;
        self.piece = piece_of(item, self.is_event_stream)?;
        Ok(())
    }

    /// Sends the head, if it is not out yet.
    fn begin(&mut self, py: Python<'_>, link: &Link) -> Result<(), ShimError> {
        let Some(event) = self.event.take() else { return Ok(()) };
        if self.is_event_stream {
            forbid_caches(&mut self.head);
        }
        let (hold, released) = finish::let_go(link, self.turn, event.into_bound(py));
        let answer = Answer {
            status: self.status,
            outcome: rings::abi::outcome::OK,
            content_type: self.content_type,
            head: std::mem::take(&mut self.head),
            body: Content::Made(Vec::new()),
            retry_after_ns: 0,
        };
        let reply = finish::reply_of(&answer, ReplyBody::Bytes(b""));
        link.begin_stream(py, self.turn, &reply, released)?;
        if !released && let Some(hold) = hold {
            hold.outlive_answer();
        }
        Ok(())
    }

    /// Sends what there are credits and room for; false if something is left.
    fn send_some(
        &mut self,
        py: Python<'_>,
        link: &Link,
        send: impl Fn(&Link, Python<'_>, u64, &[u8]) -> Result<usize, ShimError>,
    ) -> Result<bool, ShimError> {
        loop {
            let whole = match &self.piece {
                Piece::Bytes(bytes) => bytes.as_bytes(py),
                Piece::Made(bytes) => bytes,
            };
            let left = &whole[self.sent..];
            if left.is_empty() {
                self.piece = Piece::Made(Vec::new());
                self.sent = 0;
                return Ok(true);
            }
            let sent = send(link, py, self.turn.claim, left)?;
            if sent == 0 {
                return Ok(false);
            }
            self.sent += sent;
        }
    }

    fn end_with(&mut self, link: &Link, broken: bool) -> Result<(), ShimError> {
        if std::mem::replace(&mut self.over, true) {
            return Ok(());
        }
        link.end_stream(self.turn.claim, broken)
    }

    /// An exception: a reply of its own while nothing is out, else the reply is broken off.
    fn failed_with(&mut self, py: Python<'_>, link: &Link, error: PyErr) -> Result<(), ShimError> {
        if let Some(event) = self.event.take() {
            self.over = true;
            return finish_failed(link, self.turn, event.into_bound(py), error).map(|_| ());
        }
        if !link.is_cancelled(self.turn.claim) {
            let trace = failure::traceback(&error.into_value(py).into_bound(py));
            let claim = self.turn.claim;
            link.log(Level::Error, Origin::Traceback, claim, trace.trim_end().as_bytes(), b"");
        }
        self.end_with(link, true)
    }
}

/// For the event loop of an async handler.
#[pymethods]
impl Stream {
    #[getter]
    fn pieces(&self, py: Python<'_>) -> Py<PyAny> {
        self.pieces.clone_ref(py)
    }

    #[getter]
    fn head_only(&self) -> bool {
        self.head_only
    }

    /// Begins to send a piece; true if all of it is on its way.
    fn give(&mut self, item: &Bound<'_, PyAny>) -> PyResult<bool> {
        let (py, link) = (item.py(), connected());
        output::flush(self.turn.claim);
        self.take(item)?;
        self.begin(py, link).unwrap_or_else(|error| give_up(error));
        if self.head_only {
            return Ok(true);
        }
        self.go_on(py)
    }

    /// Sends more of the piece; true if all of it is on its way.
    fn go_on(&mut self, py: Python<'_>) -> PyResult<bool> {
        let send = |link: &Link, _: Python<'_>, claim, bytes: &[u8]| link.try_piece(claim, bytes);
        Ok(self.send_some(py, connected(), send).unwrap_or_else(|error| give_up(error)))
    }

    /// True if the loop must look for work by itself before it waits for the bell.
    fn took_inside(&self) -> bool {
        connected().took_inside()
    }

    /// All pieces are sent.
    fn end(&mut self, py: Python<'_>) {
        let link = connected();
        let ended = self.begin(py, link).and_then(|()| self.end_with(link, false));
        ended.unwrap_or_else(|error| give_up(error));
        output::flush(self.turn.claim);
    }

    /// What the user's code raised, or why its task was cancelled.
    fn fail(&mut self, error: Bound<'_, PyAny>) {
        let py = error.py();
        let failed = self.failed_with(py, connected(), PyErr::from_value(error));
        failed.unwrap_or_else(|error| give_up(error));
        output::flush(self.turn.claim);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let Some(link) = link::link() else { return };
        // Not while the interpreter ends: then the processor cuts the connection.
        Python::try_attach(|py| {
            let error = PyRuntimeError::new_err(GIVEN_UP);
            if let Err(error) = self.failed_with(py, link, error) {
                give_up(error);
            }
        });
    }
}

/// A forked child has no link, and must not go on as if it were its parent.
fn connected() -> &'static Link {
    link::link().unwrap_or_else(|| {
        output::flush_all();
        buffer::exit_now(0)
    })
}

/// Ends an iterator early, if it is one that wants to know.
fn close(pieces: &Bound<'_, PyAny>) -> PyResult<()> {
    if pieces.hasattr(intern!(pieces.py(), "close"))? {
        pieces.call_method0(intern!(pieces.py(), "close"))?;
    }
    Ok(())
}

/// What is sent for one item of an iterator.
pub fn piece_of(item: &Bound<'_, PyAny>, is_event_stream: bool) -> PyResult<Piece> {
    if let Ok(bytes) = item.cast::<PyBytes>() {
        return Ok(Piece::Bytes(bytes.clone().unbind()));
    }
    if let Ok(text) = item.cast::<PyString>() {
        return Ok(Piece::Made(text.to_str()?.as_bytes().to_vec()));
    }
    if is_event_stream && item.is_instance_of::<PyDict>() {
        let mut line = b"data: ".to_vec();
        line.append(&mut json::dumps(item)?);
        line.extend_from_slice(b"\n\n");
        return Ok(Piece::Made(line));
    }
    if crate::reply::is_bytes_like(item) {
        let bytes = item.py().get_type::<PyBytes>().call1((item,))?;
        return Ok(Piece::Bytes(bytes.cast_into::<PyBytes>()?.unbind()));
    }
    let class = item.get_type().name()?;
    let also = if is_event_stream { ", bytes or a dict" } else { " or bytes" };
    Err(PyTypeError::new_err(format!("a piece of a streamed reply must be str{also}, not {class}")))
}

/// Says that events must not be cached, unless the head says something of its own. A full head goes
/// without: nothing but a cache that ignores the type needs it.
pub fn forbid_caches(head: &mut HeadBlock) {
    if !has_line(head, b"cache-control", |_| true) {
        let _ = head.push(b"Cache-Control", b"no-cache");
    }
}

pub fn is_event_stream(head: &HeadBlock) -> bool {
    has_line(head, b"content-type", |value| {
        value.len() >= EVENT_STREAM.len()
            && value[..EVENT_STREAM.len()].eq_ignore_ascii_case(EVENT_STREAM)
    })
}

/// True if the head has a line of this name whose value is wanted.
fn has_line(head: &HeadBlock, name: &[u8], wanted: impl Fn(&[u8]) -> bool) -> bool {
    head.lines().any(|(n, value)| n.eq_ignore_ascii_case(name) && wanted(value))
}

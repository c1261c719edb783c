//! The end of an event: answer, log what failed, flush what was printed, let go of the slot.
//!
//! The same for both kinds of handler. In a forked child nothing of this happens: it ends here.

use std::sync::{Arc, OnceLock};

use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;
use shim::{Level, Origin, Reply, ReplyBody, ShimError};

use crate::event::Event;
use crate::hold::Hold;
use crate::link::{self, Link};
use crate::reply::{self, Answer, Content};
use crate::stream::Stream;
use crate::{buffer, failure, output};

/// What a client is told of an exception; `errorDetail` in function.yaml.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ErrorDetail {
    None,
    Message,
    Traceback,
}

static ERROR_DETAIL: OnceLock<ErrorDetail> = OnceLock::new();

/// Sets what a client is told; the contract's default is the message.
pub fn set_error_detail(name: Option<&String>) {
    let detail = match name.map(|name| name.to_ascii_lowercase()).as_deref() {
        Some("none") => ErrorDetail::None,
        Some("traceback") => ErrorDetail::Traceback,
        _ => ErrorDetail::Message,
    };
    let _ = ERROR_DETAIL.set(detail);
}

/// Who must be answered, and since when it has run.
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    /// Lowest level of log records that the event's client wants; `None` = none.
    pub wanted_level: Option<u8>,
    pub claim: u64,
    pub begun_ns: u64,
}

/// What became of an event whose handler has returned.
pub enum Ended {
    /// It is answered; true if a loop that sleeps on the bell must poll again.
    Done(bool),
    /// Its body comes piece by piece; dropped before its end, the reply is broken off.
    Streams(Box<Stream>),
}

impl Turn {
    /// That of an event which begins now.
    #[inline]
    pub fn of(event: &shim::Event) -> Self {
        link::note_deadline(event.claim(), event.deadline_ns());
        Self {
            claim: event.claim(),
            begun_ns: event.begun_ns(),
            wanted_level: event.wanted_log_level(),
        }
    }
}

/// Ends an event with what the handler returned or raised; `event` is the last reference of ours.
#[inline]
pub fn finish<'py>(
    link: &Link,
    turn: Turn,
    event: Bound<'py, Event>,
    result: PyResult<Bound<'py, PyAny>>,
) -> Result<Ended, ShimError> {
    if buffer::is_forked() {
        leave_child();
    }
    let py = event.py();
    let answer = match result {
        Ok(value) => reply::of(event.get(), value).unwrap_or_else(|error| {
            tell(link, turn.claim, unsendable(&error.into_value(py).into_bound(py)))
        }),
        Err(error) => failed(link, event.get(), turn.claim, &error.into_value(py).into_bound(py)),
    };
    output::flush(turn.claim);
    if matches!(answer.body, Content::Pieces(_)) {
        return Ok(Ended::Streams(Box::new(Stream::new(turn, event, answer))));
    }
    send(link, turn, event, &answer).map(Ended::Done)
}

/// Ends an event whose stream failed before anything of it was sent.
pub fn finish_failed<'py>(
    link: &Link,
    turn: Turn,
    event: Bound<'py, Event>,
    error: PyErr,
) -> Result<bool, ShimError> {
    let py = event.py();
    let error = error.into_value(py).into_bound(py);
    let answer = failed(link, event.get(), turn.claim, &error);
    output::flush(turn.claim);
    send(link, turn, event, &answer)
}

/// Ends an event with an answer that was made without looking at it.
pub fn finish_with<'py>(
    link: &Link,
    turn: Turn,
    event: Bound<'py, Event>,
    answer: &Answer<'py>,
) -> Result<bool, ShimError> {
    output::flush(turn.claim);
    send(link, turn, event, answer)
}

/// To be called when a handler has returned, before anything of its events is touched.
pub fn leave_if_child() {
    if buffer::is_forked() {
        leave_child();
    }
}

/// A handler that forked has returned in the child, too: the event belongs to the parent.
fn leave_child() -> ! {
    output::flush_all();
    buffer::exit_now(0)
}

/// What becomes of an event that failed: its client's answer, and what the log is told.
pub struct Failed<'py> {
    pub answer: Answer<'py>,
    /// Empty if there is nothing to tell.
    pub log: String,
    /// The handler raised; else what it returned cannot be sent.
    is_raised: bool,
}

/// The answer for an exception, which may be a request for another attempt.
#[cold]
pub fn failed<'py>(
    link: &Link,
    event: &Event,
    claim: u64,
    error: &Bound<'py, PyBaseException>,
) -> Answer<'py> {
    tell(link, claim, of_error(event, error))
}

fn tell<'py>(link: &Link, claim: u64, failed: Failed<'py>) -> Answer<'py> {
    if !failed.log.is_empty() {
        // Where a cancelled handler was is worth a record, but the cancellation is no fault of its
        // own.
        let is_cancelled = failed.is_raised && link.is_cancelled(claim);
        let level = if is_cancelled { Level::Warn } else { Level::Error };
        link.log(level, Origin::Traceback, claim, failed.log.as_bytes(), b"");
    }
    failed.answer
}

/// What becomes of an event whose handler raised.
pub fn of_error<'py>(event: &Event, error: &Bound<'py, PyBaseException>) -> Failed<'py> {
    let silent = |answer| Failed { answer, log: String::new(), is_raised: true };
    if let Some(answer) = reply::asked_for(error) {
        return silent(answer);
    }
    match reply::brought_along(event, error) {
        Some(Ok(answer)) => return silent(answer),
        Some(Err(wrong)) => {
            return unsendable(&wrong.into_value(error.py()).into_bound(error.py()));
        }
        None => {}
    }
    let trace = failure::traceback(error);
    let log = trace.trim_end().to_owned();
    Failed { answer: error_answer(failure::last_line(error), trace), log, is_raised: true }
}

/// What becomes of an event whose result cannot be sent. Where in the JSON encoder it failed is of
/// no interest: the sentence names the type.
#[cold]
pub fn unsendable<'py>(error: &Bound<'py, PyBaseException>) -> Failed<'py> {
    let line = failure::last_line(error);
    let log = format!("what the handler returned cannot be sent: {line}");
    Failed { answer: error_answer(line, log.clone()), log, is_raised: false }
}

pub fn error_answer<'py>(line: String, trace: String) -> Answer<'py> {
    let text = match ERROR_DETAIL.get() {
        Some(ErrorDetail::None) => "the function failed".to_owned(),
        Some(ErrorDetail::Traceback) => trace,
        _ => line,
    };
    Answer::error(text.into_bytes())
}

fn send<'py>(
    link: &Link,
    turn: Turn,
    event: Bound<'py, Event>,
    answer: &Answer<'py>,
) -> Result<bool, ShimError> {
    let py = event.py();
    let (hold, released) = let_go(link, turn, event);
    let reply = |body: ReplyBody<'_>, may_detach| {
        link.reply(py, turn, &reply_of(answer, body), released, may_detach)
    };
    let poll_again = match &answer.body {
        Content::Text(text) => {
            // It was encoded once before, so it can be.
            reply(ReplyBody::Bytes(text.to_str().unwrap_or_default().as_bytes()), true)
        }
        Content::Bytes(bytes) => reply(ReplyBody::Bytes(bytes.as_bytes()), true),
        Content::Made(bytes) => reply(ReplyBody::Bytes(bytes), true),
        // Sent by `stream`, never whole.
        Content::Pieces(_) => reply(ReplyBody::Bytes(b""), false),
        Content::InEvent(offset, bytes) => {
            reply(ReplyBody::InEvent { offset: *offset, bytes: *bytes }, false)
        }
        // Its owner may write it as soon as other Python code runs.
        Content::Buffer(view) => {
            buffer::with_bytes(view, |bytes| reply(ReplyBody::Bytes(bytes), false))
                .unwrap_or_else(|| reply(ReplyBody::Bytes(b""), false))
        }
    }?;
    if !released && let Some(hold) = hold {
        hold.outlive_answer();
    }
    Ok(poll_again)
}

/// Ends our own hold on an event right before its answer; true if the slot can go back with it.
/// Otherwise the hold must outlive the answer.
#[inline]
pub fn let_go(link: &Link, turn: Turn, event: Bound<'_, Event>) -> (Option<Arc<Hold>>, bool) {
    let py = event.py();
    // Somebody kept the event: it must not need the slot any more.
    if buffer::references(event.as_any()) > 1 && event.get().escape(py).is_err() {
        let text = b"no memory for the body of an event that the handler kept: it reads as empty";
        link.log(Level::Error, Origin::Logger, turn.claim, text, b"");
    }
    let hold = event.get().hold();
    drop(event);
    let released = hold.as_ref().is_none_or(|hold| hold.end_with_answer());
    (hold, released)
}

pub fn reply_of<'a>(answer: &'a Answer<'_>, body: ReplyBody<'a>) -> Reply<'a> {
    Reply {
        status: answer.status,
        outcome: answer.outcome,
        content_type: answer.content_type,
        head: &answer.head,
        body,
        retry_after_ns: answer.retry_after_ns,
    }
}

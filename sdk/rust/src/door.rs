//! Between the C door of a library and safe Rust. The only file of this crate with unsafe code.
//!
//! What every block rests on: the worker calls with a context, an event and a response that are
//! good until the call returns, and the bytes that its functions give are good as long. The
//! lifetimes of `Raw` and `RawContext` are those of the call, and neither can leave its thread.

use std::any::Any;
use std::cell::RefCell;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use crate::abi::{self, Api, Bytes, HeaderLine, Numbers};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::reply::{Body, IntoReply, Response};

/// Level and origin of the record about a failed event.
const LEVEL_ERROR: u8 = 3;
const ORIGIN_TRACEBACK: u8 = 3;

/// An event and the functions to ask it.
#[derive(Debug, Clone, Copy)]
pub struct Raw<'a> {
    event: &'a abi::Event,
    api: &'a Api,
}

/// A context and the functions to ask it.
#[derive(Debug, Clone, Copy)]
pub struct RawContext<'a> {
    context: &'a abi::Context,
    api: &'a Api,
}

fn slice<'a>(bytes: Bytes) -> &'a [u8] {
    if bytes.length == 0 {
        return &[];
    }
    // SAFETY: the worker's bytes, good until the call returns, see the module; the callers tie them
    // to that lifetime.
    unsafe { std::slice::from_raw_parts(bytes.data, bytes.length) }
}

impl<'a> Raw<'a> {
    pub fn text(self, field: u32) -> &'a [u8] {
        let mut out = Bytes::EMPTY;
        (self.api.text)(self.event, field, &mut out);
        slice(out)
    }

    pub fn numbers(self) -> Numbers {
        let mut out = Numbers::default();
        (self.api.numbers)(self.event, &mut out);
        out
    }

    pub fn header(self, index: u32) -> Option<(&'a [u8], &'a [u8])> {
        let (mut name, mut value) = (Bytes::EMPTY, Bytes::EMPTY);
        let found = (self.api.header)(self.event, index, &mut name, &mut value);
        (found == abi::NUCLIO_HANDLER_OK).then(|| (slice(name), slice(value)))
    }

    pub fn header_named(self, name: &str) -> Option<&'a [u8]> {
        let mut value = Bytes::EMPTY;
        let found = (self.api.header_named)(self.event, Bytes::of(name.as_bytes()), &mut value);
        (found == abi::NUCLIO_HANDLER_OK).then(|| slice(value))
    }

    pub fn body(self) -> &'a [u8] {
        let mut out = Bytes::EMPTY;
        (self.api.body)(self.event, &mut out);
        slice(out)
    }

    pub fn is_cancelled(self) -> bool {
        (self.api.is_cancelled)(self.event) != 0
    }

    pub fn time_left_ns(self) -> i64 {
        (self.api.time_left_ns)(self.event)
    }
}

impl<'a> RawContext<'a> {
    pub fn told(self, name: &str) -> Option<&'a str> {
        let mut out = Bytes::EMPTY;
        let found = (self.api.told)(Bytes::of(name.as_bytes()), &mut out);
        if found != abi::NUCLIO_HANDLER_OK {
            return None;
        }
        std::str::from_utf8(slice(out)).ok()
    }

    pub fn worker_id(self) -> u32 {
        self.context.worker_id
    }

    pub fn wanted_level(self) -> u32 {
        (self.api.wanted_level)()
    }

    pub fn log(self, level: u8, origin: u8, message: Bytes, fields: Bytes) {
        (self.api.log)(level, origin, message, fields);
    }
}

/// What an answer points to, until it has been sent.
struct Owner {
    reply: Response,
    lines: Vec<HeaderLine>,
}

extern "C" fn release(owner: *mut c_void) {
    // SAFETY: made by `give` and released once, as `abi::Response` says.
    drop(unsafe { Box::from_raw(owner.cast::<Owner>()) });
}

/// The context of a call.
fn context_of<'a>(context: *const abi::Context) -> Context<'a> {
    // SAFETY: good until the call returns, see the module.
    let context = unsafe { &*context };
    // SAFETY: the worker's table lives as long as the worker.
    let api = unsafe { &*context.api };
    Context { raw: RawContext { context, api } }
}

/// The event of a call.
#[inline]
fn event_of<'a>(event: *const abi::Event, context: &Context<'a>) -> Event<'a> {
    // SAFETY: good until the call returns, see the module.
    Event { raw: Raw { event: unsafe { &*event }, api: context.raw.api } }
}

/// Writes an answer to its place.
fn put(to: *mut abi::Response, answer: abi::Response) {
    // SAFETY: good until the call returns, see the module.
    unsafe { to.write(answer) };
}

/// What `nuclio_handle` does.
#[inline]
pub fn handle<R: IntoReply>(
    context: *const abi::Context,
    event: *const abi::Event,
    response: *mut abi::Response,
    handler: impl Fn(&Context<'_>, Event<'_>) -> R,
) -> i32 {
    hear_panics();
    let context = context_of(context);
    let event = event_of(event, &context);
    let called = catch_unwind(AssertUnwindSafe(|| handler(&context, event).into_reply()));
    let (reply, trace) = match called {
        Ok(Ok(reply)) => match give(event, reply) {
            Ok(answer) => {
                put(response, answer);
                return 0;
            }
            Err(error) => (error, None),
        },
        Ok(Err(error)) => (error, None),
        Err(panic) => {
            let (words, place) = words_of(&*panic);
            (Error::new(&words), Some(format!("panicked{place}: {words}")))
        }
    };
    fail(&context, response, reply, trace)
}

/// An answer for the worker; small ones without headers own nothing and cost no memory.
#[inline]
fn give(event: Event<'_>, reply: Response) -> Result<abi::Response> {
    let mut answer = abi::Response {
        status: reply.status,
        content_type: reply.content_type,
        ..abi::Response::OK
    };
    match &reply.body {
        Body::Bytes(bytes) => answer.body = Bytes::of(bytes),
        Body::PartOfEvent(range) => {
            let body = event.body();
            let part = body.get(range.clone()).ok_or_else(|| {
                let (start, end) = (range.start, range.end);
                Error::new(format!("no part {start}..{end} in a body of {} bytes", body.len()))
            })?;
            answer.body = Bytes::of(part);
        }
    }
    let owns_body = matches!(&reply.body, Body::Bytes(std::borrow::Cow::Owned(_)));
    if owns_body || !reply.headers.is_empty() {
        let lines = reply.headers.iter().map(|(name, value)| HeaderLine {
            name: Bytes::of(name.as_bytes()),
            value: Bytes::of(value),
        });
        // Moving the reply into its box moves neither the body's nor the headers' bytes.
        let lines: Vec<HeaderLine> = lines.collect();
        let owner = Box::new(Owner { lines, reply });
        answer.header_count = owner.lines.len();
        answer.headers = owner.lines.as_ptr();
        answer.owner = Box::into_raw(owner).cast();
        answer.release = Some(release);
    }
    Ok(answer)
}

#[cold]
fn fail(
    context: &Context<'_>,
    response: *mut abi::Response,
    error: Error,
    trace: Option<String>,
) -> i32 {
    let trace = trace.as_deref().unwrap_or(&error.text);
    if error.is_failure() {
        let words = Bytes::of(trace.as_bytes());
        context.raw.log(LEVEL_ERROR, ORIGIN_TRACEBACK, words, Bytes::EMPTY);
    }
    let mut reply = Response::text(error.text).with_status(error.status);
    if error.retry_after_ns > 0 {
        let seconds = error.retry_after_ns.div_ceil(1_000_000_000).to_string();
        reply = reply.with_header("Retry-After", seconds);
    }
    let lines: Vec<HeaderLine> = Vec::new();
    let mut owner = Box::new(Owner { lines, reply });
    let lines = owner.reply.headers.iter().map(|(name, value)| HeaderLine {
        name: Bytes::of(name.as_bytes()),
        value: Bytes::of(value),
    });
    owner.lines = lines.collect();
    let Body::Bytes(body) = &owner.reply.body else { return 1 };
    let answer = abi::Response {
        status: owner.reply.status,
        outcome: error.outcome,
        content_type: owner.reply.content_type,
        header_count: owner.lines.len(),
        headers: owner.lines.as_ptr(),
        body: Bytes::of(body),
        retry_after_ns: error.retry_after_ns,
        release: Some(release),
        ..abi::Response::OK
    };
    put(response, abi::Response { owner: Box::into_raw(owner).cast(), ..answer });
    0
}

/// What `nuclio_init` does.
pub fn init<E: Into<Error>>(
    context: *const abi::Context,
    problem: *mut abi::Response,
    init: impl Fn(&Context<'_>) -> Result<(), E>,
) -> i32 {
    hear_panics();
    let context = context_of(context);
    let text = match catch_unwind(AssertUnwindSafe(|| init(&context))) {
        Ok(Ok(())) => return 0,
        Ok(Err(error)) => error.into().text,
        Err(panic) => {
            let (words, place) = words_of(&*panic);
            format!("panicked{place}: {words}")
        }
    };
    let owner = Box::new(Owner { reply: Response::text(text), lines: Vec::new() });
    if let Body::Bytes(body) = &owner.reply.body {
        let body = Bytes::of(body);
        let owner = Box::into_raw(owner).cast();
        put(problem, abi::Response { body, owner, release: Some(release), ..abi::Response::OK });
    }
    1
}

thread_local! {
    /// Where the last panic of this thread came from.
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Panics of handlers are told in the log with their place, not on standard error.
#[inline]
fn hear_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        let thread = std::thread::current().id();
        std::panic::set_hook(Box::new(move |info| {
            if std::thread::current().id() != thread {
                return before(info);
            }
            let place = info.location().map(|place| format!(" at {place}")).unwrap_or_default();
            PLACE.with(|last| *last.borrow_mut() = place);
        }));
    });
}

fn words_of(panic: &(dyn Any + Send)) -> (String, String) {
    let words = if let Some(words) = panic.downcast_ref::<&str>() {
        (*words).to_owned()
    } else {
        panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "a value without words".into())
    };
    (words, PLACE.with(|place| std::mem::take(&mut *place.borrow_mut())))
}

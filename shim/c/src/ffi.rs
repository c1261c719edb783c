//! The functions of `nuclio.h`. The only file of this crate with unsafe code.
//!
//! What every block below rests on is said in the header, as the caller's part: a pointer is null
//! or points to what its type says, for as long as the call lasts; handles came from here and have
//! not been given back; one thread at a time uses a worker and its events. Null is answered with
//! NUCLIO_INVALID wherever it has no meaning.

use std::cell::OnceCell;
use std::ffi::{CStr, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

use shim::abi::{ABI_MAJOR, ABI_MINOR};
use shim::{Body, HeadBlock, Level, Origin, ReplyBody, ShimError, header_fault, id_of};

use crate::forms::*;
use crate::last_error;

/// Runs one function of the header: what goes wrong inside becomes a number and a text.
fn guard(call: impl FnOnce() -> Result<i32, Trouble>) -> i32 {
    let (code, text) = match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(code)) => return code,
        Ok(Err(trouble)) => trouble.told(),
        Err(_) => (NUCLIO_PANIC, "libnuclio has failed; its words are on standard error".into()),
    };
    last_error::set(&text);
    code
}

enum Trouble {
    Invalid(&'static str),
    Shim(ShimError),
}

impl Trouble {
    fn told(self) -> (i32, String) {
        match self {
            Self::Invalid(what) => (NUCLIO_INVALID, what.to_owned()),
            Self::Shim(error @ ShimError::ProcessorGone) => (NUCLIO_GONE, error.to_string()),
            Self::Shim(error) => (NUCLIO_FAILED, error.to_string()),
        }
    }
}

impl From<ShimError> for Trouble {
    fn from(error: ShimError) -> Self {
        Self::Shim(error)
    }
}

/// What a pointer points to, for the length of a call.
fn at<'a, T>(pointer: *const T, what: &'static str) -> Result<&'a T, Trouble> {
    // SAFETY: see the module; no one changes it meanwhile.
    unsafe { pointer.as_ref() }.ok_or(Trouble::Invalid(what))
}

fn at_mut<'a, T>(pointer: *mut T, what: &'static str) -> Result<&'a mut T, Trouble> {
    // SAFETY: see the module; a worker is used by one thread, and what is written belongs to the
    // caller.
    unsafe { pointer.as_mut() }.ok_or(Trouble::Invalid(what))
}

/// What was handed out by its pointer comes back.
fn taken<T>(pointer: *mut T) -> Box<T> {
    // SAFETY: made by Box::into_raw here and not given back before, see the module.
    unsafe { Box::from_raw(pointer) }
}

/// A result's place, which may be uninitialised: it is written and never read or dropped.
fn put<T>(to: *mut T, value: T) -> Result<i32, Trouble> {
    if to.is_null() {
        return Err(Trouble::Invalid("the place for the result is null"));
    }
    // SAFETY: not null, so it has room for a T, see the module.
    unsafe { to.write(value) };
    Ok(NUCLIO_OK)
}

fn many<'a, T>(data: *const T, count: usize) -> Result<&'a [T], Trouble> {
    if count == 0 {
        return Ok(&[]);
    }
    if data.is_null() || count > isize::MAX as usize / size_of::<T>().max(1) {
        return Err(Trouble::Invalid(
            "a null pointer with a length, or a length beyond all memory",
        ));
    }
    // SAFETY: not null and of a possible length, so it points to so many, see the module.
    Ok(unsafe { std::slice::from_raw_parts(data, count) })
}

fn text<'a>(pointer: *const c_char, what: &'static str) -> Result<&'a str, Trouble> {
    if pointer.is_null() {
        return Err(Trouble::Invalid(what));
    }
    // SAFETY: not null, so it is a string that ends with zero, see the module.
    unsafe { CStr::from_ptr(pointer) }.to_str().map_err(|_| Trouble::Invalid("a name is not UTF-8"))
}

impl Bytes {
    fn of(bytes: &[u8]) -> Self {
        Self { data: bytes.as_ptr(), length: bytes.len() }
    }

    fn get(&self) -> Result<&[u8], Trouble> {
        many(self.data, self.length)
    }
}

/// Version of the protocol: major << 16 | minor. A header with another major version does not fit.
#[unsafe(no_mangle)]
pub extern "C" fn nuclio_abi_version() -> u32 {
    u32::from(ABI_MAJOR) << 16 | u32::from(ABI_MINOR)
}

/// What the last error of this thread was, in words; never null, good until the next error.
#[unsafe(no_mangle)]
pub extern "C" fn nuclio_last_error() -> *const c_char {
    last_error::pointer()
}

/// Attaches to the processor that started this process. `runtime` is the language, `version` its
/// version. On NUCLIO_OK `*worker` is the connection, one a process.
#[unsafe(no_mangle)]
pub extern "C" fn nuclio_attach(
    runtime: *const c_char,
    version: *const c_char,
    worker: *mut *mut Worker,
) -> i32 {
    guard(|| {
        let runtime = text(runtime, "runtime is null")?;
        let version = text(version, "version is null")?;
        at(worker, "worker is null")?;
        let (inner, offer) = shim::Worker::attach(runtime, version)?;
        let numbers = [
            offer.worker_id.to_string(),
            offer.max_inflight.to_string(),
            offer.event_timeout_ns.to_string(),
            offer.log_level.to_string(),
        ];
        put(worker, Box::into_raw(Box::new(Worker { inner, offer, numbers })))
    })
}

/// Ends the connection; null is nothing. Events must have been given back.
#[unsafe(no_mangle)]
pub extern "C" fn nuclio_detach(worker: *mut Worker) {
    guard(|| {
        if !worker.is_null() {
            drop(taken(worker));
        }
        Ok(NUCLIO_OK)
    });
}

/// What the processor told about the function, by name: `function`, `namespace`, `version`,
/// `description`, `handler`, `code_path`, `worker_id`, `max_inflight`, `event_timeout_ns`,
/// `log_level`, `trigger.N.kind`, `trigger.N.name`, and `settings.NAME`. NUCLIO_NONE if it is not
/// there. The bytes stay until nuclio_detach.
#[unsafe(no_mangle)]
pub extern "C" fn nuclio_offer(worker: *const Worker, name: *const c_char, out: *mut Bytes) -> i32 {
    guard(|| {
        let worker = at(worker, "worker is null")?;
        match told(worker, text(name, "name is null")?) {
            Some(value) => put(out, Bytes::of(value.as_bytes())),
            None => put(out, Bytes::of(b"")).map(|_| NUCLIO_NONE),
        }
    })
}

fn told<'a>(worker: &'a Worker, name: &str) -> Option<&'a str> {
    let offer = &worker.offer;
    Some(match name {
        "function" => &offer.function,
        "namespace" => &offer.namespace,
        "version" => &offer.version,
        "description" => &offer.description,
        "handler" => &offer.handler,
        "code_path" => &offer.code_path,
        "worker_id" => &worker.numbers[0],
        "max_inflight" => &worker.numbers[1],
        "event_timeout_ns" => &worker.numbers[2],
        "log_level" => &worker.numbers[3],
        _ => {
            if let Some(name) = name.strip_prefix("settings.") {
                return offer.settings.get(name).map(String::as_str);
            }
            let (number, part) = name.strip_prefix("trigger.")?.split_once('.')?;
            let number: u16 = number.parse().ok()?;
            let trigger = offer.triggers.iter().find(|trigger| trigger.id == number)?;
            match part {
                "kind" => &trigger.kind,
                "name" => &trigger.name,
                _ => return None,
            }
        }
    })
}

/// The user's code is loaded: events may come, at most `concurrency` at once.
#[unsafe(no_mangle)]
pub extern "C" fn nuclio_ready(worker: *mut Worker, concurrency: u32) -> i32 {
    guard(|| {
        at_mut(worker, "worker is null")?.inner.ready(concurrency.max(1))?;
        Ok(NUCLIO_OK)
    })
}

/// The user's code cannot be loaded; `usage` = 1 if it cannot be a function as it stands, 0 if it
/// ran and failed. Poll on until STOP: the processor ends the process.
#[unsafe(no_mangle)]
pub extern "C" fn nuclio_init_failed(
    worker: *mut Worker,
    usage: i32,
    text: *const u8,
    length: usize,
) -> i32 {
    guard(|| {
        let text = String::from_utf8_lossy(many(text, length)?);
        at_mut(worker, "worker is null")?.inner.init_failed(usage != 0, &text)?;
        Ok(NUCLIO_OK)
    })
}

/// The next thing to do, in `*down`; NUCLIO_NONE if there is nothing now.
#[unsafe(no_mangle)]
pub extern "C" fn nuclio_poll(worker: *mut Worker, down: *mut Down) -> i32 {
    guard(|| {
        let worker = at_mut(worker, "worker is null")?;
        if down.is_null() {
            return Err(Trouble::Invalid("the place for the result is null"));
        }
        let Some(next) = worker.inner.poll_each()? else { return Ok(NUCLIO_NONE) };
        let (batch, more) = worker.inner.batch_at_hand();
        let mut out = Down { batch: batch as u32, more: more as u32, ..Down::default() };
        match next {
            shim::Down::Event(inner) => {
                out.kind = NUCLIO_DOWN_EVENT;
                out.claim = inner.claim();
                out.trigger = u32::from(inner.trigger());
                let (id, gathered) = (OnceCell::new(), OnceCell::new());
                out.event = Box::into_raw(Box::new(Event { inner, id, gathered }));
            }
            shim::Down::Cancel { claim } => (out.kind, out.claim) = (NUCLIO_DOWN_CANCEL, claim),
            shim::Down::Drain { trigger } => {
                (out.kind, out.trigger) = (NUCLIO_DOWN_DRAIN, u32::from(trigger));
            }
            shim::Down::Stop => out.kind = NUCLIO_DOWN_STOP,
            // Split by `poll_each`.
            shim::Down::Batch(_) => return Err(ShimError::Protocol("a batch in a batch").into()),
        }
        put(down, out)
    })
}

/// Says that the worker will sleep: NUCLIO_OK if it may, NUCLIO_NONE if it must poll again.
#[unsafe(no_mangle)]
pub extern "C" fn nuclio_arm(worker: *mut Worker) -> i32 {
    guard(|| {
        let may = at_mut(worker, "worker is null")?.inner.arm();
        Ok(if may { NUCLIO_OK } else { NUCLIO_NONE })
    })
}

/// Sleeps until the bell rings; only after nuclio_arm has said NUCLIO_OK. NUCLIO_GONE when the
/// processor is gone.
#[unsafe(no_mangle)]
pub extern "C" fn nuclio_sleep(worker: *mut Worker) -> i32 {
    guard(|| {
        if at_mut(worker, "worker is null")?.inner.sleep()? {
            Ok(NUCLIO_OK)
        } else {
            Err(ShimError::ProcessorGone.into())
        }
    })
}

/// The bell's descriptor, for an event loop that waits by itself: poll and arm behind everything you
/// did, wait until it is readable, then call nuclio_take_ring. Negative for an error.
#[unsafe(no_mangle)]
pub extern "C" fn nuclio_bell(worker: *const Worker) -> i32 {
    guard(|| Ok(at(worker, "worker is null")?.inner.watch_bell()?))
}

/// Reads the bell of nuclio_bell after it was readable; never waits, since a large reply may have
/// read it meanwhile. NUCLIO_GONE when the processor is gone.
#[unsafe(no_mangle)]
pub extern "C" fn nuclio_take_ring(worker: *mut Worker) -> i32 {
    guard(|| {
        if at_mut(worker, "worker is null")?.inner.take_ring()? {
            Ok(NUCLIO_OK)
        } else {
            Err(ShimError::ProcessorGone.into())
        }
    })
}

/// The numbers of an event.
#[unsafe(no_mangle)]
pub extern "C" fn nuclio_event_numbers(event: *const Event, out: *mut EventHead) -> i32 {
    guard(|| {
        let event = &at(event, "event is null")?.inner;
        let header = event.header();
        let head = EventHead {
            claim: event.claim(),
            deadline_ns: event.deadline_ns(),
            timestamp_ns: header.timestamp_ns,
            offset: header.offset,
            body_bytes: event.body_bytes() as u64,
            partition: header.partition,
            shard: header.shard,
            header_count: u32::from(header.header_count),
            attempt: event.attempt(),
            trigger: event.trigger(),
            kind: header.kind,
            wanted_level: event.wanted_log_level().unwrap_or(u8::MAX),
        };
        put(out, head)
    })
}

/// One text of an event, NUCLIO_FIELD_...; NUCLIO_NONE and no bytes if the event has none. All bytes
/// of an event stay until it is given back.
#[unsafe(no_mangle)]
pub extern "C" fn nuclio_event_text(event: *const Event, field: u32, out: *mut Bytes) -> i32 {
    guard(|| {
        let event = at(event, "event is null")?;
        let (view, header) = (event.inner.view(), event.inner.header());
        let bytes = match field {
            NUCLIO_FIELD_ID => event.id.get_or_init(|| id_of(view)).as_bytes(),
            NUCLIO_FIELD_METHOD => event.inner.method(),
            NUCLIO_FIELD_PATH => view.get(header.path),
            NUCLIO_FIELD_QUERY => view.get(header.query),
            NUCLIO_FIELD_CONTENT_TYPE => view.get(header.content_type),
            NUCLIO_FIELD_KEY => view.get(header.key),
            NUCLIO_FIELD_TOPIC => view.get(header.topic),
            NUCLIO_FIELD_TRACEPARENT => view.get(header.traceparent),
            _ => return Err(Trouble::Invalid("no such field; NUCLIO_FIELD_... lists them")),
        };
        put(out, Bytes::of(bytes))?;
        Ok(if bytes.is_empty() { NUCLIO_NONE } else { NUCLIO_OK })
    })
}

/// Name and value of header line `index`, in the order they came; NUCLIO_NONE behind the last.
#[unsafe(no_mangle)]
pub extern "C" fn nuclio_event_header(
    event: *const Event,
    index: u32,
    name: *mut Bytes,
    value: *mut Bytes,
) -> i32 {
    guard(|| {
        let event = at(event, "event is null")?;
        let Some(line) = event.inner.view().lines().nth(index as usize) else {
            return Ok(NUCLIO_NONE);
        };
        put(name, Bytes::of(line.0))?;
        put(value, Bytes::of(line.1))
    })
}

/// The first value of the header with this name, in any case; NUCLIO_NONE if there is none.
#[unsafe(no_mangle)]
pub extern "C" fn nuclio_event_header_named(
    event: *const Event,
    name: *const c_char,
    value: *mut Bytes,
) -> i32 {
    guard(|| {
        let event = at(event, "event is null")?;
        match event.inner.header_value(text(name, "name is null")?.as_bytes()) {
            Some(bytes) => put(value, Bytes::of(bytes)),
            None => Ok(NUCLIO_NONE),
        }
    })
}

/// The whole body. Nearly always where it lies in shared memory; gathered once if it is in pieces.
#[unsafe(no_mangle)]
pub extern "C" fn nuclio_event_body(event: *const Event, out: *mut Bytes) -> i32 {
    guard(|| {
        let event = at(event, "event is null")?;
        let bytes = match event.inner.body_range() {
            Some(range) => range,
            None => event.gathered.get_or_init(|| event.inner.body().to_vec()),
        };
        put(out, Bytes::of(bytes))
    })
}

/// Piece `index` of the body, where it lies; NUCLIO_NONE behind the last.
#[unsafe(no_mangle)]
pub extern "C" fn nuclio_event_body_piece(event: *const Event, index: u32, out: *mut Bytes) -> i32 {
    guard(|| {
        let event = at(event, "event is null")?;
        let piece = match event.inner.body() {
            Body::Whole(bytes) => (index == 0 && !bytes.is_empty()).then_some(bytes),
            Body::Pieces(pieces) => pieces.get(index as usize).copied(),
        };
        match piece {
            Some(bytes) => put(out, Bytes::of(bytes)),
            None => Ok(NUCLIO_NONE),
        }
    })
}

/// Answers an event. Unless `keep` is set the event is gone afterwards, whatever the result is but
/// NUCLIO_INVALID. May wait until the processor gives memory for a large body.
#[unsafe(no_mangle)]
pub extern "C" fn nuclio_reply(worker: *mut Worker, event: *mut Event, reply: *const Reply) -> i32 {
    guard(|| {
        let worker = at_mut(worker, "worker is null")?;
        let held = &at(event, "event is null")?.inner;
        let form = at(reply, "reply is null")?;
        let head = head_of(form)?;
        let body = form.body.get()?;
        let body = match held.place_in_body(body) {
            Some((offset, bytes)) => ReplyBody::InEvent { offset, bytes },
            None => ReplyBody::Bytes(body),
        };
        let answer = answer_of(form, &head, body)?;
        let released = form.keep == 0;
        let sent = worker.inner.reply_begun(held.claim(), held.begun_ns(), &answer, released);
        if released {
            drop(taken(event));
        }
        sent?;
        Ok(NUCLIO_OK)
    })
}

fn answer_of<'a>(
    form: &Reply,
    head: &'a HeadBlock,
    body: ReplyBody<'a>,
) -> Result<shim::Reply<'a>, Trouble> {
    let Reply { status, outcome, content_type, retry_after_ns, .. } = *form;
    if !(100..=599).contains(&status) && status != 0 {
        return Err(Trouble::Invalid("a status is 100 to 599"));
    }
    if !(NUCLIO_OUTCOME_OK..=NUCLIO_OUTCOME_REJECT).contains(&outcome)
        || content_type > NUCLIO_CONTENT_HTML
    {
        return Err(Trouble::Invalid("no such outcome or content type"));
    }
    Ok(shim::Reply { status, outcome, content_type, head, body, retry_after_ns })
}

fn head_of(form: &Reply) -> Result<HeadBlock, Trouble> {
    let mut head = HeadBlock::new();
    for line in many(form.headers, form.header_count)? {
        let (name, value) = (line.name.get()?, line.value.get()?);
        if let Some(fault) = header_fault(name, value) {
            return Err(Trouble::Invalid(fault));
        }
        if !head.push(name, value) {
            return Err(Trouble::Invalid("the headers of a reply are larger than 16 KiB"));
        }
    }
    Ok(head)
}

/// Begins an answer whose length is not known; its body is not looked at. NUCLIO_NONE if there is no
/// room: nuclio_take_controls, and once more. As with nuclio_reply the event is then gone, unless
/// `keep` is set; pieces and the end go by its claim.
#[unsafe(no_mangle)]
pub extern "C" fn nuclio_stream_begin(
    worker: *mut Worker,
    event: *mut Event,
    reply: *const Reply,
) -> i32 {
    guard(|| {
        let worker = at_mut(worker, "worker is null")?;
        let held = &at(event, "event is null")?.inner;
        let form = at(reply, "reply is null")?;
        let head = head_of(form)?;
        let answer = answer_of(form, &head, ReplyBody::Bytes(&[]))?;
        let (claim, begun_ns, released) = (held.claim(), held.begun_ns(), form.keep == 0);
        if !worker.inner.begin_stream(claim, begun_ns, &answer, released)? {
            return Ok(NUCLIO_NONE);
        }
        if released {
            drop(taken(event));
        }
        Ok(NUCLIO_OK)
    })
}

/// Sends what there is room for of `piece`; `*sent` = how many bytes that was. NUCLIO_NONE if it was
/// none: nuclio_take_controls, and once more. A client that has left is told by
/// nuclio_is_cancelled.
#[unsafe(no_mangle)]
pub extern "C" fn nuclio_stream_piece(
    worker: *mut Worker,
    claim: u64,
    piece: *const Bytes,
    sent: *mut usize,
) -> i32 {
    guard(|| {
        let worker = at_mut(worker, "worker is null")?;
        let piece = at(piece, "piece is null")?.get()?;
        at(sent, "the place for the result is null")?;
        let taken = worker.inner.try_piece(claim, piece)?;
        put(sent, taken)?;
        Ok(if taken == 0 && !piece.is_empty() { NUCLIO_NONE } else { NUCLIO_OK })
    })
}

/// Ends an answer in pieces; `broken` = 1 if the client must not take it for whole.
#[unsafe(no_mangle)]
pub extern "C" fn nuclio_stream_end(worker: *mut Worker, claim: u64, broken: i32) -> i32 {
    guard(|| {
        at_mut(worker, "worker is null")?.inner.end_stream(claim, broken != 0)?;
        Ok(NUCLIO_OK)
    })
}

/// For a stream that must wait: works off what has come down but events, which nuclio_poll gives
/// later. NUCLIO_OK if there was something; NUCLIO_NONE if the bell must be waited for, by
/// nuclio_sleep or by an event loop and nuclio_take_ring.
#[unsafe(no_mangle)]
pub extern "C" fn nuclio_take_controls(worker: *mut Worker) -> i32 {
    guard(|| {
        let must_wait = at_mut(worker, "worker is null")?.inner.take_controls()?;
        Ok(if must_wait { NUCLIO_NONE } else { NUCLIO_OK })
    })
}

/// Gives an event back that was answered with `keep`.
#[unsafe(no_mangle)]
pub extern "C" fn nuclio_release(worker: *mut Worker, event: *mut Event) -> i32 {
    guard(|| {
        let worker = at_mut(worker, "worker is null")?;
        at(event, "event is null")?;
        worker.inner.release(taken(event).inner)?;
        Ok(NUCLIO_OK)
    })
}

/// Writes a log record of the event `claim` (0 = none); `fields` is the text of a JSON object, or
/// empty. Never waits: without room the record is dropped and counted.
#[unsafe(no_mangle)]
pub extern "C" fn nuclio_log(
    worker: *mut Worker,
    level: u8,
    origin: u8,
    claim: u64,
    message: *const Bytes,
    fields: *const Bytes,
) -> i32 {
    guard(|| {
        let worker = at_mut(worker, "worker is null")?;
        let level = [Level::Debug, Level::Info, Level::Warn, Level::Error]
            .into_iter()
            .find(|known| *known as u8 == level)
            .ok_or(Trouble::Invalid("no such level"))?;
        let origin = [Origin::Logger, Origin::Stdout, Origin::Stderr, Origin::Traceback]
            .into_iter()
            .find(|known| *known as u8 == origin)
            .ok_or(Trouble::Invalid("no such origin"))?;
        let message = at(message, "message is null")?.get()?;
        let fields = if fields.is_null() { &[] } else { at(fields, "")?.get()? };
        worker.inner.log(level, origin, claim, message, fields);
        Ok(NUCLIO_OK)
    })
}

/// 1 if the processor no longer waits for this event, 0 if it does.
#[unsafe(no_mangle)]
pub extern "C" fn nuclio_is_cancelled(worker: *const Worker, claim: u64) -> i32 {
    guard(|| Ok(i32::from(at(worker, "worker is null")?.inner.is_cancelled(claim))))
}

/// Says that the drain callback of a trigger has run.
#[unsafe(no_mangle)]
pub extern "C" fn nuclio_drained(worker: *mut Worker, trigger: u32) -> i32 {
    guard(|| {
        let trigger = u16::try_from(trigger).map_err(|_| Trouble::Invalid("no such trigger"))?;
        at_mut(worker, "worker is null")?.inner.drained(trigger)?;
        Ok(NUCLIO_OK)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_does_not_leave_a_function() {
        assert_eq!(guard(|| panic!("on purpose")), NUCLIO_PANIC);
        // SAFETY: a string that ends with zero, by `last_error`.
        let told = unsafe { CStr::from_ptr(nuclio_last_error()) };
        assert!(told.to_str().unwrap().contains("has failed"));
    }
}

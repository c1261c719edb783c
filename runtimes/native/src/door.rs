//! Loads a library and calls it; answers what it asks. The only file of this crate with unsafe code.
//!
//! What every block rests on: a library exports what `nuclio_handler.h` says, and calls back with
//! the pointers that it was given, during the call, on its thread. A library that breaks this is a
//! broken worker: it costs this process, which holds nothing of anybody else.

use std::cell::OnceCell;
use std::ffi::c_void;
use std::path::Path;

use libloading::os::unix::{Library as Loaded, RTLD_LOCAL, RTLD_NOW};
use nuclio_sdk::abi::{self, Api, Bytes, HeaderLine, NUCLIO_HANDLER_NONE, NUCLIO_HANDLER_OK};
use shim::{Level, Offer, Origin};

use crate::{Refusal, state};

/// What a library exports unless the handler setting names another.
const HANDLE: &str = "nuclio_handle";
/// Names of the handler setting that mean the default.
const DEFAULT_NAMES: [&str; 3] = ["", "handler", HANDLE];

/// A loaded library; never unloaded, since its code may leave threads behind.
pub struct Library {
    handle: abi::Handle,
    init: Option<abi::Init>,
}

/// The one context of this process.
#[derive(Clone, Copy)]
pub struct Context(*mut abi::Context);

/// An event while its handler looks at it.
pub struct Hold {
    pub event: shim::Event,
    id: OnceCell<String>,
    gathered: OnceCell<Vec<u8>>,
}

impl Hold {
    pub fn of(event: shim::Event) -> Self {
        Self { event, id: OnceCell::new(), gathered: OnceCell::new() }
    }
}

impl Library {
    /// Loads a library and finds its functions. `code` is what the user named; `handler` is the
    /// setting: FUNCTION or FILE:FUNCTION.
    pub fn open(file: &Path, code: &Path, handler: &str) -> Result<Self, Refusal> {
        let shown = code.display();
        // SAFETY: runs the library's initialisers, which is what serving it means, see the module.
        let library = unsafe { Loaded::open(Some(file), RTLD_NOW | RTLD_LOCAL) };
        let library = library.map_err(|error| {
            Refusal::usage(format!("{shown} cannot be loaded as a shared library: {}", of(&error)))
        })?;
        // SAFETY: each is exported with the type of the header, see the module.
        let (version, init, handle) = unsafe {
            (
                library.get::<abi::HandlerAbi>(b"nuclio_handler_abi").map(|symbol| *symbol).ok(),
                library.get::<abi::Init>(b"nuclio_init").map(|symbol| *symbol).ok(),
                library
                    .get::<abi::Handle>(symbol_of(handler).as_bytes())
                    .map(|symbol| *symbol)
                    .ok(),
            )
        };
        std::mem::forget(library);
        let theirs = version.map_or(abi::ABI, |version| version());
        if theirs >> 16 != abi::ABI >> 16 {
            return Err(Refusal::usage(format!(
                "{shown} was built for version {}.x of the handler interface, this runtime has \
                 {}.x; build it anew",
                theirs >> 16,
                abi::ABI >> 16
            )));
        }
        let Some(handle) = handle else {
            return Err(Refusal::usage(format!(
                "{shown} exports no function {}; export it as nuclio_handler.h says, in Rust by \
                 #[handler] above a function",
                symbol_of(handler)
            )));
        };
        Ok(Self { handle, init })
    }

    /// Runs the library's `nuclio_init`, if it has one.
    pub fn init(&self, context: Context) -> Result<(), Refusal> {
        let Some(init) = self.init else { return Ok(()) };
        let mut problem = abi::Response::OK;
        let code = init(context.0, &mut problem);
        let words = bytes_of(problem.body).unwrap_or_default();
        let words = String::from_utf8_lossy(words).into_owned();
        release(&mut problem);
        match (code, words.is_empty()) {
            (0, _) => Ok(()),
            (_, true) => {
                Err(Refusal { usage: false, text: format!("nuclio_init returned {code}") })
            }
            (_, false) => Err(Refusal { usage: false, text: format!("nuclio_init: {words}") }),
        }
    }

    /// Calls the handler.
    #[inline]
    pub fn handle(&self, context: Context, hold: &Hold, response: &mut abi::Response) -> i32 {
        let event = abi::Event { hidden: std::ptr::from_ref(hold).cast::<c_void>() };
        (self.handle)(context.0, &event, response)
    }
}

/// The function that the handler setting names.
fn symbol_of(handler: &str) -> &str {
    let name = handler.rsplit(':').next().unwrap_or(handler);
    if DEFAULT_NAMES.contains(&name) { HANDLE } else { name }
}

/// An error with what caused it, which is where dlopen's own words are.
fn of(error: &libloading::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => cause.to_string(),
        None => error.to_string(),
    }
}

/// Makes the context that every call gets.
pub fn context(offer: &Offer) -> Context {
    let context = abi::Context {
        api: &raw const API,
        user_data: std::ptr::null_mut(),
        worker_id: offer.worker_id,
        log_level: u32::from(offer.log_level),
    };
    // Lives as long as the process.
    Context(std::ptr::from_mut(Box::leak(Box::new(context))))
}

/// What the bytes of a library are; `None` for a null pointer with a length.
pub fn bytes_of<'a>(bytes: Bytes) -> Option<&'a [u8]> {
    many(bytes.data, bytes.length)
}

/// The headers of a response.
pub fn lines_of(response: &abi::Response) -> Option<&[HeaderLine]> {
    many(response.headers, response.header_count)
}

fn many<'a, T>(data: *const T, count: usize) -> Option<&'a [T]> {
    if count == 0 {
        return Some(&[]);
    }
    if data.is_null() || count > isize::MAX as usize / size_of::<T>().max(1) {
        return None;
    }
    // SAFETY: not null and of a possible length, so it points to so many, see the module; the
    // callers look at it before `release`.
    Some(unsafe { std::slice::from_raw_parts(data, count) })
}

/// Tells the library that its answer has been sent.
#[inline]
pub fn release(response: &mut abi::Response) {
    if let Some(release) = response.release.take() {
        release(response.owner);
    }
}

static API: Api = Api {
    size: size_of::<Api>(),
    text,
    numbers,
    header,
    header_named,
    body,
    is_cancelled,
    time_left_ns,
    log,
    told,
    wanted_level,
};

/// The event of a call; `None` for null.
fn hold_of<'a>(event: *const abi::Event) -> Option<&'a Hold> {
    // SAFETY: null or the event of the call, whose hold lives as long, see the module.
    unsafe { event.as_ref().and_then(|event| event.hidden.cast::<Hold>().as_ref()) }
}

/// Writes a result to its place, unless that is null.
fn put<T>(to: *mut T, value: T) -> i32 {
    if to.is_null() {
        return NUCLIO_HANDLER_NONE;
    }
    // SAFETY: not null, so it has room for a T, see the module.
    unsafe { to.write(value) };
    NUCLIO_HANDLER_OK
}

extern "C" fn text(event: *const abi::Event, field: u32, out: *mut Bytes) -> i32 {
    let Some(hold) = hold_of(event) else { return put(out, Bytes::EMPTY).max(NUCLIO_HANDLER_NONE) };
    let (view, header) = (hold.event.view(), hold.event.header());
    let trigger = |name: bool| {
        let number = hold.event.trigger();
        let found = state::peek(|_, offer| {
            let found = offer.triggers.iter().find(|trigger| trigger.id == number)?;
            Some(Bytes::of(if name { &found.name } else { &found.kind }.as_bytes()))
        });
        found.flatten().unwrap_or(Bytes::EMPTY)
    };
    let bytes = match field {
        abi::NUCLIO_TEXT_ID => Bytes::of(hold.id.get_or_init(|| hold.event.id()).as_bytes()),
        abi::NUCLIO_TEXT_METHOD => Bytes::of(hold.event.method()),
        abi::NUCLIO_TEXT_PATH => Bytes::of(view.get(header.path)),
        abi::NUCLIO_TEXT_QUERY => Bytes::of(view.get(header.query)),
        abi::NUCLIO_TEXT_CONTENT_TYPE => Bytes::of(view.get(header.content_type)),
        abi::NUCLIO_TEXT_KEY => Bytes::of(view.get(header.key)),
        abi::NUCLIO_TEXT_TOPIC => Bytes::of(view.get(header.topic)),
        abi::NUCLIO_TEXT_TRACEPARENT => Bytes::of(view.get(header.traceparent)),
        abi::NUCLIO_TEXT_TRIGGER_KIND => trigger(false),
        abi::NUCLIO_TEXT_TRIGGER_NAME => trigger(true),
        _ => Bytes::EMPTY,
    };
    put(out, bytes).max(i32::from(bytes.length == 0))
}

extern "C" fn numbers(event: *const abi::Event, out: *mut abi::Numbers) -> i32 {
    let Some(hold) = hold_of(event) else { return NUCLIO_HANDLER_NONE };
    let header = hold.event.header();
    let numbers = abi::Numbers {
        timestamp_ns: header.timestamp_ns,
        deadline_ns: hold.event.deadline_ns(),
        offset: header.offset,
        body_bytes: hold.event.body_bytes() as u64,
        partition: header.partition,
        shard: header.shard,
        header_count: u32::from(header.header_count),
        attempt: hold.event.attempt(),
        kind: u32::from(header.kind),
        reserved: 0,
    };
    put(out, numbers)
}

extern "C" fn header(
    event: *const abi::Event,
    index: u32,
    name: *mut Bytes,
    value: *mut Bytes,
) -> i32 {
    let line = hold_of(event).and_then(|hold| hold.event.view().lines().nth(index as usize));
    let Some(line) = line else { return NUCLIO_HANDLER_NONE };
    put(name, Bytes::of(line.0)).max(put(value, Bytes::of(line.1)))
}

extern "C" fn header_named(event: *const abi::Event, name: Bytes, value: *mut Bytes) -> i32 {
    let name = bytes_of(name).unwrap_or_default();
    match hold_of(event).and_then(|hold| hold.event.header_value(name)) {
        Some(bytes) => put(value, Bytes::of(bytes)),
        None => NUCLIO_HANDLER_NONE,
    }
}

extern "C" fn body(event: *const abi::Event, out: *mut Bytes) -> i32 {
    let Some(hold) = hold_of(event) else { return NUCLIO_HANDLER_NONE };
    let bytes = match hold.event.body_range() {
        Some(range) => range,
        None => hold.gathered.get_or_init(|| hold.event.body().to_vec()),
    };
    put(out, Bytes::of(bytes))
}

extern "C" fn is_cancelled(event: *const abi::Event) -> i32 {
    let Some(hold) = hold_of(event) else { return 0 };
    let claim = hold.event.claim();
    state::peek(|worker, _| worker.is_cancelled(claim)).map_or(0, i32::from)
}

extern "C" fn time_left_ns(event: *const abi::Event) -> i64 {
    match hold_of(event).map_or(0, |hold| hold.event.deadline_ns()) {
        0 => -1,
        deadline => {
            let left = deadline.saturating_sub(shim::monotonic_ns());
            i64::try_from(left).unwrap_or(i64::MAX)
        }
    }
}

extern "C" fn log(level: u8, origin: u8, message: Bytes, fields: Bytes) {
    let level = match level {
        0 => Level::Debug,
        1 => Level::Info,
        2 => Level::Warn,
        _ => Level::Error,
    };
    let origin = if origin == 0 { Origin::Logger } else { Origin::Traceback };
    let message = bytes_of(message).unwrap_or_default();
    let fields = bytes_of(fields).unwrap_or_default();
    state::peek(|worker, offer| {
        if level as u8 >= offer.log_level.min(state::wanted()) {
            worker.log(level, origin, state::claim(), message, fields);
        }
    });
}

extern "C" fn told(name: Bytes, out: *mut Bytes) -> i32 {
    let name = bytes_of(name).and_then(|name| std::str::from_utf8(name).ok()).unwrap_or_default();
    let found = state::peek(|_, offer| {
        let value = match name {
            "function" => Some(&offer.function),
            "namespace" => Some(&offer.namespace),
            "version" => Some(&offer.version),
            "handler" => Some(&offer.handler),
            "code_path" => Some(&offer.code_path),
            _ => name.strip_prefix("settings.").and_then(|name| offer.settings.get(name)),
        };
        value.map(|value| Bytes::of(value.as_bytes()))
    });
    match found.flatten() {
        Some(bytes) => put(out, bytes),
        None => NUCLIO_HANDLER_NONE,
    }
}

extern "C" fn wanted_level() -> u32 {
    let level = state::peek(|_, offer| offer.log_level.min(state::wanted()));
    level.map_or(u32::MAX, u32::from)
}

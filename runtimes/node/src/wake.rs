//! Wakes Node's event loop when the bell rings: libuv polls the bell's descriptor itself.
//!
//! A `net.Socket` on the descriptor needs no unsafe code but runs the whole of Node's streams at
//! each ring: 56 microseconds of CPU for an event with a wake-up against 43 here, on a busy machine
//! (`node_event`, "woken for each"). A thread with a threadsafe function pays two switches of
//! threads more. libuv's poll handle adds one `read` to what Node does anyway.
//!
//! Unsafe code is confined to this file. What it rests on: `uv_poll_*` and `uv_handle_size` are part
//! of libuv's stable interface, which Node exports; the handle's memory is as large as libuv says
//! and is never freed, since the process ends with its bell; everything runs on the one thread
//! whose `napi_env` it is, inside a handle scope.

use std::alloc::{Layout, alloc_zeroed};
use std::ffi::{c_char, c_int, c_uint, c_void};
use std::ptr::null_mut;

use napi::bindgen_prelude::Function;
use napi::{Env, Error, JsValue, Result, sys};
use napi_derive::napi;
use shim::ShimError;

use crate::link;

/// `UV_POLL` of `uv_handle_type`, and `UV_READABLE`.
const UV_POLL: c_int = 8;
const UV_READABLE: c_int = 1;
/// libuv's handles hold pointers and 64-bit numbers, nothing that needs more.
const HANDLE_ALIGN: usize = 16;

#[repr(C)]
struct UvPoll {
    /// The first field of each libuv handle is the user's.
    data: *mut c_void,
}

unsafe extern "C" {
    fn uv_handle_size(kind: c_int) -> usize;
    fn uv_poll_init(uv_loop: *mut c_void, handle: *mut UvPoll, fd: c_int) -> c_int;
    fn uv_poll_start(
        handle: *mut UvPoll,
        events: c_int,
        rung: extern "C" fn(*mut UvPoll, c_int, c_int),
    ) -> c_int;
    fn uv_poll_stop(handle: *mut UvPoll) -> c_int;
}

/// What a ring needs to call JavaScript; lives as long as the process.
struct Target {
    env: sys::napi_env,
    look: sys::napi_ref,
    context: sys::napi_async_context,
}

/// From now on `look` is called when the bell has rung.
#[napi]
pub fn on_bell(env: Env, look: Function<'_, (), ()>) -> Result<()> {
    let fd = link::with(|link| link.worker.watch_bell())?;
    let uv_loop = env.get_uv_event_loop()?.cast::<c_void>();
    let env = env.raw();
    // SAFETY: env and function are valid during this call; the reference made of the function and
    // the context are never deleted.
    let target = unsafe {
        let mut target = Target { env, look: null_mut(), context: null_mut() };
        check(sys::napi_create_reference(env, look.raw(), 1, &mut target.look))?;
        let mut name = null_mut();
        let text = c"nuclio".as_ptr().cast::<c_char>();
        check(sys::napi_create_string_utf8(env, text, 6, &mut name))?;
        check(sys::napi_async_init(env, null_mut(), name, &mut target.context))?;
        target
    };
    // SAFETY: asks for a number.
    let bytes = unsafe { uv_handle_size(UV_POLL) };
    let layout = Layout::from_size_align(bytes.max(size_of::<UvPoll>()), HANDLE_ALIGN)
        .map_err(|error| Error::from_reason(error.to_string()))?;
    // SAFETY: the layout is not empty; the memory is zeroed, as large as libuv says and never freed.
    let started = unsafe {
        let handle = alloc_zeroed(layout).cast::<UvPoll>();
        if handle.is_null() {
            return Err(Error::from_reason("no memory for the bell"));
        }
        match uv_poll_init(uv_loop, handle, fd) {
            0 => {
                (*handle).data = Box::into_raw(Box::new(target)).cast();
                uv_poll_start(handle, UV_READABLE, rung)
            }
            error => error,
        }
    };
    if started == 0 { Ok(()) } else { Err(Error::from_reason(format!("libuv: {started}"))) }
}

extern "C" fn rung(handle: *mut UvPoll, _status: c_int, _events: c_int) {
    let alive = link::with(|link| {
        let alive = link.worker.take_ring()?;
        if alive { Ok(()) } else { Err(ShimError::ProcessorGone) }
    });
    if alive.is_err() {
        // Not the thread that attached, which cannot be: no more rings.
        // SAFETY: the handle was started.
        unsafe { uv_poll_stop(handle) };
        return;
    }
    // SAFETY: `data` was set before the start and is never freed; libuv calls on the thread of env.
    unsafe { call(&*(*handle).data.cast::<Target>()) }
}

/// Calls `look` as Node calls callbacks: microtasks and ticks run behind it.
///
/// # Safety
/// On the thread of `target.env`, outside of JavaScript.
unsafe fn call(target: &Target) {
    let env = target.env;
    let (mut scope, mut look, mut global) = (null_mut(), null_mut(), null_mut());
    // SAFETY: as for this function; all values live in the scope opened here.
    unsafe {
        if sys::napi_open_handle_scope(env, &mut scope) != sys::Status::napi_ok {
            return;
        }
        sys::napi_get_reference_value(env, target.look, &mut look);
        sys::napi_get_global(env, &mut global);
        let mut result = null_mut();
        let status = sys::napi_make_callback(
            env,
            target.context,
            global,
            look,
            0,
            std::ptr::null(),
            &mut result,
        );
        if status == sys::Status::napi_pending_exception {
            let mut error = null_mut();
            if sys::napi_get_and_clear_last_exception(env, &mut error) == sys::Status::napi_ok {
                sys::napi_fatal_exception(env, error);
            }
        }
        sys::napi_close_handle_scope(env, scope);
    }
}

fn check(status: sys::napi_status) -> Result<()> {
    if status == sys::Status::napi_ok {
        return Ok(());
    }
    Err(Error::from_reason(format!("Node-API status {}", status as c_uint)))
}

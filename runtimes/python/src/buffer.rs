//! The read-only view of a body in shared memory, and what happens at a fork.
//!
//! [unsafe] The only file of this crate that may: the buffer protocol hands out addresses, and the
//! calls about processes have no safe form. Knows nothing of events beyond a range and a hold.

use std::ffi::{CStr, c_int, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyMemoryView;

use crate::hold::{Hold, Pin};

/// What `memoryview` looks at: the bytes of one body, as long as the slot is held.
#[pyclass(frozen, name = "BodyView", module = "_nuclio")]
pub struct BodyView {
    bytes: &'static [u8],
    hold: Arc<Hold>,
}

#[pymethods]
impl BodyView {
    /// # Safety
    /// Called by CPython only, with a view to be filled.
    unsafe fn __getbuffer__(
        slf: &Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let this = slf.get();
        if !this.hold.begin() {
            return Err(PyBufferError::new_err(
                "the event is over and its body is gone: keep the view itself, or event.body",
            ));
        }
        // SAFETY: `view` is CPython's to be filled; the bytes are mapped as long as the process
        // lives and unchanged while the hold counts this view, which `__releasebuffer__` ends.
        // CPython asks for an address, which safe code cannot give away. Read-only is enforced by
        // the map besides.
        let filled = unsafe {
            ffi::PyBuffer_FillInfo(
                view,
                slf.as_ptr(),
                this.bytes.as_ptr().cast_mut().cast::<c_void>(),
                this.bytes.len() as ffi::Py_ssize_t,
                1,
                flags,
            )
        };
        if filled == 0 {
            return Ok(());
        }
        this.hold.end();
        Err(PyErr::fetch(slf.py()))
    }

    /// # Safety
    /// Called by CPython only, once for each view that was filled.
    unsafe fn __releasebuffer__(&self, _view: *mut ffi::Py_buffer) {
        self.hold.end();
    }
}

/// A memoryview of bytes that stay while `pin`'s hold is counted.
pub fn view_of<'py>(
    py: Python<'py>,
    bytes: &'static [u8],
    pin: &Pin,
) -> PyResult<Bound<'py, PyMemoryView>> {
    let view = Bound::new(py, BodyView { bytes, hold: Arc::clone(&pin.0) })?;
    PyMemoryView::from(view.as_any())
}

/// Runs `f` over the bytes of a buffer object; `None` if they are not in one piece.
///
/// `f` must not run Python code.
pub fn with_bytes<T>(buffer: &PyBuffer<u8>, f: impl FnOnce(&[u8]) -> T) -> Option<T> {
    let slice = buffer.as_slice_ptr()?;
    // SAFETY: the buffer is held and so not freed or resized; the interpreter is held and `f` runs
    // no Python code, so no other Python code writes it meanwhile. Copying first would be safe and
    // cost one more copy of a large reply.
    Some(f(unsafe { slice.as_ref() }))
}

/// References to an object, ours included.
#[inline]
pub fn references(object: &Bound<'_, PyAny>) -> isize {
    // SAFETY: the object is alive, since we hold a reference, and the interpreter is held; the call
    // reads one number. The safe form of it is deprecated without a successor.
    unsafe { ffi::Py_REFCNT(object.as_ptr()) }
}

static FORKED: AtomicBool = AtomicBool::new(false);
static FORKS: AtomicU64 = AtomicU64::new(0);

/// How often this process has forked, or begun to.
pub fn forks() -> u64 {
    FORKS.load(Ordering::Relaxed)
}

/// True in a child that this process forked: it must not touch the rings.
#[inline]
pub fn is_forked() -> bool {
    FORKED.load(Ordering::Relaxed)
}

/// From now on forks are counted, and a forked child knows that it is one.
pub fn note_forks() {
    extern "C" fn before() {
        FORKS.fetch_add(1, Ordering::Relaxed);
    }
    extern "C" fn in_child() {
        FORKED.store(true, Ordering::Relaxed);
    }
    // SAFETY: each function stores one word, which is allowed in a child of any process; they live as
    // long as the process, since the extension is never unloaded. There is no safe form.
    let _ = unsafe { libc::pthread_atfork(Some(before), None, Some(in_child)) };
}

/// Ends this process at once, without running anybody's exit code.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` takes any number and does not return; `std::process::exit` would run exit
    // handlers that belong to the parent of a forked child.
    unsafe { libc::_exit(code) }
}

/// Writes `value` over the value of an environment variable, in place, if both are equally long.
///
/// For a process that was just forked by one with a single thread, before user code runs.
pub fn overwrite_variable(name: &CStr, value: &[u8]) {
    // SAFETY: the name is a C string; the call reads the environment, which no other thread can
    // change, since there is none.
    let found = unsafe { libc::getenv(name.as_ptr()) };
    if found.is_null() {
        return;
    }
    // SAFETY: `getenv` gave a C string of the environment.
    let length = unsafe { CStr::from_ptr(found) }.to_bytes().len();
    if length == value.len() {
        // SAFETY: as many bytes as the string has, without its end, in memory that the kernel (or
        // `putenv`) made writable for this process; nobody reads meanwhile. `setenv` would put the
        // new text elsewhere, where the kernel does not look.
        unsafe { std::ptr::copy_nonoverlapping(value.as_ptr(), found.cast::<u8>(), length) };
    }
}

/// What a coroutine did when it was resumed.
pub enum Sent<'py> {
    /// It waits for this.
    Yielded(Bound<'py, PyAny>),
    /// It has ended with this.
    Returned(Bound<'py, PyAny>),
}

/// Resumes a coroutine, or the iterator of another awaitable, with None.
pub fn send<'py>(coroutine: &Bound<'py, PyAny>) -> PyResult<Sent<'py>> {
    let py = coroutine.py();
    let mut result = std::ptr::null_mut();
    // SAFETY: the interpreter is held, both objects live, and `result` is a place for one pointer.
    let status = unsafe { ffi::PyIter_Send(coroutine.as_ptr(), ffi::Py_None(), &mut result) };
    if result.is_null() {
        return Err(PyErr::fetch(py));
    }
    // SAFETY: unless it failed, it has given a reference of ours, and then it is not null.
    let value = unsafe { Bound::from_owned_ptr(py, result) };
    Ok(match status {
        ffi::PySendResult::PYGEN_NEXT => Sent::Yielded(value),
        _ => Sent::Returned(value),
    })
}

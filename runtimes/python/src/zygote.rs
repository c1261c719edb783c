//! What a forked worker needs and Python has no call for; the zygote itself is
//! `nuclio_sdk/_zygote.py`.

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use rustix::process::{Signal, set_parent_process_death_signal};

use crate::buffer;

/// The variable by which the processor finds what a worker has left behind. Its value was given to
/// the zygote in the width that a number has here.
const WORKER_ID_ENV: &std::ffi::CStr = c"NUCLIO_WORKER_ID";

/// This process is killed when its parent ends.
#[pyfunction]
pub fn tie_to_parent() -> PyResult<()> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|errno| PyOSError::new_err(errno.raw_os_error()))
}

/// Writes the worker's number over the zygote's in the environment that the kernel shows to others;
/// `os.environ` cannot, since it only puts a new text beside the old.
#[pyfunction]
pub fn give_number(number: u32) {
    buffer::overwrite_variable(WORKER_ID_ENV, format!("{number:010}").as_bytes());
}

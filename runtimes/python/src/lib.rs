//! The Python runtime's extension module `_nuclio`: a worker over the shim, inside CPython.
//!
//! `start` is where a worker begins; `event`, `response` and `logger` are what handlers meet, under
//! the name `nuclio_sdk`. The module can be imported without a processor, for tests.
//!
//! Unsafe code is in `buffer` only. Never here: HTTP, brokers, configuration files.
#![deny(unsafe_code)]

mod answer;
mod batch;
mod batch_task;
mod body;
#[allow(unsafe_code)]
mod buffer;
mod cloud;
mod event;
mod failure;
mod fields;
mod finish;
mod hold;
mod json;
mod link;
mod logger;
mod made;
mod output;
mod render;
mod reply;
mod response;
mod serve;
mod start;
mod stream;
mod strings;
mod task;
mod threads;
mod trigger;
mod values;
mod zygote;

use pyo3::prelude::*;

/// The module as Python imports it.
#[pymodule]
mod _nuclio {
    #[pymodule_export]
    use crate::answer::{
        answer_to, answers_to_batch, event_of_request, iterator_of, piece_bytes, ready_for_tests,
    };
    #[pymodule_export]
    use crate::batch_task::BatchTicket;
    #[pymodule_export]
    use crate::body::BodyStream;
    #[pymodule_export]
    use crate::buffer::BodyView;
    #[pymodule_export]
    use crate::event::Event;
    #[pymodule_export]
    use crate::logger::Logger;
    #[pymodule_export]
    use crate::output::{is_forked, write_stream};
    #[pymodule_export]
    use crate::render::render;
    #[pymodule_export]
    use crate::response::Response;
    #[pymodule_export]
    use crate::start::main;
    #[pymodule_export]
    use crate::stream::Stream;
    #[pymodule_export]
    use crate::task::{
        Ticket, bell_rang, drained, next_work, use_context_variable, use_loop, watch_bell,
    };
    #[pymodule_export]
    use crate::threads::serve_thread;
    #[pymodule_export]
    use crate::trigger::TriggerInfo;
    #[pymodule_export]
    use crate::zygote::{give_number, tie_to_parent};
    use pyo3::prelude::*;
    use pyo3::types::PyDict;

    /// When the answer to the current event is due, on the clock of `time.monotonic()`; or None.
    #[pyfunction]
    fn current_deadline(py: Python<'_>) -> Option<f64> {
        let ns = crate::link::current_deadline_ns(py);
        (ns != 0).then(|| std::time::Duration::from_nanos(ns).as_secs_f64())
    }

    /// How often bodies were copied, viewed and gathered in this process.
    #[pyfunction]
    fn counters(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
        let counters = PyDict::new(py);
        for (name, count) in crate::body::counters() {
            counters.set_item(name, count)?;
        }
        Ok(counters)
    }
}

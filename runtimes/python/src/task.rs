//! What the event loop of an async handler needs of the rings; the loop itself is
//! `nuclio_sdk/_aio.py`.

use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use shim::{Down, ShimError};

use crate::batch::Batch;
use crate::batch_task::BatchTicket;
use crate::event::Event;
use crate::finish::{Ended, Turn, finish};
use crate::link::{self, Link, Next};
use crate::serve::log_traceback;
use crate::start::give_up;

/// An event that a task works on. It holds the only reference of ours, so that what the handler
/// kept can be told from what the loop needs.
#[pyclass(name = "Ticket", module = "_nuclio", frozen)]
pub struct Ticket {
    turn: Turn,
    event: Mutex<Option<Py<Event>>>,
}

impl Ticket {
    fn end<'py>(&self, py: Python<'py>, result: PyResult<Bound<'py, PyAny>>) -> PyResult<Ended> {
        let event = self.event.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(event) = event else {
            return Err(PyRuntimeError::new_err("this event was answered before"));
        };
        // In a forked child there is no link, and `finish` would end the child just the same.
        let Some(link) = link::link() else { give_up(ShimError::ProcessorGone) };
        finish(link, self.turn, event.into_bound(py), result).or_else(|error| give_up(error))
    }
}

#[pymethods]
impl Ticket {
    #[getter]
    fn event<'py>(&self, py: Python<'py>) -> Option<Bound<'py, Event>> {
        let event = self.event.lock().unwrap_or_else(PoisonError::into_inner);
        event.as_ref().map(|event| event.bind(py).clone())
    }

    #[getter]
    fn claim(&self) -> u64 {
        self.turn.claim
    }

    /// Answers with what the handler returned; true if the loop must look for work again. A reply
    /// in pieces comes back as a `Stream`, which the loop must send.
    fn done<'py>(&self, result: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = result.py();
        match self.end(py, Ok(result))? {
            Ended::Done(again) => Ok(again.into_pyobject(py)?.to_owned().into_any()),
            Ended::Streams(stream) => Ok(Bound::new(py, *stream)?.into_any()),
        }
    }

    /// Answers with what the handler raised; true if the loop must look for work again.
    fn failed(&self, error: Bound<'_, PyAny>) -> PyResult<bool> {
        let py = error.py();
        let ended = self.end(py, Err(PyErr::from_value(error)))?;
        Ok(matches!(ended, Ended::Done(true)))
    }
}

impl Drop for Ticket {
    /// A task that was thrown away before it began has not answered.
    fn drop(&mut self) {
        let event = self.event.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let (Some(event), Some(link)) = (event, link::link()) else { return };
        // Not while the interpreter ends: then the processor answers for this process.
        Python::try_attach(|py| {
            let error = PyRuntimeError::new_err("the task of this event ended before it began");
            if let Err(error) = finish(link, self.turn, event.into_bound(py), Err(error)) {
                give_up(error);
            }
        });
    }
}

fn connected() -> &'static Link {
    link::link().unwrap_or_else(|| give_up(ShimError::ProcessorGone))
}

/// The next thing to do: a `Ticket` or a `BatchTicket`, the claim of an event to be cancelled, True to stop, or in a
/// tuple the number of a trigger that drains. None if there is nothing and the bell will ring.
#[pyfunction]
pub fn next_work<'py>(py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let link = connected();
    Ok(Some(match link.next().unwrap_or_else(|error| give_up(error)) {
        Next::Armed => return Ok(None),
        Next::Down(Down::Event(event)) => {
            let turn = Turn::of(&event);
            link::want_from(turn.wanted_level);
            let event = Mutex::new(Some(Py::new(py, Event::of_slot(event))?));
            Bound::new(py, Ticket { turn, event })?.into_any()
        }
        Next::Down(Down::Batch(events)) => {
            Bound::new(py, BatchTicket::new(Batch::new(py, events)?))?.into_any()
        }
        Next::Down(Down::Cancel { claim }) => claim.into_pyobject(py)?.into_any(),
        Next::Down(Down::Stop) => true.into_pyobject(py)?.to_owned().into_any(),
        Next::Down(Down::Drain { trigger }) => (trigger,).into_pyobject(py)?.into_any(),
    }))
}

/// Says that the drain callback of a trigger has run; `error` is what it raised.
#[pyfunction]
#[pyo3(signature = (trigger, error = None))]
pub fn drained(py: Python<'_>, trigger: u16, error: Option<Bound<'_, PyAny>>) {
    let link = connected();
    if let Some(error) = error {
        log_traceback(link, py, PyErr::from_value(error));
    }
    link.drained(trigger).unwrap_or_else(|error| give_up(error));
}

/// Reads the bell after it rang; False if the processor is gone.
#[pyfunction]
pub fn bell_rang() -> bool {
    connected().take_ring().unwrap_or_else(|error| give_up(error))
}

/// Number of the bell's descriptor, for the loop to wait on.
#[pyfunction]
pub fn watch_bell() -> i32 {
    connected().watch_bell().unwrap_or_else(|error| give_up(error))
}

/// From now on records belong to the event whose claim this `ContextVar` holds.
#[pyfunction]
pub fn use_context_variable(variable: Py<PyAny>) {
    link::set_current_of_task(variable);
}

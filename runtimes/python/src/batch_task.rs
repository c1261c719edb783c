//! A batch that a task of an async handler works on.

use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyList;
use shim::ShimError;

use crate::batch::Batch;
use crate::link;
use crate::start::give_up;

/// As [`crate::task::Ticket`], for several events at once.
#[pyclass(name = "BatchTicket", module = "_nuclio", frozen)]
pub struct BatchTicket {
    claims: Vec<u64>,
    batch: Mutex<Option<Batch>>,
}

impl BatchTicket {
    pub fn new(batch: Batch) -> Self {
        Self { claims: batch.claims(), batch: Mutex::new(Some(batch)) }
    }

    fn end<'py>(&self, py: Python<'py>, result: PyResult<Bound<'py, PyAny>>) -> PyResult<bool> {
        let batch = self.batch.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(batch) = batch else {
            return Err(PyRuntimeError::new_err("this batch was answered before"));
        };
        // In a forked child there is no link, and `finish` would end the child just the same.
        let Some(link) = link::link() else { give_up(ShimError::ProcessorGone) };
        batch.finish(link, py, result).or_else(|error| give_up(error))
    }
}

#[pymethods]
impl BatchTicket {
    /// What the handler gets; under the name that the ticket of one event has for it.
    #[getter]
    fn event<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyList>>> {
        let batch = self.batch.lock().unwrap_or_else(PoisonError::into_inner);
        batch.as_ref().map(|batch| batch.list(py)).transpose()
    }

    /// Whose records the task writes.
    #[getter]
    fn claim(&self) -> u64 {
        let batch = self.batch.lock().unwrap_or_else(PoisonError::into_inner);
        batch.as_ref().map_or(0, Batch::current_claim)
    }

    #[getter]
    fn claims(&self) -> Vec<u64> {
        self.claims.clone()
    }

    /// Answers with what the handler returned; true if the loop must look for work again.
    fn done<'py>(&self, result: Bound<'py, PyAny>) -> PyResult<bool> {
        self.end(result.py(), Ok(result))
    }

    /// Answers with what the handler raised; true if the loop must look for work again.
    fn failed(&self, error: Bound<'_, PyAny>) -> PyResult<bool> {
        let py = error.py();
        self.end(py, Err(PyErr::from_value(error)))
    }
}

impl Drop for BatchTicket {
    /// A task that was thrown away before it began has not answered.
    fn drop(&mut self) {
        let batch = self.batch.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let (Some(batch), Some(link)) = (batch, link::link()) else { return };
        Python::attach(|py| {
            let error = PyRuntimeError::new_err("the task of this batch ended before it began");
            if let Err(error) = batch.finish(link, py, Err(error)) {
                give_up(error);
            }
        });
    }
}

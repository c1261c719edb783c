//! `TriggerInfo`: which trigger an event came by.

use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::strings;

/// Kind and name of a trigger.
#[pyclass(name = "TriggerInfo", module = "nuclio_sdk", dict, subclass)]
pub struct TriggerInfo {
    /// As in function.yaml, such as `http`.
    #[pyo3(get, set)]
    kind: Py<PyAny>,
    /// As in function.yaml.
    #[pyo3(get, set)]
    name: Py<PyAny>,
}

impl TriggerInfo {
    pub fn of(py: Python<'_>, kind: &str, name: &str) -> Self {
        let text = |text| PyString::intern(py, text).into_any().unbind();
        Self { kind: text(kind), name: text(name) }
    }

    /// As events have it: with bytes where their strings are bytes.
    pub fn of_event(&self, py: Python<'_>) -> PyResult<Self> {
        let raw = |text: &Py<PyAny>| {
            let text = text.bind(py).cast::<PyString>()?;
            PyResult::Ok(strings::of_kept(text).unbind())
        };
        Ok(Self { kind: raw(&self.kind)?, name: raw(&self.name)? })
    }
}

#[pymethods]
impl TriggerInfo {
    #[new]
    #[pyo3(signature = (kind = None, name = None))]
    fn new(py: Python<'_>, kind: Option<Py<PyAny>>, name: Option<Py<PyAny>>) -> Self {
        let empty = || pyo3::intern!(py, "").clone().into_any().unbind();
        Self { kind: kind.unwrap_or_else(empty), name: name.unwrap_or_else(empty) }
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let (kind, name) = (self.kind.bind(py).repr()?, self.name.bind(py).repr()?);
        Ok(format!("TriggerInfo(kind={kind}, name={name})"))
    }
}

//! `Response`: an answer with status, headers and content type, as in nuclio's SDK.

use pyo3::prelude::*;

use crate::render::sdk_function;
use pyo3::types::{PyDict, PyTuple};
use pyo3::{PyTraverseError, PyVisit, intern};

/// An answer that says more than its body.
#[pyclass(name = "Response", module = "nuclio_sdk", dict, subclass)]
#[derive(Default)]
pub struct Response {
    headers: Option<Py<PyAny>>,
    body: Option<Py<PyAny>>,
    content_type: Option<Py<PyAny>>,
    status_code: Option<Py<PyAny>>,
    event_id: Option<Py<PyAny>>,
}

/// The parts of a response, each `None` if it was not given.
pub struct Parts<'py> {
    pub headers: Option<Bound<'py, PyAny>>,
    pub body: Option<Bound<'py, PyAny>>,
    pub content_type: Option<Bound<'py, PyAny>>,
    pub status_code: Option<Bound<'py, PyAny>>,
}

impl Response {
    /// The event that it answers, where it says so.
    pub fn event_id<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.event_id.as_ref().map(|id| id.bind(py).clone())
    }

    pub fn parts<'py>(&self, py: Python<'py>) -> Parts<'py> {
        let bound = |part: &Option<Py<PyAny>>| part.as_ref().map(|part| part.bind(py).clone());
        Parts {
            headers: bound(&self.headers),
            body: bound(&self.body),
            content_type: bound(&self.content_type),
            status_code: bound(&self.status_code),
        }
    }
}

fn given(value: Option<Bound<'_, PyAny>>) -> Option<Py<PyAny>> {
    value.filter(|value| !value.is_none()).map(Bound::unbind)
}

fn or_none(value: &Option<Py<PyAny>>, py: Python<'_>) -> Py<PyAny> {
    value.as_ref().map_or_else(|| py.None(), |value| value.clone_ref(py))
}

#[pymethods]
impl Response {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self::default()
    }

    #[pyo3(signature = (headers=None, body=None, content_type=None, status_code=None, event_id=None))]
    fn __init__(
        &mut self,
        headers: Option<Bound<'_, PyAny>>,
        body: Option<Bound<'_, PyAny>>,
        content_type: Option<Bound<'_, PyAny>>,
        status_code: Option<Bound<'_, PyAny>>,
        event_id: Option<Bound<'_, PyAny>>,
    ) {
        self.headers = given(headers);
        self.body = given(body);
        self.content_type = given(content_type);
        self.status_code = given(status_code);
        self.event_id = given(event_id);
    }

    #[getter]
    fn get_headers(&mut self, py: Python<'_>) -> Py<PyAny> {
        let headers = self.headers.get_or_insert_with(|| PyDict::new(py).into_any().unbind());
        headers.clone_ref(py)
    }

    #[setter]
    fn set_headers(&mut self, value: Bound<'_, PyAny>) {
        self.headers = given(Some(value));
    }

    #[getter]
    fn get_body(&self, py: Python<'_>) -> Py<PyAny> {
        or_none(&self.body, py)
    }

    #[setter]
    fn set_body(&mut self, value: Bound<'_, PyAny>) {
        self.body = given(Some(value));
    }

    /// `text/plain` unless given.
    #[getter]
    fn get_content_type(&self, py: Python<'_>) -> Py<PyAny> {
        match &self.content_type {
            Some(value) => value.clone_ref(py),
            None => intern!(py, "text/plain").clone().into_any().unbind(),
        }
    }

    #[setter]
    fn set_content_type(&mut self, value: Bound<'_, PyAny>) {
        self.content_type = given(Some(value));
    }

    /// 200 unless given.
    #[getter]
    fn get_status_code(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match &self.status_code {
            Some(value) => Ok(value.clone_ref(py)),
            None => Ok(200_u16.into_pyobject(py)?.into_any().unbind()),
        }
    }

    #[setter]
    fn set_status_code(&mut self, value: Bound<'_, PyAny>) {
        self.status_code = given(Some(value));
    }

    #[getter]
    fn get_event_id(&self, py: Python<'_>) -> Py<PyAny> {
        or_none(&self.event_id, py)
    }

    #[setter]
    fn set_event_id(&mut self, value: Bound<'_, PyAny>) {
        self.event_id = given(Some(value));
    }

    /// Keeps the offset of this event's record from being marked as read.
    fn ensure_no_ack(&mut self, py: Python<'_>) -> PyResult<()> {
        self.get_headers(py).bind(py).set_item(intern!(py, "x-nuclio-stream-no-ack"), true)
    }

    /// A response that carries a CloudEvent (`mode`: structured or binary), or a list of them.
    #[staticmethod]
    #[pyo3(signature = (event, mode = "structured"))]
    fn cloudevent<'py>(event: &Bound<'py, PyAny>, mode: &str) -> PyResult<Bound<'py, PyAny>> {
        let name = intern!(event.py(), "response");
        sdk_function(event.py(), "nuclio_sdk.cloudevent", name)?.call1((event, mode))
    }

    /// What a handler returned, in the form that nuclio's processor reads.
    #[staticmethod]
    fn from_entrypoint_output<'py>(
        json_encoder: &Bound<'py, PyAny>,
        handler_output: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let name = intern!(json_encoder.py(), "from_entrypoint_output");
        sdk_function(json_encoder.py(), "nuclio_sdk.response", name)?
            .call1((json_encoder, handler_output))
    }

    /// Which kind of answer this is: single, or of a generator.
    #[staticmethod]
    fn get_handler_output_type<'py>(
        handler_output: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let name = intern!(handler_output.py(), "get_handler_output_type");
        sdk_function(handler_output.py(), "nuclio_sdk.response", name)?.call1((handler_output,))
    }

    /// A fresh answer in the form that nuclio's processor reads.
    #[staticmethod]
    fn empty_response(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        sdk_function(py, "nuclio_sdk.response", intern!(py, "empty_response"))?.call0()
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let part = |name: &str| PyResult::Ok(slf.getattr(name)?.repr()?.to_string());
        Ok(format!(
            "Response(headers={}, body={}, status_code={}, content_type={}, event_id={})",
            part("headers")?,
            part("body")?,
            part("status_code")?,
            part("content_type")?,
            part("event_id")?
        ))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.headers)?;
        visit.call(&self.body)?;
        visit.call(&self.event_id)
    }

    fn __clear__(&mut self) {
        *self = Self::default();
    }
}

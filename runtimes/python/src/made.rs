//! Events that Python made: the constructor of nuclio's SDK, for tests and for calling a handler
//! by hand.

use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyMemoryView, PyString, PyTuple};

use crate::event::{Event, FIELDS, Field};
use crate::trigger::TriggerInfo;
use crate::values;

/// The order of nuclio's positional parameters.
const POSITIONAL: [Field; 19] = [
    Field::Body,
    Field::ContentType,
    Field::Trigger,
    Field::Fields,
    Field::Headers,
    Field::Id,
    Field::Method,
    Field::Path,
    Field::Size,
    Field::Timestamp,
    Field::Url,
    Field::ShardId,
    Field::NumShards,
    Field::Type,
    Field::TypeVersion,
    Field::Version,
    Field::LastInBatch,
    Field::Offset,
    Field::Topic,
];

/// `Event.__init__`.
pub fn init(
    event: &Bound<'_, Event>,
    args: &Bound<'_, PyTuple>,
    kwargs: Option<&Bound<'_, PyDict>>,
) -> PyResult<()> {
    if args.len() > POSITIONAL.len() {
        let (most, given) = (POSITIONAL.len(), args.len());
        return Err(PyTypeError::new_err(format!(
            "Event() takes at most {most} positional arguments, not {given}"
        )));
    }
    for (field, value) in POSITIONAL.iter().zip(args.iter()) {
        set(event, *field, value)?;
    }
    for (name, value) in kwargs.into_iter().flatten() {
        let name = name.cast_into::<PyString>()?;
        // nuclio calls these two `_id` and `_type`.
        let plain = match name.to_str()? {
            "_id" => "id",
            "_type" => "type",
            other => other,
        };
        let Some(field) = FIELDS.into_iter().find(|field| field.name() == plain) else {
            return Err(PyTypeError::new_err(format!("Event() has no field {}", name.repr()?)));
        };
        set(event, field, value)?;
    }
    Ok(())
}

fn set(event: &Bound<'_, Event>, field: Field, value: Bound<'_, PyAny>) -> PyResult<()> {
    if value.is_none() {
        return Ok(());
    }
    let class = values::headers_class(event.py())?;
    let value = match field {
        Field::Headers if !value.is_instance(class)? => class.call1((value,))?,
        _ => value,
    };
    event.get().write(field, value.unbind());
    Ok(())
}

/// What a field is that nobody set.
pub fn default(py: Python<'_>, field: Field) -> PyResult<Bound<'_, PyAny>> {
    Ok(match field {
        Field::Trigger => Bound::new(py, TriggerInfo::of(py, "", ""))?.into_any(),
        Field::Fields => PyDict::new(py).into_any(),
        Field::Headers => values::headers(py, Vec::new())?,
        Field::Path => intern!(py, "/").clone().into_any(),
        Field::Timestamp | Field::Offset => values::number(py, 0),
        Field::Attempt => values::number(py, 1),
        Field::LastInBatch => values::truth(py, false),
        _ => py.None().into_bound(py),
    })
}

/// A view of a body that somebody set.
pub fn view<'py>(body: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = body.py();
    let bytes = if body.is_none() {
        PyBytes::new(py, b"").into_any()
    } else if let Ok(text) = body.cast::<PyString>() {
        text.encode_utf8()?.into_any()
    } else {
        body.clone()
    };
    Ok(PyMemoryView::from(&bytes)?.into_any())
}

/// The name of a header as bytes.
pub fn name_bytes(name: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    match name.cast::<PyBytes>() {
        Ok(bytes) => Ok(bytes.as_bytes().to_vec()),
        Err(_) => Ok(name.cast::<PyString>()?.to_str()?.as_bytes().to_vec()),
    }
}

/// The value of a header in a mapping, whatever its case.
pub fn header<'py>(headers: &Bound<'py, PyAny>, wanted: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    for pair in headers.call_method0(intern!(headers.py(), "items"))?.try_iter()? {
        let (key, value) = pair?.extract::<(Bound<'py, PyAny>, Bound<'py, PyAny>)>()?;
        if name_bytes(&key).is_ok_and(|key| key.eq_ignore_ascii_case(wanted)) {
            return Ok(value);
        }
    }
    Ok(headers.py().None().into_bound(headers.py()))
}

//! Tells CloudEvents from other events; what they say is read by `nuclio_sdk/cloudevent.py`.
//!
//! Only fields that a CloudEvent changes ask, and each event is looked at once.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use rings::abi::EventHeader;
use rings::header::EventView;

use crate::event::{Event, Field};

/// Structured and in batches.
const CONTENT_TYPE: &[u8] = b"application/cloudevents";
/// Headers that each CloudEvent in binary form has: of 1.0 and of 0.1.
const MARKS: [&[u8]; 2] = [b"ce-specversion", b"ce-cloudeventsversion"];

/// True if the field means something else in a CloudEvent. The body is asked for apart, since its
/// content type is looked at anyway.
#[inline]
pub const fn changes(field: Field) -> bool {
    use Field::*;
    matches!(field, ContentType | Id | Type | TypeVersion | Version | Timestamp | Time | Trigger)
}

/// True if the whole event is in the body.
#[inline]
pub fn is_in_body(content_type: &[u8]) -> bool {
    content_type.len() >= CONTENT_TYPE.len()
        && content_type[..CONTENT_TYPE.len()].eq_ignore_ascii_case(CONTENT_TYPE)
}

/// True in any form.
pub fn is_one(view: &EventView<'_>, header: &EventHeader) -> bool {
    let is_mark = |name: &[u8]| MARKS.iter().any(|mark| name.eq_ignore_ascii_case(mark));
    is_in_body(view.get(header.content_type)) || view.lines().any(|(name, _)| is_mark(name))
}

/// Sets the fields of a CloudEvent; a body that is none stays as it is.
pub fn read(event: &Bound<'_, Event>, body: Option<Bound<'_, PyBytes>>) -> PyResult<()> {
    let py = event.py();
    let module = py.import(intern!(py, "nuclio_sdk.cloudevent"))?;
    module.call_method1(intern!(py, "_read"), (event, body))?;
    Ok(())
}

/// All CloudEvents of an event: none, one, or those of a batch.
pub fn all<'py>(event: &Bound<'py, Event>) -> PyResult<Bound<'py, PyAny>> {
    let py = event.py();
    py.import(intern!(py, "nuclio_sdk.cloudevent"))?.call_method1(intern!(py, "_all"), (event,))
}

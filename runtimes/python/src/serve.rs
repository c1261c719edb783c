//! The loop of a sync handler: one event after the other, asleep in between.

use pyo3::intern;
use pyo3::prelude::*;
use shim::{Down, Level, Origin, ShimError};

use crate::batch;
use crate::event::Event;
use crate::failure;
use crate::finish::{Ended, Turn, finish};
use crate::link::{self, Link, Next};

/// Serves until the processor says stop. The interpreter is let go of only while nothing is to do.
pub fn serve(
    link: &Link,
    handler: &Bound<'_, PyAny>,
    context: &Bound<'_, PyAny>,
) -> Result<(), ShimError> {
    let py = handler.py();
    loop {
        match link.next()? {
            Next::Down(Down::Event(event)) => one(link, handler, context, event)?,
            Next::Down(Down::Batch(events)) => batch::serve(link, handler, context, events)?,
            Next::Armed => {
                if !link.sleep(py)? {
                    return Err(ShimError::ProcessorGone);
                }
                run_signal_handlers(py);
            }
            Next::Down(Down::Drain { trigger }) => {
                if let Err(error) = call_drain(context) {
                    log_traceback(link, py, error);
                }
                link.drained(trigger)?;
            }
            // A sync handler cannot be stopped in the middle; at a deadline its worker is killed.
            Next::Down(Down::Cancel { .. }) => {}
            Next::Down(Down::Stop) => return Ok(()),
        }
    }
}

#[inline]
pub fn one(
    link: &Link,
    handler: &Bound<'_, PyAny>,
    context: &Bound<'_, PyAny>,
    event: shim::Event,
) -> Result<(), ShimError> {
    let turn = Turn::of(&event);
    link::want_from(turn.wanted_level);
    link::set_current_claim(turn.claim);
    let event = Bound::new(handler.py(), Event::of_slot(event))
        .map_err(|_| ShimError::Protocol("no memory for an event"))?;
    let result = handler.call1((context, &event));
    if let Ended::Streams(stream) = finish(link, turn, event, result)? {
        stream.run(handler.py(), link)?;
    }
    link::set_current_claim(0);
    Ok(())
}

/// Calls what the user's code wants called at a drain, if anything.
fn call_drain(context: &Bound<'_, PyAny>) -> PyResult<()> {
    let load = context.py().import(intern!(context.py(), "nuclio_sdk._load"))?;
    load.call_method1(intern!(context.py(), "drain"), (context,)).map(drop)
}

/// Tells of an exception that belongs to no event.
pub fn log_traceback(link: &Link, py: Python<'_>, error: PyErr) {
    let text = failure::traceback(&error.into_value(py).into_bound(py));
    link.log(Level::Error, Origin::Traceback, 0, text.trim_end().as_bytes(), b"");
}

/// Runs what the user's code set with `signal.signal`; between events an exception of such code has
/// no event to fail, so it is printed.
fn run_signal_handlers(py: Python<'_>) {
    if let Err(error) = py.check_signals() {
        error.print(py);
    }
}

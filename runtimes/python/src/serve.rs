//! The loop of a sync handler: one event after the other, asleep in between.

use pyo3::intern;
use pyo3::prelude::*;
use shim::{Down, Level, Origin, ShimError};

use crate::batch;
use crate::event::Event;
use crate::failure;
use crate::finish::{Ended, Turn, finish};
use crate::link::{self, Link};

/// Serves until the processor says stop. The interpreter is let go of only while nothing is to do.
pub fn serve(
    link: &Link,
    handler: &Bound<'_, PyAny>,
    context: &Bound<'_, PyAny>,
) -> Result<(), ShimError> {
    let py = handler.py();
    loop {
        match link.next_or_sleep(py)? {
            Some(Down::Event(event)) => one(link, handler, context, event)?,
            Some(Down::Batch(events)) => batch::serve(link, handler, context, events)?,
            None => run_signal_handlers(py),
            Some(Down::Drain { trigger }) => drain(link, context, trigger)?,
            // A sync handler cannot be stopped in the middle; at a deadline its worker is killed.
            Some(Down::Cancel { .. }) => {}
            Some(Down::Stop) => return Ok(()),
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

/// Calls what the user's code wants called at a drain, if anything, and says that it was.
pub fn drain(link: &Link, context: &Bound<'_, PyAny>, trigger: u16) -> Result<(), ShimError> {
    let py = context.py();
    let load = py.import(intern!(py, "nuclio_sdk._load"));
    let called = load.and_then(|load| load.call_method1(intern!(py, "drain"), (context,)));
    if let Err(error) = called {
        log_traceback(link, py, error);
    }
    link.drained(trigger)
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

//! The loop of a sync handler: one event after the other, asleep in between.

use pyo3::prelude::*;
use shim::{Down, ShimError};

use crate::batch;
use crate::event::Event;
use crate::finish::{Turn, finish};
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
            Next::Down(Down::Drain { trigger }) => link.drained(trigger)?,
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
    finish(link, turn, event, result)?;
    link::set_current_claim(0);
    Ok(())
}

/// Runs what the user's code set with `signal.signal`; between events an exception of such code has
/// no event to fail, so it is printed.
fn run_signal_handlers(py: Python<'_>) {
    if let Err(error) = py.check_signals() {
        error.print(py);
    }
}

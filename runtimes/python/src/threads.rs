//! Several threads for a sync handler that waits for others: `threads` in function.yaml.
//!
//! The threads take turns as leader. The leader polls, and sleeps on the bell, alone; when it has an
//! event it gives the lead away and runs the handler itself. So an event never passes from thread to
//! thread through a queue, and events begin in the order in which they came. The lead is taken and
//! given only while the interpreter is held: a thread whose handler did not wait takes the lead back
//! before any other could, and goes on without a switch, as a worker with one thread does. A thread
//! is woken for the lead at most once until it has looked.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use pyo3::intern;
use pyo3::prelude::*;
use shim::{Down, ShimError};

use crate::link::{self, Link};
use crate::start::give_up;
use crate::{batch, serve};

/// Who polls.
struct Lead {
    is_taken: bool,
    /// Threads that wait for it.
    waiting: u32,
    /// One of them was woken and has not looked yet.
    is_woken: bool,
    /// The processor has said stop.
    is_over: bool,
}

static LEAD: Mutex<Lead> =
    Mutex::new(Lead { is_taken: false, waiting: 0, is_woken: false, is_over: false });
static GIVEN: Condvar = Condvar::new();

fn lead() -> MutexGuard<'static, Lead> {
    LEAD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes the lead, waiting without the interpreter; false when all is over.
fn take(py: Python<'_>) -> bool {
    let mut was_woken = false;
    loop {
        {
            let mut lead = lead();
            if std::mem::take(&mut was_woken) {
                lead.is_woken = false;
            }
            if lead.is_over {
                return false;
            }
            if !lead.is_taken {
                lead.is_taken = true;
                return true;
            }
        }
        was_woken = py.detach(|| {
            let mut lead = lead();
            lead.waiting += 1;
            // The lead may have been given since the look above, when this thread did not count.
            while lead.is_taken && !lead.is_woken && !lead.is_over {
                lead = GIVEN.wait(lead).unwrap_or_else(PoisonError::into_inner);
            }
            lead.waiting -= 1;
            lead.is_woken
        });
    }
}

fn give() {
    let mut lead = lead();
    lead.is_taken = false;
    if lead.waiting > 0 && !lead.is_woken {
        lead.is_woken = true;
        GIVEN.notify_one();
    }
}

fn end_all() {
    lead().is_over = true;
    GIVEN.notify_all();
}

/// Serves with `count` threads until the processor says stop and the last handler has returned.
pub fn serve(
    py: Python<'_>,
    count: u32,
    handler: &Bound<'_, PyAny>,
    context: &Bound<'_, PyAny>,
) -> PyResult<()> {
    link::set_current_per_thread();
    py.import(intern!(py, "nuclio_sdk._threads"))?
        .call_method1(intern!(py, "serve"), (count, handler, context))?;
    Ok(())
}

/// What each of the threads runs.
#[pyfunction]
pub fn serve_thread(handler: &Bound<'_, PyAny>, context: &Bound<'_, PyAny>) {
    let Some(link) = link::link() else { give_up(ShimError::ProcessorGone) };
    while take(handler.py()) {
        if let Err(error) = lead_on(link, handler, context) {
            give_up(error);
        }
    }
}

/// Polls until there is something to run, gives the lead away and runs it.
fn lead_on(
    link: &Link,
    handler: &Bound<'_, PyAny>,
    context: &Bound<'_, PyAny>,
) -> Result<(), ShimError> {
    loop {
        match link.next_or_sleep(handler.py())? {
            Some(Down::Event(event)) => {
                give();
                return serve::one(link, handler, context, event);
            }
            Some(Down::Batch(events)) => {
                give();
                return batch::serve(link, handler, context, events);
            }
            None => {}
            Some(Down::Drain { trigger }) => serve::drain(link, context, trigger)?,
            // Nothing can stop a handler in the middle; the worker is retired.
            Some(Down::Cancel { .. }) => {}
            Some(Down::Stop) => {
                end_all();
                return Ok(());
            }
        }
    }
}

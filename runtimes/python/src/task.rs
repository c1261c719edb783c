//! What the event loop of an async handler needs of the rings; the loop itself is
//! `nuclio_sdk/_aio.py`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use pyo3::exceptions::{PyRuntimeError, PyStopIteration};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyEllipsis, PyTuple};
use pyo3::{PyTraverseError, PyVisit, intern};
use shim::{Down, ShimError};

use crate::batch::Batch;
use crate::batch_task::BatchTicket;
use crate::buffer::{self, Sent};
use crate::event::Event;
use crate::finish::{Ended, Turn, finish};
use crate::link::{self, Link, Next};
use crate::serve::log_traceback;
use crate::start::give_up;

/// What the coroutine of an event needs besides the event; set once by the loop.
struct Hooks {
    handler: Py<PyAny>,
    context: Py<PyAny>,
    /// Sets the context variable that holds the claim.
    set_claim: Py<PyAny>,
    /// Has the loop look for work by itself.
    look_soon: Py<PyAny>,
    /// Makes the coroutine that sends a `Stream`.
    sent: Py<PyAny>,
    /// Where tasks begin at once.
    eager: Option<Eager>,
    coroutine_type: Py<PyAny>,
}

/// How the tasks of events begin at once, natively.
struct Eager {
    /// `asyncio.Task`, and how it is called besides the coroutine.
    task: Py<PyAny>,
    options: Py<PyDict>,
    /// Those that wait, by claim.
    waiting: Py<PyDict>,
    /// Called with the claim when one that had waited has ended.
    ended: Py<PyAny>,
}

static HOOKS: OnceLock<Hooks> = OnceLock::new();

/// An event as a coroutine: what the task of an async handler runs. Native, since around a handler
/// that never waits a coroutine in Python would cost more than the rest.
///
/// It holds the only reference of ours to the event, so that what the handler kept can be told from
/// what the loop needs.
#[pyclass(name = "Ticket", module = "_nuclio", frozen)]
pub struct Ticket {
    turn: Turn,
    state: Mutex<State>,
    has_waited: AtomicBool,
    streams: AtomicBool,
    is_over: AtomicBool,
}

#[derive(Default)]
struct State {
    /// Until it is answered, or its reply is streamed.
    event: Option<Py<Event>>,
    /// The handler's coroutine, then the one that sends its stream; `None` while it runs.
    inner: Option<Py<PyAny>>,
    has_begun: bool,
}

/// How a coroutine goes on.
enum Resume<'py> {
    Send,
    Throw(Bound<'py, PyTuple>),
}

impl Ticket {
    fn new(turn: Turn, event: Py<Event>) -> Self {
        Self {
            turn,
            state: Mutex::new(State { event: Some(event), ..State::default() }),
            has_waited: AtomicBool::new(false),
            streams: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One step of the task: what it waits for, or `None` when the event is answered.
    fn resume<'py>(
        &self,
        py: Python<'py>,
        resume: Resume<'py>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(hooks) = HOOKS.get() else {
            return Err(PyRuntimeError::new_err("no loop serves this worker"));
        };
        let inner = {
            let mut state = self.lock();
            match state.inner.take() {
                Some(inner) => Some(inner.into_bound(py)),
                None if state.has_begun => {
                    return Err(PyRuntimeError::new_err("this event runs already, or is answered"));
                }
                None => {
                    state.has_begun = true;
                    None
                }
            }
        };
        let step = match (inner, resume) {
            (Some(inner), Resume::Send) => buffer::send(&inner).map(|sent| (inner, sent)),
            (Some(inner), Resume::Throw(error)) => throw(inner, error),
            (None, Resume::Throw(error)) => Err(raised(&error)),
            (None, Resume::Send) => match self.call(py, hooks) {
                Ok(Called::Waits(inner)) => buffer::send(&inner).map(|sent| (inner, sent)),
                Ok(Called::Done(value)) => return self.answered(py, hooks, Ok(value)),
                Err(error) => Err(error),
            },
        };
        self.stepped(py, hooks, step)
    }

    /// Calls the handler.
    fn call<'py>(&self, py: Python<'py>, hooks: &Hooks) -> PyResult<Called<'py>> {
        hooks.set_claim.bind(py).call1((self.turn.claim,))?;
        let event = self.lock().event.as_ref().map(|event| event.bind(py).clone());
        let result = hooks.handler.bind(py).call1((&hooks.context, event))?;
        if result.get_type().is(&hooks.coroutine_type) {
            return Ok(Called::Waits(result));
        }
        Ok(match result.getattr_opt(intern!(py, "__await__"))? {
            Some(awaits) => Called::Waits(awaits.call0()?),
            None => Called::Done(result),
        })
    }

    /// What came of a step of the handler's coroutine, or of the one that sends its stream.
    fn stepped<'py>(
        &self,
        py: Python<'py>,
        hooks: &Hooks,
        step: PyResult<(Bound<'py, PyAny>, Sent<'py>)>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let result = match step {
            Ok((inner, Sent::Yielded(waits_for))) => {
                self.lock().inner = Some(inner.unbind());
                self.has_waited.store(true, Ordering::Relaxed);
                return Ok(Some(waits_for));
            }
            Ok((_, Sent::Returned(value))) => Ok(value),
            Err(error) => Err(error),
        };
        if self.streams.load(Ordering::Relaxed) {
            self.over(py, hooks, true)?;
            return result.map(|_| None);
        }
        self.answered(py, hooks, result)
    }

    /// Answers with what the handler returned or raised; a stream is begun.
    fn answered<'py>(
        &self,
        py: Python<'py>,
        hooks: &Hooks,
        result: PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self.end(py, result)? {
            Ended::Done(look_again) => self.over(py, hooks, look_again).map(|()| None),
            Ended::Streams(stream) => {
                self.streams.store(true, Ordering::Relaxed);
                let inner = hooks.sent.bind(py).call1((Bound::new(py, *stream)?,))?;
                let step = buffer::send(&inner).map(|sent| (inner, sent));
                self.stepped(py, hooks, step)
            }
        }
    }

    fn over(&self, py: Python<'_>, hooks: &Hooks, look_again: bool) -> PyResult<()> {
        if look_again {
            hooks.look_soon.bind(py).call0()?;
        }
        self.is_over.store(true, Ordering::Relaxed);
        match &hooks.eager {
            Some(eager) if self.has_waited.load(Ordering::Relaxed) => {
                eager.ended.bind(py).call1((self.turn.claim,)).map(|_| ())
            }
            _ => Ok(()),
        }
    }

    fn end<'py>(&self, py: Python<'py>, result: PyResult<Bound<'py, PyAny>>) -> PyResult<Ended> {
        let event = self.lock().event.take();
        let Some(event) = event else {
            return Err(PyRuntimeError::new_err("this event was answered before"));
        };
        // In a forked child there is no link, and `finish` would end the child just the same.
        let Some(link) = link::link() else { give_up(ShimError::ProcessorGone) };
        finish(link, self.turn, event.into_bound(py), result).or_else(|error| give_up(error))
    }
}

/// What a handler gave.
enum Called<'py> {
    Waits(Bound<'py, PyAny>),
    Done(Bound<'py, PyAny>),
}

/// Throws into a coroutine; what it yields or returns then.
fn throw<'py>(
    inner: Bound<'py, PyAny>,
    error: Bound<'py, PyTuple>,
) -> PyResult<(Bound<'py, PyAny>, Sent<'py>)> {
    let py = inner.py();
    match inner.call_method1(intern!(py, "throw"), error) {
        Ok(yielded) => Ok((inner, Sent::Yielded(yielded))),
        Err(error) if error.is_instance_of::<PyStopIteration>(py) => {
            let value = error.value(py).getattr(intern!(py, "value"))?;
            Ok((inner, Sent::Returned(value)))
        }
        Err(error) => Err(error),
    }
}

/// The exception that `throw` was called with: an instance, or as of old a class.
fn raised(error: &Bound<'_, PyTuple>) -> PyErr {
    error.get_item(0).map_or_else(|error| error, PyErr::from_value)
}

/// The protocol of coroutines.
#[pymethods]
impl Ticket {
    #[getter]
    fn claim(&self) -> u64 {
        self.turn.claim
    }

    fn __await__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.resume(py, Resume::Send)
    }

    fn send<'py>(&self, value: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = value.py();
        let waits_for = self.resume(py, Resume::Send)?;
        waits_for.ok_or_else(|| PyStopIteration::new_err(()))
    }

    #[pyo3(signature = (*error))]
    fn throw<'py>(&self, error: Bound<'py, PyTuple>) -> PyResult<Bound<'py, PyAny>> {
        let py = error.py();
        let waits_for = self.resume(py, Resume::Throw(error))?;
        waits_for.ok_or_else(|| PyStopIteration::new_err(()))
    }

    /// Given up by whoever ran it; the answer says so.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let inner = self.lock().inner.take();
        if let Some(inner) = inner {
            let inner = inner.into_bound(py);
            if inner.hasattr(intern!(py, "close"))? {
                inner.call_method0(intern!(py, "close"))?;
            }
        }
        let (has_event, has_begun) = {
            let state = self.lock();
            (state.event.is_some(), state.has_begun)
        };
        if has_event && has_begun {
            self.end(py, Err(PyRuntimeError::new_err("the task of this event was closed")))?;
        }
        Ok(())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // What cannot be seen now counts as reachable, which is safe.
        let Ok(state) = self.state.try_lock() else { return Ok(()) };
        state.inner.as_ref().map_or(Ok(()), |inner| visit.call(inner))?;
        state.event.as_ref().map_or(Ok(()), |event| visit.call(event))
    }

    fn __clear__(&self) {
        let inner = self.state.try_lock().ok().and_then(|mut state| state.inner.take());
        drop(inner);
    }
}

impl Drop for Ticket {
    /// A task that was thrown away before it began has not answered.
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let event = state.event.take();
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

/// Events whose tasks begin in one go, before other callbacks of the loop have their turn.
const EVENTS_A_TURN_MAX: usize = 64;

/// The next thing to do: a `Ticket` or a `BatchTicket`, the claim of an event to be cancelled, True to
/// stop, or in a tuple the number of a trigger that drains. None if there is nothing and the bell will
/// ring. Where tasks begin at once, those of events have begun, and Ellipsis says that there were many.
#[pyfunction]
pub fn next_work<'py>(py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let link = connected();
    let eager = HOOKS.get().and_then(|hooks| hooks.eager.as_ref());
    for _ in 0..EVENTS_A_TURN_MAX {
        return Ok(Some(match link.next().unwrap_or_else(|error| give_up(error)) {
            Next::Armed => return Ok(None),
            Next::Down(Down::Event(event)) => {
                let turn = Turn::of(&event);
                link::want_from(turn.wanted_level);
                let event = Py::new(py, Event::of_slot(event))?;
                let ticket = Bound::new(py, Ticket::new(turn, event))?;
                match eager {
                    None => ticket.into_any(),
                    Some(eager) => {
                        eager.begin(ticket)?;
                        continue;
                    }
                }
            }
            Next::Down(Down::Batch(events)) => {
                Bound::new(py, BatchTicket::new(Batch::new(py, events)?))?.into_any()
            }
            Next::Down(Down::Cancel { claim }) => claim.into_pyobject(py)?.into_any(),
            Next::Down(Down::Stop) => true.into_pyobject(py)?.to_owned().into_any(),
            Next::Down(Down::Drain { trigger }) => (trigger,).into_pyobject(py)?.into_any(),
        }));
    }
    Ok(Some(PyEllipsis::get(py).to_owned().into_any()))
}

impl Eager {
    /// Runs an event up to its first suspension; one that waits then is kept, since a loop knows its
    /// tasks only weakly.
    fn begin(&self, ticket: Bound<'_, Ticket>) -> PyResult<()> {
        let py = ticket.py();
        let task = self.task.bind(py).call((&ticket,), Some(self.options.bind(py)))?;
        if !ticket.get().is_over.load(Ordering::Relaxed) {
            self.waiting.bind(py).set_item(ticket.get().turn.claim, task)?;
        }
        Ok(())
    }
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

/// The fields of [`Eager`], in their order.
type EagerFields = (Py<PyAny>, Py<PyDict>, Py<PyDict>, Py<PyAny>);

/// What the events of this worker run, and the loop that runs them: see [`Hooks`].
#[pyfunction]
pub fn use_loop(
    py: Python<'_>,
    handler: Py<PyAny>,
    context: Py<PyAny>,
    set_claim: Py<PyAny>,
    look_soon: Py<PyAny>,
    sent: Py<PyAny>,
    eager: Option<EagerFields>,
) -> PyResult<()> {
    let coroutine_type = py.import("types")?.getattr("CoroutineType")?.unbind();
    let eager =
        eager.map(|(task, options, waiting, ended)| Eager { task, options, waiting, ended });
    let hooks = Hooks { handler, context, set_claim, look_soon, sent, eager, coroutine_type };
    let first = HOOKS.set(hooks).is_ok();
    first.then_some(()).ok_or_else(|| PyRuntimeError::new_err("a loop serves this worker already"))
}

/// From now on records belong to the event whose claim this `ContextVar` holds.
#[pyfunction]
pub fn use_context_variable(variable: Py<PyAny>) {
    link::set_current_of_task(variable);
}

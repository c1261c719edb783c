//! From the start of the process to the first event, and to the end.
//!
//! What is wrong with the user's code goes to the processor as one sentence and the user's own
//! traceback; what is wrong with this process goes to standard error.

use pyo3::intern;
use pyo3::prelude::*;
use shim::{Offer, ShimError};

use crate::finish::set_error_detail;
use crate::link::{self, Link};
use crate::logger::Logger;
use crate::{buffer, failure, output, serve, strings, threads};

/// Exit code after `give_up`; the processor sees the death, not the number.
const GIVEN_UP: i32 = 1;

/// Ends the process when it cannot go on. User code is not run any more: nobody takes its output.
pub fn give_up(error: ShimError) -> ! {
    if !matches!(error, ShimError::ProcessorGone) {
        eprintln!("nuclio python worker: {error}");
    }
    buffer::exit_now(GIVEN_UP)
}

/// Runs a worker until the processor says stop; called by `worker.py`.
#[pyfunction]
pub fn main(py: Python<'_>) -> PyResult<()> {
    let version = Python::version_str().split_whitespace().next().unwrap_or_default();
    let link = match link::attach(py, version) {
        Ok(link) => link,
        Err(error) => give_up(error),
    };
    let offer = link.offer();
    strings::read_setting();
    set_error_detail(offer.settings.get("errorDetail"));
    let sdk = py.import(intern!(py, "nuclio_sdk"))?;
    failure::set_runtime_folder(format!(
        "{}/",
        sdk.getattr(intern!(py, "__path__"))?.get_item(0)?.extract::<String>()?
    ));
    // A debugger needs the terminal itself.
    if !offer.settings.contains_key("debug") {
        py.import(intern!(py, "nuclio_sdk._streams"))?.call_method0(intern!(py, "install"))?;
    }
    match ready(py, link, offer) {
        Ok(loaded) => loaded.serve(py, link),
        Err(refusal) => {
            output::flush_all();
            if let Err(error) = link.init_failed(refusal.usage, &refusal.text) {
                give_up(error);
            }
            Ok(())
        }
    }
}

/// The user's code, ready to be called.
struct Loaded {
    handler: Py<PyAny>,
    context: Py<PyAny>,
    /// The event loop of an async handler.
    runner: Option<Py<PyAny>>,
}

/// Why the user's code cannot be served.
struct Refusal {
    usage: bool,
    text: String,
}

impl Loaded {
    fn serve(&self, py: Python<'_>, link: &Link) -> PyResult<()> {
        let context = self.context.bind(py);
        let ended = if let Some(runner) = &self.runner {
            runner.bind(py).call_method0(intern!(py, "serve"))?;
            runner.bind(py).call_method0(intern!(py, "terminate"))
        } else {
            match threads(link.offer()) {
                1 => serve::serve(link, self.handler.bind(py), context)
                    .unwrap_or_else(|e| give_up(e)),
                count => threads::serve(py, count, self.handler.bind(py), context)?,
            }
            py.import(intern!(py, "nuclio_sdk._load"))?
                .call_method1(intern!(py, "terminate"), (context,))
        };
        if let Err(error) = ended {
            serve::log_traceback(link, py, error);
        }
        output::flush_all();
        Ok(())
    }
}

/// Loads the code, runs `init_context` and says that events may come.
fn ready(py: Python<'_>, link: &Link, offer: &Offer) -> Result<Loaded, Refusal> {
    let raised = |what: &str, error: PyErr| {
        let error = error.into_value(py).into_bound(py);
        let (line, trace) = (failure::last_line(&error), failure::traceback(&error));
        Refusal { usage: false, text: format!("{what}: {line}\n{}", trace.trim_end()) }
    };
    let load = py
        .import(intern!(py, "nuclio_sdk._load"))
        .map_err(|error| raised("the Python runtime is damaged", error))?;
    let code = load.call_method1(intern!(py, "load"), (&offer.code_path, &offer.handler)).map_err(
        |error| refusal_of(py, &load, error).unwrap_or_else(|e| raised(&offer.code_path, e)),
    )?;
    let loaded = prepare(py, &load, &code, offer).map_err(|(what, error)| {
        refusal_of(py, &load, error).unwrap_or_else(|error| raised(what, error))
    })?;
    let concurrency = concurrency(offer, loaded.runner.is_some());
    if let Err(error) = link.ready(concurrency) {
        give_up(error);
    }
    Ok(loaded)
}

/// Events, or batches of them, that the worker takes at once.
fn concurrency(offer: &Offer, is_async: bool) -> u32 {
    if is_async {
        let batch = setting(offer, "batchSize").unwrap_or(1).max(1);
        return (offer.max_inflight / batch).max(1);
    }
    threads(offer)
}

/// The event loop that is asked for: `loop: uvloop`, or `uvloop: true`.
fn loop_kind(offer: &Offer) -> &str {
    let get = |name| offer.settings.get(name).map_or("", String::as_str);
    match (get("loop"), get("uvloop")) {
        ("", "true") => "uvloop",
        (kind, _) => kind,
    }
}

/// Threads that run a sync handler.
fn threads(offer: &Offer) -> u32 {
    setting(offer, "threads").unwrap_or(1).max(1)
}

fn setting(offer: &Offer, name: &str) -> Option<u32> {
    offer.settings.get(name).and_then(|text| text.parse().ok())
}

/// Makes the context, the loop if there must be one, and runs `init_context`; an error comes with
/// what failed.
fn prepare(
    py: Python<'_>,
    load: &Bound<'_, PyAny>,
    code: &Bound<'_, PyAny>,
    offer: &Offer,
) -> Result<Loaded, (&'static str, PyErr)> {
    let broken = |error| ("the Python runtime cannot start", error);
    let context = context(py, offer).map_err(broken)?;
    let get = |name| code.getattr(name).map_err(broken);
    let (handler, init) = (get("handler")?, get("init_context")?);
    let runner = if get("is_async")?.is_truthy().map_err(broken)? {
        let aio = py.import(intern!(py, "nuclio_sdk._aio")).map_err(broken)?;
        let kind = loop_kind(offer);
        Some(aio.call_method1(intern!(py, "Runner"), (&handler, &context, kind)).map_err(broken)?)
    } else {
        None
    };
    if !init.is_none() {
        match &runner {
            Some(runner) => runner.call_method1(intern!(py, "init"), (init,)),
            None => load.call_method1(intern!(py, "init"), (init, &context)),
        }
        .map_err(|error| ("init_context failed", error))?;
    }
    let runner = runner.map(Bound::unbind);
    Ok(Loaded { handler: handler.unbind(), context: context.unbind(), runner })
}

/// A sentence that the loader made itself: the code cannot be a function as it stands.
fn refusal_of(py: Python<'_>, load: &Bound<'_, PyAny>, error: PyErr) -> Result<Refusal, PyErr> {
    let class = load.getattr(intern!(py, "Unusable"))?;
    if error.value(py).is_instance(&class)? {
        return Ok(Refusal { usage: true, text: error.value(py).str()?.extract()? });
    }
    Err(error)
}

/// The context that every call of the handler gets.
fn context<'py>(py: Python<'py>, offer: &Offer) -> PyResult<Bound<'py, PyAny>> {
    let logger = Bound::new(py, Logger::of_level(py, offer.log_level))?;
    let trigger = offer.triggers.first().and_then(|t| link::trigger(py, t.id));
    let named = pyo3::types::PyDict::new(py);
    named.set_item(intern!(py, "logger"), logger)?;
    named.set_item(intern!(py, "worker_id"), offer.worker_id)?;
    named.set_item(intern!(py, "trigger"), trigger)?;
    named.set_item(intern!(py, "function_name"), &offer.function)?;
    named.set_item(intern!(py, "function_version"), &offer.version)?;
    named.set_item(intern!(py, "namespace"), &offer.namespace)?;
    py.import(intern!(py, "nuclio_sdk"))?.getattr(intern!(py, "Context"))?.call((), Some(&named))
}

//! `context.logger`: records with a level, a message and fields, as in nuclio's SDK.
//!
//! A record below the level costs one comparison. Fields become JSON here, so that the processor
//! only has to look at it once.

use std::io::Write;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyInt, PyString, PyTuple};
use shim::{Level, Origin};

use crate::{json, link};

/// See the module.
#[pyclass(name = "Logger", module = "nuclio_sdk", dict, subclass)]
pub struct Logger {
    level: AtomicU8,
    bound: Py<PyDict>,
    /// Without a processor: where records go, and what writes them.
    handler: Mutex<Option<(Py<PyAny>, Py<PyAny>)>>,
}

impl Logger {
    pub fn of_level(py: Python<'_>, level: u8) -> Self {
        Self {
            level: AtomicU8::new(level),
            bound: PyDict::new(py).unbind(),
            handler: Mutex::new(None),
        }
    }

    #[inline]
    fn wants(&self, level: Level) -> bool {
        level as u8 >= self.level.load(Ordering::Relaxed).min(link::wanted_level())
    }

    fn log(
        &self,
        py: Python<'_>,
        level: Level,
        message: &Bound<'_, PyAny>,
        args: &Bound<'_, PyTuple>,
        fields: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<()> {
        if !self.wants(level) {
            return Ok(());
        }
        let text = formatted(message, args)?;
        let fields = self.fields_json(py, fields)?;
        let text = text.to_string_lossy();
        match link::link() {
            Some(link) => {
                let claim = link::current_claim(py);
                link.log(level, Origin::Logger, claim, text.as_bytes(), &fields);
            }
            None => self.write_by_hand(py, level, text.as_bytes(), &fields)?,
        }
        Ok(())
    }

    /// For a test that has set a handler, or for a terminal.
    #[cold]
    fn write_by_hand(
        &self,
        py: Python<'_>,
        level: Level,
        text: &[u8],
        fields: &[u8],
    ) -> PyResult<()> {
        let handler = self.handler.lock().unwrap_or_else(PoisonError::into_inner);
        let handler = handler.as_ref().map(|(file, form)| (file.clone_ref(py), form.clone_ref(py)));
        let Some((file, formatter)) = handler else {
            print_real(level, text, fields);
            return Ok(());
        };
        let fields = if fields.is_empty() { b"{}" } else { fields };
        let number = (level as i32 + 1) * 10;
        py.import("nuclio_sdk.logger")?.getattr("write_record")?.call1((
            file,
            formatter,
            number,
            String::from_utf8_lossy(text),
            String::from_utf8_lossy(fields),
        ))?;
        Ok(())
    }

    /// The fields of this record and the bound ones, which win, as in nuclio.
    fn fields_json(&self, py: Python<'_>, fields: Option<&Bound<'_, PyDict>>) -> PyResult<Vec<u8>> {
        let bound = self.bound.bind(py);
        match fields.filter(|fields| !fields.is_empty()) {
            Some(fields) if bound.is_empty() => Ok(json::dumps_lenient(fields)),
            Some(fields) => {
                let all = fields.copy()?;
                all.update(bound.as_mapping())?;
                Ok(json::dumps_lenient(&all))
            }
            None if bound.is_empty() => Ok(Vec::new()),
            None => Ok(json::dumps_lenient(bound)),
        }
    }
}

/// `message % args`, and the parts side by side where they do not fit: a log line is no reason to
/// fail an event.
fn formatted<'py>(
    message: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
) -> PyResult<Bound<'py, PyString>> {
    let text = message.str()?;
    if args.is_empty() {
        return Ok(text);
    }
    match text.rem(args).and_then(|text| text.str()) {
        Ok(formatted) => Ok(formatted),
        Err(_) => Ok(PyString::new(message.py(), &format!("{text} {args}"))),
    }
}

fn print_real(level: Level, text: &[u8], fields: &[u8]) {
    let name = match level {
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    };
    let line = [name.as_bytes(), b" ", text, b" ", fields].concat();
    let mut err = std::io::stderr();
    // There is nobody left to tell of an error here.
    let _ = err.write_all(line.trim_ascii_end()).and_then(|()| err.write_all(b"\n"));
}

fn level_number(level: &Bound<'_, PyAny>) -> PyResult<u8> {
    if let Ok(name) = level.cast::<PyString>() {
        if let Some(level) = level_named(name.to_str()?) {
            return Ok(level as u8);
        }
    } else if let Ok(number) = level.cast::<PyInt>() {
        // The numbers of Python's logging module: 10 debug to 40 error.
        return Ok((number.extract::<i64>()? / 10 - 1).clamp(0, 3) as u8);
    }
    let text = level.repr()?;
    Err(PyValueError::new_err(format!("a log level is debug, info, warn or error, not {text}")))
}

fn level_named(name: &str) -> Option<Level> {
    Some(match name.to_ascii_lowercase().as_str() {
        "debug" => Level::Debug,
        "info" => Level::Info,
        "warn" | "warning" => Level::Warn,
        "error" | "critical" => Level::Error,
        _ => return None,
    })
}

macro_rules! logger_class {
    ($($plain:ident $with:ident $level:ident;)*) => {
        #[pymethods]
        impl Logger {
            #[new]
            #[pyo3(signature = (level = None, name = None))]
            fn new(
                py: Python<'_>,
                level: Option<&Bound<'_, PyAny>>,
                name: Option<&Bound<'_, PyAny>>,
            ) -> PyResult<Self> {
                let _ = name;
                let level = level.map_or(Ok(Level::Debug as u8), level_number)?;
                Ok(Self::of_level(py, level))
            }

            $(
                #[pyo3(signature = (message, *args))]
                fn $plain(
                    &self,
                    message: &Bound<'_, PyAny>,
                    args: &Bound<'_, PyTuple>,
                ) -> PyResult<()> {
                    self.log(message.py(), Level::$level, message, args, None)
                }

                #[pyo3(signature = (message, *args, **fields))]
                fn $with(
                    &self,
                    message: &Bound<'_, PyAny>,
                    args: &Bound<'_, PyTuple>,
                    fields: Option<&Bound<'_, PyDict>>,
                ) -> PyResult<()> {
                    self.log(message.py(), Level::$level, message, args, fields)
                }
            )*

            /// Adds fields to every record from now on.
            #[pyo3(signature = (**fields))]
            fn bind(&self, py: Python<'_>, fields: Option<&Bound<'_, PyDict>>) -> PyResult<()> {
                match fields {
                    Some(fields) => self.bound.bind(py).update(fields.as_mapping()),
                    None => Ok(()),
                }
            }

            /// Without a processor, in a test: writes records to `file` in the form of `formatter`.
            fn set_handler(&self, handler_name: &str, file: Py<PyAny>, formatter: Py<PyAny>) {
                let _ = handler_name;
                let new = Some((file, formatter));
                let old = std::mem::replace(
                    &mut *self.handler.lock().unwrap_or_else(PoisonError::into_inner),
                    new,
                );
                // Its code may run when it goes, so it goes outside the lock.
                drop(old);
            }

            /// Lowest level that is recorded: debug, info, warn or error.
            #[pyo3(name = "set_level")]
            fn change_level(&self, level: &Bound<'_, PyAny>) -> PyResult<()> {
                self.level.store(level_number(level)?, Ordering::Relaxed);
                Ok(())
            }

            fn __traverse__(&self, visit: pyo3::PyVisit<'_>) -> Result<(), pyo3::PyTraverseError> {
                visit.call(&self.bound)
            }
        }
    };
}

logger_class! {
    debug debug_with Debug;
    info info_with Info;
    warn warn_with Warn;
    warning warning_with Warn;
    error error_with Error;
}

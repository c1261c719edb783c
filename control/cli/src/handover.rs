//! Becomes the processor: one process, one pid, from the command line to the last event.
//!
//! The configuration goes over in an open file without a name, so that nothing is left on disk
//! however the processor ends.

use std::ffi::OsString;
use std::fs::File;
use std::io::{PipeReader, Seek, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::fs::MemfdFlags;
use rustix::io::FdFlags;

use crate::output::Failure;
use crate::process_flags::ProcessFlags;

/// How the processor is to be started.
#[derive(Debug)]
pub struct Handover {
    pub processor: PathBuf,
    pub runtimes: PathBuf,
    pub python: Option<PathBuf>,
    pub namespace: String,
    pub flags: ProcessFlags,
    pub watch: bool,
    pub lenient: bool,
    pub debug: bool,
    /// Where events are recorded.
    pub record: Option<PathBuf>,
    /// "people" or "json"; none leaves it to the processor's own environment twin.
    pub log_format: Option<&'static str>,
    /// The function, as JSON.
    pub config: String,
}

/// Returns only when the processor could not be started.
pub fn hand_over(handover: &Handover) -> Failure {
    let config = match config_file(&handover.config) {
        Ok(file) => file,
        Err(error) => return not_handed_over(&error),
    };
    let arguments = arguments(handover, config.as_raw_fd());
    let error = Command::new(&handover.processor).args(arguments).exec();
    not_started(handover, &error)
}

/// A processor that serves this very program, and ends with it.
pub struct Started {
    pub child: Child,
    /// Gets the URL as a line when the function is ready; ends when the processor does.
    pub ready: PipeReader,
}

/// Starts a processor beside this program. What it says goes to stderr, except that a debugger has
/// the terminal. Signals that are blocked here stay blocked for it.
pub fn start(handover: &Handover) -> Result<Started, Failure> {
    let config = config_file(&handover.config).map_err(|error| not_handed_over(&error))?;
    let (ready, theirs) = std::io::pipe().map_err(|error| not_handed_over(&error))?;
    let inherited = rustix::io::fcntl_setfd(&theirs, FdFlags::empty());
    inherited.map_err(|errno| not_handed_over(&errno.into()))?;
    let mut command = Command::new(&handover.processor);
    command.args(arguments(handover, config.as_raw_fd()));
    command.arg("--ready-fd").arg(theirs.as_raw_fd().to_string());
    for twin in ["NUCLIO_RECORD", "NUCLIO_WATCH", "NUCLIO_DEBUG"] {
        command.env_remove(twin);
    }
    if !handover.debug {
        let stderr = std::io::stderr().as_fd().try_clone_to_owned();
        command.stdin(Stdio::null());
        command.stdout(stderr.map_or_else(|_| Stdio::null(), Stdio::from));
    }
    match command.spawn() {
        Ok(child) => Ok(Started { child, ready }),
        Err(error) => Err(not_started(handover, &error)),
    }
}

fn not_handed_over(error: &std::io::Error) -> Failure {
    Failure::failed(format!(
        "the configuration cannot be handed to the processor: {error}; is {} writable?",
        std::env::temp_dir().display()
    ))
}

fn not_started(handover: &Handover, error: &std::io::Error) -> Failure {
    Failure::usage(format!(
        "the processor {} cannot be started: {error}; install nuclio anew, or set \
         NUCLIO_PROCESSOR to another",
        handover.processor.display()
    ))
}

fn arguments(handover: &Handover, config_fd: i32) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = Vec::new();
    let mut add = |flag: &str, value: &str| arguments.extend([flag.into(), value.into()]);
    add("--config-fd", &config_fd.to_string());
    add("--namespace", &handover.namespace);
    let flags = &handover.flags;
    let texts = [
        ("--log-format", handover.log_format.map(str::to_owned)),
        ("--host", flags.host.map(|host| host.to_string())),
        ("--port", flags.port.map(|port| port.to_string())),
        ("--workers", flags.workers.clone()),
        ("--admin", flags.admin.map(|admin| admin.to_string())),
        ("--log-level", flags.log_level.map(str::to_owned)),
    ];
    for (flag, value) in texts {
        if let Some(value) = value {
            add(flag, &value);
        }
    }
    let paths = [
        ("--runtimes", Some(&handover.runtimes)),
        ("--python", handover.python.as_ref()),
        ("--record", handover.record.as_ref()),
    ];
    for (flag, path) in paths {
        arguments
            .extend(path.into_iter().flat_map(|path| [flag.into(), path.as_os_str().to_owned()]));
    }
    let switches =
        [("--watch", handover.watch), ("--lenient", handover.lenient), ("--debug", handover.debug)];
    for (flag, is_set) in switches {
        arguments.extend(is_set.then(|| flag.into()));
    }
    arguments
}

/// An open file without a name that the next program inherits, read from its start.
fn config_file(text: &str) -> std::io::Result<File> {
    // The folder for temporary files may be read-only, and then memory will do.
    let mut file = tempfile::tempfile().or_else(|_| {
        rustix::fs::memfd_create("nuclio-config", MemfdFlags::CLOEXEC).map(File::from)
    })?;
    file.write_all(text.as_bytes())?;
    file.rewind()?;
    rustix::io::fcntl_setfd(&file, FdFlags::empty())?;
    Ok(file)
}

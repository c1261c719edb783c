//! Becomes the processor: one process, one pid, from the command line to the last event.
//!
//! The configuration goes over in an open file without a name, so that nothing is left on disk
//! however the processor ends.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

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
    /// "people" or "json"; none leaves it to the processor's own environment twin.
    pub log_format: Option<&'static str>,
    /// The function, as JSON.
    pub config: String,
}

/// Returns only when the processor could not be started.
pub fn hand_over(handover: &Handover) -> Failure {
    let config = match config_file(&handover.config) {
        Ok(file) => file,
        Err(e) => {
            return Failure::failed(format!(
                "the configuration cannot be handed to the processor: {e}; is {} writable?",
                std::env::temp_dir().display()
            ));
        }
    };
    let arguments = arguments(handover, config.as_raw_fd());
    let error = Command::new(&handover.processor).args(arguments).exec();
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
    let paths = [("--runtimes", Some(&handover.runtimes)), ("--python", handover.python.as_ref())];
    for (flag, path) in paths {
        arguments
            .extend(path.into_iter().flat_map(|path| [flag.into(), path.as_os_str().to_owned()]));
    }
    for (flag, is_set) in [("--watch", handover.watch), ("--lenient", handover.lenient)] {
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

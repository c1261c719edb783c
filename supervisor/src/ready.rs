//! What happens once all workers are ready for the first time.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::sync::Arc;

use nix::sys::prctl;
use nix::sys::signal::{Signal, raise};

use crate::args::Args;
use crate::config::Config;
use crate::log::{self, Log};
use crate::prepare;
use crate::registry::{Registration, State};
use crate::workers::OnReady;

/// What happens once all workers are ready: one line for people, and the state for other programs.
pub fn ready_line(
    config: &Config,
    url: String,
    admin_url: String,
    log: &Log,
    registration: Option<Arc<Registration>>,
    starter: Option<File>,
) -> OnReady {
    let (name, namespace) = (config.name().to_string(), config.namespace.clone());
    let (language, workers) = (config.runtime.file.id.clone(), config.worker_count());
    let for_starter = url.clone();
    let (started, log) = (config.started, log.clone());
    Box::new(move |version| {
        let plural = if workers == 1 { "" } else { "s" };
        let ms = started.elapsed().as_millis();
        let mut line = format!(
            "{name} ({language} {version}) is ready: {url} · {workers} worker{plural} · {ms} ms"
        );
        if !admin_url.ends_with(&format!(":{}", prepare::ADMIN_PORT)) {
            line.push_str(&format!(" · admin {admin_url}"));
        }
        let state = State {
            name,
            namespace,
            pid: std::process::id(),
            url,
            admin: admin_url,
            runtime: format!("{language} {version}"),
            started_unix_ms: log::now_ns() / 1_000_000,
        };
        if let Some(Err(error)) = registration.map(|r| r.write_state(&state)) {
            log.warn(format!("other programs cannot find this function by name: {error}"));
        }
        // Last, so that who waits for this line finds the function by its name.
        let Some(mut starter) = starter else { return log.result(line) };
        log.info(line);
        if writeln!(starter, "{for_starter}").is_err() {
            // Nobody is left to use the function.
            let _ = raise(Signal::SIGTERM);
        }
    })
}

/// The descriptor of the program that started us for its own use; it gets the URL. When that
/// program ends, so do we.
pub fn starter(args: &Args) -> io::Result<Option<File>> {
    let Some(fd) = args.ready_fd else { return Ok(None) };
    prctl::set_pdeathsig(Signal::SIGTERM)?;
    let file = OpenOptions::new().write(true).open(format!("/proc/self/fd/{fd}"))?;
    // It was passed to us open; workers must not get it too.
    nix::unistd::close(fd)?;
    Ok(Some(file))
}

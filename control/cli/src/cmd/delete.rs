//! `nuclio delete`: ends functions that run here in good order, and says so.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::args::{DeleteArgs, Global, Origins};
use crate::locate::Surroundings;
use crate::output::{EXIT_FAILED, EXIT_OK, Failure, Mistakes, report};
use crate::registry::{self, Entry};
use crate::{interrupt, names};

pub fn delete(
    args: &DeleteArgs,
    global: &Global,
    origins: &Origins,
    around: &Surroundings,
) -> Result<u8, Failure> {
    interrupt::end_with_130();
    let mut mistakes = Mistakes::default();
    let wanted = match super::get::without_kind(&args.words) {
        // The kind alone is a function of that name.
        [] => &args.words[..],
        names => names,
    };
    wanted.iter().for_each(|name| _ = mistakes.keep(names::check("NAME", name)));
    let namespace = global.namespace.as_deref().unwrap_or(names::NAMESPACE_DEFAULT);
    mistakes.keep(names::check(&origins.of("namespace"), namespace));
    // Zero waits for ever elsewhere; here it does not wait.
    let limit = super::exec::read_timeout(&args.timeout).map(Option::unwrap_or_default);
    let limit = limit.map_err(|told| format!("{}: {told}", origins.of("timeout")));
    let (Some(limit), true) = (mistakes.keep(limit), mistakes.are_none()) else {
        return Err(mistakes.into_failure());
    };
    let folder = registry::folder(around).map_err(Failure::failed)?;
    let mut code = EXIT_OK;
    for name in wanted {
        match end(&folder, namespace, name, limit) {
            Ok(told) => super::print_text(&format!("{told}\n"))?,
            Err(told) => {
                code = EXIT_FAILED;
                report(&Failure::failed(told));
            }
        }
    }
    Ok(code)
}

fn end(registry: &Path, namespace: &str, name: &str, limit: Duration) -> Result<String, String> {
    let folder = registry::folder_of(registry, namespace, name);
    match registry::entry(&folder)? {
        None => registry::find(registry, namespace, name)
            .map(|_| unreachable_state(name))
            .and_then(Err::<String, _>),
        Some(Entry::Dead(_)) => {
            registry::clean(&folder);
            Ok(format!("{name} was dead; what it left is removed"))
        }
        Some(alive) => end_process(&folder, name, alive.pid(), limit),
    }
}

/// It began between two looks.
fn unreachable_state(name: &str) -> String {
    format!("{name} has started just now; delete it again")
}

fn end_process(folder: &Path, name: &str, pid: i32, limit: Duration) -> Result<String, String> {
    let cannot = |error| format!("{name} (pid {pid}) cannot be ended: {error}");
    let raw =
        Pid::from_raw(pid).ok_or_else(|| format!("{name} has the pid {pid}, which is none"))?;
    let process = pidfd_open(raw, PidfdFlags::empty()).map_err(cannot)?;
    // The lock is held still, so this handle is of the processor and not of a later process.
    if !registry::lock_is_held(&folder.join("lock")) {
        return Ok(format!("{name} has ended"));
    }
    pidfd_send_signal(&process, Signal::TERM).map_err(cannot)?;
    if limit.is_zero() {
        return Ok(format!("{name} is draining"));
    }
    let until = Instant::now() + limit;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let time = Timespec::try_from(left).map_err(|e| e.to_string())?;
        match poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&time)) {
            Ok(1..) => return Ok(format!("{name} has ended")),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(cannot(error)),
            Ok(0) => {
                return Err(format!(
                    "{name} (pid {pid}) still drains after {limit:?}: events are in flight; wait \
                     longer with --timeout, or end it now with: kill -9 {pid}"
                ));
            }
        }
    }
}

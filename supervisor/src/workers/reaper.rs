//! Ends processes and takes their last word: the only place that calls waitid.
//!
//! Workers are reaped by their pidfd, once the data thread has settled what they held. Whatever else
//! becomes a child of ours was left behind by a worker: it is reaped when it ends, and killed when
//! its worker has died.

use std::fmt;
use std::fs;
use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use rustix::process::{WaitId, WaitIdOptions};

/// Orphans dealt with in one go; more are left for the next signal.
const ORPHANS_PER_TURN_MAX: usize = 256;
/// Environment variable by which a stray process is traced to its worker.
pub const WORKER_ID_ENV: &str = "NUCLIO_WORKER_ID";

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(i32),
    /// Another reaper was faster; there should be none.
    Unknown,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exit code {code}"),
            Exit::Signal(number) => match Signal::try_from(*number) {
                Ok(signal) => write!(f, "killed by signal {number} ({signal})"),
                Err(_) => write!(f, "killed by signal {number}"),
            },
            Exit::Unknown => write!(f, "ended in an unknown way"),
        }
    }
}

/// Reaps a worker; `None` while it still runs.
pub fn reap(pidfd: BorrowedFd<'_>) -> Option<Exit> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    match rustix::process::waitid(WaitId::PidFd(pidfd), options) {
        Ok(None) => None,
        Ok(Some(status)) => Some(match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Exit::Code(code),
            (None, Some(signal)) => Exit::Signal(signal),
            (None, None) => Exit::Unknown,
        }),
        Err(_) => Some(Exit::Unknown),
    }
}

/// Kills a worker and what it started, unless that left its process group. One at our terminal has
/// no group of its own, and what it started is found as a stray.
///
/// Safe until the worker is reaped: a leader that has ended but is not reaped keeps the number.
pub fn kill_group(pid: i32) {
    let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
}

/// Reaps ended children that are no workers.
pub fn reap_orphans(is_worker: impl Fn(i32) -> bool) {
    let peek = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    for _ in 0..ORPHANS_PER_TURN_MAX {
        match waitid(Id::All, peek) {
            Ok(status) => match status.pid() {
                Some(pid) if !is_worker(pid.as_raw()) => reap_pid(pid),
                // A worker whose end is not settled yet would be shown again and again.
                Some(_) => break,
                None => return,
            },
            Err(Errno::ECHILD) => return,
            // Ended by a signal that nix has no name for.
            Err(_) => break,
        }
    }
    for pid in children().into_iter().filter(|pid| !is_worker(*pid)) {
        reap_pid(Pid::from_raw(pid));
    }
}

fn reap_pid(pid: Pid) {
    let _: Result<WaitStatus, Errno> =
        waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG);
}

/// Kills children of ours that a dead worker left behind, in a session of their own perhaps.
///
/// `is_worker` knows pids, `is_alive` worker ids: what a living worker started is its own business.
pub fn kill_strays(is_worker: impl Fn(i32) -> bool, is_alive: impl Fn(u32) -> bool) {
    // As pid 1 of a container we also adopt what others started there.
    let adopts_strangers = std::process::id() == 1;
    for pid in children().into_iter().filter(|pid| !is_worker(*pid)) {
        let is_stray = match worker_of(pid) {
            Some(id) => !is_alive(id),
            None => !adopts_strangers,
        };
        if is_stray {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

/// The worker that a process descends from, by the environment it was given.
fn worker_of(pid: i32) -> Option<u32> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let value = environment
        .split(|byte| *byte == 0)
        .find_map(|pair| pair.strip_prefix(WORKER_ID_ENV.as_bytes())?.strip_prefix(b"="))?;
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Whether any child is left, ended or not.
pub fn has_children() -> bool {
    let peek = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    waitid(Id::All, peek) != Err(Errno::ECHILD)
}

/// Our children, at most [`ORPHANS_PER_TURN_MAX`] of each thread.
fn children() -> Vec<i32> {
    let Ok(threads) = fs::read_dir("/proc/self/task") else { return Vec::new() };
    let lists: Vec<String> = threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
        .collect();
    if lists.is_empty() {
        return children_by_parent();
    }
    let pids = |list: &String| -> Vec<i32> {
        list.split_whitespace().take(ORPHANS_PER_TURN_MAX).flat_map(str::parse).collect()
    };
    lists.iter().flat_map(pids).collect()
}

/// For kernels without the `children` file.
fn children_by_parent() -> Vec<i32> {
    let us = std::process::id().to_string();
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let is_ours = |pid: &i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name in front may contain anything, blanks and parentheses included.
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        after_name.split_whitespace().nth(1) == Some(us.as_str())
    };
    processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(is_ours)
        .take(ORPHANS_PER_TURN_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::process::{Command, Stdio};

    #[test]
    fn ends_are_told_in_words() {
        assert_eq!(Exit::Code(3).to_string(), "exit code 3");
        assert_eq!(Exit::Signal(9).to_string(), "killed by signal 9 (SIGKILL)");
        assert_eq!(Exit::Signal(40).to_string(), "killed by signal 40");
    }

    #[test]
    fn a_child_is_listed_traced_and_reaped() {
        let child = Command::new("/bin/cat")
            .env(WORKER_ID_ENV, "77")
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        assert!(children().contains(&pid), "{:?}", children());
        assert!(children_by_parent().contains(&pid));
        assert_eq!(worker_of(pid), Some(77));
        let raw = rustix::process::Pid::from_raw(pid).unwrap();
        let pidfd = rustix::process::pidfd_open(raw, rustix::process::PidfdFlags::empty()).unwrap();
        assert_eq!(reap(pidfd.as_fd()), None, "it waits for its stdin");
        drop(child);
        let mut fds = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut fds, None).unwrap();
        assert_eq!(reap(pidfd.as_fd()), Some(Exit::Code(0)));
        assert_eq!(reap(pidfd.as_fd()), Some(Exit::Unknown), "only once");
    }
}

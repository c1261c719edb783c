//! Starts one worker process: its command line, environment, descriptors and process group.
//!
//! Never through a shell. What must happen between fork and the worker's program is done by
//! `worker-init`, in a process of its own.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use command_fds::{CommandFdExt, FdMapping};
use rings::attach::socket_pair;
use rustix::io::ioctl_fionbio;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::init::InitOrder;
use super::reaper::WORKER_ID_ENV;
use crate::crossing::WorkerId;

/// The worker's end of the handshake socket; the first number after the standard three.
const WORKER_FD: i32 = 3;

/// How workers of this function are started.
#[derive(Clone)]
pub struct Launch {
    /// This program, which is its own `worker-init`.
    pub program: OsString,
    /// The worker's program and its arguments.
    pub command_line: Vec<String>,
    /// Added to the processor's own environment. Values may be secret: never logged.
    pub env: Vec<(String, String)>,
    /// The limit of open files the processor was started with; 0 = leave it.
    pub nofile: u64,
    /// The worker shares our terminal: its standard streams are ours, and so is its process group.
    pub at_terminal: bool,
}

/// A process that has just been started.
pub struct Spawned {
    /// Also its process group, unless it is at our terminal.
    pub pid: i32,
    pub pidfd: OwnedFd,
    pub socket: OwnedFd,
    /// Its output, unless that goes to our terminal. Our ends do not block; the worker's are its own.
    pub stdout: Option<OwnedFd>,
    pub stderr: Option<OwnedFd>,
}

/// Starts a process that finds the number of its socket in the environment variable `socket_env`.
///
/// Call from a thread that outlives the worker: it is killed when the thread that started it ends.
pub fn spawn(launch: &Launch, socket_env: &str, id: WorkerId) -> io::Result<Spawned> {
    let (ours, theirs) = socket_pair()?;
    let parent = i32::try_from(std::process::id()).map_err(io::Error::other)?;
    let mut command = Command::new(&launch.program);
    command
        .args(InitOrder { parent, nofile: launch.nofile }.to_arguments())
        .args(&launch.command_line)
        .envs(launch.env.iter().map(|(name, value)| (name, value)))
        .env(socket_env, WORKER_FD.to_string())
        // Of a fixed width: a forked worker writes its own number over it.
        .env(WORKER_ID_ENV, format!("{id:010}"))
        .fd_mappings(vec![FdMapping { parent_fd: theirs, child_fd: WORKER_FD }])
        .map_err(io::Error::other)?;
    if !launch.at_terminal {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    }
    // Dropping the handle neither kills nor reaps: both are the reaper's.
    let mut child = command.spawn()?;
    let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
    let raw = Pid::from_raw(pid).ok_or(io::ErrorKind::NotFound)?;
    let stdout = child.stdout.take().map(OwnedFd::from);
    let stderr = child.stderr.take().map(OwnedFd::from);
    let pipes = [&stdout, &stderr];
    let supervised = pidfd_open(raw, PidfdFlags::empty()).and_then(|pidfd| {
        let set = pipes.into_iter().flatten().try_for_each(|pipe| ioctl_fionbio(pipe, true));
        set.map(|()| pidfd)
    });
    match supervised {
        Ok(pidfd) => Ok(Spawned { pid, pidfd, socket: ours, stdout, stderr }),
        Err(errno) => {
            let _ = child.kill();
            let _ = child.wait();
            Err(io::Error::other(format!(
                "pidfd_open: {errno}; Linux 5.4 or later is needed, without a filter that forbids it"
            )))
        }
    }
}

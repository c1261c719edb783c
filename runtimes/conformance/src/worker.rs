//! The process under test: started with its socket, ended with everything it started.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use command_fds::{CommandFdExt, FdMapping};
use rings::attach::WORKER_FD_ENV;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use crate::limits::LAST_WORDS_BYTES;

/// The worker's end of its socket, the first number after the standard three.
const WORKER_FD: i32 = 3;

/// A process of its own group.
pub struct Process {
    child: Child,
    group: Pid,
    pub ended: OwnedFd,
    errors: File,
}

impl Process {
    /// Starts a worker; without a socket as somebody would by hand.
    pub fn start(mut command: Command, socket: Option<OwnedFd>) -> Result<Self> {
        let errors = tempfile::tempfile()?;
        command.env_remove(WORKER_FD_ENV).process_group(0).stdin(Stdio::null());
        command.stdout(errors.try_clone()?).stderr(errors.try_clone()?);
        if let Some(theirs) = socket {
            command.env(WORKER_FD_ENV, WORKER_FD.to_string());
            command.fd_mappings(vec![FdMapping { parent_fd: theirs, child_fd: WORKER_FD }])?;
        }
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().with_context(|| format!("{program} cannot be started"))?;
        let number = i32::try_from(child.id())?;
        let group = Pid::from_raw(number).context("a process without a number")?;
        let ended = pidfd_open(group, PidfdFlags::empty())?;
        Ok(Self { child, group, ended, errors })
    }

    pub fn has_ended(&mut self) -> bool {
        is_readable(&self.ended, Duration::ZERO)
    }

    /// Its last word, which must come in time.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        if !is_readable(&self.ended, limit) {
            bail!("the worker is still there after {} s", limit.as_secs());
        }
        Ok(self.child.wait()?)
    }

    pub fn kill(&self) {
        // Not reaped yet, so the number of the group is its.
        let _ = kill_process_group(self.group, Signal::KILL);
    }

    /// Waits until no process of the worker's group runs; false if one still does after the limit.
    pub fn leaves_nothing(&self, limit: Duration) -> Result<bool> {
        let until = Instant::now() + limit;
        while let Some(one) = self.one_of_group()? {
            let left = until.saturating_duration_since(Instant::now());
            // One that has gone meanwhile has no descriptor.
            if let Ok(ended) = pidfd_open(one, PidfdFlags::empty())
                && !is_readable(&ended, left)
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A process of the group that has not ended.
    fn one_of_group(&self) -> Result<Option<Pid>> {
        for entry in std::fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.parse::<i32>().ok());
            let Some(pid) = number.and_then(Pid::from_raw) else { continue };
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
            // Behind the name, which may hold anything: state, parent, group.
            let stat = stat.unwrap_or_default();
            let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
            let has_ended = matches!(fields.next(), None | Some("Z" | "X"));
            let group = fields.nth(1).and_then(|group| group.parse().ok());
            if !has_ended && group.and_then(Pid::from_raw) == Some(self.group) {
                return Ok(Some(pid));
            }
        }
        Ok(None)
    }

    /// The end of what it printed.
    pub fn last_words(&mut self) -> String {
        let mut bytes = Vec::new();
        let read = self.errors.seek(SeekFrom::Start(0));
        if read.and_then(|_| self.errors.read_to_end(&mut bytes)).is_err() {
            return String::new();
        }
        let from = bytes.len().saturating_sub(LAST_WORDS_BYTES);
        String::from_utf8_lossy(&bytes[from..]).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        let _ = self.child.wait();
    }
}

/// Waits until a descriptor is readable, at most so long.
pub fn is_readable(descriptor: &impl AsFd, limit: Duration) -> bool {
    let until = Instant::now() + limit;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).ok();
        match poll(&mut [PollFd::new(descriptor, PollFlags::IN)], left.as_ref()) {
            Ok(ready) => return ready > 0,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

//! One program that works on one event: its pipes, its process group, its end.
//!
//! Nothing here waits. Whatever the program does, the run ends when the process has ended and its
//! pipes are closed, or a moment later.

use std::borrow::Cow;
use std::io::{self, PipeReader, pipe};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Instant;

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use shim::{Body, Event, Worker};

use crate::limits::{REPLY_BYTES_MAX, TAIL, TURN_BYTES_MAX};
use crate::pipes::{Progress, drain, feed, never_wait};
use crate::records::Lines;
use crate::settings::Errors;

/// Which descriptor of a run is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Input,
    Output,
    Errors,
    Process,
}

/// Why a run was cut short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    Cancelled,
    TooLarge,
}

#[derive(Debug)]
pub struct Run {
    event: Event,
    body: Cow<'static, [u8]>,
    fed: usize,
    child: Child,
    group: Pid,
    process: OwnedFd,
    input: Option<ChildStdin>,
    output: Option<PipeReader>,
    errors: Option<ChildStderr>,
    pub collected: Vec<u8>,
    lines: Lines,
    cut: Option<Cut>,
    has_ended: bool,
    tail_until: Option<Instant>,
}

impl Run {
    /// Starts the program and gives it what its pipe takes at once. The event comes back when it
    /// cannot be started.
    pub fn start(
        command: &mut Command,
        event: Event,
        errors: Errors,
    ) -> Result<Self, (Event, io::Error)> {
        match spawn(command, event.body_bytes() > 0, errors) {
            Ok(started) => Ok(Self::of(started, event)),
            Err(error) => Err((event, error)),
        }
    }

    fn of(started: Started, event: Event) -> Self {
        let body = match event.body_range() {
            Some(range) => Cow::Borrowed(range),
            None => Cow::Owned(match event.body() {
                Body::Whole(bytes) => bytes.to_vec(),
                pieces @ Body::Pieces(_) => pieces.to_vec(),
            }),
        };
        let Started { mut child, group, process, output } = started;
        let mut run = Self {
            event,
            body,
            fed: 0,
            input: child.stdin.take(),
            errors: child.stderr.take(),
            child,
            group,
            process,
            output: Some(output),
            collected: Vec::new(),
            lines: Lines::default(),
            cut: None,
            has_ended: false,
            tail_until: None,
        };
        run.feed();
        run
    }

    pub fn event(&self) -> &Event {
        &self.event
    }

    /// Until when the run may wait for what an ended program has left behind.
    pub fn tail_until(&self) -> Option<Instant> {
        self.tail_until
    }

    /// What must be watched.
    pub fn descriptors(&self) -> impl Iterator<Item = (Part, BorrowedFd<'_>)> {
        let input = self.input.as_ref().map(|pipe| (Part::Input, pipe.as_fd()));
        let output = self.output.as_ref().map(|pipe| (Part::Output, pipe.as_fd()));
        let errors = self.errors.as_ref().map(|pipe| (Part::Errors, pipe.as_fd()));
        [input, output, errors, Some((Part::Process, self.process.as_fd()))].into_iter().flatten()
    }

    /// Moves what is ready; true when the run is over.
    pub fn moved(&mut self, part: Part, worker: &mut Worker, scratch: &mut [u8]) -> bool {
        match part {
            Part::Input => self.feed(),
            Part::Output => self.read_output(scratch),
            Part::Errors => self.read_errors(worker, scratch),
            Part::Process if !self.has_ended => {
                self.has_ended = true;
                self.input = None;
                // All that it wrote is in the pipes by now.
                self.read_output(scratch);
                self.read_errors(worker, scratch);
                self.tail_until = Some(Instant::now() + TAIL);
            }
            Part::Process => {}
        }
        self.has_ended && self.output.is_none() && self.errors.is_none()
    }

    fn feed(&mut self) {
        let Some(input) = &mut self.input else { return };
        if feed(input, &self.body, &mut self.fed) == Progress::Ended {
            self.input = None;
        }
    }

    fn read_output(&mut self, scratch: &mut [u8]) {
        let Some(output) = &mut self.output else { return };
        let collected = &mut self.collected;
        let (before, mut too_large) = (collected.len(), false);
        let progress = drain(output, scratch, |bytes| {
            too_large = collected.len() + bytes.len() > REPLY_BYTES_MAX;
            if !too_large {
                collected.extend_from_slice(bytes);
            }
            !too_large && collected.len() - before < TURN_BYTES_MAX
        });
        if progress == Progress::Ended {
            self.output = None;
        }
        if too_large {
            self.cut(Cut::TooLarge);
        }
    }

    fn read_errors(&mut self, worker: &mut Worker, scratch: &mut [u8]) {
        let Some(errors) = &mut self.errors else { return };
        let (lines, claim) = (&mut self.lines, self.event.claim());
        let mut taken = 0;
        let progress = drain(errors, scratch, |bytes| {
            lines.take(worker, claim, bytes);
            taken += bytes.len();
            taken < TURN_BYTES_MAX
        });
        if progress == Progress::Ended {
            self.errors = None;
        }
    }

    /// Kills the program and what it started; the run ends when the kernel has done it.
    pub fn cut(&mut self, why: Cut) {
        self.cut.get_or_insert(why);
        kill_group(self.group);
        (self.input, self.output, self.errors) = (None, None, None);
    }

    /// Takes the process's last word. What it left behind in its group is killed: an event leaves
    /// nothing running.
    pub fn end(mut self, worker: &mut Worker) -> io::Result<Ended> {
        self.lines.flush(worker, self.event.claim());
        // Not reaped yet, so the number of the group is still ours.
        kill_group(self.group);
        let status = self.child.wait()?;
        Ok(Ended { event: self.event, status, cut: self.cut, output: self.collected })
    }
}

/// What is left of a run.
#[derive(Debug)]
pub struct Ended {
    pub event: Event,
    pub status: ExitStatus,
    pub cut: Option<Cut>,
    pub output: Vec<u8>,
}

struct Started {
    child: Child,
    group: Pid,
    process: OwnedFd,
    output: PipeReader,
}

fn spawn(command: &mut Command, has_body: bool, errors: Errors) -> io::Result<Started> {
    let (output, theirs) = pipe()?;
    never_wait(&output)?;
    command.stdin(if has_body { Stdio::piped() } else { Stdio::null() }).process_group(0);
    match errors {
        Errors::Merge => command.stderr(theirs.try_clone()?),
        Errors::Separate => command.stderr(Stdio::piped()),
    };
    let mut child = command.stdout(theirs).spawn()?;
    // The command holds the program's end, and with it the pipe would never end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let supervised = supervise(&child);
    match supervised {
        Ok((group, process)) => Ok(Started { child, group, process, output }),
        Err(error) => {
            let _ = child.kill();
            let _ = child.wait();
            Err(error)
        }
    }
}

fn supervise(child: &Child) -> io::Result<(Pid, OwnedFd)> {
    let number = i32::try_from(child.id()).map_err(io::Error::other)?;
    let pid = Pid::from_raw(number).ok_or(io::ErrorKind::NotFound)?;
    for pipe in [child.stdin.as_ref().map(AsFd::as_fd), child.stderr.as_ref().map(AsFd::as_fd)] {
        pipe.map_or(Ok(()), |pipe| never_wait(&pipe))?;
    }
    Ok((pid, pidfd_open(pid, PidfdFlags::empty())?))
}

/// Safe until the leader is reaped, whose number the group has.
fn kill_group(group: Pid) {
    let _ = kill_process_group(group, Signal::KILL);
}

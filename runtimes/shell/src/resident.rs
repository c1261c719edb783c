//! Resident mode: one program answers event after event over its standard input and output.
//!
//! One event at a time; more at once are more workers. A program that loses the thread, or ends, is
//! started again, and only the event that it was at fails.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use shim::{Body, Down, Event, HeadBlock, Level, Offer, Origin, Reply, ShimError, Worker};

use crate::answer::{exit_text, failure_text};
use crate::environ::{WORKER_SOCKET, function};
use crate::fields::Fields;
use crate::frames::{self, Read, Request};
use crate::limits::{
    FAREWELL, READ_BYTES, RESTART_AFTER_MAX, RESTART_AFTER_MIN, TURN_BYTES_MAX, UNSPLIT,
};
use crate::pipes::{self, Progress, drain, feed, never_wait};
use crate::program::Program;
use crate::records::Lines;
use crate::settings::{Framing, Settings, push};

/// Where the code is, for programs that serve the code of others.
pub const CODE_PATH: &str = "NUCLIO_CODE_PATH";
pub const HANDLER: &str = "NUCLIO_HANDLER";

pub struct Resident {
    worker: Worker,
    command: Command,
    settings: Settings,
    framing: Framing,
    living: Option<Living>,
    /// Not before this is it started again.
    start_at: Option<Instant>,
    start_after: Duration,
    request: Vec<u8>,
    scratch: Vec<u8>,
}

/// The program while it runs.
struct Living {
    child: Child,
    group: Pid,
    input: ChildStdin,
    output: ChildStdout,
    errors: Option<ChildStderr>,
    read: Vec<u8>,
    lines: Lines,
    has_answered: bool,
}

/// What came of an event.
enum Turn {
    Answered(Answered),
    /// The program is of no use any more.
    Broken(String),
}

type Answered = Result<crate::answer::Answer, String>;

impl Resident {
    pub fn new(
        worker: Worker,
        offer: &Offer,
        program: Program,
        settings: Settings,
        framing: Framing,
    ) -> Self {
        let mut command = Command::new(&program.file);
        command
            .args(&program.arguments)
            .args(&settings.arguments)
            .envs(function(offer))
            .env(CODE_PATH, &offer.code_path)
            .env(HANDLER, &offer.handler)
            .env_remove(WORKER_SOCKET)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        Self {
            worker,
            command,
            settings,
            framing,
            living: None,
            start_at: None,
            start_after: RESTART_AFTER_MIN,
            request: Vec::new(),
            scratch: pipes::scratch(),
        }
    }

    /// Works until the processor says stop or is gone.
    pub fn serve(mut self) -> Result<(), ShimError> {
        if let Err(error) = self.start() {
            let program = self.command.get_program().display();
            let mistake = format!("{program} cannot be started: {error}");
            return crate::refuse(&mut self.worker, &mistake);
        }
        self.worker.watch_bell()?;
        self.worker.ready(1)?;
        loop {
            match self.worker.poll_each()? {
                Some(Down::Event(event)) => self.handle(event)?,
                Some(Down::Drain { trigger }) => self.worker.drained(trigger)?,
                Some(Down::Stop) => {
                    self.farewell();
                    return Ok(());
                }
                Some(Down::Batch(_)) => return Err(ShimError::Protocol(UNSPLIT)),
                // With one event at a time the processor ends this process instead.
                Some(Down::Cancel { .. }) => {}
                None => {
                    if !self.worker.took_inside() && self.worker.arm() && !self.rest()? {
                        self.farewell();
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Waits for the bell, and looks after the program meanwhile; false if the processor is gone.
    fn rest(&mut self) -> Result<bool, ShimError> {
        loop {
            let (rung, output, errors) = {
                let bell = self.worker.bell();
                let mut fds = vec![PollFd::new(&bell, PollFlags::IN)];
                if let Some(living) = &self.living {
                    fds.push(PollFd::new(&living.output, PollFlags::IN));
                    fds.extend(living.errors.as_ref().map(|p| PollFd::new(p, PollFlags::IN)));
                }
                wait(&mut fds, None)?;
                let is_ready =
                    |index: usize| fds.get(index).is_some_and(|fd| !fd.revents().is_empty());
                (is_ready(0), is_ready(1), is_ready(2))
            };
            if errors {
                self.read_errors(0);
            }
            if output {
                self.meet_unasked();
            }
            if rung {
                return self.worker.take_ring();
            }
        }
    }

    /// Output while nothing was asked is the program's end, or nothing that can be understood.
    fn meet_unasked(&mut self) {
        let Some(living) = &mut self.living else { return };
        let mut unasked = Vec::new();
        let progress = drain(&mut living.output, &mut self.scratch, |bytes| {
            unasked.extend_from_slice(&bytes[..bytes.len().min(60)]);
            false
        });
        let text = match progress {
            Progress::Ended if unasked.is_empty() => None,
            _ => {
                Some(format!("wrote without being asked: {:?}", String::from_utf8_lossy(&unasked)))
            }
        };
        self.bury(0, text);
    }

    fn handle(&mut self, event: Event) -> Result<(), ShimError> {
        if self.living.is_none()
            && let Err(error) = self.start_again()
        {
            return self.fail(&event, &format!("the program cannot be started: {error}"));
        }
        let wants_fields = self.framing == Framing::Length || self.settings.sent.any_field();
        let fields = if wants_fields { Fields::of(&event) } else { Fields::default() };
        let whole;
        let body = match event.body() {
            Body::Whole(bytes) => bytes,
            pieces @ Body::Pieces(_) => {
                whole = pieces.to_vec();
                &whole
            }
        };
        self.request.clear();
        let sent = self.settings.sent;
        let lines = event.view().lines();
        let headers = if sent.headers { lines.collect() } else { Vec::new() };
        let request = Request { fields: &fields, sent, headers, body };
        frames::write(self.framing, &request, &mut self.request);
        match self.ask(&event)? {
            Turn::Answered(Ok(answer)) => {
                let mut head = HeadBlock::new();
                let pushed = answer.head.iter().try_for_each(|(n, v)| push(&mut head, n, v));
                match pushed {
                    Ok(()) => {
                        let reply = answer.reply(&head);
                        self.worker.reply_begun(event.claim(), event.begun_ns(), &reply, true)
                    }
                    Err(problem) => self.fail(&event, &problem),
                }
            }
            Turn::Answered(Err(problem)) => self.fail(&event, &problem),
            Turn::Broken(text) => self.fail(&event, &text),
        }
    }

    /// Gives the program the request and waits for its reply.
    fn ask(&mut self, event: &Event) -> Result<Turn, ShimError> {
        let (mut fed, mut looked) = (0, 0);
        loop {
            let Some(living) = &mut self.living else {
                return Ok(Turn::Broken("the program has ended".into()));
            };
            let is_fed = fed == self.request.len()
                || (feed(&mut living.input, &self.request, &mut fed) == Progress::Ended
                    && fed == self.request.len());
            let (input, output, errors) = {
                let mut fds = vec![PollFd::new(&living.output, PollFlags::IN)];
                fds.extend(living.errors.as_ref().map(|p| PollFd::new(p, PollFlags::IN)));
                let has_errors = fds.len() > 1;
                if !is_fed {
                    fds.push(PollFd::new(&living.input, PollFlags::OUT));
                }
                wait(&mut fds, None)?;
                let is_ready =
                    |index: usize| fds.get(index).is_some_and(|fd| !fd.revents().is_empty());
                (
                    !is_fed && is_ready(1 + usize::from(has_errors)),
                    is_ready(0),
                    has_errors && is_ready(1),
                )
            };
            if errors {
                self.read_errors(event.claim());
            }
            if output && let Some(turn) = self.read_reply(event, &mut looked) {
                if fed < self.request.len() {
                    // What it did not read would be taken for the next request.
                    self.bury(event.claim(), Some("replied before it had read its request".into()));
                }
                return Ok(turn);
            }
            if input && self.has_closed_input(fed) {
                let status = self.bury(event.claim(), Some("reads no more".into()));
                return Ok(Turn::Broken(status));
            }
        }
    }

    /// A program that closed its input will never see the rest of the request.
    fn has_closed_input(&self, fed: usize) -> bool {
        let Some(living) = &self.living else { return true };
        let mut fds = [PollFd::new(&living.input, PollFlags::OUT)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let _ = poll(&mut fds, Some(&now));
        fed < self.request.len() && fds[0].revents().contains(PollFlags::ERR)
    }

    fn read_reply(&mut self, event: &Event, looked: &mut usize) -> Option<Turn> {
        let claim = event.claim();
        let living = self.living.as_mut()?;
        let read = &mut living.read;
        let before = read.len();
        let progress = drain(&mut living.output, &mut self.scratch, |bytes| {
            read.extend_from_slice(bytes);
            // A reply is rarely longer than this: no second look at an empty pipe.
            bytes.len() == READ_BYTES && read.len() - before < TURN_BYTES_MAX
        });
        let found = frames::read(self.framing, read, *looked, || event.id());
        *looked = read.len();
        let (size, answered) = match found {
            Read::Part if progress == Progress::Ended => {
                return Some(Turn::Broken(self.bury(claim, None)));
            }
            Read::Part => return None,
            Read::Whole(size, answer) => (size, Ok(answer)),
            Read::Wrong(size, problem) => (size, Err(problem)),
            Read::Lost(text) => {
                return Some(Turn::Broken(self.bury(claim, Some(format!("wrote {text}")))));
            }
        };
        living.has_answered = true;
        let is_clean = size == read.len();
        read.clear();
        if !is_clean {
            self.bury(claim, Some("wrote more than one reply".into()));
        }
        Some(Turn::Answered(answered))
    }

    fn read_errors(&mut self, claim: u64) {
        let Some(living) = &mut self.living else { return };
        let Some(errors) = &mut living.errors else { return };
        let (lines, worker) = (&mut living.lines, &mut self.worker);
        let mut taken = 0;
        let progress = drain(errors, &mut self.scratch, |bytes| {
            lines.take(worker, claim, bytes);
            taken += bytes.len();
            taken < TURN_BYTES_MAX
        });
        if progress == Progress::Ended {
            lines.flush(worker, claim);
            living.errors = None;
        }
    }

    /// Ends the program, and says why in the log; `why` is what it did, if it did not just end. What
    /// is returned is for the client.
    fn bury(&mut self, claim: u64, why: Option<String>) -> String {
        self.read_errors(claim);
        let Some(mut living) = self.living.take() else { return String::new() };
        living.lines.flush(&mut self.worker, claim);
        if why.is_some() {
            let _ = kill_process_group(living.group, Signal::KILL);
        } else {
            // Its output has ended, and so will it in a moment, with a status of its own.
            await_end(living.group, FAREWELL);
            let _ = kill_process_group(living.group, Signal::KILL);
        }
        let status = living.child.wait().map_or_else(|e| e.to_string(), exit_text);
        let text = match why {
            Some(why) => format!("the program {why}; it was ended and is started again"),
            None => format!("the program ended: {status}; it is started again"),
        };
        self.start_after = match living.has_answered {
            true => RESTART_AFTER_MIN,
            false => (self.start_after * 2).min(RESTART_AFTER_MAX),
        };
        self.start_at = (!living.has_answered).then(|| Instant::now() + self.start_after);
        self.worker.log(Level::Error, Origin::Logger, claim, text.as_bytes(), b"");
        text
    }

    fn start_again(&mut self) -> io::Result<()> {
        if let Some(at) = self.start_at.take() {
            let left = at.saturating_duration_since(Instant::now());
            wait_for(left);
        }
        let started = self.start();
        if started.is_err() {
            self.start_after = (self.start_after * 2).min(RESTART_AFTER_MAX);
            self.start_at = Some(Instant::now() + self.start_after);
        }
        started
    }

    fn start(&mut self) -> io::Result<()> {
        let mut child = self.command.spawn()?;
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(group), (Some(input), Some(output), Some(errors))) = (group, pipes) else {
            let _ = child.kill();
            let _ = child.wait();
            return Err(io::Error::other("a started program has no pipes"));
        };
        never_wait(&input)?;
        never_wait(&output)?;
        never_wait(&errors)?;
        self.living = Some(Living {
            child,
            group,
            input,
            output,
            errors: Some(errors),
            read: Vec::new(),
            lines: Lines::default(),
            has_answered: false,
        });
        Ok(())
    }

    /// The end of its input is the program's word to finish.
    fn farewell(&mut self) {
        let Some(living) = self.living.take() else { return };
        let Living { mut child, group, input, mut errors, mut lines, .. } = living;
        drop(input);
        await_end(group, FAREWELL);
        let _ = kill_process_group(group, Signal::KILL);
        let _ = child.wait();
        if let Some(errors) = &mut errors {
            let mut left = TURN_BYTES_MAX;
            drain(errors, &mut self.scratch, |bytes| {
                lines.take(&mut self.worker, 0, bytes);
                left = left.saturating_sub(bytes.len());
                left > 0
            });
        }
        lines.flush(&mut self.worker, 0);
    }

    fn fail(&mut self, event: &Event, error: &str) -> Result<(), ShimError> {
        let program = Path::new(self.command.get_program());
        let record = format!("{}: {error}", program.display());
        self.worker.log(Level::Error, Origin::Logger, event.claim(), record.as_bytes(), b"");
        let text = failure_text(&self.settings, error, b"");
        self.worker.reply_begun(event.claim(), event.begun_ns(), &Reply::error(&text), true)
    }
}

fn wait(fds: &mut [PollFd<'_>], limit: Option<&Timespec>) -> Result<(), ShimError> {
    match poll(fds, limit) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(errno) => Err(ShimError::Bell(errno.into())),
    }
}

/// Lets a bounded time pass; nothing can end the wait sooner but a signal.
fn wait_for(time: Duration) {
    let limit = Timespec::try_from(time.min(RESTART_AFTER_MAX)).ok();
    let _ = poll(&mut [], limit.as_ref());
}

/// Waits until a process has ended, not longer than the limit; it is not reaped.
fn await_end(process: Pid, limit: Duration) {
    let Ok(process) = pidfd_open(process, PidfdFlags::empty()) else { return };
    let descriptor = process.as_fd();
    let limit = Timespec::try_from(limit).ok();
    let _ = poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], limit.as_ref());
}

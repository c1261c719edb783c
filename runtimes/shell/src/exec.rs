//! Exec mode: a process an event, many at once, on one thread that only ever waits in `epoll`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use shim::{Down, Event, Level, Origin, Reply, ShimError, Worker};

use crate::answer::{exit_text, failure_text, of_output};
use crate::environ::Environment;
use crate::fields::{Fields, header_value};
use crate::limits::{COLLECTED_BYTES_MAX, READY_PER_TURN, TURN_BYTES_MAX, UNSPLIT};
use crate::pipes;
use crate::program::Program;
use crate::run::{Cut, Ended, Part, Run};
use crate::settings::{Settings, split_arguments};

/// By which a client gives the arguments of its event.
const ARGUMENTS_HEADER: &str = "x-nuclio-arguments";
/// The bell among the descriptors; the others are a run's place and a part of it.
const BELL: u64 = u64::MAX;
const PARTS: [Part; 4] = [Part::Input, Part::Output, Part::Errors, Part::Process];

#[derive(Debug)]
pub struct Exec {
    worker: Worker,
    program: Program,
    settings: Settings,
    environment: Environment,
    watched: OwnedFd,
    runs: Vec<Option<Run>>,
    /// Places in `runs` that are free.
    free: Vec<usize>,
    /// Runs whose program has ended and whose pipes are still open.
    tails: Vec<usize>,
    scratch: Vec<u8>,
    is_stopping: bool,
}

impl Exec {
    pub fn new(
        worker: Worker,
        program: Program,
        settings: Settings,
        environment: Environment,
    ) -> Result<Self, ShimError> {
        let watched = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(std::io::Error::from)?;
        worker.watch_bell()?;
        watch(&watched, worker.bell(), BELL, epoll::EventFlags::IN)?;
        Ok(Self {
            worker,
            program,
            settings,
            environment,
            watched,
            runs: Vec::new(),
            free: Vec::new(),
            tails: Vec::new(),
            scratch: pipes::scratch(),
            is_stopping: false,
        })
    }

    /// Works until the processor says stop or is gone.
    pub fn serve(mut self, concurrency: u32) -> Result<(), ShimError> {
        self.worker.ready(concurrency)?;
        let mut ready: Vec<epoll::Event> = Vec::with_capacity(READY_PER_TURN);
        loop {
            self.take_down()?;
            if self.is_stopping && self.free.len() == self.runs.len() {
                return Ok(());
            }
            if self.worker.took_inside() || !self.worker.arm() {
                continue;
            }
            ready.clear();
            let limit = self.next_tail();
            match epoll::wait(&self.watched, spare_capacity(&mut ready), limit.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(ShimError::Bell(errno.into())),
            }
            for event in &ready {
                let data = event.data;
                if !self.advance(data.u64())? {
                    return Ok(());
                }
            }
            self.end_tails()?;
        }
    }

    fn take_down(&mut self) -> Result<(), ShimError> {
        while let Some(down) = self.worker.poll_each()? {
            match down {
                Down::Event(event) => self.start(event)?,
                Down::Cancel { claim } => {
                    let of_claim = |run: &&mut Run| run.event().claim() == claim;
                    if let Some(run) = self.runs.iter_mut().flatten().find(of_claim) {
                        run.cut(Cut::Cancelled);
                    }
                }
                Down::Drain { trigger } => self.worker.drained(trigger)?,
                Down::Stop => self.is_stopping = true,
                Down::Batch(_) => return Err(ShimError::Protocol(UNSPLIT)),
            }
        }
        Ok(())
    }

    fn start(&mut self, event: Event) -> Result<(), ShimError> {
        let fields = Fields::of(&event);
        let mut command = Command::new(&self.program.file);
        command.args(&self.program.arguments).args(self.arguments(&event));
        self.environment.apply(&mut command, &event, &fields);
        match Run::start(&mut command, event, self.settings.errors) {
            Ok(run) => self.keep(run),
            Err((event, error)) => {
                let what = format!("{} cannot be started: {error}", self.program.file.display());
                self.fail(event, &what, b"")
            }
        }
    }

    /// Those of the client if it gave some and may, else those of the function.
    fn arguments(&self, event: &Event) -> Vec<String> {
        let given =
            header_value(event, ARGUMENTS_HEADER).filter(|_| self.settings.client_arguments);
        match given {
            Some(text) => split_arguments(&String::from_utf8_lossy(text)),
            None => self.settings.arguments.clone(),
        }
    }

    fn keep(&mut self, run: Run) -> Result<(), ShimError> {
        let place = self.free.pop().unwrap_or_else(|| {
            self.runs.push(None);
            self.runs.len() - 1
        });
        for (part, descriptor) in run.descriptors() {
            let flag = match part {
                Part::Input => epoll::EventFlags::OUT,
                // Ends once, and would be told of in each turn until it is reaped.
                Part::Process => epoll::EventFlags::IN | epoll::EventFlags::ONESHOT,
                _ => epoll::EventFlags::IN,
            };
            let number = (place * PARTS.len() + part as usize) as u64;
            watch(&self.watched, descriptor, number, flag)?;
        }
        self.runs[place] = Some(run);
        Ok(())
    }

    /// What the descriptor of that number is ready for; false if the processor is gone.
    fn advance(&mut self, number: u64) -> Result<bool, ShimError> {
        if number == BELL {
            return self.worker.take_ring();
        }
        let (place, part) = (number as usize / PARTS.len(), PARTS[number as usize % PARTS.len()]);
        // Another descriptor of the same turn may have ended it.
        let Some(run) = self.runs[place].as_mut() else { return Ok(true) };
        let had_ended = run.tail_until().is_some();
        let is_over = run.moved(part, &mut self.worker, &mut self.scratch);
        let is_large = run.collected.len() > TURN_BYTES_MAX;
        if is_over {
            self.end(place)?;
        } else if !had_ended && run.tail_until().is_some() {
            self.tails.push(place);
        } else if is_large {
            self.bound_collected();
        }
        Ok(true)
    }

    /// The run that has collected most is cut when all together have too much.
    fn bound_collected(&mut self) {
        let runs = || self.runs.iter().flatten();
        if runs().map(|run| run.collected.len()).sum::<usize>() > COLLECTED_BYTES_MAX {
            let largest = self.runs.iter_mut().flatten().max_by_key(|run| run.collected.len());
            if let Some(run) = largest {
                run.cut(Cut::TooLarge);
                run.collected = Vec::new();
            }
        }
    }

    fn next_tail(&self) -> Option<Timespec> {
        let tails = self.tails.iter().filter_map(|place| self.runs[*place].as_ref()?.tail_until());
        let left = tails.min()?.saturating_duration_since(Instant::now());
        Timespec::try_from(left).ok()
    }

    /// Ends runs whose program left something behind that keeps a pipe open.
    fn end_tails(&mut self) -> Result<(), ShimError> {
        if self.tails.is_empty() {
            return Ok(());
        }
        let now = Instant::now();
        for place in std::mem::take(&mut self.tails) {
            match self.runs[place].as_ref().and_then(Run::tail_until) {
                Some(until) if until <= now => self.end(place)?,
                Some(_) => self.tails.push(place),
                None => {}
            }
        }
        Ok(())
    }

    fn end(&mut self, place: usize) -> Result<(), ShimError> {
        let Some(run) = self.runs[place].take() else { return Ok(()) };
        self.free.push(place);
        let begun = run.event().begun_ns();
        let ended = run.end(&mut self.worker).map_err(ShimError::Bell)?;
        let Ended { event, status, cut, output } = ended;
        match cut {
            None if status.success() => {
                let reply = of_output(&self.settings, &output);
                self.worker.reply_begun(event.claim(), begun, &reply, true)
            }
            None => self.fail(event, &exit_text(status), &output),
            Some(Cut::Cancelled) => self.fail(event, "killed at the deadline", b""),
            Some(Cut::TooLarge) => {
                let text = "killed: its output is larger than a reply may be; write less";
                self.fail(event, text, b"")
            }
        }
    }

    fn fail(&mut self, event: Event, error: &str, output: &[u8]) -> Result<(), ShimError> {
        let program = Path::new(self.program.file.file_name().unwrap_or_default()).display();
        let record = format!("{program}: {error}");
        self.worker.log(Level::Error, Origin::Logger, event.claim(), record.as_bytes(), b"");
        let text = failure_text(&self.settings, error, output);
        self.worker.reply_begun(event.claim(), event.begun_ns(), &Reply::error(&text), true)
    }
}

fn watch(
    watched: &OwnedFd,
    descriptor: BorrowedFd<'_>,
    number: u64,
    flags: epoll::EventFlags,
) -> Result<(), ShimError> {
    epoll::add(watched.as_fd(), descriptor, epoll::EventData::new_u64(number), flags)
        .map_err(|errno| ShimError::Bell(errno.into()))
}

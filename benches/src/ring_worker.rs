//! The processor's end of one real worker, for programs that measure what an event costs it.
//!
//! Keeps a fixed number of events in flight over the product's rings and never lets the worker wait
//! for long, so no socket is in the figures.

use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use command_fds::{CommandFdExt, FdMapping};
use rings::abi::{Entry, EventHeader, HeaderEntry, Range, down, event_flag, event_kind, place};
use rings::attach::{Offer, ProcessorHandshake, Step, TriggerOffer, WORKER_FD_ENV, socket_pair};
use rings::check::Up;
use rings::header::{raw_offset, write};
use rings::limits::{ARENA_BYTES_DEFAULT, EVENT_MEMORY_BYTES_MIN};
use rings::processor_end::ProcessorEnd;
use rings::slots::Slots;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::line::Spin;
use crate::pin::pinned;

/// Events in flight at most: the default of `maxInflight`.
pub const IN_FLIGHT: u32 = 64;
/// Tags that are used in turn; fewer than any worker is offered.
const TAGS: u64 = 2 * IN_FLIGHT as u64;
const HANDSHAKE_TIMEOUT: Timespec = Timespec { tv_sec: 20, tv_nsec: 0 };
/// The worker's end of its socket, the first number after the standard three.
const WORKER_FD: i32 = 3;
/// GET is method 1 in `docs/abi`.
const GET: u8 = 1;

/// A request as wrk and browsers send it: offsets of names and values are counted from here.
const RAW: &[u8] = b"/helloHost127.0.0.1:8080Accept*/*User-Agentbench";
const PATH: (u32, u32) = (0, 6);
const LINES: [[(u32, u32); 2]; 3] = [[(6, 4), (10, 14)], [(24, 6), (30, 3)], [(33, 10), (43, 5)]];

/// A worker of the product, and its processor's end.
pub struct RingWorker {
    process: Child,
    end: ProcessorEnd,
    /// Keeps the memory of the one event that goes down again and again.
    _slots: Slots,
    event: Entry,
    next: u64,
}

impl RingWorker {
    /// Starts `command` on `core` with the code to serve, and waits until it is ready.
    pub fn start(mut command: Command, core: usize, code: &Path) -> Result<Self> {
        let (ours, theirs) = socket_pair()?;
        command.env(WORKER_FD_ENV, WORKER_FD.to_string());
        command.fd_mappings(vec![FdMapping { parent_fd: theirs, child_fd: WORKER_FD }])?;
        let program = command.get_program().to_string_lossy().into_owned();
        let process = pinned(core, || command.spawn())?
            .with_context(|| format!("{program} cannot be started"))?;
        drop(command);
        let mut slots = Slots::new(EVENT_MEMORY_BYTES_MIN)?;
        let mut offer = Offer {
            code_path: code.to_string_lossy().into_owned(),
            function: "bench".into(),
            log_level: 1,
            triggers: vec![TriggerOffer { id: 0, kind: "http".into(), name: "http".into() }],
            ..Offer::default()
        };
        offer = offer.with_sizes(IN_FLIGHT, ARENA_BYTES_DEFAULT, slots.segment_bytes());
        let mut handshake = ProcessorHandshake::new(ours, offer, slots.fds());
        let mut end = loop {
            if let Step::Done(end) = handshake.step()? {
                break *end;
            }
            let socket = handshake.socket();
            let mut fds = [PollFd::new(&socket, PollFlags::IN)];
            ensure!(poll(&mut fds, Some(&HANDSHAKE_TIMEOUT))? > 0, "no handshake with the worker");
        };
        let mut spin = Spin::default();
        loop {
            match end.next_up()? {
                Some(Up::Ready { .. }) => break,
                Some(other) => bail!("{} is not ready: {other:?}", code.display()),
                None => spin.again()?,
            }
        }
        let event = event(&mut slots)?;
        Ok(Self { process, end, _slots: slots, event, next: 0 })
    }

    /// Nanoseconds of CPU an event, of all the worker's threads, with so many in flight.
    /// `pause` = how long nothing comes after each answer: with one in flight the worker then sleeps
    /// and is woken for each event.
    pub fn time(&mut self, events: u32, in_flight: u32, pause: Duration) -> Result<f64> {
        let before = self.cpu_ns()?;
        self.serve(events, in_flight.min(IN_FLIGHT), pause)?;
        Ok((self.cpu_ns()? - before) as f64 / f64::from(events))
    }

    fn cpu_ns(&self) -> Result<u64> {
        let mut sum = 0;
        for task in std::fs::read_dir(format!("/proc/{}/task", self.process.id()))? {
            let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
            let on_cpu = text.split_whitespace().next().context("no figure in schedstat")?;
            sum += on_cpu.parse::<u64>()?;
        }
        Ok(sum)
    }

    fn serve(&mut self, events: u32, in_flight: u32, pause: Duration) -> Result<()> {
        let (mut sent, mut answered) = (0, 0);
        let mut spin = Spin::default();
        let mut quiet_until = None;
        while answered < events {
            let quiet = quiet_until.is_some_and(|until| Instant::now() < until);
            while !quiet && sent < events && sent - answered < in_flight {
                // Tag and generation, as the processor's in-flight table gives them out.
                self.next += 1;
                let (tag, generation) = (self.next % TAGS, self.next / TAGS + 1);
                self.event.claim = generation << 32 | tag;
                if self.end.push_event(&self.event)?.is_none() {
                    break;
                }
                sent += 1;
            }
            self.end.publish()?;
            while self.end.next_log()?.is_some() {}
            while let Some(up) = self.end.next_up()? {
                let Up::Response(response) = up else { bail!("an answer was due, not {up:?}") };
                self.end.release_block(response.block)?;
                answered += 1;
                spin = Spin::default();
                quiet_until = (!pause.is_zero()).then(|| Instant::now() + pause);
            }
            self.end.release_entries();
            spin.again()?;
        }
        Ok(())
    }

    /// Has it end, and checks that it ends well.
    pub fn stop(mut self) -> Result<()> {
        self.end.push_control(Entry { kind: down::STOP, ..Entry::default() })?;
        self.end.publish()?;
        ensure!(self.process.wait()?.success(), "a worker failed at its end");
        Ok(())
    }
}

/// A small GET in a slot, as the HTTP front writes it.
fn event(slots: &mut Slots) -> Result<Entry> {
    let raw_at = raw_offset(LINES.len(), 0);
    let bytes = raw_at + RAW.len();
    let slot = slots.reserve(bytes).context("no slot")?;
    let range = |(start, length): (u32, u32)| Range { offset: raw_at as u32 + start, length };
    let mut header = EventHeader {
        kind: event_kind::HTTP,
        method: GET,
        attempt: 1,
        path: range(PATH),
        flags: event_flag::ID_IN_TOKEN,
        ..EventHeader::default()
    };
    let lines = LINES.map(|[name, value]| HeaderEntry { name: range(name), value: range(value) });
    let memory = slots.bytes_mut(slot);
    write(memory, &mut header, lines.into_iter(), &[]);
    memory[raw_at..bytes].copy_from_slice(RAW);
    let (segment, offset, _) = slots.place(slot);
    let a = place(segment, offset);
    Ok(Entry { kind: down::EVENT, value: bytes as u32, a, d: 1, ..Entry::default() })
}

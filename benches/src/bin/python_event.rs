//! What one event costs a Python worker in CPU, beside the bare call of the handler from Rust.
//!
//! This program is the processor: it starts the product's own worker, keeps events in flight over
//! the product's rings and never lets it sleep, so no socket and no wake-up is in the figures. The
//! worker and the floor take turns on one core, this program spins on the other.
#![forbid(unsafe_code)]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use benches::line::Spin;
use benches::pin::{core_count, pin_this_thread, pinned};
use benches::stats::{median, range};
use clap::Parser;
use command_fds::{CommandFdExt, FdMapping};
use rings::abi::{Entry, EventHeader, HeaderEntry, Range, down, event_flag, event_kind, place};
use rings::attach::{Offer, ProcessorHandshake, Step, TriggerOffer, WORKER_FD_ENV, socket_pair};
use rings::check::Up;
use rings::header::{raw_offset, write};
use rings::limits::{ARENA_BYTES_DEFAULT, EVENT_MEMORY_BYTES_MIN};
use rings::processor_end::ProcessorEnd;
use rings::slots::Slots;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Events in flight: the default of `maxInflight`, and about what a sync worker is handed ahead.
const IN_FLIGHT: u32 = 64;
const HANDSHAKE_TIMEOUT: Timespec = Timespec { tv_sec: 20, tv_nsec: 0 };
/// The worker's end of its socket, the first number after the standard three.
const WORKER_FD: i32 = 3;
/// GET is method 1 in `docs/abi`.
const GET: u8 = 1;

/// A request as wrk and browsers send it: offsets of names and values are counted from here.
const RAW: &[u8] = b"/helloHost127.0.0.1:8080Accept*/*User-Agentbench";
const PATH: (u32, u32) = (0, 6);
const LINES: [[(u32, u32); 2]; 3] = [[(6, 4), (10, 14)], [(24, 6), (30, 3)], [(33, 10), (43, 5)]];

/// A handler, what it is compared with, and how many microseconds it may cost beyond that.
const CASES: [(&str, &str, f64); 4] = [
    ("empty", "floor", 1.0),
    ("empty_async", "empty", 2.0),
    ("logs", "empty", 3.0),
    ("raises", "empty", 15.0),
];

#[derive(Parser)]
#[command(about = "CPU of a Python worker for one event, beside the bare call of the handler")]
struct Args {
    /// Interpreter
    #[arg(long, default_value = "python3")]
    python: PathBuf,
    /// Folder of the Python runtime, with worker.py and the extension
    #[arg(long, default_value = "target/dev-dist/nuclio/runtimes/python")]
    runtime: PathBuf,
    /// Core of this program
    #[arg(long, default_value_t = 0)]
    core_a: usize,
    /// Core of the worker
    #[arg(long, default_value_t = 1)]
    core_b: usize,
    /// Turns
    #[arg(long, default_value_t = 7)]
    turns: u32,
    /// Events in a turn
    #[arg(long, default_value_t = 100_000)]
    events: u32,
}

fn main() -> Result<()> {
    let args = Args::parse();
    ensure!(core_count()? >= 2, "two cores are needed: this program and the worker both spin");
    let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/python_event");
    let mut floor = Floor::start(&args, &scenarios)?;
    let mut workers = Vec::new();
    for (name, _, _) in CASES {
        workers.push(Worker::start(&args, &scenarios.join(format!("{name}.py")))?);
    }
    pin_this_thread(args.core_a).with_context(|| format!("cannot use core {}", args.core_a))?;
    let mut times = vec![Vec::new(); 1 + CASES.len()];
    for turn in 0..=args.turns {
        let mut of_turn = vec![floor.time(args.events)?];
        for worker in &mut workers {
            of_turn.push(worker.time(args.events)?);
        }
        // The first turn warms caches and the adaptive interpreter.
        if turn > 0 {
            times.iter_mut().zip(of_turn).for_each(|(times, ns)| times.push(ns));
        }
    }
    print(&times);
    workers.into_iter().try_for_each(Worker::stop)
}

fn print(times: &[Vec<f64>]) {
    let index = |name: &str| CASES.iter().position(|case| case.0 == name).map_or(0, |i| i + 1);
    let show = |name: &str, times: &[f64]| {
        let (least, most) = range(times);
        print!("{name:14}{:8.2} us [{:.2}-{:.2}]", median(times) / 1e3, least / 1e3, most / 1e3);
    };
    show("floor", &times[0]);
    println!();
    for (number, (name, base, limit)) in CASES.iter().enumerate() {
        let (own, below) = (&times[number + 1], &times[index(base)]);
        show(name, own);
        let beyond: Vec<f64> = own.iter().zip(below).map(|(own, below)| own - below).collect();
        let beyond = median(&beyond) / 1e3;
        let word = if beyond <= *limit { "met" } else { "MISSED" };
        println!("   {beyond:+.2} us beyond {base}, target {limit}: {word}");
    }
}

/// A process that calls a handler and does nothing else.
struct Floor {
    process: Child,
    asked: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Floor {
    fn start(args: &Args, scenarios: &Path) -> Result<Self> {
        let program = std::env::current_exe()?;
        let extension = program.with_file_name("libcall_floor.so");
        ensure!(extension.is_file(), "{} is missing: build call-floor", extension.display());
        let mut command = Command::new(&args.python);
        command.arg(scenarios.join("floor.py")).arg(extension);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = pinned(args.core_b, || command.spawn())??;
        let asked = process.stdin.take().context("no pipe to the floor")?;
        let answers = BufReader::new(process.stdout.take().context("no pipe from the floor")?);
        Ok(Self { process, asked, answers })
    }

    /// Nanoseconds of CPU a call.
    fn time(&mut self, calls: u32) -> Result<f64> {
        writeln!(self.asked, "{calls}")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        line.trim().parse().context("the floor failed")
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        // Ours, and nothing of it is needed any more.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A worker of the product, and its processor's end.
struct Worker {
    process: Child,
    end: ProcessorEnd,
    /// Keeps the memory of the one event that goes down again and again.
    _slots: Slots,
    event: Entry,
}

impl Worker {
    fn start(args: &Args, code: &Path) -> Result<Self> {
        let (ours, theirs) = socket_pair()?;
        let mut command = Command::new(&args.python);
        command.args(["-X", "utf8"]).arg(args.runtime.join("worker.py"));
        command.env(WORKER_FD_ENV, WORKER_FD.to_string());
        command.fd_mappings(vec![FdMapping { parent_fd: theirs, child_fd: WORKER_FD }])?;
        let process = pinned(args.core_b, || command.spawn())?
            .with_context(|| format!("{} cannot be started", args.python.display()))?;
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
        Ok(Self { process, end, _slots: slots, event })
    }

    /// Nanoseconds of CPU an event, of all the worker's threads.
    fn time(&mut self, events: u32) -> Result<f64> {
        let before = self.cpu_ns()?;
        self.serve(events)?;
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

    fn serve(&mut self, events: u32) -> Result<()> {
        let (mut sent, mut answered) = (0, 0);
        let mut spin = Spin::default();
        while answered < events {
            while sent < events && sent - answered < IN_FLIGHT {
                self.event.claim += 1;
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
            }
            self.end.release_entries();
            spin.again()?;
        }
        Ok(())
    }

    fn stop(mut self) -> Result<()> {
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

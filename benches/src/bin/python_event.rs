//! What one event costs a Python worker in CPU, beside the bare call of the handler from Rust.
//!
//! This program is the processor: it starts the product's own worker, keeps events in flight over
//! the product's rings and never lets it sleep, so no socket and no wake-up is in the figures. The
//! worker and the floor take turns on one core, this program spins on the other.
#![forbid(unsafe_code)]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use benches::pin::{core_count, pin_this_thread, pinned};
use benches::ring_worker::{IN_FLIGHT, RingWorker};
use benches::stats::{median, range};
use clap::Parser;

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
        let mut command = Command::new(&args.python);
        command.args(["-X", "utf8"]).arg(args.runtime.join("worker.py"));
        let code = scenarios.join(format!("{name}.py"));
        workers.push(RingWorker::start(command, args.core_b, &code)?);
    }
    pin_this_thread(args.core_a).with_context(|| format!("cannot use core {}", args.core_a))?;
    let mut times = vec![Vec::new(); 1 + CASES.len()];
    for turn in 0..=args.turns {
        let mut of_turn = vec![floor.time(args.events)?];
        for worker in &mut workers {
            of_turn.push(worker.time(args.events, IN_FLIGHT, Duration::ZERO)?);
        }
        // The first turn warms caches and the adaptive interpreter.
        if turn > 0 {
            times.iter_mut().zip(of_turn).for_each(|(times, ns)| times.push(ns));
        }
    }
    print(&times);
    workers.into_iter().try_for_each(RingWorker::stop)
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

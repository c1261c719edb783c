//! What one event costs a Node worker in CPU, by how many are in flight.
//!
//! This program is the processor, as in `python_event`. With one in flight and a pause after each answer
//! the worker sleeps and is woken for each, so the bell and libuv are in that figure.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use benches::pin::{core_count, pin_this_thread};
use benches::ring_worker::{IN_FLIGHT, RingWorker};
use benches::stats::{median, range};
use clap::Parser;

/// One in flight, and long enough nothing after each that the worker sleeps: what a wake-up costs.
const WOKEN: u32 = 0;
const PAUSE: Duration = Duration::from_micros(100);
/// A wake-up takes its time.
const EVENTS_PER_WOKEN: u32 = 20;

/// A handler, events in flight, and how many microseconds an event may cost; no target where none
/// was set.
const CASES: [(&str, u32, Option<f64>); 7] = [
    ("empty", WOKEN, None),
    ("empty", 1, Some(2.5)),
    ("empty", 8, Some(1.0)),
    ("empty", IN_FLIGHT, Some(1.0)),
    ("empty_async", IN_FLIGHT, None),
    ("logs", IN_FLIGHT, None),
    ("raises", IN_FLIGHT, None),
];

#[derive(Parser)]
#[command(about = "CPU of a Node worker for one event")]
struct Args {
    /// Interpreter
    #[arg(long, default_value = "node")]
    node: PathBuf,
    /// Folder of the Node runtime, with worker.js and the addon
    #[arg(long, default_value = "target/dev-dist/nuclio/runtimes/node")]
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
    let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/node_event");
    let mut workers = Vec::new();
    for (name, _, _) in CASES {
        let mut command = Command::new(&args.node);
        command.arg(args.runtime.join("worker.js"));
        let code = scenarios.join(format!("{name}.js"));
        workers.push(RingWorker::start(command, args.core_b, &code)?);
    }
    pin_this_thread(args.core_a).with_context(|| format!("cannot use core {}", args.core_a))?;
    let mut times = vec![Vec::new(); CASES.len()];
    for turn in 0..=args.turns {
        for (number, worker) in workers.iter_mut().enumerate() {
            let ns = match CASES[number].1 {
                WOKEN => worker.time(args.events / EVENTS_PER_WOKEN, 1, PAUSE)?,
                in_flight => worker.time(args.events, in_flight, Duration::ZERO)?,
            };
            // The first turn has the code compiled.
            if turn > 0 {
                times[number].push(ns);
            }
        }
    }
    for ((name, in_flight, limit), times) in CASES.iter().zip(&times) {
        let (least, most) = range(times);
        let us = median(times) / 1e3;
        let what = match *in_flight {
            WOKEN => "woken for each".to_owned(),
            in_flight => format!("{in_flight} in flight"),
        };
        print!("{name:12} {what:14} {us:8.2} us");
        print!(" [{:.2}-{:.2}]", least / 1e3, most / 1e3);
        match limit {
            Some(limit) if us <= *limit => println!("   target {limit}: met"),
            Some(limit) => println!("   target {limit}: MISSED"),
            None => println!(),
        }
    }
    workers.into_iter().try_for_each(RingWorker::stop)
}

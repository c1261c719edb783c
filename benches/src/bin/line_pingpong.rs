//! The floor below every ring: one cache line sent to another core and one sent back.
//!
//! Two processes on two cores spin on two words of shared memory. No ring, no entry, no bell.
#![forbid(unsafe_code)]

use std::process::{Child, Command};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use benches::pin::{core_count, pin_this_thread};
use benches::shared_line::SharedLines;
use benches::stats::{median, range};
use clap::Parser;

const PING: usize = 0;
const PONG: usize = 1;
/// Ends the other process; no round reaches it.
const STOP: u64 = u64::MAX;
/// Far above any round trip, so that the clock is read only when something is wrong.
const SPINS_BETWEEN_CLOCKS: u32 = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Parser)]
#[command(about = "Time of a round trip of one cache line between two processes on two cores")]
struct Args {
    /// Core of the process that asks
    #[arg(long, default_value_t = 0)]
    core_a: usize,
    /// Core of the process that answers
    #[arg(long, default_value_t = 1)]
    core_b: usize,
    /// How many batches are timed
    #[arg(long, default_value_t = 101)]
    batches: usize,
    /// Round trips in a batch
    #[arg(long, default_value_t = 20_000)]
    rounds: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Be the process that answers, on the lines at this address
    #[arg(long, hide = true)]
    answer: Option<String>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if let Some(address) = &args.answer {
        return answer(address, args.core_b);
    }
    ensure!(core_count()? >= 2, "two cores are needed: two processes spinning on one say nothing");
    let lines = SharedLines::create()?;
    let mut peer = start_peer(&lines, args.core_b)?;
    pin_this_thread(args.core_a).with_context(|| format!("cannot use core {}", args.core_a))?;
    let mut last = 0;
    ask(&lines, &mut last, 1)?;
    let batches = (0..args.batches)
        .map(|_| time_batch(&lines, &mut last, args.rounds))
        .collect::<Result<Vec<f64>>>()?;
    lines.word(PING).store(STOP, Ordering::Release);
    ensure!(peer.wait()?.success(), "the process that answers failed");
    print(&args, &batches);
    Ok(())
}

fn start_peer(lines: &SharedLines, core: usize) -> Result<Child> {
    let program = std::env::current_exe()?;
    let core = core.to_string();
    let mut command = Command::new(program);
    command.args(["--answer", &lines.address(), "--core-b", &core]);
    command.spawn().context("cannot start the process that answers")
}

/// Nanoseconds of one round trip, the mean of a batch.
fn time_batch(lines: &SharedLines, last: &mut u64, rounds: u64) -> Result<f64> {
    let start = Instant::now();
    ask(lines, last, rounds)?;
    Ok(start.elapsed().as_nanos() as f64 / rounds as f64)
}

fn ask(lines: &SharedLines, last: &mut u64, rounds: u64) -> Result<()> {
    for _ in 0..rounds {
        *last += 1;
        lines.word(PING).store(*last, Ordering::Release);
        spin_until_changed(lines.word(PONG), *last - 1)?;
    }
    Ok(())
}

fn answer(address: &str, core: usize) -> Result<()> {
    let lines = SharedLines::open(address).with_context(|| format!("cannot open {address}"))?;
    pin_this_thread(core).with_context(|| format!("cannot use core {core}"))?;
    let mut seen = 0;
    loop {
        seen = spin_until_changed(lines.word(PING), seen)?;
        if seen == STOP {
            return Ok(());
        }
        lines.word(PONG).store(seen, Ordering::Release);
    }
}

/// Fails when the other process has gone: neither may spin for ever.
fn spin_until_changed(word: &AtomicU64, old: u64) -> Result<u64> {
    let mut started = None;
    loop {
        for _ in 0..SPINS_BETWEEN_CLOCKS {
            let value = word.load(Ordering::Acquire);
            if value != old {
                return Ok(value);
            }
            std::hint::spin_loop();
        }
        let waited = started.get_or_insert_with(Instant::now).elapsed();
        ensure!(waited < PATIENCE, "the other process has been silent for {waited:?}");
    }
}

fn print(args: &Args, batches: &[f64]) {
    let middle = median(batches);
    let (fastest, slowest) = range(batches);
    if args.json {
        let result = serde_json::json!({
            "line_round_trip_ns": middle, "fastest_batch_ns": fastest, "slowest_batch_ns": slowest,
            "batches": batches.len(), "rounds": args.rounds,
            "cores": [args.core_a, args.core_b],
        });
        println!("{result}");
        return;
    }
    println!(
        "raw cache line, two processes, cores {} and {}: {middle:.1} ns a round trip \
         (median of {} batches of {}; fastest {fastest:.1}, slowest {slowest:.1})",
        args.core_a,
        args.core_b,
        batches.len(),
        args.rounds,
    );
}

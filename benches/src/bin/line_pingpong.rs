//! The floor below every ring: one cache line sent to another core and one sent back.
//!
//! Two processes on two cores spin on two words of shared memory. No ring, no entry, no bell.
#![forbid(unsafe_code)]

use std::process::{Child, Command};

use anyhow::{Context, Result, ensure};
use benches::line::{Answerer, Asker};
use benches::pin::{core_count, pin_this_thread};
use benches::shared_line::SharedLines;
use benches::stats::{median, range};
use clap::Parser;

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
    batches: u32,
    /// Round trips in a batch
    #[arg(long, default_value_t = 20_000)]
    rounds: u32,
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
        return answer(address, &args);
    }
    ensure!(core_count()? >= 2, "two cores are needed: two processes spinning on one say nothing");
    let lines = SharedLines::create()?;
    let mut peer = start_peer(&lines, &args)?;
    pin_this_thread(args.core_a).with_context(|| format!("cannot use core {}", args.core_a))?;
    let mut asker = Asker::new(&lines);
    let batches =
        (0..args.batches).map(|_| asker.time_batch(args.rounds)).collect::<Result<Vec<f64>>>()?;
    ensure!(peer.wait()?.success(), "the process that answers failed");
    print(&args, &batches);
    Ok(())
}

fn start_peer(lines: &SharedLines, args: &Args) -> Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--answer", &lines.address(), "--core-b", &args.core_b.to_string()]).args([
        "--batches",
        &args.batches.to_string(),
        "--rounds",
        &args.rounds.to_string(),
    ]);
    command.spawn().context("cannot start the process that answers")
}

fn answer(address: &str, args: &Args) -> Result<()> {
    let lines = SharedLines::open(address).with_context(|| format!("cannot open {address}"))?;
    pin_this_thread(args.core_b).with_context(|| format!("cannot use core {}", args.core_b))?;
    let mut answerer = Answerer::new(&lines);
    (0..args.batches).try_for_each(|_| answerer.answer(args.rounds))
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

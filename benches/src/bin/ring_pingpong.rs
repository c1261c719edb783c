//! What a ring costs: events down and answers up between two polling processes on two cores.
//!
//! The product's own rings after the product's own handshake, with nothing above them: no slot is
//! filled, no handler runs, neither side sleeps. Batches of raw cache-line ping-pong between the
//! same two processes take turns with them, so both see the same machine.
#![forbid(unsafe_code)]

use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use benches::line::{Answerer, Asker, Spin};
use benches::pin::{core_count, pin_this_thread};
use benches::shared_line::SharedLines;
use benches::stats::{median, range};
use clap::Parser;
use rings::abi::{Entry, down, outcome, up, up_flag};
use rings::attach::{Offer, ProcessorHandshake, Step, attach_worker, socket_pair};
use rings::check::Up;
use rings::limits::{ARENA_BYTES_DEFAULT, EVENT_MEMORY_BYTES_MIN};
use rings::processor_end::ProcessorEnd;
use rings::slots::Slots;
use rings::worker_end::WorkerEnd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Events in flight in the stream that is answered; a common `maxInflight`.
const IN_FLIGHT: u32 = 64;
/// Events published at once in the batched stream.
const BATCH: u32 = 32;
/// `aux` of an event that is taken and not answered.
const SILENT: u16 = 1;
const HANDSHAKE_TIMEOUT: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };
/// The promise: a round trip through the rings, in raw round trips.
const RATIO_MAX: f64 = 3.0;
/// The worker gives places back after so many entries, or when there are none left to take.
const RELEASE_EVERY: u32 = 64;

#[derive(Parser)]
#[command(about = "Round trips and streams through the rings, beside a raw cache line")]
struct Args {
    /// Core of the processor's side
    #[arg(long, default_value_t = 0)]
    core_a: usize,
    /// Core of the worker's side
    #[arg(long, default_value_t = 1)]
    core_b: usize,
    /// How many batches of each kind are timed
    #[arg(long, default_value_t = 51)]
    batches: u32,
    /// Round trips, or events, in a batch
    #[arg(long, default_value_t = 20_000)]
    rounds: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Be the worker, with the raw lines at this address and the handshake socket as stdin
    #[arg(long, hide = true)]
    worker: Option<String>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if let Some(address) = &args.worker {
        return work(address, args.core_b);
    }
    ensure!(core_count()? >= 2, "two cores are needed: two processes spinning on one say nothing");
    let lines = SharedLines::create()?;
    let (mut end, mut worker) = start_worker(&lines, args.core_b)?;
    pin_this_thread(args.core_a).with_context(|| format!("cannot use core {}", args.core_a))?;
    let mut asker = Asker::new(&lines);
    let mut times = Times::default();
    for _ in 0..args.batches {
        times.take_turn(&mut end, &mut asker, args.rounds)?;
    }
    end.push_control(Entry { kind: down::STOP, ..Entry::default() })?;
    end.publish()?;
    ensure!(worker.wait()?.success(), "the worker's side failed");
    times.print(&args);
    Ok(())
}

fn start_worker(lines: &SharedLines, core: usize) -> Result<(ProcessorEnd, Child)> {
    let (ours, theirs) = socket_pair()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--worker", &lines.address(), "--core-b", &core.to_string()]);
    let child = command.stdin(Stdio::from(theirs)).spawn().context("cannot start the worker")?;
    drop(command);
    let slots = Slots::new(EVENT_MEMORY_BYTES_MIN)?;
    let memory = slots.segment_bytes();
    let offer = Offer::default().with_sizes(IN_FLIGHT, ARENA_BYTES_DEFAULT, memory);
    let mut handshake = ProcessorHandshake::new(ours, offer, slots.fds());
    loop {
        if let Step::Done(end) = handshake.step()? {
            return Ok((*end, child));
        }
        let socket = handshake.socket();
        let mut fds = [PollFd::new(&socket, PollFlags::IN)];
        ensure!(poll(&mut fds, Some(&HANDSHAKE_TIMEOUT))? > 0, "no handshake with the worker");
    }
}

/// Nanoseconds of a round trip or an event; one figure a batch.
#[derive(Default)]
struct Times {
    line: Vec<f64>,
    ring: Vec<f64>,
    one_way: Vec<f64>,
    one_way_batched: Vec<f64>,
    answered: Vec<f64>,
    bells: u32,
}

impl Times {
    fn take_turn(&mut self, end: &mut ProcessorEnd, asker: &mut Asker, rounds: u32) -> Result<()> {
        let mut caller = Caller { end, claim: 0, bells: 0 };
        caller.send(Entry { kind: down::PING, value: rounds, ..Entry::default() })?;
        self.line.push(asker.time_batch(rounds)?);
        ensure!(caller.wait()? == Up::Pong(rounds), "the worker's PONG was due");
        self.ring.push(timed(rounds, || caller.ping_pong(rounds))?);
        self.one_way.push(timed(rounds, || caller.stream_down(rounds, 1))?);
        self.one_way_batched.push(timed(rounds, || caller.stream_down(rounds, BATCH))?);
        self.answered.push(timed(rounds, || caller.stream_both_ways(rounds))?);
        self.bells += caller.bells;
        Ok(())
    }

    fn print(&self, args: &Args) {
        let figures = [
            ("raw cache line, round trip", &self.line),
            ("event down and answer up, round trip", &self.ring),
            ("events down, published one by one", &self.one_way),
            ("events down, published by 32", &self.one_way_batched),
            ("events down and answers up, 64 in flight", &self.answered),
        ];
        // Of each turn by itself: a machine that changes between turns does not blur it.
        let ratios = self.ring.iter().zip(&self.line).map(|(ring, line)| ring / line);
        let ratio = median(&ratios.collect::<Vec<f64>>());
        if args.json {
            let batches = figures.iter().map(|(name, batches)| (*name, serde_json::json!(batches)));
            let batches: serde_json::Map<String, serde_json::Value> =
                batches.map(|(name, batches)| (name.to_owned(), batches)).collect();
            let cores = [args.core_a, args.core_b];
            let result = serde_json::json!({
                "batches_ns": batches, "ring_to_line": ratio, "bells": self.bells,
                "rounds": args.rounds, "cores": cores,
            });
            println!("{result}");
            return;
        }
        for (name, batches) in figures {
            let (middle, (fastest, slowest)) = (median(batches), range(batches));
            println!(
                "{name:42} {middle:7.1} ns [{fastest:.1}-{slowest:.1}]  {:6.2} M/s",
                1000.0 / middle
            );
        }
        let word = if ratio <= RATIO_MAX { "met" } else { "MISSED" };
        println!(
            "round trip, ring / raw line, median of the turns: {ratio:.2}, target {RATIO_MAX}: {word}"
        );
        println!(
            "cores {} and {}, medians of {} batches of {}; bells rung: {}",
            args.core_a, args.core_b, args.batches, args.rounds, self.bells
        );
    }
}

fn timed(rounds: u32, work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    work()?;
    Ok(nanoseconds(start.elapsed()) / f64::from(rounds))
}

fn nanoseconds(time: Duration) -> f64 {
    time.as_nanos() as f64
}

/// The processor's side of one turn.
struct Caller<'a> {
    end: &'a mut ProcessorEnd,
    /// Of the last event; only has to differ from its neighbours.
    claim: u64,
    bells: u32,
}

impl Caller<'_> {
    fn event(&mut self, aux: u16) -> Entry {
        self.claim += 1;
        Entry { kind: down::EVENT, aux, claim: self.claim, d: 1, ..Entry::default() }
    }

    fn send(&mut self, control: Entry) -> Result<()> {
        self.end.push_control(control)?;
        self.publish()
    }

    fn publish(&mut self) -> Result<()> {
        self.bells += u32::from(self.end.publish()?);
        Ok(())
    }

    /// Pushes an event as soon as there is room.
    fn push(&mut self, aux: u16) -> Result<()> {
        let event = self.event(aux);
        let mut spin = Spin::default();
        while self.end.push_event(&event)?.is_none() {
            // What was pushed before must be seen, or no place is ever given back.
            self.publish()?;
            spin.again()?;
        }
        Ok(())
    }

    fn wait(&mut self) -> Result<Up> {
        let mut spin = Spin::default();
        loop {
            if let Some(answer) = self.end.next_up()? {
                return Ok(answer);
            }
            spin.again()?;
        }
    }

    fn wait_for(&mut self, claim: u64) -> Result<()> {
        match self.wait()? {
            Up::Response(response) if response.claim == claim => Ok(()),
            other => bail!("the answer to event {claim} was due, not {other:?}"),
        }
    }

    fn ping_pong(&mut self, rounds: u32) -> Result<()> {
        for _ in 0..rounds {
            self.push(0)?;
            self.publish()?;
            // The place of the last answer, while the next one is on its way.
            self.end.release_entries();
            self.wait_for(self.claim)?;
        }
        Ok(())
    }

    /// Events that are not answered, except the last, so that all have been taken at the end.
    fn stream_down(&mut self, events: u32, batch: u32) -> Result<()> {
        for number in 1..=events {
            self.push(if number == events { 0 } else { SILENT })?;
            if number % batch == 0 || number == events {
                self.publish()?;
            }
        }
        self.wait_for(self.claim)
    }

    fn stream_both_ways(&mut self, events: u32) -> Result<()> {
        let first = self.claim + 1;
        let (mut sent, mut answered) = (0, 0);
        while answered < events {
            while sent < events && sent - answered < IN_FLIGHT {
                self.push(0)?;
                self.publish()?;
                sent += 1;
            }
            // All that are there, as the data thread takes them.
            self.wait_for(first + u64::from(answered))?;
            answered += 1;
            while let Some(answer) = self.end.next_up()? {
                ensure!(matches!(answer, Up::Response(_)), "an answer was due, not {answer:?}");
                answered += 1;
            }
            self.end.release_entries();
        }
        Ok(())
    }
}

/// The worker's side: polls, begins, answers.
fn work(address: &str, core: usize) -> Result<()> {
    let lines = SharedLines::open(address).with_context(|| format!("cannot open {address}"))?;
    pin_this_thread(core).with_context(|| format!("cannot use core {core}"))?;
    let socket = std::io::stdin().as_fd().try_clone_to_owned()?;
    let (mut end, _offer) = attach_worker(socket, "bench", env!("CARGO_PKG_VERSION"))?;
    let mut answerer = Answerer::new(&lines);
    let (mut spin, mut unreleased) = (Spin::default(), 0);
    loop {
        let Some((index, entry)) = end.pop().map_err(lost)? else {
            if unreleased > 0 {
                end.release_entries();
                unreleased = 0;
            }
            spin.again()?;
            continue;
        };
        spin = Spin::default();
        unreleased += 1;
        if unreleased == RELEASE_EVERY {
            end.release_entries();
            unreleased = 0;
        }
        match entry.kind {
            down::EVENT => answer(&mut end, index, &entry)?,
            down::PING => {
                answerer.answer(entry.value)?;
                let pong = Entry { kind: up::PONG, value: entry.value, ..Entry::default() };
                ensure!(end.push(&pong).map_err(lost)?, "no room for a PONG");
            }
            down::STOP => return Ok(()),
            kind => bail!("an entry of kind {kind}, which this program never sends"),
        }
    }
}

fn answer(end: &mut WorkerEnd, index: u32, event: &Entry) -> Result<()> {
    ensure!(end.begin(index), "entry {index} was recalled, which this program never does");
    if event.aux == SILENT {
        return Ok(());
    }
    let response = Entry {
        kind: up::RESPONSE,
        flags: up_flag::LAST | up_flag::REQ_RELEASED,
        aux: 200,
        claim: event.claim,
        c: u64::from(outcome::OK),
        ..Entry::default()
    };
    ensure!(end.push(&response).map_err(lost)?, "no room for an answer");
    Ok(())
}

fn lost(index: rings::queue::Unreachable) -> anyhow::Error {
    anyhow::anyhow!("the processor's side published an index it cannot have reached: {index:?}")
}

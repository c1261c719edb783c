//! The ledger: drives a running processor, kills and stops its workers, and accounts for every
//! request.
//!
//! `cargo test -p supervisor --test ledger` runs the short form. Words behind `--`, or their
//! environment twins: `--requests N` (NUCLIO_LEDGER_REQUESTS; the long form has 1000000),
//! `--seed N` (NUCLIO_LEDGER_SEED), `--only failpoints|native|python|async|mixed`,
//! `--connections N`, `--stop-percent N`; `--mixed` is `--only mixed`, and `--runtimes node,go` leaves
//! the others out of it. Needs the programs of `cargo xtask build` and the example worker of the
//! shim; where they are missing it fails and says how to build them. `mixed` needs Node, Ruby, Go,
//! cargo and cc as well.

#![forbid(unsafe_code)]

mod account;
mod canary;
mod chaos;
mod client;
mod failpoints;
mod kinds;
mod mixed;
mod notes;
mod plan;
mod processor;
mod stalls;
mod storm;
mod tree;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use kinds::Kind;
use mixed::Mixed;
use processor::Programs;
use storm::Storm;

const REQUESTS_DEFAULT: u64 = 50_000;
const SEED_DEFAULT: u64 = 1;
const CONNECTIONS_DEFAULT: u64 = 64;
const STOP_PERCENT_DEFAULT: u64 = 10;
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

struct Words {
    requests: u64,
    seed: u64,
    connections: u64,
    stop_percent: u64,
    only: Option<String>,
    /// Of a mixed run.
    kinds: Vec<Kind>,
}

fn main() -> ExitCode {
    let words = match words(std::env::args().skip(1)) {
        Ok(Some(words)) => words,
        // Somebody only wants the names.
        Ok(None) => return ExitCode::SUCCESS,
        Err(mistake) => {
            eprintln!("ledger: {mistake}");
            return ExitCode::from(2);
        }
    };
    let programs = match Programs::find() {
        Ok(programs) => programs,
        Err(missing) => {
            eprintln!("ledger: {missing}");
            println!("test result: FAILED. 0 passed; 1 failed");
            return ExitCode::FAILURE;
        }
    };
    let (mut passed, mut failed) = (0, 0);
    for name in NAMES {
        if words.only.as_deref().is_some_and(|only| only != name) {
            continue;
        }
        println!("ledger: {name}");
        let result = run(name, &programs, &words);
        if let Err(why) = &result {
            println!("  FAULT         {why}");
        }
        let good = result == Ok(true);
        println!("test ledger {name} ... {}", if good { "ok" } else { "FAILED" });
        passed += u32::from(good);
        failed += u32::from(!good);
    }
    let end = if failed == 0 { "ok" } else { "FAILED" };
    println!("test result: {end}. {passed} passed; {failed} failed");
    ExitCode::from(u8::from(failed > 0))
}

/// In this order: what is certain first, then what is random.
const NAMES: [&str; 5] = ["failpoints", "native", "python", "async", "mixed"];

fn run(name: &str, programs: &Programs, words: &Words) -> Result<bool, String> {
    match name {
        "failpoints" => failpoints::run(programs),
        "native" => storm(Kind::Native, programs, words),
        "python" => storm(Kind::Python, programs, words),
        "async" => storm(Kind::Async, programs, words),
        _ => {
            let Words { requests, seed, stop_percent, ref kinds, .. } = *words;
            println!("  {requests} requests, seed {seed}, {} processors", kinds.len());
            mixed::run(programs, &Mixed { kinds, requests, seed, stop_percent })
        }
    }
}

fn storm(kind: Kind, programs: &Programs, words: &Words) -> Result<bool, String> {
    let Words { requests, seed, stop_percent, .. } = *words;
    let connections = words.connections as usize;
    println!("  {requests} requests, seed {seed}, {connections} connections");
    let storm = Storm { kind, requests, seed, connections, stop_percent, is_crowded: false };
    let mut processor = storm.start(programs)?;
    let (begun, mut told) = (Instant::now(), Instant::now());
    let mut outcome = storm::run(&mut processor, storm, |done| {
        if told.elapsed() > PROGRESS_EVERY {
            told = Instant::now();
            println!("  {done} of {requests} after {} s", begun.elapsed().as_secs());
        }
    })?;
    print!("{}", outcome.report());
    let faults = outcome.account.fault_count;
    if faults > 0 {
        println!("  {faults} faults; again with --seed {seed}");
        println!("  folder kept: {}", processor.keep_folder().display());
    }
    Ok(faults == 0)
}

fn words(given: impl Iterator<Item = String>) -> Result<Option<Words>, String> {
    let twin = |name: &str, default: u64| match std::env::var(name) {
        Ok(text) => number(name, &text),
        Err(_) => Ok(default),
    };
    let mut words = Words {
        requests: twin("NUCLIO_LEDGER_REQUESTS", REQUESTS_DEFAULT)?,
        seed: twin("NUCLIO_LEDGER_SEED", SEED_DEFAULT)?,
        connections: CONNECTIONS_DEFAULT,
        stop_percent: STOP_PERCENT_DEFAULT,
        only: None,
        kinds: Kind::MIXED.to_vec(),
    };
    let mut given = given;
    while let Some(word) = given.next() {
        let mut value = || given.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--requests" => words.requests = number(&word, &value()?)?,
            "--seed" => words.seed = number(&word, &value()?)?,
            "--connections" => words.connections = number(&word, &value()?)?.max(1),
            "--stop-percent" => words.stop_percent = number(&word, &value()?)?.min(100),
            "--only" => {
                let name = value()?;
                if !NAMES.contains(&name.as_str()) {
                    return Err(format!("--only {name}; write one of: {}", NAMES.join(", ")));
                }
                words.only = Some(name);
            }
            "--mixed" => words.only = Some("mixed".into()),
            "--runtimes" => words.kinds = kinds(&value()?)?,
            "--list" => {
                NAMES.iter().for_each(|name| println!("{name}: test"));
                return Ok(None);
            }
            // What `cargo test` passes to every test program.
            "--nocapture" | "--quiet" | "-q" => {}
            _ => return Err(format!("{word} is not known; see the first lines of main.rs")),
        }
    }
    Ok(Some(words))
}

/// The kinds of a mixed run by their names.
fn kinds(names: &str) -> Result<Vec<Kind>, String> {
    let named = |name: &str| {
        let known = Kind::MIXED.map(|kind| kind.traits().name);
        let found = known.iter().position(|known| *known == name).map(|at| Kind::MIXED[at]);
        found.ok_or_else(|| format!("--runtimes {name}; write some of: {}", known.join(",")))
    };
    names.split(',').map(named).collect()
}

fn number(name: &str, text: &str) -> Result<u64, String> {
    let plain: String = text.chars().filter(|c| *c != '_').collect();
    plain.parse().map_err(|_| format!("{name} {text}: write a whole number"))
}

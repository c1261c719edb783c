//! The conformance kit: plays the processor against the workers of any runtime's folder.
//!
//! `nuclio-conformance RUNTIME [FUNCTIONS]`: the folder with `runtime.toml`, and the folder with
//! `conformance.toml`, by default `conformance` inside the first. Each function there does what the
//! paths in README.md ask for; each check runs against each of them. What a language does not offer
//! stands in `without`, with the reason.
//!
//! It holds no part of the processor: what it demands is what `docs/abi` says.
#![forbid(unsafe_code)]

mod ask;
mod bodies;
mod checks;
mod ends;
mod limits;
mod place;
mod player;
mod replies;
mod session;
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::place::{Function, Place};
use crate::session::Session;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("nuclio-conformance: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<bool> {
    let mut words = std::env::args_os().skip(1).map(PathBuf::from);
    let Some(runtime) = words.next() else {
        bail!("write the folder of a runtime, and the folder of its conformance.toml behind it");
    };
    let functions = words.next().unwrap_or_else(|| runtime.join("conformance"));
    let place = Place::read(&runtime, &functions)?;
    let mut all_passed = true;
    for function in &place.functions {
        all_passed &= check(&place, function)?;
    }
    Ok(all_passed)
}

/// Runs all checks against one function; false if one failed.
fn check(place: &Place, function: &Function) -> Result<bool> {
    println!("{} {}", place.runtime.id, function.name);
    let mut session = Session::new(place, function)?;
    let (mut passed, mut unexpected) = (0, 0);
    for (name, check) in checks::all() {
        if let Some(reason) = function.without.get(name) {
            println!("  -     {name:<22} not offered: {reason}");
            continue;
        }
        let begun = Instant::now();
        let result = check(&mut session).and_then(|()| session.settle());
        let seconds = begun.elapsed().as_secs_f64();
        let is_expected = result.is_err() == function.fails.contains(name);
        if is_expected {
            passed += 1;
        } else {
            unexpected += 1;
        }
        let mark = if is_expected { "ok  " } else { "FAIL" };
        match result {
            Ok(()) if is_expected => println!("  {mark}  {name:<22} {seconds:>7.3} s"),
            Ok(()) => println!("  {mark}  {name:<22} {seconds:>7.3} s  passed, and had to fail"),
            Err(error) => {
                println!("  {mark}  {name:<22} {seconds:>7.3} s  {error:#}");
                if !is_expected {
                    println!("{}", session.last_words());
                }
                session.abandon();
            }
        }
    }
    println!("test result: {passed} passed; {unexpected} failed\n");
    Ok(unexpected == 0)
}

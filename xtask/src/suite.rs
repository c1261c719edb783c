//! `cargo xtask test`: every gate and every test, one after the other, each with a time limit.
//!
//! Keeps going after a failure and lists what failed at the end. Each step's whole output is in
//! `target/xtask-logs/<step>.log`; the end of a failed one is shown.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::gates::{GATES, Gate};
use crate::runner::Runner;
use crate::{End, assemble, setup};

/// Lines of a failed step's log that are shown; the file has the rest.
const SHOWN_LINES: usize = 60;
/// `setup` may download; the build may start from nothing. Both are short when nothing changed.
const SETUP_LIMIT: Duration = Duration::from_secs(600);
const BUILD_LIMIT: Duration = Duration::from_secs(1200);

/// Tests that passed and failed in one step; a gate that counts no tests counts as one.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
}

pub fn run(runner: &Runner) -> Result<End> {
    let logs = runner.target.join("xtask-logs");
    std::fs::create_dir_all(&logs).with_context(|| format!("cannot make {}", logs.display()))?;
    let begun = Instant::now();
    let mut steps = Steps { runner, logs, total: Tally::default(), failed: Vec::new() };
    let mut setup_end = End::Failed;
    let is_set_up = steps.step("setup", SETUP_LIMIT, |step| {
        setup_end = setup::run(step)?;
        ensure!(matches!(setup_end, End::Passed), "this machine is not ready for the tests");
        Ok(())
    });
    if !is_set_up {
        return Ok(setup_end);
    }
    let built = steps.step("build", BUILD_LIMIT, |step| assemble::dev(step).map(|_| ()));
    for gate in &GATES {
        steps.gate(gate, built);
    }
    Ok(steps.summary(begun))
}

struct Steps<'a> {
    runner: &'a Runner,
    logs: PathBuf,
    total: Tally,
    failed: Vec<&'static str>,
}

impl Steps<'_> {
    fn gate(&mut self, gate: &Gate, built: bool) {
        if gate.needs_build && !built {
            eprintln!("  FAIL  {:<12} not run: the build failed", gate.name);
            self.total.failed += 1;
            self.failed.push(gate.name);
            return;
        }
        self.step(gate.name, Duration::from_secs(gate.limit_s), |step| (gate.run)(step));
    }

    /// Runs one step and prints its line; true when it passed.
    fn step(
        &mut self,
        name: &'static str,
        limit: Duration,
        work: impl FnOnce(&Runner) -> Result<()>,
    ) -> bool {
        eprintln!("  ....  {name}");
        let begun = Instant::now();
        let log = self.logs.join(format!("{name}.log"));
        let result = self.runner.for_step(name, &log, limit).and_then(|step| work(&step));
        let tally = tally_of(&log, result.is_ok());
        self.total.passed += tally.passed;
        self.total.failed += tally.failed;
        let seconds = begun.elapsed().as_secs_f64();
        let mark = if result.is_ok() { "ok  " } else { "FAIL" };
        let counts = format!("{} passed, {} failed", tally.passed, tally.failed);
        eprintln!("\r  {mark}  {name:<12} {seconds:>7.1} s  {counts}");
        if let Err(error) = &result {
            self.failed.push(name);
            show_end(&log);
            eprintln!("        {error:#}\n        all of it: {}", log.display());
        }
        result.is_ok()
    }

    fn summary(&self, begun: Instant) -> End {
        let seconds = begun.elapsed().as_secs();
        if !self.failed.is_empty() {
            eprintln!("failed: {}", self.failed.join(", "));
        }
        let Tally { passed, failed } = self.total;
        eprintln!("{} min {} s", seconds / 60, seconds % 60);
        // Alone on its line: it is read by programs too.
        println!("{passed} passed, {failed} failed");
        if self.failed.is_empty() { End::Passed } else { End::Failed }
    }
}

fn show_end(log: &Path) {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    for line in &lines[lines.len().saturating_sub(SHOWN_LINES)..] {
        eprintln!("      | {line}");
    }
}

fn tally_of(log: &Path, passed: bool) -> Tally {
    let text = std::fs::read(log).unwrap_or_default();
    let mut tally = count_tests(&String::from_utf8_lossy(&text));
    if passed && tally == Tally::default() {
        tally.passed = 1;
    }
    if !passed && tally.failed == 0 {
        tally.failed = 1;
    }
    tally
}

/// Reads the summary lines of the test runners of Rust, Python and Node.
fn count_tests(text: &str) -> Tally {
    let mut tally = Tally::default();
    for line in text.lines() {
        let failed_before = tally.failed;
        if let Some(counts) = line.strip_prefix("test result: ") {
            tally.passed += number_before(counts, " passed");
            tally.failed += number_before(counts, " failed");
        } else if let Some(count) = line.strip_prefix("Ran ") {
            tally.passed += number_before(count, " test");
        } else if let Some(count) = line.strip_prefix("# pass ") {
            tally.passed += count.trim().parse().unwrap_or(0);
        } else if let Some(count) = line.strip_prefix("# fail ") {
            tally.failed += count.trim().parse().unwrap_or(0);
        } else if line.starts_with("FAILED (") {
            tally.failed += number_after(line, "failures=") + number_after(line, "errors=");
            // unittest counts a failed test among those it ran.
            tally.passed = tally.passed.saturating_sub(tally.failed - failed_before);
        }
    }
    tally
}

fn number_before(text: &str, word: &str) -> u64 {
    let before = text.split(word).next().unwrap_or_default();
    before.rsplit(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn number_after(text: &str, word: &str) -> u64 {
    let after = text.split_once(word).map_or("", |(_, after)| after);
    let digits = after.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    digits.parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_runners_are_counted() {
        let text = "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured\n\
                    test result: FAILED. 3 passed; 2 failed; 0 ignored\n\
                    Ran 7 tests in 0.1s\n\nFAILED (failures=1, errors=2)\nRan 1 test in 0.0s\n\
                    # pass 5\n# fail 1\n";
        assert_eq!(count_tests(text), Tally { passed: 12 + 3 + 4 + 1 + 5, failed: 2 + 3 + 1 });
    }
}

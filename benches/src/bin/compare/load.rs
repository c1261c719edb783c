//! Runs wrk and reads what it says.

use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use serde::Serialize;

use crate::interrupt;
use crate::scenario::Scenario;

#[derive(Debug, Clone, Serialize)]
pub struct Load {
    pub requests: u64,
    pub duration_us: u64,
    pub p50_us: u64,
    pub p90_us: u64,
    pub p99_us: u64,
    pub max_us: u64,
    pub errors: u64,
    /// CPU of wrk itself.
    pub wrk_cpu_ns: u64,
}

/// Loads the server on `port` for so many seconds, wrk alone on `core`.
pub fn run(
    script: &Path,
    scenario: &Scenario,
    port: u16,
    seconds: u32,
    core: usize,
) -> Result<Load> {
    let mut wrk = Command::new("wrk");
    wrk.args(["--threads", "1", "--timeout", "10s"])
        .arg("--connections")
        .arg(scenario.connections.to_string())
        .arg("--duration")
        .arg(format!("{seconds}s"))
        .arg("--script")
        .arg(script)
        .arg(format!("http://127.0.0.1:{port}/"))
        .env("BODY_BYTES", scenario.body_bytes.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // Nothing else of ours is reaped while wrk runs, so the difference is wrk's.
    let before = cpu_ns_of_reaped_children()?;
    let child = interrupt::spawn(&mut wrk, core)
        .context("cannot start wrk; on Debian it is the package `wrk`")?;
    let output = child.wait_with_output()?;
    let wrk_cpu_ns = cpu_ns_of_reaped_children()? - before;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "wrk failed: {}", String::from_utf8_lossy(&output.stderr));
    let line = text.lines().find_map(|line| line.strip_prefix("RESULT "));
    parse(line.context("wrk printed no RESULT line")?, wrk_cpu_ns)
}

fn cpu_ns_of_reaped_children() -> Result<u64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let us = [usage.user_time(), usage.system_time()]
        .iter()
        .map(|time| time.tv_sec() * 1_000_000 + time.tv_usec())
        .sum::<i64>();
    Ok(us as u64 * 1000)
}

fn parse(line: &str, wrk_cpu_ns: u64) -> Result<Load> {
    let fields: HashMap<&str, u64> = line
        .split_whitespace()
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| Ok((name, value.parse()?)))
        .collect::<Result<_>>()
        .with_context(|| format!("wrk's line {line:?}"))?;
    let field = |name: &str| {
        fields.get(name).copied().with_context(|| format!("wrk's line has no {name}: {line:?}"))
    };
    let mut errors = 0;
    for kind in ["connect_errors", "read_errors", "write_errors", "status_errors", "timeouts"] {
        errors += field(kind)?;
    }
    Ok(Load {
        requests: field("requests")?,
        duration_us: field("duration_us")?,
        p50_us: field("p50_us")?,
        p90_us: field("p90_us")?,
        p99_us: field("p99_us")?,
        max_us: field("max_us")?,
        errors,
        wrk_cpu_ns,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "requests=10 duration_us=5 bytes=9 p50_us=1 p90_us=2 p99_us=3 max_us=4 \
        connect_errors=1 read_errors=0 write_errors=0 status_errors=2 timeouts=4";

    #[test]
    fn wrk_lines() {
        let load = parse(LINE, 6).unwrap();
        assert_eq!((load.requests, load.p99_us, load.errors), (10, 3, 7));
        assert!(parse("requests=10", 0).is_err());
        assert!(parse("requests=x", 0).is_err());
    }
}

//! A function served by `nuclio run` while a gate looks at it from outside.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::runner::Runner;

/// A cold interpreter on a busy machine; a quiet one needs a fraction of it.
const READY_LIMIT: Duration = Duration::from_secs(20);
const END_LIMIT: Duration = Duration::from_secs(10);

pub struct Served {
    /// Gone once it was stopped.
    child: Option<Child>,
    /// What it printed when it was ready.
    pub ready_line: String,
}

impl Served {
    /// Starts the command and waits for its ready line.
    pub fn start(runner: &Runner, command: &mut Command) -> Result<Self> {
        let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start it")?;
        let stdout = child.stdout.take().context("stdout was not piped")?;
        let mut served = Self { child: Some(child), ready_line: String::new() };
        let (sender, first_line) = sync_channel(1);
        std::thread::spawn(move || {
            let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
            let sent = sender.send(lines.next());
            // Read on, or the program would block on a full pipe.
            lines.for_each(drop);
            sent
        });
        let line = first_line.recv_timeout(READY_LIMIT).context("it printed no line in time")?;
        served.ready_line = line.context("it ended before it was ready")?;
        runner.note(&served.ready_line);
        ensure!(served.ready_line.contains(" is ready: http://"), "its first line says no URL");
        Ok(served)
    }

    /// Ctrl-C: it must drain and exit 0.
    pub fn stop(mut self, runner: &Runner) -> Result<()> {
        let child = self.child.take().context("it was stopped before")?;
        kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGINT)?;
        let status = runner.wait(child, "the drain", Instant::now() + END_LIMIT)?;
        ensure!(status.success(), "after SIGINT it ended with {status}");
        Ok(())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // A gate has failed already; whether this works too changes nothing.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// A port of the loopback that was free a moment ago.
pub fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// What curl gets from the root path.
pub fn ask(runner: &Runner, port: u16) -> Result<String> {
    let url = format!("http://127.0.0.1:{port}/");
    let options = ["--silent", "--show-error", "--fail", "--max-time", "10"];
    runner.capture(&mut runner.command("curl", options.into_iter().chain([url.as_str()])))
}

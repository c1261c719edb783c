//! A function served by `nuclio run` while a gate looks at it from outside.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::runner::Runner;

/// A cold interpreter on a busy machine; a quiet one needs a fraction of it.
const READY_LIMIT: Duration = Duration::from_secs(20);
const END_LIMIT: Duration = Duration::from_secs(10);
/// Lines on stdout that nobody has read yet; more make the program wait, as any pipe would.
const LINES_MAX: usize = 64;

pub struct Served {
    child: Child,
    lines: Receiver<String>,
    /// What it printed when it was ready.
    pub ready_line: String,
}

impl Served {
    /// Starts the command and waits for its ready line.
    pub fn start(runner: &Runner, command: &mut Command) -> Result<Self> {
        let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start it")?;
        let stdout = child.stdout.take().context("stdout was not piped")?;
        let (sender, lines) = sync_channel(LINES_MAX);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let mut served = Self { child, lines, ready_line: String::new() };
        served.ready_line =
            served.lines.recv_timeout(READY_LIMIT).context("it printed no line in time")?;
        runner.note(&served.ready_line);
        ensure!(
            served.ready_line.contains(" is ready: http://"),
            "not ready: its first line above"
        );
        Ok(served)
    }

    /// Ctrl-C: it must drain and exit 0.
    pub fn stop(mut self) -> Result<()> {
        kill(self.pid()?, Signal::SIGINT)?;
        let patience = Instant::now() + END_LIMIT;
        // Its stdout closes when it ends; only then is there anything to collect.
        while self.lines.recv_timeout(patience.saturating_duration_since(Instant::now())).is_ok() {}
        match self.child.try_wait()? {
            Some(status) if status.success() => Ok(()),
            Some(status) => bail!("after SIGINT it ended with {status}"),
            None if Instant::now() < patience => {
                let status = self.child.wait()?;
                ensure!(status.success(), "after SIGINT it ended with {status}");
                Ok(())
            }
            None => bail!("it did not end within {} s of SIGINT", END_LIMIT.as_secs()),
        }
    }

    fn pid(&self) -> Result<Pid> {
        Ok(Pid::from_raw(i32::try_from(self.child.id())?))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // Already collected after a good stop; then both are errors that say just that.
        drop(self.child.kill());
        drop(self.child.wait());
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

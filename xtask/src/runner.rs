//! Starts programs, waits for them with a time limit, and keeps what they print.
//!
//! A program that runs too long is ended together with its descendants, and nothing else is.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How often a step that is still running says so: on a terminal the line is rewritten.
const HEARTBEAT_TERMINAL: Duration = Duration::from_secs(1);
const HEARTBEAT_LOG: Duration = Duration::from_secs(30);
/// A command started outside `cargo xtask test` has no limit a person would notice.
const LIMIT_DEFAULT: Duration = Duration::from_secs(3600);

/// Where programs run and where their output goes.
pub struct Runner {
    /// The project's root folder.
    pub root: PathBuf,
    /// Cargo's target folder.
    pub target: PathBuf,
    /// `None`: the terminal. Else the step's log file.
    log: Option<File>,
    /// Name shown while waiting, and the moment the step began.
    step: Option<(String, Instant)>,
    deadline: Instant,
}

impl Runner {
    /// Programs print straight to the terminal.
    pub fn streaming() -> Result<Self> {
        let here = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let here = here.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
        let root = here.parent().context("xtask stands in no folder")?.to_path_buf();
        let target = match std::env::var_os("CARGO_TARGET_DIR") {
            Some(folder) => root.join(folder),
            None => root.join("target"),
        };
        let deadline = Instant::now() + LIMIT_DEFAULT;
        Ok(Self { root, target, log: None, step: None, deadline })
    }

    /// The same folders, output into `log`, everything over after `limit`.
    pub fn for_step(&self, name: &str, log: &Path, limit: Duration) -> Result<Self> {
        let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        Ok(Self {
            root: self.root.clone(),
            target: self.target.clone(),
            log: Some(file),
            step: Some((name.to_owned(), Instant::now())),
            deadline: Instant::now() + limit,
        })
    }

    /// `cargo` as started by the toolchain in use, in the project's root.
    pub fn cargo<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = self.command(cargo, arguments);
        // The stable ABI needs no interpreter at build time; asking one would tie the build to it.
        command.env("PYO3_NO_PYTHON", "1");
        command
    }

    /// Any program, in the project's root.
    pub fn command<S: AsRef<OsStr>>(
        &self,
        program: impl AsRef<OsStr>,
        arguments: impl IntoIterator<Item = S>,
    ) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(&self.root).stdin(Stdio::null());
        command
    }

    /// Prints one line where the programs print.
    pub fn note(&self, line: impl AsRef<str>) {
        match &self.log {
            // A log that cannot be written shows at the next program, which gets the same file.
            Some(file) => drop(writeln!(&mut &*file, "{}", line.as_ref())),
            None => eprintln!("{}", line.as_ref()),
        }
    }

    /// Runs a program that must succeed.
    pub fn run(&self, command: &mut Command) -> Result<()> {
        let status = self.status(command)?;
        if !status.success() {
            bail!("{} ended with {status}", shown(command));
        }
        Ok(())
    }

    /// Runs a program and returns how it ended.
    pub fn status(&self, command: &mut Command) -> Result<ExitStatus> {
        if let Some(log) = &self.log {
            self.note(format!("$ {}", shown(command)));
            command.stdout(log.try_clone()?).stderr(log.try_clone()?);
        }
        let child = command.spawn().with_context(|| format!("cannot start {}", shown(command)))?;
        self.wait(child, &shown(command), self.deadline)
    }

    /// Runs a program that must succeed and returns what it wrote to stdout.
    pub fn capture(&self, command: &mut Command) -> Result<String> {
        command.stdout(Stdio::piped());
        if let Some(log) = &self.log {
            command.stderr(log.try_clone()?);
        }
        let mut child =
            command.spawn().with_context(|| format!("cannot start {}", shown(command)))?;
        let mut stdout = child.stdout.take().context("stdout was not piped")?;
        let reader = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            stdout.read_to_end(&mut bytes).map(|_| bytes)
        });
        let status = self.wait(child, &shown(command), self.deadline)?;
        let bytes = reader.join().map_err(|_| anyhow::anyhow!("the reader panicked"))??;
        if !status.success() {
            bail!("{} ended with {status}", shown(command));
        }
        String::from_utf8(bytes).with_context(|| format!("{} printed no UTF-8", shown(command)))
    }

    /// Waits for a program; at the deadline it is ended, which is an error.
    pub fn wait(&self, mut child: Child, name: &str, deadline: Instant) -> Result<ExitStatus> {
        let pid = child.id();
        let (sender, receiver) = sync_channel(1);
        std::thread::spawn(move || sender.send(child.wait()));
        match self.wait_or_beat(&receiver, deadline.min(self.deadline))? {
            Some(status) => Ok(status),
            None => {
                end_tree(pid)?;
                receiver.recv()??;
                bail!("{name} took too long and was ended")
            }
        }
    }

    /// `None` when the time is over.
    fn wait_or_beat(
        &self,
        receiver: &Receiver<std::io::Result<ExitStatus>>,
        deadline: Instant,
    ) -> Result<Option<ExitStatus>> {
        let terminal = std::io::stderr().is_terminal();
        let beat = if terminal { HEARTBEAT_TERMINAL } else { HEARTBEAT_LOG };
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match receiver.recv_timeout(beat.min(left)) {
                Ok(status) => return Ok(Some(status?)),
                Err(RecvTimeoutError::Disconnected) => bail!("nobody waits for the program"),
                Err(RecvTimeoutError::Timeout) if left <= beat => return Ok(None),
                Err(RecvTimeoutError::Timeout) => self.say_still_running(terminal),
            }
        }
    }

    fn say_still_running(&self, terminal: bool) {
        let Some((name, begun)) = &self.step else { return };
        let seconds = begun.elapsed().as_secs();
        if terminal {
            eprint!("\r  ....  {name:<12} {seconds:>5} s");
        } else {
            eprintln!("  ....  {name:<12} {seconds:>5} s");
        }
    }
}

/// The command line as a person would type it, without its environment.
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Kills a process we started and all that descends from it.
fn end_tree(root: u32) -> Result<()> {
    let parents = parents_of_all()?;
    let mut tree = vec![root];
    let mut next = 0;
    while next < tree.len() {
        let parent = tree[next];
        tree.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    for pid in tree {
        // ESRCH: it ended by itself between the look and the kill.
        let _ = kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGKILL);
    }
    Ok(())
}

/// (pid, parent's pid) of every process.
fn parents_of_all() -> Result<Vec<(u32, u32)>> {
    let mut pairs = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let path = entry?.path();
        let Some(pid) = path.file_name().and_then(OsStr::to_str).and_then(|n| n.parse().ok())
        else {
            continue;
        };
        // "pid (name) state ppid ...": the name may hold spaces and parentheses.
        let Ok(stat) = std::fs::read_to_string(path.join("stat")) else { continue };
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        if let Some(Ok(parent)) = after_name.split_whitespace().nth(1).map(str::parse) {
            pairs.push((pid, parent));
        }
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limited(limit: Duration) -> Runner {
        Runner { deadline: Instant::now() + limit, ..Runner::streaming().unwrap() }
    }

    #[test]
    fn output_is_captured() {
        let runner = limited(Duration::from_secs(10));
        assert_eq!(runner.capture(&mut runner.command("echo", ["a b"])).unwrap(), "a b\n");
    }

    #[test]
    fn a_failure_names_the_command() {
        let runner = limited(Duration::from_secs(10));
        let error = runner.run(&mut runner.command("false", ["x"])).unwrap_err().to_string();
        assert!(error.starts_with("false x ended with"), "{error}");
    }

    #[test]
    fn a_program_that_takes_too_long_is_ended_with_its_children() {
        let runner = limited(Duration::from_millis(300));
        let error = runner.run(&mut runner.command("timeout", ["99", "sleep", "54321.5"]));
        assert!(error.unwrap_err().to_string().contains("took too long"));
        let patience = Instant::now() + Duration::from_secs(10);
        while is_running(b"sleep\x0054321.5\x00") {
            assert!(Instant::now() < patience, "the child outlived its parent");
            std::thread::yield_now();
        }
    }

    fn is_running(command_line: &[u8]) -> bool {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let mut lines = processes.filter_map(|one| std::fs::read(one.path().join("cmdline")).ok());
        lines.any(|line| line == command_line)
    }
}

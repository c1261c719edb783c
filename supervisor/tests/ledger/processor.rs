//! One running `processor` in a folder of its own: started, asked, stopped. Every wait is bounded.
//!
//! Ends only the process it started, by its pid.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use serde_json::Value;

use crate::kinds::Kind;
use crate::notes::{Clocks, Note, read_notes};

/// The machine may be busy with other tests.
const START_LIMIT: Duration = Duration::from_secs(30);
/// The same where a function is built first, with whatever of its language was never built here.
const BUILD_LIMIT: Duration = Duration::from_secs(330);
const STOP_LIMIT: Duration = Duration::from_secs(20);
const ADMIN_LIMIT: Duration = Duration::from_secs(5);
/// Between two looks at a fact that nothing announces.
const LOOK: Duration = Duration::from_millis(5);
const RESTING_LOOKS: usize = 40;

/// The functions; a language that keeps what it builds finds them at the same place each time.
const FUNCTIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ledger/functions");
/// Where nuclio_handler.h is.
const HEADERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../runtimes/native");

/// Where the programs under test are.
#[derive(Debug, Clone)]
pub struct Programs {
    /// `bin/` and `runtimes/`.
    pub dist: PathBuf,
    /// `shim/examples/failpoints.rs`, built.
    pub failpoints: PathBuf,
    /// What is built of functions is kept here.
    pub cache: PathBuf,
    /// Interpreter for Python workers; the processor's own choice if none is given.
    pub python: Option<PathBuf>,
}

impl Programs {
    /// Finds them, or says how to build what is missing.
    pub fn find() -> Result<Self, String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let dist = match std::env::var_os("NUCLIO_TEST_DIST") {
            Some(folder) => PathBuf::from(folder),
            None => root.join("target/dev-dist/nuclio"),
        };
        // This program stands in <target>/<profile>/deps.
        let here = std::env::current_exe().map_err(|e| format!("the test cannot be found: {e}"))?;
        let profile = here.ancestors().nth(2).unwrap_or(Path::new("."));
        let failpoints = match std::env::var_os("NUCLIO_TEST_FAILPOINTS") {
            Some(program) => PathBuf::from(program),
            None => profile.join("examples/failpoints"),
        };
        let needed = [
            (dist.join("bin/processor"), "cargo xtask build"),
            (dist.join("runtimes/python/runtime.toml"), "cargo xtask build"),
            (failpoints.clone(), "cargo build -p shim --example failpoints"),
        ];
        for (file, command) in needed {
            if !file.is_file() {
                return Err(format!("{} is missing; build it with: {command}", file.display()));
            }
        }
        let python = std::env::var_os("NUCLIO_TEST_PYTHON").map(PathBuf::from);
        // Shared with the conformance kit, so that a language's library is built once.
        let cache = profile.with_file_name("conformance-cache");
        Ok(Self { dist, failpoints, cache, python })
    }
}

/// See the module.
pub struct Processor {
    child: Child,
    pidfd: OwnedFd,
    // Held open: the processor must not meet a closed stdout.
    _stdout: ChildStdout,
    folder: tempfile::TempDir,
    pub http: SocketAddr,
    pub admin: SocketAddr,
    clocks: Clocks,
}

/// One death as the processor's log tells it.
#[derive(Debug, Clone)]
pub struct Death {
    pub pid: u32,
    /// On CLOCK_MONOTONIC, when it was told.
    pub at_ns: u64,
    pub cause: String,
}

impl Processor {
    pub fn start(
        programs: &Programs,
        kind: Kind,
        workers: u32,
        timeout: Duration,
    ) -> Result<Self, String> {
        let folder = tempfile::Builder::new().prefix("nuclio-ledger-").tempdir().map_err(text)?;
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("notes")).map_err(text)?;
        let mut command = Command::new(programs.dist.join("bin/processor"));
        let code = code(programs, folder.path(), kind)?;
        let yaml = function_yaml(&at("notes"), &code, kind, timeout);
        fs::write(at("function.yaml"), yaml).map_err(text)?;
        if kind.has_failpoints() {
            let runtime = at("runtimes/native");
            fs::create_dir_all(&runtime).map_err(text)?;
            let file = native_runtime(&programs.failpoints, kind);
            fs::write(runtime.join("runtime.toml"), file).map_err(text)?;
            command.arg("--runtimes").arg(at("runtimes"));
        }
        command.arg("--config").arg(at("function.yaml"));
        command.args(["--port", "0", "--admin", "127.0.0.1:0", "--log-format", "json"]);
        command.args(["--workers", &workers.to_string()]);
        if let Some(python) = programs.python.as_ref().filter(|_| kind.is_python()) {
            command.arg("--python").arg(python);
        }
        command.env("XDG_CACHE_HOME", &programs.cache).env("PYTHONDONTWRITEBYTECODE", "1");
        command.env("NUCLIO_STATE_DIR", at("state"));
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(File::create(at("log")).map_err(text)?);
        let mut child = command.spawn().map_err(text)?;
        let mut stdout = child.stdout.take().ok_or("stdout was not piped")?;
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).map_err(text)?;
        let log = at("log");
        let line = match ready_line(&mut stdout, start_limit(kind)) {
            Ok(line) => line,
            Err(why) => {
                let _ = child.kill();
                let _ = child.wait();
                let log = fs::read_to_string(log).unwrap_or_default();
                return Err(format!("the processor did not become ready: {why}\n{log}"));
            }
        };
        let http = address_after(&line, "ready: http://");
        let admin = address_after(&line, "admin http://");
        let (Some(http), Some(admin)) = (http, admin) else {
            return Err(format!("the ready line names no addresses: {line}"));
        };
        let clocks = Clocks::now();
        Ok(Self { child, pidfd, _stdout: stdout, folder, http, admin, clocks })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The folder with the workers' notes of executions.
    pub fn notes(&self) -> PathBuf {
        self.folder.path().join("notes")
    }

    /// Every execution that was noted.
    pub fn executions(&self) -> Result<Vec<Note>, String> {
        read_notes(&self.notes(), self.clocks)
    }

    pub fn stats(&self) -> Result<Value, String> {
        ask(self.admin, "/api/stats")
    }

    /// The same, once what the start needed for a moment is closed: the fewest descriptors seen.
    pub fn resting_stats(&self) -> Result<Value, String> {
        let mut best = self.stats()?;
        for _ in 0..RESTING_LOOKS {
            pause();
            let stats = self.stats()?;
            if stats["open_descriptors"].as_u64() < best["open_descriptors"].as_u64() {
                best = stats;
            }
        }
        Ok(best)
    }

    pub fn workers(&self) -> Result<Vec<Row>, String> {
        workers(self.admin)
    }

    /// Waits until so many workers are ready.
    pub fn wait_ready(&self, count: usize, limit: Duration) -> Result<(), String> {
        wait_until(limit, || {
            let rows = self.workers()?;
            let ready = rows.iter().filter(|row| row.state == "ready").count();
            if ready == count {
                Ok(())
            } else {
                Err(format!("{ready} of {count} workers are ready: {rows:?}"))
            }
        })
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) -> Result<(), String> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).map_err(text)
    }

    /// Sends SIGTERM and returns the exit code; `None` if a signal ended it.
    pub fn stop(&mut self) -> Result<Option<i32>, String> {
        self.terminate()?;
        self.end()
    }

    /// Waits for the end; the exit code, `None` if a signal ended it.
    pub fn end(&mut self) -> Result<Option<i32>, String> {
        if !is_readable(&self.pidfd, STOP_LIMIT) {
            return Err(format!("the processor did not end within {STOP_LIMIT:?} of SIGTERM"));
        }
        Ok(self.child.wait().map_err(text)?.code())
    }

    /// The log as it is now.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Deaths of ready workers that the log tells of.
    pub fn deaths(&self) -> HashMap<u32, Death> {
        let log = self.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let deaths = lines.filter_map(|line| self.death_of(&line));
        deaths.map(|death| (death.pid, death)).collect()
    }

    fn death_of(&self, line: &Value) -> Option<Death> {
        let message = line["message"].as_str()?;
        let (_, rest) = message.strip_prefix("worker ")?.split_once("(pid ")?;
        let (pid, cause) = rest.split_once(") ended: ")?;
        let at_ns = unix_ns(line["time"].as_str()?)?.saturating_sub(self.clocks.unix_ns);
        Some(Death { pid: pid.parse().ok()?, at_ns, cause: cause.to_owned() })
    }

    /// Keeps the folder for whoever looks for the cause, and says where it is.
    pub fn keep_folder(&mut self) -> PathBuf {
        self.folder.disable_cleanup(true);
        self.folder.path().to_path_buf()
    }
}

impl Drop for Processor {
    fn drop(&mut self) {
        if self.is_alive() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A row of `/api/workers`.
#[derive(Debug, Clone)]
pub struct Row {
    pub pid: u32,
    pub state: String,
    pub restarts: u64,
}

pub fn workers(admin: SocketAddr) -> Result<Vec<Row>, String> {
    let page = ask(admin, "/api/workers")?;
    let rows = page.as_array().ok_or("/api/workers is no list")?;
    let row = |row: &Value| Row {
        pid: row["pid"].as_u64().unwrap_or_default() as u32,
        state: row["state"].as_str().unwrap_or_default().to_owned(),
        restarts: row["restarts"].as_u64().unwrap_or_default(),
    };
    Ok(rows.iter().map(row).collect())
}

/// Gets one page of the admin listener.
fn ask(admin: SocketAddr, path: &str) -> Result<Value, String> {
    let failed = |e: std::io::Error| format!("{path}: {e}");
    let mut stream = TcpStream::connect_timeout(&admin, ADMIN_LIMIT).map_err(failed)?;
    stream.set_read_timeout(Some(ADMIN_LIMIT)).map_err(failed)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply).map_err(failed)?;
    let (head, body) = reply.split_once("\r\n\r\n").ok_or_else(|| format!("{path}: no reply"))?;
    if !head.starts_with("HTTP/1.1 200") {
        return Err(format!("{path}: {}", head.lines().next().unwrap_or_default()));
    }
    serde_json::from_str(body).map_err(|e| format!("{path}: {e}"))
}

/// Looks until the fact holds; at the limit its last refusal is the error.
pub fn wait_until(
    limit: Duration,
    mut fact: impl FnMut() -> Result<(), String>,
) -> Result<(), String> {
    let end = Instant::now() + limit;
    loop {
        match fact() {
            Ok(()) => return Ok(()),
            Err(why) if Instant::now() > end => return Err(format!("not within {limit:?}: {why}")),
            Err(_) => pause(),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "between two looks at what nothing announces")]
fn pause() {
    std::thread::sleep(LOOK);
}

/// Waits until a descriptor is readable; false when the time is over.
pub fn is_readable(descriptor: impl AsFd, limit: Duration) -> bool {
    let end = Instant::now() + limit;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).ok();
        let mut wanted = [PollFd::new(&descriptor, PollFlags::IN)];
        match poll(&mut wanted, timeout.as_ref()) {
            Ok(0) | Err(_) if Instant::now() >= end => return false,
            Ok(0) | Err(_) => {}
            Ok(_) => return true,
        }
    }
}

/// The function of that kind, built where its language leaves that to others.
fn code(programs: &Programs, folder: &Path, kind: Kind) -> Result<PathBuf, String> {
    let source = Path::new(FUNCTIONS).join(kind.traits().code);
    if kind == Kind::C {
        return library(&source, folder);
    }
    if let Some(python) = programs.python.as_ref().filter(|_| kind == Kind::Lines) {
        // Its first line names the interpreter.
        let script_text = fs::read_to_string(&source).map_err(text)?;
        let rest = script_text.split_once('\n').map_or("", |(_, rest)| rest);
        let script = folder.join(kind.traits().code);
        fs::write(&script, format!("#!{}\n{rest}", python.display())).map_err(text)?;
        return Ok(script);
    }
    Ok(source)
}

fn library(source: &Path, folder: &Path) -> Result<PathBuf, String> {
    let library = folder.join("handler.so");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-I", HEADERS, "-o"]);
    let built = compiler.arg(&library).arg(source).stdin(Stdio::null()).output();
    let built = built.map_err(|e| format!("cc cannot be started: {e}; install a C compiler"))?;
    if !built.status.success() {
        let words = String::from_utf8_lossy(&built.stderr);
        return Err(format!("{} was not compiled:\n{words}", source.display()));
    }
    Ok(library)
}

fn function_yaml(notes: &Path, code: &Path, kind: Kind, timeout: Duration) -> String {
    let quoted = |path: &Path| Value::from(path.to_string_lossy()).to_string();
    let (notes, code, seconds) = (quoted(notes), quoted(code), timeout.as_secs());
    let traits = kind.traits();
    format!(
        "apiVersion: nuclio.io/v1\nkind: NuclioFunction\nmetadata: {{name: ledger}}\nspec:\n  \
         runtime: {}\n  eventTimeout: {seconds}s\n  build: {{path: {code}}}\n  \
         env: [{{name: LEDGER_NOTES, value: {notes}}}]\n{}",
        traits.runtime, traits.spec
    )
}

fn start_limit(kind: Kind) -> Duration {
    if kind.traits().spec.contains("readinessTimeoutSeconds") { BUILD_LIMIT } else { START_LIMIT }
}

fn native_runtime(program: &Path, kind: Kind) -> String {
    let mut program = Value::from(program.to_string_lossy()).to_string();
    if kind == Kind::Refusing {
        program.push_str(", \"refuse\"");
    }
    format!("id = \"native\"\nnames = [\"native\"]\ncommand = [{program}]\n")
}

fn ready_line(stdout: &mut ChildStdout, limit: Duration) -> Result<String, String> {
    let end = Instant::now() + limit;
    let mut line = Vec::new();
    loop {
        if !is_readable(&*stdout, end.saturating_duration_since(Instant::now())) {
            return Err(format!("no line on stdout within {limit:?}"));
        }
        let mut bytes = [0; 512];
        let count = stdout.read(&mut bytes).map_err(text)?;
        line.extend_from_slice(&bytes[..count]);
        if count == 0 || line.contains(&b'\n') {
            break;
        }
    }
    let line = String::from_utf8_lossy(&line).into_owned();
    if line.contains("is ready") { Ok(line) } else { Err(format!("it printed {line:?}")) }
}

fn address_after(line: &str, word: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once(word)?;
    rest.split_whitespace().next()?.parse().ok()
}

/// Nanoseconds since the epoch of `2026-01-31T12:34:56.123456789Z`.
fn unix_ns(time: &str) -> Option<u64> {
    let (date, clock) = time.trim_end_matches('Z').split_once('T')?;
    let number = |text: &str| text.parse::<i64>().ok();
    let mut parts = date.split('-');
    let (year, month, day) =
        (number(parts.next()?)?, number(parts.next()?)?, number(parts.next()?)?);
    // Howard Hinnant's count of days in the proleptic Gregorian calendar.
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let mut parts = clock.split(':');
    let seconds =
        number(parts.next()?)? * 3600 + number(parts.next()?)? * 60 + number(parts.next()?)?;
    let nanos: u64 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    Some((days * 86_400 + seconds) as u64 * 1_000_000_000 + nanos)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

//! The servers that are compared: how each is started, checked and stopped.
//!
//! Every server runs as one worker with logging off, in its fastest documented set-up, tied to one
//! core with all its processes.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::ValueEnum;
use nix::sys::signal::{Signal, kill};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{PidfdFlags, pidfd_open};

use crate::gauge::{Process, is_alive, processes_of};
use crate::http::{Answer, Client};
use crate::interrupt;
use crate::places::Places;
use crate::scenario::{HELLO_BODY, Scenario};

/// A server that has not answered by then does not start.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// Between two attempts to reach a server that is starting; cut short when it dies.
const START_RETRY: Duration = Duration::from_millis(5);
/// How long a server may take to end after SIGTERM before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// How much of the end of a failed server's output is shown, besides its first line.
const OUTPUT_LINES_SHOWN: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Server {
    /// epoll and httparse with nothing behind them
    Floor,
    /// `nuclio run` with the plain handler
    Nuclio,
    /// `nuclio run` with the handler that answers `event.body_view`
    NuclioView,
    /// `nuclio run` with the same handler in Rust
    NuclioNative,
    GranianWsgi,
    GranianRsgi,
    Socketify,
    /// socketify reading bodies through `get_data` instead of `on_data`
    SocketifyFuture,
    Uvicorn,
    /// `nuclio run` with the same handlers in JavaScript
    NuclioNode,
    /// `node:http` and nothing else
    NodeHttp,
    Fastify,
    /// `nuclio run` with a script in exec mode: a process an event
    NuclioExec,
    /// `nuclio run` with a script in resident mode, which is told nothing but the body
    NuclioResident,
}

impl Server {
    pub fn name(self) -> String {
        self.to_possible_value().expect("no variant is skipped").get_name().to_owned()
    }

    pub fn is_nuclio(self) -> bool {
        matches!(self, Self::Nuclio | Self::NuclioView | Self::NuclioNative | Self::NuclioNode)
            || self.is_shell()
    }

    /// One of those that run a script.
    pub fn is_shell(self) -> bool {
        matches!(self, Self::NuclioExec | Self::NuclioResident)
    }

    pub fn is_peer(self) -> bool {
        self != Self::Floor && !self.is_nuclio()
    }

    pub fn is_granian(self) -> bool {
        self.package() == Some("granian")
    }

    /// The package of a peer, as `benches/peers/setup.sh` calls it.
    fn package(self) -> Option<&'static str> {
        match self {
            Self::GranianWsgi | Self::GranianRsgi => Some("granian"),
            Self::Socketify | Self::SocketifyFuture => Some("socketify"),
            Self::Uvicorn => Some("uvicorn"),
            Self::Fastify => Some("fastify"),
            Self::Floor | Self::Nuclio | Self::NuclioView | Self::NuclioNative => None,
            Self::NuclioNode | Self::NodeHttp | Self::NuclioExec | Self::NuclioResident => None,
        }
    }

    fn command(self, places: &Places, scenario: &Scenario, ports: Ports) -> Result<Command> {
        if let Some(package) = self.package() {
            places.ensure_peer(package)?;
        }
        let port = ports.http.to_string();
        let command = match self {
            Self::Floor => {
                let mut command = Command::new(places.floor()?);
                command.args(["--port", &port]);
                command
            }
            Self::Nuclio => nuclio(places, scenario.handler, ports)?,
            Self::NuclioView => nuclio(places, scenario.view_handler, ports)?,
            Self::NuclioNative => nuclio(places, scenario.native_handler, ports)?,
            Self::GranianWsgi => granian(places, "wsgi", &port),
            Self::GranianRsgi => granian(places, "rsgi", &port),
            Self::Socketify => socketify(places, "callback", &port),
            Self::SocketifyFuture => socketify(places, "future", &port),
            Self::Uvicorn => uvicorn(places, &port),
            Self::NuclioNode => nuclio(places, &scenario.handler.replace(".py", ".js"), ports)?,
            Self::NodeHttp => node(places, "node_http.js", &port),
            Self::Fastify => node(places, "fastify_app.js", &port),
            Self::NuclioExec | Self::NuclioResident => {
                ensure!(scenario.body_bytes == 0, "its script answers hello and nothing else");
                let exec = self == Self::NuclioExec;
                nuclio(places, if exec { "hello.sh" } else { "hello_resident.sh" }, ports)?
            }
        };
        Ok(command)
    }
}

#[derive(Clone, Copy)]
struct Ports {
    http: u16,
    admin: u16,
}

fn nuclio(places: &Places, handler: &str, ports: Ports) -> Result<Command> {
    let mut command = Command::new(places.nuclio()?);
    command
        .arg("run")
        .arg(places.scenario_file(handler))
        .args(["--port", &ports.http.to_string()])
        .args(["--admin", &format!("127.0.0.1:{}", ports.admin)])
        .env("NUCLIO_STATE_DIR", places.state_folder()?);
    // The interpreter that the peers have, so that nobody wins by a better Python.
    if let Some(python) = places.peers_python().filter(|_| handler.ends_with(".py")) {
        command.arg("--python").arg(python);
    }
    Ok(command)
}

fn granian(places: &Places, interface: &str, port: &str) -> Command {
    let mut command = places.peer_module("granian");
    command
        .args(["--interface", interface, "--host", "127.0.0.1", "--port", port])
        .args(["--workers", "1", "--http", "1", "--no-ws", "--loop", "uvloop", "--no-log"])
        // WSGI's default of many threads costs half as much again where there is one core.
        .args(["--blocking-threads", "1"])
        .args(["--backlog", "2048", "--working-dir"])
        .arg(places.peers_folder())
        .arg(format!("{interface}_app:app"));
    command
}

fn node(places: &Places, app: &str, port: &str) -> Command {
    let mut command = Command::new("node");
    command.arg(places.peers_folder().join(app)).arg(port);
    command.env("NODE_PATH", places.peers_node_modules()).env("NODE_ENV", "production");
    command
}

fn uvicorn(places: &Places, port: &str) -> Command {
    let mut command = places.peer_module("uvicorn");
    command
        .args(["--host", "127.0.0.1", "--port", port, "--workers", "1"])
        .args(["--loop", "uvloop", "--http", "httptools", "--ws", "none", "--lifespan", "off"])
        .args(["--no-access-log", "--log-level", "critical", "--no-proxy-headers"])
        .args(["--backlog", "2048", "--app-dir"])
        .arg(places.peers_folder())
        .arg("asgi_app:app");
    command
}

fn socketify(places: &Places, reading: &str, port: &str) -> Command {
    let mut command = places.peer_script("socketify_app.py");
    command.args([port, reading]);
    command
}

/// A server that answers, until it is dropped.
pub struct Running<'a> {
    places: &'a Places,
    child: Child,
    ports: Ports,
    output: File,
    /// The command line without this machine's folders.
    pub command: String,
    /// Head of its answer to the scenario's request.
    pub answer_head: String,
}

/// Starts the server on `core` and checks every byte of its answer.
pub fn start<'a>(
    server: Server,
    places: &'a Places,
    scenario: &Scenario,
    core: usize,
) -> Result<Running<'a>> {
    let ports = free_ports()?;
    let mut command = server.command(places, scenario, ports)?;
    let shown = places.show(&command);
    let output = tempfile::tempfile()?;
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output.try_clone()?);
    let child = interrupt::spawn(&mut command, core)
        .with_context(|| format!("cannot start {}", Path::new(command.get_program()).display()))?;
    interrupt::server_runs(child.id() as i32);
    let mut running =
        Running { places, child, ports, output, command: shown, answer_head: String::new() };
    running.wait_until_right(scenario)?;
    running.answer_head = running.check(scenario)?;
    Ok(running)
}

fn free_ports() -> Result<Ports> {
    // Both held at once, so that they differ.
    let (first, second) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
    Ok(Ports { http: first.local_addr()?.port(), admin: second.local_addr()?.port() })
}

impl Running<'_> {
    pub fn port(&self) -> u16 {
        self.ports.http
    }

    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// An error with the server's last words when it has ended.
    pub fn ensure_alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("the server ended ({status}): {}", self.last_output()),
            None => Ok(()),
        }
    }

    fn wait_until_right(&mut self, scenario: &Scenario) -> Result<()> {
        let start = Instant::now();
        loop {
            self.ensure_alive()?;
            let Err(error) = self.check(scenario) else { return Ok(()) };
            if start.elapsed() > START_TIMEOUT {
                bail!("no right answer in {START_TIMEOUT:?}: {error:#}; {}", self.last_output());
            }
            wait_for_end(self.pid(), START_RETRY)?;
        }
    }

    /// Asks twice on one connection, compares all bytes, returns the head.
    fn check(&self, scenario: &Scenario) -> Result<String> {
        let mut client = Client::connect(self.ports.http)?;
        let body = scenario.body();
        let mut head = String::new();
        for _ in 0..2 {
            let answer = match scenario.body_bytes {
                0 => client.get("/")?,
                _ => client.post(&body)?,
            };
            head = compare(answer, if body.is_empty() { HELLO_BODY } else { &body })?;
        }
        Ok(head)
    }

    /// nuclio's counters (bells down, bells up) so far.
    pub fn bells(&self) -> Result<(u64, u64)> {
        let answer = Client::connect(self.ports.admin)?.get("/api/stats")?;
        ensure!(answer.status == 200, "/api/stats answered {}", answer.status);
        let stats: serde_json::Value = serde_json::from_slice(&answer.body)?;
        let counter = |name: &str| {
            let value = stats["counters"][name].as_u64().or_else(|| stats[name].as_u64());
            value.with_context(|| format!("/api/stats has no counter {name}: {stats}"))
        };
        Ok((counter("bells_down")?, counter("bells_up")?))
    }

    fn last_output(&mut self) -> String {
        let mut bytes = Vec::new();
        let read =
            self.output.seek(SeekFrom::Start(0)).and_then(|_| self.output.read_to_end(&mut bytes));
        if let Err(error) = read {
            return format!("(its output cannot be read: {error})");
        }
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        let last = lines.len().saturating_sub(OUTPUT_LINES_SHOWN).max(1).min(lines.len());
        let shown = lines.iter().take(1).chain(&lines[last..]);
        self.places.show_text(&shown.copied().collect::<Vec<_>>().join(" | "))
    }

    fn stop(&mut self) -> Result<()> {
        // Before the root ends: later its children would be somebody else's.
        let processes = processes_of(self.pid())?;
        if self.child.try_wait()?.is_none() {
            send(self.pid(), Signal::SIGTERM)?;
            if !wait_for_end(self.pid(), STOP_TIMEOUT)? {
                self.child.kill()?;
            }
            self.child.wait()?;
        }
        for Process { pid, .. } in processes.into_iter().filter(|process| is_alive(*process)) {
            send(pid, Signal::SIGKILL)?;
        }
        Ok(())
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("cannot stop process {}: {error:#}", self.pid());
        }
        interrupt::server_stopped();
    }
}

fn compare(answer: Answer, expected: &[u8]) -> Result<String> {
    ensure!(answer.status == 200, "status {}", answer.status);
    if answer.body != expected {
        let same = answer.body.iter().zip(expected).take_while(|(ours, theirs)| ours == theirs);
        return Err(anyhow!(
            "wrong body: {} bytes for {}, different from byte {}",
            answer.body.len(),
            expected.len(),
            same.count()
        ));
    }
    Ok(answer.head)
}

fn send(pid: i32, signal: Signal) -> Result<()> {
    match kill(nix::unistd::Pid::from_raw(pid), signal) {
        Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot send {signal} to {pid}")),
    }
}

/// True when the process, a child of ours, has ended within `timeout`.
fn wait_for_end(pid: i32, timeout: Duration) -> Result<bool> {
    let pid = rustix::process::Pid::from_raw(pid).context("no process has number 0")?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
    let timeout = Timespec::try_from(timeout)?;
    Ok(poll(&mut fds, Some(&timeout))? > 0)
}

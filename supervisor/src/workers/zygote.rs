//! The zygote: a warmed interpreter that forks workers, so that a replacement does not start from
//! nothing. One a function, started once the first workers serve; with modules to preload it comes
//! first, so that they are loaded once and lie once in memory.
//!
//! Nothing depends on it. If it is late, lies or dies, the workers it owes are started plainly, and
//! another zygote follows behind, at the pace of `restart.rs`. Its socket is polled with the others.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rings::attach::socket_pair;
use rings::os::{receive_with_fds, send_with_fds};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};
use serde::{Deserialize, Serialize};

use super::output::Output;
use super::pool::{Fate, Phase, Pool};
use super::reaper;
use super::restart::{Action, Death, Restart};
use super::spawn::{Launch, Spawned, spawn};
use crate::crossing::{Generation, WorkerId};
use crate::log::now_ns;

/// Names the descriptor of a zygote's socket in its environment.
const SOCKET_ENV: &str = "NUCLIO_ZYGOTE_FD";
/// From the request to the worker's own word, for each worker that was asked for before. A fork takes
/// one or two milliseconds; hundreds of megabytes on a busy machine take hundreds of them.
const FORK_LIMIT: Duration = Duration::from_secs(1);
/// A zygote says less than this at once.
const PACKET_BYTES_MAX: usize = 16 * 1024;

/// How the zygote of this function is started and what it is told.
#[derive(Clone)]
pub struct ZygotePlan {
    pub launch: Launch,
    pub setup: Setup,
}

/// The first thing a zygote is told.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Setup {
    /// The code: what it needs may be loaded, the code itself is not.
    pub code_path: String,
    /// Modules that the user has declared safe to load before a fork.
    pub preload: Vec<String>,
}

/// What a zygote says.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Said {
    /// It can fork. `threads` = what has started threads, which no fork survives; `failed` = modules
    /// that could not be loaded, each with the reason.
    Ready { threads: Vec<String>, failed: Vec<(String, String)> },
    /// By the worker itself: it is a child of the processor now.
    Forked { id: WorkerId, pid: i32 },
}

#[derive(Serialize)]
struct ForkOrder {
    fork: WorkerId,
    parent: u32,
}

/// The place of the zygote, held by one process after the other.
#[derive(Default)]
pub(super) struct ZygoteSeat {
    zygote: Option<Zygote>,
    restart: Restart,
    due: Option<Instant>,
    /// It has threads, which no fork survives.
    is_unfit: bool,
}

struct Zygote {
    id: WorkerId,
    pid: i32,
    pidfd: OwnedFd,
    socket: OwnedFd,
    output: Output,
    /// Until then it must be ready; `None` once it is.
    warm_until: Option<Instant>,
    /// Workers that wait until it is ready; no more than there are places.
    wanted: Vec<(WorkerId, usize, Generation)>,
    /// Workers asked for.
    owed: BTreeMap<WorkerId, Owed>,
    forked: u64,
}

/// A worker that the zygote was asked for.
struct Owed {
    seat: usize,
    generation: Generation,
    socket: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
    until: Instant,
}

/// What of a zygote can wake the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ZygoteWake {
    Socket,
    Ended,
    Output(usize),
}

impl ZygoteSeat {
    pub(super) fn wakes(&self) -> impl Iterator<Item = (ZygoteWake, BorrowedFd<'_>)> {
        self.zygote.iter().flat_map(|zygote| {
            let pipes = zygote.output.pipes().map(|(i, pipe)| (ZygoteWake::Output(i), pipe));
            let socket = (ZygoteWake::Socket, zygote.socket.as_fd());
            pipes.chain([socket, (ZygoteWake::Ended, zygote.pidfd.as_fd())])
        })
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        let zygote = self.zygote.iter();
        let limits = zygote.flat_map(|zygote| {
            let owed = zygote.owed.values().map(|owed| owed.until);
            owed.chain(zygote.warm_until).chain(zygote.output.announce_at())
        });
        limits.chain(self.due).min()
    }

    pub(super) fn pid(&self) -> Option<i32> {
        self.zygote.as_ref().map(|zygote| zygote.pid)
    }

    pub(super) fn is_alive(&self, id: WorkerId) -> bool {
        let is_it = |zygote: &Zygote| zygote.id == id || zygote.owed.contains_key(&id);
        self.zygote.as_ref().is_some_and(is_it)
    }

    /// Whether a worker for this place is on its way.
    pub(super) fn owes(&self, seat: usize) -> bool {
        self.zygote.iter().any(|zygote| {
            let wanted = zygote.wanted.iter().any(|(_, wanted, _)| *wanted == seat);
            wanted || zygote.owed.values().any(|owed| owed.seat == seat)
        })
    }
}

impl Pool {
    /// Call when the function serves.
    pub(super) fn want_zygote(&mut self) {
        let is_there = self.zygote.zygote.is_some() || self.zygote.due.is_some();
        if self.config.zygote.is_some() && !self.zygote.is_unfit && !is_there {
            self.zygote.due = Some(Instant::now());
        }
    }

    /// Before a generation is started: what is preloaded may have changed with the code.
    pub(super) fn preload(&mut self) {
        if self.preloads() {
            self.end_zygote();
            self.zygote.is_unfit = false;
            self.zygote.due = None;
            self.start_zygote();
        }
    }

    fn preloads(&self) -> bool {
        self.config.zygote.as_ref().is_some_and(|plan| !plan.setup.preload.is_empty())
    }

    fn start_zygote(&mut self) {
        let Some(plan) = self.config.zygote.clone() else { return };
        let id = self.next_id;
        self.next_id += 1;
        let started = spawn(&plan.launch, SOCKET_ENV, id);
        let sent = started.and_then(|spawned| {
            let text = serde_json::to_vec(&plan.setup)?;
            send_with_fds(spawned.socket.as_fd(), &text, &[]).map(|()| spawned)
        });
        match sent {
            Ok(spawned) => {
                self.zygote.zygote = Some(Zygote {
                    id,
                    pid: spawned.pid,
                    pidfd: spawned.pidfd,
                    socket: spawned.socket,
                    output: Output::new(id, spawned.stdout, spawned.stderr),
                    warm_until: Some(Instant::now() + self.config.start_limit),
                    wanted: Vec::new(),
                    owed: BTreeMap::new(),
                    forked: 0,
                });
            }
            Err(error) => {
                self.links.log.debug(format!("the zygote cannot be started: {error}"));
                self.zygote_is_due(false, 0);
            }
        }
    }

    /// Asks the zygote for a worker; false if it cannot be asked now.
    pub(super) fn ask_zygote(&mut self, id: WorkerId, seat: usize, generation: Generation) -> bool {
        let preloads = self.preloads();
        let Some(zygote) = self.zygote.zygote.as_mut() else { return false };
        if zygote.warm_until.is_some() {
            // What it loads would otherwise be loaded again by each worker.
            if preloads {
                zygote.wanted.push((id, seat, generation));
            }
            return preloads;
        }
        match zygote.ask(id, seat, generation) {
            Ok(()) => true,
            Err(error) => {
                self.links.log.debug(format!("the zygote cannot be asked: {error}"));
                false
            }
        }
    }

    pub(super) fn wake_zygote(&mut self, wake: ZygoteWake) {
        let Some(zygote) = self.zygote.zygote.as_mut() else { return };
        match wake {
            ZygoteWake::Output(index) => zygote.output.drain(index, &self.links.log),
            ZygoteWake::Socket => self.hear_zygote(),
            ZygoteWake::Ended => self.lose_zygote("it has ended"),
        }
    }

    fn hear_zygote(&mut self) {
        while let Some(zygote) = self.zygote.zygote.as_mut() {
            let mut packet = [0; PACKET_BYTES_MAX];
            let said = match receive_with_fds(zygote.socket.as_fd(), &mut packet) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                // Its end follows, and settles what it owes.
                Ok((0, _)) => return self.lose_zygote("it has closed its socket"),
                Err(error) => return self.lose_zygote(&error.to_string()),
                Ok((bytes, _)) => serde_json::from_slice(&packet[..bytes]),
            };
            match said {
                Ok(Said::Ready { threads, failed }) => self.zygote_is_ready(&threads, failed),
                Ok(Said::Forked { id, pid }) => self.forked(id, pid),
                Err(error) => return self.lose_zygote(&format!("it said something else: {error}")),
            }
        }
    }

    fn zygote_is_ready(&mut self, threads: &[String], failed: Vec<(String, String)>) {
        let log = &self.links.log;
        for (module, why) in failed {
            log.warn(format!("runtimeAttributes.preload: {module} cannot be loaded: {why}"));
        }
        let Some(zygote) = self.zygote.zygote.as_mut() else { return };
        zygote.warm_until = None;
        zygote.output.attached(log);
        if !threads.is_empty() {
            let modules = threads.join(", ");
            log.warn(format!(
                "runtimeAttributes.preload: {modules} started threads, which no fork survives; \
                 workers are started plainly. Leave it out of preload"
            ));
            self.zygote.is_unfit = true;
            self.end_zygote();
            return;
        }
        for (id, seat, generation) in std::mem::take(&mut zygote.wanted) {
            if self.is_wanted(generation) && !self.ask_zygote(id, seat, generation) {
                self.spawn_plainly(id, seat, generation);
            }
        }
    }

    /// A worker says that it was forked; its word is checked with the kernel.
    fn forked(&mut self, id: WorkerId, pid: i32) {
        let Some(zygote) = self.zygote.zygote.as_mut() else { return };
        let Some(owed) = zygote.owed.remove(&id) else {
            return self.lose_zygote("it forked a worker that nobody asked for");
        };
        zygote.forked += 1;
        let is_known = self.workers.values().any(|worker| worker.pid == pid);
        let Some(pidfd) = child_of_ours(pid).filter(|_| !is_known) else {
            self.place_plainly(id, owed.seat, owed.generation);
            return self.lose_zygote("it named a process that is no child of the processor");
        };
        let Owed { seat, generation, socket, stdout, stderr, .. } = owed;
        let (stdout, stderr) = (Some(stdout), Some(stderr));
        let spawned = Spawned { pid, pidfd, socket, stdout, stderr };
        let mut worker = self.worker_of(spawned, id, seat, generation);
        if !self.is_wanted(generation) {
            worker.fate = Fate::Dismissed;
            worker.deadline = None;
            reaper::kill_group(pid);
        }
        self.workers.insert(id, worker);
        self.board_is_stale = true;
    }

    /// Whether a worker of this generation would still be given a place.
    fn is_wanted(&self, generation: Generation) -> bool {
        let drained = matches!(self.phase, Phase::Draining { drained: true, .. });
        let is_current = generation == self.target() || generation == self.serving;
        !drained && self.exit.is_none() && is_current
    }

    fn place_plainly(&mut self, id: WorkerId, seat: usize, generation: Generation) {
        if self.is_wanted(generation) {
            self.spawn_plainly(id, seat, generation);
        }
    }

    /// Ends a zygote that cannot be relied on; what it owes is started plainly, at once.
    fn lose_zygote(&mut self, why: &str) {
        let was_ready = self.zygote.zygote.as_ref().is_some_and(|z| z.warm_until.is_none());
        let Some(forked) = self.end_zygote() else { return };
        self.links.log.debug(format!("the zygote is replaced: {why}"));
        self.zygote_is_due(was_ready, forked);
    }

    fn zygote_is_due(&mut self, was_ready: bool, completed: u64) {
        let death = Death { was_ready, completed, overdue: false };
        let pause = match self.zygote.restart.next(death, now_ns() as u32) {
            Action::Now => Duration::ZERO,
            Action::After(pause) | Action::CrashLoop(pause) => pause,
        };
        self.zygote.due = Some(Instant::now() + pause);
    }

    /// Ends the zygote, if there is one; gives how many workers it forked.
    pub(super) fn end_zygote(&mut self) -> Option<u64> {
        let mut zygote = self.zygote.zygote.take()?;
        reaper::kill_group(zygote.pid);
        // Killed, so this is soon; the reaper of orphans takes what is left.
        let _ = reaper::reap(zygote.pidfd.as_fd());
        zygote.output.finish(&self.links.log);
        self.expect_strays();
        let owed = zygote.owed.iter().map(|(id, owed)| (*id, owed.seat, owed.generation));
        let places: Vec<_> = zygote.wanted.iter().copied().chain(owed).collect();
        for (id, seat, generation) in places {
            self.place_plainly(id, seat, generation);
        }
        Some(zygote.forked)
    }

    pub(super) fn run_zygote_timers(&mut self, now: Instant) {
        if self.zygote.due.is_some_and(|at| at <= now) {
            self.zygote.due = None;
            // One that comes up during a drain would only be in the way.
            if !matches!(self.phase, Phase::Draining { .. }) {
                self.start_zygote();
            }
        }
        let Some(zygote) = self.zygote.zygote.as_mut() else { return };
        zygote.output.announce(&self.links.log, now);
        let is_late = zygote.owed.values().any(|owed| owed.until <= now);
        if is_late || zygote.warm_until.is_some_and(|at| at <= now) {
            self.lose_zygote("it did not answer in time");
        }
    }
}

impl Zygote {
    fn ask(&mut self, id: WorkerId, seat: usize, generation: Generation) -> std::io::Result<()> {
        let (socket, theirs) = socket_pair()?;
        // Our ends do not block; the worker's are its own.
        let (stdout, stdout_theirs) = output_pipe()?;
        let (stderr, stderr_theirs) = output_pipe()?;
        let order = serde_json::to_vec(&ForkOrder { fork: id, parent: std::process::id() })?;
        let fds = [&theirs, &stdout_theirs, &stderr_theirs].map(AsFd::as_fd);
        send_with_fds(self.socket.as_fd(), &order, &fds)?;
        let ahead = u32::try_from(self.owed.len()).unwrap_or(u32::MAX).saturating_add(1);
        let until = Instant::now() + FORK_LIMIT * ahead;
        self.owed.insert(id, Owed { seat, generation, socket, stdout, stderr, until });
        Ok(())
    }
}

fn output_pipe() -> std::io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    Ok((ours, theirs))
}

/// A descriptor for the process, if it is a child of this one.
fn child_of_ours(pid: i32) -> Option<OwnedFd> {
    let pidfd = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    waitid(WaitId::PidFd(pidfd.as_fd()), look).ok()?;
    Some(pidfd)
}

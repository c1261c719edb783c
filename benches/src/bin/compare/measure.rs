//! One run: a fresh server, a warm-up, a load, and everything that was read meanwhile.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

use crate::gauge::{Machine, Tree};
use crate::load::{self, Load};
use crate::places::Places;
use crate::scenario::Scenario;
use crate::server::{self, Server};

const WARM_UP_S: u32 = 1;
/// Others may use so much of the whole machine before a run counts as disturbed.
pub const OTHERS_SHARE_MAX: f64 = 0.08;
/// How long the machine is watched to see whether it is idle.
const WATCH: Duration = Duration::from_millis(100);

pub struct Settings {
    pub seconds: u32,
    pub server_core: usize,
    pub load_core: usize,
    /// How long a run may wait for an idle machine; then it starts all the same.
    pub patience: Duration,
}

#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    pub load: Load,
    /// CPU of the server's first process (the floor, the processor, a peer's main process).
    pub root_cpu_ns: u64,
    /// CPU of all processes below it (workers).
    pub others_cpu_ns: u64,
    pub switches_voluntary: u64,
    pub switches_forced: u64,
    /// Writes to a bell, towards the worker and back; nuclio only.
    pub bells_down: Option<u64>,
    pub bells_up: Option<u64>,
    /// Share of the machine that went to processes which are neither server nor wrk.
    pub others_share: f64,
    /// Share that a hypervisor took.
    pub stolen_share: f64,
    /// Processes of the server that came or went under load.
    pub processes_changed: u64,
}

impl Measured {
    pub fn per_request(&self, amount: u64) -> f64 {
        amount as f64 / self.load.requests.max(1) as f64
    }

    pub fn server_us(&self) -> f64 {
        self.per_request(self.root_cpu_ns + self.others_cpu_ns) / 1000.0
    }

    pub fn wrk_us(&self) -> f64 {
        self.per_request(self.load.wrk_cpu_ns) / 1000.0
    }

    pub fn rate(&self) -> f64 {
        self.load.requests as f64 * 1e6 / self.load.duration_us.max(1) as f64
    }
}

/// A run's result with what is worth knowing about the server.
pub struct Run {
    pub measured: Measured,
    pub command: String,
    pub answer_head: String,
}

pub fn run(server: Server, places: &Places, scenario: &Scenario, with: &Settings) -> Result<Run> {
    let mut running = server::start(server, places, scenario, with.server_core)?;
    let script = places.scenario_file("load.lua");
    load::run(&script, scenario, running.port(), WARM_UP_S, with.load_core)?;
    running.ensure_alive()?;
    wait_for_idle(with.patience)?;

    let bells_before = if server.is_nuclio() { Some(running.bells()?) } else { None };
    let (machine_before, start) = (Machine::read()?, Instant::now());
    let tree_before = Tree::read(running.pid())?;
    let load = load::run(&script, scenario, running.port(), with.seconds, with.load_core)?;
    let used = tree_before.use_until(&Tree::read(running.pid())?);
    let (machine_after, wall) = (Machine::read()?, start.elapsed());
    running.ensure_alive()?;
    let bells_after = if server.is_nuclio() { Some(running.bells()?) } else { None };

    let capacity_ns = wall.as_nanos() as f64 * std::thread::available_parallelism()?.get() as f64;
    let busy_ns = machine_after.busy_ns - machine_before.busy_ns;
    let others_ns = busy_ns.saturating_sub(used.cpu_ns() + load.wrk_cpu_ns);
    let bells = bells_before.zip(bells_after);
    let measured = Measured {
        load,
        root_cpu_ns: used.root_cpu_ns,
        others_cpu_ns: used.others_cpu_ns,
        switches_voluntary: used.switches_voluntary,
        switches_forced: used.switches_forced,
        bells_down: bells.map(|(before, after)| after.0 - before.0),
        bells_up: bells.map(|(before, after)| after.1 - before.1),
        others_share: others_ns as f64 / capacity_ns,
        stolen_share: (machine_after.stolen_ns - machine_before.stolen_ns) as f64 / capacity_ns,
        processes_changed: used.changed,
    };
    let (command, answer_head) = (running.command.clone(), running.answer_head.clone());
    Ok(Run { measured, command, answer_head })
}

/// Returns when the machine is idle, or when `patience` is over.
#[expect(clippy::disallowed_methods, reason = "the sleep is the length of a measurement")]
fn wait_for_idle(patience: Duration) -> Result<()> {
    let cores = std::thread::available_parallelism()?.get() as f64;
    let start = Instant::now();
    while start.elapsed() < patience {
        let (before, watched) = (Machine::read()?, Instant::now());
        std::thread::sleep(WATCH);
        let busy_ns = (Machine::read()?.busy_ns - before.busy_ns) as f64;
        if busy_ns / (watched.elapsed().as_nanos() as f64 * cores) <= OTHERS_SHARE_MAX {
            return Ok(());
        }
    }
    Ok(())
}

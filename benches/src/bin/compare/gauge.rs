//! What the kernel says about a tree of processes and about the whole machine.
//!
//! CPU comes from each process's own clock (nanoseconds, threads that have ended included), the
//! rest from /proc. What processes used that came and went in between is in their parent's count of
//! reaped children, in ticks.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

/// /proc/stat counts in this unit on every Linux: 100 ticks a second.
const TICK_NS: u64 = 10_000_000;

/// A process that cannot be confused with a later one of the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    pub pid: i32,
    started: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Figures {
    cpu_ns: u64,
    /// Of children that it has reaped.
    reaped_ns: u64,
    switches_voluntary: u64,
    switches_forced: u64,
}

/// The tree at one moment.
pub struct Tree {
    root: i32,
    processes: BTreeMap<Process, Figures>,
}

/// What a tree did between two moments.
#[derive(Debug, Clone, Copy, Default)]
pub struct TreeUse {
    pub root_cpu_ns: u64,
    /// With those that came and went, once their parent has reaped them.
    pub others_cpu_ns: u64,
    pub switches_voluntary: u64,
    pub switches_forced: u64,
    /// Processes that were there at one end only; how often those switched is unknown.
    pub changed: u64,
}

impl TreeUse {
    pub fn cpu_ns(&self) -> u64 {
        self.root_cpu_ns + self.others_cpu_ns
    }
}

/// The process and all its descendants.
pub fn processes_of(root: i32) -> Result<Vec<Process>> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process that ended meanwhile is simply not there.
        if let Some((parent, started)) = parent_and_start(pid) {
            all.push((Process { pid, started }, parent));
        }
    }
    let mut tree: Vec<Process> = all
        .iter()
        .filter(|(process, _)| process.pid == root)
        .map(|(process, _)| *process)
        .collect();
    let mut next = 0;
    while next < tree.len() {
        let parent = tree[next].pid;
        tree.extend(all.iter().filter(|(_, its)| *its == parent).map(|(process, _)| *process));
        next += 1;
    }
    Ok(tree)
}

/// True while this very process exists and has not ended.
pub fn is_alive(process: Process) -> bool {
    parent_and_start(process.pid).is_some_and(|(_, started)| started == process.started)
}

impl Tree {
    pub fn read(root: i32) -> Result<Self> {
        let processes = processes_of(root)?;
        let figures = processes.into_iter().filter_map(|process| {
            // None: it has just ended.
            figures_of(process.pid).map(|figures| (process, figures))
        });
        Ok(Self { root, processes: figures.collect() })
    }

    pub fn use_until(&self, later: &Tree) -> TreeUse {
        let mut sum = TreeUse::default();
        for (process, after) in &later.processes {
            let before = self.processes.get(process).copied().unwrap_or_else(|| {
                sum.changed += 1;
                Figures::default()
            });
            let cpu_ns = after.cpu_ns.saturating_sub(before.cpu_ns);
            if process.pid == self.root {
                sum.root_cpu_ns += cpu_ns;
            } else {
                sum.others_cpu_ns += cpu_ns;
            }
            sum.others_cpu_ns += after.reaped_ns.saturating_sub(before.reaped_ns);
            let voluntary = after.switches_voluntary.saturating_sub(before.switches_voluntary);
            let forced = after.switches_forced.saturating_sub(before.switches_forced);
            sum.switches_voluntary += voluntary;
            sum.switches_forced += forced;
        }
        for (process, before) in &self.processes {
            if !later.processes.contains_key(process) {
                sum.changed += 1;
                // It was reaped with all it had used, of which this part is older.
                let older = before.cpu_ns + before.reaped_ns;
                sum.others_cpu_ns = sum.others_cpu_ns.saturating_sub(older);
            }
        }
        sum
    }
}

fn figures_of(pid: i32) -> Option<Figures> {
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(pid)).ok()?;
    let time = clock_gettime(clock).ok()?;
    let cpu_ns = time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64;
    let mut figures = Figures { cpu_ns, reaped_ns: reaped_ns(pid)?, ..Figures::default() };
    for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let Ok(status) = fs::read_to_string(thread.ok()?.path().join("status")) else { continue };
        figures.switches_voluntary += status_field(&status, "voluntary_ctxt_switches:");
        figures.switches_forced += status_field(&status, "nonvoluntary_ctxt_switches:");
    }
    Some(figures)
}

fn status_field(status: &str, name: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|value| value.trim().parse().ok())
        .unwrap_or(0)
}

/// User and system time of the children that a process has reaped.
fn reaped_ns(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let ticks = after_name(&stat)?.into_iter().skip(13).take(2);
    Some(ticks.filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>() * TICK_NS)
}

/// What follows the name in a line of /proc/PID/stat. The name stands in brackets and may itself hold
/// brackets and blanks; what follows the last one is plain.
fn after_name(stat: &str) -> Option<Vec<&str>> {
    Some(stat.rsplit_once(')')?.1.split_whitespace().collect())
}

/// Parent and start time of a process that has not ended.
fn parent_and_start(pid: i32) -> Option<(i32, u64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields = after_name(&stat)?;
    let is_zombie = matches!(*fields.first()?, "Z" | "X");
    let parent = fields.get(1)?.parse().ok()?;
    let started = fields.get(19)?.parse().ok()?;
    (!is_zombie).then_some((parent, started))
}

/// CPU that the whole machine has used since it started, and what a hypervisor took from it.
#[derive(Debug, Clone, Copy)]
pub struct Machine {
    pub busy_ns: u64,
    pub stolen_ns: u64,
}

impl Machine {
    pub fn read() -> Result<Self> {
        let stat = fs::read_to_string("/proc/stat")?;
        Self::parse(&stat).context("/proc/stat has no line `cpu`")
    }

    fn parse(stat: &str) -> Option<Self> {
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let ticks: Vec<u64> = line.split_whitespace().map_while(|tick| tick.parse().ok()).collect();
        let [user, nice, system, _idle, _iowait, irq, softirq, stolen, ..] = ticks[..] else {
            return None;
        };
        let busy_ns = (user + nice + system + irq + softirq) * TICK_NS;
        Some(Self { busy_ns, stolen_ns: stolen * TICK_NS })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_lines() {
        let machine = Machine::parse("cpu  1 2 3 100 50 4 5 6 0 0\ncpu0 1\n").unwrap();
        assert_eq!(machine.busy_ns, 15 * TICK_NS);
        assert_eq!(machine.stolen_ns, 6 * TICK_NS);
        assert!(Machine::parse("cpu0 1 2").is_none());
    }

    #[test]
    fn this_process_is_a_tree_and_uses_cpu() {
        let pid = std::process::id() as i32;
        let before = Tree::read(pid).unwrap();
        let spun = (0..20_000_000_u64).fold(0, |sum, value| std::hint::black_box(sum ^ value));
        let used = before.use_until(&Tree::read(pid).unwrap());
        assert!(used.root_cpu_ns > 100_000, "{used:?} {spun}");
        assert!(processes_of(pid).unwrap().into_iter().any(is_alive));
    }

    #[test]
    fn a_child_that_has_ended_is_counted() {
        let mut shell = std::process::Command::new("sh");
        // The child of our child: reaped by it, while it lives on and waits for its input.
        shell.args([
            "-c",
            "sh -c 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done'; echo; read x",
        ]);
        shell.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut shell = shell.spawn().unwrap();
        let before = Tree::read(std::process::id() as i32).unwrap();
        let mut line = [0];
        std::io::Read::read_exact(&mut shell.stdout.take().unwrap(), &mut line).unwrap();
        let used = before.use_until(&Tree::read(std::process::id() as i32).unwrap());
        drop(shell.stdin.take());
        shell.wait().unwrap();
        assert!(used.others_cpu_ns >= TICK_NS, "{used:?}");
    }

    #[test]
    fn status_fields() {
        let status = "voluntary_ctxt_switches:\t12\nnonvoluntary_ctxt_switches:\t3\n";
        assert_eq!(status_field(status, "voluntary_ctxt_switches:"), 12);
        assert_eq!(status_field(status, "nonvoluntary_ctxt_switches:"), 3);
    }
}

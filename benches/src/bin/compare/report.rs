//! Tables for people, and the raw data behind them.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use benches::stats::{median, range};
use serde::Serialize;

use crate::measure::{Measured, OTHERS_SHARE_MAX, Settings};
use crate::places::Places;
use crate::scenario::{EXEC_TO_RESIDENT_MIN, PeerLimit, Scenario};
use crate::server::Server;

/// All runs of one server in one scenario.
#[derive(Serialize)]
pub struct Row {
    #[serde(serialize_with = "server_name")]
    pub server: Server,
    pub command: String,
    pub answer_head: String,
    /// One an attempted turn, in order.
    pub turns: Vec<Turn>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Turn {
    Measured(Measured),
    Failed(String),
}

/// One scenario, all servers.
#[derive(Serialize)]
pub struct Table<'a> {
    #[serde(serialize_with = "scenario_name")]
    pub scenario: &'a Scenario,
    pub body_bytes: usize,
    pub connections: u32,
    pub seconds: u32,
    /// Which turns the table counts; all of them, or the calm ones.
    pub counted: Vec<usize>,
    pub turn_count: usize,
    pub rows: Vec<Row>,
}

fn server_name<S: serde::Serializer>(server: &Server, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&server.name())
}

fn scenario_name<S: serde::Serializer>(scenario: &&Scenario, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(scenario.name)
}

/// True when nothing disturbed this turn: see `calm_wrk_us_max` and `OTHERS_SHARE_MAX`.
pub fn is_calm(scenario: &Scenario, rows: &[Row], turn: usize) -> bool {
    rows.iter().all(|row| match row.turns.get(turn) {
        Some(Turn::Measured(run)) => {
            let is_gauge = row.server == Server::Floor;
            let is_wrk_calm = match scenario.calm_wrk_us_max {
                Some(most) if is_gauge => run.wrk_us() <= most,
                _ => true,
            };
            is_wrk_calm && run.others_share <= OTHERS_SHARE_MAX
        }
        Some(Turn::Failed(_)) | None => true,
    })
}

impl Table<'_> {
    fn runs<'b>(&'b self, row: &'b Row) -> Vec<&'b Measured> {
        let turns = self.counted.iter().filter_map(|&turn| row.turns.get(turn));
        turns
            .filter_map(|turn| match turn {
                Turn::Measured(run) => Some(run),
                Turn::Failed(_) => None,
            })
            .collect()
    }

    fn medians(&self, row: &Row, of: impl Fn(&Measured) -> f64) -> f64 {
        median(&self.runs(row).into_iter().map(of).collect::<Vec<f64>>())
    }

    /// Median CPU us a request of a server; None when it was not measured.
    fn cpu_us(&self, server: Server) -> Option<f64> {
        let row = self.rows.iter().find(|row| row.server == server)?;
        (!self.runs(row).is_empty()).then(|| self.medians(row, Measured::server_us))
    }

    /// How many times the CPU of `base` this server takes: the median of the turns' own ratios, so
    /// that a machine that changes between turns does not blur it.
    fn cpu_ratio(&self, server: Server, base: Server) -> Option<f64> {
        self.ratio(server, base, Measured::server_us)
    }

    fn ratio(&self, server: Server, base: Server, of: impl Fn(&Measured) -> f64) -> Option<f64> {
        let turns = |server: Server| self.rows.iter().find(|row| row.server == server);
        let (row, base) = (turns(server)?, turns(base)?);
        let ratios = self.counted.iter().filter_map(|&turn| {
            match (row.turns.get(turn)?, base.turns.get(turn)?) {
                (Turn::Measured(run), Turn::Measured(base)) => Some(of(run) / of(base)),
                _ => None,
            }
        });
        let ratios: Vec<f64> = ratios.collect();
        (!ratios.is_empty()).then(|| median(&ratios))
    }

    pub fn text(&self) -> String {
        let mut text = format!(
            "### {}: {} connections, {}, {} of {} turns of {} s counted\n\n",
            self.scenario.name,
            self.connections,
            if self.body_bytes == 0 { "GET".into() } else { format!("POST {} B", self.body_bytes) },
            self.counted.len(),
            self.turn_count,
            self.seconds,
        );
        text.push_str(
            "| server | runs | req/s [min-max] | CPU us/req [min-max] | first + other processes \
             | CPU / floor | p50 us | p99 us | switches/req voluntary + forced \
             | bells/event down + up | wrk us/req | others % | errors |\n\
             |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
        );
        for row in &self.rows {
            text.push_str(&self.line(row));
        }
        for row in &self.rows {
            let failures = row.turns.iter().filter_map(|turn| match turn {
                Turn::Failed(reason) => Some(reason),
                Turn::Measured(_) => None,
            });
            let failures: Vec<&String> = failures.collect();
            if let Some(first) = failures.first() {
                let (name, count) = (row.server.name(), failures.len());
                writeln!(text, "\n{name}: {count} turns failed; the first: {first}").ok();
            }
        }
        text.push_str(&self.verdicts());
        text
    }

    fn line(&self, row: &Row) -> String {
        let runs = self.runs(row);
        let name = row.server.name();
        if runs.is_empty() {
            return format!("| {name} | 0 | failed, see below | | | | | | | | | | |\n");
        }
        let of = |of: fn(&Measured) -> f64| self.medians(row, of);
        let rates: Vec<f64> = runs.iter().map(|run| run.rate()).collect();
        let cpus: Vec<f64> = runs.iter().map(|run| run.server_us()).collect();
        let (slowest, fastest) = range(&rates);
        let (cheapest, dearest) = range(&cpus);
        let ratio = self.cpu_ratio(row.server, Server::Floor);
        let bells = runs.first().and_then(|run| run.bells_down.zip(run.bells_up)).map(|_| {
            let down = of(|run| run.per_request(run.bells_down.unwrap_or(0)));
            format!("{down:.3} + {:.3}", of(|run| run.per_request(run.bells_up.unwrap_or(0))))
        });
        format!(
            "| {name} | {} | {:.0} [{slowest:.0}-{fastest:.0}] \
             | {:.2} [{cheapest:.2}-{dearest:.2}] | {:.2} + {:.2} | {} | {:.0} | {:.0} \
             | {:.3} + {:.3} | {} | {:.2} | {:.0} | {} |\n",
            runs.len(),
            median(&rates),
            median(&cpus),
            of(|run| run.per_request(run.root_cpu_ns) / 1000.0),
            of(|run| run.per_request(run.others_cpu_ns) / 1000.0),
            ratio.map_or(String::new(), |ratio| format!("{ratio:.2}")),
            of(|run| run.load.p50_us as f64),
            of(|run| run.load.p99_us as f64),
            of(|run| run.per_request(run.switches_voluntary)),
            of(|run| run.per_request(run.switches_forced)),
            bells.unwrap_or_default(),
            of(Measured::wrk_us),
            of(|run| 100.0 * run.others_share),
            runs.iter().map(|run| run.load.errors).sum::<u64>(),
        )
    }

    fn cheapest(&self, servers: impl Iterator<Item = Server>) -> Option<Server> {
        let measured = servers.filter_map(|server| Some((server, self.cpu_us(server)?)));
        measured.min_by(|(_, one), (_, other)| one.total_cmp(other)).map(|(server, _)| server)
    }

    /// The promises about CPU, each with what was seen.
    fn verdicts(&self) -> String {
        let mut text = String::new();
        let is_there = |server| self.rows.iter().any(|row| row.server == server);
        let mut say = |of: Server, name: &str, base: Option<Server>, most: f64| {
            let seen = match base.and_then(|base| self.cpu_ratio(of, base)) {
                Some(ratio) if ratio <= most => format!("{ratio:.2}, target {most}: met"),
                Some(ratio) => format!("{ratio:.2}, target {most}: MISSED"),
                None => format!("not measured, target {most}"),
            };
            writeln!(text, "\nCPU of {} / {name}: {seen}", of.name()).ok();
        };
        if is_there(Server::Nuclio) {
            if let Some(most) = self.scenario.floor_ratio_max {
                say(Server::Nuclio, "floor", Some(Server::Floor), most);
            }
            let servers = self.rows.iter().map(|row| row.server);
            match self.scenario.peer_limit {
                Some(PeerLimit::BestGranian(most)) => {
                    let best = self.cheapest(servers.filter(|server| server.is_granian()));
                    say(Server::Nuclio, "granian's best interface", best, most);
                }
                Some(PeerLimit::BelowEveryPeer) => {
                    let best = self.cheapest(servers.filter(|server| server.is_peer()));
                    say(Server::Nuclio, "the best peer", best, 1.0);
                }
                None => {}
            }
        }
        for promise in self.scenario.promises.iter().filter(|promise| is_there(promise.of)) {
            say(promise.of, &promise.than.name(), Some(promise.than), promise.most);
        }
        text.push_str(&self.resident_verdict().unwrap_or_default());
        text
    }

    /// Exec mode beside resident mode: worker and script, without the processor.
    fn resident_verdict(&self) -> Option<String> {
        let behind = |run: &Measured| run.per_request(run.others_cpu_ns);
        let ratio = self.ratio(Server::NuclioExec, Server::NuclioResident, behind)?;
        let verdict = if ratio >= EXEC_TO_RESIDENT_MIN { "met" } else { "MISSED" };
        Some(format!(
            "\nCPU of worker and script, nuclio-exec / nuclio-resident: {ratio:.1}, target at least \
             {EXEC_TO_RESIDENT_MIN}: {verdict}\n"
        ))
    }

    /// Writes the table and its raw data to `folder`.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let name = self.scenario.name;
        let json = serde_json::to_string_pretty(self)? + "\n";
        write_file(&folder.join(format!("{name}.json")), &json)?;
        write_file(&folder.join(format!("{name}.md")), &self.text())
    }
}

/// Writes what machine and which programs the results of `folder` come from.
pub fn write_circumstances(folder: &Path, places: &Places, settings: &Settings) -> Result<()> {
    let mut text = String::new();
    let mut say = |name: &str, value: Option<String>| {
        let value = value.unwrap_or_else(|| "unknown".into());
        writeln!(text, "{name}: {}", value.trim()).ok();
    };
    say("kernel", fs::read_to_string("/proc/sys/kernel/osrelease").ok());
    say("processor", proc_field("/proc/cpuinfo", "model name"));
    say("cores", std::thread::available_parallelism().ok().map(|cores| cores.to_string()));
    say("memory", proc_field("/proc/meminfo", "MemTotal"));
    say("server core, wrk core", Some(format!("{}, {}", settings.server_core, settings.load_core)));
    say("rustc", first_line(Command::new("rustc").arg("--version")));
    say("wrk", first_line(Command::new("wrk").arg("--version")));
    say("commit", first_line(Command::new("git").args(["rev-parse", "HEAD"])));
    let python = places.peers_python().map(Command::new);
    say("python", python.and_then(|mut python| first_line(python.arg("--version"))));
    say("peers", places.peers_list().map(|list| list.replace('\t', " ").replace('\n', "; ")));
    write_file(&folder.join("machine.txt"), &text)?;
    let words = std::env::args_os().skip(1);
    let words: Vec<String> = words.map(|word| places.show_word(&word)).collect();
    write_file(&folder.join("commands.txt"), &format!("compare {}\n", words.join(" ")))
}

fn proc_field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.to_owned())
}

fn first_line(command: &mut Command) -> Option<String> {
    // wrk prints its version and fails.
    let output = command.output().ok()?;
    String::from_utf8(output.stdout).ok()?.lines().next().map(str::to_owned)
}

fn write_file(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

//! Compares servers under the same load: nuclio, its floor, its peers, taking turns.
//!
//! Prints a table for each scenario; keeps the raw data with `--out`. What the figures mean is in
//! `benches/README.md`.
#![forbid(unsafe_code)]

mod gauge;
mod http;
mod interrupt;
mod load;
mod measure;
mod places;
mod report;
mod scenario;
mod server;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use benches::date::today;
use benches::pin::core_count;
use clap::Parser;
use clap::builder::PossibleValuesParser;

use measure::Settings;
use places::Places;
use report::{Row, Table, Turn};
use scenario::Scenario;
use server::Server;

/// With `--calm`, at most so many times the wanted number of turns.
const CALM_ATTEMPTS: usize = 4;

#[derive(Parser)]
#[command(about = "Loads servers by turns and compares CPU a request, rate and latency")]
struct Args {
    /// What to compare, in this order
    #[arg(
        long,
        value_delimiter = ',',
        value_enum,
        default_value = "floor,nuclio,granian-wsgi,granian-rsgi,socketify,uvicorn"
    )]
    servers: Vec<Server>,
    /// Which loads
    #[arg(long, value_delimiter = ',', default_value = "hello",
        value_parser = PossibleValuesParser::new(scenario::SCENARIOS.map(|it| it.name)))]
    scenario: Vec<String>,
    /// How many turns; each starts, loads and stops every server once
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Length of a load
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// Count calm turns only, and go on until there are enough (at most 4 times as many turns)
    #[arg(long)]
    calm: bool,
    /// Seconds a run may wait for the machine to become idle
    #[arg(long, default_value_t = 10)]
    patience: u64,
    /// Core of the server with all its processes
    #[arg(long, default_value_t = 0)]
    server_core: usize,
    /// Core of wrk
    #[arg(long, default_value_t = 1)]
    load_core: usize,
    /// Keep raw data and tables in this folder; benches/results/<date> when none is named
    #[arg(long, num_args = 0..=1, value_name = "FOLDER")]
    out: Option<Option<PathBuf>>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    // A machine of one core gives no rates, but its CPU figures stand where instructions are counted.
    let alone = core_count()? == 1 && args.server_core == args.load_core;
    ensure!(alone || args.server_core != args.load_core, "server and wrk need a core each");
    ensure!(alone || core_count()? >= 2, "two cores are needed: one for the server, one for wrk");
    interrupt::watch()?;
    let places = Places::find()?;
    let settings = Settings {
        seconds: args.seconds,
        server_core: args.server_core,
        load_core: args.load_core,
        patience: Duration::from_secs(args.patience),
    };
    let folder = match &args.out {
        None => None,
        Some(None) => Some(places.results_folder(&today())),
        Some(Some(folder)) => Some(folder.clone()),
    };
    if let Some(folder) = &folder {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        report::write_circumstances(folder, &places, &settings)?;
    }
    for name in &args.scenario {
        let scenario = scenario::find(name).context("clap has checked the names")?;
        let table = run_scenario(scenario, &args, &places, &settings);
        println!("{}", table.text());
        if let Some(folder) = &folder {
            table.write(folder)?;
        }
    }
    Ok(())
}

fn run_scenario<'a>(
    scenario: &'a Scenario,
    args: &Args,
    places: &Places,
    settings: &Settings,
) -> Table<'a> {
    let row = |server: &Server| Row {
        server: *server,
        command: String::new(),
        answer_head: String::new(),
        turns: Vec::new(),
    };
    let mut rows: Vec<Row> = args.servers.iter().map(row).collect();
    let mut calm = Vec::new();
    let mut turn_count = 0;
    let turns_max = args.runs * if args.calm { CALM_ATTEMPTS } else { 1 };
    while turn_count < turns_max && calm.len() < args.runs {
        for row in &mut rows {
            take_turn(row, scenario, places, settings);
        }
        if !args.calm || report::is_calm(scenario, &rows, turn_count) {
            calm.push(turn_count);
        }
        turn_count += 1;
    }
    if calm.len() < args.runs {
        eprintln!("{}: only {} of {turn_count} turns were calm", scenario.name, calm.len());
    }
    Table {
        scenario,
        body_bytes: scenario.body_bytes,
        connections: scenario.connections,
        seconds: settings.seconds,
        counted: calm,
        turn_count,
        rows,
    }
}

fn take_turn(row: &mut Row, scenario: &Scenario, places: &Places, settings: &Settings) {
    let (name, number) = (row.server.name(), row.turns.len() + 1);
    let turn = match measure::run(row.server, places, scenario, settings) {
        Ok(run) => {
            row.command = run.command;
            row.answer_head = run.answer_head;
            eprintln!(
                "{} turn {number} {name}: {:.0} req/s, {:.2} us/req, wrk {:.2} us/req, others {:.0} %",
                scenario.name,
                run.measured.rate(),
                run.measured.server_us(),
                run.measured.wrk_us(),
                100.0 * run.measured.others_share,
            );
            Turn::Measured(run.measured)
        }
        Err(error) => {
            eprintln!("{} turn {number} {name}: {error:#}", scenario.name);
            Turn::Failed(format!("{error:#}"))
        }
    };
    row.turns.push(turn);
}

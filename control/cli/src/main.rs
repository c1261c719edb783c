//! The nuclio command line: reads what was typed, runs one verb, ends with its exit code.
#![forbid(unsafe_code)]

mod admin;
mod args;
mod client;
mod cmd;
mod event_log;
mod feed;
mod function;
mod handover;
mod inline_code;
mod install;
mod interrupt;
mod locate;
mod names;
mod near;
mod output;
mod process_flags;
mod recording;
mod registry;
mod runtime_catalog;
mod source;
mod trigger_flag;
mod usage;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use crate::args::{Cli, Command, Origins};
use crate::locate::Surroundings;
use crate::output::Failure;

fn main() -> ExitCode {
    let mut command = args::without_empty_twins(Cli::command());
    let matches = match command.try_get_matches_from_mut(std::env::args_os()) {
        Ok(matches) => matches,
        Err(error) => return usage::answer(&error),
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => return usage::answer(&error),
    };
    let origins = matches
        .subcommand()
        .and_then(|(name, matches)| Some((command.find_subcommand(name)?, matches)))
        .map(|(command, matches)| Origins::of_matches(command, matches))
        .unwrap_or_default();
    match carry_out(&cli, &origins) {
        Ok(code) => code.into(),
        Err(failure) => {
            output::report(&failure);
            failure.code.into()
        }
    }
}

fn carry_out(cli: &Cli, origins: &Origins) -> Result<u8, Failure> {
    let around = Surroundings::of_this_process().map_err(Failure::failed)?;
    match &cli.command {
        Command::Run(args) => cmd::run::run(args, &cli.global, origins, &around),
        Command::Exec(args) => cmd::exec::exec(args, &cli.global, origins, &around),
        Command::Get(args) => cmd::get::get(args, &cli.global, origins, &around),
        Command::Logs(args) => cmd::logs::logs(args, &cli.global, origins, &around),
        Command::Replay(args) => cmd::replay::replay(args, &cli.global, origins, &around),
        Command::Delete(args) => cmd::delete::delete(args, &cli.global, origins, &around),
        Command::Completion(args) => cmd::completion::completion(args),
    }
}

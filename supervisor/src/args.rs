//! The flags of `processor`, each with its environment twin and its help, defined once.

use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use clap::{Parser, ValueEnum};
use spec::Workers;

use crate::log::Level;

/// Where a container has its function.yaml.
const CONFIG_DEFAULT: &str = "/etc/nuclio/config/processor/processor.yaml";

/// Serves one function: listens on its event sources, feeds workers, supervises them.
#[derive(Debug, Clone, Parser)]
#[command(name = "processor", version, about, long_about = None)]
pub struct Args {
    /// The function: a function.yaml, as YAML or JSON
    #[arg(long, env = "NUCLIO_CONFIG", value_name = "FILE", default_value = CONFIG_DEFAULT)]
    pub config: PathBuf,

    /// The same as JSON from an open descriptor; `nuclio run` uses it
    #[arg(long, hide = true, value_name = "N")]
    pub config_fd: Option<i32>,

    /// Address that the HTTP trigger listens on
    #[arg(long, env = "NUCLIO_HOST", default_value = "127.0.0.1")]
    pub host: String,

    /// Port of the HTTP trigger; 0 takes a free one
    #[arg(long, env = "PORT", default_value = "8080")]
    pub port: u16,

    /// Workers of the triggers that state no number: 1 to 100000, or auto for one a CPU
    #[arg(long, env = "NUCLIO_WORKERS", default_value = "1", value_name = "N|auto")]
    pub workers: Workers,

    /// Where health, metrics and figures are served
    /// [default: 127.0.0.1:8081, or a free port when that is taken]
    #[arg(long, env = "NUCLIO_ADMIN", value_name = "ADDRESS")]
    pub admin: Option<String>,

    /// Load the code again when it is saved
    #[arg(long, env = "NUCLIO_WATCH", value_parser = FalseyValueParser::new())]
    pub watch: bool,

    /// One worker, started plainly, with this terminal; nothing is ended for taking long
    #[arg(long, env = "NUCLIO_DEBUG", value_parser = FalseyValueParser::new())]
    pub debug: bool,

    /// Write each event into this file as it comes, for `nuclio replay`
    #[arg(long, env = "NUCLIO_RECORD", value_name = "FILE")]
    pub record: Option<PathBuf>,

    /// Open descriptor that gets the URL when the function is ready; no name is kept, and the
    /// processor drains when its parent ends. `nuclio replay` uses it
    #[arg(long, hide = true, value_name = "N")]
    pub ready_fd: Option<i32>,

    /// Python interpreter [default: python3 on PATH]
    #[arg(long, env = "NUCLIO_PYTHON", value_name = "PATH")]
    pub python: Option<PathBuf>,

    /// Namespace, where function.yaml states none
    #[arg(short, long, env = "NUCLIO_NAMESPACE", default_value = "default")]
    pub namespace: String,

    /// How the log is written; auto: for people when stderr is a terminal, else JSON
    #[arg(long, env = "NUCLIO_LOG_FORMAT", default_value = "auto")]
    pub log_format: LogFormat,

    /// Lowest level that is logged [default: of function.yaml, else info]
    #[arg(long, env = "NUCLIO_LOG_LEVEL")]
    pub log_level: Option<LogLevel>,

    /// Folder of the languages, with <language>/runtime.toml [default: beside this program]
    #[arg(long, env = "NUCLIO_RUNTIMES", value_name = "DIR")]
    pub runtimes: Option<PathBuf>,

    /// Unknown keys and trigger kinds in function.yaml are warnings
    #[arg(long, env = "NUCLIO_LENIENT", value_parser = FalseyValueParser::new())]
    pub lenient: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Auto,
    People,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
}

impl From<LogLevel> for Level {
    fn from(level: LogLevel) -> Level {
        match level {
            LogLevel::Debug => Level::Debug,
            LogLevel::Info => Level::Info,
            LogLevel::Warn => Level::Warn,
            LogLevel::Error => Level::Error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn flags_are_consistent_and_each_has_its_twin() {
        Args::command().debug_assert();
        for flag in Args::command().get_arguments() {
            let name = flag.get_id().as_str();
            let needs_none = ["config_fd", "ready_fd", "help", "version"].contains(&name);
            assert!(needs_none || flag.get_env().is_some(), "{name} has no environment twin");
        }
    }
}

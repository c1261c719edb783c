//! Every command, flag, environment twin and help text, defined once.
//!
//! Values that can be wrong are taken as text and checked by the command itself, so that all
//! mistakes are told together; clap only stops at what it cannot read at all.

use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum, ValueHint};

/// Serverless functions in real time, on a laptop or in a cluster.
#[derive(Debug, Parser)]
#[command(name = "nuclio", version, arg_required_else_help = true, subcommand_required = true)]
#[command(disable_help_subcommand = true)]
#[command(long_about = "\
Serverless functions in real time, on a laptop or in a cluster.

Examples:
  nuclio run hello.py                  serve a function on http://127.0.0.1:8080
  nuclio exec hello -b '{\"x\": 1}'      send it an event
  nuclio get                           what runs here
  nuclio logs hello --follow           read along
  nuclio replay events.jsonl --debug   the same events again, in a debugger
  nuclio completion bash               completion for your shell")]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Args)]
pub struct Global {
    /// Form of the output
    #[arg(short, long, global = true, value_enum, value_name = "FORM")]
    #[arg(default_value = "text", env = "NUCLIO_OUTPUT", hide_env_values = true)]
    pub output: OutputForm,
    /// Namespace of the function [default: default]
    #[arg(short, long, global = true, value_name = "NAME")]
    #[arg(env = "NUCLIO_NAMESPACE", hide_env_values = true)]
    pub namespace: Option<String>,
    /// Say more: run logs at level debug, exec shows the headers of the reply
    #[arg(short, long, global = true, action = ArgAction::SetTrue)]
    #[arg(env = "NUCLIO_VERBOSE", hide_env_values = true, value_parser = FalseyValueParser::new())]
    pub verbose: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputForm {
    /// For people
    Text,
    /// For people, with more columns where there is a table
    Wide,
    /// One JSON document; the logs of run become JSON lines
    Json,
    /// One YAML document
    Yaml,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Run(Box<RunArgs>),
    Exec(Box<ExecArgs>),
    Get(GetArgs),
    Logs(LogsArgs),
    Replay(ReplayArgs),
    Delete(DeleteArgs),
    Completion(CompletionArgs),
}

/// Serve a function here, in the foreground
#[derive(Debug, Args)]
#[command(long_about = "\
Serve a function here, in the foreground. Ctrl-C drains: no new events, those in flight finish.

Examples:
  nuclio run hello.py
  nuclio run hello.py --watch --workers 4
  nuclio run hello.py --install
  nuclio run hello.py --debug
  nuclio run hello.py --record events.jsonl
  nuclio run greeter ./code --handler main:handler -e GREETING=Hi
  nuclio run -f function.yaml --port 9000
  nuclio run hello.py --trigger cron,schedule='*/5 * * * *'
  nuclio run --handler jq --runtime-arg .name")]
pub struct RunArgs {
    /// Name of the function [default: the name in function.yaml, else that of the file, in lower
    /// case and with - for other characters]. An argument alone is the FILE if it exists, has a
    /// slash or ends like source code; else the NAME
    #[arg(value_name = "NAME", value_hint = ValueHint::AnyPath)]
    pub first: Option<String>,
    /// File or folder with the code; a function.yaml will do too
    #[arg(value_name = "FILE", value_hint = ValueHint::AnyPath)]
    pub second: Option<String>,
    /// File or folder with the code
    #[arg(short, long, value_name = "PATH", env = "NUCLIO_PATH", hide_env_values = true)]
    #[arg(value_hint = ValueHint::AnyPath)]
    pub path: Option<String>,
    /// The handler, as function, module:function or package.module:function [default: the
    /// function called handler, else the only one with two parameters]
    #[arg(long, value_name = "HANDLER", env = "NUCLIO_HANDLER", hide_env_values = true)]
    pub handler: Option<String>,
    /// Language, with a version if one is wanted: python, python:3.13 [default: by the file's
    /// ending, else its first line]
    #[arg(long, value_name = "NAME", env = "NUCLIO_RUNTIME", hide_env_values = true)]
    pub runtime: Option<String>,
    /// A function.yaml; the other flags override what it says
    #[arg(short, long, value_name = "FILE", env = "NUCLIO_FILE", hide_env_values = true)]
    #[arg(value_hint = ValueHint::AnyPath)]
    pub file: Option<String>,
    /// Environment variable of the function; repeatable [env: NUCLIO_ENV, one a line]
    #[arg(short, long = "env", value_name = "KEY=VALUE")]
    pub env: Vec<String>,
    /// Port to listen on; 0 takes a free one [default: the HTTP trigger's port, else 8080]
    #[arg(long, env = "PORT", hide_env_values = true, allow_negative_numbers = true)]
    pub port: Option<String>,
    /// Address to listen on; 0.0.0.0 and :: are all of them [default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS", env = "NUCLIO_HOST", hide_env_values = true)]
    pub host: Option<String>,
    /// Workers of each trigger that states no number: 1, 2, ... or auto, one a CPU [default: 1]
    #[arg(long, value_name = "N", env = "NUCLIO_WORKERS", hide_env_values = true)]
    #[arg(allow_negative_numbers = true)]
    pub workers: Option<String>,
    /// A further event source, as KIND[,name=NAME][,KEY=VALUE...]; repeatable. Keys are those of
    /// a trigger in function.yaml, any other is an attribute; a repeated key makes a list, \, is
    /// a comma [env: NUCLIO_TRIGGER, one a line]
    #[arg(long, value_name = "KIND,KEY=VALUE")]
    pub trigger: Vec<String>,
    /// Argument of the program, where the runtime runs programs; repeatable
    /// [env: NUCLIO_RUNTIME_ARG, one a line]
    #[arg(long, value_name = "ARGUMENT", allow_hyphen_values = true)]
    pub runtime_arg: Vec<String>,
    /// Load the code again whenever it is saved
    #[arg(long, env = "NUCLIO_WATCH", hide_env_values = true)]
    #[arg(value_parser = FalseyValueParser::new())]
    pub watch: bool,
    /// One worker on this terminal, so that breakpoint() works: no deadline, and nothing is ended
    /// for taking long. Ctrl-C is the debugger's at its prompt, else it drains
    #[arg(long, env = "NUCLIO_DEBUG", hide_env_values = true)]
    #[arg(value_parser = FalseyValueParser::new())]
    pub debug: bool,
    /// Write each event into this new file as it comes, up to 1 GiB, for nuclio replay. It holds
    /// what clients send, passwords included
    #[arg(long, value_name = "FILE", env = "NUCLIO_RECORD", hide_env_values = true)]
    #[arg(value_hint = ValueHint::AnyPath)]
    pub record: Option<String>,
    /// First install what requirements.txt, pyproject.toml or the file's own block lists, with uv
    /// or else pip: for the interpreter below, or into a new .venv beside the handler
    #[arg(long, env = "NUCLIO_INSTALL", hide_env_values = true)]
    #[arg(value_parser = FalseyValueParser::new())]
    pub install: bool,
    /// Python interpreter [default: that of the active virtual environment, of .venv or venv
    /// beside the handler, else python3]
    #[arg(long, value_name = "PATH", env = "NUCLIO_PYTHON", hide_env_values = true)]
    #[arg(value_hint = ValueHint::AnyPath)]
    pub python: Option<String>,
    /// Address of the health, metrics and API pages [default: 127.0.0.1:8081, or a free port when
    /// that one is taken]
    #[arg(long, value_name = "ADDRESS", env = "NUCLIO_ADMIN", hide_env_values = true)]
    pub admin: Option<String>,
    /// Lowest level of the log: debug, info, warn or error [default: info]
    #[arg(long, value_name = "LEVEL", env = "NUCLIO_LOG_LEVEL", hide_env_values = true)]
    pub log_level: Option<String>,
    /// Unknown keys and trigger kinds in function.yaml are warnings
    #[arg(long, env = "NUCLIO_LENIENT", hide_env_values = true)]
    #[arg(value_parser = FalseyValueParser::new())]
    pub lenient: bool,
}

/// Send one event to a function and print its reply
#[derive(Debug, Args)]
#[command(long_about = "\
Send one event to a function and print its reply: the body on stdout, the status and the event's \
own log lines on stderr. Ends with 1 when the status is 400 or more.

Examples:
  nuclio exec hello
  nuclio exec hello -b '{\"x\": 1}'
  nuclio exec thumbnail -b @photo.jpg -c image/jpeg > small.jpg
  nuclio exec http://127.0.0.1:8080/orders?all=1 -m DELETE -H 'X-Reason: test'")]
pub struct ExecArgs {
    /// Name of a function that runs here, or an http URL (127.0.0.1:8080 will do)
    #[arg(value_name = "NAME|URL")]
    pub target: String,
    /// Body: the text itself, @FILE for a file's bytes, - for those of stdin
    #[arg(short, long, value_name = "BODY", env = "NUCLIO_EXEC_BODY", hide_env_values = true)]
    #[arg(allow_hyphen_values = true)]
    pub body: Option<String>,
    /// Method [default: POST with a body, else GET]
    #[arg(short, long, value_name = "METHOD", env = "NUCLIO_EXEC_METHOD", hide_env_values = true)]
    pub method: Option<String>,
    /// Path and query, added to the URL
    #[arg(long, value_name = "PATH", env = "NUCLIO_EXEC_PATH", hide_env_values = true)]
    pub path: Option<String>,
    /// Header; repeatable [env: NUCLIO_EXEC_HEADER, one a line]
    #[arg(short = 'H', long = "header", value_name = "KEY: VALUE")]
    pub header: Vec<String>,
    /// Content type of the body [default: application/json for a JSON object or list, text/plain
    /// for other text, else application/octet-stream]
    #[arg(short, long, value_name = "TYPE")]
    #[arg(env = "NUCLIO_EXEC_CONTENT_TYPE", hide_env_values = true)]
    pub content_type: Option<String>,
    /// Longest time to wait: 10s, 500ms, 2m; 0 waits for ever
    #[arg(short, long, value_name = "TIME", default_value = "60s", allow_negative_numbers = true)]
    #[arg(env = "NUCLIO_EXEC_TIMEOUT", hide_env_values = true)]
    pub timeout: String,
    /// Lowest level of the event's log lines: debug, info, warn, error, or none
    #[arg(short, long, value_name = "LEVEL", default_value = "info")]
    #[arg(env = "NUCLIO_EXEC_LOG_LEVEL", hide_env_values = true)]
    pub log_level: String,
}

/// List the functions that run here
#[derive(Debug, Args)]
#[command(long_about = "\
List the functions that run here: state, address, pid, runtime, workers, restarts, age. What one \
that was killed left behind is shown once as dead, and removed.

Examples:
  nuclio get
  nuclio get function hello -o wide
  nuclio get -o json")]
pub struct GetArgs {
    /// Name of a function [default: all of the namespace]; the word function may stand before it
    #[arg(value_name = "NAME", num_args = 0..=2)]
    pub words: Vec<String>,
}

/// Show the last log lines of a function that runs here
#[derive(Debug, Args)]
#[command(long_about = "\
Show the last log lines of a function that runs here: its processor keeps up to 10,000 lines and \
4 MiB of them in memory. With -o json, one JSON object a line.

Examples:
  nuclio logs hello
  nuclio logs hello --follow --since 5m
  nuclio logs hello --event 0000002a")]
pub struct LogsArgs {
    /// Name of a function that runs here
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Go on with the lines to come, until Ctrl-C or the function's end
    #[arg(short, long, env = "NUCLIO_LOGS_FOLLOW", hide_env_values = true)]
    #[arg(value_parser = FalseyValueParser::new())]
    pub follow: bool,
    /// Lines of this event only: its id, or the last 8 characters or more of it, as log lines
    /// show them
    #[arg(long, value_name = "ID", env = "NUCLIO_LOGS_EVENT", hide_env_values = true)]
    pub event: Option<String>,
    /// Lines no older than this: 30s, 5m, 1h
    #[arg(long, value_name = "TIME", env = "NUCLIO_LOGS_SINCE", hide_env_values = true)]
    pub since: Option<String>,
    /// The last so many lines [default: all that are kept]
    #[arg(long, value_name = "N", env = "NUCLIO_LOGS_LINES", hide_env_values = true)]
    #[arg(allow_negative_numbers = true)]
    pub lines: Option<String>,
}

/// Feed recorded events to their function again
#[derive(Debug, Args)]
#[command(long_about = "\
Feed recorded events to their function again, byte for byte: one after the other, in the order in \
which they came. The function is started for that as it was recorded, with the code as it is now, \
on a free port and under no name. Ends with 1 when a status differs from the recorded one, or an \
event gets no answer. With -o json, one JSON object an event and one for all, a line each.

Examples:
  nuclio replay events.jsonl
  nuclio replay events.jsonl --debug
  nuclio replay 0000002a
  nuclio replay events.jsonl -e TOKEN=abc -o json")]
pub struct ReplayArgs {
    /// A file that nuclio run --record has written; or the id of one event in the last recording of
    /// a function, or the last 8 characters or more of it, as log lines show them
    #[arg(value_name = "FILE|ID", value_hint = ValueHint::AnyPath)]
    pub target: String,
    /// One worker on this terminal, as with nuclio run --debug
    #[arg(long, env = "NUCLIO_DEBUG", hide_env_values = true)]
    #[arg(value_parser = FalseyValueParser::new())]
    pub debug: bool,
    /// Environment variable of the function, whose value no recording keeps; repeatable [default:
    /// the one of this command's own environment] [env: NUCLIO_ENV, one a line]
    #[arg(short, long = "env", value_name = "KEY=VALUE")]
    pub env: Vec<String>,
    /// Longest wait for the answer to one event: 10s, 2m; 0 waits for ever, and so does --debug
    #[arg(short, long, value_name = "TIME", default_value = "60s", allow_negative_numbers = true)]
    #[arg(env = "NUCLIO_REPLAY_TIMEOUT", hide_env_values = true)]
    pub timeout: String,
}

/// End functions that run here
#[derive(Debug, Args)]
#[command(long_about = "\
End functions that run here: no new events, those in flight finish. Also removes what one that was \
killed left behind. Ends with 1 when one of them does not run, or has not ended in time.

Examples:
  nuclio delete hello
  nuclio delete function hello thumbnail --timeout 2m")]
pub struct DeleteArgs {
    /// Names of functions; the word function may stand before them
    #[arg(value_name = "NAME", required = true, num_args = 1..)]
    pub words: Vec<String>,
    /// Longest wait for the end of each: 10s, 2m; 0 does not wait
    #[arg(short, long, value_name = "TIME", default_value = "60s", allow_negative_numbers = true)]
    #[arg(env = "NUCLIO_DELETE_TIMEOUT", hide_env_values = true)]
    pub timeout: String,
}

/// Print the completion script of a shell
#[derive(Debug, Args)]
#[command(long_about = "\
Print the completion script of a shell.

Examples:
  nuclio completion bash > ~/.local/share/bash-completion/completions/nuclio
  nuclio completion zsh > \"${fpath[1]}/_nuclio\"
  nuclio completion fish > ~/.config/fish/completions/nuclio.fish")]
pub struct CompletionArgs {
    #[arg(value_enum)]
    pub shell: CompletionShell,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CompletionShell {
    Bash,
    Zsh,
    Fish,
}

/// A repeatable flag's values, else the lines of its environment twin. Clap's own twins cannot do
/// this without also splitting the values given on the command line.
pub fn repeated(given: &[String], twin: Option<&std::ffi::OsStr>) -> Result<Vec<String>, String> {
    if !given.is_empty() {
        return Ok(given.to_vec());
    }
    let Some(twin) = twin else { return Ok(Vec::new()) };
    let text = twin.to_str().ok_or("is not UTF-8 text; write it anew")?;
    Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

/// Where the values of flags came from, so that a mistake is told about what the user wrote:
/// `--port`, or `PORT`.
#[derive(Debug, Default)]
pub struct Origins {
    twins: std::collections::HashMap<String, String>,
}

impl Origins {
    /// Of the flags of one subcommand.
    pub fn of_matches(command: &clap::Command, matches: &clap::ArgMatches) -> Self {
        let mut twins = std::collections::HashMap::new();
        for arg in command.get_arguments() {
            let is_twin = matches!(matches.try_contains_id(arg.get_id().as_str()), Ok(true))
                && matches.value_source(arg.get_id().as_str())
                    == Some(clap::parser::ValueSource::EnvVariable);
            if let (true, Some(long), Some(twin)) = (is_twin, arg.get_long(), arg.get_env()) {
                twins.insert(long.to_owned(), twin.to_string_lossy().into_owned());
            }
        }
        Self { twins }
    }

    /// What to call the flag with this long name.
    pub fn of(&self, long: &str) -> String {
        self.twins.get(long).cloned().unwrap_or_else(|| format!("--{long}"))
    }
}

/// An environment variable that is set and empty counts as not set.
pub fn without_empty_twins(command: clap::Command) -> clap::Command {
    let names: Vec<String> =
        command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    let mut command = command.mut_args(without_empty_twin);
    for name in names {
        command = command.mut_subcommand(name, |sub| sub.mut_args(without_empty_twin));
    }
    command
}

fn without_empty_twin(arg: clap::Arg) -> clap::Arg {
    let is_empty = arg.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
    if is_empty { arg.env(None) } else { arg }
}

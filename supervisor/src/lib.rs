//! The processor: listens on event sources, feeds workers, supervises them.
#![forbid(unsafe_code)]

mod admin;
pub mod args;
mod config;
pub mod crossing;
pub mod data;
pub mod limits;
pub mod log;
mod machine;
mod prepare;
mod ready;
mod record;
mod registry;
pub mod signals;
mod watch;
pub mod workers;

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use rings::attach::{Offer, TriggerOffer};
use rings::limits::ESCAPE_MAX;

use admin::AdminConfig;
use args::{Args, LogFormat};
pub use config::Config;
use crossing::{PoolId, ToPoolSender, to_pool_channel};
use data::{BatchRule, DataConfig, TriggerConfig};
use limits::{DESCRIPTOR_RESERVE, TO_POOL_MAX};
use log::{Format, Level, Log, LogConfig};
use prepare::Prepared;
use ready::ready_line;
use record::Recorder;
use registry::Registration;
use signals::Signals;
use watch::WatchConfig;
use workers::board::Board;
use workers::spawn::Launch;
use workers::zygote::{Setup, ZygotePlan};
use workers::{Links, PoolPlan, WorkersConfig};

/// What was logged last is written within this time, or not at all.
const FLUSH_LIMIT: Duration = Duration::from_millis(500);
/// What was recorded last is written within this time, or the recording lacks its end.
const RECORD_LIMIT: Duration = Duration::from_secs(2);
/// Messages that a worker causes in its life, and those of its replacement beside it.
const MESSAGES_PER_WORKER: usize = 16;

/// A processor that has been started.
pub struct Handle {
    end: Receiver<u8>,
    log: Log,
    registration: Option<Arc<Registration>>,
    recorder: Option<Recorder>,
    _data: std::thread::JoinHandle<()>,
}

impl Handle {
    /// Waits until the processor has ended and nothing of it is left; the program's exit code.
    pub fn wait(self) -> ExitCode {
        // Without an answer the pool thread has died, and every worker with it.
        let code = self.end.recv().unwrap_or(1);
        if let Some(registration) = &self.registration {
            registration.remove_files();
        }
        if self.recorder.is_some_and(|recorder| !recorder.finish(RECORD_LIMIT)) {
            self.log.warn("the recording lacks its end: its disk is too slow");
        }
        self.log.flush(FLUSH_LIMIT);
        ExitCode::from(code)
    }
}

/// The processor as a library: start it, wait for it.
pub struct Processor;

impl Processor {
    /// All mistakes in flags, function.yaml and addresses, or what to start.
    pub fn configure(args: Args, started: Instant) -> Result<Config, Vec<String>> {
        let for_addresses = args.clone();
        Config::resolve(args, started).map_err(|mut mistakes| {
            mistakes.extend(prepare::address_mistakes(&for_addresses));
            mistakes
        })
    }

    /// Has everything ready, then starts the threads and the first workers. What cannot be had is
    /// told at once, and nothing is left behind.
    pub fn start(config: Config, signals: Signals) -> Result<Handle, Vec<String>> {
        let prepared = Prepared::new(&config)?;
        start_threads(config, prepared, signals)
            .map_err(|error| vec![format!("a thread cannot be started: {error}")])
    }
}

fn start_threads(mut config: Config, prepared: Prepared, signals: Signals) -> io::Result<Handle> {
    let log = Log::start(log_config(&config))?;
    for warning in config.warnings.iter().chain(&prepared.warnings) {
        log.warn(warning.as_str());
    }
    if config.args.debug {
        log.state(Level::Info, debug_line(&config));
    }
    let recorder = match (prepared.recording, &config.args.record) {
        (Some(file), Some(path)) => Some(Recorder::start(file, path, log.clone())?),
        _ => None,
    };
    let (url, admin_url) = (prepare::url(&prepared.http), prepare::url(&prepared.admin));
    let workers = config.worker_count() as usize;
    let queued = (workers * MESSAGES_PER_WORKER + DESCRIPTOR_RESERVE as usize).min(TO_POOL_MAX);
    let (to_pool, inbox) = to_pool_channel(queued)?;
    let segments = (prepared.slots.fds(), prepared.slots.segment_bytes());
    let registration = prepared.registration.map(Arc::new);
    if let (Some(registration), Some(path)) = (&registration, &config.args.record)
        && let Err(error) = registration.write_recording(path)
    {
        log.debug(format!("nuclio replay ID will not find {}: {error}", path.display()));
    }
    let starter = ready::starter(&config.args)?;
    let on_ready = ready_line(&config, url, admin_url, &log, registration.clone(), starter);
    let workers_config = workers_config(&config, segments, prepared.nofile_of_workers);
    if config.args.watch {
        start_watch(&config, to_pool.clone(), &log);
    }
    let data_config = DataConfig {
        triggers: vec![trigger_config(&mut config, prepared.http)],
        pool_count: config.pools.len(),
        slots: prepared.slots,
        log: log.clone(),
        to_pool,
        connections_max: prepared.connections_max,
        run_id: run_id(),
        pings: !config.args.debug && config.threads().unwrap_or(1) <= 1,
        spares_keepers: config.args.debug,
        recorder: recorder.clone(),
        kept_text: kept_text(&config).into_bytes().into(),
    };
    let (to_data, data) = data::start(data_config)?;
    let board = Board::default();
    let admin = AdminConfig {
        function: config.name().to_string(),
        namespace: config.namespace.clone(),
        tcp: Some(prepared.admin),
        socket: prepared.admin_socket,
    };
    admin::start(admin, to_data.clone(), board.clone(), log.clone())?;
    let (ended, end) = crossbeam_channel::bounded(1);
    let on_ready = Some(on_ready);
    let links = Links { log: log.clone(), signals, to_data, inbox, board, on_ready, end: ended };
    workers::start(workers_config, links)?;
    Ok(Handle { end, log, registration, recorder, _data: data })
}

fn log_config(config: &Config) -> LogConfig {
    let is_terminal = io::stderr().is_terminal();
    let format = match config.args.log_format {
        LogFormat::People => Format::People,
        LogFormat::Json => Format::Json,
        LogFormat::Auto if is_terminal => Format::People,
        LogFormat::Auto => Format::Json,
    };
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    LogConfig {
        function: config.name().into(),
        format,
        level: config.level,
        colour: is_terminal && !no_colour,
    }
}

fn trigger_config(config: &mut Config, listener: std::net::TcpListener) -> TriggerConfig {
    let http = &config.http;
    let serves = |pool: &spec::WorkerPool| pool.triggers.contains(&http.key);
    let pool = config.pools.iter().position(serves).unwrap_or(0);
    let event_timeout_ns = ns(config.event_timeout());
    let http = &mut config.http;
    TriggerConfig {
        name: http.trigger.name.as_str().into(),
        kind: http.trigger.kind.as_str().into(),
        pool: pool as PoolId,
        listener,
        body_bytes_max: http.body_bytes_max,
        wait_limit_ns: if config.args.debug {
            u64::MAX
        } else {
            ns(http.trigger.worker_availability_timeout())
        },
        event_timeout_ns,
        idempotent: http.trigger.idempotent,
        streams_requests: http.trigger.stream_requests,
        cors: http.cors.take(),
        batch: http.trigger.batch_rule().map(|batch| BatchRule {
            events_max: batch.batch_size as usize,
            timeout_ns: ns(batch.timeout),
            quiet_ns: batch.quiet_period.map(ns),
        }),
    }
}

fn ns(limit: Duration) -> u64 {
    u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX)
}

type Segments = (Arc<[std::os::fd::OwnedFd; 2]>, [u64; 2]);

fn workers_config(config: &Config, segments: Segments, nofile: u64) -> WorkersConfig {
    let (event_memory, event_memory_bytes) = segments;
    let pools = config.pools.iter().enumerate().map(|(id, pool)| PoolPlan {
        id: id as PoolId,
        name: pool.name.as_str().into(),
        worker_count: pool.worker_count,
        offer: Offer {
            max_inflight: pool.max_inflight,
            ..offer(config).with_sizes(
                pool.events_at_once(&config.function),
                config.arena_bytes,
                event_memory_bytes,
            )
        },
    });
    let file = &config.runtime.file;
    let mut env: Vec<(String, String)> = file.env.clone().into_iter().collect();
    if config.args.watch {
        env.extend(file.env_watch.clone());
    }
    if config.args.debug {
        env.extend(file.env_debug.clone());
    }
    // A value that only a cluster knows is in our own environment there.
    let stated = config.function.spec.env.iter().filter(|variable| variable.value_from.is_empty());
    env.extend(stated.map(|variable| (variable.name.clone(), variable.value.clone())));
    let launch = Launch {
        // Names this very program, even when its file has been replaced meanwhile.
        program: "/proc/self/exe".into(),
        command_line: config.runtime.command_line(&config.interpreter),
        env,
        nofile,
        at_terminal: config.args.debug,
    };
    WorkersConfig {
        pools: pools.collect(),
        zygote: zygote_plan(config, &launch),
        launch,
        runtime_id: file.id.clone(),
        version_wanted: config.function.spec.runtime_version().map(str::to_string),
        event_memory,
        start_limit: config.start_limit(),
        termination_limit: config.termination_limit(),
        recycle: if config.args.debug {
            spec::Recycle::default()
        } else {
            config.function.spec.recycle.clone()
        },
        debug: config.args.debug,
        watch: config.args.watch,
    }
}

/// How workers are forked; `None` where the language cannot, or the function does not want it.
fn zygote_plan(config: &Config, launch: &Launch) -> Option<ZygotePlan> {
    let attributes = &config.function.spec.runtime_attributes;
    let is_refused = attributes.other.get("zygote") == Some(&serde_json::Value::Bool(false));
    if is_refused || config.args.debug || !config.runtime.file.zygote {
        return None;
    }
    let mut env = launch.env.clone();
    for (name, value) in &config.runtime.file.env_zygote {
        let is_set = std::env::var_os(name).is_some() || env.iter().any(|(known, _)| known == name);
        if !is_set && !attributes.preload.is_empty() {
            env.push((name.clone(), value.clone()));
        }
    }
    let code_path = config.code.to_string_lossy().into_owned();
    let setup = Setup { code_path, preload: attributes.preload.clone() };
    Some(ZygotePlan { launch: Launch { env, ..launch.clone() }, setup })
}

/// What every worker is told; the sizes follow from its pool.
fn offer(config: &Config) -> Offer {
    let spec = &config.function.spec;
    let http = &config.http.trigger;
    let version = spec.kubernetes.0.get("version").map_or("latest".into(), ToString::to_string);
    Offer {
        function: config.name().to_string(),
        namespace: config.namespace.clone(),
        version,
        description: spec.description.clone(),
        handler: spec.handler.clone(),
        code_path: config.code.to_string_lossy().into_owned(),
        triggers: vec![TriggerOffer {
            id: 0,
            kind: http.kind.as_str().into(),
            name: http.name.clone(),
        }],
        event_timeout_ns: ns(config.event_timeout()),
        log_level: config.level as u8,
        settings: settings(config),
        ..Offer::default()
    }
}

/// What is said of a handler that keeps too many bodies of events.
fn kept_text(config: &Config) -> String {
    let file = config.code.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let handler = match config.function.spec.handler.as_str() {
        "" => format!("of {file}"),
        handler => format!("{handler} of {file}"),
    };
    format!(
        "the handler {handler} keeps the bodies of more ended events than it may ({ESCAPE_MAX}, or a \
         quarter of the event memory): body_view in a list, a global, a closure, a thread or a forked \
         child; its worker is replaced. Keep event.body, or bytes(event.body_view), instead"
    )
}

/// `runtimeAttributes` as texts: a text as it is, anything else as JSON.
fn settings(config: &Config) -> std::collections::BTreeMap<String, String> {
    let attributes = &config.function.spec.runtime_attributes;
    let text = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut settings: std::collections::BTreeMap<String, String> =
        attributes.other.iter().map(|(key, value)| (key.clone(), text(value))).collect();
    if let Some(mode) = &attributes.mode {
        settings.insert("mode".into(), mode.clone());
    }
    if config.args.debug {
        settings.insert("debug".into(), "true".into());
    }
    if let Some(threads) = config.threads() {
        settings.insert("threads".into(), threads.to_string());
    }
    if !attributes.preload.is_empty() {
        settings.insert("preload".into(), serde_json::json!(attributes.preload).to_string());
    }
    if let Some(batch) = config.http.trigger.batch_rule() {
        settings.insert("batchSize".into(), batch.batch_size.to_string());
    }
    let env = &config.function.spec.env;
    if !env.is_empty() {
        // Names only: the values, which may be secret, are in the worker's environment.
        let names: Vec<&str> = env.iter().map(|variable| variable.name.as_str()).collect();
        settings.insert("env".into(), serde_json::json!(names).to_string());
    }
    settings.insert("errorDetail".into(), config.error_detail().into());
    settings
}

/// Said at the start of `--debug`, before any code of the user runs.
fn debug_line(config: &Config) -> String {
    format!(
        "debugging {}: one worker, on this terminal; no deadline, and nothing is ended for taking \
         long; Ctrl-C is the debugger's at its prompt, else it drains",
        config.name()
    )
}

fn start_watch(config: &Config, to_pool: ToPoolSender, log: &Log) {
    let watch = WatchConfig {
        code: config.code.clone(),
        extensions: config.runtime.file.extensions.clone(),
    };
    if let Err(error) = watch::start(watch, to_pool, log.clone()) {
        log.warn(format!("saves are not noticed: {error}; SIGHUP loads the code again"));
    }
}

/// Differs between runs and between processes of a run: time and pid, well mixed.
fn run_id() -> [u8; 8] {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one((log::now_ns(), std::process::id())).to_be_bytes()
}

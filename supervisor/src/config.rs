//! From flags and function.yaml to what the processor does: every mistake found at once.
//!
//! Reads files, starts nothing, binds nothing.

use std::env;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rings::limits::{
    ARENA_BYTES_DEFAULT, ARENA_BYTES_MAX, ARENA_BYTES_MIN, EVENT_MEMORY_BYTES_MAX,
};
use spec::{
    ByteSize, ErrorDetail, Function, Isolation, LoadOptions, RecordingHead, Trigger, TriggerKind,
    WorkerPool,
};

use crate::args::Args;
use crate::data::http::cors::{Cors, CorsSettings};
use crate::log::{self, Level};
use crate::machine;
use crate::workers::runtime::{self, Runtime};

/// The trigger kinds that this program serves.
pub const BUILT_KINDS: [TriggerKind; 1] = [TriggerKind::Http];
/// Longest function.yaml read from a descriptor; the loader has its own, smaller bound.
const CONFIG_BYTES_MAX: u64 = 16 << 20;
/// Until a worker is ready, where function.yaml says nothing.
const READINESS_DEFAULT: Duration = Duration::from_secs(60);
/// Until workers that still work at the end are killed, where no trigger says anything.
const TERMINATION_DEFAULT: Duration = Duration::from_secs(10);
/// Instead of any limit while a person looks at a handler that stands still: ten years.
pub const PATIENCE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Share of the memory limit that events may take.
const EVENT_MEMORY_SHARE: u64 = 4;

/// Everything that is decided before the first descriptor is opened.
pub struct Config {
    pub args: Args,
    pub started: Instant,
    pub function: Function,
    pub namespace: String,
    pub code: PathBuf,
    pub runtime: Runtime,
    pub interpreter: PathBuf,
    pub http: HttpPlan,
    pub pools: Vec<WorkerPool>,
    pub level: Level,
    pub event_memory_bytes: u64,
    pub arena_bytes: u32,
    /// To be logged once there is a log.
    pub warnings: Vec<String>,
}

/// The HTTP trigger, of which a function has one.
pub struct HttpPlan {
    /// Key in `spec.triggers`.
    pub key: String,
    pub trigger: Trigger,
    pub body_bytes_max: u64,
    pub cors: Option<Cors>,
}

impl Config {
    /// All mistakes, each a sentence.
    pub fn resolve(args: Args, started: Instant) -> Result<Config, Vec<String>> {
        let folder = runtimes_folder(&args);
        let runtimes = runtime::load_all(&folder);
        let (function, mut warnings) = load_function(&args, runtimes.as_deref().unwrap_or(&[]))?;
        let mut mistakes = Vec::new();
        let runtimes = note(runtimes, &mut mistakes);
        let code = note(find_code(&args, &function), &mut mistakes);
        let found = runtimes.as_ref().zip(code.as_ref()).and_then(|(runtimes, code)| {
            note(find_language(&args, &function, runtimes, code), &mut mistakes)
        });
        let memory = note(event_memory_bytes(&function), &mut mistakes);
        let memory = memory.unwrap_or(EVENT_MEMORY_BYTES_MAX);
        let http = note(http_plan(&function, memory), &mut mistakes);
        let arena_bytes = note(arena_bytes(&function), &mut mistakes);
        if let (Some((runtime, _)), Some(http)) = (&found, &http) {
            mistakes.extend(what_a_language_lacks(runtime, http, args.debug));
        }
        if let Err((problem, hint)) = spec::check_function_name(&args.namespace) {
            mistakes.push(format!("--namespace: {problem}; {hint}"));
        }
        if function.spec.isolation == Isolation::Strict {
            let text = "spec.isolation: strict is not in this version; leave it out";
            mistakes.push(text.to_string());
        }
        if args.debug && args.watch {
            let text = "--watch: does not go with --debug, which has one worker; leave one out";
            mistakes.push(text.to_string());
        }
        if function.spec.disable {
            warnings.push("spec.disable: has no effect on a processor that is started".into());
        }
        let (Some(code), Some((runtime, interpreter)), Some(http), Some(arena_bytes), true) =
            (code, found, http, arena_bytes, mistakes.is_empty())
        else {
            return Err(mistakes);
        };
        let mut pools = function.worker_pools(args.workers, machine::cpus());
        if args.debug {
            pools.iter_mut().for_each(|pool| pool.worker_count = 1);
        }
        Ok(Config {
            namespace: function.metadata.namespace.clone().unwrap_or(args.namespace.clone()),
            pools,
            level: level(&args, &function),
            started,
            code,
            runtime,
            interpreter,
            http,
            event_memory_bytes: memory,
            arena_bytes,
            warnings,
            function,
            args,
        })
    }

    pub fn name(&self) -> &str {
        &self.function.metadata.name
    }

    pub fn worker_count(&self) -> u32 {
        self.pools.iter().map(|pool| pool.worker_count).sum()
    }

    /// From the start of a worker until it must be ready.
    pub fn start_limit(&self) -> Duration {
        if self.args.debug {
            return PATIENCE;
        }
        let kept = &self.function.spec.kubernetes.0;
        let seconds = kept.get("readinessTimeoutSeconds").and_then(serde_json::Value::as_u64);
        seconds.filter(|seconds| *seconds > 0).map_or(READINESS_DEFAULT, Duration::from_secs)
    }

    pub fn termination_limit(&self) -> Duration {
        if self.args.debug {
            return PATIENCE;
        }
        let limits = self.pools.iter().map(|pool| pool.worker_termination_timeout);
        limits.max().unwrap_or(TERMINATION_DEFAULT)
    }

    pub fn event_timeout(&self) -> Duration {
        let stated = self.function.spec.event_timeout.filter(|_| !self.args.debug);
        stated.unwrap_or_default()
    }

    /// Threads that run a sync handler in one worker; a debugger's terminal is for one of them.
    pub fn threads(&self) -> Option<u32> {
        self.function.spec.runtime_attributes.threads.filter(|_| !self.args.debug)
    }

    /// The function as a recording of its events names it.
    pub fn recording_head(&self) -> RecordingHead {
        let mut function = spec::without_secrets(&self.function);
        function.metadata.namespace = Some(self.namespace.clone());
        function.spec.build.path = self.code.to_string_lossy().into_owned();
        RecordingHead {
            version: spec::RECORDING_VERSION,
            time_unix_ns: log::now_ns(),
            namespace: self.namespace.clone(),
            interpreter: Some(self.interpreter.to_string_lossy().into_owned())
                .filter(|interpreter| !interpreter.is_empty()),
            function: serde_json::from_str(&spec::to_json(&function)).unwrap_or_default(),
        }
    }

    /// What callers see of an exception: `none`, `message` or `traceback`.
    pub fn error_detail(&self) -> &'static str {
        match self.http.trigger.error_detail {
            Some(ErrorDetail::None) => "none",
            Some(ErrorDetail::Message) => "message",
            Some(ErrorDetail::Traceback) => "traceback",
            None if self.args.watch => "traceback",
            None => "message",
        }
    }
}

fn note<T>(result: Result<T, String>, mistakes: &mut Vec<String>) -> Option<T> {
    result.map_err(|mistake| mistakes.push(mistake)).ok()
}

fn runtimes_folder(args: &Args) -> PathBuf {
    if let Some(folder) = &args.runtimes {
        return folder.clone();
    }
    let exe = env::current_exe().unwrap_or_default();
    let beside = exe.parent().unwrap_or(Path::new("."));
    // As unpacked, and as installed into an environment; else beside the program.
    let places = ["../runtimes", "../share/nuclio/runtimes"].map(|place| beside.join(place));
    places.into_iter().find(|path| path.is_dir()).unwrap_or_else(|| beside.join("runtimes"))
}

fn load_function(
    args: &Args,
    runtimes: &[Runtime],
) -> Result<(Function, Vec<String>), Vec<String>> {
    let (name, text) = read_config(args).map_err(|mistake| vec![mistake])?;
    let names: Vec<&str> = runtimes.iter().flat_map(Runtime::names).collect();
    let lookup = |name: &str| env::var(name).ok();
    let options = LoadOptions {
        lenient: args.lenient,
        partial: false,
        built_kinds: Some(&BUILT_KINDS),
        runtimes: (!names.is_empty()).then_some(&names),
        // What comes over a descriptor has been expanded by who wrote it.
        env: args.config_fd.is_none().then_some(&lookup),
        // What comes over a descriptor has every default written out; who wrote it has warned.
        without_effect: if args.config_fd.is_none() { &spec::WITHOUT_EFFECT } else { &[] },
    };
    let one_line = |found: spec::ConfigError| format!("{name}{found}");
    match spec::load(&text, &options) {
        Ok(loaded) => Ok((loaded.function, loaded.warnings.into_iter().map(one_line).collect())),
        Err(found) => Err(found.into_iter().map(one_line).collect()),
    }
}

/// The text, and what to put in front of what is said about it.
fn read_config(args: &Args) -> Result<(String, String), String> {
    let Some(fd) = args.config_fd else {
        let path = &args.config;
        let read = || {
            let mut text = String::new();
            // A device or a pipe may never end; more than the limit is told as too large.
            File::open(path)?.take(CONFIG_BYTES_MAX).read_to_string(&mut text)?;
            std::io::Result::Ok(text)
        };
        let text = read().map_err(|error| {
            format!("{}: {error}; give --config FILE with a function.yaml", path.display())
        })?;
        return Ok((format!("{}: ", path.display()), text));
    };
    let read = || {
        let mut text = String::new();
        File::open(format!("/proc/self/fd/{fd}"))?
            .take(CONFIG_BYTES_MAX)
            .read_to_string(&mut text)?;
        // It was passed to us open; workers must not get it too.
        nix::unistd::close(fd)?;
        std::io::Result::Ok(text)
    };
    let text = read().map_err(|error| format!("--config-fd {fd}: {error}"))?;
    Ok((String::new(), text))
}

fn find_code(args: &Args, function: &Function) -> Result<PathBuf, String> {
    let path = &function.spec.build.path;
    if path.is_empty() {
        return Err("spec.build.path: is empty; name the file or folder with the code".into());
    }
    // A path in a file is meant from where the file is.
    let base = match args.config_fd {
        None => args.config.parent().unwrap_or(Path::new(".")).to_path_buf(),
        Some(_) => PathBuf::from("."),
    };
    let code = base.join(path);
    code.canonicalize().map_err(|error| format!("spec.build.path: {}: {error}", code.display()))
}

fn find_language(
    args: &Args,
    function: &Function,
    runtimes: &[Runtime],
    code: &Path,
) -> Result<(Runtime, PathBuf), String> {
    let spec = &function.spec;
    let runtime = runtime::choose(runtimes, spec.runtime_name(), code)?;
    let given = match runtime.file.interpreter_flag.as_str() {
        "python" => args.python.as_deref(),
        _ => None,
    };
    let interpreter = runtime.find_interpreter(given, spec.runtime_version())?;
    Ok((runtime.clone(), interpreter))
}

/// What a trigger or a flag wants and the workers of a language cannot do.
fn what_a_language_lacks(runtime: &Runtime, http: &HttpPlan, is_debugged: bool) -> Vec<String> {
    let (key, language) = (&http.key, &runtime.file.id);
    let mut lacks = Vec::new();
    if http.trigger.batch_rule().is_some() && !runtime.file.batches {
        lacks.push(format!(
            "spec.triggers.{key}.batch: {language} handlers get one event at a time; leave batch out"
        ));
    }
    if is_debugged && runtime.file.env_debug.is_empty() {
        lacks.push(format!("--debug: {language} has no debugger here; leave it out"));
    }
    if http.trigger.stream_requests && !runtime.file.streams_requests {
        lacks.push(format!(
            "spec.triggers.{key}.streamRequests: {language} handlers get whole bodies; leave it out"
        ));
    }
    lacks
}

fn http_plan(function: &Function, memory: u64) -> Result<HttpPlan, String> {
    let triggers = function.effective_triggers();
    let Some((key, trigger)) =
        triggers.into_iter().find(|(_, trigger)| trigger.kind == TriggerKind::Http)
    else {
        return Err("spec.triggers: none is left to serve; write one of kind http".into());
    };
    let attributes = trigger.http().cloned().unwrap_or_default();
    let path = format!("spec.triggers.{key}.attributes");
    let body_bytes_max = attributes.max_request_body_size;
    // A streamed body is never in memory as a whole.
    if body_bytes_max > memory / 2 && !trigger.stream_requests {
        return Err(format!(
            "{path}.maxRequestBodySize: {body_bytes_max} is more than half of the event memory, \
             {memory} bytes; write at most {}, raise spec.limits.eventMemory (at most \
             {EVENT_MEMORY_BYTES_MAX}), or set streamRequests",
            memory / 2
        ));
    }
    let cors = cors(&attributes.cors, &path)?;
    Ok(HttpPlan { key, trigger, body_bytes_max, cors })
}

fn cors(settings: &spec::Cors, path: &str) -> Result<Option<Cors>, String> {
    if !settings.enabled {
        return Ok(None);
    }
    let settings = CorsSettings {
        allow_origins: settings.allow_origins.clone(),
        allow_methods: settings.allow_methods.clone(),
        allow_headers: settings.allow_headers.clone(),
        allow_credentials: settings.allow_credentials,
        expose_headers: settings.expose_headers.clone(),
        preflight_request_method: settings.preflight_request_method.clone(),
        preflight_max_age_s: settings.preflight_max_age_seconds,
    };
    let fault = |f: crate::data::http::cors::CorsFault| {
        format!("{path}.cors.{}: {:?} {}", f.setting, f.value, f.problem)
    };
    Cors::new(&settings).map(Some).map_err(fault)
}

fn arena_bytes(function: &Function) -> Result<u32, String> {
    let Some(size) = function.spec.limits.response_arena else { return Ok(ARENA_BYTES_DEFAULT) };
    let ByteSize(bytes) = size;
    let possible = u64::from(ARENA_BYTES_MIN)..=u64::from(ARENA_BYTES_MAX);
    // Blocks are powers of two, and so is the arena they are cut from.
    match u32::try_from(bytes) {
        Ok(arena) if possible.contains(&bytes) => Ok(arena.next_power_of_two()),
        _ => Err(format!(
            "spec.limits.responseArena: {bytes} bytes is out of range; write {ARENA_BYTES_MIN} to \
             {ARENA_BYTES_MAX}"
        )),
    }
}

/// What is stated, else a share of the memory that we may use.
fn event_memory_bytes(function: &Function) -> Result<u64, String> {
    let (least, most) = (rings::limits::EVENT_MEMORY_BYTES_MIN, EVENT_MEMORY_BYTES_MAX);
    let Some(size) = function.spec.limits.event_memory else {
        let share = machine::memory_bytes().unwrap_or(u64::MAX) / EVENT_MEMORY_SHARE;
        return Ok(share.clamp(least, most));
    };
    if (least..=most).contains(&size.0) {
        return Ok(size.0);
    }
    let mebibytes = [least, most].map(|bytes| bytes >> 20);
    Err(format!(
        "spec.limits.eventMemory: {} bytes are out of range; give {}Mi to {}Mi",
        size.0, mebibytes[0], mebibytes[1]
    ))
}

fn level(args: &Args, function: &Function) -> Level {
    let stated = function.spec.log_level().map(|level| match level {
        spec::LogLevel::Debug => Level::Debug,
        spec::LogLevel::Info => Level::Info,
        spec::LogLevel::Warn => Level::Warn,
        spec::LogLevel::Error => Level::Error,
    });
    args.log_level.map(Level::from).or(stated).unwrap_or(Level::Info)
}

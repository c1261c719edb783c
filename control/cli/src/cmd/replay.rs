//! `nuclio replay`: feeds recorded events to their function again, and says which were answered
//! otherwise than then.
//!
//! The function is started for it, by a processor of its own that ends with this command. Ctrl-C is
//! that processor's: when it is gone, the replay is over.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use spec::{ByteSize, EnvVar, Function, LoadOptions, Raw, RecordedEvent, RecordingStop};

use crate::args::{Global, Origins, OutputForm, ReplayArgs, repeated};
use crate::feed::{Answer, Unanswered, feed};
use crate::handover::{Handover, Started, start};
use crate::locate::{self, Surroundings};
use crate::output::{EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, Failure, Mistakes, note, warn};
use crate::process_flags::ProcessFlags;
use crate::recording::{self, Recording};
use crate::runtime_catalog::Catalog;
use crate::{function, names};

/// The longest line with a URL.
const URL_BYTES_MAX: u64 = 1024;

pub fn replay(
    args: &ReplayArgs,
    global: &Global,
    origins: &Origins,
    around: &Surroundings,
) -> Result<u8, Failure> {
    let mut mistakes = Mistakes::default();
    let told = |long: &str, problem: String| format!("{}: {problem}", origins.of(long));
    let time_max = super::exec::read_timeout(&args.timeout).map_err(|p| told("timeout", p));
    let time_max = mistakes.keep(time_max).flatten().filter(|_| !args.debug);
    let namespace = global.namespace.as_deref().unwrap_or(names::NAMESPACE_DEFAULT);
    mistakes.keep(names::check(&origins.of("namespace"), namespace));
    if global.output == OutputForm::Yaml {
        mistakes.add(told("output", "events have no yaml form; write -o json".into()));
    }
    let recording = mistakes.keep(recording::find(&args.target, namespace, around));
    let function = recording.as_ref().and_then(|r| function_of(r, args, around, &mut mistakes));
    let processor = mistakes.keep(locate::processor(around));
    let runtimes = mistakes.keep(locate::runtimes(around));
    let (Some(recording), Some(function), Some(processor), Some(runtimes), true) =
        (recording, function, processor, runtimes, mistakes.are_none())
    else {
        return Err(mistakes.into_failure());
    };
    remark_on(&recording);
    let is_json = global.output == OutputForm::Json;
    if recording.events == 0 {
        return Report::new(&recording, is_json, global.verbose).end();
    }
    let python = python(&runtimes, &recording, &function);
    let handover =
        Handover {
            processor,
            runtimes,
            python,
            namespace: recording.head.namespace.clone(),
            flags: flags(global),
            watch: false,
            lenient: false,
            debug: args.debug,
            record: None,
            log_format: (is_json || around.var("NUCLIO_LOG_FORMAT").is_none())
                .then_some(if is_json { "json" } else { "people" }),
            config: spec::to_json(&function),
        };
    // From here on Ctrl-C is for the processor, which we end with.
    let mut interrupt = SigSet::empty();
    interrupt.add(Signal::SIGINT);
    let _ = interrupt.thread_block();
    let report = Report::new(&recording, is_json, global.verbose);
    served(start(&handover)?, report, time_max)
}

/// The recorded function with the values of its variables, which no recording keeps.
fn function_of(
    recording: &Recording,
    args: &ReplayArgs,
    around: &Surroundings,
    mistakes: &mut Mistakes,
) -> Option<Function> {
    let shown = &recording.shown;
    let loaded = spec::load(&recording.head.function.to_string(), &LoadOptions::default());
    let mut function = match loaded {
        Ok(loaded) => loaded.function,
        Err(errors) => {
            for mut error in errors {
                // The function is one line there, written by no person.
                error.line = None;
                mistakes.add(format!("{shown}: line 1: {error}"));
            }
            return None;
        }
    };
    let given = repeated(&args.env, around.var("NUCLIO_ENV"));
    let given = mistakes.keep(given.map_err(|problem| format!("NUCLIO_ENV {problem}")))?;
    let from = if args.env.is_empty() { "NUCLIO_ENV" } else { "--env" };
    let given = function::read_variables(given, from, mistakes);
    for variable in given {
        function.spec.env.retain(|other| other.name != variable.name);
        function.spec.env.push(variable);
    }
    for variable in &mut function.spec.env {
        mistakes.keep(with_value(variable, shown, around));
    }
    Some(function)
}

fn with_value(variable: &mut EnvVar, shown: &str, around: &Surroundings) -> Result<(), String> {
    if !variable.value.is_empty() || !variable.value_from.is_empty() {
        return Ok(());
    }
    let name = variable.name.clone();
    let own = around.var(&name).and_then(|value| value.to_str()).ok_or_else(|| {
        format!(
            "{shown}: the function has the environment variable {name}, whose value no recording \
             keeps; give it with -e {name}=VALUE"
        )
    })?;
    variable.value = own.to_owned();
    Ok(())
}

/// The interpreter of that time, for a runtime that has one.
fn python(
    runtimes: &std::path::Path,
    recording: &Recording,
    function: &Function,
) -> Option<PathBuf> {
    let catalog = Catalog::read(runtimes).ok()?;
    let name = &function.spec.runtime;
    let takes = catalog.by_name(name).is_ok_and(|runtime| runtime.interpreter_flag.is_some());
    let recorded = recording.head.interpreter.as_deref().filter(|_| takes || name.is_empty());
    recorded.map(PathBuf::from)
}

fn flags(global: &Global) -> ProcessFlags {
    ProcessFlags {
        port: Some(0),
        host: Some(std::net::Ipv4Addr::LOCALHOST.into()),
        workers: Some("1".into()),
        admin: Some((std::net::Ipv4Addr::LOCALHOST, 0).into()),
        log_level: global.verbose.then_some("debug"),
    }
}

/// What is not in the recording.
fn remark_on(recording: &Recording) {
    let shown = &recording.shown;
    if recording.missing > 0 {
        warn(&format!(
            "{shown}: {} events are missing in it: they came faster than its disk took them",
            recording.missing
        ));
    }
    if recording.end.as_ref().is_some_and(|end| end.reason == RecordingStop::Full) {
        let limit = ByteSize(spec::limits::RECORDING_BYTES_MAX).0 >> 30;
        warn(&format!(
            "{shown}: ends where it reached its limit of {limit} GiB; what came later is not in it"
        ));
    }
}

/// Feeds every event as soon as the function is ready, then ends it.
fn served(
    started: Started,
    mut report: Report<'_>,
    time_max: Option<Duration>,
) -> Result<u8, Failure> {
    let Started { mut child, ready } = started;
    let mut line = String::new();
    let read = BufReader::new(ready).take(URL_BYTES_MAX).read_line(&mut line);
    let address = read.ok().and_then(|_| line.trim().strip_prefix("http://")?.parse().ok());
    let Some(address) = address else {
        // It has said why.
        let status = child.wait().map_err(|e| Failure::failed(format!("the processor: {e}")))?;
        return Ok(exit_code(status));
    };
    let fed = report.feed_all(address, time_max);
    // Still our child, whether it lives or not: its number belongs to nobody else.
    if let Ok(pid) = i32::try_from(child.id()) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
    let status = child.wait().map_err(|e| Failure::failed(format!("the processor: {e}")))?;
    fed?;
    let code = report.end()?;
    if !report.is_gone {
        return Ok(code);
    }
    let (fed, all) = (report.fed, report.recording.events);
    note(&format!("the function ended after {fed} of {all} events"));
    // In good order only because somebody wanted it.
    Ok(if status.success() { EXIT_INTERRUPTED } else { exit_code(status) })
}

fn exit_code(status: ExitStatus) -> u8 {
    match status.code() {
        Some(0) => EXIT_INTERRUPTED,
        Some(code) => u8::try_from(code).unwrap_or(EXIT_FAILED),
        None => EXIT_FAILED,
    }
}

/// What became of the events, told as it happens.
struct Report<'a> {
    recording: &'a Recording,
    is_json: bool,
    is_verbose: bool,
    fed: u64,
    same: u64,
    differing: u64,
    /// Answered, and nothing was recorded to compare with.
    uncompared: u64,
    unanswered: u64,
    /// The function ended before the last event.
    is_gone: bool,
}

impl<'a> Report<'a> {
    fn new(recording: &'a Recording, is_json: bool, is_verbose: bool) -> Report<'a> {
        Report {
            recording,
            is_json,
            is_verbose,
            fed: 0,
            same: 0,
            differing: 0,
            uncompared: 0,
            unanswered: 0,
            is_gone: false,
        }
    }

    fn feed_all(&mut self, address: SocketAddr, time_max: Option<Duration>) -> Result<(), Failure> {
        let recording = self.recording;
        let mut failure = None;
        let read = recording.each(|event| {
            let told = match feed(address, event, time_max) {
                Err(Unanswered::Gone) => {
                    self.is_gone = true;
                    return false;
                }
                Ok(answer) => self.answered(event, &answer),
                Err(Unanswered::Broken(why)) => self.not_answered(event, &why),
            };
            failure = told.err();
            failure.is_none()
        });
        read.map_err(Failure::failed)?;
        failure.map_or(Ok(()), Err)
    }

    fn answered(&mut self, event: &RecordedEvent, answer: &Answer) -> Result<(), Failure> {
        self.fed += 1;
        let recorded = self.recording.statuses.get(&event.id).copied();
        let outcome = match recorded {
            None => &mut self.uncompared,
            Some(status) if status == answer.status => &mut self.same,
            Some(_) => &mut self.differing,
        };
        *outcome += 1;
        if self.is_json {
            return print(&json!({
                "id": event.id,
                "request": event.request,
                "status": answer.status,
                "recorded_status": recorded,
                "body": Raw(answer.body.clone()),
            }));
        }
        let differs = recorded.is_some_and(|status| status != answer.status);
        if differs || self.is_verbose {
            let then = recorded.map_or("no answer recorded".into(), |s| format!("recorded {s}"));
            return super::print_text(&format!("{}: {}, {then}\n", named(event), answer.status));
        }
        Ok(())
    }

    fn not_answered(&mut self, event: &RecordedEvent, why: &str) -> Result<(), Failure> {
        self.fed += 1;
        self.unanswered += 1;
        if self.is_json {
            let recorded = self.recording.statuses.get(&event.id);
            return print(&json!({
                "id": event.id,
                "request": event.request,
                "status": null,
                "recorded_status": recorded,
                "error": why,
            }));
        }
        super::print_text(&format!("{}: {why}\n", named(event)))
    }

    /// The sum, and the exit code that follows from it.
    fn end(&self) -> Result<u8, Failure> {
        let counts = [
            (self.same, "answered as recorded"),
            (self.differing, "answered otherwise"),
            (self.uncompared, "answered, with no answer recorded"),
            (self.unanswered, "not answered"),
        ];
        if self.is_json {
            print(&json!({
                "events": self.fed,
                "same": self.same,
                "differing": self.differing,
                "uncompared": self.uncompared,
                "unanswered": self.unanswered,
                "missing": self.recording.missing,
            }))?;
        } else {
            let plural = if self.fed == 1 { "" } else { "s" };
            let parts = counts.iter().filter(|(count, _)| *count > 0);
            let parts: Vec<String> = parts.map(|(count, what)| format!("{count} {what}")).collect();
            let colon = if parts.is_empty() { "" } else { ": " };
            super::print_text(&format!(
                "{} event{plural} of {} replayed{colon}{}\n",
                self.fed,
                self.recording.shown,
                parts.join(", ")
            ))?;
        }
        Ok(if self.differing + self.unanswered > 0 { EXIT_FAILED } else { EXIT_OK })
    }
}

/// `0000002a POST /orders`: the id as the log shows it, and what was asked.
fn named(event: &RecordedEvent) -> String {
    let request = String::from_utf8_lossy(&event.request.0);
    let words = request.rsplit_once(' ').map_or(&*request, |(words, _)| words);
    let end = event.id.len().saturating_sub(8);
    let id = event.id.get(end..).unwrap_or(&event.id);
    format!("{} {}", crate::output::one_line(id), crate::output::one_line(words))
}

fn print(line: &Value) -> Result<(), Failure> {
    super::print_text(&format!("{line}\n"))?;
    let _ = std::io::stdout().flush();
    Ok(())
}

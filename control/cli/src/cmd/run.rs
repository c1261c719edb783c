//! `nuclio run`: serves a function here, in the foreground, by becoming its processor.
//!
//! Everything that can be wrong is found and told before anything is started.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use spec::{Function, LogLevel};

use crate::args::{Global, Origins, OutputForm, RunArgs};
use crate::function::{self, Made, Said};
use crate::handover::{Handover, hand_over};
use crate::install;
use crate::locate::{self, Surroundings};
use crate::output::{Failure, Mistakes, warn};
use crate::process_flags::{self, ProcessFlags};
use crate::recording;
use crate::runtime_catalog::Catalog;

/// The `interpreter_flag` of runtimes whose interpreter `--python` names.
const PYTHON_FLAG: &str = "python";

/// Returns only when nothing was started.
pub fn run(
    args: &RunArgs,
    global: &Global,
    origins: &Origins,
    around: &Surroundings,
) -> Result<u8, Failure> {
    let mut mistakes = Mistakes::default();
    let flags = process_flags::check(args, origins, &mut mistakes);
    if args.debug && args.watch {
        mistakes.add(format!(
            "{}: does not go with {}, which has one worker and never a second; leave one of them \
             out",
            origins.of("watch"),
            origins.of("debug")
        ));
    }
    if let Some(path) = &args.record {
        let told = |problem| format!("{}: {problem}", origins.of("record"));
        mistakes.keep(recording::check_new(path, around).map_err(told));
    }
    let processor = mistakes.keep(locate::processor(around));
    let catalog = installed(around, &mut mistakes);
    let made = catalog.as_ref().and_then(|catalog| {
        let namespace = global.namespace.as_deref();
        function::make(&Said { args, namespace, origins, around, catalog }, &mut mistakes)
    });
    let python = made.as_ref().and_then(|made| mistakes.keep(python(args, origins, around, made)));
    let (Some(processor), Some(catalog), Some(made), Some(python), true) =
        (processor, catalog, made, python, mistakes.are_none())
    else {
        return Err(mistakes.into_failure());
    };

    made.warnings.iter().for_each(|warning| warn(warning));
    let python =
        if args.install { Some(install::install(&catalog.folder, &made, python)?) } else { python };
    let namespace = made.function.metadata.namespace.clone().unwrap_or_default();
    Err(hand_over(&Handover {
        processor,
        runtimes: catalog.folder,
        python,
        namespace,
        flags: with_defaults(flags, global, &made.function),
        watch: args.watch,
        lenient: args.lenient,
        debug: args.debug,
        record: args.record.as_deref().map(|path| around.absolute(Path::new(path))),
        log_format: log_format(global, around),
        config: spec::to_json(&made.function),
    }))
}

fn installed(around: &Surroundings, mistakes: &mut Mistakes) -> Option<Catalog> {
    let folder = mistakes.keep(locate::runtimes(around))?;
    match Catalog::read(&folder) {
        Ok(catalog) => Some(catalog),
        Err(problems) => {
            problems.into_iter().for_each(|problem| mistakes.add(problem));
            None
        }
    }
}

/// The interpreter that the user chose; nothing where the processor is to take its default.
fn python(
    args: &RunArgs,
    origins: &Origins,
    around: &Surroundings,
    made: &Made,
) -> Result<Option<PathBuf>, String> {
    let runtime = &made.code.runtime;
    if runtime.interpreter_flag.as_deref() != Some(PYTHON_FLAG) {
        // The environment may well name a Python for other functions.
        let from = origins.of("python");
        return if args.python.is_some() && from.starts_with("--") {
            Err(format!(
                "{from}: the runtime is {}, which has no such flag; leave it out",
                runtime.id
            ))
        } else {
            Ok(None)
        };
    }
    let code = &made.code.path;
    let folder = if code.is_dir() { Some(&**code) } else { code.parent() };
    locate::python(around, &origins.of("python"), args.python.as_deref().map(OsStr::new), folder)
}

/// What function.yaml says about the process, where no flag does.
fn with_defaults(mut flags: ProcessFlags, global: &Global, function: &Function) -> ProcessFlags {
    let triggers = function.effective_triggers();
    let stated_port = triggers.values().find_map(|trigger| trigger.http()?.port);
    // nuclio's 0 means any port of a cluster's nodes, so it asks for nothing here.
    flags.port = flags.port.or(stated_port.filter(|port| *port != 0));
    let stated_level = function.spec.log_level().map(|level| match level {
        LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Warn => "warn",
        LogLevel::Error => "error",
    });
    let verbose = global.verbose.then_some("debug");
    flags.log_level = flags.log_level.or(verbose).or(stated_level);
    flags
}

/// People read the terminal of `nuclio run`, unless the user says otherwise.
fn log_format(global: &Global, around: &Surroundings) -> Option<&'static str> {
    match global.output {
        OutputForm::Json | OutputForm::Yaml => Some("json"),
        _ if around.var("NUCLIO_LOG_FORMAT").is_some() => None,
        _ => Some("people"),
    }
}

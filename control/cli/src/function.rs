//! Makes one function of everything that was said about it: function.yaml or the comment block in
//! the source, and the flags over both.
//!
//! Reads files; starts nothing.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use spec::{ConfigError, EnvVar, Function, LoadOptions, TriggerKind};

use crate::args::{Origins, RunArgs, repeated};
use crate::inline_code;
use crate::locate::Surroundings;
use crate::names;
use crate::output::Mistakes;
use crate::runtime_catalog::{Catalog, Runtime};
use crate::source::{self, Code, Source};
use crate::trigger_flag::{self, TriggerFlag};

/// How much of a source file is searched for a comment block with its configuration. Code is
/// smaller; what is longer is data.
const SOURCE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// What the makers of a function look at, passed around as one.
pub struct Said<'a> {
    pub args: &'a RunArgs,
    pub namespace: Option<&'a str>,
    pub origins: &'a Origins,
    pub around: &'a Surroundings,
    pub catalog: &'a Catalog,
}

/// A function ready to be served, and what deserves a word before that.
#[derive(Debug)]
pub struct Made {
    pub function: Function,
    pub code: Code,
    pub warnings: Vec<String>,
}

/// Nothing where a mistake was noted.
pub fn make(said: &Said<'_>, mistakes: &mut Mistakes) -> Option<Made> {
    let source = source::choose(said.args, said.origins, said.around, said.catalog, mistakes);
    let runtime_flag = said.args.runtime.as_deref().map(|name| {
        let told = |problem| format!("{}: {problem}", said.origins.of("runtime"));
        mistakes.keep(said.catalog.by_name(name).map_err(told))
    });
    let variables = variables(said, mistakes);
    let triggers = triggers(said, mistakes);
    let (program_arguments, _) =
        listed(said, &said.args.runtime_arg, "runtime-arg", "NUCLIO_RUNTIME_ARG", mistakes);
    if let Some(name) = &source.name {
        mistakes.keep(names::check("NAME", name));
    }
    if let Some(namespace) = said.namespace {
        mistakes.keep(names::check(&said.origins.of("namespace"), namespace));
    }

    let mut warnings = Vec::new();
    let configured = configured(said, &source, &mut warnings, mistakes);
    // A mistake about where things are makes everything below it a guess.
    if !mistakes.are_none() && source.code.is_none() && configured.is_none() {
        return None;
    }
    let runtime_flag = match runtime_flag {
        Some(None) => return None,
        Some(Some(runtime)) => Some(runtime),
        None => None,
    };
    let (function, code) =
        with_code(said, &source, configured, runtime_flag, &mut warnings, mistakes)?;
    let mut function = finished(said, &source, function, &code, variables, triggers, mistakes)?;
    if !program_arguments.is_empty() {
        with_arguments(said, &mut function, &code, program_arguments, mistakes);
    }
    mistakes.are_none().then_some(Made { function, code, warnings })
}

/// The function of function.yaml, where there is one.
fn configured(
    said: &Said<'_>,
    source: &Source,
    warnings: &mut Vec<String>,
    mistakes: &mut Mistakes,
) -> Option<Function> {
    let file = source.config.as_deref()?;
    let shown = said.around.shown(file);
    let text = mistakes.keep(
        std::fs::read(file).map_err(|e| format!("{shown}: cannot be read: {e}")).and_then(
            |bytes| {
                String::from_utf8(bytes)
                    .map_err(|_| format!("{shown}: is not UTF-8 text; save it in UTF-8"))
            },
        ),
    )?;
    load(said, &shown, &text, source.name.is_some(), warnings, mistakes)
}

/// Reads a function.yaml or a comment block, and notes every mistake in it.
fn load(
    said: &Said<'_>,
    shown: &str,
    text: &str,
    partial: bool,
    warnings: &mut Vec<String>,
    mistakes: &mut Mistakes,
) -> Option<Function> {
    let lookup = |name: &str| said.around.var(name).and_then(|v| v.to_str()).map(str::to_owned);
    let names = said.catalog.names();
    let options = LoadOptions {
        lenient: said.args.lenient,
        partial,
        runtimes: said.args.runtime.is_none().then_some(&names[..]),
        env: Some(&lookup),
        without_effect: &spec::WITHOUT_EFFECT,
        ..LoadOptions::default()
    };
    let line = |error: &ConfigError| format!("{shown}: {error}");
    match spec::load(text, &options) {
        Ok(loaded) => {
            warnings.extend(loaded.warnings.iter().map(line));
            Some(loaded.function)
        }
        Err(errors) => {
            errors.iter().for_each(|error| mistakes.add(line(error)));
            None
        }
    }
}

/// Finds the code; where no function.yaml was given, its comment block may be the configuration.
fn with_code(
    said: &Said<'_>,
    source: &Source,
    configured: Option<Function>,
    runtime_flag: Option<&Runtime>,
    warnings: &mut Vec<String>,
    mistakes: &mut Mistakes,
) -> Option<(Function, Code)> {
    if source.config.is_some() && configured.is_none() {
        return None;
    }
    let has_config = configured.is_some();
    let mut function = configured.unwrap_or_default();
    let path = mistakes.keep(code_path(said, source, &function))?;
    let find = |path: &Path, function: &Function| {
        let handler = said.args.handler.as_deref().unwrap_or(&function.spec.handler);
        let stated = said.catalog.by_name(&function.spec.runtime).ok();
        source::find_code(path, handler, runtime_flag.or(stated), said.catalog, said.around)
    };
    let mut code = mistakes.keep(find(&path, &function))?;
    let block = inline_config(&code);
    if let (Some(text), false) = (&block, has_config) {
        let shown = format!("{} (@nuclio.configure)", said.around.shown(&code.file));
        function = load(said, &shown, text, true, warnings, mistakes)?;
        code = mistakes.keep(find(&code.path, &function))?;
    } else if block.is_some() {
        let config = source.config.as_deref().map(|path| said.around.shown(path));
        warnings.push(format!(
            "{}: its @nuclio.configure block is not read, because {} is",
            said.around.shown(&code.file),
            config.unwrap_or_default()
        ));
    }
    Some((function, code))
}

/// Where the code is: the flags, else what function.yaml says, else its own folder.
fn code_path(said: &Said<'_>, source: &Source, function: &Function) -> Result<PathBuf, String> {
    if let Some(code) = &source.code {
        return Ok(code.clone());
    }
    let Some(config) = source.config.as_deref() else {
        return Err(source::NOTHING_TO_SERVE.into());
    };
    let shown = said.around.shown(config);
    let folder = config.parent().unwrap_or(Path::new("/"));
    let build = &function.spec.build;
    if !build.path.is_empty() {
        let path = said.around.absolute(&folder.join(&build.path));
        let told = |problem| format!("{shown}: spec.build.path: {problem}");
        return source::exists(&path, &build.path).map(|()| path).map_err(told);
    }
    if !build.function_source_code.is_empty() {
        let told = |problem| format!("{shown}: spec.build.functionSourceCode: {problem}");
        return inline_code::saved(said, source, function).map_err(told);
    }
    if !matches!(build.code_entry_type.as_str(), "" | "sourceCode") {
        return Err(format!(
            "{shown}: spec.build.codeEntryType: {:?} is not fetched by nuclio run; get the code \
             here first and name it with -p",
            build.code_entry_type
        ));
    }
    Ok(folder.to_owned())
}

/// The comment block of a source file. Files that are no text have none.
fn inline_config(code: &Code) -> Option<String> {
    let mut bytes = Vec::new();
    let read =
        File::open(&code.file).and_then(|file| file.take(SOURCE_BYTES_MAX).read_to_end(&mut bytes));
    // It was opened a moment ago; if it is gone by now, the worker will say so.
    read.ok()?;
    spec::inline_config(&String::from_utf8_lossy(&bytes), code.runtime.comment_prefix())
}

/// The flags over what the file says, and everything that the file may leave out.
fn finished(
    said: &Said<'_>,
    source: &Source,
    mut function: Function,
    code: &Code,
    variables: Vec<EnvVar>,
    triggers: Vec<TriggerFlag>,
    mistakes: &mut Mistakes,
) -> Option<Function> {
    let stated = Some(&function.metadata.name).filter(|name| !name.is_empty()).cloned();
    let name = source.name.clone().or(stated);
    function.metadata.name = name.unwrap_or_else(|| default_name(source, code));
    let namespace = said.namespace.map(str::to_owned).or(function.metadata.namespace.take());
    function.metadata.namespace = Some(namespace.unwrap_or(names::NAMESPACE_DEFAULT.to_owned()));
    if let Some(handler) = &said.args.handler {
        function.spec.handler.clone_from(handler);
    }
    match &said.args.runtime {
        Some(runtime) => function.spec.runtime.clone_from(runtime),
        None if function.spec.runtime.is_empty() => {
            function.spec.runtime.clone_from(&code.runtime.id);
        }
        None => {}
    }
    let path = code.path.to_str().map(str::to_owned).ok_or_else(|| {
        format!("{}: the path is not UTF-8 text; give it another name", code.path.display())
    });
    function.spec.build.path = mistakes.keep(path)?;
    function.spec.build.function_source_code.clear();
    for variable in variables {
        function.spec.env.retain(|other| other.name != variable.name);
        function.spec.env.push(variable);
    }
    add_triggers(said, &mut function, triggers, mistakes);
    check_whole(&function, mistakes);
    Some(function)
}

/// Arguments of the command line are those of function.yaml, in words that no blank can split.
fn with_arguments(
    said: &Said<'_>,
    function: &mut Function,
    code: &Code,
    arguments: Vec<String>,
    mistakes: &mut Mistakes,
) {
    if !code.runtime.programs {
        let from =
            if said.args.runtime_arg.is_empty() { "NUCLIO_RUNTIME_ARG" } else { "--runtime-arg" };
        return mistakes.add(format!(
            "{from}: the runtime is {}, which runs no programs with arguments; leave it out",
            code.runtime.id
        ));
    }
    let list = arguments.into_iter().map(serde_json::Value::String).collect();
    let other = &mut function.spec.runtime_attributes.other;
    other.insert("arguments".into(), serde_json::Value::Array(list));
}

/// The name of the code; of its folder where the file is one that every folder has.
fn default_name(source: &Source, code: &Code) -> String {
    let folder = source.code.as_deref().or(source.config.as_deref().and_then(Path::parent));
    match folder.filter(|folder| folder.is_dir()) {
        Some(folder) => names::of_path(folder),
        None => names::of_path(&code.file),
    }
}

/// What only shows once everything is together, such as two HTTP triggers.
fn check_whole(function: &Function, mistakes: &mut Mistakes) {
    if !mistakes.are_none() {
        return;
    }
    if let Err(errors) = spec::load(&spec::to_json(function), &LoadOptions::default()) {
        for mut error in errors {
            // Lines of a text that nobody wrote help nobody.
            error.line = None;
            mistakes.add(error.to_string());
        }
    }
}

fn variables(said: &Said<'_>, mistakes: &mut Mistakes) -> Vec<EnvVar> {
    let (texts, from) = listed(said, &said.args.env, "env", "NUCLIO_ENV", mistakes);
    read_variables(texts, &from, mistakes)
}

/// Variables as `KEY=VALUE`, from a flag or its twin.
pub fn read_variables(texts: Vec<String>, from: &str, mistakes: &mut Mistakes) -> Vec<EnvVar> {
    let read = texts.into_iter().map(|text| match text.split_once('=') {
        Some((name, value)) if is_variable_name(name) => {
            Ok(EnvVar { name: name.into(), value: value.into(), ..EnvVar::default() })
        }
        Some((name, _)) => Err(format!(
            "{from}: {name:?} is no name of a variable; use letters, digits, _, - and ., and no \
             digit first"
        )),
        None => Err(format!("{from}: {text:?} has no =; write KEY=VALUE")),
    });
    read.filter_map(|variable| mistakes.keep(variable)).collect()
}

/// The names that Kubernetes takes, so that what runs here runs there.
fn is_variable_name(name: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    !name.is_empty()
        && name.bytes().all(is_inner)
        && !name.starts_with(|c: char| c.is_ascii_digit())
}

fn triggers(said: &Said<'_>, mistakes: &mut Mistakes) -> Vec<TriggerFlag> {
    let (texts, from) = listed(said, &said.args.trigger, "trigger", "NUCLIO_TRIGGER", mistakes);
    if texts.is_empty() { Vec::new() } else { trigger_flag::read(&texts, &from, mistakes) }
}

/// The values of a repeatable flag or of its twin, and which of the two it was.
fn listed(
    said: &Said<'_>,
    given: &[String],
    long: &str,
    twin: &str,
    mistakes: &mut Mistakes,
) -> (Vec<String>, String) {
    let from = if given.is_empty() { twin.to_owned() } else { format!("--{long}") };
    let values = repeated(given, said.around.var(twin));
    let values = mistakes.keep(values.map_err(|problem| format!("{twin} {problem}")));
    (values.unwrap_or_default(), from)
}

/// A flag's trigger replaces one of the same name; an HTTP trigger without a name replaces the
/// function's own, since there is only one.
fn add_triggers(
    said: &Said<'_>,
    function: &mut Function,
    flags: Vec<TriggerFlag>,
    mistakes: &mut Mistakes,
) {
    for flag in flags {
        let trigger = trigger_flag::load(&flag, said.args.lenient, said.around);
        let trigger = match trigger {
            Ok(trigger) => trigger,
            Err(problems) => {
                problems.into_iter().for_each(|problem| mistakes.add(problem));
                continue;
            }
        };
        let mut key = flag.name.clone();
        if trigger.kind == TriggerKind::Http && !flag.is_named {
            let own = function.spec.triggers.iter().find(|(_, t)| t.kind == TriggerKind::Http);
            key = own.map_or(key, |(key, _)| key.clone());
        }
        function.spec.triggers.insert(key, trigger);
    }
}

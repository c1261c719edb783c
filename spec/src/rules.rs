//! What the schema cannot say: rules over the values of a function that has the right shape.

use std::collections::BTreeMap;

use crate::error::{ConfigError, Findings};
use crate::function::{Function, FunctionSpec};
use crate::http::{Cors, HttpAttributes};
use crate::limits::{NAME_BYTES_MAX, TRIGGERS_MAX};
use crate::load::LoadOptions;
use crate::nearest::nearest;
use crate::path::join;
use crate::pools::{DEFAULT_HTTP_TRIGGER, check_shared_pools};
use crate::trigger::{BatchMode, Trigger, TriggerKind};

/// The languages that nuclio names; used to tell a slip from a language that is not here.
const NUCLIO_RUNTIMES: [&str; 7] =
    ["python", "nodejs", "shell", "golang", "java", "dotnetcore", "ruby"];

/// Checks everything that one field's schema cannot.
pub(crate) fn apply(function: &Function, options: &LoadOptions<'_>, findings: &mut Findings) {
    let errors = &mut findings.errors;
    if !function.metadata.name.is_empty() {
        check_name("metadata.name", &function.metadata.name, errors);
    }
    if let Some(namespace) = &function.metadata.namespace {
        check_name("metadata.namespace", namespace, errors);
    }
    check_runtime(&function.spec, options.runtimes, errors);
    check_scale(&function.spec, errors);
    if function.spec.event_timeout.is_some_and(|timeout| timeout.is_zero()) {
        let hint = "leave it out for no limit";
        errors.push(ConfigError::new("spec.eventTimeout", "no event can end in 0s", hint));
    }
    check_env(&function.spec, findings);
    check_triggers(function, findings);
    findings.errors.extend(check_shared_pools(function));
    check_paths_are_text(&function.spec, &mut findings.errors);
}

/// Whether a text can be the name of a function or of a namespace, and so of a folder.
///
/// # Errors
/// What is wrong, and what to write instead.
pub fn check_function_name(name: &str) -> Result<(), (String, String)> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let problem = if name.is_empty() {
        "is empty".to_string()
    } else if name.len() > NAME_BYTES_MAX {
        format!("has {} characters, {NAME_BYTES_MAX} are possible", name.len())
    } else if let Some(wrong) = name.chars().find(|c| !allowed(*c)) {
        format!("{name:?} has {wrong:?}; lower-case letters, digits and - are possible")
    } else if name.starts_with('-') || name.ends_with('-') {
        format!("{name:?} starts or ends with -")
    } else {
        return Ok(());
    };
    let hint = function_name_from(name).map_or(String::new(), |other| format!("write {other}"));
    Err((problem, hint))
}

/// A name for a function, made from any text such as a file's name: `My_func` gives `my-func`.
#[must_use]
pub fn function_name_from(text: &str) -> Option<String> {
    let mut name = String::new();
    for c in text.chars().flat_map(char::to_lowercase) {
        match c {
            'a'..='z' | '0'..='9' => name.push(c),
            _ if !name.is_empty() && !name.ends_with('-') => name.push('-'),
            _ => {}
        }
    }
    name.truncate(NAME_BYTES_MAX);
    let name = name.trim_end_matches('-');
    (!name.is_empty()).then(|| name.to_string())
}

/// The triggers whose kind is not among `built`, each as an error.
#[must_use]
pub fn check_built_kinds(function: &Function, built: &[TriggerKind]) -> Vec<ConfigError> {
    let listed: Vec<&str> = built.iter().map(|kind| kind.as_str()).collect();
    let missing = function
        .spec
        .triggers
        .iter()
        .filter(|(_, trigger)| !trigger.disabled && !built.contains(&trigger.kind));
    missing
        .map(|(key, trigger)| {
            let path = format!("{}.kind", join("spec.triggers", key));
            let problem = format!("{:?} is not built into this processor", trigger.kind.as_str());
            ConfigError::new(path, problem, format!("built in: {}", listed.join(", ")))
        })
        .collect()
}

fn check_name(path: &str, name: &str, errors: &mut Vec<ConfigError>) {
    if let Err((problem, hint)) = check_function_name(name) {
        errors.push(ConfigError::new(path, problem, hint));
    }
}

fn check_runtime(spec: &FunctionSpec, here: Option<&[&str]>, errors: &mut Vec<ConfigError>) {
    let name = spec.runtime_name();
    let Some(here) = here else { return };
    if spec.runtime.is_empty() || here.contains(&name) {
        return;
    }
    let (problem, hint) = if NUCLIO_RUNTIMES.contains(&name) {
        (format!("the language {name} is not installed here"), installed(here))
    } else if let Some(meant) = nearest(name, here.iter().copied()) {
        (format!("{name:?} is not a known language"), format!("did you mean {meant}?"))
    } else {
        (format!("{name:?} is not a known language"), installed(here))
    };
    errors.push(ConfigError::new("spec.runtime", problem, hint));
}

fn installed(here: &[&str]) -> String {
    match here {
        [] => "no language is installed".into(),
        here => format!("installed: {}", here.join(", ")),
    }
}

fn check_scale(spec: &FunctionSpec, errors: &mut Vec<ConfigError>) {
    if let (Some(min), Some(max)) = (spec.min_replicas, spec.max_replicas)
        && min > max
    {
        let problem = format!("{min} is more than maxReplicas, {max}");
        errors.push(ConfigError::new("spec.minReplicas", problem, format!("write {max} or less")));
    }
}

fn check_env(spec: &FunctionSpec, findings: &mut Findings) {
    let mut firsts: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, variable) in spec.env.iter().enumerate() {
        let path = format!("spec.env[{index}]");
        if variable.name.is_empty() || variable.name.contains(['=', '\0']) {
            let problem = format!("{:?} cannot be the name of a variable", variable.name);
            let hint = "write a name without =, such as LOG_LEVEL";
            findings.errors.push(ConfigError::new(format!("{path}.name"), problem, hint));
        }
        if variable.value.contains('\0') {
            let problem = "holds a zero byte, which no variable can";
            findings.errors.push(ConfigError::new(format!("{path}.value"), problem, ""));
        }
        if let Some(first) = firsts.insert(&variable.name, index) {
            let problem = format!("{:?} is already in spec.env[{first}]", variable.name);
            let warning = ConfigError::new(format!("{path}.name"), problem, "the last one counts");
            findings.warnings.push(warning);
        }
    }
}

fn check_triggers(function: &Function, findings: &mut Findings) {
    let triggers = &function.spec.triggers;
    if triggers.len() > TRIGGERS_MAX {
        let problem = format!("{} triggers, {TRIGGERS_MAX} are possible", triggers.len());
        findings.errors.push(ConfigError::new("spec.triggers", problem, ""));
    }
    let mut served_http: Option<&str> = None;
    for (key, trigger) in triggers {
        let path = join("spec.triggers", key);
        check_trigger(&path, key, trigger, findings);
        if trigger.kind != TriggerKind::Http || trigger.disabled {
            continue;
        }
        match served_http {
            None => served_http = Some(key),
            Some(first) => {
                let problem = format!("a second HTTP trigger; {first} is the first");
                let hint = "keep one: every path and method reaches the same handler";
                findings.errors.push(ConfigError::new(format!("{path}.kind"), problem, hint));
            }
        }
    }
    if function.lacks_http_trigger() && triggers.contains_key(DEFAULT_HTTP_TRIGGER) {
        let path = join("spec.triggers", DEFAULT_HTTP_TRIGGER);
        let problem = "this is the name of the HTTP trigger that is added to every function";
        let hint = "take another name, or write disableDefaultHTTPTrigger: true";
        findings.errors.push(ConfigError::new(path, problem, hint));
    }
}

fn check_trigger(path: &str, key: &str, trigger: &Trigger, findings: &mut Findings) {
    let Findings { errors, warnings } = findings;
    if key.is_empty() || key.len() > NAME_BYTES_MAX || key.chars().any(char::is_control) {
        let problem = format!("a trigger's name has 1 to {NAME_BYTES_MAX} printable characters");
        errors.push(ConfigError::new(path, problem, "write a short name"));
    }
    if let (Some(newer), Some(older)) = (trigger.num_workers, trigger.max_workers)
        && newer != older
    {
        let problem = format!("{older} differs from numWorkers, {newer}");
        errors.push(ConfigError::new(format!("{path}.maxWorkers"), problem, "keep numWorkers"));
    }
    if trigger.retry.backoff > trigger.retry.max {
        let max = crate::format_duration(trigger.retry.max);
        let problem = format!("is longer than retry.max, {max}");
        let path = format!("{path}.retry.backoff");
        errors.push(ConfigError::new(path, problem, format!("write {max} or less")));
    }
    if let Some(batch) = &trigger.batch
        && batch.mode == BatchMode::Disable
        && batch.batch_size != crate::Batch::default().batch_size
    {
        let problem = "has no effect: batch.mode is disable";
        let warning = ConfigError::new(format!("{path}.batch"), problem, "write mode: enable");
        warnings.push(warning);
    }
    if trigger.stream_requests && trigger.batch_rule().is_some() {
        let problem = "cannot go with batch: a batch is made of whole events";
        let path = format!("{path}.streamRequests");
        errors.push(ConfigError::new(path, problem, "leave one of the two out"));
    }
    if let Some(http) = trigger.http() {
        check_http(&format!("{path}.attributes"), http, errors);
    }
}

fn check_http(path: &str, http: &HttpAttributes, errors: &mut Vec<ConfigError>) {
    let Cors { allow_origins, allow_methods, allow_headers, expose_headers, .. } = &http.cors;
    let lists = [
        ("allowOrigins", allow_origins),
        ("allowMethods", allow_methods),
        ("allowHeaders", allow_headers),
        ("exposeHeaders", expose_headers),
    ];
    let single = [("preflightRequestMethod", &http.cors.preflight_request_method)];
    let listed = lists.iter().flat_map(|(field, texts)| {
        texts.iter().enumerate().map(move |(index, text)| (format!("{field}[{index}]"), text))
    });
    let all = listed.chain(single.iter().map(|(field, text)| ((*field).to_string(), *text)));
    for (field, text) in all {
        // These are sent as header values, in lists that are joined by commas.
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',') {
            let problem = format!("{text:?} cannot stand in a header");
            let hint = "write one word of visible ASCII characters, and a list for several";
            errors.push(ConfigError::new(format!("{path}.cors.{field}"), problem, hint));
        }
    }
}

/// Texts that are given to the operating system cannot hold a zero byte.
fn check_paths_are_text(spec: &FunctionSpec, errors: &mut Vec<ConfigError>) {
    let texts = [
        ("spec.handler", &spec.handler),
        ("spec.runtime", &spec.runtime),
        ("spec.build.path", &spec.build.path),
    ];
    for (path, text) in texts {
        if text.chars().any(char::is_control) {
            errors.push(ConfigError::new(path, "holds a control character", ""));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_labels() {
        for name in ["a", "hello", "a-1", &"x".repeat(63)] {
            assert_eq!(check_function_name(name), Ok(()), "{name}");
        }
        for name in ["", "A", "a.b", "a/b", "..", "-a", "a-", "a b", &"x".repeat(64)] {
            assert!(check_function_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn names_are_made_from_file_names() {
        let cases = [
            ("hello", Some("hello")),
            ("My_func.v2", Some("my-func-v2")),
            ("__init__", Some("init")),
            ("é", None),
            ("", None),
        ];
        for (text, name) in cases {
            assert_eq!(function_name_from(text).as_deref(), name, "{text}");
        }
        let made = function_name_from(&"ab_".repeat(40)).unwrap();
        assert_eq!(check_function_name(&made), Ok(()));
    }
}

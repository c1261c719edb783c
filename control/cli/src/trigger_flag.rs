//! `--trigger KIND[,name=NAME][,KEY=VALUE...]`: a trigger as one word.
//!
//! Only cuts the word up; the trigger is then read and checked like one in function.yaml.

use std::collections::BTreeMap;

use serde_json::Value;
use spec::{LoadOptions, Trigger};

use crate::locate::Surroundings;
use crate::output::Mistakes;

/// One trigger flag, cut up: its name and what function.yaml would say under it.
#[derive(Debug, PartialEq)]
pub struct TriggerFlag {
    /// What the user wrote it in: `--trigger`, or its environment twin.
    from: String,
    /// The flag as it was typed.
    text: String,
    pub name: String,
    /// Whether the user chose the name.
    pub is_named: bool,
    /// As YAML: flow style, one line.
    yaml: String,
}

/// Cuts up all flags. Names are given to those that state none: `default-http` for HTTP (the
/// trigger that a function has anyway), the kind for others, numbered where it repeats.
pub fn read(flags: &[String], from: &str, mistakes: &mut Mistakes) -> Vec<TriggerFlag> {
    let fields = fields_of_triggers();
    let mut read: Vec<TriggerFlag> = Vec::new();
    for text in flags {
        let told = |problem: String| format!("{from}: {text:?} {problem}");
        let Some((kind, pairs)) = mistakes.keep(cut(text).map_err(told)) else { continue };
        let stated = pairs.get("name").and_then(|values| values.last()).cloned();
        let is_free = |name: &str| read.iter().all(|flag| flag.name != name);
        if let Some(name) = stated.as_deref().filter(|name| !is_free(name)) {
            mistakes.add(told(format!("has the name {name} of another trigger; name it anew")));
            continue;
        }
        let is_named = stated.is_some();
        let name = stated.unwrap_or_else(|| free_name(&kind, is_free));
        let (from, text) = (from.to_owned(), text.clone());
        match yaml(&kind, &pairs, &fields) {
            Ok(yaml) => read.push(TriggerFlag { from, text, name, is_named, yaml }),
            Err(problem) => mistakes.add(told(problem)),
        }
    }
    read
}

/// Reads the trigger as function.yaml is read; one line a mistake.
pub fn load(
    flag: &TriggerFlag,
    lenient: bool,
    around: &Surroundings,
) -> Result<Trigger, Vec<String>> {
    let lookup = |name: &str| around.var(name).and_then(|value| value.to_str()).map(str::to_owned);
    let options =
        LoadOptions { lenient, partial: true, env: Some(&lookup), ..LoadOptions::default() };
    let text = format!("spec: {{triggers: {{{}: {}}}}}\n", quoted(&flag.name), flag.yaml);
    let told = |problem: String| format!("{}: {:?}: {problem}", flag.from, flag.text);
    match spec::load(&text, &options) {
        Ok(mut loaded) => loaded.function.spec.triggers.remove(&flag.name).ok_or_else(|| {
            // Only leniency leaves a trigger out, and then it says why.
            loaded
                .warnings
                .iter()
                .map(|warning| told(below_trigger(&warning.path, warning)))
                .collect()
        }),
        Err(errors) => {
            let lines = errors.into_iter().map(|mut error| {
                error.line = None;
                told(below_trigger(&error.path, &error))
            });
            Err(lines.collect())
        }
    }
}

/// The message without the part of its path that the user did not write.
fn below_trigger(path: &str, error: &spec::ConfigError) -> String {
    let message = error.to_string();
    let Some(rest) = path.strip_prefix("spec.triggers") else { return message };
    // The trigger's name may itself hold dots, and is then written in brackets and quotes.
    let own = match rest.strip_prefix("[\"") {
        Some(quoted) => quoted.find("\"]").map_or(rest, |end| &quoted[end + 2..]),
        None => rest.trim_start_matches('.').find('.').map_or("", |dot| &rest[dot + 1..]),
    };
    let own = own.trim_start_matches('.');
    let own = own.strip_prefix("attributes.").unwrap_or(own);
    let tail = &message[path.len()..];
    if own.is_empty() { tail.trim_start_matches(": ").to_owned() } else { format!("{own}{tail}") }
}

/// The keys that function.yaml has for triggers of any kind.
fn fields_of_triggers() -> Vec<String> {
    let schema: Value = serde_json::from_str(&spec::schema_json()).unwrap_or_default();
    let fields = schema["$defs"]["Trigger"]["properties"].as_object();
    fields.into_iter().flat_map(|fields| fields.keys().cloned()).collect()
}

type Pairs = BTreeMap<String, Vec<String>>;

fn cut(text: &str) -> Result<(String, Pairs), String> {
    let form = "write KIND,KEY=VALUE, such as cron,interval=5s";
    let mut parts = split_at_commas(text).into_iter();
    let kind = parts.next().unwrap_or_default();
    if kind.is_empty() || kind.contains('=') {
        return Err(format!("does not begin with a kind; {form}"));
    }
    let mut pairs = Pairs::new();
    for part in parts {
        match part.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => {
                pairs.entry(key.trim().to_owned()).or_default().push(value.to_owned());
            }
            _ => return Err(format!("has {part:?} where KEY=VALUE belongs; {form}")),
        }
    }
    Ok((kind, pairs))
}

/// `\,` is a comma inside a value.
fn split_at_commas(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' if characters.next_if_eq(&',').is_some() => push_last(&mut parts, ','),
            ',' => parts.push(String::new()),
            other => push_last(&mut parts, other),
        }
    }
    parts
}

fn push_last(parts: &mut [String], character: char) {
    if let Some(part) = parts.last_mut() {
        part.push(character);
    }
}

fn free_name(kind: &str, is_free: impl Fn(&str) -> bool) -> String {
    let base = if kind == "http" { "default-http" } else { kind };
    let numbered = (2..).map(|number| format!("{base}-{number}"));
    std::iter::once(base.to_owned()).chain(numbered).find(|name| is_free(name)).unwrap_or_default()
}

/// A key that is a field of every trigger stays one, any other is an attribute of the kind; dots
/// reach into a key (`cors.enabled=true`).
fn yaml(kind: &str, pairs: &Pairs, fields: &[String]) -> Result<String, String> {
    let mut tree = Tree::Map(BTreeMap::new());
    tree.put(&["kind"], vec![kind.to_owned()])?;
    for (key, values) in pairs {
        let mut path: Vec<&str> = key.split('.').collect();
        if path.iter().any(|part| part.is_empty()) {
            return Err(format!("has the key {key:?}; write names with a dot between them"));
        }
        if !fields.iter().any(|field| field == path[0]) {
            path.insert(0, "attributes");
        }
        tree.put(&path, values.clone())?;
    }
    Ok(tree.to_yaml())
}

enum Tree {
    Map(BTreeMap<String, Tree>),
    Values(Vec<String>),
}

impl Tree {
    fn put(&mut self, path: &[&str], values: Vec<String>) -> Result<(), String> {
        let clash = || format!("gives {} both a value and keys; give it one", path[0]);
        match (self, path) {
            (Self::Values(_), _) => Err(clash()),
            (Self::Map(map), [last]) => {
                match map.insert((*last).to_owned(), Self::Values(values)) {
                    Some(_) => Err(clash()),
                    None => Ok(()),
                }
            }
            (Self::Map(map), [first, rest @ ..]) => map
                .entry((*first).to_owned())
                .or_insert_with(|| Self::Map(BTreeMap::new()))
                .put(rest, values),
            (Self::Map(_), []) => Ok(()),
        }
    }

    fn to_yaml(&self) -> String {
        match self {
            Self::Map(map) => {
                let pairs =
                    map.iter().map(|(key, tree)| format!("{}: {}", quoted(key), tree.to_yaml()));
                format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
            }
            Self::Values(values) => match &values[..] {
                [value] => scalar(value),
                values => {
                    let list: Vec<_> = values.iter().map(|value| scalar(value)).collect();
                    format!("[{}]", list.join(", "))
                }
            },
        }
    }
}

/// Plain where that is safe, so that `5` and `true` mean what they mean in function.yaml.
fn scalar(value: &str) -> String {
    let is_plain = value.starts_with(|c: char| c.is_ascii_alphanumeric())
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-+/".contains(&byte));
    let is_number = value.parse::<f64>().is_ok();
    if is_plain || is_number { value.to_owned() } else { quoted(value) }
}

/// A JSON string is a YAML string.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn told(flags: &[&str]) -> String {
        let flags: Vec<_> = flags.iter().map(|&flag| flag.to_owned()).collect();
        let mut mistakes = Mistakes::default();
        let read = read(&flags, "--trigger", &mut mistakes);
        let read = read.into_iter().map(|flag| format!("{}: {}", flag.name, flag.yaml));
        read.chain(mistakes.into_failure().lines).collect::<Vec<_>>().join("\n")
    }

    fn loaded(flag: &str) -> Result<Trigger, String> {
        let around = Surroundings::made_up("/".as_ref(), "/".as_ref(), &[("HOST", "h:1")]);
        let flags = read(&[flag.to_owned()], "--trigger", &mut Mistakes::default());
        load(&flags[0], false, &around).map_err(|lines| lines.join("\n"))
    }

    #[test]
    fn a_flag_is_read_as_function_yaml_is() {
        let trigger =
            loaded("kafka-cluster,url=${HOST},numWorkers=2,topics=a,maxAttempts=5").unwrap();
        assert_eq!(trigger.url, "h:1");
        assert_eq!(trigger.max_attempts, 5);
        let told = [
            "kafka,x=1",
            "http,port=99999,numWorkers=none,cors.enabled=maybe",
            "http,name=a.b,numWorkers=0",
            "http,numWorkers.x=1",
        ]
        .map(|flag| loaded(flag).unwrap_err());
        expect![[r#"
            --trigger: "kafka,x=1": kind: "kafka" is not known; did you mean kafka-cluster?
            --trigger: "http,port=99999,numWorkers=none,cors.enabled=maybe": cors.enabled: "maybe" is text; write true or false
            --trigger: "http,port=99999,numWorkers=none,cors.enabled=maybe": port: 99999 is out of range; write a whole number from 0 to 65535
            --trigger: "http,port=99999,numWorkers=none,cors.enabled=maybe": numWorkers: "none" is not allowed here; write a whole number from 1 to 100000, or auto
            --trigger: "http,name=a.b,numWorkers=0": numWorkers: 0 is not allowed here; write a whole number from 1 to 100000, or auto
            --trigger: "http,numWorkers.x=1": numWorkers: a map is not allowed here; write a whole number from 1 to 100000, or auto"#]].assert_eq(&told.join("\n"));
    }

    #[test]
    fn flags_become_what_function_yaml_would_say() {
        expect![[r#"
            default-http: {"kind": http}
            cron: {"attributes": {"schedule": "*/5 * * * *"}, "kind": cron}
            cron-2: {"attributes": {"interval": 1s}, "kind": cron}
            tick: {"attributes": {"event": {"body": "hi, there"}}, "kind": cron, "name": tick, "numWorkers": 2}
            kafka-cluster: {"attributes": {"topics": [a, b]}, "batch": {"mode": enable}, "kind": kafka-cluster, "url": "h:9092"}
            api: {"attributes": {"cors": {"allowOrigins": "https://a.example", "enabled": true}}, "kind": http, "name": api}"#]].assert_eq(&told(&[
            "http",
            "cron,schedule=*/5 * * * *",
            "cron,interval=1s",
            "cron,name=tick,numWorkers=2,attributes.event.body=hi\\, there",
            "kafka-cluster,topics=a,topics=b,url=h:9092,batch.mode=enable",
            "http,name=api,cors.enabled=true,cors.allowOrigins=https://a.example",
        ]));
    }

    #[test]
    fn flags_that_cannot_be_cut_up_are_told() {
        expect![[r#"
            same: {"kind": cron, "name": same}
            --trigger: "" does not begin with a kind; write KIND,KEY=VALUE, such as cron,interval=5s
            --trigger: "schedule=1" does not begin with a kind; write KIND,KEY=VALUE, such as cron,interval=5s
            --trigger: "cron,interval" has "interval" where KEY=VALUE belongs; write KIND,KEY=VALUE, such as cron,interval=5s
            --trigger: "cron,=5" has "=5" where KEY=VALUE belongs; write KIND,KEY=VALUE, such as cron,interval=5s
            --trigger: "cron,a..b=1" has the key "a..b"; write names with a dot between them
            --trigger: "cron,x=1,x.y=2" gives y both a value and keys; give it one
            --trigger: "http,name=same" has the name same of another trigger; name it anew"#]].assert_eq(&told(&[
            "",
            "schedule=1",
            "cron,interval",
            "cron,=5",
            "cron,a..b=1",
            "cron,x=1,x.y=2",
            "cron,name=same",
            "http,name=same",
        ]));
    }
}

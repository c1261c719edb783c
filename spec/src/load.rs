//! Text to [`Function`]: every mistake of the file at once, or the function and its warnings.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::check::check;
use crate::error::{ConfigError, Findings};
use crate::expand::expand_triggers;
use crate::function::Function;
use crate::limits::ERRORS_MAX;
use crate::rules;
use crate::tree::parse;
use crate::trigger::TriggerKind;

/// Gives the value of an environment variable, or `None` where it is not set.
pub type EnvLookup<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// How a file is read. The default is the strictest that needs to know nothing of the machine.
#[derive(Clone, Copy, Default)]
pub struct LoadOptions<'a> {
    /// Unknown keys and trigger kinds are warnings; what they stand on is left out.
    pub lenient: bool,
    /// `apiVersion`, `kind` and `metadata.name` may be missing: the text is the configuration
    /// inside a source file, or a name was given beside it.
    pub partial: bool,
    /// The trigger kinds of this processor; `None` for programs that run no triggers.
    pub built_kinds: Option<&'a [TriggerKind]>,
    /// The languages there are; `None` checks none.
    pub runtimes: Option<&'a [&'a str]>,
    /// Where `${NAME}` comes from; `None` leaves such texts as they are, for a text that was
    /// expanded before ([`to_json`]).
    pub env: Option<&'a EnvLookup<'a>>,
    /// Fields that are correct but have no effect in this program, as paths in which `*` stands
    /// for any name: `spec.triggers.*.batch`. Each one that is given becomes a warning.
    pub without_effect: &'a [&'a str],
}

/// A function that was read, and what is worth saying about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    pub function: Function,
    pub warnings: Vec<ConfigError>,
}

/// Reads a function.yaml (YAML or JSON).
///
/// # Errors
/// Every mistake in it, in the order of its lines.
pub fn load(text: &str, options: &LoadOptions<'_>) -> Result<Loaded, Vec<ConfigError>> {
    let mut root = parse(text).map_err(|error| vec![error])?;
    let mut findings = Findings::default();
    if let Some(lookup) = options.env {
        expand_triggers(&mut root, lookup, &mut findings);
    }
    let checked = check(&root, options.lenient, options.partial);
    findings.errors.extend(checked.findings.errors);
    findings.warnings.extend(checked.findings.warnings);
    warn_without_effect(&checked.value, options.without_effect, &mut findings);

    let mut function: Function = match serde_json::from_value(Value::Object(checked.value)) {
        Ok(function) => function,
        // What the schema let through is wrong in a way that only the types know.
        Err(error) if findings.errors.is_empty() => {
            return Err(vec![ConfigError::new("", error.to_string(), "")]);
        }
        Err(_) => Function::default(),
    };
    rules::apply(&function, options, &mut findings);
    leave_unbuilt_out(&mut function, options, &mut findings);
    for trigger in function.spec.triggers.values_mut() {
        trigger.num_workers = trigger.num_workers.or(trigger.max_workers.take());
        trigger.max_workers = None;
    }

    let Findings { mut errors, mut warnings } = findings;
    place(&mut warnings, &checked.lines);
    if errors.is_empty() {
        return Ok(Loaded { function, warnings });
    }
    place(&mut errors, &checked.lines);
    if errors.len() > ERRORS_MAX {
        let more = errors.len() - ERRORS_MAX;
        errors.truncate(ERRORS_MAX);
        errors.push(ConfigError::new("", format!("and {more} more mistakes"), ""));
    }
    Err(errors)
}

/// The function as JSON that [`load`] gives back exactly, with `env: None`.
#[must_use]
pub fn to_json(function: &Function) -> String {
    // Only a map with keys that are no text could fail, and the types have none.
    serde_json::to_string(function).unwrap_or_default()
}

fn leave_unbuilt_out(function: &mut Function, options: &LoadOptions<'_>, findings: &mut Findings) {
    let Some(built) = options.built_kinds else { return };
    let found = rules::check_built_kinds(function, built);
    if !options.lenient {
        findings.errors.extend(found);
        return;
    }
    findings.warnings.extend(found.into_iter().map(|mut warning| {
        warning.problem.push_str(", the trigger is left out");
        warning
    }));
    function.spec.triggers.retain(|_, trigger| trigger.disabled || built.contains(&trigger.kind));
}

fn warn_without_effect(
    checked: &serde_json::Map<String, Value>,
    patterns: &[&str],
    findings: &mut Findings,
) {
    for pattern in patterns {
        let mut found: Vec<(String, Option<&Value>)> = Vec::new();
        for (depth, step) in pattern.split('.').enumerate() {
            let parents: Vec<(String, &serde_json::Map<String, Value>)> = match depth {
                0 => vec![(String::new(), checked)],
                _ => found
                    .into_iter()
                    .filter_map(|(path, value)| Some((path, value?.as_object()?)))
                    .collect(),
            };
            found =
                parents.into_iter().flat_map(|(path, map)| children(&path, map, step)).collect();
        }
        for (path, _) in found {
            let problem = "is accepted, but has no effect in this version";
            findings.warnings.push(ConfigError::new(path, problem, ""));
        }
    }
}

fn children<'a>(
    path: &str,
    map: &'a serde_json::Map<String, Value>,
    step: &str,
) -> Vec<(String, Option<&'a Value>)> {
    let below = |key: &str| match path {
        "" => key.to_string(),
        path => crate::path::join(path, key),
    };
    map.iter()
        .filter(|(key, _)| step == "*" || *key == step)
        .map(|(key, value)| (below(key), Some(value)))
        .collect()
}

/// Gives each finding the line of its field, or of the nearest field above it, and sorts by line.
fn place(found: &mut [ConfigError], lines: &BTreeMap<String, u32>) {
    for error in found.iter_mut() {
        let mut path = error.path.as_str();
        while error.line.is_none() && !path.is_empty() {
            error.line = lines.get(path).copied();
            path = path.rfind(['.', '[']).map_or("", |end| &path[..end]);
        }
    }
    found.sort_by_key(|error| error.line.unwrap_or(u32::MAX));
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::Attributes;

    fn lookup(name: &str) -> Option<String> {
        match name {
            "BROKER" => Some("kafka:9092".into()),
            "PORT" => Some("9000".into()),
            "WORD" => Some("sesame".into()),
            _ => None,
        }
    }

    fn options<'a>() -> LoadOptions<'a> {
        LoadOptions { env: Some(&lookup), ..LoadOptions::default() }
    }

    /// All that is said about a text, one line each.
    fn said(text: &str, options: &LoadOptions<'_>) -> String {
        let (loaded, found) = match load(text, options) {
            Ok(loaded) => ("ok\n", loaded.warnings),
            Err(errors) => ("", errors),
        };
        found.iter().fold(loaded.to_string(), |text, error| format!("{text}{error}\n"))
    }

    fn check(text: &str, expected: &Expect) {
        expected.assert_eq(&said(text, &options()));
    }

    /// The same for a `spec` under a head that is right; the spec starts in line 5.
    fn check_spec(spec: &str, expected: &Expect) {
        check(&with_head(spec), expected);
    }

    fn with_head(spec: &str) -> String {
        format!("apiVersion: nuclio.io/v1\nkind: Function\nmetadata: {{name: f}}\nspec:\n{spec}")
    }

    fn function(text: &str) -> Function {
        load(text, &options()).unwrap().function
    }

    #[test]
    fn head() {
        check(
            "",
            &expect![[r#"
            the file is empty; write at least apiVersion, kind and metadata.name
        "#]],
        );
        check(
            "# only a comment\n",
            &expect![[r#"
            the file is empty; write at least apiVersion, kind and metadata.name
        "#]],
        );
        check(
            "- a\n- b\n",
            &expect![[r#"
            the file holds a list, not a function; write keys: apiVersion, kind, metadata, spec
        "#]],
        );
        check(
            "hello",
            &expect![[r#"
            the file holds text, not a function; write keys: apiVersion, kind, metadata, spec
        "#]],
        );
        check(
            "spec: {}\n",
            &expect![[r#"
                apiVersion: is missing; write apiVersion: nuclio.io/v1
                kind: is missing; write kind: Function
                metadata.name: is missing; write text such as hello
            "#]],
        );
        check(
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name:\n",
            &expect![[r#"
                apiVersion: "v1" is not known; write one of nuclio.io/v1, nuclio.io/v1beta1 (line 1)
                kind: "Pod" is not known; write one of Function, NuclioFunction (line 2)
                metadata.name: is missing; write text such as hello (line 4)
            "#]],
        );
        check(
            "apiVersion: nuclio.io/v1beta1\nkind: NuclioFunction\nmetadata: {name: f}",
            &expect![[r#"
                ok
            "#]],
        );
        check(
            "apiVersion: nuclio.io/v1\nkind: function\nmetadata: f\n",
            &expect![[r#"
            kind: "function" is not known; did you mean Function? (line 2)
            metadata: "f" is text; write keys with values, such as name: value (line 3)
        "#]],
        );
        check(
            "apiVersion: 1\nkind: true\nmetadata: []\nspec: 5\n",
            &expect![[r#"
            apiVersion: 1 is not known; write one of nuclio.io/v1, nuclio.io/v1beta1 (line 1)
            kind: true is not known; write one of Function, NuclioFunction (line 2)
            metadata: is a list; write keys with values, such as name: value (line 3)
            spec: 5 is a number; write keys with values, such as name: value (line 4)
        "#]],
        );
    }

    #[test]
    fn a_partial_file_needs_no_head() {
        let options = LoadOptions { partial: true, ..options() };
        expect![[r#"
            ok
        "#]]
        .assert_eq(&said("spec: {handler: h}\n", &options));
        expect![[r#"
            ok
        "#]]
        .assert_eq(&said("metadata: {labels: {a: 1}}\n", &options));
        expect![[r#"
            kind: "Job" is not known; write one of Function, NuclioFunction (line 1)
        "#]]
        .assert_eq(&said("kind: Job\n", &options));
        let text = "metadata: {labels: {a: 1}}\n";
        assert_eq!(load(text, &options).unwrap().function.metadata.labels["a"], "1");
    }

    #[test]
    fn names() {
        for name in ["Hello_World", "-a-", "../../etc", "'é'", "aa..b", "''"] {
            let text =
                format!("apiVersion: nuclio.io/v1\nkind: Function\nmetadata: {{name: {name}}}\n");
            let said = said(&text, &options());
            assert!(said.starts_with("metadata.name: "), "{name}: {said}");
        }
        let long = "a".repeat(64);
        check(
            &format!(
                "apiVersion: nuclio.io/v1\nkind: Function\nmetadata:\n  name: {long}\n  namespace: My_team\n"
            ),
            &expect![[r#"
                metadata.name: has 64 characters, 63 are possible; write aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa (line 4)
                metadata.namespace: "My_team" has 'M'; lower-case letters, digits and - are possible; write my-team (line 5)
            "#]],
        );
    }

    #[test]
    fn unknown_keys() {
        check_spec(
            "  handlr: a\n  numWorkers: 2\n  metadata: {}\n  zzz: 1\n",
            &expect![[r#"
            spec.handlr: unknown key; did you mean handler? (line 5)
            spec.numWorkers: unknown key; it belongs in spec.triggers.<name> (line 6)
            spec.metadata: unknown key; it belongs at the top of the file (line 7)
            spec.zzz: unknown key (line 8)
        "#]],
        );
        check_spec(
            "  triggers:\n    web:\n      kind: http\n      port: 80\n      atributes: {}\n",
            &expect![[r#"
                spec.triggers.web.port: unknown key; it belongs in spec.triggers.<name>.attributes (line 8)
                spec.triggers.web.atributes: unknown key; did you mean attributes? (line 9)
            "#]],
        );
        check_spec(
            "  triggers:\n    web:\n      kind: http\n      attributes:\n        maxBodySize: 5\n        cors: {allowOrigin: ['*']}\n",
            &expect![[r#"
                spec.triggers.web.attributes.maxBodySize: unknown key; known here: cors, disablePortPublishing, ingresses, maxRequestBodySize, mode, port, readBufferSize, reduceMemoryUsage, serviceType (line 9)
                spec.triggers.web.attributes.cors.allowOrigin: unknown key; did you mean allowOrigins? (line 10)
            "#]],
        );
        check_spec(
            "  env:\n  - name: A\n    val: b\n  - nam: B\n",
            &expect![[r#"
                spec.env[0].val: unknown key; known here: name, value, valueFrom (line 7)
                spec.env[1].nam: unknown key; did you mean name? (line 8)
                spec.env[1].name: is missing; write text such as LOG_LEVEL (line 8)
            "#]],
        );
        check(
            "apiversion: nuclio.io/v1\nkind: Function\nmetadata: {name: f, label: {}}\ntriggers: {}\n",
            &expect![[r#"
                apiversion: unknown key; did you mean apiVersion? (line 1)
                metadata.label: unknown key; did you mean labels? (line 3)
                triggers: unknown key; it belongs in spec (line 4)
                apiVersion: is missing; write apiVersion: nuclio.io/v1
            "#]],
        );
    }

    #[test]
    fn lenient_turns_them_into_warnings() {
        let text = with_head(
            "  handlr: a\n  triggers:\n    q: {kind: sqs, x: 1}\n    k: {kind: kafka-cluster}\n    w: {kind: http, x: 1}\n",
        );
        let kinds = [TriggerKind::Http];
        let options = LoadOptions { lenient: true, built_kinds: Some(&kinds), ..options() };
        expect![[r#"
            ok
            spec.handlr: unknown key; did you mean handler? (line 5)
            spec.triggers.q.kind: "sqs" is not known, the trigger is left out; write one of http, cron, kafka-cluster, rabbit-mq, nats, mqtt, kinesis, eventhub, pubsub, v3ioStream, v3ioItemPoller, iotCoreMqtt, kickstart (line 7)
            spec.triggers.q.x: unknown key (line 7)
            spec.triggers.k.kind: "kafka-cluster" is not built into this processor, the trigger is left out; built in: http (line 8)
            spec.triggers.w.x: unknown key (line 9)
        "#]].assert_eq(&said(&text, &options));
        let loaded = load(&text, &options).unwrap();
        assert_eq!(loaded.function.spec.triggers.keys().collect::<Vec<_>>(), ["w"]);
    }

    #[test]
    fn kinds() {
        check_spec(
            "  triggers:\n    a: {kind: kafka}\n    b: {kind: rabbitmq}\n    c: {kind: sqs}\n    d: {}\n    e:\n    f: [http]\n    g: {kind: HTTP}\n",
            &expect![[r#"
                spec.triggers.a.kind: "kafka" is not known; did you mean kafka-cluster? (line 6)
                spec.triggers.b.kind: "rabbitmq" is not known; did you mean rabbit-mq? (line 7)
                spec.triggers.c.kind: "sqs" is not known; write one of http, cron, kafka-cluster, rabbit-mq, nats, mqtt, kinesis, eventhub, pubsub, v3ioStream, v3ioItemPoller, iotCoreMqtt, kickstart (line 8)
                spec.triggers.d.kind: is missing; write one of http, cron, kafka-cluster, rabbit-mq, nats, mqtt, kinesis, eventhub, pubsub, v3ioStream, v3ioItemPoller, iotCoreMqtt, kickstart (line 9)
                spec.triggers.e: is empty; write keys with values, such as kind: value (line 10)
                spec.triggers.f: is a list; write keys with values, such as kind: value (line 11)
                spec.triggers.g.kind: "HTTP" is not known; did you mean http? (line 12)
            "#]],
        );
        let text = with_head(
            "  triggers:\n    x: {kind: kafka-cluster}\n    off: {kind: cron, disabled: yes}\n    w: {kind: http}\n",
        );
        let kinds = [TriggerKind::Http, TriggerKind::Cron];
        let built = LoadOptions { built_kinds: Some(&kinds[..1]), ..options() };
        expect![[r#"
            spec.triggers.x.kind: "kafka-cluster" is not built into this processor; built in: http (line 6)
        "#]].assert_eq(&said(&text, &built));
        expect![[r#"
            ok
        "#]]
        .assert_eq(&said(&text, &options()));
    }

    #[test]
    fn runtimes() {
        let here = ["python", "shell"];
        let options = LoadOptions { runtimes: Some(&here), ..options() };
        for (runtime, expected) in [
            (
                "python",
                expect![[r#"
                ok
            "#]],
            ),
            (
                "python:3.13",
                expect![[r#"
                ok
            "#]],
            ),
            (
                "pyton:3.13",
                expect![[r#"
                spec.runtime: "pyton" is not a known language; did you mean python? (line 5)
            "#]],
            ),
            (
                "nodejs",
                expect![[r#"
                spec.runtime: the language nodejs is not installed here; installed: python, shell (line 5)
            "#]],
            ),
            (
                "cobol",
                expect![[r#"
                spec.runtime: "cobol" is not a known language; installed: python, shell (line 5)
            "#]],
            ),
        ] {
            expected.assert_eq(&said(&with_head(&format!("  runtime: {runtime}\n")), &options));
        }
    }

    #[test]
    fn wrong_types() {
        check_spec(
            "  handler: [a]\n  env: {A: b}\n  triggers: []\n  disable: maybe\n  eventTimeout: 30\n  build: x\n  minReplicas: '2'\n  replicas: 1.5\n",
            &expect![[r#"
                spec.handler: is a list; write text (line 5)
                spec.env: is a map; write a list, each entry on a line that starts with - name: (line 6)
                spec.triggers: is a list; write keys with values, such as name: value (line 7)
                spec.disable: "maybe" is text; write true or false (line 8)
                spec.eventTimeout: 30 has no unit after 30; write a duration such as 30s, 1m30s or 250ms (line 9)
                spec.build: "x" is text; write keys with values, such as name: value (line 10)
                spec.minReplicas: "2" is text; write 2 without quotes (line 11)
                spec.replicas: 1.5 is not a whole number; write a whole number, 0 or more (line 12)
            "#]],
        );
        check_spec(
            "  env: [A=b]\n  loggerSinks: [{level: warning}, {level: debug}]\n  resources: x\n  volumes: {}\n",
            &expect![[r#"
                spec.env[0]: "A=b" is text; write keys with values, such as name: value (line 5)
                spec.loggerSinks[0].level: "warning" is not known; did you mean warn? (line 6)
                spec.resources: "x" is text; write keys with values, such as name: value (line 7)
                spec.volumes: is a map; write a list, each entry on a line that starts with - (line 8)
            "#]],
        );
        check_spec(
            "  triggers:\n    w:\n      kind: http\n      numWorkers: four\n      disabled: 'true'\n      maxInflight: 0x1F\n      batch: true\n      attributes: 5\n      url: {a: b}\n",
            &expect![[r#"
                spec.triggers.w.numWorkers: "four" is not allowed here; write a whole number from 1 to 100000, or auto (line 8)
                spec.triggers.w.disabled: "true" is text; write true without quotes (line 9)
                spec.triggers.w.batch: true is a boolean; write keys with values, such as name: value (line 11)
                spec.triggers.w.attributes: 5 is a number; write keys with values, such as name: value (line 12)
                spec.triggers.w.url: is a map; write text (line 13)
            "#]],
        );
        check_spec(
            "  env:\n  -\n  - name: A\n    value: [1]\n  - value: b\n",
            &expect![[r#"
                spec.env[0]: is empty; write keys with values, such as name: value (line 6)
                spec.env[1].value: is a list; write text (line 8)
                spec.env[2].name: is missing; write text such as LOG_LEVEL (line 9)
            "#]],
        );
    }

    #[test]
    fn ranges_and_durations() {
        check_spec(
            "  triggers:\n    w:\n      kind: http\n      numWorkers: 0\n      maxInflight: 8193\n      maxAttempts: -1\n      workerAvailabilityTimeoutMilliseconds: -5\n      batch: {mode: enable, batchSize: 5000, timeout: soon}\n      attributes: {port: 70000, maxRequestBodySize: 0}\n",
            &expect![[r#"
                spec.triggers.w.numWorkers: 0 is not allowed here; write a whole number from 1 to 100000, or auto (line 8)
                spec.triggers.w.maxInflight: 8193 is out of range; write a whole number from 1 to 8192 (line 9)
                spec.triggers.w.maxAttempts: -1 is out of range; write a whole number from 1 to 1000 (line 10)
                spec.triggers.w.workerAvailabilityTimeoutMilliseconds: -5 is out of range; write a whole number, 0 or more (line 11)
                spec.triggers.w.batch.batchSize: 5000 is out of range; write a whole number from 1 to 4096 (line 12)
                spec.triggers.w.batch.timeout: "soon" has the unknown unit "soon"; write a duration such as 30s, 1m30s or 250ms (line 12)
                spec.triggers.w.attributes.port: 70000 is out of range; write a whole number from 0 to 65535 (line 13)
                spec.triggers.w.attributes.maxRequestBodySize: 0 is out of range; write a whole number from 1 to 2147483648 (line 13)
            "#]],
        );
        check_spec(
            "  eventTimeout: 5\n  recycle: {age: 1d, memory: 64MB, events: 0}\n  limits: {memory: -1, pending: 010}\n",
            &expect![[r#"
                spec.eventTimeout: 5 has no unit after 5; write a duration such as 30s, 1m30s or 250ms (line 5)
                spec.recycle.age: "1d" has the unknown unit "d"; write a duration such as 30s, 1m30s or 250ms (line 6)
                spec.recycle.memory: "64MB" has the unknown unit "MB"; write a size such as 64Mi, 1Gi or a number of bytes (line 6)
                spec.recycle.events: 0 is out of range; write a whole number, 1 or more (line 6)
                spec.limits.memory: -1 has the unknown unit "-1"; write a size such as 64Mi, 1Gi or a number of bytes (line 7)
                spec.limits.pending: 010 may be meant as octal or as decimal; write it without the leading 0 (line 7)
            "#]],
        );
        check_spec(
            "  eventTimeout: 0s\n  minReplicas: 3\n  maxReplicas: 2\n",
            &expect![[r#"
            spec.eventTimeout: no event can end in 0s; leave it out for no limit (line 5)
            spec.minReplicas: 3 is more than maxReplicas, 2; write 2 or less (line 6)
        "#]],
        );
        check_spec(
            "  eventTimeout: -5s\n  replicas: 99999999999999999999\n",
            &expect![[r#"
                spec.eventTimeout: "-5s" is negative; write a duration such as 30s, 1m30s or 250ms (line 5)
                spec.replicas: 99999999999999999999 is out of range; write a whole number, 0 or more (line 6)
            "#]],
        );
        check_spec(
            "  triggers:\n    w: {kind: http, numWorkers: 100001, retry: {backoff: 5s, max: 1s}}\n",
            &expect![[r#"
                spec.triggers.w.numWorkers: 100001 is not allowed here; write a whole number from 1 to 100000, or auto (line 6)
                spec.triggers.w.retry.backoff: is longer than retry.max, 1s; write 1s or less (line 6)
            "#]],
        );
    }

    #[test]
    fn duplicates() {
        check_spec(
            "  handler: a\n  handler: b\n  triggers:\n    w: {kind: http}\n    w: {kind: cron}\n  nodeSelector: {a: 1, a: 2}\n",
            &expect![[r#"
                spec.handler: is given twice, before in line 5; keep one (line 6)
                spec.triggers.w: is given twice, before in line 8; keep one (line 9)
                spec.nodeSelector.a: is given twice, before in line 10; keep one (line 10)
            "#]],
        );
        check(
            "{\"apiVersion\": \"nuclio.io/v1\", \"kind\": \"Function\", \"kind\": \"Function\", \"metadata\": {\"name\": \"f\"}}",
            &expect![[r#"
                kind: is given twice; keep one
            "#]],
        );
    }

    #[test]
    fn triggers_together() {
        check_spec(
            "  triggers:\n    a: {kind: http}\n    b: {kind: http}\n    c: {kind: http, disabled: true}\n",
            &expect![[r#"
                spec.triggers.b.kind: a second HTTP trigger; a is the first; keep one: every path and method reaches the same handler (line 7)
            "#]],
        );
        check_spec(
            "  triggers:\n    default-http: {kind: cron}\n",
            &expect![[r#"
            spec.triggers.default-http: this is the name of the HTTP trigger that is added to every function; take another name, or write disableDefaultHTTPTrigger: true (line 6)
        "#]],
        );
        check_spec(
            "  triggers:\n    a: {kind: http, numWorkers: 2, maxWorkers: 3}\n    b: {kind: cron, maxWorkers: 3}\n    c: {kind: nats, batch: {batchSize: 20}}\n",
            &expect![[r#"
                spec.triggers.a.maxWorkers: 3 differs from numWorkers, 2; keep numWorkers (line 6)
            "#]],
        );
        check_spec(
            "  triggers:\n    a: {kind: http, streamRequests: true, batch: {mode: enable}}\n",
            &expect![[r#"
                spec.triggers.a.streamRequests: cannot go with batch: a batch is made of whole events; leave one of the two out (line 6)
            "#]],
        );
        check_spec(
            "  triggers:\n    a: {kind: http, workerAllocatorName: p}\n    b: {kind: cron, workerAllocatorName: p, maxInflight: 5, workerTerminationTimeout: 5s}\n    c: {kind: nats, workerAllocatorName: a}\n",
            &expect![[r#"
                spec.triggers.b.maxInflight: 5 differs from 64 of trigger a, which shares the workers of p; write the same in both, or give each its own pool (line 7)
                spec.triggers.b.workerTerminationTimeout: 5s differs from 10s of trigger a, which shares the workers of p; write the same in both, or give each its own pool (line 7)
            "#]],
        );
    }

    #[test]
    fn environment() {
        check_spec(
            "  triggers:\n    k.x:\n      kind: kafka-cluster\n      url: ${NOPE}\n      password: ${WORD}\n      attributes:\n        brokers: ['${BROKER}', '${ALSO_NOPE}']\n        sasl: {user: '${oops'}\n",
            &expect![[r#"
                spec.triggers["k.x"].url: the environment variable NOPE is not set; set NOPE where the function is started (line 8)
                spec.triggers["k.x"].attributes.brokers[1]: the environment variable ALSO_NOPE is not set; set ALSO_NOPE where the function is started (line 11)
                spec.triggers["k.x"].attributes.sasl.user: has ${ without }; write $${ for a plain ${ (line 12)
            "#]],
        );
        check_spec(
            "  triggers:\n    w: {kind: http, attributes: {port: '${WORD}'}}\n",
            &expect![[r#"
                spec.triggers.w.attributes.port: what the environment variable gives is text; write a whole number from 0 to 65535 (line 6)
            "#]],
        );
        let read = function(&with_head(
            "  handler: ${BROKER}\n  triggers:\n    k: {kind: kafka-cluster, url: 'x-${WORD}', password: '$${WORD}', attributes: {brokers: ['${BROKER}']}}\n    w: {kind: http, attributes: {port: '${PORT}'}}\n",
        ));
        assert_eq!(read.spec.handler, "${BROKER}");
        let trigger = &read.spec.triggers["k"];
        assert_eq!((trigger.url.as_str(), trigger.password.0.as_str()), ("x-sesame", "${WORD}"));
        let Attributes::Kept(kept) = &trigger.attributes else { panic!("{trigger:?}") };
        assert_eq!(kept["brokers"][0], "kafka:9092");
        assert_eq!(read.spec.triggers["w"].http().and_then(|http| http.port), Some(9000));
        let text = to_json(&read);
        let again = load(&text, &LoadOptions::default()).unwrap().function;
        assert_eq!(again, read);
    }

    #[test]
    fn secrets_are_not_shown() {
        let text = with_head(
            "  triggers:\n    k: {kind: nats, password: [hunter2], secret: {a: hunter2}}\n",
        );
        assert!(!said(&text, &options()).contains("hunter2"));
        let read = function(&with_head("  triggers:\n    k: {kind: nats, password: hunter2}\n"));
        assert!(!format!("{read:?}").contains("hunter2"));
    }

    #[test]
    fn header_values_cannot_be_smuggled() {
        check_spec(
            "  triggers:\n    w:\n      kind: http\n      attributes:\n        cors: {allowOrigins: [\"a\\r\\nSet-Cookie: x\", ''], preflightRequestMethod: 'A B'}\n",
            &expect![[r#"
                spec.triggers.w.attributes.cors.allowOrigins[0]: "a\r\nSet-Cookie: x" cannot stand in a header; write one word of visible ASCII characters, and a list for several (line 9)
                spec.triggers.w.attributes.cors.allowOrigins[1]: "" cannot stand in a header; write one word of visible ASCII characters, and a list for several (line 9)
                spec.triggers.w.attributes.cors.preflightRequestMethod: "A B" cannot stand in a header; write one word of visible ASCII characters, and a list for several (line 9)
            "#]],
        );
    }

    #[test]
    fn environment_variables_of_workers() {
        check_spec(
            "  env:\n  - {name: A, value: 1.10}\n  - {name: A, value: on}\n  - {name: 'B=C'}\n  - {name: ''}\n  - {name: Z, value: \"a\\0b\"}\n",
            &expect![[r#"
                spec.env[2].name: "B=C" cannot be the name of a variable; write a name without =, such as LOG_LEVEL (line 8)
                spec.env[3].name: "" cannot be the name of a variable; write a name without =, such as LOG_LEVEL (line 9)
                spec.env[4].value: holds a zero byte, which no variable can (line 10)
            "#]],
        );
        let read = function(&with_head(
            "  env:\n  - {name: A, value: 1.10}\n  - {name: B, value: on}\n  - {name: C, value: 0644}\n  - {name: D}\n  - {name: E, value: True}\n  - {name: F, value: 2024-01-01}\n",
        ));
        let values: Vec<&str> = read.spec.env.iter().map(|one| one.value.as_str()).collect();
        assert_eq!(values, ["1.10", "on", "0644", "", "True", "2024-01-01"]);
    }

    #[test]
    fn fields_without_effect_are_named() {
        let patterns = ["spec.triggers.*.batch", "spec.recycle", "spec.limits.memory"];
        let options = LoadOptions { without_effect: &patterns, ..options() };
        let text = with_head(
            "  recycle: {events: 5}\n  limits: {pending: 5}\n  triggers:\n    w: {kind: http, batch: {mode: enable}}\n",
        );
        expect![[r#"
            ok
            spec.recycle: is accepted, but has no effect in this version (line 5)
            spec.triggers.w.batch: is accepted, but has no effect in this version (line 8)
        "#]]
        .assert_eq(&said(&text, &options));
    }

    #[test]
    fn many_mistakes_at_once() {
        check(
            "apiVersion: nuclio.io/v2\nkind: Function\nmetadata:\n  name: My Function\n  lables: {}\nspec:\n  runtime: python\n  eventTimeout: 5 minutes\n  replicas: two\n  triggers:\n    web:\n      kind: http\n      numWorkers: many\n      attributes:\n        port: 99999\n        maxRequestBodySize: 4Mi\n    orders:\n      kind: kafka\n      attributes: {brokers: ['${NOT_SET}']}\n    web:\n      kind: http\n",
            &expect![[r#"
                apiVersion: "nuclio.io/v2" is not known; did you mean nuclio.io/v1? (line 1)
                metadata.name: "My Function" has 'M'; lower-case letters, digits and - are possible; write my-function (line 4)
                metadata.lables: unknown key; did you mean labels? (line 5)
                spec.eventTimeout: "5 minutes" has the unknown unit " minutes"; write a duration such as 30s, 1m30s or 250ms (line 8)
                spec.replicas: "two" is text; write a whole number, 0 or more (line 9)
                spec.triggers.web.numWorkers: "many" is not allowed here; write a whole number from 1 to 100000, or auto (line 13)
                spec.triggers.web.attributes.port: 99999 is out of range; write a whole number from 0 to 65535 (line 15)
                spec.triggers.web.attributes.maxRequestBodySize: "4Mi" is text; write a whole number from 1 to 2147483648 (line 16)
                spec.triggers.orders.kind: "kafka" is not known; did you mean kafka-cluster? (line 18)
                spec.triggers.orders.attributes.brokers[0]: the environment variable NOT_SET is not set; set NOT_SET where the function is started (line 19)
                spec.triggers.web: is given twice, before in line 11; keep one (line 20)
            "#]],
        );
    }

    #[test]
    fn a_flood_of_mistakes_is_cut() {
        let spec: String = (0..500).map(|n| format!("  zz{n}: 1\n")).collect();
        let errors = load(&with_head(&spec), &options()).unwrap_err();
        assert_eq!(errors.len(), ERRORS_MAX + 1);
        assert_eq!(errors.last().unwrap().problem, "and 400 more mistakes");
    }
}

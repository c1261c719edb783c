//! What holds for every function and for every text: JSON gives a function back exactly, and no
//! text makes the loader do anything but answer.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Map, json};
use spec::{
    Attributes, Batch, BatchMode, ByteSize, DeadLetter, EnvVar, ErrorDetail, Function, Isolation,
    LoadOptions, LogLevel, LoggerSink, Metadata, Ordering, Retry, Secret, Trigger, TriggerKind,
    Workers, format_duration, load, parse_duration, to_json,
};

/// Texts that are not just letters: quotes, YAML's own signs, variables, other scripts.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9 ]{0,12}",
        "[ -~é漢\n\t]{0,20}",
        Just("${HOME}".to_string()),
        Just("1.10".to_string()),
        Just("null".to_string()),
    ]
}

fn any_duration() -> impl Strategy<Value = Duration> {
    let ns = prop_oneof![0..2_000_u64, 0..10_000_000_000_u64, 0..u64::MAX / 2];
    ns.prop_map(Duration::from_nanos)
}

fn any_workers() -> impl Strategy<Value = Option<Workers>> {
    prop_oneof![
        Just(None),
        Just(Some(Workers::Auto)),
        (1..=100_000_u32).prop_map(|count| Some(Workers::Count(count))),
    ]
}

fn any_batch() -> impl Strategy<Value = Batch> {
    (any::<bool>(), 1..=4096_u32, any_duration(), prop::option::of(any_duration())).prop_map(
        |(on, batch_size, timeout, quiet_period)| Batch {
            mode: if on { BatchMode::Enable } else { BatchMode::Disable },
            batch_size,
            timeout,
            quiet_period,
        },
    )
}

fn any_trigger() -> impl Strategy<Value = Trigger> {
    let kinds = (0..TriggerKind::ALL.len()).prop_map(|index| TriggerKind::ALL[index]);
    let first = (kinds, any_workers(), any_text(), any_text(), 1..=8192_u32, any::<u16>());
    let second = (
        prop::option::of(any_batch()),
        any_duration(),
        any::<bool>(),
        prop::option::of(any_text()),
        1..=2_147_483_648_u64,
    );
    (first, second).prop_map(|((kind, workers, url, password, inflight, port), rest)| {
        let (batch, timeout, flag, dead_letter, body_size) = rest;
        let mut trigger = Trigger::new(kind);
        trigger.num_workers = workers;
        trigger.max_inflight = inflight;
        trigger.batch = batch;
        trigger.worker_termination_timeout = timeout;
        trigger.retry = Retry { backoff: Duration::ZERO, max: timeout };
        trigger.idempotent = flag;
        trigger.ordering = flag.then_some(Ordering::Key);
        trigger.error_detail = (!flag).then_some(ErrorDetail::Traceback);
        trigger.dead_letter = dead_letter.map(|text| DeadLetter {
            kind: "file".into(),
            settings: Map::from_iter([("folder".to_string(), json!(text))]),
        });
        match &mut trigger.attributes {
            Attributes::Http(http) => {
                http.port = Some(port);
                http.max_request_body_size = body_size;
                http.cors.enabled = flag;
                // A function has one HTTP trigger that is on.
                trigger.disabled = true;
            }
            Attributes::Kept(kept) => {
                kept.insert("topics".into(), json!([url, password]));
                kept.insert("nested".into(), json!({ "a": port, "b": flag, "c": 1.5, "d": null }));
            }
        }
        trigger.url = url;
        trigger.password = Secret(password);
        trigger
    })
}

fn any_function() -> impl Strategy<Value = Function> {
    let name = "[a-z][a-z0-9]{0,20}";
    let triggers = prop::collection::btree_map("[a-zA-Z0-9. _-]{1,10}", any_trigger(), 0..4);
    let env = prop::collection::vec(("[A-Z_]{1,8}", any_text()), 0..4);
    let labels = prop::collection::btree_map("[a-z./-]{1,10}", any_text(), 0..3);
    let numbers = (prop::option::of(any_duration()), prop::option::of(any::<u64>()), any::<bool>());
    (name, prop::option::of(name), triggers, env, labels, any_text(), numbers).prop_map(
        |(name, namespace, triggers, env, labels, text, (timeout, size, flag))| {
            let metadata = Metadata { name, namespace, labels, ..Metadata::default() };
            let mut function = Function { metadata, ..Function::default() };
            let spec = &mut function.spec;
            spec.description.clone_from(&text);
            spec.triggers = triggers;
            spec.disable_default_http_trigger = true;
            spec.event_timeout = timeout.filter(|timeout| !timeout.is_zero());
            spec.limits.memory = size.map(ByteSize);
            spec.recycle.events = size.map(|size| size.max(1));
            spec.recycle.age = timeout;
            spec.isolation = if flag { Isolation::Strict } else { Isolation::Standard };
            spec.logger_sinks =
                vec![LoggerSink { level: flag.then_some(LogLevel::Warn), sink: text.clone() }];
            spec.runtime_attributes.preload = vec![text.clone()];
            spec.runtime_attributes.other.insert("arguments".into(), json!(text));
            spec.kubernetes.0 = BTreeMap::from([("resources".to_string(), json!({ "a": [text] }))]);
            spec.env = env
                .into_iter()
                .map(|(name, value)| EnvVar { name, value, ..EnvVar::default() })
                .collect();
            function
        },
    )
}

const SEED: &str = "apiVersion: nuclio.io/v1\nkind: Function\nmetadata: {name: f}\nspec:\n  handler: &a h\n  env:\n  - {name: A, value: *a}\n  triggers:\n    w:\n      kind: http\n      numWorkers: 2\n      url: ${X}\n      attributes: {cors: {enabled: yes}}\n";

proptest! {
    #[test]
    fn json_gives_the_function_back(function in any_function()) {
        let loaded = load(&to_json(&function), &LoadOptions::default());
        let loaded = loaded.map_err(|errors| TestCaseError::fail(format!("{errors:?}")))?;
        prop_assert_eq!(loaded.function, function);
    }

    #[test]
    fn durations_are_written_as_they_are_read(duration in any_duration()) {
        prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
    }

    #[test]
    fn no_text_stops_the_loader(text in "[ -~\n\té漢\u{0}]{0,200}") {
        let _ = load(&text, &LoadOptions::default());
    }

    /// A good file with a few bytes changed: an answer, and each error on one line.
    #[test]
    fn no_slip_stops_the_loader(
        slips in prop::collection::vec((0..SEED.len(), "[ -~\n\t]{0,3}"), 1..6),
        lenient in any::<bool>(),
    ) {
        let mut text = SEED.to_string();
        for (place, piece) in slips {
            if text.is_char_boundary(place) && place < text.len() {
                text.replace_range(place..=place, &piece);
            }
        }
        let lookup = |name: &str| (name == "X").then(|| "x".to_string());
        let options = LoadOptions { lenient, env: Some(&lookup), ..LoadOptions::default() };
        if let Err(errors) = load(&text, &options) {
            prop_assert!(!errors.is_empty());
            for error in errors {
                prop_assert!(!error.to_string().contains('\n'), "{error}");
                prop_assert!(!error.problem.is_empty());
            }
        }
    }
}

//! The lines of a recording: what `nuclio run --record` writes and `nuclio replay` reads.
//!
//! Types only, each line one JSON object; opens no file. For people: docs/reference/recording.md.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::Error as _;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::function::{Build, Function};
use crate::trigger::TriggerKind;

/// Raised when a reader of the former version would misread a line.
pub const RECORDING_VERSION: u32 = 1;

/// One line of a recording.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordingLine {
    /// The first line, and only that.
    Recording(Box<RecordingHead>),
    /// An event, where it came in.
    Event(Box<RecordedEvent>),
    /// How an event above was answered.
    Answer(RecordedAnswer),
    /// So many events came here and were not recorded.
    Missing(u64),
    /// The last line, unless the processor was killed or the disk was full.
    End(RecordingEnd),
}

/// Which function was recorded, and how it is started again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordingHead {
    pub version: u32,
    /// When the recording began, in nanoseconds since 1970.
    pub time_unix_ns: u64,
    pub namespace: String,
    /// The program that ran the code; none for a language without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interpreter: Option<String>,
    /// A function.yaml as JSON, as [`without_secrets`] leaves it.
    pub function: Value,
}

/// One event, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedEvent {
    /// As `event.id` and the log have it.
    pub id: String,
    /// When it came, in nanoseconds since 1970.
    pub time_unix_ns: u64,
    /// Name and kind of the trigger that took it in.
    pub trigger: String,
    pub kind: String,
    /// The request line: method, target, version.
    pub request: Raw,
    /// The header lines in their order, each as it came.
    pub headers: Vec<Raw>,
    /// The body without its framing.
    #[serde(default, skip_serializing_if = "Raw::is_empty")]
    pub body: Raw,
}

/// The status with which an event was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedAnswer {
    pub id: String,
    pub status: u16,
}

/// What a recording has in all, and why it ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordingEnd {
    pub events: u64,
    pub missing: u64,
    pub reason: RecordingStop,
}

/// Why a recording ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordingStop {
    /// The processor ended.
    Stopped,
    /// It reached [`crate::limits::RECORDING_BYTES_MAX`].
    Full,
}

/// Bytes: a JSON text where they are UTF-8, else `{"base64": "..."}`. Exact either way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Raw(pub Vec<u8>);

impl Raw {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Raw {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Ok(text) = std::str::from_utf8(&self.0) {
            return serializer.serialize_str(text);
        }
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("base64", &STANDARD.encode(&self.0))?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Text(String),
            Encoded { base64: String },
        }
        match Form::deserialize(deserializer) {
            Ok(Form::Text(text)) => Ok(Raw(text.into_bytes())),
            Ok(Form::Encoded { base64 }) => STANDARD
                .decode(base64)
                .map(Raw)
                .map_err(|error| D::Error::custom(error.to_string())),
            Err(_) => Err(D::Error::custom("is neither a text nor {\"base64\": \"...\"}")),
        }
    }
}

/// The function as a recording keeps it: without values of environment variables, without triggers
/// that may hold passwords, and of its build only where the code is.
pub fn without_secrets(function: &Function) -> Function {
    let mut kept = function.clone();
    for variable in kept.spec.env.iter_mut().filter(|variable| variable.value_from.is_empty()) {
        variable.value.clear();
    }
    kept.spec.triggers.retain(|_, trigger| trigger.kind == TriggerKind::Http);
    for trigger in kept.spec.triggers.values_mut() {
        trigger.annotations.clear();
    }
    kept.spec.build = Build { path: function.spec.build.path.clone(), ..Build::default() };
    kept.metadata.annotations.clear();
    kept.status.clear();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{LoadOptions, load};
    use expect_test::expect;
    use proptest::prelude::*;

    fn event(body: &[u8]) -> RecordingLine {
        RecordingLine::Event(Box::new(RecordedEvent {
            id: "0a1b2c3d-0000-0000-0000-00000000002a".into(),
            time_unix_ns: 7,
            trigger: "web".into(),
            kind: "http".into(),
            request: Raw(b"POST /a?b HTTP/1.1".to_vec()),
            headers: vec![Raw(b"Host: x".to_vec()), Raw(b"X: caf\xe9".to_vec())],
            body: Raw(body.to_vec()),
        }))
    }

    #[test]
    fn lines_are_json_that_people_can_read() {
        let lines = [
            event(b"{\"n\": 1}"),
            event(b"\xff\x00"),
            event(b""),
            RecordingLine::Answer(RecordedAnswer { id: "x".into(), status: 500 }),
            RecordingLine::Missing(3),
            RecordingLine::End(RecordingEnd { events: 3, missing: 3, reason: RecordingStop::Full }),
        ];
        let told: Vec<_> = lines.iter().map(|l| serde_json::to_string(l).unwrap()).collect();
        expect![[r#"
            {"event":{"id":"0a1b2c3d-0000-0000-0000-00000000002a","time_unix_ns":7,"trigger":"web","kind":"http","request":"POST /a?b HTTP/1.1","headers":["Host: x",{"base64":"WDogY2Fm6Q=="}],"body":"{\"n\": 1}"}}
            {"event":{"id":"0a1b2c3d-0000-0000-0000-00000000002a","time_unix_ns":7,"trigger":"web","kind":"http","request":"POST /a?b HTTP/1.1","headers":["Host: x",{"base64":"WDogY2Fm6Q=="}],"body":{"base64":"/wA="}}}
            {"event":{"id":"0a1b2c3d-0000-0000-0000-00000000002a","time_unix_ns":7,"trigger":"web","kind":"http","request":"POST /a?b HTTP/1.1","headers":["Host: x",{"base64":"WDogY2Fm6Q=="}]}}
            {"answer":{"id":"x","status":500}}
            {"missing":3}
            {"end":{"events":3,"missing":3,"reason":"full"}}"#]].assert_eq(&told.join("\n"));
        for (line, text) in lines.iter().zip(&told) {
            assert_eq!(&serde_json::from_str::<RecordingLine>(text).unwrap(), line);
        }
    }

    #[test]
    fn no_secret_is_kept() {
        let text = r#"{"apiVersion": "nuclio.io/v1", "kind": "Function",
            "metadata": {"name": "f", "annotations": {"a": "s3cret"}},
            "spec": {"env": [{"name": "TOKEN", "value": "s3cret"}],
                "build": {"path": "/code", "codeEntryAttributes": {"password": "s3cret"}},
                "triggers": {"web": {"kind": "http", "annotations": {"x": "s3cret"}},
                    "mq": {"kind": "rabbit-mq", "url": "amqp://u:s3cret@h",
                        "attributes": {"exchangeName": "e", "queueName": "q"}}}}}"#;
        let function = load(text, &LoadOptions::default()).unwrap().function;
        let kept = crate::to_json(&without_secrets(&function));
        assert!(!kept.contains("s3cret"), "{kept}");
        assert!(kept.contains("TOKEN") && kept.contains("/code") && kept.contains("web"), "{kept}");
        assert!(load(&kept, &LoadOptions::default()).is_ok());
    }

    proptest! {
        #[test]
        fn bytes_survive(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let raw = Raw(bytes);
            let text = serde_json::to_string(&raw).unwrap();
            prop_assert!(!text.contains('\n'));
            prop_assert_eq!(serde_json::from_str::<Raw>(&text).unwrap(), raw);
        }
    }
}

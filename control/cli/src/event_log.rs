//! The log lines of one event, as the reply's `X-Nuclio-Logs` header carries them.
//!
//! The header is text from a function: it may be anything, and none of it may steer a terminal.

use serde_json::{Map, Value};

use crate::output::one_line;

/// Asks the processor for the event's log lines from this level on.
pub const LEVEL_HEADER: &str = "x-nuclio-log-level";
/// Carries them back, as a JSON array.
pub const LOGS_HEADER: &str = "x-nuclio-logs";

/// Fields that say the same for every line of one event.
const COMMON_FIELDS: [&str; 9] =
    ["time", "level", "message", "function", "name", "worker", "trigger", "event_id", "datetime"];

/// The records of one header value. What is not a JSON array is kept as one text record.
pub fn records(header: &[u8]) -> Vec<Value> {
    match serde_json::from_slice(header) {
        Ok(Value::Array(records)) => records,
        _ => vec![Value::String(String::from_utf8_lossy(header).into_owned())],
    }
}

/// One record for people: `warn   something happened key=value`; further lines are indented.
pub fn shown(record: &Value, coloured: bool) -> String {
    let Value::Object(fields) = record else {
        return message(record);
    };
    let level = fields.get("level").and_then(Value::as_str).unwrap_or("info");
    let mut line = format!(
        "{}{}",
        label(level, coloured),
        message(fields.get("message").unwrap_or(&Value::Null))
    );
    for (key, value) in fields.iter().filter(|(key, _)| !COMMON_FIELDS.contains(&&***key)) {
        match (&**key, value) {
            ("more" | "with", Value::Object(more)) => push_fields(&mut line, more),
            (_, Value::String(text)) if text.is_empty() => {}
            _ => push_field(&mut line, key, value),
        }
    }
    line
}

fn label(level: &str, coloured: bool) -> String {
    let (word, colour) = match level {
        "debug" => ("debug", "\x1b[2m"),
        "warn" | "warning" => ("warn ", "\x1b[33m"),
        "error" => ("error", "\x1b[31m"),
        _ => ("info ", "\x1b[32m"),
    };
    if coloured { format!("{colour}{word}\x1b[0m ") } else { format!("{word} ") }
}

fn message(value: &Value) -> String {
    match value {
        Value::String(text) => text.lines().map(one_line).collect::<Vec<_>>().join("\n  "),
        Value::Null => String::new(),
        other => one_line(&other.to_string()),
    }
}

fn push_fields(line: &mut String, fields: &Map<String, Value>) {
    for (key, value) in fields {
        push_field(line, key, value);
    }
}

fn push_field(line: &mut String, key: &str, value: &Value) {
    let is_plain = |text: &str| {
        !text.is_empty()
            && !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '"')
    };
    let value = match value {
        Value::String(text) if is_plain(text) => text.clone(),
        other => other.to_string(),
    };
    line.push_str(&format!(" {}={}", one_line(key), one_line(&value)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn records_are_shown_one_a_line_with_their_fields() {
        let header = br#"[
            {"time":"2026-11-25T10:00:00Z","level":"info","message":"hi","worker":0,"user":"ada"},
            {"level":"error","message":"Traceback\n  File x\u001b[2J","more":{"n":3,"text":"a b"}},
            {"message":{"odd":true}},
            "bare"
        ]"#;
        let told: Vec<_> = records(header).iter().map(|record| shown(record, false)).collect();
        expect![[r#"
            info  hi user=ada
            error Traceback
                File x\u{1b}[2J n=3 text="a b"
            info  {"odd":true}
            bare"#]]
        .assert_eq(&told.join("\n"));
    }

    #[test]
    fn what_is_no_array_is_shown_as_it_is() {
        assert_eq!(shown(&records(b"\xff{oops")[0], false), "\u{fffd}{oops");
    }
}

//! Turns a record into bytes: one line for people, or one JSON object a line.
//!
//! Pure. Nothing a worker says can look like a line of ours: control characters are escaped and the
//! further lines of a message are indented.

use std::io::Write;

use serde_json::Value;

use super::{Level, LogConfig, Record};

/// How records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    People,
    Json,
}

/// Names that a handler's own fields may not take.
const OWN_FIELDS: [&str; 7] =
    ["time", "level", "message", "function", "worker", "trigger", "event_id"];
/// Characters of an event id shown to people: the last ones, since the first are those of the run.
const EVENT_ID_SHOWN: usize = 8;

/// Appends one record.
pub fn record(out: &mut Vec<u8>, config: &LogConfig, record: &Record) {
    match config.format {
        Format::People => people(out, config, record),
        Format::Json => json(out, config, record),
    }
}

/// A sentence of ours for the person at the terminal: its line breaks are meant.
pub(super) fn statement(out: &mut Vec<u8>, config: &LogConfig, level: Level, text: &str) {
    if config.format == Format::Json {
        return json(out, config, &Record::new(level, text));
    }
    if level >= Level::Warn {
        paint(out, config, level, level.name());
        out.extend_from_slice(b": ");
    }
    push_escaped(out, text.as_bytes(), "");
    out.push(b'\n');
}

fn people(out: &mut Vec<u8>, config: &LogConfig, record: &Record) {
    let (_, time) = date_and_time(record.time_ns);
    let [hour, minute, second] = time;
    let millis = record.time_ns / 1_000_000 % 1000;
    push(out, format_args!("{hour:02}:{minute:02}:{second:02}.{millis:03} "));
    paint(out, config, record.level, &format!("{:<5}", record.level.name()));
    push(out, format_args!(" {}", config.function));
    if let Some(worker) = record.worker {
        push(out, format_args!(" worker {worker}"));
    }
    if !record.event_id.is_empty() {
        out.extend_from_slice(b" event ");
        let hidden = record.event_id.len().saturating_sub(EVENT_ID_SHOWN);
        if hidden > 0 {
            out.extend_from_slice("…".as_bytes());
        }
        push_escaped(out, &record.event_id[hidden..], " ");
    }
    out.push(b' ');
    push_escaped(out, record.message.trim_ascii_end(), "  ");
    for (key, value) in fields(&record.fields) {
        out.push(b' ');
        push_escaped(out, key.replace('\n', "\\n").as_bytes(), "");
        out.push(b'=');
        match value {
            Value::String(word) if is_plain_word(&word) => out.extend_from_slice(word.as_bytes()),
            value => push_escaped(out, value.to_string().as_bytes(), ""),
        }
    }
    out.push(b'\n');
}

fn json(out: &mut Vec<u8>, config: &LogConfig, record: &Record) {
    let ([year, month, day], [hour, minute, second]) = date_and_time(record.time_ns);
    let nanos = record.time_ns % 1_000_000_000;
    push(
        out,
        format_args!(
            "{{\"time\":\"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z\""
        ),
    );
    json_field(out, "level", &record.level.name().into());
    json_field(out, "message", &readable(record.message.trim_ascii_end()).into());
    json_field(out, "function", &(*config.function).into());
    if let Some(worker) = record.worker {
        json_field(out, "worker", &worker.into());
    }
    if let Some(trigger) = &record.trigger {
        json_field(out, "trigger", &(**trigger).into());
    }
    if !record.event_id.is_empty() {
        json_field(out, "event_id", &readable(&record.event_id).into());
    }
    for (key, value) in fields(&record.fields) {
        if OWN_FIELDS.contains(&key.as_str()) {
            json_field(out, &format!("field_{key}"), &value);
        } else {
            json_field(out, &key, &value);
        }
    }
    out.extend_from_slice(b"}\n");
}

/// The handler's own fields; text that is no JSON object is kept as one field, not lost.
fn fields(text: &[u8]) -> Vec<(String, Value)> {
    if text.is_empty() {
        return Vec::new();
    }
    match serde_json::from_slice::<Value>(text) {
        Ok(Value::Object(object)) => object.into_iter().collect(),
        _ => vec![("fields".to_string(), Value::String(readable(text)))],
    }
}

fn json_field(out: &mut Vec<u8>, key: &str, value: &Value) {
    push(out, format_args!(",{}:{value}", Value::String(key.to_string())));
}

fn push(out: &mut Vec<u8>, arguments: std::fmt::Arguments<'_>) {
    // Writing into a Vec cannot fail.
    let _ = out.write_fmt(arguments);
}

fn paint(out: &mut Vec<u8>, config: &LogConfig, level: Level, word: &str) {
    let colour = match level {
        _ if !config.colour => return out.extend_from_slice(word.as_bytes()),
        Level::Debug => "2",
        Level::Info => "32",
        Level::Warn => "33",
        Level::Error => "31",
    };
    push(out, format_args!("\x1b[{colour}m{word}\x1b[0m"));
}

fn is_plain_word(word: &str) -> bool {
    !word.is_empty()
        && word.chars().all(|c| !c.is_whitespace() && c != '"' && c != '=' && !misleads(c))
}

/// Bytes as text, with what is not UTF-8 written as `\xNN`.
fn readable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// Text that can neither move the cursor nor begin a line of its own: further lines get `indent`.
fn push_escaped(out: &mut Vec<u8>, bytes: &[u8], indent: &str) {
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' => push(out, format_args!("\n{indent}")),
                '\t' => out.push(b'\t'),
                c if misleads(c) => push(out, format_args!("{}", c.escape_default())),
                c => push(out, format_args!("{c}")),
            }
        }
        for byte in chunk.invalid() {
            push(out, format_args!("\\x{byte:02x}"));
        }
    }
}

/// Control characters, line separators, and marks that turn the direction of writing.
fn misleads(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Year, month, day and hour, minute, second in UTC.
fn date_and_time(unix_ns: u64) -> ([u64; 3], [u64; 3]) {
    let seconds = unix_ns / 1_000_000_000;
    let time = [seconds / 3600 % 24, seconds / 60 % 60, seconds % 60];
    // Days are counted from 1 March of year 0, so that a leap day ends its year.
    let days = seconds / 86_400 + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    ([year, month, day], time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(format: Format) -> LogConfig {
        LogConfig { function: "hello".into(), format, level: Level::Debug, colour: false }
    }

    fn full() -> Record {
        Record {
            time_ns: 1_700_000_000_123_456_789,
            level: Level::Info,
            worker: Some(3),
            trigger: Some("web".into()),
            event_id: b"0123456789ab".to_vec(),
            message: b"said".to_vec(),
            fields: br#"{"n":1,"text":"two words","level":"mine"}"#.to_vec(),
        }
    }

    fn written(format: Format, r: &Record) -> String {
        let mut out = Vec::new();
        record(&mut out, &config(format), r);
        String::from_utf8(out).expect("always UTF-8")
    }

    #[test]
    fn people_get_one_line() {
        assert_eq!(
            written(Format::People, &full()),
            "22:13:20.123 info  hello worker 3 event …456789ab said \
             level=mine n=1 text=\"two words\"\n"
        );
    }

    #[test]
    fn machines_get_one_object() {
        assert_eq!(
            written(Format::Json, &full()),
            concat!(
                r#"{"time":"2023-11-14T22:13:20.123456789Z","level":"info","message":"said","#,
                r#""function":"hello","worker":3,"trigger":"web","event_id":"0123456789ab","#,
                r#""field_level":"mine","n":1,"text":"two words"}"#,
                "\n"
            )
        );
    }

    #[test]
    fn a_line_cannot_be_forged() {
        let mut r = full();
        r.worker = None;
        r.event_id = b"a\nb".to_vec();
        r.message = b"first\n12:00:00.000 error second\r\x1b[2J\xff\n".to_vec();
        r.fields = b"no object\n".to_vec();
        let text = written(Format::People, &r);
        assert_eq!(
            text,
            "22:13:20.123 info  hello event a\n b first\n  12:00:00.000 error second\\r\\u{1b}[2J\
             \\xff fields=\"no object\\n\"\n"
        );
        assert!(text.lines().skip(1).all(|line| line.starts_with(' ')));
        let json: Value = serde_json::from_str(&written(Format::Json, &r)).expect("valid JSON");
        assert_eq!(json["message"], "first\n12:00:00.000 error second\r\x1b[2J\\xff");
        assert_eq!(json["fields"], "no object\n");
    }

    #[test]
    fn statements_keep_their_lines() {
        let mut out = Vec::new();
        statement(&mut out, &config(Format::People), Level::Error, "no\n  File \"x\"\x07");
        assert_eq!(String::from_utf8(out).unwrap(), "error: no\n  File \"x\"\\u{7}\n");
        let mut out = Vec::new();
        statement(&mut out, &config(Format::Json), Level::Error, "no");
        let json: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!((&json["level"], &json["message"]), (&"error".into(), &"no".into()));
    }

    #[test]
    fn dates() {
        let cases = [
            (0, [1970, 1, 1], [0, 0, 0]),
            (951_782_399, [2000, 2, 28], [23, 59, 59]),
            (951_868_799, [2000, 2, 29], [23, 59, 59]),
            (4_107_542_400, [2100, 3, 1], [0, 0, 0]),
        ];
        for (seconds, date, time) in cases {
            assert_eq!(date_and_time(seconds * 1_000_000_000), (date, time));
        }
    }
}

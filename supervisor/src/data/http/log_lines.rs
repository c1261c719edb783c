//! The header line `X-Nuclio-Logs`: an event's log records, for who asked with
//! `X-Nuclio-Log-Level`. Only then does the data thread build text.

use serde_json::{Map, Value, json};

use crate::data::inflight::WantedLogs;

/// Level names as in records.
const LEVELS: [&str; 4] = ["debug", "info", "warn", "error"];

/// Appends the line. JSON escapes all control characters, so the value cannot end its line; what is
/// not ASCII is escaped too, since a header has no charset.
pub fn append(out: &mut Vec<u8>, logs: &WantedLogs) {
    let mut records: Vec<Value> = logs
        .records
        .iter()
        .map(|record| {
            let fields = serde_json::from_slice(&record.fields);
            let mut object: Map<String, Value> = fields.unwrap_or_default();
            let level = LEVELS[usize::from(record.head.level).min(LEVELS.len() - 1)];
            object.insert("level".into(), level.into());
            object.insert("time".into(), (record.head.time_ns / 1_000_000).into());
            let message = String::from_utf8_lossy(&record.message).into_owned();
            object.insert("message".into(), message.into());
            Value::Object(object)
        })
        .collect();
    if logs.cut > 0 {
        records.push(json!({ "level": "warn", "message": "records were cut", "cut": logs.cut }));
    }
    out.extend_from_slice(b"X-Nuclio-Logs: ");
    let text = Value::Array(records).to_string();
    for c in text.chars() {
        push_ascii(out, c);
    }
    out.extend_from_slice(b"\r\n");
}

/// One character, escaped as JSON does where it is not ASCII or is DEL.
fn push_ascii(out: &mut Vec<u8>, c: char) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    if c.is_ascii() && c != '\u{7f}' {
        out.push(c as u8);
        return;
    }
    let mut units = [0u16; 2];
    for unit in c.encode_utf16(&mut units) {
        out.extend_from_slice(b"\\u");
        for shift in [12, 8, 4, 0] {
            out.push(HEX[usize::from(*unit >> shift) & 15]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rings::log_ring::LogRecord;

    #[test]
    fn a_record_cannot_break_out_of_its_line() {
        let record = LogRecord {
            head: Default::default(),
            message: b"a\r\nSet-Cookie: x\x7f \xc3\xa9".to_vec(),
            fields: br#"{"k":"v\n"}"#.to_vec(),
        };
        let logs = WantedLogs { level: 0, bytes: 0, cut: 2, records: vec![record] };
        let mut out = Vec::new();
        append(&mut out, &logs);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "X-Nuclio-Logs: [{\"k\":\"v\\n\",\"level\":\"debug\",\"message\":\"a\\r\\nSet-Cookie: \
             x\\u007f \\u00e9\",\"time\":0},{\"cut\":2,\"level\":\"warn\",\"message\":\"records \
             were cut\"}]\r\n"
        );
    }
}

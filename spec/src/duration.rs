//! Durations as Go writes them (`1m30s`, `250ms`), the form of every duration in function.yaml.
//!
//! Negative durations are refused: no field of a function can mean one.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::limits::DURATION_NS_MAX;

/// The `format` by which the schema marks a text as a duration.
pub(crate) const FORMAT: &str = "go-duration";

const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Reads a duration: one or more decimal numbers, each with a unit, such as `1h`, `1.5s`, `1m30s`.
///
/// # Errors
/// A sentence part that says what is wrong, to be put behind the quoted value.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    if text == "0" || text == "+0" {
        return Ok(Duration::ZERO);
    }
    if text.starts_with('-') {
        return Err("is negative".into());
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.is_empty() {
        return Err("is empty".into());
    }
    let mut total_ns: u64 = 0;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(number_end);
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        total_ns = total_ns
            .checked_add(part_ns(number, unit)?)
            .filter(|&ns| ns <= DURATION_NS_MAX)
            .ok_or("is longer than 292 years")?;
        rest = next;
    }
    Ok(Duration::from_nanos(total_ns))
}

/// Writes a duration so that [`parse_duration`] gives it back exactly.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let total_ns = duration.as_nanos();
    let (scale, unit) = match total_ns {
        0 => return "0s".into(),
        1..1_000 => (1, "ns"),
        1_000..1_000_000 => (1_000, "us"),
        1_000_000..1_000_000_000 => (1_000_000, "ms"),
        _ => (1_000_000_000, "s"),
    };
    let (mut whole, part) = (total_ns / scale, total_ns % scale);
    let mut text = String::new();
    if scale == 1_000_000_000 {
        for (seconds, letter) in [(3600, 'h'), (60, 'm')] {
            if whole >= seconds {
                text.push_str(&format!("{}{letter}", whole / seconds));
                whole %= seconds;
            }
        }
        if whole == 0 && part == 0 {
            return text;
        }
    }
    text.push_str(&whole.to_string());
    if part > 0 {
        let digits = (scale.ilog10()) as usize;
        let fraction = format!("{part:0digits$}");
        text.push('.');
        text.push_str(fraction.trim_end_matches('0'));
    }
    text.push_str(unit);
    text
}

fn part_ns(number: &str, unit: &str) -> Result<u64, String> {
    if unit.is_empty() {
        return Err(format!("has no unit after {number}"));
    }
    let Some(&(_, scale)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(format!("has the unknown unit {unit:?}"));
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits_only = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !digits_only(whole) || !digits_only(fraction) {
        return Err(format!("has {number:?} where a number is expected"));
    }
    let too_long = || "is longer than 292 years".to_string();
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| too_long())? };
    let whole_ns = whole.checked_mul(scale).ok_or_else(too_long)?;
    // Digits below a nanosecond are dropped, as in Go; of an hour, 18 digits are far below it.
    let (mut part, mut place) = (0_u128, 1_u128);
    for digit in fraction.bytes().take(18) {
        part = part * 10 + u128::from(digit - b'0');
        place *= 10;
    }
    // Less than one unit, so it fits where the unit does.
    let fraction_ns = u64::try_from(part * u128::from(scale) / place).map_err(|_| too_long())?;
    whole_ns.checked_add(fraction_ns).ok_or_else(too_long)
}

/// How a duration stands in the schema; `#[schemars(with = "DurationText")]` beside `Duration`.
pub(crate) struct DurationText;

impl JsonSchema for DurationText {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": FORMAT })
    }
}

/// serde for a field that always has a value.
pub(crate) mod required {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&super::format_duration(*value))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(from)?;
        super::parse_duration(&text)
            .map_err(|problem| de::Error::custom(format!("{text:?} {problem}")))
    }
}

/// serde for a field that may be left out.
pub(crate) mod optional {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de};

    #[expect(clippy::ref_option, reason = "the shape that serde's `with` asks for")]
    pub fn serialize<S: Serializer>(value: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => to.serialize_str(&super::format_duration(*value)),
            None => to.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        let Some(text) = Option::<String>::deserialize(from)? else { return Ok(None) };
        let parsed = super::parse_duration(&text);
        parsed.map(Some).map_err(|problem| de::Error::custom(format!("{text:?} {problem}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_go_reads() {
        let cases = [
            ("0", 0),
            ("0s", 0),
            ("5s", 5_000_000_000),
            ("1.5s", 1_500_000_000),
            (".5s", 500_000_000),
            ("5.s", 5_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("+2m", 120_000_000_000),
            ("250ms", 250_000_000),
            ("3us", 3_000),
            ("3µs", 3_000),
            ("3μs", 3_000),
            ("7ns", 7),
            ("1m0.000000001s", 60_000_000_001),
            ("0.3333333333333333333h", 1_199_999_999_999),
        ];
        for (text, ns) in cases {
            assert_eq!(parse_duration(text), Ok(Duration::from_nanos(ns)), "{text}");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        let cases = [
            ("", "is empty"),
            ("5", "has no unit after 5"),
            ("-5s", "is negative"),
            ("5 s", "has the unknown unit \" s\""),
            ("5sec", "has the unknown unit \"sec\""),
            ("1d", "has the unknown unit \"d\""),
            (".s", "has \".\" where a number is expected"),
            ("1.2.3s", "has \"1.2.3\" where a number is expected"),
            ("s", "has \"\" where a number is expected"),
            ("9999999999h", "is longer than 292 years"),
            ("99999999999999999999s", "is longer than 292 years"),
            ("2562047h48m", "is longer than 292 years"),
        ];
        for (text, problem) in cases {
            assert_eq!(parse_duration(text), Err(problem.to_string()), "{text}");
        }
    }

    #[test]
    fn writes_what_it_reads() {
        let cases = ["0s", "7ns", "1.5us", "250ms", "1.25s", "1m", "1m30s", "2h", "2h0.5s", "24h"];
        for text in cases {
            let duration = parse_duration(text).unwrap();
            assert_eq!(format_duration(duration), text);
        }
    }
}

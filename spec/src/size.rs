//! Sizes in bytes as Kubernetes writes them: `4194304`, `64Mi`, `1.5Gi`, `500M`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The `format` by which the schema marks a value as a size.
pub(crate) const FORMAT: &str = "byte-size";

const UNITS: [(&str, u64); 9] = [
    ("", 1),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
];

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// Reads a size: a number and, if any, a unit (`k M G T Ki Mi Gi Ti`).
    ///
    /// # Errors
    /// A sentence part that says what is wrong, to be put behind the quoted value.
    pub fn parse(text: &str) -> Result<Self, String> {
        let number_end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(number_end);
        let Some(&(_, scale)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(format!("has the unknown unit {unit:?}"));
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let not_a_number = || "does not start with a number".to_string();
        if number.is_empty() || fraction.contains('.') || (whole.is_empty() && fraction.is_empty())
        {
            return Err(not_a_number());
        }
        let too_large = || "is more than a size can be".to_string();
        let whole: u64 =
            if whole.is_empty() { 0 } else { whole.parse().map_err(|_| too_large())? };
        let mut bytes = whole.checked_mul(scale).ok_or_else(too_large)?;
        let (mut place, mut part) = (1_u128, 0_u128);
        // Nine digits after the point already name single bytes of a gigabyte.
        for digit in fraction.bytes().take(9) {
            place *= 10;
            part = part * 10 + u128::from(digit - b'0');
        }
        let part_bytes =
            u64::try_from(part * u128::from(scale) / place).map_err(|_| too_large())?;
        bytes = bytes.checked_add(part_bytes).ok_or_else(too_large)?;
        Ok(Self(bytes))
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(self.0)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Given {
            Number(u64),
            Text(String),
        }
        match Given::deserialize(from)? {
            Given::Number(bytes) => Ok(Self(bytes)),
            Given::Text(text) => Self::parse(&text)
                .map_err(|problem| de::Error::custom(format!("{text:?} {problem}"))),
        }
    }
}

impl JsonSchema for ByteSize {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "ByteSize".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["integer", "string"], "minimum": 0, "format": FORMAT })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_numbers_and_units() {
        let cases = [
            ("0", 0),
            ("4194304", 4_194_304),
            ("64Mi", 64 << 20),
            ("1.5Gi", 3 << 29),
            ("500M", 500_000_000),
            (".5k", 500),
            ("16Ki", 16_384),
        ];
        for (text, bytes) in cases {
            assert_eq!(ByteSize::parse(text), Ok(ByteSize(bytes)), "{text}");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        let cases = [
            ("", "does not start with a number"),
            ("64MB", "has the unknown unit \"MB\""),
            ("-1", "has the unknown unit \"-1\""),
            ("1.2.3", "does not start with a number"),
            ("99999999Ti", "is more than a size can be"),
        ];
        for (text, problem) in cases {
            assert_eq!(ByteSize::parse(text), Err(problem.to_string()), "{text}");
        }
    }
}

//! YAML or JSON text as a tree that still knows how each value was written, and on which line.
//!
//! The tree keeps what serde's data model loses: the spelling of numbers (`1.10` for a text
//! field), plain against quoted text, and keys that are given twice.

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Number;
use serde_saphyr::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Error as YamlError, Spanned};

use crate::error::ConfigError;
use crate::limits::{DEPTH_MAX, NODES_MAX, TEXT_BYTES_MAX};

/// One value of the file.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub content: Content,
    /// Line of the file, from 1; 0 where it is not known (JSON).
    pub line: u32,
}

/// A value, with the text it was written as where that can matter.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    Null,
    Bool(bool, String),
    Number(Number, String),
    Text {
        text: String,
        written: Written,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// A mistake was already reported here; nothing more is said about it.
    Reported,
}

/// How a text came into the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// Without quotes.
    Plain,
    /// In quotes or as a block: it is text and nothing else.
    Quoted,
    /// From an environment variable: not to be shown, and a number if a number is expected.
    Expanded,
}

/// A key with its value.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub key: String,
    pub line: u32,
    pub node: Node,
}

/// Reads a whole file, as JSON if it is JSON, else as YAML.
pub(crate) fn parse(text: &str) -> Result<Node, ConfigError> {
    if text.len() > TEXT_BYTES_MAX {
        let problem = format!("the file has {} bytes", text.len());
        let hint = format!("a function.yaml has at most {TEXT_BYTES_MAX}; keep code beside it");
        return Err(ConfigError::new("", problem, hint));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let json_error = if text.trim_start().starts_with('{') {
        match serde_json::from_str::<JsonNode>(text) {
            Ok(JsonNode(content)) => return bounded(from_json(content)),
            Err(error) => Some(error),
        }
    } else {
        None
    };
    match serde_saphyr::from_str_with_options::<YamlNode>(text, yaml_options()) {
        Ok(node) => bounded(from_yaml(node, text)),
        // A file that starts as JSON does is judged as JSON.
        Err(yaml_error) => Err(match json_error {
            Some(error) if starts_as_json(text) => json_mistake(&error),
            _ => yaml_mistake(&yaml_error),
        }),
    }
}

/// What YAML allows and how far it may go. YAML 1.2 booleans, so that `on`, `no` and `y` stay
/// text where nothing says otherwise; octal numbers as Kubernetes' own tools read them.
fn yaml_options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEPTH_MAX,
            max_nodes: NODES_MAX,
            max_events: 4 * NODES_MAX,
            max_total_scalar_bytes: 4 * TEXT_BYTES_MAX,
            max_recorded_anchor_events: NODES_MAX,
            max_recorded_anchor_bytes: 4 * TEXT_BYTES_MAX,
            max_documents: 2,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: NODES_MAX },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        strict_booleans: true,
        legacy_octal_numbers: true,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        with_snippet: false,
    }
}

fn yaml_mistake(error: &YamlError) -> ConfigError {
    let message = error.to_string().replace('\n', " ");
    // The place is told once, at the end of the line.
    let problem = message.rsplit_once(" at line ").map_or(message.as_str(), |(before, _)| before);
    if problem.contains("multiple YAML documents") {
        let problem = "the file holds more than one document (a line ---)";
        return ConfigError::new("", problem, "write one function per file");
    }
    if problem.contains("budget") || problem.contains("limit exceeded") {
        let problem = "the file goes too far once its aliases are expanded";
        let hint = format!("at most {NODES_MAX} values, {DEPTH_MAX} levels deep");
        return ConfigError::new("", problem, hint);
    }
    let mut found = ConfigError::new("", format!("not valid YAML: {problem}"), "");
    if let Some(place) = error.location() {
        found.problem.push_str(&format!(", column {}", place.column()));
        found = found.at_line(u32::try_from(place.line()).unwrap_or(u32::MAX));
    }
    if problem.contains("tab") {
        found.hint = "indent with spaces".into();
    }
    found
}

fn json_mistake(error: &serde_json::Error) -> ConfigError {
    let message = error.to_string();
    let problem = message.rsplit_once(" at line ").map_or(message.as_str(), |(before, _)| before);
    let problem = format!("not valid JSON: {problem}, column {}", error.column());
    ConfigError::new("", problem, "").at_line(u32::try_from(error.line()).unwrap_or(u32::MAX))
}

fn starts_as_json(text: &str) -> bool {
    let inside = text.trim_start().trim_start_matches('{').trim_start();
    inside.starts_with('"')
}

fn bounded(node: Node) -> Result<Node, ConfigError> {
    let mut level: Vec<&Node> = vec![&node];
    for _ in 0..DEPTH_MAX {
        level = level.into_iter().flat_map(Node::children).collect();
        if level.is_empty() {
            return Ok(node);
        }
    }
    let problem = format!("lists and maps are nested more than {DEPTH_MAX} deep");
    Err(ConfigError::new("", problem, ""))
}

impl Node {
    /// The value of a key, the last one if it is given twice.
    pub(crate) fn get_mut(&mut self, key: &str) -> Option<&mut Self> {
        let Content::Map(entries) = &mut self.content else { return None };
        entries.iter_mut().rfind(|entry| entry.key == key).map(|entry| &mut entry.node)
    }

    fn children(&self) -> Vec<&Node> {
        match &self.content {
            Content::List(items) => items.iter().collect(),
            Content::Map(entries) => entries.iter().map(|entry| &entry.node).collect(),
            _ => Vec::new(),
        }
    }
}

/// Value as serde gives it; `N` is the child, with or without its place.
enum Raw<N> {
    Null,
    Bool(bool),
    Number(Option<Number>),
    Text(String),
    List(Vec<N>),
    Map(Vec<(Spanned<String>, N)>),
}

struct YamlNode(Spanned<Raw<YamlNode>>);
struct JsonNode(Raw<JsonNode>);

impl<'de> Deserialize<'de> for YamlNode {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Spanned::deserialize(from).map(Self)
    }
}

impl<'de> Deserialize<'de> for JsonNode {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Raw::deserialize(from).map(Self)
    }
}

impl<'de, N: Deserialize<'de>> Deserialize<'de> for Raw<N> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(RawVisitor(std::marker::PhantomData))
    }
}

struct RawVisitor<N>(std::marker::PhantomData<N>);

impl<'de, N: Deserialize<'de>> Visitor<'de> for RawVisitor<N> {
    type Value = Raw<N>;

    fn expecting(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str("a value")
    }
    fn visit_unit<E>(self) -> Result<Raw<N>, E> {
        Ok(Raw::Null)
    }
    fn visit_none<E>(self) -> Result<Raw<N>, E> {
        Ok(Raw::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Raw<N>, E> {
        Ok(Raw::Bool(value))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Raw<N>, E> {
        Ok(Raw::Number(Some(value.into())))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Raw<N>, E> {
        Ok(Raw::Number(Some(value.into())))
    }
    fn visit_u128<E>(self, _: u128) -> Result<Raw<N>, E> {
        Ok(Raw::Number(None))
    }
    fn visit_i128<E>(self, _: i128) -> Result<Raw<N>, E> {
        Ok(Raw::Number(None))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Raw<N>, E> {
        Ok(Raw::Number(Number::from_f64(value)))
    }
    fn visit_str<E: de::Error>(self, value: &str) -> Result<Raw<N>, E> {
        Ok(Raw::Text(value.to_string()))
    }
    fn visit_string<E>(self, value: String) -> Result<Raw<N>, E> {
        Ok(Raw::Text(value))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Raw<N>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = from.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Raw<N>, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = from.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}

fn from_yaml(node: YamlNode, text: &str) -> Node {
    let YamlNode(Spanned { value, referenced, defined }) = node;
    let span = defined.span();
    let place = span.byte_offset().zip(span.byte_len());
    let written = place.and_then(|(start, len)| {
        let start = usize::try_from(start).ok()?;
        text.get(start..start.checked_add(usize::try_from(len).ok()?)?)
    });
    let line = line_of(&referenced);
    let content = match value {
        Raw::List(items) => {
            Content::List(items.into_iter().map(|item| from_yaml(item, text)).collect())
        }
        Raw::Map(entries) => Content::Map(
            entries
                .into_iter()
                .map(|(key, item)| Entry {
                    line: line_of(&key.referenced),
                    key: key.value,
                    node: from_yaml(item, text),
                })
                .collect(),
        ),
        scalar => scalar_content(scalar, written.map(str::trim)),
    };
    Node { content, line }
}

fn from_json(content: Raw<JsonNode>) -> Node {
    let content = match content {
        Raw::List(items) => {
            Content::List(items.into_iter().map(|JsonNode(item)| from_json(item)).collect())
        }
        Raw::Map(entries) => Content::Map(
            entries
                .into_iter()
                .map(|(key, JsonNode(item))| Entry {
                    key: key.value,
                    line: 0,
                    node: from_json(item),
                })
                .collect(),
        ),
        Raw::Text(text) => Content::Text { text, written: Written::Quoted },
        scalar => scalar_content(scalar, None),
    };
    Node { content, line: 0 }
}

fn scalar_content<N>(scalar: Raw<N>, written: Option<&str>) -> Content {
    let spelled = |canonical: String| written.map_or(canonical, ToString::to_string);
    match scalar {
        Raw::Bool(value) => Content::Bool(value, spelled(value.to_string())),
        Raw::Number(Some(number)) => {
            let text = spelled(number.to_string());
            Content::Number(number, text)
        }
        // Out of the range of numbers: only its text is left.
        Raw::Number(None) => {
            Content::Text { text: spelled(String::new()), written: Written::Plain }
        }
        Raw::Text(text) => {
            let plain = written == Some(text.trim()) && !text.starts_with(['"', '\'']);
            Content::Text { text, written: if plain { Written::Plain } else { Written::Quoted } }
        }
        Raw::Null | Raw::List(_) | Raw::Map(_) => Content::Null,
    }
}

fn line_of(place: &serde_saphyr::Location) -> u32 {
    u32::try_from(place.line()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn show(node: &Node, to: &mut String) {
        match &node.content {
            Content::Null => to.push_str("null"),
            Content::Bool(value, text) => to.push_str(&format!("{value}({text})")),
            Content::Number(number, text) => to.push_str(&format!("{number}({text})")),
            Content::Text { text, written } => to.push_str(&format!("{text:?}{written:?}")),
            Content::List(items) => {
                to.push('[');
                items.iter().for_each(|item| {
                    show(item, to);
                    to.push(' ');
                });
                to.push(']');
            }
            Content::Map(entries) => {
                to.push('{');
                for entry in entries {
                    to.push_str(&format!("{}@{}=", entry.key, entry.line));
                    show(&entry.node, to);
                    to.push(' ');
                }
                to.push('}');
            }
            Content::Reported => to.push_str("reported"),
        }
    }

    fn check(text: &str, expected: &Expect) {
        let mut shown = String::new();
        match parse(text) {
            Ok(node) => show(&node, &mut shown),
            Err(error) => shown = error.to_string(),
        }
        expected.assert_eq(&shown);
    }

    #[test]
    fn scalars_keep_their_spelling() {
        check(
            "a: 1.10\nb: on\nc: True\nd: 'yes'\ne: 0644\nf: 0x1f\ng: 1_000\nh: ~\ni:\nj: .nan\n",
            &expect![[
                r#"{a@1=1.1(1.10) b@2="on"Plain c@3=true(True) d@4="yes"Quoted e@5=420(0644) f@6=31(0x1f) g@7=1000(1_000) h@8=null i@9=null j@10=".nan"Plain }"#
            ]],
        );
        check(
            "a: |\n  x\n  y\nb: 2024-01-01\nc: 1e3\nd: 99999999999999999999999\n8080: x\n",
            &expect![[
                r#"{a@1="x\ny\n"Quoted b@4="2024-01-01"Plain c@5=1000.0(1e3) d@6=1e+23(99999999999999999999999) 8080@7="x"Plain }"#
            ]],
        );
    }

    #[test]
    fn anchors_merges_and_duplicates() {
        check(
            "a: &x [1, two]\nb: *x\nc:\n  <<: {z: 1}\n  y: 2\na: again\n",
            &expect![[
                r#"{a@1=[1(1) "two"Plain ] b@2=[1(1) "two"Plain ] c@3={y@5=2(2) z@4=1(1) } a@6="again"Plain }"#
            ]],
        );
    }

    #[test]
    fn json_is_read_as_json() {
        check(
            "\u{feff}{\"a\": \"\\ud83d\\ude00\\/\", \"b\": 1.10, \"c\": \"1\", \"a\": null}",
            &expect![[r#"{a@0="😀/"Quoted b@0=1.1(1.1) c@0="1"Quoted a@0=null }"#]],
        );
        check("{a: 1, b: [x]}", &expect![[r#"{a@1=1(1) b@1=["x"Plain ] }"#]]);
    }

    #[test]
    fn mistakes_have_a_place() {
        check(
            "a: [1\nb: 2",
            &expect!["not valid YAML: illegal placement of ':' indicator, column 2 (line 2)"],
        );
        check(
            "a: b: c",
            &expect![
                "not valid YAML: mapping values are not allowed in this context, column 5 (line 1)"
            ],
        );
        check(
            "a:\n\tb: 1",
            &expect![
                "not valid YAML: tabs disallowed within this context (block indentation), column 2; indent with spaces (line 2)"
            ],
        );
        check(
            "a: *nope",
            &expect!["not valid YAML: alias references unknown anchor, column 4 (line 1)"],
        );
        check("? [x]\n: 1", &expect!["not valid YAML: expected string scalar, column 3 (line 1)"]);
        check(
            "a: 1\n---\nb: 1",
            &expect![
                "the file holds more than one document (a line ---); write one function per file"
            ],
        );
        check("{\"a\": 1,}", &expect!["{a@1=1(1) }"]);
        check(
            "{\"a\": 1",
            &expect!["not valid JSON: EOF while parsing an object, column 7 (line 1)"],
        );
        check("{\"a\": \n nope}", &expect![[r#"{a@1="nope"Plain }"#]]);
    }

    #[test]
    fn bombs_are_refused() {
        let deep = "[".repeat(500);
        check(
            &"- ".repeat(500),
            &expect![
                "the file goes too far once its aliases are expanded; at most 100000 values, 48 levels deep"
            ],
        );
        check(
            &deep,
            &expect![
                "the file goes too far once its aliases are expanded; at most 100000 values, 48 levels deep"
            ],
        );
        check(
            &format!("{{\"a\":{}1{}}}", "[".repeat(60), "]".repeat(60)),
            &expect!["lists and maps are nested more than 48 deep"],
        );
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..9 {
            let uses = format!("*a{}, ", level - 1).repeat(10);
            bomb.push_str(&format!("a{level}: &a{level} [{uses}]\n"));
        }
        check(
            &bomb,
            &expect![
                "the file goes too far once its aliases are expanded; at most 100000 values, 48 levels deep"
            ],
        );
        check(
            &"x".repeat(TEXT_BYTES_MAX + 1),
            &expect![
                "the file has 1048577 bytes; a function.yaml has at most 1048576; keep code beside it"
            ],
        );
    }
}

//! Holds the tree of a file against the schema of the types and reports every difference.
//!
//! What is right comes out as a JSON value that the types can read; what is wrong is reported and
//! left out, so that one mistake does not hide the next. No rule here knows a field by name; those
//! that do are in `rules.rs`.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Number, Value};

use crate::error::{ConfigError, Findings};
use crate::limits::SHOWN_CHARS_MAX;
use crate::nearest::nearest;
use crate::path::Path;
use crate::schema::{function_schema, object, places_of_keys, resolved};
use crate::tree::{Content, Entry, Node, Written};
use crate::{duration, size};

/// A tree held against the schema.
pub(crate) struct Checked {
    pub value: Map<String, Value>,
    pub findings: Findings,
    /// Line of every field that was met, by its path.
    pub lines: BTreeMap<String, u32>,
}

/// Checks a whole file. `lenient`: unknown keys and trigger kinds are warnings and are left out.
/// `partial`: apiVersion, kind and the name may be missing.
pub(crate) fn check(root: &Node, lenient: bool, partial: bool) -> Checked {
    let mut checker = Checker {
        root: function_schema(),
        places: places_of_keys(function_schema()),
        lenient,
        partial,
        path: Path::default(),
        findings: Findings::default(),
        lines: BTreeMap::new(),
    };
    let value = match &root.content {
        Content::Map(entries) => checker.object(entries, checker.root),
        Content::Null => {
            let hint = "write at least apiVersion, kind and metadata.name";
            checker.findings.errors.push(ConfigError::new("", "the file is empty", hint));
            None
        }
        _ => {
            let problem = format!("the file holds {}, not a function", kind_name(&root.content));
            let hint = "write keys: apiVersion, kind, metadata, spec";
            checker.findings.errors.push(ConfigError::new("", problem, hint));
            None
        }
    };
    let value = match value {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    };
    Checked { value, findings: checker.findings, lines: checker.lines }
}

struct Checker {
    root: &'static Value,
    places: BTreeMap<&'static str, String>,
    lenient: bool,
    partial: bool,
    path: Path,
    findings: Findings,
    lines: BTreeMap<String, u32>,
}

impl Checker {
    /// The value, or `None` where it is missing or was reported.
    fn value(&mut self, node: &Node, schema: &'static Value) -> Option<Value> {
        if node.line > 0 {
            self.lines.insert(self.path.to_string(), node.line);
        }
        if let Content::Null | Content::Reported = node.content {
            return None;
        }
        // What stands beside a `$ref` belongs to the field and says nothing about its values.
        let schema = resolved(self.root, schema);
        if let Some(choices) = schema.get("anyOf").and_then(Value::as_array) {
            return self.any_of(node, choices, schema);
        }
        if schema.get("format").is_some_and(|format| format == size::FORMAT) {
            return self.byte_size(node, schema);
        }
        match schema.get("type").and_then(Value::as_str) {
            Some("string") => self.text(node, schema),
            Some("integer") => self.integer(node, schema),
            Some("boolean") => self.boolean(node, schema),
            Some("array") => self.list(node, schema),
            Some("object") => match &node.content {
                Content::Map(entries) => self.object(entries, schema),
                _ => self.wrong_type(node, schema),
            },
            _ => self.free(node),
        }
    }

    fn any_of(
        &mut self,
        node: &Node,
        choices: &'static [Value],
        schema: &'static Value,
    ) -> Option<Value> {
        let before = self.findings.errors.len();
        for choice in choices {
            let found = self.value(node, choice);
            if self.findings.errors.len() == before {
                return found;
            }
            self.findings.errors.truncate(before);
        }
        self.report(node, format!("{} is not allowed here", shown(node, schema)), write(schema))
    }

    fn text(&mut self, node: &Node, schema: &'static Value) -> Option<Value> {
        let text = match &node.content {
            // As in nuclio a number is fine where text is expected, and it stays as written.
            Content::Text { text, .. } | Content::Number(_, text) | Content::Bool(_, text) => text,
            _ => return self.wrong_type(node, schema),
        };
        if text.is_empty() && schema.get("minLength").is_some() {
            return self.report(node, "is empty", write(schema));
        }
        if schema.get("format").is_some_and(|format| format == duration::FORMAT)
            && let Err(problem) = duration::parse_duration(text)
        {
            let problem = format!("{} {problem}", shown(node, schema));
            return self.report(node, problem, write(schema));
        }
        if let Some(words) = schema.get("enum").and_then(Value::as_array)
            && !words.iter().any(|word| word == text)
        {
            return self.unknown_word(node, text, words);
        }
        Some(text.clone().into())
    }

    fn unknown_word(&mut self, node: &Node, text: &str, words: &[Value]) -> Option<Value> {
        let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
        let hint = match nearest(text, words.iter().copied()) {
            Some(word) => format!("did you mean {word}?"),
            None => format!("write one of {}", words.join(", ")),
        };
        let problem = format!("{} is not known", shown(node, &Value::Null));
        if self.lenient && self.path.matches(&["spec", "triggers", "*", "kind"]) {
            let problem = format!("{problem}, the trigger is left out");
            let warning = ConfigError::new(self.path.to_string(), problem, hint);
            self.findings.warnings.push(warning.at_line(node.line));
            return None;
        }
        self.report(node, problem, hint)
    }

    fn integer(&mut self, node: &Node, schema: &'static Value) -> Option<Value> {
        let number: Number = match &node.content {
            Content::Number(_, text) if is_ambiguous_octal(text) => {
                let problem = format!("{text} may be meant as octal or as decimal");
                return self.report(node, problem, "write it without the leading 0");
            }
            Content::Number(number, _) if number.is_u64() || number.is_i64() => number.clone(),
            Content::Text { text, written: Written::Expanded } => {
                match text.trim().parse::<i64>() {
                    Ok(number) => number.into(),
                    Err(_) => return self.wrong_type(node, schema),
                }
            }
            // Too long for 64 bits, it was read as a fraction.
            Content::Number(_, text) if is_digits(text) => return self.out_of_range(node, schema),
            _ => return self.wrong_type(node, schema),
        };
        let (min, max) = bounds(schema);
        if !number.as_i128().is_some_and(|value| (min..=max).contains(&value)) {
            return self.out_of_range(node, schema);
        }
        Some(number.into())
    }

    fn out_of_range(&mut self, node: &Node, schema: &'static Value) -> Option<Value> {
        self.report(node, format!("{} is out of range", shown(node, schema)), write(schema))
    }

    fn boolean(&mut self, node: &Node, schema: &'static Value) -> Option<Value> {
        match &node.content {
            Content::Bool(value, _) => Some((*value).into()),
            Content::Text { text, written: Written::Plain | Written::Expanded } => {
                // YAML 1.1, which nuclio reads, has more words for it than YAML 1.2.
                match text.to_ascii_lowercase().as_str() {
                    "yes" | "on" | "y" | "true" => Some(true.into()),
                    "no" | "off" | "n" | "false" => Some(false.into()),
                    _ => self.wrong_type(node, schema),
                }
            }
            _ => self.wrong_type(node, schema),
        }
    }

    fn byte_size(&mut self, node: &Node, schema: &'static Value) -> Option<Value> {
        match &node.content {
            Content::Number(_, text) | Content::Text { text, .. } => {
                match size::ByteSize::parse(text) {
                    Ok(size) => Some(size.0.into()),
                    Err(problem) => {
                        let problem = format!("{} {problem}", shown(node, schema));
                        self.report(node, problem, write(schema))
                    }
                }
            }
            _ => self.wrong_type(node, schema),
        }
    }

    fn list(&mut self, node: &Node, schema: &'static Value) -> Option<Value> {
        let Content::List(items) = &node.content else { return self.wrong_type(node, schema) };
        let of = schema.get("items").unwrap_or(&Value::Null);
        let mut values = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            self.path.push_index(index);
            if let Content::Null = item.content {
                self.report(item, "is empty", write(resolved(self.root, of)));
            }
            values.extend(self.value(item, of));
            self.path.pop();
        }
        Some(values.into())
    }

    /// A map with known keys. `None` where a key that it cannot do without is missing or wrong.
    fn object(&mut self, entries: &[Entry], schema: &'static Value) -> Option<Value> {
        let known = object(schema, "properties");
        let special = conditions_met(entries, schema);
        let mut values = Map::new();
        self.report_repeated(entries);
        for entry in entries {
            let key = entry.key.as_str();
            self.path.push(key);
            let of = special.get(key).copied().or_else(|| known.get(key));
            let found = match (of, schema.get("additionalProperties")) {
                (Some(of), _) => self.value(&entry.node, of),
                (None, None | Some(Value::Bool(true))) => self.free(&entry.node),
                (None, Some(Value::Bool(false))) => self.unknown_key(entry, known),
                (None, Some(of)) => self.named(entry, of),
            };
            self.path.pop();
            values.extend(found.map(|value| (key.to_string(), value)));
        }
        let complete = self.required(entries, schema, &values);
        (complete || self.path.is_root()).then_some(Value::Object(values))
    }

    /// An entry of a map whose keys are names, such as `triggers`.
    fn named(&mut self, entry: &Entry, of: &'static Value) -> Option<Value> {
        let inner = resolved(self.root, of);
        if inner.get("required").is_some() && matches!(entry.node.content, Content::Null) {
            let error = ConfigError::new(self.path.to_string(), "is empty", write(inner));
            self.findings.errors.push(placed(error, entry.line));
        }
        self.value(&entry.node, of)
    }

    /// Reports every key that is given twice. Both values are checked; the last one counts.
    fn report_repeated(&mut self, entries: &[Entry]) {
        let mut firsts: HashMap<&str, u32> = HashMap::with_capacity(entries.len());
        for entry in entries {
            let Some(first) = firsts.insert(&entry.key, entry.line) else { continue };
            let problem = match first {
                0 => "is given twice".to_string(),
                _ => format!("is given twice, before in line {first}"),
            };
            self.path.push(&entry.key);
            let error = ConfigError::new(self.path.to_string(), problem, "keep one");
            self.findings.errors.push(placed(error, entry.line));
            self.path.pop();
        }
    }

    fn required(
        &mut self,
        entries: &[Entry],
        schema: &'static Value,
        values: &Map<String, Value>,
    ) -> bool {
        let names = schema.get("required").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let mut complete = true;
        for name in names.iter().filter_map(Value::as_str) {
            if values.contains_key(name) || (self.partial && self.is_header()) {
                continue;
            }
            complete = false;
            let given = entries.iter().rfind(|entry| entry.key == name);
            if given.is_none_or(|entry| matches!(entry.node.content, Content::Null)) {
                self.missing(name, given.map_or(0, |entry| entry.line), schema);
            }
        }
        complete
    }

    /// apiVersion, kind, metadata and metadata.name: what a file's head must say.
    fn is_header(&self) -> bool {
        self.path.is_root() || self.path.matches(&["metadata"])
    }

    fn missing(&mut self, name: &str, line: u32, schema: &'static Value) {
        let of = &object(schema, "properties")[name];
        self.path.push(name);
        let inner = resolved(self.root, of);
        // metadata itself has only one key that a function cannot do without.
        match inner.get("required").and_then(Value::as_array).map(Vec::as_slice) {
            Some([Value::String(key)]) => self.missing(key, line, inner),
            _ => {
                let words = inner.get("enum").and_then(Value::as_array);
                let hint = match words.map(Vec::as_slice) {
                    Some([word, ..]) if self.path.matches(&[name]) => {
                        format!("write {name}: {}", word.as_str().unwrap_or_default())
                    }
                    _ => write(inner),
                };
                let error = ConfigError::new(self.path.to_string(), "is missing", hint);
                self.findings.errors.push(placed(error, line));
            }
        }
        self.path.pop();
    }

    fn unknown_key(&mut self, entry: &Entry, known: &Map<String, Value>) -> Option<Value> {
        let slip = nearest(&entry.key, known.keys().map(String::as_str));
        let hint = match (self.places.get(entry.key.as_str()), slip) {
            (_, Some(key)) if key.eq_ignore_ascii_case(&entry.key) => {
                format!("did you mean {key}?")
            }
            (Some(place), _) if place.is_empty() => "it belongs at the top of the file".into(),
            (Some(place), _) => format!("it belongs in {place}"),
            (None, Some(key)) => format!("did you mean {key}?"),
            (None, None) if known.len() <= 12 => {
                let keys: Vec<&str> = known.keys().map(String::as_str).collect();
                format!("known here: {}", keys.join(", "))
            }
            (None, None) => String::new(),
        };
        let found =
            placed(ConfigError::new(self.path.to_string(), "unknown key", hint), entry.line);
        if self.lenient {
            self.findings.warnings.push(found);
        } else {
            self.findings.errors.push(found);
        }
        None
    }

    /// A value that is kept and not read here: anything but a key given twice.
    fn free(&mut self, node: &Node) -> Option<Value> {
        if node.line > 0 {
            self.lines.insert(self.path.to_string(), node.line);
        }
        match &node.content {
            Content::Null | Content::Reported => None,
            Content::Bool(value, _) => Some((*value).into()),
            Content::Number(number, _) => Some(number.clone().into()),
            Content::Text { text, .. } => Some(text.clone().into()),
            Content::List(items) => {
                let mut values = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    self.path.push_index(index);
                    values.push(self.free(item).unwrap_or(Value::Null));
                    self.path.pop();
                }
                Some(values.into())
            }
            Content::Map(entries) => {
                let mut values = Map::new();
                self.report_repeated(entries);
                for entry in entries {
                    self.path.push(&entry.key);
                    let value = self.free(&entry.node).unwrap_or(Value::Null);
                    self.path.pop();
                    values.insert(entry.key.clone(), value);
                }
                Some(values.into())
            }
        }
    }

    fn wrong_type(&mut self, node: &Node, schema: &'static Value) -> Option<Value> {
        let problem = match &node.content {
            Content::List(_) | Content::Map(_) => format!("is {}", kind_name(&node.content)),
            content => format!("{} is {}", shown(node, schema), kind_name(content)),
        };
        let hint = match (&node.content, schema.get("type").and_then(Value::as_str)) {
            (Content::Text { text, written: Written::Quoted }, Some("integer"))
                if text.parse::<i64>().is_ok() =>
            {
                format!("write {text} without quotes")
            }
            (Content::Text { text, written: Written::Quoted }, Some("boolean"))
                if matches!(text.as_str(), "true" | "false") =>
            {
                format!("write {text} without quotes")
            }
            _ => write(schema),
        };
        self.report(node, problem, hint)
    }

    fn report(
        &mut self,
        node: &Node,
        problem: impl Into<String>,
        hint: impl Into<String>,
    ) -> Option<Value> {
        let error = ConfigError::new(self.path.to_string(), problem, hint);
        self.findings.errors.push(placed(error, node.line));
        None
    }
}

/// The schemas of properties that depend on another one: `attributes` once `kind` is `http`.
fn conditions_met<'a>(entries: &[Entry], schema: &'a Value) -> HashMap<&'a str, &'a Value> {
    let rules = schema.get("allOf").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let holds = |rule: &&Value| {
        object(&rule["if"], "properties").iter().all(|(name, wanted)| {
            let given = entries.iter().rfind(|entry| entry.key == *name);
            match given.map(|entry| &entry.node.content) {
                Some(Content::Text { text, .. }) => wanted["const"] == *text,
                _ => false,
            }
        })
    };
    let met = rules.iter().filter(holds);
    met.flat_map(|rule| object(&rule["then"], "properties"))
        .map(|(name, of)| (name.as_str(), of))
        .collect()
}

fn placed(error: ConfigError, line: u32) -> ConfigError {
    if line > 0 { error.at_line(line) } else { error }
}

fn is_digits(text: &str) -> bool {
    text.trim_start_matches(['+', '-']).bytes().all(|byte| byte.is_ascii_digit())
}

fn is_ambiguous_octal(text: &str) -> bool {
    let unsigned = text.trim_start_matches(['+', '-']);
    unsigned.len() > 1 && unsigned.starts_with('0') && is_digits(text)
}

fn bounds(schema: &Value) -> (i128, i128) {
    let format = schema.get("format").and_then(Value::as_str).unwrap_or_default();
    let (type_min, type_max) = match format {
        "uint16" => (0, i128::from(u16::MAX)),
        "uint32" => (0, i128::from(u32::MAX)),
        "uint64" => (0, i128::from(u64::MAX)),
        _ => (i128::from(i64::MIN), i128::from(i64::MAX)),
    };
    // Schema bounds are whole numbers that a JSON number holds exactly.
    let bound = |name: &str| schema.get(name).and_then(Value::as_number).and_then(Number::as_i128);
    (bound("minimum").unwrap_or(type_min), bound("maximum").unwrap_or(type_max))
}

fn kind_name(content: &Content) -> &'static str {
    match content {
        Content::Null | Content::Reported => "empty",
        Content::Bool(..) => "a boolean",
        Content::Number(number, _) if number.is_f64() => "not a whole number",
        Content::Number(..) => "a number",
        Content::Text { .. } => "text",
        Content::List(_) => "a list",
        Content::Map(_) => "a map",
    }
}

/// The value as an error repeats it: short, on one line, and never a secret.
fn shown(node: &Node, schema: &Value) -> String {
    let hidden = schema.get("writeOnly").is_some_and(|hidden| hidden == true);
    match &node.content {
        Content::Text { written: Written::Expanded, .. } => {
            "what the environment variable gives".into()
        }
        _ if hidden => "the value".into(),
        Content::Text { text, .. } => {
            let mut start: String = text.chars().take(SHOWN_CHARS_MAX).collect();
            if start.len() < text.len() {
                start.push('…');
            }
            format!("{start:?}")
        }
        Content::Number(_, text) | Content::Bool(_, text) => text.clone(),
        content => kind_name(content).into(),
    }
}

/// What to write where this schema holds.
fn write(schema: &Value) -> String {
    format!("write {}", expected(schema))
}

fn expected(schema: &Value) -> String {
    if let Some(choices) = schema.get("anyOf").and_then(Value::as_array) {
        return choices.iter().map(expected).collect::<Vec<_>>().join(", or ");
    }
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
        return match words.as_slice() {
            [word] => (*word).to_string(),
            words => format!("one of {}", words.join(", ")),
        };
    }
    match schema.get("format").and_then(Value::as_str) {
        Some(duration::FORMAT) => return "a duration such as 30s, 1m30s or 250ms".into(),
        Some(size::FORMAT) => return "a size such as 64Mi, 1Gi or a number of bytes".into(),
        _ => {}
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("string") => match schema["examples"][0].as_str() {
            Some(example) => format!("text such as {example}"),
            None => "text".into(),
        },
        Some("integer") => expected_number(schema),
        Some("boolean") => "true or false".into(),
        Some("array") => {
            let entry = resolved(function_schema(), &schema["items"]);
            let first = entry["required"][0].as_str().map_or("-".into(), |key| format!("- {key}:"));
            format!("a list, each entry on a line that starts with {first}")
        }
        Some("object") => {
            let key = schema["required"][0].as_str().unwrap_or("name");
            format!("keys with values, such as {key}: value")
        }
        _ => "a value".into(),
    }
}

fn expected_number(schema: &Value) -> String {
    let (min, max) = bounds(schema);
    match (min, max) {
        _ if max >= i128::from(i64::MAX) && min <= i128::from(i64::MIN) => "a whole number".into(),
        (min, max) if max >= i128::from(u32::MAX) => format!("a whole number, {min} or more"),
        (min, max) => format!("a whole number from {min} to {max}"),
    }
}

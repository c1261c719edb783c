//! What function.yaml says to this runtime, read once and checked.

use std::collections::BTreeMap;

use serde_json::Value;
use shim::HeadBlock;

/// How the program is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A process an event.
    Exec,
    /// One process for all.
    Resident(Framing),
}

/// How a resident program tells where a request or reply ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// One line of JSON each.
    Lines,
    /// A line with a number, and so many bytes.
    Length,
}

/// What becomes of standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Errors {
    /// Part of the body, as in nuclio.
    Merge,
    /// Log records.
    Separate,
}

/// What a resident program is told of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    pub id: bool,
    pub method: bool,
    pub path: bool,
    pub query: bool,
    pub headers: bool,
    pub body: bool,
}

impl Sent {
    pub const ALL: Self =
        Self { id: true, method: true, path: true, query: true, headers: true, body: true };
    pub const NONE: Self =
        Self { id: false, method: false, path: false, query: false, headers: false, body: false };

    /// True if more of an event must be read than its headers and its body.
    pub fn any_field(self) -> bool {
        self.id || self.method || self.path || self.query
    }

    fn add(&mut self, name: &str) -> Option<()> {
        let field = match name {
            "id" => &mut self.id,
            "method" => &mut self.method,
            "path" => &mut self.path,
            "query" => &mut self.query,
            "headers" => &mut self.headers,
            "body" => &mut self.body,
            _ => return None,
        };
        *field = true;
        Some(())
    }
}

#[derive(Debug)]
pub struct Settings {
    pub mode: Mode,
    pub errors: Errors,
    pub arguments: Vec<String>,
    /// A client may give the arguments of its event.
    pub client_arguments: bool,
    pub sent: Sent,
    pub response_head: HeadBlock,
    /// One of the response headers is the content type.
    pub names_content_type: bool,
    /// Names of the variables of `spec.env`.
    pub env_names: Vec<String>,
    /// A client gets to see why its event failed.
    pub shows_errors: bool,
}

type Texts = BTreeMap<String, String>;

impl Settings {
    /// `resident` is the framing that the runtime's own command line asks for.
    pub fn read(texts: &Texts, resident: Option<Framing>) -> Result<Self, String> {
        let (response_head, names_content_type) = response_head(texts)?;
        Ok(Self {
            mode: mode(texts, resident)?,
            errors: choice(
                texts,
                "stderr",
                &[("merge", Errors::Merge), ("separate", Errors::Separate)],
            )?
            .unwrap_or(Errors::Merge),
            arguments: arguments(texts)?,
            client_arguments: choice(
                texts,
                "clientArguments",
                &[("true", true), ("false", false)],
            )?
            .unwrap_or(true),
            sent: sent(texts)?,
            response_head,
            names_content_type,
            env_names: texts.get("env").map_or(Ok(Vec::new()), |text| list("env", text))?,
            shows_errors: texts.get("errorDetail").is_none_or(|detail| detail != "none"),
        })
    }
}

/// What is written as one word for nuclio is several for a program; no shell is asked.
pub fn split_arguments(text: &str) -> Vec<String> {
    text.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn mode(texts: &Texts, resident: Option<Framing>) -> Result<Mode, String> {
    let framings = [("lines", Framing::Lines), ("length", Framing::Length)];
    let framing = choice(texts, "framing", &framings)?;
    if let Some(fixed) = resident {
        return Ok(Mode::Resident(framing.unwrap_or(fixed)));
    }
    match choice(texts, "mode", &[("exec", false), ("resident", true)])? {
        Some(true) => Ok(Mode::Resident(framing.unwrap_or(Framing::Lines))),
        _ if framing.is_some() => {
            Err("runtimeAttributes.framing: is for mode: resident; write that too, or leave framing out"
                .into())
        }
        _ => Ok(Mode::Exec),
    }
}

fn choice<T: Copy>(texts: &Texts, key: &str, known: &[(&str, T)]) -> Result<Option<T>, String> {
    let Some(text) = texts.get(key) else { return Ok(None) };
    let found = known.iter().find(|(name, _)| name == text);
    found.map(|(_, value)| Some(*value)).ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        format!("runtimeAttributes.{key}: {text:?} is not known; write {}", names.join(" or "))
    })
}

fn sent(texts: &Texts) -> Result<Sent, String> {
    let Some(text) = texts.get("eventFields") else { return Ok(Sent::ALL) };
    let mut sent = Sent::NONE;
    for name in list("eventFields", text)? {
        sent.add(&name).ok_or_else(|| {
            format!(
                "runtimeAttributes.eventFields: {name:?} is no field; write id, method, path, \
                 query, headers or body"
            )
        })?;
    }
    Ok(sent)
}

fn arguments(texts: &Texts) -> Result<Vec<String>, String> {
    match texts.get("arguments") {
        None => Ok(Vec::new()),
        Some(text) if text.starts_with('[') => list("arguments", text),
        Some(text) => Ok(split_arguments(text)),
    }
}

/// A list of texts and numbers, as JSON.
fn list(key: &str, text: &str) -> Result<Vec<String>, String> {
    let wrong =
        || format!("runtimeAttributes.{key}: {text} is no list of texts; write [\"one\", \"two\"]");
    let values: Vec<Value> = serde_json::from_str(text).map_err(|_| wrong())?;
    values.into_iter().map(|value| scalar(&value).ok_or_else(wrong)).collect()
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

fn response_head(texts: &Texts) -> Result<(HeadBlock, bool), String> {
    const KEY: &str = "runtimeAttributes.responseHeaders";
    let mut head = HeadBlock::new();
    let mut names_content_type = false;
    let Some(text) = texts.get("responseHeaders") else { return Ok((head, false)) };
    let lines: serde_json::Map<String, Value> = serde_json::from_str(text)
        .map_err(|_| format!("{KEY}: {text} is no map; write names and values"))?;
    for (name, value) in lines {
        let value =
            scalar(&value).ok_or_else(|| format!("{KEY}.{name}: {value} is no text; write one"))?;
        push(&mut head, &name, &value).map_err(|problem| format!("{KEY}.{name}: {problem}"))?;
        names_content_type |= name.eq_ignore_ascii_case("content-type");
    }
    Ok((head, names_content_type))
}

/// Adds a header line unless it would break the reply's form.
pub fn push(head: &mut HeadBlock, name: &str, value: &str) -> Result<(), String> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(format!("{name:?} is no name of a header; use letters, digits and -"));
    }
    if value.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        return Err("the value has a line break or a NUL; leave it out".into());
    }
    if !head.push(name.as_bytes(), value.as_bytes()) {
        return Err("the headers of a reply are more than 16 KiB; send less".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Settings, String> {
        let texts = pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        Settings::read(&texts, None)
    }

    #[test]
    fn arguments_are_a_text_or_a_list() {
        let of = |text| read(&[("arguments", text)]).unwrap().arguments;
        assert_eq!(of("-r  .x $(id) 'a"), ["-r", ".x", "$(id)", "'a"]);
        assert_eq!(of(r#"["a b", 3, ";"]"#), ["a b", "3", ";"]);
        assert!(of("").is_empty());
        assert!(read(&[("arguments", "[[1]]")]).unwrap_err().contains("no list of texts"));
    }

    #[test]
    fn wanted_fields_are_known_ones() {
        let of = |text| read(&[("eventFields", text)]).map(|settings| settings.sent);
        assert_eq!(of("[]"), Ok(Sent::NONE));
        assert_eq!(of(r#"["body", "id"]"#), Ok(Sent { body: true, id: true, ..Sent::NONE }));
        assert!(of(r#"["bdy"]"#).unwrap_err().contains("\"bdy\" is no field"));
    }

    #[test]
    fn modes_and_framings() {
        let of = |pairs: &[(&str, &str)]| read(pairs).map(|settings| settings.mode);
        assert_eq!(of(&[]), Ok(Mode::Exec));
        let resident = ("mode", "resident");
        assert_eq!(of(&[resident]), Ok(Mode::Resident(Framing::Lines)));
        assert_eq!(of(&[resident, ("framing", "length")]), Ok(Mode::Resident(Framing::Length)));
        assert!(of(&[("framing", "length")]).unwrap_err().contains("mode: resident"));
        assert!(of(&[("mode", "daemon")]).unwrap_err().ends_with("write exec or resident"));
    }

    #[test]
    fn response_headers_cannot_break_a_reply() {
        let of = |text| read(&[("responseHeaders", text)]);
        let right = of(r#"{"Content-Type": "image/png", "X-N": 1}"#).unwrap();
        assert!(right.names_content_type && !right.response_head.as_bytes().is_empty());
        for wrong in ["[]", "x", r#"{"A B": "x"}"#, r#"{"A": "x\r\nB: y"}"#, r#"{"A": {}}"#] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}

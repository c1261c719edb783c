//! `${NAME}` in a trigger's `attributes`, `url`, `password` and `secret`, and nowhere else.
//!
//! `$${` stands for a plain `${`. Variables come through a closure; nothing here reads the
//! environment. Values of variables never appear in an error.

use crate::error::{ConfigError, Findings};
use crate::load::EnvLookup;
use crate::path::Path;
use crate::tree::{Content, Node, Written};

/// Fields of a trigger in which variables are replaced.
const FIELDS: [&str; 4] = ["attributes", "url", "password", "secret"];

/// Replaces variables in every trigger of the file.
pub(crate) fn expand_triggers(root: &mut Node, lookup: &EnvLookup<'_>, findings: &mut Findings) {
    let triggers = root.get_mut("spec").and_then(|spec| spec.get_mut("triggers"));
    let Some(Content::Map(triggers)) = triggers.map(|node| &mut node.content) else { return };
    for trigger in triggers {
        for field in FIELDS {
            if let Some(node) = trigger.node.get_mut(field) {
                let mut path = Path::of(&["spec", "triggers", &trigger.key, field]);
                expand(node, lookup, &mut path, findings);
            }
        }
    }
}

fn expand(node: &mut Node, lookup: &EnvLookup<'_>, path: &mut Path, findings: &mut Findings) {
    match &mut node.content {
        Content::Text { text, written } if text.contains("${") => match expanded(text, lookup) {
            Ok(replaced) => {
                *text = replaced;
                *written = Written::Expanded;
            }
            Err((problem, hint)) => {
                let error = ConfigError::new(path.to_string(), problem, hint);
                findings.errors.push(error.at_line(node.line));
                node.content = Content::Reported;
            }
        },
        Content::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                path.inside_index(index, |path| expand(item, lookup, path, findings));
            }
        }
        Content::Map(entries) => {
            for entry in entries {
                path.inside(&entry.key, |path| expand(&mut entry.node, lookup, path, findings));
            }
        }
        _ => {}
    }
}

/// The text with its variables replaced, or the problem and the hint.
fn expanded(text: &str, lookup: &EnvLookup<'_>) -> Result<String, (String, String)> {
    let mut replaced = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        if rest[..start].ends_with('$') {
            replaced.push_str(&rest[..start - 1]);
            replaced.push_str("${");
            rest = &rest[start + 2..];
            continue;
        }
        replaced.push_str(&rest[..start]);
        let Some((name, after)) = rest[start + 2..].split_once('}') else {
            return Err(("has ${ without }".into(), "write $${ for a plain ${".into()));
        };
        if !is_variable_name(name) {
            let problem = format!("has ${{{name}}}, which is not the name of a variable");
            return Err((problem, "write $${ for a plain ${".into()));
        }
        let Some(value) = lookup(name) else {
            let problem = format!("the environment variable {name} is not set");
            return Err((problem, format!("set {name} where the function is started")));
        };
        replaced.push_str(&value);
        rest = after;
    }
    replaced.push_str(rest);
    Ok(replaced)
}

fn is_variable_name(name: &str) -> bool {
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    starts_well && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_and_refuses() {
        let lookup = |name: &str| match name {
            "HOST" => Some("db".to_string()),
            "EMPTY" => Some(String::new()),
            "NESTED" => Some("${HOST}".to_string()),
            _ => None,
        };
        let good = [
            ("plain $HOST $ {x}", "plain $HOST $ {x}"),
            ("tcp://${HOST}:1/${HOST}${EMPTY}", "tcp://db:1/db"),
            ("$${HOST} ${HOST}", "${HOST} db"),
            ("${NESTED}", "${HOST}"),
            ("é${HOST}é", "édbé"),
        ];
        for (text, wanted) in good {
            assert_eq!(expanded(text, &lookup).as_deref(), Ok(wanted), "{text}");
        }
        let bad = [
            ("${MISSING}", "the environment variable MISSING is not set"),
            ("${HOST", "has ${ without }"),
            ("${HOST:-x}", "has ${HOST:-x}, which is not the name of a variable"),
            ("${}", "has ${}, which is not the name of a variable"),
        ];
        for (text, problem) in bad {
            assert_eq!(expanded(text, &lookup).unwrap_err().0, problem, "{text}");
        }
    }
}

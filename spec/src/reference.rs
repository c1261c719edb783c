//! The reference page of function.yaml, made from the schema and so from the types.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde_json::Value;

use crate::duration;
use crate::kubernetes::KEPT_MARK;
use crate::schema::{definition_name, function_schema, object, resolved};
use crate::size;

/// What the page says before its tables.
const HEAD: &str = include_str!("reference_head.md");

/// The page, as it is committed in `docs/reference/function-yaml.md`.
#[must_use]
pub fn reference_markdown() -> String {
    let root = function_schema();
    let mut page = String::from(HEAD);
    let mut waiting = vec!["Function".to_string()];
    let mut met: BTreeSet<String> = BTreeSet::new();
    while let Some(name) = waiting.pop() {
        if !met.insert(name.clone()) {
            continue;
        }
        let schema = if name == "Function" { root } else { &root["$defs"][name.as_str()] };
        table(&name, schema, &mut page);
        // In the order of the page: what a type refers to follows it.
        let mut below = references(root, schema);
        below.reverse();
        waiting.extend(below);
    }
    page
}

fn table(name: &str, schema: &Value, page: &mut String) {
    let _ = writeln!(page, "\n## {name}\n");
    if let Some(description) = schema["description"].as_str() {
        let _ = writeln!(page, "{description}\n");
    }
    let kept = |field: &Value| field.get(KEPT_MARK).is_some();
    let fields = object(schema, "properties");
    rows(fields.iter().filter(|(_, field)| !kept(field)), schema, page);
    if fields.values().any(kept) {
        let _ = writeln!(page, "\nKept as they are for a cluster, and not read by a processor:\n");
        rows(fields.iter().filter(|(_, field)| kept(field)), schema, page);
    }
}

fn rows<'a>(
    fields: impl Iterator<Item = (&'a String, &'a Value)>,
    schema: &Value,
    page: &mut String,
) {
    page.push_str("| field | type | default | what it is |\n|---|---|---|---|\n");
    for (name, field) in fields {
        let required = schema["required"]
            .as_array()
            .is_some_and(|names| names.iter().any(|required| required == name.as_str()));
        let default = match field.get("default") {
            _ if required => "required".to_string(),
            Some(Value::String(text)) if text.is_empty() => String::new(),
            Some(Value::String(text)) => format!("`{text}`"),
            Some(value) => format!("`{value}`"),
            None if field["type"] == "boolean" => "`false`".to_string(),
            None => String::new(),
        };
        let description = field["description"].as_str().unwrap_or_default();
        let of = if name == "attributes" { "by kind".into() } else { type_name(field) };
        let _ = writeln!(page, "| `{name}` | {of} | {default} | {} |", cell(description));
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn type_name(schema: &Value) -> String {
    if let Some(name) = definition_name(schema) {
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(choices) = schema.get("anyOf").and_then(Value::as_array) {
        return choices.iter().map(type_name).collect::<Vec<_>>().join(" or ");
    }
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        let words = words.iter().filter_map(Value::as_str).map(|word| format!("`{word}`"));
        return words.collect::<Vec<_>>().join(", ");
    }
    match schema.get("format").and_then(Value::as_str) {
        Some(duration::FORMAT) => return "duration".into(),
        Some(size::FORMAT) => return "size".into(),
        _ => {}
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("string") => "text".into(),
        Some("integer") => integer_name(schema),
        Some("boolean") => "boolean".into(),
        Some("array") => match schema.get("items") {
            Some(items) => format!("list of {}", type_name(items)),
            None => "list".into(),
        },
        Some("object") => match schema.get("additionalProperties") {
            Some(values) if values.is_object() => format!("map of {}", type_name(values)),
            _ => "map".into(),
        },
        _ => "any value".into(),
    }
}

fn integer_name(schema: &Value) -> String {
    match (schema.get("minimum"), schema.get("maximum")) {
        (Some(min), Some(max)) => format!("integer, {min} to {max}"),
        (Some(min), None) => format!("integer, from {min}"),
        _ => "integer".into(),
    }
}

/// The types that a type's fields refer to, in the order of its fields.
fn references(root: &Value, schema: &Value) -> Vec<String> {
    let mut names = Vec::new();
    for field in object(schema, "properties").values() {
        collect(field, &mut names);
    }
    for rule in schema["allOf"].as_array().into_iter().flatten() {
        for field in object(&rule["then"], "properties").values() {
            collect(field, &mut names);
        }
    }
    names.retain(|name| resolved(root, &root["$defs"][name.as_str()]).is_object());
    names
}

fn collect(schema: &Value, names: &mut Vec<String>) {
    if let Some(name) = definition_name(schema) {
        names.push(name.to_string());
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get(key) {
            collect(inner, names);
        }
    }
    for choice in schema["anyOf"].as_array().into_iter().flatten() {
        collect(choice, names);
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// The committed file must be what the types say; `UPDATE=1` writes it.
    fn assert_committed(name: &str, wanted: &str) {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/reference");
        let file = folder.join(name);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&file, wanted).unwrap();
        }
        let committed = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(
            committed == wanted,
            "docs/reference/{name} is stale; write it with: UPDATE=1 cargo test -p spec committed"
        );
    }

    #[test]
    fn committed_schema_is_fresh() {
        assert_committed("function.schema.json", &crate::schema_json());
    }

    #[test]
    fn committed_reference_is_fresh() {
        assert_committed("function-yaml.md", &reference_markdown());
    }

    #[test]
    fn every_type_has_its_table() {
        let page = reference_markdown();
        for name in object(function_schema(), "$defs").keys() {
            assert!(page.contains(&format!("\n## {name}\n")), "{name} has no table");
        }
    }

    #[test]
    fn every_field_is_described() {
        let types = object(function_schema(), "$defs").iter();
        for (name, schema) in types {
            for (field, of) in object(schema, "properties") {
                assert!(of.get("description").is_some(), "{name}.{field} has no description");
            }
        }
    }
}

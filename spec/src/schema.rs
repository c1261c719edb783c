//! The JSON schema of a function, made from the types, and the few questions asked of it.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde_json::{Map, Value};

use crate::function::Function;

/// Where the committed schema says it lives; editors show it, nothing fetches it.
const SCHEMA_TITLE: &str = "nuclio function.yaml";

/// The schema, made once.
pub(crate) fn function_schema() -> &'static Value {
    static SCHEMA: OnceLock<Value> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let mut schema = Value::from(schemars::schema_for!(Function));
        tidy(&mut schema);
        schema["title"] = SCHEMA_TITLE.into();
        schema
    })
}

/// The schema as text, as it is committed in `docs/reference/function.schema.json`.
#[must_use]
pub fn schema_json() -> String {
    format!("{:#}\n", function_schema())
}

/// Follows a `$ref` into `$defs`; any other schema is given back.
pub(crate) fn resolved<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    match definition_name(schema) {
        Some(name) => root["$defs"].get(name).unwrap_or(schema),
        None => schema,
    }
}

/// The name of the definition that a schema refers to.
pub(crate) fn definition_name(schema: &Value) -> Option<&str> {
    schema.get("$ref")?.as_str()?.strip_prefix("#/$defs/")
}

/// Every key of the format with the place it belongs to, the shallowest place first.
pub(crate) fn places_of_keys(root: &Value) -> BTreeMap<&str, String> {
    let mut places = BTreeMap::new();
    let mut level = vec![(String::new(), root)];
    // The types are not recursive, so this ends; the deepest place is ten steps down.
    while !level.is_empty() {
        let mut next = Vec::new();
        for (place, schema) in level {
            let schema = resolved(root, schema);
            for (key, child) in object(schema, "properties") {
                places.entry(key.as_str()).or_insert_with(|| place.clone());
                let below = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
                next.extend(nested(&below, child));
            }
            for (key, child) in conditional_properties(schema) {
                next.push((format!("{place}.{key}"), child));
            }
        }
        level = next;
    }
    places
}

/// Properties whose schema depends on the value of another one (`attributes` on `kind`).
fn conditional_properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let conditions = schema.get("allOf").and_then(Value::as_array);
    conditions.into_iter().flatten().flat_map(|rule| object(&rule["then"], "properties"))
}

fn nested<'a>(place: &str, schema: &'a Value) -> Vec<(String, &'a Value)> {
    if let Some(items) = schema.get("items") {
        return vec![(format!("{place}[]"), items)];
    }
    match schema.get("additionalProperties") {
        Some(values) if values.is_object() => vec![(format!("{place}.<name>"), values)],
        _ => vec![(place.to_string(), schema)],
    }
}

/// The object under `key`, or an empty one.
pub(crate) fn object<'a>(schema: &'a Value, key: &str) -> &'a Map<String, Value> {
    static EMPTY: OnceLock<Map<String, Value>> = OnceLock::new();
    let found = schema.get(key).and_then(Value::as_object);
    found.unwrap_or_else(|| EMPTY.get_or_init(Map::new))
}

/// Makes the generated schema say what the loader does: no unknown keys; a key without a value
/// is a key left out, so `null` is not told as a type; defaults only where they are one value.
fn tidy(schema: &mut Value) {
    if let Value::Array(items) = schema {
        items.iter_mut().for_each(tidy);
    }
    let Value::Object(map) = schema else { return };
    map.values_mut().for_each(tidy);
    drop_null(map);
    if let Some(Value::String(description)) = map.get_mut("description") {
        *description = description.replace('\n', " ");
    }
    if map.get("default").is_some_and(Value::is_object) {
        map.remove("default");
    }
    if is_struct(map) && !map.contains_key("additionalProperties") {
        map.insert("additionalProperties".into(), false.into());
    }
    let required: Vec<String> = match map.get("required") {
        Some(Value::Array(names)) if is_struct(map) => {
            names.iter().filter_map(Value::as_str).map(ToString::to_string).collect()
        }
        _ => return,
    };
    for name in required {
        if let Some(Value::Object(property)) = map["properties"].get_mut(&name) {
            property.remove("default");
        }
    }
}

/// Whether this is the schema of one of our types, not a condition or a table of properties.
fn is_struct(map: &Map<String, Value>) -> bool {
    map.get("type").is_some_and(|kind| kind == "object") && map.contains_key("properties")
}

fn drop_null(map: &mut Map<String, Value>) {
    if let Some(Value::Array(kinds)) = map.get_mut("type") {
        kinds.retain(|kind| kind != "null");
        if let [only] = kinds.as_slice() {
            let only = only.clone();
            map.insert("type".into(), only);
        }
    }
    if let Some(Value::Array(words)) = map.get_mut("enum") {
        words.retain(|word| !word.is_null());
    }
    if let Some(Value::Array(choices)) = map.get_mut("anyOf") {
        choices.retain(|choice| choice.get("type").is_none_or(|kind| kind != "null"));
        if let [Value::Object(only)] = choices.as_slice() {
            let only = only.clone();
            map.remove("anyOf");
            for (key, value) in only {
                map.entry(key).or_insert(value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_know_their_place() {
        let places = places_of_keys(function_schema());
        let cases = [
            ("apiVersion", ""),
            ("name", "metadata"),
            ("triggers", "spec"),
            ("numWorkers", "spec.triggers.<name>"),
            ("maxRequestBodySize", "spec.triggers.<name>.attributes"),
            ("allowOrigins", "spec.triggers.<name>.attributes.cors"),
            ("commands", "spec.build"),
            ("valueFrom", "spec.env[]"),
            ("batchSize", "spec.triggers.<name>.batch"),
        ];
        for (key, place) in cases {
            assert_eq!(places.get(key).map(String::as_str), Some(place), "{key}");
        }
    }

    #[test]
    fn null_is_not_a_type() {
        assert!(!schema_json().contains("null"));
    }
}

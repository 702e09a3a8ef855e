//! The bodies of requests, as they are read: strictly.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{SCHEMAS, operations, referred};

/// A body of which nothing is required may be left out.
pub(super) fn require(operation: &mut Value, schemas: &Value) {
    let Some(body) = operation.get_mut("requestBody") else { return };
    let schema = referred(&body["content"]["application/json"]["schema"], schemas);
    let is_optional = schema.is_some_and(|(_, schema)| schema.get("required").is_none());
    body["required"] = json!(!is_optional);
}

/// Says of every object that a body is made of that it has no members but those that are named: others are refused.
pub(super) fn close(document: &mut Value) {
    let mut open = Vec::new();
    for operation in operations(document) {
        find_references(&operation["requestBody"], &mut open);
    }
    let schemas = &mut document["components"]["schemas"];
    let mut closed = BTreeSet::new();
    while let Some(name) = open.pop() {
        if !closed.insert(name.clone()) {
            continue;
        }
        let Some(schema) = schemas.get_mut(&name) else { continue };
        if schema.get("properties").is_some() && schema.get("additionalProperties").is_none() {
            schema["additionalProperties"] = json!(false);
        }
        find_references(schema, &mut open);
    }
}

fn find_references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.extend(text.strip_prefix(SCHEMAS).map(str::to_owned)),
        Value::Array(items) => items.iter().for_each(|item| find_references(item, found)),
        Value::Object(fields) => fields.values().for_each(|field| find_references(field, found)),
        _ => {}
    }
}

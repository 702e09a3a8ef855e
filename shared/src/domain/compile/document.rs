//! The top level of a document.

use std::sync::Arc;

use serde_json::Value;

use crate::domain::fault::Fault;
use crate::domain::fields::{Faults, Fields, shown};
use crate::domain::input::InputSchema;
use crate::domain::limits::{
    DESCRIPTION_CHARS_MAX, EDGES_MAX, JSON_DEPTH_MAX, NAME_CHARS_MAX, NODES_MAX,
};
use crate::expression::Template;

const FIELDS: &[&str] = &["name", "description", "input", "nodes", "edges", "output"];

/// The top level, read.
pub(super) struct Document<'a> {
    pub(super) name: Option<Arc<str>>,
    pub(super) input_schema: Option<Value>,
    pub(super) nodes: &'a [Value],
    pub(super) edges: &'a [Value],
    pub(super) output: Option<Template>,
}

pub(super) fn read<'a>(source: &'a Value, faults: &mut Faults) -> Option<Document<'a>> {
    if let Some(pointer) = too_deep(source) {
        let message = format!("the document nests deeper than {JSON_DEPTH_MAX} levels");
        faults.add(pointer, message, "flatten it");
        return None;
    }
    let fields = Fields::open(source, String::new(), FIELDS, faults)?;
    let name = name(&fields, faults);
    description(&fields, faults);
    let input_schema = fields.get("input").and_then(|schema| input_schema(schema, faults));
    let output = fields.get("output").and_then(|it| faults.keep(Template::parse(it, "/output")));
    let nodes = match fields.required("nodes", "a list of at least one node", faults) {
        Some(_) => list(&fields, "nodes", (1, NODES_MAX), faults),
        None => Some(&[][..]),
    };
    let edges = list(&fields, "edges", (0, EDGES_MAX), faults);
    // With a part of them left out, everything that names one of that part would be called wrong.
    let (nodes, edges) = (nodes?, edges?);
    Some(Document { name, input_schema, nodes, edges, output })
}

/// The first value that lies too deep. Everything behind this check may recurse.
fn too_deep(source: &Value) -> Option<&'static str> {
    let mut open = vec![(source, 0)];
    while let Some((value, depth)) = open.pop() {
        if depth > JSON_DEPTH_MAX {
            return Some("");
        }
        match value {
            Value::Array(items) => open.extend(items.iter().map(|item| (item, depth + 1))),
            Value::Object(fields) => open.extend(fields.values().map(|value| (value, depth + 1))),
            _ => {}
        }
    }
    None
}

fn name(fields: &Fields<'_>, faults: &mut Faults) -> Option<Arc<str>> {
    const HINT: &str = "letters, digits, `-`, `_` and `.`, starting with a letter or digit";
    fields.required("name", HINT, faults)?;
    let name = fields.text("name", faults)?;
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(is_part) {
        faults.add("/name", format!("{} is no name of a workflow", shown(name)), HINT);
        return None;
    }
    if name.len() > NAME_CHARS_MAX {
        let message = format!("the name has {} characters", name.len());
        faults.add("/name", message, format!("at most {NAME_CHARS_MAX}"));
        return None;
    }
    Some(name.into())
}

fn description(fields: &Fields<'_>, faults: &mut Faults) {
    let Some(text) = fields.text("description", faults) else { return };
    // No database takes it in a text, and listings show this one.
    if text.contains('\0') {
        faults.add(
            "/description",
            "the description holds a NUL character",
            "text without `\\u0000`",
        );
    }
    let count = text.chars().count();
    if count > DESCRIPTION_CHARS_MAX {
        let message = format!("the description has {count} characters");
        faults.add("/description", message, format!("at most {DESCRIPTION_CHARS_MAX}"));
    }
}

fn input_schema(schema: &Value, faults: &mut Faults) -> Option<Value> {
    if !schema.is_object() {
        faults.add("/input", "`input` is no JSON Schema", "an object like `{type: object}`");
        return None;
    }
    let fault = |fault: Fault| faults.0.push(fault);
    InputSchema::compile(schema, "/input").map_err(fault).ok().map(|_| schema.clone())
}

/// Absent when there are more than may be looked at.
fn list<'a>(
    fields: &Fields<'a>,
    name: &str,
    (min, max): (usize, usize),
    faults: &mut Faults,
) -> Option<&'a [Value]> {
    let Some(items) = fields.list(name, faults) else { return Some(&[]) };
    if items.len() < min {
        faults.add(fields.at(name), format!("`{name}` is empty"), format!("at least {min}"));
    }
    if items.len() > max {
        let message = format!("{} {name}", items.len());
        faults.add(fields.at(name), message, format!("at most {max}"));
        return None;
    }
    Some(items)
}

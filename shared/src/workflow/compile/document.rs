//! The top level of a document.

use std::sync::Arc;

use serde_json::Value;

use crate::document::nests_within;
use crate::domain::diagnostic::Diagnostic;
use crate::domain::diagnostic::{Diagnostics, quoted};
use crate::domain::limits::{
    DESCRIPTION_CHARS_MAX, EDGES_MAX, JSON_DEPTH_MAX, NAME_CHARS_MAX, NODES_MAX,
};
use crate::expression::{Roots, Template};
use crate::workflow::budget::BudgetTerms;
use crate::workflow::fields::Fields;
use crate::workflow::input::InputSchema;
use crate::workflow::name::{SPELLING, is_spelled_right};

/// What a document has.
pub(super) const FIELDS: &[&str] =
    &["name", "description", "input", "nodes", "edges", "output", "budget"];

/// The top level, read.
pub(super) struct Document<'a> {
    pub(super) name: Option<Arc<str>>,
    pub(super) input_schema: Option<Value>,
    pub(super) nodes: &'a [Value],
    pub(super) edges: &'a [Value],
    pub(super) output: Option<Template>,
    pub(super) budget: BudgetTerms,
}

pub(super) fn read<'a>(source: &'a Value, diagnostics: &mut Diagnostics) -> Option<Document<'a>> {
    // Everything behind this check may recurse.
    if !nests_within(source, JSON_DEPTH_MAX) {
        let message = format!("the document nests deeper than {JSON_DEPTH_MAX} levels");
        diagnostics.add("", message, "flatten it");
        return None;
    }
    let fields = Fields::open(source, String::new(), FIELDS, diagnostics)?;
    let name = name(&fields, diagnostics);
    description(&fields, diagnostics);
    let input_schema = fields.get("input").and_then(|schema| input_schema(schema, diagnostics));
    let output =
        fields.get("output").map(|it| Template::read(it, "/output", Roots::Run, diagnostics));
    let budget = fields.get("budget");
    let budget = budget.and_then(|it| BudgetTerms::read(it, "/budget", diagnostics));
    let nodes = match fields.required("nodes", "a list of at least one node", diagnostics) {
        Some(_) => list(&fields, "nodes", (1, NODES_MAX), diagnostics),
        None => Some(&[][..]),
    };
    let edges = list(&fields, "edges", (0, EDGES_MAX), diagnostics);
    // With a part of them left out, everything that names one of that part would be called wrong.
    let (nodes, edges) = (nodes?, edges?);
    let budget = budget.unwrap_or_default();
    Some(Document { name, input_schema, nodes, edges, output, budget })
}

fn name(fields: &Fields<'_>, diagnostics: &mut Diagnostics) -> Option<Arc<str>> {
    fields.required("name", SPELLING, diagnostics)?;
    let name = fields.text("name", diagnostics)?;
    if !is_spelled_right(name) {
        diagnostics.add("/name", format!("{} is no name of a workflow", quoted(name)), SPELLING);
        return None;
    }
    if name.len() > NAME_CHARS_MAX {
        let message = format!("the name has {} characters", name.len());
        diagnostics.add("/name", message, format!("at most {NAME_CHARS_MAX}"));
        return None;
    }
    Some(name.into())
}

fn description(fields: &Fields<'_>, diagnostics: &mut Diagnostics) {
    let Some(text) = fields.text("description", diagnostics) else { return };
    // No database takes it in a text, and listings show this one.
    if text.contains('\0') {
        diagnostics.add(
            "/description",
            "the description holds a NUL character",
            "text without `\\u0000`",
        );
    }
    let count = text.chars().count();
    if count > DESCRIPTION_CHARS_MAX {
        let message = format!("the description has {count} characters");
        diagnostics.add("/description", message, format!("at most {DESCRIPTION_CHARS_MAX}"));
    }
}

fn input_schema(schema: &Value, diagnostics: &mut Diagnostics) -> Option<Value> {
    if !schema.is_object() {
        diagnostics.add("/input", "`input` is no JSON Schema", "an object like `{type: object}`");
        return None;
    }
    let diagnostic = |diagnostic: Diagnostic| diagnostics.0.push(diagnostic);
    InputSchema::compile(schema, "/input").map_err(diagnostic).ok().map(|_| schema.clone())
}

/// Absent when there are more than may be looked at.
fn list<'a>(
    fields: &Fields<'a>,
    name: &str,
    (min, max): (usize, usize),
    diagnostics: &mut Diagnostics,
) -> Option<&'a [Value]> {
    let Some(items) = fields.list(name, diagnostics) else { return Some(&[]) };
    if items.len() < min {
        diagnostics.add(fields.at(name), format!("`{name}` is empty"), format!("at least {min}"));
    }
    if items.len() > max {
        let message = format!("{} {name}", items.len());
        diagnostics.add(fields.at(name), message, format!("at most {max}"));
        return None;
    }
    Some(items)
}

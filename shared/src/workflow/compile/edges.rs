//! The edges of a document.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::Value;

use super::nodes::DraftNode;
use crate::domain::diagnostic::nearest;
use crate::domain::diagnostic::{Diagnostics, quoted};
use crate::domain::graph::NodeIx;
use crate::domain::kind::NodeKind;
use crate::domain::words::any_of;
use crate::expression::Condition;
use crate::workflow::fields::{Fields, as_text, as_texts};
use crate::workflow::params;
use crate::workflow::params::condition::condition;
use crate::workflow::plan::{EdgeOn, OnError};

/// What an edge has.
pub(super) const FIELDS: &[&str] = &["from", "to", "when", "branch", "on"];

/// An edge as far as it makes sense.
#[derive(Debug)]
pub(super) struct DraftEdge {
    pub(super) pointer: String,
    pub(super) from: Option<NodeIx>,
    pub(super) to: Option<NodeIx>,
    pub(super) on: EdgeOn,
    pub(super) branch: Option<Arc<str>>,
    pub(super) when: Option<Condition>,
}

impl DraftEdge {
    /// Both ends, when it has them.
    pub(super) fn ends(&self) -> Option<(NodeIx, NodeIx)> {
        self.from.zip(self.to)
    }
}

pub(super) fn read(
    edges: &[Value],
    nodes: &[DraftNode],
    index: &HashMap<Arc<str>, NodeIx>,
    diagnostics: &mut Diagnostics,
) -> Vec<DraftEdge> {
    let mut drafts = Vec::new();
    let mut seen: HashSet<String> = HashSet::new();
    for (at, value) in edges.iter().enumerate() {
        let pointer = format!("/edges/{at}");
        let Some(fields) = Fields::open(value, pointer, FIELDS, diagnostics) else { continue };
        let draft = edge(&fields, index, diagnostics);
        check_ends(&draft, nodes, diagnostics);
        check_branch(&draft, &fields, nodes, diagnostics);
        if draft.ends().is_some() && !seen.insert(identity(&fields, draft.on)) {
            let hint = "leave one of the two out";
            diagnostics.add(&draft.pointer, "the same edge is there already", hint);
        }
        drafts.push(draft);
    }
    drafts
}

/// What makes two edges the same.
fn identity(fields: &Fields<'_>, on: EdgeOn) -> String {
    let part = |name: &str| fields.get(name).map(Value::to_string).unwrap_or_default();
    format!("{}\n{}\n{on:?}\n{}\n{}", part("from"), part("to"), part("branch"), part("when"))
}

fn edge(
    fields: &Fields<'_>,
    index: &HashMap<Arc<str>, NodeIx>,
    diagnostics: &mut Diagnostics,
) -> DraftEdge {
    let from = end(fields, "from", index, diagnostics);
    let to = end(fields, "to", index, diagnostics);
    let words = [("success", EdgeOn::Success), ("error", EdgeOn::Error)];
    let on = fields.word("on", &words, diagnostics).unwrap_or(EdgeOn::Success);
    let branch = fields.text("branch", diagnostics).map(Into::into);
    let when = fields.get("when").and_then(|it| condition(it, &fields.at("when"), diagnostics));
    DraftEdge { pointer: fields.pointer.clone(), from, to, on, branch, when }
}

fn end(
    fields: &Fields<'_>,
    name: &str,
    index: &HashMap<Arc<str>, NodeIx>,
    diagnostics: &mut Diagnostics,
) -> Option<NodeIx> {
    fields.required(name, "the id of a node", diagnostics)?;
    let id = fields.text(name, diagnostics)?;
    let found = index.get(id).copied();
    if found.is_none() {
        let hint = unknown_node_hint(id, index);
        diagnostics.add(fields.at(name), format!("there is no node {}", quoted(id)), hint);
    }
    found
}

/// What to say about an id that names nothing.
pub(super) fn unknown_node_hint(id: &str, index: &HashMap<Arc<str>, NodeIx>) -> String {
    // In a fixed order, whatever the map's is.
    let mut ids: Vec<&str> = index.keys().map(|key| &**key).collect();
    ids.sort_unstable();
    nearest(id, ids).map_or_else(
        || "name one of the nodes of this workflow".to_owned(),
        |id| format!("did you mean `{id}`?"),
    )
}

fn check_ends(edge: &DraftEdge, nodes: &[DraftNode], diagnostics: &mut Diagnostics) {
    if let Some((from, to)) = edge.ends()
        && from == to
    {
        let message = format!("`{}` leads to itself", nodes[from].name());
        diagnostics.add(&edge.pointer, message, "a workflow has no loops");
    }
    let from = edge.from.map(|from| &nodes[from]);
    if let Some(node) = from.filter(|node| node.always_fails()) {
        let name = node.name();
        let message =
            format!("this edge is never taken: `{name}` always fails, and its run with it");
        let hint = format!("leave the edge out; what is to happen first has an edge to `{name}`");
        diagnostics.add(format!("{}/from", edge.pointer), message, hint);
        return;
    }
    let handles = from.and_then(|node| node.on_error.as_ref());
    if let (EdgeOn::Error, Some(node), Some(OnError::Fail | OnError::Continue { .. })) =
        (edge.on, from, handles)
    {
        let message =
            format!("this edge is never taken: `{}` has no `on_error: branch`", node.name());
        let hint = "write `on_error: branch` on the node, or leave the edge out";
        diagnostics.add(format!("{}/on", edge.pointer), message, hint);
    }
}

fn check_branch(
    edge: &DraftEdge,
    fields: &Fields<'_>,
    nodes: &[DraftNode],
    diagnostics: &mut Diagnostics,
) {
    let Some(node) = edge.from.map(|from| &nodes[from]) else { return };
    let Some(kind) = node.kind else { return };
    let chooses = params::chooses_branch(kind) && edge.on == EdgeOn::Success;
    match (&edge.branch, chooses) {
        (Some(_), false) => {
            let hint = match edge.on {
                EdgeOn::Error => {
                    "an edge with `on: error` is for a failure, which chose no branch".to_owned()
                }
                EdgeOn::Success => format!("only a {} chooses branches; use `when`", choosers()),
            };
            diagnostics.add(
                fields.at("branch"),
                format!("`branch` on an edge out of `{}`", node.name()),
                hint,
            );
        }
        (None, true) if !fields.has("branch") => {
            let branches = node.params.as_ref().map(|it| as_texts(&it.branches));
            let hint = format!("one of {}", branches.unwrap_or_default());
            let name = node.name();
            let message = format!("`branch` is missing on an edge out of the {kind} `{name}`");
            diagnostics.add(&edge.pointer, message, hint);
        }
        (Some(branch), true) => {
            let Some(params) = &node.params else { return };
            // Without branches the condition itself is at fault.
            if !params.branches.is_empty() && !params.branches.contains(branch) {
                let names = params.branches.iter().map(|name| &**name);
                let hint = nearest(branch, names).map_or_else(
                    || format!("one of {}", as_texts(&params.branches)),
                    |name| format!("did you mean `{}`?", as_text(name)),
                );
                let message = format!("`{}` has no branch {}", node.name(), quoted(branch));
                diagnostics.add(fields.at("branch"), message, hint);
            }
        }
        _ => {}
    }
}

/// The kinds that choose branches, for messages.
fn choosers() -> String {
    let all = NodeKind::ALL.iter().filter(|kind| params::chooses_branch(**kind));
    any_of(&all.map(|kind| kind.as_str()).collect::<Vec<_>>())
}

/// A node that hands its failures to edges needs one.
pub(super) fn check_error_branches(
    nodes: &[DraftNode],
    edges: &[DraftEdge],
    diagnostics: &mut Diagnostics,
) {
    for (at, node) in nodes.iter().enumerate() {
        let is_handled =
            || edges.iter().any(|edge| edge.from == Some(at) && edge.on == EdgeOn::Error);
        if node.on_error == Some(OnError::Branch) && !is_handled() {
            let message = "`on_error: branch` without an edge that has `on: error`";
            let hint = format!("add an edge `{{from: {}, to: ..., on: error}}`", node.name());
            diagnostics.add(format!("{}/on_error", node.pointer), message, hint);
        }
    }
}

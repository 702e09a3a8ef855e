//! Who may read whose output: only what has ended for sure by then.

use std::collections::HashMap;
use std::sync::Arc;

use super::DIAGNOSTICS_MAX;
use super::document::Document;
use super::edges::{DraftEdge, unknown_node_hint};
use super::graph::Ancestors;
use super::nodes::DraftNode;
use crate::domain::diagnostic::{Diagnostic, Diagnostics, Part, quoted};
use crate::domain::graph::NodeIx;
use crate::expression::{Read, Root};

struct Checker<'a> {
    index: HashMap<Arc<str>, NodeIx>,
    /// Nodes that there are not and that others are named for: looking for what is meant takes long, and nobody reads
    /// more.
    looked_for: usize,
    diagnostics: &'a mut Diagnostics,
}

impl Checker<'_> {
    /// Checks references against a rule; what breaks it gets the message and hint.
    fn check(
        &mut self,
        reads: &[Read],
        may_read: impl Fn(NodeIx) -> bool,
        explain: impl Fn(&str) -> (String, String),
    ) {
        for read in reads {
            let Root::Node(node) = &read.root else { continue };
            let (message, hint) = match self.index.get(node) {
                None => {
                    self.looked_for += 1;
                    let hint = match self.looked_for > DIAGNOSTICS_MAX {
                        true => String::new(),
                        false => unknown_node_hint(node, &self.index),
                    };
                    (format!("there is no node {}", quoted(node)), hint)
                }
                Some(found) if !may_read(*found) => explain(node),
                Some(_) => continue,
            };
            let diagnostic = Diagnostic::new(&*read.pointer, message, hint);
            self.diagnostics.0.push(diagnostic.of(Part::Text(read.offset)));
        }
    }
}

/// Checks all references. Without `ancestors` (there is a cycle) only whether the nodes exist.
pub(super) fn check(
    document: &Document<'_>,
    nodes: &[DraftNode],
    edges: &[DraftEdge],
    ancestors: Option<&Ancestors>,
    diagnostics: &mut Diagnostics,
) {
    let index = nodes.iter().enumerate().rev();
    let index = index.filter_map(|(at, node)| Some((node.key.clone()?, at))).collect();
    let mut checker = Checker { index, looked_for: 0, diagnostics };
    let is_before = |of: NodeIx, node: NodeIx| ancestors.is_none_or(|it| it.may_contain(of, node));
    for (at, node) in nodes.iter().enumerate() {
        let Some(params) = &node.params else { continue };
        let explain = |other: &str| {
            let name = node.name();
            if other == name {
                let message = format!("`{name}` reads its own output");
                return (message, "a node reads the outputs of nodes before it".to_owned());
            }
            let message = format!("`{name}` reads `{other}`, which does not come before it");
            (message, format!("add edges that lead from `{other}` to `{name}`"))
        };
        let reads = &params.template.references().reads;
        checker.check(reads, |other| is_before(at, other), explain);
    }
    for edge in edges {
        let (Some(when), Some(from)) = (&edge.when, edge.from) else { continue };
        let explain = |other: &str| {
            let name = nodes[from].name();
            let message = format!("this edge reads `{other}`, which does not come before its end");
            (message, format!("it may read `{name}` and the nodes before `{name}`"))
        };
        let may_read = |other| other == from || is_before(from, other);
        checker.check(&when.references().reads, may_read, explain);
    }
    if let Some(output) = &document.output {
        checker.check(&output.references().reads, |_| true, |_| (String::new(), String::new()));
    }
}

//! Who may read whose output: only what has ended for sure by then.

use std::collections::HashMap;
use std::sync::Arc;

use super::document::Document;
use super::edges::{DraftEdge, unknown_node_hint};
use super::graph::Ancestors;
use super::nodes::DraftNode;
use crate::domain::diagnostic::Diagnostics;
use crate::domain::graph::NodeIx;
use crate::expression::NodeReference;

struct Checker<'a> {
    index: HashMap<Arc<str>, NodeIx>,
    diagnostics: &'a mut Diagnostics,
}

impl Checker<'_> {
    /// Checks references against a rule; what breaks it gets the message and hint.
    fn check(
        &mut self,
        references: &[NodeReference],
        may_read: impl Fn(NodeIx) -> bool,
        explain: impl Fn(&str) -> (String, String),
    ) {
        for reference in references {
            let location = format!("(line {}, column {})", reference.line, reference.column);
            match self.index.get(&reference.node) {
                None => {
                    let hint = unknown_node_hint(&reference.node, &self.index);
                    let message = format!("there is no node `{}` {location}", reference.node);
                    self.diagnostics.add(&reference.pointer, message, hint);
                }
                Some(node) if !may_read(*node) => {
                    let (message, hint) = explain(&reference.node);
                    self.diagnostics.add(&reference.pointer, format!("{message} {location}"), hint);
                }
                Some(_) => {}
            }
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
    let mut checker = Checker { index, diagnostics };
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
        checker.check(
            &params.template.references().locations,
            |other| is_before(at, other),
            explain,
        );
    }
    for edge in edges {
        let (Some(when), Some(from)) = (&edge.when, edge.from) else { continue };
        let explain = |other: &str| {
            let name = nodes[from].name();
            let message = format!("this edge reads `{other}`, which does not come before its end");
            (message, format!("it may read `{name}` and the nodes before `{name}`"))
        };
        let may_read = |other| other == from || is_before(from, other);
        checker.check(&when.references().locations, may_read, explain);
    }
    if let Some(output) = &document.output {
        checker.check(&output.references().locations, |_| true, |_| (String::new(), String::new()));
    }
}

//! The plan, once there is nothing wrong.

use std::collections::HashMap;
use std::sync::Arc;

use super::document::Document;
use super::edges::DraftEdge;
use super::nodes::DraftNode;
use crate::domain::graph::{Graph, NodeIx};
use crate::workflow::plan::{Plan, PlanEdge, PlanNode};

/// Puts the plan together. Nothing comes of drafts that are not whole; their diagnostics are reported already.
pub(super) fn plan(
    document: Document<'_>,
    nodes: Vec<DraftNode>,
    edges: Vec<DraftEdge>,
    index: HashMap<Arc<str>, NodeIx>,
) -> Option<Plan> {
    let edge_count = u32::try_from(edges.len()).ok()?;
    let mut nodes = nodes.into_iter().map(node).collect::<Option<Vec<_>>>()?;
    let ends = edges.iter().map(DraftEdge::ends).collect::<Option<Vec<_>>>()?;
    let graph = Graph::new(nodes.len(), ends);
    for edge in edges {
        let (from, to) = edge.ends()?;
        nodes[to].parents.push(from);
        nodes[from].edges.push(PlanEdge { to, on: edge.on, branch: edge.branch, when: edge.when });
    }
    for node in &mut nodes {
        node.parents.sort_unstable();
        node.parents.dedup();
    }
    Some(Plan {
        name: document.name?,
        nodes,
        graph,
        output: document.output,
        input_schema: document.input_schema,
        budget: document.budget,
        edge_count,
        index,
    })
}

fn node(draft: DraftNode) -> Option<PlanNode> {
    let params = draft.params?;
    Some(PlanNode {
        key: draft.key?,
        kind: draft.kind?,
        params: params.template,
        effect: params.effect,
        on_uncertain: draft.on_uncertain,
        retry: draft.retry,
        timeout: draft.timeout,
        on_error: draft.on_error?,
        edges: Vec::new(),
        parents: Vec::new(),
    })
}

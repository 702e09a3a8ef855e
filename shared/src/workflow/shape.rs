//! Which node of a workflow follows on which, read off a document and nothing else: for those who look back at its runs.
//! It was compiled when it was published, and compiling it again would cost a hundred times as much.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;

use crate::domain::graph::NodeIx;
use crate::domain::ids::NodeKey;

/// The nodes of a workflow and what leads to each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shape {
    /// Their ids, in the order of the document.
    pub nodes: Vec<NodeKey>,
    /// For each of them, the nodes whose edges lead there.
    pub parents: Vec<Vec<NodeIx>>,
    index: HashMap<NodeKey, NodeIx>,
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    nodes: Vec<Node>,
    #[serde(default)]
    edges: Vec<Edge>,
}

#[derive(Deserialize)]
struct Node {
    id: Arc<str>,
}

#[derive(Deserialize)]
struct Edge {
    from: Arc<str>,
    to: Arc<str>,
}

impl Shape {
    /// The shape of a document that was published, as JSON text. `None` where it cannot be read, or where its edges go in
    /// a circle: nobody has published that.
    #[must_use]
    pub fn of_document(text: &str) -> Option<Self> {
        let Document { nodes, edges } = serde_json::from_str(text).ok()?;
        let nodes: Vec<_> = nodes.into_iter().map(|node| node.id).collect();
        let index: HashMap<_, _> = nodes.iter().cloned().zip(0..).collect();
        let mut parents = vec![Vec::new(); nodes.len()];
        for Edge { from, to } in &edges {
            let (from, to) = (*index.get(from)?, *index.get(to)?);
            if !parents[to].contains(&from) {
                parents[to].push(from);
            }
        }
        parents.iter_mut().for_each(|parents| parents.sort_unstable());
        let shape = Self { nodes, parents, index };
        shape.is_acyclic().then_some(shape)
    }

    /// The place of the node called `key`.
    #[must_use]
    pub fn find(&self, key: &str) -> Option<NodeIx> {
        self.index.get(key).copied()
    }

    /// Takes away nodes that nothing leads to, until none is left or all that are left are on a circle or behind one.
    fn is_acyclic(&self) -> bool {
        let mut children = vec![Vec::new(); self.nodes.len()];
        let mut missing: Vec<_> = self.parents.iter().map(Vec::len).collect();
        for (node, parents) in self.parents.iter().enumerate() {
            parents.iter().for_each(|parent: &NodeIx| children[*parent].push(node));
        }
        let mut free: Vec<NodeIx> = (0..missing.len()).filter(|node| missing[*node] == 0).collect();
        let mut taken = 0;
        while let Some(node) = free.pop() {
            taken += 1;
            for child in &children[node] {
                missing[*child] -= 1;
                if missing[*child] == 0 {
                    free.push(*child);
                }
            }
        }
        taken == missing.len()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::workflow::compile::compile;

    fn document() -> Value {
        let node = |id: &str| json!({ "id": id, "type": "log", "params": { "message": id } });
        json!({
            "name": "w",
            "nodes": [node("a"), node("b"), node("c"), node("d")],
            "edges": [
                { "from": "a", "to": "c" }, { "from": "b", "to": "c", "when": "{{ true }}" },
                { "from": "b", "to": "c" }, { "from": "c", "to": "d" },
            ],
        })
    }

    #[test]
    fn a_shape_is_that_of_the_plan() {
        let plan = compile(&document()).unwrap();
        let shape = Shape::of_document(&document().to_string()).unwrap();
        let nodes: Vec<_> = plan.nodes.iter().map(|node| node.key.clone()).collect();
        assert_eq!(shape.nodes, nodes);
        for (node, parents) in shape.parents.iter().enumerate() {
            assert_eq!(*parents, plan.nodes[node].parents);
            assert_eq!(shape.find(&plan.nodes[node].key), Some(node));
        }
        assert_eq!(shape.find("x"), None);
    }

    #[test]
    fn what_nobody_has_published_has_no_shape() {
        assert_eq!(Shape::of_document("{}"), Some(Shape::default()));
        assert_eq!(Shape::of_document("[1]"), None);
        let mut circle = document();
        circle["edges"].as_array_mut().unwrap().push(json!({ "from": "d", "to": "a" }));
        assert_eq!(Shape::of_document(&circle.to_string()), None);
        let mut loose = document();
        loose["edges"][0]["to"] = "x".into();
        assert_eq!(Shape::of_document(&loose.to_string()), None);
    }
}

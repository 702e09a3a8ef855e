//! What a workflow's document plans, as far as pictures need it: which nodes there are, and which lead to which.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::client::{NodeRun, Run};

/// A node of the document, which may not have a row in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PlannedNode {
    /// Its id.
    pub(super) id: String,
    /// Its type.
    pub(super) kind: String,
}

/// The nodes of a document, parents before children. Empty where no document could be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    nodes: Vec<PlannedNode>,
    /// By node, the places of those that it leads to.
    children: Vec<Vec<usize>>,
}

/// A node as pictures list it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Listed<'a> {
    /// One that the run has a row of.
    Known(&'a NodeRun),
    /// One that is planned and has none.
    Planned(&'a PlannedNode),
}

impl Plan {
    /// The plan of a document, as far as it can be read: whoever checks it says what is wrong with the rest.
    #[must_use]
    pub fn of(document: &Value) -> Self {
        let list = |name: &str| document.get(name).and_then(Value::as_array).into_iter().flatten();
        let text = |of: &Value, name: &str| Some(of.get(name)?.as_str()?.to_owned());
        let nodes: Vec<_> = list("nodes")
            .filter_map(|node| {
                Some(PlannedNode { id: text(node, "id")?, kind: text(node, "type")? })
            })
            .collect();
        let places: HashMap<&str, usize> =
            nodes.iter().enumerate().map(|(at, node)| (node.id.as_str(), at)).collect();
        let mut children = vec![Vec::new(); nodes.len()];
        for edge in list("edges") {
            let end = |name: &str| places.get(edge.get(name)?.as_str()?).copied();
            if let Some((from, to)) = end("from").zip(end("to")) {
                children[from].push(to);
            }
        }
        let order = parents_first(&children, |at| at);
        let mut moved_to = vec![0; nodes.len()];
        for (to, from) in order.iter().enumerate() {
            moved_to[*from] = to;
        }
        let children_of = |from: &usize| children[*from].iter().map(|to| moved_to[*to]).collect();
        Self {
            nodes: order.iter().map(|from| nodes[*from].clone()).collect(),
            children: order.iter().map(children_of).collect(),
        }
    }

    /// The nodes, parents first, else in the order of the document.
    pub(super) fn nodes(&self) -> &[PlannedNode] {
        &self.nodes
    }

    /// All nodes, those of the run and those that are planned alone: parents first, else in the order in which they began.
    /// Where nothing is known of the plan, that order alone is left.
    pub(super) fn listed<'a>(&'a self, run: &'a Run) -> Vec<Listed<'a>> {
        let mut rows: HashMap<&str, Vec<&NodeRun>> = HashMap::new();
        for node in &run.nodes {
            rows.entry(&node.node).or_default().push(node);
        }
        for rows in rows.values_mut() {
            rows.sort_by_key(|node| began(node));
        }
        let began_at = |at: usize| {
            let rows = rows.get(self.nodes[at].id.as_str());
            (rows.map_or(DateTime::<Utc>::MAX_UTC, |rows| began(rows[0])), at)
        };
        let mut listed = Vec::new();
        for at in parents_first(&self.children, began_at) {
            let planned = &self.nodes[at];
            match rows.get(planned.id.as_str()) {
                Some(rows) => listed.extend(rows.iter().copied().map(Listed::Known)),
                None => listed.push(Listed::Planned(planned)),
            }
        }
        let planned: HashSet<&str> = self.nodes.iter().map(|node| node.id.as_str()).collect();
        let mut others: Vec<_> =
            run.nodes.iter().filter(|node| !planned.contains(node.node.as_str())).collect();
        others.sort_by_key(|node| began(node));
        listed.extend(others.into_iter().map(Listed::Known));
        listed
    }
}

/// When something happened to a node for the first time.
fn began(node: &NodeRun) -> DateTime<Utc> {
    let first = node.first_started_at().or(node.finished_at).or(node.queued_at);
    first.unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// The places in an order in which each stands behind those that lead to it, and otherwise by their keys. Those of a
/// circle come last.
fn parents_first<K: Ord>(children: &[Vec<usize>], key: impl Fn(usize) -> K) -> Vec<usize> {
    let mut missing = vec![0_usize; children.len()];
    for to in children.iter().flatten() {
        missing[*to] += 1;
    }
    let is_ready = |at: &usize| missing[*at] == 0;
    let ready = (0..children.len()).filter(is_ready).map(|at| Reverse((key(at), at)));
    let mut ready: BinaryHeap<_> = ready.collect();
    let mut order = Vec::with_capacity(children.len());
    while let Some(Reverse((_, at))) = ready.pop() {
        order.push(at);
        for to in &children[at] {
            missing[*to] -= 1;
            if missing[*to] == 0 {
                ready.push(Reverse((key(*to), *to)));
            }
        }
    }
    order.extend((0..children.len()).filter(|at| missing[*at] > 0));
    order
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::render::samples::{at, run};

    fn ids(plan: &Plan) -> Vec<&str> {
        plan.nodes().iter().map(|node| node.id.as_str()).collect()
    }

    fn listed(plan: &Plan, run: &Run) -> Vec<String> {
        let name = |listed: &Listed<'_>| match listed {
            Listed::Known(node) => node.label(),
            Listed::Planned(node) => format!("({})", node.id),
        };
        plan.listed(run).iter().map(name).collect()
    }

    #[test]
    fn parents_stand_before_children_and_otherwise_all_as_in_the_document() {
        let plan = Plan::of(&json!({
            "nodes": [{"id": "join", "type": "log"}, {"id": "b", "type": "http"}, {"id": 3}, {"id": "a", "type": "http"}],
            "edges": [{"from": "a", "to": "join"}, {"from": "b", "to": "join"}, {"from": "b", "to": "none"}, 7],
        }));
        assert_eq!(ids(&plan), ["b", "a", "join"]);
        assert_eq!(plan.children, [vec![2], vec![2], vec![]]);
        for nothing in [json!(null), json!([]), json!({"nodes": 3})] {
            assert_eq!(Plan::of(&nothing), Plan::default());
        }
        // No server takes it; it is drawn before one says so.
        let node = |id: &str| json!({"id": id, "type": "log"});
        let circle = Plan::of(&json!({
            "nodes": [node("x"), node("y"), node("z")],
            "edges": [{"from": "x", "to": "y"}, {"from": "y", "to": "x"}, {"from": "z", "to": "x"}],
        }));
        assert_eq!(ids(&circle), ["z", "x", "y"]);
    }

    #[test]
    fn nodes_of_a_run_stand_behind_their_parents_and_by_when_they_began() {
        let node = |id: &str| json!({"id": id, "type": "http"});
        let mut seen = run();
        let fetch = seen.nodes[0].clone();
        let named = |name: &str, start: i64| NodeRun {
            node: name.to_owned(),
            started_at: Some(at(start)),
            ..fetch.clone()
        };
        // A join has a row from the first of its parents on; what was computed in one commit began at one time.
        seen.nodes =
            vec![named("join", 50), named("late", 50), named("early", 7), named("other", 1)];
        let plan = Plan::of(&json!({
            "nodes": [node("join"), node("late"), node("early"), node("never"), node("first")],
            "edges": [{"from": "late", "to": "join"}, {"from": "early", "to": "join"}, {"from": "join", "to": "never"}],
        }));
        assert_eq!(listed(&plan, &seen), ["early", "late", "join", "(never)", "(first)", "other"]);
        assert_eq!(listed(&Plan::default(), &seen), ["other", "early", "join", "late"]);
    }

    #[test]
    fn repetitions_of_a_node_stand_together() {
        let mut seen = run();
        seen.nodes[1].node = "fetch".to_owned();
        for (node, scope) in seen.nodes.iter_mut().zip(["1", "0"]) {
            node.scope = scope.to_owned();
        }
        let plan = Plan::of(&json!({"nodes": [{"id": "fetch", "type": "http"}]}));
        assert_eq!(listed(&plan, &seen), ["fetch[1]", "fetch[0]"]);
    }
}

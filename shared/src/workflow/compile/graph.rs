//! Cycles, and who comes before whom.

use super::edges::DraftEdge;
use super::nodes::DraftNode;
use crate::domain::diagnostic::Diagnostics;
use crate::domain::graph::NodeIx;

/// The ancestors of every node, as one bit for each pair.
#[derive(Debug)]
pub(super) struct Ancestors {
    words: usize,
    bits: Vec<u64>,
    /// Nodes that an edge leaves for nobody knows where: it may be meant to lead anywhere.
    leaving: Vec<NodeIx>,
    /// Nodes that an edge from nobody knows where leads to.
    arriving: Vec<NodeIx>,
}

impl Ancestors {
    /// Whether `ancestor` may come before `node` as far as can be known: where an edge lacks an end,
    /// that is its diagnostic, and not one of every expression that relies on it.
    pub(super) fn may_contain(&self, node: NodeIx, ancestor: NodeIx) -> bool {
        let leads_on = |at: &NodeIx| *at == ancestor || self.contains(*at, ancestor);
        let comes_in = |at: &NodeIx| *at == node || self.contains(node, *at);
        self.contains(node, ancestor)
            || self.leaving.iter().any(leads_on)
            || self.arriving.iter().any(comes_in)
    }

    /// Whether every path to `node` may have come through `ancestor`; a node is none of its own.
    fn contains(&self, node: NodeIx, ancestor: NodeIx) -> bool {
        self.bits[node * self.words + ancestor / 64] & (1 << (ancestor % 64)) != 0
    }

    fn of(nodes: usize, order: &[NodeIx], successors: &[Vec<NodeIx>]) -> Self {
        let words = nodes.div_ceil(64);
        let bits = vec![0; nodes * words];
        let mut ancestors = Self { words, bits, leaving: Vec::new(), arriving: Vec::new() };
        for from in order {
            for to in &successors[*from] {
                for word in 0..words {
                    ancestors.bits[to * words + word] |= ancestors.bits[from * words + word];
                }
                ancestors.bits[to * words + from / 64] |= 1 << (from % 64);
            }
        }
        ancestors
    }
}

/// Finds the ancestors of every node, or a cycle, which is a diagnostic.
pub(super) fn check(
    nodes: &[DraftNode],
    edges: &[DraftEdge],
    diagnostics: &mut Diagnostics,
) -> Option<Ancestors> {
    let mut successors = vec![Vec::new(); nodes.len()];
    // An edge from a node to itself is reported already.
    for (from, to) in edges.iter().filter_map(DraftEdge::ends).filter(|(from, to)| from != to) {
        successors[from].push(to);
    }
    let order = sorted(&successors);
    if order.len() == nodes.len() {
        let mut ancestors = Ancestors::of(nodes.len(), &order, &successors);
        let open = || edges.iter().filter(|edge| edge.ends().is_none());
        ancestors.leaving = open().filter_map(|edge| edge.from).collect();
        ancestors.arriving = open().filter_map(|edge| edge.to).collect();
        return Some(ancestors);
    }
    for cycle in cycles(&successors, &order) {
        let mut names: Vec<&str> = cycle.iter().map(|node| nodes[*node].name()).collect();
        names.extend(names.first().copied());
        let last = cycle.last().copied().zip(cycle.first().copied());
        let back = edges.iter().find(|edge| edge.ends() == last);
        let pointer = back.map_or("/edges", |edge| &edge.pointer);
        let message = format!("a cycle: {}", names.join(" -> "));
        diagnostics.add(pointer, message, "a workflow has no loops; leave one of these edges out");
    }
    None
}

/// The nodes, each after all that lead to it. `None` if there is a cycle.
pub(super) fn order(nodes: &[DraftNode], edges: &[DraftEdge]) -> Option<Vec<NodeIx>> {
    let mut successors = vec![Vec::new(); nodes.len()];
    for (from, to) in edges.iter().filter_map(DraftEdge::ends) {
        successors[from].push(to);
    }
    Some(sorted(&successors)).filter(|order| order.len() == nodes.len())
}

/// The nodes that are in no cycle and behind none, each after all that lead to it (Kahn, 1962).
fn sorted(successors: &[Vec<NodeIx>]) -> Vec<NodeIx> {
    let mut missing = vec![0_usize; successors.len()];
    for to in successors.iter().flatten() {
        missing[*to] += 1;
    }
    let mut order: Vec<NodeIx> = (0..successors.len()).filter(|node| missing[*node] == 0).collect();
    let mut next = 0;
    while let Some(from) = order.get(next).copied() {
        next += 1;
        for to in &successors[from] {
            missing[*to] -= 1;
            if missing[*to] == 0 {
                order.push(*to);
            }
        }
    }
    order
}

/// Cycles that share no node, each from its first node in the document on.
fn cycles(successors: &[Vec<NodeIx>], order: &[NodeIx]) -> Vec<Vec<NodeIx>> {
    let mut done = vec![false; successors.len()];
    for node in order {
        done[*node] = true;
    }
    let mut found = Vec::new();
    for start in 0..successors.len() {
        if !done[start]
            && let Some(mut cycle) = cycle_from(start, successors, &mut done)
        {
            let first = cycle.iter().enumerate().min_by_key(|(_, node)| **node);
            let first = first.map_or(0, |(at, _)| at);
            cycle.rotate_left(first);
            found.push(cycle);
        }
    }
    found
}

/// Walks depth first from `start` until it meets its own path. Everything walked is done.
fn cycle_from(start: NodeIx, successors: &[Vec<NodeIx>], done: &mut [bool]) -> Option<Vec<NodeIx>> {
    let mut path: Vec<(NodeIx, usize)> = vec![(start, 0)];
    done[start] = true;
    while let Some((node, next)) = path.last_mut() {
        let Some(to) = successors[*node].get(*next).copied() else {
            path.pop();
            continue;
        };
        *next += 1;
        if let Some(at) = path.iter().position(|(node, _)| *node == to) {
            return Some(path[at..].iter().map(|(node, _)| *node).collect());
        }
        if !done[to] {
            done[to] = true;
            path.push((to, 0));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ancestors_are_transitive_and_one_sided() {
        // 0 -> 1 -> 2, 3 -> 2, and 70 more nodes, so that a row takes two words.
        let mut successors = vec![Vec::new(); 74];
        successors[0] = vec![1];
        successors[1] = vec![2];
        successors[3] = vec![2];
        successors[2] = vec![73];
        let ancestors = Ancestors::of(74, &sorted(&successors), &successors);
        for (node, ancestor, expected) in [
            (2, 0, true),
            (2, 1, true),
            (2, 3, true),
            (1, 3, false),
            (0, 2, false),
            (2, 2, false),
            (73, 0, true),
        ] {
            assert_eq!(ancestors.contains(node, ancestor), expected, "{ancestor} before {node}");
        }
    }

    #[test]
    fn cycles_are_found_apart_from_what_leads_in_and_out() {
        // 0 -> 1 -> 2 -> 1, 2 -> 3, and 4 <-> 5.
        let successors = vec![vec![1], vec![2], vec![1, 3], vec![], vec![5], vec![4]];
        assert_eq!(cycles(&successors, &sorted(&successors)), [vec![1, 2], vec![4, 5]]);
    }
}

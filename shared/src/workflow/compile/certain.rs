//! Whether what a node reads is there for sure: what may be skipped needs a default.
//!
//! A node ends in one of several ways: with one of its branches, or with a failure that an edge is for. Of each way, the
//! edges without a `when` say which nodes run for sure then. What runs whatever way it is runs for sure once the node
//! has. From that follows what has run when a node is about to: what has on each of the edges that may lead there.
//!
//! Whether two conditions hold together is not known; there a warning may be too much.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::document::Document;
use super::edges::DraftEdge;
use super::graph;
use super::nodes::DraftNode;
use crate::domain::diagnostic::{Diagnostic, Diagnostics, Part, Severity};
use crate::domain::graph::NodeIx;
use crate::expression::{Guard, Read, Root};
use crate::workflow::plan::{EdgeOn, OnError};

/// A set of nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct NodeSet(Vec<u64>);

impl NodeSet {
    fn none(nodes: usize) -> Self {
        Self(vec![0; nodes.div_ceil(64)])
    }

    fn of(nodes: usize, node: NodeIx) -> Self {
        let mut set = Self::none(nodes);
        set.0[node / 64] |= 1 << (node % 64);
        set
    }

    fn has(&self, node: NodeIx) -> bool {
        self.0[node / 64] & (1 << (node % 64)) != 0
    }

    fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word |= other);
    }

    fn keep(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word &= other);
    }
}

/// How a node ends, as far as edges make a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending<'n> {
    Success,
    Branch(&'n str),
    Failure,
}

impl<'n> Ending<'n> {
    fn all(node: &'n DraftNode) -> Vec<Self> {
        let branches = node.params.as_ref().map_or(&[][..], |params| &params.branches);
        let mut all: Vec<_> = match branches {
            [] => vec![Self::Success],
            branches => branches.iter().map(|name| Self::Branch(name)).collect(),
        };
        if node.on_error == Some(OnError::Branch) {
            all.push(Self::Failure);
        }
        all
    }

    /// That which an edge is for.
    fn of(edge: &'n DraftEdge) -> Self {
        match (edge.on, &edge.branch) {
            (EdgeOn::Error, _) => Self::Failure,
            (EdgeOn::Success, Some(branch)) => Self::Branch(branch),
            (EdgeOn::Success, None) => Self::Success,
        }
    }
}

/// Which runs are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Among {
    All,
    Succeeded,
}

/// What has run for sure, when something else does.
struct Certain<'d> {
    nodes: &'d [DraftNode],
    edges: &'d [DraftEdge],
    /// The edges out of each node.
    leaving: Vec<Vec<usize>>,
    /// What runs for sure once a node has, with itself.
    then: Vec<NodeSet>,
    /// What has run for sure when a node is about to.
    before: Vec<NodeSet>,
    /// What runs in every run.
    always: NodeSet,
}

impl<'d> Certain<'d> {
    /// Among all runs, or among those alone that succeed: there, nothing ends in a way that leads to what always fails.
    /// `None` if the edges go in a circle.
    fn of(nodes: &'d [DraftNode], edges: &'d [DraftEdge], among: Among) -> Option<Self> {
        let count = nodes.len();
        let (mut leaving, mut arriving) = (vec![Vec::new(); count], vec![Vec::new(); count]);
        for (at, edge) in edges.iter().enumerate() {
            let (from, to) = edge.ends()?;
            leaving[from].push(at);
            arriving[to].push(at);
        }
        let order = graph::order(nodes, edges)?;
        let then = (0..count).map(|node| NodeSet::of(count, node)).collect();
        let before = vec![NodeSet::none(count); count];
        let mut certain =
            Self { nodes, edges, leaving, then, before, always: NodeSet::none(count) };
        for node in order.iter().rev() {
            let endings = Ending::all(&nodes[*node]).into_iter();
            let after: Vec<_> = endings.map(|ending| certain.after(*node, ending)).collect();
            let may_succeed = |after: &&NodeSet| among == Among::All || !certain.fails(after);
            // Where all of them fail, so does whatever leads here.
            let is_lost = !after.iter().any(|it| may_succeed(&it));
            let counted = after.iter().filter(|it| is_lost || may_succeed(it));
            let every = counted.cloned().reduce(|mut every, after| {
                every.keep(&after);
                every
            });
            if let Some(every) = every {
                certain.then[*node].add(&every);
            }
        }
        for node in (0..count).filter(|node| arriving[*node].is_empty()) {
            certain.always.add(&certain.then[node]);
        }
        for node in order {
            let mut edges = arriving[node].iter().map(|edge| certain.along(*edge));
            let mut before = edges.next().unwrap_or_else(|| NodeSet::none(count));
            edges.for_each(|other| before.keep(&other));
            before.add(&certain.always);
            for other in (0..count).filter(|other| before.has(*other)).collect::<Vec<_>>() {
                before.add(&certain.then[other]);
            }
            certain.before[node] = before;
        }
        Some(certain)
    }

    /// Whether a run fails in which all of these run.
    fn fails(&self, set: &NodeSet) -> bool {
        self.nodes.iter().enumerate().any(|(at, node)| node.always_fails() && set.has(at))
    }

    /// What runs for sure when a node ends in one way.
    fn after(&self, node: NodeIx, ending: Ending<'_>) -> NodeSet {
        let mut set = NodeSet::none(self.nodes.len());
        for edge in self.leaving[node].iter().map(|edge| &self.edges[*edge]) {
            if let (None, Some(to), true) = (&edge.when, edge.to, Ending::of(edge) == ending) {
                set.add(&self.then[to]);
            }
        }
        set
    }

    /// What has run for sure when an edge is taken.
    fn along(&self, edge: usize) -> NodeSet {
        let edge = &self.edges[edge];
        let Some(from) = edge.from else { return NodeSet::none(self.nodes.len()) };
        let mut set = self.before[from].clone();
        set.add(&self.then[from]);
        set.add(&self.after(from, Ending::of(edge)));
        set
    }
}

/// Warns of what may have been skipped and is read as if it had not. There must be no error in the document.
pub(super) fn check(
    document: &Document<'_>,
    nodes: &[DraftNode],
    edges: &[DraftEdge],
    index: &HashMap<Arc<str>, NodeIx>,
    diagnostics: &mut Diagnostics,
) {
    let Some(certain) = Certain::of(nodes, edges, Among::All) else { return };
    let mut warnings = Warnings { index, seen: HashSet::new(), diagnostics };
    for (node, before) in nodes.iter().zip(&certain.before) {
        let Some(params) = &node.params else { continue };
        let when = format!("when `{}` runs", node.name());
        warnings.add(&params.template.references().reads, before, &when);
    }
    for (at, edge) in edges.iter().enumerate() {
        if let Some(when) = &edge.when {
            let reads = &when.references().reads;
            warnings.add(reads, &certain.along(at), "when this is asked");
        }
    }
    // Of a run that fails there is no output.
    if let (Some(output), Some(certain)) =
        (&document.output, Certain::of(nodes, edges, Among::Succeeded))
    {
        warnings.add(&output.references().reads, &certain.always, "when the run ends");
    }
}

struct Warnings<'c> {
    index: &'c HashMap<Arc<str>, NodeIx>,
    /// Strings and nodes: one warning for each is enough.
    seen: HashSet<(Arc<str>, NodeIx)>,
    diagnostics: &'c mut Diagnostics,
}

impl Warnings<'_> {
    fn add(&mut self, reads: &[Read], ran: &NodeSet, when: &str) {
        for read in reads.iter().filter(|read| read.guard == Guard::Nothing) {
            let Root::Node(name) = &read.root else { continue };
            let Some(node) = self.index.get(name) else { continue };
            if ran.has(*node) || !self.seen.insert((Arc::clone(&read.pointer), *node)) {
                continue;
            }
            let message = format!("`nodes.{name}` may have been skipped {when}");
            let hint = format!(
                "say what holds then: `nodes.{name} | default(none)`, or `… if nodes.{name} is defined else …`"
            );
            let diagnostic = Diagnostic::new(&*read.pointer, message, hint);
            let diagnostic = diagnostic.of(Part::Text(read.offset));
            self.diagnostics.0.push(Diagnostic { severity: Severity::Warning, ..diagnostic });
        }
    }
}

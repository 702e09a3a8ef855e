//! A workflow ready to run: checked, compiled, indexed. Made by [`super::compile`] from a document, once a
//! version and process, and never changed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::domain::graph::{Graph, NodeIx};
use crate::domain::ids::NodeKey;
use crate::domain::kind::{Effect, NodeKind, OnUncertain};
use crate::domain::retry::RetryPolicy;
use crate::expression::{Condition, Template};
use crate::workflow::budget::BudgetTerms;

/// A workflow ready to run.
#[derive(Debug)]
pub struct Plan {
    /// The workflow's name.
    pub name: Arc<str>,
    /// Its nodes in the order of the document.
    pub nodes: Vec<PlanNode>,
    /// How they hang together. `graph.successors(n)[i]` is where `nodes[n].edges[i]` leads; a static
    /// sink has no edge of its own, only the one into `__end__`.
    pub graph: Graph,
    /// What the run yields. Without it, the outputs of the static sinks by node id.
    pub output: Option<Template>,
    /// The JSON Schema of the input.
    pub input_schema: Option<Value>,
    /// What each of its runs may spend at most.
    pub budget: BudgetTerms,
    /// Edges as written (those into `__end__` do not count).
    pub edge_count: u32,
    /// Node indexes by key.
    pub index: HashMap<NodeKey, NodeIx>,
}

/// One node of a plan.
#[derive(Debug)]
pub struct PlanNode {
    /// Its id in the document.
    pub key: NodeKey,
    /// What it does.
    pub kind: NodeKind,
    /// Its parameters, expressions compiled.
    pub params: Template,
    /// What running it twice would do.
    pub effect: Effect,
    /// What a crash inside an unsafe effect means.
    pub on_uncertain: OnUncertain,
    /// When to try again.
    pub retry: RetryPolicy,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// What its failure means for the run.
    pub on_error: OnError,
    /// The edges that leave it, as written.
    pub edges: Vec<PlanEdge>,
    /// The nodes whose edges lead here, each once, in plan order: what its span links to.
    pub parents: Vec<NodeIx>,
}

/// An edge.
#[derive(Debug)]
pub struct PlanEdge {
    /// Where it leads.
    pub to: NodeIx,
    /// Which ending it is for.
    pub on: EdgeOn,
    /// The branch that must have been chosen, on an edge out of a `condition`.
    pub branch: Option<Arc<str>>,
    /// What must hold besides.
    pub when: Option<Condition>,
}

/// Which ending of a node an edge is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EdgeOn {
    /// It succeeded, or failed and continued with its default.
    Success,
    /// It failed, and its `on_error` is `branch`.
    Error,
}

/// What a node's failure means.
#[derive(Debug, Clone, PartialEq)]
pub enum OnError {
    /// The run fails.
    Fail,
    /// The run goes on as if the node had succeeded.
    Continue {
        /// What it counts as having yielded.
        output: Value,
        /// The branch that it counts as having chosen, where its kind chooses one.
        branch: Option<Arc<str>>,
    },
    /// The run goes on along the edges with `on: error`. The node's output is `{"error": {code, message}}`.
    Branch,
}

impl Plan {
    /// The index of the node called `key`.
    #[must_use]
    pub fn find(&self, key: &str) -> Option<NodeIx> {
        self.index.get(key).copied()
    }

    /// The static sinks: the nodes that lead into `__end__`.
    pub fn sinks(&self) -> impl Iterator<Item = NodeIx> + '_ {
        (0..self.nodes.len()).filter(|node| self.nodes[*node].edges.is_empty())
    }

    /// The entry nodes: where a run starts.
    pub fn entries(&self) -> impl Iterator<Item = NodeIx> + '_ {
        self.graph.entries()
    }
}

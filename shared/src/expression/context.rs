//! A scope as minijinja sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use minijinja::value::{Enumerator, Object, Value};
use serde_json::Value as Json;

use super::Scope;
use super::allowance::Allowance;
use super::budget::{BUDGET, Budget};
use super::value::lazy;

/// What the expressions of one tree share: the roots, and the budget.
pub(super) struct Context {
    pub(super) root: Value,
    pub(super) budget: Arc<Budget>,
}

impl Context {
    /// The scope, cut down to the nodes that are read.
    pub(super) fn new(scope: &Scope, nodes: &BTreeSet<Arc<str>>, allowance: &Allowance) -> Self {
        let budget = Budget::new(allowance.clone());
        let outputs = nodes
            .iter()
            .filter_map(|node| Some((Arc::clone(node), Arc::clone(scope.nodes.get(node)?))))
            .collect();
        let root = Value::from_object(Roots {
            input: Arc::clone(&scope.input),
            run: Arc::clone(&scope.run),
            args: scope.args.clone(),
            nodes: Value::from_object(Nodes { outputs, budget: Arc::clone(&budget) }),
            budget: Arc::clone(&budget),
        });
        Self { root, budget }
    }
}

struct Roots {
    input: Arc<Json>,
    run: Arc<Json>,
    args: Option<Arc<Json>>,
    nodes: Value,
    budget: Arc<Budget>,
}

impl Object for Roots {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        match key {
            "input" => Some(lazy(&self.input, &self.budget)),
            "run" => Some(lazy(&self.run, &self.budget)),
            "args" => Some(lazy(self.args.as_ref()?, &self.budget)),
            "nodes" => Some(self.nodes.clone()),
            BUDGET => Some(Value::from_dyn_object(Arc::clone(&self.budget))),
            _ => None,
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::NonEnumerable
    }
}

struct Nodes {
    outputs: BTreeMap<Arc<str>, Arc<Json>>,
    budget: Arc<Budget>,
}

impl Object for Nodes {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        Some(lazy(self.outputs.get(key)?, &self.budget))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::NonEnumerable
    }
}

/// Never the values: this may end up in an error message.
impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("roots")
    }
}

impl fmt::Debug for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nodes")
    }
}

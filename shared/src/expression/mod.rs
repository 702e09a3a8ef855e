//! Expressions: minijinja in all parameters, with typed results and limits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

/// What an expression may look at.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// The run's input.
    pub input: Arc<Value>,
    /// What is known of the run: `id`, `workflow`, `version`, `created_at`, `server_url` ...
    pub run: Arc<Value>,
    /// The outputs of ended nodes by id. A skipped one is absent, and so undefined.
    pub nodes: BTreeMap<Arc<str>, Arc<Value>>,
}

/// Why an expression yielded nothing. The message names the place in the source, never a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExpressionError {
    /// JSON Pointer of the template within the parameters.
    pub pointer: String,
    /// What went wrong.
    pub message: String,
}

/// A JSON value whose strings may hold `{{ expressions }}`.
#[derive(Debug, Clone)]
pub struct Template {}

impl Template {
    /// The nodes whose outputs it reads.
    #[must_use]
    pub fn nodes(&self) -> &BTreeSet<Arc<str>> {
        unimplemented!()
    }

    /// Whether it reads the run's input.
    #[must_use]
    pub fn reads_input(&self) -> bool {
        unimplemented!()
    }

    /// Renders it: a string that is one lone `{{ expr }}` yields the expression's typed value, any
    /// other string yields text.
    ///
    /// # Errors
    /// When an expression fails, names something undefined, runs out of fuel or yields too much.
    pub fn render(&self, scope: &Scope) -> Result<Value, ExpressionError> {
        let _ = scope;
        unimplemented!()
    }
}

/// An expression that must yield true or false.
#[derive(Debug, Clone)]
pub struct Condition {}

impl Condition {
    /// The nodes whose outputs it reads.
    #[must_use]
    pub fn nodes(&self) -> &BTreeSet<Arc<str>> {
        unimplemented!()
    }

    /// Evaluates it.
    ///
    /// # Errors
    /// When it fails or yields something that is neither true nor false.
    pub fn holds(&self, scope: &Scope) -> Result<bool, ExpressionError> {
        let _ = scope;
        unimplemented!()
    }
}

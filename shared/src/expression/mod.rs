//! Expressions: minijinja in all parameters, with typed results and limits.
//!
//! # The language
//!
//! A string that is exactly one `{{ expr }}` (a line break after it does not count) yields the JSON
//! value of the expression, with its type. Any other string is text in which `{{ expr }}` writes strings as
//! they are and other values as JSON, and in which there are `{% if %}` and `{% for %}`.
//!
//! An expression starts from `input`, `run` or `nodes.<id>`, that of a tool also from `args`. What is undefined fails, also when it is
//! the whole expression; `nodes.<id>` is undefined when the node was skipped, which
//! `nodes.a is defined` tests. What is missing on the way to the value of `default` and of `is defined` is undefined
//! itself: `nodes.a.error.message | default('none')`.
//!
//! Numbers, text, truth values and lists of such have an order; to compare anything else with `<` and its like, or to
//! `sort` it, fails, also with values of different types. Any two values are equal or not.
//!
//! # Limits
//!
//! A workflow's author is not trusted with the worker's memory and time. minijinja's fuel bounds what
//! an expression computes and creates, and `meter` charges for what it looks at; the static rules of
//! `analysis` and the replaced filters keep small values from standing for huge ones; results are converted
//! with a budget; and copies out of the inputs, which fuel does not see, have a budget of their own. An
//! [`Allowance`] says how much of all that there is, until when.
//!
//! Errors name line and column and the author's own text, and never a value.

mod allowance;
mod analysis;
mod budget;
mod builtins;
mod compare;
mod condition;
mod constants;
mod context;
mod engine;
mod failure;
mod filters;
mod foreign;
mod leaf;
mod lexer;
mod meter;
mod missing;
mod operators;
mod ordering;
mod path;
mod program;
mod read;
mod reads;
mod reason;
mod source;
mod template;
mod value;
mod walk;

#[cfg(test)]
mod bomb_tests;
#[cfg(test)]
mod language_tests;
#[cfg(test)]
mod meter_tests;
#[cfg(test)]
mod problem_tests;
#[cfg(test)]
mod undefined_tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

pub use allowance::{Allowance, Cause};
pub use condition::Condition;
pub(crate) use foreign::{LENGTH as INSTEAD_OF_LENGTH, method as instead_of_method};
pub use lexer::{expressions_in, find_outside};
pub use reads::{Guard, Read, References, Root, Step, Usage};
pub use template::{Choice, DYNAMIC_STRINGS_MAX, Template};

/// The members of `run`. Each is there but for `server_url`, which a server may not know.
pub const RUN_MEMBERS: &[&str] = &[
    "id",
    "workflow",
    "version",
    "created_at",
    "trace_id",
    "organization",
    "workspace",
    "user",
    "server_url",
];

/// What an expression may read.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// The run's input.
    pub input: Arc<Value>,
    /// What is known of the run: [`RUN_MEMBERS`].
    pub run: Arc<Value>,
    /// The outputs of ended nodes by id. A skipped one is absent, and so undefined.
    pub nodes: BTreeMap<Arc<str>, Arc<Value>>,
    /// What a tool is called with, while its request is made.
    pub args: Option<Arc<Value>>,
}

/// What an expression may start from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Roots {
    /// `input`, `run` and `nodes.<id>`.
    #[default]
    Run,
    /// And `args`: what a model calls a tool with.
    Call,
}

/// Why an expression yielded nothing. The message names line and column in the source, never a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExpressionError {
    /// JSON Pointer of the template, as it was given when the template was compiled.
    pub pointer: String,
    /// What went wrong.
    pub message: String,
    /// Whose fault it is.
    pub cause: Cause,
}

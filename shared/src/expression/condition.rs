//! An expression that must yield true or false.

use std::sync::Arc;

use super::context::Context;
use super::leaf::{Leaf, Mode};
use super::{Allowance, ExpressionError, References, Roots, Scope};
use crate::domain::diagnostic::Diagnostic;

/// An expression that must yield true or false. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Condition {
    leaf: Arc<Leaf>,
    references: Arc<References>,
}

impl Condition {
    /// Compiles an expression, with or without `{{ }}` around it.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(source: &str, pointer: &str) -> Result<Self, Vec<Diagnostic>> {
        if source.trim().is_empty() {
            let hint = "write an expression that yields true or false";
            return Err(vec![Diagnostic::new(pointer, "an empty condition", hint)]);
        }
        let mut references = References::default();
        let leaf = Leaf::parse(source, pointer, Mode::Expression, Roots::Run, &mut references)?;
        Ok(Self { leaf: Arc::new(leaf), references: Arc::new(references) })
    }

    /// What it reads.
    #[must_use]
    pub fn references(&self) -> &References {
        &self.references
    }

    /// Evaluates it.
    ///
    /// # Errors
    /// When it fails, yields something that is neither true nor false, or takes more than it is allowed.
    pub fn holds(&self, scope: &Scope, allowance: &Allowance) -> Result<bool, ExpressionError> {
        self.holds_in(&Context::new(scope, &self.references.nodes, allowance))
    }

    pub(super) fn holds_in(&self, context: &Context) -> Result<bool, ExpressionError> {
        self.leaf.holds(context)
    }
}

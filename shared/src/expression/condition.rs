//! An expression that must yield true or false.

use std::sync::Arc;

use super::context::Context;
use super::leaf::Leaf;
use super::read::{Findings, Mode, read};
use super::{Allowance, ExpressionError, References, Roots, Scope};
use crate::domain::diagnostic::{Diagnostic, Diagnostics};

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
        let mut diagnostics = Diagnostics::default();
        let condition = Self::read(source, pointer, &mut diagnostics);
        diagnostics.into_result(condition)
    }

    /// The same for whoever gathers diagnostics: what comes of one that has errors can say what it reads, and never
    /// holds.
    pub(crate) fn read(source: &str, pointer: &str, diagnostics: &mut Diagnostics) -> Self {
        if source.trim().is_empty() {
            let hint = "write an expression that yields true or false";
            diagnostics.add(pointer, "an empty condition", hint);
        }
        let mut findings = Findings::default();
        let leaf = read(source, pointer, Mode::Expression, Roots::Run, &mut findings);
        // An empty one has been told of.
        if !source.trim().is_empty() {
            diagnostics.0.append(&mut findings.diagnostics.0);
        }
        Self { leaf: Arc::new(leaf), references: Arc::new(findings.references) }
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

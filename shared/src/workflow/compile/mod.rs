//! From a document to a plan, or to everything that is wrong with it.
//!
//! A pipeline of passes, each of which goes as far as it can with what the ones before it could make
//! sense of: `document` (the top level), `nodes`, `edges`, `graph` (cycles, ancestors),
//! `references` (who may read whose output). Then `assemble` puts the plan together, which only
//! happens without any error.
//!
//! What is published is also held against what can be known of the values that it reads: `members` (what there is in
//! them), `certain` (whether they are there). A plan needs neither.

mod assemble;
mod certain;
mod document;
mod edges;
mod graph;
mod known;
mod members;
mod nodes;
mod order;
mod references;
pub mod schema;

#[cfg(test)]
mod check_tests;
#[cfg(test)]
mod diagnostic_tests;
#[cfg(test)]
mod plan_tests;

use serde_json::Value;

use super::plan::Plan;
use crate::document::{self as text, Format};
use crate::domain::diagnostic::{Diagnostic, Diagnostics, Severity};

/// Diagnostics that are reported of one document. Nobody reads more at once.
pub const DIAGNOSTICS_MAX: usize = 100;

/// A document that may be published.
#[derive(Debug)]
pub struct Checked {
    /// It, as JSON.
    pub document: Value,
    /// Its plan.
    pub plan: Plan,
    /// What may not do what is meant, in document order, up to [`DIAGNOSTICS_MAX`] and one that says how many there are
    /// besides.
    pub warnings: Vec<Diagnostic>,
}

/// Why a document may not be published.
#[derive(Debug)]
pub enum Refused {
    /// Its text cannot be read.
    Malformed(Box<Diagnostic>),
    /// Everything that is wrong with it, in document order, up to [`DIAGNOSTICS_MAX`] and one that says how many there
    /// are besides. Never an empty list.
    Invalid(Vec<Diagnostic>),
}

/// Reads, checks and compiles a document that is to be published. All diagnostics have line and column.
///
/// # Errors
/// When there are errors, or mistakes. Warnings are not told of beside them.
pub fn check(source: &str, format: Option<Format>) -> Result<Checked, Refused> {
    let bare = source.trim_start_matches('\u{feff}');
    let format = format.unwrap_or_else(|| Format::of_text(bare));
    let malformed = |diagnostic| Refused::Malformed(Box::new(diagnostic));
    let document = text::parse(source, Some(format)).map_err(malformed)?;
    let mut diagnostics = Diagnostics::default();
    let plan = run_passes(&document, Purpose::Publishing, &mut diagnostics);
    let is_warning = |diagnostic: &Diagnostic| diagnostic.severity == Severity::Warning;
    let (warnings, wrong): (Vec<_>, Vec<_>) = diagnostics.0.into_iter().partition(is_warning);
    let placed = |diagnostics| {
        let mut diagnostics = order::in_document_order(&document, diagnostics);
        text::locate(source, format, &mut diagnostics);
        diagnostics
    };
    match plan {
        Some(plan) if wrong.is_empty() => {
            let warnings = if warnings.is_empty() { warnings } else { placed(warnings) };
            Ok(Checked { document, plan, warnings })
        }
        _ => Err(Refused::Invalid(placed(wrong))),
    }
}

/// Compiles a document that was published: by rules that were the same or less strict.
///
/// # Errors
/// Every error of the document at once, in document order, up to [`DIAGNOSTICS_MAX`] and then one that says how
/// many there are besides. Never an empty list.
pub fn compile(document: &Value) -> Result<Plan, Vec<Diagnostic>> {
    let mut diagnostics = Diagnostics::default();
    let plan = run_passes(document, Purpose::Running, &mut diagnostics);
    diagnostics.0.retain(|diagnostic| diagnostic.severity == Severity::Error);
    match plan {
        Some(plan) if diagnostics.0.is_empty() => Ok(plan),
        _ => Err(order::in_document_order(document, diagnostics.0)),
    }
}

/// What a document is compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Publishing,
    Running,
}

fn run_passes(source: &Value, purpose: Purpose, diagnostics: &mut Diagnostics) -> Option<Plan> {
    let document = document::read(source, diagnostics)?;
    let nodes = nodes::read(document.nodes, diagnostics);
    let index = nodes::index(&nodes, diagnostics);
    let edges = edges::read(document.edges, &nodes, &index, diagnostics);
    edges::check_error_branches(&nodes, &edges, diagnostics);
    let ancestors = graph::check(&nodes, &edges, diagnostics);
    references::check(&document, &nodes, &edges, ancestors.as_ref(), diagnostics);
    if purpose == Purpose::Publishing {
        members::check(&document, &nodes, &edges, &index, diagnostics);
        if !diagnostics.has_errors() {
            certain::check(&document, &nodes, &edges, &index, diagnostics);
        }
    }
    assemble::plan(document, nodes, edges, index)
}

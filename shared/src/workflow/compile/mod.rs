//! From a document to a plan, or to everything that is wrong with it.
//!
//! A pipeline of passes, each of which goes as far as it can with what the ones before it could make
//! sense of: `document` (the top level), `nodes`, `edges`, `graph` (cycles, ancestors),
//! `references` (who may read whose output). Then `assemble` puts the plan together, which only
//! happens without any diagnostic.

mod assemble;
mod document;
mod edges;
mod graph;
mod nodes;
mod order;
mod references;

#[cfg(test)]
mod diagnostic_tests;
#[cfg(test)]
mod plan_tests;

use super::plan::Plan;
use crate::domain::diagnostic::Diagnostic;
use crate::domain::diagnostic::Diagnostics;

/// Diagnostics that are reported of one document. Nobody reads more at once.
pub const DIAGNOSTICS_MAX: usize = 100;

/// Checks a document and compiles it.
///
/// # Errors
/// Every diagnostic of the document at once, in document order, up to [`DIAGNOSTICS_MAX`] and then one that says how
/// many there are besides. Never an empty list.
pub fn compile(document: &serde_json::Value) -> Result<Plan, Vec<Diagnostic>> {
    let mut diagnostics = Diagnostics::default();
    let plan = run_passes(document, &mut diagnostics);
    match plan {
        Some(plan) if diagnostics.0.is_empty() => Ok(plan),
        _ => Err(order::in_document_order(document, diagnostics.0)),
    }
}

fn run_passes(source: &serde_json::Value, diagnostics: &mut Diagnostics) -> Option<Plan> {
    let document = document::read(source, diagnostics)?;
    let nodes = nodes::read(document.nodes, diagnostics);
    let index = nodes::index(&nodes, diagnostics);
    let edges = edges::read(document.edges, &nodes, &index, diagnostics);
    edges::check_error_branches(&nodes, &edges, diagnostics);
    let ancestors = graph::check(&nodes, &edges, diagnostics);
    references::check(&document, &nodes, &edges, ancestors.as_ref(), diagnostics);
    assemble::plan(document, nodes, edges, index)
}

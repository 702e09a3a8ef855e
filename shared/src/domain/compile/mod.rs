//! From a document to a plan, or to everything that is wrong with it.
//!
//! A pipeline of passes, each of which goes as far as it can with what the ones before it could make
//! sense of: `document` (the top level), `nodes`, `edges`, `graph` (cycles, ancestors),
//! `references` (who may read whose output). Then `assemble` puts the plan together, which only
//! happens without any fault.

mod assemble;
mod document;
mod edges;
mod graph;
mod nodes;
mod order;
mod references;

#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod plan_tests;

use super::fault::Fault;
use super::fields::Faults;
use super::plan::Plan;

/// Faults that are told of one document. Nobody reads more at once.
pub const FAULTS_MAX: usize = 100;

/// Checks a document and compiles it.
///
/// # Errors
/// Every fault of the document at once, in document order, up to [`FAULTS_MAX`] and then one that says how
/// many there are besides. Never an empty list.
pub fn compile(document: &serde_json::Value) -> Result<Plan, Vec<Fault>> {
    let mut faults = Faults::default();
    let plan = run_passes(document, &mut faults);
    match plan {
        Some(plan) if faults.0.is_empty() => Ok(plan),
        _ => Err(order::in_document_order(document, faults.0)),
    }
}

fn run_passes(source: &serde_json::Value, faults: &mut Faults) -> Option<Plan> {
    let document = document::read(source, faults)?;
    let nodes = nodes::read(document.nodes, faults);
    let index = nodes::index(&nodes, faults);
    let edges = edges::read(document.edges, &nodes, &index, faults);
    edges::check_error_branches(&nodes, &edges, faults);
    let ancestors = graph::check(&nodes, &edges, faults);
    references::check(&document, &nodes, &edges, ancestors.as_ref(), faults);
    assemble::plan(document, nodes, edges, index)
}

//! `transform`: computes a value from other values.
//!
//! # Rendered
//!
//! `{value}`; the node's output is `value`.

use std::sync::Arc;

use super::{Parameter, Reader, Shape};

/// The parameters.
pub const PARAMETERS: &[Parameter] = &[Parameter {
    name: "value",
    shape: Shape::Any,
    required: true,
    doc: "The value that the node yields.",
}];

pub(super) fn compile(reader: &mut Reader<'_, '_>) -> Option<Vec<Arc<str>>> {
    reader.take(&["value"]);
    None
}

//! `log`: writes a line into the run's log.
//!
//! # Rendered
//!
//! `{level, message, data?}`.

use std::sync::Arc;

use super::{Parameter, Reader, Shape};

/// The levels that there are.
pub const LEVELS: &[&str] = &["debug", "info", "warn", "error"];

/// The parameters.
pub const PARAMETERS: &[Parameter] = &[
    Parameter {
        name: "level",
        shape: Shape::Word(LEVELS),
        required: false,
        doc: "How important it is, info unless given.",
    },
    Parameter { name: "message", shape: Shape::Text, required: true, doc: "What the line says." },
    Parameter {
        name: "data",
        shape: Shape::Any,
        required: false,
        doc: "Anything that goes with it.",
    },
];

pub(super) fn compile(reader: &mut Reader<'_, '_>) -> Option<Vec<Arc<str>>> {
    if !reader.fields.has("level") {
        reader.put_constant("level", "info");
    }
    reader.take(&["level", "message", "data"]);
    None
}

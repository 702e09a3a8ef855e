//! `delay`: waits without holding a worker.
//!
//! # Rendered
//!
//! `{for}`, a duration as [`crate::domain::duration`] reads it, or `{until}`, a time stamp of RFC 3339. What is
//! constant has been checked; what comes out of an expression has not.

use std::sync::Arc;

use chrono::DateTime;

use super::{Parameter, Reader, Shape};
use crate::domain::limits::DELAY_MAX;
use crate::workflow::fields::checked_duration;

/// The parameters.
pub const PARAMETERS: &[Parameter] = &[
    Parameter {
        name: "for",
        shape: Shape::Any,
        required: false,
        doc: "How long to wait, like `5s` or `2h`, or a number of seconds.",
    },
    Parameter {
        name: "until",
        shape: Shape::Text,
        required: false,
        doc: "When to go on, like `2030-01-31T09:00:00Z`. A time that has passed does not wait.",
    },
];

pub(super) fn compile(reader: &mut Reader<'_, '_>) -> Option<Vec<Arc<str>>> {
    reader.take(&["for", "until"]);
    match (reader.fields.has("for"), reader.fields.has("until")) {
        (true, true) => {
            reader.diagnostic("until", "`until` beside `for`", "a delay has one of the two")
        }
        (false, false) => reader.diagnostics.add(
            reader.fields.pointer.clone(),
            "`for` or `until` is missing",
            "write how long to wait, or until when",
        ),
        _ => {}
    }
    if let Some(text) = reader.constant_text("for")
        && let Err((message, hint)) = checked_duration(text, "for", DELAY_MAX)
    {
        reader.diagnostic("for", message, hint);
    }
    if let Some(text) = reader.constant_text("until")
        && DateTime::parse_from_rfc3339(text).is_err()
    {
        reader.diagnostic("until", "`until` is no time", "like `2030-01-31T09:00:00Z`");
    }
    None
}

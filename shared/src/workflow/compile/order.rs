//! Diagnostics in the order of the document.

use std::collections::HashMap;

use serde_json::Value;

use super::DIAGNOSTICS_MAX;
use crate::domain::diagnostic::{Diagnostic, Part, point_into};

/// Sorts diagnostics by where their values stand in the document, and cuts the list.
pub(super) fn in_document_order(
    document: &Value,
    mut diagnostics: Vec<Diagnostic>,
) -> Vec<Diagnostic> {
    let mut wanted: HashMap<String, usize> =
        diagnostics.iter().map(|diagnostic| (diagnostic.pointer.clone(), usize::MAX)).collect();
    let mut next = 0;
    number(document, "", &mut wanted, &mut next);
    diagnostics.sort_by_key(|diagnostic| {
        let within = match diagnostic.part {
            Part::Text(at) => at,
            Part::Value | Part::Key => 0,
        };
        (wanted.get(&diagnostic.pointer).copied(), within)
    });
    let rest = diagnostics.len().saturating_sub(DIAGNOSTICS_MAX);
    if rest > 0 {
        diagnostics.truncate(DIAGNOSTICS_MAX);
        diagnostics.push(Diagnostic::new("", format!("and {rest} more"), "mend these first"));
    }
    diagnostics
}

/// Numbers the wanted pointers in the order in which they are written. A document that is too deep for
/// recursion has one diagnostic only, at its root.
fn number(value: &Value, pointer: &str, wanted: &mut HashMap<String, usize>, next: &mut usize) {
    if let Some(number) = wanted.get_mut(pointer) {
        *number = *next;
    }
    *next += 1;
    if wanted.len() < 2 {
        return;
    }
    match value {
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                number(item, &point_into(pointer, &at.to_string()), wanted, next);
            }
        }
        Value::Object(fields) => {
            for (key, field) in fields {
                number(field, &point_into(pointer, key), wanted, next);
            }
        }
        _ => {}
    }
}

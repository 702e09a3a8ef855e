//! Why an expression cannot be parsed or evaluated, in words that hold no value.

use std::ops::Range;

use minijinja::ErrorKind;

use super::source::Source;

/// A reason that may be shown: it holds no value. Errors of minijinja itself may, so only these are.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Reason(pub(super) String);

/// An error with a reason that may be shown.
pub(super) fn refuse(reason: impl Into<String>) -> minijinja::Error {
    minijinja::Error::new(ErrorKind::InvalidOperation, "refused").with_source(Reason(reason.into()))
}

/// Describes why evaluation failed, with line and column in the source and never a value.
pub(super) fn describe(error: &minijinja::Error, source: &Source) -> String {
    let what = reason(error);
    let Some(Range { start, end }) = error.range() else { return what };
    let (line, column) = source.position(start);
    let snippet = source.snippet(start..end).filter(|text| !what.contains(*text));
    match snippet {
        Some(snippet) => format!("{what} in `{snippet}` (line {line}, column {column})"),
        None => format!("{what} (line {line}, column {column})"),
    }
}

/// Why something is not possible, without its location and never a value.
pub(super) fn reason(error: &minijinja::Error) -> String {
    if let Some(Reason(reason)) = std::error::Error::source(error).and_then(|e| e.downcast_ref()) {
        return reason.clone();
    }
    match error.kind() {
        // Its detail names the variable, which is the template's own text.
        ErrorKind::UndefinedError => undefined(error.detail().unwrap_or("a value is undefined")),
        ErrorKind::OutOfFuel => "the expression takes too long".to_owned(),
        ErrorKind::InvalidOperation => match error.detail() {
            // This one detail of minijinja's names types and not values.
            Some(detail) if detail.starts_with("tried to use ") => detail.to_owned(),
            _ => "the operation is not possible with these values".to_owned(),
        },
        ErrorKind::UnknownMethod => "values have no methods; use a filter".to_owned(),
        kind => kind.to_string(),
    }
}

/// Adds to the name of a node that is undefined why that is so.
pub(super) fn undefined(detail: &str) -> String {
    let skipped = detail
        .strip_prefix("`nodes.")
        .and_then(|rest| rest.strip_suffix("` is undefined"))
        .is_some_and(|node| !node.contains(['.', '[']));
    if skipped {
        format!("{detail}: the node was skipped (test it with `is defined`)")
    } else {
        detail.to_owned()
    }
}

/// Describes why a source does not parse: nothing in it but the author's own text.
pub(super) fn describe_syntax(error: &minijinja::Error) -> String {
    match error.detail() {
        Some(detail) => format!("syntax error: {detail}"),
        None => error.kind().to_string(),
    }
}

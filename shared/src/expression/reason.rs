//! Why an expression cannot be parsed or evaluated, in words that hold no value.

use minijinja::ErrorKind;

/// A reason that may be shown: it holds no value. Errors of minijinja itself may, so only these are.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Reason(pub(super) String);

/// An error with a reason that may be shown.
pub(super) fn refuse(reason: impl Into<String>) -> minijinja::Error {
    minijinja::Error::new(ErrorKind::InvalidOperation, "refused").with_source(Reason(reason.into()))
}

/// Why something is not possible, without its location and never a value.
pub(super) fn reason(error: &minijinja::Error) -> String {
    if let Some(Reason(reason)) = std::error::Error::source(error).and_then(|e| e.downcast_ref()) {
        return reason.clone();
    }
    match error.kind() {
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

/// Describes why a source does not parse: nothing in it but the author's own text.
pub(super) fn describe_syntax(error: &minijinja::Error) -> String {
    match error.detail() {
        Some(detail) => format!("syntax error: {detail}"),
        None => error.kind().to_string(),
    }
}

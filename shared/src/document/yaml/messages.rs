//! Errors of the YAML parser, said with what would be right.

use serde_saphyr::Error;
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::granit_parser::ErrorKind;
use serde_saphyr::localizer::ExternalMessageSource;

use super::{ALIASES_MAX, VALUES_MAX};
use crate::document::trail::Trail;
use crate::domain::diagnostic::{Diagnostic, Part, Position, join_pointer, quoted};
use crate::domain::limits::JSON_DEPTH_MAX;

const SYNTAX: &str = "indent with spaces alone, and put text into quotes that holds `: ` or ` #` or starts with a sign like `{`, `[`, `*`, `&`, `%` or `@`";

/// What is wrong with a text, and where.
pub(super) fn diagnostic(error: &Error, trail: &Trail) -> Diagnostic {
    let error = error.without_snippet();
    // Of what the reader refuses, the parser knows only what it has read ahead.
    if let Some(refusal) = trail.refusal() {
        return refusal;
    }
    let found = of_cause(cause(error), trail);
    match error.location().filter(|location| location.line() > 0) {
        Some(location) => {
            let place = |number| usize::try_from(number).unwrap_or(usize::MAX).max(1);
            found.at(Position { line: place(location.line()), column: place(location.column()) })
        }
        None => found,
    }
}

fn of_cause(cause: &Error, trail: &Trail) -> Diagnostic {
    if let Error::DuplicateMappingKey { key: Some(key), .. } = cause {
        let message = format!("the key {} is there twice", quoted(key));
        let pointer = join_pointer(&trail.pointer(), key);
        return Diagnostic::new(pointer, message, "each key once").of(Part::Key);
    }
    let said = of_value(cause).or_else(|| trail.ended_in_key().then(|| of_key(cause)).flatten());
    if let Some((message, hint)) = said {
        return Diagnostic::new(trail.pointer(), message, hint);
    }
    let (message, hint) = of_text(cause);
    Diagnostic::new("", format!("malformed YAML: {message}"), hint)
}

/// The error itself, without the alias that led to it.
fn cause(mut error: &Error) -> &Error {
    while let Error::AliasError { error: inner, .. } | Error::WithSnippet { error: inner, .. } =
        error
    {
        error = inner;
    }
    error
}

/// What is wrong with the value that was being read.
fn of_value(error: &Error) -> Option<(String, String)> {
    let (message, hint) = match error {
        Error::RecursiveReferencesRequireWeakTypes { .. } => (
            "an alias within its own anchor",
            "an alias stands for a value that has ended before it",
        ),
        Error::MergeValueNotMapOrSeqOfMaps { .. } => {
            ("`<<` with nothing to merge", "an alias of a mapping, or a list of such")
        }
        Error::BinaryNotUtf8 { .. } | Error::InvalidBinaryBase64 { .. } => {
            ("`!!binary` is nothing that JSON has", "write text, without the tag")
        }
        Error::TaggedScalarCannotDeserializeIntoString { .. } | Error::InvalidScalar { .. } => {
            ("a value that its tag does not fit", "leave the tag out")
        }
        Error::DuplicateMappingKey { .. } => ("a key that is there twice", "each key once"),
        Error::UnsupportedTag { tag, .. } => {
            let message = format!("the tag {} is not known", quoted(tag));
            return Some((message, "leave the tag out".to_owned()));
        }
        Error::NonFiniteFloat { value, .. } => {
            let message = format!("{} is no finite number", quoted(value));
            return Some((message, "a number up to 1.7e308, or text in quotes".to_owned()));
        }
        _ if is_too_deep(error) => {
            let hint = format!("at most {JSON_DEPTH_MAX} mappings and lists within each other");
            return Some(("nested too deeply".to_owned(), hint));
        }
        _ => return None,
    };
    Some((message.to_owned(), hint.to_owned()))
}

/// Whether the parser gave up before the reader could. It reads ahead, so its location may lie above.
fn is_too_deep(error: &Error) -> bool {
    match error {
        Error::Budget { breach, .. } => matches!(breach, BudgetBreach::Depth { .. }),
        Error::ExternalMessage { source, .. } => match &**source {
            ExternalMessageSource::Parser(error) => {
                matches!(error.kind(), ErrorKind::RecursionLimitExceeded)
            }
            _ => false,
        },
        _ => false,
    }
}

/// What is wrong with a key, which should have been text.
fn of_key(error: &Error) -> Option<(String, String)> {
    let message = match error {
        Error::NullIntoString { .. } => "a key that is null",
        Error::Unexpected { .. } | Error::SerdeInvalidType { .. } => "a key that is no text",
        _ => return None,
    };
    Some((message.to_owned(), "write a name, in quotes if it looks like something else".to_owned()))
}

/// What is wrong with the text as a whole.
fn of_text(error: &Error) -> (String, String) {
    let aliases =
        || format!("at most {ALIASES_MAX} anchors and as many aliases, which stand for little");
    match error {
        Error::MultipleDocuments { .. }
        | Error::Budget { breach: BudgetBreach::Documents { .. }, .. } => (
            "more than one document".to_owned(),
            "one document; leave out what follows `---`".to_owned(),
        ),
        Error::UnknownAnchor { .. } => {
            ("an alias without an anchor".to_owned(), "name the value before: `&name`".to_owned())
        }
        Error::AliasReplayCounterOverflow { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => {
            ("aliases stand for too much".to_owned(), aliases())
        }
        Error::Budget { breach, .. } => match breach {
            BudgetBreach::Aliases { .. }
            | BudgetBreach::Anchors { .. }
            | BudgetBreach::AliasAnchorRatio { .. }
            | BudgetBreach::MergeKeys { .. }
            | BudgetBreach::RecordedAnchorEvents { .. }
            | BudgetBreach::RecordedAnchorBytes { .. } => {
                ("too many aliases".to_owned(), aliases())
            }
            _ => ("too large a document".to_owned(), format!("at most {VALUES_MAX} values")),
        },
        Error::Eof { .. } => ("the text ends too early".to_owned(), SYNTAX.to_owned()),
        _ => {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            // Some reasons of the parser end in line and column.
            let reason = line.split_once(" at line ").map_or(line, |(reason, _)| reason);
            (reason.to_owned(), SYNTAX.to_owned())
        }
    }
}

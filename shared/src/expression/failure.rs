//! Why an evaluation has failed, and where in the string.

use std::ops::Range;

use minijinja::ErrorKind;
use minijinja::value::Value;

use super::missing::undefined;
use super::reason::reason;
use super::source::Source;

/// Describes why evaluation failed, with line and column in the source and never a value. `root` is what was evaluated in.
pub(super) fn describe(error: &minijinja::Error, source: &Source, root: &Value) -> String {
    let what = match error.kind() {
        // Its detail names the variable, which is the template's own text.
        ErrorKind::UndefinedError => match error.detail().and_then(name_of) {
            Some(name) => undefined(name, root),
            None => "a value is not defined".to_owned(),
        },
        _ => reason(error),
    };
    let Some(Range { start, end }) = error.range() else { return what };
    let (line, column) = source.position(start);
    let snippet = source.snippet(start..end).filter(|text| !what.contains(*text));
    match snippet {
        Some(snippet) => format!("{what} in `{snippet}` (line {line}, column {column})"),
        None => format!("{what} (line {line}, column {column})"),
    }
}

/// What is undefined, of the words that minijinja has for it.
fn name_of(detail: &str) -> Option<&str> {
    detail.strip_prefix('`')?.split_once("` is undefined").map(|(name, _)| name)
}

//! The minijinja environment: what the language has, and how its errors are reported.

use std::ops::Range;
use std::sync::LazyLock;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{Environment, ErrorKind, Output, State, UndefinedBehavior};

use super::allowance::Effort;
use super::builtins::{self, REMOVED_FILTERS, REMOVED_TESTS};
use super::source::Source;
use super::value::write_text;
use super::{filters, operators};

/// How deep templates may nest while they run, in minijinja's count.
const RECURSION_MAX: usize = 64;

/// The environment. It reads no files: there is no loader, and `include`, `import` and macros are
/// compiled out. minijinja ties the fuel to it, so there is one for each effort.
pub(super) fn environment(effort: Effort) -> &'static Environment<'static> {
    static INLINE: LazyLock<Environment<'static>> = LazyLock::new(|| build(Effort::Inline));
    static WHOLE: LazyLock<Environment<'static>> = LazyLock::new(|| build(Effort::Whole));
    match effort {
        Effort::Inline => &INLINE,
        Effort::Whole => &WHOLE,
    }
}

fn build(effort: Effort) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(effort.fuel()));
    environment.set_recursion_limit(RECURSION_MAX);
    // For the names of undefined variables. The errors then carry the variables as well, which is
    // why [`describe`] picks what it reports and nothing else ever prints such an error.
    environment.set_debug(true);
    environment.set_formatter(format_value);
    for name in REMOVED_FILTERS {
        environment.remove_filter(name);
    }
    for name in REMOVED_TESTS {
        environment.remove_test(name);
    }
    for name in ["debug", "dict", "namespace"] {
        environment.remove_global(name);
    }
    filters::register(&mut environment);
    builtins::register(&mut environment);
    operators::register(&mut environment);
    environment
}

/// Jinja's usual delimiters; text is kept to the last line break.
pub(super) fn syntax() -> SyntaxConfig {
    SyntaxConfig::builder().keep_trailing_newline(true).build().unwrap_or_default()
}

/// What `{{ }}` within text writes: strings as they are, everything else as JSON.
fn format_value(
    out: &mut Output<'_>,
    _: &mut State<'_, '_>,
    value: &Value,
) -> Result<(), minijinja::Error> {
    if value.is_undefined() {
        return Err(minijinja::Error::from(ErrorKind::UndefinedError));
    }
    match value.as_str() {
        Some(text) => out.write_str(text)?,
        None => out.write_str(&write_text(value)?)?,
    }
    Ok(())
}

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

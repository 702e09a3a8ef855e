//! The minijinja environment: what the language has.

use std::sync::LazyLock;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Value;
use minijinja::{Environment, Output, State, UndefinedBehavior};

use super::allowance::Effort;
use super::builtins::{self, REMOVED_FILTERS, REMOVED_TESTS};
use super::value::write_text;
use super::{filters, operators};

/// How deep templates may nest while they run, in minijinja's count.
const RECURSION_MAX: usize = 64;

/// The environment. It reads no files: there is no loader, and `include`, `import` and macros are
/// compiled out. minijinja ties the fuel to it, so there is one for each effort.
pub(super) fn environment(effort: Effort) -> &'static Environment<'static> {
    static IN_PLACE: LazyLock<Environment<'static>> = LazyLock::new(|| build(Effort::InPlace));
    static WHOLE: LazyLock<Environment<'static>> = LazyLock::new(|| build(Effort::Whole));
    match effort {
        Effort::InPlace => &IN_PLACE,
        Effort::Whole => &WHOLE,
    }
}

fn build(effort: Effort) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(effort.fuel()));
    environment.set_recursion_limit(RECURSION_MAX);
    // For the names of undefined variables. The errors then carry the variables as well, which is
    // why [`super::reason::describe`] picks what it reports and nothing else ever prints such an error.
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
        // The error that names what is undefined.
        value.get_attr("")?;
    }
    match value.as_str() {
        Some(text) => out.write_str(text)?,
        None => out.write_str(&write_text(value)?)?,
    }
    Ok(())
}

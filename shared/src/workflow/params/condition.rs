//! `condition`: chooses a branch.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Definition, Output, Parameter, Reader, Rendered, Shape};
use crate::domain::diagnostic::{Diagnostics, quoted};
use crate::domain::kind::Effect;
use crate::domain::limits::{NAME_CHARS_MAX, NODE_TIMEOUT_DEFAULT};
use crate::expression::{Choice, Condition, Template};
use crate::workflow::fields::{Fields, type_of};
use crate::workflow::json_schema::{self, closed};

/// Branches of a condition. More choices than anybody draws; a transform can look up the rest.
const BRANCHES_MAX: usize = 64;

/// Rendered. The choice is made while the parameters are rendered, so that the conditions after the one that holds are
/// not evaluated; the executor only passes it on.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConditionParams {
    /// The name of the first branch whose condition holds, or the default. None when none holds and there is no default.
    pub branch: Option<Arc<str>>,
}

impl Rendered for ConditionParams {}

pub(super) const DEFINITION: Definition = Definition {
    parameters: &[
        Parameter {
            name: "if",
            shape: Shape::Special(json_schema::condition),
            required: false,
            doc: "An expression; chooses the branch `true` or `false`.",
        },
        Parameter {
            name: "branches",
            shape: Shape::Special(branches_schema),
            required: false,
            doc: "A list of `{name, when}` in place of `if`; the first whose `when` holds is chosen.",
        },
        Parameter {
            name: "default",
            shape: Shape::Special(name_schema),
            required: false,
            doc: "The name of the branch that is chosen when none of `branches` holds.",
        },
    ],
    chooses_branch: true,
    always_fails: false,
    effect: |_| Effect::Pure,
    timeout: NODE_TIMEOUT_DEFAULT,
    output: Output::Members(&["branch"]),
    compile,
};

/// Compiles the text of a condition; a bare true or false stands for itself.
pub(in crate::workflow) fn condition(
    value: &Value,
    pointer: &str,
    diagnostics: &mut Diagnostics,
) -> Option<Condition> {
    let source = match value {
        Value::String(source) => source.as_str(),
        Value::Bool(true) => "true",
        Value::Bool(false) => "false",
        value => {
            let message = format!("{} where a condition is due", type_of(value));
            diagnostics.add(pointer, message, "write an expression that yields true or false");
            return None;
        }
    };
    Some(Condition::read(source, pointer, diagnostics))
}

fn compile(reader: &mut Reader<'_, '_>) {
    let Some(choice) = choice(reader) else { return };
    let names = choice.branches.iter().map(|(name, _)| Arc::clone(name));
    reader.branches = names.chain(choice.default.clone()).collect();
    reader.put("branch", Template::choice(choice));
}

fn choice(reader: &mut Reader<'_, '_>) -> Option<Choice> {
    match (reader.fields.get("if"), reader.fields.has("branches")) {
        (Some(_), true) => {
            reader.diagnostic(
                "branches",
                "`branches` beside `if`",
                "a condition has one of the two",
            );
            None
        }
        (None, false) => {
            let pointer = reader.fields.pointer.clone();
            let hint = "write `if: <expression>`, or a list of `branches`";
            reader.diagnostics.add(pointer, "`if` or `branches` is missing", hint);
            None
        }
        (Some(value), false) => {
            if reader.fields.has("default") {
                reader.diagnostic(
                    "default",
                    "`default` beside `if`",
                    "`if` always chooses a branch",
                );
            }
            let pointer = reader.fields.at("if");
            let condition = condition(value, &pointer, reader.diagnostics)?;
            let branches = vec![("true".into(), condition)];
            Some(Choice { branches, default: Some("false".into()) })
        }
        (None, true) => branches(reader),
    }
}

fn branches(reader: &mut Reader<'_, '_>) -> Option<Choice> {
    let entries = reader.fields.list("branches", reader.diagnostics)?;
    if entries.is_empty() || entries.len() > BRANCHES_MAX {
        let message = format!("`branches` has {} entries", entries.len());
        reader.diagnostic("branches", message, format!("from 1 to {BRANCHES_MAX}"));
        return None;
    }
    let mut branches: Vec<(Arc<str>, Condition)> = Vec::new();
    let mut is_whole = true;
    for (at, entry) in entries.iter().enumerate() {
        let pointer = format!("{}/{at}", reader.fields.at("branches"));
        let branch = Fields::open(entry, pointer, &["name", "when"], reader.diagnostics)
            .and_then(|fields| branch(&fields, reader.diagnostics));
        match branch {
            Some((name, _)) if branches.iter().any(|(other, _)| *other == name) => {
                let pointer = format!("{}/{at}/name", reader.fields.at("branches"));
                let message = format!("a second branch {}", quoted(&name));
                reader.diagnostics.add(pointer, message, "give each branch its own name");
            }
            Some(branch) => branches.push(branch),
            None => is_whole = false,
        }
    }
    let default = reader.fields.text("default", reader.diagnostics);
    if let Some(name) = default
        && !is_name(name)
    {
        reader.diagnostic("default", format!("{} is no name of a branch", quoted(name)), NAME_HINT);
        return None;
    }
    if let Some(name) = default
        && branches.iter().any(|(other, _)| **other == *name)
    {
        let hint = "the default is a branch of its own, without a `when`";
        reader.diagnostic("default", format!("a second branch {}", quoted(name)), hint);
    }
    is_whole.then(|| Choice { branches, default: default.map(Into::into) })
}

fn branch(fields: &Fields<'_>, diagnostics: &mut Diagnostics) -> Option<(Arc<str>, Condition)> {
    fields.required("name", NAME_HINT, diagnostics);
    let when = fields.required("when", "an expression that yields true or false", diagnostics);
    let name = fields.text("name", diagnostics);
    let condition = when.and_then(|when| condition(when, &fields.at("when"), diagnostics));
    let name = name?;
    if !is_name(name) {
        diagnostics.add(
            fields.at("name"),
            format!("{} is no name of a branch", quoted(name)),
            NAME_HINT,
        );
        return None;
    }
    Some((name.into(), condition?))
}

fn branches_schema() -> Value {
    let branch =
        closed([("name", name_schema()), ("when", json_schema::condition())], &["name", "when"]);
    json!({ "type": "array", "minItems": 1, "maxItems": BRANCHES_MAX, "items": branch })
}

fn name_schema() -> Value {
    json_schema::identifier(NAME_CHARS_MAX)
}

const NAME_HINT: &str = "letters, digits, `_` and `-`";

fn is_name(name: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    !name.is_empty() && name.len() <= NAME_CHARS_MAX && name.chars().all(is_part)
}

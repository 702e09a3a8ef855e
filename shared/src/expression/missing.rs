//! What to say of a value that is not there: where the way to it ends, and what there is instead.
//!
//! Names of members are shown, a few of them and cut to a line's length, and never a value.

use minijinja::value::Value;
use serde_json::Value as Json;

use super::value::JsonView;
use crate::domain::diagnostic::{nearest, quoted};

/// Names that are listed of what there is.
const NAMES_MAX: usize = 8;
/// Characters of each of them.
const NAME_CHARS_MAX: usize = 64;

/// Says of an expression that is undefined what of it is missing, and what there is where it was looked for. Nothing of
/// the latter where the expression is more than a path from a root.
pub(super) fn undefined(expression: &str, root: &Value) -> String {
    let Some(path) = path(expression) else { return plain(expression) };
    match missing(&path, root) {
        Some(said) => said,
        None => plain(expression),
    }
}

fn plain(expression: &str) -> String {
    format!("`{expression}` is not defined")
}

/// A step of a path: what it looks for, and where the path ends behind it.
struct Step<'e> {
    key: Key<'e>,
    /// The path up to here.
    written: &'e str,
}

enum Key<'e> {
    Name(&'e str),
    Index(i64),
}

/// Takes `a.b[0]["c"]` apart.
fn path(expression: &str) -> Option<Vec<Step<'_>>> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let word = |from: usize| {
        let rest = &expression[from..];
        let length = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        (length > 0).then(|| (&rest[..length], from + length))
    };
    let (first, mut at) = word(0)?;
    let mut steps = vec![Step { key: Key::Name(first), written: first }];
    while at < expression.len() {
        let rest = &expression[at..];
        let (key, end) = if rest.starts_with('.') {
            let (name, end) = word(at + 1)?;
            (Key::Name(name), end)
        } else {
            let inside = rest.strip_prefix('[')?;
            let length = inside.find(']')?;
            let key = inside[..length].trim();
            let name =
                ['"', '\''].iter().find_map(|quote| key.strip_prefix(*quote)?.strip_suffix(*quote));
            let key = match name {
                Some(name) => Key::Name(name),
                None => Key::Index(key.parse().ok()?),
            };
            (key, at + length + 2)
        };
        at = end;
        steps.push(Step { key, written: &expression[..end] });
    }
    Some(steps)
}

/// What of a path is missing first. `None` if its beginning is not known here, such as the variable of a loop.
fn missing(path: &[Step<'_>], root: &Value) -> Option<String> {
    let [Step { key: Key::Name(first), .. }, rest @ ..] = path else { return None };
    let start = root.get_attr(first).ok().filter(|value| !value.is_undefined())?;
    let (start, rest, mut before) = match (*first, rest) {
        ("nodes", [node, rest @ ..]) => {
            let Key::Name(name) = node.key else { return None };
            let output = start.get_attr(name).ok()?;
            if output.is_undefined() {
                let hint = "the node was skipped (test it with `is defined`, or give a `default`)";
                return Some(format!("`{}` is not defined: {hint}", node.written));
            }
            (output, rest, node.written)
        }
        _ => (start, rest, *first),
    };
    // What is no list and no object has nothing in it.
    let Some(view) = start.downcast_object_ref::<JsonView>() else {
        let step = rest.first()?;
        return Some(format!("`{}` is not defined; `{before}` is {}", step.written, start.kind()));
    };
    let mut json = view.json();
    for step in rest {
        let Some(next) = look(json, &step.key) else {
            return Some(format!(
                "`{}` is not defined; {}",
                step.written,
                there_is(before, json, step)
            ));
        };
        (json, before) = (next, step.written);
    }
    None
}

fn look<'j>(json: &'j Json, key: &Key<'_>) -> Option<&'j Json> {
    match (json, key) {
        (Json::Object(fields), Key::Name(name)) => fields.get(*name),
        (Json::Array(items), Key::Index(index)) => {
            let from_end = || usize::try_from(index.unsigned_abs()).ok();
            let index = match usize::try_from(*index) {
                Ok(index) => index,
                Err(_) => items.len().checked_sub(from_end()?)?,
            };
            items.get(index)
        }
        _ => None,
    }
}

fn there_is(path: &str, json: &Json, step: &Step<'_>) -> String {
    match json {
        Json::Object(fields) if fields.is_empty() => format!("`{path}` is empty"),
        Json::Object(fields) => {
            let wanted = match step.key {
                Key::Name(name) => name,
                Key::Index(_) => "",
            };
            format!("`{path}` has {}", names(fields.keys().map(String::as_str), wanted))
        }
        Json::Array(items) if items.len() == 1 => format!("`{path}` is a list with 1 item"),
        Json::Array(items) => format!("`{path}` is a list with {} items", items.len()),
        Json::Null => format!("`{path}` is none"),
        Json::Bool(_) => format!("`{path}` is a boolean"),
        Json::Number(_) => format!("`{path}` is a number"),
        Json::String(_) => format!("`{path}` is text"),
    }
}

/// A few names, and before all others the one that is probably meant.
fn names<'n>(all: impl Iterator<Item = &'n str> + Clone, wanted: &str) -> String {
    let meant = nearest(wanted, all.clone().take(1_000));
    let others = all.clone().filter(|name| Some(*name) != meant);
    let shown: Vec<String> = meant.into_iter().chain(others).take(NAMES_MAX).map(shown).collect();
    let rest = all.count() - shown.len();
    match rest {
        0 => shown.join(", "),
        _ => format!("{} and {rest} more", shown.join(", ")),
    }
}

/// A name, cut, and in quotes where it could be taken for something else.
fn shown(name: &str) -> String {
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.chars().count() <= NAME_CHARS_MAX && name.chars().all(is_word) {
        return name.to_owned();
    }
    let harmless: String = name.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    quoted(&harmless)
}

//! Filters and functions that minijinja does not have, or that would let a small expression build a
//! huge value.
//!
//! All are deterministic: a pure node may be computed again after a crash and must yield the same, so
//! there is no `now` and no `random`.

use std::fmt::Write;

use minijinja::value::{Kwargs, Rest, Serde, Value, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, State};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use super::meter::{Meter, VALUE_BYTES};
use super::reason::refuse;
use super::value::write_text;
use crate::document::json;
use crate::domain::limits::JSON_DEPTH_MAX;

/// Items that `range` yields at most. They are made at once.
const RANGE_MAX: i64 = 10_000;
/// What making one byte of JSON, or of another text that is written sign by sign, costs in bytes that are copied.
const WRITING: u64 = 4;

pub(super) fn register(environment: &mut Environment<'static>) {
    environment.add_filter("tojson", tojson);
    environment.add_filter("fromjson", fromjson);
    environment.add_filter("string", string);
    environment.add_filter("urlencode", urlencode);
    environment.add_filter("sha256", sha256);
    environment.add_filter("truncate", truncate);
    environment.add_function("range", range);
    let batch = Value::from_function(minijinja::filters::batch);
    environment.add_filter("batch", move |state: &mut State<'_, '_>, value: Value, size: usize| {
        batch.call(state, &[value, Value::from(size)])
    });
    let map = Value::from_function(minijinja::filters::map);
    environment.add_filter(
        "map",
        move |state: &mut State<'_, '_>, value: Value, arguments: Rest<ValueOrKwargs>| {
            map_arguments(&arguments)?;
            map.call(state, &with_first(value, arguments))
        },
    );
    let groupby = Value::from_function(minijinja::filters::groupby);
    environment.add_filter(
        "groupby",
        move |state: &mut State<'_, '_>, value: Value, arguments: Rest<ValueOrKwargs>| {
            let groups = groupby.call(state, &with_first(value, arguments))?;
            for group in groups.try_iter()? {
                simple(
                    &group.get_item_by_index(0)?,
                    "groups are formed by text, numbers or booleans",
                )?;
            }
            Ok::<_, Error>(groups)
        },
    );
}

fn with_first(value: Value, arguments: Rest<ValueOrKwargs>) -> Vec<Value> {
    std::iter::once(value).chain(arguments.into_values()).collect()
}

/// Pays for a text that was written.
fn charge(state: &State<'_, '_>, bytes: usize) -> Result<(), Error> {
    Meter::new(state).pay(WRITING * bytes as u64)
}

/// Refuses lists and objects, which a filter that yields its argument many times would multiply.
fn simple(value: &Value, reason: &str) -> Result<(), Error> {
    match value.kind() {
        ValueKind::None | ValueKind::Bool | ValueKind::Number | ValueKind::String => Ok(()),
        ValueKind::Undefined => Ok(()),
        _ => Err(refuse(reason)),
    }
}

fn map_arguments(arguments: &[ValueOrKwargs]) -> Result<(), Error> {
    const SIMPLE: &str = "the arguments of `map` must be text, numbers or booleans";
    for argument in arguments {
        if argument.is_kwargs() {
            for key in argument.try_iter()? {
                simple(&argument.get_item(&key)?, SIMPLE)?;
            }
        } else {
            simple(argument, SIMPLE)?;
        }
    }
    Ok(())
}

#[expect(clippy::needless_pass_by_value, reason = "minijinja hands arguments over by value")]
fn tojson(state: &State<'_, '_>, value: &Value, options: Kwargs) -> Result<String, Error> {
    let indent = options.get::<Option<bool>>("indent")?.unwrap_or(false);
    options.assert_all_used()?;
    let text = write_text(value)?;
    charge(state, text.len())?;
    if !indent {
        return Ok(text);
    }
    let json: Json = serde_json::from_str(&text).map_err(|_| refuse("the value is not JSON"))?;
    let pretty = format!("{json:#}");
    charge(state, pretty.len())?;
    Ok(pretty)
}

fn fromjson(text: &str) -> Result<Value, Error> {
    let json = json::parse(text, JSON_DEPTH_MAX).map_err(|_| refuse("the text is not JSON"))?;
    Ok(Value::from(Serde(&json)))
}

fn string(state: &State<'_, '_>, value: &Value) -> Result<Value, Error> {
    if value.as_str().is_some() {
        return Ok(value.clone());
    }
    let text = write_text(value)?;
    charge(state, text.len())?;
    Ok(Value::from(text))
}

/// Percent-encodes everything but the unreserved characters of RFC 3986. An object becomes a query.
fn urlencode(state: &State<'_, '_>, value: &Value) -> Result<String, Error> {
    let plain = |value: &Value| match value.as_str() {
        Some(text) => Ok(text.to_owned()),
        None => write_text(value),
    };
    let mut out = String::new();
    if value.kind() == ValueKind::Map {
        for key in value.try_iter()? {
            if !out.is_empty() {
                out.push('&');
            }
            encode(&plain(&key)?, &mut out);
            out.push('=');
            encode(&plain(&value.get_item(&key)?)?, &mut out);
            charge(state, 1)?;
        }
    } else {
        encode(&plain(value)?, &mut out);
    }
    charge(state, out.len())?;
    Ok(out)
}

fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

fn sha256(text: &str) -> String {
    let mut out = String::with_capacity(64);
    for byte in Sha256::digest(text.as_bytes()) {
        let _ = write!(out, "{byte:02x}");
    }
    out
}

/// The first `length` characters, with `…` in place of what is left out.
fn truncate(text: &str, length: usize) -> String {
    match text.char_indices().nth(length) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

fn range(
    state: &State<'_, '_>,
    from: i64,
    to: Option<i64>,
    step: Option<i64>,
) -> Result<Vec<i64>, Error> {
    let (from, to) = to.map_or((0, from), |to| (from, to));
    let step = step.unwrap_or(1);
    if step == 0 {
        return Err(refuse("the step of `range` is 0"));
    }
    let count = if (step > 0 && from < to) || (step < 0 && from > to) {
        from.abs_diff(to).div_ceil(step.unsigned_abs())
    } else {
        0
    };
    if count > RANGE_MAX.unsigned_abs() {
        return Err(refuse(format!("`range` yields at most {RANGE_MAX} numbers")));
    }
    Meter::new(state).pay(VALUE_BYTES * count)?;
    Ok(std::iter::successors(Some(from), |at| at.checked_add(step)).take(count as usize).collect())
}

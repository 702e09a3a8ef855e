//! JSON on the way into minijinja, lazily, and back out, with a budget.

use std::fmt;
use std::sync::Arc;

use minijinja::value::{Enumerator, Object, ObjectRepr, Value, ValueKind};
use minijinja::{Error, ErrorKind};
use self_cell::self_cell;
use serde_json::{Map, Number, Value as Json};

use super::budget::Budget;
use super::reason::refuse;
use crate::document::nests_within;
use crate::domain::limits::{JSON_DEPTH_MAX, RENDERED_BYTES_MAX};

/// What an access costs besides the bytes of a string.
const ACCESS_BYTES: u64 = 64;

/// A view of a part of a JSON value. Nothing is converted until an expression reads it.
pub(super) struct JsonView {
    at: At,
    budget: Arc<Budget>,
}

enum At {
    Root(Arc<Json>),
    Within(Within),
}

type JsonAt<'a> = &'a Json;

self_cell!(
    /// What a view shows, found once: walking down to it each time would cost as much as the keys on the way are long.
    struct Within {
        owner: Arc<JsonView>,
        #[covariant]
        dependent: JsonAt,
    }
);

impl JsonView {
    /// The JSON that it shows.
    pub(super) fn json(&self) -> &Json {
        match &self.at {
            At::Root(root) => root,
            At::Within(within) => within.borrow_dependent(),
        }
    }

    /// What is found in the JSON that it shows.
    fn child(self: &Arc<Self>, find: impl Fn(&Json) -> Option<&Json>) -> Option<Value> {
        let json = find(self.json())?;
        let bytes = json.as_str().map_or(0, |text| text.len() as u64);
        if !self.budget.take(ACCESS_BYTES + bytes) {
            return Some(Value::from(Error::from(ErrorKind::OutOfFuel)));
        }
        Some(scalar(json).unwrap_or_else(|| {
            let within = Within::new(Arc::clone(self), |parent| {
                // It is there: it has just been found.
                find(parent.json()).unwrap_or(&Json::Null)
            });
            let at = At::Within(within);
            Value::from_object(Self { at, budget: Arc::clone(&self.budget) })
        }))
    }
}

/// Never the value: this may end up in an error message.
impl fmt::Debug for JsonView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("value")
    }
}

impl Object for JsonView {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        if self.json().is_array() { ObjectRepr::Seq } else { ObjectRepr::Map }
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match self.json() {
            Json::Object(_) => self.get_value_by_str(key.as_str()?),
            Json::Array(_) => {
                let index = key.as_usize()?;
                self.child(|json| json.get(index))
            }
            _ => None,
        }
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        self.child(|json| json.as_object()?.get(key))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        match self.json() {
            Json::Array(items) => Enumerator::Seq(items.len()),
            Json::Object(fields) => {
                if self.budget.over().is_some() {
                    return Enumerator::Empty;
                }
                let bytes = fields.keys().map(|key| ACCESS_BYTES + key.len() as u64).sum();
                if !self.budget.take(bytes) {
                    return Enumerator::Empty;
                }
                Enumerator::Values(fields.keys().map(|key| Value::from(key.as_str())).collect())
            }
            _ => Enumerator::NonEnumerable,
        }
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        match self.json() {
            Json::Array(items) => Some(items.len()),
            Json::Object(fields) => Some(fields.len()),
            _ => None,
        }
    }

    /// Text is JSON here, as it is between `{{ }}`.
    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = RENDERED_BYTES_MAX;
        match take_size(self.json(), &mut left) {
            Ok(()) => write!(f, "{}", self.json()),
            // An error here would panic in `to_string`; the spent budget fails the evaluation.
            Err(TooLarge) => {
                self.budget.take(u64::MAX);
                Ok(())
            }
        }
    }
}

/// A JSON value as minijinja sees it.
pub(super) fn lazy(json: &Arc<Json>, budget: &Arc<Budget>) -> Value {
    scalar(json).unwrap_or_else(|| {
        Value::from_object(JsonView { at: At::Root(Arc::clone(json)), budget: Arc::clone(budget) })
    })
}

fn scalar(json: &Json) -> Option<Value> {
    Some(match json {
        Json::Null => Value::from(()),
        Json::Bool(value) => Value::from(*value),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(value), _) => Value::from(value),
            (None, Some(value)) => Value::from(value),
            // A JSON number is one of the three: arbitrary precision is not compiled in.
            (None, None) => Value::from(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(_) | Json::Object(_) => return None,
    })
}

/// More bytes than were left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLarge;

/// Takes bytes off what is left.
pub(super) fn take(left: &mut usize, bytes: usize) -> Result<(), TooLarge> {
    *left = left.checked_sub(bytes).ok_or(TooLarge)?;
    Ok(())
}

/// Takes off what is left the bytes that `json` is long as compact text (numbers counted as 8).
pub(super) fn take_size(json: &Json, left: &mut usize) -> Result<(), TooLarge> {
    match json {
        Json::Null | Json::Bool(_) => take(left, 5),
        Json::Number(_) => take(left, 8),
        Json::String(text) => take_text(text, left),
        Json::Array(items) => {
            take(left, 2 + items.len())?;
            items.iter().try_for_each(|item| take_size(item, left))
        }
        Json::Object(fields) => {
            take(left, 2 + 2 * fields.len())?;
            fields.iter().try_for_each(|(key, value)| {
                take_text(key, left)?;
                take_size(value, left)
            })
        }
    }
}

fn take_text(text: &str, left: &mut usize) -> Result<(), TooLarge> {
    let escapes = text.bytes().map(|byte| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' => 1,
        0..0x20 => 5,
        _ => 0,
    });
    take(left, text.len() + 2 + escapes.sum::<usize>())
}

impl From<TooLarge> for Error {
    fn from(_: TooLarge) -> Self {
        refuse(format!("the result is larger than {RENDERED_BYTES_MAX} bytes"))
    }
}

/// A result as JSON that nests at most `levels` deep, taking its size off what is left. Undefined values, functions and
/// numbers that JSON does not have are errors.
pub(super) fn to_json(value: &Value, left: &mut usize, levels: usize) -> Result<Json, Error> {
    convert(value, left, levels)
}

/// A result as JSON text.
pub(super) fn write_text(value: &Value) -> Result<String, Error> {
    let mut left = RENDERED_BYTES_MAX;
    Ok(to_json(value, &mut left, JSON_DEPTH_MAX)?.to_string())
}

fn convert(value: &Value, left: &mut usize, depth: usize) -> Result<Json, Error> {
    if let Some(view) = value.downcast_object_ref::<JsonView>() {
        // Before it is measured and copied, which recurse.
        if !nests_within(view.json(), depth) {
            return Err(refuse(too_deep()));
        }
        take_size(view.json(), left)?;
        return Ok(view.json().clone());
    }
    let json = match value.kind() {
        ValueKind::None => Json::Null,
        ValueKind::Bool => Json::Bool(value.is_true()),
        ValueKind::Number => Json::Number(number(value)?),
        ValueKind::String => Json::String(value.as_str().unwrap_or_default().to_owned()),
        ValueKind::Seq | ValueKind::Iterable => return convert_items(value, left, depth),
        ValueKind::Map => return convert_fields(value, left, depth),
        ValueKind::Undefined => return Err(refuse("the result holds something undefined")),
        ValueKind::Invalid => {
            // Iterating over an invalid value yields the error that made it invalid.
            return Err(value.try_iter().err().unwrap_or_else(|| refuse("the value is not valid")));
        }
        kind => return Err(refuse(format!("a {kind} is not JSON"))),
    };
    take_size(&json, left)?;
    Ok(json)
}

fn deeper(depth: usize) -> Result<usize, Error> {
    depth.checked_sub(1).ok_or_else(|| refuse(too_deep()))
}

/// What is wrong with a result that nests too deep.
pub(super) fn too_deep() -> String {
    format!("the result nests deeper than {JSON_DEPTH_MAX} levels")
}

fn convert_items(value: &Value, left: &mut usize, depth: usize) -> Result<Json, Error> {
    let depth = deeper(depth)?;
    take(left, 2)?;
    let mut items = Vec::new();
    for item in value.try_iter()? {
        take(left, 1)?;
        items.push(convert(&item, left, depth)?);
    }
    Ok(Json::Array(items))
}

fn convert_fields(value: &Value, left: &mut usize, depth: usize) -> Result<Json, Error> {
    let depth = deeper(depth)?;
    take(left, 2)?;
    let mut fields = Map::new();
    for key in value.try_iter()? {
        take(left, 2)?;
        let field = convert(&value.get_item(&key)?, left, depth)?;
        let key = match convert(&key, left, depth)? {
            Json::String(key) => key,
            key @ (Json::Number(_) | Json::Bool(_)) => key.to_string(),
            _ => return Err(refuse("the keys of an object must be text")),
        };
        fields.insert(key, field);
    }
    Ok(Json::Object(fields))
}

fn number(value: &Value) -> Result<Number, Error> {
    if value.is_integer() {
        if let Ok(number) = i64::try_from(value.clone()) {
            return Ok(number.into());
        }
        return u64::try_from(value.clone())
            .map(Number::from)
            .map_err(|_| refuse("the integer does not fit into 64 bits"));
    }
    f64::try_from(value.clone())
        .ok()
        .and_then(Number::from_f64)
        .ok_or_else(|| refuse("the number is infinite or not a number, which JSON does not have"))
}

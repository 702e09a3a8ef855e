//! Reading rendered parameters. They were checked when the workflow was saved, but an expression can
//! yield anything, so they are checked again. Messages name fields and types, never values: those may
//! hold secrets.

use serde_json::{Map, Value};

use super::NodeError;

/// The code of failures whose cause is what a parameter was rendered to.
pub(super) const INVALID_PARAMS: &str = "invalid_params";

/// A failure of that code.
pub(super) fn invalid(message: impl Into<String>) -> NodeError {
    NodeError::fail(INVALID_PARAMS, message)
}

/// `field` is something else than it should be.
pub(super) fn mistyped(field: &str, expected: &str, found: &Value) -> NodeError {
    invalid(format!("`{field}` must be {expected}, not {}", type_of(found)))
}

/// What a value is called in messages.
pub(super) fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A number, boolean or string as text; `None` for anything else.
pub(super) fn scalar(value: Value) -> Result<String, Value> {
    match value {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(truth) => Ok(truth.to_string()),
        other => Err(other),
    }
}

/// The parameters of one node.
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    /// # Errors
    /// When the parameters are no object.
    pub(super) fn of(params: Value) -> Result<Self, NodeError> {
        match params {
            Value::Object(fields) => Ok(Self(fields)),
            other => Err(invalid(format!("parameters must be an object, not {}", type_of(&other)))),
        }
    }

    /// The value of a field; `None` when it is absent or null.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    /// The value of a field even if it is null; `None` only when it is absent.
    pub(super) fn take_any(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name)
    }

    /// A string.
    pub(super) fn text(&mut self, name: &str) -> Result<Option<String>, NodeError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(mistyped(name, "a string", &other)),
        }
    }

    /// A boolean.
    pub(super) fn truth(&mut self, name: &str) -> Result<Option<bool>, NodeError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(truth)) => Ok(Some(truth)),
            Some(other) => Err(mistyped(name, "true or false", &other)),
        }
    }

    /// An object's entries; none when the field is absent.
    pub(super) fn entries(&mut self, name: &str) -> Result<Map<String, Value>, NodeError> {
        match self.take(name) {
            None => Ok(Map::new()),
            Some(Value::Object(entries)) => Ok(entries),
            Some(other) => Err(mistyped(name, "an object", &other)),
        }
    }
}

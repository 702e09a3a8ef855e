//! From rendered parameters to the struct that a kind's executor takes.
//!
//! They were checked when the workflow was saved, but an expression can yield anything. What is wrong is said by place
//! and type; no value is ever quoted, because it may be a secret.

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::{Path, deserialize};

/// What executors take: rendered parameters, read.
pub trait Rendered: DeserializeOwned + Send + 'static {
    /// Reads rendered parameters.
    ///
    /// # Errors
    /// When an expression yielded something that does not fit.
    fn read(rendered: Value) -> Result<Self, InvalidParams> {
        read(rendered)
    }
}

/// Why rendered parameters cannot be used. Names the parameter and what it must be, and quotes no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidParams(String);

/// Reads rendered parameters by serde.
pub(super) fn read<P: DeserializeOwned>(rendered: Value) -> Result<P, InvalidParams> {
    if !rendered.is_object() {
        // Serde would take a list as well.
        let found = name_of(&rendered);
        return Err(InvalidParams(format!("parameters must be an object, not {found}")));
    }
    deserialize(rendered)
        .map_err(|error| InvalidParams(describe(error.path(), &error.inner().to_string())))
}

/// Reads rendered parameters of which one, `name`, is any JSON and may be as large as an output. It goes past serde,
/// which would build it anew, and to where `put` says, unless it is null or missing.
pub(super) fn read_around<P: DeserializeOwned>(
    mut rendered: Value,
    name: &str,
    put: impl FnOnce(&mut P, Value),
) -> Result<P, InvalidParams> {
    let large = rendered.get_mut(name).map(Value::take).filter(|value| !value.is_null());
    let mut params = read(rendered)?;
    if let Some(large) = large {
        put(&mut params, large);
    }
    Ok(params)
}

/// What is wrong, of serde's message only what cannot hold a value: the name of a missing field; what was expected,
/// which always ends it; and the type of what was found.
fn describe(path: &Path, message: &str) -> String {
    if let Some(name) = message.strip_prefix("missing field ") {
        return match path.iter().next() {
            None => format!("{name} is missing"),
            Some(_) => format!("`{path}` misses {name}"),
        };
    }
    let Some((found, expected)) = message.rsplit_once(", expected ") else {
        return format!("`{path}` makes no sense");
    };
    let found = found.strip_prefix("invalid type: ").and_then(|found| {
        FOUND.iter().find(|(start, _)| found.starts_with(start)).map(|(_, name)| *name)
    });
    match found {
        Some(found) => format!("`{path}` must be {expected}, not {found}"),
        None => format!("`{path}` must be {expected}"),
    }
}

/// How serde begins to name what it found, and how we do.
const FOUND: &[(&str, &str)] = &[
    ("null", "null"),
    ("boolean", "a boolean"),
    ("integer", "a number"),
    ("floating point", "a number"),
    ("string", "a string"),
    ("sequence", "a list"),
    ("map", "an object"),
];

fn name_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Sample {
        text: String,
        #[serde(default)]
        numbers: Vec<u8>,
        #[serde(default)]
        any: Value,
    }

    impl Rendered for Sample {
        fn read(rendered: Value) -> Result<Self, InvalidParams> {
            read_around(rendered, "any", |params: &mut Self, any| params.any = any)
        }
    }

    #[test]
    fn what_does_not_fit_is_named_by_place_and_type_without_its_value() {
        for (rendered, says) in [
            (json!(["secret"]), "parameters must be an object, not a list"),
            (json!("secret"), "parameters must be an object, not a string"),
            (json!({}), "`text` is missing"),
            (json!({ "text": null }), "`text` must be a string, not null"),
            (json!({ "text": true }), "`text` must be a string, not a boolean"),
            (json!({ "text": 1 }), "`text` must be a string, not a number"),
            (json!({ "text": 1.5 }), "`text` must be a string, not a number"),
            (json!({ "text": ["secret"] }), "`text` must be a string, not a list"),
            (json!({ "text": { "a": "secret" } }), "`text` must be a string, not an object"),
            (
                json!({ "text": "", "numbers": [1, "secret"] }),
                "`numbers[1]` must be u8, not a string",
            ),
            (
                json!({ "text": "", "numbers": ["secret, expected secret"] }),
                "`numbers[0]` must be u8, not a string",
            ),
            (json!({ "text": "", "numbers": [1, 2, 777] }), "`numbers[2]` must be u8"),
        ] {
            let error = Sample::read(rendered.clone()).unwrap_err();
            assert_eq!(error.to_string(), says, "{rendered}");
        }
    }

    #[test]
    fn what_goes_past_serde_arrives() {
        let any = json!([{ "a": [1, null] }, "b"]);
        let sample = Sample::read(json!({ "any": any, "text": "x" })).unwrap();
        assert_eq!((sample.any, &*sample.text, sample.numbers), (any, "x", vec![]));
        assert_eq!(Sample::read(json!({ "text": "x", "any": null })).unwrap().any, Value::Null);
    }
}

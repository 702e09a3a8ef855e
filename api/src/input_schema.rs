//! Checking a run's input against the JSON Schema of its workflow.

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;
use skein_shared::domain::fault::Fault;

use crate::limits::FAULTS_MAX;

/// Characters of one fault's message: it may quote parts of the schema.
const MESSAGE_CHARS_MAX: usize = 400;

/// A schema, compiled once a version of its workflow.
#[derive(Debug)]
pub(crate) struct InputSchema {
    validator: Validator,
}

impl InputSchema {
    /// Compiles a schema. Patterns are matched in linear time and references lead nowhere outside of
    /// the schema, because whoever writes one shares the process with everybody else.
    pub(crate) fn compile(schema: &Value) -> Result<Self, String> {
        let validator = jsonschema::options()
            .with_pattern_options(PatternOptions::regex())
            .build(schema)
            .map_err(|error| error.to_string())?;
        Ok(Self { validator })
    }

    /// Everything that is wrong with an input; `pointer` is where the input stands in the body. Messages quote no
    /// values.
    pub(crate) fn faults(&self, input: &Value, pointer: &str) -> Vec<Fault> {
        self.validator
            .iter_errors(input)
            .take(FAULTS_MAX + 1)
            .map(|error| {
                let message: String =
                    error.masked().to_string().chars().take(MESSAGE_CHARS_MAX).collect();
                let place = format!("{pointer}{}", error.instance_path().as_str());
                Fault::new(place, message, format!("the schema says so at {}", error.schema_path()))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_fault_is_told_with_its_place_and_without_its_value() {
        let schema = InputSchema::compile(&json!({
            "type": "object",
            "required": ["url"],
            "additionalProperties": false,
            "properties": { "url": { "type": "string" }, "n": { "type": "integer", "maximum": 3 } }
        }))
        .unwrap();
        assert_eq!(schema.faults(&json!({ "url": "x", "n": 2 }), "/input"), []);
        let faults = schema.faults(&json!({ "n": "s3cret", "other": 1 }), "/input");
        let pointers: Vec<_> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
        assert_eq!(faults.len(), 3, "{faults:?}");
        assert!(pointers.contains(&"/input/n") && pointers.contains(&"/input"), "{pointers:?}");
        assert!(!format!("{faults:?}").contains("s3cret"), "{faults:?}");
    }

    #[test]
    fn a_pattern_that_would_backtrack_for_ever_is_matched_in_linear_time() {
        let schema = InputSchema::compile(&json!({ "pattern": "^(a+)+$" })).unwrap();
        let faults = schema.faults(&json!(format!("{}b", "a".repeat(50_000))), "");
        assert_eq!(faults.len(), 1);
    }

    #[test]
    fn references_to_elsewhere_and_lookarounds_are_refused() {
        for schema in [
            json!({ "$ref": "http://127.0.0.1:1/schema.json" }),
            json!({ "$ref": "file:///etc/passwd" }),
            json!({ "pattern": "(?=x)" }),
            json!({ "type": "no such type" }),
        ] {
            assert!(InputSchema::compile(&schema).is_err(), "{schema}");
        }
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        for schema in [
            json!({ "$ref": "#" }),
            json!({ "allOf": [{ "$ref": "#" }] }),
            json!({ "$defs": { "a": { "$ref": "#/$defs/b" }, "b": { "$ref": "#/$defs/a" } }, "$ref": "#/$defs/a" }),
            json!({ "properties": { "x": { "$ref": "#" } } }),
        ] {
            if let Ok(schema) = InputSchema::compile(&schema) {
                let mut nested = json!(1);
                for _ in 0..64 {
                    nested = json!({ "x": nested });
                }
                schema.faults(&nested, "");
            }
        }
    }
}

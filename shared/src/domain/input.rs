//! The JSON Schema of a run's input.

use jsonschema::{PatternOptions, ValidationError, Validator};
use serde_json::Value;

use super::fault::Fault;

/// Faults that are told of one input.
const FAULTS_MAX: usize = 50;

/// A compiled schema. It fetches nothing, and its patterns match in linear time.
#[derive(Debug)]
pub struct InputSchema(Validator);

impl InputSchema {
    /// Compiles a schema. `pointer` is where it stands in the document.
    ///
    /// # Errors
    /// When it is no valid schema or refers to something outside of itself.
    pub fn compile(schema: &Value, pointer: &str) -> Result<Self, Fault> {
        jsonschema::options()
            .offline()
            .with_pattern_options(PatternOptions::regex())
            .build(schema)
            .map(Self)
            .map_err(|error| {
                let hint = "a JSON Schema that refers to nothing outside of itself";
                let message = format!("no valid JSON Schema: {error}");
                Fault::new(format!("{pointer}{}", error.instance_path().as_str()), message, hint)
            })
    }

    /// Checks an input. The faults point into the input, and name no value of it.
    ///
    /// # Errors
    /// Everything that is wrong with it, up to a number of faults that a person can read.
    pub fn validate(&self, input: &Value) -> Result<(), Vec<Fault>> {
        let fault = |error: ValidationError<'_>| {
            Fault::new(error.instance_path().as_str(), error.masked().to_string(), "")
        };
        let faults: Vec<Fault> = self.0.iter_errors(input).take(FAULTS_MAX).map(fault).collect();
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_input_is_checked_without_repeating_it() {
        let schema = json!({"type": "object", "required": ["url"], "properties": {"n": {"type": "integer"}}});
        let schema = InputSchema::compile(&schema, "/input").unwrap();
        assert_eq!(schema.validate(&json!({"url": "x", "n": 1})), Ok(()));
        let faults = schema.validate(&json!({"n": "hunter2"})).unwrap_err();
        assert_eq!(faults.len(), 2);
        assert!(faults.iter().any(|fault| fault.pointer == "/n"));
        assert!(!format!("{faults:?}").contains("hunter2"));
    }

    #[test]
    fn a_schema_reaches_nothing_outside() {
        for reference in ["https://example.com/s.json", "file:///etc/passwd", "other.json"] {
            let fault = InputSchema::compile(&json!({"$ref": reference}), "/input").unwrap_err();
            assert!(fault.pointer.starts_with("/input"), "{reference}: {fault:?}");
        }
        let inside = json!({"$defs": {"a": {"type": "string"}}, "$ref": "#/$defs/a"});
        assert!(InputSchema::compile(&inside, "/input").is_ok());
    }

    #[test]
    fn a_schema_that_only_refers_to_itself_ends() {
        for schema in [json!({"$ref": "#"}), json!({"allOf": [{"$ref": "#"}]})] {
            if let Ok(schema) = InputSchema::compile(&schema, "/input") {
                let _ = schema.validate(&json!({"a": 1}));
            }
        }
    }

    #[test]
    fn a_pattern_cannot_run_for_ever() {
        let schema = InputSchema::compile(&json!({"pattern": "^(a+)+$"}), "/input").unwrap();
        let started = std::time::Instant::now();
        assert!(schema.validate(&json!(format!("{}b", "a".repeat(100_000)))).is_err());
        assert!(started.elapsed() < std::time::Duration::from_secs(5));
    }
}

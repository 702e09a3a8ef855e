//! The JSON Schema of a run's input.
//!
//! Schemas come from anybody, and a validator does what they say however long it takes. So what a schema may cost is
//! bounded when it is compiled (`cost.rs`), and what an input may cost before it is checked.

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

use super::fault::Fault;
use super::limits::{INPUT_CHECK_STEPS_MAX, INPUT_FAULT_STEPS_MAX, PATTERN_BYTES_MAX};
use cost::Cost;

mod cost;
mod parts;
mod words;

#[cfg(test)]
mod tests;

/// Faults that are told of one input.
const FAULTS_MAX: usize = 50;

/// A compiled schema. It fetches nothing, and its patterns match in linear time.
#[derive(Debug)]
pub struct InputSchema {
    validator: Validator,
    cost: Cost,
}

impl InputSchema {
    /// Compiles a schema. `pointer` is where it stands in the document.
    ///
    /// # Errors
    /// When it is no valid schema, refers to something outside of itself, or could make too much work.
    pub fn compile(schema: &Value, pointer: &str) -> Result<Self, Fault> {
        let inside =
            |fault: Fault| Fault { pointer: format!("{pointer}{}", fault.pointer), ..fault };
        // Before the validator is built, because building recurses into the schema as checking does.
        let cost = cost::cost(schema).map_err(inside)?;
        let patterns = PatternOptions::regex().size_limit(PATTERN_BYTES_MAX);
        let validator = jsonschema::options()
            .offline()
            .with_pattern_options(patterns)
            .build(schema)
            .map_err(|error| inside(words::schema_fault(&error)))?;
        Ok(Self { validator, cost })
    }

    /// What checking this input takes at most, in steps of some ten nanoseconds.
    #[must_use]
    pub fn steps(&self, input: &Value) -> u64 {
        self.cost.leaf.saturating_mul(values(input))
    }

    /// Checks an input. The faults point into the input, and name no value of it.
    ///
    /// # Errors
    /// Everything that is wrong with it, up to a number of faults that a person can read; of a large input only the
    /// first, or that there is one.
    pub fn validate(&self, input: &Value) -> Result<(), Vec<Fault>> {
        let steps = self.steps(input);
        if steps > INPUT_CHECK_STEPS_MAX {
            let hint = "a smaller input, or a schema with fewer alternatives";
            return Err(vec![Fault::new("", "is too large to be checked by this schema", hint)]);
        }
        if self.validator.is_valid(input) {
            return Ok(());
        }
        // The validator gathers all errors before it shows the first, and with alternatives also what is wrong with
        // each of them.
        let faults: Vec<Fault> = if steps <= INPUT_FAULT_STEPS_MAX {
            let errors = self.validator.iter_errors(input).take(FAULTS_MAX);
            errors.map(|error| words::input_fault(&error)).collect()
        } else if self.cost.alternatives {
            let hint = "try a smaller part of it, of which all faults can be told";
            vec![Fault::new("", "does not match the schema", hint)]
        } else {
            self.validator.validate(input).err().iter().map(words::input_fault).collect()
        };
        Err(faults)
    }
}

/// Values in an input, and in long texts, which patterns run over.
fn values(input: &Value) -> u64 {
    const BYTES_PER_STEP: usize = 16;
    let text = |text: &str| u64::try_from(text.len() / BYTES_PER_STEP).unwrap_or(u64::MAX);
    let below: u64 = match input {
        Value::Array(items) => items.iter().map(values).sum(),
        Value::Object(fields) => fields.iter().map(|(name, it)| 1 + text(name) + values(it)).sum(),
        Value::String(it) => text(it),
        _ => 0,
    };
    1 + below
}

//! The JSON Schema of a run's input.
//!
//! Schemas come from anybody, and a validator does what they say however long it takes. So what a schema may cost is
//! bounded when it is compiled (`cost.rs`), and what an input may cost before it is checked.

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

use crate::domain::diagnostic::Diagnostic;
use crate::domain::limits::{INPUT_CHECK_STEPS_MAX, INPUT_DIAGNOSTIC_STEPS_MAX, PATTERN_BYTES_MAX};
use cost::Cost;
use defaults::Defaults;

mod bounds;
mod cost;
mod defaults;
mod hints;
mod messages;
mod parts;
mod patterns;
mod references;
mod weight;

#[cfg(test)]
mod hint_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod worst_tests;

/// Diagnostics that are reported of one input.
const DIAGNOSTICS_MAX: usize = 50;

/// A compiled schema. It fetches nothing, and its patterns match in linear time.
#[derive(Debug)]
pub struct InputSchema {
    validator: Validator,
    cost: Cost,
    defaults: Defaults,
}

impl InputSchema {
    /// Compiles a schema. `pointer` is where it stands in the document.
    ///
    /// # Errors
    /// When it is no valid schema, refers to something outside of itself, or could make too much work.
    pub fn compile(schema: &Value, pointer: &str) -> Result<Self, Diagnostic> {
        let inside = |diagnostic: Diagnostic| Diagnostic {
            pointer: format!("{pointer}{}", diagnostic.pointer),
            ..diagnostic
        };
        // Before the validator is built, because building recurses into the schema as checking does.
        let cost = cost::cost(schema).map_err(inside)?;
        let patterns = PatternOptions::regex().size_limit(PATTERN_BYTES_MAX);
        let validator = jsonschema::options()
            .offline()
            .with_pattern_options(patterns)
            .build(schema)
            .map_err(|error| inside(messages::schema_diagnostic(&error)))?;
        let defaults = Defaults::of(schema).map_err(inside)?;
        Ok(Self { validator, cost, defaults })
    }

    /// The input with the schema's defaults where it says nothing, if that is another one. It has yet to be checked.
    ///
    /// # Errors
    /// When they make it larger or deeper than an input may be.
    pub fn complete(&self, input: &Value) -> Result<Option<Value>, Diagnostic> {
        self.defaults.complete(input)
    }

    /// What checking this input takes at most, in steps of some fifty nanoseconds.
    #[must_use]
    pub fn steps(&self, input: &Value) -> u64 {
        self.steps_of(size(input))
    }

    fn steps_of(&self, size: Size) -> u64 {
        let reads = self.cost.leaf.saturating_mul(size.values);
        let matching = self.cost.patterns.saturating_mul(size.text) / PATTERN_BYTES_PER_STEP;
        let comparing = self.cost.unique.saturating_mul(size.pairs) / PAIRS_PER_STEP;
        reads.saturating_add(matching).saturating_add(comparing)
    }

    /// Checks an input. The diagnostics point into the input, and name no value of it.
    ///
    /// # Errors
    /// Everything that is wrong with it, up to a number of diagnostics that a person can read; of a large input only
    /// the first, or that there is one.
    pub fn validate(&self, input: &Value) -> Result<(), Vec<Diagnostic>> {
        let size = size(input);
        let steps = self.steps_of(size);
        if steps > INPUT_CHECK_STEPS_MAX {
            let hint = "a smaller input, or a schema with fewer alternatives";
            return Err(vec![Diagnostic::new(
                "",
                "is too large to be checked by this schema",
                hint,
            )]);
        }
        if self.validator.is_valid(input) {
            return Ok(());
        }
        // The validator gathers all errors before it shows the first, and with alternatives also what is wrong with
        // each of them.
        let diagnostic_steps = steps.saturating_mul(1 + size.path / PATH_BYTES_PER_STEP);
        let diagnostics: Vec<Diagnostic> = if diagnostic_steps <= INPUT_DIAGNOSTIC_STEPS_MAX {
            let errors = self.validator.iter_errors(input).take(DIAGNOSTICS_MAX);
            errors.map(|error| messages::input_diagnostic(&error, input)).collect()
        } else if self.cost.alternatives {
            let hint = "try a smaller part of it, of which all faults can be told";
            vec![Diagnostic::new("", "does not match the schema", hint)]
        } else {
            let error = self.validator.validate(input).err();
            error.iter().map(|error| messages::input_diagnostic(error, input)).collect()
        };
        Err(diagnostics)
    }
}

/// Bytes of a compiled pattern times bytes of text that a step stands for: measured at up to 0.4 ns each.
const PATTERN_BYTES_PER_STEP: u64 = 128;
/// Bytes of names on the way to a value that do not count: a diagnostic takes some hundred bytes, and its pointer that
/// much more.
const PATH_BYTES_PER_STEP: u64 = 128;
/// Comparisons of two items that a step stands for.
const PAIRS_PER_STEP: u64 = 2;

/// How large an input is to a validator.
#[derive(Debug, Default, Clone, Copy)]
struct Size {
    /// Its values and names, and some more for long texts.
    values: u64,
    /// Bytes of its texts and names. Each has a start and an end that a pattern is run for, too.
    text: u64,
    /// Pairs of items in the same list that may have to be compared: lists and objects can be made to have the same
    /// hash, however different they are.
    pairs: u64,
    /// Bytes of the names on the way to a value, at most. Every diagnostic repeats them.
    path: u64,
}

impl Size {
    fn add_text(&mut self, text: &str) {
        const BYTES_PER_STEP: usize = 16;
        self.values += (text.len() / BYTES_PER_STEP) as u64;
        self.text += text.len() as u64 + 2;
    }
}

fn size(input: &Value) -> Size {
    let mut sum = Size { values: 1, ..Size::default() };
    let add = |sum: &mut Size, it: &Value| {
        let below = size(it);
        sum.values += below.values;
        sum.text += below.text;
        sum.pairs += below.pairs;
        below.path
    };
    match input {
        Value::Array(items) => {
            let nested = items.iter().filter(|it| it.is_array() || it.is_object()).count() as u64;
            sum.pairs = nested.saturating_mul(nested) / 2;
            for it in items {
                sum.path = add(&mut sum, it).max(sum.path);
            }
        }
        Value::Object(fields) => {
            for (name, it) in fields {
                sum.values += 1;
                sum.add_text(name);
                sum.path = (name.len() as u64 + add(&mut sum, it)).max(sum.path);
            }
        }
        Value::String(it) => sum.add_text(it),
        _ => {}
    }
    sum
}

//! How large the patterns of a schema are when compiled. A matcher that has too many states for a table goes through
//! all of a pattern for each byte of a text, so time is bounded by the product of both.

use std::collections::HashMap;

use jsonschema::PatternOptions;
use serde_json::{Value, json};

use crate::domain::diagnostic::Diagnostic;
use crate::domain::limits::{PATTERN_BYTES_MAX, SCHEMA_PATTERNS_BYTES_MAX};

/// The smallest size that is distinguished.
const BYTES_MIN: usize = 512;

/// The sizes of patterns seen so far.
#[derive(Default)]
pub(super) struct Patterns<'a> {
    sizes: HashMap<&'a str, usize>,
    total: usize,
}

impl<'a> Patterns<'a> {
    /// The bytes of a keyword's patterns.
    pub(super) fn bytes(
        &mut self,
        keyword: &str,
        value: &'a Value,
        at: &str,
    ) -> Result<u64, Diagnostic> {
        let bytes = match (keyword, value) {
            ("pattern", Value::String(pattern)) => self.size(pattern, at)?,
            // `additionalProperties` may run them once more.
            ("patternProperties", Value::Object(patterns)) => {
                let mut sum = 0;
                for pattern in patterns.keys() {
                    sum += 2 * self.size(pattern, at)?;
                }
                sum
            }
            _ => 0,
        };
        Ok(u64::try_from(bytes).unwrap_or(u64::MAX))
    }

    fn size(&mut self, pattern: &'a str, at: &str) -> Result<usize, Diagnostic> {
        if let Some(size) = self.sizes.get(pattern) {
            return Ok(*size);
        }
        let size = compiled_size(pattern);
        self.sizes.insert(pattern, size);
        self.total += size;
        // One by itself is reported when the whole is compiled.
        if self.total > SCHEMA_PATTERNS_BYTES_MAX {
            let message = "the patterns of the schema are too large together";
            let hint = "fewer or shorter patterns; `maxLength` in place of large repetitions";
            return Err(Diagnostic::new(at, message, hint));
        }
        Ok(size)
    }
}

/// Rounded up to a power of two, because a compiler reports no more than whether a limit was enough.
fn compiled_size(pattern: &str) -> usize {
    let schema = json!({"pattern": pattern});
    let fits = |limit: usize| {
        let patterns = PatternOptions::regex().size_limit(limit);
        jsonschema::options().offline().with_pattern_options(patterns).build(&schema).is_ok()
    };
    let mut size = BYTES_MIN;
    while size < PATTERN_BYTES_MAX && !fits(size) {
        size *= 2;
    }
    size
}

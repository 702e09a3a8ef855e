//! What the keywords that hold no subschema cost.

use serde_json::Value;

/// In steps. Texts are found by hash, other values are compared one by one, and each name that is looked up may be
/// an error of its own.
pub(super) fn weight(keyword: &str, value: &Value) -> u64 {
    const TEXTS_PER_STEP: usize = 16;
    const VALUES_PER_STEP: usize = 4;
    const STEPS_OF_PATTERN: usize = 4;
    // Below sixteen items each is compared with each other one.
    const STEPS_OF_UNIQUE: usize = 8;
    let steps = match (keyword, value) {
        ("required", Value::Array(names)) => names.len(),
        ("dependentRequired" | "dependencies", Value::Object(entries)) => {
            entries.values().filter_map(Value::as_array).map(|names| 1 + names.len()).sum()
        }
        ("enum", Value::Array(items)) if items.iter().all(Value::is_string) => {
            items.len() / TEXTS_PER_STEP
        }
        // The members of an object are looked up.
        ("enum", Value::Array(items)) if items.iter().any(Value::is_object) => items.len(),
        ("enum", Value::Array(items)) => items.len() / VALUES_PER_STEP,
        ("const", Value::Object(_) | Value::Array(_)) => 1,
        ("uniqueItems", Value::Bool(true)) => STEPS_OF_UNIQUE,
        ("pattern", _) => STEPS_OF_PATTERN,
        ("patternProperties", Value::Object(patterns)) => STEPS_OF_PATTERN * patterns.len(),
        _ => 0,
    };
    u64::try_from(steps).unwrap_or(u64::MAX)
}

//! How deep a value nests.

use serde_json::Value;

/// Whether a value nests at most `levels` deep: a list or an object is a level, and what it holds is on the next.
///
/// It looks no deeper than that, so it may be asked of any value. Everything that writes, copies or drops a value recurses
/// over it, and has this asked before.
#[must_use]
pub fn nests_within(value: &Value, levels: usize) -> bool {
    match (value, levels.checked_sub(1)) {
        (Value::Array(items), Some(below)) => items.iter().all(|item| nests_within(item, below)),
        (Value::Object(fields), Some(below)) => {
            fields.values().all(|value| nests_within(value, below))
        }
        (Value::Array(_) | Value::Object(_), None) => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_and_objects_are_levels() {
        assert!(nests_within(&json!("x"), 0));
        for (value, levels) in [
            (json!([]), 1),
            (json!({}), 1),
            (json!([1, "x", null]), 1),
            (json!([1, [2, { "a": [] }], {}]), 4),
            (json!({ "a": { "b": 1 }, "c": [[[1]]] }), 4),
        ] {
            assert!(nests_within(&value, levels), "{value}");
            assert!(!nests_within(&value, levels - 1), "{value}");
        }
    }
}

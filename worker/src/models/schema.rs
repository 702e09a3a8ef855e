//! Which JSON Schemas a provider can hold a model to while it writes.

use serde_json::Value;

/// Keywords that every provider's constrained decoding takes.
const KEYWORDS: &[&str] = &[
    "$defs",
    "$ref",
    "additionalProperties",
    "anyOf",
    "const",
    "description",
    "enum",
    "items",
    "properties",
    "required",
    "title",
    "type",
];
/// How deep a schema is looked into. OpenAI takes five levels of objects.
const DEPTH_MAX: usize = 16;

/// Whether a schema is in the subset that OpenAI's `strict` and Anthropic's `output_config` accept: an object, every
/// object closed, every property required, no keyword that they do not know. Others are sent as a wish.
pub(super) fn is_strict(schema: &Value) -> bool {
    schema["type"] == "object" && part_is_strict(schema, DEPTH_MAX)
}

fn part_is_strict(schema: &Value, depth: usize) -> bool {
    let Some(depth) = depth.checked_sub(1) else { return false };
    let Some(fields) = schema.as_object() else { return false };
    let is_known = fields.keys().all(|keyword| KEYWORDS.contains(&keyword.as_str()));
    let all = |name: &str| match fields.get(name) {
        None => true,
        Some(Value::Object(parts)) => parts.values().all(|part| part_is_strict(part, depth)),
        Some(Value::Array(parts)) => parts.iter().all(|part| part_is_strict(part, depth)),
        Some(_) => false,
    };
    let items = fields.get("items").is_none_or(|items| part_is_strict(items, depth));
    let is_object =
        fields.get("type").is_some_and(|of| *of == "object") || fields.contains_key("properties");
    is_known
        && all("properties")
        && all("$defs")
        && all("anyOf")
        && items
        && (!is_object || is_closed(schema))
}

fn is_closed(schema: &Value) -> bool {
    let required = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut names = schema["properties"].as_object().into_iter().flat_map(|all| all.keys());
    schema["additionalProperties"] == false
        && names.all(|name| required.iter().any(|required| required == name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_closed_objects_with_every_property_required_are_strict() {
        let closed = json!({"type": "object", "properties": {"n": {"type": "integer"}},
            "required": ["n"], "additionalProperties": false});
        assert!(is_strict(&closed));
        assert!(is_strict(
            &json!({"type": "object", "additionalProperties": false, "required": ["a", "b"],
            "properties": {"a": {"type": "array", "items": closed}, "b": {"anyOf": [closed, {"type": "null"}]}}})
        ));
        for schema in [
            json!({"type": "object"}),
            json!({"type": "array", "items": closed}),
            json!({"type": "object", "properties": {"n": {}}, "additionalProperties": false}),
            json!({"type": "object", "properties": {"n": {"type": "object"}}, "required": ["n"],
                "additionalProperties": false}),
            json!({"type": "object", "properties": {"n": {"type": "string", "pattern": "x"}}, "required": ["n"],
                "additionalProperties": false}),
            json!(true),
        ] {
            assert!(!is_strict(&schema), "{schema}");
        }
        let mut deep = closed;
        for _ in 0..100 {
            deep = json!({"type": "object", "properties": {"n": deep}, "required": ["n"],
                "additionalProperties": false});
        }
        assert!(!is_strict(&deep));
    }
}

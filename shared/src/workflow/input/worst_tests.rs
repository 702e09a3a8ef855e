//! Schemas and inputs made to cost as much as they can.

use std::time::Instant;

use serde_json::{Map, Value, json};

use super::tests::PATIENCE;
use super::*;

fn diagnostic_of(schema: &Value) -> Diagnostic {
    InputSchema::compile(schema, "/input").unwrap_err()
}

fn by_name(count: usize, schema: &Value) -> Map<String, Value> {
    (0..count).map(|n| (format!("n{n}"), schema.clone())).collect()
}

/// Letters a and b that no table of states foresees; a repeated text would be matched from one.
fn random_text(length: usize) -> String {
    let mut state = 88_172_645_463_325_252_u64;
    let letter = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        if state >> 40 & 1 == 0 { 'a' } else { 'b' }
    };
    (0..length).map(letter).collect()
}

/// The validator makes an error of each, with its location, before it shows the first.
#[test]
fn of_many_diagnostics_below_a_long_name_only_the_first_is_reported() {
    let schema = json!({"additionalProperties": {"items": {"items": {"type": "string"}}}});
    let schema = InputSchema::compile(&schema, "/input").unwrap();
    for (name, reported) in [("n".repeat(100), DIAGNOSTICS_MAX), ("n".repeat(20_000), 1)] {
        let input = json!({name: [vec![0; 2_000]]});
        assert_eq!(schema.validate(&input).unwrap_err().len(), reported);
    }
}

#[test]
fn a_large_schema_is_refused_before_it_is_taken_apart() {
    let long = "x".repeat(200_000);
    let started = Instant::now();
    for (schema, pointer, message) in [
        (
            json!({"properties": by_name(1_000, &json!({})), "patternProperties": by_name(15_000, &json!({}))}),
            "/input/patternProperties",
            "more than 32 patterns",
        ),
        (json!({"properties": by_name(15_000, &json!({}))}), "/input", "more than 2000 subschemas"),
        (
            json!({"properties": {long: {"properties": by_name(1_900, &json!({}))}}}),
            "/input/properties",
            "a name of more than 256 bytes",
        ),
        (json!({"$ref": "#/x", "x": {"allOf": vec![json!({}); 9_000]}}), "/input", "subschemas"),
        (json!({"pattern": "a".repeat(2_000)}), "/input/pattern", "more than 1024 bytes"),
    ] {
        let diagnostic = diagnostic_of(&schema);
        assert!(diagnostic.pointer == pointer || message.contains("subschemas"), "{diagnostic:?}");
        assert!(
            diagnostic.message.contains(message) && !diagnostic.hint.is_empty(),
            "{diagnostic:?}"
        );
    }
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
    let usual = json!({"properties": by_name(500, &json!({"type": "string"})), "patternProperties": {"^x-": true}});
    assert!(InputSchema::compile(&usual, "/input").is_ok());
}

#[test]
fn examples_may_hold_anything() {
    let schema = json!({
        "properties": {"a": {"default": {"$id": "x"}, "enum": [{"$schema": "y", "$anchor": "z"}]}},
        "const": {"$id": "x", "$anchor": "z"},
        "examples": [{"$id": "x"}, {"$anchor": "z"}]
    });
    assert!(InputSchema::compile(&schema, "/input").is_ok());
    // Not where a reference makes a schema of them.
    let diagnostic =
        diagnostic_of(&json!({"$ref": "#/default", "default": {"$id": "https://example.com"}}));
    assert_eq!(diagnostic.pointer, "/input/default/$id");
    let diagnostic = diagnostic_of(&json!({"properties": {"default": {"$id": "x"}}}));
    assert_eq!(diagnostic.pointer, "/input/properties/default/$id");
}

#[test]
fn usual_patterns_are_accepted_and_matched() {
    for (pattern, text) in [
        (r"^[^@\s]+@[^@\s]+\.[^@\s]+$", "a@b.cd"),
        (
            r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",
            "0193e4f0-0000-7000-8000-0123456789ab",
        ),
        (
            r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$",
            "2024-05-06T07:08:09Z",
        ),
        (
            r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$",
            "1.2.3-rc.1",
        ),
        (
            r"^https?://(www\.)?[-a-zA-Z0-9@:%._\+~#=]{1,256}\.[a-zA-Z0-9()]{1,6}\b([-a-zA-Z0-9()@:%_\+.~#?&//=]*)$",
            "https://example.com/a",
        ),
        (r"^\+?[1-9]\d{1,14}$", "+491711234567"),
        (r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$", "web-1"),
        (r"^[\p{L} ]+$", "Ana María"),
    ] {
        let schema = json!({"properties": {"a": {"pattern": pattern}}});
        let schema = InputSchema::compile(&schema, "/input").unwrap();
        assert_eq!(
            schema.validate(&json!({"a": text, "b": "x".repeat(20_000)})),
            Ok(()),
            "{pattern}"
        );
    }
}

#[test]
fn a_pattern_counts_as_the_states_that_a_text_may_keep_alive() {
    let pattern = |count: usize| json!({"pattern": format!("^[ab]*a[ab]{{{count}}}$")});
    for (count, length, is_too_much) in
        [(100, 240_000, false), (100, 100, false), (800, 240_000, true), (800, 30_000, false)]
    {
        let schema = InputSchema::compile(&pattern(count), "/input").unwrap();
        let input = json!(random_text(length));
        assert_eq!(schema.steps(&input) > INPUT_CHECK_STEPS_MAX, is_too_much, "{count} {length}");
        let started = Instant::now();
        let _ = schema.validate(&input);
        assert!(started.elapsed() < PATIENCE, "{count}: {:?}", started.elapsed());
    }
    assert_eq!(diagnostic_of(&pattern(5_000)).pointer, "/input/pattern");
    let many: Vec<Value> =
        (0..900).map(|n| json!({"pattern": format!("[ab]{{300}}{n}")})).collect();
    let started = Instant::now();
    assert!(diagnostic_of(&json!({"prefixItems": many})).message.contains("too large together"));
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
}

#[test]
fn names_that_depend_on_others_are_counted() {
    let entries: Map<String, Value> =
        (0..9_000).map(|n| (format!("n{n}"), json!(["a", "b"]))).collect();
    for keyword in ["dependentRequired", "dependencies"] {
        let diagnostic = diagnostic_of(&json!({"items": {keyword: entries}}));
        assert!(diagnostic.message.contains("1000 times"), "{keyword}: {diagnostic:?}");
    }
    let names: Vec<String> = (0..9_000).map(|n| format!("n{n}")).collect();
    assert!(diagnostic_of(&json!({"required": names})).message.contains("1000 times"));
    let usual = json!({"dependentRequired": {"card": ["address", "name"]}, "required": ["card"]});
    assert!(InputSchema::compile(&usual, "/input").is_ok());
}

#[test]
fn unlike_lists_of_the_same_hash_are_counted() {
    // Each is a different nesting of empty lists, of which none has anything to be distinguished by its hash.
    let nesting = |bits: usize| {
        (0..16).fold(json!([]), |inner, bit| {
            if bits >> bit & 1 == 0 { json!([inner]) } else { json!([inner, []]) }
        })
    };
    let schema = InputSchema::compile(&json!({"uniqueItems": true}), "/input").unwrap();
    let input = |count: usize| Value::Array((0..count).map(nesting).collect());
    assert!(schema.steps(&input(10_000)) > INPUT_CHECK_STEPS_MAX);
    let started = Instant::now();
    assert_eq!(schema.validate(&input(3_000)), Ok(()));
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
    let texts: Vec<String> = (0..20_000).map(|n| n.to_string()).collect();
    assert_eq!(schema.validate(&json!(texts)), Ok(()));
}

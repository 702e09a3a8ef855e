use serde_json::{Value, json};

use super::*;

fn only_diagnostic(schema: &Value, input: &Value) -> Diagnostic {
    let schema = InputSchema::compile(schema, "/input").unwrap();
    let mut diagnostics = schema.validate(input).unwrap_err();
    assert_eq!(diagnostics.len(), 1, "{diagnostics:?}");
    diagnostics.remove(0)
}

#[test]
fn each_diagnostic_of_an_input_says_what_would_be_right() {
    for (schema, input, hint) in [
        (json!({"type": "array"}), json!(1), "a list"),
        (json!({"type": ["integer", "null"]}), json!("x"), "a whole number"),
        (json!({"required": ["url"]}), json!({}), "add `url`"),
        (json!({"enum": ["a", 2]}), json!(3), "one of \"a\", 2"),
        (json!({"const": "a"}), json!("b"), "only \"a\""),
        (json!({"minimum": 3}), json!(2), "at least 3"),
        (json!({"maximum": 3}), json!(4), "at most 3"),
        (json!({"exclusiveMinimum": 3}), json!(3), "more than 3"),
        (json!({"exclusiveMaximum": 3}), json!(3), "less than 3"),
        (json!({"multipleOf": 5}), json!(3), "a multiple of 5"),
        (json!({"minLength": 1}), json!(""), "at least 1 character"),
        (json!({"maxLength": 2}), json!("abc"), "at most 2 characters"),
        (json!({"minItems": 2}), json!([1]), "at least 2 items"),
        (json!({"maxItems": 1}), json!([1, 2]), "at most 1 item"),
        (json!({"minProperties": 1}), json!({}), "at least 1 property"),
        (json!({"uniqueItems": true}), json!([1, 1]), "each item once"),
        (json!({"pattern": "^[0-9]{5}$"}), json!("x"), "text that matches `^[0-9]{5}$`"),
        (
            json!({"$schema": "http://json-schema.org/draft-07/schema#", "format": "date"}),
            json!("yesterday"),
            "a text like `2026-01-31`",
        ),
    ] {
        let diagnostic = only_diagnostic(&schema, &input);
        assert!(diagnostic.hint.contains(hint), "{schema}: {diagnostic:?}");
    }
}

#[test]
fn a_property_that_may_not_be_there_is_named_or_pointed_to() {
    let closed = json!({"properties": {"n": {}}, "additionalProperties": false});
    let diagnostic = only_diagnostic(&closed, &json!({"n": 1, "m": "hunter2"}));
    assert_eq!((&*diagnostic.pointer, &*diagnostic.hint), ("", "leave out `m`"));
    let open = json!({"additionalProperties": false});
    let diagnostic = only_diagnostic(&open, &json!({"m": "hunter2"}));
    assert_eq!((&*diagnostic.pointer, &*diagnostic.hint), ("", "leave out `m`"), "{diagnostic:?}");
    for schema in [json!({"properties": {"m": false}}), json!({"patternProperties": {"m": false}})]
    {
        let diagnostic = only_diagnostic(&schema, &json!({"m": "hunter2"}));
        assert_eq!((&*diagnostic.pointer, &*diagnostic.hint), ("/m", "leave it out"), "{schema}");
        assert!(!diagnostic.message.contains("chema"), "{diagnostic:?}");
    }
}

#[test]
fn hints_of_huge_schemas_stay_short() {
    let options: Vec<String> = (0..100).map(|n| format!("{n}{}", "x".repeat(1000))).collect();
    for schema in [json!({"enum": options}), json!({"const": "x".repeat(10_000)})] {
        let diagnostic = only_diagnostic(&schema, &json!(1));
        assert!(diagnostic.hint.chars().count() < 2_000, "{}", diagnostic.hint.len());
    }
}

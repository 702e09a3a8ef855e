use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::*;

/// How long anything may take: what the cases are made of would take years without its limit.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

fn diagnostic_of(schema: &Value) -> Diagnostic {
    InputSchema::compile(schema, "/input").unwrap_err()
}

/// Definitions of which each refers twice to the next.
fn doubling(keyword: &str, levels: usize) -> Value {
    let mut definitions = serde_json::Map::new();
    for n in 0..levels {
        let next = json!({"$ref": format!("#/$defs/a{}", n + 1)});
        definitions.insert(format!("a{n}"), json!({keyword: [next, next]}));
    }
    definitions.insert(format!("a{levels}"), json!({"type": "string"}));
    json!({"$defs": definitions, "$ref": "#/$defs/a0"})
}

#[test]
fn an_input_is_checked_without_repeating_it() {
    let schema =
        json!({"type": "object", "required": ["url"], "properties": {"n": {"type": "integer"}}});
    let schema = InputSchema::compile(&schema, "/input").unwrap();
    assert_eq!(schema.validate(&json!({"url": "x", "n": 1})), Ok(()));
    let diagnostics = schema.validate(&json!({"n": "hunter2"})).unwrap_err();
    assert_eq!(diagnostics.len(), 2);
    assert!(diagnostics.iter().any(|diagnostic| diagnostic.pointer == "/n"));
    assert!(!format!("{diagnostics:?}").contains("hunter2"));
}

#[test]
fn a_schema_reaches_nothing_outside() {
    for reference in [
        "https://example.com/s.json",
        "file:///etc/passwd",
        "other.json",
        "#nowhere",
        "#/$defs/nothing",
        "https://json-schema.org/draft/2020-12/schema",
    ] {
        let diagnostic = diagnostic_of(&json!({"properties": {"a": {"$ref": reference}}}));
        assert_eq!(diagnostic.pointer, "/input/properties/a/$ref", "{reference}: {diagnostic:?}");
        assert!(diagnostic.hint.contains("outside"), "{reference}: {diagnostic:?}");
    }
    for inside in [
        json!({"$defs": {"a": {"type": "string"}}, "$ref": "#/$defs/a"}),
        json!({"$defs": {"a b": {"type": "string"}}, "$ref": "#/$defs/a%20b"}),
        json!({"$defs": {"a": {"$anchor": "here", "type": "string"}}, "$ref": "#here"}),
        json!({"$id": "https://example.com/s", "$defs": {"a": {"type": "string"}}, "$ref": "https://example.com/s#/$defs/a"}),
    ] {
        let schema = InputSchema::compile(&inside, "/input").unwrap();
        assert!(schema.validate(&json!("x")).is_ok() && schema.validate(&json!(1)).is_err());
    }
}

#[test]
fn what_would_move_the_base_of_references_is_refused() {
    let diagnostic = diagnostic_of(&json!({"$defs": {"a": {"$id": "https://example.com/a"}}}));
    assert_eq!(diagnostic.pointer, "/input/$defs/a/$id");
    let diagnostic = diagnostic_of(
        &json!({"$defs": {"a": {"$schema": "http://json-schema.org/draft-07/schema#"}}}),
    );
    assert_eq!(diagnostic.pointer, "/input/$defs/a/$schema");
    let diagnostic = diagnostic_of(&json!({"$schema": "http://json-schema.org/draft-04/schema#"}));
    assert_eq!(diagnostic.pointer, "/input/$schema");
    let draft_7 = json!({"$schema": "http://json-schema.org/draft-07/schema#", "properties": {"id": {"type": "string"}}});
    assert!(InputSchema::compile(&draft_7, "/input").is_ok());
    let diagnostic = diagnostic_of(&json!({"$dynamicRef": "#a", "$dynamicAnchor": "a"}));
    assert_eq!(diagnostic.pointer, "/input/$dynamicRef");
    let diagnostic =
        diagnostic_of(&json!({"$defs": {"a": {"$anchor": "x"}, "b": {"$anchor": "x"}}}));
    assert_eq!(diagnostic.pointer, "/input/$defs/b/$anchor");
}

#[test]
fn a_schema_that_only_refers_to_itself_is_refused() {
    for schema in [
        json!({"$ref": "#"}),
        json!({"allOf": [{"$ref": "#"}]}),
        json!({"$defs": {"a": {"not": {"$ref": "#/$defs/b"}}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}),
    ] {
        assert!(diagnostic_of(&schema).message.contains("comes back to itself"), "{schema}");
    }
}

#[test]
fn a_schema_whose_references_multiply_is_refused_where_they_do() {
    for keyword in ["anyOf", "allOf", "oneOf"] {
        assert!(InputSchema::compile(&doubling(keyword, 6), "/input").is_ok());
        let started = Instant::now();
        for levels in [10, 16, 20, 60, 600] {
            let diagnostic = diagnostic_of(&doubling(keyword, levels));
            assert!(diagnostic.pointer.starts_with("/input/$defs/a"), "{diagnostic:?}");
            assert!(diagnostic.message.contains("1000 times"), "{diagnostic:?}");
            assert!(diagnostic.hint.contains("one `$ref` to each definition"), "{diagnostic:?}");
        }
        assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
    }
}

#[test]
fn a_recursive_schema_may_read_each_value_once() {
    for (schema, good, bad) in [
        (
            json!({"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}, "required": ["n"]}),
            json!({"n": 1, "left": {"n": 2, "right": {"n": 3}}}),
            json!({"n": 1, "left": {"n": 2, "right": {}}}),
        ),
        (
            json!({"anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"$ref": "#"}},
                {"type": "object", "additionalProperties": {"$ref": "#"}}
            ]}),
            json!({"a": ["x", {"b": "y"}]}),
            json!({"a": ["x", {"b": 1}]}),
        ),
        (
            json!({"properties": {"children": {"items": {"$ref": "#"}}}, "additionalProperties": {"$ref": "#"}}),
            json!({"children": [{}], "x": {"children": []}}),
            json!({"children": [{"children": 1}], "x": 1, "y": {"children": [{"children": "x"}]}}),
        ),
    ] {
        let compiled = InputSchema::compile(&schema, "/input").unwrap();
        assert_eq!(compiled.validate(&good), Ok(()), "{schema}");
        let _ = compiled.validate(&bad);
    }
    let tree = json!({"properties": {"left": {"$ref": "#"}}, "anyOf": [
        {"properties": {"left": {"$ref": "#"}}}, {"properties": {"left": {"$ref": "#"}}}
    ]});
    let diagnostic = diagnostic_of(&tree);
    assert!(diagnostic.hint.contains("refers to itself at most once"), "{diagnostic:?}");
}

#[test]
fn what_is_unevaluated_is_not_looked_for_in_a_recursive_schema() {
    let branch = |name: &str| json!({"properties": {name: {"$ref": "#"}}});
    let schema = json!({"anyOf": [branch("a"), branch("b")], "unevaluatedProperties": false});
    assert!(diagnostic_of(&schema).hint.contains("`additionalProperties` in place"), "{schema}");
    let schema = json!({"properties": {"a": {"$ref": "#"}}, "unevaluatedProperties": false});
    assert!(diagnostic_of(&schema).hint.contains("`additionalProperties` in place"), "{schema}");
    let plain = json!({
        "allOf": [{"properties": {"a": {"type": "string"}}}],
        "properties": {"b": {"properties": {"c": {"type": "integer"}}}},
        "unevaluatedProperties": false
    });
    let plain = InputSchema::compile(&plain, "/input").unwrap();
    assert_eq!(plain.validate(&json!({"a": "x", "b": {"c": 1}})), Ok(()));
    assert!(plain.validate(&json!({"z": 1})).is_err());
}

#[test]
fn nested_schemas_are_compiled_in_time() {
    let nest = |levels: usize, around: fn(Value) -> Value| {
        (0..levels).fold(json!({}), |inner, _| around(inner))
    };
    let started = Instant::now();
    for schema in [
        nest(24, |inner| json!({"additionalProperties": inner, "unevaluatedProperties": false})),
        nest(24, |inner| json!({"items": inner, "unevaluatedItems": false})),
        nest(24, |inner| json!({"contains": inner, "unevaluatedItems": false})),
        nest(24, |inner| json!({"unevaluatedProperties": inner})),
        nest(12, |inner| json!({"anyOf": [inner], "unevaluatedProperties": false})),
        nest(12, |inner| json!({"prefixItems": [inner], "unevaluatedItems": false})),
        nest(
            12,
            |inner| json!({"patternProperties": {"a": inner}, "unevaluatedProperties": false}),
        ),
        nest(12, |inner| json!({"if": inner, "then": false, "unevaluatedProperties": false})),
        nest(12, |inner| json!({"properties": {"a": inner}, "unevaluatedProperties": false})),
    ] {
        let _ = InputSchema::compile(&schema, "/input");
    }
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
}

#[test]
fn deep_chains_of_references_exhaust_no_stack() {
    let chain = |length: usize, link: fn(String) -> Value| {
        let mut definitions = serde_json::Map::new();
        for n in 0..length {
            definitions.insert(format!("d{n}"), link(format!("#/$defs/d{}", n + 1)));
        }
        definitions.insert(format!("d{length}"), json!({"type": "object"}));
        json!({"$defs": definitions, "$ref": "#/$defs/d0"})
    };
    let beside = |to: String| json!({"$ref": to});
    let schema = InputSchema::compile(&chain(990, beside), "/input").unwrap();
    assert_eq!(schema.validate(&json!({})), Ok(()));
    assert!(schema.validate(&json!(1)).is_err());
    assert!(diagnostic_of(&chain(1_900, beside)).message.contains("1000 times"));
    let below = |to: String| json!({"properties": {"a": {"$ref": to}}});
    let schema = InputSchema::compile(&chain(900, below), "/input").unwrap();
    let deep = (0..60).fold(json!({}), |inner, _| json!({"a": inner}));
    assert_eq!(schema.validate(&deep), Ok(()));
}

/// The costliest schemas that are accepted, over the costliest inputs.
#[test]
fn the_worst_that_is_accepted_ends_soon() {
    let numbers = json!((0..120_000).map(|_| 0).collect::<Vec<_>>());
    let alternatives = |count: usize| {
        let mut items: Vec<Value> = (0..count).map(|n| json!({"minimum": n + 1})).collect();
        items.push(json!({"minimum": 0}));
        json!({"items": {"anyOf": items}})
    };
    for (what, schema, input) in [
        ("alternatives of items", alternatives(160), numbers.clone()),
        ("too many of them", alternatives(900), numbers.clone()),
        (
            "items of alternatives",
            json!({"allOf": (0..80).map(|n| json!({"items": {"minimum": -n}})).collect::<Vec<_>>()}),
            numbers,
        ),
        (
            "doubling",
            json!({"items": {"$ref": "#/$defs/a0"}, "$defs": doubling("allOf", 5)["$defs"]}),
            json!(vec!["x"; 100_000]),
        ),
        ("few enough to be reported", alternatives(900), json!(vec![-1; 50])),
        ("a text", json!({"pattern": "^(a|b)*a(a|b){50}$"}), json!("ab".repeat(120_000))),
        ("any text", json!({"pattern": "(.*)*x(.*)*y{1,50}$"}), json!("x".repeat(240_000))),
        (
            "unique",
            json!({"uniqueItems": true}),
            json!((0..6_000).map(|n| json!([n % 5_999])).collect::<Vec<_>>()),
        ),
        (
            "an enumeration",
            json!({"items": {"enum": (0..600).map(|n| json!([n])).collect::<Vec<_>>()}}),
            json!(vec![json!([599]); 60_000]),
        ),
    ] {
        let started = Instant::now();
        let schema = InputSchema::compile(&schema, "/input").unwrap();
        let result = schema.validate(&input);
        let took = started.elapsed();
        assert!(took < PATIENCE, "{what}: {took:?}");
        let is_too_much = schema.steps(&input) > INPUT_CHECK_STEPS_MAX;
        assert_eq!(is_too_much, what == "too many of them", "{what}");
        let is_bad =
            ["too many of them", "few enough to be reported", "a text", "any text", "unique"];
        assert_eq!(result.is_err(), is_bad.contains(&what), "{what}");
    }
}

#[test]
fn a_pattern_cannot_run_for_ever() {
    let schema = InputSchema::compile(&json!({"pattern": "^(a+)+$"}), "/input").unwrap();
    let started = Instant::now();
    assert!(schema.validate(&json!(format!("{}b", "a".repeat(100_000)))).is_err());
    assert!(started.elapsed() < PATIENCE);
}

#[test]
fn patterns_that_take_unbounded_time_or_memory_are_refused() {
    for pattern in ["(?=a)b", "(a)\\1", "((a{100}){100}){100}", "(", "(?<!a)b"] {
        let diagnostic = diagnostic_of(&json!({"properties": {"a": {"pattern": pattern}}}));
        assert_eq!(diagnostic.pointer, "/input/properties/a/pattern", "{diagnostic:?}");
        assert!(diagnostic.hint.contains("regular expression"), "{diagnostic:?}");
        let diagnostic = diagnostic_of(&json!({"patternProperties": {pattern: true}}));
        assert!(diagnostic.pointer.starts_with("/input/patternProperties"), "{diagnostic:?}");
        assert!(diagnostic.hint.contains("regular expression"), "{diagnostic:?}");
    }
}

#[test]
fn diagnostics_of_a_schema_say_what_would_be_right() {
    for (schema, pointer, message, hint) in [
        (json!({"type": "strng"}), "/type", "\"strng\"", "did you mean `string`?"),
        (json!({"type": 5}), "/type", "`type`", "or a list of these"),
        (json!({"properties": []}), "/properties", "`properties`", "a schema for each name"),
        (json!({"properties": {"type": 5}}), "/properties/type", "`5`", "a schema"),
        (json!({"required": "a"}), "/required", "`required`", "a list of names"),
        (json!({"required": ["a", 1]}), "/required", "", "a list of names"),
        (json!({"items": {"minLength": -1}}), "/items/minLength", "`-1`", "a whole number"),
        (json!({"anyOf": []}), "/anyOf", "", "at least one schema"),
        (json!({"uniqueItems": "yes"}), "/uniqueItems", "yes", "`true` or `false`"),
    ] {
        let diagnostic = diagnostic_of(&schema);
        let expected = format!("/input{pointer}");
        assert!(diagnostic.pointer.starts_with(&expected), "{schema}: {diagnostic:?}");
        assert!(diagnostic.message.contains("no valid JSON Schema"), "{schema}: {diagnostic:?}");
        assert!(
            diagnostic.message.contains(message) && diagnostic.hint.contains(hint),
            "{schema}: {diagnostic:?}"
        );
        assert!(!diagnostic.hint.contains("outside"), "{schema}: {diagnostic:?}");
    }
}

#[test]
fn of_an_input_that_fits_no_alternative_is_reported_why() {
    let schema = json!({"properties": {"at": {"anyOf": [
        {"type": "string"},
        {"type": "object", "required": ["day"]},
        {"type": "array"}, {"type": "boolean"}
    ]}}});
    let schema = InputSchema::compile(&schema, "/input").unwrap();
    let diagnostic = schema.validate(&json!({"at": 4711})).unwrap_err().remove(0);
    assert_eq!(
        (&*diagnostic.pointer, &*diagnostic.message),
        ("/at", "fits none of the alternatives")
    );
    assert!(
        diagnostic.hint.contains("\"string\"") && diagnostic.hint.contains("; or 1 others"),
        "{diagnostic:?}"
    );
    assert!(!format!("{diagnostic:?}").contains("4711"));
}

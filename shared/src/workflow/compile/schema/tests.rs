//! The schema and the compiler agree.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use jsonschema::Validator;
use serde_json::{Map, Value, json};

use super::super::diagnostic_tests::valid;
use super::super::{check, document, edges, nodes};
use super::*;
use crate::document::{Format, parse};

/// The schema of a definition, with all others beside it.
fn validator(name: &str) -> Validator {
    let all: Map<_, _> = definitions(DEFINITIONS).into_iter().collect();
    let schema = json!({ "$ref": format!("{DEFINITIONS}{name}"), "$defs": all });
    jsonschema::options().should_validate_formats(true).offline().build(&schema).unwrap()
}

/// Whether it is published.
fn compiles(document: &Value) -> bool {
    check(&document.to_string(), Some(Format::Json)).is_ok()
}

/// What any parameter may be tried with.
fn probes() -> Vec<Value> {
    vec![
        json!(null),
        json!(true),
        json!(0),
        json!(1),
        json!(-1),
        json!(2.5),
        json!(404),
        json!(1_000_000),
        json!(""),
        json!("x"),
        json!("5s"),
        json!("5s1m"),
        json!("5xx"),
        json!("2030-01-31T12:00:00Z"),
        json!("{{ 1 }}"),
        json!("{% if true %}1{% endif %}"),
        json!([]),
        json!(["x"]),
        json!(["x", "x", "x", "x", "x"]),
        json!([{}]),
        json!([null]),
        json!({}),
        json!({ "x": 1 }),
        json!({ "x": "y" }),
    ]
}

/// Every value of a document by its pointer, but for what is any JSON.
fn pointers(value: &Value, pointer: String, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                pointers(item, format!("{pointer}/{at}"), found);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                pointers(field, format!("{pointer}/{name}"), found);
            }
        }
        _ => {}
    }
    found.push(pointer);
}

/// A document with all that models are asked with.
fn with_models() -> Value {
    let tool = json!({"name": "t", "description": "d", "parameters": {"type": "object"}});
    json!({
        "name": "models",
        "nodes": [
            {"id": "ask", "type": "llm", "retry": {"max_attempts": 2}, "params": {
                "provider": "openai", "model": "m", "system": "s", "messages": [{"role": "user", "content": ["x"]}],
                "schema": {"type": "object"}, "tools": [tool], "max_tokens": 2, "temperature": 0.5, "top_p": 1,
                "seed": 7, "stop": ["a"], "stream": true, "fallback": [{"model": "n"}, {"provider": "p", "model": "o"}],
            }},
            {"id": "act", "type": "agent", "on_uncertain": "retry", "params": {
                "framework": "autogpt", "goal": "g", "system": "s", "provider": "p", "model": "m",
                "tools": [
                    {"http": {"name": "a", "description": "d", "method": "POST", "url": "https://h/{{ args.q }}",
                              "parameters": {"type": "object"}, "headers": {"X-A": "{{ 1 }}"}, "body": {"a": 1},
                              "idempotency_key": false}},
                    {"mcp": {"url": "https://h/", "headers": {"X-A": "{{ 1 }}"}, "allow": ["b"]}},
                ],
                "approve": ["b"], "approval_timeout": "1h", "on_exhausted": "fail",
                "limits": {"iterations": 3, "tokens": 100, "usd": 0.1, "wall": "1m"},
                "max_tokens": 2, "temperature": 0.5,
            }},
            {"id": "call", "type": "http", "params": {
                "method": "PUT", "url": "https://h/", "headers": {"X-A": "{{ 1 }}"}, "query": {"q": [1]},
                "form": {"a": "{{ 2 }}"}, "accept_status": [404, "5xx"],
            }},
            {"id": "note", "type": "log", "params": {"level": "warn", "message": "m", "data": {"a": 1}}},
        ],
        "edges": [],
    })
}

/// Those of the examples.
fn examples() -> Vec<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut found = Vec::new();
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(document) = parse(&fs::read_to_string(&path).unwrap(), None)
                && compiles(&document)
            {
                found.push(document);
            }
        }
    }
    assert!(found.len() > 3, "the examples are not where they were");
    found
}

#[test]
fn whatever_is_published_the_schema_takes() {
    let schema = validator(DOCUMENT);
    for document in [valid(), with_models()] {
        assert!(schema.is_valid(&document) && compiles(&document), "{}", document["name"]);
        let mut places = Vec::new();
        pointers(&document, String::new(), &mut places);
        for place in places {
            for probe in probes() {
                let mut changed = document.clone();
                *changed.pointer_mut(&place).unwrap() = probe.clone();
                let takes = schema.is_valid(&changed);
                assert!(takes || !compiles(&changed), "{}: {probe} at {place}", document["name"]);
            }
        }
    }
    for example in examples() {
        assert!(schema.is_valid(&example), "{}", example["name"]);
    }
}

#[test]
fn objects_have_the_fields_that_they_are_read_by() {
    let of = |name: &str| -> BTreeSet<String> {
        let all: Map<_, _> = definitions(DEFINITIONS).into_iter().collect();
        all[name]["properties"].as_object().unwrap().keys().cloned().collect()
    };
    let fields = |fields: &[&str]| fields.iter().map(ToString::to_string).collect();
    assert_eq!(of(DOCUMENT), fields(document::FIELDS));
    assert_eq!(of(EDGE), fields(edges::FIELDS));
    assert_eq!(of(RETRY), fields(nodes::RETRY_FIELDS));
    assert_eq!(of(BUDGET), fields(budget::FIELDS));
    let all = NodeKind::ALL.iter().flat_map(|kind| of(&node_name(*kind)));
    assert_eq!(all.collect::<BTreeSet<_>>(), fields(nodes::FIELDS));
}

#[test]
fn no_closed_object_takes_a_field_that_is_not_known() {
    let schema = validator(DOCUMENT);
    for (place, is_closed) in [
        ("", true),
        ("/nodes/0", true),
        ("/nodes/0/params", true),
        ("/nodes/0/retry", true),
        ("/nodes/2/params/branches/0", true),
        ("/edges/0", true),
        ("/budget", true),
        ("/input", false),
    ] {
        let mut document = valid();
        document.pointer_mut(place).unwrap()["no_such_field"] = json!(1);
        assert_eq!(schema.is_valid(&document), !is_closed, "{place}");
        assert!(is_closed || compiles(&document));
    }
}

/// What a schema can tell, this one tells.
#[test]
fn mistakes_that_a_schema_can_tell_are_none_that_it_takes() {
    let schema = validator(DOCUMENT);
    for (place, value) in [
        ("/name", json!("-x")),
        ("/name", json!("x".repeat(NAME_CHARS_MAX + 1))),
        ("/description", json!("\0")),
        ("/input", json!("object")),
        ("/nodes", json!([])),
        ("/nodes/0/id", json!("1st")),
        ("/nodes/0/type", json!("htpp")),
        ("/nodes/0/type", json!("transform")),
        ("/nodes/0/params", json!({})),
        ("/nodes/0/params/url", json!(1)),
        ("/nodes/0/params/method", json!("get")),
        ("/nodes/0/params/accept_status", json!(["6xx"])),
        ("/nodes/0/retry", json!({})),
        ("/nodes/0/retry/max_attempts", json!(0)),
        ("/nodes/0/retry/backoff", json!("1")),
        ("/nodes/0/timeout", json!("s")),
        ("/nodes/0/timeout", json!("5s1m")),
        ("/nodes/0/on_error", json!("continue")),
        ("/nodes/0/default", json!(1)),
        ("/nodes/1/retry", json!({ "max_attempts": 2 })),
        ("/nodes/2/params/if", json!("true")),
        ("/nodes/2/params", json!({})),
        ("/nodes/3/params/until", json!("2030-01-31T12:00:00Z")),
        ("/nodes/6/params/max_tokens", json!(0)),
        ("/nodes/6/params/temperature", json!(3)),
        ("/nodes/6/params/messages", json!([])),
        ("/nodes/6/params/stop", json!([""])),
        ("/edges/0/on", json!("failure")),
        ("/edges/0/when", json!(1)),
        ("/budget/max_usd", json!(-1)),
        ("/budget/max_tokens", json!(1.5)),
        ("/budget/deadline", json!("soon")),
        ("/budget/on_exhausted", json!("stop")),
    ] {
        let mut document = valid();
        let (parent, name) = place.rsplit_once('/').unwrap();
        document.pointer_mut(parent).unwrap()[name] = value.clone();
        assert!(!schema.is_valid(&document), "{value} at {place}");
        assert!(!compiles(&document), "{value} at {place}");
    }
}

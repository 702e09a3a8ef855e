//! What is known of values before there are any, and what is warned of.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Checked, Refused, check, compile};
use crate::document::Format;
use crate::domain::diagnostic::Diagnostic;

/// Nodes of several kinds one behind the other, and what a transform at their end reads.
fn reading(value: &str) -> Value {
    json!({
        "name": "w",
        "input": {
            "type": "object", "additionalProperties": false,
            "properties": {
                "price": {"type": "number"}, "item": {"type": "string"}, "any": {},
                "tags": {"type": "array", "items": {
                    "type": "object", "additionalProperties": false, "properties": {"id": {}},
                }},
                "open": {"type": "object", "properties": {"a": {"type": "boolean"}}},
            },
        },
        "nodes": [
            {"id": "get", "type": "http", "params": {"url": "https://example.com"}},
            {"id": "try", "type": "http", "params": {"url": "https://example.com"},
             "on_error": "branch"},
            {"id": "go", "type": "http", "params": {"url": "https://example.com"},
             "on_error": "continue", "default": {"status": 0, "why": "x"}},
            {"id": "choose", "type": "condition", "params": {"if": "true"}},
            {"id": "rest", "type": "delay", "params": {"for": "1s"}},
            {"id": "tell", "type": "log", "params": {"message": "m"}},
            {"id": "ask", "type": "llm", "params": {"model": "m", "prompt": "p"}},
            {"id": "made", "type": "transform", "params": {"value": {
                "a": "{{ input.any }}", "b": {"c": 1}, "d": [1], "e": "text",
            }}},
            {"id": "same", "type": "transform", "params": {"value": "{{ input.any }}"}},
            {"id": "end", "type": "transform", "params": {"value": value}},
        ],
        "edges": [
            {"from": "get", "to": "try"}, {"from": "try", "to": "go"},
            {"from": "try", "to": "go", "on": "error"}, {"from": "go", "to": "choose"},
            {"from": "choose", "to": "rest", "branch": "true"},
            {"from": "choose", "to": "rest", "branch": "false"},
            {"from": "rest", "to": "tell"}, {"from": "tell", "to": "ask"},
            {"from": "ask", "to": "made"}, {"from": "made", "to": "same"},
            {"from": "same", "to": "end"},
        ],
    })
}

fn checked(document: &Value) -> Result<Vec<Diagnostic>, Vec<Diagnostic>> {
    match check(&document.to_string(), Some(Format::Json)) {
        Ok(Checked { warnings, .. }) => Ok(warnings),
        Err(Refused::Invalid(found)) => Err(found),
        Err(Refused::Malformed(found)) => panic!("{found:?}"),
    }
}

#[test]
#[rustfmt::skip] // One case a line.
fn what_there_cannot_be_is_refused_with_what_there_is() {
    for (read, message, hint) in [
        ("input.prize", "`input` has no `prize`", "did you mean `price`?"),
        ("input.zzz", "`input` has no `zzz`", "there are price, item, any, tags, open"),
        ("input['prize']", "`input` has no `prize`", "price"),
        ("input.tags[0].idd", "`input.tags[…]` has no `idd`", "did you mean `id`?"),
        ("input.tags.length", "`input.tags` is a list and has no `length`", "| length"),
        ("input.item.length", "`input.item` is text and has no `length`", "| length"),
        ("input.price.value", "`input.price` is a number and has no `value`", ""),
        ("input.open.a.b", "`input.open.a` is a boolean and has no `b`", ""),
        ("run.foo", "`run` has no `foo`", "there are id, workflow"),
        ("run.workfow", "`run` has no `workfow`", "did you mean `workflow`?"),
        ("nodes.get.stauts", "`nodes.get` has no `stauts`", "did you mean `status`?"),
        ("nodes.get.data", "`nodes.get` has no `data`", "there are status, headers, body"),
        ("nodes.get.json.x", "`nodes.get` has no `json`", "status, headers, body"),
        ("nodes.try.data", "`nodes.try` has no `data`", "status, headers, body"),
        ("nodes.try.error.text", "`nodes.try.error` has no `text`", ""),
        ("nodes.go.whi", "`nodes.go` has no `whi`", ""),
        ("nodes.choose.result", "`nodes.choose` has no `result`", "branch"),
        ("nodes.rest.until", "`nodes.rest` has no `until`", "waited_until"),
        ("nodes.tell.message", "`nodes.tell` is none and has no `message`", ""),
        ("nodes.ask.answer", "`nodes.ask` has no `answer`", "text, json"),
        ("nodes.made.zzz", "`nodes.made` has no `zzz`", "there are a, b, d, e"),
        ("nodes.made.b.d", "`nodes.made.b` has no `d`", ""),
        ("nodes.made.d.e", "`nodes.made.d` is a list", ""),
        ("input.any.toUpperCase()", "no `toUpperCase()`", "| upper"),
        ("(input.any ~ 'x').includes('a')", "no `includes()`", "`part in x`"),
    ] {
        let document = reading(&format!("{{{{ {read} }}}}"));
        let found = checked(&document).expect_err(read);
        let it = found.iter().find(|it| it.message.contains(message) && it.hint.contains(hint));
        let it = it.unwrap_or_else(|| panic!("{read}: {found:#?}"));
        assert_eq!(it.pointer, "/nodes/9/params/value", "{read}");
        assert!(it.position.is_some(), "{read}");
        // What was published before there was such a rule is run.
        assert!(compile(&document).is_ok(), "{read}");
    }
}

#[test]
fn what_there_may_be_is_let_in() {
    for read in [
        "input",
        "input.price",
        "input.any.x.y",
        "input.tags[0].id.x",
        "input.open.other.x",
        "input.item[0]",
        "input[input.any]",
        "run.server_url",
        "nodes.get.body.items[0].x",
        "nodes.try.error.message",
        "nodes.try.status",
        "nodes.go.why",
        "nodes.go.headers",
        "nodes.choose.branch",
        "nodes.rest.waited_until",
        "nodes.ask.json.x",
        "nodes.made.a.x",
        "nodes.made.b.c",
        "nodes.made.d[0].x",
        "nodes.same.x.y",
        "nodes.tell",
        "input.any.length | default(0)",
        "input.any.length if input.any else 0",
        "input.any['length']",
        "nodes.choose.branch == 'true'",
        "nodes.choose.branch != none",
        "nodes.choose.branch ~ 'x' == 7 ~ 'x'",
        "nodes.get.status == 200 + 1",
        "nodes.get.status == true",
        "nodes.try.status == 'x'",
        "input.any == 7",
        "input.open == 7",
    ] {
        assert_eq!(checked(&reading(&format!("{{{{ {read} }}}}"))), Ok(vec![]), "{read}");
    }
}

#[test]
#[rustfmt::skip] // One case a line.
fn what_is_probably_not_meant_is_warned_of() {
    for (read, message) in [
        ("input.any.length", "`.length` is a member here"),
        ("nodes.get.body.length", "`.length` is a member here"),
        ("nodes.same.length", "`.length` is a member here"),
        ("input.prize | default(1)", "`input` has no `prize`"),
        ("input.prize if input.any else 1", "`input` has no `prize`"),
        // Once, where it is asked for.
        ("nodes.get.data if nodes.get.data is defined else nodes.get.body", "`nodes.get` has no `data`"),
        ("nodes.get.data.x if nodes.get['data'] is defined else 1", "`nodes.get` has no `data`"),
        ("nodes.get.error is defined", "`nodes.get` has no `error`"),
        ("nodes.choose.branch == true", "`nodes.choose.branch` is text, and never equal to a boolean"),
        ("1 if input.any and false != nodes.choose.branch else 2", "never equal to a boolean"),
        ("nodes.get.status == '200'", "`nodes.get.status` is a number, and never equal to text"),
        ("run.version != 'x' or input.any", "`run.version` is a number"),
        ("(input.item == 7)", "`input.item` is text"),
    ] {
        let found = checked(&reading(&format!("{{{{ {read} }}}}"))).unwrap();
        assert_eq!(found.len(), 1, "{read}: {found:#?}");
        assert!(found[0].message.contains(message), "{read}: {found:#?}");
        assert!(found[0].position.is_some() && !found[0].hint.is_empty(), "{read}: {found:#?}");
    }
}

/// Every run that comes there fails, or none ever goes there.
#[test]
fn a_condition_over_what_is_neither_true_nor_false_is_warned_of() {
    let document = |when: &str| {
        let mut document = reading("{{ input.any }}");
        document["edges"][10]["when"] = json!(when);
        document
    };
    for (when, message) in [
        ("{{ nodes.choose.branch }}", "is text, and a condition yields true or false"),
        ("nodes.get.status", "is a number, and a condition yields true or false"),
        ("{{ nodes.choose.branch == false }}", "is text, and never equal to a boolean"),
    ] {
        let found = checked(&document(when)).unwrap();
        assert_eq!(found.len(), 1, "{when}: {found:#?}");
        assert_eq!(found[0].pointer, "/edges/10/when");
        assert!(found[0].message.contains(message), "{when}: {found:#?}");
    }
    for when in ["nodes.choose.branch == 'true'", "input.any", "input.open.a", "nodes.get.body"] {
        assert_eq!(checked(&document(when)), Ok(vec![]), "{when}");
    }
    let mut document = reading("{{ input.any }}");
    document["nodes"][3]["params"]["if"] = json!("{{ nodes.get.status }}");
    let found = checked(&document).unwrap();
    assert_eq!((found.len(), &*found[0].pointer), (1, "/nodes/3/params/if"), "{found:#?}");
}

#[test]
fn a_length_of_time_of_another_type_is_refused_only_when_it_is_published() {
    for value in [json!([1]), json!({"seconds": "{{ input.x }}"}), json!(true)] {
        let document = json!({
            "name": "w", "nodes": [{"id": "a", "type": "delay", "params": {"for": value.clone()}}],
        });
        let found = checked(&document).unwrap_err();
        assert_eq!(found.len(), 1, "{found:#?}");
        assert_eq!(found[0].pointer, "/nodes/0/params/for");
        assert!(found[0].message.contains("not a length of time"), "{found:#?}");
        assert!(compile(&document).is_ok(), "{value}");
    }
}

/// `a` chooses between `b` and `c`, which lead to `d`; then comes `e`.
fn diamond(edges: &[Value], of: &str, value: &str) -> Result<Vec<Diagnostic>, Vec<Diagnostic>> {
    let node = |id: &str| {
        let value = if id == of { value } else { "{{ input.x }}" };
        json!({"id": id, "type": "transform", "params": {"value": value}})
    };
    let mut nodes = vec![
        json!({"id": "a", "type": "condition", "params": {"if": "{{ input.x }}"}}),
        json!({"id": "h", "type": "http", "params": {"url": "https://example.com"},
               "on_error": "branch"}),
    ];
    nodes.extend(["b", "c", "d", "e", "f"].map(node));
    let mut document = json!({"name": "w", "nodes": nodes, "edges": edges});
    if of == "output" {
        document["output"] = value.into();
    }
    checked(&document)
}

fn edge(from: &str, to: &str) -> Value {
    json!({"from": from, "to": to})
}

fn branch(from: &str, to: &str, branch: &str) -> Value {
    json!({"from": from, "to": to, "branch": branch})
}

#[test]
fn of_a_run_that_fails_on_purpose_there_is_no_output_to_warn_of() {
    let document = |output: &str| {
        json!({
            "name": "w",
            "nodes": [
                {"id": "a", "type": "http", "params": {"url": "https://example.com"}, "on_error": "branch"},
                {"id": "b", "type": "transform", "params": {"value": 1}},
                {"id": "tell", "type": "log", "params": {"message": "no"}},
                {"id": "stop", "type": "fail", "params": {"code": "gone", "message": "no"}},
                {"id": "late", "type": "transform", "params": {"value": 1}},
            ],
            "edges": [edge("a", "b"), {"from": "a", "to": "tell", "on": "error"}, edge("tell", "stop"),
                      {"from": "b", "to": "late", "when": "{{ input.x }}"}],
            "output": output,
        })
    };
    assert_eq!(checked(&document("{{ [nodes.a, nodes.b] }}")), Ok(Vec::new()));
    for skipped in ["tell", "late"] {
        let found = checked(&document(&format!("{{{{ nodes.{skipped} }}}}"))).unwrap();
        assert_eq!(found.len(), 1, "{skipped}: {found:#?}");
    }
}

#[test]
fn what_may_be_skipped_and_has_no_default_is_warned_of() {
    let edges = [
        branch("a", "b", "true"),
        branch("a", "c", "false"),
        edge("b", "d"),
        edge("c", "d"),
        edge("d", "e"),
        edge("h", "e"),
        json!({"from": "h", "to": "f", "on": "error"}),
        json!({"from": "d", "to": "f", "when": "{{ nodes.d == 1 }}"}),
    ];
    for (of, value, expected) in [
        // Either of the two may be.
        ("d", "{{ nodes.b }}", Some("`nodes.b` may have been skipped when `d` runs")),
        ("d", "{{ nodes.c.x + nodes.c.y }}", Some("`nodes.c` may")),
        ("e", "x {{ nodes.b }}", Some("`nodes.b` may")),
        ("f", "{{ nodes.h }}", None),
        ("output", "{{ nodes.b }}", Some("`nodes.b` may have been skipped when the run ends")),
        ("output", "{{ nodes.f }}", Some("`nodes.f` may")),
        // One of the two leads here in any case.
        ("e", "{{ nodes.d }}", None),
        ("f", "{{ nodes.d }}", None),
        ("output", "{{ [nodes.a, nodes.d, nodes.e, nodes.h] }}", None),
        ("d", "{{ nodes.a.branch }}", None),
        ("b", "{{ nodes.a.branch }}", None),
        // Something says what holds then.
        ("d", "{{ nodes.b | default(nodes.c) }}", None),
        ("d", "{{ nodes.b if nodes.b is defined else nodes.c }}", None),
        ("d", "{{ nodes.b if nodes.a.branch == 'true' else nodes.c }}", None),
        ("d", "{{ nodes.b is defined and nodes.b.x }}", None),
        ("d", "{{ [nodes.b, nodes.c] | select('defined') | list }}", None),
        ("d", "{% if nodes.b is defined %}{{ nodes.b }}{% endif %}", None),
    ] {
        let found = diamond(&edges, of, value).unwrap_or_else(|it| panic!("{value}: {it:#?}"));
        let messages: Vec<_> = found.iter().map(|it| it.message.as_str()).collect();
        match expected {
            Some(message) => {
                assert!(
                    messages.len() == 1 && messages[0].contains(message),
                    "{value}: {found:#?}"
                );
            }
            None => assert_eq!(messages, [""; 0], "{of} reads {value}"),
        }
    }
}

#[test]
fn a_failure_or_a_condition_before_a_join_may_skip_what_it_reads() {
    let edges = [
        json!({"from": "h", "to": "b"}),
        json!({"from": "h", "to": "c", "on": "error"}),
        edge("b", "d"),
        edge("c", "d"),
        json!({"from": "a", "to": "e", "branch": "true", "when": "{{ input.y }}"}),
        branch("a", "e", "false"),
        edge("d", "f"),
        edge("e", "f"),
    ];
    for (of, value, is_warned_of) in [
        ("d", "{{ nodes.b }}", true),
        ("d", "{{ nodes.h }}", false),
        ("f", "{{ nodes.d }}", false),
        ("f", "{{ nodes.e }}", true),
        ("e", "{{ nodes.a }}", false),
    ] {
        let found = diamond(&edges, of, value).unwrap_or_else(|it| panic!("{value}: {it:#?}"));
        assert_eq!(!found.is_empty(), is_warned_of, "{of} reads {value}: {found:#?}");
    }
}

#[test]
fn faults_have_lines_and_columns_of_the_text_that_was_sent() {
    let text = "\
name: w
nodes:
  - id: a
    type: log
    params:
      message: >-
        first {{ input.x }}
        second {{ nodes.nobody }} and {{ foo }}
      data:
        - \"\\u00e4 {{ run.idd }}\"
    tiemout: 5s
";
    let Err(Refused::Invalid(found)) = check(text, Some(Format::Yaml)) else { panic!("it is") };
    let places: Vec<_> = found
        .iter()
        .map(|it| it.position.map_or((0, 0), |position| (position.line, position.column)))
        .collect();
    assert_eq!(places, [(8, 19), (8, 42), (10, 26), (11, 5)], "{found:#?}");
    let Err(Refused::Malformed(found)) = check("a: [1\nb: 2\n", None) else { panic!("it is") };
    assert!(found.position.is_some_and(|position| position.line == 2), "{found:?}");
}

#[test]
fn a_document_full_of_faults_does_not_take_much_longer_than_one_without() {
    let started = std::time::Instant::now();
    let strings = |text: &str, count: usize| vec![Value::from(text); count];
    let nodes = (0..400).map(|n| {
        let value: Vec<Value> = [
            strings("{{ nodes.nobody.x }}", 10),
            strings("{{ run.idd || input.y.z() }}", 10),
            strings("{{ inptu.x|uper }} {{ run.zz }}", 10),
        ]
        .concat();
        json!({"id": format!("n{n}"), "type": "transform", "params": {"value": value}})
    });
    let document = json!({
        "name": "w",
        "input": {"type": "object", "additionalProperties": false},
        "nodes": nodes.collect::<Vec<_>>(),
        "output": (0..250).map(|n| format!("{{{{ input.x{n} }}}}")).collect::<Vec<_>>(),
    });
    assert!(document.to_string().len() > 300_000);
    let found = checked(&document).unwrap_err();
    assert_eq!(found.len(), super::DIAGNOSTICS_MAX + 1);
    assert!(started.elapsed() < std::time::Duration::from_secs(20), "{:?}", started.elapsed());
}

proptest! {
    #[test]
    fn no_text_panics_and_whatever_is_wrong_has_a_place(
        at in any::<prop::sample::Index>(),
        length in 0..6_usize,
        text in "[ -~\n§]{0,6}",
        is_json in any::<bool>(),
    ) {
        let document = reading("{{ input.prize }} {{ nodes.get.body }}");
        let mut source = if is_json { document.to_string() } else { format!("{document:#}") };
        let at = at.index(source.len());
        let end = (at + length).min(source.len());
        source.replace_range(at..end, &text);
        let found = match check(&source, Some(if is_json { Format::Json } else { Format::Yaml })) {
            Ok(Checked { warnings, .. }) => warnings,
            Err(Refused::Invalid(found)) => {
                prop_assert!(!found.is_empty());
                found
            }
            Err(Refused::Malformed(found)) => vec![*found],
        };
        for diagnostic in found {
            prop_assert!(diagnostic.position.is_some(), "{}: {:?}", source, diagnostic);
        }
    }
}

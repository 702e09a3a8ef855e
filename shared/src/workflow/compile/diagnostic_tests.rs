//! Malformed documents, each with the diagnostic that it must yield.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{DIAGNOSTICS_MAX, compile};
use crate::domain::diagnostic::Diagnostic;

/// A valid document with everything in it.
pub(super) fn valid() -> Value {
    json!({
        "name": "digest",
        "description": "What the feed says today",
        "input": {"type": "object", "required": ["url"], "properties": {"url": {"type": "string"}}},
        "nodes": [
            {"id": "fetch", "type": "http", "params": {"url": "{{ input.url }}"},
             "retry": {"max_attempts": 3, "backoff": "1s", "max_backoff": "30s", "max_retry_after": "10m"},
             "timeout": "20s", "on_error": "branch"},
            {"id": "titles", "type": "transform", "params": {"value": "{{ nodes.fetch.body }}"}},
            {"id": "choose", "type": "condition",
             "params": {"branches": [{"name": "many", "when": "{{ nodes.titles | length > 3 }}"}], "default": "few"},
             "on_error": "continue", "default": {"branch": "few"}},
            {"id": "rest", "type": "delay", "params": {"for": "5s"}},
            {"id": "tell", "type": "log", "params": {"message": "{{ nodes.choose.branch }}"},
             "on_error": "continue", "default": null},
            {"id": "post", "type": "http", "on_uncertain": "retry",
             "params": {"method": "POST", "url": "https://example.com/{{ run.id }}", "idempotency_key": false}},
            {"id": "ask", "type": "llm", "params": {"model": "m", "prompt": "{{ input.url }}"}}
        ],
        "edges": [
            {"from": "fetch", "to": "titles", "when": "{{ nodes.fetch.status == 200 }}"},
            {"from": "fetch", "to": "post", "on": "error"},
            {"from": "titles", "to": "choose"},
            {"from": "choose", "to": "rest", "branch": "many"},
            {"from": "choose", "to": "tell", "branch": "few"}
        ],
        "output": "{{ nodes.titles }}",
        "budget": {"max_usd": 0.5, "max_tokens": 10000, "max_steps": 20, "deadline": "2h", "on_exhausted": "fail"}
    })
}

/// The valid document with one value instead of another; null takes it away.
fn with(pointer: &str, value: Value) -> Value {
    let mut document = valid();
    let (parent, token) = pointer.rsplit_once('/').unwrap();
    match document.pointer_mut(parent).unwrap() {
        Value::Object(fields) if value.is_null() => {
            fields.shift_remove(token);
        }
        Value::Object(fields) => {
            fields.insert(token.to_owned(), value);
        }
        Value::Array(items) if token == "-" => items.push(value),
        Value::Array(items) => items[token.parse::<usize>().unwrap()] = value,
        other => panic!("{other} has no fields"),
    }
    document
}

fn diagnostics_of(document: &Value) -> Vec<Diagnostic> {
    compile(document).err().unwrap_or_default()
}

/// What is put where, and the diagnostic: where, its message, its hint.
type Case = (&'static str, Value, &'static str, &'static str, &'static str);

fn check(cases: Vec<Case>) {
    for (changed, value, pointer, message, hint) in cases {
        let document = with(changed, value);
        let diagnostics = diagnostics_of(&document);
        let what = format!("{} at {changed}", document.pointer(changed).unwrap_or(&Value::Null));
        let found = diagnostics.iter().find(|it| {
            it.pointer == pointer && it.message.contains(message) && it.hint.contains(hint)
        });
        assert!(found.is_some(), "{what}: no `{message}` at {pointer} in {diagnostics:#?}");
    }
}

#[test]
fn the_valid_document_is_valid() {
    assert_eq!(diagnostics_of(&valid()), []);
}

#[test]
#[rustfmt::skip] // One case a line.
fn diagnostics_of_the_top_level() {
    check(vec![
        ("/budget", json!(5), "/budget", "a number where an object is due", "max_usd"),
        ("/budget/max_dollars", json!(5), "/budget/max_dollars", "unknown field `max_dollars`", ""),
        ("/budget/max_usd", json!("5"), "/budget/max_usd", "`max_usd` is no amount", "a number of US dollars"),
        ("/budget/max_tokens", json!(-5), "/budget/max_tokens", "`max_tokens` is no such number", "a whole number"),
        ("/budget/deadline", json!("soon"), "/budget/deadline", "neither a duration nor a time", "like `2h`"),
        ("/budget/on_exhausted", json!("stop"), "/budget/on_exhausted", "`on_exhausted` is", "suspend, fail"),
        ("/nmae", json!("x"), "/nmae", "unknown field `nmae`", "did you mean `name`?"),
        ("/name", Value::Null, "", "`name` is missing", "letters"),
        ("/name", json!(7), "/name", "`name` is a number, not text", ""),
        ("/name", json!("a b"), "/name", "`a b` is no name of a workflow", "letters"),
        ("/description", json!("a\0b"), "/description", "a NUL character", "without"),
        ("/name", json!(".a"), "/name", "is no name of a workflow", "letters"),
        ("/name", json!(""), "/name", "is no name of a workflow", "letters"),
        ("/name", json!("a".repeat(65)), "/name", "65 characters", "at most 64"),
        ("/description", json!("ä".repeat(4_001)), "/description", "4001 characters", "at most 4000"),
        ("/nodes", Value::Null, "", "`nodes` is missing", ""),
        ("/nodes", json!([]), "/nodes", "`nodes` is empty", "at least 1"),
        ("/nodes", json!({}), "/nodes", "`nodes` is an object, not a list", ""),
        ("/nodes", json!(vec![json!({}); 501]), "/nodes", "501 nodes", "at most 500"),
        ("/edges", json!(vec![json!({}); 2_001]), "/edges", "2001 edges", "at most 2000"),
        ("/input", json!(7), "/input", "no JSON Schema", "type: object"),
        ("/input", json!({"type": "objekt"}), "/input/type", "no valid JSON Schema", ""),
        ("/input", json!({"$ref": "https://example.com/x"}), "/input/$ref", "leads to no place in this schema", "outside"),
        ("/output", json!("{{ nodes.titels }}"), "/output", "there is no node `titels`", "did you mean `titles`?"),
        ("/output", json!({"a": ["{{ foo }}"]}), "/output/a/0", "unknown variable `foo`", "`input`"),
    ]);
    assert_eq!(diagnostics_of(&json!([]))[0].message, "a list where an object is due");
    let deep = (0..100).fold(json!(1), |inner, _| json!([inner]));
    assert!(diagnostics_of(&with("/output", deep))[0].message.contains("deeper than 64"));
}

#[test]
#[rustfmt::skip] // One case a line.
fn diagnostics_of_nodes() {
    check(vec![
        ("/nodes/0", json!("fetch"), "/nodes/0", "text where an object is due", "id, type"),
        ("/nodes/0/tpye", json!(1), "/nodes/0/tpye", "unknown field `tpye`", "did you mean `type`?"),
        ("/nodes/0/id", Value::Null, "/nodes/0", "`id` is missing", "a letter"),
        ("/nodes/0/id", json!("1a"), "/nodes/0/id", "`1a` is no id of a node", "a letter"),
        ("/nodes/0/id", json!("a-b"), "/nodes/0/id", "`a-b` is no id of a node", "nodes.<id>"),
        ("/nodes/0/id", json!("__end__"), "/nodes/0/id", "is no id of a node", ""),
        ("/nodes/0/id", json!("a".repeat(65)), "/nodes/0/id", "65 characters", "at most 64"),
        ("/nodes/1/id", json!("fetch"), "/nodes/1/id", "a second node `fetch`", "/nodes/0"),
        ("/nodes/0/type", Value::Null, "/nodes/0", "`type` is missing", "http, transform"),
        ("/nodes/0/type", json!("htpp"), "/nodes/0/type", "unknown type of node `htpp`", "did you mean `http`?"),
        ("/nodes/0/type", json!("python"), "/nodes/0/type", "unknown type of node", "one of http, transform, condition, delay, log, llm, agent, fail"),
        ("/nodes/0/timeout", json!("soon"), "/nodes/0/timeout", "a number before each unit", "`5s`"),
        ("/nodes/0/timeout", json!(20), "/nodes/0/timeout", "`timeout` is a number, not a duration", ""),
        ("/nodes/0/timeout", json!("25h"), "/nodes/0/timeout", "`timeout` is 1d1h", "at most 1d"),
        ("/nodes/0/timeout", json!("0s"), "/nodes/0/timeout", "is nothing", ""),
        ("/nodes/0/retry", json!(3), "/nodes/0/retry", "a number where an object is due", "max_attempts"),
        ("/nodes/0/retry", json!({}), "/nodes/0/retry", "`max_attempts` is missing", ""),
        ("/nodes/0/retry/max_attempts", json!(0), "/nodes/0/retry/max_attempts", "`max_attempts` is 0", "from 1 to 100"),
        ("/nodes/0/retry/max_attempts", json!(101), "/nodes/0/retry/max_attempts", "is 101", "from 1 to 100"),
        ("/nodes/0/retry/max_attempts", json!(1.5), "/nodes/0/retry/max_attempts", "not a whole number", ""),
        ("/nodes/0/retry/backoff", json!("2d"), "/nodes/0/retry/backoff", "`backoff` is 2d", "at most 1d"),
        ("/nodes/0/retry/max_backoff", json!("1ms"), "/nodes/0/retry/max_backoff", "shorter than `backoff`", ""),
        ("/nodes/0/retry/max_retry_after", json!("2d"), "/nodes/0/retry/max_retry_after", "`max_retry_after` is 2d", "at most 1d"),
        ("/nodes/0/retry/max_retry_after", json!(5), "/nodes/0/retry/max_retry_after", "is a number, not a duration", ""),
        ("/nodes/0/retry/jitter", json!(true), "/nodes/0/retry/jitter", "unknown field", ""),
        ("/nodes/1/retry", json!({"max_attempts": 2}), "/nodes/1/retry", "a node that only computes", "leave `retry` out"),
        ("/nodes/0/on_error", json!("ignore"), "/nodes/0/on_error", "`on_error` is `ignore`", "fail, continue, branch"),
        ("/nodes/1/default", json!(1), "/nodes/1/default", "`default` without `on_error: continue`", ""),
        ("/nodes/1/on_error", json!("continue"), "/nodes/1/on_error", "without a `default`", "null"),
        ("/nodes/4/default", json!("{{ input.x }}"), "/nodes/4/default", "cannot hold expressions", "constant"),
        ("/nodes/2/default", json!(false), "/nodes/2/default", "names no branch", "{ branch: NAME }"),
        ("/nodes/2/default", json!({"branch": "fwe"}), "/nodes/2/default", "names no branch", "many, few"),
        ("/nodes/1/on_error", json!("branch"), "/nodes/1/on_error", "without an edge that has `on: error`", "from: titles"),
        ("/nodes/5/on_uncertain", json!("ask"), "/nodes/5/on_uncertain", "`on_uncertain` is `ask`", "retry, fail"),
        ("/nodes/0/on_uncertain", json!("fail"), "/nodes/0/on_uncertain", "no meaning here", ""),
    ]);
}

#[test]
#[rustfmt::skip] // One case a line.
fn diagnostics_of_parameters() {
    check(vec![
        ("/nodes/0/params", Value::Null, "/nodes/0", "`url` is missing", "http"),
        ("/nodes/0/params", json!({}), "/nodes/0/params", "`url` is missing", "http"),
        ("/nodes/0/params", json!([]), "/nodes/0/params", "a list where an object is due", "url"),
        ("/nodes/0/params/ulr", json!(1), "/nodes/0/params/ulr", "unknown field `ulr`", "did you mean `url`?"),
        ("/nodes/0/params/url", json!(7), "/nodes/0/params/url", "`url` is a number, not text", ""),
        ("/nodes/0/params/url", json!("ftp://x"), "/nodes/0/params/url", "is no http URL", "https://"),
        ("/nodes/0/params/url", json!("example.com/{{ run.id }}"), "/nodes/0/params/url", "is no http URL", "https://"),
        ("/nodes/0/params/method", json!("get"), "/nodes/0/params/method", "`method` is `get`", "did you mean `GET`?"),
        ("/nodes/0/params/method", json!("{{ input.m }}"), "/nodes/0/params/method", "`method` is", "one of GET"),
        ("/nodes/0/params/headers", json!([1]), "/nodes/0/params/headers", "not an object", ""),
        ("/nodes/0/params/headers", json!({"x": 1}), "/nodes/0/params/headers/x", "`x` is a number, not text", ""),
        ("/nodes/0/params/headers", json!({"a b/c": "1"}), "/nodes/0/params/headers/a b~1c", "no name of a header", ""),
        ("/nodes/0/params/headers", json!({"Host": "x"}), "/nodes/0/params/headers/Host", "set by the client", "leave it out"),
        ("/nodes/0/params/body", json!({}), "/nodes/0/params/body", "a GET request has no body", "query"),
        ("/nodes/0/params/query", json!("a=1"), "/nodes/0/params/query", "not an object", ""),
        ("/nodes/5/params/form", json!(3), "/nodes/5/params/form", "not an object", ""),
        ("/nodes/0/params/accept_status", json!([404, 99, "6xx"]), "/nodes/0/params/accept_status/1", "no status", "599"),
        ("/nodes/0/params/idempotency_key", json!("yes"), "/nodes/0/params/idempotency_key", "not true or false", ""),
        ("/nodes/1/params", json!({}), "/nodes/1/params", "`value` is missing", ""),
        ("/nodes/2/params", json!({}), "/nodes/2/params", "`if` or `branches` is missing", ""),
        ("/nodes/2/params/if", json!("true"), "/nodes/2/params/branches", "`branches` beside `if`", ""),
        ("/nodes/2/params/branches", json!([]), "/nodes/2/params/branches", "0 entries", "from 1 to 64"),
        ("/nodes/2/params/branches/0/name", json!("a b"), "/nodes/2/params/branches/0/name", "no name of a branch", ""),
        ("/nodes/2/params/branches/0/when", Value::Null, "/nodes/2/params/branches/0", "`when` is missing", ""),
        ("/nodes/2/params/branches/0/when", json!(3), "/nodes/2/params/branches/0/when", "a number where a condition is due", ""),
        ("/nodes/2/params/branches/0/when", json!("1 +"), "/nodes/2/params/branches/0/when", "syntax error", ""),
        ("/nodes/2/params/branches/-", json!({"name": "many", "when": "true"}), "/nodes/2/params/branches/1/name", "a second branch `many`", ""),
        ("/nodes/2/params/default", json!("many"), "/nodes/2/params/default", "a second branch `many`", ""),
        ("/nodes/3/params", json!({}), "/nodes/3/params", "`for` or `until` is missing", ""),
        ("/nodes/3/params/until", json!("2030-01-01T00:00:00Z"), "/nodes/3/params/until", "beside `for`", ""),
        ("/nodes/3/params", json!({"until": "tomorrow"}), "/nodes/3/params/until", "is no time", "2030"),
        ("/nodes/3/params/for", json!("5"), "/nodes/3/params/for", "a unit after each number", ""),
        ("/nodes/3/params/for", json!("400d"), "/nodes/3/params/for", "`for` is 400d", "at most 366d"),
        ("/nodes/4/params/level", json!("warning"), "/nodes/4/params/level", "`level` is `warning`", "debug, info, warn, error"),
        ("/nodes/4/params", json!({"data": 1}), "/nodes/4/params", "`message` is missing", ""),
        ("/nodes/6/params/model", Value::Null, "/nodes/6/params", "`model` is missing", "as its provider calls it"),
        ("/nodes/6/params/model", json!(""), "/nodes/6/params/model", "`model` is no name", "128 bytes"),
        ("/nodes/6/params/provider", json!("a\nb"), "/nodes/6/params/provider", "`provider` is no name", ""),
        ("/nodes/6/params/prompt", Value::Null, "/nodes/6/params", "`prompt` or `messages` is missing", "what the model is asked"),
        ("/nodes/6/params/messages", json!("{{ input.x }}"), "/nodes/6/params/messages", "`messages` beside `prompt`", ""),
        ("/nodes/6/params", json!({"model": "m", "messages": []}), "/nodes/6/params/messages", "`messages` is empty", ""),
        ("/nodes/6/params", json!({"model": "m", "messages": "hello"}), "/nodes/6/params/messages", "`messages` is text, not a list", "role: user"),
        ("/nodes/6/params", json!({"model": "m", "messages": [{"role": "usr", "content": ""}]}), "/nodes/6/params/messages/0/role", "`role` is `usr`", "did you mean `user`?"),
        ("/nodes/6/params", json!({"model": "m", "messages": [{"role": "user"}]}), "/nodes/6/params/messages/0", "`content` is missing", ""),
        ("/nodes/6/params", json!({"model": "m", "messages": [{"role": "user", "content": null}]}), "/nodes/6/params/messages/0/content", "`content` is null", ""),
        ("/nodes/6/params/schema", json!({"properties": {"a": {"type": "objekt"}}}), "/nodes/6/params/schema/properties/a/type", "no valid JSON Schema", "did you mean `object`?"),
        ("/nodes/6/params/tools", json!({"name": "t"}), "/nodes/6/params/tools", "`tools` is an object, not a list", ""),
        ("/nodes/6/params/tools", json!([{"name": "a b"}]), "/nodes/6/params/tools/0/name", "`a b` is no name of a tool", "64"),
        ("/nodes/6/params/tools", json!([{"name": "a"}, {"name": "a"}]), "/nodes/6/params/tools/1/name", "a second tool `a`", ""),
        ("/nodes/6/params/tools", json!([{"name": "a", "parameters": 3}]), "/nodes/6/params/tools/0/parameters", "no valid JSON Schema", ""),
        ("/nodes/6/params/tools", json!(vec![json!({"name": "a"}); 129]), "/nodes/6/params/tools", "129 entries", "at most 128"),
        ("/nodes/6/params/max_tokens", json!(0), "/nodes/6/params/max_tokens", "`max_tokens` is 0", "from 1 to 131072"),
        ("/nodes/6/params/max_tokens", json!("many"), "/nodes/6/params/max_tokens", "`max_tokens` is text", ""),
        ("/nodes/6/params/temperature", json!(2.5), "/nodes/6/params/temperature", "`temperature` is 2.5", "from 0 to 2"),
        ("/nodes/6/params/top_p", json!(-1), "/nodes/6/params/top_p", "`top_p` is -1", "from 0 to 1"),
        ("/nodes/6/params/seed", json!(1.5), "/nodes/6/params/seed", "`seed` is 1.5", "a whole number"),
        ("/nodes/6/params/stop", json!(["a", ""]), "/nodes/6/params/stop/1", "no text that could end an answer", ""),
        ("/nodes/6/params/stop", json!(["a", "b", "c", "d", "e"]), "/nodes/6/params/stop", "5 entries", "at most 4"),
        ("/nodes/6/params/stream", json!("yes"), "/nodes/6/params/stream", "not true or false", ""),
        ("/nodes/6/params/fallback", json!([{"provider": "p"}]), "/nodes/6/params/fallback/0", "`model` is missing", ""),
        ("/nodes/6/params/fallback", json!([{"model": "m", "url": "x"}]), "/nodes/6/params/fallback/0/url", "unknown field `url`", "provider, model"),
        ("/nodes/6/on_uncertain", json!("retry"), "/nodes/6/on_uncertain", "no meaning here", ""),
    ]);
}

#[test]
#[rustfmt::skip] // One case a line.
fn diagnostics_of_expressions_and_references() {
    check(vec![
        ("/nodes/1/params/value", json!("{{ nodes.fetch. }}"), "/nodes/1/params/value", "syntax error", ""),
        ("/nodes/1/params/value", json!("a\n{{ nodes['fetch'] }}"), "/nodes/1/params/value", "without the id of a node", "nodes.<id>"),
        ("/nodes/1/params/value", json!({"a": [1, "{{ secrets.x }}"]}), "/nodes/1/params/value/a/1", "`secrets` cannot be used", "not available in this version"),
        ("/nodes/1/params/value", json!("{{ item.x }}"), "/nodes/1/params/value", "`item` has no meaning here", "only inside a map"),
        ("/nodes/1/params/value", json!("{{ vars.x }}"), "/nodes/1/params/value", "unknown variable `vars`", ""),
        ("/nodes/1/params/value", json!("{{ nodes.fetsch }}"), "/nodes/1/params/value", "there is no node `fetsch`", "did you mean `fetch`?"),
        ("/nodes/1/params/value", json!("{{ nodes.titles }}"), "/nodes/1/params/value", "reads its own output", ""),
        ("/nodes/1/params/value", json!("{{ nodes.choose }}"), "/nodes/1/params/value", "`titles` reads `choose`, which does not come before it", "from `choose` to `titles`"),
        ("/nodes/5/params/body", json!("{{ nodes.titles }}"), "/nodes/5/params/body", "`post` reads `titles`", ""),
        ("/nodes/2/params/branches/0/when", json!("nodes.rest.x"), "/nodes/2/params/branches/0/when", "`choose` reads `rest`", ""),
        ("/nodes/1/params/value", json!(vec!["{{ input.x }}"; 257]), "/nodes/1/params/value", "more than 256 strings", ""),
        ("/nodes/1/params/value", json!(format!("{{{{ 1 }}}}{}", "x".repeat(17_000))), "/nodes/1/params/value", "more than 16384 bytes", ""),
    ]);
}

#[test]
#[rustfmt::skip] // One case a line.
fn diagnostics_of_edges() {
    check(vec![
        ("/edges/0", json!(["fetch", "titles"]), "/edges/0", "a list where an object is due", "from"),
        ("/edges/0/form", json!("x"), "/edges/0/form", "unknown field `form`", "did you mean `from`?"),
        ("/edges/0/from", Value::Null, "/edges/0", "`from` is missing", ""),
        ("/edges/0/to", json!("title"), "/edges/0/to", "there is no node `title`", "did you mean `titles`?"),
        ("/edges/0/from", json!(0), "/edges/0/from", "`from` is a number, not text", "write it in quotes"),
        ("/edges/0/to", json!("fetch"), "/edges/0", "`fetch` leads to itself", "no loops"),
        ("/edges/-", json!({"from": "titles", "to": "choose"}), "/edges/5", "the same edge", ""),
        ("/edges/-", json!({"from": "titles", "to": "choose", "on": "success"}), "/edges/5", "the same edge", ""),
        ("/edges/-", json!({"from": "rest", "to": "titles"}), "/edges/5", "a cycle: titles -> choose -> rest -> titles", "no loops"),
        ("/edges/0/when", json!(""), "/edges/0/when", "an empty condition", ""),
        ("/edges/0/when", json!("a {{ true }}"), "/edges/0/when", "text where an expression is due", ""),
        ("/edges/0/when", json!("nodes.titles"), "/edges/0/when", "reads `titles`, which does not come before", "it may read `fetch`"),
        ("/edges/0/when", json!("nodes.nobody"), "/edges/0/when", "there is no node `nobody`", ""),
        ("/edges/0/on", json!("failure"), "/edges/0/on", "`on` is `failure`", "success, error"),
        ("/edges/2/on", json!("error"), "/edges/2/on", "never taken: `titles` has no `on_error: branch`", ""),
        ("/edges/0/branch", json!("x"), "/edges/0/branch", "`branch` on an edge out of `fetch`", "use `when`"),
        ("/edges/1/branch", json!("x"), "/edges/1/branch", "`branch` on an edge out of `fetch`", "chose no branch"),
        ("/edges/3/branch", Value::Null, "/edges/3", "`branch` is missing on an edge out of the condition `choose`", "many, few"),
        ("/edges/3/branch", json!(true), "/edges/3/branch", "`branch` is a boolean, not text", "write it in quotes: \"true\""),
        ("/edges/3/branch", json!("mny"), "/edges/3/branch", "`choose` has no branch `mny`", "did you mean `many`?"),
    ]);
}

#[test]
fn all_diagnostics_come_at_once_in_document_order() {
    let mut document = with("/nodes/3/params/for", json!("5"));
    document["nodes"][0]["timeout"] = json!(3);
    document["edges"][4]["to"] = json!("nobody");
    document["zzz"] = json!(1);
    let pointers: Vec<String> =
        diagnostics_of(&document).into_iter().map(|it| it.pointer).collect();
    assert_eq!(pointers, ["/nodes/0/timeout", "/nodes/3/params/for", "/edges/4/to", "/zzz"]);
}

#[test]
fn the_list_of_diagnostics_is_cut() {
    let diagnostics = diagnostics_of(&with("/nodes", json!(vec![json!({"id": "a"}); 300])));
    assert_eq!(diagnostics.len(), DIAGNOSTICS_MAX + 1);
    assert!(diagnostics[DIAGNOSTICS_MAX].message.starts_with("and "));
}

#[test]
fn what_is_reported_of_a_document_is_not_many_times_as_large() {
    let name = "k".repeat(100_000);
    for (text, count) in [("{{ nope( }}", 200), ("{{ nope( }}", 5_000), ("{{ nodes.nobody }}", 200)]
    {
        let params = json!({"value": {name.as_str(): vec![text; count]}});
        let diagnostics = diagnostics_of(&with("/nodes/1/params", params));
        let reported: usize =
            diagnostics.iter().map(|it| it.pointer.len() + it.message.len()).sum();
        assert!(reported < 100_000, "{reported} bytes in {} faults", diagnostics.len());
        assert!(
            diagnostics.iter().any(|diagnostic| diagnostic.pointer == "/nodes/1/params/value/…"
                || diagnostic.message.starts_with("more than "))
        );
    }
}

/// A value to put anywhere.
fn anything() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(json!({})),
        Just(json!([])),
        Just(json!([null])),
        any::<i32>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        prop::sample::select(vec![
            "",
            "fetch",
            "titles",
            "{{ nodes.fetch }}",
            "{{ nodes",
            "{{ input.x * 2 }}",
            "error",
            "condition",
            "5s",
            "true",
            "{% for x in input %}{{ x }}{% endfor %}",
            "/~0",
        ])
        .prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
    ]
}

fn pointers(value: &Value, pointer: String, out: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, field) in fields {
                pointers(field, format!("{pointer}/{key}"), out);
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                pointers(item, format!("{pointer}/{at}"), out);
            }
        }
        _ => {}
    }
    out.push(pointer);
}

proptest! {
    #[test]
    fn no_mutation_panics_and_no_refusal_is_silent(
        changes in prop::collection::vec((any::<prop::sample::Index>(), anything()), 1..4)
    ) {
        let mut document = valid();
        for (at, value) in changes {
            let mut all = Vec::new();
            pointers(&document, String::new(), &mut all);
            *document.pointer_mut(at.get(&all).as_str()).unwrap() = value;
        }
        match compile(&document) {
            Ok(plan) => {
                for (at, node) in plan.nodes.iter().enumerate() {
                    let to: Vec<usize> = node.edges.iter().map(|edge| edge.to).collect();
                    let end = [plan.graph.end()];
                    let expected = if to.is_empty() { &end[..] } else { &to[..] };
                    prop_assert_eq!(plan.graph.successors(at), expected);
                }
            }
            Err(diagnostics) => {
                prop_assert!(!diagnostics.is_empty());
                for diagnostic in diagnostics {
                    prop_assert!(document.pointer(&diagnostic.pointer).is_some(), "{diagnostic:?}");
                }
            }
        }
    }
}

#[test]
fn too_many_nodes_are_one_diagnostic_and_not_one_of_everything_that_names_them() {
    let nodes = crate::domain::limits::NODES_MAX + 1;
    let node = |n: usize| {
        let value = if n == 0 { json!(1) } else { json!(format!("{{{{ nodes.n{} }}}}", n - 1)) };
        json!({"id": format!("n{n}"), "type": "transform", "params": {"value": value}})
    };
    // One node to start from, so that there are as many edges as nodes, and one more.
    let edges = (1..nodes).map(|n| json!({"from": format!("n{}", n - 1), "to": format!("n{n}")}));
    let document = json!({
        "name": "many",
        "nodes": (0..nodes).map(node).collect::<Vec<_>>(),
        "edges": edges.collect::<Vec<_>>(),
        "output": format!("{{{{ nodes.n{} }}}}", nodes - 1),
    });
    let diagnostics = compile(&document).expect_err("too many");
    assert_eq!(diagnostics.len(), 1, "{diagnostics:?}");
    assert_eq!((&*diagnostics[0].pointer, &*diagnostics[0].message), ("/nodes", "501 nodes"));
}

#[test]
fn malformed_agents_are_diagnosed() {
    let p = "/nodes/7/params";
    let agent = |changed: &str, value: Value| {
        let mut node = json!({ "id": "act", "type": "agent", "params": {
            "goal": "g", "model": "m",
            "tools": [{ "http": { "name": "find", "description": "d", "url": "https://h/{{ args.q }}" } },
                      { "mcp": { "url": "https://h/mcp", "allow": ["add"] } }],
        } });
        let (parent, token) = changed.rsplit_once('/').unwrap();
        match node.pointer_mut(&format!("/params{parent}")).unwrap() {
            Value::Object(fields) if value.is_null() => {
                fields.shift_remove(token);
            }
            Value::Array(items) => items[token.parse::<usize>().unwrap()] = value,
            fields => fields[token] = value,
        }
        node
    };
    let http = "/tools/0/http";
    let mcp = "/tools/1/mcp";
    let schema = json!({ "type": "object", "properties": { "a": { "type": "strin" } } });
    #[rustfmt::skip]
    let cases: Vec<(String, Value, String, &str, &str)> = vec![
        ("/goal".into(), Value::Null, p.into(), "`goal` is missing", "what it is to reach"),
        ("/goal".into(), json!(" "), format!("{p}/goal"), "`goal` is empty", ""),
        ("/prompt".into(), json!("x"), format!("{p}/prompt"), "`prompt` beside `goal`", "one of the two"),
        ("/model".into(), Value::Null, p.into(), "`model` is missing", ""),
        ("/framework".into(), json!("crew"), format!("{p}/framework"), "`framework` is `crew`", "react"),
        ("/max_tokens".into(), json!(0), format!("{p}/max_tokens"), "no number of tokens", "from 1"),
        ("/max_tokens".into(), json!(131_073), format!("{p}/max_tokens"), "no number of tokens", "to 131072"),
        ("/temperature".into(), json!(3), format!("{p}/temperature"), "`temperature`", "from 0 to 2"),
        ("/on_exhausted".into(), json!("wait"), format!("{p}/on_exhausted"), "`on_exhausted` is `wait`", ""),
        ("/tools".into(), json!({}), format!("{p}/tools"), "`tools` is an object", ""),
        ("/tools/0".into(), json!({}), format!("{p}/tools/0"), "one of `http` and `mcp`", "write"),
        (format!("{http}/name"), Value::Null, format!("{p}{http}"), "`name` is missing", ""),
        (format!("{http}/name"), json!("fi nd"), format!("{p}{http}/name"), "no name of a tool", "letters"),
        (format!("{http}/name"), json!("finish"), format!("{p}{http}/name"), "a second tool `finish`", "every agent"),
        (format!("{http}/name"), json!("add"), format!("{p}{mcp}/allow/0"), "a second tool `add`", ""),
        (format!("{http}/description"), Value::Null, format!("{p}{http}"), "`description` is missing", ""),
        (format!("{http}/description"), json!("{{ input.x }}"), format!("{p}{http}/description"), "expressions", ""),
        (format!("{http}/parameters"), json!([]), format!("{p}{http}/parameters"), "not a JSON Schema", "like"),
        (format!("{http}/parameters"), json!({ "type": "string" }), format!("{p}{http}/parameters"), "no schema of an object", ""),
        (format!("{http}/parameters"), schema, format!("{p}{http}/parameters/properties/a/type"), "strin", ""),
        (format!("{http}/method"), json!("CONNECT"), format!("{p}{http}/method"), "`method` is", ""),
        (format!("{http}/body"), json!({}), format!("{p}{http}/body"), "a GET request has no body", ""),
        (format!("{http}/url"), json!("ftp://h/"), format!("{p}{http}/url"), "no http URL", ""),
        (format!("{http}/url"), json!("https://{{ args.h }}/"), format!("{p}{http}/url"), "`args` in the scheme", "cannot choose"),
        (format!("{http}/url"), json!("https://h/{{ nodes.nobody }}"), format!("{p}{http}/url"), "there is no node `nobody`", ""),
        (format!("{http}/url"), json!("https://h/{{ nodes.act }}"), format!("{p}{http}/url"), "reads its own output", ""),
        (format!("{http}/headers"), json!({ "Host": "x" }), format!("{p}{http}/headers/Host"), "set by the client", ""),
        (format!("{mcp}/allow"), Value::Null, format!("{p}{mcp}"), "`allow` is missing", "may call"),
        (format!("{mcp}/allow"), json!([]), format!("{p}{mcp}/allow"), "`allow` is empty", ""),
        (format!("{mcp}/allow"), json!([7]), format!("{p}{mcp}/allow/0"), "a number", ""),
        ("/approve".into(), json!(["fnd"]), format!("{p}/approve/0"), "no tool `fnd`", "`find`"),
        ("/approve".into(), json!(["finish"]), format!("{p}/approve/0"), "no tool `finish`", "needs no approval"),
        ("/approve".into(), json!("find"), format!("{p}/approve"), "`approve` is", "names of tools"),
        ("/approval_timeout".into(), json!("0s"), format!("{p}/approval_timeout"), "is nothing", ""),
        ("/limits".into(), json!({ "iterations": 0 }), format!("{p}/limits/iterations"), "is 0", "from 1 to 1000"),
        ("/limits".into(), json!({ "tokens": -1 }), format!("{p}/limits/tokens"), "no number of tokens", ""),
        ("/limits".into(), json!({ "usd": "1" }), format!("{p}/limits/usd"), "not a number", "0.5"),
        ("/limits".into(), json!({ "usd": -1 }), format!("{p}/limits/usd"), "an amount", ""),
        ("/limits".into(), json!({ "wall": "25h" }), format!("{p}/limits/wall"), "`wall` is", "at most"),
        ("/limits".into(), json!({ "steps": 1 }), format!("{p}/limits/steps"), "unknown field", ""),
    ];
    for (changed, value, pointer, message, hint) in cases {
        let diagnostics = diagnostics_of(&with("/nodes/-", agent(&changed, value)));
        let found = diagnostics.iter().find(|it| {
            it.pointer == pointer && it.message.contains(message) && it.hint.contains(hint)
        });
        assert!(found.is_some(), "no `{message}` at {pointer} in {diagnostics:#?}");
    }
    assert_eq!(diagnostics_of(&with("/nodes/-", agent("/on_exhausted", json!("fail")))), []);
}

/// Bare, YAML takes them for truth values.
#[test]
fn branches_that_are_called_like_truth_values_are_shown_in_quotes() {
    let document = |edge: Value, default: Value| {
        json!({
            "name": "w",
            "nodes": [
                {"id": "large", "type": "condition", "params": {"if": "{{ input.n > 1 }}"},
                 "on_error": "continue", "default": default},
                {"id": "tell", "type": "log", "params": {"message": "m"}}
            ],
            "edges": [edge]
        })
    };
    let good = json!({"branch": "false"});
    let edge = |branch: Value| json!({"from": "large", "to": "tell", "branch": branch});
    assert_eq!(diagnostics_of(&document(edge(json!("true")), good.clone())), []);
    for (document, message, hint) in [
        (
            document(json!({"from": "large", "to": "tell"}), good.clone()),
            "`branch` is missing on an edge out of the condition `large`",
            "one of \"true\", \"false\"",
        ),
        (
            document(edge(json!(true)), good.clone()),
            "`branch` is a boolean, not text",
            "write it in quotes: \"true\"",
        ),
        (
            document(edge(json!("ture")), good),
            "`large` has no branch `ture`",
            "did you mean `\"true\"`?",
        ),
        (
            document(edge(json!("true")), json!({"branch": false})),
            "`default` names no branch to go on with",
            "write `{ branch: NAME }` with one of \"true\", \"false\"",
        ),
    ] {
        let diagnostics = diagnostics_of(&document);
        assert_eq!(diagnostics.len(), 1, "{diagnostics:#?}");
        assert_eq!((&*diagnostics[0].message, &*diagnostics[0].hint), (message, hint));
    }
}

#[test]
fn malformed_failures_on_purpose_are_diagnosed() {
    let stop = || {
        let params = json!({ "code": "no_feed", "message": "{{ nodes.fetch.error.message }}" });
        json!({ "id": "stop", "type": "fail", "params": params })
    };
    let with_stop = |field: &str, value: Value| {
        let mut document = with("/nodes/-", stop());
        document["edges"].as_array_mut().unwrap().push(json!({ "from": "post", "to": "stop" }));
        match field.rsplit_once('/') {
            Some((parent, name)) => document.pointer_mut(parent).unwrap()[name] = value,
            None => document["nodes"][7][field] = value,
        }
        document
    };
    assert_eq!(diagnostics_of(&with_stop("on_error", json!("fail"))), []);
    let code = "/nodes/7/params/code";
    let message = "/nodes/7/params/message";
    let long = "m".repeat(1_025);
    #[rustfmt::skip] // One case a line.
    let cases = [
        ("params", json!({}), "/nodes/7/params", "`code` is missing", "as a word"),
        ("params", json!({}), "/nodes/7/params", "`message` is missing", "in words"),
        ("/nodes/7/params/cod", json!(1), "/nodes/7/params/cod", "unknown field `cod`", "did you mean `code`?"),
        (code, json!(404), code, "`code` is a number, not text", ""),
        (code, json!("No feed"), code, "`No feed` is no code of an error", "like `payment_declined`"),
        (code, json!(""), code, "is no code of an error", "64 characters at most"),
        (code, json!("a".repeat(65)), code, "is no code of an error", ""),
        (code, json!("cancelled"), code, "`cancelled` is no code of an error", "was stopped"),
        (code, json!("{{ nodes.nobody.error.code }}"), code, "there is no node `nobody`", ""),
        (message, json!(" "), message, "`message` is empty", "what went wrong"),
        (message, json!(long), message, "`message` has 1025 bytes", "at most 1024"),
        ("retry", json!({ "max_attempts": 2 }), "/nodes/7/retry", "a node that always fails", "leave `retry` out"),
        ("on_error", json!("branch"), "/nodes/7/on_error", "a node that always fails", "leave `on_error` out"),
        ("on_error", json!("continue"), "/nodes/7/on_error", "a node that always fails", "bring its run down"),
        ("default", json!(1), "/nodes/7/default", "`default` without `on_error: continue`", ""),
        ("on_uncertain", json!("retry"), "/nodes/7/on_uncertain", "no meaning here", ""),
        ("/edges/6", json!({ "from": "stop", "to": "ask" }), "/edges/6/from", "never taken: `stop` always fails", "an edge to `stop`"),
        ("/edges/6", json!({ "from": "stop", "to": "ask", "on": "error" }), "/edges/6/from", "never taken", "leave the edge out"),
    ];
    for (field, value, pointer, message, hint) in cases {
        let document = match field {
            "/edges/6" => {
                let mut document = with_stop("on_error", json!("fail"));
                document["edges"].as_array_mut().unwrap().push(value.clone());
                document
            }
            field => with_stop(field, value.clone()),
        };
        let diagnostics = diagnostics_of(&document);
        let found = diagnostics.iter().find(|it| {
            it.pointer == pointer && it.message.contains(message) && it.hint.contains(hint)
        });
        assert!(found.is_some(), "{value} at {field}: no `{message}` in {diagnostics:#?}");
        // One mistake, and not what follows from it; two of them are missing where all is.
        let expected = if field == "params" { 2 } else { 1 };
        assert_eq!(diagnostics.len(), expected, "{value} at {field}: {diagnostics:#?}");
    }
}

//! Malformed definitions, inputs, keys and payloads: each gets its own precise error and leaves no
//! trace in the store.

use std::sync::LazyLock;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use skein_shared::domain::limits::{DOCUMENT_BYTES_MAX, INPUT_BYTES_MAX};

use crate::harness::{Client, Server, workflow};

const PUBLISH: &str = "/v1/workflows";
const START: &str = "/v1/workflows/adder/runs";
const JSON: (&str, &str) = ("content-type", "application/json");
const YAML: (&str, &str) = ("content-type", "application/yaml");

static LONG_KEY: LazyLock<String> = LazyLock::new(|| format!("Bearer {}", "k".repeat(257)));

/// A request and what it must be answered with.
struct Case {
    what: &'static str,
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, Vec<u8>)>,
    /// Sent in place of the good key.
    key: Option<&'static [u8]>,
    body: Vec<u8>,
    status: u16,
    slug: &'static str,
    /// `pointer`, `parameter` or `header`, and which, of one of the diagnostics.
    location: Option<(&'static str, String)>,
    /// Part of the detail or of that diagnostic's message or hint.
    says: &'static str,
}

fn case(what: &'static str, method: &'static str, path: impl Into<String>) -> Case {
    Case {
        what,
        method,
        path: path.into(),
        headers: Vec::new(),
        key: None,
        body: Vec::new(),
        status: 0,
        slug: "",
        location: None,
        says: "",
    }
}

impl Case {
    fn header(mut self, (name, value): (&'static str, &str)) -> Self {
        self.headers.push((name, value.as_bytes().to_vec()));
        self
    }

    fn key(mut self, value: &'static [u8]) -> Self {
        self.key = Some(value);
        self
    }

    fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    fn json(self, body: &Value) -> Self {
        self.header(JSON).body(body.to_string())
    }

    fn gets(mut self, status: u16, slug: &'static str) -> Self {
        (self.status, self.slug) = (status, slug);
        self
    }

    fn at(mut self, kind: &'static str, which: impl Into<String>, says: &'static str) -> Self {
        self.location = Some((kind, which.into()));
        self.says = says;
        self
    }

    fn says(mut self, says: &'static str) -> Self {
        self.says = says;
        self
    }

    async fn check(self, ada: &Client, nobody: &Client) {
        let Self { what, method, path, headers, key, body, status, slug, location, says } = self;
        let client = if key.is_some() { nobody } else { ada };
        let mut request = client.request(method, &path);
        if let Some(key) = key {
            request = request.header("authorization", key);
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let answer = Client::send(request.body(body)).await;
        assert_eq!((answer.status, what), (status, what), "{}", answer.text);
        let problem = answer.problem(status, slug);
        let Some((kind, which)) = location else {
            assert!(problem["detail"].as_str().unwrap().contains(says), "{what}: {problem}");
            return;
        };
        let diagnostics = problem["errors"].as_array().cloned().unwrap_or_default();
        let found = diagnostics.iter().any(|diagnostic| {
            let part = |name: &str| diagnostic[name].as_str().unwrap_or_default().contains(says);
            let place = format!("line {} column {}", diagnostic["line"], diagnostic["column"]);
            diagnostic[kind] == which && (part("message") || part("hint") || place.contains(says))
        });
        assert!(found, "{what}: no {kind} {which:?} that says {says:?} in {problem}");
    }
}

/// The good document with something else at one pointer.
fn document_with(pointer: &str, value: Value) -> Value {
    let mut document = workflow("broken");
    match document.pointer_mut(pointer) {
        Some(location) => *location = value,
        None => document[pointer.trim_start_matches('/')] = value,
    }
    document
}

#[rustfmt::skip] // One case a paragraph.
fn definitions() -> Vec<Case> {
    let publish = |what| case(what, "POST", PUBLISH);
    let malformed = |what, pointer, value| publish(what).json(&document_with(pointer, value)).gets(422, "invalid-workflow");
    let nested = format!("{}1{}", "[".repeat(70), "]".repeat(70));
    vec![
        publish("cut off JSON").header(JSON).body("{\"name\": \"a\"").gets(400, "malformed-body").at("pointer", "", "line 1 column 12"),
        publish("no JSON at all").header(JSON).body("name: a").gets(400, "malformed-body").at("pointer", "", "line 1 column 2"),
        publish("an empty document").header(JSON).gets(400, "malformed-body").at("pointer", "", "malformed JSON"),
        publish("broken YAML").header(YAML).body("name: [a\nnodes: 1\n").gets(400, "malformed-body").at("pointer", "", "line 2"),
        publish("two YAML documents").header(YAML).body("name: a\n---\nname: b\n").gets(400, "malformed-body").at("pointer", "", "malformed YAML"),
        publish("a YAML tag").header(YAML).body("name: !secret a\n").gets(422, "invalid-workflow").at("pointer", "/name", "line 1"),
        publish("no content type").body("{}").gets(415, "unsupported-media-type").says("application/yaml"),
        publish("another content type").header(("content-type", "text/plain")).body("{}").gets(415, "unsupported-media-type").says("application/json"),
        publish("another charset").header(("content-type", "application/json; charset=utf-16")).body("{}").gets(415, "unsupported-media-type").says("UTF-8"),
        publish("two content types").header(JSON).header(YAML).body("{}").gets(415, "unsupported-media-type").says("application/json"),
        publish("a compressed body").header(JSON).header(("content-encoding", "gzip")).body("{}").gets(415, "unsupported-media-type").says("compressed"),
        publish("bytes that are no UTF-8").header(JSON).body(b"{\"name\": \"\xff\"}".to_vec()).gets(400, "malformed-body").says("byte 10"),
        publish("a key twice").header(JSON).body("{\"name\": \"a\", \"name\": \"b\"}").gets(422, "invalid-workflow").at("pointer", "/name", "`name` is there twice"),
        publish("nesting beyond the bound").header(JSON).body(format!("{{\"output\": {nested}}}")).gets(422, "invalid-workflow").at("pointer", format!("/output{}", "/0".repeat(63)), "nested too deeply"),
        publish("a document beyond its bound").header(JSON).body(vec![b' '; DOCUMENT_BYTES_MAX + 1]).gets(413, "too-large").says("524288 bytes"),
        publish("a body beyond the bound").header(JSON).body(vec![b' '; 1024 * 1024 + 1]).gets(413, "too-large").says("1048576 bytes"),
        publish("a list").json(&json!([])).gets(422, "invalid-workflow").at("pointer", "", "an object is due"),
        malformed("a name with a space", "/name", json!("a b")).at("pointer", "/name", "no name of a workflow"),
        malformed("a name that is too long", "/name", json!("a".repeat(65))).at("pointer", "/name", "at most 64"),
        malformed("an unknown field", "/nmae", json!(1)).at("pointer", "/nmae", "did you mean `name`?"),
        malformed("no nodes", "/nodes", json!([])).at("pointer", "/nodes", "at least 1"),
        malformed("two nodes of one id", "/nodes/1/id", json!("add")).at("pointer", "/nodes/1/id", "a second node `add`"),
        malformed("an unknown type", "/nodes/0/type", json!("python")).at("pointer", "/nodes/0/type", "one of http"),
        malformed("an unknown parameter", "/nodes/1/params", json!({ "message": "x", "mesage": 1 })).at("pointer", "/nodes/1/params/mesage", "unknown"),
        malformed("an expression that breaks off", "/nodes/0/params/value", json!("{{ input.n +")).at("pointer", "/nodes/0/params/value", "`{{` has no `}}`"),
        malformed("an edge to nowhere", "/edges/0/to", json!("tel")).at("pointer", "/edges/0/to", "tel"),
        malformed("a cycle", "/edges", json!([{ "from": "add", "to": "tell" }, { "from": "tell", "to": "add" }])).at("pointer", "/edges/1", "a cycle: add -> tell -> add"),
        malformed("a reference to a node behind", "/nodes/0/params/value", json!("{{ nodes.tell }}")).at("pointer", "/nodes/0/params/value", "tell"),
        malformed("no JSON Schema", "/input/type", json!("objekt")).at("pointer", "/input/type", "no valid JSON Schema"),
        malformed("a schema from elsewhere", "/input/properties/n", json!({ "$ref": "https://example.com/s" })).at("pointer", "/input/properties/n/$ref", "outside"),
        malformed("a schema that doubles itself", "/input", doubling()).at("pointer", "/input/$defs/a12", "1000 times"),
        malformed("a pattern that backtracks", "/input/properties/note", json!({ "pattern": "(a)\\1" })).at("pointer", "/input/properties/note/pattern", "back-references"),
        malformed("a type that is none", "/input/properties/n/type", json!("intger")).at("pointer", "/input/properties/n/type", "did you mean `integer`?"),
        malformed("a NUL in the description", "/description", json!("a\0b")).at("pointer", "/description", "NUL"),
        publish("an integer that would be rounded").header(JSON).body("{\"output\": 18446744073709551616}").gets(422, "invalid-workflow").at("pointer", "/output", "send it as text"),
    ]
}

/// A schema whose definitions refer twice to the next.
fn doubling() -> Value {
    let mut definitions = json!({ "a20": { "type": "string" } });
    for n in 0..20 {
        let next = json!({ "$ref": format!("#/$defs/a{}", n + 1) });
        definitions[format!("a{n}")] = json!({ "anyOf": [next, next] });
    }
    json!({ "$defs": definitions, "$ref": "#/$defs/a0" })
}

/// A cursor with the checksum of its listing.
fn sealed(listing: &str, cursor: &str) -> String {
    let check = Sha256::digest(format!("{listing}\0{cursor}"));
    let check: String = check.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("{}~{check}", cursor.replace('\0', "%00"))
}

#[rustfmt::skip]
fn inputs() -> Vec<Case> {
    let start = |what| case(what, "POST", START);
    let malformed = |what, input: Value| start(what).json(&json!({ "input": input })).gets(422, "invalid-input");
    let nested = format!("{{\"input\": {}1{}}}", "[".repeat(70), "]".repeat(70));
    let large = json!({ "input": { "n": 1, "note": "x".repeat(INPUT_BYTES_MAX) } });
    vec![
        malformed("a missing property", json!({})).at("pointer", "/input", "\"n\" is a required property"),
        malformed("a property of another type", json!({ "n": "one" })).at("pointer", "/input/n", "integer"),
        malformed("a text that is too long", json!({ "n": 1, "note": "far too long" })).at("pointer", "/input/note", "8 characters"),
        malformed("an unknown property", json!({ "n": 1, "m": 2 })).at("pointer", "/input", "'m' was unexpected"),
        malformed("no object", json!(7)).at("pointer", "/input", "object"),
        malformed("null", Value::Null).at("pointer", "/input", "object"),
        start("an unknown field").json(&json!({ "inptu": {} })).gets(422, "invalid-request").at("pointer", "/inptu", "input, step_mode, trace, budget"),
        start("a field that needs escaping").json(&json!({ "a/b~c": {} })).gets(422, "invalid-request").at("pointer", "/a~1b~0c", "is not known"),
        start("a flag that is none").json(&json!({ "input": { "n": 1 }, "step_mode": "yes" })).gets(422, "invalid-request").at("pointer", "/step_mode", "neither true nor false"),
        start("step mode").json(&json!({ "input": { "n": 1 }, "step_mode": true })).gets(422, "invalid-request").at("pointer", "/step_mode", "leave it out"),
        start("a trace that is no flag").json(&json!({ "input": { "n": 1 }, "trace": {} })).gets(422, "invalid-request").at("pointer", "/trace", "neither true nor false"),
        start("a budget that is none").json(&json!({ "input": { "n": 1 }, "budget": 5 })).gets(422, "invalid-request").at("pointer", "/budget", "an object is due"),
        start("an amount below zero").json(&json!({ "input": { "n": 1 }, "budget": { "max_usd": -1 } })).gets(422, "invalid-request").at("pointer", "/budget/max_usd", "from 0 to 1000000"),
        start("a misspelt limit").json(&json!({ "input": { "n": 1 }, "budget": { "max_token": 1 } })).gets(422, "invalid-request").at("pointer", "/budget/max_token", "did you mean `max_tokens`?"),
        start("a deadline that is none").json(&json!({ "input": { "n": 1 }, "budget": { "deadline": "soon" } })).gets(422, "invalid-request").at("pointer", "/budget/deadline", "like `2h`"),
        start("a list for a body").json(&json!([1])).gets(422, "invalid-request").at("pointer", "", "is not an object"),
        start("a cut off body").header(JSON).body("{\"input\":").gets(400, "malformed-body").at("pointer", "", "line 1 column 9"),
        start("something behind the body").header(JSON).body("{} x").gets(400, "malformed-body").at("pointer", "", "column 4"),
        start("an input key twice").header(JSON).body("{\"input\": {\"n\": 1, \"n\": 2}}").gets(422, "invalid-request").at("pointer", "/input/n", "`n` is there twice"),
        start("an input that nests too deeply").header(JSON).body(nested).gets(422, "invalid-request").at("pointer", format!("/input{}", "/0".repeat(64)), "nested too deeply"),
        start("a number beyond all bounds").header(JSON).body("{\"input\": {\"n\": 1e999}}").gets(422, "invalid-request").at("pointer", "/input/n", "too large"),
        start("an integer that would be rounded").header(JSON).body("{\"input\": {\"n\": 18446744073709551616}}").gets(422, "invalid-request").at("pointer", "/input/n", "send it as text"),
        start("a lone surrogate").header(JSON).body("{\"input\": {\"n\": 1, \"note\": \"\\ud800\"}}").gets(400, "malformed-body").at("pointer", "", "column"),
        start("bytes that are no UTF-8").header(JSON).body(b"{\"input\": \"\xc3\x28\"}".to_vec()).gets(400, "malformed-body").says("byte 11"),
        start("YAML").header(YAML).body("input: { n: 1 }").gets(415, "unsupported-media-type").says("application/json"),
        start("an input beyond its bound").json(&large).gets(413, "too-large").at("pointer", "/input", "at most 262144 bytes"),
        start("a body beyond the bound").header(JSON).body(vec![b' '; 1024 * 1024 + 1]).gets(413, "too-large").says("1048576 bytes"),
        case("a workflow that is not there", "POST", "/v1/workflows/nope/runs").json(&json!({})).gets(404, "workflow-not-found").says("`nope`"),
        case("a workflow that cannot be there", "POST", "/v1/workflows/%00/runs").json(&json!({})).gets(404, "workflow-not-found").says("there is no workflow"),
        case("a name that is no UTF-8", "POST", "/v1/workflows/%ff/runs").json(&json!({})).gets(400, "invalid-parameter").at("parameter", "name", "UTF-8"),
    ]
}

#[rustfmt::skip]
fn keys() -> Vec<Case> {
    let read = |what, key: &'static [u8]| case(what, "GET", "/v1/runs").key(key).gets(401, "unauthenticated");
    let keyed = |what, key: &str| {
        case(what, "POST", START).header(("idempotency-key", key)).json(&json!({ "input": { "n": 1 } })).gets(400, "invalid-header").at("header", "Idempotency-Key", "printable ASCII")
    };
    vec![
        read("an unknown key", b"Bearer test-key-that-nobody-has").says("not known"),
        read("another scheme", b"Basic YWRhOnNlY3JldA==").says("`Bearer <API key>`"),
        read("a scheme without a key", b"Bearer").says("no API key"),
        read("a key with a space", b"Bearer a key").says("no API key"),
        read("a key of other bytes", b"Bearer k\xc3\xa4y").says("not ASCII"),
        read("a key beyond its bound", LONG_KEY.as_bytes()).says("no API key"),
        case("a start with an unknown key", "POST", START).key(b"Bearer nobody-has-this-key").json(&json!({ "input": { "n": 1 } })).gets(401, "unauthenticated").says("not known"),
        case("a publish with an unknown key", "POST", PUBLISH).key(b"Bearer nobody-has-this-key").json(&workflow("x")).gets(401, "unauthenticated").says("not known"),
        keyed("an empty idempotency key", ""),
        keyed("an idempotency key beyond its bound", &"k".repeat(256)),
        keyed("an idempotency key with a tab", "a\tb"),
        keyed("an idempotency key of other letters", "schlüssel"),
        keyed("two idempotency keys", "one").header(("idempotency-key", "two")),
    ]
}

#[rustfmt::skip]
fn paths_and_parameters() -> Vec<Case> {
    let get = |what, path: &str| case(what, "GET", path);
    let malformed = |what, path: &str| get(what, path).gets(400, "invalid-parameter");
    let broken = |what, path: &str| get(what, path).gets(422, "invalid-request");
    let start = |what, query: &str| case(what, "POST", format!("{START}?{query}")).json(&json!({ "input": { "n": 1 } })).gets(400, "invalid-parameter");
    vec![
        get("a path that leads nowhere", "/v2/runs").gets(404, "no-such-route").says("`/v2/runs`"),
        get("the root", "/").gets(404, "no-such-route").says("/openapi.json"),
        case("a method that a path does not take", "DELETE", "/v1/runs").gets(405, "method-not-allowed").says("DELETE"),
        case("a method that nobody knows", "BREW", "/livez").gets(405, "method-not-allowed").says("BREW"),
        malformed("a run that is no UUID", "/v1/runs/17").at("parameter", "id", "a UUID"),
        malformed("a log of no UUID", "/v1/runs/17/logs").at("parameter", "id", "a UUID"),
        case("cancelling no UUID", "POST", "/v1/runs/17/cancel").gets(400, "invalid-parameter").at("parameter", "id", "a UUID"),
        get("a run that is not there", "/v1/runs/0199f3a2-5d1c-7cc4-9f6e-8d7a1c2b3e4f").gets(404, "run-not-found").says("0199f3a2"),
        get("a log that is not there", "/v1/runs/0199f3a2-5d1c-7cc4-9f6e-8d7a1c2b3e4f/logs").gets(404, "run-not-found").says("0199f3a2"),
        malformed("a node of no UUID", "/v1/runs/17/nodes/add").at("parameter", "id", "a UUID"),
        malformed("a scope of words", "/v1/runs/0199f3a2-5d1c-7cc4-9f6e-8d7a1c2b3e4f/nodes/add?scope=first").at("parameter", "scope", "3/0"),
        get("a node of a run that is not there", "/v1/runs/0199f3a2-5d1c-7cc4-9f6e-8d7a1c2b3e4f/nodes/add").gets(404, "node-not-found").says("add"),
        malformed("an unknown parameter", "/v1/runs?state=failed").at("parameter", "state", "status"),
        malformed("a parameter twice", "/v1/runs?limit=1&limit=2").at("parameter", "limit", "twice"),
        malformed("a limit of nothing", "/v1/runs?limit=0").at("parameter", "limit", "1 to 500"),
        malformed("a limit beyond its bound", "/v1/workflows?limit=501").at("parameter", "limit", "1 to 500"),
        malformed("a limit of versions beyond its bound", "/v1/workflows/adder/versions?limit=501").at("parameter", "limit", "1 to 500"),
        malformed("a limit that is no number", "/v1/runs?limit=many").at("parameter", "limit", "1 to 500"),
        malformed("an unknown status", "/v1/runs?status=done").at("parameter", "status", "succeeded"),
        malformed("an unknown status among others", "/v1/runs?status=failed,done").at("parameter", "status", "commas"),
        malformed("a status behind a space", "/v1/runs?status=failed,%20cancelled").at("parameter", "status", "commas"),
        malformed("a status of nothing", "/v1/runs?status=").at("parameter", "status", "one or several"),
        malformed("a trace that is none", "/v1/runs?trace_id=4bf92f3577b34da6").at("parameter", "trace_id", "32 hex digits"),
        malformed("a trace of other digits", "/v1/runs?trace_id=zzf92f3577b34da6a3ce929d0e0e4736").at("parameter", "trace_id", "32 hex digits"),
        malformed("an unknown level", "/v1/runs/0199f3a2-5d1c-7cc4-9f6e-8d7a1c2b3e4f/logs?level=warning").at("parameter", "level", "debug, info, warn, error"),
        malformed("a node of nothing", "/v1/runs/0199f3a2-5d1c-7cc4-9f6e-8d7a1c2b3e4f/logs?node=").at("parameter", "node", "the id of a node"),
        malformed("a log since no time", "/v1/runs/0199f3a2-5d1c-7cc4-9f6e-8d7a1c2b3e4f/logs?since=10m").at("parameter", "since", "RFC 3339"),
        malformed("a limit of workers beyond its bound", "/v1/workers?limit=501").at("parameter", "limit", "1 to 500"),
        malformed("a time of no kind", "/v1/runs?created_after=yesterday").at("parameter", "created_after", "RFC 3339"),
        malformed("a time whose plus is a space", "/v1/runs?created_before=2026-01-31T12:00:00+01:00").at("parameter", "created_before", "%2B"),
        broken("a cursor that is none", "/v1/runs?cursor=abc").at("parameter", "cursor", "next_cursor"),
        broken("a cursor of the log that is none", "/v1/runs/0199f3a2-5d1c-7cc4-9f6e-8d7a1c2b3e4f/logs?after=1.2").at("parameter", "after", "next_cursor"),
        broken("a cursor that no store makes", &format!("/v1/workflows?cursor={}", sealed("workflows", "a\0b"))).at("parameter", "cursor", "next_cursor"),
        malformed("values that are neither", "/v1/runs/0199f3a2-5d1c-7cc4-9f6e-8d7a1c2b3e4f?values=no").at("parameter", "values", "`true` or `false`"),
        malformed("a version of nothing", "/v1/workflows/adder?version=0").at("parameter", "version", "from 1"),
        malformed("a workflow filter that cannot be", "/v1/runs?workflow=%00").at("parameter", "workflow", "name of a workflow"),
        malformed("a filter that is no UTF-8", "/v1/runs?workflow=%ff").at("parameter", "workflow", "UTF-8"),
        malformed("a parameter whose name is no UTF-8", "/v1/runs?limit=1&a%ffb=1").at("parameter", "a\u{fffd}b", "UTF-8"),
        malformed("a node that is no UTF-8", "/v1/runs/0199f3a2-5d1c-7cc4-9f6e-8d7a1c2b3e4f/nodes/%ff").at("parameter", "node", "UTF-8"),
        malformed("a run that is no UTF-8", "/v1/runs/%ff/nodes/add").at("parameter", "id", "a UUID"),
        start("a wait beyond its bound", "wait=61").at("parameter", "wait", "0 to 60"),
        start("a wait before now", "wait=-1").at("parameter", "wait", "0 to 60"),
        start("a wait that is no number", "wait=NaN").at("parameter", "wait", "0 to 60"),
        start("a wait with a unit", "wait=5s").at("parameter", "wait", "0 to 60"),
        start("an unknown parameter of a start", "wiat=5").at("parameter", "wiat", "known parameters: version, wait"),
    ]
}

#[tokio::test]
async fn each_malformed_request_gets_its_own_error_and_leaves_no_trace() {
    let server = Server::start().await;
    let (ada, nobody) = (server.tenant().await, server.nobody());
    ada.publish("adder").await;
    let before = ada.rows().await;
    let groups = [definitions(), inputs(), keys(), paths_and_parameters()];
    assert!(groups.iter().map(Vec::len).sum::<usize>() >= 90);
    for case in groups.into_iter().flatten() {
        case.check(&ada, &nobody).await;
    }
    assert_eq!(ada.rows().await, before);
}

/// Each with line and column of the text that was sent, in whichever format.
#[tokio::test]
async fn faults_of_a_document_have_their_places_in_it() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    let yaml = "\
name: placed
nodes:
  - id: get
    type: htpp
  - id: tell
    type: log
    params:
      message: |
        first
          {{ input.a && input.b }}
";
    let json = "{\"name\": \"placed\",\n \"nodes\": [{\"id\": \"a\", \"type\": \"log\",\n  \"params\": {\"message\": \"\\u00e4 {{ run.idd }}\"}}]}";
    for (content_type, text, expected) in [
        (YAML, yaml, &[("/nodes/0/type", 4, 11), ("/nodes/1/params/message", 10, 22)][..]),
        (JSON, json, &[("/nodes/0/params/message", 3, 40)]),
    ] {
        let request =
            ada.request("POST", PUBLISH).header(content_type.0, content_type.1).body(text);
        let problem = Client::send(request).await.problem(422, "invalid-workflow");
        let found: Vec<_> = problem["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| (it["pointer"].clone(), it["line"].clone(), it["column"].clone()))
            .collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|(pointer, line, column)| (json!(pointer), json!(line), json!(column)))
            .collect();
        assert_eq!(found, expected, "{problem}");
    }
}

/// What may not do what is meant is told, and published.
#[tokio::test]
async fn warnings_stand_in_the_answer_of_what_is_published() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    let mut document = workflow("warned");
    let published = ada.post(PUBLISH, &document).await;
    assert_eq!(published.json()["warnings"], json!([]), "{}", published.text);
    document["nodes"][0]["params"]["value"] = json!("{{ [1].length }}");
    for status in [201, 200] {
        let published = ada.post(PUBLISH, &document).await;
        assert_eq!(published.status, status, "{}", published.text);
        let warnings = published.json()["warnings"].clone();
        assert_eq!(warnings.as_array().unwrap().len(), 1, "{warnings}");
        assert_eq!(warnings[0]["pointer"], "/nodes/0/params/value", "{warnings}");
        assert_eq!(warnings[0]["line"], 1, "{warnings}");
        assert!(warnings[0]["hint"].as_str().unwrap().contains("length"), "{warnings}");
    }
}

#[tokio::test]
async fn all_diagnostics_are_reported_at_once() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    let mut document = workflow("a b");
    document["nodes"][0]["type"] = json!("python");
    document["edges"][0]["to"] = json!("nowhere");
    let problem = ada.post(PUBLISH, &document).await.problem(422, "invalid-workflow");
    let diagnostics = problem["errors"].as_array().unwrap();
    let pointers: Vec<_> =
        diagnostics.iter().map(|diagnostic| diagnostic["pointer"].as_str().unwrap()).collect();
    for pointer in ["/name", "/nodes/0/type", "/edges/0/to"] {
        assert!(pointers.contains(&pointer), "{pointer} is not in {pointers:?}");
    }

    let input = json!({ "input": { "n": "one", "note": "far too long", "m": 1 } });
    let problem = ada.post(START, &input).await.problem(422, "invalid-input");
    assert_eq!(problem["errors"].as_array().unwrap().len(), 3, "{problem}");

    let problem =
        ada.get("/v1/runs?limit=x&status=y&foo=z").await.problem(400, "invalid-parameter");
    assert_eq!(problem["errors"].as_array().unwrap().len(), 3, "{problem}");
}

#[tokio::test]
async fn a_method_that_is_not_allowed_is_answered_with_those_that_are() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    let answer = Client::send(ada.request("DELETE", PUBLISH)).await;
    answer.problem(405, "method-not-allowed");
    let allowed = answer.header("allow");
    assert!(allowed.contains("GET") && allowed.contains("POST"), "{allowed}");
}

#[tokio::test]
async fn errors_repeat_no_secret_of_the_request() {
    let server = Server::start().await;
    let (ada, nobody) = (server.tenant().await, server.nobody());
    ada.publish("adder").await;
    let input = json!({ "input": { "n": "hunter2", "note": "hunter2hunter2" } });
    let refused = ada.post(START, &input).await;
    refused.problem(422, "invalid-input");
    let key = [("authorization", "Bearer hunter2hunter2hunter2")];
    let unknown = nobody.post_with(START, &input, &key).await;
    unknown.problem(401, "unauthenticated");
    for answer in [refused, unknown] {
        assert!(!answer.text.contains("hunter2"), "{}", answer.text);
    }
}

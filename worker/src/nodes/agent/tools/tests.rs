//! What a call of the model's comes to, and requests of tools to a real server.
#![expect(clippy::needless_pass_by_value, reason = "values are written where they are passed")]

use std::time::Duration;

use serde_json::json;
use skein_shared::expression::Scope;
use skein_shared::workflow::params::agent::HttpToolParams;

use super::*;
use crate::egress::test_server::{Seen, Server};
use crate::egress::{AllowRule, Egress, EgressConfig};
use crate::evaluate::Evaluator;
use crate::nodes::sample_context;

fn params(value: Value) -> HttpToolParams {
    let tool: skein_shared::workflow::params::agent::ToolParams =
        serde_json::from_value(json!({ "http": value })).unwrap();
    match tool {
        skein_shared::workflow::params::agent::ToolParams::Http(http) => http,
        other => panic!("{other:?}"),
    }
}

fn tool(rules: &str, changed: Value) -> HttpTool {
    let mut all = json!({
        "name": "find", "description": "finds",
        "parameters": { "type": "object", "properties": { "q": { "type": "string" }, "n": { "type": "integer", "default": 3 } },
                        "required": ["q"], "additionalProperties": false },
        "url": "https://h.example/",
    });
    all.as_object_mut().unwrap().extend(changed.as_object().unwrap().clone());
    let allow = AllowRule::parse_list(rules).unwrap();
    let egress = Egress::new(&EgressConfig { allow, ..EgressConfig::default() }).unwrap();
    HttpTool::new(params(all), "/tools/0/http", egress, Evaluator::new()).unwrap()
}

fn context() -> NodeContext {
    let scope = Scope {
        input: json!({ "base": "https://h.example", "key": "TOP-SECRET-1" }).into(),
        nodes: [("before".into(), json!({ "id": 7 }).into())].into(),
        ..Scope::default()
    };
    NodeContext { scope, timeout: Duration::from_secs(10), ..sample_context() }
}

async fn call(rules: &str, changed: Value, arguments: Value) -> Observation {
    tool(rules, changed).call(&context(), "run_node__3", arguments).await
}

fn resolved(toolbox: &Toolbox, name: &str, arguments: &str) -> Result<String, String> {
    let call = ToolCall {
        id: "c".to_owned(),
        name: name.to_owned(),
        arguments: arguments.to_owned(),
        signature: None,
    };
    match toolbox.resolve(&call) {
        Resolved::Call(tool, arguments) => Ok(format!("{} {arguments}", tool.spec().name)),
        Resolved::Finish(answer) => Ok(answer),
        Resolved::Malformed(message) => Err(message),
        Resolved::Unknown => Err(toolbox.unknown(name).content),
    }
}

#[test]
fn a_call_is_checked_before_it_is_made() {
    let toolbox = Toolbox::new(vec![Box::new(tool("", json!({})))]);
    let names: Vec<_> = toolbox.specs().iter().map(|spec| &*spec.name).collect();
    assert_eq!(names, ["find", "finish"]);
    let find = |arguments: &str| resolved(&toolbox, "find", arguments);
    assert_eq!(find(r#"{"q":"x"}"#).unwrap(), r#"find {"q":"x","n":3}"#);
    // Halves of surrogate pairs are none of its faults.
    assert_eq!(find(r#"{"q":"\ud800"}"#).unwrap(), "find {\"q\":\"\u{fffd}\",\"n\":3}");
    for (arguments, says) in [
        ("", "no JSON:"),
        ("{\"q\":", "no JSON:"),
        ("[]", "no JSON object"),
        ("\"x\"", "no JSON object"),
        ("{}", "add `q`"),
        (r#"{"q":7}"#, "/q "),
        (r#"{"q":"x","other":1}"#, "other"),
    ] {
        let message = find(arguments).unwrap_err();
        assert!(message.contains(says), "{arguments}: {message}");
    }
    assert_eq!(resolved(&toolbox, "finish", r#"{"answer":"42"}"#).unwrap(), "42");
    assert_eq!(resolved(&toolbox, "finish", r#"{"answer":[42]}"#).unwrap(), "[42]");
    assert!(resolved(&toolbox, "finish", "{}").unwrap_err().contains("`answer` is missing"));
    for name in ["rm_rf", "", "FIND", "find\0", &"x".repeat(10_000)] {
        let message = resolved(&toolbox, name, "{}").unwrap_err();
        assert!(
            message.contains("there is no tool") && message.contains("find, finish"),
            "{message}"
        );
        assert!(message.len() < 200);
    }
}

#[tokio::test]
async fn a_tool_sends_what_its_templates_make_of_the_arguments() {
    let server = Server::start(|_| axum::Json(json!({ "found": true }))).await;
    let changed = json!({
        "method": "POST", "url": format!("http://{}/find/{{{{ args.q }}}}?n={{{{ args.n }}}}", server.address),
        "headers": { "X-Key": "{{ input.key }}", "X-Q": "{{ args.q }}" },
        "body": { "q": "{{ args.q }}", "n": "{{ args.n }}", "of": "{{ nodes.before.id }}" },
    });
    let observation = call(&server.rule(), changed, json!({ "q": "a b", "n": 5 })).await;
    assert_eq!(observation, Observation::of(json!({ "status": 200, "body": { "found": true } })));
    let seen = server.only();
    assert_eq!((&*seen.method, &*seen.uri), ("POST", "/find/a%20b?n=5"));
    assert_eq!((seen.header("x-key"), seen.header("x-q")), (Some("TOP-SECRET-1"), Some("a b")));
    assert_eq!(seen.body, r#"{"q":"a b","n":5,"of":7}"#);
    assert_eq!(seen.header("idempotency-key"), Some("run_node__3"));
    assert_eq!(seen.header("traceparent"), Some(context().span.to_traceparent().as_str()));
}

#[tokio::test]
async fn what_goes_wrong_is_read_by_the_model() {
    let server = Server::start(|seen: &Seen| {
        let key = seen.header("authorization").unwrap_or_default().to_owned();
        (axum::http::StatusCode::NOT_FOUND, format!("no such thing; you sent {key}"))
    })
    .await;
    let url = server.url("/");
    let headers = json!({ "Authorization": "Bearer {{ input.key }}" });
    let observation =
        call(&server.rule(), json!({ "url": url, "headers": headers }), json!({})).await;
    let body = "no such thing; you sent REDACTED";
    assert_eq!(observation.value, json!({ "status": 404, "body": body }));
    assert_eq!(&*observation.error.unwrap().code, "http_status");

    let missing = json!({ "url": format!("{url}{{{{ args.q }}}}") });
    let observation = call(&server.rule(), missing, json!({})).await;
    assert_eq!(&*observation.error.unwrap().code, "expression");
    assert!(content(&observation.value).contains("args.q"), "{:?}", observation.value);

    let header = json!({ "url": url, "headers": { "X-Q": "{{ args.q }}" } });
    let observation = call(&server.rule(), header, json!({ "q": "a\r\nX-Evil: 1" })).await;
    assert_eq!(&*observation.error.unwrap().code, "invalid_params");

    // Nobody has allowed it.
    let observation = call("", json!({ "url": url }), json!({})).await;
    assert_eq!(&*observation.error.unwrap().code, "address_refused");
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn the_arguments_lead_to_no_other_place() {
    let server = Server::start(|_| "ok").await;
    let host = server.address.to_string();
    let at = |base: &str, q: &str| {
        let mut context = context();
        context.scope.input = json!({ "base": base }).into();
        let tool = tool(&server.rule(), json!({ "url": "{{ input.base }}/v1/{{ args.q }}" }));
        let arguments = json!({ "q": q });
        async move { tool.call(&context, "k", arguments).await.error.map(|error| error.code) }
    };
    let base = format!("http://{host}");
    assert_eq!(at(&base, "x").await, None);
    assert_eq!(at(&base, "//evil.example/").await, None);
    assert_eq!(at(&base, "@evil.example/").await, None);
    assert_eq!(at(&base, "x?y#z").await, None);
    let sent: Vec<_> = server.seen().into_iter().map(|seen| seen.uri).collect();
    let expected = ["/v1/x", "/v1/%2F%2Fevil.example%2F", "/v1/@evil.example%2F", "/v1/x%3Fy%23z"];
    assert_eq!(sent, expected);
    for (base, q) in [
        (&*base, "../admin"),
        (&base, "a/%2E%2e/admin"),
        (&base, "..\\admin"),
        (&base, "a\nb"),
        ("http:", "x"),
        ("http://", "x"),
        ("", &format!("http://{host}/")),
    ] {
        let code = at(base, q).await;
        assert!(
            matches!(code.as_deref(), Some("address_refused" | "invalid_params")),
            "{base} {q}: {code:?}"
        );
    }
    assert!(server.seen().iter().all(|seen| seen.uri.starts_with("/v1/")));
}

#[test]
fn what_is_too_long_for_a_model_is_cut_with_a_note() {
    let long = Observation::of("é".repeat(OBSERVATION_BYTES_MAX).into()).bounded();
    let text = content(&long.value).into_owned();
    assert!(text.len() < OBSERVATION_BYTES_MAX + 100);
    assert!(text.ends_with("[cut: 65536 of 131072 bytes]"), "{}", &text[text.len() - 50..]);
    let nuls = Observation::of("\u{1}".repeat(OBSERVATION_BYTES_MAX).into()).bounded();
    assert!(nuls.value.to_string().len() <= 2 * OBSERVATION_BYTES_MAX + 100);
    let short = Observation::of(json!({ "a": [1] }));
    assert_eq!(short.clone().bounded(), short);
}

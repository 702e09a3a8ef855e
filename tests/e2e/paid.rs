//! Calls to models that fail, are repeated, repaired or made elsewhere: each has one span and is paid for once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{OriginalUri, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use skein::mock_models::Watch;
use skein_shared::telemetry::install_crypto_provider;
use skein_tests::stack::{Setup, Stack, with_stack};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use crate::ledger::{assert_balanced, assert_resolved, nanos, statuses, steps};
use crate::played::{asking, beside_models};

/// Each of the calls is answered with as many tokens.
const SCRIPT: &str = "\
replies:
  - when: { contains: busy }
    times: 1
    reply: { status: 429, error: slow down, headers: { Retry-After: '0' } }
  - when: { model: gpt-4o }
    reply: { status: 503, error: out of order }
  - when: { contains: does not fit }
    reply: { json: { n: 1 }, usage: { input_tokens: 20, output_tokens: 5 } }
  - when: { contains: look, turn: 0 }
    reply: { tool_calls: [{ name: look, arguments: { q: a } }], usage: { input_tokens: 20, output_tokens: 5 } }
  - reply: { text: done, usage: { input_tokens: 20, output_tokens: 5 } }
";
/// What a request says that fails at first.
const FRAIL: &str = "break once";
/// 20 tokens at $0.15 and 5 at $0.60 a million.
const OF_MINI: i64 = 6_000;
/// 20 tokens at $1 and 5 at $5 a million.
const OF_HAIKU: i64 = 45_000;

/// Stands before the models, and fails the first request that says so. An attempt of a node that is made once more makes
/// another call, which no script can tell from the one before.
struct Frail {
    models: String,
    http: reqwest::Client,
    has_failed: AtomicBool,
}

impl Frail {
    async fn start(models: &str) -> (Arc<Self>, SocketAddr, AbortOnDropHandle<()>) {
        install_crypto_provider();
        let http = reqwest::Client::builder().no_proxy().build().expect("an HTTP client");
        let frail =
            Arc::new(Self { models: models.to_owned(), http, has_failed: AtomicBool::new(false) });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free loopback port");
        let address = listener.local_addr().expect("it is bound");
        let router = Router::new().fallback(pass).with_state(Arc::clone(&frail));
        let server = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("it accepts for good");
        });
        (frail, address, AbortOnDropHandle::new(server))
    }
}

async fn pass(
    State(frail): State<Arc<Frail>>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let is_frail = body.windows(FRAIL.len()).any(|part| part == FRAIL.as_bytes());
    let is_first = is_frail && !frail.has_failed.swap(true, Ordering::Relaxed);
    if is_first {
        return (StatusCode::INTERNAL_SERVER_ERROR, "{}").into_response();
    }
    let mut request = frail.http.post(format!("{}{uri}", frail.models)).body(body);
    for name in ["content-type", "authorization", "idempotency-key", "traceparent"] {
        if let Some(value) = headers.get(name) {
            request = request.header(name, value);
        }
    }
    let answer = request.send().await.expect("the models answer");
    let (status, headers) = (answer.status(), answer.headers().clone());
    let body = answer.bytes().await.expect("the models answer whole");
    let kept = [header::CONTENT_TYPE, header::RETRY_AFTER];
    let kept = kept.into_iter().filter_map(|name| Some((name.clone(), headers.get(name)?.clone())));
    (status, kept.collect::<HeaderMap>(), body).into_response()
}

fn ask(id: &str, prompt: &str, more: &Value) -> Value {
    let mut params = json!({
        "provider": "openai", "model": "gpt-4o-mini", "prompt": prompt, "max_tokens": 100,
    });
    let fields = params.as_object_mut().expect("an object");
    fields.extend(more.as_object().expect("an object").clone());
    json!({ "id": id, "type": "llm", "retry": { "max_attempts": 2, "backoff": "50ms" }, "params": params })
}

fn document(stack: &Stack) -> Value {
    let schema = json!({ "type": "object", "required": ["n"] });
    let fallback = json!([{ "provider": "anthropic", "model": "claude-haiku-4-5" }]);
    let look = json!({
        "name": "look", "description": "looks", "url": stack.outside.url("/look/{{ args.q }}"),
        "parameters": { "type": "object", "properties": { "q": { "type": "string" } } },
    });
    let act = json!({
        "provider": "openai", "model": "gpt-4o-mini", "goal": "look", "tools": [{ "http": look }],
    });
    json!({
        "name": "paid",
        "nodes": [
            ask("busy", "busy?", &json!({})),
            ask("frail", FRAIL, &json!({})),
            ask("repaired", "how many?", &json!({ "schema": schema })),
            ask("elsewhere", "where?", &json!({ "model": "gpt-4o", "fallback": fallback })),
            { "id": "act", "type": "agent", "params": act },
        ],
        "edges": [
            { "from": "busy", "to": "frail" }, { "from": "frail", "to": "repaired" },
            { "from": "repaired", "to": "elsewhere" }, { "from": "elsewhere", "to": "act" },
        ],
    })
}

async fn with_frail_models(setup: Setup, case: impl AsyncFnOnce(&mut Stack, &Watch, &Frail)) {
    beside_models(SCRIPT, async |url, watch| {
        let (frail, address, _server) = Frail::start(url).await;
        let setup = asking(setup, &format!("http://{address}"));
        with_stack(setup, async |stack| case(stack, watch, &frail).await).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_request_has_one_span_and_one_row_and_all_sums_agree() {
    with_frail_models(Setup::distributed("paid"), is_paid_once).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_request_has_one_span_and_one_row_when_embedded() {
    with_frail_models(Setup::embedded("paid"), is_paid_once).await;
}

async fn is_paid_once(stack: &mut Stack, watch: &Watch, frail: &Frail) {
    stack.client.publish(&document(stack)).await;
    let run = stack.client.run("paid", &json!({})).await;
    assert_eq!(run.status(), "succeeded", "{:#}", run.0);

    // What the providers saw, a request that never came through included.
    let requests = watch.requests().len() + usize::from(frail.has_failed.load(Ordering::Relaxed));
    assert_eq!(requests, 10, "two for each node");
    let sum = assert_balanced(stack, &run, requests).await;
    assert_resolved(stack).await;

    let steps = steps(stack, run.id()).await;
    let of = |node: &str| -> Vec<Value> {
        steps.iter().filter(|step| step["node"] == node).cloned().collect()
    };
    let costs = |node: &str| -> Vec<i64> {
        let models = of(node).into_iter().filter(|step| step["kind"] == "model");
        models.map(|step| nanos(&step["cost_usd"])).collect()
    };
    assert_eq!(statuses(&of("busy")), [(1, 1, "refused"), (1, 2, "succeeded")]);
    assert_eq!(costs("busy"), [0, OF_MINI], "whoever is told to wait pays nothing");
    assert_eq!(statuses(&of("frail")), [(1, 1, "failed"), (2, 1, "succeeded")]);
    assert_eq!(run.node("frail")["attempts"], 2, "{:#}", run.node("frail"));
    assert_eq!(statuses(&of("repaired")), [(1, 1, "succeeded"), (2, 1, "succeeded")]);
    assert_eq!(costs("repaired"), [OF_MINI, OF_MINI]);
    assert_eq!(statuses(&of("elsewhere")), [(1, 1, "failed"), (2, 1, "succeeded")]);
    assert_eq!(run.node("elsewhere")["attempts"], 1, "{:#}", run.node("elsewhere"));
    assert_eq!(costs("act"), [OF_MINI, OF_MINI]);
    // Nobody knows what a server that failed has done: it is paid in full.
    let (frail, elsewhere) = (costs("frail"), costs("elsewhere"));
    assert_eq!((frail[1], elsewhere[1]), (OF_MINI, OF_HAIKU));
    assert!(frail[0] > OF_MINI && elsewhere[0] > OF_MINI, "{frail:?} {elsewhere:?}");
    assert_eq!(sum, 6 * OF_MINI + OF_HAIKU + frail[0] + elsewhere[0]);

    // The outputs say what their nodes took, failed and repaired calls included.
    for node in ["busy", "frail", "repaired", "elsewhere", "act"] {
        let told = nanos(&run.node(node)["output"]["cost_usd"]);
        assert_eq!(told, costs(node).iter().sum::<i64>(), "{:#}", run.node(node));
    }
}

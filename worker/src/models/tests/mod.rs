//! The adapters against real servers that answer as providers do, and as they should not.
#![expect(clippy::needless_pass_by_value, reason = "values are written where they are passed")]

mod anthropic;
mod bad_answers;
mod floods;
mod google;
mod openai;
mod requests;
mod timing;

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use skein_shared::domain::trace::TraceContext;
use skein_shared::domain::usage::Usage;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::egress::test_server::{Seen, Server};
use crate::egress::{Observer, Origin, Unobserved};
use crate::mask::Masker;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// What no message, span or debug output may hold.
const KEY: &str = "sk-s3cret/0123456789";

fn origin() -> Origin {
    let span = TraceContext::from_traceparent(PARENT).unwrap();
    let context = crate::nodes::sample_context();
    Origin { span, run: context.run, key: context.key, resends: 0, masker: Masker::default() }
}

/// A provider at `base`, with a key.
fn provider(wire: WireFormat, base: &str, observer: Arc<dyn Observer>) -> Provider {
    let at = ProviderSettings::at("it", wire, base).unwrap();
    let settings = ProviderSettings { key: KEY.parse().ok(), ..at };
    let settings = ModelSettings { providers: vec![settings] };
    Providers::new(&settings, &observer).unwrap().get("it").unwrap().clone()
}

fn request() -> ChatRequest {
    ChatRequest {
        model: "m-1".to_owned(),
        system: None,
        messages: vec![Message::User("hello".to_owned())],
        tools: vec![],
        schema: None,
        max_tokens: 100,
        temperature: None,
        top_p: None,
        seed: None,
        stop: vec![],
    }
}

fn tool(name: &str) -> ToolSpec {
    ToolSpec {
        name: name.to_owned(),
        description: "Looks it up.".to_owned(),
        parameters: json!({"type": "object", "properties": {"q": {"type": "string"}}}),
    }
}

fn call_of(id: &str, name: &str, arguments: &str) -> ToolCall {
    let [id, name, arguments] = [id, name, arguments].map(str::to_owned);
    ToolCall { id, name, arguments, signature: None }
}

/// Makes a call and gathers its deltas.
async fn chat(
    provider: &Provider,
    request: &ChatRequest,
) -> (Result<ChatReply, CallError>, Vec<String>) {
    chat_within(provider, request, Duration::from_secs(20), Duration::from_secs(20)).await
}

async fn chat_within(
    provider: &Provider,
    request: &ChatRequest,
    first_token_timeout: Duration,
    timeout: Duration,
) -> (Result<ChatReply, CallError>, Vec<String>) {
    let deltas = Mutex::new(Vec::new());
    let take = |piece: &str| deltas.lock().unwrap().push(piece.to_owned());
    let (origin, cancelled) = (origin(), CancellationToken::new());
    let call = Call {
        origin: &origin,
        idempotency_key: "run_node__1",
        first_token_timeout,
        timeout,
        deltas: Some(&take),
        cancelled: &cancelled,
    };
    let result = provider.model.chat(request, &call).await;
    (result, deltas.into_inner().unwrap())
}

/// Calls a provider that answers everything with `answer`.
async fn ask<A: axum::response::IntoResponse>(
    wire: WireFormat,
    request: &ChatRequest,
    answer: impl Fn(&Seen) -> A + Clone + Send + Sync + 'static,
) -> (Result<ChatReply, CallError>, Vec<String>, Seen) {
    let server = Server::start(answer).await;
    let provider = provider(wire, &server.url(""), Arc::new(Unobserved));
    let (result, deltas) = chat(&provider, request).await;
    (result, deltas, server.only())
}

/// A stream of events as OpenAI sends them.
fn events(all: &[Value]) -> String {
    all.iter().map(|event| format!("data: {event}\n\n")).collect()
}

/// The same, ended by the word that ends OpenAI's.
fn done(all: &[Value]) -> String {
    format!("{}data: [DONE]\n\n", events(all))
}

/// Events with their names, as Anthropic sends them.
fn named(all: &[Value]) -> String {
    let name = |event: &Value| event["type"].as_str().unwrap_or_default().to_owned();
    all.iter().map(|event| format!("event: {}\ndata: {event}\n\n", name(event))).collect()
}

fn streamed(body: impl Into<Body>) -> Response {
    ([("content-type", "text/event-stream; charset=utf-8")], body.into()).into_response()
}

/// A body that breaks off once what there is of it has been sent.
fn cut(body: String) -> Response {
    let first = stream::iter([Ok(body)]);
    let cut = stream::once(async {
        // Waited for, so that the server sends what it has.
        tokio::task::yield_now().await;
        Err(io::Error::other("cut"))
    });
    streamed(Body::from_stream(first.chain(cut)))
}

/// A body that stays open.
fn hanging(body: String) -> Response {
    let first = stream::iter([Ok::<_, Infallible>(body)]);
    streamed(Body::from_stream(first.chain(stream::pending())))
}

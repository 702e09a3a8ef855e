//! What every request carries, and how it is watched.

use skein_shared::domain::trace::SpanId;

use super::*;
use crate::egress::Exchange;

/// What an observer was given, as text.
#[derive(Default)]
struct Recorder(Mutex<Vec<String>>);

impl Observer for Recorder {
    fn begin(&self, origin: &Origin) -> TraceContext {
        origin.span.with_span(SpanId([7; 8]))
    }

    fn end(&self, exchange: &Exchange<'_>) {
        let Exchange { method, url, status, error, .. } = exchange;
        assert_eq!(exchange.origin.span.to_traceparent(), PARENT);
        self.0.lock().unwrap().push(format!("{method} {url} {status:?} {error:?}"));
    }
}

#[tokio::test]
async fn a_request_carries_the_trace_and_the_key_of_its_repetition() {
    let recorder = Arc::new(Recorder::default());
    let server = Server::start(|_| axum::http::StatusCode::BAD_REQUEST).await;
    let mut origin = origin();
    let mut run = (*origin.run).clone();
    run.trace.state = "vendor=1".parse().ok();
    origin.run = Arc::new(run);
    let cancelled = CancellationToken::new();
    for wire in WireFormat::ALL {
        let at = provider(wire, &server.url("/proxy/v1"), Arc::clone(&recorder) as _);
        let call = Call {
            origin: &origin,
            idempotency_key: "run_node__1",
            first_token_timeout: Duration::from_secs(20),
            timeout: Duration::from_secs(20),
            deltas: None,
            cancelled: &cancelled,
        };
        at.model.chat(&request(), &call).await.unwrap_err();
    }
    for seen in server.seen() {
        let expected = "00-4bf92f3577b34da6a3ce929d0e0e4736-0707070707070707-01";
        assert_eq!(seen.header("traceparent"), Some(expected));
        assert_eq!(seen.header("tracestate"), Some("vendor=1"));
        assert_eq!(seen.header("idempotency-key"), Some("run_node__1"));
        assert!(seen.header("user-agent").unwrap().starts_with("skein/"));
        assert_eq!(seen.header("content-type"), Some("application/json"));
    }
    let host = server.address;
    assert_eq!(
        *recorder.0.lock().unwrap(),
        [
            format!("POST http://{host}/proxy/v1/chat/completions Some(400) None"),
            format!("POST http://{host}/proxy/v1/messages Some(400) None"),
            format!(
                "POST http://{host}/proxy/v1/models/m-1:streamGenerateContent?alt=sse Some(400) None"
            ),
        ]
    );
}

#[tokio::test]
async fn failures_beyond_the_status_are_watched_with_their_words() {
    let recorder = Arc::new(Recorder::default());
    let server = Server::start(|_| streamed("data: no\n\n")).await;
    let at = provider(WireFormat::OpenAi, &server.url(""), Arc::clone(&recorder) as _);
    chat(&at, &request()).await.0.unwrap_err();
    drop(server);
    let [line] = recorder.0.lock().unwrap().clone().try_into().unwrap();
    assert!(line.ends_with("Some(200) Some(\"malformed_answer\")"), "{line}");
}

#[tokio::test]
async fn a_server_without_keys_is_shown_none() {
    let server = Server::start(|_| axum::http::StatusCode::NOT_FOUND).await;
    for wire in WireFormat::ALL {
        let settings = ProviderSettings::at("it", wire, &server.url("")).unwrap();
        let settings = ModelSettings { providers: vec![settings] };
        let providers = Providers::new(&settings, &(Arc::new(Unobserved) as _)).unwrap();
        chat(providers.get("it").unwrap(), &request()).await.0.unwrap_err();
    }
    for seen in server.seen() {
        let shown = ["authorization", "x-api-key", "x-goog-api-key"].map(|name| seen.header(name));
        assert_eq!(shown, [None; 3]);
    }
}

#[test]
fn more_bytes_are_reckoned_than_are_sent_and_nothing_shows_the_key() {
    for wire in WireFormat::ALL {
        let at = provider(wire, "http://127.0.0.1:9", Arc::new(Unobserved));
        let plain = at.model.request_bytes(&request());
        let text = "é\u{0}\"".repeat(1_000);
        let long = ChatRequest { messages: vec![Message::User(text.clone())], ..request() };
        assert!(at.model.request_bytes(&long) >= plain + text.len() - "hello".len());
        let tools = ChatRequest { tools: vec![tool("find")], ..request() };
        let schema = ChatRequest { schema: Some(json!({"type": "object"})), ..request() };
        for more in [tools, schema] {
            assert!(at.model.request_bytes(&more) > plain + 1_000);
        }
        assert!(!format!("{at:?}").contains("s3cret"));
    }
}

#[tokio::test]
async fn a_request_that_is_too_large_is_not_sent() {
    let server = Server::start(|_| "").await;
    let at = provider(WireFormat::OpenAi, &server.url(""), Arc::new(Unobserved));
    let large = ChatRequest { system: Some("x".repeat(9 * 1024 * 1024)), ..request() };
    let error = chat(&at, &large).await.0.unwrap_err();
    assert_eq!(
        (error.code, error.billing, server.seen().len()),
        ("invalid_request", Billing::Nothing, 0)
    );
}

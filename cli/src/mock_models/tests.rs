//! The server, asked by the adapters that it is for.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use skein_shared::domain::ids::{ActivationKey, RunId, VersionId};
use skein_shared::domain::run::{RunHeader, RunTrace};
use skein_shared::domain::tenant::Identity;
use skein_shared::domain::trace::SAMPLED;
use skein_worker::egress::{Origin, Unobserved};
use skein_worker::mask::Masker;
use skein_worker::models::{
    Call, CallError, ChatReply, ChatRequest, ErrorClass, Message, ModelSettings, Providers,
    ToolCall, ToolSpec,
};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;

const NAMES: [&str; 3] = ["openai", "anthropic", "google"];

fn origin() -> Origin {
    let trace = RunTrace {
        trace: "4bf92f3577b34da6a3ce929d0e0e4736".parse().unwrap(),
        publish: "00f067aa0ba902b7".parse().unwrap(),
        root: "00f067aa0ba902b8".parse().unwrap(),
        flags: SAMPLED,
        state: None,
    };
    let run = RunHeader {
        id: RunId::generate(),
        identity: Identity::new("org", "space", "user"),
        version_id: VersionId::generate(),
        workflow: "digest".into(),
        version: 1,
        input: "null".into(),
        step_mode: false,
        node_count: 1,
        edge_count: 0,
        created_at: "2030-01-31T12:00:00Z".parse().unwrap(),
        trace: trace.clone(),
    };
    let key = ActivationKey::root(run.id, "ask");
    let span = trace.context_of("00f067aa0ba902b9".parse().unwrap());
    Origin { span, run: Arc::new(run), key, resends: 0, masker: Masker::default() }
}

fn request(text: &str) -> ChatRequest {
    ChatRequest {
        model: "gemini-2.5-flash".to_owned(),
        system: None,
        messages: vec![Message::User(text.to_owned())],
        tools: vec![],
        schema: None,
        max_tokens: 100,
        temperature: None,
        top_p: None,
        seed: None,
        stop: vec![],
    }
}

/// A server, and providers that it plays.
struct Played {
    providers: Providers,
    watch: Watch,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Played {
    async fn start(script: &str) -> Self {
        let mock = MockModels::new(script.parse().unwrap()).await.unwrap();
        let settings = ModelSettings::default().mocked(mock.address());
        let providers = Providers::new(&settings, &(Arc::new(Unobserved) as _)).unwrap();
        let (watch, stop, tasks) = (mock.watch(), CancellationToken::new(), TaskTracker::new());
        tasks.spawn(mock.serve(stop.clone()));
        Self { providers, watch, stop, tasks }
    }

    async fn ask(&self, provider: &str, request: &ChatRequest) -> Result<ChatReply, CallError> {
        self.ask_as(provider, request, "key").await
    }

    async fn ask_as(
        &self,
        provider: &str,
        request: &ChatRequest,
        key: &str,
    ) -> Result<ChatReply, CallError> {
        let (origin, cancelled) = (origin(), CancellationToken::new());
        let call = Call {
            origin: &origin,
            idempotency_key: key,
            first_token_timeout: Duration::from_secs(20),
            timeout: Duration::from_secs(20),
            deltas: None,
            cancelled: &cancelled,
        };
        self.providers.get(provider).unwrap().model.chat(request, &call).await
    }

    async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

#[tokio::test]
async fn replies_are_chosen_by_what_is_asked_and_counted_as_the_script_says() {
    let played = Played::start(
        r"
replies:
  - { when: { contains: weather, turn: 0 }, reply: { text: let me see, tool_calls: [{ name: look, arguments: { q: 1 } }, { name: look, arguments: 'no json' }] } }
  - { when: { tool_result: look }, reply: { text: sunny, usage: { input_tokens: 7, output_tokens: 3, cached_tokens: 2 } } }
  - { when: { model: 'gpt-*' }, reply: { text: a gpt } }
  - { when: { contains: count }, reply: { text: éé, usage: bytes } }
  - { when: { contains: silent }, reply: { text: hm, usage: none } }
  - { when: { contains: odd }, reply: { escaped_text: 'a\u0000\ud800b' } }
",
    )
    .await;
    for name in NAMES {
        let ask = request("the weather?");
        let reply = played.ask(name, &ask).await.unwrap();
        assert_eq!(reply.text, "let me see");
        let calls: Vec<_> = reply.tool_calls.iter().map(|it| it.arguments.as_str()).collect();
        assert_eq!(
            (calls, reply.finish_reason.as_str()),
            (vec!["{\"q\":1}", "no json"], "tool_calls")
        );

        let answers = reply.tool_calls.iter().map(|call: &ToolCall| Message::ToolResult {
            call_id: call.id.clone(),
            name: call.name.clone(),
            content: "sun".to_owned(),
            is_error: false,
        });
        let mut messages = ask.messages.clone();
        messages.push(Message::Assistant {
            text: reply.text.clone(),
            tool_calls: reply.tool_calls.clone(),
        });
        messages.extend(answers);
        let tools = vec![ToolSpec {
            name: "look".to_owned(),
            description: String::new(),
            parameters: json!({}),
        }];
        let reply = played.ask(name, &ChatRequest { messages, tools, ..ask }).await.unwrap();
        let usage = reply.usage.unwrap();
        assert_eq!(
            (reply.text.as_str(), usage.input_tokens, usage.cached_tokens, usage.output_tokens),
            ("sunny", 7, 2, 3),
            "{name}"
        );

        let gpt = ChatRequest { model: "gpt-4o".to_owned(), ..request("hi") };
        assert_eq!(played.ask(name, &gpt).await.unwrap().text, "a gpt");
        let usage = played.ask(name, &request("count me")).await.unwrap().usage.unwrap();
        let bytes = played.watch.requests().last().unwrap().bytes as u64;
        assert_eq!((usage.input_tokens, usage.output_tokens), (bytes, 4));
        assert_eq!(played.ask(name, &request("silent")).await.unwrap().usage, None);
        assert_eq!(played.ask(name, &request("odd")).await.unwrap().text, "a\u{fffd}\u{fffd}b");
        let error = played.ask(name, &request("what?")).await.unwrap_err();
        let details = error.details.as_deref().unwrap_or_default();
        let said = "has no reply for model `gemini-2.5-flash` at turn 0 after `what?`";
        assert!(details.contains(said), "{error}: {details}");
    }
    let seen = played.watch.requests();
    assert_eq!((played.watch.count(), seen.len()), (21, 21));
    assert!(
        seen.iter().all(|it| it.traceparent.as_deref().is_some_and(|it| it.starts_with("00-4bf9")))
    );
    assert_eq!((seen[0].reply, seen[6].reply, &seen[0].authorization), (Some(0), None, &None));
    played.stop().await;
}

#[tokio::test]
async fn json_is_the_answer_to_a_schema_in_all_formats() {
    let played = Played::start("replies: [{ reply: { json: { n: 1 }, chunks: 3 } }]").await;
    let schema = Some(json!({"type": "object", "properties": {"n": {"type": "integer"}}}));
    for name in NAMES {
        let ask = ChatRequest { schema: schema.clone(), ..request("n?") };
        let reply = played.ask(name, &ask).await.unwrap();
        assert_eq!(
            (reply.text.as_str(), reply.finish_reason.as_str()),
            ("{\"n\":1}", "stop"),
            "{name}"
        );
    }
    played.stop().await;
}

#[tokio::test]
async fn mishaps_happen_as_often_as_the_script_says() {
    let played = Played::start(
        r"
replies:
  - { when: { contains: busy }, times: 2, reply: { status: 429, error: slow down, headers: { Retry-After: '7' } } }
  - { when: { contains: busy }, reply: { text: at last } }
  - { when: { contains: cut }, reply: { text: one two three, cut_after: 2 } }
  - { when: { contains: hang }, reply: { text: one two three, hang_after: 0 } }
  - { when: { contains: large }, reply: { raw: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx, repeat: 1000000 } }
  - { when: { contains: malformed }, reply: { raw: 'data: {' } }
",
    )
    .await;
    for name in NAMES {
        for key in ["a", "b"] {
            let (key, ask) = (format!("{name}-{key}"), request("busy?"));
            for _ in 0..2 {
                let error = played.ask_as(name, &ask, &key).await.unwrap_err();
                assert_eq!((error.status, error.class), (Some(429), ErrorClass::RateLimited));
                assert_eq!(error.retry_after, Some(Duration::from_secs(7)));
                assert_eq!(error.details.as_deref(), Some("slow down"), "{error}");
            }
            assert_eq!(played.ask_as(name, &ask, &key).await.unwrap().text, "at last");
        }
        for (text, code) in [
            ("cut", "interrupted"),
            ("large", "answer_too_large"),
            ("malformed", "malformed_answer"),
        ] {
            assert_eq!(played.ask(name, &request(text)).await.unwrap_err().code, code, "{name}");
        }
        let provider = played.providers.get(name).unwrap();
        let (origin, cancelled) = (origin(), CancellationToken::new());
        let first_token_timeout = Duration::from_millis(200);
        let call = Call {
            origin: &origin,
            idempotency_key: "k",
            first_token_timeout,
            timeout: Duration::from_secs(20),
            deltas: None,
            cancelled: &cancelled,
        };
        let error = provider.model.chat(&request("hang"), &call).await.unwrap_err();
        assert_eq!(error.code, "first_token_timeout");
    }
    played.stop().await;
}

#[test]
fn what_is_wrong_with_a_script_is_reported_with_its_place() {
    let script = r"
replies:
  - { reply: { text: a, json: 1 } }
  - { when: { modle: x }, reply: { text: a } }
  - { reply: { txt: a } }
  - { reply: {} }
  - { when: {} }
  - { reply: { status: 99 } }
  - { reply: { text: a, delay: soon } }
  - { reply: { text: a, headers: { 'a b': c } } }
  - { rply: { text: a } }
other: 1
";
    let error = script.parse::<Script>().unwrap_err().to_string();
    for expected in [
        "/other: unknown field",
        "/replies/0/reply: only one of",
        "/replies/1/when: unknown field `modle`",
        "/replies/2/reply: unknown field `txt`",
        "/replies/3/reply: one of",
        "/replies/4: no reply",
        "/replies/5/reply: a `status`",
        "/replies/6/reply: a duration",
        "/replies/7/reply: `headers`",
        "/replies/8/rply: unknown field",
    ] {
        assert!(error.contains(expected), "{expected} is not in {error}");
    }
    for text in ["", "replies: {}", "replies: [", "[]"] {
        assert!(text.parse::<Script>().is_err(), "{text}");
    }
}

//! Models, against what others have written: the official clients call the mock models, and the worker's adapters call
//! LiteLLM's gateway.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use skein::mock_models::MockModels;
use skein_shared::domain::ids::{ActivationKey, RunId, VersionId};
use skein_shared::domain::run::{RunHeader, RunTrace};
use skein_shared::domain::tenant::Identity;
use skein_shared::domain::trace::SAMPLED;
use skein_tests::stack::{poll, workspace};
use skein_worker::egress::{Origin, Unobserved};
use skein_worker::mask::Masker;
use skein_worker::models::{
    Call, CallError, ChatReply, ChatRequest, Message, ModelSettings, Provider, ProviderSettings,
    Providers, ToolCall, ToolSpec, WireFormat,
};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::registries::from_pypi;

/// How long the gateway may take to listen: some 20 s on an idle machine, which a test machine is not.
const GATEWAY_PATIENCE: Duration = Duration::from_secs(240);
/// How long a call may take.
const CALL_PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_official_clients_accept_the_mock_models() {
    let Some(python) = from_pypi("SKEIN_TEST_MODEL_CLIENTS") else { return };
    let folder = workspace().join("tests/models");
    let mock = MockModels::from_file(&folder.join("clients.yaml")).await.expect("a sound script");
    let (url, watch) = (format!("http://{}", mock.address()), mock.watch());
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    tasks.spawn(mock.serve(stop.clone()));
    let ran =
        Command::new(&python).arg(folder.join("clients.py")).arg(&url).kill_on_drop(true).output();
    let ran = ran.await.unwrap_or_else(|error| panic!("{python}: {error}"));
    let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{out}{err}");
    assert!(out.contains("all clients accept the mock models"), "{out}{err}");
    let requests = watch.requests();
    assert!(requests.iter().all(|request| request.reply.is_some()), "{requests:?}");
    for key in ["Bearer x", "x"] {
        assert!(requests.iter().any(|it| it.authorization.as_deref() == Some(key)), "{key}");
    }
    stop.cancel();
    tasks.close();
    tasks.wait().await;
}

/// LiteLLM's gateway as a process, killed when dropped.
struct Gateway {
    port: u16,
    folder: PathBuf,
    _process: tokio::process::Child,
}

impl Gateway {
    async fn start(program: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free loopback port");
        let port = listener.local_addr().expect("it is bound").port();
        drop(listener);
        let name = format!("skein_litellm_{}", uuid::Uuid::new_v4().simple());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).expect("a directory for temporary files");
        let params = json!({"model": "openai/gpt-4o-mini", "api_key": "x", "mock_response": "the answer is 42"});
        let config =
            json!({"model_list": [{"model_name": "gpt-4o-mini", "litellm_params": params}]});
        // JSON is YAML.
        std::fs::write(folder.join("config.yaml"), config.to_string()).expect("it can be written");
        let output = std::fs::File::create(folder.join("output")).expect("it can be written");
        let process = Command::new(program)
            .args(["--config", "config.yaml", "--host", "127.0.0.1", "--port", &port.to_string()])
            .env("LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY", "true")
            .env_remove("DATABASE_URL")
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a file can be shared"))
            .stderr(output)
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        let gateway = Self { port, folder, _process: process };
        let listens = poll(GATEWAY_PATIENCE, async || {
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()
        });
        assert!(listens.await.is_some(), "{program} does not listen: {}", gateway.output());
        gateway
    }

    fn output(&self) -> String {
        std::fs::read_to_string(self.folder.join("output")).unwrap_or_default()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn origin() -> Origin {
    let trace = RunTrace {
        trace: "4bf92f3577b34da6a3ce929d0e0e4736".parse().expect("a trace"),
        publish: "00f067aa0ba902b7".parse().expect("a span"),
        root: "00f067aa0ba902b8".parse().expect("a span"),
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
        created_at: "2030-01-31T12:00:00Z".parse().expect("a time"),
        trace: trace.clone(),
    };
    let key = ActivationKey::root(run.id, "ask");
    let span = trace.context_of("00f067aa0ba902b9".parse().expect("a span"));
    Origin { span, run: Arc::new(run), key, resends: 0, masker: Masker::default() }
}

/// The reply, and the pieces that it came in.
async fn ask(
    provider: &Provider,
    request: &ChatRequest,
) -> (Result<ChatReply, CallError>, Vec<String>) {
    let pieces = Mutex::new(Vec::new());
    let take = |piece: &str| pieces.lock().expect("nobody panics").push(piece.to_owned());
    let (origin, cancelled) = (origin(), CancellationToken::new());
    let call = Call {
        origin: &origin,
        idempotency_key: "run_ask__1",
        first_token_timeout: CALL_PATIENCE,
        timeout: CALL_PATIENCE,
        deltas: Some(&take),
        cancelled: &cancelled,
    };
    let reply = provider.model.chat(request, &call).await;
    (reply, pieces.into_inner().expect("nobody panics"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_of_somebody_elses_is_understood_in_all_three_formats() {
    if std::env::var("SKEIN_TEST_WITHOUT_LITELLM").is_ok_and(|value| !value.is_empty()) {
        eprintln!("without LiteLLM's gateway, as SKEIN_TEST_WITHOUT_LITELLM says");
        return;
    }
    let Some(program) = from_pypi("SKEIN_TEST_LITELLM") else { return };
    let gateway = Gateway::start(&program).await;
    let url = format!("http://127.0.0.1:{}", gateway.port);
    let of = |wire: WireFormat| {
        let settings = ProviderSettings::at(wire.as_str(), wire, &url).expect("a URL");
        ProviderSettings { key: "sk-test".parse().ok(), ..settings }
    };
    let settings = ModelSettings { providers: WireFormat::ALL.into_iter().map(of).collect() };
    let providers = Providers::new(&settings, &(Arc::new(Unobserved) as _)).expect("TLS is set up");
    let plain = ChatRequest {
        model: "gpt-4o-mini".to_owned(),
        system: Some("be brief".to_owned()),
        messages: vec![Message::User("what is the answer?".to_owned())],
        tools: vec![],
        schema: None,
        max_tokens: 100,
        temperature: Some(0.5),
        top_p: None,
        seed: None,
        stop: vec![],
    };
    let call = ToolCall {
        id: "call_1".to_owned(),
        name: "look".to_owned(),
        arguments: "{\"q\":1}".to_owned(),
        signature: None,
    };
    let tool = ToolSpec {
        name: "look".to_owned(),
        description: "Looks it up.".to_owned(),
        parameters: json!({"type": "object", "properties": {"q": {"type": "integer"}}}),
    };
    let result = Message::ToolResult {
        call_id: "call_1".to_owned(),
        name: "look".to_owned(),
        content: "42".to_owned(),
        is_error: false,
    };
    let said = Message::Assistant { text: "let me see".to_owned(), tool_calls: vec![call] };
    let messages = plain.messages.iter().cloned().chain([said, result]).collect();
    let with_tools = ChatRequest { messages, tools: vec![tool], ..plain.clone() };
    for provider in providers.iter() {
        let name = &provider.name;
        for request in [&plain, &with_tools] {
            let (reply, pieces) = ask(provider, request).await;
            let reply =
                reply.unwrap_or_else(|error| panic!("{name}: {error:?}\n{}", gateway.output()));
            assert_eq!(reply.text, "the answer is 42", "{name}");
            assert_eq!(
                (pieces.concat(), reply.finish_reason.as_str()),
                (reply.text, "stop"),
                "{name}"
            );
            assert!(reply.usage.is_none_or(|usage| usage.output_tokens > 0), "{name}");
            assert!(reply.time_to_first_token.is_some(), "{name}");
        }
        let unknown = ChatRequest { model: "no-such-model".to_owned(), ..plain.clone() };
        let error = ask(provider, &unknown).await.0.expect_err("there is no such model");
        assert!(error.status.is_some_and(|status| status >= 400), "{name}: {error:?}");
    }
}

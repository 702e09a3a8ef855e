//! The node over a journal in memory, a model that answers by a script, and real tools.

mod crashes;
mod limits;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::journal::Begun;
use async_trait::async_trait;
use serde_json::{Value, json};
use skein_shared::domain::step::StepStatus;

use super::super::executors::read;
use super::*;
use crate::egress::test_server::Server;
use crate::egress::{AllowRule, EgressConfig};
use crate::models::{
    Call, CallError, ChatModel, ChatReply, ChatRequest, Message, Provider, ToolCall, WireFormat,
};
use crate::nodes::sample_context;
use crate::steps::test_doubles::{FakeJournal, reply};

/// A model that says its lines in order, by how many it has said in the conversation: asked again, it says the same.
struct Scripted {
    lines: Vec<ChatReply>,
    /// What it says first.
    refusals: Mutex<Vec<CallError>>,
    asked: Mutex<Vec<ChatRequest>>,
}

#[async_trait]
impl ChatModel for Scripted {
    async fn chat(&self, request: &ChatRequest, _: &Call<'_>) -> Result<ChatReply, CallError> {
        self.asked.lock().unwrap().push(request.clone());
        if let Some(refusal) = self.refusals.lock().unwrap().pop() {
            return Err(refusal);
        }
        let said = request.messages.iter().filter(|it| matches!(it, Message::Assistant { .. }));
        Ok(self.lines[said.count().min(self.lines.len() - 1)].clone())
    }

    fn request_bytes(&self, _: &ChatRequest) -> usize {
        1_000
    }
}

fn says(text: &str) -> ChatReply {
    reply(text)
}

/// An answer that calls tools with these arguments.
fn calls(calls: &[(&str, &str)]) -> ChatReply {
    let call = |(at, (name, arguments)): (usize, &(&str, &str))| ToolCall {
        id: format!("call_{at}_{name}"),
        name: (*name).to_owned(),
        arguments: (*arguments).to_owned(),
        signature: None,
    };
    let tool_calls = calls.iter().enumerate().map(call).collect();
    ChatReply { tool_calls, finish_reason: "tool_calls".to_owned(), ..reply("let me see") }
}

/// An agent, the journal of its activation, its model and the server of its tools.
struct Scene {
    context: NodeContext,
    journal: FakeJournal,
    model: Arc<Scripted>,
    server: Server,
    /// What may be reached.
    rules: String,
    params: Value,
}

impl Scene {
    /// One whose model says these lines. Its tools are `look`, which is safe to repeat, and `order`, which is not.
    async fn new(changed: Value, lines: impl IntoIterator<Item = ChatReply>) -> Self {
        let server = Server::start(|seen| format!("{} {}", seen.method, seen.uri)).await;
        let base = server.url("");
        let parameters = json!({ "type": "object", "properties": { "q": { "type": "string" } }, "required": ["q"] });
        let mut params = json!({
            "framework": "react", "goal": "win", "model": "gpt-4o-mini", "max_tokens": 1_000,
            "tools": [
                { "http": { "name": "look", "description": "looks", "parameters": parameters,
                            "url": format!("{base}/look/{{{{ args.q }}}}") } },
                { "http": { "name": "order", "description": "orders", "parameters": parameters, "method": "POST",
                            "url": format!("{base}/order/{{{{ args.q }}}}"), "idempotency_key": false } },
            ],
            "limits": { "iterations": 20, "wall_ms": 3_600_000 },
            "approve": [], "approval_timeout_ms": 3_600_000, "on_exhausted": "stop",
        });
        for (name, value) in changed.as_object().unwrap() {
            params[name] = value.clone();
        }
        Self {
            context: NodeContext { timeout: Duration::from_secs(90_000), ..sample_context() },
            journal: FakeJournal::default(),
            model: Arc::new(Scripted {
                lines: lines.into_iter().collect(),
                refusals: Mutex::default(),
                asked: Mutex::default(),
            }),
            rules: server.rule(),
            server,
            params,
        }
    }

    fn agent(&self) -> Agent {
        let provider = Provider {
            name: "openai".into(),
            shown: "openai".into(),
            wire: WireFormat::OpenAi,
            model: Arc::clone(&self.model) as Arc<dyn ChatModel>,
            semconv_name: "openai".into(),
            server_address: "models.example".into(),
            server_port: 443,
            requests_per_minute: None,
            tokens_per_minute: None,
        };
        let allow = AllowRule::parse_list(&self.rules).unwrap();
        let egress = Egress::new(&EgressConfig { allow, ..EgressConfig::default() }).unwrap();
        Agent::new(egress, Evaluator::new(), ModelCaller::of([provider]))
    }

    async fn attempt(&self) -> Result<Outcome, NodeError> {
        let params = read(self.params.clone())?;
        self.agent().execute(&self.context, &self.journal, params).await
    }

    async fn output(&self) -> Value {
        match self.attempt().await {
            Ok(Outcome::Done(done)) => done.output,
            other => panic!("{other:?}"),
        }
    }

    async fn wait(&self) -> Value {
        match self.attempt().await {
            Ok(Outcome::Wait(wait)) => wait.to_json(),
            other => panic!("{other:?}"),
        }
    }

    async fn failure(&self) -> (String, bool) {
        let error = self.attempt().await.unwrap_err();
        (error.failure.code.to_string(), error.retryable)
    }

    /// The requests that tools have made, without the scheme and host.
    fn requests(&self) -> Vec<String> {
        self.server.seen().iter().map(|seen| format!("{} {}", seen.method, seen.uri)).collect()
    }

    /// The last results of tools that the model was shown, with whether they are errors.
    fn shown(&self) -> Vec<(String, bool)> {
        let asked = self.model.asked.lock().unwrap();
        let messages = asked.last().unwrap().messages.iter();
        let results = messages.filter_map(|message| match message {
            Message::ToolResult { content, is_error, .. } => Some((content.clone(), *is_error)),
            _ => None,
        });
        results.collect()
    }
}

#[tokio::test]
async fn tools_are_called_in_order_and_each_call_is_a_step() {
    let lines = [
        calls(&[("look", r#"{"q":"a"}"#), ("order", r#"{"q":"b"}"#), ("look", r#"{"q":"a"}"#)]),
        says("done"),
    ];
    let scene = Scene::new(json!({}), lines).await;
    let output = scene.output().await;
    assert_eq!(scene.requests(), ["GET /look/a", "POST /order/b", "GET /look/a"]);
    let usage = json!({
        "input_tokens": 200, "output_tokens": 40, "cached_tokens": 0, "total_tokens": 240,
    });
    assert_eq!(
        (&output["answer"], &output["iterations"], &output["steps"], &output["usage"]),
        (&json!("done"), &json!(2), &json!(5), &usage)
    );
    assert_eq!(output["stopped_by"], "answer");
    assert!(output["cost_usd"].as_f64().unwrap() > 0.0);
    let body = |text: &str| (json!({ "status": 200, "body": text }).to_string(), false);
    let shown = [body("GET /look/a"), body("POST /order/b"), body("GET /look/a")];
    assert_eq!(scene.shown(), shown);
    let steps = scene.journal.steps();
    let names: Vec<_> = steps.iter().map(|step| (&*step.name, step.kind.as_str())).collect();
    let model = ("gpt-4o-mini", "model");
    assert_eq!(names, [model, ("look", "tool"), ("order", "tool"), ("look", "tool"), model]);
    assert!(steps.iter().all(|step| step.status == StepStatus::Succeeded));
    assert_eq!(steps[1].arguments.as_deref(), Some(r#"{"q":"a"}"#));
    assert_eq!(
        scene.journal.events(),
        [
            "llm.called",
            "agent.step",
            "tool.called",
            "tool.called",
            "tool.called",
            "llm.called",
            "agent.step"
        ]
    );
    let log = scene.journal.log_text();
    assert!(!log.contains("/look/a") && !log.contains("done\""), "{log}");
}

#[tokio::test]
async fn nothing_but_the_tools_in_the_list_is_called() {
    // What a page that somebody has prepared makes the model say.
    let lines = [
        calls(&[("delete_everything", "{}"), ("look", r#"{"q":"a"}"#)]),
        calls(&[("look", "{"), ("look", r#"{"q":7}"#)]),
        calls(&[("finish", "{}")]),
        calls(&[("finish", r#"{"answer":"no"}"#), ("look", r#"{"q":"late"}"#)]),
    ];
    let scene = Scene::new(json!({}), lines).await;
    let output = scene.output().await;
    assert_eq!((&output["answer"], &output["stopped_by"]), (&json!("no"), &json!("finish")));
    assert_eq!(scene.requests(), ["GET /look/a"]);
    let shown = scene.shown();
    assert!(shown[0].0.contains("no tool delete_everything") && shown[0].1);
    assert!(!shown[1].1);
    assert!(shown[2..].iter().all(|(_, is_error)| *is_error), "{shown:?}");
    let denied = scene.journal.events().iter().filter(|event| **event == "tool.denied").count();
    assert_eq!(denied, 1);
}

#[tokio::test]
async fn a_call_waits_for_a_decision_and_is_made_once_it_is_allowed() {
    let lines = [calls(&[("look", r#"{"q":"a"}"#), ("order", r#"{"q":"b"}"#)]), says("done")];
    let scene = Scene::new(json!({ "approve": ["order"] }), lines).await;
    let waiting_for = json!({
        "type": "decision", "step": 3, "tool": "order", "arguments": { "q": "b" },
    });
    assert_eq!(scene.wait().await, waiting_for);
    // Woken by something else.
    assert_eq!(scene.wait().await, waiting_for);
    assert_eq!(scene.requests(), ["GET /look/a"]);
    scene.journal.set_status(3, StepStatus::Approved);
    assert_eq!(scene.output().await["stopped_by"], "answer");
    assert_eq!(scene.requests(), ["GET /look/a", "POST /order/b"]);
    assert_eq!(scene.model.asked.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn what_is_forbidden_is_not_called_and_the_model_reads_so() {
    let lines = [calls(&[("order", r#"{"q":"b"}"#)]), says("then not")];
    let scene = Scene::new(json!({ "approve": ["order"] }), lines.clone()).await;
    scene.wait().await;
    scene.journal.set_status(2, StepStatus::Denied);
    let output = scene.output().await;
    assert_eq!((&output["answer"], &output["stopped_by"]), (&json!("then not"), &json!("denied")));
    assert!(scene.shown()[0].0.starts_with("the call was not allowed") && scene.shown()[0].1);
    assert_eq!(scene.requests(), [] as [String; 0]);
    assert!(scene.journal.events().contains(&"tool.denied"));

    // Forbidden, or run out, between what was read and what is written.
    let scene = Scene::new(json!({ "approve": ["order"] }), lines).await;
    scene.wait().await;
    let over = Begun::Over(StepStatus::Denied);
    scene.journal.answer([Some(over)]);
    // What is recorded still says that it waits: it is played back, and asked about once more.
    assert_eq!(scene.wait().await["type"], "decision");
    scene.journal.set_status(2, StepStatus::Denied);
    assert_eq!(scene.output().await["stopped_by"], "denied");
    assert_eq!(scene.requests(), [] as [String; 0]);
}

#[tokio::test]
async fn frameworks_end_as_they_end() {
    let lines = [says("[\"one\"]"), says("found"), says("[]"), says("summed up")];
    // In this framework most requests begin anew, so the model says by what it is asked.
    let scene = Scene::new(json!({ "framework": "autogpt" }), lines).await;
    let output = scene.output().await;
    assert_eq!((&output["answer"], &output["iterations"]), (&json!("summed up"), &json!(5)));
}

#[test]
fn the_record_holds_no_credentials_of_tools() {
    let agent = Agent::new(
        Egress::new(&EgressConfig::default()).unwrap(),
        Evaluator::new(),
        ModelCaller::default(),
    );
    let params = json!({ "tools": [
        { "http": { "url": "https://h/?api_key=HUSH-1", "headers": { "Authorization": "Bearer HUSH-2" } } },
        { "mcp": { "url": "https://u:HUSH-3@h/", "headers": { "X-Api-Key": "HUSH-4" } } },
        "odd",
    ] });
    let shown = agent.shown(&params).unwrap().to_string();
    assert!(!shown.contains("HUSH") && shown.contains("https://"), "{shown}");
}

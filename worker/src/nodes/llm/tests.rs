//! The node over a journal in memory and models that answer by a script.
#![expect(clippy::needless_pass_by_value, reason = "values are written where they are passed")]

mod structured;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use skein_shared::document::nests_within;
use skein_shared::domain::budget::{BudgetPeriod, Exhausted, OnExhausted, Resource};
use skein_shared::domain::limits::OUTPUT_BYTES_MAX;
use skein_shared::domain::money::NanoDollars;
use skein_shared::domain::outcome::WaitFor;
use skein_shared::domain::step::StepStatus::{Failed, Lost, Refused, Started, Succeeded};

use structured::with_schema;

use super::super::executors::read;
use super::*;
use crate::journal::STEP_RESULT_BYTES_MAX;
use crate::models::ErrorClass::{Cut, RateLimited, Refused as Malformed, Timeout, Unavailable};
use crate::models::{
    CallError, ChatReply, ErrorClass, SCHEMA_TEXT_BYTES_MAX, TEXT_BYTES_MAX, ToolCall,
};
use crate::nodes::sample_context;
use crate::steps::test_doubles::{Begun, FakeJournal, Line, ScriptedModel, error, reply};

fn says(text: &str) -> Line {
    Line::Reply(reply(text))
}

fn fails(code: &'static str, class: ErrorClass) -> Line {
    Line::Error(error(code, class))
}

fn refuses(retry_after: Option<u64>) -> Line {
    let retry_after = retry_after.map(Duration::from_secs);
    Line::Error(CallError { retry_after, ..error("rate_limited", RateLimited) })
}

/// A node, the journal of its activation, and the models that it may ask.
struct Scene {
    context: NodeContext,
    journal: FakeJournal,
    model: Arc<ScriptedModel>,
    node: Llm,
    params: Value,
}

/// One provider with a price, and one without.
fn scene(params: Value, script: impl IntoIterator<Item = Line>) -> Scene {
    let model = ScriptedModel::new(script);
    let models = ModelCaller::of([model.provider("openai"), model.provider("ollama")]);
    let mut all = json!({
        "provider": "openai", "model": "gpt-4o-mini", "prompt": "What?", "max_tokens": 1_000, "stream": false,
    });
    for (name, value) in params.as_object().unwrap() {
        all[name] = value.clone();
    }
    if all.get("messages").is_some() {
        all.as_object_mut().unwrap().remove("prompt");
    }
    Scene {
        context: NodeContext { timeout: Duration::from_secs(600), ..sample_context() },
        journal: FakeJournal::default(),
        model,
        node: Llm::new(models),
        params: all,
    }
}

impl Scene {
    async fn attempt(&self) -> Result<Outcome, NodeError> {
        let params = read(self.params.clone())?;
        self.node.execute(&self.context, &self.journal, params).await
    }

    /// An attempt whose worker dies while the model is silent.
    async fn attempt_that_dies(&self) {
        tokio::select! {
            outcome = self.attempt() => panic!("{outcome:?}"),
            () = self.model.hangs.notified() => {}
        }
    }

    async fn output(&self) -> Value {
        match self.attempt().await {
            Ok(Outcome::Done(done)) => done.output,
            other => panic!("{other:?}"),
        }
    }

    async fn failure(&self) -> NodeError {
        self.attempt().await.unwrap_err()
    }

    async fn wait(&self) -> WaitFor {
        match self.attempt().await {
            Ok(Outcome::Wait(wait)) => wait,
            other => panic!("{other:?}"),
        }
    }

    /// The node is taken up again after that wait.
    fn waited(&mut self, wait: &WaitFor) {
        self.context.waited_for = Some(wait.to_json());
    }
}

/// 100 tokens at $0.15 and 20 at $0.60 a million.
const COST: f64 = 0.000_027;
/// 1,000 tokens at $0.15 and 1,000 at $0.60 a million: what is reserved.
const RESERVED: f64 = 0.000_75;

#[tokio::test]
async fn an_answer_is_the_output_with_what_it_took() {
    let scene = scene(json!({"system": "Be brief."}), [says("42")]);
    assert_eq!(
        scene.output().await,
        json!({
            "text": "42",
            "usage": {"input_tokens": 100, "output_tokens": 20, "cached_tokens": 0, "total_tokens": 120},
            "cost_usd": COST,
            "finish_reason": "stop",
            "model": "gpt-4o-mini",
            "provider": "openai",
        })
    );
    assert_eq!(scene.journal.statuses(), [(1, 1, Succeeded)]);
    assert_eq!(scene.journal.events(), ["llm.called"]);
    assert_eq!(scene.journal.writes(), 2);
    let (request, key) = scene.model.requests().remove(0);
    assert_eq!((request.system.as_deref(), request.max_tokens), (Some("Be brief."), 1_000));
    assert_eq!(key, format!("{}_fetch__1", scene.context.run.id));
    // Prompts and answers stand in the journal only.
    let log = scene.journal.log_text();
    assert!(!log.contains("What?") && !log.contains("42\""), "{log}");
}

#[tokio::test]
async fn messages_go_on_a_conversation() {
    let messages = json!([
        {"role": "system", "content": "a"},
        {"role": "user", "content": {"n": 1}},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]);
    let scene = scene(json!({"messages": messages, "system": "s"}), [says("d")]);
    scene.output().await;
    let (request, _) = scene.model.requests().remove(0);
    assert_eq!(request.system.as_deref(), Some("s\n\na"));
    let assistant = Message::Assistant { text: "b".to_owned(), tool_calls: vec![] };
    let expected =
        [Message::User("{\"n\":1}".to_owned()), assistant, Message::User("c".to_owned())];
    assert_eq!(request.messages, expected);
}

#[tokio::test]
async fn nothing_is_asked_without_a_provider() {
    for (provider, says) in [
        (
            json!(null),
            "this worker has the model providers `ollama`, `openai`: name one as `provider`",
        ),
        (json!("groq"), "set OPENAI_API_KEY"),
    ] {
        let scene = scene(json!({"provider": provider}), []);
        let failed = scene.failure().await;
        assert_eq!(&*failed.failure.code, "no_provider");
        assert!(failed.failure.message.contains(says), "{}", failed.failure.message);
        assert!(!failed.retryable);
    }
    let scene = Scene { node: Llm::new(ModelCaller::default()), ..scene(json!({}), []) };
    assert!(scene.failure().await.failure.message.contains("OPENAI_API_KEY"));
    // Nor when it is a fallback that lacks one.
    let scene = self::scene(json!({"fallback": [{"provider": "groq", "model": "m"}]}), []);
    assert_eq!(&*scene.failure().await.failure.code, "no_provider");
    assert_eq!(scene.journal.writes(), 0);
}

#[tokio::test]
async fn a_call_that_was_under_way_in_a_crash_is_repeated_once_under_its_key_and_both_are_counted()
{
    let scene = scene(json!({}), [Line::Hang, says("42")]);
    scene.attempt_that_dies().await;
    assert_eq!(scene.journal.statuses(), [(1, 1, Started)]);
    let output = scene.output().await;
    assert_eq!(scene.journal.statuses(), [(1, 1, Lost), (1, 2, Succeeded)]);
    let keys: Vec<_> = scene.model.requests().into_iter().map(|(_, key)| key).collect();
    assert_eq!(keys[0], keys[1]);
    assert_eq!(output["cost_usd"], json!(COST + RESERVED));
}

/// A byte may be a token, and mostly is less.
#[tokio::test]
async fn a_call_that_may_be_long_is_reserved_as_such_and_paid_as_what_its_provider_counted() {
    let model = json!({"model": "gpt-5.4", "prompt": "x".repeat(300_000)});
    let scene = scene(model, [Line::Hang, says("42")]);
    scene.attempt_that_dies().await;
    scene.output().await;
    let costs: Vec<_> = scene.journal.steps().iter().filter_map(|step| step.cost).collect();
    // 300,000 tokens at $5 and 1,000 at $22.50 a million; 100 at $2.50 and 20 at $15.
    assert_eq!(costs, [NanoDollars(1_522_500_000), NanoDollars(550_000)]);
}

#[tokio::test]
async fn an_answer_that_was_recorded_is_not_asked_for_again() {
    let scene = scene(json!({}), [says("42")]);
    let first = scene.output().await;
    // The worker died before the node's end was committed.
    assert_eq!(scene.output().await, first);
    assert_eq!(scene.model.calls(), 1);
    assert_eq!(scene.journal.writes(), 2);
}

#[tokio::test]
async fn tool_calls_and_the_model_that_answered_survive_a_crash() {
    let call = ToolCall {
        id: "c1".to_owned(),
        name: "search".to_owned(),
        arguments: "{\"q\": 1".to_owned(),
        signature: Some("sig".to_owned()),
    };
    let mut answer = reply("Let me see.");
    answer.tool_calls = vec![call];
    answer.model = Some("gpt-4o-mini-2024-07-18".to_owned());
    answer.finish_reason = "tool_calls".to_owned();
    let tools = json!([{"name": "search"}]);
    let scene = scene(json!({"tools": tools, "schema": {"type": "object"}}), [Line::Reply(answer)]);
    let first = scene.output().await;
    // What is no JSON stays the text that it was.
    let calls = json!([{"id": "c1", "name": "search", "arguments": "{\"q\": 1"}]);
    assert_eq!((&first["tool_calls"], &first["model"]), (&calls, &json!("gpt-4o-mini-2024-07-18")));
    assert_eq!(scene.output().await, first);
    assert_eq!(scene.journal.steps()[0].thought.as_deref(), Some("Let me see."));
    assert!(scene.journal.steps()[0].observation.as_deref().unwrap().contains("\"sig\""));
}

#[tokio::test]
async fn a_worker_that_has_lost_the_node_sends_nothing_and_fails_the_attempt() {
    let scene = scene(json!({}), [says("42")]);
    scene.journal.fence_after(0);
    let failed = scene.failure().await;
    assert_eq!((&*failed.failure.code, scene.model.calls()), ("journal", 0));
    // Between intent and result: the next one asks again.
    scene.journal.fence_after(1);
    assert_eq!(&*scene.failure().await.failure.code, "journal");
    scene.journal.unfence();
    scene.model.go_on([says("43")]);
    assert_eq!(scene.output().await["text"], "43");
    assert_eq!(scene.journal.statuses(), [(1, 1, Lost), (1, 2, Succeeded)]);
}

#[tokio::test]
async fn a_model_without_a_price_costs_null_and_is_not_asked_where_money_is_limited() {
    let scene = scene(json!({"provider": "ollama", "model": "llama"}), [says("42")]);
    assert_eq!(scene.output().await["cost_usd"], Value::Null);
    let scene = self::scene(json!({"provider": "ollama", "model": "llama"}), []);
    scene.journal.answer([Some(Begun::PriceUnknown)]);
    let failed = scene.failure().await.failure;
    assert_eq!(&*failed.code, "price_unknown");
    assert!(failed.message.contains("SKEIN_MODEL_PRICES"), "{}", failed.message);
}

#[tokio::test]
async fn other_models_are_asked_in_their_order_where_one_does_not_answer() {
    let fallback = json!([{"model": "gpt-4o"}, {"provider": "ollama", "model": "llama"}]);
    let script = [fails("connect", Unavailable), fails("interrupted", Cut), says("42")];
    let scene = scene(json!({"fallback": fallback}), script);
    let output = scene.output().await;
    assert_eq!((&output["provider"], &output["model"]), (&json!("ollama"), &json!("llama")));
    assert_eq!(output["cost_usd"], Value::Null);
    let asked: Vec<_> =
        scene.model.requests().into_iter().map(|(request, _)| request.model).collect();
    assert_eq!(asked, ["gpt-4o-mini", "gpt-4o", "llama"]);
    assert_eq!(scene.journal.statuses(), [(1, 1, Failed), (2, 1, Failed), (3, 1, Succeeded)]);
    // The failure of a step and the intent of the next one are one write.
    assert_eq!(scene.journal.writes(), 4);
    assert_eq!(scene.output().await, output);
    assert_eq!(scene.model.calls(), 3);
}

#[tokio::test]
async fn a_crash_between_two_models_goes_on_with_the_second() {
    let script = [fails("provider_unavailable", Unavailable), Line::Hang, says("42")];
    let scene = scene(json!({"fallback": [{"model": "gpt-4o"}]}), script);
    scene.attempt_that_dies().await;
    assert_eq!(scene.journal.statuses(), [(1, 1, Failed), (2, 1, Started)]);
    assert_eq!(scene.output().await["text"], "42");
    assert_eq!(scene.journal.statuses(), [(1, 1, Failed), (2, 1, Lost), (2, 2, Succeeded)]);
}

#[tokio::test]
async fn another_attempt_of_the_node_asks_all_models_anew() {
    let fallback = json!([{"model": "gpt-4o"}]);
    let script = [
        fails("provider_unavailable", Unavailable),
        fails("timeout", Timeout),
        fails("provider_unavailable", Unavailable),
        says("42"),
    ];
    let scene = scene(json!({"fallback": fallback}), script);
    let failed = scene.failure().await;
    assert_eq!((&*failed.failure.code, failed.retryable), ("timeout", true));
    assert_eq!(scene.output().await["text"], "42");
    let statuses = [(1, 1, Failed), (2, 1, Failed), (3, 1, Failed), (4, 1, Succeeded)];
    assert_eq!(scene.journal.statuses(), statuses);
    let asked: Vec<_> =
        scene.model.requests().into_iter().map(|(request, _)| request.model).collect();
    assert_eq!(asked, ["gpt-4o-mini", "gpt-4o", "gpt-4o-mini", "gpt-4o"]);
}

#[tokio::test]
async fn a_request_that_a_provider_finds_malformed_is_made_once() {
    let fallback = json!([{"model": "gpt-4o"}]);
    let scene = scene(json!({"fallback": fallback}), [fails("provider_refused", Malformed)]);
    for _ in 0..2 {
        let failed = scene.failure().await;
        assert_eq!((&*failed.failure.code, failed.retryable), ("provider_refused", false));
    }
    assert_eq!(scene.model.calls(), 1);
    assert_eq!(scene.journal.steps()[0].cost.unwrap().0, 0);
    // A key that is not taken is no fault of the request.
    let scene =
        self::scene(json!({"fallback": fallback}), [fails("provider_auth", Malformed), says("42")]);
    assert_eq!(scene.output().await["model"], "gpt-4o");
}

#[tokio::test]
async fn what_a_provider_says_stays_with_the_step_and_the_node() {
    let echo = CallError {
        details: Some("cannot take: SECRET-PROMPT".into()),
        ..error("provider_refused", Malformed)
    };
    let scene = scene(json!({}), [Line::Error(echo)]);
    for _ in 0..2 {
        let failed = scene.failure().await.failure;
        assert_eq!(failed.details.as_deref(), Some("cannot take: SECRET-PROMPT"));
        assert!(!failed.message.contains("SECRET"), "{failed}");
    }
    assert!(scene.journal.steps()[0].error.as_ref().unwrap().details.is_some());
    assert_eq!(scene.journal.events(), ["llm.failed"]);
    assert!(!scene.journal.log_text().contains("SECRET"), "{}", scene.journal.log_text());
}

#[tokio::test]
async fn what_nobody_has_counted_is_paid_as_reserved() {
    let mut uncounted = reply("42");
    uncounted.usage = None;
    let scene = scene(
        json!({"fallback": [{"model": "gpt-4o-mini"}]}),
        [fails("interrupted", Cut), Line::Reply(uncounted)],
    );
    let output = scene.output().await;
    assert_eq!(output["cost_usd"], json!(2.0 * RESERVED));
    // A thousand of input and a thousand of output each.
    assert_eq!(output["usage"]["total_tokens"], 4_000);
    assert_eq!(output["usage"]["input_tokens"], 2_000);
    // Played back, it is the same.
    assert_eq!(scene.output().await, output);
}

/// As many bytes as are taken of an answer.
#[tokio::test]
async fn the_longest_answer_is_recorded_and_yielded() {
    let text = "\"x\n".repeat(TEXT_BYTES_MAX / 5);
    let answer = scene(json!({}), [says(&text)]);
    for _ in 0..2 {
        assert_eq!(answer.output().await["text"], text);
    }
    assert_eq!((answer.model.calls(), answer.journal.statuses()), (1, vec![(1, 1, Succeeded)]));
    let json = format!("{{\"n\":42,\"x\":[{}0]}}", "\"\",".repeat(SCHEMA_TEXT_BYTES_MAX / 5 - 8));
    let answer = with_schema([says(&json)]);
    let output = answer.output().await;
    assert_eq!(output["json"].to_string(), json);
    assert!(output.to_string().len() < OUTPUT_BYTES_MAX);
}

#[tokio::test]
async fn an_answer_that_no_journal_holds_is_paid_for_and_fails_the_node() {
    let scene = scene(json!({}), [says(&"x".repeat(STEP_RESULT_BYTES_MAX))]);
    for _ in 0..2 {
        let failed = scene.failure().await;
        assert_eq!((&*failed.failure.code, failed.retryable), ("output_too_large", false));
    }
    assert_eq!((scene.model.calls(), scene.journal.statuses()), (1, vec![(1, 1, Failed)]));
    assert!(scene.journal.steps()[0].cost.unwrap().0 > 0);
}

#[tokio::test(start_paused = true)]
async fn a_silent_model_is_given_up_in_time_to_write_that_down() {
    let scene = scene(json!({}), [Line::Hang]);
    let begun = tokio::time::Instant::now();
    let failed = scene.failure().await;
    assert_eq!(&*failed.failure.code, "timeout");
    assert!(begun.elapsed() < Duration::from_secs(600), "{:?}", begun.elapsed());
    assert_eq!(scene.journal.statuses(), [(1, 1, Failed)]);
}

#[tokio::test]
async fn an_attempt_that_is_cancelled_writes_down_what_it_knows() {
    let scene = scene(json!({}), [Line::Hang]);
    let cancelling = async {
        scene.model.hangs.notified().await;
        scene.context.cancelled.cancel();
    };
    let (failed, ()) = tokio::join!(scene.failure(), cancelling);
    assert_eq!(&*failed.failure.code, "cancelled");
    assert_eq!(scene.journal.statuses(), [(1, 1, Failed)]);
}

#[tokio::test]
async fn a_call_in_the_middle_of_which_the_worker_stops_is_another_try_of_the_same_step() {
    let mut scene = scene(json!({}), [Line::Hang, says("42")]);
    let stopping = async {
        scene.model.hangs.notified().await;
        scene.journal.give_back(true);
        scene.context.cancelled.cancel();
    };
    let (failed, ()) = tokio::join!(scene.failure(), stopping);
    assert_eq!(&*failed.failure.code, "cancelled");
    assert_eq!(scene.journal.statuses(), [(1, 1, Lost)]);
    scene.journal.give_back(false);
    scene.context.cancelled = Default::default();
    let output = scene.output().await;
    assert_eq!((&output["text"], &output["cost_usd"]), (&json!("42"), &json!(RESERVED + COST)));
    assert_eq!(scene.journal.statuses(), [(1, 1, Lost), (1, 2, Succeeded)]);
    let keys: Vec<_> = scene.model.requests().into_iter().map(|(_, key)| key).collect();
    assert_eq!(keys[0], keys[1]);
}

#[test]
fn parameters_that_an_expression_got_wrong_are_reported_without_their_values() {
    let right = json!({"model": "m", "max_tokens": 1, "prompt": "x"});
    for (name, value, says) in [
        ("model", json!(""), "`model` must be the name of a model"),
        ("max_tokens", json!(0), "`max_tokens` must be a whole number from 1 to 131072"),
        (
            "max_tokens",
            json!("secret"),
            "`max_tokens` must be a whole number from 1 to 131072, not a string",
        ),
        ("temperature", json!(3), "`temperature` must be a number from 0 to 2"),
        ("top_p", json!([]), "`top_p` must be a number from 0 to 1, not a list"),
        ("messages", json!("secret"), "`messages` must be a list of up to 200 messages"),
        (
            "messages",
            json!([{"role": "secret", "content": ""}]),
            "`messages` must be a list of up to 200",
        ),
        (
            "messages",
            json!(vec![json!({"role": "user", "content": "x"}); 201]),
            "`messages` must be a list",
        ),
        ("tools", json!([{"name": "a b"}]), "`tools` must be a list of up to 128 tools"),
        ("tools", json!([{"name": "a"}, {"name": "a"}]), "a name of its own each"),
        ("stop", json!(["a", "b", "c", "d", "e"]), "`stop` must be a text, or a list of up to 4"),
        ("fallback", json!([{"provider": "p"}]), "`fallback` must be a list of up to 8 models"),
    ] {
        let mut params = right.clone();
        params[name] = value;
        let error = read::<LlmParams>(params).unwrap_err().failure.message;
        assert!(error.contains(says) && !error.contains("secret"), "{name}: {error}");
    }
    let params: LlmParams = read(
        json!({"model": "m", "max_tokens": 1, "messages": null, "temperature": null, "stop": "x"}),
    )
    .unwrap();
    assert_eq!((params.messages.len(), params.temperature, params.stop.0.len()), (0, None, 1));
    let nothing = request::build(params).unwrap_err();
    assert!(nothing.failure.message.contains("nothing is asked"));
}

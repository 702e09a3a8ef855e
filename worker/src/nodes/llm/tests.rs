//! The node over a journal in memory and models that answer by a script.
#![expect(clippy::needless_pass_by_value, reason = "values are written where they are passed")]

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use skein_shared::document::nests_within;
use skein_shared::domain::budget::{BudgetPeriod, Exhausted, OnExhausted, Resource};
use skein_shared::domain::limits::OUTPUT_BYTES_MAX;
use skein_shared::domain::money::NanoDollars;
use skein_shared::domain::outcome::WaitFor;
use skein_shared::domain::step::StepStatus::{Failed, Lost, Refused, Started, Succeeded};

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
async fn a_provider_that_asks_to_wait_is_asked_again_in_the_same_step() {
    let mut scene = scene(json!({}), [refuses(Some(7)), refuses(None), says("42")]);
    let WaitFor::Rate { provider, step, starts_in } = scene.wait().await else { panic!() };
    assert_eq!((&*provider, step), ("openai", 1));
    assert!((7.0..7.5).contains(&starts_in.as_secs_f64()), "{starts_in:?}");
    let wait = WaitFor::Rate { provider, step, starts_in };
    scene.waited(&wait);
    let WaitFor::Rate { starts_in, .. } = scene.wait().await else { panic!() };
    assert!((1.0..=2.0).contains(&starts_in.as_secs_f64()), "{starts_in:?}");
    assert_eq!(scene.output().await["cost_usd"], json!(COST));
    assert_eq!(scene.journal.statuses(), [(1, 1, Refused), (1, 2, Refused), (1, 3, Succeeded)]);
    assert_eq!(scene.journal.events(), ["llm.failed", "llm.failed", "llm.called"]);
}

#[tokio::test]
async fn a_wait_beyond_the_time_of_the_node_fails_it() {
    let scene = scene(json!({}), [refuses(Some(601))]);
    let failed = scene.failure().await;
    assert_eq!((&*failed.failure.code, failed.retryable), ("rate_limited", true));
    assert_eq!(failed.retry_after, Some(Duration::from_secs(601)));
    assert_eq!(scene.journal.statuses(), [(1, 1, Failed)]);
    // The time counts from the first refusal on.
    let mut scene = self::scene(json!({}), [refuses(Some(400)), refuses(Some(400))]);
    scene.wait().await;
    scene.context.now += chrono::TimeDelta::seconds(401);
    assert_eq!(&*scene.failure().await.failure.code, "rate_limited");
    assert_eq!(scene.journal.statuses(), [(1, 1, Refused), (1, 2, Failed)]);
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_comes_soon_is_slept_for_and_a_later_one_is_a_wait() {
    let mut scene = scene(json!({}), [says("1"), says("2")]);
    let limited = Provider { requests_per_minute: Some(60), ..scene.model.provider("openai") };
    scene.node = Llm::new(ModelCaller::of([limited]));
    scene.journal.grant([Some(Duration::from_millis(200)), Some(Duration::from_secs(9)), None]);
    let begun = tokio::time::Instant::now();
    assert_eq!(scene.output().await["text"], "1");
    assert_eq!(begun.elapsed(), Duration::from_millis(200));
    let asked = scene.journal.asked_starts().remove(0);
    assert_eq!((&*asked.provider, asked.tokens), ("openai", 2_000));

    scene.journal = FakeJournal::default();
    scene.journal.grant([Some(Duration::from_secs(9))]);
    let wait = scene.wait().await;
    let starts_in = Duration::from_secs(9);
    assert_eq!(wait, WaitFor::Rate { provider: "openai".into(), step: 1, starts_in });
    assert_eq!(scene.model.calls(), 1);
    // Its turn was granted, and is not asked for again.
    scene.waited(&wait);
    assert_eq!(scene.output().await["text"], "2");
    assert_eq!(scene.journal.asked_starts().len(), 1);

    scene.journal = FakeJournal::default();
    scene.journal.grant([None]);
    scene.context.waited_for = None;
    let failed = scene.failure().await;
    assert_eq!((&*failed.failure.code, failed.retryable), ("rate_limited", true));
}

#[tokio::test]
async fn a_refusal_of_a_provider_with_rates_waits_for_a_turn_as_well() {
    let mut scene = scene(json!({}), [refuses(Some(3))]);
    let limited = Provider { tokens_per_minute: Some(1_000), ..scene.model.provider("openai") };
    scene.node = Llm::new(ModelCaller::of([limited]));
    scene.journal.grant([Some(Duration::ZERO), Some(Duration::from_secs(60))]);
    let WaitFor::Rate { starts_in, .. } = scene.wait().await else { panic!() };
    assert_eq!(starts_in, Duration::from_secs(60));
}

#[tokio::test]
async fn what_others_have_reserved_is_waited_for_and_looked_at_more_and_more_seldom() {
    let mut scene = scene(json!({}), [says("42")]);
    for (looks, seconds) in [(0, 2.0), (1, 4.0), (2, 8.0), (3, 15.0), (4, 15.0)] {
        scene.journal.answer([Some(Begun::Contended)]);
        let wait = scene.wait().await;
        let WaitFor::Budget { exhausted: None, looks: found, retry_in: Some(retry_in), turn: None } =
            wait
        else {
            panic!("{wait:?}")
        };
        assert_eq!(found, looks);
        assert!((seconds / 2.0..=seconds).contains(&retry_in.as_secs_f64()), "{retry_in:?}");
        scene.waited(&wait);
    }
    assert_eq!(scene.output().await["text"], "42");
}

#[tokio::test]
async fn who_has_no_room_in_its_budget_takes_no_turn_at_a_provider() {
    let mut scene = scene(json!({}), [says("42")]);
    let limited = Provider { requests_per_minute: Some(60), ..scene.model.provider("openai") };
    scene.node = Llm::new(ModelCaller::of([limited]));
    let spent = || Begun::Exhausted(exhausted(BudgetPeriod::Day), OnExhausted::Suspend);
    scene.journal.say_of_room([Begun::Contended, spent(), Begun::Contended, Begun::PriceUnknown]);
    for _ in 0..3 {
        let wait = scene.wait().await;
        assert!(matches!(wait, WaitFor::Budget { turn: None, .. }), "{wait:?}");
        scene.waited(&wait);
    }
    assert_eq!(&*scene.failure().await.failure.code, "price_unknown");
    assert!(scene.journal.asked_starts().is_empty() && scene.journal.steps().is_empty());
    assert_eq!(scene.output().await["text"], "42");
    assert_eq!(scene.journal.asked_starts().len(), 1);
}

#[tokio::test]
async fn a_turn_is_kept_while_what_others_have_reserved_is_waited_for() {
    let mut scene = scene(json!({}), [says("42")]);
    let limited = Provider { requests_per_minute: Some(60), ..scene.model.provider("openai") };
    scene.node = Llm::new(ModelCaller::of([limited]));
    scene.journal.grant([Some(Duration::from_secs(9))]);
    let wait = scene.wait().await;
    scene.waited(&wait);
    // Others have taken the room meanwhile.
    for looks in 0..2 {
        scene.journal.answer([Some(Begun::Contended)]);
        let WaitFor::Budget { looks: found, turn, .. } = scene.wait().await else { panic!() };
        assert_eq!((found, turn.clone()), (looks, Some(("openai".into(), 1))));
        let wait = WaitFor::Budget { exhausted: None, looks, retry_in: None, turn };
        scene.waited(&wait);
    }
    assert_eq!(scene.output().await["text"], "42");
    assert_eq!(scene.journal.asked_starts().len(), 1);
}

fn exhausted(period: BudgetPeriod) -> Exhausted {
    let resource = Resource::Usd;
    Exhausted { period, resource, limit: 1_000, spent: 900, needed: 200, renews_at: None }
}

#[tokio::test]
async fn an_exhausted_budget_is_waited_for_until_it_is_raised() {
    let mut scene = scene(json!({}), [says("42")]);
    scene.journal.answer([
        Some(Begun::Exhausted(exhausted(BudgetPeriod::Run), OnExhausted::Suspend)),
        Some(Begun::Exhausted(exhausted(BudgetPeriod::Run), OnExhausted::Suspend)),
        Some(Begun::Exhausted(exhausted(BudgetPeriod::Day), OnExhausted::Suspend)),
    ]);
    let wait = scene.wait().await;
    let expected = WaitFor::Budget {
        exhausted: Some(exhausted(BudgetPeriod::Run)),
        looks: 0,
        retry_in: None,
        turn: None,
    };
    assert_eq!(wait, expected);
    assert_eq!(scene.journal.events(), ["budget.exhausted"]);
    // The same again is not worth a second row.
    scene.waited(&wait);
    scene.wait().await;
    assert_eq!(scene.journal.events(), ["budget.exhausted"]);
    // Who waits for an organization's budget looks now and then.
    let WaitFor::Budget { retry_in: Some(retry_in), .. } = scene.wait().await else { panic!() };
    assert!((30.0..=60.0).contains(&retry_in.as_secs_f64()));
    assert_eq!(scene.journal.events(), ["budget.exhausted", "budget.exhausted"]);
    assert_eq!((scene.output().await["text"].clone(), scene.model.calls()), (json!("42"), 1));
}

/// A month of waiting is hundreds of attempts and not tens of thousands: whoever raises the budget wakes it.
#[tokio::test]
async fn a_budget_of_an_organization_is_looked_at_more_and_more_seldom_and_when_it_begins_anew() {
    let mut scene = scene(json!({}), []);
    let of_month = exhausted(BudgetPeriod::Month);
    let refused = |facts| Some(Begun::Exhausted(facts, OnExhausted::Suspend));
    let (mut waited, mut attempts) = (Duration::ZERO, 0);
    while waited < Duration::from_secs(31 * 86_400) {
        scene.journal.answer([refused(of_month)]);
        let wait = scene.wait().await;
        waited += wait.due_in().unwrap();
        attempts += 1;
        scene.waited(&wait);
    }
    assert!((700..1_600).contains(&attempts), "{attempts}");
    assert_eq!(scene.journal.events(), ["budget.exhausted"]);
    let soon = Some(scene.context.now + chrono::TimeDelta::seconds(90));
    scene.journal.answer([refused(Exhausted { renews_at: soon, ..of_month })]);
    let due_in = scene.wait().await.due_in().unwrap().as_secs_f64();
    assert!((80.0..=90.0).contains(&due_in), "{due_in}");
    // Another limit is another wait.
    scene.journal.answer([refused(Exhausted { limit: 1_100, ..of_month })]);
    assert!(scene.wait().await.due_in().unwrap() <= Duration::from_secs(60));
    assert_eq!(scene.journal.events(), ["budget.exhausted", "budget.exhausted"]);
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

const SCHEMA: &str =
    r#"{"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}"#;

fn with_schema(script: impl IntoIterator<Item = Line>) -> Scene {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    scene(json!({"schema": schema}), script)
}

#[tokio::test]
async fn an_answer_by_a_schema_is_json_also_within_a_fence() {
    for text in
        ["{\"n\": 42}", " \n{\"n\":42} ", "```json\n{\"n\": 42}\n```", "```\n{\"n\": 42}```"]
    {
        let scene = with_schema([says(text)]);
        let output = scene.output().await;
        assert_eq!((&output["json"], &output["text"]), (&json!({"n": 42}), &json!(text)));
        assert!(scene.model.requests()[0].0.schema.is_some());
    }
}

#[tokio::test]
async fn an_answer_that_does_not_fit_is_sent_back_once() {
    let scene = with_schema([says("{\"n\": \"secret\"}"), says("{\"n\": 42}")]);
    let output = scene.output().await;
    assert_eq!(output["json"], json!({"n": 42}));
    assert_eq!(output["usage"]["total_tokens"], 240);
    assert_eq!(output["cost_usd"], json!(2.0 * COST));
    let (request, _) = scene.model.requests().remove(1);
    let [Message::User(_), Message::Assistant { text, .. }, Message::User(repair)] =
        &request.messages[..]
    else {
        panic!("{:?}", request.messages)
    };
    assert_eq!(text, "{\"n\": \"secret\"}");
    assert!(repair.contains("- /n: "), "{repair}");
    assert_eq!(scene.journal.statuses(), [(1, 1, Succeeded), (2, 1, Succeeded)]);
    // A crash in the repair repeats the repair alone.
    let scene = with_schema([says("no JSON"), Line::Hang, says("{\"n\": 42}")]);
    scene.attempt_that_dies().await;
    assert_eq!(scene.output().await["json"], json!({"n": 42}));
    assert_eq!(scene.journal.statuses(), [(1, 1, Succeeded), (2, 1, Lost), (2, 2, Succeeded)]);
}

/// An integer that would be rounded, a name twice, more depth than an output may have with what is around it.
#[tokio::test]
async fn what_would_not_be_kept_as_the_model_wrote_it_is_sent_back() {
    let deep = |levels: usize| {
        format!("{{\"n\": 42, \"x\": {}{}}}", "[".repeat(levels), "]".repeat(levels))
    };
    for text in
        ["{\"n\": 12345678901234567890123}", "{\"n\": 1, \"n\": 42}", &deep(JSON_DEPTH_MAX - 1)]
    {
        let scene = with_schema([says(text), says("{\"n\": 42}")]);
        assert_eq!(scene.output().await["json"], json!({"n": 42}), "{text}");
        let (request, _) = scene.model.requests().remove(1);
        let Some(Message::User(repair)) = request.messages.last() else { panic!("{request:?}") };
        assert!(repair.contains("- it is no JSON: ") && repair.contains("at line 1"), "{repair}");
    }
    let scene = with_schema([says(&deep(JSON_DEPTH_MAX - 2))]);
    assert!(nests_within(&scene.output().await, JSON_DEPTH_MAX));

    let called = |arguments: &str| {
        let arguments = arguments.to_owned();
        let (id, name) = ("call_a".to_owned(), "find".to_owned());
        let call = ToolCall { id, name, arguments, signature: None };
        Line::Reply(ChatReply { tool_calls: vec![call], ..reply("") })
    };
    let lists = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    for kept in
        ["{\"n\": 12345678901234567890123}", "{\"n\": 1, \"n\": 2}", &lists(CALL_DEPTH_MAX + 1)]
    {
        let output = scene_that(called(kept)).output().await;
        assert_eq!(output["tool_calls"][0]["arguments"], kept, "as the text that it is");
    }
    let output = scene_that(called(&lists(CALL_DEPTH_MAX))).output().await;
    assert!(output["tool_calls"][0]["arguments"].is_array());
    assert!(nests_within(&output, JSON_DEPTH_MAX) && !nests_within(&output, JSON_DEPTH_MAX - 1));
}

fn scene_that(line: Line) -> Scene {
    scene(json!({}), [line])
}

#[tokio::test]
async fn an_answer_that_does_not_fit_twice_fails_the_node_and_is_shown() {
    let scene = with_schema([says("no JSON"), says("{\"n\": 4.5}")]);
    let failed = scene.failure().await;
    assert_eq!((&*failed.failure.code, failed.retryable), ("invalid_output", false));
    let details = failed.failure.details.unwrap();
    assert!(details.contains("/n") && details.ends_with("It is: {\"n\": 4.5}"), "{details}");
    // What is reported says nothing of it.
    assert_eq!(failed.failure.message, "the answer does not match the schema");
    assert_eq!(scene.model.calls(), 2);
    let long = "é".repeat(5_000);
    let scene = with_schema([says(&long), says(&long)]);
    let details = scene.failure().await.failure.details.unwrap();
    assert!(details.len() < 1_024 && details.ends_with("é…"), "{details}");
}

#[tokio::test]
async fn an_answer_that_was_cut_off_is_not_repaired() {
    let mut cut = reply("{\"n\": 4");
    cut.finish_reason = "length".to_owned();
    let scene = with_schema([Line::Reply(cut)]);
    let failed = scene.failure().await.failure;
    assert_eq!(&*failed.code, "output_cut_off");
    assert!(failed.message.contains("`max_tokens` (1000)"), "{}", failed.message);
    assert!(!failed.message.contains("\"n\""), "{}", failed.message);
    assert_eq!(failed.details.as_deref(), Some("It begins: {\"n\": 4"));
    assert_eq!(scene.model.calls(), 1);
}

#[tokio::test]
async fn a_schema_that_an_expression_yields_may_be_none() {
    let scene = scene(json!({"schema": {"type": "objekt"}}), []);
    let failed = scene.failure().await;
    assert_eq!((&*failed.failure.code, scene.journal.writes()), ("invalid_params", 0));
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

//! What becomes of nodes that ask models: answered, refused, put off, short of money, and in crashes.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};
use skein_shared::broker::in_process::InProcess;
use skein_shared::domain::budget::{BudgetChange, LimitChange};
use skein_shared::domain::ids::{ActivationKey, LeaseId};
use skein_shared::domain::money::NanoDollars;
use skein_shared::domain::state::{NodeState, RunState};
use skein_shared::domain::step::{StepKind, StepStatus};
use skein_shared::store::engine::{Claim, ClaimRequest, NewLease};
use skein_shared::store::recovery::ReapScope;
use skein_shared::store::runs::RunDetail;
use skein_shared::store::steps::{Reservation, StepIntent, StepWrite};
use skein_shared::store::{PageRequest, Store};
use skein_tests::store_suite::world::span;
use skein_tests::{postgres, sqlite};
use skein_worker::Settings;
use skein_worker::models::prices::Prices;
use skein_worker::models::{ModelSettings, ProviderSettings, WireFormat};
use tokio::net::TcpListener;

use crate::fleet::{Fleet, node, settings};

/// A server of models that answers by a script, and the keys of what it was asked.
#[derive(Clone, Default)]
struct Models {
    script: Arc<Mutex<VecDeque<(u16, &'static str)>>>,
    keys: Arc<Mutex<Vec<String>>>,
}

/// The answer `42` of 100 tokens and one more.
const ANSWER: (u16, &str) = (
    200,
    "data: {\"id\": \"c\", \"model\": \"gpt-4o-mini-2024-07-18\", \"choices\": [{\"index\": 0, \"delta\": {\"content\": \"42\"}}]}\n\n\
     data: {\"id\": \"c\", \"choices\": [{\"index\": 0, \"delta\": {}, \"finish_reason\": \"stop\"}]}\n\n\
     data: {\"choices\": [], \"usage\": {\"prompt_tokens\": 100, \"completion_tokens\": 1, \"total_tokens\": 101}}\n\n\
     data: [DONE]\n\n",
);
/// 100 tokens at $0.15 and one at $0.60 a million.
const COST: NanoDollars = NanoDollars(15_600);
const MALFORMED: (u16, &str) = (400, "{\"error\": {\"message\": \"cannot take: SECRET-PROMPT\"}}");
/// It says nothing, for good.
const SILENCE: (u16, &str) = (0, "");
const BUSY: (u16, &str) = (429, "{\"error\": {\"message\": \"slow down\"}}");

async fn chat(State(models): State<Models>, headers: HeaderMap) -> Response {
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok());
    models.keys.lock().unwrap().push(key.unwrap_or_default().to_owned());
    let line = models.script.lock().unwrap().pop_front();
    let (status, body) = line.expect("the script goes on");
    if status == SILENCE.0 {
        std::future::pending::<()>().await;
    }
    let kind = if status == 200 { "text/event-stream" } else { "application/json" };
    let status = StatusCode::from_u16(status).unwrap();
    (status, [("content-type", kind), ("retry-after", "0")], body).into_response()
}

impl Models {
    fn asked(&self) -> Vec<String> {
        self.keys.lock().unwrap().clone()
    }
}

async fn with_models<F, Fut>(
    store: Arc<dyn Store>,
    script: impl IntoIterator<Item = (u16, &'static str)>,
    scenario: F,
) where
    F: FnOnce(Fleet, Models, Settings) -> Fut,
    Fut: Future<Output = ()>,
{
    let models =
        Models { script: Arc::new(Mutex::new(script.into_iter().collect())), ..Models::default() };
    let router = Router::new().route("/v1/chat/completions", post(chat)).with_state(models.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let provider = ProviderSettings::at("openai", WireFormat::OpenAi, &url).unwrap();
    let settings = Settings { models: ModelSettings { providers: vec![provider] }, ..settings() };
    scenario(Fleet::start(store, Arc::new(InProcess::new()), 0), models, settings).await;
}

fn asking() -> Value {
    let params =
        json!({"model": "gpt-4o-mini", "prompt": "{{ input.question }}", "max_tokens": 100});
    json!({"name": "w", "nodes": [{"id": "ask", "type": "llm", "params": params}]})
}

fn events(story: &[skein_shared::store::runs::LogRow]) -> Vec<&str> {
    story.iter().map(|row| &*row.event).collect()
}

/// The steps of a run: number, try, status, cost.
async fn steps(fleet: &Fleet, run: &RunDetail) -> Vec<(u32, u32, StepStatus, Option<NanoDollars>)> {
    let page = PageRequest { limit: 100, cursor: None };
    let steps = fleet.store.list_steps(&fleet.tenant, run.summary.id, &page).await.unwrap();
    let steps = steps.unwrap().items.into_iter();
    steps.map(|row| (row.step.seq, row.step.attempt, row.step.status, row.step.cost)).collect()
}

async fn answered(store: Arc<dyn Store>) {
    with_models(store, [BUSY, ANSWER], async |mut fleet, models, settings| {
        fleet.add_worker(&settings);
        let published = fleet.publish(&asking()).await;
        let run = fleet.start_run(&published, &json!({"question": "What?"})).await;
        let detail = fleet.ended(run).await;
        let output: Value = serde_json::from_str(detail.output.as_deref().unwrap()).unwrap();
        assert_eq!(
            output["ask"],
            json!({
                "text": "42",
                "usage": {"input_tokens": 100, "output_tokens": 1, "cached_tokens": 0, "total_tokens": 101},
                "cost_usd": COST.to_dollars(),
                "finish_reason": "stop",
                "model": "gpt-4o-mini-2024-07-18",
                "provider": "openai",
            })
        );
        // It waited in between, and that was no attempt.
        assert_eq!(node(&detail, "ask").unwrap().attempts, 1);
        let expected = [
            (1, 1, StepStatus::Refused, Some(NanoDollars::ZERO)),
            (1, 2, StepStatus::Succeeded, Some(COST)),
        ];
        assert_eq!(steps(&fleet, &detail).await, expected);
        let key = format!("{run}_ask__1");
        assert_eq!(models.asked(), [key.clone(), key]);
        let (spending, _) =
            fleet.store.run_spending(&fleet.tenant, run).await.unwrap().unwrap();
        assert_eq!((spending.calls, spending.cost), (2, COST));
        let log = fleet.log(run).await;
        let words = events(&log);
        let of_calls = words.iter().filter(|word| word.starts_with("llm.")).collect::<Vec<_>>();
        assert_eq!(of_calls, [&"llm.failed", &"llm.called"]);
        let all = format!("{log:?}");
        assert!(!all.contains("What?"), "{all}");
        fleet.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_was_busy_at_first_answers_on_sqlite() {
    sqlite::with_store(answered).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_was_busy_at_first_answers_on_postgresql() {
    postgres::with_store(answered).await;
}

async fn refused(store: Arc<dyn Store>) {
    with_models(store, [MALFORMED], async |mut fleet, models, settings| {
        fleet.add_worker(&settings);
        let published = fleet.publish(&asking()).await;
        let run = fleet.start_run(&published, &json!({"question": "What?"})).await;
        let detail = fleet.ended(run).await;
        assert_eq!(detail.summary.state, RunState::Failed);
        let error = detail.summary.error.as_ref().unwrap();
        assert_eq!((&*error.code, models.asked().len()), ("provider_refused", 1));
        // What the provider says may repeat the prompt: it stands with the node and the step alone.
        let log = format!("{:?}", fleet.log(run).await);
        assert!(log.contains("llm.failed") && log.contains("run.failed"), "{log}");
        assert!(!log.contains("SECRET") && !format!("{error:?}").contains("SECRET"), "{log}");
        let of_node = node(&detail, "ask").unwrap().error.as_ref().unwrap();
        assert_eq!(of_node.details.as_deref(), Some("cannot take: SECRET-PROMPT"));
        let expected = [(1, 1, StepStatus::Failed, Some(NanoDollars::ZERO))];
        assert_eq!(steps(&fleet, &detail).await, expected);
        fleet.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_refuses_the_request_fails_its_node_on_sqlite() {
    sqlite::with_store(refused).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_refuses_the_request_fails_its_node_on_postgresql() {
    postgres::with_store(refused).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_without_providers_says_what_to_set() {
    sqlite::with_store(async |store| {
        let fleet = Fleet::start(store, Arc::new(InProcess::new()), 1);
        let published = fleet.publish(&asking()).await;
        let run = fleet.start_run(&published, &json!({"question": "What?"})).await;
        let detail = fleet.ended(run).await;
        let error = detail.summary.error.as_ref().unwrap();
        assert_eq!(&*error.code, "no_provider");
        assert!(error.message.contains("OPENAI_API_KEY"), "{}", error.message);
        fleet.stop().await;
    })
    .await;
}

async fn exhausted(store: Arc<dyn Store>) {
    with_models(store, [ANSWER], async |mut fleet, models, settings| {
        let published = fleet.publish(&asking()).await;
        let run = fleet.accept_silently(&published, &json!({"question": "What?"})).await;
        let change = async |fleet: &Fleet, nanos| {
            let max_usd = LimitChange::Set(NanoDollars(nanos));
            let change = BudgetChange { max_usd, ..BudgetChange::default() };
            fleet.store.change_run_budget(&fleet.tenant, run, &change).await.unwrap();
        };
        change(&fleet, 1_000).await;
        fleet.add_worker(&settings);
        let hurry = fleet.hurry(&[run]);
        let waits = |detail: &RunDetail| {
            node(detail, "ask").is_some_and(|row| row.state == NodeState::Waiting)
        };
        fleet.until(run, waits).await;
        hurry.cancel();
        assert_eq!(models.asked().len(), 0);
        assert!(events(&fleet.log(run).await).contains(&"budget.exhausted"));
        change(&fleet, 10_000_000).await;
        let hurry = fleet.hurry(&[run]);
        let detail = fleet.ended(run).await;
        hurry.cancel();
        assert_eq!((detail.summary.state, models.asked().len()), (RunState::Succeeded, 1));
        fleet.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_waits_for_money_and_goes_on_when_there_is_some_on_sqlite() {
    sqlite::with_store(exhausted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_waits_for_money_and_goes_on_when_there_is_some_on_postgresql() {
    postgres::with_store(exhausted).await;
}

/// A worker takes the node, asks the model and dies.
async fn die_asking(fleet: &Fleet, key: &ActivationKey) {
    let lease = NewLease {
        id: LeaseId::generate(),
        host: "test".to_owned(),
        pid: 1,
        version: "0.0.0",
        slots: 4,
        ttl: Duration::from_millis(1),
    };
    fleet.store.open_lease(&lease).await.unwrap();
    let request = ClaimRequest { key: key.clone(), span: span() };
    let claims = fleet.store.claim(lease.id, true, &[request]).await.unwrap();
    let Claim::Won(claimed) = &claims[0] else { panic!("{claims:?}") };
    let price = Prices::default().of("openai", "gpt-4o-mini");
    let intent = StepIntent {
        seq: 1,
        kind: StepKind::Model,
        name: "gpt-4o-mini".into(),
        digest: [7; 32],
        arguments: None,
        span: span(),
        reservation: Some(Reservation {
            provider: "openai".into(),
            model: "gpt-4o-mini".into(),
            price: price.map(|price| price.at_most(1_000, 100)),
            input_tokens: 1_000,
            output_tokens: 100,
        }),
        decision_within: None,
    };
    let write = StepWrite {
        key: key.clone(),
        claim: claimed.claim,
        finished: None,
        begin: Some(intent),
        events: Vec::new(),
    };
    fleet.store.write_steps(lease.id, &[write]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(fleet.store.reap(10, ReapScope::ALL).await.unwrap().len(), 1);
}

async fn crashed(store: Arc<dyn Store>) {
    with_models(store, [ANSWER], async |mut fleet, models, settings| {
        let published = fleet.publish(&asking()).await;
        let run = fleet.accept_silently(&published, &json!({"question": "What?"})).await;
        die_asking(&fleet, &ActivationKey::root(run, "ask")).await;
        fleet.add_worker(&settings);
        let hurry = fleet.hurry(&[run]);
        let detail = fleet.ended(run).await;
        hurry.cancel();
        assert_eq!(detail.summary.state, RunState::Succeeded, "{}", fleet.story(run).await);
        // 1,000 tokens at $0.15 and 100 at $0.60 a million.
        let reserved = NanoDollars(210_000);
        let expected =
            [(1, 1, StepStatus::Lost, Some(reserved)), (1, 2, StepStatus::Succeeded, Some(COST))];
        assert_eq!(steps(&fleet, &detail).await, expected);
        assert_eq!(models.asked(), [format!("{run}_ask__1")]);
        let (spending, _) = fleet.store.run_spending(&fleet.tenant, run).await.unwrap().unwrap();
        assert_eq!((spending.calls, spending.cost), (2, reserved.plus(COST)));
        fleet.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_in_a_crash_is_repeated_once_and_both_are_paid_for_on_sqlite() {
    sqlite::with_store(crashed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_in_a_crash_is_repeated_once_and_both_are_paid_for_on_postgresql() {
    postgres::with_store(crashed).await;
}

async fn stopped(store: Arc<dyn Store>) {
    with_models(store, [SILENCE, ANSWER], async |mut fleet, models, settings| {
        let published = fleet.publish(&asking()).await;
        let run = fleet.accept_silently(&published, &json!({"question": "What?"})).await;
        let one_step = BudgetChange { max_steps: LimitChange::Set(1), ..BudgetChange::default() };
        fleet.store.change_run_budget(&fleet.tenant, run, &one_step).await.unwrap();
        fleet.add_worker(&Settings { drain_timeout: Duration::ZERO, ..settings.clone() });
        let hurry = fleet.hurry(&[run]);
        fleet.until(run, |_| models.asked().len() == 1).await;
        hurry.cancel();
        fleet.drain_one();
        fleet.join_one().await;
        fleet.add_worker(&settings);
        let hurry = fleet.hurry(&[run]);
        let detail = fleet.ended(run).await;
        hurry.cancel();
        assert_eq!(detail.summary.state, RunState::Succeeded, "{}", fleet.story(run).await);
        let steps = steps(&fleet, &detail).await;
        let [(1, 1, StepStatus::Lost, Some(reserved)), (1, 2, StepStatus::Succeeded, Some(COST))] =
            steps[..]
        else {
            panic!("{steps:?}")
        };
        let key = format!("{run}_ask__1");
        assert_eq!(models.asked(), [key.clone(), key]);
        let (spending, _) = fleet.store.run_spending(&fleet.tenant, run).await.unwrap().unwrap();
        assert_eq!((spending.calls, spending.steps), (2, 1));
        assert_eq!(spending.cost, reserved.plus(COST));
        assert!(reserved > COST);
        fleet.stop().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_of_a_worker_that_stops_is_made_again_under_its_key_and_counts_once_on_sqlite() {
    sqlite::with_store(stopped).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_of_a_worker_that_stops_is_made_again_under_its_key_and_counts_once_on_postgresql() {
    postgres::with_store(stopped).await;
}

//! Agents on workers over both stores. A script plays their models.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use skein::mock_models::MockModels;
use skein_shared::broker::in_process::InProcess;
use skein_shared::domain::ids::ActivationKey;
use skein_shared::domain::state::RunState;
use skein_shared::domain::step::StepStatus::{Lost, Succeeded};
use skein_shared::store::Store;
use skein_tests::{postgres, sqlite};
use skein_worker::Settings;
use skein_worker::models::ModelSettings;

use crate::fleet::{Fleet, node, settings};
use crate::server::Server;

const SCRIPT: &str = "
replies:
  - when: { turn: 0 }
    reply: { tool_calls: [{ name: look, arguments: { q: a } }] }
  - when: { model: restless }
    reply: { tool_calls: [{ name: look, arguments: { q: a } }] }
  - reply: { text: seen, usage: { input_tokens: 7, output_tokens: 3 } }
";

/// Workers whose models are played, and what plays them.
struct Scene {
    fleet: Fleet,
    server: Server,
    settings: Settings,
    models: skein::mock_models::Watch,
}

async fn scene(store: Arc<dyn Store>) -> Scene {
    let mock = MockModels::new(SCRIPT.parse().unwrap()).await.unwrap();
    let models = mock.watch();
    let settings = Settings {
        models: ModelSettings::default().mocked(mock.address()),
        drain_timeout: Duration::from_millis(50),
        ..settings()
    };
    tokio::spawn(mock.serve(Default::default()));
    let mut fleet = Fleet::start(store, Arc::new(InProcess::new()), 0);
    fleet.add_worker(&settings);
    Scene { fleet, server: Server::start().await, settings, models }
}

async fn on_both<F, Fut>(scenario: F)
where
    F: Fn(Scene) -> Fut + Copy + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    sqlite::with_store(move |store| async move { scenario(scene(store).await).await }).await;
    postgres::with_store(move |store| async move { scenario(scene(store).await).await }).await;
}

fn agent(url: &str, more: &Value) -> Value {
    let look = json!({
        "name": "look", "description": "looks", "method": "POST", "url": url, "body": { "q": "{{ args.q }}" },
        "parameters": { "type": "object", "properties": { "q": { "type": "string" } } },
    });
    let mut params = json!({
        "goal": "look", "provider": "openai", "model": "gpt-4o-mini", "tools": [{ "http": look }],
    });
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({ "name": "w", "nodes": [{ "id": "act", "type": "agent", "params": params }] })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_reaches_its_goal_step_by_step() {
    on_both(|scene| async move {
        let Scene { fleet, server, models, .. } = scene;
        let document = agent(&server.answer("look"), &json!({}));
        let published = fleet.publish(&document).await;
        let run = fleet.start_run(&published, &json!({})).await;
        let detail = fleet.ended(run).await;
        assert_eq!(detail.summary.state, RunState::Succeeded, "{}", fleet.story(run).await);
        let output = node(&detail, "act").unwrap().output.clone().unwrap();
        let output: Value = serde_json::from_str(&output).unwrap();
        assert_eq!((&output["answer"], &output["stopped_by"]), (&json!("seen"), &json!("answer")));
        assert_eq!((&output["iterations"], &output["steps"]), (&json!(2), &json!(3)));
        let hits = server.hits("look");
        assert_eq!(hits.len(), 1);
        assert_eq!(hits[0].key, Some(format!("{run}_act__2")));
        assert_eq!(models.requests().len(), 2);
        let key = ActivationKey::root(run, "act");
        let steps = fleet.store.recorded_steps(&key).await.unwrap();
        assert!(steps.len() == 3 && steps.iter().all(|step| step.status == Succeeded));
        let log = fleet.log(run).await;
        let events: Vec<_> = log.iter().map(|row| &*row.event).collect();
        for event in ["llm.called", "agent.step", "tool.called"] {
            assert!(events.contains(&event), "{events:?}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_takes_more_than_it_may_fails_its_run_if_that_is_a_failure() {
    on_both(|scene| async move {
        let Scene { fleet, server, .. } = scene;
        let more =
            json!({ "model": "restless", "limits": { "iterations": 3 }, "on_exhausted": "fail" });
        let document = agent(&server.answer("look"), &more);
        let published = fleet.publish(&document).await;
        let run = fleet.start_run(&published, &json!({})).await;
        let detail = fleet.ended(run).await;
        assert_eq!(&*detail.summary.error.as_ref().unwrap().code, "agent_exhausted");
        assert_eq!(server.hits("look").len(), 3);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_goes_on_elsewhere_with_the_step_that_was_under_way() {
    on_both(|scene| async move {
        let Scene { mut fleet, server, settings, models } = scene;
        let document = agent(&server.gate("look"), &json!({}));
        let published = fleet.publish(&document).await;
        let run = fleet.start_run(&published, &json!({})).await;
        server.hit("look").await;
        fleet.drain_one();
        fleet.join_one().await;
        server.open_gate();
        fleet.add_worker(&settings);
        let detail = fleet.ended(run).await;
        assert_eq!(detail.summary.state, RunState::Succeeded, "{}", fleet.story(run).await);
        // The same call once more; the model's first answer was not asked for again.
        let hits = server.hits("look");
        assert_eq!(hits.len(), 2);
        assert_eq!(hits[0].key, hits[1].key);
        assert_eq!(models.requests().len(), 2);
        let key = ActivationKey::root(run, "act");
        let steps = fleet.store.recorded_steps(&key).await.unwrap();
        let statuses: Vec<_> = steps.iter().map(|step| (step.seq, step.status)).collect();
        assert_eq!(statuses, [(1, Succeeded), (2, Lost), (2, Succeeded), (3, Succeeded)]);
    })
    .await;
}

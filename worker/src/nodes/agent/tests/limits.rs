//! What ends an agent that does not end by itself.

use skein_shared::domain::outcome::WaitFor;

use super::*;

/// One that looks for ever.
async fn restless(limits: Value, on_exhausted: &str) -> Scene {
    let mut all = json!({ "iterations": 20, "wall_ms": 3_600_000 });
    for (name, value) in limits.as_object().unwrap() {
        all[name] = value.clone();
    }
    let changed = json!({ "limits": all, "on_exhausted": on_exhausted });
    Scene::new(changed, [calls(&[("look", r#"{"q":"a"}"#)])]).await
}

#[tokio::test]
async fn a_loop_that_never_ends_is_ended_by_each_limit() {
    // A call takes 120 tokens, and 0.000027 dollars.
    for (limits, stopped_by, iterations) in [
        (json!({ "iterations": 3 }), "iterations", 3),
        (json!({ "tokens": 121 }), "tokens", 2),
        (json!({ "tokens": 120 }), "tokens", 1),
        (json!({ "usd": 0.00005 }), "usd", 2),
        (json!({ "wall_ms": 0 }), "wall", 0),
    ] {
        let scene = restless(limits.clone(), "stop").await;
        let output = scene.output().await;
        assert_eq!(output["stopped_by"], stopped_by, "{limits}");
        assert_eq!(output["iterations"], iterations, "{limits}");
        let answer = if iterations == 0 { Value::Null } else { json!("let me see") };
        assert_eq!(output["answer"], answer);
        assert_eq!(scene.model.asked.lock().unwrap().len(), iterations);

        let scene = restless(limits.clone(), "fail").await;
        assert_eq!(scene.failure().await, ("agent_exhausted".to_owned(), false), "{limits}");
    }
}

#[tokio::test]
async fn what_earlier_attempts_have_worked_counts_and_what_they_have_waited_does_not() {
    let lines = [calls(&[("order", r#"{"q":"a"}"#)]), says("done")];
    let scene = Scene::new(json!({ "approve": ["order"] }), lines.clone()).await;
    scene.wait().await;
    // A day later.
    let mut scene = scene;
    scene.context.now += chrono::TimeDelta::days(1);
    scene.journal.set_status(2, StepStatus::Approved);
    assert_eq!(scene.output().await["stopped_by"], "answer");

    let scene = Scene::new(json!({ "approve": ["order"] }), lines).await;
    scene.wait().await;
    scene.journal.set_latency(1, Duration::from_secs(3_600));
    scene.journal.set_status(2, StepStatus::Approved);
    let output = scene.output().await;
    assert_eq!((&output["stopped_by"], scene.requests().len()), (&json!("wall"), 0));
}

#[tokio::test]
async fn money_is_not_limited_where_nobody_knows_the_price() {
    let changed = json!({
        "model": "nobody-knows", "limits": { "iterations": 5, "usd": 1, "wall_ms": 3_600_000 },
    });
    let scene = Scene::new(changed, [calls(&[("look", r#"{"q":"a"}"#)])]).await;
    assert_eq!(scene.failure().await, ("price_unknown".to_owned(), false));
    assert_eq!(scene.model.asked.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_budget_that_is_used_up_is_waited_for() {
    use skein_shared::domain::budget::{BudgetPeriod, Exhausted, Resource};
    let lines = [calls(&[("look", r#"{"q":"a"}"#)]), says("done")];
    let scene = Scene::new(json!({}), lines).await;
    let exhausted = Exhausted {
        period: BudgetPeriod::Run,
        resource: Resource::Steps,
        limit: 1,
        spent: 1,
        needed: 1,
        renews_at: None,
    };
    // The model may be asked, and the tool may not be called.
    scene.journal.answer([None, Some(exhausted_begun(exhausted))]);
    let wait = scene.wait().await;
    assert_eq!((&wait["type"], &wait["resource"]), (&json!("budget"), &json!("steps")));
    assert!(scene.journal.events().contains(&"budget.exhausted"));
    scene.journal.answer([Some(Begun::Contended)]);
    assert_eq!(scene.wait().await, json!({ "type": "budget" }));
    assert_eq!(scene.output().await["answer"], "done");
    assert_eq!(scene.requests(), ["GET /look/a"]);
}

fn exhausted_begun(exhausted: skein_shared::domain::budget::Exhausted) -> Begun {
    Begun::Exhausted(exhausted, skein_shared::domain::budget::OnExhausted::Suspend)
}

#[tokio::test]
async fn a_limit_of_tokens_holds_where_the_provider_counts_none() {
    let changed = json!({ "limits": { "iterations": 20, "tokens": 3_000, "wall_ms": 3_600_000 } });
    let uncounted = ChatReply { usage: None, ..calls(&[("look", r#"{"q":"a"}"#)]) };
    let scene = Scene::new(changed, [uncounted]).await;
    let output = scene.output().await;
    // Each call is settled for the thousand of its input and the thousand that it may answer with.
    assert_eq!((&output["stopped_by"], &output["iterations"]), (&json!("tokens"), &json!(2)));
    assert_eq!(output["usage"]["total_tokens"], 4_000);
    // Whoever takes it up from what is recorded counts the same.
    assert_eq!(scene.output().await, output);
}

#[tokio::test]
async fn the_time_of_work_holds_for_all_pages_of_a_list_of_tools() {
    let pages = Server::start(|seen| {
        let request: Value = serde_json::from_str(&seen.body).unwrap_or_default();
        let result = match request["method"].as_str().unwrap_or_default() {
            "initialize" => json!({ "protocolVersion": "2025-11-25", "capabilities": {} }),
            _ => {
                // Well below what a page alone may take, and together more than there is.
                std::thread::sleep(Duration::from_millis(40));
                json!({ "tools": [], "nextCursor": "more" })
            }
        };
        let answer = json!({ "jsonrpc": "2.0", "id": request["id"], "result": result });
        ([("content-type", "application/json")], answer.to_string())
    })
    .await;
    let changed = json!({
        "tools": [{ "mcp": { "url": pages.url("/mcp"), "allow": ["add"] } }],
        "limits": { "iterations": 5, "wall_ms": 100 },
    });
    let mut scene = Scene::new(changed, [says("done")]).await;
    scene.rules = format!("{},{}", scene.server.rule(), pages.rule());
    let begun = std::time::Instant::now();
    assert_eq!(scene.output().await["stopped_by"], "wall");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    let listed = pages.seen().len();
    assert!(listed < 15, "{listed} requests");
    assert!(scene.model.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_provider_may_put_an_agent_off_for_as_long_as_its_node_has() {
    use crate::models::ErrorClass::RateLimited;
    use crate::steps::test_doubles::error;
    let scene = Scene::new(json!({}), [says("done")]).await;
    let refuses = |seconds| CallError {
        retry_after: Some(Duration::from_secs(seconds)),
        ..error("rate_limited", RateLimited)
    };
    // Longer than a call may take, and longer than the agent may work.
    *scene.model.refusals.lock().unwrap() = vec![refuses(4_000), refuses(700)];
    for seconds in [700, 4_000] {
        let wait = scene.attempt().await.unwrap();
        let Outcome::Wait(WaitFor::Rate { starts_in, .. }) = wait else { panic!("{wait:?}") };
        assert!(starts_in >= Duration::from_secs(seconds), "{starts_in:?}");
    }
    assert_eq!(scene.output().await["stopped_by"], "answer");
    // The node itself has 25 hours.
    *scene.model.refusals.lock().unwrap() = vec![refuses(90_001)];
    let scene = Scene { journal: FakeJournal::default(), ..scene };
    assert_eq!(scene.failure().await, ("rate_limited".to_owned(), true));
}

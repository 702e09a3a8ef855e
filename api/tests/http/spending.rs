//! What runs cost, what may be spent, and decisions.

use serde_json::json;
use skein_shared::domain::key_scopes::{KeyScope, KeyScopes};

use crate::harness::Server;

#[tokio::test]
async fn a_run_is_started_with_a_budget_that_can_be_changed_until_it_ends() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    let body = json!({ "input": { "n": 1 }, "budget": { "max_usd": 0.25, "deadline": "1h", "on_exhausted": "fail" } });
    let run = ada.post("/v1/workflows/adder/runs", &body).await.expect(202);
    let path = format!("/v1/runs/{}/budget", run["id"].as_str().unwrap());
    let budget = ada.get(&path).await.expect(200);
    assert_eq!((&budget["max_usd"], &budget["max_tokens"]), (&json!(0.25), &json!(null)));
    assert_eq!(budget["on_exhausted"], "fail");
    assert!(budget["deadline"].is_string());
    assert_eq!((&budget["spent"]["cost_usd"], &budget["spent"]["calls"]), (&json!(0.0), &json!(0)));

    let raised = json!({ "max_tokens": 5000, "deadline": "2999-01-01T00:00:00Z" });
    let budget = ada.post(&path, &raised).await.expect(200);
    assert_eq!((&budget["max_usd"], &budget["max_tokens"]), (&json!(0.25), &json!(5000)));
    assert_eq!(budget["deadline"], "2999-01-01T00:00:00Z");
    assert_eq!(ada.get(&path).await.expect(200), budget);
    // Null takes a limit away, also one that the request or the document has set.
    let lifted = json!({ "max_usd": null, "deadline": null, "max_steps": 9 });
    let budget = ada.post(&path, &lifted).await.expect(200);
    let shown = ["max_usd", "max_tokens", "max_steps", "deadline", "on_exhausted"];
    let expected = [json!(null), json!(5000), json!(9), json!(null), json!("fail")];
    assert_eq!(shown.map(|name| budget[name].clone()), expected);
    assert_eq!(ada.get(&path).await.expect(200), budget);
    for (wrong, pointer) in [
        (json!({ "deadline": "2h" }), "/deadline"),
        (json!({ "max_usd": -1 }), "/max_usd"),
        (json!({ "max_usd": "none" }), "/max_usd"),
        (json!({ "max_tokens": 1.5, "max_usd": null }), "/max_tokens"),
        (json!({ "max_steps": [null] }), "/max_steps"),
        (json!({ "on_exhausted": null }), "/on_exhausted"),
        (json!({ "max": 1 }), "/max"),
        (json!({ "max": null }), "/max"),
        (json!([null]), ""),
    ] {
        let problem = ada.post(&path, &wrong).await.problem(422, "invalid-request");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{wrong}");
    }
    assert_eq!(ada.get(&path).await.expect(200), budget, "what is refused changes nothing");
    let nowhere = "/v1/runs/0199f3a2-5d1c-7cc4-9f6e-8d7a1c2b3e4f/budget";
    ada.post(nowhere, &lifted).await.problem(404, "run-not-found");
    ada.post(&path.replace("/budget", "/cancel"), &json!({})).await.expect(202);
    ada.post(&path, &raised).await.problem(409, "run-ended");
}

#[tokio::test]
async fn an_organization_sets_what_it_may_spend_in_a_day_and_a_month() {
    let server = Server::start().await;
    let (ada, bob) = (server.tenant().await, server.tenant().await);
    assert_eq!(ada.get("/v1/budgets").await.expect(200)["items"], json!([]));
    let put = async |body: serde_json::Value| {
        let request = ada.request("PUT", "/v1/budgets").json(&body);
        crate::harness::Client::send(request).await
    };
    let wanted =
        json!({ "day": { "max_usd": 5 }, "month": { "max_usd": 50, "max_tokens": 1000000 } });
    let set = put(wanted).await.expect(200);
    assert_eq!(
        (&set["items"][0]["period"], &set["items"][0]["max_usd"]),
        (&json!("day"), &json!(5.0))
    );
    assert_eq!(set["items"][1]["max_tokens"], 1_000_000);
    assert_eq!(ada.get("/v1/budgets").await.expect(200)["items"][1]["max_usd"], 50.0);
    assert_eq!(bob.get("/v1/budgets").await.expect(200)["items"], json!([]));
    // A period that is left out stays; null takes its limits away.
    let set = put(json!({ "day": null })).await.expect(200);
    assert_eq!(
        (set["items"].as_array().unwrap().len(), &set["items"][0]["period"]),
        (1, &json!("month"))
    );
    for (wrong, pointer) in [
        (json!({ "week": {} }), "/week"),
        (json!({ "day": 5 }), "/day"),
        (json!({ "month": { "deadline": "1h" } }), "/month/deadline"),
    ] {
        let problem = put(wrong).await.problem(422, "invalid-request");
        assert_eq!(problem["errors"][0]["pointer"], pointer);
    }
}

#[tokio::test]
async fn a_decision_names_a_step_that_waits_for_one() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    let run = ada.run("adder").await["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/runs/{run}/nodes/add/decision");
    let approver = server.scoped(&ada.identity, KeyScopes::NONE.with(KeyScope::Approve)).await;
    let decision = json!({ "step": 3, "approved": true, "reason": "fine" });
    let problem = approver.post(&path, &decision).await.problem(409, "not-pending");
    assert!(problem["detail"].as_str().unwrap().contains("step 3"), "{problem}");
    let elsewhere = path.replace("/add/", "/nobody/");
    approver.post(&elsewhere, &decision).await.problem(404, "node-not-found");
    for (wrong, pointers) in [
        (json!({}), vec!["/step", "/approved"]),
        (
            json!({ "step": 0, "approved": 1, "reason": 7, "by": "me" }),
            vec!["/step", "/approved", "/reason", "/by"],
        ),
    ] {
        let problem = approver.post(&path, &wrong).await.problem(422, "invalid-request");
        let errors = problem["errors"].as_array().unwrap();
        let found: Vec<_> = errors.iter().map(|it| it["pointer"].as_str().unwrap()).collect();
        assert_eq!(found, pointers);
    }
    // The key that starts runs cannot allow what they want to do.
    let starter = server.scoped(&ada.identity, KeyScopes::NONE.with(KeyScope::Run)).await;
    starter.post(&path, &decision).await.problem(403, "forbidden");
}

#[tokio::test]
async fn costs_and_steps_are_listed_and_their_cursors_are_their_own() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    let run = ada.run("adder").await["id"].as_str().unwrap().to_owned();
    let empty = json!({ "items": [], "next_cursor": null });
    assert_eq!(ada.get(&format!("/v1/runs/{run}/steps")).await.expect(200), empty);
    for group in ["model", "provider", "workflow", "run", "node", "user", "day"] {
        assert_eq!(ada.get(&format!("/v1/costs?group_by={group}")).await.expect(200), empty);
    }
    ada.get("/v1/costs?group_by=colour").await.problem(400, "invalid-parameter");
    ada.get("/v1/costs?run=x").await.problem(400, "invalid-parameter");
    ada.get("/v1/costs?cursor=gpt-5~00000000").await.problem(422, "invalid-request");
    let nowhere = "/v1/runs/0199f3a2-5d1c-7cc4-9f6e-8d7a1c2b3e4f/steps";
    ada.get(nowhere).await.problem(404, "run-not-found");
}

//! Cancelling runs.

use serde_json::json;

use crate::harness::Server;

#[tokio::test]
async fn a_run_that_nobody_works_at_is_cancelled_at_once() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    let id = ada.run("adder").await["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/runs/{id}/cancel");
    let run = ada.post(&path, &json!({})).await.expect(202);
    assert_eq!((&run["status"], &run["cancelling"]), (&json!("cancelled"), &json!(false)));
    assert_eq!(run["nodes"][0]["status"], "cancelled");

    let before = ada.rows().await;
    let problem = ada.post(&path, &json!({})).await.problem(409, "run-ended");
    assert_eq!(problem["detail"], "the run has ended: cancelled");
    assert_eq!(ada.rows().await, before);

    let log = ada.get(&format!("/v1/runs/{id}/logs")).await.expect(200);
    let events: Vec<_> = log["items"].as_array().unwrap().iter().map(|row| &row["event"]).collect();
    assert!(events.contains(&&json!("run.cancel_requested")), "{events:?}");
    assert!(events.contains(&&json!("run.cancelled")), "{events:?}");
}

#[tokio::test]
async fn a_run_that_is_not_there_cannot_be_cancelled() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    let path = "/v1/runs/0199f3a2-5d1c-7cc4-9f6e-8d7a1c2b3e4f/cancel";
    ada.post(path, &json!({})).await.problem(404, "run-not-found");
}

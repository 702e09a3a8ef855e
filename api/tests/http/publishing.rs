//! Publishing and reading workflows.

use serde_json::json;

use crate::harness::{Client, Server, published, workflow};

#[tokio::test]
async fn a_document_becomes_a_version_and_an_unchanged_one_stays_it() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    let first = ada.post("/v1/workflows", &workflow("adder")).await;
    assert_eq!(first.expect(201), published(1, false, "created"));
    assert_eq!(first.header("location"), "/v1/workflows/adder?version=1");

    let again = ada.post("/v1/workflows", &workflow("adder")).await;
    assert_eq!(again.expect(200), published(1, false, "unchanged"));

    let mut changed = workflow("adder");
    changed["description"] = json!("Adds one, really");
    let second = ada.post("/v1/workflows", &changed).await;
    assert_eq!(second.expect(201), published(2, false, "created"));

    let latest = ada.get("/v1/workflows/adder").await.expect(200);
    assert_eq!(latest["document"], changed);
    assert_eq!(
        (&latest["version"], &latest["node_count"], &latest["edge_count"]),
        (&json!(2), &json!(2), &json!(1))
    );
    assert_eq!(latest["created_by"], "ada");
    let old = ada.get(second.header("location")).await.expect(200);
    assert_eq!(old["version"], 2);
    let old = ada.get("/v1/workflows/adder?version=1").await.expect(200);
    assert_eq!((&old["version"], &old["document"]), (&json!(1), &workflow("adder")));
}

#[tokio::test]
async fn yaml_and_json_make_the_same_version() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    let yaml =
        "name: y\nnodes:\n  - { id: a, type: transform, params: { value: '{{ 1 + 1 }}' } }\n";
    let request = ada.request("POST", "/v1/workflows").header("content-type", "application/yaml");
    Client::send(request.body(yaml)).await.expect(201);
    let same = json!({ "name": "y", "nodes": [{ "id": "a", "type": "transform", "params": { "value": "{{ 1 + 1 }}" } }] });
    assert_eq!(ada.post("/v1/workflows", &same).await.expect(200)["version"], 1);
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    let problem = ada.get("/v1/workflows/nope").await.problem(404, "workflow-not-found");
    assert_eq!(problem["detail"], "there is no workflow `nope`");
    let problem = ada.get("/v1/workflows/adder?version=7").await.problem(404, "workflow-not-found");
    assert_eq!(problem["detail"], "there is no version 7 of `adder`");
    ada.get("/v1/workflows/nope/versions").await.problem(404, "workflow-not-found");
    ada.post("/v1/workflows/nope/runs", &json!({})).await.problem(404, "workflow-not-found");
}

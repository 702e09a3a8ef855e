//! Archived workflows.

use serde_json::{Value, json};

use crate::harness::{Answer, Client, Server, workflow};

const ARCHIVE: &str = "/v1/workflows/adder/archive";
const UNARCHIVE: &str = "/v1/workflows/adder/unarchive";

async fn start(client: &Client, query: &str) -> Answer {
    let path = format!("/v1/workflows/adder/runs{query}");
    client.post(&path, &json!({ "input": { "n": 1 } })).await
}

async fn post(client: &Client, path: &str) -> Answer {
    Client::send(client.request("POST", path)).await
}

#[tokio::test]
async fn an_archived_workflow_takes_no_runs_and_is_shown_as_such() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    let run = ada.run("adder").await;
    let before = ada.get("/v1/workflows").await.expect(200)["items"][0].clone();
    assert_eq!(before["archived_at"], Value::Null);
    let archived = post(&ada, ARCHIVE).await.expect(200);
    assert!(archived["archived_at"].is_string(), "{archived}");
    let expected = {
        let mut expected = before.clone();
        expected["archived_at"] = archived["archived_at"].clone();
        expected
    };
    assert_eq!(archived, expected);
    assert_eq!(post(&ada, ARCHIVE).await.expect(200), archived, "again, it changes nothing");
    assert_eq!(ada.get("/v1/workflows").await.expect(200)["items"][0], archived);
    let whole = ada.get("/v1/workflows/adder").await.expect(200);
    assert_eq!(whole["archived_at"], archived["archived_at"]);

    let rows = ada.rows().await;
    for query in ["", "?version=1", "?wait=1"] {
        let problem = start(&ada, query).await.problem(409, "workflow-archived");
        assert!(problem["detail"].as_str().unwrap().contains(UNARCHIVE), "{problem}");
    }
    assert_eq!(ada.rows().await, rows);
    let path = format!("/v1/runs/{}", run["id"].as_str().unwrap());
    assert_eq!(ada.get(&path).await.expect(200)["status"], "queued");

    // Publishing leaves it archived, and says so.
    let mut changed = workflow("adder");
    changed["description"] = json!("changed");
    assert_eq!(ada.post("/v1/workflows", &changed).await.expect(201)["archived"], true);
    assert_eq!(ada.post("/v1/workflows", &changed).await.expect(200)["archived"], true);
    let mut tried = workflow("adder");
    tried["description"] = json!("tried");
    for status in [201, 200] {
        let draft = ada.post("/v1/workflows?draft=true", &tried).await.expect(status);
        assert_eq!((&draft["archived"], &draft["draft"]), (&json!(true), &json!(true)));
    }
    start(&ada, "").await.problem(409, "workflow-archived");
    let unarchived = post(&ada, UNARCHIVE).await.expect(200);
    assert_eq!((&unarchived["archived_at"], &unarchived["version"]), (&Value::Null, &json!(2)));
    assert_eq!(ada.post("/v1/workflows", &changed).await.expect(200)["archived"], false);
    assert_eq!(post(&ada, UNARCHIVE).await.expect(200), unarchived);
    assert_eq!(start(&ada, "").await.expect(202)["version"], 2);
}

/// The other process remembers the workflow as it was.
#[tokio::test]
async fn a_workflow_that_another_process_has_archived_is_not_started() {
    let (one, two) = (Server::start().await, Server::start().await);
    let ada = one.tenant().await;
    let other = two.user(&ada.identity).await;
    ada.publish("adder").await;
    start(&other, "").await.expect(202);
    start(&other, "?version=1").await.expect(202);
    post(&ada, ARCHIVE).await.expect(200);
    start(&other, "").await.problem(409, "workflow-archived");
    start(&other, "?version=1").await.problem(409, "workflow-archived");
    // A third one, which remembers nothing.
    let three = Server::start().await;
    let third = three.user(&ada.identity).await;
    start(&third, "").await.problem(409, "workflow-archived");
    post(&other, UNARCHIVE).await.expect(200);
    start(&third, "").await.expect(202);
}

#[tokio::test]
async fn what_is_not_there_is_not_archived() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    for path in [ARCHIVE, UNARCHIVE] {
        let problem = post(&ada, path).await.problem(404, "workflow-not-found");
        assert_eq!(problem["detail"], "there is no workflow `adder`");
    }
    // A draft alone is something.
    ada.post("/v1/workflows?draft=true", &workflow("adder")).await.expect(201);
    let archived = post(&ada, ARCHIVE).await.expect(200);
    assert_eq!(archived["version"], Value::Null);
    start(&ada, "?version=1").await.problem(409, "workflow-archived");
    ada.post("/v1/workflows", &workflow("adder")).await.expect(200);
    start(&ada, "").await.problem(409, "workflow-archived");
}

/// One of many requests that are written together is of an archived workflow: the others are not refused with it.
#[tokio::test]
async fn starts_of_other_workflows_are_accepted_beside_it() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    ada.publish("other").await;
    post(&ada, ARCHIVE).await.expect(200);
    let starts = (0..60).map(async |n| match n % 3 {
        0 => {
            start(&ada, "").await.problem(409, "workflow-archived");
            0
        }
        _ => ada.run("other").await["version"].as_u64().unwrap(),
    });
    let started: u64 = futures_util::future::join_all(starts).await.into_iter().sum();
    assert_eq!(started, 40);
    assert!(ada.rows().await.contains(&("runs", 40)));
}

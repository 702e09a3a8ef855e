//! Drafts: stored, read, started, published.

use serde_json::{Value, json};
use skein_shared::domain::tenant::Identity;
use sqlx::{Connection, PgConnection};

use crate::database;
use crate::harness::{Answer, Client, Server, published, workflow};

const DRAFTS: &str = "/v1/workflows?draft=true";
const RUNS: &str = "/v1/workflows/adder/runs";

/// The workflow `adder` with another description.
fn described(description: &str) -> Value {
    let mut document = workflow("adder");
    document["description"] = json!(description);
    document
}

async fn start(client: &Client, query: &str) -> Answer {
    client.post(&format!("{RUNS}{query}"), &json!({ "input": { "n": 1 } })).await
}

#[tokio::test]
async fn a_draft_changes_nothing_for_whoever_does_not_name_it() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    let (listed, latest) = (
        ada.get("/v1/workflows").await.expect(200),
        ada.get("/v1/workflows/adder").await.expect(200),
    );
    assert_eq!((&latest["draft"], &latest["archived_at"]), (&json!(false), &Value::Null));
    let stored = ada.post(DRAFTS, &described("tried")).await;
    assert_eq!(stored.expect(201), published(2, true, "created"));
    assert_eq!(stored.header("location"), "/v1/workflows/adder?version=2");
    let again = ada.post(DRAFTS, &described("tried")).await.expect(200);
    assert_eq!(again, published(2, true, "unchanged"));
    assert_eq!(ada.get("/v1/workflows").await.expect(200), listed);
    assert_eq!(ada.get("/v1/workflows/adder").await.expect(200), latest);
    let draft = ada.get(stored.header("location")).await.expect(200);
    assert_eq!((&draft["document"], &draft["draft"]), (&described("tried"), &json!(true)));
    assert_eq!(draft["created_by"], "ada");
    let versions = ada.get("/v1/workflows/adder/versions").await.expect(200);
    let drafts: Vec<_> =
        versions["items"].as_array().unwrap().iter().map(|it| &it["draft"]).collect();
    assert_eq!(drafts, [true, false]);
    assert_eq!(ada.run("adder").await["version"], 1);
    // What is the latest version is no draft.
    let same = ada.post(DRAFTS, &workflow("adder")).await.expect(200);
    assert_eq!(same, published(1, false, "unchanged"));
    // Without the parameter, or with `false`, it is published.
    let other = ada.post("/v1/workflows?draft=false", &described("other")).await.expect(201);
    assert_eq!(other, published(3, false, "created"));
    assert_eq!(ada.run("adder").await["version"], 3);
}

#[tokio::test]
async fn publishing_a_draft_makes_it_the_latest_version() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    assert_eq!(ada.run("adder").await["version"], 1, "and it is remembered");
    ada.post(DRAFTS, &described("one")).await.expect(201);
    ada.post(DRAFTS, &described("two")).await.expect(201);
    let tried = start(&ada, "?version=2").await.expect(202);
    assert_eq!(tried["version"], 2);
    let promoted = ada.post("/v1/workflows", &described("one")).await;
    assert_eq!(promoted.expect(200), published(2, false, "promoted"));
    assert_eq!(promoted.header("location"), "/v1/workflows/adder?version=2");
    let again = ada.post("/v1/workflows", &described("one")).await.expect(200);
    assert_eq!(again, published(2, false, "unchanged"));
    assert_eq!(ada.run("adder").await["version"], 2);
    let latest = ada.get("/v1/workflows/adder").await.expect(200);
    assert_eq!((&latest["version"], &latest["draft"]), (&json!(2), &json!(false)));
    let listed = ada.get("/v1/workflows").await.expect(200);
    assert_eq!(listed["items"][0]["description"], "one");
    // A later version stands in the way of what was tried before it.
    ada.post("/v1/workflows", &described("three")).await.expect(201);
    let late = ada.post("/v1/workflows", &described("two")).await.expect(201);
    assert_eq!(late["version"], 5);
    let versions = ada.get("/v1/workflows/adder/versions").await.expect(200);
    let of = |it: &Value| (it["version"].as_u64().unwrap(), it["draft"].as_bool().unwrap());
    let versions: Vec<_> = versions["items"].as_array().unwrap().iter().map(of).collect();
    assert_eq!(versions, [(5, false), (4, false), (3, true), (2, false), (1, false)]);
}

#[tokio::test]
async fn a_workflow_with_drafts_alone_says_so() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    ada.post(DRAFTS, &described("one")).await.expect(201);
    ada.post(DRAFTS, &described("two")).await.expect(201);
    let item = ada.get("/v1/workflows").await.expect(200)["items"][0].clone();
    assert_eq!((&item["name"], &item["version"]), (&json!("adder"), &Value::Null));
    assert_eq!((&item["description"], &item["archived_at"]), (&Value::Null, &Value::Null));
    let problem = start(&ada, "").await.problem(409, "no-published-version");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("publish it") && detail.contains("?version=2"), "{detail}");
    let problem = ada.get("/v1/workflows/adder").await.problem(404, "workflow-not-found");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("drafts alone") && detail.contains("?version=2"), "{detail}");
    ada.get("/v1/workflows/adder/versions").await.expect(200);
    assert!(ada.rows().await.contains(&("runs", 0)));
    assert_eq!(start(&ada, "?version=1").await.expect(202)["version"], 1);
    ada.post("/v1/workflows", &described("two")).await.expect(200);
    assert_eq!(start(&ada, "").await.expect(202)["version"], 2);
}

#[tokio::test]
async fn any_version_is_started_by_its_number() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    let mut strict = workflow("adder");
    strict["input"]["required"] = json!(["n", "note"]);
    ada.publish("adder").await;
    ada.post("/v1/workflows", &strict).await.expect(201);
    ada.post(DRAFTS, &described("tried")).await.expect(201);
    for round in 0..2 {
        // The input is checked by the schema of the version that is named.
        start(&ada, "").await.problem(422, "invalid-input");
        start(&ada, "?version=2").await.problem(422, "invalid-input");
        for version in [1, 3] {
            let run = start(&ada, &format!("?version={version}")).await.expect(202);
            assert_eq!(run["version"], version, "{round}");
            let path = format!("/v1/runs/{}", run["id"].as_str().unwrap());
            assert_eq!(ada.get(&path).await.expect(200)["version"], version);
        }
    }
    let problem = start(&ada, "?version=4").await.problem(404, "workflow-not-found");
    assert_eq!(problem["detail"], "there is no version 4 of `adder`");
    start(&ada, "?version=4294967295").await.problem(404, "workflow-not-found");
    let unknown = ada.post("/v1/workflows/nope/runs?version=1", &json!({})).await;
    unknown.problem(404, "workflow-not-found");
    for malformed in ["0", "-1", "1.5", "latest", "", "4294967296", "1&version=2"] {
        let problem = start(&ada, &format!("?version={malformed}")).await;
        let problem = problem.problem(400, "invalid-parameter");
        assert_eq!(problem["errors"][0]["parameter"], "version", "{malformed}");
    }
    let problem = ada.post("/v1/workflows?draft=yes", &described("x")).await;
    assert_eq!(problem.problem(400, "invalid-parameter")["errors"][0]["parameter"], "draft");
}

#[tokio::test]
async fn a_document_that_is_not_valid_becomes_no_draft() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    let mut broken = workflow("adder");
    broken["nodes"][0]["type"] = json!("tranform");
    ada.post(DRAFTS, &broken).await.problem(422, "invalid-workflow");
    ada.get("/v1/workflows/adder/versions").await.problem(404, "workflow-not-found");
    assert!(ada.rows().await.contains(&("workflows", 0)));
}

/// A key is good for one version: for the one that it was sent with, or for whichever was the latest.
#[tokio::test]
async fn a_key_belongs_to_the_version_that_was_named() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    ada.post(DRAFTS, &described("tried")).await.expect(201);
    let body = json!({ "input": { "n": 1 } });
    let send = async |query: &str, key: &str| {
        ada.post_with(&format!("{RUNS}{query}"), &body, &[("idempotency-key", key)]).await
    };
    let draft = send("?version=2", "a").await.expect(202);
    assert_eq!(send("?version=2", "a").await.expect(202)["id"], draft["id"]);
    for other in ["", "?version=1"] {
        let problem = send(other, "a").await.problem(422, "idempotency-key-reused");
        assert!(problem["detail"].as_str().unwrap().contains("version"), "{problem}");
    }
    let latest = send("", "b").await.expect(202);
    send("?version=1", "b").await.problem(422, "idempotency-key-reused");
    // Published, archived: the repetition stays what it was.
    ada.post("/v1/workflows", &described("tried")).await.expect(200);
    ada.post("/v1/workflows/adder/archive", &json!({})).await.expect(200);
    assert_eq!(send("?version=2", "a").await.expect(202)["id"], draft["id"]);
    assert_eq!(send("", "b").await.expect(202)["id"], latest["id"]);
    send("", "c").await.problem(409, "workflow-archived");
}

#[tokio::test]
async fn a_draft_is_its_workspaces() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    ada.post(DRAFTS, &described("secret")).await.expect(201);
    let elsewhere = Identity::new(ada.identity.organization.clone(), "elsewhere", "ada");
    for stranger in [server.tenant().await, server.user(&elsewhere).await] {
        stranger.get("/v1/workflows/adder?version=1").await.problem(404, "workflow-not-found");
        start(&stranger, "?version=1").await.problem(404, "workflow-not-found");
        start(&stranger, "").await.problem(404, "workflow-not-found");
        assert_eq!(stranger.get("/v1/workflows").await.expect(200)["items"], json!([]));
        // The same document is new to them.
        assert_eq!(stranger.post(DRAFTS, &described("secret")).await.expect(201)["version"], 1);
    }
}

/// What another process has pruned is remembered by this one, and not started.
#[tokio::test]
async fn a_draft_that_was_pruned_is_not_there() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    ada.post(DRAFTS, &described("tried")).await.expect(201);
    // Its plan is remembered, and no run is made.
    let bad = ada.post(&format!("{RUNS}?version=2"), &json!({ "input": {} })).await;
    bad.problem(422, "invalid-input");
    let mut connection = PgConnection::connect(database::url()).await.unwrap();
    let pruned = sqlx::query("DELETE FROM workflow_drafts WHERE organization_id = $1")
        .bind(&*ada.identity.organization)
        .execute(&mut connection)
        .await
        .unwrap();
    assert_eq!(pruned.rows_affected(), 1);
    let problem = start(&ada, "?version=2").await.problem(404, "workflow-not-found");
    assert_eq!(problem["detail"], "there is no version 2 of `adder`");
    assert_eq!(ada.post(DRAFTS, &described("tried")).await.expect(201)["version"], 3);
}

/// Two processes and one draft: publishing it by one makes it what the other starts.
#[tokio::test]
async fn a_draft_that_another_process_publishes_is_started() {
    let (one, two) = (Server::start().await, Server::start().await);
    let ada = one.tenant().await;
    let other = two.user(&ada.identity).await;
    ada.publish("adder").await;
    assert_eq!(start(&other, "").await.expect(202)["version"], 1);
    ada.post(DRAFTS, &described("tried")).await.expect(201);
    assert_eq!(start(&other, "?version=2").await.expect(202)["version"], 2);
    ada.post("/v1/workflows", &described("tried")).await.expect(200);
    assert_eq!(start(&other, "").await.expect(202)["version"], 2);
    assert_eq!(start(&other, "?version=2").await.expect(202)["version"], 2);
    assert_eq!(start(&other, "?version=1").await.expect(202)["version"], 1);
}

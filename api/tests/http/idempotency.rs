//! `Idempotency-Key`.

use serde_json::json;

use crate::harness::{Client, Server, workflow};

const RUNS: &str = "/v1/workflows/adder/runs";

#[tokio::test]
async fn a_repeated_request_is_answered_with_the_first_run() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    let body = json!({ "input": { "n": 1 } });
    let key = [("idempotency-key", "order-17")];
    let first = ada.post_with(RUNS, &body, &key).await;
    let again = ada.post_with(RUNS, &body, &key).await;
    assert_eq!(first.expect(202), again.expect(202));
    assert_eq!(first.header("idempotency-replayed"), "");
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(first.header("location"), again.header("location"));
    assert!(ada.rows().await.contains(&("runs", 1)));

    // Spaces and the order of fields are no difference, values are.
    let spaced = ada.request("POST", RUNS).header("idempotency-key", "order-17");
    let spaced =
        spaced.header("content-type", "application/json").body("{ \"input\" : {\"n\": 1} }");
    assert_eq!(Client::send(spaced).await.expect(202)["id"], first.json()["id"]);
}

#[tokio::test]
async fn a_repeated_request_needs_not_fit_a_later_schema() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    let body = json!({ "input": { "n": 1 } });
    let key = [("idempotency-key", "order-21")];
    let first = ada.post_with(RUNS, &body, &key).await.expect(202);
    let mut later = workflow("adder");
    later["input"]["required"] = json!(["n", "note"]);
    ada.post("/v1/workflows", &later).await.expect(201);
    assert_eq!(ada.post_with(RUNS, &body, &key).await.expect(202)["id"], first["id"]);
    ada.post(RUNS, &body).await.problem(422, "invalid-input");
    let other = [("idempotency-key", "order-22")];
    ada.post_with(RUNS, &body, &other).await.problem(422, "invalid-input");
}

#[tokio::test]
async fn a_request_is_repeated_however_it_is_written() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    let mut free = workflow("adder");
    free["input"] = json!({ "type": "object" });
    ada.post("/v1/workflows", &free).await.expect(201);
    let send = |body: &'static str| {
        let request = ada.request("POST", RUNS).header("idempotency-key", "order-23");
        Client::send(request.header("content-type", "application/json").body(body))
    };
    let first = send(r#"{"input":{"n":1,"b":{"c":2,"d":[3]}}}"#).await.expect(202);
    for same in [
        r#"{"input":{"b":{"d":[3],"c":2},"n":1}}"#,
        r#"{"input":{"n":1.0,"b":{"c":2e0,"d":[3]}},"step_mode":false}"#,
        "\u{feff}{\"input\": {\"n\": 1, \"b\": {\"c\": 2, \"d\": [3]}}}",
    ] {
        assert_eq!(send(same).await.expect(202)["id"], first["id"], "{same}");
    }
    for other in [r#"{"input":{"n":1,"b":{"c":2,"d":["3"]}}}"#, r#"{"input":{"n":1}}"#] {
        send(other).await.problem(422, "idempotency-key-reused");
    }
}

#[tokio::test]
async fn a_key_is_good_for_one_request_only() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    ada.publish("other").await;
    let key = [("idempotency-key", "order-18")];
    ada.post_with(RUNS, &json!({ "input": { "n": 1 } }), &key).await.expect(202);
    let before = ada.rows().await;
    for (path, body) in [
        (RUNS, json!({ "input": { "n": 2 } })),
        (RUNS, json!({ "input": { "n": 1 }, "trace": false })),
        (RUNS, json!({ "input": { "n": 1 }, "budget": { "max_usd": 1 } })),
        // The latest version, and nothing was said of it before.
        ("/v1/workflows/adder/runs?version=1", json!({ "input": { "n": 1 } })),
        ("/v1/workflows/other/runs", json!({ "input": { "n": 1 } })),
    ] {
        ada.post_with(path, &body, &key).await.problem(422, "idempotency-key-reused");
    }
    assert_eq!(ada.rows().await, before);
}

#[tokio::test]
async fn a_key_sent_many_times_at_once_makes_one_run() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    let body = json!({ "input": { "n": 1 } });
    let key = [("idempotency-key", "order-19")];
    let answers =
        futures_util::future::join_all((0..30).map(|_| ada.post_with(RUNS, &body, &key))).await;
    let first = answers[0].expect(202)["id"].clone();
    for answer in &answers {
        assert_eq!(answer.expect(202)["id"], first);
    }
    let fresh = answers.iter().filter(|it| it.header("idempotency-replayed").is_empty()).count();
    assert_eq!(fresh, 1);
    assert!(ada.rows().await.contains(&("runs", 1)));
}

#[tokio::test]
async fn the_same_key_of_two_organizations_makes_two_runs() {
    let server = Server::start().await;
    let (ada, bob) = (server.tenant().await, server.tenant().await);
    let key = [("idempotency-key", "order-20")];
    let mut ids = Vec::new();
    for client in [&ada, &bob] {
        client.publish("adder").await;
        let run = client.post_with(RUNS, &json!({ "input": { "n": 1 } }), &key).await;
        assert_eq!(run.header("idempotency-replayed"), "");
        ids.push(run.expect(202)["id"].clone());
    }
    assert_ne!(ids[0], ids[1]);
}

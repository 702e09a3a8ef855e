//! Starting runs.

use std::time::Instant;

use serde_json::{Value, json};
use skein_shared::broker::DEFAULT_POOL;
use skein_shared::config::Amqp;
use skein_shared::domain::wakeup::WakeReason;

use sqlx::{Connection, PgConnection};

use crate::database;
use crate::harness::{Answer, Client, PATIENCE, Parts, Server, workflow};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[tokio::test]
async fn a_run_is_accepted_stored_and_published_under_the_callers_trace() {
    let server = Server::start().await;
    let mut consumer = server.broker.consume(DEFAULT_POOL, 10).await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    let body = json!({ "input": { "n": 41 } });
    let answer = ada.post_with("/v1/workflows/adder/runs", &body, &[("traceparent", PARENT)]).await;
    let run = answer.expect(202);
    let id = run["id"].as_str().unwrap();
    assert_eq!(answer.header("location"), format!("/v1/runs/{id}"));
    assert_eq!(run["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(answer.header("traceparent").split('-').nth(1).unwrap(), run["trace_id"]);
    assert_eq!((&run["status"], &run["version"]), (&json!("queued"), &json!(1)));
    assert_eq!(run["input"], json!({ "n": 41 }));

    let stored = ada.get(&format!("/v1/runs/{id}")).await.expect(200);
    assert_eq!(stored, run, "the answer is what the store holds");
    assert_eq!(stored["nodes"][0]["node"], "add");
    assert_eq!(stored["nodes"][0]["status"], "queued");
    let node = ada.get(&format!("/v1/runs/{id}/nodes/add")).await.expect(200);
    assert_eq!(node, stored["nodes"][0]);
    for other in ["tell", "__end__", "x%2Fy", "add?scope=0"] {
        let absent = ada.get(&format!("/v1/runs/{id}/nodes/{other}")).await;
        absent.problem(404, "node-not-found");
    }

    let delivery = consumer.receive().await.unwrap();
    let wakeup = delivery.wakeup.as_ref().unwrap().clone();
    let headers = delivery.headers.clone();
    delivery.ack().await;
    assert_eq!(wakeup.key.run.to_string(), id);
    assert_eq!(&*wakeup.key.node, "add");
    assert_eq!(wakeup.reason, WakeReason::Start);
    assert_eq!(wakeup.identity, ada.identity);
    let publish = run["publish_span_id"].as_str().unwrap();
    assert_eq!(headers["traceparent"], format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{publish}-01"));

    let log = ada.open_log(id).await;
    let row = &log[0];
    assert_eq!((&row["event"], &row["level"]), (&json!("run.accepted"), &json!("info")));
    assert_eq!((&row["run_id"], &row["trace_id"]), (&run["id"], &run["trace_id"]));
    assert_eq!(row["span_id"], answer.header("traceparent").split('-').nth(2).unwrap());
}

#[tokio::test]
async fn a_run_without_a_body_gets_an_empty_input() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    let mut document = workflow("free");
    document["input"] = json!({ "type": "object" });
    document["nodes"][0]["params"]["value"] = json!(1);
    ada.post("/v1/workflows", &document).await.expect(201);
    let answer = Client::send(ada.request("POST", "/v1/workflows/free/runs")).await;
    assert_eq!(answer.expect(202)["input"], json!({}));
    let null = ada.post("/v1/workflows/free/runs", &json!({ "input": null })).await;
    null.problem(422, "invalid-input");
}

#[tokio::test]
async fn a_run_is_shown_without_the_values_of_its_nodes() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    let run = ada.run("adder").await;
    let path = format!("/v1/runs/{}", run["id"].as_str().unwrap());
    for query in ["", "?values=true", "?values=false"] {
        // Nothing has been left out yet, because there is nothing.
        assert_eq!(ada.get(&format!("{path}{query}")).await.expect(200), run, "{query}");
    }
    let mut connection = PgConnection::connect(database::url()).await.unwrap();
    sqlx::query(
        "UPDATE node_runs SET input = '{\"value\": 2}', output = '2' WHERE organization_id = $1",
    )
    .bind(&*ada.identity.organization)
    .execute(&mut connection)
    .await
    .unwrap();
    let whole = ada.get(&path).await.expect(200);
    let bare = ada.get(&format!("{path}?values=false")).await.expect(200);
    assert_eq!(
        (&whole["nodes"][0]["output"], &whole["nodes"][0]["values_omitted"]),
        (&json!(2), &json!(false))
    );
    assert_eq!(
        (&bare["nodes"][0]["output"], &bare["nodes"][0]["values_omitted"]),
        (&Value::Null, &json!(true))
    );
    assert_eq!(bare["nodes"][0]["input"], Value::Null);
    assert_eq!(bare["input"], json!({ "n": 1 }));
}

#[tokio::test]
async fn whether_a_trace_is_recorded_can_be_said() {
    let server = Server::start().await;
    let mut consumer = server.broker.consume(DEFAULT_POOL, 10).await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    let unsampled = PARENT.replace("-01", "-00");
    for (parent, trace, flags) in [
        (PARENT, Value::Null, "01"),
        (PARENT, json!(false), "00"),
        (&unsampled, Value::Null, "00"),
        (&unsampled, json!(true), "01"),
    ] {
        let mut body = json!({ "input": { "n": 1 }, "step_mode": false });
        if trace.is_boolean() {
            body["trace"] = trace.clone();
        }
        let headers = [("traceparent", parent)];
        let run = ada.post_with("/v1/workflows/adder/runs", &body, &headers).await.expect(202);
        assert_eq!(run["step_mode"], false);
        // What is exported of a recorded run hangs from a span that is recorded.
        let accepted = ada.open_log(run["id"].as_str().unwrap()).await[0]["span_id"].clone();
        let is_alone = parent == unsampled && flags == "01";
        assert_eq!(accepted == run["publish_span_id"], is_alone, "{parent} {trace}");
        let delivery = consumer.receive().await.unwrap();
        let traceparent = delivery.headers["traceparent"].clone();
        delivery.ack().await;
        assert!(traceparent.ends_with(flags), "{parent} {trace}: {traceparent}");
    }
}

#[tokio::test]
async fn a_run_starts_the_version_that_another_process_has_just_published() {
    let (one, two) = (Server::start().await, Server::start().await);
    let ada = one.tenant().await;
    let other = two.user(&ada.identity).await;
    ada.publish("adder").await;
    assert_eq!(other.run("adder").await["version"], 1);

    let mut changed = workflow("adder");
    changed["description"] = json!("changed");
    ada.post("/v1/workflows", &changed).await.expect(201);
    assert_eq!(other.run("adder").await["version"], 2);

    // An input that the remembered schema refuses and the latest one takes.
    changed["input"] = json!({ "type": "object" });
    ada.post("/v1/workflows", &changed).await.expect(201);
    let run = other.post("/v1/workflows/adder/runs", &json!({ "input": { "m": 1 } })).await;
    assert_eq!(run.expect(202)["version"], 3);
}

#[tokio::test]
async fn runs_that_are_started_together_are_all_accepted() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    let runs = futures_util::future::join_all((0..100).map(|_| ada.run("adder"))).await;
    let mut ids: Vec<_> = runs.iter().map(|run| run["id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 100);
    assert!(ada.rows().await.contains(&("runs", 100)));
}

#[tokio::test]
async fn a_run_is_accepted_with_the_broker_down() {
    let url = "amqp://guest:guest@127.0.0.1:1/%2f".parse().unwrap();
    let closed = Amqp { url: &url, namespace: "test" };
    let broker = skein_shared::broker::open(Some(closed), "test").unwrap();
    let server = Server::with(Parts { broker, ..Parts::default() }).await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    let run = ada.run("adder").await;
    assert_eq!(run["status"], "queued");
    server.nobody().get("/readyz").await.expect(200);
}

/// Another transaction that holds the idempotency key keeps the run from being written for as long as
/// it is open, so that the client can hang up in the middle of the write.
#[tokio::test]
async fn a_client_that_hangs_up_does_not_take_its_run_back() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    let mut other = PgConnection::connect(database::url()).await.unwrap();
    let mut holding = other.begin().await.unwrap();
    sqlx::query(
        "INSERT INTO runs (id, organization_id, workspace_id, user_id, version_id, workflow, version, node_count,
                           edge_count, state, input, idempotency_key, trace_id, publish_span_id, root_span_id, trace_flags)
         VALUES ($1, $2, $3, 'ada', $1, 'adder', 1, 1, 0, 'queued', '{}', 'hang-up', '', '', '', 0)",
    )
    .bind(skein_shared::domain::ids::RunId::generate().0)
    .bind(&*ada.identity.organization)
    .bind(&*ada.identity.workspace)
    .execute(&mut *holding)
    .await
    .unwrap();
    let pid: i32 =
        sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut *holding).await.unwrap();

    let client = ada.clone();
    let request = tokio::spawn(async move {
        let body = json!({ "input": { "n": 1 } });
        client.post_with("/v1/workflows/adder/runs", &body, &[("idempotency-key", "hang-up")]).await
    });
    let mut watching = PgConnection::connect(database::url()).await.unwrap();
    let blocked = "SELECT count(*) FROM pg_stat_activity WHERE $1 = ANY(pg_blocking_pids(pid))";
    let deadline = Instant::now() + PATIENCE;
    while sqlx::query_scalar::<_, i64>(blocked).bind(pid).fetch_one(&mut watching).await.unwrap()
        == 0
    {
        assert!(Instant::now() < deadline, "the request does not come to the row that is held");
    }
    request.abort();
    assert!(request.await.unwrap_err().is_cancelled());
    holding.rollback().await.unwrap();

    loop {
        let list = ada.get("/v1/runs").await.expect(200);
        if let Some(run) = list["items"].get(0) {
            assert_eq!((&run["workflow"], &run["status"]), (&json!("adder"), &json!("queued")));
            break;
        }
        assert!(Instant::now() < deadline, "the run was given up with the request");
    }
}

/// Requests that come together are written together: a transaction each would cost most of what a machine can do.
#[tokio::test]
async fn runs_that_are_started_together_share_statements() {
    const STARTS: usize = 200;
    let server = Server::start().await;
    let ada = server.tenant().await;
    ada.post("/v1/workflows", &workflow("adder")).await.expect(201);
    let body = json!({ "input": { "n": 1 } });
    let starts = (0..STARTS).map(|_| ada.post("/v1/workflows/adder/runs", &body));
    for answer in futures_util::future::join_all(starts).await {
        answer.expect(202);
    }
    let mut connection = PgConnection::connect(database::url()).await.unwrap();
    let count = "SELECT count(*), count(DISTINCT xmin::text) FROM runs WHERE organization_id = $1";
    let (runs, transactions): (i64, i64) = sqlx::query_as(count)
        .bind(&*ada.identity.organization)
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(runs, 200);
    assert!(transactions <= 100, "{transactions} transactions");
}

#[tokio::test]
async fn a_run_gets_and_shows_its_input_with_the_schemas_defaults() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    let mut document = workflow("defaults");
    document["input"] = json!({
        "type": "object",
        "required": ["n", "options"],
        "properties": {
            "n": { "type": "integer", "default": 3 },
            "options": {
                "type": "object",
                "default": {},
                "required": ["retries"],
                "properties": { "retries": { "type": "integer", "default": 2 }, "note": { "type": "string" } }
            }
        }
    });
    ada.post("/v1/workflows", &document).await.expect(201);
    let (path, key) = ("/v1/workflows/defaults/runs", [("idempotency-key", "defaults-1")]);
    let body = json!({ "input": { "options": { "note": "x" } } });
    let run = ada.post_with(path, &body, &key).await.expect(202);
    let expected = json!({ "n": 3, "options": { "note": "x", "retries": 2 } });
    assert_eq!(run["input"], expected);
    let id = run["id"].as_str().unwrap();
    assert_eq!(ada.get(&format!("/v1/runs/{id}")).await.expect(200)["input"], expected);
    // Without a body, and again with what is known to be the same.
    let bare = ada.post(path, &json!({})).await.expect(202);
    assert_eq!(bare["input"], json!({ "n": 3, "options": { "retries": 2 } }));
    let again = ada.post_with(path, &body, &key).await;
    assert_eq!(
        (&again.expect(202)["id"], again.header("idempotency-replayed")),
        (&run["id"], "true")
    );
    // What is sent is another request than what it means.
    ada.post_with(path, &json!({ "input": expected }), &key)
        .await
        .problem(422, "idempotency-key-reused");
    // The result must match.
    document["input"]["properties"]["n"]["default"] = json!("three");
    ada.post("/v1/workflows", &document).await.expect(201);
    let problem = ada.post(path, &body).await.problem(422, "invalid-input");
    assert_eq!(problem["errors"][0]["pointer"], "/input/n");
}

#[tokio::test]
async fn nobody_without_a_key_and_nobody_with_two_parents_continues_a_trace() {
    let server = Server::start().await;
    let (ada, nobody) = (server.tenant().await, server.nobody());
    let trace =
        |answer: &Answer| answer.header("traceparent").split('-').nth(1).unwrap().to_owned();
    let caller = PARENT.split('-').nth(1).unwrap();
    let other = PARENT.replace(caller, "0af7651916cd43dd8448eb211c80319c");
    for (client, path, parents, continues) in [
        (&ada, "/v1/runs", vec![PARENT], true),
        (&ada, "/v1/runs", vec![PARENT, PARENT], true),
        (&ada, "/v1/runs", vec![PARENT, &*other], false),
        (&nobody, "/v1/runs", vec![PARENT], false),
        (&nobody, "/livez", vec![PARENT], false),
        (&nobody, "/nowhere", vec![PARENT], false),
    ] {
        let request = client.request("GET", path);
        let request = parents.iter().fold(request, |it, parent| it.header("traceparent", *parent));
        let answer = Client::send(request).await;
        assert_eq!(trace(&answer) == caller, continues, "{path} {parents:?}: {}", answer.text);
        assert_ne!(trace(&answer), other[3..35]);
    }
    let unknown = nobody.request("GET", "/v1/runs").bearer_auth("x".repeat(32));
    let unknown = Client::send(unknown.header("traceparent", PARENT)).await;
    assert_eq!(unknown.problem(401, "unauthenticated")["trace_id"], trace(&unknown));
    assert_ne!(trace(&unknown), caller);
}

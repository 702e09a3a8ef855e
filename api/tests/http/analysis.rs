//! Looking back at runs.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::{Value, json};
use skein_api::Limits;
use skein_shared::domain::ids::RunId;
use skein_shared::domain::key_scopes::{KeyScope, KeyScopes};
use skein_shared::domain::tenant::Identity;
use sqlx::{Connection, PgConnection};

use crate::database;
use crate::failing_reads::FailingReads;
use crate::harness::{Client, Parts, Server};
use crate::work::Work;

/// When the runs of these tests are accepted, seconds after which they end.
fn noon(days_ago: i64) -> DateTime<Utc> {
    Utc::now() - TimeDelta::days(days_ago)
}

/// The id of a run that came in at a time.
fn id_at(time: DateTime<Utc>) -> RunId {
    let random = RunId::generate().0.as_u128() & ((1 << 80) - 1);
    let millis = u128::from(time.timestamp_millis().unsigned_abs());
    format!("{:032x}", millis << 80 | random).parse().unwrap()
}

/// What is known of a run of the workflow `adder`: `add`, then `tell`.
struct Past<'a> {
    version: i32,
    state: &'a str,
    /// Seconds from the acceptance on: when `add` starts and ends, and when `tell` does.
    times: [f64; 4],
    /// When the attempts before ended that `add` has had, in seconds from the acceptance on.
    retries: &'a [f64],
}

impl Past<'static> {
    const PLAIN: Self =
        Self { version: 1, state: "succeeded", times: [1.0, 5.0, 5.0, 6.0], retries: &[] };
}

/// Writes runs as they would stand in the tables.
struct History {
    database: PgConnection,
    identity: Identity,
}

impl History {
    async fn of(client: &Client) -> Self {
        let database = PgConnection::connect(database::url()).await.unwrap();
        Self { database, identity: client.identity.clone() }
    }

    async fn add(&mut self, accepted_at: DateTime<Utc>, past: &Past<'_>) -> RunId {
        let run = id_at(accepted_at);
        let Identity { organization, workspace, user } = &self.identity;
        let at = |seconds: f64| accepted_at + TimeDelta::milliseconds((seconds * 1e3) as i64);
        let is_open = past.state == "running";
        let ended_at = (!is_open).then(|| at(past.times[3]));
        sqlx::query(
            "INSERT INTO runs (id, organization_id, workspace_id, user_id, version_id, workflow, version, node_count,
                               edge_count, state, input, trace_id, publish_span_id, root_span_id, trace_flags, created_at,
                               started_at, ended_at)
             SELECT $1, $2, $3, $4, id, name, version, 2, 1, $5, '{}', replace(gen_random_uuid()::text, '-', ''), 'p', 'r', 1,
                    $6, $6, $7
             FROM workflow_versions WHERE organization_id = $2 AND workspace_id = $3 AND name = 'adder' AND version = $8",
        )
        .bind(run.0)
        .bind(&**organization)
        .bind(&**workspace)
        .bind(&**user)
        .bind(past.state)
        .bind(accepted_at)
        .bind(ended_at)
        .bind(past.version)
        .execute(&mut self.database)
        .await
        .unwrap();
        let has_failed = past.state == "failed";
        let nodes = [
            ("add", 0, if has_failed { "failed" } else { "succeeded" }),
            ("tell", 2, if has_failed { "cancelled" } else { "succeeded" }),
        ];
        for (node, first, state) in nodes {
            let [start, end] = [first, first + 1].map(|place: usize| at(past.times[place]));
            let is_begun = state != "cancelled";
            sqlx::query(
                "INSERT INTO node_runs (run_id, node_key, organization_id, workspace_id, kind, state, claim, attempts,
                                        timeout_ms, publish_span_id, error, queued_at, started_at, ended_at)
                 VALUES ($1, $2, $3, $4, 'transform', $5, 9, 1, 60000, 's', $6::json, $7, $7, $8)",
            )
            .bind(run.0)
            .bind(node)
            .bind(&**organization)
            .bind(&**workspace)
            .bind(state)
            .bind((state == "failed").then_some(r#"{"code":"timeout","message":"slow"}"#))
            .bind(is_begun.then_some(start))
            .bind(end)
            .execute(&mut self.database)
            .await
            .unwrap();
        }
        for (claim, retry) in past.retries.iter().enumerate() {
            sqlx::query(
                "INSERT INTO node_attempts (run_id, node_key, scope, claim, organization_id, workspace_id, attempt, outcome,
                                            error, started_at, ended_at)
                 VALUES ($1, 'add', '', $2, $3, $4, $2, 'retry', '{\"code\":\"http_status\",\"message\":\"503\"}', $5, $6)",
            )
            .bind(run.0)
            .bind(i32::try_from(claim + 1).unwrap())
            .bind(&**organization)
            .bind(&**workspace)
            .bind(at(retry - 1.0))
            .bind(at(*retry))
            .execute(&mut self.database)
            .await
            .unwrap();
        }
        run
    }
}

async fn analysis(client: &Client, query: &str) -> Value {
    client.get(&format!("/v1/analysis{query}")).await.expect(200)
}

#[tokio::test]
async fn the_critical_path_and_what_runs_waited_for_are_told() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    let mut history = History::of(&ada).await;
    for _ in 0..3 {
        history.add(noon(0) - TimeDelta::hours(1), &Past::PLAIN).await;
    }
    // One second of queue, one of work, four of back-off, one of work, one of queue (of what comes behind), one of work.
    let slow = Past { times: [7.0, 8.0, 9.0, 10.0], retries: &[2.0, 3.0], ..Past::PLAIN };
    let slow = history.add(noon(0) - TimeDelta::hours(2), &slow).await;
    history.add(noon(2), &Past::PLAIN).await;

    let found = analysis(&ada, "").await;
    let coverage =
        json!({ "examined": 4, "total_estimated": 4, "sampled": false, "limited_by": null });
    assert_eq!(found["coverage"], coverage);
    assert_eq!(found["runs"]["succeeded"], 4);
    let path = &found["critical_path"]["items"];
    let of = |at: usize| {
        json!([path[at]["workflow"], path[at]["node"], path[at]["type"], path[at]["runs"]])
    };
    assert_eq!(of(0), json!(["adder", "add", "transform", 4]));
    assert_eq!(of(1), json!(["adder", "tell", "transform", 4]));
    // 3 runs of 6 s and one of 10, of which `add` takes 5 and 8.
    assert_eq!((&path[0]["share"], &path[0]["total_ms"]), (&json!(0.8214), &json!(23_000.0)));
    let p95 = path[0]["p95_ms"].as_f64().unwrap();
    assert!((7_900.0..8_100.0).contains(&p95), "{p95}");
    assert_eq!(path[0]["examples"][0]["run_id"], slow.to_string());
    assert_eq!(path[0]["examples"].as_array().unwrap().len(), 3);
    assert_eq!(path[0]["examples"][0]["trace_id"].as_str().unwrap().len(), 32);
    let spent = &path[0]["spent"];
    assert_eq!(
        json!([spent["work_ms"], spent["queue_ms"], spent["backoff_ms"]]),
        json!([15_000.0, 4_000.0, 4_000.0])
    );
    let waiting = &found["waiting"]["items"][0];
    assert_eq!((&waiting["workflow"], &waiting["runs"]), (&json!("adder"), &json!(4)));
    assert_eq!(
        (&waiting["total_ms"], &waiting["waiting_share"]),
        (&json!(28_000.0), &json!(0.3214))
    );
    assert_eq!(waiting["examples"][0]["run_id"], slow.to_string());
    let spots = &found["hot_spots"]["items"][0];
    assert_eq!(
        json!([
            spots["node"],
            spots["code"],
            spots["wasted_attempts"],
            spots["attempts"],
            spots["failed"]
        ]),
        json!(["add", "http_status", 2, 6, 0])
    );
    assert_eq!(spots["wasted_ms"], 2_000.0);

    let asked = analysis(&ada, "?sections=waiting").await;
    assert!(asked["waiting"].is_object() && asked.get("critical_path").is_none(), "{asked}");
    let long_ago = format!("?from={}", noon(3).format("%Y-%m-%dT%H:%M:%SZ"));
    assert_eq!(analysis(&ada, &long_ago).await["runs"]["succeeded"], 5);
    assert_eq!(analysis(&ada, "?workflow=other").await["coverage"]["examined"], 0);
    assert_eq!(analysis(&ada, "?workflow=adder").await["coverage"]["examined"], 4);
}

#[tokio::test]
async fn what_failed_and_what_has_not_ended_counts_where_it_belongs() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    let mut history = History::of(&ada).await;
    let hour_ago = noon(0) - TimeDelta::hours(1);
    let failed =
        Past { state: "failed", retries: &[1.0], times: [2.0, 4.0, 4.0, 4.0], ..Past::PLAIN };
    let failed = history.add(hour_ago, &failed).await;
    history.add(hour_ago, &Past { state: "cancelled", ..Past::PLAIN }).await;
    history.add(hour_ago, &Past { state: "running", ..Past::PLAIN }).await;
    ada.run("adder").await;
    let found = analysis(&ada, "").await;
    let runs = &found["runs"];
    assert_eq!(
        json!([runs["succeeded"], runs["failed"], runs["cancelled"], runs["open"]]),
        json!([0, 1, 1, 2])
    );
    // The node that failed is all of the path: what was cancelled behind it did not hold it up.
    let path = found["critical_path"]["items"].as_array().unwrap();
    assert_eq!(path.iter().map(|node| &node["node"]).collect::<Vec<_>>(), ["add"]);
    let mut spots = found["hot_spots"]["items"].as_array().unwrap().clone();
    spots.sort_by_key(|spot| spot["code"].to_string());
    let of = |at: usize| {
        json!([
            spots[at]["code"],
            spots[at]["wasted_attempts"],
            spots[at]["failed"],
            spots[at]["runs"]
        ])
    };
    assert_eq!((of(0), of(1)), (json!(["http_status", 1, 0, 1]), json!(["timeout", 1, 1, 1])));
    assert_eq!(spots[1]["examples"][0]["run_id"], failed.to_string());
}

#[tokio::test]
async fn a_slower_version_that_fails_more_is_found() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    let mut second = crate::harness::workflow("adder");
    second["description"] = json!("Adds one, slowly");
    ada.post("/v1/workflows", &second).await.expect(201);
    let mut history = History::of(&ada).await;
    for at in 0..40_u32 {
        let accepted_at = noon(0) - TimeDelta::minutes(i64::from(at) + 1);
        let later = 6.0 + f64::from(at) / 100.0;
        history.add(accepted_at, &Past { times: [1.0, 5.0, 5.0, later], ..Past::PLAIN }).await;
        let state = if at % 2 == 0 { "failed" } else { "succeeded" };
        let slow = Past { version: 2, state, times: [1.0, 8.0, 8.0, later + 3.0], retries: &[] };
        history.add(accepted_at, &slow).await;
    }
    for query in ["", "?workflow=adder&versions=1,2&sections=regressions"] {
        let found = analysis(&ada, query).await;
        let items = found["regressions"]["items"].as_array().unwrap();
        let mut metrics: Vec<_> =
            items.iter().map(|it| json!([it["metric"], it["test"], it["verdict"]])).collect();
        metrics.sort_by_key(ToString::to_string);
        let expected = [
            json!(["duration", "mann_whitney_u", "regression"]),
            json!(["failure_ratio", "two_proportion_z", "regression"]),
        ];
        assert_eq!(metrics, expected, "{found}");
        let duration = items.iter().find(|it| it["metric"] == "duration").unwrap();
        assert_eq!(
            (&duration["before"]["version"], &duration["after"]["version"]),
            (&json!(1), &json!(2))
        );
        assert_eq!(
            (&duration["before"]["runs"], &duration["after"]["runs"]),
            (&json!(40), &json!(20))
        );
        assert_eq!(duration["superiority"], 1.0);
        assert_eq!(duration["examples"].as_array().unwrap().len(), 3);
        let ratio = items.iter().find(|it| it["metric"] == "failure_ratio").unwrap();
        assert_eq!(
            (&ratio["before"]["value"], &ratio["after"]["value"]),
            (&json!(0.0), &json!(0.5))
        );
    }
    let back = analysis(&ada, "?workflow=adder&versions=2,1").await;
    assert_eq!(back["regressions"]["items"][0]["verdict"], "improvement");
    let few = analysis(&ada, "?workflow=adder&versions=1,7").await;
    assert!(
        few["regressions"]["items"]
            .as_array()
            .unwrap()
            .iter()
            .all(|it| it["verdict"] == "too_few_runs")
    );
}

#[tokio::test]
async fn costs_are_told_by_workflow_and_model_with_the_run_that_cost_most() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    for (model, tokens, is_priced) in
        [("large", 90, true), ("large", 990, true), ("homemade", 90, false)]
    {
        let run = ada.run("adder").await["id"].as_str().unwrap().to_owned();
        Work::begin(&*server.store, &run).await.call_model(1, model, tokens, is_priced).await;
        let found = analysis(&ada, "?sections=costs").await;
        assert_eq!(found["coverage"]["examined"], 0, "no runs are read for it");
        let items = &found["costs"]["items"];
        if tokens == 990 {
            assert_eq!(items[0]["examples"][0]["run_id"], json!(run), "{found}");
        }
    }
    let found = analysis(&ada, "").await;
    let items = &found["costs"]["items"];
    let of = |at: usize| {
        let item = &items[at];
        json!([
            item["workflow"],
            item["model"],
            item["calls"],
            item["unpriced_calls"],
            item["cost_usd"],
            item["share"]
        ])
    };
    assert_eq!(of(0), json!(["adder", "large", 2, 0, 0.0011, 1.0]));
    assert_eq!(of(1), json!(["adder", "homemade", 1, 1, null, 0.0]));
}

#[tokio::test]
async fn another_organization_and_another_workspace_tell_nothing() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    let run = History::of(&ada).await.add(noon(0) - TimeDelta::hours(1), &Past::PLAIN).await;
    let open = ada.run("adder").await["id"].as_str().unwrap().to_owned();
    Work::begin(&*server.store, &open).await.call_model(1, "large", 90, true).await;
    let side = Identity { workspace: "side".into(), ..ada.identity.clone() };
    for stranger in [server.tenant().await, server.user(&side).await] {
        for query in ["", "?workflow=adder", "?workflow=adder&versions=1,2"] {
            let answer = stranger.get(&format!("/v1/analysis{query}")).await;
            let found = answer.expect(200);
            assert_eq!(found["coverage"]["examined"], 0, "{found}");
            assert!(!answer.text.contains(&run.to_string()) && !answer.text.contains("large"));
        }
    }
    let writer = server.scoped(&ada.identity, KeyScopes::NONE.with(KeyScope::Write)).await;
    writer.get("/v1/analysis").await.problem(403, "forbidden");
    assert_eq!(analysis(&ada, "").await["coverage"]["examined"], 2);
}

#[tokio::test]
async fn what_cannot_be_answered_is_refused_with_what_would_be_right() {
    let server = Server::start().await;
    let ada = server.tenant().await;
    let at = |days| noon(days).format("%Y-%m-%dT%H:%M:%SZ").to_string();
    for (query, parameter, hint) in [
        (format!("from={}", at(32)), "from", "in parts"),
        (format!("from={}&to={}", at(2), at(3)), "from", "earlier"),
        (format!("from={}", at(-1)), "from", "24 hours"),
        ("versions=1,2".to_owned(), "versions", "`workflow`"),
        ("workflow=adder&versions=2,2".to_owned(), "versions", "1,2"),
    ] {
        let problem =
            ada.get(&format!("/v1/analysis?{query}")).await.problem(422, "invalid-request");
        assert_eq!(problem["errors"][0]["parameter"], parameter, "{problem}");
        assert!(problem["errors"][0]["hint"].as_str().unwrap().contains(hint), "{problem}");
    }
    for (query, parameter, hint) in [
        ("sections=all", "sections", "critical_path, waiting"),
        ("workflow=adder&versions=2", "versions", "1,2"),
        ("since=24h", "since", "from, to"),
    ] {
        let problem =
            ada.get(&format!("/v1/analysis?{query}")).await.problem(400, "invalid-parameter");
        assert_eq!(problem["errors"][0]["parameter"], parameter, "{problem}");
        assert!(problem["errors"][0]["hint"].as_str().unwrap().contains(hint), "{problem}");
    }
}

/// A crowd that looks back waits for itself, and others are answered meanwhile.
#[tokio::test]
async fn an_organization_looks_back_once_at_a_time() {
    let parts = Parts::default();
    let store = Arc::new(FailingReads::new(Arc::clone(&parts.store), usize::MAX));
    let limits = Limits { broad_read_time: Duration::from_millis(300), ..Limits::default() };
    let server = Server::with(Parts { store: Arc::clone(&store) as _, limits, ..parts }).await;
    let (ada, eve) = (server.tenant().await, server.tenant().await);
    let shut = store.sums_open.write().await;
    let mut crowd: FuturesUnordered<_> = (0..6).map(|_| ada.get("/v1/analysis")).collect();
    for _ in 0..5 {
        let answer = crowd.next().await.unwrap();
        answer.problem(503, "overloaded");
        assert!(!answer.header("retry-after").is_empty());
    }
    assert_eq!(store.sums.load(Ordering::Relaxed), 1, "the others have not come to the store");
    eve.get("/v1/runs").await.expect(200);
    drop(shut);
    crowd.next().await.unwrap().expect(200);
}

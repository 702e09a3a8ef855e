//! PostgreSQL goes away and comes back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};
use skein_tests::otlp::{Span, Status};
use skein_tests::pooler::Pooler;
use skein_tests::postgres::{OwnDatabase, with_own_database};
use skein_tests::stack::invariants::{self, Crashes};
use skein_tests::stack::{Answer, PATIENCE, Program, Setup, Stack, eventually, load, with_stack};

/// Runs of a load.
const RUNS: u64 = 80;
/// How long it may take: a lost message is repeated after 40 s at the latest.
const LOAD_MAX: Duration = Duration::from_secs(90);
/// How long a request may hang while the database does.
const REFUSAL_MAX: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_database_is_said_so_and_everything_recovers() {
    with_stack(Setup::distributed("lost_database").short_leases().proxied(), async |stack| {
        outage(stack, |stack| stack.postgres.as_ref().expect("it was asked for").cut()).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_database_is_said_so_and_everything_recovers() {
    with_stack(Setup::distributed("silent_database").short_leases().proxied(), async |stack| {
        outage(stack, |stack| stack.postgres.as_ref().expect("it was asked for").silence()).await;
    })
    .await;
}

/// The server ends every connection, again and again, in the middle of statements: whether one took effect has to
/// be found out, and nothing is lost or done twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_the_database_ends_change_no_result() {
    with_stack(Setup::distributed("ended_connections"), async |stack| {
        load::publish(stack).await;
        stack.outside.set_pace(Duration::from_millis(50));
        let starting = load::begin(&stack.client, RUNS);
        let (mut ended, mut faults) = (0, 0);
        for arrived in (20..=200).step_by(20) {
            stack.outside.wait_for("/part/", arrived).await;
            ended += stack.database().end_connections().await.expect("it may");
            // On a busy machine the load may be over before the last fault.
            faults += u32::from(load::is_under_way(stack, RUNS));
        }
        assert!(faults >= 3, "only {faults} faults came in time");
        // On a busy machine a program may not have dialled anew before the next fault.
        assert!(ended > 10, "only {ended} connections were there to end");
        let runs = starting.all().await;
        let runs = load::finish(&stack.client, &runs, LOAD_MAX).await;
        invariants::check(stack, &runs, Crashes::None).await;
    })
    .await;
}

/// A pooler in front of the database that hands its sessions out for a transaction each: neither program goes on half
/// alive, and each says what is to be done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_that_shares_its_sessions_is_refused_at_the_start() {
    with_own_database(async |database: Arc<OwnDatabase>| {
        let pooler = Pooler::start(&database, "transaction").await;
        let (url, amqp) = (pooler.url(), std::env::var("AMQP_URL").expect("tests/run sets it"));
        let environment =
            [("DATABASE_URL", &*url), ("AMQP_URL", &*amqp), ("SKEIN_LISTEN", "127.0.0.1:0")];
        for name in ["skein-api", "skein-worker"] {
            let mut program = Program::apart(&format!("shared_{name}"), &[name], &environment);
            program.start();
            let status = program.ended().await;
            let log = program.log();
            assert!(!status.success() && log.contains("set `pool_mode = session`"), "{log}");
            assert!(!log.contains("panicked") && !log.contains("backtrace"), "{log}");
        }
    })
    .await;
}

async fn outage(stack: &mut Stack, begin: impl Fn(&Stack)) {
    load::publish(stack).await;
    let document = json!({
        "name": "held",
        "nodes": [
            { "id": "ask", "type": "http",
              "params": { "method": "POST", "url": stack.outside.url("/gate/go"), "body": {} } },
            { "id": "after", "type": "http",
              "params": { "method": "POST", "url": stack.outside.url("/after"), "body": {} } },
        ],
        "edges": [{ "from": "ask", "to": "after" }],
    });
    stack.client.publish(&document).await;
    let held = stack.client.start("held", &json!({})).await;
    stack.outside.wait_for("/gate/", 1).await;

    begin(stack);
    let path = format!("/v1/workflows/{}/runs", load::WORKFLOW);
    let begun = Instant::now();
    let refused = stack.client.post(&path, &json!({ "input": { "n": 1 } })).await;
    assert_unavailable(&refused.expect("the API answers"));
    assert!(begun.elapsed() < REFUSAL_MAX, "after {:?}", begun.elapsed());
    assert_told(stack).await;
    let ready = stack.client.get("/readyz").await.expect("the API answers");
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE, "{ready:#?}");
    let alive = stack.client.get("/livez").await.expect("the API answers");
    assert_eq!(alive.status, StatusCode::OK, "a process is not restarted for its database");

    // Longer than a lease lives.
    for worker in &mut stack.workers {
        worker.prints("lease lost", 0).await;
    }

    stack.postgres.as_ref().expect("it was asked for").mend();
    stack.outside.open("go");
    let accepted = eventually("the API accepts runs again", async || {
        let answer = stack.client.post(&path, &json!({ "input": { "n": 2 } })).await.ok()?;
        (answer.status == StatusCode::ACCEPTED).then(|| answer.body["id"].clone())
    })
    .await;
    let run = stack.client.ended(accepted.as_str().expect("an id")).await;
    assert_eq!(run.0["output"], load::expected_output(2), "{:#}", run.0);
    let held = stack.client.ended(held.id()).await;
    assert_eq!(held.status(), "succeeded", "{:#}", held.0);
    assert_eq!(stack.outside.hits_at("/after").len(), 1);
    // Nothing but the outage may have been taken for a failure of the node.
    assert_eq!(held.node("ask")["error"], Value::Null);
    let pool = stack.database().raw().await.expect("the PostgreSQL for tests");
    let query = "SELECT (SELECT count(*) FROM node_attempts WHERE outcome = 'crashed')
                      + (SELECT count(*) FROM node_runs WHERE suspect OR strikes > 0)";
    let blamed: i64 =
        sqlx::query_scalar(query).fetch_one(&pool).await.expect("the tables are there");
    pool.close().await;
    assert_eq!(blamed, 0, "the workers lived, so nothing has crashed them");
    for program in std::iter::once(&mut stack.api).chain(&mut stack.workers) {
        assert!(program.is_running(), "{} ended", program.name());
    }
}

/// The span of the request that was refused says why: in words that quote nothing.
async fn assert_told(stack: &Stack) {
    const CAUSES: [&str; 4] =
        ["connection_refused", "connection_lost", "no_answer_in_time", "no_connection_in_time"];
    let is_refused = |span: &Span| {
        let status = span.attributes.get("http.response.status_code");
        span.name == "POST /v1/workflows/{name}/runs" && status == Some(&json!(503))
    };
    let refused = stack.collector.wait_for(|spans| spans.iter().any(is_refused), PATIENCE).await;
    let refused = refused.unwrap_or_else(|error| panic!("{error:#}"));
    let refused = refused.iter().find(|span| is_refused(span)).expect("it was waited for");
    assert_eq!(refused.attributes["error.type"], "unavailable", "{refused:#?}");
    let Status::Error(why) = &refused.status else { panic!("{refused:#?}") };
    let cause = why.strip_prefix("unavailable: ").unwrap_or_else(|| panic!("{why:?}"));
    assert!(CAUSES.contains(&cause), "{why:?}");
}

fn assert_unavailable(answer: &Answer) {
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{answer:#?}");
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    let seconds =
        answer.headers["retry-after"].to_str().ok().and_then(|text| text.parse::<u32>().ok());
    assert!(seconds.is_some_and(|seconds| seconds > 0), "{answer:#?}");
}

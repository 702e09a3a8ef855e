//! Programs that die without a word in the middle of the load.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use skein_tests::stack::invariants::{self, Crashes};
use skein_tests::stack::{Setup, Stack, eventually, load, with_stack};

/// Runs of the load.
const RUNS: u64 = 200;
/// How long a request to the outside takes, so that there is always something under way.
const PACE: Duration = Duration::from_millis(150);
/// How long everything may take after the crash: a lost message is repeated after 40 s at the latest.
const RECOVERY_MAX: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_workers_lose_no_run() {
    // Few slots, so that each worker has its share of the load.
    let setup = Setup::distributed("killed_workers").short_leases().env("SKEIN_CONCURRENCY", "24");
    with_stack(setup, async |stack| {
        load::publish(stack).await;
        stack.outside.set_pace(PACE);
        let starting = load::begin(&stack.client, RUNS);
        for (victim, arrived) in [(0, 40), (1, 200)] {
            // Requests are held, so that the victim is in the middle of some.
            stack.outside.hold_beyond(2 * arrived);
            stack.outside.wait_for("/part/", arrived).await;
            let (before, pid) = (crashed_attempts(stack).await, stack.workers[victim].pid());
            stack.workers[victim].kill().await;
            load::assert_under_way(stack, RUNS);
            stack.restart_worker(victim).await;
            all_is_taken_back(stack, pid).await;
            assert!(crashed_attempts(stack).await > before, "the kill hit nothing");
            // Before the next kill, which takes with it what its victim has not exported yet.
            assert_crashes_are_spans(stack).await;
        }
        stack.outside.release();
        let runs = starting.all().await;
        let runs = load::finish(&stack.client, &runs, RECOVERY_MAX).await;
        invariants::check(stack, &runs, Crashes::Injected).await;
    })
    .await;
}

/// What a worker was running when it died starts again at once, and all of it beside each other. What was in a second
/// crash as well comes one after another, and ends as soon.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_worker_held_starts_again_at_once() {
    const HELD: usize = 24;
    let setup = Setup::distributed("started_again").short_leases().workers(1);
    with_stack(setup.env("SKEIN_CONCURRENCY", "32"), async |stack| {
        let ask = asking(stack, "/gate/go");
        stack.client.publish(&json!({ "name": "held", "nodes": [ask] })).await;
        let mut runs = Vec::new();
        for _ in 0..HELD {
            runs.push(stack.client.start("held", &json!({})).await);
        }
        for arrived in [HELD, 2 * HELD] {
            // Nobody is answered: one at a time they would never come.
            stack.outside.wait_for("/gate/", arrived).await;
            stack.workers[0].kill().await;
            stack.restart_worker(0).await;
        }
        stack.outside.open("go");
        for run in &runs {
            let ended = stack.client.ended(run.id()).await;
            assert_eq!(ended.status(), "succeeded", "{:#}", ended.0);
        }
    })
    .await;
}

/// A node that kills every worker which runs it is found out, in a fleet in which it never runs alone by chance; and
/// those that are hit with it succeed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_kills_its_workers_is_convicted_in_a_busy_fleet() {
    /// Runs beside it at any time.
    const NEIGHBOURS: usize = 12;
    let setup = Setup::distributed("poison").short_leases().env("SKEIN_CONCURRENCY", "16");
    with_stack(setup, async |stack| {
        let poison = asking(stack, "/gate/never");
        stack.client.publish(&json!({ "name": "poison", "nodes": [poison] })).await;
        let neighbour = asking(stack, "/neighbour");
        stack.client.publish(&json!({ "name": "neighbour", "nodes": [neighbour] })).await;
        stack.outside.set_pace(PACE);
        let poison = stack.client.start("poison", &json!({})).await;
        let client = stack.client.clone();
        let is_over = tokio_util::sync::CancellationToken::new();
        let neighbours = futures_util::future::join_all((0..NEIGHBOURS).map(async |_| {
            while !is_over.is_cancelled() {
                let run = client.start("neighbour", &json!({})).await;
                let ended = client.ended(run.id()).await;
                assert_eq!(ended.status(), "succeeded", "{:#}", ended.0);
            }
        }));
        let killing = async {
            let (mut killed, id) = (0, poison.id());
            let ended = loop {
                let run = client.find(id).await.expect("the API answers");
                if run.has_ended() {
                    break run;
                }
                if stack.outside.hits_at("/gate/never").len() > killed {
                    killed += 1;
                    let victim = holder(stack, id).await;
                    stack.workers[victim].kill().await;
                    stack.restart_worker(victim).await;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            };
            is_over.cancel();
            (ended, killed)
        };
        let ((ended, killed), _) = tokio::join!(killing, neighbours);
        assert_eq!((ended.status(), &ended.0["error"]["code"]), ("failed", &json!("poison")));
        // Twice unsuspected, once perhaps beside others, three times alone.
        assert!((5..=6).contains(&killed), "{killed} workers died: {:#}", ended.0);
    })
    .await;
}

/// A node that asks the outside, and may wait long for the answer.
fn asking(stack: &Stack, path: &str) -> serde_json::Value {
    json!({
        "id": "ask", "type": "http", "timeout": "120s",
        "params": { "method": "POST", "url": stack.outside.url(path), "body": {} },
    })
}

/// Which worker is running a node of this run.
async fn holder(stack: &Stack, run: &str) -> usize {
    let pool = stack.database().raw().await.expect("the PostgreSQL for tests");
    let query = "SELECT w.pid FROM node_runs n JOIN worker_leases w ON w.lease_id = n.lease_id
                 WHERE n.run_id = $1::uuid AND n.state = 'running'";
    let pid: i64 = sqlx::query_scalar(query).bind(run).fetch_one(&pool).await.expect("it runs");
    pool.close().await;
    let found = stack.workers.iter().position(|worker| i64::from(worker.pid()) == pid);
    found.expect("it is one that the test runs")
}

/// A worker that stands still for longer than its lease lives, and then goes on: what it was doing was done by
/// another meanwhile, and nothing of it may count any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_wakes_up_too_late_changes_nothing() {
    with_stack(Setup::distributed("frozen_worker").short_leases().workers(1), async |stack| {
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
        stack.workers[0].freeze().await;
        let mut other = stack.program("skein-worker-late", &["skein-worker"]);
        other.start();
        stack.outside.wait_for("/gate/", 2).await;
        stack.outside.open("go");
        let ended = stack.client.ended(held.id()).await;
        assert_eq!(ended.status(), "succeeded", "{:#}", ended.0);
        let log = stack.client.logs(held.id()).await;

        let leases = stack.workers[0].log().matches("lease opened").count();
        stack.workers[0].thaw().await;
        stack.workers[0].prints("lease opened", leases).await;
        assert_eq!(stack.client.find(held.id()).await.expect("it is there").0, ended.0);
        assert_eq!(stack.client.logs(held.id()).await, log);
        assert_eq!(ended.node("ask")["earlier_attempts"][0]["outcome"], "crashed");
        assert_eq!(stack.outside.hits_at("/after").len(), 1);
        // It works again, under its new lease.
        other.kill().await;
        let runs = load::start(&stack.client, 10).await;
        for run in load::finish(&stack.client, &runs, RECOVERY_MAX).await {
            assert_eq!(run.status(), "succeeded", "{:#}", run.0);
        }
    })
    .await;
}

/// Waits until nothing runs any more under the lease of a worker that is dead.
async fn all_is_taken_back(stack: &Stack, pid: u32) {
    let pool = stack.database().raw().await.expect("the PostgreSQL for tests");
    let query = "SELECT count(*) FROM node_runs n JOIN worker_leases w ON w.lease_id = n.lease_id
                 WHERE w.pid = $1 AND n.state = 'running'";
    eventually("what the dead worker was at is taken back", async || {
        let count: i64 =
            sqlx::query_scalar(query).bind(i64::from(pid)).fetch_one(&pool).await.ok()?;
        (count == 0).then_some(())
    })
    .await;
    pool.close().await;
}

/// A crashed attempt is exported by whoever takes the node back, in the trace of its run.
async fn assert_crashes_are_spans(stack: &Stack) {
    let pool = stack.database().raw().await.expect("the PostgreSQL for tests");
    let query = "SELECT r.trace_id, a.span_id FROM node_attempts a JOIN runs r ON r.id = a.run_id
                 WHERE a.outcome = 'crashed'";
    let lost: Vec<(String, String)> = sqlx::query_as(query).fetch_all(&pool).await.expect("tables");
    pool.close().await;
    let all_there = |spans: &[skein_tests::otlp::Span]| {
        let crashed: BTreeSet<_> = spans
            .iter()
            .filter(|span| span.attributes.get("node.error_code") == Some(&json!("worker_crashed")))
            .map(|span| (span.trace_id.to_string(), span.span_id.to_string()))
            .collect();
        lost.iter().all(|attempt| crashed.contains(attempt))
    };
    let spans = stack.collector.wait_for(all_there, skein_tests::stack::PATIENCE).await;
    assert!(spans.is_ok(), "not all of {lost:?} were exported");
}

async fn crashed_attempts(stack: &Stack) -> i64 {
    let pool = stack.database().raw().await.expect("the PostgreSQL for tests");
    let query = "SELECT count(*) FROM node_attempts WHERE outcome = 'crashed'";
    let count = sqlx::query_scalar(query).fetch_one(&pool).await.expect("the table is there");
    pool.close().await;
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_api_loses_no_run_and_makes_none_twice() {
    with_stack(Setup::distributed("killed_api"), async |stack| {
        load::publish(stack).await;
        stack.outside.set_pace(Duration::from_millis(20));
        // These clients repeat their requests under the same key until somebody answers.
        let mut starting = load::begin(&stack.client, RUNS);
        for accepted in [RUNS / 8, RUNS / 2] {
            starting.accepted(accepted).await;
            stack.api.kill().await;
            starting.assert_under_way();
            load::assert_under_way(stack, RUNS);
            stack.api.start();
            stack.api_serves().await;
        }
        let runs = starting.all().await;
        let runs = load::finish(&stack.client, &runs, RECOVERY_MAX).await;
        invariants::check(stack, &runs, Crashes::None).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_embedded_instance_goes_on_where_it_was() {
    with_stack(Setup::embedded("killed_instance"), async |stack| {
        load::publish(stack).await;
        let document = json!({
            "name": "held",
            "nodes": [
                { "id": "before", "type": "http",
                  "params": { "method": "POST", "url": stack.outside.url("/before"), "body": {} } },
                { "id": "ask", "type": "http",
                  "params": { "method": "POST", "url": stack.outside.url("/gate/go"), "body": {} } },
                { "id": "wait", "type": "delay", "params": { "for": "1s" } },
            ],
            "edges": [{ "from": "before", "to": "ask" }, { "from": "ask", "to": "wait" }],
        });
        stack.client.publish(&document).await;
        let held = stack.client.start("held", &json!({})).await;
        stack.outside.wait_for("/gate/", 1).await;
        stack.outside.set_pace(PACE);
        let runs = load::start(&stack.client, 20).await;
        stack.outside.wait_for("/part/", 10).await;

        stack.api.kill().await;
        stack.api.start();
        stack.api_serves().await;
        stack.outside.open("go");

        let held = stack.client.ended(held.id()).await;
        assert_eq!(held.status(), "succeeded", "{:#}", held.0);
        assert_eq!(held.node("ask")["attempts"], 2, "{:#}", held.0);
        assert_eq!(held.node("before")["attempts"], 1, "{:#}", held.0);
        assert_eq!(stack.outside.hits_at("/before").len(), 1, "what was committed is not repeated");
        let gate = stack.outside.hits_at("/gate/go");
        assert_eq!(gate.len(), 2, "what was not, is");
        assert_eq!(gate[0].key, gate[1].key, "under the same key");
        let runs = load::finish(&stack.client, &runs, RECOVERY_MAX).await;
        for run in &runs {
            assert_eq!(run.status(), "succeeded", "{:#}", run.0);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_instance_on_the_same_directory_is_refused() {
    with_stack(Setup::embedded("second_instance"), async |stack| {
        let mut second = stack.program("second", &["skein", "dev"]);
        second.set("SKEIN_LISTEN", "127.0.0.1:0");
        second.start();
        let status = second.ended().await;
        assert!(!status.success(), "{}", second.log());
        let said = second.log();
        let pid = stack.api.pid().to_string();
        let directory = stack.data().to_string_lossy().into_owned();
        assert!(said.contains(&directory) || said.contains(&pid), "it says who has it: {said}");
        assert!(!said.contains("panicked"), "{said}");
        assert!(stack.client.get("/readyz").await.is_ok_and(|answer| answer.status.is_success()));
    })
    .await;
}

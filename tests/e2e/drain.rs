//! A worker that is asked to stop under load finishes what it has begun, and leaves the rest to others.

use std::time::Duration;

use skein_tests::stack::invariants::{self, Crashes};
use skein_tests::stack::traces;
use skein_tests::stack::{PATIENCE, Setup, load, with_stack};

/// Runs of the load.
const RUNS: u64 = 80;
/// How long everything may take.
const LOAD_MAX: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_worker_drains_and_nothing_counts_as_a_crash() {
    with_stack(Setup::distributed("drain"), async |stack| {
        load::publish(stack).await;
        stack.outside.set_pace(Duration::from_millis(150));
        let starting = load::begin(&stack.client, RUNS);
        stack.outside.wait_for("/part/", 60).await;
        stack.workers[0].terminate().await;
        load::assert_under_way(stack, RUNS);
        let status = stack.workers[0].ended().await;
        assert_eq!(status.code(), Some(0), "{}", stack.workers[0].tail(40));
        stack.restart_worker(0).await;
        let runs = starting.all().await;
        let runs = load::finish(&stack.client, &runs, LOAD_MAX).await;
        invariants::check(stack, &runs, Crashes::None).await;

        let pool = stack.database().raw().await.expect("the PostgreSQL for tests");
        let query = "SELECT count(*) FROM node_attempts WHERE outcome = 'crashed'";
        let crashes: i64 = sqlx::query_scalar(query).fetch_one(&pool).await.expect("it is there");
        pool.close().await;
        assert_eq!(crashes, 0);
        // Its spans went out before it did: no trace lacks one.
        traces::become_whole(stack, &runs, traces::collected).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_stops_in_order_when_asked_to() {
    for setup in [Setup::distributed("stop"), Setup::embedded("stop")] {
        with_stack(setup, async |stack| {
            load::publish(stack).await;
            let runs = load::start(&stack.client, 10).await;
            load::finish(&stack.client, &runs, PATIENCE).await;
            let codes = stack.stop().await;
            assert!(codes.iter().all(|code| *code == Some(0)), "{codes:?}");
            let logs = stack.logs();
            assert!(!logs.contains("\"level\":\"error\"") && !logs.contains("panicked"), "{logs}");
        })
        .await;
    }
}

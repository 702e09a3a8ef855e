//! RabbitMQ goes away, comes back, or forgets what was declared.

use std::time::Duration;

use serde_json::json;
use skein_tests::rabbitmq;
use skein_tests::stack::invariants::{self, Crashes};
use skein_tests::stack::{POOLS, Setup, load, with_stack, with_stack_alone};

/// Runs of the load.
const RUNS: u64 = 80;
/// How long everything may take after the fault: a lost message is repeated after 40 s at the latest.
const RECOVERY_MAX: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closed_connections_change_no_result() {
    with_stack(Setup::distributed("closed_connections").proxied(), async |stack| {
        load::publish(stack).await;
        stack.outside.set_pace(Duration::from_millis(30));
        stack.outside.hold_beyond(120);
        let starting = load::begin(&stack.client, RUNS);
        stack.outside.wait_for("/part/", 40).await;
        // As an operator would, who has those of three programs before him: each publishes or consumes, or both.
        let closed = rabbitmq::close_connections(&stack.namespace).await;
        assert!(closed >= 3, "only {closed} connections were there to close");
        load::assert_under_way(stack, RUNS);
        stack.outside.hold_beyond(240);
        stack.outside.wait_for("/part/", 140).await;
        // As a broken network would.
        stack.amqp.as_ref().expect("it was asked for").reset();
        load::assert_under_way(stack, RUNS);
        stack.outside.release();
        let runs = starting.all().await;
        let runs = load::finish(&stack.client, &runs, RECOVERY_MAX).await;
        invariants::check(stack, &runs, Crashes::None).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purged_queue_costs_time_only() {
    // Few slots, so that most of the work waits in the queue.
    let setup = Setup::distributed("purged_queue").env("SKEIN_CONCURRENCY", "2");
    // Enough that they are still being accepted at the first purge.
    const RUNS: u64 = 200;
    with_stack(setup, async |stack| {
        load::publish(stack).await;
        stack.outside.set_pace(Duration::from_millis(30));
        let mut starting = load::begin(&stack.client, RUNS);
        // While runs are being accepted, and when all are.
        starting.accepted(RUNS / 4).await;
        let first = rabbitmq::purge(&stack.namespace, POOLS).await.expect("the RabbitMQ for tests");
        starting.assert_under_way();
        let runs = starting.all().await;
        let second =
            rabbitmq::purge(&stack.namespace, POOLS).await.expect("the RabbitMQ for tests");
        load::assert_under_way(stack, RUNS);
        for purged in [first, second] {
            assert!(purged > 20, "only {purged} messages were there to be lost");
        }
        let runs = load::finish(&stack.client, &runs, RECOVERY_MAX).await;
        invariants::check(stack, &runs, Crashes::None).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_are_accepted_without_a_broker_and_start_when_there_is_one() {
    with_stack(Setup::distributed("without_a_broker").proxied(), async |stack| {
        load::publish(stack).await;
        stack.stop().await;
        stack.amqp.as_ref().expect("it was asked for").cut();
        stack.api.start();
        stack.api_serves().await;
        for worker in 0..stack.workers.len() {
            stack.restart_worker(worker).await;
        }
        let runs = load::start(&stack.client, 20).await;
        for run in &runs {
            let run = stack.client.find(run.id()).await.expect("the API answers");
            assert_eq!(run.status(), "queued", "no message could have been published: {:#}", run.0);
        }
        assert_eq!(stack.outside.hits(), []);
        stack.amqp.as_ref().expect("it was asked for").mend();
        let runs = load::finish(&stack.client, &runs, RECOVERY_MAX).await;
        invariants::check(stack, &runs, Crashes::None).await;
    })
    .await;
}

/// Nothing else runs beside it: it is everybody's broker.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_broker_changes_no_result() {
    with_stack_alone(Setup::distributed("restarted_broker"), async |stack| {
        load::publish(stack).await;
        stack.outside.set_pace(Duration::from_millis(30));
        stack.outside.hold_beyond(120);
        let starting = load::begin(&stack.client, RUNS);
        stack.outside.wait_for("/part/", 40).await;
        let stopped = rabbitmq::stop_broker().await;
        // The API goes on accepting while there is no broker at all.
        let meanwhile = stack.client.start(load::WORKFLOW, &json!({ "n": RUNS })).await;
        load::assert_under_way(stack, RUNS);
        drop(stopped);
        stack.outside.release();
        let mut runs = starting.all().await;
        runs.push(meanwhile);
        let runs = load::finish(&stack.client, &runs, RECOVERY_MAX).await;
        invariants::check(stack, &runs, Crashes::None).await;
    })
    .await;
}

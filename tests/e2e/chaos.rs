//! What is accepted ends, once, whatever is killed, restarted or purged meanwhile.

use std::time::Duration;

use skein_tests::rabbitmq::{close_connections, rabbitmqctl};
use skein_tests::stack::invariants::{self, Crashes};
use skein_tests::stack::{Setup, Stack, eventually, load, with_stack};

/// The load of each case.
const RUNS: u64 = 60;
/// How long each request of a node takes, so that a blow hits runs in all their states.
const PACE: Duration = Duration::from_millis(40);
/// How long a load may take with a blow in its middle. A lost message waits 30 s for its first sweep.
const LOAD_TIME: Duration = Duration::from_secs(150);

/// Short, so that a killed worker is noticed within the test.
fn setup(label: &str) -> Setup {
    Setup::distributed(label).env("SKEIN_LEASE_TTL", "4s")
}

/// Starts the load, strikes when it is well under way, and checks that nothing was lost.
async fn strike(stack: &mut Stack, crashes: Crashes, blow: impl AsyncFnOnce(&mut Stack)) {
    load::publish(stack).await;
    stack.outside.set_pace(PACE);
    let client = stack.client.clone();
    let struck = async {
        stack.outside.wait_for("/part", 20).await;
        blow(&mut *stack).await;
    };
    let (accepted, ()) = tokio::join!(load::start(&client, RUNS), struck);
    let runs = load::finish(&stack.client, &accepted, LOAD_TIME).await;
    invariants::check(stack, &runs, crashes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_workers_lose_nothing() {
    with_stack(setup("killed_workers"), async |stack| {
        strike(stack, Crashes::Injected, async |stack| {
            for worker in [0, 1] {
                stack.workers[worker].kill().await;
                let hits = stack.outside.hits().len();
                stack.restart_worker(worker).await;
                // Somebody works again before the next one dies.
                eventually("work goes on", async || {
                    (stack.outside.hits().len() > hits).then_some(())
                })
                .await;
            }
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_api_loses_nothing_that_it_accepted() {
    with_stack(setup("killed_api"), async |stack| {
        strike(stack, Crashes::None, async |stack| {
            stack.api.kill().await;
            stack.api.start();
            stack.api_serves().await;
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_of_the_queue_loses_nothing() {
    with_stack(setup("purged_queue"), async |stack| {
        strike(stack, Crashes::None, async |stack| {
            let queue = format!("{}.work.v1.default", stack.namespace);
            for _ in 0..3 {
                rabbitmqctl(&["purge_queue", &queue]).await;
            }
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_connections_to_the_broker_lose_nothing() {
    with_stack(setup("broken_connections"), async |stack| {
        strike(stack, Crashes::None, async |stack| {
            for _ in 0..3 {
                let namespace = stack.namespace.clone();
                close_connections(&namespace).await;
            }
        })
        .await;
    })
    .await;
}

/// Disturbs everybody who uses the broker, so it is asked for: CI does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_the_broker_loses_nothing() {
    if std::env::var_os("SKEIN_TEST_RESTART_BROKER").is_none() {
        println!("SKEIN_TEST_RESTART_BROKER is not set: RabbitMQ was not restarted");
        return;
    }
    with_stack(setup("restarted_broker"), async |stack| {
        strike(stack, Crashes::None, async |_| {
            rabbitmqctl(&["stop_app"]).await;
            rabbitmqctl(&["start_app"]).await;
        })
        .await;
    })
    .await;
}

//! A collector that is broken changes nothing but what is seen.

use std::time::{Duration, Instant};

use skein_tests::otlp::Mode;
use skein_tests::stack::invariants::{self, Crashes};
use skein_tests::stack::{Form, PATIENCE, Run, Setup, Stack, load, with_stack};

/// Runs of each load.
const RUNS: u64 = 40;
/// How long a program may take to stop although nobody takes its telemetry: the bound of the flush, and what an idle
/// drain takes.
const STOP_MAX: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_hangs_slows_nothing_down() {
    broken(Setup::distributed("hanging_collector"), Some(Mode::Hang)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_refuses_slows_nothing_down() {
    broken(Setup::distributed("refusing_collector"), Some(Mode::Status(503))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_not_there_slows_nothing_down() {
    // Nobody listens at the port of the discard service, and an unprivileged process cannot begin to.
    broken(Setup::distributed("absent_collector").collector("http://127.0.0.1:9"), None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_hangs_slows_no_embedded_instance_down() {
    broken(Setup::embedded("hanging_collector"), Some(Mode::Hang)).await;
}

async fn broken(setup: Setup, mode: Option<Mode>) {
    with_stack(setup, async |stack| {
        load::publish(stack).await;
        let mut healthy = None;
        if let Some(mode) = mode {
            healthy = Some((load(stack, 0).await, stack.collector.requests().len()));
            stack.collector.set_mode(mode);
        }
        let broken = load(stack, 1).await;
        if let Some((healthy, requests)) = healthy {
            let asked = stack.collector.wait_for_requests(requests + 1, PATIENCE).await;
            assert!(asked.is_ok(), "the broken collector was not even tried");
            // Twice as long and some seconds: an export that were waited for would cost ten for each batch.
            let most = healthy * 2 + Duration::from_secs(5);
            assert!(broken < most, "{broken:?} instead of {healthy:?}");
        }
        let begun = Instant::now();
        let codes = stack.stop().await;
        assert!(codes.iter().all(|code| *code == Some(0)), "{codes:?}");
        assert!(begun.elapsed() < STOP_MAX, "they took {:?} to stop", begun.elapsed());
    })
    .await;
}

/// Runs a load and says how long it took. Results are as ever.
async fn load(stack: &Stack, round: u64) -> Duration {
    let begun = Instant::now();
    let mut runs: Vec<Run> = Vec::new();
    for n in 0..RUNS {
        let key = format!("round-{round}-{n}");
        let input = serde_json::json!({ "n": n });
        runs.push(stack.client.start_surely(load::WORKFLOW, &input, &key).await);
    }
    let runs = load::finish(&stack.client, &runs, PATIENCE).await;
    let took = begun.elapsed();
    for (n, run) in runs.iter().enumerate() {
        assert_eq!(run.status(), "succeeded", "{:#}", run.0);
        assert_eq!(run.0["output"], load::expected_output(n as u64), "{:#}", run.0);
    }
    if round == 0 && stack.form == Form::Distributed {
        invariants::check(stack, &runs, Crashes::None).await;
    }
    took
}

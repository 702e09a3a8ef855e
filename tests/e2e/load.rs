//! Many runs at a time, over two workers: each is whole, and each is one trace.

use std::collections::BTreeSet;
use std::time::Duration;

use skein_tests::stack::invariants::{self, Crashes};
use skein_tests::stack::{Setup, Tap, load, traces, with_stack};

/// Runs of the load.
const RUNS: u64 = 200;
/// How long the whole load may take on two busy cores with unoptimised programs.
const LOAD_MAX: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_runs_succeed_over_two_workers_each_as_one_trace() {
    with_stack(Setup::distributed("two_hundred_runs"), async |stack| {
        load::publish(stack).await;
        let runs = load::start(&stack.client, RUNS).await;
        let runs = load::finish(&stack.client, &runs, LOAD_MAX).await;
        invariants::check(stack, &runs, Crashes::None).await;

        traces::become_whole(stack, &runs, traces::collected).await;
        let spans = stack.collector.spans();
        let nodes = spans.iter().filter(|span| span.name.starts_with("node.execute."));
        let shares = nodes.fold(std::collections::BTreeMap::new(), |mut shares, span| {
            *shares.entry(span.resource["service.instance.id"].to_string()).or_insert(0) += 1;
            shares
        });
        assert_eq!(shares.len(), 2, "both workers took part: {shares:?}");
        let least = shares.values().min().copied().unwrap_or_default();
        assert!(least > RUNS, "the work is spread: {shares:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_embedded_instance_bears_the_load_as_well() {
    with_stack(Setup::embedded("load"), async |stack| {
        load::publish(stack).await;
        let runs = load::start(&stack.client, RUNS).await;
        let runs = load::finish(&stack.client, &runs, LOAD_MAX).await;
        invariants::check(stack, &runs, Crashes::None).await;
        traces::become_whole(stack, &runs, traces::collected).await;
    })
    .await;
}

/// The same as seen by a receiver that others wrote: oteltap from PyPI.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_independent_receiver_sees_one_trace_a_run() {
    if std::env::var("SKEIN_TEST_WITHOUT_PYPI").is_ok_and(|value| !value.is_empty()) {
        eprintln!("without the independent receiver, as SKEIN_TEST_WITHOUT_PYPI says");
        return;
    }
    let tap = Tap::start().await;
    let setup = Setup::distributed("independent_receiver").collector(&tap.endpoint());
    with_stack(setup, async |stack| {
        load::publish(stack).await;
        let runs = load::start(&stack.client, RUNS).await;
        let runs = load::finish(&stack.client, &runs, LOAD_MAX).await;
        traces::become_whole(stack, &runs, |_| tap.spans()).await;
        let ids: BTreeSet<_> = runs.iter().map(|run| run.trace().to_string()).collect();
        assert_eq!(ids.len(), runs.len(), "each run has a trace of its own");
        assert_eq!(stack.collector.spans(), [], "nothing went to the other collector");
    })
    .await;
}

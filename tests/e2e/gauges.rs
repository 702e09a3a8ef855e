//! What is open in an installation, as its metrics tell: whether the numbers are right, and who sends them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use skein_shared::domain::state::{NodeState, RunState};
use skein_tests::otlp::Point;
use skein_tests::stack::{Form, Run, Setup, Stack, eventually, with_stack};

/// Metrics are exported, and what is open is counted, every second.
const INTERVAL: (&str, &str) = ("OTEL_METRIC_EXPORT_INTERVAL", "1000");
/// Every process sends it, so it shows who does.
const LIVE_WORKERS: &str = "workflow.workers.live";

fn setup(form: Form, label: &str) -> Setup {
    Setup::new(form, label).env(INTERVAL.0, INTERVAL.1)
}

/// A run of it waits for an hour.
async fn publish(stack: &Stack) {
    let wait = json!({ "id": "wait", "type": "delay", "params": { "for": "1h" } });
    stack.client.publish(&json!({ "name": "patient", "nodes": [wait] })).await;
}

async fn start(stack: &Stack, count: usize) -> Vec<Run> {
    let mut runs = Vec::new();
    for _ in 0..count {
        runs.push(stack.client.start("patient", &json!({})).await);
    }
    runs
}

async fn cancel(stack: &Stack, runs: &[Run]) {
    for run in runs {
        let path = format!("/v1/runs/{}/cancel", run.id());
        stack.client.post(&path, &json!({})).await.expect("the API answers");
        assert_eq!(stack.client.ended(run.id()).await.status(), "cancelled");
    }
}

/// The latest value of each series of a gauge, by its label.
fn latest(gauges: &[Point], name: &str) -> BTreeMap<String, f64> {
    let series = gauges.iter().filter(|gauge| gauge.name == name);
    let label = |gauge: &Point| {
        let label = gauge.attributes.values().next().and_then(Value::as_str);
        label.unwrap_or_default().to_owned()
    };
    series.map(|gauge| (label(gauge), gauge.value)).collect()
}

/// What the gauges are to say. Of every state that is not named here, that there is none: the zero is sent as well.
#[derive(Debug, Clone, Copy, Default)]
struct Expected {
    runs: &'static [(RunState, f64)],
    nodes: &'static [(NodeState, f64)],
    workers: f64,
    ready: f64,
    is_waited_for: bool,
}

impl Expected {
    /// What differs, if anything does.
    fn difference(&self, gauges: &[Point], queues: &[(String, f64)]) -> Option<String> {
        let states = |all: Vec<&'static str>, named: Vec<(&str, f64)>| -> BTreeMap<String, f64> {
            let zeros = all.into_iter().map(|state| (state.to_owned(), 0.0));
            zeros.chain(named.into_iter().map(|(state, count)| (state.to_owned(), count))).collect()
        };
        let open_runs = RunState::ALL.iter().filter(|state| !state.is_terminal());
        let open_nodes = NodeState::ALL.iter().filter(|state| !state.is_terminal());
        let alone = |value: f64| BTreeMap::from([(String::new(), value)]);
        let expected = [
            (
                "workflow.runs.open",
                states(
                    open_runs.map(|state| state.as_str()).collect(),
                    self.runs.iter().map(|(state, count)| (state.as_str(), *count)).collect(),
                ),
            ),
            (
                "workflow.nodes.open",
                states(
                    open_nodes.map(|state| state.as_str()).collect(),
                    self.nodes.iter().map(|(state, count)| (state.as_str(), *count)).collect(),
                ),
            ),
            (LIVE_WORKERS, alone(self.workers)),
            ("workflow.timers.overdue", alone(0.0)),
            ("workflow.queue.depth", queues.iter().cloned().collect()),
        ];
        for (name, expected) in expected {
            let is = latest(gauges, name);
            if is != expected {
                return Some(format!("{name} is {is:?}, not {expected:?}"));
            }
        }
        let age = latest(gauges, "workflow.queue.oldest_age");
        let is_right = age.len() == 1 && age.values().all(|age| (*age > 0.0) == self.is_waited_for);
        (!is_right).then(|| format!("workflow.queue.oldest_age is {age:?}"))
    }
}

/// Waits until the gauges say this.
async fn comes_to(stack: &Stack, expected: Expected) {
    let queues = match stack.form {
        Form::Embedded => vec![("skein.work.v1.default".to_owned(), expected.ready)],
        Form::Distributed => vec![
            (format!("{}.work.v1.default", stack.namespace), expected.ready),
            (format!("{}.dead.v1", stack.namespace), 0.0),
        ],
    };
    let mut shown = None;
    eventually(&format!("the gauges say {expected:?}"), async || {
        let difference = expected.difference(&stack.collector.gauges(), &queues);
        if difference != shown {
            println!("{}", difference.as_deref().unwrap_or("they do"));
            shown.clone_from(&difference);
        }
        difference.is_none().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gauges_say_what_waits_for_a_worker_what_waits_for_a_time_and_that_nothing_does() {
    let setup = setup(Form::Distributed, "gauges_of_a_fleet");
    with_stack(setup, async |stack| {
        comes_to(stack, Expected { workers: 2.0, ..Expected::default() }).await;
        publish(stack).await;
        for worker in &mut stack.workers {
            assert!(worker.stop().await.success());
        }
        comes_to(stack, Expected::default()).await;
        let runs = start(stack, 3).await;
        let waits_for_a_worker = Expected {
            runs: &[(RunState::Queued, 3.0)],
            nodes: &[(NodeState::Queued, 3.0)],
            ready: 3.0,
            is_waited_for: true,
            ..Expected::default()
        };
        comes_to(stack, waits_for_a_worker).await;
        stack.restart_worker(0).await;
        let waits_for_a_time = Expected {
            runs: &[(RunState::Suspended, 3.0)],
            nodes: &[(NodeState::Waiting, 3.0)],
            workers: 1.0,
            ..Expected::default()
        };
        comes_to(stack, waits_for_a_time).await;
        cancel(stack, &runs).await;
        comes_to(stack, Expected { workers: 1.0, ..Expected::default() }).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gauges_of_an_embedded_server_say_so_as_well() {
    with_stack(setup(Form::Embedded, "gauges"), async |stack| {
        comes_to(stack, Expected { workers: 1.0, ..Expected::default() }).await;
        publish(stack).await;
        let runs = start(stack, 2).await;
        let waits_for_a_time = Expected {
            runs: &[(RunState::Suspended, 2.0)],
            nodes: &[(NodeState::Waiting, 2.0)],
            workers: 1.0,
            ..Expected::default()
        };
        comes_to(stack, waits_for_a_time).await;
        cancel(stack, &runs).await;
        comes_to(stack, Expected { workers: 1.0, ..Expected::default() }).await;
    })
    .await;
}

/// Who has sent the gauges: each process once for each time in a row, with the kind of process.
fn senders(gauges: &[Point]) -> Vec<(String, String)> {
    let text = |gauge: &Point, name: &str| gauge.resource[name].as_str().unwrap_or("?").to_owned();
    let mut senders: Vec<_> = gauges
        .iter()
        .filter(|gauge| gauge.name == LIVE_WORKERS)
        .map(|gauge| (text(gauge, "service.instance.id"), text(gauge, "service.name")))
        .collect();
    senders.dedup();
    senders
}

/// Waits for some more of the gauges; says how many there are, and whose.
async fn sent(stack: &Stack, after: usize) -> (usize, Vec<(String, String)>) {
    eventually("several exports have the gauges", async || {
        let gauges = stack.collector.gauges();
        let count = gauges.iter().filter(|gauge| gauge.name == LIVE_WORKERS).count();
        (count >= after + 4).then_some((count, senders(&gauges)))
    })
    .await
}

/// Three processes could. When the one that does is killed, another one follows, and they never take turns.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_process_sends_the_gauges_and_another_follows_when_it_is_killed() {
    with_stack(setup(Form::Distributed, "gauges_one_at_a_time"), async |stack| {
        let (before, first) = sent(stack, 0).await;
        assert_eq!(first.len(), 1, "{first:?}");
        let kind = &first[0].1;
        if kind == "skein-api" {
            stack.api.kill().await;
        } else {
            // Which of both it is, nobody knows.
            for worker in &mut stack.workers {
                worker.kill().await;
            }
        }
        let followed = eventually("another process sends them", async || {
            let senders = senders(&stack.collector.gauges());
            (senders.len() > 1).then_some(senders)
        })
        .await;
        let (_, senders) = sent(stack, before + 4).await;
        let distinct: BTreeSet<_> = senders.iter().collect();
        assert_eq!(distinct.len(), senders.len(), "one that was followed has sent again");
        assert_eq!((&senders[0], &senders[1]), (&first[0], &followed[1]));
    })
    .await;
}

/// Who sends no metrics counts nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_metrics_nobody_counts() {
    let setup = setup(Form::Distributed, "gauges_off").env("OTEL_METRICS_EXPORTER", "none");
    with_stack(setup, async |stack| {
        publish(stack).await;
        let runs = start(stack, 1).await;
        cancel(stack, &runs).await;
        // Who is killed gives nothing up, and whoever counts asks for the duty before all else.
        stack.api.kill().await;
        for worker in &mut stack.workers {
            worker.kill().await;
        }
        let pool = stack.database().raw().await.expect("the PostgreSQL for tests");
        let duties = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM duties");
        assert_eq!(duties.fetch_one(&pool).await.expect("a count"), 0);
        assert_eq!(stack.collector.gauges(), []);
        pool.close().await;
    })
    .await;
}

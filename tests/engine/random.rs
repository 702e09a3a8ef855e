//! Random workflows on real workers and stores, next to the reference interpreter: with a good broker and
//! a bad one, and with a worker that leaves in the middle.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use skein_shared::broker::Broker;
use skein_shared::broker::in_process::InProcess;
use skein_shared::domain::ids::RunId;
use skein_shared::domain::state::{NodeState, RunState};
use skein_shared::store::Store;
use skein_shared::store::runs::{NodeRun, RunDetail};
use skein_tests::reference::{End, Ends};
use skein_tests::{postgres, sqlite};

use crate::fleet::{Fleet, node};
use crate::sketch::{Left, Sketch};
use crate::unreliable::unreliable;

/// Workflows of one case.
const WORKFLOWS: usize = 4;
/// Runs of each of them, at the same time.
const RUNS: usize = 2;

/// What happens to a fleet while it works.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Weather {
    Fair,
    /// Messages are lost, doubled, delayed and reordered.
    Unreliable,
    /// One of the two workers drains after so many milliseconds.
    Drain(u64),
}

/// Runs a case with so many random seeds, or as many as `PROPTEST_CASES` says. Seeds are printed.
fn check(cases: u32, case: impl Fn(u64) + std::panic::RefUnwindSafe) {
    let cases = std::env::var("PROPTEST_CASES").map_or(cases, |cases| cases.parse().unwrap());
    let config =
        Config { cases, max_shrink_iters: 0, source_file: Some(file!()), ..Config::default() };
    let outcome = TestRunner::new(config).run(&any::<u64>(), |seed| {
        eprintln!("seed {seed}");
        case(seed);
        Ok(())
    });
    outcome.unwrap();
}

fn block_on(case: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(case);
}

/// What a run left behind, with whatever differs from run to run left out.
fn comparable(text: &str) -> Value {
    let mut value: Value = serde_json::from_str(text).unwrap();
    blank(&mut value);
    value
}

fn blank(value: &mut Value) {
    let Some(fields) = value.as_object_mut() else { return };
    for (key, field) in fields.iter_mut() {
        match key.as_str() {
            "waited_until" | "message" => *field = json!(""),
            _ => blank(field),
        }
    }
}

/// Runs random workflows and compares what they came to.
async fn run_all(store: Arc<dyn Store>, seed: u64, weather: Weather) {
    let mut random = fastrand::Rng::with_seed(seed);
    let broker: Arc<dyn Broker> = match weather {
        Weather::Unreliable => unreliable(seed),
        _ => Arc::new(InProcess::new()),
    };
    let mut fleet = Fleet::start(store, broker, 2);
    let mut runs: Vec<(RunId, Sketch)> = Vec::new();
    for at in 0..WORKFLOWS {
        let sketch = Sketch::random(random.usize(1..=14), &mut random);
        let published = fleet.publish(&sketch.document(&format!("w{at}"))).await;
        for _ in 0..RUNS {
            runs.push((fleet.start_run(&published, &json!({})).await, sketch.clone()));
        }
    }
    let ids: Vec<_> = runs.iter().map(|(run, _)| *run).collect();
    let hurry = (weather == Weather::Unreliable).then(|| fleet.hurry(&ids));
    if let Weather::Drain(millis) = weather {
        tokio::time::sleep(Duration::from_millis(millis)).await;
        fleet.drain_one();
        fleet.join_one().await;
    }
    for (run, sketch) in &runs {
        let detail = fleet.ended(*run).await;
        compare(&detail, sketch);
        check_log(&fleet, &detail).await;
    }
    if let Some(hurry) = hurry {
        hurry.cancel();
    }
    assert_eq!(fleet.store.make_due(&ids).await.unwrap(), 0, "nothing waits any more");
    fleet.drained().await;
    fleet.stop().await;
}

fn compare(detail: &RunDetail, sketch: &Sketch) {
    let ends = sketch.ends();
    let shown = format!("{detail:#?}\n{:#}", sketch.document("w"));
    for (at, end) in ends.0.iter().enumerate() {
        let row = node(detail, &format!("n{at}"));
        let state = row.map(|row| row.state);
        if ends.succeeds() {
            assert_eq!(state, Some(expected_state(end)), "n{at} of {shown}");
        } else {
            // The end of the run may have come first; and then nothing new was started.
            let is_cut = matches!(state, None | Some(NodeState::Cancelled));
            let is_right = *end != End::Unreached && state == Some(expected_state(end));
            assert!(is_cut || is_right, "n{at} of {shown}");
        }
        if let (Some(NodeRun { output: Some(output), state, .. }), End::Ended(left)) = (row, end)
            && state.is_terminal()
        {
            assert_eq!(comparable(output), left.output, "n{at} of {shown}");
        }
    }
    assert!(detail.nodes.iter().all(|row| row.state.is_terminal()), "{shown}");
    assert!(detail.nodes.iter().all(|row| row.attempts <= 1), "nothing is run twice: {shown}");
    if ends.succeeds() {
        assert_eq!(detail.summary.state, RunState::Succeeded, "{shown}");
        let output = detail.output.as_deref().map(comparable);
        assert_eq!(output, Some(sketch.output(&ends)), "{shown}");
    } else {
        assert_eq!(detail.summary.state, RunState::Failed, "{shown}");
        check_failure(detail, &ends);
    }
}

fn expected_state(end: &End<Left>) -> NodeState {
    match end {
        End::Ended(left) if left.failed => NodeState::Failed,
        End::Ended(_) => NodeState::Succeeded,
        End::Skipped => NodeState::Skipped,
        End::Fatal => NodeState::Failed,
        End::Unreached => NodeState::Cancelled,
    }
}

/// The run's error is that of a node which brought it down.
fn check_failure(detail: &RunDetail, ends: &Ends<Left>) {
    let error = detail.summary.error.as_ref().unwrap();
    assert_eq!(&*error.code, "expression");
    let key = error.node.as_deref().unwrap();
    let at: usize = key[1..].parse().unwrap();
    assert_eq!(ends.0[at], End::Fatal, "{key}");
    assert_eq!(node(detail, key).unwrap().state, NodeState::Failed, "{key}");
}

/// The log shows one beginning and one end of the run, and one end of each node.
async fn check_log(fleet: &Fleet, detail: &RunDetail) {
    let log = fleet.log(detail.summary.id).await;
    let count = |node: Option<&str>, event: &str| {
        log.iter().filter(|row| row.node.as_deref() == node && row.event == event).count()
    };
    let shown = || log.iter().map(|row| format!("{}\n", row.message)).collect::<String>();
    for event in ["run.accepted", "run.started", &format!("run.{}", detail.summary.state)] {
        assert_eq!(count(None, event), 1, "{event}: {}", shown());
    }
    for row in &detail.nodes {
        let words = ["succeeded", "failed", "skipped", "cancelled"];
        for word in words {
            let expected = usize::from(row.state.as_str() == word);
            let found = count(Some(&row.node), &format!("node.{word}"));
            assert_eq!(found, expected, "{} {word}: {}", row.node, shown());
        }
        assert!(count(Some(&row.node), "node.started") <= 2, "{}: {}", row.node, shown());
    }
}

#[test]
fn any_workflow_on_sqlite_ends_as_the_reference_does() {
    check(10, |seed| {
        block_on(sqlite::with_store(move |store| run_all(store, seed, Weather::Fair)));
    });
}

#[test]
fn any_workflow_on_postgresql_ends_as_the_reference_does() {
    check(3, |seed| {
        block_on(postgres::with_store(move |store| run_all(store, seed, Weather::Fair)));
    });
}

#[test]
fn lost_doubled_and_late_messages_change_no_outcome_on_sqlite() {
    check(6, |seed| {
        block_on(sqlite::with_store(move |store| run_all(store, seed, Weather::Unreliable)));
    });
}

#[test]
fn lost_doubled_and_late_messages_change_no_outcome_on_postgresql() {
    check(2, |seed| {
        block_on(postgres::with_store(move |store| run_all(store, seed, Weather::Unreliable)));
    });
}

#[test]
fn a_worker_that_drains_in_the_middle_changes_no_outcome() {
    check(6, |seed| {
        let weather = Weather::Drain(seed % 40);
        block_on(sqlite::with_store(move |store| run_all(store, seed, weather)));
    });
}

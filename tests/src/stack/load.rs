//! A load of runs that use everything at once, and the workflow of them.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use super::{Client, Outside, PATIENCE, Run, Stack, poll};

/// Runs that are started at the same time.
const STARTERS: u64 = 16;
/// The name of the workflow.
pub const WORKFLOW: &str = "ten-nodes";
/// The nodes of the workflow that have an effect outside.
pub const EFFECTS: [&str; 5] = ["a", "b", "c", "d", "report"];

/// Ten nodes: a fan-out of four requests, a join, a condition with a branch that is skipped, and one more
/// request behind the second join.
#[must_use]
pub fn workflow(outside: &Outside) -> Value {
    let part = |name: &str, factor: u32| {
        json!({
            "id": name, "type": "http",
            "params": {
                "method": "POST", "url": outside.url(&format!("/part/{name}")),
                "body": { "value": format!("{{{{ nodes.start.n * {factor} }}}}") },
            },
            "retry": { "max_attempts": 10, "backoff": "100ms", "max_backoff": "1s" },
            // As long as a case may hold it.
            "timeout": "120s",
        })
    };
    json!({
        "name": WORKFLOW,
        "description": "Fans out, joins, chooses and reports",
        "input": { "type": "object", "required": ["n"], "properties": { "n": { "type": "integer" } } },
        "nodes": [
            { "id": "start", "type": "transform", "params": { "value": { "n": "{{ input.n }}" } } },
            part("a", 1), part("b", 2), part("c", 3), part("d", 4),
            { "id": "sum", "type": "transform", "params": { "value":
                "{{ nodes.a.body.body.value + nodes.b.body.body.value + nodes.c.body.body.value + nodes.d.body.body.value }}" } },
            { "id": "choose", "type": "condition", "params": { "if": "nodes.sum % 20 == 0" } },
            { "id": "even", "type": "log", "params": { "message": "n is even" } },
            { "id": "odd", "type": "log", "params": { "message": "n is odd" } },
            { "id": "report", "type": "http",
              "params": { "method": "POST", "url": outside.url("/report"), "body": { "sum": "{{ nodes.sum }}" } },
              "retry": { "max_attempts": 10, "backoff": "100ms", "max_backoff": "1s" },
              "timeout": "120s" },
        ],
        "edges": [
            { "from": "start", "to": "a" }, { "from": "start", "to": "b" },
            { "from": "start", "to": "c" }, { "from": "start", "to": "d" },
            { "from": "a", "to": "sum" }, { "from": "b", "to": "sum" },
            { "from": "c", "to": "sum" }, { "from": "d", "to": "sum" },
            { "from": "sum", "to": "choose" },
            { "from": "choose", "to": "even", "branch": "true" },
            { "from": "choose", "to": "odd", "branch": "false" },
            { "from": "even", "to": "report" }, { "from": "odd", "to": "report" },
        ],
        "output": { "sum": "{{ nodes.sum }}", "reported": "{{ nodes.report.body.body.sum }}" },
    })
}

/// What a run yields for an input.
#[must_use]
pub fn expected_output(n: u64) -> Value {
    json!({ "sum": n * 10, "reported": n * 10 })
}

/// Publishes the workflow.
///
/// # Panics
/// When the API does not take it.
pub async fn publish(stack: &Stack) {
    stack.client.publish(&workflow(&stack.outside)).await;
}

/// Starts `count` runs, each surely and once, and returns them as accepted. The input of each is its
/// place.
///
/// # Panics
/// When the API refuses one, or takes none for a minute.
pub async fn start(client: &Client, count: u64) -> Vec<Run> {
    begin(client, count).all().await
}

/// A load that is being started beside whatever else a case does.
#[derive(Debug)]
pub struct Starting {
    runs: AbortOnDropHandle<Vec<Run>>,
    accepted: watch::Receiver<u64>,
}

impl Starting {
    /// Waits until so many runs have been accepted.
    ///
    /// # Panics
    /// When they are not within a minute.
    pub async fn accepted(&mut self, count: u64) {
        let enough = self.accepted.wait_for(|accepted| *accepted >= count);
        let in_time = tokio::time::timeout(PATIENCE, enough).await;
        assert!(in_time.is_ok_and(|it| it.is_ok()), "fewer than {count} runs are accepted");
    }

    /// That there are runs yet to be accepted: a fault hits the accepting.
    ///
    /// # Panics
    /// When all have been.
    pub fn assert_under_way(&self) {
        assert!(!self.runs.is_finished(), "the fault came after the last run was accepted");
    }

    /// Waits for the last one and returns all as accepted, in the order of their inputs.
    ///
    /// # Panics
    /// When the API refuses one, or takes none for a minute.
    pub async fn all(self) -> Vec<Run> {
        self.runs.await.expect("all are accepted")
    }
}

/// [`start`] beside whatever else the caller does.
#[must_use]
pub fn begin(client: &Client, count: u64) -> Starting {
    let (client, accepted) = (client.clone(), watch::Sender::new(0));
    let receiver = accepted.subscribe();
    let runs = tokio::spawn(async move {
        let mut starters = JoinSet::new();
        for starter in 0..STARTERS {
            let numbers = (starter..count).step_by(STARTERS as usize);
            starters.spawn(start_some(client.clone(), numbers, accepted.clone()));
        }
        let mut runs: Vec<_> = starters.join_all().await.into_iter().flatten().collect();
        runs.sort_by_key(|(n, _)| *n);
        runs.into_iter().map(|(_, run)| run).collect()
    });
    Starting { runs: AbortOnDropHandle::new(runs), accepted: receiver }
}

async fn start_some(
    client: Client,
    numbers: impl Iterator<Item = u64>,
    accepted: watch::Sender<u64>,
) -> Vec<(u64, Run)> {
    let mut runs = Vec::new();
    for n in numbers {
        let (input, key) = (json!({ "n": n }), format!("load-{n}"));
        runs.push((n, client.start_surely(WORKFLOW, &input, &key).await));
        accepted.send_modify(|count| *count += 1);
    }
    runs
}

/// That work is left of a load of so many runs: to be asserted right after a fault, which otherwise proves nothing.
///
/// # Panics
/// When every effect has happened already.
pub fn assert_under_way(stack: &Stack, runs: u64) {
    assert!(is_under_way(stack, runs), "the fault came after all effects of {runs} runs");
}

/// Whether work is left of a load of so many runs.
#[must_use]
pub fn is_under_way(stack: &Stack, runs: u64) -> bool {
    stack.outside.effects().len() < runs as usize * EFFECTS.len()
}

/// Waits until all runs have ended, and returns them whole, in the order given.
///
/// # Panics
/// When they have not by then; shows one that has not.
pub async fn finish(client: &Client, runs: &[Run], within: Duration) -> Vec<Run> {
    let mut open: Vec<_> = runs.iter().map(|run| run.id().to_owned()).collect();
    let ended = poll(within, async || {
        // Until the first one has ended, there is no use in asking for the others.
        while let Some(id) = open.last() {
            if !client.find(id).await.is_ok_and(|run| run.has_ended()) {
                return None;
            }
            open.pop();
        }
        Some(())
    });
    if ended.await.is_none() {
        let stuck = client.find(open.last().map_or("", String::as_str)).await;
        let id = open.last().cloned().unwrap_or_default();
        let log = client.log_rows(&id).await.unwrap_or_default();
        panic!(
            "after {within:?} {} of {} runs may be open; this one is: {stuck:#?}\n{log:#?}",
            open.len(),
            runs.len()
        );
    }
    let whole = runs.iter().map(|run| client.find(run.id()));
    let whole: Vec<_> = stream::iter(whole).buffered(STARTERS as usize).collect().await;
    whole.into_iter().map(|run| run.expect("the API answers")).collect()
}

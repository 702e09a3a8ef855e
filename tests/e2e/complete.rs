//! Of a mixed load, everything is in the traces: each run a whole tree, each span with its owner, each row with its span.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use skein_tests::stack::traces::{self, Seen};
use skein_tests::stack::{PATIENCE, Run, Setup, Stack, Tap, poll, with_stack};

use crate::ledger::rows;
use crate::mixed_load;
use crate::played::{asking, beside_models};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mixed_load_is_complete_at_a_receiver_that_others_wrote() {
    if std::env::var("SKEIN_TEST_WITHOUT_PYPI").is_ok_and(|value| !value.is_empty()) {
        eprintln!("without the independent receiver, as SKEIN_TEST_WITHOUT_PYPI says");
        return;
    }
    let tap = Tap::start().await;
    let setup = Setup::distributed("mixed_load").collector(&tap.endpoint());
    complete(setup, |_| tap.spans()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mixed_load_of_an_embedded_instance_is_complete() {
    complete(Setup::embedded("mixed_load"), traces::collected).await;
}

async fn complete(setup: Setup, seen: impl Fn(&Stack) -> Vec<Seen>) {
    beside_models(mixed_load::SCRIPT, async |models, _| {
        with_stack(asking(setup, models), async |stack| {
            let runs = mixed_load::run(stack).await;
            let is_complete = async || check(stack, &runs, &seen(stack)).await.ok();
            if poll(PATIENCE, is_complete).await.is_some() {
                stack.stop().await;
            }
            if let Err(mismatch) = check(stack, &runs, &seen(stack)).await {
                panic!("{mismatch:#}");
            }
        })
        .await;
    })
    .await;
}

async fn check(stack: &Stack, runs: &[Run], seen: &[Seen]) -> Result<()> {
    let ids: BTreeSet<_> = seen.iter().map(|it| (it.trace.as_str(), it.span.as_str())).collect();
    ensure!(ids.len() == seen.len(), "a span came twice");
    for row in rows(stack).await {
        let known = ids.contains(&(row.trace.as_str(), row.span.as_str()));
        ensure!(known, "a row of {} names {}/{}", row.table, row.trace, row.span);
    }
    let mut traces: BTreeMap<&str, Vec<&Seen>> = BTreeMap::new();
    for span in seen {
        traces.entry(&span.trace).or_default().push(span);
    }
    for run in runs {
        let trace = run.trace().to_string();
        let spans = traces.get(trace.as_str()).map_or(&[] as &[_], Vec::as_slice);
        check_run(run, spans).map_err(|it| it.context(format!("{:#}, trace {trace}", run.0)))?;
    }
    Ok(())
}

/// One request, one run, an execution for each attempt, and no span whose parent is missing.
fn check_run(run: &Run, spans: &[&Seen]) -> Result<()> {
    let known: BTreeSet<_> = spans.iter().map(|span| span.span.as_str()).collect();
    for span in spans {
        ensure!(span.has_owner || span.is_idle, "nobody owns {span:?}");
        match &span.parent {
            Some(parent) => ensure!(known.contains(parent.as_str()), "an orphan: {span:?}"),
            None => ensure!(span.kind == 2, "a second root: {span:?}"),
        }
        let lost = span.links.iter().find(|link| !known.contains(link.as_str()));
        ensure!(lost.is_none(), "a link into nowhere: {span:?}");
    }
    let count = |name: &str| spans.iter().filter(|span| span.name.starts_with(name)).count();
    let attempts: usize = run.nodes().iter().map(executions).sum();
    let counts = (count("POST /v1/"), count("workflow.execute"), count("node.execute."));
    // Whoever cancels a run sends a request of its own, in a trace of its own.
    ensure!(counts == (1, 1, attempts), "requests, runs and {attempts} attempts: {counts:?}");
    Ok(())
}

/// Attempts of a node that are spans: those before, and the one that ended it, unless it was skipped or cancelled in between.
fn executions(node: &serde_json::Value) -> usize {
    let earlier = node["earlier_attempts"].as_array().map_or(0, Vec::len);
    let has_ended_itself = matches!(node["status"].as_str(), Some("succeeded" | "failed"));
    earlier + usize::from(has_ended_itself)
}

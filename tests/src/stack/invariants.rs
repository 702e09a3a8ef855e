//! What must hold of ended runs, whatever happened to the programs meanwhile.

use std::collections::BTreeMap;

use serde_json::Value;
use sqlx::Row as _;

use super::load::{self, EFFECTS};
use super::{Form, Run, Stack, is_end};

/// Whether work was lost in crashes, so that some of it was rightly done again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crashes {
    /// None: every effect happened exactly once.
    None,
    /// Some: an effect may have happened once more for each attempt that was lost.
    Injected,
}

/// Checks the runs of [`load`]: right results, one checkpoint a node, one end a run, and no effect that
/// no attempt accounts for.
///
/// # Panics
/// When an invariant is broken; says which.
pub async fn check(stack: &Stack, runs: &[Run], crashes: Crashes) {
    let effects = stack.outside.effects();
    for (n, run) in runs.iter().enumerate() {
        assert_eq!(run.status(), "succeeded", "{:#}", run.0);
        assert_eq!(run.0["output"], load::expected_output(n as u64), "{:#}", run.0);
        assert_eq!(run.nodes().len(), 10, "{:#}", run.0);
        let skipped = if n % 2 == 0 { "odd" } else { "even" };
        for (node, state) in run.node_states() {
            let expected = if node == skipped { "skipped" } else { "succeeded" };
            assert_eq!(state, expected, "{node} of {:#}", run.0);
        }
        check_log(run, &stack.client.logs(run.id()).await);
        check_effects(run, &effects, crashes);
    }
    let foreign = effects.keys().filter(|key| {
        let run = key.split('_').next().unwrap_or_default();
        !runs.iter().any(|known| known.id() == run)
    });
    assert_eq!(foreign.count(), 0, "effects of runs that nobody started");
    if stack.form == Form::Distributed {
        check_tables(stack, runs.len()).await;
    }
}

/// One acceptance, one start, one end; one success a node; one trace.
fn check_log(run: &Run, rows: &[Value]) {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for row in rows {
        let (event, node) = (row["event"].as_str(), row["node"].as_str());
        *counts.entry((event.unwrap_or_default(), node.unwrap_or_default())).or_default() += 1;
        assert_eq!(row["trace_id"], run.0["trace_id"], "{row}");
    }
    for (node, state) in run.node_states() {
        let event = format!("node.{state}");
        assert_eq!(counts.get(&(event.as_str(), node)), Some(&1), "{event} of {node} in {rows:#?}");
    }
    for event in ["run.accepted", "run.started"] {
        assert_eq!(counts.get(&(event, "")), Some(&1), "{event} in {rows:#?}");
    }
    assert_eq!(rows.iter().filter(|row| is_end(row)).count(), 1, "{rows:#?}");
}

fn check_effects(run: &Run, effects: &BTreeMap<String, usize>, crashes: Crashes) {
    for node in EFFECTS {
        let key = format!("{}_{node}_", run.id());
        let of_node: Vec<_> = effects.iter().filter(|(known, _)| known.starts_with(&key)).collect();
        assert_eq!(of_node.len(), 1, "keys of {node}: {of_node:?}");
        let happened = *of_node[0].1;
        let earlier = run.node(node)["earlier_attempts"].as_array().map_or(0, Vec::len);
        let allowed = match crashes {
            Crashes::None => 1,
            Crashes::Injected => 1 + earlier,
        };
        assert!(
            (1..=allowed).contains(&happened),
            "{node} happened {happened} times with {earlier} lost attempts: {:#}",
            run.node(node)
        );
    }
}

/// What the API does not show: nothing is open, nothing waits, nobody else's rows are there.
async fn check_tables(stack: &Stack, count: usize) {
    let pool = stack.database().raw().await.expect("the PostgreSQL for tests");
    let query = "
        SELECT (SELECT count(*) FROM runs) AS runs,
               (SELECT count(*) FROM runs WHERE state <> 'succeeded' OR wake_at IS NOT NULL) AS open_runs,
               (SELECT count(*) FROM node_runs
                 WHERE state NOT IN ('succeeded', 'skipped') OR wake_at IS NOT NULL) AS open_nodes,
               (SELECT count(*) FROM node_runs WHERE pending <> 0) AS unfired_joins,
               (SELECT count(*) FROM (SELECT FROM node_attempts GROUP BY run_id, node_key, scope
                 HAVING count(*) FILTER (WHERE outcome NOT IN ('retry', 'waiting', 'released', 'crashed')) > 0) a)
                 AS ended_before,
               (SELECT count(*) FROM (SELECT FROM event_logs WHERE event IN ('node.succeeded', 'node.skipped')
                 GROUP BY run_id, node_key, scope HAVING count(*) > 1) e) AS checkpointed_twice,
               (SELECT count(*) FROM node_runs n JOIN node_attempts a USING (run_id, node_key, scope)
                 WHERE a.claim >= n.claim) AS fences_broken";
    let row = sqlx::query(query).fetch_one(&pool).await.expect("the tables are there");
    let count_of = |column: &str| row.get::<i64, _>(column);
    assert_eq!(count_of("runs"), i64::try_from(count).expect("few runs"));
    assert_eq!((count_of("open_runs"), count_of("open_nodes")), (0, 0));
    assert_eq!(count_of("unfired_joins"), 0);
    // The row is the one success of its node; what is kept of earlier attempts was none, and came before it.
    assert_eq!((count_of("ended_before"), count_of("checkpointed_twice")), (0, 0));
    assert_eq!(count_of("fences_broken"), 0);
    pool.close().await;
}

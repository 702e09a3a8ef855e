//! How PostgreSQL goes about the statements whose cost must not grow with what has piled up: by which index, and
//! that no table is read whole.
//!
//! The plans are those that the store's own sessions would make and keep, over tables with a few thousand rows and
//! again over empty ones: a plan that was made on the first day is used for a while.

#![expect(clippy::unwrap_used, reason = "a case that cannot go on fails, which is its purpose")]

use std::str::FromStr;
use std::sync::Arc;

use skein_shared::domain::ids::RunId;
use skein_shared::domain::state::RunState;
use skein_shared::domain::trace::TraceId;
use skein_shared::store::postgres::SESSION_OPTIONS;
use skein_shared::store::postgres::listing::statement;
use skein_shared::store::postgres::spending::costs_statements;
use skein_shared::store::recovery::SWEEP_ROWS_MAX;
use skein_shared::store::runs::RunFilter;
use skein_shared::store::spending::{CostFilter, CostGrouping};
use skein_tests::postgres::{TestDatabase, with_database};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row, raw_sql};

/// The text of one of the store's statements.
macro_rules! statement {
    ($name:literal) => {
        include_str!(concat!("../../shared/src/store/postgres/sql/", $name, ".sql"))
    };
}

/// A backlog: ended runs of a large and a small tenant, and queued nodes beside a few that wait for a time.
pub(crate) const BACKLOG: &str = "
    INSERT INTO runs (id, organization_id, workspace_id, user_id, version_id, workflow, version, node_count, edge_count,
                      state, input, idempotency_key, trace_id, publish_span_id, root_span_id, trace_flags, created_at, ended_at)
    SELECT (lpad(to_hex(1767225600000 + n), 12, '0') || '70008000' || lpad(to_hex(n), 12, '0'))::uuid,
           CASE WHEN n % 1000 = 7 THEN 'small' ELSE 'large' END, 'main', 'ann', gen_random_uuid(), 'digest', 1, 1, 0,
           'succeeded', '{}', CASE WHEN n % 2 = 0 THEN 'key ' || n END, 't', 'p', 'r', 1,
           to_timestamp(1767225600 + n / 1000.0), now()
    FROM generate_series(1, 5000) n;
    INSERT INTO node_runs (run_id, node_key, scope, organization_id, workspace_id, kind, state, timeout_ms,
                           publish_span_id, queued_at, wake_at)
    SELECT id, 'a', '', organization_id, workspace_id, 'http', 'queued', 60000, 's', now(),
           now() + random() * interval '50 s'
    FROM runs;
    UPDATE node_runs SET state = 'retry' WHERE organization_id = 'small';
    ANALYZE runs; ANALYZE node_runs";

/// A connection with the settings of the store's own.
pub(crate) async fn session(database: &TestDatabase) -> PgConnection {
    let options = PgConnectOptions::from_str(&database.url()).unwrap();
    options.options(SESSION_OPTIONS).connect().await.unwrap()
}

/// The plan that a session makes for a statement once and for all, whatever its parameters.
pub(crate) async fn plan(session: &mut PgConnection, statement: &str) -> String {
    let count = (1..).take_while(|number| statement.contains(&format!("${number}"))).count();
    let nulls = vec!["NULL"; count].join(", ");
    let prepare = format!("DEALLOCATE ALL; PREPARE it AS {statement}");
    raw_sql(AssertSqlSafe(prepare)).execute(&mut *session).await.unwrap();
    let explain = AssertSqlSafe(format!("EXPLAIN (COSTS OFF) EXECUTE it ({nulls})"));
    let lines = raw_sql(explain).fetch_all(session).await.unwrap();
    lines.iter().map(|line| line.get::<String, _>(0)).collect::<Vec<_>>().join("\n")
}

/// Asserts what the plan of a statement holds, over empty tables and over a backlog, and what it does not: over a
/// backlog, for over nothing one way is as good as another, as long as it goes by an index.
pub(crate) async fn assert_plan(
    statement: impl Into<String>,
    held: &'static [&str],
    foreign: &'static [&str],
) {
    let statement = statement.into();
    with_database(async move |database: Arc<TestDatabase>| {
        let mut session = session(&database).await;
        for rows in ["", BACKLOG] {
            raw_sql(rows).execute(&mut session).await.unwrap();
            let plan = plan(&mut session, &statement).await;
            for part in held {
                assert!(plan.contains(part), "{part} is not in\n{plan}");
            }
            let foreign = if rows.is_empty() { &[] } else { foreign };
            for part in foreign.iter().chain(&["Seq Scan"]) {
                assert!(!plan.contains(part), "{part} is in\n{plan}");
            }
        }
        session.close().await.unwrap();
    })
    .await;
}

/// Every repeated request asks, in the one batcher that accepts runs.
#[tokio::test]
async fn runs_in_the_way_of_others_are_looked_up() {
    const HELD: &[&str] =
        &["using runs_pkey", "using runs_idempotency", "workspace_id = w_1.workspace_id"];
    assert_plan(statement!("explain_refusals"), HELD, &["Hash Join", "Merge Join"]).await;
}

/// With the broker down nothing is read, and what is moved is looked up: not found by a walk through all rows.
#[tokio::test]
async fn a_sweep_reads_what_it_moves() {
    const NODES: &[&str] = &["One-Time Filter: $2", "node_runs_due", "node_runs_pkey"];
    assert_plan(statement!("sweep_nodes"), NODES, &["Hash Join", "Merge Join"]).await;
    const RUNS: &[&str] = &["runs_due", "runs_pkey"];
    assert_plan(statement!("sweep_runs"), RUNS, &["Hash Join", "Merge Join"]).await;
    let limit = format!("LIMIT {SWEEP_ROWS_MAX}");
    assert!(
        statement!("sweep_nodes").contains(&limit) && statement!("sweep_runs").contains(&limit)
    );
}

/// Every process asks at least once a second.
#[tokio::test]
async fn the_next_timer_is_found_without_reading_the_backlog() {
    const HELD: &[&str] = &["node_runs_timers", "runs_due"];
    assert_plan(statement!("next_due"), HELD, &["node_runs_due", "Filter:"]).await;
}

/// A page is a range of an index that only the tenant's runs are in, wherever it starts and whatever is filtered. It is
/// read until the page is full or so many rows are read, and nothing is read to sort it.
#[tokio::test]
async fn a_page_of_runs_is_a_range_of_the_tenants_own() {
    let now = Some(chrono::Utc::now());
    let workflow = Some("digest".to_owned());
    let all = RunFilter {
        workflow,
        created_after: now,
        created_before: now,
        ended_after: now,
        ended_before: now,
        states: Vec::new(),
        trace: None,
    };
    const READ: &[&str] = &["Sort", "runs_pkey", "Hash", "Bitmap"];
    for filter in [RunFilter::default(), all] {
        let of_workflow = filter.workflow.is_some();
        for state in RunState::ALL.iter().copied().map(Some).chain([None]) {
            let index: &'static [&str] = match (state, of_workflow) {
                (Some(RunState::Failed), false) => {
                    &["runs_brought_down on", "ROW('failed'::text, $4)"]
                }
                (Some(RunState::Cancelled), false) => {
                    &["runs_brought_down on", "ROW('cancelled'::text, $4)"]
                }
                (Some(RunState::TimedOut), false) => {
                    &["runs_brought_down on", "ROW('timed_out'::text, $4)"]
                }
                (Some(RunState::Failed), true) => {
                    &["runs_of_workflow_brought_down", "ROW('failed'::text, $4)"]
                }
                (Some(RunState::Cancelled), true) => {
                    &["runs_of_workflow_brought_down", "ROW('cancelled'::text, $4)"]
                }
                (Some(RunState::TimedOut), true) => {
                    &["runs_of_workflow_brought_down", "ROW('timed_out'::text, $4)"]
                }
                (Some(RunState::Suspended), _) => &["runs_suspended", "ROW($2, $4)"],
                (Some(RunState::Queued | RunState::Running), _) => &["runs_open", "ROW($2, $4)"],
                (_, true) => &["runs_of_workflow on", "ROW($6, $4)"],
                (_, false) => &["runs_listing", "ROW($2, $4)"],
            };
            let states = state.into_iter().collect();
            let statement = statement(&RunFilter { states, ..filter.clone() });
            assert_eq!(statement.matches("LIMIT").count(), 2, "{statement}");
            assert_plan(statement, index, READ).await;
        }
    }
}

/// A page of several states is merged from as many ranges, and one of a trace from the runs that are in it and those
/// that were.
#[tokio::test]
async fn a_page_of_several_indexes_is_a_range_of_each() {
    let states =
        vec![RunState::Running, RunState::Suspended, RunState::Failed, RunState::Cancelled];
    const STATES: &[&str] =
        &["runs_open", "runs_suspended", "ROW('failed'::text, $4)", "ROW('cancelled'::text, $4)"];
    let of_states = statement(&RunFilter { states, ..RunFilter::default() });
    assert_plan(of_states, STATES, &["runs_pkey", "Hash", "Bitmap"]).await;
    const TRACE: &[&str] = &["runs_of_trace", "run_segments_of_trace", "ROW($6, $4)"];
    let of_trace = RunFilter { trace: Some(TraceId([7; 16])), ..RunFilter::default() };
    assert_plan(statement(&of_trace), TRACE, &["Hash"]).await;
}

/// A workflow without runs is found to have none, and one of no failed runs to have none of those, without a walk through
/// the entries of others: a plan that names the right index may still go on behind the last entry that fits.
#[tokio::test]
async fn a_page_ends_with_the_entries_that_fit() {
    /// Pages of an index and a table at most; the entries of the backlog take many more.
    const READ_MAX: u32 = 20;
    with_database(async |database: Arc<TestDatabase>| {
        let mut session = session(&database).await;
        raw_sql(BACKLOG).execute(&mut session).await.unwrap();
        let failed = "UPDATE runs SET state = 'cancelled', cancel_state = 'cancelled'; VACUUM ANALYZE runs";
        for statement in failed.split("; ") {
            raw_sql(statement).execute(&mut session).await.unwrap();
        }
        let zebra = Some("zebra".to_owned());
        for (state, workflow, values) in [
            (None, zebra.clone(), ", 'zebra'"),
            (Some(RunState::Succeeded), zebra.clone(), ", 'zebra'"),
            (Some(RunState::Failed), None, ""),
            (Some(RunState::Failed), zebra, ", 'zebra'"),
        ] {
            let states = state.into_iter().collect();
            let statement = statement(&RunFilter { states, workflow, ..RunFilter::default() });
            plan(&mut session, &statement).await;
            let ids = "'00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff'";
            let explain = format!(
                "EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF) EXECUTE it ('large', 'main', {ids}, 50{values})"
            );
            let lines = raw_sql(AssertSqlSafe(explain)).fetch_all(&mut session).await.unwrap();
            let lines: Vec<String> = lines.iter().map(|line| line.get(0)).collect();
            let buffers = lines.iter().find_map(|line| line.trim().strip_prefix("Buffers: shared "));
            let counts = buffers.unwrap_or_default().split(' ');
            let counts = counts.filter_map(|part| {
                let (what, count) = part.split_once('=')?;
                ["hit", "read"].contains(&what).then(|| count.parse::<u32>().ok())?
            });
            let read: u32 = counts.sum();
            assert!((1..=READ_MAX).contains(&read), "{read} pages:\n{}", lines.join("\n"));
        }
        session.close().await.unwrap();
    })
    .await;
}

/// The other listings are ranges of the indexes that their keys have, and end with the page.
#[tokio::test]
async fn the_other_listings_end_with_their_page() {
    for (statement, index) in [
        (statement!("list_workflows"), &["Limit", "workflows_pkey"]),
        (statement!("list_versions"), &["Limit", "workflow_versions_organization_id"]),
        (statement!("run_logs"), &["Limit", "event_logs_pkey"]),
    ] {
        assert_plan(statement, index, &[]).await;
    }
    const KEYS: &[&str] =
        &["Limit", "using api_keys_of_organization", "ROW(created_at, digest) < ROW(COALESCE($4"];
    assert_plan(statement!("list_keys"), KEYS, &["Sort"]).await;
    let mut read = statement!("list_versions").lines().filter(|line| !line.starts_with("--"));
    assert!(!read.any(|line| line.contains("document")), "it may be large");
}

/// What requests and sweeps ask about versions and drafts is found by an index, whatever there is.
#[tokio::test]
async fn versions_and_drafts_are_found_by_their_keys() {
    const VERSION: &[&str] =
        &["workflow_versions_organization_id", "workflow_drafts_organization_id", "(version = $4)"];
    assert_plan(statement!("find_version"), VERSION, &["Filter: (version"]).await;
    assert_plan(statement!("find_latest"), &["workflows_pkey", "workflow_versions_pkey"], &[])
        .await;
    const DIGEST: &[&str] =
        &["workflow_drafts_digest", "Index Cond: ((digest = $7) AND (organization_id = $2)"];
    for statement in [statement!("store_draft"), statement!("publish_workflow")] {
        assert_plan(statement, DIGEST, &[]).await;
    }
    assert_plan(statement!("prune_drafts"), &["workflow_drafts_unused"], &["Hash Join"]).await;
}

/// What spans are made of once more is read by its run, whatever else there is.
#[tokio::test]
async fn what_is_kept_of_spans_is_found_by_its_run() {
    const RUN: &[&str] = &["event_logs_pkey", "node_runs_pkey"];
    const ATTEMPTS: &[&str] = &["Limit", "node_runs_pkey", "node_attempts_pkey"];
    const STEPS: &[&str] = &["Limit", "agent_trace_history_of_run"];
    for (statement, held) in [
        (statement!("traced_run"), RUN),
        (statement!("traced_segments"), &["Limit", "run_segments_pkey"]),
        (statement!("traced_attempts"), ATTEMPTS),
        (statement!("traced_nodes"), &["node_runs_pkey"]),
        (statement!("traced_steps"), STEPS),
    ] {
        assert_plan(statement, held, &["Seq Scan on runs", "Seq Scan on node_runs"]).await;
    }
}

/// Two checks of the leases of a fleet, every two seconds in every process.
#[tokio::test]
async fn ended_leases_are_found_by_their_state() {
    const HELD: &[&str] =
        &["worker_leases_state", "node_runs_held", "node_runs_due", "One-Time Filter: $3"];
    assert_plan(statement!("reap"), HELD, &[]).await;
    assert_plan(statement!("forget_leases"), &["worker_leases_state"], &[]).await;
    // A page of each state.
    assert_plan(statement!("list_workers"), &["worker_leases_state", "Limit"], &[]).await;
    const TOLD: &[&str] =
        &["worker_leases_state", "One-Time Filter: (NOT $0)", "runs_open", "runs_pkey"];
    assert_plan(statement!("tell_of_no_worker"), TOLD, &["Hash Join", "Merge Join"]).await;
}

/// Rows that ended while somebody held a snapshot: nobody may remove their index entries, and a sweep that began at the
/// beginning would visit each of them, every second, in every process.
const ENDED: &str = "
    INSERT INTO worker_leases (lease_id, host, pid, version, state, ttl_ms)
    VALUES (gen_random_uuid(), 'host', 1, '0.0.0', 'live', 3600000);
    INSERT INTO runs (id, organization_id, workspace_id, user_id, version_id, workflow, version, node_count, edge_count,
                      state, input, trace_id, publish_span_id, root_span_id, trace_flags, wake_at)
    SELECT gen_random_uuid(), 'large', 'main', 'ann', gen_random_uuid(), 'digest', 1, 1, 0, 'running', '{}', 't', 'p',
           'r', 1, now() - interval '1 min' - random() * interval '1 h'
    FROM generate_series(1, 5000);
    INSERT INTO node_runs (run_id, node_key, scope, organization_id, workspace_id, kind, state, timeout_ms,
                           publish_span_id, queued_at, wake_at, lease_id)
    SELECT id, 'a', '', r.organization_id, r.workspace_id, 'http', 'running', 60000, 's', now(), wake_at, lease_id
    FROM runs r, worker_leases";

/// Blocks that a statement with these parameters visits.
pub(crate) async fn blocks(session: &mut PgConnection, statement: &str, parameters: &str) -> i64 {
    let prepare = format!("DEALLOCATE ALL; PREPARE it AS {statement}");
    raw_sql(AssertSqlSafe(prepare)).execute(&mut *session).await.unwrap();
    let explain = format!("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE it ({parameters})");
    let rows = raw_sql(AssertSqlSafe(explain)).fetch_all(session).await.unwrap();
    let plan = rows[0].get::<serde_json::Value, _>(0);
    let visited = |kind: &str| plan[0]["Plan"][kind].as_i64().unwrap();
    visited("Shared Hit Blocks") + visited("Shared Read Blocks")
}

#[tokio::test]
async fn a_sweep_does_not_visit_what_has_ended() {
    with_database(async |database: Arc<TestDatabase>| {
        let mut session = session(&database).await;
        raw_sql(ENDED).execute(&mut session).await.unwrap();
        let mut dump = PgConnectOptions::from_str(&database.url()).unwrap().connect().await.unwrap();
        let snapshot = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM worker_leases";
        raw_sql(snapshot).execute(&mut dump).await.unwrap();
        for table in ["runs", "node_runs"] {
            let end = format!("UPDATE {table} SET state = 'succeeded', wake_at = NULL, ended_at = now()");
            raw_sql(AssertSqlSafe(end)).execute(&mut session).await.unwrap();
        }
        let rows = |from| {
            format!("500, true, 30000, 300000, false, 900000, 500, 2000, gen_random_uuid(), {from}, NULL, 15000")
        };
        let runs = |from| format!("500, {from}, NULL, 15000");
        let reap = |range| format!("500, 1, true, {range}");
        const SLICE: &str = "now() - interval '605 s', now() - interval '600 s'";
        let (all, latest) = ("NULL", "'infinity'");
        for (statement, all, latest) in [
            (statement!("sweep_nodes"), rows(all), rows(latest)),
            (statement!("sweep_runs"), runs(all), runs(latest)),
            (statement!("reap"), reap("NULL, NULL"), "500, 1, false, NULL, NULL".to_owned()),
            // A few of those that have ended are in it, as in every slice.
            (statement!("reap"), reap("NULL, NULL"), reap(SLICE)),
        ] {
            let all = blocks(&mut session, statement, &all).await;
            assert!(all > 100, "{all} blocks: the dump holds nothing up");
            let latest = blocks(&mut session, statement, &latest).await;
            assert!(latest < 50, "{latest} blocks");
        }
        dump.close().await.unwrap();
        session.close().await.unwrap();
    })
    .await;
}

/// Runs and nodes that have ended.
const HISTORY: &str = "
    INSERT INTO runs (id, organization_id, workspace_id, user_id, version_id, workflow, version, node_count, edge_count,
                      state, input, trace_id, publish_span_id, root_span_id, trace_flags, ended_at)
    SELECT gen_random_uuid(), 'large', 'main', 'ann', gen_random_uuid(), 'digest', 1, 1, 0, 'succeeded', '{}', 't', 'p',
           'r', 1, now()
    FROM generate_series(1, 5000);
    INSERT INTO node_runs (run_id, node_key, scope, organization_id, workspace_id, kind, state, timeout_ms,
                           publish_span_id, ended_at)
    SELECT id, 'ended', '', organization_id, workspace_id, 'http', 'succeeded', 60000, 's', now() FROM runs";

/// Once in a while, in one process: each number by an index of what is open, so that history is not visited.
#[tokio::test]
async fn what_is_open_is_counted_without_what_has_ended() {
    const HELD: &[&str] = &[
        "runs_open",
        "runs_suspended",
        "runs_by_deadline",
        "node_runs_due",
        "node_runs_held",
        "node_runs_timers",
        "node_runs_pkey",
        "worker_leases_state",
    ];
    assert_plan(statement!("count_open"), HELD, &["Hash Join", "Merge Join"]).await;
    with_database(async |database: Arc<TestDatabase>| {
        const COUNT: &str = "100000, 5000, 600000";
        let mut session = session(&database).await;
        for (rows, visited) in [(HISTORY, 1..60), (ENDED, 100..i64::MAX)] {
            raw_sql(rows).execute(&mut session).await.unwrap();
            let blocks = blocks(&mut session, statement!("count_open"), COUNT).await;
            assert!(visited.contains(&blocks), "{blocks} blocks, of {visited:?}");
        }
        session.close().await.unwrap();
    })
    .await;
}

/// Every sweep asks for steps that are lost, and every budget that is set for nodes that wait: neither walks past what has
/// ended.
#[tokio::test]
async fn steps_and_waits_are_found_by_what_is_open() {
    const LOST: &[&str] = &["agent_trace_history_started", "node_runs_pkey", "budget_totals_pkey"];
    assert_plan(statement!("lose_steps"), LOST, &[]).await;
    assert_plan(statement!("wake_waiting"), &["node_runs_waiting", "node_runs_pkey"], &[]).await;
    assert_plan(statement!("recorded_steps"), &["agent_trace_history_pkey"], &[]).await;
    assert_plan(statement!("list_steps"), &["agent_trace_history_of_run", "Limit"], &[]).await;
    const DECIDED: &[&str] = &[
        "node_runs_pkey",
        "(run_id = $3) AND (node_key = $4) AND (scope = $5)",
        "agent_trace_history_pkey",
    ];
    assert_plan(statement!("decide"), DECIDED, &[]).await;
    const TOTALS: &[&str] =
        &["organization_budgets_pkey", "((organization_id = $1) AND (bucket = ANY ("];
    assert_plan(statement!("set_organization_budgets"), TOTALS, &[]).await;
    assert_plan(statement!("signal_nodes"), &["node_runs_pkey"], &[]).await;
    assert_plan(statement!("change_run_budget"), &["runs_pkey"], &["node_runs"]).await;
}

/// A run that is shown is found with its total, which is one row, whatever it has called.
#[tokio::test]
async fn a_run_is_found_with_its_total() {
    const HELD: &[&str] = &[
        "using budget_totals_pkey",
        "(organization_id = $1) AND (bucket = ('run:'::text || ($3)",
        "node_runs_pkey",
    ];
    assert_plan(statement!("find_run"), HELD, &["model_cost_logs", "agent_trace_history"]).await;
}

/// What calls have cost: a run each second, of a large and a small tenant.
const COSTS: &str = "
    INSERT INTO model_cost_logs (ts, organization_id, workspace_id, user_id, run_id, workflow, node_key, scope, step, attempt,
                                 provider, model, status, input_tokens, cached_tokens, cache_write_tokens, output_tokens,
                                 cost_nanos, estimated, trace_id, span_id)
    SELECT to_timestamp(1767225600 + n / 4), CASE WHEN n / 4 % 1000 = 7 THEN 'small' ELSE 'large' END, 'main', 'ann',
           (lpad(to_hex(1767225600000 + n / 4 * 1000), 12, '0') || '70008000' || lpad(to_hex(n / 4), 12, '0'))::uuid,
           'digest', 'a', '', n % 4 + 1, 1, 'acme', 'large', 'succeeded', 1, 0, 0, 1, 1, false, 't', 's'
    FROM generate_series(1, 20000) n";

/// A session over them.
pub(crate) async fn costs(database: &TestDatabase) -> PgConnection {
    let mut session = session(database).await;
    for statement in [COSTS, "VACUUM ANALYZE model_cost_logs"] {
        raw_sql(statement).execute(&mut session).await.unwrap();
    }
    session
}

/// A sum of one run's costs reads that run's rows, one of the tenant's those of the time that was asked for, and a page of
/// runs is a range of the tenant's own.
#[tokio::test]
async fn costs_are_found_by_run_or_by_time() {
    const OF_RUN: &str = "(workspace_id = $2) AND (run_id = $5)";
    const OF_RUN_BACKWARDS: &str = "(workspace_id = $2) AND (run_id < $3) AND (run_id = $5)";
    const BY_RUN: &str = "Backward using model_cost_logs_by_run";
    const BY_TIME: &str = "model_cost_logs_of_tenant";
    with_database(async |database: Arc<TestDatabase>| {
        let mut session = costs(&database).await;
        let now = Some(chrono::Utc::now());
        let run = CostFilter { run: Some(RunId::generate()), ..CostFilter::default() };
        let from = CostFilter { from: now, ..CostFilter::default() };
        let between = CostFilter { to: now, ..from.clone() };
        for grouping in CostGrouping::ALL {
            let is_by_run = |statement: &String| statement.contains("GROUP BY run_id");
            for statement in costs_statements(*grouping, &run) {
                let held = if is_by_run(&statement) { OF_RUN_BACKWARDS } else { OF_RUN };
                let plan = plan(&mut session, &statement).await;
                assert!(plan.contains(held) && !plan.contains("Seq Scan"), "{plan}");
            }
            for filter in [&from, &between] {
                let statements = costs_statements(*grouping, filter);
                let by_run = statements.iter().filter(|statement| is_by_run(statement)).count();
                let of_runs = usize::from(*grouping == CostGrouping::Run);
                assert_eq!((by_run, statements.len()), (of_runs, 1 + of_runs));
                for statement in statements {
                    let is_by_run = is_by_run(&statement);
                    let plan = plan(&mut session, &statement).await;
                    let held = if is_by_run { BY_RUN } else { BY_TIME };
                    let sorts = is_by_run && (plan.contains("Sort") || plan.contains("Bitmap"));
                    assert!(plan.contains(held) && !sorts && !plan.contains("Seq Scan"), "{plan}");
                }
            }
        }
        session.close().await.unwrap();
    })
    .await;
}

/// However many runs there are before and after it, and whatever they have cost.
#[tokio::test]
async fn a_page_of_what_runs_cost_reads_the_rows_of_its_runs() {
    with_database(async |database: Arc<TestDatabase>| {
        let mut session = costs(&database).await;
        let from = CostFilter { from: Some(chrono::Utc::now()), ..CostFilter::default() };
        let statement = costs_statements(CostGrouping::Run, &from).remove(0);
        const LATEST: &str = "'ffffffff-ffff-ffff-ffff-ffffffffffff'";
        // Of 5,000 seconds.
        const MIDDLE: &str =
            "(lpad(to_hex(1767225600000 + 2500000), 12, '0') || '70008000000000000000')::uuid";
        const FIRST: &str =
            "(lpad(to_hex(1767225600000 + 1000), 12, '0') || '00000000000000000000')::uuid";
        for organization in ["large", "small"] {
            for after in [LATEST, MIDDLE] {
                let parameters = format!(
                    "'{organization}', 'main', {after}, 51, to_timestamp(1767225601), {FIRST}"
                );
                let read = blocks(&mut session, &statement, &parameters).await;
                assert!(read < 60, "{read} blocks of {organization} after {after}");
            }
        }
        session.close().await.unwrap();
    })
    .await;
}

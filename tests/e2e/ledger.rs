//! What calls to models and tools came to, wherever that stands: spans, steps, costs, the run itself and the tables.

use std::collections::BTreeSet;

use serde_json::Value;
use skein_tests::otlp::Span;
use skein_tests::stack::{Form, PATIENCE, Run, Stack, eventually};
use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};

/// The tables of what users ask about.
const TABLES: [&str; 3] = ["event_logs", "agent_trace_history", "model_cost_logs"];
/// Pages of steps at most: those of a case fit on a few.
const PAGES_MAX: usize = 20;

/// Dollars as the whole nano-dollars that they stand for.
pub(crate) fn nanos(dollars: &Value) -> i64 {
    let dollars = dollars.as_f64().unwrap_or_else(|| panic!("{dollars} is no amount"));
    #[expect(clippy::cast_possible_truncation, reason = "some cents")]
    let nanos = (dollars * 1e9).round() as i64;
    nanos
}

/// An attribute that is a text; empty when it is none.
pub(crate) fn text<'a>(span: &'a Span, key: &str) -> &'a str {
    span.attributes.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The spans of a run that have this name, in the order of their start.
pub(crate) fn named<'a>(spans: &'a [Span], run: &Run, name: &str) -> Vec<&'a Span> {
    let is_it = |span: &&Span| span.name == name && text(span, "workflow.execution_id") == run.id();
    let mut found: Vec<_> = spans.iter().filter(is_it).collect();
    found.sort_by_key(|span| span.start);
    found
}

/// The steps of a run as the API shows them, in the order of their beginning.
pub(crate) async fn steps(stack: &Stack, run: &str) -> Vec<Value> {
    let (mut steps, mut cursor) = (Vec::new(), String::new());
    for _ in 0..PAGES_MAX {
        let path = format!("/v1/runs/{run}/steps?{cursor}");
        let body = stack.client.get(&path).await.expect("the API answers").body;
        let items = body["items"].as_array().unwrap_or_else(|| panic!("no steps: {body:#}"));
        steps.extend(items.iter().cloned());
        match body["next_cursor"].as_str() {
            Some(next) => cursor = format!("cursor={next}"),
            None => return steps,
        }
    }
    panic!("the steps of {run} have no end")
}

/// Number, try and status of each step.
pub(crate) fn statuses(steps: &[Value]) -> Vec<(u64, u64, &str)> {
    let number = |step: &Value, field: &str| step[field].as_u64().unwrap_or_default();
    steps
        .iter()
        .map(|step| {
            let status = step["status"].as_str().unwrap_or_default();
            (number(step, "index"), number(step, "attempt"), status)
        })
        .collect()
}

/// A row of a table: its table, its run, its trace and its span, and what a call to a model cost.
pub(crate) struct Row {
    pub(crate) table: &'static str,
    run: String,
    pub(crate) trace: String,
    pub(crate) span: String,
    cost: Option<i64>,
}

/// All rows of the tables, past the API. A case has a store of its own.
pub(crate) async fn rows(stack: &Stack) -> Vec<Row> {
    let mut found = Vec::new();
    for table in TABLES {
        let cost = if table == "model_cost_logs" { "cost_nanos" } else { "CAST(NULL AS bigint)" };
        let query = format!(
            "SELECT CAST(run_id AS text), trace_id, span_id, {cost} AS cost FROM {table} ORDER BY id"
        );
        let query = sqlx::AssertSqlSafe(query);
        let values: Vec<(String, String, String, Option<i64>)> = match stack.form {
            Form::Distributed => {
                let pool = stack.database().raw().await.expect("the PostgreSQL for tests");
                let rows = sqlx::query(query).fetch_all(&pool).await.expect("the table is there");
                pool.close().await;
                rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect()
            }
            Form::Embedded => {
                let file = stack.data().join("skein.db");
                let options = SqliteConnectOptions::new().filename(file).read_only(true);
                let pool = SqlitePool::connect_with(options).await.expect("a database");
                let rows = sqlx::query(query).fetch_all(&pool).await.expect("the table is there");
                pool.close().await;
                rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect()
            }
        };
        let row = |(run, trace, span, cost)| Row { table, run, trace, span, cost };
        found.extend(values.into_iter().map(row));
    }
    found
}

/// Checks that every row of the three tables names a span that the collector got, in the trace that the row says.
/// Waits for the spans that are on their way.
///
/// # Panics
/// When one names another, or a table is empty.
pub(crate) async fn assert_resolved(stack: &Stack) {
    let rows = rows(stack).await;
    for table in TABLES {
        assert!(rows.iter().any(|row| row.table == table), "{table} is empty");
    }
    let lost = |spans: &[Span]| -> Vec<String> {
        let id = |span: &Span| (span.trace_id.to_string(), span.span_id.to_string());
        let known: BTreeSet<_> = spans.iter().map(id).collect();
        let is_lost = |row: &&Row| !known.contains(&(row.trace.clone(), row.span.clone()));
        let lost = rows.iter().filter(is_lost);
        lost.map(|row| format!("{} {}/{}", row.table, row.trace, row.span)).collect()
    };
    let resolved = stack.collector.wait_for(|spans| lost(spans).is_empty(), PATIENCE).await;
    if let Err(error) = resolved {
        let lost = lost(&stack.collector.spans()).join("\n");
        panic!("rows without a span:\n{lost}\n{error:#}");
    }
}

/// Checks that an ended run's calls to models, so many, have one span and one row in the cost log each, and that everybody
/// has the same sum: spans, steps, the table, `GET /v1/costs` by whatever it groups, and the run. Returns that sum, in
/// nano-dollars.
///
/// # Panics
/// When they do not.
pub(crate) async fn assert_balanced(stack: &Stack, run: &Run, calls: usize) -> i64 {
    let is_complete = |spans: &[Span]| named(spans, run, "llm.generate").len() >= calls;
    let spans = stack.collector.wait_for(is_complete, PATIENCE).await;
    let spans = spans.unwrap_or_else(|error| panic!("{calls} calls: {error:#}"));
    let spans = named(&spans, run, "llm.generate");
    let ids: BTreeSet<_> = spans.iter().map(|span| span.span_id.to_string()).collect();
    let shown = stack.collector.tree();
    assert_eq!((spans.len(), ids.len()), (calls, calls), "one span for each request:\n{shown}");

    // A step that nobody has taken up again is settled by a sweep.
    let steps = eventually("no step is under way", async || {
        let steps = steps(stack, run.id()).await;
        steps.iter().all(|step| step["status"] != "started").then_some(steps)
    })
    .await;
    let models: Vec<_> = steps.iter().filter(|step| step["kind"] == "model").collect();
    let of_steps: BTreeSet<_> =
        models.iter().map(|step| step["span_id"].as_str().unwrap_or_default().to_owned()).collect();
    assert_eq!((models.len(), &of_steps), (calls, &ids), "{steps:#?}");

    let rows = rows(stack).await;
    let is_cost = |row: &&Row| row.table == "model_cost_logs" && row.run == run.id();
    let costs: Vec<_> = rows.iter().filter(is_cost).collect();
    let of_rows: BTreeSet<_> = costs.iter().map(|row| row.span.clone()).collect();
    assert_eq!((costs.len(), of_rows), (calls, ids), "one row for each request");

    let sum: i64 = costs.iter().filter_map(|row| row.cost).sum();
    assert!(sum > 0, "nothing cost anything");
    let spans: i64 = spans.iter().map(|span| nanos(&span.attributes["llm.cost_usd"])).sum();
    let steps: i64 = models.iter().map(|step| nanos(&step["cost_usd"])).sum();
    assert_eq!((spans, steps), (sum, sum), "the sums over spans and steps, and that over rows");
    let run = stack.client.find(run.id()).await.expect("it is there");
    assert_eq!(nanos(&run.0["cost_usd"]), sum, "the run's own: {:#}", run.0);
    for grouping in ["model", "provider", "workflow", "run", "node", "user", "day"] {
        let path = format!("/v1/costs?run={}&group_by={grouping}", run.id());
        let answer = stack.client.get(&path).await.expect("the API answers").body;
        let groups = answer["items"].as_array().unwrap_or_else(|| panic!("{answer:#}"));
        let told: i64 = groups.iter().map(|group| nanos(&group["cost_usd"])).sum();
        let counted: u64 = groups.iter().filter_map(|group| group["calls"].as_u64()).sum();
        assert_eq!((told, counted), (sum, calls as u64), "by {grouping}: {answer:#}");
    }
    sum
}

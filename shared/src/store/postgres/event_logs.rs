//! Statements that write rows of the log, and say which if somebody is to be told.
//!
//! Such a statement has two forms. Its file is the one that says nothing. Of the other one, the common table expression
//! `logged` returns the rows, whole and as they were written, and the answer has them besides its own rows, with columns
//! of their own. To return less and to put the rest together from what was asked for would be to write the rules of each
//! statement a second time: which of its rows there are hangs on what it finds. A process uses one form only.

use std::sync::{Arc, OnceLock};

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{Executor, Postgres};

use super::rows::get;
use super::{PostgresStore, store_error};
use crate::domain::event_logs::{DATA_CHARS_MAX, EventLogSink, WrittenLog};
use crate::domain::ids::RunId;
use crate::domain::tenant::Identity;
use crate::store::StoreError;
use crate::store::rows::{each, owned, parse, text, time};

/// Ends the insert of the rows.
const WRITTEN: &str = "-- log: written\n";
/// Comes before the answer of the statement.
const ANSWER: &str = "-- log: answer\n";

/// A statement that writes rows of the log.
pub(super) struct Logging {
    silent: fn() -> &'static str,
    /// Where the workflows of the runs stand.
    runs: &'static str,
    telling: OnceLock<String>,
}

impl Logging {
    /// The statement of this text, which writes of runs that were there when it began.
    pub(super) const fn of(text: fn() -> &'static str) -> Self {
        Self::of_runs(text, "runs")
    }

    /// The same for one that writes of runs which `runs` has, a table or a common table expression.
    pub(super) const fn of_runs(text: fn() -> &'static str, runs: &'static str) -> Self {
        Self { silent: text, runs, telling: OnceLock::new() }
    }

    /// The text for a store, always the same one: the server knows a prepared statement by it.
    pub(super) fn text(&'static self, store: &PostgresStore) -> &'static str {
        let silent = (self.silent)();
        match &store.event_logs {
            None => silent,
            Some(_) => self.telling.get_or_init(|| telling(silent, self.runs)),
        }
    }
}

/// The form of a statement that tells which rows it has written.
///
/// # Panics
/// When the text has no place for that.
fn telling(text: &str, runs: &str) -> String {
    let parts = text.split_once(WRITTEN).and_then(|(insert, rest)| {
        let (between, answer) = rest.split_once(ANSWER)?;
        Some((insert, between, answer))
    });
    let (insert, between, answer) = parts.unwrap_or_else(|| panic!("it marks no places:\n{text}"));
    let data_chars = DATA_CHARS_MAX + 1;
    // A full join on nothing puts one after the other. It is a merge without a sort, and keeps the order of the answer.
    format!(
        "{insert}RETURNING id, ts, organization_id, workspace_id, user_id, run_id, node_key, scope, level, event, message,
              data, trace_id, span_id
{between}SELECT answer.*, told.*
FROM (
{answer}
) answer
FULL JOIN (
    SELECT l.id AS told_id, l.ts AS told_ts, l.organization_id AS told_organization_id,
           l.workspace_id AS told_workspace_id, l.user_id AS told_user_id, l.run_id AS told_run_id,
           l.node_key AS told_node_key, l.scope AS told_scope, l.level AS told_level, l.event AS told_event,
           l.message AS told_message, left(l.data::text, {data_chars}) AS told_data, l.trace_id AS told_trace_id,
           l.span_id AS told_span_id, r.workflow AS told_workflow
    FROM logged l
    LEFT JOIN {runs} r ON r.id = l.run_id
) told ON false"
    )
}

impl PostgresStore {
    /// The same store, which tells of the rows that it writes to the log.
    #[must_use]
    pub fn telling(self, event_logs: Arc<dyn EventLogSink>) -> Self {
        Self { event_logs: Some(event_logs), ..self }
    }

    /// Runs a statement whose text is that of a [`Logging`] for this store, tells of the rows that it has written to the log
    /// and returns those that it answers with.
    pub(super) async fn fetch_logging<'c>(
        &self,
        statement: Query<'_, Postgres, PgArguments>,
        connections: impl Executor<'c, Database = Postgres>,
    ) -> Result<Vec<PgRow>, StoreError> {
        let rows = statement.fetch_all(connections).await.map_err(store_error)?;
        let Some(event_logs) = &self.event_logs else { return Ok(rows) };
        let is_told = |row: &PgRow| matches!(get::<Option<i64>>(row, "told_id"), Ok(Some(_)));
        let (told, answer): (Vec<_>, Vec<_>) = rows.into_iter().partition(is_told);
        if !told.is_empty() {
            // It is durable: one that cannot be read is no reason to say that it is not.
            event_logs.written(each(&told, written));
        }
        Ok(answer)
    }
}

fn written(row: &PgRow) -> Result<WrittenLog, StoreError> {
    Ok(WrittenLog {
        id: get(row, "told_id")?,
        at: time(row, "told_ts")?,
        identity: Identity::new(
            text(row, "told_organization_id")?,
            text(row, "told_workspace_id")?,
            text(row, "told_user_id")?,
        ),
        run: RunId(get(row, "told_run_id")?),
        workflow: get::<Option<&str>>(row, "told_workflow")?.map(Arc::from),
        node: owned(row, "told_node_key")?,
        scope: owned(row, "told_scope")?,
        level: text(row, "told_level")?.to_owned(),
        event: text(row, "told_event")?.to_owned(),
        message: text(row, "told_message")?.to_owned(),
        data: owned(row, "told_data")?,
        trace: parse(row, "told_trace_id")?,
        span: parse(row, "told_span_id")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENT: &str = "WITH logged AS (
    INSERT INTO event_logs (level)
    SELECT 'info'
    -- log: written
),
other AS (SELECT 1)
-- log: answer
-- Whatever that is.
SELECT 2 AS ord";

    #[test]
    fn a_statement_that_tells_does_the_same_and_returns_what_it_wrote() {
        let telling = telling(SILENT, "accepted");
        for part in [
            "SELECT 'info'\n    RETURNING id, ts,",
            "span_id\n),\nother AS (SELECT 1)\nSELECT answer.*, told.*\n",
            "FROM (\n-- Whatever that is.\nSELECT 2 AS ord\n) answer\nFULL JOIN (",
            "LEFT JOIN accepted r ON",
            "left(l.data::text, 4097)",
        ] {
            assert!(telling.contains(part), "{part:?} is not in\n{telling}");
        }
    }
}

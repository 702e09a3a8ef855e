//! Statements that write rows of the log, and say which if somebody is to be told.
//!
//! Such a statement has two forms. Its file is the one that says nothing. What the other one says of the common table
//! expression `logged` comes with the answer, in columns of its own. A process uses one form only.
//!
//! Most return the rows, whole and as they were written: which ones there are hangs on what they find, and to put them
//! together from what was asked for would be to write their rules a second time. That costs the database some 10 us a row,
//! and the process as much. Through three of them every run goes, so they return the ids alone, and who has asked tells of
//! the rest, of each row in the order of the ids.

use std::sync::{Arc, OnceLock};

use chrono::{DateTime, Utc};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{Executor, Postgres};

use super::rows::get;
use super::{PostgresStore, store_error};
use crate::domain::event_logs::{DATA_CHARS_MAX, EventLogSink, WrittenLog};
use crate::domain::ids::RunId;
use crate::domain::tenant::Identity;
use crate::store::StoreError;
use crate::store::log_entry::{Entry, LoggedRun};
use crate::store::rows::{each, owned, parse, text, time};

/// Ends the insert of the rows.
const WRITTEN: &str = "-- log: written\n";
/// Comes before the answer of the statement.
const ANSWER: &str = "-- log: answer\n";

/// A statement that writes rows of the log.
pub(super) struct Logging {
    silent: fn() -> &'static str,
    told: Told,
    telling: OnceLock<String>,
}

/// What such a statement says of the rows.
#[derive(Clone, Copy)]
enum Told {
    /// All of them, whole.
    Rows,
    /// Their ids and their time.
    Ids,
}

impl Logging {
    /// The statement of this text, which returns what it writes of runs that were there when it began.
    pub(super) const fn of(text: fn() -> &'static str) -> Self {
        Self { silent: text, told: Told::Rows, telling: OnceLock::new() }
    }

    /// One that returns the ids of what it writes. That it writes in the order in which it is told of.
    pub(super) const fn of_known(text: fn() -> &'static str) -> Self {
        Self { silent: text, told: Told::Ids, telling: OnceLock::new() }
    }

    /// The text for a store, always the same one: the server knows a prepared statement by it.
    pub(super) fn text(&'static self, store: &PostgresStore) -> &'static str {
        let silent = (self.silent)();
        match &store.event_logs {
            None => silent,
            Some(_) => self.telling.get_or_init(|| telling(silent, self.told)),
        }
    }
}

/// The form of a statement that tells which rows it has written.
///
/// # Panics
/// When the text has no place for that.
fn telling(text: &str, told: Told) -> String {
    let parts = text.split_once(WRITTEN).and_then(|(insert, rest)| {
        let (between, answer) = rest.split_once(ANSWER)?;
        Some((insert, between, answer))
    });
    let (insert, between, answer) = parts.unwrap_or_else(|| panic!("it marks no places:\n{text}"));
    let (returned, told) = match told {
        Told::Rows => (
            "id, ts, organization_id, workspace_id, user_id, run_id, node_key, scope, level, event, message, data,
              trace_id, span_id",
            whole_rows(),
        ),
        Told::Ids => (
            "id, ts",
            "SELECT array_agg(l.id) AS told_ids, min(l.ts) AS told_at FROM logged l HAVING count(*) > 0".to_owned(),
        ),
    };
    // A full join on nothing puts the one beside the other. It is a merge without a sort, and keeps the order of each.
    format!(
        "{insert}RETURNING {returned}
{between}SELECT answer.*, told.*
FROM (
{answer}
) answer
FULL JOIN (
{told}
) told ON false"
    )
}

/// What reads the rows, as [`written`] takes them.
fn whole_rows() -> String {
    let data_chars = DATA_CHARS_MAX + 1;
    format!(
        "    SELECT l.id AS told_id, l.ts AS told_ts, l.organization_id AS told_organization_id,
           l.workspace_id AS told_workspace_id, l.user_id AS told_user_id, l.run_id AS told_run_id,
           l.node_key AS told_node_key, l.scope AS told_scope, l.level AS told_level, l.event AS told_event,
           l.message AS told_message, left(l.data::text, {data_chars}) AS told_data, l.trace_id AS told_trace_id,
           l.span_id AS told_span_id, r.workflow AS told_workflow
    FROM logged l
    LEFT JOIN runs r ON r.id = l.run_id"
    )
}

/// The rows that a statement of [`Logging::of_known`] has written: they are durable, and are still to be told of.
#[derive(Debug)]
pub(super) struct Untold<'s> {
    event_logs: &'s dyn EventLogSink,
    ids: Vec<i64>,
    at: Result<DateTime<Utc>, StoreError>,
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

    /// Runs a statement whose text is that of a [`Logging::of_known`] for this store, and returns what it answers with, and
    /// besides what it has written to the log, if somebody is to be told of that.
    pub(super) async fn fetch_known<'c>(
        &self,
        statement: Query<'_, Postgres, PgArguments>,
        connections: impl Executor<'c, Database = Postgres>,
    ) -> Result<(Vec<PgRow>, Option<Untold<'_>>), StoreError> {
        let mut rows = statement.fetch_all(connections).await.map_err(store_error)?;
        let Some(event_logs) = self.event_logs.as_deref() else { return Ok((rows, None)) };
        let ids = |row: &PgRow| get::<Option<Vec<i64>>>(row, "told_ids").ok().flatten();
        let found = rows.iter().enumerate().find_map(|(place, row)| Some((place, ids(row)?)));
        let Some((place, mut ids)) = found else { return Ok((rows, None)) };
        let at = time(&rows.remove(place), "told_at");
        ids.sort_unstable();
        Ok((rows, Some(Untold { event_logs, ids, at })))
    }
}

impl Untold<'_> {
    /// Tells of them: of what is known, in the order of the ids. They are durable, and the statement has succeeded: where
    /// it is not known what was written, nobody is told, and that is said.
    pub(super) fn tell(self, known: Result<Vec<(LoggedRun, Entry)>, StoreError>) {
        let Self { event_logs, ids, at } = self;
        let written = ids.len();
        match (known, at) {
            (Ok(known), Ok(at)) if known.len() == written => {
                let rows = ids.into_iter().zip(known);
                let rows = rows.map(|(id, (run, entry))| entry.written(id, at, run));
                event_logs.written(rows.collect());
            }
            (Ok(known), Ok(_)) => {
                let known = known.len();
                tracing::error!(
                    written,
                    known,
                    "rows of the log are not told of: others were expected"
                );
            }
            (Err(error), _) | (_, Err(error)) => {
                tracing::error!(%error, written, "rows of the log are not told of: the answer cannot be read");
            }
        }
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
        node: get::<Option<&str>>(row, "told_node_key")?.map(Arc::from),
        scope: get::<Option<&str>>(row, "told_scope")?.map(Arc::from),
        level: text(row, "told_level")?.to_owned().into(),
        event: text(row, "told_event")?.to_owned().into(),
        message: text(row, "told_message")?.to_owned().into(),
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
        let telling = telling(SILENT, Told::Rows);
        for part in [
            "SELECT 'info'\n    RETURNING id, ts,",
            "span_id\n),\nother AS (SELECT 1)\nSELECT answer.*, told.*\n",
            "FROM (\n-- Whatever that is.\nSELECT 2 AS ord\n) answer\nFULL JOIN (",
            "LEFT JOIN runs r ON",
            "left(l.data::text, 4097)",
        ] {
            assert!(telling.contains(part), "{part:?} is not in\n{telling}");
        }
    }
}

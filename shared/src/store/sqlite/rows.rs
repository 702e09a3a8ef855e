//! The columns of SQLite's rows, and runs as transactions read them.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::store_error;
use super::time::instant;
use super::writer::Tx;
use crate::domain::failure::Failure;
use crate::domain::ids::RunId;
use crate::domain::run::{EndedRun, Resumption, RunHeader};
use crate::domain::state::RunState;
use crate::store::StoreError;
use crate::store::rows::{Columns, count, failure, header, parse, resumption};

/// Reads a column.
pub(super) fn get<'r, T>(row: &'r SqliteRow, column: &'static str) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    row.try_get(column).map_err(store_error)
}

impl Columns for SqliteRow {
    fn text(&self, column: &'static str) -> Result<Option<&str>, StoreError> {
        get(self, column)
    }

    fn integer(&self, column: &'static str) -> Result<Option<i64>, StoreError> {
        get(self, column)
    }

    fn boolean(&self, column: &'static str) -> Result<bool, StoreError> {
        get(self, column)
    }

    fn uuid(&self, column: &'static str) -> Result<Uuid, StoreError> {
        parse(self, column)
    }

    fn time(&self, column: &'static str) -> Result<Option<DateTime<Utc>>, StoreError> {
        get::<Option<i64>>(self, column)?.map(instant).transpose()
    }
}

/// A run as a transaction sees it.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) header: RunHeader,
    pub(super) state: RunState,
    /// Whether somebody asked for it to end.
    pub(super) cancelling: bool,
    pub(super) error: Option<Failure>,
    pub(super) started_at: Option<DateTime<Utc>>,
    /// Which segment of the run the trace in the header shows.
    pub(super) segment: u32,
    /// How that began, unless it is the first.
    pub(super) resumed: Option<Resumption>,
    /// Whether somebody is to recheck whether it can end, or be suspended.
    pub(super) is_to_be_rechecked: bool,
    /// Since when everything waits, in the state `suspended`.
    pub(super) suspended_at: Option<DateTime<Utc>>,
    pub(super) ended_at: Option<DateTime<Utc>>,
}

impl Run {
    /// Whether it has ended or is to end.
    pub(super) fn is_over(&self) -> bool {
        self.cancelling || self.state.is_terminal()
    }

    /// The run as it is reported when it has ended at `ended_at`.
    pub(super) fn ended(
        &self,
        state: RunState,
        error: Option<Failure>,
        ended_at: DateTime<Utc>,
    ) -> EndedRun {
        EndedRun {
            header: self.header.clone(),
            state,
            error,
            started_at: self.started_at,
            resumed: self.resumed,
            ended_at,
        }
    }
}

/// Whether a run's input is to be read as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Input {
    /// It is.
    Read,
    /// It is left empty.
    Leave,
}

/// Reads a run.
pub(super) async fn load_run(
    tx: &mut Tx<'_>,
    id: RunId,
    input: Input,
) -> Result<Option<Run>, StoreError> {
    let row = tx
        .fetch_optional(
            sqlx::query(
                "SELECT id, organization_id, workspace_id, user_id, version_id, workflow, version,
                        CASE WHEN ?2 THEN input ELSE '' END AS input, step_mode, node_count, edge_count, trace_id,
                        publish_span_id, root_span_id, trace_flags, trace_state, state, error,
                        cancel_requested_at IS NOT NULL AS cancelling, created_at, started_at, ended_at, segment, resumed_at,
                        resumed_from, suspended_at, wake_at IS NOT NULL AS is_to_be_rechecked
                 FROM runs WHERE id = ?1",
            )
            .bind(id.to_string())
            .bind(input == Input::Read),
        )
        .await?;
    row.as_ref().map(run).transpose()
}

fn run(row: &SqliteRow) -> Result<Run, StoreError> {
    Ok(Run {
        header: header(row, true)?,
        state: parse(row, "state")?,
        cancelling: get(row, "cancelling")?,
        error: failure(row, "error")?,
        started_at: row.time("started_at")?,
        segment: count(row, "segment")?,
        resumed: resumption(row)?,
        is_to_be_rechecked: get(row, "is_to_be_rechecked")?,
        suspended_at: row.time("suspended_at")?,
        ended_at: row.time("ended_at")?,
    })
}

/// The runs that a batch touches, each read once, as they were when they were first asked for.
#[derive(Debug)]
pub(super) struct Runs {
    input: Input,
    known: HashMap<RunId, Arc<Run>>,
}

impl Runs {
    pub(super) fn new(input: Input) -> Self {
        Self { input, known: HashMap::new() }
    }

    /// The run of a node row, which cannot be missing.
    pub(super) async fn of(&mut self, tx: &mut Tx<'_>, id: RunId) -> Result<Arc<Run>, StoreError> {
        if let Some(run) = self.known.get(&id) {
            return Ok(Arc::clone(run));
        }
        self.again(tx, id).await
    }

    /// The run of a node row as it is now, after a change.
    pub(super) async fn again(
        &mut self,
        tx: &mut Tx<'_>,
        id: RunId,
    ) -> Result<Arc<Run>, StoreError> {
        let run = load_run(tx, id, self.input)
            .await?
            .ok_or_else(|| StoreError::Corrupt(format!("run {id} of a node row is missing")))?;
        let run = Arc::new(run);
        self.known.insert(id, Arc::clone(&run));
        Ok(run)
    }
}

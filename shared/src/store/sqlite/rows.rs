//! From rows to domain types.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::store_error;
use super::writer::Tx;
use crate::domain::failure::Failure;
use crate::domain::ids::RunId;
use crate::domain::run::{EndedRun, RunHeader, RunTrace};
use crate::domain::state::RunState;
use crate::domain::tenant::Identity;
use crate::store::StoreError;

/// Reads a column.
pub(super) fn get<'r, T>(row: &'r SqliteRow, column: &'static str) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    row.try_get(column).map_err(store_error)
}

/// Reads a text column into something that is written as text.
pub(super) fn parse<T: FromStr>(row: &SqliteRow, column: &'static str) -> Result<T, StoreError> {
    let text: &str = get(row, column)?;
    text.parse().map_err(|_| StoreError::Corrupt(format!("column {column} holds {text:?}")))
}

/// Like [`parse`], for a column that may be null.
pub(super) fn parse_optional<T: FromStr>(
    row: &SqliteRow,
    column: &'static str,
) -> Result<Option<T>, StoreError> {
    let text: Option<&str> = get(row, column)?;
    text.map(|text| {
        text.parse().map_err(|_| StoreError::Corrupt(format!("column {column} holds {text:?}")))
    })
    .transpose()
}

/// Reads a counter.
pub(super) fn count(row: &SqliteRow, column: &'static str) -> Result<u32, StoreError> {
    let number: i64 = get(row, column)?;
    u32::try_from(number)
        .map_err(|_| StoreError::Corrupt(format!("column {column} holds {number}")))
}

/// A time from microseconds since 1970.
pub(super) fn instant(micros: i64) -> Result<DateTime<Utc>, StoreError> {
    DateTime::from_timestamp_micros(micros)
        .ok_or_else(|| StoreError::Corrupt(format!("{micros} is no time")))
}

/// Reads a time.
pub(super) fn time(row: &SqliteRow, column: &'static str) -> Result<DateTime<Utc>, StoreError> {
    instant(get(row, column)?)
}

/// Reads a time that may be null.
pub(super) fn time_optional(
    row: &SqliteRow,
    column: &'static str,
) -> Result<Option<DateTime<Utc>>, StoreError> {
    get::<Option<i64>>(row, column)?.map(instant).transpose()
}

/// Reads a failure that was stored as JSON.
pub(super) fn failure(
    row: &SqliteRow,
    column: &'static str,
) -> Result<Option<Failure>, StoreError> {
    let text: Option<&str> = get(row, column)?;
    text.map(|text| {
        serde_json::from_str(text)
            .map_err(|error| StoreError::Corrupt(format!("column {column} is no failure: {error}")))
    })
    .transpose()
}

/// Reads `organization_id`, `workspace_id` and `user_id`.
pub(super) fn identity(row: &SqliteRow) -> Result<Identity, StoreError> {
    Ok(Identity::new(
        get::<&str>(row, "organization_id")?,
        get::<&str>(row, "workspace_id")?,
        get::<&str>(row, "user_id")?,
    ))
}

/// Reads the four columns of a run's trace.
pub(super) fn trace(row: &SqliteRow) -> Result<RunTrace, StoreError> {
    let flags: i64 = get(row, "trace_flags")?;
    Ok(RunTrace {
        trace: parse(row, "trace_id")?,
        publish: parse(row, "publish_span_id")?,
        root: parse(row, "root_span_id")?,
        flags: u8::try_from(flags).unwrap_or_default(),
    })
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
    pub(super) ended_at: Option<DateTime<Utc>>,
}

impl Run {
    /// Whether it has ended or is to end.
    pub(super) fn is_over(&self) -> bool {
        self.cancelling || self.state.is_terminal()
    }

    /// What is told of a run that ended at `ended_at`.
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
                        publish_span_id, root_span_id, trace_flags, state, error,
                        cancel_requested_at IS NOT NULL AS cancelling, created_at, started_at, ended_at
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
        header: RunHeader {
            id: parse(row, "id")?,
            identity: identity(row)?,
            version_id: parse(row, "version_id")?,
            workflow: Arc::from(get::<&str>(row, "workflow")?),
            version: count(row, "version")?,
            input: Arc::from(get::<&str>(row, "input")?),
            step_mode: get(row, "step_mode")?,
            node_count: count(row, "node_count")?,
            edge_count: count(row, "edge_count")?,
            trace: trace(row)?,
            created_at: time(row, "created_at")?,
        },
        state: parse(row, "state")?,
        cancelling: get(row, "cancelling")?,
        error: failure(row, "error")?,
        started_at: time_optional(row, "started_at")?,
        ended_at: time_optional(row, "ended_at")?,
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
        let run = load_run(tx, id, self.input)
            .await?
            .ok_or_else(|| StoreError::Corrupt(format!("run {id} of a node row is missing")))?;
        let run = Arc::new(run);
        self.known.insert(id, Arc::clone(&run));
        Ok(run)
    }
}

//! From rows to domain types.

use std::str::FromStr;
use std::sync::Arc;

use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::domain::failure::Failure;
use crate::domain::ids::{RunId, VersionId};
use crate::domain::run::{EndedRun, RunHeader, RunTrace};
use crate::domain::tenant::Identity;
use crate::store::StoreError;

use super::store_error;

/// Reads a column.
pub(super) fn get<'r, T>(row: &'r PgRow, column: &'static str) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    row.try_get(column).map_err(store_error)
}

/// Reads a text column into something that is written as text.
pub(super) fn parse<T: FromStr>(row: &PgRow, column: &'static str) -> Result<T, StoreError> {
    let text: &str = get(row, column)?;
    text.parse().map_err(|_| StoreError::Corrupt(format!("column {column} holds {text:?}")))
}

/// Like [`parse`], for a column that may be null.
pub(super) fn parse_optional<T: FromStr>(
    row: &PgRow,
    column: &'static str,
) -> Result<Option<T>, StoreError> {
    let text: Option<&str> = get(row, column)?;
    text.map(|text| {
        text.parse().map_err(|_| StoreError::Corrupt(format!("column {column} holds {text:?}")))
    })
    .transpose()
}

/// Reads a counter.
pub(super) fn count(row: &PgRow, column: &'static str) -> Result<u32, StoreError> {
    let number: i32 = get(row, column)?;
    u32::try_from(number)
        .map_err(|_| StoreError::Corrupt(format!("column {column} holds {number}")))
}

/// Reads a failure that was stored as JSON.
pub(super) fn failure(row: &PgRow, column: &'static str) -> Result<Option<Failure>, StoreError> {
    let text: Option<&str> = get(row, column)?;
    text.map(|text| {
        serde_json::from_str(text)
            .map_err(|error| StoreError::Corrupt(format!("column {column} is no failure: {error}")))
    })
    .transpose()
}

/// The place of a row in its batch; `WITH ORDINALITY` counts from 1.
pub(super) fn place(row: &PgRow) -> Result<usize, StoreError> {
    let ord: i64 = get(row, "ord")?;
    usize::try_from(ord - 1).map_err(|_| StoreError::Corrupt(format!("ordinal {ord}")))
}

/// Reads `organization_id`, `workspace_id` and `user_id`.
pub(super) fn identity(row: &PgRow) -> Result<Identity, StoreError> {
    Ok(Identity::new(
        get::<&str>(row, "organization_id")?,
        get::<&str>(row, "workspace_id")?,
        get::<&str>(row, "user_id")?,
    ))
}

/// Reads the four columns of a run's trace.
pub(super) fn trace(row: &PgRow) -> Result<RunTrace, StoreError> {
    let flags: i16 = get(row, "trace_flags")?;
    Ok(RunTrace {
        trace: parse(row, "trace_id")?,
        publish: parse(row, "publish_span_id")?,
        root: parse(row, "root_span_id")?,
        flags: u8::try_from(flags).unwrap_or_default(),
    })
}

/// Reads a run's header; the input is only there where the statement selects it.
pub(super) fn header(row: &PgRow, with_input: bool) -> Result<RunHeader, StoreError> {
    Ok(RunHeader {
        id: RunId(get(row, "id")?),
        identity: identity(row)?,
        version_id: VersionId(get(row, "version_id")?),
        workflow: Arc::from(get::<&str>(row, "workflow")?),
        version: count(row, "version")?,
        input: Arc::from(if with_input { get::<&str>(row, "input")? } else { "" }),
        step_mode: get(row, "step_mode")?,
        node_count: count(row, "node_count")?,
        edge_count: count(row, "edge_count")?,
        trace: trace(row)?,
        created_at: get(row, "created_at")?,
    })
}

/// Reads a run that the statement has ended.
pub(super) fn ended(row: &PgRow, error: Option<Failure>) -> Result<EndedRun, StoreError> {
    Ok(EndedRun {
        header: header(row, false)?,
        state: parse(row, "state")?,
        error,
        started_at: get(row, "started_at")?,
        ended_at: get(row, "ended_at")?,
    })
}

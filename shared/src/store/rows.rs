//! From rows to domain types. What a column is called and means is the same in every database; only how
//! its value is stored differs, which is what [`Columns`] hides.

use std::str::FromStr;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::StoreError;
use crate::domain::failure::Failure;
use crate::domain::ids::{RunId, VersionId};
use crate::domain::run::{ClosedSegment, EndedRun, Resumption, RunHeader, RunTrace};
use crate::domain::tenant::Identity;
use crate::domain::trace::TraceContext;

/// A row of a result, column by column. Every method fails with [`StoreError::Corrupt`] when there is no such
/// column or it is of another type.
pub(super) trait Columns {
    /// A text, or null.
    fn text(&self, column: &'static str) -> Result<Option<&str>, StoreError>;
    /// A whole number of any width, or null.
    fn integer(&self, column: &'static str) -> Result<Option<i64>, StoreError>;
    /// A truth value.
    fn boolean(&self, column: &'static str) -> Result<bool, StoreError>;
    /// An id.
    fn uuid(&self, column: &'static str) -> Result<Uuid, StoreError>;
    /// A time, or null.
    fn time(&self, column: &'static str) -> Result<Option<DateTime<Utc>>, StoreError>;
}

/// Reads each of the rows that a statement has changed. One that cannot be read is logged and left out: what
/// has happened to the others has happened all the same.
pub(super) fn each<'r, R: 'r, T>(
    rows: impl IntoIterator<Item = &'r R>,
    read: impl Fn(&'r R) -> Result<T, StoreError>,
) -> Vec<T> {
    let read = rows.into_iter().filter_map(|row| match read(row) {
        Ok(read) => Some(read),
        Err(error) => {
            tracing::error!(%error, "a row cannot be read and is passed over");
            None
        }
    });
    read.collect()
}

fn there<T>(value: Option<T>, column: &'static str) -> Result<T, StoreError> {
    value.ok_or_else(|| StoreError::Corrupt(format!("column {column} is null")))
}

/// Reads a text that is never null.
pub(super) fn text<'r>(row: &'r impl Columns, column: &'static str) -> Result<&'r str, StoreError> {
    there(row.text(column)?, column)
}

/// Reads a text that may be null.
pub(super) fn owned(
    row: &impl Columns,
    column: &'static str,
) -> Result<Option<String>, StoreError> {
    Ok(row.text(column)?.map(str::to_owned))
}

/// Reads a time that is never null.
pub(super) fn time(row: &impl Columns, column: &'static str) -> Result<DateTime<Utc>, StoreError> {
    there(row.time(column)?, column)
}

/// Reads a text column into something that is written as text.
pub(super) fn parse<T: FromStr>(row: &impl Columns, column: &'static str) -> Result<T, StoreError> {
    there(parse_optional(row, column)?, column)
}

/// Like [`parse`], for a column that may be null.
pub(super) fn parse_optional<T: FromStr>(
    row: &impl Columns,
    column: &'static str,
) -> Result<Option<T>, StoreError> {
    let parsed = row.text(column)?.map(|text| {
        text.parse().map_err(|_| StoreError::Corrupt(format!("column {column} holds {text:?}")))
    });
    parsed.transpose()
}

/// Reads a counter.
pub(super) fn count(row: &impl Columns, column: &'static str) -> Result<u32, StoreError> {
    let number = there(row.integer(column)?, column)?;
    u32::try_from(number)
        .map_err(|_| StoreError::Corrupt(format!("column {column} holds {number}")))
}

/// Reads a failure that was stored as JSON.
pub(super) fn failure(
    row: &impl Columns,
    column: &'static str,
) -> Result<Option<Failure>, StoreError> {
    let failure = row.text(column)?.map(|text| {
        serde_json::from_str(text)
            .map_err(|error| StoreError::Corrupt(format!("column {column} is no failure: {error}")))
    });
    failure.transpose()
}

/// Reads `organization_id`, `workspace_id` and `user_id`.
pub(super) fn identity(row: &impl Columns) -> Result<Identity, StoreError> {
    let [organization, workspace, user] =
        ["organization_id", "workspace_id", "user_id"].map(|column| text(row, column));
    Ok(Identity::new(organization?, workspace?, user?))
}

/// Reads `trace_flags`.
pub(super) fn trace_flags(row: &impl Columns) -> Result<u8, StoreError> {
    let flags = there(row.integer("trace_flags")?, "trace_flags")?;
    Ok(u8::try_from(flags).unwrap_or_default())
}

/// Reads the columns of a run's trace.
pub(super) fn trace(row: &impl Columns) -> Result<RunTrace, StoreError> {
    Ok(RunTrace {
        trace: parse(row, "trace_id")?,
        publish: parse(row, "publish_span_id")?,
        root: parse(row, "root_span_id")?,
        flags: trace_flags(row)?,
        state: parse_optional(row, "trace_state")?,
    })
}

/// Reads a run's header; the input is only there where the statement selects it.
pub(super) fn header(row: &impl Columns, with_input: bool) -> Result<RunHeader, StoreError> {
    Ok(RunHeader {
        id: RunId(row.uuid("id")?),
        identity: identity(row)?,
        version_id: VersionId(row.uuid("version_id")?),
        workflow: Arc::from(text(row, "workflow")?),
        version: count(row, "version")?,
        input: Arc::from(if with_input { text(row, "input")? } else { "" }),
        step_mode: row.boolean("step_mode")?,
        node_count: count(row, "node_count")?,
        edge_count: count(row, "edge_count")?,
        trace: trace(row)?,
        created_at: time(row, "created_at")?,
    })
}

/// Reads a run that the statement has ended.
pub(super) fn ended(row: &impl Columns, error: Option<Failure>) -> Result<EndedRun, StoreError> {
    Ok(EndedRun {
        header: header(row, false)?,
        state: parse(row, "state")?,
        error,
        started_at: row.time("started_at")?,
        resumed: resumption(row)?,
        ended_at: time(row, "ended_at")?,
    })
}

/// Reads how the segment that a row shows began, unless it is the first.
pub(super) fn resumption(row: &impl Columns) -> Result<Option<Resumption>, StoreError> {
    let Some(from) = traceparent(row, "resumed_from")? else { return Ok(None) };
    Ok(Some(Resumption { segment: count(row, "segment")?, at: time(row, "resumed_at")?, from }))
}

/// Reads a segment that is over.
pub(super) fn closed_segment(row: &impl Columns) -> Result<ClosedSegment, StoreError> {
    Ok(ClosedSegment {
        header: header(row, false)?,
        started_at: time(row, "started_at")?,
        resumed: resumption(row)?,
        suspended_at: time(row, "suspended_at")?,
        next: there(traceparent(row, "resumed_as")?, "resumed_as")?,
    })
}

fn traceparent(
    row: &impl Columns,
    column: &'static str,
) -> Result<Option<TraceContext>, StoreError> {
    let context = row.text(column)?.map(|text| {
        TraceContext::from_traceparent(text)
            .map_err(|_| StoreError::Corrupt(format!("column {column} is no traceparent")))
    });
    context.transpose()
}

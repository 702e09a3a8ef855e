//! What the API shows of a row.

use super::StoreError;
use super::rows::{Columns, count, failure, owned, parse, parse_optional, text, time, trace};
use super::runs::{EarlierAttempt, LogRow, NodeRun, RunSummary, Segment};
use super::workflows::{VersionSummary, WorkflowSummary, WorkflowVersion};
use crate::domain::ids::{RunId, VersionId};
use crate::domain::state::RunState;
use crate::domain::trace::TraceId;

/// Reads a run.
pub(super) fn run(row: &impl Columns) -> Result<RunSummary, StoreError> {
    let state: RunState = parse(row, "state")?;
    Ok(RunSummary {
        id: RunId(row.uuid("id")?),
        workflow: text(row, "workflow")?.to_owned(),
        version: count(row, "version")?,
        state,
        cancelling: row.boolean("cancelling")? && !state.is_terminal(),
        step_mode: row.boolean("step_mode")?,
        user: text(row, "user_id")?.to_owned(),
        error: failure(row, "error")?,
        trace: trace(row)?,
        segment: count(row, "segment")?,
        resumed_at: row.time("resumed_at")?,
        created_at: time(row, "created_at")?,
        started_at: row.time("started_at")?,
        ended_at: row.time("ended_at")?,
    })
}

/// Reads an activation, without its earlier attempts.
pub(super) fn node(row: &impl Columns) -> Result<NodeRun, StoreError> {
    Ok(NodeRun {
        node: text(row, "node_key")?.to_owned(),
        scope: text(row, "scope")?.to_owned(),
        kind: text(row, "kind")?.to_owned(),
        state: parse(row, "node_state")?,
        attempts: count(row, "attempts")?,
        input: owned(row, "node_input")?,
        output: owned(row, "node_output")?,
        omitted: row.boolean("omitted")?,
        error: failure(row, "node_error")?,
        trace: span_trace(row, "node_trace_id")?,
        span: parse_optional(row, "node_span_id")?,
        worker: owned(row, "node_worker")?,
        queued_at: row.time("queued_at")?,
        started_at: row.time("node_started_at")?,
        ended_at: row.time("node_ended_at")?,
        wake_at: row.time("wake_at")?,
        waiting_for: owned(row, "waiting_for")?,
        earlier: Vec::new(),
        attempts_omitted: row.boolean("attempts_omitted")?,
    })
}

/// Reads an earlier attempt of an activation.
pub(super) fn attempt(row: &impl Columns) -> Result<EarlierAttempt, StoreError> {
    Ok(EarlierAttempt {
        attempt: count(row, "attempt")?,
        outcome: text(row, "outcome")?.to_owned(),
        error: failure(row, "attempt_error")?,
        trace: span_trace(row, "attempt_trace_id")?,
        span: parse_optional(row, "attempt_span_id")?,
        worker: owned(row, "attempt_worker")?,
        started_at: time(row, "attempt_started_at")?,
        ended_at: time(row, "attempt_ended_at")?,
    })
}

/// Reads the trace of a span: null where it is the one that the run has now.
fn span_trace(row: &impl Columns, column: &'static str) -> Result<TraceId, StoreError> {
    parse_optional(row, column)?.map_or_else(|| parse(row, "trace_id"), Ok)
}

/// Reads a segment of a run that is over.
pub(super) fn segment(row: &impl Columns) -> Result<Segment, StoreError> {
    Ok(Segment {
        number: count(row, "segment")?,
        trace: parse(row, "trace_id")?,
        root: parse(row, "root_span_id")?,
        started_at: time(row, "started_at")?,
        suspended_at: time(row, "suspended_at")?,
    })
}

/// Reads a row of a run's log.
pub(super) fn log_row(row: &impl Columns, id: i64, cursor: String) -> Result<LogRow, StoreError> {
    Ok(LogRow {
        id,
        cursor,
        at: time(row, "ts")?,
        level: text(row, "level")?.to_owned(),
        event: text(row, "event")?.to_owned(),
        message: text(row, "message")?.to_owned(),
        node: owned(row, "node_key")?,
        scope: owned(row, "scope")?,
        data: owned(row, "data")?,
        trace: parse(row, "trace_id")?,
        span: parse(row, "span_id")?,
    })
}

/// Reads a workflow as listings show it.
pub(super) fn workflow(row: &impl Columns) -> Result<WorkflowSummary, StoreError> {
    Ok(WorkflowSummary {
        name: text(row, "name")?.to_owned(),
        description: owned(row, "description")?,
        // None has the number 0.
        version: Some(count(row, "latest_version")?).filter(|version| *version > 0),
        created_at: time(row, "created_at")?,
        updated_at: time(row, "updated_at")?,
        archived_at: row.time("archived_at")?,
    })
}

/// Reads a version of a workflow as listings show it.
pub(super) fn listed_version(row: &impl Columns) -> Result<VersionSummary, StoreError> {
    Ok(VersionSummary {
        name: text(row, "name")?.to_owned(),
        version: count(row, "version")?,
        description: owned(row, "description")?,
        node_count: count(row, "node_count")?,
        edge_count: count(row, "edge_count")?,
        created_by: text(row, "created_by")?.to_owned(),
        created_at: time(row, "created_at")?,
        draft: row.boolean("draft")?,
    })
}

/// Reads a version of a workflow with its document.
pub(super) fn version(row: &impl Columns) -> Result<WorkflowVersion, StoreError> {
    Ok(WorkflowVersion {
        id: VersionId(row.uuid("id")?),
        name: text(row, "name")?.to_owned(),
        version: count(row, "version")?,
        description: owned(row, "description")?,
        document: text(row, "document")?.to_owned(),
        node_count: count(row, "node_count")?,
        edge_count: count(row, "edge_count")?,
        created_by: text(row, "created_by")?.to_owned(),
        created_at: time(row, "created_at")?,
        draft: row.boolean("draft")?,
        archived_at: row.time("archived_at")?,
    })
}

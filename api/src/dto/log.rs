//! Rows of a run's log.

use chrono::{DateTime, Utc};
use serde::Serialize;
use skein_shared::domain::ids::RunId;
use skein_shared::store::runs as stored_runs;
use utoipa::ToSchema;

use super::{StoredJson, item_index, stored_optional};
use crate::problem::Problem;
use crate::words::LogLevel;

/// Something that happened in a run.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LogRow {
    /// Its number. Rows are in the order of their commits, so numbers may go back a little.
    id: i64,
    /// When it happened.
    ts: DateTime<Utc>,
    /// How important it is.
    #[schema(value_type = LogLevel)]
    level: String,
    /// A stable dotted word: `run.accepted`, `node.failed` ...
    event: String,
    /// What happened, for people.
    message: String,
    /// The run.
    #[schema(format = "uuid")]
    run_id: String,
    /// The node that it is about, if it is about one.
    #[schema(required)]
    node: Option<String>,
    /// Which item of the innermost map around the node.
    #[schema(required)]
    item_index: Option<u32>,
    /// What goes with it.
    #[schema(required, value_type = serde_json::Value, nullable)]
    data: Option<StoredJson>,
    /// The run's trace.
    #[schema(pattern = "^[0-9a-f]{32}$")]
    trace_id: String,
    /// The span that it belongs to.
    #[schema(pattern = "^[0-9a-f]{16}$")]
    span_id: String,
}

/// A page of a log, oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LogList {
    /// The rows.
    pub(crate) items: Vec<LogRow>,
    /// What to ask for with `after` next. There is one after every row, so that a log can be followed; null where
    /// there was nothing new. With filters there may be one on a page without rows.
    #[schema(required)]
    pub(crate) next_cursor: Option<String>,
}

impl LogRow {
    pub(crate) fn of_run(run: RunId, row: stored_runs::LogRow) -> Result<Self, Problem> {
        Ok(Self {
            id: row.id,
            ts: row.at,
            level: row.level,
            event: row.event,
            message: row.message,
            run_id: run.to_string(),
            item_index: row.scope.as_deref().and_then(item_index),
            node: row.node,
            data: stored_optional(row.data)?,
            trace_id: row.trace.to_string(),
            span_id: row.span.to_string(),
        })
    }
}

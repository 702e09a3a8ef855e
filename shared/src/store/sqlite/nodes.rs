//! Activations as transactions see them, and what several steps do to them.

use chrono::{DateTime, Utc};
use sqlx::sqlite::SqliteRow;

use super::log::{self, Entry};
use super::rows::get;
use super::writer::Tx;
use crate::domain::ids::{ActivationKey, LeaseId, RunId};
use crate::domain::run::RunHeader;
use crate::domain::state::NodeState;
use crate::domain::trace::SpanId;
use crate::store::StoreError;
use crate::store::engine::END_KIND;
use crate::store::rows::{Columns, count, parse, parse_optional};

/// An activation as a transaction sees it, without its payloads.
#[derive(Debug, Clone)]
pub(super) struct NodeRow {
    /// Its row number in the table.
    pub(super) ordinal: i64,
    pub(super) key: ActivationKey,
    pub(super) kind: String,
    pub(super) state: NodeState,
    pub(super) pending: i64,
    pub(super) live: i64,
    pub(super) claim: u32,
    pub(super) attempts: u32,
    pub(super) failures: u32,
    pub(super) strikes: u32,
    pub(super) suspect: bool,
    /// Crashes in a row.
    pub(super) crashes: u32,
    pub(super) crashed: bool,
    pub(super) lease: Option<LeaseId>,
    pub(super) timeout_ms: i64,
    pub(super) publish_span: SpanId,
    pub(super) span: Option<SpanId>,
    /// The segment of the run whose trace holds that span.
    pub(super) segment: u32,
    pub(super) waited_until: Option<DateTime<Utc>>,
    pub(super) wakes: i32,
    message_expected: bool,
    /// Sweeps in a row that found it beside a deep queue.
    pub(super) deep_wakes: u32,
    pub(super) queued_at: Option<DateTime<Utc>>,
    pub(super) started_at: Option<DateTime<Utc>>,
}

/// The columns of a [`NodeRow`] in a query over `node_runs n`.
macro_rules! node_columns {
    () => {
        "n.ordinal, n.run_id, n.node_key, n.scope, n.kind, n.state, n.pending, n.live, n.claim, n.attempts,
         n.failures, n.strikes, n.suspect, n.crashes, n.crashed, n.lease_id, n.timeout_ms, n.publish_span_id, n.span_id,
         n.segment, n.waited_until, n.wakes, n.message_expected, n.deep_wakes, n.queued_at, n.started_at"
    };
}
pub(super) use node_columns;

impl NodeRow {
    pub(super) fn read(row: &SqliteRow) -> Result<Self, StoreError> {
        Ok(Self {
            ordinal: get(row, "ordinal")?,
            key: ActivationKey {
                run: parse(row, "run_id")?,
                node: get::<&str>(row, "node_key")?.into(),
                scope: get::<&str>(row, "scope")?.into(),
            },
            kind: get(row, "kind")?,
            state: parse(row, "state")?,
            pending: get(row, "pending")?,
            live: get(row, "live")?,
            claim: count(row, "claim")?,
            attempts: count(row, "attempts")?,
            failures: count(row, "failures")?,
            strikes: count(row, "strikes")?,
            suspect: get(row, "suspect")?,
            crashes: count(row, "crashes")?,
            crashed: get(row, "crashed")?,
            lease: parse_optional(row, "lease_id")?,
            timeout_ms: get(row, "timeout_ms")?,
            publish_span: parse(row, "publish_span_id")?,
            span: parse_optional(row, "span_id")?,
            segment: count(row, "segment")?,
            waited_until: row.time("waited_until")?,
            wakes: get(row, "wakes")?,
            message_expected: get(row, "message_expected")?,
            deep_wakes: count(row, "deep_wakes")?,
            queued_at: row.time("queued_at")?,
            started_at: row.time("started_at")?,
        })
    }
}

impl NodeRow {
    /// Whether a message is said to be there for it. It may be lost all the same.
    pub(super) fn has_message(&self) -> bool {
        // The version before wrote -1 wakes for no message.
        self.message_expected && self.wakes >= 0
    }
}

/// Reads an activation.
pub(super) async fn load(
    tx: &mut Tx<'_>,
    run: RunId,
    node: &str,
    scope: &str,
) -> Result<Option<NodeRow>, StoreError> {
    let row = tx
        .fetch_optional(
            sqlx::query(concat!(
                "SELECT ",
                node_columns!(),
                " FROM node_runs n WHERE n.run_id = ?1 AND n.node_key = ?2 AND n.scope = ?3"
            ))
            .bind(run.to_string())
            .bind(node)
            .bind(scope),
        )
        .await?;
    row.as_ref().map(NodeRow::read).transpose()
}

/// Cancels an open row that nobody holds, and logs it.
pub(super) async fn cancel(
    tx: &mut Tx<'_>,
    run: &RunHeader,
    node: &NodeRow,
) -> Result<(), StoreError> {
    tx.execute(
        sqlx::query(
            "UPDATE node_runs SET state = 'cancelled', wake_at = NULL, ended_at = ?2 WHERE ordinal = ?1",
        )
        .bind(node.ordinal)
        .bind(tx.now),
    )
    .await?;
    if node.kind != END_KIND {
        log::write(tx, run, Entry::node_cancelled(&node.kind, &node.key, None)).await?;
    }
    Ok(())
}

/// Records an attempt that did not end its node. `outcome` is `retry`, `waiting`, `released` or
/// `crashed`, `error` JSON text.
pub(super) async fn record_attempt(
    tx: &mut Tx<'_>,
    run: &RunHeader,
    node: &NodeRow,
    outcome: &'static str,
    error: Option<String>,
) -> Result<(), StoreError> {
    let started_at = node.started_at.map(|at| at.timestamp_micros());
    tx.execute(
        sqlx::query(
            "INSERT INTO node_attempts (run_id, node_key, scope, claim, organization_id, workspace_id, attempt, outcome,
                                        error, span_id, lease_id, started_at, ended_at, segment)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        )
        .bind(node.key.run.to_string())
        .bind(&*node.key.node)
        .bind(&*node.key.scope)
        .bind(node.claim)
        .bind(&*run.identity.organization)
        .bind(&*run.identity.workspace)
        .bind(node.attempts)
        .bind(outcome)
        .bind(error)
        .bind(node.span.map(|span| span.to_string()))
        .bind(node.lease.map(|lease| lease.to_string()))
        .bind(started_at)
        .bind(tx.now)
        .bind(node.segment),
    )
    .await?;
    Ok(())
}

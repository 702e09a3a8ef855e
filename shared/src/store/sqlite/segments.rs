//! Suspending runs of which everything waits, and resuming them, in a new trace if the wait was long.

use async_trait::async_trait;
use uuid::Uuid;

use super::log;
use super::rows::{Input, Run, get, load_run};
use super::writer::{Tx, Write};
use super::{SqliteStore, store_error};
use crate::domain::ids::{CallId, RunId};
use crate::domain::run::{ClosedSegment, RunTrace};
use crate::domain::state::RunState;
use crate::domain::trace::{SpanId, TraceId, TraceState};
use crate::store::StoreError;
use crate::store::log_entry::Entry;
use crate::store::recovery::SweepOptions;
use crate::store::rows::closed_segment;
use crate::store::timing::{RECHECK_AFTER, RECHECK_AGAIN, millis};

/// Has a run rechecked soon of which a row has begun a long wait: perhaps nothing of it works any more.
pub(super) async fn recheck_soon(tx: &mut Tx<'_>, run: RunId) -> Result<(), StoreError> {
    tx.execute(
        sqlx::query("UPDATE runs SET wake_at = min(coalesce(wake_at, ?2), ?2) WHERE id = ?1")
            .bind(run.to_string())
            .bind(tx.after(RECHECK_AFTER)),
    )
    .await?;
    Ok(())
}

/// Has a run rechecked at once that somebody was to recheck later, unless something of it is at work.
pub(super) async fn recheck_now(tx: &mut Tx<'_>, run: RunId) -> Result<(), StoreError> {
    tx.execute(
        sqlx::query(
            "UPDATE runs SET wake_at = min(wake_at, ?2)
             WHERE id = ?1
               AND NOT EXISTS (SELECT 1 FROM node_runs
                               WHERE run_id = ?1 AND state IN ('queued', 'running', 'skipping'))",
        )
        .bind(run.to_string())
        .bind(tx.now),
    )
    .await?;
    Ok(())
}

/// Marks those runs as suspended of which everything that is open waits.
pub(super) struct Suspend(pub(super) Vec<RunId>);

#[async_trait]
impl Write for Suspend {
    type Reply = u64;
    const NAME: &'static str = "suspend";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<u64, StoreError> {
        let mut suspended = 0;
        for id in &self.0 {
            let Some(run) = load_run(tx, *id, Input::Leave).await? else { continue };
            if run.state != RunState::Running || run.is_over() {
                continue;
            }
            suspended += u64::from(suspend_if_idle(tx, &run).await?);
        }
        Ok(suspended)
    }
}

/// Whether something of a run works, or could.
pub(super) async fn is_at_work(tx: &mut Tx<'_>, run: RunId) -> Result<bool, StoreError> {
    let row = tx
        .fetch_optional(
            sqlx::query(
                "SELECT 1 FROM node_runs WHERE run_id = ?1 AND state IN ('queued', 'running', 'skipping') LIMIT 1",
            )
            .bind(run.to_string()),
        )
        .await?;
    Ok(row.is_some())
}

async fn suspend_if_idle(tx: &mut Tx<'_>, run: &Run) -> Result<bool, StoreError> {
    let row = tx
        .fetch_optional(
            sqlx::query(
                "SELECT count(*) FILTER (WHERE state IN ('retry', 'waiting')) AS waiting,
                        count(*) FILTER (WHERE state IN ('queued', 'running', 'skipping')) AS working,
                        min(wake_at) FILTER (WHERE state IN ('retry', 'waiting')) AS until,
                        max(coalesce(max(ended_at), 0),
                            (SELECT coalesce(max(ended_at), 0) FROM node_attempts WHERE run_id = ?1)) AS since
                 FROM node_runs WHERE run_id = ?1",
            )
            .bind(run.header.id.to_string()),
        )
        .await?;
    let Some(row) = row else { return Ok(false) };
    let waits = get::<i64>(&row, "waiting")? > 0;
    let is_idle = waits && get::<i64>(&row, "working")? == 0;
    tx.execute(
        sqlx::query("UPDATE runs SET state = ?2, suspended_at = ?3, wake_at = ?4 WHERE id = ?1")
            .bind(run.header.id.to_string())
            .bind(if is_idle { RunState::Suspended } else { run.state }.as_str())
            .bind(if is_idle { get::<Option<i64>>(&row, "since")? } else { None })
            .bind((waits && !is_idle).then(|| tx.after(RECHECK_AGAIN))),
    )
    .await?;
    if is_idle {
        let until = get::<Option<i64>>(&row, "until")?.map(super::time::instant).transpose()?;
        log::write(tx, &run.header, Entry::run_suspended(until)).await?;
    }
    Ok(is_idle)
}

/// Moves a suspended run on of which a row's wait is over, into a new trace if it was suspended for long. Says whether
/// it goes on in a new one.
pub(super) async fn resume(
    tx: &mut Tx<'_>,
    run: &Run,
    options: &SweepOptions,
) -> Result<bool, StoreError> {
    if run.state != RunState::Suspended {
        return Ok(false);
    }
    let suspended_micros = run.suspended_at.map_or(tx.now, |at| at.timestamp_micros());
    let waited_micros = tx.now.saturating_sub(suspended_micros);
    let in_new_trace = waited_micros >= millis(options.trace_wait_max).saturating_mul(1000);
    let (mut header, segment) = (run.header.clone(), run.segment + u32::from(in_new_trace));
    if in_new_trace {
        header.trace = RunTrace {
            trace: TraceId(*Uuid::new_v4().as_bytes()),
            root: SpanId(fastrand::u64(1..).to_be_bytes()),
            state: None,
            ..run.header.trace.clone()
        };
        close(tx, run, &header.trace, suspended_micros, options.call).await?;
    }
    let resumed_at = in_new_trace.then_some(tx.now);
    let resumed_from = in_new_trace.then(|| run.header.trace.root_context().to_traceparent());
    tx.execute(
        sqlx::query(
            "UPDATE runs
             SET state = 'running', suspended_at = NULL, wake_at = ?2, segment = ?3, trace_id = ?4, root_span_id = ?5,
                 trace_state = ?8, resumed_at = coalesce(?6, resumed_at), resumed_from = coalesce(?7, resumed_from)
             WHERE id = ?1",
        )
        .bind(header.id.to_string())
        // Others may wait on.
        .bind(tx.after(RECHECK_AFTER))
        .bind(segment)
        .bind(header.trace.trace.to_string())
        .bind(header.trace.root.to_string())
        .bind(resumed_at)
        .bind(resumed_from)
        .bind(header.trace.state.as_ref().map(TraceState::as_str)),
    )
    .await?;
    let earlier = in_new_trace.then_some((segment, run.header.trace.trace));
    log::write(tx, &header, Entry::run_resumed(earlier)).await?;
    Ok(in_new_trace)
}

async fn close(
    tx: &mut Tx<'_>,
    run: &Run,
    next: &RunTrace,
    suspended_at: i64,
    call: CallId,
) -> Result<(), StoreError> {
    let (trace, identity) = (&run.header.trace, &run.header.identity);
    let begun_at = run.resumed.map(|resumed| resumed.at).or(run.started_at);
    tx.execute(
        sqlx::query(
            "INSERT INTO run_segments (run_id, segment, organization_id, workspace_id, trace_id, root_span_id,
                                       started_at, suspended_at, resumed_from, resumed_as, closed_by, trace_state)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        )
        .bind(run.header.id.to_string())
        .bind(run.segment)
        .bind(&*identity.organization)
        .bind(&*identity.workspace)
        .bind(trace.trace.to_string())
        .bind(trace.root.to_string())
        .bind(begun_at.map(|at| at.timestamp_micros()))
        .bind(suspended_at)
        .bind(run.resumed.map(|resumed| resumed.from.to_traceparent()))
        .bind(next.root_context().to_traceparent())
        .bind(call.to_string())
        .bind(trace.state.as_ref().map(TraceState::as_str)),
    )
    .await?;
    Ok(())
}

impl SqliteStore {
    pub(super) async fn closed_by(&self, call: CallId) -> Result<Vec<ClosedSegment>, StoreError> {
        let rows = sqlx::query(
            "SELECT r.id, r.organization_id, r.workspace_id, r.user_id, r.version_id, r.workflow, r.version, r.step_mode,
                    r.node_count, r.edge_count, s.trace_id, r.publish_span_id, s.root_span_id, r.trace_flags,
                    s.trace_state, r.created_at, r.started_at, s.segment, s.started_at AS resumed_at, s.resumed_from,
                    s.suspended_at, s.resumed_as
             FROM run_segments s JOIN runs r ON r.id = s.run_id
             WHERE s.closed_by = ?1",
        )
        .bind(call.to_string())
        .fetch_all(self.reading("segments_closed"))
        .await
        .map_err(store_error)?;
        rows.iter().map(closed_segment).collect()
    }
}

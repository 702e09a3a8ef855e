//! Due and stranded things.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::abandoned::abandoned;
use super::event_logs::Logging;
use super::leases::KeyRow;
use super::rows::{get, place};
use super::statement::statement;
use super::{PostgresStore, store_error};
use crate::domain::ids::{ActivationKey, CallId, RunId};
use crate::domain::limits;
use crate::domain::run::{AbandonedAttempt, ClosedSegment};
use crate::domain::trace::TraceContext;
use crate::store::StoreError;
use crate::store::recovery::{
    DueRange, DueRuns, DueWake, Finished, LATE_COMMIT_MAX, NoWorkerTold, OpenRun, ReapScope,
    RecoveryStore, SWEEP_ROWS_MAX, Sweep, SweepOptions, cancel_page,
};
use crate::store::row_values::deadline_passed_json;
use crate::store::rows::{
    closed_segment, each, ended, failure, identity, parse, parse_optional, trace_flags,
};
use crate::store::timing::{
    FIRST_WAKE, LEASE_KEPT, RECHECK_AFTER, RECHECK_AGAIN, RECHECK_FIRST, WAKE_MAX, millis,
};

statement! {
    /// Reads which spans led to activations.
    struct FindUpstream<'a> = "sql/upstream_spans.sql" {
        keys: Vec<KeyRow<'a>>,
    }
}

/// How far ahead a sweep searches for the next timer.
const HORIZON: Duration = Duration::from_secs(60);

static SWEEP_NODES: Logging = Logging::of(|| include_str!("sql/sweep_nodes.sql"));
static SUSPEND: Logging = Logging::of(|| include_str!("sql/suspend.sql"));
static REAP: Logging = Logging::of(|| include_str!("sql/reap.sql"));
static TELL_OF_NO_WORKER: Logging = Logging::of(|| include_str!("sql/tell_of_no_worker.sql"));
static CANCEL_OPEN_NODES: Logging = Logging::of(|| include_str!("sql/cancel_open_nodes.sql"));
static END_RUNS: Logging = Logging::of(|| include_str!("sql/end_runs.sql"));

#[async_trait]
impl RecoveryStore for PostgresStore {
    async fn sweep(&self, options: SweepOptions) -> Result<Sweep, StoreError> {
        let statement = sqlx::query(SWEEP_NODES.text(self))
            .bind(i64::from(options.limit))
            .bind(options.broker_up)
            .bind(FIRST_WAKE.as_secs_f64() * 1000.0)
            .bind(WAKE_MAX.as_secs_f64() * 1000.0)
            .bind(options.queue_deep)
            .bind(millis(options.trace_wait_max))
            .bind(millis(RECHECK_FIRST))
            .bind(millis(RECHECK_AFTER))
            .bind(options.call.0)
            .bind(options.range.from)
            .bind(options.range.before)
            .bind(millis(LATE_COMMIT_MAX));
        let rows = self.fetch_logging(statement, self.pool.named("sweep_nodes")).await?;
        let limit = options.limit.min(SWEEP_ROWS_MAX) as usize;
        let swept_at = rows.first().map(|row| get(row, "swept_at")).transpose()?;
        let mut sweep = Sweep { swept_at, ..Sweep::default() };
        let moved = moved(&rows)?;
        sweep.more = moved.len() >= limit;
        // With the broker down nothing was read, so nothing is known to be done.
        sweep.done_to = if options.broker_up { done_to(&rows, sweep.more)? } else { None };
        for row in &moved {
            sweep.has_closed |= get::<bool>(row, "in_new_trace")?;
            sweep.deferred += u32::from(get::<bool>(row, "is_not_published")?);
            let run = RunId(get(row, "run_id")?);
            if get(row, "is_over")? && !sweep.over.contains(&run) {
                sweep.over.push(run);
            }
        }
        let is_published = |row: &&&PgRow| !get(row, "is_not_published").unwrap_or(true);
        sweep.wake = each(moved.iter().filter(is_published).copied(), due_wake);
        // What was moved is to be published, whether or not this is answered.
        sweep.next_due = self.next_due().await.unwrap_or_default();
        Ok(sweep)
    }

    async fn closed_segments(&self, call: CallId) -> Result<Vec<ClosedSegment>, StoreError> {
        let rows = sqlx::query(include_str!("sql/segments_closed.sql"))
            .bind(call.0)
            .fetch_all(self.pool.named("segments_closed"))
            .await
            .map_err(store_error)?;
        Ok(each(&rows, closed_segment))
    }

    async fn expire_runs(&self, limit: u32) -> Result<u32, StoreError> {
        let row = sqlx::query(include_str!("sql/expire_runs.sql"))
            .bind(i64::from(limit))
            .bind(deadline_passed_json())
            .fetch_one(self.pool.named("expire_runs"))
            .await
            .map_err(store_error)?;
        Ok(u32::try_from(get::<i64>(&row, "looked_at")?).unwrap_or(u32::MAX))
    }

    async fn due_runs(&self, limit: u32, range: DueRange) -> Result<DueRuns, StoreError> {
        let rows = sqlx::query(include_str!("sql/sweep_runs.sql"))
            .bind(i64::from(limit))
            .bind(range.from)
            .bind(range.before)
            .bind(millis(LATE_COMMIT_MAX))
            .fetch_all(self.pool.named("sweep_runs"))
            .await
            .map_err(store_error)?;
        let moved = moved(&rows)?;
        let is_full = moved.len() >= limit.min(SWEEP_ROWS_MAX) as usize;
        let mut due = DueRuns { done_to: done_to(&rows, is_full)?, ..DueRuns::default() };
        for row in moved {
            let kind = if get(row, "is_over")? { &mut due.over } else { &mut due.waiting };
            kind.push(RunId(get(row, "id")?));
        }
        Ok(due)
    }

    async fn suspend(&self, runs: &[RunId]) -> Result<u64, StoreError> {
        let statement = sqlx::query(SUSPEND.text(self))
            .bind(runs.iter().map(|run| run.0).collect::<Vec<_>>())
            .bind(millis(RECHECK_AGAIN));
        let rows = self.fetch_logging(statement, self.pool.named("suspend")).await?;
        rows.first().map_or(Ok(0), |row| Ok(get::<i64>(row, "suspended")?.unsigned_abs()))
    }

    async fn reap(
        &self,
        limit: u32,
        scope: ReapScope,
    ) -> Result<Vec<AbandonedAttempt>, StoreError> {
        match self.declare_dead(true).await {
            // Too much has ended under it. Somebody must still say that it is dead.
            Err(StoreError::TooSlow(_)) => self.declare_dead(false).await?,
            declared => declared?,
        }
        sqlx::query(include_str!("sql/forget_leases.sql"))
            .bind(millis(LEASE_KEPT))
            .execute(self.pool.named("forget_leases"))
            .await
            .map_err(store_error)?;
        let range = match scope {
            ReapScope::Ended => None,
            ReapScope::Running(range) => Some(range),
        };
        let statement = sqlx::query(REAP.text(self))
            .bind(i64::from(limit))
            .bind(i64::from(limits::CRASHES_UNSUSPECTED_MAX))
            .bind(range.is_some())
            .bind(range.and_then(|range| range.from))
            .bind(range.and_then(|range| range.before));
        let rows = self.fetch_logging(statement, self.pool.named("reap")).await?;
        let mut attempts = each(&rows, abandoned);
        // The rows are taken back whatever comes of this.
        if let Err(error) = self.add_upstream(&mut attempts).await {
            tracing::warn!(%error, "crashed attempts are exported without their links");
        }
        Ok(attempts)
    }

    async fn tell_of_no_worker(
        &self,
        waited: Duration,
        after: Option<&OpenRun>,
        limit: u32,
    ) -> Result<NoWorkerTold, StoreError> {
        let limit = limit.min(SWEEP_ROWS_MAX);
        let statement = sqlx::query(TELL_OF_NO_WORKER.text(self))
            .bind(after.map_or("", |after| after.organization.as_str()))
            .bind(after.map_or("", |after| after.workspace.as_str()))
            .bind(after.map_or(Uuid::nil(), |after| after.id.0))
            .bind(i64::from(limit))
            .bind(millis(waited));
        let rows = self.fetch_logging(statement, self.pool.named("tell_of_no_worker")).await?;
        let Some(row) = rows.first() else { return Ok(NoWorkerTold::default()) };
        let is_full = get::<i64>(row, "looked_at")? >= i64::from(limit);
        let last = OpenRun {
            organization: get(row, "organization_id")?,
            workspace: get(row, "workspace_id")?,
            id: RunId(get(row, "id")?),
        };
        let told = u32::try_from(get::<i64>(row, "told")?).unwrap_or(u32::MAX);
        Ok(NoWorkerTold { told, next: is_full.then_some(last) })
    }

    async fn finish_runs(&self, call: CallId, runs: &[RunId]) -> Result<Finished, StoreError> {
        let page = cancel_page(runs.len());
        let statement = sqlx::query(CANCEL_OPEN_NODES.text(self))
            .bind(runs.iter().map(|run| run.0).collect::<Vec<_>>())
            .bind(i64::from(page));
        let rows = self.fetch_logging(statement, self.pool.named("cancel_open_nodes")).await?;
        let mut finished = Finished::default();
        for row in &rows {
            if get::<i64>(row, "cancelled")? >= i64::from(page) {
                finished.more.push(RunId(get(row, "run_id")?));
            }
        }
        let rest = runs.iter().filter(|run| !finished.more.contains(run));
        let statement = sqlx::query(END_RUNS.text(self))
            .bind(rest.map(|run| run.0).collect::<Vec<_>>())
            .bind(call.0);
        let rows = self.fetch_logging(statement, self.pool.named("end_runs")).await?;
        let (over, held): (Vec<_>, Vec<_>) =
            rows.iter().partition(|row| get(row, "has_ended").unwrap_or(false));
        finished.ended = each(over, |row| ended(row, failure(row, "error")?));
        finished.held = each(held, |row| Ok(RunId(get(row, "id")?)));
        Ok(finished)
    }

    async fn prune_drafts(&self, unused_for: Duration, limit: u32) -> Result<u32, StoreError> {
        let pruned = sqlx::query(include_str!("sql/prune_drafts.sql"))
            .bind(millis(unused_for))
            .bind(i64::from(limit))
            .execute(self.pool.named("prune_drafts"))
            .await
            .map_err(store_error)?;
        Ok(u32::try_from(pruned.rows_affected()).unwrap_or(u32::MAX))
    }
}

/// The rows that a sweep has moved: the one that it answers with at least may be none.
fn moved(rows: &[PgRow]) -> Result<Vec<&PgRow>, StoreError> {
    let mut moved = Vec::with_capacity(rows.len());
    for row in rows {
        if get::<Option<DateTime<Utc>>>(row, "due_at")?.is_some() {
            moved.push(row);
        }
    }
    Ok(moved)
}

/// See [`Sweep::done_to`]. The rows that were due longest have been moved, all of them unless it `is_full`.
fn done_to(rows: &[PgRow], is_full: bool) -> Result<Option<DateTime<Utc>>, StoreError> {
    let Some(row) = rows.first() else { return Ok(None) };
    let late = get::<DateTime<Utc>>(row, "swept_at")? - LATE_COMMIT_MAX;
    let mut latest = None;
    for row in rows {
        latest = latest.max(get::<Option<DateTime<Utc>>>(row, "due_at")?);
    }
    Ok(Some(latest.filter(|_| is_full).map_or(late, |latest| latest.min(late))))
}

fn due_wake(row: &PgRow) -> Result<DueWake, StoreError> {
    Ok(DueWake {
        key: ActivationKey {
            run: RunId(get(row, "run_id")?),
            node: get::<&str>(row, "node_key")?.into(),
            scope: get::<&str>(row, "scope")?.into(),
        },
        identity: identity(row)?,
        publisher: TraceContext {
            trace: parse(row, "trace_id")?,
            span: parse(row, "publish_span_id")?,
            flags: trace_flags(row)?,
        },
        state: parse_optional(row, "trace_state")?,
        parent: parse_optional(row, "parent_span_id")?,
        root: parse(row, "root_span_id")?,
        workflow: get::<&str>(row, "workflow")?.into(),
        queued_at: get(row, "queued_at")?,
        was_published: get(row, "has_message")?,
    })
}

impl PostgresStore {
    /// Declares leases dead that have missed their heartbeats, and notes how many rows each was running, if that is to
    /// be counted.
    async fn declare_dead(&self, counted: bool) -> Result<(), StoreError> {
        sqlx::query(include_str!("sql/declare_dead.sql"))
            .bind(counted)
            .execute(self.pool.named("declare_dead"))
            .await
            .map_err(store_error)?;
        Ok(())
    }

    /// Finds out which spans led to attempts.
    async fn add_upstream(&self, attempts: &mut [AbandonedAttempt]) -> Result<(), StoreError> {
        if attempts.is_empty() {
            return Ok(());
        }
        let keys = attempts.iter().map(|attempt| KeyRow::of(&attempt.key)).collect();
        let found = FindUpstream { keys }
            .query(FindUpstream::text())?
            .fetch_all(self.pool.named("upstream_spans"));
        for row in &found.await.map_err(store_error)? {
            let attempt = &mut attempts[place(row)?];
            let context = TraceContext {
                trace: parse(row, "trace_id")?,
                ..attempt.header.trace.context_of(parse(row, "span_id")?)
            };
            attempt.upstream.push((get::<&str>(row, "node_key")?.into(), context));
        }
        Ok(())
    }

    async fn next_due(&self) -> Result<Option<Duration>, StoreError> {
        let next = sqlx::query(include_str!("sql/next_due.sql"))
            .bind(millis(HORIZON))
            .fetch_one(self.pool.named("next_due"))
            .await
            .map_err(store_error)?;
        let next = get::<Option<i64>>(&next, "next_ms")?;
        Ok(next.map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or_default())))
    }
}

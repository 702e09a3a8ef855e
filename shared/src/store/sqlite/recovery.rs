//! Due and stranded things.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::sqlite::SqliteRow;

use super::finish::Finish;
use super::no_worker::TellOfNoWorker;
use super::nodes::{NodeRow, node_columns};
use super::publishing::PruneDrafts;
use super::reap::Reap;
use super::rows::{Input, Run, Runs, get};
use super::segments::{self, Suspend, resume};
use super::time::instant;
use super::writer::{Tx, Write};
use super::{SqliteStore, nodes};
use crate::domain::ids::{CallId, RunId};
use crate::domain::run::{AbandonedAttempt, ClosedSegment};
use crate::domain::state::{NodeEvent, NodeState, RunState};
use crate::domain::trace::SpanId;
use crate::store::StoreError;
use crate::store::recovery::{
    DueRange, DueRuns, DueWake, Finished, LATE_COMMIT_MAX, NoWorkerTold, OpenRun, ReapScope,
    RecoveryStore, SWEEP_ROWS_MAX, Sweep, SweepOptions,
};
use crate::store::row_values::deadline_passed_json;
use crate::store::rows::{parse, time};
use crate::store::timing::{FIRST_WAKE, RECHECK_FIRST, WAKE_MAX, millis};

/// How far ahead a sweep searches for the next timer.
const HORIZON: Duration = Duration::from_secs(60);
/// When a run that is to end is rechecked: at least, and the jitter on top.
const FINISH_AGAIN: (Duration, Duration) = (Duration::from_secs(4), Duration::from_secs(2));
/// Doublings of the back-off. More would be beyond [`WAKE_MAX`] anyway.
const DOUBLINGS_MAX: u32 = 16;

#[async_trait]
impl RecoveryStore for SqliteStore {
    async fn sweep(&self, options: SweepOptions) -> Result<Sweep, StoreError> {
        self.write(SweepDue(options)).await
    }

    async fn closed_segments(&self, call: CallId) -> Result<Vec<ClosedSegment>, StoreError> {
        self.closed_by(call).await
    }

    async fn expire_runs(&self, limit: u32) -> Result<u32, StoreError> {
        self.write(ExpireRuns { limit }).await
    }

    async fn due_runs(&self, limit: u32, range: DueRange) -> Result<DueRuns, StoreError> {
        self.write(TakeDueRuns { limit, range }).await
    }

    async fn suspend(&self, runs: &[RunId]) -> Result<u64, StoreError> {
        self.write(Suspend(runs.to_vec())).await
    }

    async fn reap(&self, limit: u32, _: ReapScope) -> Result<Vec<AbandonedAttempt>, StoreError> {
        let silent = {
            let heard = self.heard();
            let silent = heard.iter().filter(|(_, (at, ttl))| at.elapsed() > *ttl);
            silent.map(|(lease, _)| *lease).collect()
        };
        let mut found = self.write(Reap { silent, limit }).await?;
        // What the process before this one was running was taken back when the store was opened.
        let mut earlier = self.crashed_earlier().lock().unwrap_or_else(PoisonError::into_inner);
        let room = (limit as usize).saturating_sub(found.len()).min(earlier.len());
        found.extend(earlier.drain(..room));
        Ok(found)
    }

    async fn tell_of_no_worker(
        &self,
        waited: Duration,
        after: Option<&OpenRun>,
        limit: u32,
    ) -> Result<NoWorkerTold, StoreError> {
        // All that live are in this process.
        if !self.living().is_empty() {
            return Ok(NoWorkerTold::default());
        }
        let limit = limit.min(SWEEP_ROWS_MAX);
        self.write(TellOfNoWorker { waited, after: after.cloned(), limit }).await
    }

    async fn finish_runs(&self, call: CallId, runs: &[RunId]) -> Result<Finished, StoreError> {
        self.write(Finish { call, runs: runs.to_vec() }).await
    }

    async fn prune_drafts(&self, unused_for: Duration, limit: u32) -> Result<u32, StoreError> {
        self.write(PruneDrafts { unused_for, limit }).await
    }
}

struct SweepDue(SweepOptions);

#[async_trait]
impl Write for SweepDue {
    type Reply = Sweep;
    const NAME: &'static str = "sweep_nodes";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Sweep, StoreError> {
        let limit = self.0.limit.min(SWEEP_ROWS_MAX);
        let mut sweep = Sweep::default();
        let mut runs = Runs::new(Input::Leave);
        // In an outage of the broker everything that is queued is due, and would be read for nothing. Rows of runs
        // that are to end are found from their run, by whoever finishes that.
        if self.0.broker_up {
            let rows = due_nodes(tx, limit, self.0.range).await?;
            sweep.more = rows.len() >= limit as usize;
            sweep.done_to = done_to(tx, &rows, sweep.more)?;
            for row in &rows {
                match read(tx, &mut runs, row).await {
                    Ok((node, run)) => self.handle(tx, &mut runs, node, run, &mut sweep).await?,
                    Err(StoreError::Corrupt(error)) => {
                        tracing::error!(%error, "a row cannot be read and is passed over");
                        nodes::pass_over(tx, get(row, "ordinal")?, tx.after(WAKE_MAX)).await?;
                        sweep.deferred += 1;
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        sweep.next_due = next_due(tx).await?;
        Ok(sweep)
    }
}

/// The bounds of a range, in microseconds since 1970: the first that is in it, and the first that is not.
fn bounds(tx: &Tx<'_>, range: DueRange) -> (i64, i64) {
    let late = tx.now.saturating_sub(millis(LATE_COMMIT_MAX).saturating_mul(1000));
    let from = range.from.map_or(i64::MIN, |from| from.timestamp_micros().min(late));
    let before = range.before.map_or(i64::MAX, |before| before.timestamp_micros());
    (from, before)
}

/// See [`Sweep::done_to`]. The rows are those that were due longest, all of them unless it `is_full`.
fn done_to(
    tx: &Tx<'_>,
    rows: &[SqliteRow],
    is_full: bool,
) -> Result<Option<DateTime<Utc>>, StoreError> {
    let late = tx.time()? - LATE_COMMIT_MAX;
    let latest = rows.last().filter(|_| is_full).map(|row| time(row, "wake_at")).transpose()?;
    Ok(Some(latest.map_or(late, |latest| latest.min(late))))
}

async fn due_nodes(
    tx: &mut Tx<'_>,
    limit: u32,
    range: DueRange,
) -> Result<Vec<SqliteRow>, StoreError> {
    let (from, before) = bounds(tx, range);
    tx.fetch_all(
        sqlx::query(concat!(
            "SELECT ",
            node_columns!(),
            " FROM node_runs n
             WHERE n.wake_at <= ?1 AND n.wake_at >= ?3 AND n.wake_at < ?4
               AND n.state IN ('queued', 'retry', 'waiting', 'skipping')
             ORDER BY n.wake_at LIMIT ?2"
        ))
        .bind(tx.now)
        .bind(limit)
        .bind(from)
        .bind(before),
    )
    .await
}

/// Reads a due row and its run.
async fn read(
    tx: &mut Tx<'_>,
    runs: &mut Runs,
    row: &SqliteRow,
) -> Result<(NodeRow, Arc<Run>), StoreError> {
    let node = NodeRow::read(row)?;
    let run = runs.of(tx, node.key.run).await?;
    Ok((node, run))
}

impl SweepDue {
    async fn handle(
        &self,
        tx: &mut Tx<'_>,
        runs: &mut Runs,
        mut node: NodeRow,
        run: Arc<Run>,
        sweep: &mut Sweep,
    ) -> Result<(), StoreError> {
        if run.is_over() {
            sweep.deferred += 1;
            if !sweep.over.contains(&node.key.run) {
                sweep.over.push(node.key.run);
            }
            return nodes::cancel(tx, &run.header, node).await;
        }
        let woken = node.state.on(NodeEvent::Wake);
        if woken.is_some() && self.comes_before_recheck(tx, &run, &node).await? {
            sweep.deferred += 1;
            return defer_to_recheck(tx, node).await;
        }
        let has_message = node.state == NodeState::Queued && node.has_message();
        let deep_wakes = if has_message && self.0.queue_deep { node.deep_wakes + 1 } else { 0 };
        let is_published = deep_wakes == 0 || !is_patient(node.deep_wakes);
        if is_published {
            node.publish_span_id = SpanId(fastrand::u64(1..).to_be_bytes());
        }
        node.deep_wakes = deep_wakes;
        defer(tx, &mut node, woken).await?;
        if !is_published {
            sweep.deferred += 1;
            return Ok(());
        }
        let run = match woken {
            Some(_) => {
                sweep.has_closed |= resume(tx, &run, &self.0).await?;
                runs.again(tx, node.key.run).await?
            }
            None => run,
        };
        sweep.wake.push(DueWake {
            key: node.key,
            identity: run.header.identity.clone(),
            publisher: run.header.trace.context_of(node.publish_span_id),
            state: run.header.trace.state.clone(),
            parent: (run.segment == 1).then_some(run.header.trace.publish),
            root: run.header.trace.root,
            workflow: Arc::clone(&run.header.workflow),
            queued_at: instant(node.queued_at.unwrap_or(tx.now))?,
            was_published: has_message,
        });
        Ok(())
    }
}

impl SweepDue {
    /// Whether a row goes on although its run may have been suspended for long, and nobody has rechecked that yet.
    /// Mostly somebody has; this is for the first seconds after nobody was there.
    async fn comes_before_recheck(
        &self,
        tx: &mut Tx<'_>,
        run: &Run,
        node: &NodeRow,
    ) -> Result<bool, StoreError> {
        let waited_since = node.started_at.unwrap_or(tx.now);
        let waited = tx.now.saturating_sub(waited_since);
        Ok(node.wakes == 0
            && run.state == RunState::Running
            && run.is_to_be_rechecked
            && waited >= millis(self.0.trace_wait_max).saturating_mul(1000)
            && !segments::is_at_work(tx, run.header.id).await?)
    }
}

async fn defer_to_recheck(tx: &mut Tx<'_>, mut node: NodeRow) -> Result<(), StoreError> {
    node.wakes = node.wakes.saturating_add(1);
    node.wake_at = Some(tx.after(RECHECK_FIRST));
    nodes::save(tx, &node).await?;
    tx.execute(
        sqlx::query("UPDATE runs SET wake_at = ?2 WHERE id = ?1 AND wake_at > ?2")
            .bind(node.key.run.to_string())
            .bind(tx.now),
    )
    .await?;
    Ok(())
}

/// Whether a row is left at the message that it is said to have, after so many sweeps beside a deep queue. That one may
/// be lost all the same, so one more is published after two sweeps that deferred it, after three more, after seven
/// more: of a backlog that is there for hours, a few copies.
fn is_patient(deep_wakes: u32) -> bool {
    deep_wakes < 2 || !deep_wakes.saturating_add(2).is_power_of_two()
}

/// Moves a due row to the state that its waking leads to, if it leads to one, and defers it.
async fn defer(
    tx: &mut Tx<'_>,
    node: &mut NodeRow,
    woken: Option<NodeState>,
) -> Result<(), StoreError> {
    let doublings =
        if woken.is_some() { 0 } else { u32::try_from(node.wakes).unwrap_or(0).min(DOUBLINGS_MAX) };
    let pause = FIRST_WAKE.saturating_mul(1 << doublings).min(WAKE_MAX);
    match woken {
        Some(state) => {
            node.state = state;
            node.queued_at = Some(tx.now);
            node.wakes = 0;
        }
        None => node.wakes = node.wakes.saturating_add(1),
    }
    node.wake_at = Some(tx.after(pause.mul_f64(0.75 + fastrand::f64() * 0.5)));
    node.ended_at = None;
    node.message_expected = true;
    nodes::save(tx, node).await
}

/// Has runs end whose deadline has passed.
struct ExpireRuns {
    limit: u32,
}

#[async_trait]
impl Write for ExpireRuns {
    type Reply = u32;
    const NAME: &'static str = "expire_runs";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<u32, StoreError> {
        let looked_at = tx
            .execute(
                sqlx::query(
                    "UPDATE runs
                     SET deadline_due_at = NULL,
                         cancel_requested_at = CASE WHEN is_open THEN ?1 ELSE cancel_requested_at END,
                         cancel_state = CASE WHEN is_open THEN 'timed_out' ELSE cancel_state END,
                         error = CASE WHEN is_open THEN ?3 ELSE error END,
                         wake_at = CASE WHEN is_open THEN ?1 ELSE wake_at END
                     FROM (SELECT id AS due, state IN ('queued', 'running', 'suspended')
                                             AND cancel_requested_at IS NULL AS is_open
                           FROM runs WHERE deadline_due_at <= ?1 ORDER BY deadline_due_at LIMIT ?2)
                     WHERE id = due",
                )
                .bind(tx.now)
                .bind(self.limit)
                .bind(deadline_passed_json()),
            )
            .await?;
        Ok(u32::try_from(looked_at).unwrap_or(u32::MAX))
    }
}

struct TakeDueRuns {
    limit: u32,
    range: DueRange,
}

#[async_trait]
impl Write for TakeDueRuns {
    type Reply = DueRuns;
    const NAME: &'static str = "sweep_runs";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<DueRuns, StoreError> {
        let limit = self.limit.min(SWEEP_ROWS_MAX);
        let (from, before) = bounds(tx, self.range);
        let rows = tx
            .fetch_all(
                sqlx::query(
                    "SELECT id, wake_at, cancel_requested_at IS NOT NULL
                                         OR state NOT IN ('queued', 'running', 'suspended') AS is_over
                     FROM runs WHERE wake_at <= ?1 AND wake_at >= ?3 AND wake_at < ?4 ORDER BY wake_at LIMIT ?2",
                )
                .bind(tx.now)
                .bind(limit)
                .bind(from)
                .bind(before),
            )
            .await?;
        let is_full = rows.len() >= limit as usize;
        let mut due = DueRuns { done_to: done_to(tx, &rows, is_full)?, ..DueRuns::default() };
        let (least, jitter) = FINISH_AGAIN;
        for row in &rows {
            let id: RunId = parse(row, "id")?;
            tx.execute(
                sqlx::query(
                    "UPDATE runs SET wake_at = CASE WHEN state IN ('queued', 'running', 'suspended') THEN ?2 END
                     WHERE id = ?1",
                )
                .bind(id.to_string())
                .bind(tx.after(least + jitter.mul_f64(fastrand::f64()))),
            )
            .await?;
            let kind = if get(row, "is_over")? { &mut due.over } else { &mut due.waiting };
            kind.push(id);
        }
        Ok(due)
    }
}

/// In how long the next row that waits for a time of its own is due.
async fn next_due(tx: &mut Tx<'_>) -> Result<Option<Duration>, StoreError> {
    let row = tx
        .fetch_optional(
            sqlx::query(
                "SELECT min(wake_at) AS wake_at
                 FROM (SELECT min(wake_at) AS wake_at FROM node_runs INDEXED BY node_runs_timers
                       WHERE wake_at > ?1 AND wake_at < ?2 AND state IN ('retry', 'waiting')
                       UNION ALL
                       SELECT min(wake_at) FROM runs WHERE wake_at > ?1 AND wake_at < ?2
                       UNION ALL
                       SELECT min(deadline_due_at) FROM runs WHERE deadline_due_at > ?1 AND deadline_due_at < ?2)",
            )
            .bind(tx.now)
            .bind(tx.after(HORIZON)),
        )
        .await?;
    let next = row.as_ref().map(|row| get::<Option<i64>>(row, "wake_at")).transpose()?.flatten();
    Ok(next.map(|at| Duration::from_micros(u64::try_from(at - tx.now).unwrap_or_default())))
}

/// Makes every open row of these runs that waits for a time due now.
pub(super) struct MakeDue(pub(super) Vec<RunId>);

#[async_trait]
impl Write for MakeDue {
    type Reply = u64;
    const NAME: &'static str = "make_due";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<u64, StoreError> {
        let mut due = 0;
        for run in &self.0 {
            due += tx
                .execute(
                    sqlx::query(
                        "UPDATE node_runs SET wake_at = ?2
                         WHERE run_id = ?1 AND wake_at > ?2 AND state IN ('queued', 'retry', 'waiting', 'skipping')",
                    )
                    .bind(run.to_string())
                    .bind(tx.now),
                )
                .await?;
        }
        Ok(due)
    }
}

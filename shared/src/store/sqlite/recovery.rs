//! Due and stranded things.

use std::sync::PoisonError;
use std::time::Duration;

use async_trait::async_trait;

use super::finish::Finish;
use super::nodes::{NodeRow, node_columns};
use super::reap::Reap;
use super::rows::{Input, Run, Runs, get};
use super::segments::{self, Suspend, resume};
use super::writer::{Tx, Write};
use super::{SqliteStore, nodes};
use crate::domain::ids::{CallId, RunId};
use crate::domain::run::{ClosedSegment, CrashedAttempt, EndedRun};
use crate::domain::state::{NodeEvent, NodeState, RunState};
use crate::domain::trace::SpanId;
use crate::store::StoreError;
use crate::store::recovery::{
    DueRuns, DueWake, RecoveryStore, SWEEP_ROWS_MAX, Sweep, SweepOptions,
};
use crate::store::rows::parse;
use crate::store::timing::{FIRST_WAKE, LOOK_FIRST, WAKE_MAX, millis};

/// How far ahead a sweep looks for the next timer.
const HORIZON: Duration = Duration::from_secs(60);
/// When a run that is to end is looked at again: at least, and the jitter on top.
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

    async fn due_runs(&self, limit: u32) -> Result<DueRuns, StoreError> {
        self.write(TakeDueRuns(limit)).await
    }

    async fn suspend(&self, runs: &[RunId]) -> Result<u64, StoreError> {
        self.write(Suspend(runs.to_vec())).await
    }

    async fn reap(&self, limit: u32) -> Result<Vec<CrashedAttempt>, StoreError> {
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

    async fn finish_runs(&self, call: CallId, runs: &[RunId]) -> Result<Vec<EndedRun>, StoreError> {
        self.write(Finish { call, runs: runs.to_vec() }).await
    }

    async fn make_due(&self, runs: &[RunId]) -> Result<u64, StoreError> {
        self.write(MakeDue(runs.to_vec())).await
    }
}

struct SweepDue(SweepOptions);

#[async_trait]
impl Write for SweepDue {
    type Reply = Sweep;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Sweep, StoreError> {
        let mut sweep = Sweep::default();
        let mut runs = Runs::new(Input::Leave);
        // In an outage of the broker everything that is queued is due, and would be read for nothing. Rows of runs
        // that are to end are found from their run, by whoever finishes that.
        let due = if self.0.broker_up { self.due_nodes(tx).await? } else { Vec::new() };
        for node in &due {
            self.handle(tx, &mut runs, node, &mut sweep).await?;
        }
        sweep.more = due.len() >= self.0.limit.min(SWEEP_ROWS_MAX) as usize;
        sweep.next_due = next_due(tx).await?;
        Ok(sweep)
    }
}

impl SweepDue {
    async fn due_nodes(&self, tx: &mut Tx<'_>) -> Result<Vec<NodeRow>, StoreError> {
        let rows = tx
            .fetch_all(
                sqlx::query(concat!(
                    "SELECT ",
                    node_columns!(),
                    " FROM node_runs n
                     WHERE n.wake_at <= ?1 AND n.state IN ('queued', 'retry', 'waiting', 'skipping')
                     ORDER BY n.wake_at LIMIT ?2"
                ))
                .bind(tx.now)
                .bind(self.0.limit.min(SWEEP_ROWS_MAX)),
            )
            .await?;
        rows.iter().map(NodeRow::read).collect()
    }

    async fn handle(
        &self,
        tx: &mut Tx<'_>,
        runs: &mut Runs,
        node: &NodeRow,
        sweep: &mut Sweep,
    ) -> Result<(), StoreError> {
        let run = runs.of(tx, node.key.run).await?;
        if run.is_over() {
            sweep.put_off += 1;
            return nodes::cancel(tx, &run.header, node).await;
        }
        let woken = node.state.on(NodeEvent::Wake);
        if woken.is_some() && self.comes_before_the_look(tx, &run, node).await? {
            sweep.put_off += 1;
            return put_off_for_the_look(tx, node).await;
        }
        let has_message = node.state == NodeState::Queued && node.wakes >= 0;
        let is_published = !has_message || !self.0.queue_deep;
        let publish_span =
            if is_published { SpanId(fastrand::u64(1..).to_be_bytes()) } else { node.publish_span };
        let queued_at = put_off(tx, node, woken, publish_span).await?;
        if !is_published {
            sweep.put_off += 1;
            return Ok(());
        }
        let queued_at = match queued_at {
            Some(at) => super::rows::instant(at)?,
            None => tx.time()?,
        };
        let run = match woken {
            Some(_) => {
                sweep.has_closed |= resume(tx, &run, &self.0).await?;
                runs.again(tx, node.key.run).await?
            }
            None => run,
        };
        sweep.wake.push(DueWake {
            key: node.key.clone(),
            identity: run.header.identity.clone(),
            publisher: run.header.trace.context_of(publish_span),
            state: run.header.trace.state.clone(),
            parent: match run.started_at {
                None => run.header.trace.publish,
                Some(_) => run.header.trace.root,
            },
            queued_at,
        });
        Ok(())
    }
}

impl SweepDue {
    /// Whether a row goes on although its run may have been suspended for long, and nobody has looked at that yet.
    /// Mostly somebody has; this is for the first seconds after nobody was there.
    async fn comes_before_the_look(
        &self,
        tx: &mut Tx<'_>,
        run: &Run,
        node: &NodeRow,
    ) -> Result<bool, StoreError> {
        let waited_since = node.started_at.map_or(tx.now, |at| at.timestamp_micros());
        let waited = tx.now.saturating_sub(waited_since);
        Ok(node.wakes == 0
            && run.state == RunState::Running
            && run.is_to_be_looked_at
            && waited >= millis(self.0.trace_wait_max).saturating_mul(1000)
            && !segments::is_at_work(tx, run.header.id).await?)
    }
}

async fn put_off_for_the_look(tx: &mut Tx<'_>, node: &NodeRow) -> Result<(), StoreError> {
    tx.execute(
        sqlx::query("UPDATE node_runs SET wakes = wakes + 1, wake_at = ?2 WHERE ordinal = ?1")
            .bind(node.ordinal)
            .bind(tx.after(LOOK_FIRST)),
    )
    .await?;
    tx.execute(
        sqlx::query("UPDATE runs SET wake_at = ?2 WHERE id = ?1 AND wake_at > ?2")
            .bind(node.key.run.to_string())
            .bind(tx.now),
    )
    .await?;
    Ok(())
}

/// Moves a due row to the state that its waking leads to, if it leads to one, and puts it off. Returns
/// since when it is runnable.
async fn put_off(
    tx: &mut Tx<'_>,
    node: &NodeRow,
    woken: Option<NodeState>,
    publish_span: SpanId,
) -> Result<Option<i64>, StoreError> {
    let queued_at = match woken {
        Some(_) => Some(tx.now),
        None => node.queued_at.map(|at| at.timestamp_micros()),
    };
    let doublings =
        if woken.is_some() { 0 } else { u32::try_from(node.wakes).unwrap_or(0).min(DOUBLINGS_MAX) };
    let pause = FIRST_WAKE.saturating_mul(1 << doublings).min(WAKE_MAX);
    tx.execute(
        sqlx::query(
            "UPDATE node_runs SET state = ?2, queued_at = ?3, wakes = ?4, wake_at = ?5,
                                  ended_at = NULL, publish_span_id = ?6
             WHERE ordinal = ?1",
        )
        .bind(node.ordinal)
        .bind(woken.unwrap_or(node.state).as_str())
        .bind(queued_at)
        .bind(if woken.is_some() { 0 } else { node.wakes.saturating_add(1) })
        .bind(tx.after(pause.mul_f64(0.75 + fastrand::f64() * 0.5)))
        .bind(publish_span.to_string()),
    )
    .await?;
    Ok(queued_at)
}

struct TakeDueRuns(u32);

#[async_trait]
impl Write for TakeDueRuns {
    type Reply = DueRuns;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<DueRuns, StoreError> {
        let rows = tx
            .fetch_all(
                sqlx::query(
                    "SELECT id, cancel_requested_at IS NOT NULL
                                OR state NOT IN ('queued', 'running', 'suspended') AS is_over
                     FROM runs WHERE wake_at <= ?1 ORDER BY wake_at LIMIT ?2",
                )
                .bind(tx.now)
                .bind(self.0.min(SWEEP_ROWS_MAX)),
            )
            .await?;
        let mut due = DueRuns::default();
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
                       SELECT min(wake_at) FROM runs WHERE wake_at > ?1 AND wake_at < ?2)",
            )
            .bind(tx.now)
            .bind(tx.after(HORIZON)),
        )
        .await?;
    let next = row.as_ref().map(|row| get::<Option<i64>>(row, "wake_at")).transpose()?.flatten();
    Ok(next.map(|at| Duration::from_micros(u64::try_from(at - tx.now).unwrap_or_default())))
}

struct MakeDue(Vec<RunId>);

#[async_trait]
impl Write for MakeDue {
    type Reply = u64;

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

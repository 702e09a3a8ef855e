//! Taking back what dead workers were running, now and when the store is opened.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::sqlite::SqliteRow;

use super::log;
use super::nodes::{NodeRow, node_columns};
use super::rows::{Input, Run, Runs, get};
use super::time::instant;
use super::writer::{Tx, Write};
use super::{attempts, nodes};
use crate::domain::ids::{ActivationKey, LeaseId, NodeKey};
use crate::domain::limits;
use crate::domain::run::{AbandonedAttempt, RunHeader};
use crate::domain::state::{NodeEvent, NodeState};
use crate::domain::trace::TraceContext;
use crate::store::StoreError;
use crate::store::engine::END_KIND;
use crate::store::log_entry::Entry;
use crate::store::rows::parse;
use crate::store::timing::{LEASE_KEPT, millis};

/// Rows taken back are spread over this long, so that a dead worker's load does not come back as one wave.
const SPREAD: Duration = Duration::from_secs(1);
/// Ended leases that are deleted at once: one comes from each start of the process.
const FORGOTTEN_MAX: u32 = 100;
/// What the lost attempt is recorded with.
const CRASHED: &str = r#"{"code":"crashed","message":"the worker died or stalled"}"#;

/// Declares silent leases dead and takes back rows whose lease does not live, or that are held past
/// their deadline. All leases that live are this process's own, so which are silent is decided by a clock that nobody
/// sets: after a suspended night, nobody has missed a heartbeat.
pub(super) struct Reap {
    pub(super) silent: Vec<LeaseId>,
    pub(super) limit: u32,
}

#[async_trait]
impl Write for Reap {
    type Reply = Vec<AbandonedAttempt>;
    const NAME: &'static str = "reap";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Self::Reply, StoreError> {
        for lease in &self.silent {
            tx.execute(
                sqlx::query(
                    "UPDATE worker_leases
                     SET state = 'dead',
                         held = (SELECT count(*) FROM node_runs WHERE lease_id = ?1 AND state = 'running')
                     WHERE lease_id = ?1 AND state = 'live'",
                )
                .bind(lease.to_string()),
            )
            .await?;
        }
        forget_leases(tx).await?;
        take_back(tx, self.limit).await
    }
}

/// What comes before the first lease: nobody else owns it, so whoever held anything is gone, and so is the
/// in-process queue. Running rows count as crashed; everything else that is runnable is due at once.
pub(super) struct Boot;

#[async_trait]
impl Write for Boot {
    type Reply = Vec<AbandonedAttempt>;
    const NAME: &'static str = "resume";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Self::Reply, StoreError> {
        tx.execute(sqlx::query(
            "UPDATE worker_leases
             SET state = 'dead',
                 held = (SELECT count(*) FROM node_runs n
                         WHERE n.lease_id = worker_leases.lease_id AND n.state = 'running')
             WHERE state = 'live'",
        ))
        .await?;
        let crashed = take_back(tx, u32::MAX).await?;
        nodes::expect_no_messages(tx).await?;
        tx.execute(sqlx::query("UPDATE runs SET wake_at = ?1 WHERE wake_at > ?1").bind(tx.now))
            .await?;
        Ok(crashed)
    }
}

/// Deletes leases that ended long ago: no row is running under one of them, and one that were would be taken back as if
/// its lease were dead.
async fn forget_leases(tx: &mut Tx<'_>) -> Result<(), StoreError> {
    tx.execute(
        sqlx::query(
            "DELETE FROM worker_leases WHERE lease_id IN (
                 SELECT lease_id FROM worker_leases
                 WHERE state IN ('stopped', 'dead') AND started_at < ?1 AND seen_at < ?1 LIMIT ?2)",
        )
        .bind(tx.now.saturating_sub(millis(LEASE_KEPT).saturating_mul(1000)))
        .bind(FORGOTTEN_MAX),
    )
    .await?;
    Ok(())
}

async fn take_back(tx: &mut Tx<'_>, limit: u32) -> Result<Vec<AbandonedAttempt>, StoreError> {
    let rows = tx
        .fetch_all(
            sqlx::query(concat!(
                "SELECT ",
                node_columns!(),
                ", CASE w.state
                       WHEN 'dead' THEN coalesce(w.held = 1, false)
                       WHEN 'live' THEN NOT EXISTS (
                           SELECT 1 FROM node_runs o
                           WHERE o.lease_id = n.lease_id AND o.state = 'running' AND o.ordinal <> n.ordinal)
                       ELSE false
                   END AS was_alone
                 FROM node_runs n INDEXED BY node_runs_held
                 LEFT JOIN worker_leases w ON w.lease_id = n.lease_id
                 WHERE n.state = 'running' AND (w.state IS NOT 'live' OR n.wake_at <= ?1)
                 ORDER BY n.run_id, n.node_key, n.scope LIMIT ?2"
            ))
            .bind(tx.now)
            .bind(limit),
        )
        .await?;
    let mut runs = Runs::new(Input::Leave);
    let mut crashed = Vec::with_capacity(rows.len());
    for row in &rows {
        let mut node = NodeRow::read(row)?;
        let run = runs.of(tx, node.key.run).await?;
        take_back_row(tx, &run, &mut node, get(row, "was_alone")?).await?;
        // The row is taken back whatever comes of this.
        let upstream = upstream(tx, &run.header, &node.key).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "a crashed attempt is exported without its links");
            Vec::new()
        });
        crashed.push(AbandonedAttempt { upstream, ..abandoned(tx, &run, node, true)? });
    }
    Ok(crashed)
}

/// `was_alone` is whether its worker was running nothing else.
async fn take_back_row(
    tx: &mut Tx<'_>,
    run: &Run,
    node: &mut NodeRow,
    was_alone: bool,
) -> Result<(), StoreError> {
    let is_over = run.is_over();
    let orphaned = node.state.on(NodeEvent::Orphan).unwrap_or(node.state);
    let to = if is_over { orphaned.on(NodeEvent::CancelRun).unwrap_or(orphaned) } else { orphaned };
    attempts::record(tx, &run.header, node, "crashed", Some(CRASHED.to_owned())).await?;
    node.strikes += u32::from(node.suspect && was_alone);
    node.suspect = !is_over && (node.suspect || node.crashes >= limits::CRASHES_UNSUSPECTED_MAX);
    node.crashed = true;
    node.crashes += 1;
    node.state = to;
    node.queued_at = Some(tx.now);
    node.ended_at = (to == NodeState::Cancelled).then_some(tx.now);
    node.wakes = 0;
    node.message_expected = false;
    node.wake_at = (!is_over).then(|| tx.after(SPREAD.mul_f64(fastrand::f64())));
    nodes::save(tx, node).await?;
    if node.kind != END_KIND {
        let entry = Entry::node_crashed(&node.kind, &node.key, node.attempts, node.span_id);
        log::write(tx, &run.header, entry).await?;
        if to == NodeState::Cancelled {
            let entry = Entry::node_cancelled(&node.kind, &node.key, node.span_id);
            log::write(tx, &run.header, entry).await?;
        }
    }
    Ok(())
}

/// Which nodes led to an activation, and under which spans they ran last.
async fn upstream(
    tx: &mut Tx<'_>,
    run: &RunHeader,
    key: &ActivationKey,
) -> Result<Vec<(NodeKey, TraceContext)>, StoreError> {
    let rows = tx
        .fetch_all(
            sqlx::query(
                "SELECT n.node_key, n.span_id, coalesce(s.trace_id, ?5) AS trace_id
                 FROM (SELECT document FROM versions_and_drafts WHERE id = ?1) v
                 -- In this order: a run may have many nodes.
                 CROSS JOIN json_each(v.document, '$.edges') e
                 CROSS JOIN node_runs n ON n.run_id = ?2 AND n.node_key = json_extract(e.value, '$.from') AND n.scope = ?4
                 LEFT JOIN run_segments s ON s.run_id = n.run_id AND s.segment = n.segment
                 WHERE json_extract(e.value, '$.to') = ?3 AND n.attempts > 0 AND n.span_id IS NOT NULL
                 GROUP BY n.node_key ORDER BY min(e.key)",
            )
            .bind(run.version_id.to_string())
            .bind(key.run.to_string())
            .bind(&*key.node)
            .bind(&*key.scope)
            .bind(run.trace.trace.to_string()),
        )
        .await?;
    let read = |row: &SqliteRow| -> Result<(NodeKey, TraceContext), StoreError> {
        let context = run.trace.context_of(parse(row, "span_id")?);
        let context = TraceContext { trace: parse(row, "trace_id")?, ..context };
        Ok((get::<&str>(row, "node_key")?.into(), context))
    };
    rows.iter().map(read).collect()
}

fn abandoned(
    tx: &Tx<'_>,
    run: &Run,
    node: NodeRow,
    is_crash: bool,
) -> Result<AbandonedAttempt, StoreError> {
    let missing = |column| StoreError::Corrupt(format!("running {} has no {column}", node.key));
    Ok(AbandonedAttempt {
        header: run.header.clone(),
        span: node.span_id.ok_or_else(|| missing("span_id"))?,
        started_at: instant(node.started_at.ok_or_else(|| missing("started_at"))?)?,
        ended_at: tx.time()?,
        is_retried: node.state != NodeState::Cancelled,
        kind: node.kind.into(),
        attempt: node.attempts,
        key: node.key,
        is_crash,
        upstream: Vec::new(),
    })
}

/// What becomes of a row that a lease holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Release {
    /// It stays.
    Keep,
    /// It is as if it had never been claimed.
    Untouched,
    /// Its effect may have happened.
    Begun,
}

/// Gives back rows that the lease holds: all, or those that were claimed until then.
pub(super) async fn release(
    tx: &mut Tx<'_>,
    lease: LeaseId,
    claimed_until: Option<DateTime<Utc>>,
    decide: impl Fn(&NodeRow) -> Release + Send + Sync,
) -> Result<Vec<AbandonedAttempt>, StoreError> {
    let rows = tx
        .fetch_all(
            sqlx::query(concat!(
                "SELECT ",
                node_columns!(),
                " FROM node_runs n WHERE n.lease_id = ?1 AND n.state = 'running' AND n.started_at <= ?2
                 ORDER BY n.run_id, n.node_key, n.scope"
            ))
            .bind(lease.to_string())
            .bind(claimed_until.map_or(i64::MAX, |until| until.timestamp_micros())),
        )
        .await?;
    let mut runs = Runs::new(Input::Leave);
    let mut released = Vec::new();
    for row in &rows {
        let mut node = NodeRow::read(row)?;
        let release = decide(&node);
        if release == Release::Keep {
            continue;
        }
        let run = runs.of(tx, node.key.run).await?;
        attempts::record(tx, &run.header, &node, "released", None).await?;
        if node.kind != END_KIND {
            let entry = Entry::node_released(&node.kind, &node.key, node.attempts, node.span_id);
            log::write(tx, &run.header, entry).await?;
        }
        released.push(abandoned(tx, &run, node.clone(), false)?);
        match release {
            Release::Begun => node.crashed = true,
            _ => node.attempts = node.attempts.saturating_sub(1),
        }
        node.state = NodeState::Queued;
        node.queued_at = Some(tx.now);
        node.wakes = 0;
        node.message_expected = false;
        node.wake_at = Some(tx.now);
        nodes::save(tx, &node).await?;
    }
    Ok(released)
}

//! What is open, counted on SQLite.

use std::time::Duration;

use async_trait::async_trait;

use super::writer::{Tx, Write};
use super::{SqliteStore, store_error};
use crate::domain::ids::HolderId;
use crate::domain::open_work::OpenWork;
use crate::store::StoreError;
use crate::store::monitoring::{CountOptions, MonitoringStore, QUEUED_DUE_WITHIN, open_work};
use crate::store::timing::millis;

/// Counts what is open: `?1` rows for each number at most, `?2` for how long a timer may be due until it is overdue, `?3`
/// within what time a row is due that only waits for a worker, both in milliseconds. The parts and their indexes are
/// those of PostgreSQL's statement (`count_open.sql`).
const COUNT_OPEN: &str = "
    WITH clock AS MATERIALIZED (SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER) * 1000 AS now),
    open_runs AS MATERIALIZED (
        SELECT * FROM (SELECT id, state FROM runs INDEXED BY runs_open
                       WHERE ended_at IS NULL AND suspended_at IS NULL LIMIT ?1)
        UNION ALL
        SELECT * FROM (SELECT id, state FROM runs INDEXED BY runs_suspended
                       WHERE suspended_at IS NOT NULL LIMIT ?1)
    )
    SELECT 'run' AS part, state, count(*) AS total, NULL AS waited_ms FROM open_runs GROUP BY state
    UNION ALL
    SELECT 'node', state, count(*), ((SELECT now FROM clock) - min(queued_at)) / 1000
    FROM (SELECT state, queued_at FROM node_runs INDEXED BY node_runs_due
          WHERE wake_at < (SELECT now FROM clock) + ?3 * 1000 AND state IN ('queued', 'skipping') LIMIT ?1)
    GROUP BY state
    UNION ALL
    SELECT 'node', state, count(*), NULL
    FROM (SELECT state FROM node_runs INDEXED BY node_runs_held WHERE state = 'running' LIMIT ?1)
    GROUP BY state
    UNION ALL
    SELECT 'node', state, count(*), NULL
    FROM (SELECT state FROM node_runs INDEXED BY node_runs_timers WHERE state IN ('retry', 'waiting') LIMIT ?1)
    GROUP BY state
    UNION ALL
    SELECT 'node', state, count(*), NULL
    FROM (SELECT n.state FROM open_runs r CROSS JOIN node_runs n ON n.run_id = r.id
          WHERE r.state <> 'queued' LIMIT ?1)
    WHERE state IN ('blocked', 'held', 'uncertain') GROUP BY state
    UNION ALL
    SELECT 'timer', NULL, count(*), NULL
    FROM (SELECT 1 FROM node_runs INDEXED BY node_runs_timers
          WHERE state IN ('retry', 'waiting') AND wake_at < (SELECT now FROM clock) - ?2 * 1000 LIMIT ?1)
    UNION ALL
    SELECT 'timer', NULL, count(*), NULL
    FROM (SELECT 1 FROM runs INDEXED BY runs_by_deadline
          WHERE deadline_due_at < (SELECT now FROM clock) - ?2 * 1000 LIMIT ?1)
    UNION ALL
    SELECT 'worker', NULL, count(*), NULL
    FROM (SELECT 1 FROM worker_leases INDEXED BY worker_leases_state
          WHERE state = 'live' AND seen_at > (SELECT now FROM clock) - ttl_ms * 1000 LIMIT ?1)";

#[async_trait]
impl MonitoringStore for SqliteStore {
    async fn take_duty(
        &self,
        name: &'static str,
        holder: HolderId,
        term: Duration,
    ) -> Result<bool, StoreError> {
        self.write(TakeDuty { name, holder, term }).await
    }

    async fn leave_duty(&self, name: &'static str, holder: HolderId) -> Result<(), StoreError> {
        self.write(LeaveDuty { name, holder }).await
    }

    async fn count_open(&self, options: CountOptions) -> Result<OpenWork, StoreError> {
        let rows = sqlx::query(COUNT_OPEN)
            .bind(options.rows_max)
            .bind(millis(options.overdue_after))
            .bind(millis(QUEUED_DUE_WITHIN))
            .fetch_all(self.listing("count_open"))
            .await
            .map_err(store_error)?;
        open_work(&rows)
    }
}

struct TakeDuty {
    name: &'static str,
    holder: HolderId,
    term: Duration,
}

#[async_trait]
impl Write for TakeDuty {
    const NAME: &'static str = "take_duty";
    type Reply = bool;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<bool, StoreError> {
        let taken = tx
            .execute(
                sqlx::query(
                    "INSERT INTO duties AS d (name, holder, until) VALUES (?1, ?2, ?3)
                     ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until
                     WHERE d.holder = excluded.holder OR d.until <= ?4",
                )
                .bind(self.name)
                .bind(self.holder.to_string())
                .bind(tx.after(self.term))
                .bind(tx.now),
            )
            .await?;
        Ok(taken > 0)
    }
}

struct LeaveDuty {
    name: &'static str,
    holder: HolderId,
}

#[async_trait]
impl Write for LeaveDuty {
    const NAME: &'static str = "leave_duty";
    type Reply = ();

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        tx.execute(
            sqlx::query("DELETE FROM duties WHERE name = ?1 AND holder = ?2")
                .bind(self.name)
                .bind(self.holder.to_string()),
        )
        .await?;
        Ok(())
    }
}

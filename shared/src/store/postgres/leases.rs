//! Leases, and the engine's contract as a whole.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::rows::get;
use super::{PostgresStore, epochs, store_error};
use crate::domain::ids::{ActivationKey, LeaseId, RunId};
use crate::store::StoreError;
use crate::store::engine::{
    Claim, ClaimRequest, Commit, Committed, EngineStore, NewLease, ReadRequest, Upstream,
};
use crate::store::timing::millis;

/// How long the end of a lease waits for rows that somebody else has locked. Other processes let go of theirs within
/// milliseconds.
const CLOSE_LOCKED_MAX: Duration = Duration::from_secs(2);
/// The pause between two checks of them.
const CLOSE_LOCKED_PAUSE: Duration = Duration::from_millis(50);

#[async_trait]
impl EngineStore for PostgresStore {
    async fn open_lease(&self, lease: &NewLease) -> Result<(), StoreError> {
        // A process outlives the database that is restored beneath it, but not its lease.
        epochs::note(&self.options).await?;
        sqlx::query(
            "INSERT INTO worker_leases (lease_id, host, pid, version, state, ttl_ms)
             VALUES ($1, $2, $3, $4, 'live', $5) ON CONFLICT (lease_id) DO NOTHING",
        )
        .bind(lease.id.0)
        .bind(&lease.host)
        .bind(i64::from(lease.pid))
        .bind(lease.version)
        .bind(millis(lease.ttl))
        .execute(&self.pool)
        .await
        .map_err(store_error)?;
        Ok(())
    }

    async fn heartbeat(&self, lease: LeaseId) -> Result<Option<DateTime<Utc>>, StoreError> {
        let heard = sqlx::query(
            "UPDATE worker_leases SET seen_at = now() WHERE lease_id = $1 AND state = 'live' RETURNING seen_at",
        )
        .bind(lease.0)
        .fetch_optional(&self.pool)
        .await
        .map_err(store_error)?;
        heard.map(|row| get(&row, "seen_at")).transpose()
    }

    async fn runs_over(&self, runs: &[RunId]) -> Result<Vec<RunId>, StoreError> {
        let over = sqlx::query(
            "SELECT id FROM runs
             WHERE id = ANY($1) AND (cancel_requested_at IS NOT NULL OR state NOT IN ('queued', 'running', 'suspended'))",
        )
        .bind(runs.iter().map(|run| run.0).collect::<Vec<_>>())
        .fetch_all(&self.pool)
        .await
        .map_err(store_error)?;
        over.iter().map(|row| Ok(RunId(get(row, "id")?))).collect()
    }

    async fn release_strays(
        &self,
        lease: LeaseId,
        held: &[ActivationKey],
        claimed_until: DateTime<Utc>,
    ) -> Result<u32, StoreError> {
        self.release(lease, held, Some(claimed_until)).await
    }

    async fn close_lease(&self, lease: LeaseId, begun: &[ActivationKey]) -> Result<(), StoreError> {
        // First the rows, all of them: with the lease ended first, a reaper could take them for crashed.
        let asked = Instant::now();
        loop {
            self.release(lease, begun, None).await?;
            if !self.holds_any(lease).await? {
                break;
            }
            if asked.elapsed() >= CLOSE_LOCKED_MAX {
                return Err(StoreError::Locked("a row that the lease holds".into()));
            }
            tokio::time::sleep(CLOSE_LOCKED_PAUSE).await;
        }
        sqlx::query(
            "UPDATE worker_leases SET state = 'stopped', seen_at = now() WHERE lease_id = $1",
        )
        .bind(lease.0)
        .execute(&self.pool)
        .await
        .map_err(store_error)?;
        Ok(())
    }

    async fn claim(
        &self,
        lease: LeaseId,
        take_suspect: bool,
        batch: &[ClaimRequest],
    ) -> Result<Vec<Claim>, StoreError> {
        self.claim_batch(lease, take_suspect, batch).await
    }

    async fn read_upstream(&self, batch: &[ReadRequest]) -> Result<Vec<Vec<Upstream>>, StoreError> {
        self.read_batch(batch).await
    }

    async fn commit(&self, lease: LeaseId, batch: &[Commit]) -> Result<Vec<Committed>, StoreError> {
        self.commit_batch(lease, batch).await
    }
}

impl PostgresStore {
    /// See `release_stray.sql`.
    async fn release(
        &self,
        lease: LeaseId,
        known: &[ActivationKey],
        claimed_until: Option<DateTime<Utc>>,
    ) -> Result<u32, StoreError> {
        let released = sqlx::query(include_str!("sql/release_stray.sql"))
            .bind(lease.0)
            .bind(known.iter().map(|key| key.run.0).collect::<Vec<_>>())
            .bind(known.iter().map(|key| &*key.node).collect::<Vec<_>>())
            .bind(known.iter().map(|key| &*key.scope).collect::<Vec<_>>())
            .bind(claimed_until)
            .execute(&self.pool)
            .await
            .map_err(store_error)?;
        Ok(u32::try_from(released.rows_affected()).unwrap_or(u32::MAX))
    }

    /// Whether a row is running under the lease.
    async fn holds_any(&self, lease: LeaseId) -> Result<bool, StoreError> {
        let query = "SELECT EXISTS (SELECT 1 FROM node_runs WHERE lease_id = $1 AND state = 'running') AS holds";
        let row =
            sqlx::query(query).bind(lease.0).fetch_one(&self.pool).await.map_err(store_error)?;
        get(&row, "holds")
    }
}

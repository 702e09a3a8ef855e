//! Leases, and the engine's contract as a whole.

use std::collections::HashSet;
use std::time::Duration;

use async_trait::async_trait;

use super::rows::get;
use super::{PostgresStore, epochs, store_error};
use crate::domain::ids::{ActivationKey, LeaseId, RunId};
use crate::store::StoreError;
use crate::store::engine::{
    Claim, ClaimRequest, Commit, Committed, EngineStore, Heartbeat, NewLease, ReadRequest, Upstream,
};
use crate::store::timing::millis;

/// How old a claim must be before a heartbeat takes it for one whose reply was lost. Longer than a
/// statement may take, so that none is on its way.
const STRAY_AGE: Duration = Duration::from_secs(10);

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

    async fn heartbeat(
        &self,
        lease: LeaseId,
        held: &[ActivationKey],
    ) -> Result<Heartbeat, StoreError> {
        let seen = sqlx::query(
            "UPDATE worker_leases SET seen_at = now() WHERE lease_id = $1 AND state = 'live'",
        )
        .bind(lease.0)
        .execute(&self.pool)
        .await
        .map_err(store_error)?;
        if seen.rows_affected() == 0 {
            return Ok(Heartbeat::default());
        }
        let runs: HashSet<_> = held.iter().map(|key| key.run.0).collect();
        let over = sqlx::query(
            "SELECT id FROM runs
             WHERE id = ANY($1) AND (cancel_requested_at IS NOT NULL OR state NOT IN ('queued', 'running', 'suspended'))",
        )
        .bind(runs.into_iter().collect::<Vec<_>>())
        .fetch_all(&self.pool)
        .await
        .map_err(store_error)?;
        let cancelled =
            over.iter().map(|row| Ok(RunId(get(row, "id")?))).collect::<Result<_, StoreError>>()?;
        let released = sqlx::query(include_str!("sql/release_stray.sql"))
            .bind(lease.0)
            .bind(held.iter().map(|key| key.run.0).collect::<Vec<_>>())
            .bind(held.iter().map(|key| &*key.node).collect::<Vec<_>>())
            .bind(held.iter().map(|key| &*key.scope).collect::<Vec<_>>())
            .bind(millis(STRAY_AGE))
            .bind(false)
            .execute(&self.pool)
            .await
            .map_err(store_error)?;
        let released = u32::try_from(released.rows_affected()).unwrap_or(u32::MAX);
        Ok(Heartbeat { alive: true, cancelled, released })
    }

    async fn close_lease(&self, lease: LeaseId, begun: &[ActivationKey]) -> Result<(), StoreError> {
        // First the rows: with the lease ended first, a reaper could take them for crashed.
        sqlx::query(include_str!("sql/release_stray.sql"))
            .bind(lease.0)
            .bind(begun.iter().map(|key| key.run.0).collect::<Vec<_>>())
            .bind(begun.iter().map(|key| &*key.node).collect::<Vec<_>>())
            .bind(begun.iter().map(|key| &*key.scope).collect::<Vec<_>>())
            .bind(0_i64)
            .bind(true)
            .execute(&self.pool)
            .await
            .map_err(store_error)?;
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

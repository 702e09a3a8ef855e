//! The engine's contract, on PostgreSQL.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::rows::get;
use super::{PostgresStore, store_error};
use crate::domain::ids::{ActivationKey, LeaseId, RunId};
use crate::domain::run::AbandonedAttempt;
use crate::store::StoreError;
use crate::store::engine::{
    Claim, ClaimRequest, Commit, Committed, EngineStore, NewLease, ReadRequest, Upstream,
};

#[async_trait]
impl EngineStore for PostgresStore {
    async fn open_lease(&self, lease: &NewLease) -> Result<(), StoreError> {
        self.insert_lease(lease).await
    }

    async fn heartbeat(
        &self,
        lease: LeaseId,
        busy: u32,
    ) -> Result<Option<DateTime<Utc>>, StoreError> {
        self.renew_lease(lease, busy).await
    }

    async fn runs_over(&self, runs: &[RunId]) -> Result<Vec<RunId>, StoreError> {
        let over = sqlx::query(
            "SELECT id FROM runs
             WHERE id = ANY($1) AND (cancel_requested_at IS NOT NULL OR state NOT IN ('queued', 'running', 'suspended'))",
        )
        .bind(runs.iter().map(|run| run.0).collect::<Vec<_>>())
        .fetch_all(self.pool.named("runs_over"))
        .await
        .map_err(store_error)?;
        over.iter().map(|row| Ok(RunId(get(row, "id")?))).collect()
    }

    async fn release_strays(
        &self,
        lease: LeaseId,
        held: &[ActivationKey],
        claimed_until: DateTime<Utc>,
    ) -> Result<Vec<AbandonedAttempt>, StoreError> {
        self.release(lease, held, Some(claimed_until)).await
    }

    async fn close_lease(
        &self,
        lease: LeaseId,
        begun: &[ActivationKey],
    ) -> Result<Vec<AbandonedAttempt>, StoreError> {
        self.end_lease(lease, begun).await
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

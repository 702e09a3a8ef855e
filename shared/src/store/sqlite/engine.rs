//! The engine's contract, on SQLite.

use std::time::Instant;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::claim::ClaimBatch;
use super::commit::CommitBatch;
use super::leases::{Beat, CloseLease, OpenLease, ReleaseStrays};
use super::{SqliteStore, store_error};
use crate::domain::ids::{ActivationKey, LeaseId, RunId};
use crate::domain::run::AbandonedAttempt;
use crate::store::StoreError;
use crate::store::engine::{
    Claim, ClaimRequest, Commit, Committed, EngineStore, NewLease, ReadRequest, Upstream,
};
use crate::store::rows::parse;

#[async_trait]
impl EngineStore for SqliteStore {
    async fn open_lease(&self, lease: &NewLease) -> Result<(), StoreError> {
        self.resume().await?;
        self.write(OpenLease(lease.clone())).await?;
        self.heard().insert(lease.id, (Instant::now(), lease.ttl));
        Ok(())
    }

    async fn heartbeat(
        &self,
        lease: LeaseId,
        busy: u32,
    ) -> Result<Option<DateTime<Utc>>, StoreError> {
        let heard = self.write(Beat { lease, busy }).await?;
        if let (Some(_), Some((at, _))) = (heard, self.heard().get_mut(&lease)) {
            *at = Instant::now();
        }
        Ok(heard)
    }

    async fn runs_over(&self, runs: &[RunId]) -> Result<Vec<RunId>, StoreError> {
        let ids = runs.iter().map(RunId::to_string).collect::<Vec<_>>();
        let ids = serde_json::Value::from(ids).to_string();
        let over = sqlx::query(
            "SELECT id FROM runs
             WHERE id IN (SELECT value FROM json_each(?1))
               AND (cancel_requested_at IS NOT NULL OR state NOT IN ('queued', 'running', 'suspended'))",
        )
        .bind(ids)
        .fetch_all(self.reading("runs_over"))
        .await
        .map_err(store_error)?;
        over.iter().map(|row| parse(row, "id")).collect()
    }

    async fn release_strays(
        &self,
        lease: LeaseId,
        held: &[ActivationKey],
        claimed_until: DateTime<Utc>,
    ) -> Result<Vec<AbandonedAttempt>, StoreError> {
        self.write(ReleaseStrays { lease, held: held.iter().cloned().collect(), claimed_until })
            .await
    }

    async fn close_lease(
        &self,
        lease: LeaseId,
        begun: &[ActivationKey],
    ) -> Result<Vec<AbandonedAttempt>, StoreError> {
        let close = CloseLease { lease, begun: begun.iter().cloned().collect() };
        let released = self.write(close).await?;
        self.heard().remove(&lease);
        Ok(released)
    }

    async fn claim(
        &self,
        lease: LeaseId,
        take_suspect: bool,
        batch: &[ClaimRequest],
    ) -> Result<Vec<Claim>, StoreError> {
        self.write(ClaimBatch { lease, take_suspect, batch: batch.to_vec() }).await
    }

    async fn read_upstream(&self, batch: &[ReadRequest]) -> Result<Vec<Vec<Upstream>>, StoreError> {
        self.read_batch(batch).await
    }

    async fn commit(&self, lease: LeaseId, batch: &[Commit]) -> Result<Vec<Committed>, StoreError> {
        self.write(CommitBatch { lease, batch: batch.to_vec() }).await
    }
}

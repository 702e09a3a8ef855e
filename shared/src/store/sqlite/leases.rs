//! Leases, and the engine's contract as a whole.

use std::collections::HashSet;
use std::time::Instant;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::claim::ClaimBatch;
use super::commit::CommitBatch;
use super::reap::{Release, release};
use super::writer::{Tx, Write};
use super::{SqliteStore, store_error};
use crate::domain::ids::{ActivationKey, LeaseId, RunId};
use crate::store::StoreError;
use crate::store::engine::{
    Claim, ClaimRequest, Commit, Committed, EngineStore, NewLease, ReadRequest, Upstream,
};
use crate::store::rows::parse;
use crate::store::timing::millis;

#[async_trait]
impl EngineStore for SqliteStore {
    async fn open_lease(&self, lease: &NewLease) -> Result<(), StoreError> {
        self.resume().await?;
        self.write(OpenLease(lease.clone())).await?;
        self.heard().insert(lease.id, (Instant::now(), lease.ttl));
        Ok(())
    }

    async fn heartbeat(&self, lease: LeaseId) -> Result<Option<DateTime<Utc>>, StoreError> {
        let heard = self.write(Beat(lease)).await?;
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
        .fetch_all(self.readers())
        .await
        .map_err(store_error)?;
        over.iter().map(|row| parse(row, "id")).collect()
    }

    async fn release_strays(
        &self,
        lease: LeaseId,
        held: &[ActivationKey],
        claimed_until: DateTime<Utc>,
    ) -> Result<u32, StoreError> {
        self.write(ReleaseStrays { lease, held: held.iter().cloned().collect(), claimed_until })
            .await
    }

    async fn close_lease(&self, lease: LeaseId, begun: &[ActivationKey]) -> Result<(), StoreError> {
        self.write(CloseLease { lease, begun: begun.iter().cloned().collect() }).await?;
        self.heard().remove(&lease);
        Ok(())
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

/// Whether a lease was opened, and neither closed nor declared dead since.
pub(super) async fn is_live(tx: &mut Tx<'_>, lease: LeaseId) -> Result<bool, StoreError> {
    let live = tx
        .fetch_optional(
            sqlx::query("SELECT 1 FROM worker_leases WHERE lease_id = ?1 AND state = 'live'")
                .bind(lease.to_string()),
        )
        .await?;
    Ok(live.is_some())
}

/// Whether a row is running under a lease.
pub(super) async fn holds_any(tx: &mut Tx<'_>, lease: LeaseId) -> Result<bool, StoreError> {
    let held = tx
        .fetch_optional(
            sqlx::query(
                "SELECT 1 FROM node_runs WHERE lease_id = ?1 AND state = 'running' LIMIT 1",
            )
            .bind(lease.to_string()),
        )
        .await?;
    Ok(held.is_some())
}

struct OpenLease(NewLease);

#[async_trait]
impl Write for OpenLease {
    type Reply = ();

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        tx.execute(
            sqlx::query(
                "INSERT INTO worker_leases (lease_id, host, pid, version, state, ttl_ms, started_at, seen_at)
                 VALUES (?1, ?2, ?3, ?4, 'live', ?5, ?6, ?6) ON CONFLICT (lease_id) DO NOTHING",
            )
            .bind(self.0.id.to_string())
            .bind(&self.0.host)
            .bind(self.0.pid)
            .bind(self.0.version)
            .bind(millis(self.0.ttl))
            .bind(tx.now),
        )
        .await?;
        Ok(())
    }
}

struct Beat(LeaseId);

#[async_trait]
impl Write for Beat {
    type Reply = Option<DateTime<Utc>>;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Self::Reply, StoreError> {
        let seen = tx
            .execute(
                sqlx::query(
                    "UPDATE worker_leases SET seen_at = ?2 WHERE lease_id = ?1 AND state = 'live'",
                )
                .bind(self.0.to_string())
                .bind(tx.now),
            )
            .await?;
        if seen == 0 { Ok(None) } else { tx.time().map(Some) }
    }
}

struct ReleaseStrays {
    lease: LeaseId,
    held: HashSet<ActivationKey>,
    claimed_until: DateTime<Utc>,
}

#[async_trait]
impl Write for ReleaseStrays {
    type Reply = u32;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<u32, StoreError> {
        let known = |node: &super::nodes::NodeRow| match self.held.contains(&node.key) {
            true => Release::Keep,
            false => Release::Untouched,
        };
        release(tx, self.lease, Some(self.claimed_until), known).await
    }
}

struct CloseLease {
    lease: LeaseId,
    begun: HashSet<ActivationKey>,
}

#[async_trait]
impl Write for CloseLease {
    type Reply = ();

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let begun = |node: &super::nodes::NodeRow| match self.begun.contains(&node.key) {
            true => Release::Begun,
            false => Release::Untouched,
        };
        release(tx, self.lease, None, begun).await?;
        tx.execute(
            sqlx::query(
                "UPDATE worker_leases SET state = 'stopped', seen_at = ?2 WHERE lease_id = ?1",
            )
            .bind(self.lease.to_string())
            .bind(tx.now),
        )
        .await?;
        Ok(())
    }
}

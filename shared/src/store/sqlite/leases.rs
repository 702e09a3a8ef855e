//! Leases, and the engine's contract as a whole.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::SqliteStore;
use super::claim::ClaimBatch;
use super::commit::CommitBatch;
use super::reap::{Release, release};
use super::rows::{Input, load_run};
use super::writer::{Tx, Write};
use crate::domain::ids::{ActivationKey, LeaseId, RunId};
use crate::store::StoreError;
use crate::store::engine::{
    Claim, ClaimRequest, Commit, Committed, EngineStore, Heartbeat, NewLease, ReadRequest, Upstream,
};
use crate::store::timing::millis;

/// How old a claim must be before a heartbeat takes it for one whose reply was lost. Longer than a
/// write may take, so that none is on its way.
const STRAY_AGE: Duration = Duration::from_secs(10);

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
        held: &[ActivationKey],
    ) -> Result<Heartbeat, StoreError> {
        let beat = self.write(Beat { lease, held: held.iter().cloned().collect() }).await?;
        if let (true, Some((at, _))) = (beat.alive, self.heard().get_mut(&lease)) {
            *at = Instant::now();
        }
        Ok(beat)
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

struct Beat {
    lease: LeaseId,
    held: HashSet<ActivationKey>,
}

#[async_trait]
impl Write for Beat {
    type Reply = Heartbeat;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Heartbeat, StoreError> {
        let seen = tx
            .execute(
                sqlx::query(
                    "UPDATE worker_leases SET seen_at = ?2 WHERE lease_id = ?1 AND state = 'live'",
                )
                .bind(self.lease.to_string())
                .bind(tx.now),
            )
            .await?;
        if seen == 0 {
            return Ok(Heartbeat::default());
        }
        let runs: HashSet<RunId> = self.held.iter().map(|key| key.run).collect();
        let mut cancelled = Vec::new();
        for id in runs {
            if load_run(tx, id, Input::Leave).await?.is_some_and(|run| run.is_over()) {
                cancelled.push(id);
            }
        }
        let known = |node: &super::nodes::NodeRow| match self.held.contains(&node.key) {
            true => Release::Keep,
            false => Release::Untouched,
        };
        let released = release(tx, self.lease, STRAY_AGE, known).await?;
        Ok(Heartbeat { alive: true, cancelled, released })
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
        release(tx, self.lease, Duration::ZERO, begun).await?;
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

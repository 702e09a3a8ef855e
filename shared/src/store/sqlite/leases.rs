//! Leases.

use std::collections::HashSet;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::nodes::NodeRow;
use super::reap::{Release, release};
use super::rows::get;
use super::writer::{Tx, Write};
use crate::domain::ids::{ActivationKey, LeaseId};
use crate::domain::run::AbandonedAttempt;
use crate::store::StoreError;
use crate::store::engine::NewLease;
use crate::store::fleet::kept_host;
use crate::store::timing::millis;

/// Who claims and commits: a lease, and the worker that it is one life of.
#[derive(Debug, Clone)]
pub(super) struct Holder {
    pub(super) lease: LeaseId,
    /// `host:pid`; nothing of a lease that was forgotten.
    pub(super) worker: Option<String>,
    /// Whether the lease was opened, and neither closed nor declared dead since.
    pub(super) is_live: bool,
}

impl Holder {
    /// Looks a lease up, once for all rows of a batch.
    pub(super) async fn of(tx: &mut Tx<'_>, lease: LeaseId) -> Result<Self, StoreError> {
        let row = tx
            .fetch_optional(
                sqlx::query(
                    "SELECT host || ':' || pid AS worker, state = 'live' AS is_live
                     FROM worker_leases WHERE lease_id = ?1",
                )
                .bind(lease.to_string()),
            )
            .await?;
        let Some(row) = row else { return Ok(Self { lease, worker: None, is_live: false }) };
        Ok(Self { lease, worker: get(&row, "worker")?, is_live: get(&row, "is_live")? })
    }
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

/// Starts a lease.
pub(super) struct OpenLease(pub(super) NewLease);

#[async_trait]
impl Write for OpenLease {
    type Reply = ();
    const NAME: &'static str = "open_lease";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        tx.execute(
            sqlx::query(
                "INSERT INTO worker_leases (lease_id, host, pid, version, state, ttl_ms, started_at, seen_at, slots, busy)
                 VALUES (?1, ?2, ?3, ?4, 'live', ?5, ?6, ?6, ?7, 0) ON CONFLICT (lease_id) DO NOTHING",
            )
            .bind(self.0.id.to_string())
            .bind(kept_host(&self.0))
            .bind(self.0.pid)
            .bind(self.0.version)
            .bind(millis(self.0.ttl))
            .bind(tx.now)
            .bind(self.0.slots),
        )
        .await?;
        Ok(())
    }
}

/// Proves that a lease lives.
pub(super) struct Beat {
    pub(super) lease: LeaseId,
    /// Slots in use.
    pub(super) busy: u32,
}

#[async_trait]
impl Write for Beat {
    type Reply = Option<DateTime<Utc>>;
    const NAME: &'static str = "heartbeat";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Self::Reply, StoreError> {
        let seen = tx
            .execute(
                sqlx::query(
                    "UPDATE worker_leases SET seen_at = ?2, busy = ?3 WHERE lease_id = ?1 AND state = 'live'",
                )
                .bind(self.lease.to_string())
                .bind(tx.now)
                .bind(self.busy),
            )
            .await?;
        if seen == 0 { Ok(None) } else { tx.time().map(Some) }
    }
}

/// Releases what a lease holds without its worker knowing.
pub(super) struct ReleaseStrays {
    pub(super) lease: LeaseId,
    pub(super) held: HashSet<ActivationKey>,
    pub(super) claimed_until: DateTime<Utc>,
}

#[async_trait]
impl Write for ReleaseStrays {
    type Reply = Vec<AbandonedAttempt>;
    const NAME: &'static str = "release_stray";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Self::Reply, StoreError> {
        let known = |node: &NodeRow| match self.held.contains(&node.key) {
            true => Release::Keep,
            false => Release::Untouched,
        };
        release(tx, self.lease, Some(self.claimed_until), known).await
    }
}

/// Ends a lease in good order.
pub(super) struct CloseLease {
    pub(super) lease: LeaseId,
    pub(super) begun: HashSet<ActivationKey>,
}

#[async_trait]
impl Write for CloseLease {
    type Reply = Vec<AbandonedAttempt>;
    const NAME: &'static str = "close_lease";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Self::Reply, StoreError> {
        let begun = |node: &NodeRow| match self.begun.contains(&node.key) {
            true => Release::Begun,
            false => Release::Untouched,
        };
        let released = release(tx, self.lease, None, begun).await?;
        tx.execute(
            sqlx::query(
                "UPDATE worker_leases SET state = 'stopped', seen_at = ?2, busy = 0 WHERE lease_id = ?1",
            )
            .bind(self.lease.to_string())
            .bind(tx.now),
        )
        .await?;
        Ok(released)
    }
}

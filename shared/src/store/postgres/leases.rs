//! Leases.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use super::abandoned::abandoned;
use super::commit_rows::integer;
use super::event_logs::Logging;
use super::rows::get;
use super::statement::{rows, statement};
use super::{PostgresStore, epochs, store_error};
use crate::domain::ids::{ActivationKey, LeaseId, RunId};
use crate::domain::run::AbandonedAttempt;
use crate::store::StoreError;
use crate::store::engine::NewLease;
use crate::store::fleet::kept_host;
use crate::store::rows::each;
use crate::store::timing::millis;

/// How long the end of a lease waits for rows that somebody else has locked. Other processes let go of theirs within
/// milliseconds.
const CLOSE_LOCKED_MAX: Duration = Duration::from_secs(2);
/// The pause between two checks of them.
const CLOSE_LOCKED_PAUSE: Duration = Duration::from_millis(50);

statement! {
    /// Gives back rows that a lease holds.
    struct ReleaseRows<'a> = "sql/release_stray.sql" {
        lease: LeaseId,
        /// Until when what is given back was claimed. Without one the lease ends, and what the worker knows of is what had
        /// begun.
        claimed_until: Option<DateTime<Utc>>,
        /// What the worker knows of.
        known: Vec<KeyRow<'a>>,
    }
}

static RELEASE: Logging = Logging::of(ReleaseRows::text);

rows! {
    /// An activation.
    struct KeyRow<'a> {
        run_id: RunId,
        node_key: &'a str,
        scope: &'a str,
    }
}

impl<'a> KeyRow<'a> {
    pub(super) fn of(key: &'a ActivationKey) -> Self {
        Self { run_id: key.run, node_key: &key.node, scope: &key.scope }
    }
}

impl PostgresStore {
    pub(super) async fn insert_lease(&self, lease: &NewLease) -> Result<(), StoreError> {
        // A process outlives the database that is restored beneath it, but not its lease.
        epochs::note(&self.options).await?;
        sqlx::query(
            "INSERT INTO worker_leases (lease_id, host, pid, version, state, ttl_ms, slots, busy)
             VALUES ($1, $2, $3, $4, 'live', $5, $6, 0) ON CONFLICT (lease_id) DO NOTHING",
        )
        .bind(lease.id.0)
        .bind(kept_host(lease))
        .bind(i64::from(lease.pid))
        .bind(lease.version)
        .bind(millis(lease.ttl))
        .bind(integer(lease.slots))
        .execute(self.pool.named("open_lease"))
        .await
        .map_err(store_error)?;
        Ok(())
    }

    pub(super) async fn renew_lease(
        &self,
        lease: LeaseId,
        busy: u32,
    ) -> Result<Option<DateTime<Utc>>, StoreError> {
        let heard = sqlx::query(
            "UPDATE worker_leases SET seen_at = now(), busy = $2
             WHERE lease_id = $1 AND state = 'live' RETURNING seen_at",
        )
        .bind(lease.0)
        .bind(integer(busy))
        .fetch_optional(self.pool.named("heartbeat"))
        .await
        .map_err(store_error)?;
        heard.map(|row| get(&row, "seen_at")).transpose()
    }

    pub(super) async fn end_lease(
        &self,
        lease: LeaseId,
        begun: &[ActivationKey],
    ) -> Result<Vec<AbandonedAttempt>, StoreError> {
        // First the rows, all of them: with the lease ended first, a reaper could take them for crashed.
        let asked = Instant::now();
        let mut released = Vec::new();
        loop {
            released.append(&mut self.release(lease, begun, None).await?);
            if !self.holds_any(lease).await? {
                break;
            }
            if asked.elapsed() >= CLOSE_LOCKED_MAX {
                return Err(StoreError::Locked("a row that the lease holds".into()));
            }
            tokio::time::sleep(CLOSE_LOCKED_PAUSE).await;
        }
        sqlx::query(
            "UPDATE worker_leases SET state = 'stopped', seen_at = now(), busy = 0 WHERE lease_id = $1",
        )
        .bind(lease.0)
        .execute(self.pool.named("close_lease"))
        .await
        .map_err(store_error)?;
        Ok(released)
    }

    /// See `release_stray.sql`.
    pub(super) async fn release(
        &self,
        lease: LeaseId,
        known: &[ActivationKey],
        claimed_until: Option<DateTime<Utc>>,
    ) -> Result<Vec<AbandonedAttempt>, StoreError> {
        let known = known.iter().map(KeyRow::of).collect();
        let release = ReleaseRows { lease, claimed_until, known };
        let rows = self
            .fetch_logging(release.query(RELEASE.text(self))?, self.pool.named("release_stray"))
            .await?;
        Ok(each(&rows, abandoned))
    }

    /// Whether a row is running under the lease.
    async fn holds_any(&self, lease: LeaseId) -> Result<bool, StoreError> {
        let query = "SELECT EXISTS (SELECT 1 FROM node_runs WHERE lease_id = $1 AND state = 'running') AS holds";
        let row = sqlx::query(query)
            .bind(lease.0)
            .fetch_one(self.pool.named("holds_any"))
            .await
            .map_err(store_error)?;
        get(&row, "holds")
    }
}

//! The workers, on SQLite. All that live are in this process, which knows by a clock that nobody sets which are silent.

use async_trait::async_trait;

use super::{SqliteStore, store_error};
use crate::domain::ids::LeaseId;
use crate::store::fleet::{FleetStore, Worker, WorkerCursor, page};
use crate::store::timing::{LEASE_KEPT, millis};
use crate::store::{Page, PageRequest, StoreError};

#[async_trait]
impl FleetStore for SqliteStore {
    async fn list_workers(&self, request: &PageRequest) -> Result<Page<Worker>, StoreError> {
        let cursor = WorkerCursor::of(request);
        let living: Vec<_> = self.living().iter().map(LeaseId::to_string).collect();
        let rows = sqlx::query(
            "SELECT lease_id, host, pid, version, slots, busy, started_at, seen_at,
                    CASE WHEN state = 'live' AND lease_id NOT IN (SELECT value FROM json_each(?5)) THEN 'dead'
                         ELSE state END AS status
             FROM worker_leases
             WHERE (started_at, lease_id) < (coalesce(?1, 9223372036854775807), coalesce(?2, ''))
               AND seen_at > CAST(unixepoch('subsec') * 1000 AS INTEGER) * 1000 - ?4 * 1000
             ORDER BY started_at DESC, lease_id DESC LIMIT ?3",
        )
        .bind(cursor.map(|cursor| cursor.started_at.timestamp_micros()))
        .bind(cursor.map(|cursor| cursor.id.to_string()))
        .bind(i64::from(request.limit) + 1)
        .bind(millis(LEASE_KEPT))
        .bind(serde_json::Value::from(living).to_string())
        .fetch_all(self.listing("list_workers"))
        .await
        .map_err(store_error)?;
        page(&rows, request.limit)
    }
}

impl SqliteStore {
    /// The leases of this process that were heard of as lately as they must be.
    pub(super) fn living(&self) -> Vec<LeaseId> {
        let heard = self.heard();
        let living = heard.iter().filter(|(_, (at, ttl))| at.elapsed() <= *ttl);
        living.map(|(lease, _)| *lease).collect()
    }
}

//! The workers, on PostgreSQL.

use async_trait::async_trait;

use super::{PostgresStore, store_error};
use crate::store::fleet::{FleetStore, Worker, WorkerCursor, page};
use crate::store::timing::{LEASE_KEPT, millis};
use crate::store::{Page, PageRequest, StoreError};

#[async_trait]
impl FleetStore for PostgresStore {
    async fn list_workers(&self, request: &PageRequest) -> Result<Page<Worker>, StoreError> {
        let cursor = WorkerCursor::of(request);
        let rows = sqlx::query(include_str!("sql/list_workers.sql"))
            .bind(cursor.map(|cursor| cursor.started_at))
            .bind(cursor.map(|cursor| cursor.id.0))
            .bind(i64::from(request.limit) + 1)
            .bind(millis(LEASE_KEPT))
            .fetch_all(self.reads.named("list_workers"))
            .await
            .map_err(store_error)?;
        page(&rows, request.limit)
    }
}

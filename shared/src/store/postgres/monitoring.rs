//! What is open, counted on PostgreSQL.

use std::time::Duration;

use async_trait::async_trait;

use super::{PostgresStore, store_error};
use crate::domain::ids::HolderId;
use crate::domain::open_work::OpenWork;
use crate::store::StoreError;
use crate::store::monitoring::{CountOptions, MonitoringStore, QUEUED_DUE_WITHIN, open_work};
use crate::store::timing::millis;

#[async_trait]
impl MonitoringStore for PostgresStore {
    async fn take_duty(
        &self,
        name: &'static str,
        holder: HolderId,
        term: Duration,
    ) -> Result<bool, StoreError> {
        let taken = sqlx::query(include_str!("sql/take_duty.sql"))
            .bind(name)
            .bind(holder.0)
            .bind(millis(term))
            .execute(self.pool.named("take_duty"))
            .await
            .map_err(store_error)?;
        Ok(taken.rows_affected() > 0)
    }

    async fn leave_duty(&self, name: &'static str, holder: HolderId) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM duties WHERE name = $1 AND holder = $2")
            .bind(name)
            .bind(holder.0)
            .execute(self.pool.named("leave_duty"))
            .await
            .map_err(store_error)?;
        Ok(())
    }

    async fn count_open(&self, options: CountOptions) -> Result<OpenWork, StoreError> {
        // As what requests read: it must not have the last connection that a write could have.
        let rows = sqlx::query(include_str!("sql/count_open.sql"))
            .bind(i64::from(options.rows_max))
            .bind(millis(options.overdue_after))
            .bind(millis(QUEUED_DUE_WITHIN))
            .fetch_all(self.reads.named("count_open"))
            .await
            .map_err(store_error)?;
        open_work(&rows)
    }
}

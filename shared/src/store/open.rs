//! The one place that knows which stores there are.

use std::sync::Arc;

use super::postgres::PostgresStore;
use super::sqlite::SqliteStore;
use super::{Store, StoreError};
use crate::config::{StoreArgs, StoreUrl};
use crate::domain::event_logs::EventLogSink;

/// Opens a store. `event_logs` is told of the rows that it writes to the log.
///
/// # Errors
/// When the URL cannot be used, or an embedded store belongs to another process. PostgreSQL may be
/// down: it is connected to when first used.
pub async fn open(
    url: &StoreUrl<'_>,
    args: &StoreArgs,
    event_logs: Option<Arc<dyn EventLogSink>>,
) -> Result<Arc<dyn Store>, StoreError> {
    Ok(match url {
        StoreUrl::Postgres(url) => {
            let store = PostgresStore::connect(url.expose(), args.database_connections)?;
            Arc::new(match event_logs {
                Some(event_logs) => store.telling(event_logs),
                None => store,
            })
        }
        StoreUrl::Sqlite(path) => {
            Arc::new(SqliteStore::open_telling(&path.to_string_lossy(), event_logs).await?)
        }
    })
}

//! The one place that knows which stores there are.

use std::sync::Arc;

use super::postgres::PostgresStore;
use super::sqlite::SqliteStore;
use super::{Store, StoreError};
use crate::config::{StoreArgs, StoreUrl};

/// Opens a store.
///
/// # Errors
/// When the URL cannot be used, or an embedded store belongs to another process. PostgreSQL may be
/// down: it is connected to when first used.
pub async fn open(url: &StoreUrl<'_>, args: &StoreArgs) -> Result<Arc<dyn Store>, StoreError> {
    Ok(match url {
        StoreUrl::Postgres(url) => {
            Arc::new(PostgresStore::connect(url.expose(), args.database_connections)?)
        }
        StoreUrl::Sqlite(path) => Arc::new(SqliteStore::open(&path.to_string_lossy()).await?),
    })
}

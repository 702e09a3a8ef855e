//! The epochs of the log: a restored dump holds transaction ids of another cluster.

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, query, query_scalar};

use super::{connect, store_error};
use crate::store::StoreError;

/// How long writers of the log may be waited for, which nobody else passes meanwhile.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '2s'";

/// Begins an epoch of the log, if the database has come to another cluster since the last one. To be called before
/// a process writes; a crash in the middle changes nothing. A role that may not do it goes without, as only the order
/// of the log in runs that were open when the dump was made hangs on it; so does one that a transaction keeps from it
/// which has written to the log and stays open, until the next process starts.
///
/// # Errors
/// [`StoreError::Unavailable`] when the database is out of reach.
pub(super) async fn note(options: &PgConnectOptions) -> Result<(), StoreError> {
    match begin(options).await {
        Err(error) if !error.is_retryable() || matches!(error, StoreError::Locked(_)) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "cannot tell whether the database has been restored: logs of runs that were open then may be incomplete"
            );
            Ok(())
        }
        done => done,
    }
}

async fn begin(options: &PgConnectOptions) -> Result<(), StoreError> {
    let mut connection = connect(options).await?;
    let is_here = query_scalar(
        "SELECT cluster = (SELECT system_identifier FROM pg_control_system())
         FROM log_epochs ORDER BY first_log_id DESC LIMIT 1",
    );
    if !is_here.fetch_one(&mut connection).await.map_err(store_error)? {
        let mut transaction = connection.begin().await.map_err(store_error)?;
        for statement in [
            LOCK_TIMEOUT,
            "LOCK TABLE event_logs IN SHARE ROW EXCLUSIVE MODE",
            include_str!("sql/begin_log_epoch.sql"),
        ] {
            query(statement).execute(&mut *transaction).await.map_err(store_error)?;
        }
        transaction.commit().await.map_err(store_error)?;
        tracing::info!("the log goes on in a new epoch, that of this cluster");
    }
    connection.close().await.map_err(store_error)
}

//! Attempts that were taken back or given back, as the statements that do so return them.

use sqlx::postgres::PgRow;

use super::rows::get;
use crate::domain::ids::ActivationKey;
use crate::domain::run::AbandonedAttempt;
use crate::store::StoreError;
use crate::store::rows::{count, header, parse};

/// Reads one, from a row of `reap.sql` or `release_stray.sql`.
pub(super) fn abandoned(row: &PgRow) -> Result<AbandonedAttempt, StoreError> {
    let header = header(row, false)?;
    Ok(AbandonedAttempt {
        key: ActivationKey {
            run: header.id,
            node: get::<&str>(row, "node_key")?.into(),
            scope: get::<&str>(row, "scope")?.into(),
        },
        header,
        kind: get::<&str>(row, "kind")?.into(),
        attempt: count(row, "attempts")?,
        span: parse(row, "node_span_id")?,
        started_at: get(row, "node_started_at")?,
        ended_at: get(row, "at")?,
        is_crash: get(row, "is_crash")?,
        is_retried: get(row, "is_retried")?,
        upstream: Vec::new(),
    })
}

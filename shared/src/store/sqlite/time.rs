//! Times as SQLite holds them.

use chrono::{DateTime, Utc};

use crate::store::StoreError;

/// A time from microseconds since 1970.
pub(super) fn instant(micros: i64) -> Result<DateTime<Utc>, StoreError> {
    DateTime::from_timestamp_micros(micros)
        .ok_or_else(|| StoreError::Corrupt(format!("{micros} is no time")))
}

//! The columns of PostgreSQL's rows.

use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::store_error;
use crate::store::StoreError;
use crate::store::rows::Columns;

/// Reads a column.
pub(super) fn get<'r, T>(row: &'r PgRow, column: &'static str) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    row.try_get(column).map_err(store_error)
}

impl Columns for PgRow {
    fn text(&self, column: &'static str) -> Result<Option<&str>, StoreError> {
        get(self, column)
    }

    fn integer(&self, column: &'static str) -> Result<Option<i64>, StoreError> {
        // Unchecked, so that a narrower number is one too.
        self.try_get_unchecked(column).map_err(store_error)
    }

    fn boolean(&self, column: &'static str) -> Result<bool, StoreError> {
        get(self, column)
    }

    fn uuid(&self, column: &'static str) -> Result<Uuid, StoreError> {
        get(self, column)
    }

    fn time(&self, column: &'static str) -> Result<Option<DateTime<Utc>>, StoreError> {
        get(self, column)
    }
}

/// The number of a row in its batch; `WITH ORDINALITY` counts from 1.
pub(super) fn place(row: &PgRow) -> Result<usize, StoreError> {
    let ord: i64 = get(row, "ord")?;
    usize::try_from(ord - 1).map_err(|_| StoreError::Corrupt(format!("ordinal {ord}")))
}

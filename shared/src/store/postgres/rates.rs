//! Starts at providers that take so many calls in a time.

use std::time::Duration;

use super::rows::{get, place};
use super::statement::{rows, statement};
use super::{PostgresStore, store_error};
use crate::domain::rate::AHEAD_MAX;
use crate::store::StoreError;
use crate::store::steps::RateRequest;

statement! {
    /// Grants starts.
    struct GrantStarts<'a> = "sql/grant_starts.sql" {
        /// Microseconds.
        ahead_max: i64,
        /// In order.
        asks: Vec<AskRow<'a>>,
    }
}

rows! {
    /// Who asks, in microseconds.
    struct AskRow<'a> {
        provider: &'a str,
        requests: Option<i64>,
        tokens: Option<i64>,
        requests_burst: i64,
        tokens_burst: i64,
    }
}

impl<'a> AskRow<'a> {
    fn of(request: &'a RateRequest) -> Self {
        let share = request.share();
        Self {
            provider: &request.provider,
            requests: share.requests,
            tokens: share.tokens,
            requests_burst: share.requests_burst(),
            tokens_burst: share.tokens_burst(),
        }
    }
}

impl PostgresStore {
    pub(super) async fn grant(
        &self,
        batch: &[RateRequest],
    ) -> Result<Vec<Option<Duration>>, StoreError> {
        let mut starts = vec![None; batch.len()];
        let mut open: Vec<usize> = (0..batch.len()).collect();
        // The first time a provider is new, and the second time it is there.
        for _ in 0..2 {
            let asks = open.iter().map(|place| AskRow::of(&batch[*place])).collect();
            let granted = GrantStarts { ahead_max: AHEAD_MAX, asks };
            let rows = granted
                .query(GrantStarts::text())?
                .fetch_all(self.pool.serving(open.len(), "grant_starts"));
            let rows = rows.await.map_err(store_error)?;
            let mut is_answered = vec![false; open.len()];
            for row in &rows {
                let place = place(row)?;
                is_answered[place] = true;
                let start: Option<i64> = get(row, "start_in")?;
                starts[open[place]] = start
                    .map(|start| Duration::from_micros(u64::try_from(start).unwrap_or_default()));
            }
            open = open
                .iter()
                .zip(is_answered)
                .filter(|(_, it)| !it)
                .map(|(place, _)| *place)
                .collect();
            if open.is_empty() {
                return Ok(starts);
            }
            let mut providers: Vec<_> = open.iter().map(|place| &*batch[*place].provider).collect();
            providers.sort_unstable();
            providers.dedup();
            sqlx::query(
                "INSERT INTO rate_buckets (provider) SELECT * FROM unnest($1::text[]) ON CONFLICT DO NOTHING",
            )
            .bind(providers)
            .execute(self.pool.named("prepare_rates"))
            .await
            .map_err(store_error)?;
        }
        Err(StoreError::Corrupt("the bucket of a provider does not stay".to_owned()))
    }
}

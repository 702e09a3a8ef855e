//! Committing what activations did.

use sqlx::postgres::PgRow;

use super::commit_rows::CommitRows;
use super::event_logs::Logging;
use super::resolve::ResolveCommits;
use super::rows::{get, place};
use super::{PostgresStore, store_error};
use crate::domain::ids::LeaseId;
use crate::store::StoreError;
use crate::store::engine::{Activated, Commit, Committed};
use crate::store::rows::{count, ended, parse, parse_optional};

static COMMIT: Logging = Logging::of(CommitRows::text);

impl PostgresStore {
    pub(super) async fn commit_batch(
        &self,
        lease: LeaseId,
        batch: &[Commit],
    ) -> Result<Vec<Committed>, StoreError> {
        let mut outcomes = vec![Committed::default(); batch.len()];
        let applying = CommitRows::of(lease, batch).query(COMMIT.text(self))?;
        read_outcomes(
            &self.fetch_logging(applying, self.pool.serving(batch.len(), "commit")).await?,
            &mut outcomes,
        )?;
        // Somebody else owns the row, or this is a repetition of a commit whose reply was lost.
        let unflipped: Vec<_> = (1..)
            .zip(batch.iter().zip(&outcomes))
            .filter(|(_, (_, outcome))| !outcome.flipped)
            .map(|(ord, (commit, _))| (ord, commit))
            .collect();
        if !unflipped.is_empty() {
            let resolved = ResolveCommits::of(lease, &unflipped);
            let resolved = resolved
                .query(ResolveCommits::text())?
                .fetch_all(self.pool.serving(unflipped.len(), "resolve"));
            read_outcomes(&resolved.await.map_err(store_error)?, &mut outcomes)?;
        }
        Ok(outcomes)
    }
}

/// Reads what `commit.sql` or `resolve.sql` reported.
fn read_outcomes(rows: &[PgRow], outcomes: &mut [Committed]) -> Result<(), StoreError> {
    for row in rows {
        let outcome = &mut outcomes[place(row)?];
        match get::<&str>(row, "what")? {
            "flipped" => {
                outcome.flipped = true;
                outcome.finishing = get(row, "finishing")?;
            }
            "activated" => outcome.activated.push(activated(row)?),
            "ended" => outcome.ended = Some(ended(row, None)?),
            other => return Err(StoreError::Corrupt(format!("commit reported {other:?}"))),
        }
    }
    Ok(())
}

fn activated(row: &PgRow) -> Result<Activated, StoreError> {
    Ok(Activated {
        node: get::<&str>(row, "node_key")?.into(),
        scope: get::<&str>(row, "scope")?.into(),
        state: parse(row, "node_state")?,
        claim: count(row, "claim")?,
        publish_span: parse(row, "node_publish_span_id")?,
        span: parse_optional(row, "node_span_id")?,
    })
}

//! Telling the logs of runs that wait while no worker lives.

use std::time::Duration;

use async_trait::async_trait;

use super::log;
use super::rows::{Input, get, load_run};
use super::writer::{Tx, Write};
use crate::domain::ids::RunId;
use crate::store::StoreError;
use crate::store::log_entry::Entry;
use crate::store::recovery::{NoWorkerTold, OpenRun};
use crate::store::rows::parse;
use crate::store::timing::millis;

/// Tells the logs of open runs behind one of them, where no lease of this process lives, and none has for a while.
pub(super) struct TellOfNoWorker {
    pub(super) waited: Duration,
    pub(super) after: Option<OpenRun>,
    pub(super) limit: u32,
}

#[async_trait]
impl Write for TellOfNoWorker {
    type Reply = NoWorkerTold;
    const NAME: &'static str = "tell_of_no_worker";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<NoWorkerTold, StoreError> {
        let long_ago = tx.now.saturating_sub(millis(self.waited).saturating_mul(1000));
        let leases = tx
            .fetch_optional(sqlx::query(
                "SELECT max(CASE state WHEN 'live' THEN seen_at + ttl_ms * 1000 ELSE seen_at END) AS since,
                        max(started_at) AS last_started_at FROM worker_leases",
            ))
            .await?;
        let time = |column| match &leases {
            Some(row) => Ok(get::<Option<i64>>(row, column)?.unwrap_or(i64::MIN)),
            None => Ok::<_, StoreError>(i64::MIN),
        };
        if time("since")? > long_ago {
            return Ok(NoWorkerTold::default());
        }
        let last_started_at = time("last_started_at")?;
        let after = self.after.as_ref();
        let rows = tx
            .fetch_all(
                sqlx::query(
                    "SELECT id, organization_id, workspace_id,
                            state IN ('queued', 'running') AND cancel_requested_at IS NULL AND created_at <= ?5
                                AND (no_worker_at IS NULL OR no_worker_at < ?6) AS is_to_be_told
                     FROM runs INDEXED BY runs_open
                     WHERE ended_at IS NULL AND suspended_at IS NULL
                       AND (organization_id, workspace_id, id) > (?1, ?2, ?3)
                     ORDER BY organization_id, workspace_id, id LIMIT ?4",
                )
                .bind(after.map_or("", |after| after.organization.as_str()))
                .bind(after.map_or("", |after| after.workspace.as_str()))
                .bind(after.map_or_else(String::new, |after| after.id.to_string()))
                .bind(self.limit)
                .bind(long_ago)
                .bind(last_started_at),
            )
            .await?;
        let mut told = NoWorkerTold::default();
        for row in &rows {
            if get(row, "is_to_be_told")? {
                tell(tx, parse(row, "id")?).await?;
                told.told += 1;
            }
        }
        if let Some(last) = rows.last().filter(|_| rows.len() >= self.limit as usize) {
            told.next = Some(OpenRun {
                organization: get(last, "organization_id")?,
                workspace: get(last, "workspace_id")?,
                id: parse(last, "id")?,
            });
        }
        Ok(told)
    }
}

async fn tell(tx: &mut Tx<'_>, id: RunId) -> Result<(), StoreError> {
    let Some(run) = load_run(tx, id, Input::Leave).await? else { return Ok(()) };
    tx.execute(
        sqlx::query("UPDATE runs SET no_worker_at = ?2 WHERE id = ?1")
            .bind(id.to_string())
            .bind(tx.now),
    )
    .await?;
    log::write(tx, &run.header, Entry::run_has_no_worker()).await
}

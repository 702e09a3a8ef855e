//! Ending runs that are to end.

use async_trait::async_trait;

use super::log;
use super::nodes;
use super::nodes::{NodeRow, node_columns};
use super::rows::{Input, Run, load_run};
use super::writer::{Tx, Write};
use crate::domain::ids::{CallId, RunId};
use crate::domain::run::EndedRun;
use crate::domain::state::RunState;
use crate::store::StoreError;
use crate::store::log_entry::Entry;
use crate::store::recovery::{Finished, cancel_page};
use crate::store::row_values::failure_json;
use crate::store::rows::parse;

/// Cancels what is not running in these runs and ends those that have nothing open left.
pub(super) struct Finish {
    /// What it ended before is reported again.
    pub(super) call: CallId,
    pub(super) runs: Vec<RunId>,
}

#[async_trait]
impl Write for Finish {
    type Reply = Finished;
    const NAME: &'static str = "end_runs";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Self::Reply, StoreError> {
        let page = cancel_page(self.runs.len());
        let mut finished = Finished::default();
        for id in &self.runs {
            let Some(run) = load_run(tx, *id, Input::Leave).await? else { continue };
            if !run.is_over() {
                continue;
            }
            if cancel_open_nodes(tx, &run, page).await? >= page as usize {
                finished.more.push(*id);
            } else if run.state.is_terminal() {
                finished.ended.extend(ended_by(tx, &run, self.call).await?);
            } else if !has_open_nodes(tx, *id).await? {
                finished.ended.push(end(tx, &run, self.call).await?);
            }
        }
        Ok(finished)
    }
}

/// Cancels up to a page of what is not running in a run, and says how many rows it were.
async fn cancel_open_nodes(tx: &mut Tx<'_>, run: &Run, page: u32) -> Result<usize, StoreError> {
    let rows = tx
        .fetch_all(
            sqlx::query(concat!(
                "SELECT ",
                node_columns!(),
                " FROM node_runs n
                 WHERE n.run_id = ?1
                   AND n.state IN ('blocked', 'queued', 'retry', 'waiting', 'held', 'uncertain', 'skipping')
                 ORDER BY n.node_key, n.scope LIMIT ?2"
            ))
            .bind(run.header.id.to_string())
            .bind(page),
        )
        .await?;
    for row in &rows {
        nodes::cancel(tx, &run.header, NodeRow::read(row)?).await?;
    }
    Ok(rows.len())
}

async fn has_open_nodes(tx: &mut Tx<'_>, run: RunId) -> Result<bool, StoreError> {
    let open = tx
        .fetch_optional(
            sqlx::query(
                "SELECT 1 FROM node_runs
                 WHERE run_id = ?1 AND state NOT IN ('succeeded', 'failed', 'skipped', 'cancelled') LIMIT 1",
            )
            .bind(run.to_string()),
        )
        .await?;
    Ok(open.is_some())
}

/// The end of a run that has ended, if it was this call that ended it.
async fn ended_by(
    tx: &mut Tx<'_>,
    run: &Run,
    call: CallId,
) -> Result<Option<EndedRun>, StoreError> {
    let ours = tx
        .fetch_optional(
            sqlx::query("SELECT 1 FROM runs WHERE id = ?1 AND finish_id = ?2")
                .bind(run.header.id.to_string())
                .bind(call.to_string()),
        )
        .await?;
    let ended_at = run.ended_at.filter(|_| ours.is_some());
    Ok(ended_at.map(|ended_at| run.ended(run.state, run.error.clone(), ended_at)))
}

async fn end(tx: &mut Tx<'_>, run: &Run, call: CallId) -> Result<EndedRun, StoreError> {
    let row = tx
        .fetch_optional(
            sqlx::query("SELECT cancel_state FROM runs WHERE id = ?1")
                .bind(run.header.id.to_string()),
        )
        .await?;
    let state: RunState = match row {
        Some(row) => parse(&row, "cancel_state")?,
        None => return Err(StoreError::Corrupt(format!("run {} vanished", run.header.id))),
    };
    tx.execute(
        sqlx::query(
            "UPDATE runs SET state = ?2, ended_at = ?3, wake_at = NULL, suspended_at = NULL, finish_id = ?4
             WHERE id = ?1",
        )
        .bind(run.header.id.to_string())
        .bind(state.as_str())
        .bind(tx.now)
        .bind(call.to_string()),
    )
    .await?;
    let error = run.error.as_ref().map(|error| (error.message.as_str(), failure_json(error)));
    log::write(tx, &run.header, Entry::run_ended(state, error)).await?;
    Ok(run.ended(state, run.error.clone(), tx.time()?))
}

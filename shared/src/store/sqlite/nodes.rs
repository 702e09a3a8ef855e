//! What several steps do to an activation's row.

use super::log::{self, END_KIND, Entry};
use super::rows::NodeRow;
use super::writer::Tx;
use crate::domain::run::RunHeader;
use crate::store::StoreError;

/// Cancels an open row that nobody holds, and logs it.
pub(super) async fn cancel(
    tx: &mut Tx<'_>,
    run: &RunHeader,
    node: &NodeRow,
) -> Result<(), StoreError> {
    tx.execute(
        sqlx::query(
            "UPDATE node_runs SET state = 'cancelled', wake_at = NULL, ended_at = ?2 WHERE ordinal = ?1",
        )
        .bind(node.ordinal)
        .bind(tx.now),
    )
    .await?;
    if node.kind != END_KIND {
        log::write(tx, run, Entry::node_cancelled(&node.kind, &node.key, None)).await?;
    }
    Ok(())
}

/// Records an attempt that did not end its node. `outcome` is `retry`, `waiting`, `released` or
/// `crashed`, `error` JSON text.
pub(super) async fn record_attempt(
    tx: &mut Tx<'_>,
    run: &RunHeader,
    node: &NodeRow,
    outcome: &'static str,
    error: Option<String>,
) -> Result<(), StoreError> {
    let started_at = node.started_at.map(|at| at.timestamp_micros());
    tx.execute(
        sqlx::query(
            "INSERT INTO node_attempts (run_id, node_key, scope, claim, organization_id, workspace_id, attempt, outcome,
                                        error, span_id, lease_id, started_at, ended_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        )
        .bind(node.key.run.to_string())
        .bind(&*node.key.node)
        .bind(&*node.key.scope)
        .bind(node.claim)
        .bind(&*run.identity.organization)
        .bind(&*run.identity.workspace)
        .bind(node.attempts)
        .bind(outcome)
        .bind(error)
        .bind(node.span.map(|span| span.to_string()))
        .bind(node.lease.map(|lease| lease.to_string()))
        .bind(started_at)
        .bind(tx.now),
    )
    .await?;
    Ok(())
}

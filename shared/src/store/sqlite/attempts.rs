//! Attempts that did not end their node.

use super::nodes::NodeRow;
use super::writer::Tx;
use crate::domain::run::RunHeader;
use crate::store::StoreError;

/// Records the attempt that a row is in, before it is changed. `outcome` is `retry`, `waiting`,
/// `released` or `crashed`, `error` JSON text.
pub(super) async fn record(
    tx: &mut Tx<'_>,
    run: &RunHeader,
    node: &NodeRow,
    outcome: &'static str,
    error: Option<String>,
) -> Result<(), StoreError> {
    tx.execute(
        sqlx::query(
            "INSERT INTO node_attempts (run_id, node_key, scope, claim, organization_id, workspace_id, attempt, outcome,
                                        error, span_id, lease_id, started_at, ended_at, segment, worker)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
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
        .bind(node.span_id.map(|span| span.to_string()))
        .bind(node.lease_id.map(|lease| lease.to_string()))
        .bind(node.started_at)
        .bind(tx.now)
        .bind(node.segment)
        .bind(&node.worker),
    )
    .await?;
    Ok(())
}

//! Log rows, written in the transaction of the change that they report.

use super::writer::Tx;
use crate::domain::run::RunHeader;
use crate::store::StoreError;
use crate::store::log_entry::Entry;

/// Writes a log row of a run.
pub(super) async fn write(
    tx: &mut Tx<'_>,
    run: &RunHeader,
    entry: Entry,
) -> Result<(), StoreError> {
    let span = entry.span.unwrap_or(run.trace.root);
    let at = tx.time()?;
    let statement = sqlx::query(
        "INSERT INTO event_logs (ts, organization_id, workspace_id, user_id, run_id, node_key, scope, level, event,
                                 message, data, trace_id, span_id)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
    )
    .bind(tx.now)
    .bind(&*run.identity.organization)
    .bind(&*run.identity.workspace)
    .bind(&*run.identity.user)
    .bind(run.id.to_string())
    .bind(entry.node.as_deref())
    .bind(entry.scope.as_deref())
    .bind(entry.level)
    .bind(&*entry.event)
    .bind(&*entry.message)
    .bind(entry.data.as_deref())
    .bind(run.trace.trace.to_string())
    .bind(span.to_string());
    let id = tx.insert(statement).await?;
    tx.tell(|| entry.written(id, at, run.into()));
    Ok(())
}

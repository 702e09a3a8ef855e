//! Rows that a commit alone decides.

use std::sync::Arc;

use super::commit::Flipped;
use super::rows::Run;
use super::writer::Tx;
use super::{nodes, segments};
use crate::domain::ids::LeaseId;
use crate::domain::state::NodeState;
use crate::store::StoreError;
use crate::store::engine::{Activated, NewRow};
use crate::store::row_values::RowValues;
use crate::store::timing::{DEADLINE_GRACE, FIRST_WAKE, LONG_WAIT, millis};

/// Writes the rows that a commit alone decides.
pub(super) async fn insert(
    tx: &mut Tx<'_>,
    lease: LeaseId,
    flipped: &mut Flipped<'_>,
) -> Result<(), StoreError> {
    let commit = flipped.commit;
    for row in &commit.rows {
        let state = RowValues::of_row(&row.state).state;
        let state = match state {
            NodeState::Queued | NodeState::Running | NodeState::Waiting
                if flipped.run.is_over() =>
            {
                NodeState::Cancelled
            }
            state => state,
        };
        insert_row(tx, lease, &flipped.run, row, state).await?;
        if matches!(state, NodeState::Queued | NodeState::Running | NodeState::Cancelled) {
            let activated = Activated {
                node: Arc::clone(&row.spec.node),
                scope: Arc::clone(&row.spec.scope),
                state,
                claim: u32::from(state == NodeState::Running),
                publish_span: row.spec.publish_span,
                span: row.span,
            };
            flipped.note(row.spec.kind, row.span, activated);
        }
    }
    Ok(())
}

async fn insert_row(
    tx: &mut Tx<'_>,
    lease: LeaseId,
    run: &Run,
    row: &NewRow,
    state: NodeState,
) -> Result<(), StoreError> {
    use NodeState::{Failed, Queued, Running, Succeeded, Waiting};
    let values = RowValues::of_row(&row.state);
    let due = values.due_in.map(|delay| tx.after(delay));
    let is_started = matches!(state, Running | Succeeded | Failed | Waiting);
    tx.execute(
        sqlx::query(
            "INSERT INTO node_runs (run_id, node_key, scope, organization_id, workspace_id, kind, state, claim, attempts,
                                    lease_id, timeout_ms, publish_span_id, span_id, input, output, error, waited_until,
                                    wake_at, queued_at, started_at, ended_at, segment)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21,
                     ?22)",
        )
        .bind(run.header.id.to_string())
        .bind(&*row.spec.node)
        .bind(&*row.spec.scope)
        .bind(&*run.header.identity.organization)
        .bind(&*run.header.identity.workspace)
        .bind(row.spec.kind)
        .bind(state.as_str())
        .bind(state == Running)
        .bind(matches!(state, Running | Succeeded | Failed))
        .bind(is_started.then(|| lease.to_string()))
        .bind(millis(row.spec.timeout))
        .bind(row.spec.publish_span.to_string())
        .bind(row.span.map(|span| span.to_string()))
        .bind(values.input)
        .bind(values.output)
        .bind(values.error_json())
        .bind(due.filter(|_| state == Waiting))
        .bind(match state {
            Queued => Some(tx.after(FIRST_WAKE)),
            Running => Some(tx.after(row.spec.timeout + DEADLINE_GRACE)),
            Waiting => due,
            _ => None,
        })
        .bind(tx.now)
        .bind(is_started.then_some(tx.now))
        .bind(state.is_terminal().then_some(tx.now))
        .bind(run.segment),
    )
    .await?;
    if state == Waiting {
        record_ridden_wait(tx, run, row).await?;
        if values.due_in.is_none_or(|delay| delay >= LONG_WAIT) {
            segments::recheck_soon(tx, run.header.id).await?;
        }
    }
    Ok(())
}

/// A node that rode along and asked for a wait has had its attempt: before any claim.
async fn record_ridden_wait(tx: &mut Tx<'_>, run: &Run, row: &NewRow) -> Result<(), StoreError> {
    let spec = &row.spec;
    let values = nodes::load(tx, run.header.id, &spec.node, &spec.scope).await?;
    let Some(mut node) = values else { return Ok(()) };
    node.attempts = 1;
    nodes::record_attempt(tx, &run.header, &node, "waiting", None).await
}

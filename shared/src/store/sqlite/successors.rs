//! Rows that a commit alone decides.

use std::sync::Arc;

use super::flipped::Flipped;
use super::leases::Holder;
use super::nodes::NodeRow;
use super::rows::Run;
use super::writer::Tx;
use super::{attempts, nodes, segments};
use crate::domain::state::NodeState;
use crate::store::StoreError;
use crate::store::engine::{Activated, NewRow};
use crate::store::row_values::RowValues;
use crate::store::timing::{DEADLINE_GRACE, FIRST_WAKE, LONG_WAIT};

/// Writes the rows that a commit alone decides.
pub(super) async fn insert(
    tx: &mut Tx<'_>,
    holder: &Holder,
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
        insert_row(tx, holder, &flipped.run, row, state).await?;
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
    holder: &Holder,
    run: &Run,
    row: &NewRow,
    state: NodeState,
) -> Result<(), StoreError> {
    use NodeState::{Failed, Queued, Running, Succeeded, Waiting};
    let values = RowValues::of_row(&row.state);
    let due = values.due_in.map(|delay| tx.after(delay));
    let is_started = matches!(state, Running | Succeeded | Failed | Waiting);
    let mut node = NodeRow::new(run.header.id, &row.spec);
    node.state = state;
    node.claim = u32::from(state == Running);
    node.attempts = u32::from(matches!(state, Running | Succeeded | Failed));
    node.lease_id = is_started.then_some(holder.lease);
    node.worker = holder.worker.clone().filter(|_| is_started);
    node.span_id = row.span;
    node.segment = run.segment;
    node.waited_until = due.filter(|_| state == Waiting);
    node.wake_at = match state {
        Queued => Some(tx.after(FIRST_WAKE)),
        Running => Some(tx.after(row.spec.timeout + DEADLINE_GRACE)),
        Waiting => due,
        _ => None,
    };
    node.queued_at = Some(tx.now);
    node.started_at = is_started.then_some(tx.now);
    node.ended_at = state.is_terminal().then_some(tx.now);
    nodes::insert(tx, &run.header.identity, &node, Some(&values)).await?;
    if state == Waiting {
        // It was inlined and asked for a wait: it has had its attempt, before any claim.
        node.attempts = 1;
        attempts::record(tx, &run.header, &node, "waiting", None).await?;
        if values.due_in.is_none_or(|delay| delay >= LONG_WAIT) {
            segments::recheck_soon(tx, run.header.id).await?;
        }
    }
    Ok(())
}

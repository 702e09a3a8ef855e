//! Finding out what a commit did whose reply was lost.

use std::sync::Arc;

use super::nodes::{self, NodeRow};
use super::rows::{Input, load_run};
use super::writer::Tx;
use crate::domain::ids::{LeaseId, RunId};
use crate::domain::state::{NodeState, RunState};
use crate::domain::trace::SpanId;
use crate::store::StoreError;
use crate::store::engine::{
    Activated, Commit, CommitFrom, Committed, NewRowState, NodeSpec, RunChange,
};
use crate::store::row_values::RowValues;

/// Finds out whether a commit that did not flip its row is a repetition of one whose reply was lost,
/// and if so, what that one had done. Lease and claim number stay on an ended row for this; attempts
/// that did not end their row are on record.
pub(super) async fn resolve(
    tx: &mut Tx<'_>,
    lease: LeaseId,
    commit: &Commit,
    outcome: &mut Committed,
) -> Result<(), StoreError> {
    if !is_repeated(tx, lease, commit).await? {
        return Ok(());
    }
    outcome.flipped = true;
    for row in &commit.rows {
        let kept = row.span.filter(|_| row.state == NewRowState::Claimed);
        let activated = still_active(tx, lease, commit.key.run, &row.spec, kept).await?;
        outcome.activated.extend(activated);
    }
    for tokens in &commit.tokens {
        let activated = still_active(tx, lease, commit.key.run, &tokens.spec, tokens.keep).await?;
        outcome.activated.extend(activated);
    }
    resolve_run(tx, commit, outcome).await
}

async fn is_repeated(tx: &mut Tx<'_>, lease: LeaseId, commit: &Commit) -> Result<bool, StoreError> {
    let key = &commit.key;
    let claim = match commit.from {
        CommitFrom::Running { claim } => Some(claim),
        CommitFrom::Skipping { .. } => None,
    };
    let values = RowValues::of_outcome(&commit.outcome);
    if let Some(outcome) = values.attempt_outcome() {
        let recorded = tx
            .fetch_optional(
                sqlx::query(
                    "SELECT 1 FROM node_attempts
                     WHERE run_id = ?1 AND node_key = ?2 AND scope = ?3 AND claim = ?4 AND lease_id = ?5 AND outcome = ?6",
                )
                .bind(key.run.to_string())
                .bind(&*key.node)
                .bind(&*key.scope)
                .bind(claim)
                .bind(lease.to_string())
                .bind(outcome),
            )
            .await?;
        return Ok(recorded.is_some());
    }
    let node = nodes::load(tx, key.run, &key.node, &key.scope).await?;
    Ok(node.is_some_and(|node| {
        node.state == values.state
            && node.lease_id == Some(lease)
            && match commit.from {
                CommitFrom::Running { claim } => node.claim == claim,
                // Two messages for a dead path may have one worker skip it twice: only one of them ended it.
                CommitFrom::Skipping { token } => node.skip_token() == Some(token),
            }
    }))
}

/// A row that the first try activated, if nobody has moved it on since. The publish span on a row is that
/// of the commit which activated it: of two that delivered to a join, one finds its own. A row that
/// was retained is this lease's to go on with only if it still runs under the span that it was retained for.
async fn still_active(
    tx: &mut Tx<'_>,
    lease: LeaseId,
    run: RunId,
    spec: &NodeSpec,
    kept: Option<SpanId>,
) -> Result<Option<Activated>, StoreError> {
    let node = nodes::load(tx, run, &spec.node, &spec.scope).await?;
    let is_active = |node: &NodeRow| match node.state {
        NodeState::Queued | NodeState::Skipping | NodeState::Cancelled => true,
        NodeState::Running => {
            node.lease_id == Some(lease)
                && node.claim == 1
                && kept.is_some()
                && node.span_id == kept
        }
        _ => false,
    };
    let node = node.filter(|node| node.publish_span_id == spec.publish_span && is_active(node));
    Ok(node.map(|node| Activated {
        node: Arc::clone(&spec.node),
        scope: Arc::clone(&spec.scope),
        state: node.state,
        claim: node.claim,
        publish_span: node.publish_span_id,
        span: node.span_id,
    }))
}

async fn resolve_run(
    tx: &mut Tx<'_>,
    commit: &Commit,
    outcome: &mut Committed,
) -> Result<(), StoreError> {
    let id = commit.key.run;
    let run = load_run(tx, id, Input::Leave)
        .await?
        .ok_or_else(|| StoreError::Corrupt(format!("run {id} of a node row is missing")))?;
    outcome.finishing = run.cancelling;
    if run.state == RunState::Succeeded && matches!(commit.run, RunChange::Succeed { .. }) {
        let ended_at = run.ended_at.map_or_else(|| tx.time(), Ok)?;
        outcome.ended = Some(run.ended(run.state, None, ended_at));
    }
    Ok(())
}

//! Finding out what a commit did whose reply was lost.

use super::nodes;
use super::nodes::NodeRow;
use super::rows::{Input, load_run};
use super::writer::Tx;
use super::written::Written;
use crate::domain::ids::{LeaseId, RunId};
use crate::domain::state::{NodeState, RunState};
use crate::store::StoreError;
use crate::store::engine::{Activated, Commit, CommitFrom, Committed, NodeSpec, RunEffect};

/// Finds out whether a commit that did not flip its row is a repetition of one whose reply was lost,
/// and if so, what that one had done. Lease and claim number stay on the row for this.
pub(super) async fn resolve(
    tx: &mut Tx<'_>,
    lease: LeaseId,
    commit: &Commit,
    outcome: &mut Committed,
) -> Result<(), StoreError> {
    let CommitFrom::Running { claim } = commit.from else { return Ok(()) };
    let written = Written::of_ending(&commit.ending).state;
    // `Released` leaves the row queued; that it is ours cannot be told from that, and need not.
    if written == NodeState::Queued {
        return Ok(());
    }
    let key = &commit.key;
    let node = nodes::load(tx, key.run, &key.node, &key.scope).await?;
    let is_ours =
        |node: &NodeRow| node.lease == Some(lease) && node.claim == claim && node.state == written;
    if !node.as_ref().is_some_and(is_ours) {
        return Ok(());
    }
    outcome.flipped = true;
    let rows = commit.rows.iter().map(|row| &row.spec);
    for spec in rows.chain(commit.tokens.iter().map(|tokens| &tokens.spec)) {
        outcome.activated.extend(still_active(tx, lease, key.run, spec).await?);
    }
    resolve_run(tx, commit, outcome).await
}

/// A row that the first try activated, if nobody has moved it on since.
async fn still_active(
    tx: &mut Tx<'_>,
    lease: LeaseId,
    run: RunId,
    spec: &NodeSpec,
) -> Result<Option<Activated>, StoreError> {
    let node = nodes::load(tx, run, &spec.node, &spec.scope).await?;
    let is_active = |node: &NodeRow| match node.state {
        NodeState::Queued | NodeState::Skipping => true,
        NodeState::Running => node.lease == Some(lease) && node.claim == 1,
        _ => false,
    };
    Ok(node.filter(is_active).map(|node| Activated {
        node: node.key.node,
        scope: node.key.scope,
        state: node.state,
        claim: node.claim,
        publish_span: node.publish_span,
        span: node.span,
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
    if run.state == RunState::Succeeded && matches!(commit.run, RunEffect::Succeed { .. }) {
        let ended_at = run.ended_at.map_or_else(|| tx.time(), Ok)?;
        outcome.ended = Some(run.ended(run.state, None, ended_at));
    }
    Ok(())
}

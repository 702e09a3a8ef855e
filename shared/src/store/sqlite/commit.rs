//! Committing what activations did.
//!
//! The phases are those of one statement: first every row flips that its fence lets flip, then
//! the rows and tokens of the commits that did, then what it means for the runs, then the log. What a
//! commit says of its run does not affect the others of its batch.

use async_trait::async_trait;

use super::effects::{self, Effect};
use super::flipped::Flipped;
use super::leases::Holder;
use super::log;
use super::nodes::NodeRow;
use super::rows::{Input, Run, Runs};
use super::writer::{Tx, Write};
use super::{attempts, joins, nodes, resolve, segments, successors};
use crate::domain::ids::LeaseId;
use crate::domain::outcome::{AttemptOutcome, WaitFor};
use crate::domain::state::{NodeEvent, NodeState, RunState};
use crate::store::StoreError;
use crate::store::engine::{Commit, CommitFrom, Committed, END_KIND, NewEvent, RunChange};
use crate::store::log_entry::Entry;
use crate::store::row_values::RowValues;
use crate::store::timing::LONG_WAIT;

/// Applies a batch of commits.
pub(super) struct CommitBatch {
    pub(super) lease: LeaseId,
    pub(super) batch: Vec<Commit>,
}

#[async_trait]
impl Write for CommitBatch {
    type Reply = Vec<Committed>;
    const NAME: &'static str = "commit";

    fn requests(&self) -> Option<usize> {
        Some(self.batch.len())
    }

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Self::Reply, StoreError> {
        let holder = Holder::of(tx, self.lease).await?;
        let mut flipped = self.flip_all(tx).await?;
        for commit in &mut flipped {
            successors::insert(tx, &holder, commit).await?;
        }
        joins::deliver(tx, &holder, &mut flipped).await?;
        let effects = effects::apply(tx, &flipped).await?;
        let mut outcomes = vec![Committed::default(); self.batch.len()];
        for commit in flipped {
            let place = commit.place;
            let effect = effects.get(&commit.run.header.id).copied();
            outcomes[place] = conclude(tx, commit, effect).await?;
        }
        for (outcome, commit) in outcomes.iter_mut().zip(&self.batch) {
            if !outcome.flipped {
                resolve::resolve(tx, self.lease, commit, outcome).await?;
            }
        }
        Ok(outcomes)
    }
}

impl CommitBatch {
    async fn flip_all(&self, tx: &mut Tx<'_>) -> Result<Vec<Flipped<'_>>, StoreError> {
        let mut runs = Runs::new(Input::Leave);
        let mut flipped = Vec::with_capacity(self.batch.len());
        for (place, commit) in self.batch.iter().enumerate() {
            let key = &commit.key;
            let node = nodes::load(tx, key.run, &key.node, &key.scope).await?;
            let Some(mut node) = node.filter(|node| self.is_fenced_in(node, commit.from)) else {
                continue;
            };
            let run = runs.of(tx, key.run).await?;
            if let Some(to) = self.flip(tx, &run, &mut node, commit).await? {
                let (activated, mut entries) = (Vec::new(), Vec::new());
                // Its owner logged parking it; that its run's end made an end of it, only this knows.
                let is_cut =
                    to == NodeState::Cancelled && *commit.outcome != AttemptOutcome::Cancelled;
                if is_cut && node.kind != END_KIND {
                    entries.push(Entry::node_cancelled(&node.kind, &node.key, node.span_id));
                }
                flipped.push(Flipped { place, commit, run, state: to, activated, entries });
            }
        }
        Ok(flipped)
    }

    /// Whether the row is in the state, and under the lease and claim number, that the commit names.
    fn is_fenced_in(&self, node: &NodeRow, from: CommitFrom) -> bool {
        match from {
            CommitFrom::Running { claim } => {
                node.state == NodeState::Running
                    && node.lease_id == Some(self.lease)
                    && node.claim == claim
            }
            CommitFrom::Skipping { .. } => node.state == NodeState::Skipping,
        }
    }

    /// Flips a row that is fenced in, if its state lets it, and says to what.
    async fn flip(
        &self,
        tx: &mut Tx<'_>,
        run: &Run,
        node: &mut NodeRow,
        commit: &Commit,
    ) -> Result<Option<NodeState>, StoreError> {
        let Some(to) = after(node.state, &commit.outcome, run.is_over()) else {
            return Ok(None);
        };
        let values = RowValues::of_outcome(&commit.outcome);
        if let Some(outcome) = values.attempt_outcome() {
            attempts::record(tx, &run.header, node, outcome, values.error_json()).await?;
        }
        let due = values.due_in.map(|delay| tx.after(delay));
        let is_open = matches!(to, NodeState::Retry | NodeState::Waiting | NodeState::Queued);
        let is_released = values.state == NodeState::Queued;
        node.state = to;
        if is_released || values.state == NodeState::Waiting {
            node.attempts = node.attempts.saturating_sub(1);
        }
        node.failures += u32::from(values.state == NodeState::Retry);
        if !is_released {
            node.suspect = false;
            node.crashes = 0;
            node.waited_until = due.filter(|_| values.state == NodeState::Waiting);
            node.waiting_for = values.waiting_for_json();
        }
        node.wake_at = due.filter(|_| is_open);
        if to == NodeState::Waiting
            && node.signalled
            && values.waiting_for.is_some_and(WaitFor::is_outside)
        {
            // What came from outside while this worked may be what it now waits for: it is to see for itself.
            node.wake_at = Some(tx.now);
        }
        node.wakes = 0;
        // No message announces a row that is given back.
        node.message_expected = to != NodeState::Queued;
        if to == NodeState::Queued {
            node.queued_at = Some(tx.now);
        }
        node.ended_at = to.is_terminal().then_some(tx.now);
        // Nobody claims a row that is skipped. When the reply is lost, these say whose commit it was, and which.
        if let CommitFrom::Skipping { token } = commit.from
            && to == NodeState::Skipped
        {
            node.lease_id = Some(self.lease);
            node.set_skip_token(token);
        }
        nodes::save_with(tx, node, &values).await?;
        if matches!(to, NodeState::Retry | NodeState::Waiting)
            && values.due_in.is_none_or(|delay| delay >= LONG_WAIT)
        {
            segments::recheck_soon(tx, run.header.id).await?;
        }
        Ok(Some(to))
    }
}

/// Writes a commit's log rows and makes its reply. `effect` is what its batch has done to its run.
async fn conclude(
    tx: &mut Tx<'_>,
    flipped: Flipped<'_>,
    effect: Option<Effect>,
) -> Result<Committed, StoreError> {
    // Something of the run waits, and this may have been the last of it that worked: a branch has ended and led to
    // nothing.
    if effect.is_none() && flipped.run.is_to_be_rechecked && flipped.ends_a_branch() {
        segments::recheck_now(tx, flipped.run.header.id).await?;
    }
    let Flipped { place, commit, run, activated, entries, .. } = flipped;
    let ends_run = effect == Some(Effect::Succeeded(place));
    let at_end: &[NewEvent] = match &commit.run {
        RunChange::Succeed { events, .. } if ends_run => events,
        _ => &[],
    };
    let logged = commit.events.iter().chain(at_end).map(Entry::from);
    for entry in logged.chain(entries) {
        log::write(tx, &run.header, entry).await?;
    }
    let ended =
        if ends_run { Some(run.ended(RunState::Succeeded, None, tx.time()?)) } else { None };
    let finishing = run.is_over() || effect == Some(Effect::Failing);
    Ok(Committed { flipped: true, activated, ended, finishing })
}

/// What a row in `from` becomes by an outcome, or `None` where the outcome does not apply.
fn after(from: NodeState, outcome: &AttemptOutcome, run_is_over: bool) -> Option<NodeState> {
    let event = match outcome {
        AttemptOutcome::Succeeded { .. } => NodeEvent::Succeed,
        AttemptOutcome::Failed { .. } => NodeEvent::Fail,
        AttemptOutcome::Retry { .. } => NodeEvent::RetryLater,
        AttemptOutcome::Waiting { .. } => NodeEvent::Wait,
        AttemptOutcome::Deferred { .. } => NodeEvent::Release,
        AttemptOutcome::Skipped => NodeEvent::Skip,
        // Not an event from outside: the owner itself says that it has stopped.
        AttemptOutcome::Cancelled => return Some(NodeState::Cancelled),
    };
    let to = from.on(event)?;
    Some(if run_is_over { to.on(NodeEvent::CancelRun).unwrap_or(to) } else { to })
}

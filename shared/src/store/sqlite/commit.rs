//! Committing what activations did.
//!
//! The phases are those of one statement: first every row flips that its fence lets flip, then
//! the rows and tokens of the commits that did, then what it means for the runs, then the log. What a
//! commit says of its run does not affect the others of its batch.

use std::sync::Arc;

use async_trait::async_trait;

use super::effects::{self, Effect};
use super::log::{self, END_KIND, Entry};
use super::nodes::NodeRow;
use super::rows::{Input, Run, Runs};
use super::writer::{Tx, Write};
use super::written::{self, Written};
use super::{joins, nodes, resolve, successors};
use crate::domain::ids::{ActivationKey, LeaseId};
use crate::domain::state::{NodeState, RunState};
use crate::domain::trace::SpanId;
use crate::store::StoreError;
use crate::store::engine::{Activated, Commit, CommitFrom, Committed, Ending, NewEvent, RunEffect};

/// Applies a batch of commits.
pub(super) struct CommitBatch {
    pub(super) lease: LeaseId,
    pub(super) batch: Vec<Commit>,
}

/// A commit whose row has flipped.
pub(super) struct Flipped<'a> {
    /// Its place in the batch.
    pub(super) place: usize,
    pub(super) commit: &'a Commit,
    /// Its run, as it was before this batch.
    pub(super) run: Arc<Run>,
    /// What it has activated, for the caller.
    pub(super) activated: Vec<Activated>,
    /// What is to be logged of that.
    pub(super) entries: Vec<Entry>,
}

impl Flipped<'_> {
    /// Notes a row that this commit made runnable, or that its run's end made `cancelled`.
    pub(super) fn note(&mut self, kind: &str, span: Option<SpanId>, activated: Activated) {
        let key = ActivationKey {
            run: self.commit.key.run,
            node: Arc::clone(&activated.node),
            scope: Arc::clone(&activated.scope),
        };
        if kind != END_KIND {
            match activated.state {
                NodeState::Running => {
                    self.entries.push(Entry::node_started(kind, &key, 1, span));
                }
                NodeState::Cancelled => self.entries.push(Entry::node_cancelled(kind, &key, span)),
                _ => {}
            }
        }
        self.activated.push(activated);
    }
}

#[async_trait]
impl Write for CommitBatch {
    type Reply = Vec<Committed>;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Self::Reply, StoreError> {
        let mut flipped = self.flip_all(tx).await?;
        for commit in &mut flipped {
            successors::insert(tx, self.lease, commit).await?;
        }
        joins::deliver(tx, self.lease, &mut flipped).await?;
        let effects = effects::apply(tx, &flipped).await?;
        let mut outcomes = vec![Committed::default(); self.batch.len()];
        for commit in flipped {
            let effect = effects.get(&commit.place).copied();
            let place = commit.place;
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
            let Some(node) = node.filter(|node| self.is_fenced_in(node, commit.from)) else {
                continue;
            };
            let run = runs.of(tx, key.run).await?;
            let Some(to) = written::after(node.state, &commit.ending, run.is_over()) else {
                continue;
            };
            flip(tx, &run, &node, &commit.ending, to).await?;
            flipped.push(Flipped {
                place,
                commit,
                run,
                activated: Vec::new(),
                entries: Vec::new(),
            });
        }
        Ok(flipped)
    }

    /// Whether the row is in the state, and under the lease and claim number, that the commit names.
    fn is_fenced_in(&self, node: &NodeRow, from: CommitFrom) -> bool {
        match from {
            CommitFrom::Running { claim } => {
                node.state == NodeState::Running
                    && node.lease == Some(self.lease)
                    && node.claim == claim
            }
            CommitFrom::Skipping => node.state == NodeState::Skipping,
        }
    }
}

async fn flip(
    tx: &mut Tx<'_>,
    run: &Run,
    node: &NodeRow,
    ending: &Ending,
    to: NodeState,
) -> Result<(), StoreError> {
    let written = Written::of_ending(ending);
    let due = tx.after(written.delay);
    let waited_until = match written.state {
        NodeState::Waiting => Some(due),
        NodeState::Queued => node.waited_until.map(|at| at.timestamp_micros()),
        _ => None,
    };
    let is_open = matches!(to, NodeState::Retry | NodeState::Waiting | NodeState::Queued);
    let attempt_counts = !matches!(written.state, NodeState::Waiting | NodeState::Queued);
    tx.execute(
        sqlx::query(
            "UPDATE node_runs
             SET state = ?2, input = coalesce(?3, input), output = ?4, error = ?5, attempts = ?6, failures = ?7,
                 suspect = ?8, waited_until = ?9, wake_at = ?10, wakes = 0, queued_at = ?11, ended_at = ?12
             WHERE ordinal = ?1",
        )
        .bind(node.ordinal)
        .bind(to.as_str())
        .bind(written.input)
        .bind(written.output)
        .bind(written.error_json())
        .bind(if attempt_counts { node.attempts } else { node.attempts.saturating_sub(1) })
        .bind(node.failures + u32::from(written.state == NodeState::Retry))
        .bind(node.suspect && written.state == NodeState::Queued)
        .bind(waited_until)
        .bind(is_open.then_some(due))
        .bind(match to {
            NodeState::Queued => Some(tx.now),
            _ => node.queued_at.map(|at| at.timestamp_micros()),
        })
        .bind(to.is_terminal().then_some(tx.now)),
    )
    .await?;
    let outcome = match written.state {
        NodeState::Retry => "retry",
        NodeState::Waiting => "waiting",
        NodeState::Queued => "released",
        _ => return Ok(()),
    };
    nodes::record_attempt(tx, &run.header, node, outcome, written.error_json()).await
}

/// Writes a commit's log rows and makes its reply.
async fn conclude(
    tx: &mut Tx<'_>,
    flipped: Flipped<'_>,
    effect: Option<Effect>,
) -> Result<Committed, StoreError> {
    let Flipped { commit, run, activated, entries, .. } = flipped;
    let at_end: &[NewEvent] = match (&commit.run, effect) {
        (RunEffect::Succeed { events, .. }, Some(Effect::Succeeded)) => events,
        _ => &[],
    };
    let told = commit.events.iter().chain(at_end).map(Entry::from);
    for entry in told.chain(entries) {
        log::write(tx, &run.header, entry).await?;
    }
    let ended = match effect {
        Some(Effect::Succeeded) => Some(run.ended(RunState::Succeeded, None, tx.time()?)),
        _ => None,
    };
    let finishing = run.is_over() || effect == Some(Effect::Failing);
    Ok(Committed { flipped: true, activated, ended, finishing })
}

//! A decision becomes a commit, and what the commit says becomes messages, spans and the next thing to do.

use std::collections::HashMap;
use std::time::SystemTime;

use skein_shared::batcher::BatcherError;
use skein_shared::domain::graph::NodeIx;
use skein_shared::domain::ids::{ActivationKey, NodeKey, Scope};
use skein_shared::domain::state::NodeState;
use skein_shared::store::engine::{Activated, Commit, CommitFrom, Committed};
use skein_shared::telemetry::metrics;

use super::attempt::Attempt;
use super::decide::{self, Decision, Leave};
use super::report::{handover, report};
use super::run_context::RunContext;
use super::{Current, Engine, Position, Stopped};
use crate::lease::Held;

/// What a commit has left to this worker.
pub(super) struct Retained {
    activated: Activated,
    /// There if it is claimed.
    held: Option<Held>,
}

/// What a commit asks to keep, held from before it was submitted: its rows are there as soon as it is applied, which may
/// be long before this worker hears of it, and a heartbeat meanwhile would give back what nobody holds. Dropped, it
/// lets go of what was not kept.
type Asked = HashMap<(NodeKey, Scope), Held>;

fn key_of(run: &RunContext, activated: &Activated) -> ActivationKey {
    let (node, scope) = (activated.node.clone(), activated.scope.clone());
    ActivationKey { run: run.header.id, node, scope }
}

impl Engine {
    /// Commits a decision and reports everything that must be reported afterwards.
    pub(super) async fn commit(
        &self,
        run: &mut RunContext,
        decision: Decision,
    ) -> Result<Vec<Retained>, Stopped> {
        let Decision { commit, mut finished } = decision;
        let (key, from) = (commit.key.clone(), commit.from);
        let mut submitted = self.submit(commit).await;
        if let (Err(BatcherError::Refused(_)), CommitFrom::Running { .. }) = (&submitted, from) {
            // What was inlined never happened; the attempt itself did.
            let attempt = finished.into_iter().next();
            let failed = decide::fail_outright(key, from, decide::unstorable(), attempt);
            finished = failed.finished;
            submitted = self.submit(failed.commit).await;
        }
        let (committed, asked) = submitted?;
        if !committed.flipped {
            // Somebody else owns the row; what this worker did is void.
            tracing::warn!(workflow.execution_id = %run.header.id, "a commit was fenced");
            return Ok(Vec::new());
        }
        let now = SystemTime::now();
        for finished in &finished {
            report(&run.header, finished, now);
        }
        if let Some(delay) = finished.iter().filter_map(|it| it.outcome.due_in()).min() {
            self.tools.timers.due_in(delay);
        }
        let (skipping, mut kept): (Vec<_>, Vec<_>) = self
            .settle(run, committed, asked)
            .await?
            .into_iter()
            .partition(|retained| retained.activated.state == NodeState::Skipping);
        let skipping = skipping
            .iter()
            .filter_map(|retained| run.plan.find(&retained.activated.node))
            .collect();
        kept.extend(Box::pin(self.skip_all(run, skipping)).await?);
        Ok(kept)
    }

    /// Passes on dead paths, and those that come of it. Returns what was claimed on the way.
    pub(super) async fn skip_all(
        &self,
        run: &mut RunContext,
        mut skipping: Vec<NodeIx>,
    ) -> Result<Vec<Retained>, Stopped> {
        let mut kept = Vec::new();
        while let Some(node) = skipping.pop() {
            let leave = Leave { retain: false, unit: 0.0 };
            let Decision { commit, mut finished } =
                decide::after_skip(run, &self.tools.executors, leave, node);
            let (key, from) = (commit.key.clone(), commit.from);
            let mut submitted = self.submit(commit).await;
            if let Err(BatcherError::Refused(_)) = &submitted {
                finished.clear();
                submitted = self.submit(decide::fail_skipped(key, from)).await;
            }
            let (committed, asked) = submitted?;
            if !committed.flipped {
                continue;
            }
            let now = SystemTime::now();
            for finished in &finished {
                report(&run.header, finished, now);
            }
            for retained in self.settle(run, committed, asked).await? {
                if retained.activated.state == NodeState::Skipping {
                    skipping.extend(run.plan.find(&retained.activated.node));
                } else {
                    kept.push(retained);
                }
            }
        }
        Ok(kept)
    }

    /// Submits a commit, whatever it is of, and holds what it asks to keep.
    pub(super) async fn submit(&self, commit: Commit) -> Result<(Committed, Asked), BatcherError> {
        let run = commit.key.run;
        let hold = |(node, scope): (NodeKey, Scope)| {
            let key = ActivationKey { run, node: node.clone(), scope: scope.clone() };
            ((node, scope), self.lease.hold(&key))
        };
        let asked = commit.asks_to_keep().map(hold).collect();
        let is_claimed = matches!(commit.from, CommitFrom::Running { .. });
        let committed = self.batchers.commits.submit(commit).await?;
        // Of a dead path it is normal that somebody else has passed it on.
        if is_claimed && !committed.flipped {
            metrics::commit_fenced();
        }
        Ok((committed, asked))
    }

    /// Publishes what is for others, reports the run's end, and returns what is for this worker: nothing
    /// when the run is coming down.
    async fn settle(
        &self,
        run: &RunContext,
        committed: Committed,
        mut asked: Asked,
    ) -> Result<Vec<Retained>, Stopped> {
        let retained = committed.activated.into_iter().map(|activated| {
            let is_claimed = activated.state == NodeState::Running;
            let key = (activated.node.clone(), activated.scope.clone());
            let held = is_claimed.then(|| asked.remove(&key)).flatten();
            Retained { activated, held }
        });
        let all: Vec<_> = retained.collect();
        // The others were not kept.
        drop(asked);
        if let Some(ended) = committed.ended {
            self.tools.finisher.conclude(&[ended]).await;
        }
        if committed.finishing {
            for retained in all {
                self.stand_down(run, retained.activated).await?;
            }
            self.finish(run.header.id).await;
            return Ok(Vec::new());
        }
        let mut kept = Vec::new();
        for retained in all {
            match retained.activated.state {
                NodeState::Queued => {
                    self.tools.dispatcher.hand_over(handover(&run.header, &retained.activated));
                }
                NodeState::Running | NodeState::Skipping => kept.push(retained),
                _ => {}
            }
        }
        Ok(kept)
    }

    /// Gives up what a commit has kept in a run that another commit of the same batch brought down. What is
    /// not running, the finisher cancels.
    async fn stand_down(&self, run: &RunContext, activated: Activated) -> Result<(), Stopped> {
        if let (NodeState::Running, Some(span)) = (activated.state, activated.span) {
            let key = key_of(run, &activated);
            let commit = decide::stand_down(run, key, activated.claim, span);
            self.submit(commit).await?;
        }
        Ok(())
    }

    /// Takes up the successor that a commit has claimed for this worker. There is at most one: a
    /// decision keeps one, and `__end__` only fires when nothing else is left.
    pub(super) fn kept(run: &RunContext, retained: Vec<Retained>) -> Option<Current> {
        let (next, held) =
            retained.into_iter().find_map(|retained| Some((retained.activated, retained.held?)))?;
        let key = key_of(run, &next);
        let position = match run.plan.find(&next.node) {
            None => Position::End,
            Some(node) => Position::Node(Attempt::first(node, key.clone(), next.span?)),
        };
        Some(Current { held, key, claim: next.claim, position, _suspect: None })
    }
}

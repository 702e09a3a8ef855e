//! A decision becomes a commit, and what the commit says becomes messages, spans and the next thing to do.

use skein_shared::domain::graph::NodeIx;
use skein_shared::domain::ids::ActivationKey;
use skein_shared::domain::state::NodeState;
use skein_shared::lane::LaneError;
use skein_shared::store::engine::{Activated, CommitFrom, Committed};

use super::chain::Chain;
use super::decide::{self, Decision, Leave};
use super::tell::{handover, tell};
use super::{Current, Engine, Place, Stopped, first_attempt};
use crate::lease::Held;

/// What a commit has left to this worker.
pub(super) struct Ours {
    activated: Activated,
    /// There if it is claimed.
    held: Option<Held>,
}

fn key_of(chain: &Chain, activated: &Activated) -> ActivationKey {
    let (node, scope) = (activated.node.clone(), activated.scope.clone());
    ActivationKey { run: chain.run.id, node, scope }
}

impl Engine {
    /// Commits a decision and everything that must be told of afterwards.
    pub(super) async fn commit(
        &self,
        chain: &mut Chain,
        decision: Decision,
    ) -> Result<Vec<Ours>, Stopped> {
        let Decision { commit, mut made, timer } = decision;
        let (key, from) = (commit.key.clone(), commit.from);
        let mut committed = self.lanes.commits.submit(commit).await;
        if let (Err(LaneError::Refused(_)), CommitFrom::Running { .. }) = (&committed, from) {
            // Riders never happened; the attempt itself did.
            let attempt = made.into_iter().next();
            let failed = decide::fail_outright(key, from, decide::unstorable(), attempt);
            made = failed.made;
            committed = self.lanes.commits.submit(failed.commit).await;
        }
        let committed = committed?;
        if !committed.flipped {
            // Somebody else owns the row; what this worker did is void.
            tracing::warn!(run.id = %chain.run.id, "a commit was fenced");
            return Ok(Vec::new());
        }
        for made in &made {
            tell(&chain.run, made);
        }
        if let Some(delay) = timer {
            self.tools.timers.due_in(delay);
        }
        let (skipping, mut kept): (Vec<_>, Vec<_>) = self
            .settle(chain, committed)
            .await?
            .into_iter()
            .partition(|ours| ours.activated.state == NodeState::Skipping);
        let skipping =
            skipping.iter().filter_map(|ours| chain.plan.plan.find(&ours.activated.node)).collect();
        kept.extend(Box::pin(self.skip_all(chain, skipping)).await?);
        Ok(kept)
    }

    /// Passes on dead paths, and those that come of it. Returns what was claimed on the way.
    pub(super) async fn skip_all(
        &self,
        chain: &mut Chain,
        mut skipping: Vec<NodeIx>,
    ) -> Result<Vec<Ours>, Stopped> {
        let mut kept = Vec::new();
        while let Some(node) = skipping.pop() {
            let leave = Leave { inline: false, unit: 0.0 };
            let Decision { commit, mut made, .. } =
                decide::after_skip(chain, &self.tools.executors, leave, node);
            let (key, from) = (commit.key.clone(), commit.from);
            let mut committed = self.lanes.commits.submit(commit).await;
            if let Err(LaneError::Refused(_)) = &committed {
                made.clear();
                committed = self.lanes.commits.submit(decide::fail_skipped(key, from)).await;
            }
            let committed = committed?;
            if !committed.flipped {
                continue;
            }
            for made in &made {
                tell(&chain.run, made);
            }
            for ours in self.settle(chain, committed).await? {
                if ours.activated.state == NodeState::Skipping {
                    skipping.extend(chain.plan.plan.find(&ours.activated.node));
                } else {
                    kept.push(ours);
                }
            }
        }
        Ok(kept)
    }

    /// Publishes what is for others, tells of the run's end, and returns what is for this worker: nothing
    /// when the run is coming down.
    async fn settle(&self, chain: &Chain, committed: Committed) -> Result<Vec<Ours>, Stopped> {
        // Before anything is awaited: a heartbeat gives rows back that nobody holds.
        let all: Vec<_> = committed
            .activated
            .into_iter()
            .map(|activated| {
                let is_claimed = activated.state == NodeState::Running;
                let held = is_claimed.then(|| self.lease.hold(&key_of(chain, &activated)));
                Ours { activated, held }
            })
            .collect();
        if let Some(ended) = committed.ended {
            self.tools.finisher.conclude(&[ended]).await;
        }
        if committed.finishing {
            for ours in all {
                self.stand_down(chain, ours.activated).await?;
            }
            self.finish(chain.run.id).await;
            return Ok(Vec::new());
        }
        let mut kept = Vec::new();
        for ours in all {
            match ours.activated.state {
                NodeState::Queued => {
                    self.tools.dispatcher.hand_over(handover(&chain.run, &ours.activated));
                }
                NodeState::Running | NodeState::Skipping => kept.push(ours),
                _ => {}
            }
        }
        Ok(kept)
    }

    /// Gives up what a commit has kept in a run that another commit of the same batch brought down. What is
    /// not running, the finisher cancels.
    async fn stand_down(&self, chain: &Chain, activated: Activated) -> Result<(), Stopped> {
        if let (NodeState::Running, Some(span)) = (activated.state, activated.span) {
            let key = key_of(chain, &activated);
            let commit = decide::stand_down(chain, key, activated.claim, span);
            self.lanes.commits.submit(commit).await?;
        }
        Ok(())
    }

    /// Takes up the successor that a commit has claimed for this worker. There is at most one: a
    /// decision keeps one, and `__end__` only fires when nothing else is left.
    pub(super) fn kept(chain: &Chain, ours: Vec<Ours>) -> Option<Current> {
        let (next, held) = ours.into_iter().find_map(|ours| Some((ours.activated, ours.held?)))?;
        let key = key_of(chain, &next);
        let place = match chain.plan.plan.find(&next.node) {
            None => Place::End,
            Some(node) => {
                Place::Node { attempt: first_attempt(node, key.clone(), next.span?), process: None }
            }
        };
        Some(Current { held, key, claim: next.claim, place, _suspect: None })
    }
}

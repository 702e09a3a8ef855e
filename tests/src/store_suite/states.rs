//! The state table: what a store does with a row in every state on every event is what
//! [`NodeState::on`] says. `held` and `uncertain` cannot be reached through the contract yet.

use std::sync::Arc;
use std::time::Duration;

use skein_shared::domain::failure::Failure;
use skein_shared::domain::ids::{ActivationKey, LeaseId, RunId, SkipToken};
use skein_shared::domain::outcome::{AttemptOutcome, WaitFor};
use skein_shared::domain::state::{NodeEvent, NodeState};
use skein_shared::store::Store;
use skein_shared::store::engine::{Claim, Claimed, Commit, CommitFrom, RunChange};
use skein_shared::store::recovery::ReapScope;

use super::world::{World, deliver, ended, fail, skip, succeed, token};

const HOUR: Duration = Duration::from_secs(3600);
const NODE: &str = "n";

/// A row in some state, and who got it there.
struct Row<'a> {
    world: &'a World,
    run: RunId,
    /// Dead as soon as somebody reaps; its work goes on as long as nobody does.
    lease: LeaseId,
    claim: u32,
}

fn retry() -> AttemptOutcome {
    AttemptOutcome::Retry { input: None, error: Failure::new("timeout", "slow"), delay: HOUR }
}

fn waiting() -> AttemptOutcome {
    AttemptOutcome::Waiting { input: None, waiting_for: WaitFor::Time(HOUR) }
}

fn failed() -> AttemptOutcome {
    AttemptOutcome::Failed { input: None, output: None, error: Failure::new("timeout", "slow") }
}

fn success() -> AttemptOutcome {
    AttemptOutcome::Succeeded { input: None, output: "1".to_owned() }
}

impl<'a> Row<'a> {
    /// A fresh run with the row in `state`; `live` says what a blocked join has got so far.
    async fn in_state(world: &'a World, state: NodeState, live: bool) -> Row<'a> {
        use NodeState as S;
        let entries: &[&str] = match state {
            S::Blocked | S::Skipping | S::Skipped => &["p", "q"],
            _ => &["p", "q", NODE],
        };
        let run = world.accept(entries).await;
        let lease = world.lease_for(Duration::from_millis(1)).await;
        let mut row = Row { world, run, lease, claim: 0 };
        match state {
            S::Queued => {}
            S::Running => row.claim().await,
            S::Retry => row.claim_and(retry()).await,
            S::Waiting => row.claim_and(waiting()).await,
            S::Succeeded => row.claim_and(success()).await,
            S::Failed => row.claim_and(failed()).await,
            S::Blocked => row.token("q", 2, live).await,
            S::Skipping => row.token("q", 1, false).await,
            S::Skipped => {
                row.token("q", 1, false).await;
                let from = CommitFrom::Skipping { token: SkipToken::generate() };
                row.commit(from, AttemptOutcome::Skipped).await;
            }
            S::Cancelled => {
                world.store.request_cancel(&world.tenant, run).await.unwrap();
                let claim = world.claim(lease, &row.key()).await;
                assert!(matches!(claim, Claim::Cancelled));
            }
            S::Held | S::Uncertain => unreachable!("no event leads there yet"),
        }
        assert_eq!(world.state(run, NODE).await, Some(state));
        row
    }

    fn key(&self) -> ActivationKey {
        ActivationKey::root(self.run, NODE)
    }

    async fn claim(&mut self) {
        self.claim = self.world.won(self.lease, self.run, NODE).await.claim;
    }

    async fn claim_and(&mut self, outcome: AttemptOutcome) {
        self.claim().await;
        self.commit(CommitFrom::Running { claim: self.claim }, outcome).await;
    }

    async fn commit(&self, from: CommitFrom, outcome: AttemptOutcome) {
        let commit = Commit {
            key: self.key(),
            from,
            outcome: Arc::new(outcome),
            rows: Vec::new(),
            tokens: Vec::new(),
            run: RunChange::None,
            events: Vec::new(),
        };
        self.world.commit(self.lease, commit).await;
    }

    /// A parent delivers a token; in a cancelled run it has none to deliver.
    async fn token(&self, parent: &str, fan_in: u32, live: bool) {
        let lease = self.world.lease().await;
        if let Claim::Won(parent) =
            self.world.claim(lease, &ActivationKey::root(self.run, parent)).await
        {
            self.world.flip(lease, deliver(&parent, token(NODE, fan_in, live))).await;
        }
    }

    async fn meet(&mut self, event: NodeEvent) {
        use NodeEvent as E;
        let world = self.world;
        let mine = CommitFrom::Running { claim: self.claim };
        match event {
            E::Fire => self.token("p", 2, true).await,
            E::Starve => self.token("p", 2, false).await,
            E::Claim => drop(world.claim(world.lease().await, &self.key()).await),
            E::Succeed => self.commit(mine, success()).await,
            E::Fail => self.commit(mine, failed()).await,
            E::RetryLater => self.commit(mine, retry()).await,
            E::Wait => self.commit(mine, waiting()).await,
            E::Release => {
                self.commit(mine, AttemptOutcome::Deferred { delay: Duration::ZERO }).await;
            }
            E::Wake => drop(world.sweep(self.run).await),
            E::Orphan => {
                tokio::time::sleep(Duration::from_millis(3)).await;
                world.store.reap(1000, ReapScope::ALL).await.unwrap();
            }
            E::Skip => drop(world.commit(self.lease, skip(&self.key())).await),
            E::CancelRun => drop(world.cancel(self.run).await),
        }
    }
}

/// Ten states, twelve events.
pub async fn every_event_in_every_state_does_what_the_table_says(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    for state in NodeState::ALL {
        if matches!(state, NodeState::Held | NodeState::Uncertain) {
            continue;
        }
        for event in NodeEvent::ALL {
            let mut row = Row::in_state(&world, *state, *event != NodeEvent::Starve).await;
            row.meet(*event).await;
            let expected = state.on(*event).unwrap_or(*state);
            let found = world.state(row.run, NODE).await;
            assert_eq!(found, Some(expected), "{state} on {event:?}");
        }
    }
}

/// A join with one live token among its tokens fires, whichever came last.
pub async fn a_dead_last_token_does_not_starve_a_live_join(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    for (first, last) in [(true, false), (false, true)] {
        let row = Row::in_state(&world, NodeState::Blocked, first).await;
        row.token("p", 2, last).await;
        assert_eq!(world.state(row.run, NODE).await, Some(NodeState::Queued));
    }
}

/// What ended stays as it ended: output, error and times do not change under late or foreign commits.
pub async fn an_ended_row_keeps_what_it_ended_with(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&[NODE]).await;
    let lease = world.lease().await;
    let claimed = world.won(lease, run, NODE).await;
    world.flip(lease, succeed(&claimed)).await;
    let before = world.node(run, NODE).await;
    let other = Claimed { claim: claimed.claim + 1, ..claimed.clone() };
    let late = AttemptOutcome::Succeeded { input: None, output: "2".to_owned() };
    for commit in [fail(&claimed), ended(&claimed, late, None), succeed(&other), fail(&other)] {
        world.commit(lease, commit).await;
    }
    assert_eq!(world.node(run, NODE).await, before);
    assert!(!world.detail(run).await.summary.cancelling);
}

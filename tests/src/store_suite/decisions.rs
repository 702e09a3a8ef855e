//! Decisions about steps that wait for one.

use std::sync::Arc;
use std::time::Duration;

use skein_shared::domain::outcome::AttemptOutcome;
use skein_shared::domain::state::NodeState;
use skein_shared::domain::step::StepStatus;
use skein_shared::domain::tenant::Identity;
use skein_shared::store::engine::Claimed;
use skein_shared::store::spending::{Decided, Decision};
use skein_shared::store::steps::{Begun, Charge, StepIntent, StepResult, StepWrite};
use skein_shared::store::{PageRequest, Store};
use tokio::sync::Barrier;

use super::budgets::for_decision;
use super::steps::{begin, result, tool};
use super::world::{SWEEP, World, ended};

/// What somebody decides about a step of what was claimed.
pub fn decision(claimed: &Claimed, step: u32, approved: bool) -> Decision {
    let (run, node, scope) = (claimed.key.run, claimed.key.node.to_string(), String::new());
    Decision { run, node, scope, step, approved, reason: Some("no \0 harm".to_owned()) }
}

/// A call of a tool that somebody has to decide about within the hour.
pub fn asking(seq: u32) -> StepIntent {
    StepIntent { decision_within: Some(Duration::from_secs(3600)), ..tool(seq) }
}

/// An approval starts the step, a refusal is a result, and both wake the node that waits.
pub async fn a_decision_wakes_its_node(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    for approved in [true, false] {
        let (lease, a) = world.at_work().await;
        world.written(lease, begin(&a, asking(1))).await;
        world.wait(lease, &a, for_decision(1)).await;
        let decided = world.store.decide(&world.tenant, &decision(&a, 1, approved)).await.unwrap();
        assert_eq!(decided, Decided::Recorded);
        world.store.sweep(SWEEP).await.unwrap();
        let again = world.won(lease, a.key.run, "a").await;
        let begun = world.written(lease, begin(&again, asking(1))).await;
        let step = world.journal(&a.key).await.remove(0);
        if approved {
            assert!(matches!(begun, Begun::Started { attempt: 1, .. }), "{begun:?}");
            assert_eq!((step.status, step.error), (StepStatus::Started, None));
            // A try that was refused by the other side needs no other decision.
            let refused =
                StepResult { status: StepStatus::Refused, charge: Charge::Nothing, ..result(1, 0) };
            let retried = StepWrite { finished: Some(refused), ..begin(&again, asking(1)) };
            assert_eq!(world.started(lease, retried).await.0, 2);
        } else {
            assert!(matches!(begun, Begun::Over(StepStatus::Denied)), "{begun:?}");
            let error = step.error.unwrap();
            assert_eq!((&*error.code, &*error.message), ("denied", "no \u{fffd} harm"));
        }
        world
            .flip(lease, ended(&again, AttemptOutcome::Deferred { delay: Duration::ZERO }, None))
            .await;
        let log = world.cancel_and_log(a.key.run).await;
        let row = log.iter().find(|row| row.event == "node.decided").unwrap();
        let data: serde_json::Value = serde_json::from_str(row.data.as_deref().unwrap()).unwrap();
        let expected = serde_json::json!({
            "step": 1, "tool": "search", "approved": approved, "by": "ann", "reason": "no \u{fffd} harm",
        });
        assert_eq!(data, expected);
    }
}

/// A decision is about that very step of that very node, in time, by its tenant.
pub async fn a_decision_about_something_else_is_refused(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let (lease, a) = world.at_work().await;
    let about = |step| decision(&a, step, true);
    let decide = |tenant: Identity, decision: Decision| {
        let store = Arc::clone(&world.store);
        async move { store.decide(&tenant, &decision).await.unwrap() }
    };
    let tenant = || world.tenant.clone();
    assert_eq!(decide(tenant(), about(1)).await, Decided::NotPending { pending: None });
    world.written(lease, begin(&a, asking(2))).await;
    let late = StepIntent { decision_within: Some(Duration::ZERO), ..tool(1) };
    world.written(lease, begin(&a, late)).await;
    assert_eq!(decide(tenant(), about(1)).await, Decided::NotPending { pending: Some(2) });
    let stranger = Identity::new("umbrella", "main", "eve");
    assert_eq!(decide(stranger, about(2)).await, Decided::NotFound);
    let nobody = Decision { node: "nobody".to_owned(), ..about(2) };
    assert_eq!(decide(tenant(), nobody).await, Decided::NotFound);
    let scoped = Decision { scope: "1".to_owned(), ..about(2) };
    assert_eq!(decide(tenant(), scoped).await, Decided::NotFound);
    assert_eq!(decide(tenant(), about(2)).await, Decided::Recorded);
    assert_eq!(decide(tenant(), about(2)).await, Decided::NotPending { pending: None });
    world.written(lease, begin(&a, asking(3))).await;
    world.store.request_cancel(&world.tenant, a.key.run).await.unwrap().unwrap();
    assert_eq!(decide(tenant(), about(3)).await, Decided::NotPending { pending: None });
}

/// Two at once: one wins, and what it has said holds.
pub async fn of_two_decisions_at_once_one_is_recorded(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    for _ in 0..10 {
        let (lease, a) = world.at_work().await;
        world.written(lease, begin(&a, asking(1))).await;
        let barrier = Arc::new(Barrier::new(2));
        let calls = [true, false].map(|approved| {
            let (world, barrier) = (world.clone(), Arc::clone(&barrier));
            let decision = decision(&a, 1, approved);
            tokio::spawn(async move {
                barrier.wait().await;
                let decided = world.store.decide(&world.tenant, &decision).await.unwrap();
                (decided == Decided::Recorded).then_some(approved)
            })
        });
        let mut won = Vec::new();
        for call in calls {
            won.extend(call.await.unwrap());
        }
        let [approved] = won[..] else { panic!("{won:?}") };
        let expected = if approved { StepStatus::Approved } else { StepStatus::Denied };
        assert_eq!(world.journal(&a.key).await[0].status, expected);
    }
}

/// Whichever comes first, the decision or the wait: the node is not left waiting for what was decided.
pub async fn a_decision_that_races_the_wait_is_not_missed(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    for _ in 0..10 {
        let (lease, a) = world.at_work().await;
        world.written(lease, begin(&a, asking(1))).await;
        let barrier = Arc::new(Barrier::new(2));
        let deciding = {
            let (world, barrier, decision) =
                (world.clone(), Arc::clone(&barrier), decision(&a, 1, true));
            tokio::spawn(async move {
                barrier.wait().await;
                world.store.decide(&world.tenant, &decision).await.unwrap()
            })
        };
        barrier.wait().await;
        world.wait(lease, &a, for_decision(1)).await;
        assert_eq!(deciding.await.unwrap(), Decided::Recorded);
        world.store.sweep(SWEEP).await.unwrap();
        assert_eq!(world.state(a.key.run, "a").await, Some(NodeState::Queued));
    }
}

/// Nobody decides about a step of a run that has ended, however it ended.
pub async fn a_step_that_waits_is_denied_with_the_end_of_its_run(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let (lease, a) = world.at_work().await;
    world.written(lease, begin(&a, asking(1))).await;
    world.wait(lease, &a, for_decision(1)).await;
    let step = async || {
        let page = PageRequest { limit: 10, cursor: None };
        let steps = world.store.list_steps(&world.tenant, a.key.run, &page).await.unwrap();
        steps.unwrap().items.remove(0).step
    };
    assert_eq!(step().await.status, StepStatus::Pending);
    world.cancel(a.key.run).await.expect("it has ended");
    let step = step().await;
    assert_eq!((step.status, step.expires_at), (StepStatus::Denied, None));
    assert_eq!(step.error.as_ref().map(|error| &*error.code), Some("cancelled"));
}

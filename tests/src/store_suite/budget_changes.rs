//! Budgets that are changed: what holds from then on, and who is woken.

use std::sync::Arc;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use skein_shared::domain::budget::{
    BudgetChange, BudgetPeriod, LimitChange, NewBudget, OnExhausted, Resource, RunBudget,
    SpendingLimits,
};
use skein_shared::domain::ids::RunId;
use skein_shared::domain::money::NanoDollars;
use skein_shared::domain::outcome::WaitFor;
use skein_shared::domain::state::NodeState;
use skein_shared::domain::tenant::Identity;
use skein_shared::store::runs::NewRun;
use skein_shared::store::spending::{BudgetChanged, Spending};
use skein_shared::store::{Store, StoreError};
use tokio::sync::Barrier;

use super::budgets::{FOR_BUDGET, at_most, exhausted, for_decision, to, tokens};
use super::steps::{begin, finish, model, result};
use super::world::{SWEEP, World};

/// Whether it waits already or is about to: in either order, the node is due.
pub async fn a_changed_budget_wakes_what_waits_for_it(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let lease = world.lease().await;
    let run = world.accept(&["a", "b", "c", "d"]).await;
    let mut claimed = Vec::new();
    for node in ["a", "b", "c", "d"] {
        claimed.push(world.won(lease, run, node).await);
    }
    world.wait(lease, &claimed[0], FOR_BUDGET).await;
    world.wait(lease, &claimed[1], for_decision(1)).await;
    world.wait(lease, &claimed[2], WaitFor::Time(Duration::from_secs(3600))).await;
    let deadline = Some(Utc::now() + TimeDelta::hours(2));
    let deadline = deadline
        .map(|at| at - TimeDelta::nanoseconds(i64::from(at.timestamp_subsec_nanos() % 1_000)));
    let budget = RunBudget {
        limits: at_most(Some(5), Some(6), Some(7)),
        deadline,
        on_exhausted: OnExhausted::Fail,
    };
    let change = BudgetChange {
        deadline: deadline.map_or(LimitChange::Keep, LimitChange::Set),
        on_exhausted: Some(OnExhausted::Fail),
        ..to(budget.limits)
    };
    assert_eq!(world.change_budget(run, change).await, budget);
    let read = world.store.run_spending(&world.tenant, run).await.unwrap().unwrap();
    assert_eq!(read, (Spending::default(), budget));
    world.store.sweep(SWEEP).await.unwrap();
    assert_eq!(world.state(run, "a").await, Some(NodeState::Queued));
    assert_eq!(world.state(run, "b").await, Some(NodeState::Waiting));
    assert_eq!(world.state(run, "c").await, Some(NodeState::Waiting));
    let log = world.log(run, 7).await;
    let data =
        log.iter().find(|row| row.event == "budget.changed").and_then(|row| row.data.clone());
    let data: serde_json::Value = serde_json::from_str(&data.unwrap()).unwrap();
    assert_eq!((&data["max_tokens"], &data["by"]), (&6.into(), &"ann".into()));
}

/// Each names another part of it: nobody puts back what others have changed meanwhile.
pub async fn changes_of_a_budget_at_once_all_hold(store: Arc<dyn Store>) {
    const ROUNDS: u64 = 10;
    let world = World::new(store).await;
    let run = world.accept(&["a"]).await;
    for round in 1..=ROUNDS {
        let deadline = Utc::now() + TimeDelta::hours(1) + TimeDelta::days(round.cast_signed());
        let deadline = deadline - TimeDelta::nanoseconds(deadline.timestamp_subsec_nanos().into());
        let nothing = BudgetChange::default();
        let way = OnExhausted::ALL[usize::from(round % 2 == 0)];
        let changes = [
            BudgetChange { max_usd: LimitChange::Set(NanoDollars(round.cast_signed())), ..nothing },
            BudgetChange { max_tokens: LimitChange::Set(round + 100), ..nothing },
            BudgetChange { max_steps: LimitChange::Set(round + 200), ..nothing },
            BudgetChange { deadline: LimitChange::Set(deadline), ..nothing },
            BudgetChange { on_exhausted: Some(way), ..nothing },
        ];
        let barrier = Arc::new(Barrier::new(changes.len()));
        let calls = changes.map(|change| {
            let (world, barrier) = (world.clone(), Arc::clone(&barrier));
            tokio::spawn(async move {
                barrier.wait().await;
                world.change_budget(run, change).await
            })
        });
        for call in calls {
            call.await.unwrap();
        }
        let expected = RunBudget {
            limits: at_most(Some(round.cast_signed()), Some(round + 100), Some(round + 200)),
            deadline: Some(deadline),
            on_exhausted: way,
        };
        let read = world.store.run_spending(&world.tenant, run).await.unwrap().unwrap();
        assert_eq!(read.1, expected, "round {round}");
    }
}

/// Whoever has set it: what waits for it goes on, and what is not named stays.
pub async fn a_limit_that_is_lifted_stops_nothing(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let lease = world.lease().await;
    let deadline_at = Some(Utc::now() - TimeDelta::hours(1));
    let limits = at_most(Some(1_000_000), Some(100), Some(7));
    let budget = NewBudget { limits, deadline_at, ..NewBudget::default() };
    let run = NewRun { budget, ..world.run_of(&["a"]) };
    world.store.accept_runs(std::slice::from_ref(&run)).await.unwrap();
    let a = world.won(lease, run.id, "a").await;
    let found = exhausted(world.written(lease, begin(&a, model(1, 200))).await);
    assert_eq!((found.resource, found.limit), (Resource::Tokens, 100));
    world.wait(lease, &a, FOR_BUDGET).await;

    let lifted = BudgetChange {
        max_tokens: LimitChange::Lift,
        deadline: LimitChange::Lift,
        ..BudgetChange::default()
    };
    let expected =
        RunBudget { limits: SpendingLimits { max_tokens: None, ..limits }, ..RunBudget::default() };
    assert_eq!(world.change_budget(run.id, lifted).await, expected);
    let log = world.log(run.id, 4).await;
    let data = log.iter().find(|row| row.event == "budget.changed").unwrap().data.clone();
    let data: serde_json::Value = serde_json::from_str(&data.unwrap()).unwrap();
    assert_eq!(data, serde_json::json!({"max_tokens": null, "deadline": null, "by": "ann"}));
    assert_eq!(world.store.expire_runs(10).await.unwrap(), 0, "there is no deadline any more");
    world.store.sweep(SWEEP).await.unwrap();
    let a = world.won(lease, run.id, "a").await;
    world.started(lease, begin(&a, model(1, 200))).await;
    world.written(lease, finish(&a, result(1, 200))).await;
    // What is spent meanwhile counts when there is a limit again.
    let changed = world.store.change_run_budget(&world.tenant, run.id, &to(tokens(100))).await;
    let BudgetChanged::InForce(spent, _) = changed.unwrap() else { panic!() };
    assert_eq!((spent, spent.usage.total()), (world.spent(run.id).await, 200));
    let found = exhausted(world.written(lease, begin(&a, model(2, 1))).await);
    assert_eq!((found.limit, found.spent), (100, 200));
    let shown = world.detail(run.id).await;
    assert_eq!((shown.spent, shown.budget.limits), (spent, tokens(100)), "the run shows it");
}

/// An ended run has none to change, and neither has somebody else's.
pub async fn a_budget_of_an_ended_run_stays(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a"]).await;
    let stranger = Identity::new("acme", "other", "bob");
    let to_ten = to(tokens(10));
    let change = |tenant: Identity, run| {
        let store = Arc::clone(&world.store);
        async move { store.change_run_budget(&tenant, run, &to_ten).await.unwrap() }
    };
    assert_eq!(change(stranger.clone(), run).await, BudgetChanged::NotFound);
    assert_eq!(change(world.tenant.clone(), RunId::generate()).await, BudgetChanged::NotFound);
    world.cancel(run).await.unwrap();
    assert_eq!(change(world.tenant.clone(), run).await, BudgetChanged::Ended);
    let read = world.store.run_spending(&world.tenant, run).await.unwrap().unwrap();
    assert_eq!(read.1, RunBudget::default());
    assert_eq!(world.store.run_spending(&stranger, run).await.unwrap(), None);
}

/// Of all its workspaces, and of no other organization.
pub async fn a_budget_of_an_organization_wakes_its_nodes(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let other = World::of(Arc::clone(&world.store), Identity::new("umbrella", "main", "eve")).await;
    let same = World::of(Arc::clone(&world.store), Identity::new("acme", "side", "joe")).await;
    let mut runs = Vec::new();
    for world in [&world, &same, &other] {
        let (lease, a) = world.at_work().await;
        world.wait(lease, &a, FOR_BUDGET).await;
        runs.push(a.key.run);
    }
    world.limit_organization(BudgetPeriod::Day, at_most(None, None, Some(5))).await;
    world.store.sweep(SWEEP).await.unwrap();
    let mut states = Vec::new();
    for run in &runs {
        states.push(world.state(*run, "a").await.unwrap());
    }
    assert_eq!(states, [NodeState::Queued, NodeState::Queued, NodeState::Waiting]);
    let budgets = world.store.organization_budgets(&same.tenant).await.unwrap();
    assert_eq!((budgets.len(), budgets[0].limits), (1, at_most(None, None, Some(5))));
    assert!(world.store.organization_budgets(&other.tenant).await.unwrap().is_empty());
    world.limit_organization(BudgetPeriod::Day, SpendingLimits::default()).await;
    assert!(world.store.organization_budgets(&same.tenant).await.unwrap().is_empty());
    let wanted = [(BudgetPeriod::Day, tokens(1)), (BudgetPeriod::Run, tokens(1))];
    let refused = world.store.set_organization_budgets(&world.tenant, &wanted);
    assert!(matches!(refused.await, Err(StoreError::Data(_))));
    assert!(world.store.organization_budgets(&same.tenant).await.unwrap().is_empty());
    // One is set and another taken away, in one step.
    for (set, taken) in
        [(BudgetPeriod::Day, BudgetPeriod::Month), (BudgetPeriod::Month, BudgetPeriod::Day)]
    {
        let wanted = [(taken, SpendingLimits::default()), (set, tokens(7))];
        world.store.set_organization_budgets(&world.tenant, &wanted).await.unwrap();
        let budgets = world.store.organization_budgets(&same.tenant).await.unwrap();
        assert_eq!((budgets.len(), budgets[0].period, budgets[0].limits), (1, set, tokens(7)));
    }
}

/// What was spent before a budget was set counts.
pub async fn a_budget_that_is_set_later_counts_what_was_spent(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let (lease, a) = world.at_work().await;
    world.started(lease, begin(&a, model(1, 100))).await;
    world.written(lease, finish(&a, result(1, 100))).await;
    for period in [BudgetPeriod::Day, BudgetPeriod::Month] {
        world.limit_organization(period, tokens(100)).await;
        let found = exhausted(world.written(lease, begin(&a, model(2, 0))).await);
        assert_eq!((found.period, found.spent), (period, 100));
        world.limit_organization(period, SpendingLimits::default()).await;
    }
}

//! Money and budgets: what is granted, and what is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::Utc;
use skein_shared::domain::budget::{
    Amounts, BudgetChange, BudgetPeriod, Exhausted, LimitChange, NewBudget, OnExhausted, Resource,
    RunBudget, SpendingLimits, Standing, Verdict, Wish, judge,
};
use skein_shared::domain::ids::{LeaseId, RunId};
use skein_shared::domain::money::{NanoDollars, Price};
use skein_shared::domain::outcome::{AttemptOutcome, WaitFor};
use skein_shared::domain::step::StepStatus;
use skein_shared::domain::usage::Usage;
use skein_shared::store::engine::Claimed;
use skein_shared::store::runs::NewRun;
use skein_shared::store::spending::{BudgetChanged, CostFilter, CostGrouping, Spending};
use skein_shared::store::steps::{
    Begun, Charge, Reservation, StepAnswer, StepIntent, StepResult, StepWrite,
};
use skein_shared::store::{PageRequest, Store};
use tokio::sync::Barrier;

use super::steps::{PRICE, begin, finish, model, result, tool};
use super::world::{World, ended, words};

/// At most so many dollars' billionths, tokens and steps.
pub(super) fn at_most(
    usd: Option<i64>,
    max_tokens: Option<u64>,
    max_steps: Option<u64>,
) -> SpendingLimits {
    SpendingLimits { max_usd: usd.map(NanoDollars), max_tokens, max_steps }
}

pub(super) fn tokens(max: u64) -> SpendingLimits {
    at_most(None, Some(max), None)
}

/// A change to these limits: those that are absent are lifted.
pub(super) fn to(limits: SpendingLimits) -> BudgetChange {
    fn one<T>(limit: Option<T>) -> LimitChange<T> {
        limit.map_or(LimitChange::Lift, LimitChange::Set)
    }
    let SpendingLimits { max_usd, max_tokens, max_steps } = limits;
    BudgetChange {
        max_usd: one(max_usd),
        max_tokens: one(max_tokens),
        max_steps: one(max_steps),
        ..BudgetChange::default()
    }
}

impl World {
    pub(super) async fn limit_run(&self, run: RunId, limits: SpendingLimits) {
        let budget = self.change_budget(run, to(limits)).await;
        assert_eq!(budget.limits, limits);
    }

    pub(super) async fn change_budget(&self, run: RunId, change: BudgetChange) -> RunBudget {
        match self.store.change_run_budget(&self.tenant, run, &change).await.unwrap() {
            BudgetChanged::InForce(_, budget) => budget,
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn limit_organization(&self, period: BudgetPeriod, limits: SpendingLimits) {
        self.store.set_organization_budgets(&self.tenant, &[(period, limits)]).await.unwrap();
    }

    /// What a run has spent.
    pub async fn spent(&self, run: RunId) -> Spending {
        self.store.run_spending(&self.tenant, run).await.unwrap().unwrap().0
    }

    /// Lets a node wait for something.
    pub async fn wait(&self, lease: LeaseId, claimed: &Claimed, waiting_for: WaitFor) {
        let outcome = AttemptOutcome::Waiting { input: None, waiting_for };
        self.flip(lease, ended(claimed, outcome, None)).await;
    }
}

/// Waits for a budget, as long as nobody raises it.
pub const FOR_BUDGET: WaitFor =
    WaitFor::Budget { exhausted: None, looks: 0, retry_in: None, turn: None };

/// Waits for somebody's decision about a call of a tool, for an hour.
pub fn for_decision(step: u32) -> WaitFor {
    let (tool, arguments) = ("search".into(), r#"{"a":"\u0000"}"#.into());
    WaitFor::Decision { step, tool, arguments, expires_in: Duration::from_secs(3600) }
}

pub(super) fn exhausted(begun: Begun) -> Exhausted {
    match begun {
        Begun::Exhausted(exhausted, _) => exhausted,
        other => panic!("{other:?}"),
    }
}

/// Every case of the rule, by the same words as the rule itself.
pub async fn the_store_judges_as_the_rule_says(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    // A budget of 1,000 tokens, of which so many are spent and so many reserved, and a wish for so many.
    for (spent, reserved, wished) in [
        (0, 0, 1_000),
        (0, 0, 1_001),
        (500, 0, 500),
        (500, 300, 200),
        (500, 300, 201),
        (500, 500, 500),
        (990, 10, 10),
        (990, 10, 11),
        (1_000, 0, 10),
        (1_100, 0, 10),
        (0, 1_000, 10),
        (0, 990, 10),
    ] {
        let run = world.accept(&["a", "b"]).await;
        let lease = world.lease().await;
        let (a, b) = (world.won(lease, run, "a").await, world.won(lease, run, "b").await);
        if spent > 0 {
            world.started(lease, begin(&a, model(1, spent))).await;
            world.written(lease, finish(&a, result(1, spent))).await;
        }
        if reserved > 0 {
            world.started(lease, begin(&a, model(2, reserved - 10))).await;
        }
        world.limit_run(run, tokens(1_000)).await;
        let amounts = |tokens| Amounts { tokens, ..Amounts::default() };
        let standing = Standing {
            period: BudgetPeriod::Run,
            limits: tokens(1_000),
            spent: amounts(spent),
            reserved: amounts(reserved),
            renews_at: None,
        };
        let verdict = judge(&Wish { nanos: Some(0), tokens: wished, steps: 1 }, &[standing]);
        let intent = model(1, wished - 10);
        let room = world.store.room_for(&b.key, &intent).await.unwrap();
        let begun = world.written(lease, begin(&b, intent)).await;
        // What is asked before says the same, and takes nothing of it.
        let says_the_same = match (&room, &begun) {
            (Begun::Nothing, Begun::Started { .. }) | (Begun::Contended, Begun::Contended) => true,
            (Begun::Exhausted(one, way), Begun::Exhausted(other, other_way)) => {
                (one, way) == (other, other_way)
            }
            _ => false,
        };
        assert!(says_the_same, "{spent} {reserved} {wished}: {room:?} {begun:?}");
        let is_the_same = match (&begun, verdict) {
            (Begun::Started { attempt: 1, .. }, Verdict::Granted)
            | (Begun::Contended, Verdict::Contended) => true,
            (Begun::Exhausted(one, _), Verdict::Exhausted(other)) => *one == other,
            _ => false,
        };
        assert!(is_the_same, "{spent} {reserved} {wished}: {begun:?} {verdict:?}");
    }
}

/// Money, tokens and steps, each by itself; what is over is recorded all the same.
pub async fn every_resource_is_limited(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    for (limits, resource, limit, spent, needed) in [
        (at_most(Some(100_000), None, None), Resource::Usd, 100_000, 80_000, 30_000),
        (tokens(100), Resource::Tokens, 100, 80, 30),
        (at_most(None, None, Some(1)), Resource::Steps, 1, 1, 1),
    ] {
        let (lease, a) = world.at_work().await;
        world.limit_run(a.key.run, limits).await;
        world.started(lease, begin(&a, model(1, 90))).await;
        let next = StepWrite { finished: Some(result(1, 80)), ..begin(&a, model(2, 20)) };
        let found = exhausted(world.written(lease, next).await);
        let expected = Exhausted {
            period: BudgetPeriod::Run,
            resource,
            limit,
            spent,
            needed,
            renews_at: None,
        };
        assert_eq!(found, expected);
        let journal = world.journal(&a.key).await;
        assert_eq!((journal.len(), journal[0].status), (1, StepStatus::Succeeded));
        // It tries again when there is more.
        world.limit_run(a.key.run, SpendingLimits::default()).await;
        world.started(lease, begin(&a, model(2, 20))).await;
    }
    // Tools take no money.
    let (lease, a) = world.at_work().await;
    world.limit_run(a.key.run, at_most(Some(0), Some(0), None)).await;
    world.started(lease, begin(&a, tool(1))).await;
    assert_eq!(exhausted(world.written(lease, begin(&a, model(2, 1))).await).spent, 0);
}

/// Nobody knows what it costs: it may not be made under a limit of money, and every sum says that it is there.
pub async fn a_model_without_a_price_is_not_called_under_a_limit_of_money(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let (lease, a) = world.at_work().await;
    let unpriced = |seq| {
        let intent = model(seq, 10);
        let reservation = intent.reservation.map(|it| Reservation { price: None, ..it });
        StepIntent { reservation, ..intent }
    };
    world.limit_run(a.key.run, at_most(Some(1_000_000), None, None)).await;
    let begun = world.written(lease, begin(&a, unpriced(1))).await;
    assert!(matches!(begun, Begun::PriceUnknown), "{begun:?}");
    world.limit_run(a.key.run, tokens(1_000)).await;
    world.started(lease, begin(&a, unpriced(1))).await;
    world.written(lease, finish(&a, result(1, 7))).await;
    world.started(lease, begin(&a, unpriced(2))).await;
    let reserved = StepResult { charge: Charge::Reserved, ..result(2, 0) };
    world.written(lease, finish(&a, reserved)).await;
    let spent = world.spent(a.key.run).await;
    assert_eq!((spent.calls, spent.unpriced_calls, spent.cost), (2, 2, NanoDollars::ZERO));
    assert_eq!(spent.usage.total(), 7 + 20);
    assert_eq!(world.journal(&a.key).await[0].cost, None);
}

/// In full when nobody knows what a call took, nothing when it was refused, and rounded once.
pub async fn a_call_is_charged_what_it_came_to(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let (lease, a) = world.at_work().await;
    let usage =
        Usage { input_tokens: 10, cached_tokens: 3, cache_write_tokens: 2, output_tokens: 1 };
    let charges = [
        (Charge::Nothing, 0, Usage::default()),
        (
            Charge::Reserved,
            110_000,
            Usage { input_tokens: 100, output_tokens: 10, ..Usage::default() },
        ),
        // 5 + 3/2 + 2 + 1 thousand.
        (Charge::Counted(usage), 9_500, usage),
        // More than was reserved.
        (
            Charge::Counted(Usage { output_tokens: 500, ..Usage::default() }),
            500_000,
            Usage { output_tokens: 500, ..Usage::default() },
        ),
    ];
    let mut expected = Spending::default();
    for (seq, (charge, nanos, usage)) in (1..).zip(charges) {
        world.started(lease, begin(&a, model(seq, 100))).await;
        let result = StepResult { charge, ..result(seq, 0) };
        for _ in 0..2 {
            world.written(lease, finish(&a, result.clone())).await;
        }
        expected.calls += 1;
        expected.steps += 1;
        expected.cost = expected.cost.plus(NanoDollars(nanos));
        expected.usage = expected.usage.plus(&usage);
        assert_eq!(world.spent(a.key.run).await, expected, "{charge:?}");
        let step = world.journal(&a.key).await.pop().unwrap();
        assert_eq!(step.cost, Some(NanoDollars(nanos)));
    }
    // What nobody reserves any more is free again.
    let limits = tokens(expected.usage.total() + 110);
    world.limit_run(a.key.run, limits).await;
    world.started(lease, begin(&a, model(5, 100))).await;
    let (filter, page) = (CostFilter::default(), PageRequest { limit: 10, cursor: None });
    let costs = world.store.list_costs(&world.tenant, CostGrouping::Model, &filter, &page);
    let costs = costs.await.unwrap().items;
    assert_eq!(costs.len(), 1);
    assert_eq!((&*costs[0].key, costs[0].spending), ("large", expected));
}

/// An absurd count breaks neither the row of the call nor the sums of others.
pub async fn counts_that_cannot_be_break_no_sum(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let (lease, a) = world.at_work().await;
    for seq in 1..=3 {
        world.started(lease, begin(&a, model(seq, u64::MAX))).await;
        let max = u64::MAX;
        let usage = Usage {
            input_tokens: max,
            cached_tokens: max,
            cache_write_tokens: max,
            output_tokens: max,
        };
        let result = StepResult { charge: Charge::Counted(usage), ..result(seq, 0) };
        world.written(lease, finish(&a, result)).await;
    }
    let spent = world.spent(a.key.run).await;
    assert!(spent.cost.0 > 0 && spent.calls == 3, "{spent:?}");
    let (filter, page) = (CostFilter::default(), PageRequest { limit: 10, cursor: None });
    let costs = world.store.list_costs(&world.tenant, CostGrouping::Run, &filter, &page);
    assert_eq!(costs.await.unwrap().items[0].spending, spent);
}

/// Where a price depends on what the provider counts, which nobody knows before.
pub async fn a_call_is_settled_at_the_price_of_what_was_counted(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let (lease, a) = world.at_work().await;
    let half = Price { input: PRICE.input / 2, ..PRICE };
    let counted = StepResult { price: Some(half), ..result(1, 80) };
    let unknown = StepResult { charge: Charge::Reserved, ..result(2, 0) };
    for finished in [counted, unknown] {
        world.started(lease, begin(&a, model(finished.seq, 100))).await;
        world.written(lease, finish(&a, finished)).await;
    }
    let costs: Vec<_> = world.journal(&a.key).await.iter().map(|step| step.cost).collect();
    assert_eq!(costs, [Some(NanoDollars(40_000)), Some(NanoDollars(110_000))]);
    assert_eq!(world.spent(a.key.run).await.cost, NanoDollars(150_000));
    // Nothing stays reserved.
    world.limit_run(a.key.run, at_most(Some(260_000), None, None)).await;
    world.started(lease, begin(&a, model(3, 100))).await;
}

/// Its tries are calls, and one step.
pub async fn a_step_counts_once_however_often_it_is_tried(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let (lease, a) = world.at_work().await;
    world.limit_run(a.key.run, at_most(None, None, Some(1))).await;
    world.started(lease, begin(&a, model(1, 10))).await;
    for attempt in 1..=3 {
        let refused = StepResult {
            attempt,
            status: StepStatus::Refused,
            charge: Charge::Nothing,
            ..result(1, 0)
        };
        let again = StepWrite { finished: Some(refused), ..begin(&a, model(1, 10)) };
        assert_eq!(world.started(lease, again).await.0, attempt + 1);
    }
    let spent = world.spent(a.key.run).await;
    assert_eq!((spent.steps, spent.calls), (1, 3));
}

/// A batch is judged as one: never more is granted than fits, and who is left out by others only is contended.
pub async fn a_batch_is_never_granted_more_than_fits(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    world.limit_organization(BudgetPeriod::Day, tokens(250)).await;
    let lease = world.lease().await;
    let mut batch = Vec::new();
    for run in world.accept_many(4, &["a"]).await {
        let a = world.won(lease, run, "a").await;
        // The second is too large for anybody, and stands in nobody's way.
        let input = if batch.len() == 1 { 300 } else { 90 };
        batch.push(begin(&a, model(1, input)));
    }
    let answers = world.store.write_steps(lease, &batch).await.unwrap();
    let [
        StepAnswer::Written(Begun::Started { .. }),
        StepAnswer::Written(Begun::Exhausted(exhausted, _)),
        StepAnswer::Written(Begun::Started { .. }),
        StepAnswer::Written(Begun::Contended),
    ] = &answers[..]
    else {
        panic!("{answers:?}")
    };
    assert_eq!((exhausted.period, exhausted.spent, exhausted.needed), (BudgetPeriod::Day, 0, 310));
    assert!(exhausted.renews_at.is_some_and(|at| at > Utc::now()));
}

/// Many workers at once, under a budget for fewer calls than they make: each call is granted or not, and what was granted
/// never comes to more than there is, at no time.
pub async fn a_budget_holds_in_a_storm(store: Arc<dyn Store>) {
    const LIMIT: u64 = 2_000;
    const WORKERS: usize = 12;
    let world = World::new(store).await;
    world.limit_organization(BudgetPeriod::Month, tokens(LIMIT)).await;
    let runs = world.accept_many(WORKERS, &["a"]).await;
    let open = Arc::new(AtomicU64::new(0));
    let (spent, barrier) = (Arc::new(AtomicU64::new(0)), Arc::new(Barrier::new(WORKERS)));
    let workers = runs.into_iter().map(|run| {
        let (world, open, spent, barrier) =
            (world.clone(), Arc::clone(&open), Arc::clone(&spent), Arc::clone(&barrier));
        tokio::spawn(async move {
            let lease = world.lease().await;
            let a = world.won(lease, run, "a").await;
            barrier.wait().await;
            let mut seq = 1;
            loop {
                match world.written(lease, begin(&a, model(seq, 90))).await {
                    Begun::Started { .. } => {
                        let taken = open.fetch_add(100, Ordering::SeqCst) + 100;
                        let done = spent.load(Ordering::SeqCst);
                        assert!(taken <= LIMIT, "{taken} tokens under way, {done} spent");
                        // Some do not come back.
                        if run.0.as_bytes()[15] % 4 == 0 && seq > 2 {
                            return;
                        }
                        open.fetch_sub(100, Ordering::SeqCst);
                        spent.fetch_add(70, Ordering::SeqCst);
                        world.written(lease, finish(&a, result(seq, 70))).await;
                        seq += 1;
                    }
                    Begun::Contended => tokio::task::yield_now().await,
                    Begun::Exhausted(..) => return,
                    other => panic!("{other:?}"),
                }
                if spent.load(Ordering::SeqCst) + open.load(Ordering::SeqCst) > LIMIT - 100 {
                    return;
                }
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await.unwrap();
    }
    let total = spent.load(Ordering::SeqCst) + open.load(Ordering::SeqCst);
    assert!(total <= LIMIT, "{total}");
    let budgets = world.store.organization_budgets(&world.tenant).await.unwrap();
    let [budget] = &budgets[..] else { panic!("{budgets:?}") };
    assert_eq!(budget.spent.usage.total(), spent.load(Ordering::SeqCst));
    // A token costs a thousand.
    let open = i64::try_from(open.load(Ordering::SeqCst)).unwrap();
    assert_eq!(budget.reserved, NanoDollars(open * 1_000));
}

/// Two at once, of which one fits: one is granted, and the other learns that it may come again.
pub async fn of_two_at_once_one_is_granted(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    for _ in 0..10 {
        let run = world.accept(&["a", "b"]).await;
        world.limit_run(run, tokens(100)).await;
        let barrier = Arc::new(Barrier::new(2));
        let mut calls = Vec::new();
        for node in ["a", "b"] {
            let (world, barrier) = (world.clone(), Arc::clone(&barrier));
            let lease = world.lease().await;
            let claimed = world.won(lease, run, node).await;
            calls.push(tokio::spawn(async move {
                barrier.wait().await;
                world.written(lease, begin(&claimed, model(1, 50))).await
            }));
        }
        let mut granted = 0;
        for call in calls {
            match call.await.unwrap() {
                Begun::Started { .. } => granted += 1,
                Begun::Contended => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(granted, 1);
    }
}

/// What was reserved for a step that is lost counts as spent: in its run and its organization.
pub async fn what_is_lost_is_paid_in_full(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    world.limit_organization(BudgetPeriod::Day, tokens(1_000)).await;
    let (lease, a) = world.at_work().await;
    world.started(lease, begin(&a, model(1, 100))).await;
    world.store.close_lease(lease, std::slice::from_ref(&a.key)).await.unwrap();
    assert_eq!(world.lose().await.len(), 1);
    let spent = world.spent(a.key.run).await;
    assert_eq!((spent.cost, spent.usage.total(), spent.calls), (NanoDollars(110_000), 110, 1));
    let budget = world.store.organization_budgets(&world.tenant).await.unwrap().remove(0);
    assert_eq!((budget.spent, budget.reserved), (spent, NanoDollars::ZERO));
    let (filter, page) = (CostFilter::default(), PageRequest { limit: 10, cursor: None });
    let costs = world.store.list_costs(&world.tenant, CostGrouping::Day, &filter, &page);
    assert_eq!(costs.await.unwrap().items[0].spending.cost, spent.cost);
}

/// Once, in the log of the run that has spent so much, and again after the budget was set.
pub async fn a_budget_is_warned_of_once(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let (lease, a) = world.at_work().await;
    let run = a.key.run;
    world.limit_run(run, at_most(Some(100_000), None, None)).await;
    world.limit_organization(BudgetPeriod::Month, tokens(160)).await;
    // 79 thousandths, 80, 90 of a hundred; a month's 160 tokens are spent to four fifths with 128.
    for (seq, taken, warnings) in [(1, 79, 0), (2, 1, 1), (3, 5, 1), (4, 5, 1)] {
        world.started(lease, begin(&a, model(seq, 0))).await;
        world.written(lease, finish(&a, result(seq, taken))).await;
        let log = world.log_now(run).await;
        let found = words(&log).iter().filter(|word| **word == "budget.warning").count();
        assert!(found <= warnings, "{found} after {seq}");
    }
    world.limit_run(run, at_most(Some(110_000), None, None)).await;
    world.started(lease, begin(&a, model(5, 0))).await;
    world.written(lease, finish(&a, result(5, 0))).await;
    let (other_lease, b) = world.at_work().await;
    world.started(other_lease, begin(&b, model(1, 0))).await;
    world.written(other_lease, finish(&b, result(1, 60))).await;
    let warned = |log: Vec<skein_shared::store::runs::LogRow>| {
        let rows = log.into_iter().filter(|row| row.event == "budget.warning");
        rows.map(|row| serde_json::from_str(&row.data.unwrap()).unwrap())
            .collect::<Vec<serde_json::Value>>()
    };
    for (lease, claimed) in [(lease, &a), (other_lease, &b)] {
        world
            .flip(lease, ended(claimed, AttemptOutcome::Deferred { delay: Duration::ZERO }, None))
            .await;
    }
    let of_run = warned(world.cancel_and_log(run).await);
    let expected = serde_json::json!([
        {"period": "run", "resource": "usd", "limit": 0.0001, "spent": 0.00008},
        {"period": "run", "resource": "usd", "limit": 0.00011, "spent": 0.00009},
    ]);
    assert_eq!(serde_json::Value::from(of_run), expected);
    let of_other = warned(world.cancel_and_log(b.key.run).await);
    let expected = serde_json::json!([
        {"period": "month", "resource": "tokens", "limit": 160, "spent": 150},
    ]);
    assert_eq!(serde_json::Value::from(of_other), expected);
}

/// Of what a call took, which may be more than there was.
pub async fn a_warning_says_how_much_of_a_budget_is_spent(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    for (limit, taken, share) in
        [(100, 80, "80 percent"), (100, 99, "99 percent"), (100, 400, "400 percent"), (0, 1, "all")]
    {
        let (lease, a) = world.at_work().await;
        world.started(lease, begin(&a, model(1, 0))).await;
        world.limit_run(a.key.run, tokens(limit)).await;
        world.written(lease, finish(&a, result(1, taken))).await;
        let later = AttemptOutcome::Deferred { delay: Duration::ZERO };
        world.flip(lease, ended(&a, later, None)).await;
        let log = world.cancel_and_log(a.key.run).await;
        let warning = log.iter().find(|row| row.event == "budget.warning").unwrap();
        assert_eq!(warning.message, format!("the run has spent {share} of its tokens"));
    }
}

/// What a run's budget says of a node without room is answered with the refusal, whoever's budget it is.
pub async fn a_refusal_says_what_becomes_of_the_node(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    world.limit_organization(BudgetPeriod::Day, tokens(5)).await;
    let lease = world.lease().await;
    for way in OnExhausted::ALL.iter().copied() {
        let budget = NewBudget { on_exhausted: way, ..NewBudget::default() };
        let run = NewRun { budget, ..world.run_of(&["a"]) };
        world.store.accept_runs(std::slice::from_ref(&run)).await.unwrap();
        let a = world.won(lease, run.id, "a").await;
        let answers = world.store.write_steps(lease, &[begin(&a, model(1, 10))]).await.unwrap();
        let [StepAnswer::Written(Begun::Exhausted(exhausted, found))] = &answers[..] else {
            panic!("{answers:?}")
        };
        assert_eq!((exhausted.period, *found), (BudgetPeriod::Day, way));
    }
}

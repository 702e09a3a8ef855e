//! Steps past the store's contract, in PostgreSQL's own terms.

use std::sync::Arc;
use std::time::Duration;

use skein_shared::domain::budget::{
    BudgetChange, BudgetPeriod, LimitChange, NewBudget, RunBudget, SpendingLimits,
};
use skein_shared::domain::money::Price;
use skein_shared::domain::state::NodeState;
use skein_shared::domain::step::StepStatus;
use skein_shared::domain::tenant::Identity;
use skein_shared::store::StoreError;
use skein_shared::store::recovery::ReapScope;
use skein_shared::store::runs::NewRun;
use skein_shared::store::spending::{BudgetChanged, Decided, Spending};
use skein_shared::store::steps::{Begun, LOST_STEPS_MAX, LostSteps, StepAnswer, StepResult};
use skein_tests::postgres::{TestDatabase, with_database};
use skein_tests::store_suite::budgets::{FOR_BUDGET, for_decision};
use skein_tests::store_suite::decisions::{asking, decision};
use skein_tests::store_suite::steps::{PRICE, begin, finish, model, result, tool, write};
use skein_tests::store_suite::world::{SWEEP, World};
use sqlx::PgPool;

use crate::postgres_only::{execute, world_of};

/// Answers of a write and of its repetition, which was begun while the first try waited for the total of its run, and waited
/// for that. `None` if the machine is so busy that one has waited longer than a lock may be waited for.
async fn repeated(
    database: &TestDatabase,
    (world, pool): &(World, PgPool),
    limits: SpendingLimits,
) -> Option<(Spending, Vec<StepAnswer>)> {
    let budget = NewBudget { limits, ..NewBudget::default() };
    let run = NewRun { budget, ..world.run_of(&["a"]) };
    world.store.accept_runs(std::slice::from_ref(&run)).await.expect("it is accepted");
    let lease = world.lease().await;
    let a = world.won(lease, run.id, "a").await;
    world.started(lease, begin(&a, tool(1))).await;
    let mut holder = pool.begin().await.expect("the database answers");
    let hold = "SELECT 1 FROM budget_totals WHERE bucket = 'run:' || $1 FOR UPDATE";
    sqlx::query(hold)
        .bind(run.id.to_string())
        .execute(&mut *holder)
        .await
        .expect("the database answers");
    let call = [begin(&a, model(2, 100))];
    let mut tries = Vec::new();
    for count in 1..=2 {
        let (store, call) = (Arc::clone(&world.store), call.clone());
        tries.push(tokio::spawn(async move { store.write_steps(lease, &call).await }));
        while waiting(database, pool).await < count && !tries.iter().any(|it| it.is_finished()) {}
    }
    holder.rollback().await.expect("the database answers");
    let mut answers = Vec::new();
    for answer in tries {
        match answer.await.expect("no try panics") {
            Ok(answer) => answers.extend(answer),
            Err(error) => {
                assert!(matches!(error, StoreError::Locked(_)), "{error:?}");
                return None;
            }
        }
    }
    let spent = world
        .store
        .run_spending(&world.tenant, run.id)
        .await
        .expect("it answers")
        .expect("there is the run")
        .0;
    Some((spent, answers))
}

/// A connection breaks while the server is still at work on a write, and the write is repeated at once: the repetition has
/// begun before the first try is over, and finds what that has reserved.
#[tokio::test]
async fn a_repeated_write_is_not_refused_because_of_what_its_first_try_has_reserved() {
    with_database(async |database: Arc<TestDatabase>| {
        let world = world_of(&database).await;
        let (max_tokens, max_steps) = (Some(110), Some(2));
        let tokens = SpendingLimits { max_tokens, ..SpendingLimits::default() };
        let steps = SpendingLimits { max_steps, ..SpendingLimits::default() };
        for limits in [tokens, steps] {
            let mut found = None;
            for _ in 0..20 {
                found = repeated(&database, &world, limits).await;
                if found.is_some() {
                    break;
                }
            }
            let (spent, answers) = found.expect("no write came through");
            for answer in answers {
                let StepAnswer::Written(Begun::Started { attempt: 1, .. }) = answer else {
                    panic!("{answer:?}")
                };
            }
            assert_eq!(spent.steps, 2);
        }
    })
    .await;
}

/// A node whose steps go on stays with its worker, past the deadline that its claim has set, and is not suspected any more.
#[tokio::test]
async fn a_write_moves_the_deadline_and_clears_suspicion() {
    with_database(async |database: Arc<TestDatabase>| {
        let (world, pool) = world_of(&database).await;
        let (lease, a) = world.at_work().await;
        let late = "UPDATE node_runs SET wake_at = now() - interval '1 s', suspect = true, crashes = 3 WHERE run_id = $1";
        execute(&pool, late, a.key.run).await;
        world.written(lease, write(&a)).await;
        assert!(world.store.reap(500, ReapScope::ALL).await.unwrap().is_empty());
        let cleared = "UPDATE node_runs SET state = state
                       WHERE run_id = $1 AND NOT suspect AND crashes = 0 AND wake_at > now() + interval '60 s'";
        assert_eq!(execute(&pool, cleared, a.key.run).await, 1);
    })
    .await;
}

/// What a row says of its price is what its cost was made of.
#[tokio::test]
async fn a_step_keeps_the_price_that_it_was_settled_at() {
    with_database(async |database: Arc<TestDatabase>| {
        let (world, pool) = world_of(&database).await;
        let (lease, a) = world.at_work().await;
        let counted = Some(Price { input: 1, output: 2, cache_read: 3, cache_write: 4 });
        for (seq, price) in [(1, None), (2, counted)] {
            world.started(lease, begin(&a, model(seq, 100))).await;
            world.written(lease, finish(&a, StepResult { price, ..result(seq, 10) })).await;
            let Price { input, output, cache_read, cache_write } = price.unwrap_or(PRICE);
            let kept = "SELECT price_input, price_output, price_cache_read, price_cache_write
                        FROM agent_trace_history WHERE run_id = $1 AND step = $2";
            let kept: (i64, i64, i64, i64) = sqlx::query_as(kept)
                .bind(a.key.run.0)
                .bind(i64::from(seq))
                .fetch_one(&pool)
                .await
                .unwrap();
            assert_eq!(kept, (input, output, cache_read, cache_write));
        }
    })
    .await;
}

/// A store that fails in the middle leaves none of the budgets that were to be set together.
#[tokio::test]
async fn budgets_that_are_set_together_are_all_set_or_none() {
    with_database(async |database: Arc<TestDatabase>| {
        let (world, pool) = world_of(&database).await;
        let limits = SpendingLimits { max_tokens: Some(5), ..SpendingLimits::default() };
        let wanted = [(BudgetPeriod::Day, limits), (BudgetPeriod::Month, limits)];
        let set = || world.store.set_organization_budgets(&world.tenant, &wanted);
        let broken =
            "ALTER TABLE organization_budgets ADD CONSTRAINT broken CHECK (period <> 'month')";
        sqlx::query(broken).execute(&pool).await.unwrap();
        assert!(set().await.is_err());
        assert!(world.store.organization_budgets(&world.tenant).await.unwrap().is_empty());
        let mended = "ALTER TABLE organization_budgets DROP CONSTRAINT broken";
        sqlx::query(mended).execute(&pool).await.unwrap();
        set().await.unwrap();
        assert_eq!(world.store.organization_budgets(&world.tenant).await.unwrap().len(), 2);
    })
    .await;
}

/// Whoever holds a step, or a total, holds up no sweep; what is free is settled, and the rest when it is let go.
#[tokio::test]
async fn a_held_step_holds_up_no_other() {
    with_database(async |database: Arc<TestDatabase>| {
        let (world, pool) = world_of(&database).await;
        let mut keys = Vec::new();
        for intent in [tool(1), model(1, 10), tool(1)] {
            let (lease, a) = world.at_work().await;
            world.started(lease, begin(&a, intent)).await;
            world.store.close_lease(lease, std::slice::from_ref(&a.key)).await.unwrap();
            keys.push(a.key);
        }
        let mut holder = pool.begin().await.unwrap();
        for statement in [
            "SELECT 1 FROM agent_trace_history WHERE run_id = $1 FOR UPDATE",
            "SELECT 1 FROM budget_totals WHERE bucket LIKE 'day:%' AND $1::uuid IS NOT NULL FOR UPDATE",
        ] {
            sqlx::query(statement).bind(keys[0].run.0).execute(&mut *holder).await.unwrap();
        }
        let swept = tokio::time::timeout(Duration::from_secs(5), world.store.lose_steps(None)).await;
        let LostSteps { steps, held } = swept.expect("it waits").unwrap();
        let lost: Vec<_> = steps.into_iter().map(|step| step.key).collect();
        assert_eq!(lost, [keys[2].clone()], "the first is held, and so is a total of the second");
        assert_eq!(held, ["acme"], "whose total it is");
        holder.rollback().await.unwrap();
        assert_eq!(world.lose().await.len(), 2);
    })
    .await;
}

/// At the totals of a busy organization there is always somebody: a sweep that goes round them for ever would never settle
/// what was lost of it. One that waits its turn does, of that organization and of no other.
#[tokio::test]
async fn a_step_whose_total_is_held_is_settled_by_who_waits_for_it() {
    with_database(async |database: Arc<TestDatabase>| {
        let (world, pool) = world_of(&database).await;
        let (lease, a) = world.at_work().await;
        world.started(lease, begin(&a, model(1, 100))).await;
        world.store.close_lease(lease, std::slice::from_ref(&a.key)).await.unwrap();
        let hold = async || {
            let mut holder = pool.begin().await.unwrap();
            let total = "SELECT 1 FROM budget_totals WHERE bucket = 'run:' || $1 FOR UPDATE";
            sqlx::query(total).bind(a.key.run.0).execute(&mut *holder).await.unwrap();
            holder
        };
        let holder = hold().await;
        for _ in 0..3 {
            let LostSteps { steps, held } = world.store.lose_steps(None).await.unwrap();
            assert_eq!((steps.len(), held), (0, vec!["acme".to_owned()]));
        }
        let elsewhere = world.store.lose_steps(Some("umbrella")).await.unwrap();
        assert!(elsewhere.steps.is_empty() && elsewhere.held.is_empty(), "it has none");
        let kept = world.store.lose_steps(Some("acme")).await;
        assert!(matches!(kept, Err(StoreError::Locked(_))), "it waits, and not for ever: {kept:?}");
        holder.rollback().await.unwrap();
        for _ in 0..5 {
            let holder = hold().await;
            let sweep = {
                let world = world.clone();
                tokio::spawn(async move { world.store.lose_steps(Some("acme")).await })
            };
            while waiting(&database, &pool).await < 1 && !sweep.is_finished() {}
            holder.rollback().await.unwrap();
            match sweep.await.unwrap() {
                Ok(LostSteps { steps, held }) => {
                    assert_eq!((&steps[0].key, steps.len(), held.len()), (&a.key, 1, 0));
                    assert_eq!(world.spent(a.key.run).await.usage.total(), 110);
                    return;
                }
                // The machine is so busy that it took longer than a lock may be waited for.
                Err(error) => assert!(matches!(error, StoreError::Locked(_)), "{error:?}"),
            }
        }
        panic!("nobody had his turn");
    })
    .await;
}

/// However many they are, and wherever they stand: more than one call takes, and in front of all others.
#[tokio::test]
async fn steps_that_are_left_keep_no_others_from_being_settled() {
    with_database(async |database: Arc<TestDatabase>| {
        let (world, pool) = world_of(&database).await;
        let (lease, a) = world.at_work().await;
        world.started(lease, begin(&a, model(1, 100))).await;
        let more = format!(
            "INSERT INTO agent_trace_history (run_id, node_key, scope, step, attempt, organization_id, workspace_id,
                 user_id, node_kind, claim, lease_id, kind, name, status, digest, provider, model, reserved_nanos,
                 reserved_input_tokens, reserved_output_tokens, reserved_day, trace_id, span_id, started_at)
             SELECT run_id, node_key, scope, n, attempt, organization_id, workspace_id, user_id, node_kind, claim, lease_id,
                    kind, name, status, digest, provider, model, reserved_nanos, reserved_input_tokens,
                    reserved_output_tokens, reserved_day, trace_id, span_id, started_at
             FROM agent_trace_history, generate_series(2, {LOST_STEPS_MAX} + 1) n
             WHERE run_id = $1"
        );
        assert_eq!(execute(&pool, &more, a.key.run).await, u64::from(LOST_STEPS_MAX));
        let other = Identity::new("umbrella", "main", "eve");
        let other = World::of(Arc::clone(&world.store), other).await;
        let (other_lease, b) = other.at_work().await;
        other.started(other_lease, begin(&b, model(1, 100))).await;
        assert!(a.key.run < b.key.run, "it stands behind all others");
        for (lease, key) in [(lease, &a.key), (other_lease, &b.key)] {
            world.store.close_lease(lease, std::slice::from_ref(key)).await.unwrap();
        }
        let mut holder = pool.begin().await.unwrap();
        let total = "SELECT 1 FROM budget_totals WHERE bucket = 'run:' || $1 FOR UPDATE";
        sqlx::query(total).bind(a.key.run.0).execute(&mut *holder).await.unwrap();
        let mut lost = Vec::new();
        for _ in 0..20 {
            lost.extend(world.lose().await);
        }
        assert_eq!(lost.iter().map(|step| &step.key).collect::<Vec<_>>(), [&b.key]);
        holder.rollback().await.unwrap();
        let first = world.lose().await.len();
        assert_eq!((first, world.lose().await.len()), (LOST_STEPS_MAX as usize, 1));
    })
    .await;
}

/// Statements of the store that wait for a row which somebody else holds.
async fn waiting(database: &TestDatabase, pool: &PgPool) -> i64 {
    let query = "SELECT count(*) FROM pg_stat_activity
                 WHERE application_name = $1 AND wait_event_type = 'Lock'";
    let count = sqlx::query_scalar::<_, i64>(query).bind(database.application_name());
    count.fetch_one(pool).await.expect("the database answers")
}

/// Of a run that is busy somebody always holds some node.
#[tokio::test]
async fn a_budget_is_changed_although_a_node_of_the_run_is_held() {
    with_database(async |database: Arc<TestDatabase>| {
        let (world, pool) = world_of(&database).await;
        let run = world.accept(&["a", "b"]).await;
        let lease = world.lease().await;
        let a = world.won(lease, run, "a").await;
        world.wait(lease, &a, FOR_BUDGET).await;
        world.won(lease, run, "b").await;
        let mut holder = pool.begin().await.unwrap();
        let hold = "SELECT 1 FROM node_runs WHERE run_id = $1 AND node_key = 'b' FOR UPDATE";
        sqlx::query(hold).bind(run.0).execute(&mut *holder).await.unwrap();
        let change = BudgetChange { max_steps: LimitChange::Set(2), ..BudgetChange::default() };
        let changed = world.store.change_run_budget(&world.tenant, run, &change).await;
        assert!(matches!(changed, Err(StoreError::Locked(_))), "not all are told: {changed:?}");
        let (_, budget) = world.store.run_spending(&world.tenant, run).await.unwrap().unwrap();
        assert_eq!(budget.limits.max_steps, Some(2), "it is in force");
        holder.rollback().await.unwrap();
        // What that call could not tell, the next one does.
        world.store.change_run_budget(&world.tenant, run, &change).await.unwrap();
        world.store.sweep(SWEEP).await.unwrap();
        assert_eq!(world.state(run, "a").await, Some(NodeState::Queued));
    })
    .await;
}

/// Two changes that began before either was in force: the one that has its turn second goes by what the first has made.
#[tokio::test]
async fn a_change_of_a_budget_that_had_to_wait_puts_nothing_back() {
    with_database(async |database: Arc<TestDatabase>| {
        let (world, pool) = world_of(&database).await;
        let run = world.accept(&["a"]).await;
        let nothing = BudgetChange::default();
        let changes = [
            BudgetChange { max_tokens: LimitChange::Set(1), ..nothing },
            BudgetChange { max_steps: LimitChange::Set(2), ..nothing },
        ];
        for _ in 0..5 {
            let mut holder = pool.begin().await.unwrap();
            let hold = "SELECT 1 FROM runs WHERE id = $1 FOR UPDATE";
            sqlx::query(hold).bind(run.0).execute(&mut *holder).await.unwrap();
            let calls = changes.map(|change| {
                let world = world.clone();
                tokio::spawn(async move {
                    world.store.change_run_budget(&world.tenant, run, &change).await
                })
            });
            while waiting(&database, &pool).await < 2
                && !calls.iter().any(|call| call.is_finished())
            {}
            holder.rollback().await.unwrap();
            let mut in_force = 0;
            for call in calls {
                match call.await.unwrap() {
                    Ok(changed) => {
                        assert!(matches!(changed, BudgetChanged::InForce(..)), "{changed:?}");
                        in_force += 1;
                    }
                    // The machine is so busy that it took longer than a lock may be waited for.
                    Err(error) => assert!(matches!(error, StoreError::Locked(_)), "{error:?}"),
                }
            }
            if in_force == changes.len() {
                let limits =
                    SpendingLimits { max_tokens: Some(1), max_steps: Some(2), max_usd: None };
                let read = world.store.run_spending(&world.tenant, run).await.unwrap().unwrap();
                assert_eq!(read.1, RunBudget { limits, ..RunBudget::default() });
                return;
            }
        }
        panic!("no two changes came through");
    })
    .await;
}

/// A decision that has waited for its node's row is about the run as it is then.
#[tokio::test]
async fn a_decision_behind_a_cancel_is_refused() {
    with_database(async |database: Arc<TestDatabase>| {
        let (world, pool) = world_of(&database).await;
        let (lease, a) = world.at_work().await;
        world.written(lease, begin(&a, asking(1))).await;
        world.wait(lease, &a, for_decision(1)).await;
        let mut holder = pool.begin().await.unwrap();
        let hold = "SELECT 1 FROM node_runs WHERE run_id = $1 FOR UPDATE";
        sqlx::query(hold).bind(a.key.run.0).execute(&mut *holder).await.unwrap();
        let (store, tenant, about) =
            (Arc::clone(&world.store), world.tenant.clone(), decision(&a, 1, true));
        let decided = tokio::spawn(async move { store.decide(&tenant, &about).await });
        while waiting(&database, &pool).await < 1 && !decided.is_finished() {}
        let cancel = "UPDATE runs SET cancel_requested_at = now() WHERE id = $1";
        sqlx::query(cancel).bind(a.key.run.0).execute(&mut *holder).await.unwrap();
        holder.commit().await.unwrap();
        match decided.await.unwrap() {
            Ok(decided) => assert_eq!(decided, Decided::NotPending { pending: None }),
            // The machine is so busy that it has waited longer than a lock may be waited for.
            Err(error) => assert!(matches!(error, StoreError::Locked(_)), "{error:?}"),
        }
        let step = world.journal(&a.key).await.remove(0);
        assert_eq!(step.status, StepStatus::Pending);
    })
    .await;
}

//! Steps past the store's contract, in PostgreSQL's own terms.

use std::sync::Arc;
use std::time::Duration;

use skein_shared::domain::budget::{BudgetChange, LimitChange, RunBudget, SpendingLimits};
use skein_shared::domain::tenant::Identity;
use skein_shared::store::StoreError;
use skein_shared::store::recovery::ReapScope;
use skein_shared::store::spending::BudgetChanged;
use skein_shared::store::steps::{LOST_STEPS_MAX, LostSteps};
use skein_tests::postgres::{TestDatabase, with_database};
use skein_tests::store_suite::steps::{begin, model, tool, write};
use skein_tests::store_suite::world::World;
use sqlx::PgPool;

use crate::postgres_only::{execute, world_of};

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
    count.fetch_one(pool).await.unwrap()
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

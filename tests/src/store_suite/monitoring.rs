//! What is open in the whole installation, and who counts it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use skein_shared::domain::budget::NewBudget;
use skein_shared::domain::failure::Failure;
use skein_shared::domain::ids::{END_NODE, HolderId, LeaseId, RunId};
use skein_shared::domain::open_work::OpenWork;
use skein_shared::domain::outcome::{AttemptOutcome, WaitFor};
use skein_shared::domain::state::{NodeState, RunState};
use skein_shared::domain::tenant::Identity;
use skein_shared::store::Store;
use skein_shared::store::monitoring::CountOptions;
use skein_shared::store::runs::NewRun;
use tokio::sync::Barrier;
use tokio::time::Instant;

use super::world::{PATIENCE, World, deliver, ended, finish, queued, token};

const HOUR: Duration = Duration::from_secs(3600);
const DUTY: &str = "count_open";
/// Whatever is due is overdue.
const AT_ONCE: CountOptions = CountOptions { rows_max: 1_000, overdue_after: Duration::ZERO };

async fn count(world: &World) -> OpenWork {
    world.store.count_open(CountOptions::default()).await.unwrap()
}

/// Counts until it is as wanted: what the store decides by its clock comes about by itself.
async fn until(
    world: &World,
    options: CountOptions,
    wanted: impl Fn(&OpenWork) -> bool,
) -> OpenWork {
    let start = Instant::now();
    loop {
        let work = world.store.count_open(options).await.unwrap();
        if wanted(&work) {
            return work;
        }
        assert!(start.elapsed() < PATIENCE, "{work:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn waiting(waiting_for: WaitFor) -> AttemptOutcome {
    AttemptOutcome::Waiting { input: None, waiting_for }
}

fn retry(delay: Duration) -> AttemptOutcome {
    AttemptOutcome::Retry { input: None, error: Failure::new("timeout", "slow"), delay }
}

/// Has a claimable node end like this.
async fn end(world: &World, lease: LeaseId, run: RunId, node: &str, outcome: AttemptOutcome) {
    let claimed = world.won(lease, run, node).await;
    world.flip(lease, ended(&claimed, outcome, None)).await;
}

/// Whoever has it keeps it and may renew it, and another one gets it when it is given up, by its holder alone.
pub async fn a_duty_has_one_holder_at_a_time(store: Arc<dyn Store>) {
    let [one, other] = [HolderId::generate(), HolderId::generate()];
    assert!(store.take_duty(DUTY, one, HOUR).await.unwrap());
    assert!(!store.take_duty(DUTY, other, HOUR).await.unwrap());
    assert!(store.take_duty(DUTY, one, HOUR).await.unwrap(), "it renews its term");
    store.leave_duty(DUTY, other).await.unwrap();
    assert!(!store.take_duty(DUTY, other, HOUR).await.unwrap(), "it was not its to give up");
    assert!(store.take_duty("another", other, HOUR).await.unwrap(), "that is another one");
    store.leave_duty(DUTY, one).await.unwrap();
    store.leave_duty(DUTY, one).await.unwrap();
    assert!(store.take_duty(DUTY, other, HOUR).await.unwrap());
    assert!(!store.take_duty(DUTY, one, HOUR).await.unwrap());
}

/// A holder that died has given nothing up. It has lost the duty all the same, also when it comes back.
pub async fn a_duty_passes_on_with_the_end_of_its_term(store: Arc<dyn Store>) {
    let [dead, other] = [HolderId::generate(), HolderId::generate()];
    let (start, term) = (Instant::now(), Duration::from_millis(300));
    assert!(store.take_duty(DUTY, dead, term).await.unwrap());
    while !store.take_duty(DUTY, other, HOUR).await.unwrap() {
        assert!(start.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(start.elapsed() >= term, "not before");
    assert!(!store.take_duty(DUTY, dead, term).await.unwrap());
}

/// Also of the first ones that ever ask, and of those that find a term over.
pub async fn of_many_that_ask_at_once_one_has_the_duty(store: Arc<dyn Store>) {
    const ASKING: usize = 8;
    for round in 0..20 {
        let barrier = Arc::new(Barrier::new(ASKING));
        let mut asking = tokio::task::JoinSet::new();
        for _ in 0..ASKING {
            let (store, barrier) = (Arc::clone(&store), Arc::clone(&barrier));
            asking.spawn(async move {
                let holder = HolderId::generate();
                barrier.wait().await;
                (holder, store.take_duty(DUTY, holder, HOUR).await.unwrap())
            });
        }
        let answers = asking.join_all().await;
        let holders: Vec<_> = answers.iter().filter(|(_, has_it)| *has_it).collect();
        assert_eq!(holders.len(), 1, "in round {round}: {answers:?}");
        // Half of the rounds find a row that is over, the others none.
        let holder = holders[0].0;
        if round % 2 == 0 {
            store.leave_duty(DUTY, holder).await.unwrap();
        } else {
            assert!(store.take_duty(DUTY, holder, Duration::ZERO).await.unwrap());
        }
    }
}

/// The sums are those of the installation: whose the rows are makes no difference.
pub async fn open_rows_of_everybody_are_counted_by_their_states(store: Arc<dyn Store>) {
    let world = World::new(Arc::clone(&store)).await;
    assert_eq!(count(&world).await, OpenWork::default());
    let lease = world.lease().await;
    // Three runs that nobody has begun, one of them of somebody else.
    let others = World::of(store, Identity::new("umbrella", "lab", "bob")).await;
    world.accept_many(2, &["a", "b"]).await;
    others.accept(&["a"]).await;
    // A node that runs, one that passes dead tokens on, and one that misses a token.
    let busy = world.accept(&["a", "b", "c"]).await;
    let a = world.won(lease, busy, "a").await;
    world.flip(lease, deliver(&a, token("join", 2, true))).await;
    let b = world.won(lease, busy, "b").await;
    world.flip(lease, deliver(&b, token("dead", 1, false))).await;
    world.won(lease, busy, "c").await;
    // Everything waits: for a time, for another try, for a decision, for a budget.
    let idle = others.accept(&["a", "b", "c", "d"]).await;
    end(&others, lease, idle, "a", waiting(WaitFor::Time(HOUR))).await;
    end(&others, lease, idle, "b", retry(HOUR)).await;
    let decision = WaitFor::Decision {
        step: 1,
        tool: "send".into(),
        arguments: "{}".into(),
        expires_in: HOUR,
    };
    end(&others, lease, idle, "c", waiting(decision)).await;
    let budget = WaitFor::Budget { exhausted: None, looks: 0, retry_in: None, turn: None };
    end(&others, lease, idle, "d", waiting(budget)).await;
    assert_eq!(others.store.suspend(&[idle]).await.unwrap(), 1);
    // One that is to end and cannot yet is open.
    let stopping = world.accept(&["a"]).await;
    world.won(lease, stopping, "a").await;
    world.store.request_cancel(&world.tenant, stopping).await.unwrap();

    let work = count(&world).await;
    let runs = [(RunState::Queued, 3), (RunState::Running, 2), (RunState::Suspended, 1)];
    assert_eq!(work.runs, HashMap::from(runs));
    let nodes = [
        (NodeState::Queued, 5),
        (NodeState::Running, 2),
        (NodeState::Blocked, 1),
        (NodeState::Skipping, 1),
        (NodeState::Waiting, 3),
        (NodeState::Retry, 1),
    ];
    assert_eq!(work.nodes, HashMap::from(nodes));
    assert_eq!((work.overdue_timers, work.live_workers), (0, 1));
    assert_eq!(count(&others).await.runs, work.runs, "whoever asks");
}

/// However a run ends, and whatever was open of it.
pub async fn what_has_ended_is_not_counted(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let lease = world.lease().await;
    let done = world.accept(&["a"]).await;
    world.pass(lease, done, "a", vec![queued(END_NODE)]).await;
    let end_of_run = world.won(lease, done, END_NODE).await;
    world.flip(lease, finish(&end_of_run, "1")).await;
    let cancelled = world.accept(&["a", "b", "c"]).await;
    let a = world.won(lease, cancelled, "a").await;
    world.flip(lease, deliver(&a, token("join", 2, true))).await;
    end(&world, lease, cancelled, "b", waiting(WaitFor::Time(HOUR))).await;
    world.cancel(cancelled).await.expect("nothing of it is running");
    for run in [done, cancelled] {
        assert!(world.run_state(run).await.is_terminal());
    }
    world.store.close_lease(lease, &[]).await.unwrap();
    assert_eq!(count(&world).await, OpenWork::default());
}

/// From when it became runnable, however often its hint was repeated since.
pub async fn the_oldest_that_waits_for_a_worker_is_told(store: Arc<dyn Store>) {
    // Stores round to whole milliseconds.
    let at_most = |since: Instant| since.elapsed() + Duration::from_millis(2);
    let world = World::new(store).await;
    let since = Instant::now();
    let old = world.accept(&["a"]).await;
    let aged = |work: &OpenWork| work.oldest_queued >= Duration::from_millis(50);
    let work = until(&world, AT_ONCE, aged).await;
    assert!(work.oldest_queued <= at_most(since), "{work:?}");
    let since_young = Instant::now();
    let young = world.accept(&["a"]).await;
    assert_eq!(world.sweep(old).await.wake.len(), 1);
    let swept = count(&world).await;
    assert!(swept.oldest_queued >= work.oldest_queued, "{swept:?}");
    assert!(swept.oldest_queued <= at_most(since), "{swept:?}");
    // What is claimed waits no more.
    let lease = world.lease().await;
    world.won(lease, old, "a").await;
    let work = count(&world).await;
    assert!(work.oldest_queued <= at_most(since_young), "{work:?}");
    end(&world, lease, young, "a", waiting(WaitFor::Time(HOUR))).await;
    assert_eq!(count(&world).await.oldest_queued, Duration::ZERO, "it waits for a time");
}

/// Delays, retries and deadlines, as soon as they have been due for so long. What waits for a worker is none.
pub async fn timers_that_nobody_acted_on_are_overdue(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let lease = world.lease().await;
    let run = world.accept(&["a", "b", "c"]).await;
    end(&world, lease, run, "a", waiting(WaitFor::Time(HOUR))).await;
    end(&world, lease, run, "b", retry(HOUR)).await;
    assert_eq!(world.store.count_open(AT_ONCE).await.unwrap().overdue_timers, 0);
    world.store.make_due(&[run]).await.unwrap();
    let work = until(&world, AT_ONCE, |work| work.overdue_timers > 0).await;
    assert_eq!(work.overdue_timers, 2, "c is queued");
    assert_eq!(count(&world).await.overdue_timers, 0, "there is time to act");
    world.sweep(run).await;
    assert_eq!(world.store.count_open(AT_ONCE).await.unwrap().overdue_timers, 0);
    let deadline_at = Some(Utc::now() - HOUR);
    let budget = NewBudget { deadline_at, ..NewBudget::default() };
    let late = NewRun { budget, ..world.run_of(&["a"]) };
    world.store.accept_runs(&[late]).await.unwrap();
    assert_eq!(count(&world).await.overdue_timers, 1);
    assert_eq!(world.store.expire_runs(10).await.unwrap(), 1);
    assert_eq!(count(&world).await.overdue_timers, 0);
}

/// A lease that was not renewed is dead before anybody has declared it so.
pub async fn workers_count_as_long_as_their_leases_live(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let (one, _two) = (world.lease().await, world.lease().await);
    world.lease_for(Duration::from_millis(200)).await;
    let work = until(&world, AT_ONCE, |work| work.live_workers < 3).await;
    assert_eq!(work.live_workers, 2);
    world.store.close_lease(one, &[]).await.unwrap();
    assert_eq!(count(&world).await.live_workers, 1);
}

/// So a backlog of millions costs no more than one of so many.
pub async fn counting_stops_at_its_limit(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let lease = world.lease().await;
    for run in world.accept_many(5, &["a", "b", "c", "d"]).await {
        world.won(lease, run, "a").await;
        end(&world, lease, run, "b", waiting(WaitFor::Time(HOUR))).await;
        let c = world.won(lease, run, "c").await;
        world.flip(lease, deliver(&c, token("join", 2, true))).await;
    }
    world.accept_many(2, &["a"]).await;
    let options = CountOptions { rows_max: 3, ..AT_ONCE };
    let work = world.store.count_open(options).await.unwrap();
    assert_eq!(work.runs.values().sum::<u64>(), 3, "{work:?}");
    let counted = |state| work.nodes.get(&state).copied().unwrap_or_default();
    let states = [NodeState::Queued, NodeState::Running, NodeState::Waiting];
    assert_eq!(states.map(counted), [3, 3, 3], "{work:?}");
    assert!(counted(NodeState::Blocked) <= 3, "{work:?}");
    let all = count(&world).await;
    let total = |state| all.nodes.get(&state).copied().unwrap_or_default();
    assert_eq!(states.map(total), [7, 5, 5], "{all:?}");
    assert_eq!(total(NodeState::Blocked), 5, "{all:?}");
}

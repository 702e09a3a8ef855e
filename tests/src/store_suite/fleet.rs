//! The workers as people see them, and what is said where there is none.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use skein_shared::domain::ids::{END_NODE, LeaseId, RunId};
use skein_shared::domain::limits::HOST_CHARS_MAX;
use skein_shared::domain::outcome::{AttemptOutcome, WaitFor};
use skein_shared::domain::tenant::Identity;
use skein_shared::domain::worker_status::WorkerStatus;
use skein_shared::store::engine::{Commit, JoinTokens, NewLease, NewRow};
use skein_shared::store::fleet::Worker;
use skein_shared::store::recovery::{NoWorkerTold, ReapScope};
use skein_shared::store::{PageRequest, Store};

use super::world::{World, deliver, ended, kept, queued, span, spec, succeed, token, words};

const HOUR: Duration = Duration::from_secs(3600);
/// So short that a lease is silent for too long by the next statement but one.
const MOMENT: Duration = Duration::from_millis(1);

/// Opens a lease for a process of this name.
async fn worker(world: &World, host: &str, pid: u32, ttl: Duration) -> LeaseId {
    let id = LeaseId::generate();
    let lease = NewLease { id, host: host.to_owned(), pid, version: "1.2.3", slots: 8, ttl };
    world.store.open_lease(&lease).await.unwrap();
    id
}

async fn workers(world: &World, limit: u32) -> Vec<Worker> {
    let mut workers = Vec::new();
    let mut page = PageRequest { limit, cursor: None };
    loop {
        let read = world.store.list_workers(&page).await.unwrap();
        assert!(read.items.len() <= limit as usize);
        workers.extend(read.items);
        page.cursor = read.next_cursor;
        if page.cursor.is_none() {
            return workers;
        }
    }
}

/// Newest first, in pages of any size; with what each has told of itself.
pub async fn workers_are_listed_newest_first(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    assert_eq!(workers(&world, 10).await, []);
    let mut opened = Vec::new();
    for pid in 1..=5 {
        opened.push(worker(&world, "mill-7", pid, HOUR).await);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    world.store.heartbeat(opened[2], 3).await.unwrap().unwrap();
    world.store.heartbeat(opened[0], 8).await.unwrap().unwrap();
    world.store.close_lease(opened[0], &[]).await.unwrap();
    let all = workers(&world, 10).await;
    opened.reverse();
    assert_eq!(all.iter().map(|worker| worker.id).collect::<Vec<_>>(), opened);
    for limit in 1..=6 {
        assert_eq!(workers(&world, limit).await, all, "pages of {limit}");
    }
    let beaten = &all[2];
    assert_eq!((&*beaten.host, beaten.pid, &*beaten.version), ("mill-7", 3, "1.2.3"));
    assert_eq!((beaten.status, beaten.slots, beaten.busy), (WorkerStatus::Live, Some(8), Some(3)));
    assert!(beaten.started_at <= beaten.seen_at);
    // One that has just begun has nothing in hand, and neither has one that has ended.
    let (first, last) = (&all[4], &all[0]);
    assert_eq!((last.status, last.busy), (WorkerStatus::Live, Some(0)));
    assert_eq!((first.status, first.busy), (WorkerStatus::Stopped, Some(0)));
}

/// Silence is enough: whether somebody has declared it dead changes nothing of what is shown.
pub async fn a_silent_worker_is_shown_as_dead(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let ttl = MOMENT * 200;
    let silent = worker(&world, "a", 1, ttl).await;
    tokio::time::sleep(ttl + MOMENT * 5).await;
    let is_dead = async || {
        let all = workers(&world, 10).await;
        let found = all.iter().find(|worker| worker.id == silent).unwrap();
        assert_eq!(found.status, WorkerStatus::Dead);
        // Whoever declares it dead has not heard of it.
        assert!(
            found.started_at <= found.seen_at && found.seen_at + ttl <= Utc::now(),
            "{found:?}"
        );
    };
    is_dead().await;
    world.store.reap(10, ReapScope::ALL).await.unwrap();
    is_dead().await;
}

/// Whatever begins an attempt notes its worker: a claim, and each way in which a commit begins one. It stays.
pub async fn every_attempt_names_its_worker(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a", "b"]).await;
    let (one, two) = (worker(&world, "one", 11, HOUR).await, worker(&world, "two", 22, HOUR).await);
    let named = async |node: &str| world.node(run, node).await.worker;
    assert_eq!(named("a").await, None, "nobody has begun it");
    let a = world.won(one, run, "a").await;
    assert_eq!(named("a").await.as_deref(), Some("one:11"));
    let inlined = |node: &str, outcome: AttemptOutcome| NewRow {
        spec: spec(node),
        span: Some(span()),
        state: outcome.into(),
    };
    let succeeded = AttemptOutcome::Succeeded { input: None, output: "1".to_owned() };
    let waiting = AttemptOutcome::Waiting { input: None, waiting_for: WaitFor::Time(HOUR) };
    let rows = vec![
        kept("kept"),
        inlined("inlined", succeeded),
        inlined("waiting", waiting),
        inlined("dead", AttemptOutcome::Skipped),
        queued("queued"),
    ];
    let join = JoinTokens { keep: Some(span()), ..token("join", 2, true) };
    let tokens = vec![join, token("alone", 1, true)];
    world.flip(one, Commit { rows, tokens, ..succeed(&a) }).await;
    for (node, worker) in [
        ("a", Some("one:11")),
        ("kept", Some("one:11")),
        ("inlined", Some("one:11")),
        ("waiting", None),
        ("dead", None),
        ("queued", None),
        ("join", None),
        ("alone", None),
    ] {
        assert_eq!(named(node).await.as_deref(), worker, "{node}");
    }
    let earlier = world.node(run, "waiting").await.earlier;
    assert_eq!(earlier[0].worker.as_deref(), Some("one:11"), "it has had an attempt");
    // The other one brings the last token, and keeps the join.
    let b = world.won(two, run, "b").await;
    let join = JoinTokens { keep: Some(span()), ..token("join", 2, true) };
    let alone = JoinTokens { keep: Some(span()), ..token("other", 1, true) };
    world.flip(two, Commit { tokens: vec![join, alone], ..succeed(&b) }).await;
    for node in ["b", "join", "other"] {
        assert_eq!(named(node).await.as_deref(), Some("two:22"), "{node}");
    }
    assert_eq!(named("a").await.as_deref(), Some("one:11"));
}

/// Attempts that did not end their node keep the worker that they had, whoever makes the next one.
pub async fn earlier_attempts_name_theirs(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a"]).await;
    let retrying = worker(&world, "retrying", 1, HOUR).await;
    let closing = worker(&world, "closing", 2, HOUR).await;
    let a = world.won(retrying, run, "a").await;
    let retry = AttemptOutcome::Retry {
        input: None,
        error: skein_shared::domain::failure::Failure::new("timeout", "slow"),
        delay: Duration::ZERO,
    };
    world.flip(retrying, ended(&a, retry, None)).await;
    world.sweep(run).await;
    world.won(closing, run, "a").await;
    world.store.close_lease(closing, &[]).await.unwrap();
    let dying = worker(&world, "dying", 3, MOMENT).await;
    world.won(dying, run, "a").await;
    tokio::time::sleep(MOMENT * 5).await;
    assert_eq!(world.store.reap(10, ReapScope::ALL).await.unwrap().len(), 1);
    let last = worker(&world, "last", 4, HOUR).await;
    world.won(last, run, "a").await;
    let found = world.node(run, "a").await;
    let earlier: Vec<_> = found
        .earlier
        .iter()
        .map(|attempt| (&*attempt.outcome, attempt.worker.as_deref().unwrap()))
        .collect();
    let expected = [("retry", "retrying:1"), ("released", "closing:2"), ("crashed", "dying:3")];
    assert_eq!(earlier, expected);
    assert_eq!(found.worker.as_deref(), Some("last:4"));
    // The node alone is shown as with its run.
    let key = skein_shared::domain::ids::ActivationKey::root(run, "a");
    assert_eq!(world.store.find_node(&world.tenant, &key).await.unwrap(), Some(found));
}

/// A host may be called anything; rows hold the beginning of it.
pub async fn the_name_of_a_host_is_cut(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let lease = worker(&world, &"ß".repeat(HOST_CHARS_MAX * 2), 7, HOUR).await;
    let run = world.accept(&["a"]).await;
    world.won(lease, run, "a").await;
    let host = "ß".repeat(HOST_CHARS_MAX);
    assert_eq!(workers(&world, 1).await[0].host, host);
    assert_eq!(world.node(run, "a").await.worker, Some(format!("{host}:7")));
}

/// As long as it is open and waits for nothing but a worker.
pub async fn a_run_says_that_no_worker_lives(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a"]).await;
    let alone = async || world.detail(run).await.no_worker;
    assert!(alone().await, "there has never been one");
    let first = worker(&world, "a", 1, HOUR).await;
    assert!(!alone().await);
    let a = world.won(first, run, "a").await;
    world.flip(first, Commit { rows: vec![queued("b"), queued("c")], ..succeed(&a) }).await;
    world.store.close_lease(first, &[]).await.unwrap();
    assert!(alone().await, "it has begun, and b waits");
    worker(&world, "a", 2, MOMENT).await;
    tokio::time::sleep(MOMENT * 5).await;
    assert!(alone().await, "it is silent");
    let third = worker(&world, "a", 3, HOUR).await;
    for node in ["b", "c"] {
        let claimed = world.won(third, run, node).await;
        let waiting = AttemptOutcome::Waiting { input: None, waiting_for: WaitFor::Time(HOUR) };
        world.flip(third, ended(&claimed, waiting, None)).await;
    }
    assert_eq!(world.store.suspend(&[run]).await.unwrap(), 1);
    world.store.close_lease(third, &[]).await.unwrap();
    assert!(!alone().await, "it waits of its own");
    world.cancel(run).await.unwrap();
    assert!(!alone().await, "it has ended");
}

async fn tell(world: &World, waited: Duration) -> u32 {
    world.store.tell_of_no_worker(waited, None, 500).await.unwrap().told
}

/// How often the log of a run says that no worker lives.
async fn told(world: &World, run: RunId) -> usize {
    let log = world.log_now(run).await;
    words(&log).iter().filter(|word| **word == "run.no_worker").count()
}

/// Once for each time that there is none, whoever asks and however often.
pub async fn a_log_is_told_once_that_no_worker_lives(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a"]).await;
    assert_eq!(tell(&world, HOUR).await, 0, "it has just been accepted");
    // Several processes at once.
    let (one, two) = tokio::join!(tell(&world, Duration::ZERO), tell(&world, Duration::ZERO));
    assert_eq!(one + two, 1);
    assert_eq!(tell(&world, Duration::ZERO).await, 0, "it has been told");
    let lives = worker(&world, "a", 1, HOUR).await;
    let late = world.accept(&["a"]).await;
    assert_eq!(tell(&world, Duration::ZERO).await, 0, "one lives");
    world.store.close_lease(lives, &[]).await.unwrap();
    assert_eq!(tell(&world, HOUR).await, 0, "one may come back at once");
    assert_eq!(tell(&world, Duration::ZERO).await, 2, "there is none again");
    worker(&world, "a", 2, MOMENT).await;
    tokio::time::sleep(MOMENT * 5).await;
    assert_eq!(tell(&world, Duration::ZERO).await, 2, "nor is one that is silent");
    world.store.reap(10, ReapScope::ALL).await.unwrap();
    assert_eq!(tell(&world, Duration::ZERO).await, 0, "that somebody notices is no news");
    world.cancel(run).await.unwrap();
    world.cancel(late).await.unwrap();
    assert_eq!((told(&world, run).await, told(&world, late).await), (3, 2));
    let log = world.log_now(late).await;
    let row = log.iter().find(|row| row.event == "run.no_worker").unwrap();
    assert_eq!((&*row.level, row.node.as_deref()), ("warn", None));
    assert_eq!(row.message, "no worker lives: the run waits until one starts");
}

/// What has ended, is to end, or waits of its own needs no worker.
pub async fn only_runs_that_wait_for_a_worker_are_told(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let runs = world.accept_many(4, &["a"]).await;
    let [ended_run, ending, suspended, running] = runs[..] else { panic!("{runs:?}") };
    let lease = worker(&world, "a", 1, HOUR).await;
    world.cancel(ended_run).await.unwrap();
    world.won(lease, ending, "a").await;
    world.store.request_cancel(&world.tenant, ending).await.unwrap();
    let a = world.won(lease, suspended, "a").await;
    let waiting = AttemptOutcome::Waiting { input: None, waiting_for: WaitFor::Time(HOUR) };
    world.flip(lease, ended(&a, waiting, None)).await;
    assert_eq!(world.store.suspend(&[suspended]).await.unwrap(), 1);
    let a = world.won(lease, running, "a").await;
    world.flip(lease, deliver(&a, token(END_NODE, 1, true))).await;
    world.store.close_lease(lease, &[]).await.unwrap();
    assert_eq!(tell(&world, Duration::ZERO).await, 1);
    for (run, count) in [(ended_run, 0), (ending, 0), (suspended, 0), (running, 1)] {
        world.cancel(run).await;
        assert_eq!(told(&world, run).await, count);
    }
}

/// A backlog of everybody's is told page by page, and none is left out.
pub async fn a_backlog_is_told_in_pages(store: Arc<dyn Store>) {
    let world = World::new(Arc::clone(&store)).await;
    let other = World::of(store, Identity::new("zoo", "main", "zoe")).await;
    let mut runs = Vec::new();
    for world in [&world, &other] {
        runs.extend(world.accept_many(5, &["a"]).await.into_iter().map(|run| (world, run)));
    }
    let (mut after, mut rounds) = (None, Vec::new());
    loop {
        let NoWorkerTold { told, next } =
            world.store.tell_of_no_worker(Duration::ZERO, after.as_ref(), 4).await.unwrap();
        rounds.push(told);
        after = next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(rounds, [4, 4, 2]);
    for (world, run) in runs {
        world.cancel(run).await.unwrap();
        assert_eq!(told(world, run).await, 1);
    }
}

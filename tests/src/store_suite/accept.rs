//! Accepting runs.

use std::slice::from_ref;
use std::sync::Arc;

use skein_shared::domain::ids::VersionId;
use skein_shared::domain::state::{NodeState, RunState};
use skein_shared::store::log_filter::WHOLE_LOG;
use skein_shared::store::runs::{Acceptance, Idempotency, NewRun};
use skein_shared::store::{PageRequest, Store};
use tokio::sync::Barrier;

use super::world::{SWEEP, World, version, words};

fn keyed(world: &World, key: &str, digest: u8) -> NewRun {
    let idempotency = Some(Idempotency { key: key.to_owned(), digest: [digest; 32] });
    NewRun { idempotency, ..world.run_of(&["a"]) }
}

fn is_accepted(outcome: &Acceptance) -> bool {
    matches!(outcome, Acceptance::Accepted { version: 1, .. })
}

async fn runs_of(world: &World) -> usize {
    let page = PageRequest { limit: 500, cursor: None };
    let listed = world.store.list_runs(&world.tenant, &Default::default(), &page).await;
    listed.unwrap().items.len()
}

/// What the reply promises is there: the run, its entry nodes, its log row.
pub async fn an_accepted_run_is_whole(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = NewRun {
        input: r#"{"url": "http://example.org"}"#.to_owned(),
        step_mode: true,
        ..world.run_of(&["b", "a"])
    };
    let outcome = world.store.accept_runs(from_ref(&run)).await.unwrap().remove(0);
    let detail = world.detail(run.id).await;
    let created_at = detail.summary.created_at;
    assert_eq!(outcome, Acceptance::Accepted { version: 1, created_at });
    assert_eq!(detail.input, run.input);
    assert_eq!(detail.output, None);
    let summary = detail.summary;
    assert_eq!((summary.state, summary.cancelling), (RunState::Queued, false));
    assert!(summary.step_mode);
    assert_eq!((&summary.trace, &*summary.user), (&run.trace, "ann"));
    assert_eq!((summary.started_at, summary.ended_at), (None, None));
    let nodes: Vec<_> = detail.nodes.iter().map(|node| (&*node.node, node.state)).collect();
    assert_eq!(nodes, [("b", NodeState::Queued), ("a", NodeState::Queued)]);
    assert!(
        detail.nodes.iter().all(|node| node.queued_at == Some(created_at) && node.attempts == 0)
    );
    let log = world.log(run.id, 1).await;
    assert_eq!(words(&log), ["run.accepted"]);
    assert_eq!((log[0].trace, log[0].span), (run.trace.trace, run.request_span));
}

/// Entry nodes are swept when their message got lost, and not before. Each publishing has a span of its own.
pub async fn entry_nodes_are_due_for_the_sweeper_later(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.run_of(&["a"]);
    world.store.accept_runs(from_ref(&run)).await.unwrap();
    assert_eq!(world.store.sweep(SWEEP).await.unwrap().wake, []);
    let wake = world.sweep(run.id).await.wake.remove(0);
    assert_eq!((wake.key.run, &*wake.key.node, &wake.identity), (run.id, "a", &world.tenant));
    assert_eq!(wake.publisher, run.trace.context_of(wake.publisher.span));
    assert_ne!(wake.publisher.span, run.entries[0].publish_span);
    assert_eq!((wake.parent, wake.root), (Some(run.trace.publish), run.trace.root));
    let claimed = world.won(world.lease().await, run.id, "a").await;
    assert_eq!(claimed.publish_span, wake.publisher.span);
}

/// A client that repeats its request gets the run that it made, not another one.
pub async fn a_repeated_key_finds_the_first_run(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let first = keyed(&world, "k", 1);
    let accepted = world.store.accept_runs(from_ref(&first)).await.unwrap();
    assert!(is_accepted(&accepted[0]), "{accepted:?}");
    let again = world.store.accept_runs(&[keyed(&world, "k", 1), keyed(&world, "k", 2)]).await;
    assert_eq!(again.unwrap(), [Acceptance::Repeated(first.id), Acceptance::KeyReused]);
    assert_eq!(runs_of(&world).await, 1);
    for (key, digest, found) in [("k", 1, Some(first.id)), ("k", 2, None), ("other", 1, None)] {
        let idempotency = keyed(&world, key, digest).idempotency.unwrap();
        let repeated = world.store.find_repeated(&world.tenant, &idempotency).await;
        assert_eq!(repeated.unwrap(), found, "{key} {digest}");
    }
}

/// Two requests of one batch carry the same key.
pub async fn one_of_two_equal_keys_in_a_batch_wins(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let batch = [keyed(&world, "k", 1), keyed(&world, "k", 1), keyed(&world, "other", 1)];
    let outcomes = world.store.accept_runs(&batch).await.unwrap();
    let winner = outcomes.iter().position(is_accepted).unwrap();
    assert!(winner < 2 && is_accepted(&outcomes[2]), "{outcomes:?}");
    assert_eq!(outcomes[1 - winner], Acceptance::Repeated(batch[winner].id));
    assert_eq!(runs_of(&world).await, 2);
    let wakes = world.sweep(batch[winner].id).await.wake;
    assert_eq!(wakes.len(), 1, "nothing of the loser was written");
}

/// Eight servers get the same twenty keys at once, half of them in the other order.
pub async fn concurrent_equal_keys_make_one_run(store: Arc<dyn Store>) {
    const SERVERS: usize = 8;
    let world = World::new(store).await;
    for round in 0..5 {
        let barrier = Arc::new(Barrier::new(SERVERS));
        let mut servers = tokio::task::JoinSet::new();
        for server in 0..SERVERS {
            let (world, barrier) = (world.clone(), Arc::clone(&barrier));
            servers.spawn(async move {
                let key = |n: u32| keyed(&world, &format!("{round}-{n}"), 1);
                let mut batch: Vec<_> = (0..20).map(key).collect();
                if server % 2 == 1 {
                    batch.reverse();
                }
                barrier.wait().await;
                let outcomes = world.store.accept_runs(&batch).await.unwrap();
                assert!(
                    outcomes.iter().all(|o| is_accepted(o) || matches!(o, Acceptance::Repeated(_))),
                    "{outcomes:?}"
                );
                outcomes.iter().filter(|outcome| is_accepted(outcome)).count()
            });
        }
        assert_eq!(servers.join_all().await.into_iter().sum::<usize>(), 20);
    }
    assert_eq!(runs_of(&world).await, 100);
}

/// The reply got lost and the batch is sent once more.
pub async fn a_repeated_batch_is_accepted_again(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let batch = [world.run_of(&["a"]), keyed(&world, "k", 1)];
    let first = world.store.accept_runs(&batch).await.unwrap();
    assert!(first.iter().all(is_accepted));
    assert_eq!(world.store.accept_runs(&batch).await.unwrap(), first);
    assert_eq!(runs_of(&world).await, 2);
    world.cancel(batch[0].id).await;
    let log = world.log_now(batch[0].id).await;
    assert_eq!(words(&log).iter().filter(|word| **word == "run.accepted").count(), 1);
}

/// The plan was made of a version that is not the latest any more, of a workflow that is not there, or of
/// somebody else's.
pub async fn a_stale_version_is_refused(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let old = world.version;
    let newer = version(World::WORKFLOW, r#"{"v": 2}"#);
    let newer = world.store.publish_workflow(&world.tenant, &newer).await.unwrap().id;
    let stale = world.run_of(&["a"]);
    let fresh = NewRun { version_id: newer, ..world.run_of(&["a"]) };
    let unknown = NewRun { workflow: "nothing".into(), ..fresh.clone() };
    let absent = NewRun { version_id: VersionId::generate(), ..fresh.clone() };
    let key = Some(Idempotency { key: "k".to_owned(), digest: [1; 32] });
    let keyed = NewRun { idempotency: key, version_id: old, ..world.run_of(&["a"]) };
    let new_ids = |run: NewRun| NewRun { id: skein_shared::domain::ids::RunId::generate(), ..run };
    let batch = [stale, fresh, new_ids(unknown), new_ids(absent), keyed.clone()];
    let outcomes = world.store.accept_runs(&batch).await.unwrap();
    assert!(matches!(outcomes[1], Acceptance::Accepted { version: 2, .. }), "{outcomes:?}");
    for refused in [0, 2, 3, 4] {
        assert_eq!(outcomes[refused], Acceptance::Stale);
        let found = world.store.find_run(&world.tenant, batch[refused].id, 0).await.unwrap();
        assert_eq!(found, None);
        let log = world.store.run_logs(
            &world.tenant,
            batch[refused].id,
            &WHOLE_LOG,
            &PageRequest { limit: 9, cursor: None },
        );
        assert!(log.await.unwrap().is_none());
        assert_eq!(world.state(batch[refused].id, "a").await, None);
    }
    assert_eq!(runs_of(&world).await, 1);
    // A refused run has not used its key up.
    let again = NewRun { version_id: newer, ..new_ids(keyed.clone()) };
    let outcomes = world.store.accept_runs(from_ref(&again)).await.unwrap();
    assert!(matches!(outcomes[0], Acceptance::Accepted { .. }));
    // A key that was used finds its run, although the plan is stale by now.
    let outcomes = world.store.accept_runs(from_ref(&keyed)).await.unwrap();
    assert_eq!(outcomes, [Acceptance::Repeated(again.id)]);
}

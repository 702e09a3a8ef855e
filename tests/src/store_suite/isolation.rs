//! Tenants do not see, stop or disturb each other.

use std::slice::from_ref;
use std::sync::Arc;

use skein_shared::domain::ids::ActivationKey;
use skein_shared::domain::tenant::Identity;
use skein_shared::store::log_filter::WHOLE_LOG;
use skein_shared::store::runs::{Acceptance, Idempotency, NewRun, RunFilter};
use skein_shared::store::{PageRequest, Store};

use super::world::{World, version, words};

const PAGE: PageRequest = PageRequest { limit: 100, cursor: None };

/// Whoever is of another organization or workspace: names that are alike, swapped or contained included.
fn strangers() -> Vec<Identity> {
    [("other", "main"), ("acme", "side"), ("main", "acme"), ("", ""), ("acm", "emain"), ("%", "%")]
        .map(|(organization, workspace)| Identity::new(organization, workspace, "ann"))
        .into()
}

/// Every method that serves a request finds nothing for a stranger.
pub async fn strangers_find_nothing(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let run = world.accept(&["a"]).await;
    world.won(world.lease().await, run, "a").await;
    let store = &world.store;
    for stranger in strangers() {
        let name = World::WORKFLOW;
        assert_eq!(store.list_workflows(&stranger, &PAGE).await.unwrap().items.len(), 0);
        assert_eq!(store.find_workflow(&stranger, name, None).await.unwrap(), None);
        assert_eq!(store.find_workflow(&stranger, name, Some(1)).await.unwrap(), None);
        assert_eq!(store.list_versions(&stranger, name, &PAGE).await.unwrap().items.len(), 0);
        let runs = store.list_runs(&stranger, &RunFilter::default(), &PAGE).await.unwrap();
        assert_eq!(runs.items.len(), 0);
        assert_eq!(store.find_run(&stranger, run, 0).await.unwrap(), None);
        let node = ActivationKey::root(run, "a");
        assert_eq!(store.find_node(&stranger, &node).await.unwrap(), None);
        assert_eq!(store.run_logs(&stranger, run, &WHOLE_LOG, &PAGE).await.unwrap(), None);
        assert_eq!(store.request_cancel(&stranger, run).await.unwrap(), None);
    }
    assert!(!world.detail(run).await.summary.cancelling);
    // A colleague of the same workspace does.
    let bob = Identity::new("acme", "main", "bob");
    assert!(store.find_run(&bob, run, 0).await.unwrap().is_some());
    assert_eq!(words(&world.log(run, 3).await).len(), 3);
}

/// A stranger cannot start somebody else's workflow, although it knows name and version.
pub async fn strangers_cannot_run_a_workflow(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    for identity in strangers() {
        let run = NewRun { identity: identity.clone(), ..world.run_of(&["a"]) };
        let outcome = world.store.accept_runs(from_ref(&run)).await.unwrap();
        assert_eq!(outcome, [Acceptance::Stale]);
        assert_eq!(world.store.find_run(&identity, run.id, 0).await.unwrap(), None);
    }
}

/// The same workflow name and the same idempotency key mean different things to different tenants.
pub async fn names_and_keys_do_not_collide(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let key = |run: NewRun| {
        let idempotency = Some(Idempotency { key: "k".to_owned(), digest: [1; 32] });
        NewRun { idempotency, ..run }
    };
    let mine = key(world.run_of(&["a"]));
    world.store.accept_runs(from_ref(&mine)).await.unwrap();
    let mut batch = Vec::new();
    for stranger in strangers() {
        let theirs = World::of(Arc::clone(&world.store), stranger.clone()).await;
        let published = theirs.store.find_workflow(&stranger, World::WORKFLOW, None).await;
        assert_eq!(published.unwrap().unwrap().version, 1);
        batch.push(key(theirs.run_of(&["a"])));
    }
    // All of them at once: they do not collide with each other either.
    for outcome in world.store.accept_runs(&batch).await.unwrap() {
        assert!(matches!(outcome, Acceptance::Accepted { version: 1, .. }), "{outcome:?}");
    }
    for run in batch.iter().chain([&mine]) {
        let idempotency = run.idempotency.as_ref().unwrap();
        let repeated = world.store.find_repeated(&run.identity, idempotency).await;
        assert_eq!(repeated.unwrap(), Some(run.id));
    }
    let again = NewRun { id: batch[0].id, ..batch[0].clone() };
    let mine_again = key(world.run_of(&["a"]));
    let outcomes = world.store.accept_runs(&[mine_again, again]).await.unwrap();
    assert_eq!(outcomes[0], Acceptance::Repeated(mine.id));
    assert!(matches!(outcomes[1], Acceptance::Accepted { .. }));
    for run in &batch {
        let runs = world.store.list_runs(&run.identity, &RunFilter::default(), &PAGE).await;
        let ids: Vec<_> = runs.unwrap().items.iter().map(|run| run.id).collect();
        assert_eq!(ids, [run.id]);
    }
    // Publishing theirs leaves mine alone.
    let news = version(World::WORKFLOW, "[2]");
    world.store.publish_workflow(&batch[0].identity, &news).await.unwrap();
    let mine = world.store.find_workflow(&world.tenant, World::WORKFLOW, None).await;
    assert_eq!(mine.unwrap().unwrap().version, 1);
}

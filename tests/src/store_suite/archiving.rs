//! Archived workflows: no new runs, and whatever runs goes on.

use std::slice::from_ref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use skein_shared::domain::ids::{END_NODE, RunId};
use skein_shared::domain::state::RunState;
use skein_shared::domain::tenant::Identity;
use skein_shared::store::engine::Commit;
use skein_shared::store::runs::{Acceptance, Idempotency, NewRun, RunFilter};
use skein_shared::store::workflows::WorkflowSummary;
use skein_shared::store::{PageRequest, Store};

use super::world::{World, finish, queued, succeed, version};

const NAME: &str = World::WORKFLOW;
const PAGE: PageRequest = PageRequest { limit: 500, cursor: None };

async fn archive(world: &World, archived: bool) -> WorkflowSummary {
    world.store.archive_workflow(&world.tenant, NAME, archived).await.unwrap().unwrap()
}

async fn accept(world: &World, run: &NewRun) -> Acceptance {
    world.store.accept_runs(from_ref(run)).await.unwrap().remove(0)
}

/// No version of it is started, by whatever means; what has been accepted before is found by its key.
pub async fn no_run_of_an_archived_workflow_is_accepted(store: Arc<dyn Store>) {
    let world = World::new(Arc::clone(&store)).await;
    let drafted = store.store_draft(&world.tenant, &version(NAME, "[2]")).await.unwrap().id;
    let key = |digest| Some(Idempotency { key: "k".to_owned(), digest: [digest; 32] });
    let before = NewRun { idempotency: key(1), ..world.run_of(&["a"]) };
    assert!(matches!(accept(&world, &before).await, Acceptance::Accepted { .. }));
    archive(&world, true).await;
    let new_id = |run: &NewRun| NewRun { id: RunId::generate(), ..run.clone() };
    let batch = [
        world.run_of(&["a"]),
        NewRun { pinned: true, ..world.run_of(&["a"]) },
        NewRun { pinned: true, version_id: drafted, ..world.run_of(&["a"]) },
        NewRun { version_id: drafted, ..world.run_of(&["a"]) },
        new_id(&before),
        NewRun { idempotency: key(2), ..world.run_of(&["a"]) },
        before.clone(),
    ];
    let outcomes = store.accept_runs(&batch).await.unwrap();
    assert!(outcomes[..4].iter().all(|it| *it == Acceptance::Archived), "{outcomes:?}");
    assert_eq!(outcomes[4..6], [Acceptance::Repeated(before.id), Acceptance::KeyReused]);
    assert!(matches!(outcomes[6], Acceptance::Accepted { .. }), "{outcomes:?}");
    assert_eq!(count(&world).await, 1);
    // Nothing that was refused has used a draft.
    assert_eq!(store.prune_drafts(Duration::ZERO, 9).await.unwrap(), 1);
    archive(&world, false).await;
    let after = new_id(&batch[0]);
    assert!(matches!(accept(&world, &after).await, Acceptance::Accepted { .. }));
}

/// Again it changes nothing, and neither does publishing: that is shown in listings and in whole versions.
pub async fn a_workflow_stays_archived_until_it_is_unarchived(store: Arc<dyn Store>) {
    let world = World::new(Arc::clone(&store)).await;
    let before = store.list_workflows(&world.tenant, &PAGE).await.unwrap().items.remove(0);
    assert_eq!(archive(&world, false).await, before);
    let archived = archive(&world, true).await;
    let since = archived.archived_at;
    assert!(since.is_some());
    assert_eq!(archived, WorkflowSummary { archived_at: since, ..before.clone() });
    assert_eq!(archive(&world, true).await, archived);
    let second = store.publish_workflow(&world.tenant, &version(NAME, "[2]")).await.unwrap();
    let again = store.publish_workflow(&world.tenant, &version(NAME, "[2]")).await.unwrap();
    let third = store.store_draft(&world.tenant, &version(NAME, "[3]")).await.unwrap();
    let kept = store.store_draft(&world.tenant, &version(NAME, "[3]")).await.unwrap();
    assert!([second, again, third, kept].iter().all(|published| published.archived));
    let listed = store.list_workflows(&world.tenant, &PAGE).await.unwrap().items.remove(0);
    assert_eq!((listed.version, listed.archived_at), (Some(2), since));
    for number in [None, Some(1), Some(3)] {
        let found = store.find_workflow(&world.tenant, NAME, number).await.unwrap().unwrap();
        assert_eq!(found.archived_at, since);
    }
    let run = NewRun { version_id: second.id, ..world.run_of(&["a"]) };
    assert_eq!(accept(&world, &run).await, Acceptance::Archived);
    assert_eq!(archive(&world, false).await, WorkflowSummary { archived_at: None, ..listed });
    let found = store.find_workflow(&world.tenant, NAME, None).await.unwrap().unwrap();
    assert_eq!(found.archived_at, None);
}

/// Runs under way end as they would have.
pub async fn a_run_goes_on_when_its_workflow_is_archived(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let (begun, waiting) = (world.accept(&["a"]).await, world.accept(&[END_NODE]).await);
    let lease = world.lease().await;
    let first = world.won(lease, begun, "a").await;
    archive(&world, true).await;
    world.flip(lease, Commit { rows: vec![queued("b")], ..succeed(&first) }).await;
    world.pass(lease, begun, "b", Vec::new()).await;
    let second = world.won(lease, waiting, END_NODE).await;
    world.flip(lease, finish(&second, "1")).await;
    assert_eq!(world.run_state(waiting).await, RunState::Succeeded);
}

/// It is its tenant's, and one that is not there is not archived.
pub async fn a_workflow_is_archived_by_its_tenant(store: Arc<dyn Store>) {
    let world = World::new(Arc::clone(&store)).await;
    let strangers = [Identity::new("other", "main", "ann"), Identity::new("acme", "side", "ann")];
    for stranger in &strangers {
        assert_eq!(store.archive_workflow(stranger, NAME, true).await.unwrap(), None);
    }
    assert_eq!(store.archive_workflow(&world.tenant, "nothing", true).await.unwrap(), None);
    let theirs = World::of(Arc::clone(&store), strangers[1].clone()).await;
    archive(&theirs, true).await;
    assert_eq!(accept(&theirs, &theirs.run_of(&["a"])).await, Acceptance::Archived);
    assert!(matches!(accept(&world, &world.run_of(&["a"])).await, Acceptance::Accepted { .. }));
    // A workflow of drafts alone is one.
    store.store_draft(&world.tenant, &version("drafts", "[1]")).await.unwrap();
    let archived = store.archive_workflow(&world.tenant, "drafts", true).await.unwrap().unwrap();
    assert!(archived.archived_at.is_some() && archived.version.is_none());
}

/// How many runs there are.
async fn count(world: &World) -> usize {
    let (mut count, mut page) = (0, PAGE);
    loop {
        let listed = world.store.list_runs(&world.tenant, &RunFilter::default(), &page).await;
        let listed = listed.unwrap();
        count += listed.items.len();
        page.cursor = listed.next_cursor;
        if page.cursor.is_none() {
            return count;
        }
    }
}

/// Eight servers start runs all the while: what they are told is what there is, and from the answer on nothing starts.
pub async fn archiving_beside_starts_lets_none_through(store: Arc<dyn Store>) {
    const SERVERS: usize = 8;
    let world = World::new(store).await;
    let mut all = 0;
    for _ in 0..5 {
        archive(&world, false).await;
        let is_archived = Arc::new(AtomicBool::new(false));
        let mut servers = tokio::task::JoinSet::new();
        for _ in 0..SERVERS {
            let (world, is_archived) = (world.clone(), Arc::clone(&is_archived));
            servers.spawn(async move {
                let mut accepted = 0;
                loop {
                    let is_late = is_archived.load(Ordering::SeqCst);
                    match accept(&world, &world.run_of(&["a"])).await {
                        Acceptance::Accepted { .. } => {
                            assert!(!is_late, "accepted after the answer");
                            accepted += 1;
                        }
                        Acceptance::Archived => return accepted,
                        other => panic!("{other:?}"),
                    }
                }
            });
        }
        archive(&world, true).await;
        is_archived.store(true, Ordering::SeqCst);
        all += servers.join_all().await.into_iter().sum::<usize>();
        assert_eq!(count(&world).await, all);
    }
}

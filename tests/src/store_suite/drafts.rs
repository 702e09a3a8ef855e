//! Drafts: versions that are tried before they are published.

use std::slice::from_ref;
use std::sync::Arc;
use std::time::Duration;

use skein_shared::domain::ids::VersionId;
use skein_shared::domain::tenant::Identity;
use skein_shared::store::runs::{Acceptance, Idempotency, NewRun};
use skein_shared::store::workflows::{NewVersion, Published};
use skein_shared::store::{PageRequest, Store};
use tokio::sync::Barrier;
use uuid::Uuid;

use super::world::{World, version};

const NAME: &str = World::WORKFLOW;
const PAGE: PageRequest = PageRequest { limit: 100, cursor: None };
const HOUR: Duration = Duration::from_secs(3600);

fn ann() -> Identity {
    Identity::new("acme", "main", "ann")
}

fn document(number: u32) -> NewVersion {
    NewVersion {
        description: Some(format!("described {number}")),
        ..version(NAME, &format!("[{number}]"))
    }
}

async fn publish(store: &Arc<dyn Store>, number: u32) -> Published {
    store.publish_workflow(&ann(), &document(number)).await.unwrap()
}

async fn draft(store: &Arc<dyn Store>, number: u32) -> Published {
    store.store_draft(&ann(), &document(number)).await.unwrap()
}

/// The numbers of versions and drafts, newest first, and whether each is a draft.
async fn listed(store: &Arc<dyn Store>) -> Vec<(u32, bool)> {
    let listed = store.list_versions(&ann(), NAME, &PAGE).await.unwrap();
    listed.items.iter().map(|version| (version.version, version.draft)).collect()
}

fn run_of(world: &World, version: VersionId) -> NewRun {
    NewRun { version_id: version, pinned: true, ..world.run_of(&["a"]) }
}

async fn accept(store: &Arc<dyn Store>, run: &NewRun) -> Acceptance {
    store.accept_runs(from_ref(run)).await.unwrap().remove(0)
}

/// A draft is found by its number, and changes nothing for whoever asks for the latest version.
pub async fn a_draft_is_not_the_latest_version(store: Arc<dyn Store>) {
    let first = publish(&store, 1).await;
    assert!(first.created && !first.draft);
    let before = store.list_workflows(&ann(), &PAGE).await.unwrap();
    let second = draft(&store, 2).await;
    assert!(second.created && second.draft);
    assert_eq!(second.version, 2);
    assert_eq!(store.list_workflows(&ann(), &PAGE).await.unwrap(), before);
    assert_eq!(before.items[0].version, Some(1));
    let latest = store.find_workflow(&ann(), NAME, None).await.unwrap().unwrap();
    assert_eq!((latest.id, latest.draft), (first.id, false));
    let found = store.find_workflow(&ann(), NAME, Some(2)).await.unwrap().unwrap();
    assert_eq!((found.id, found.version, found.draft), (second.id, 2, true));
    assert_eq!(
        (found.document.as_str(), found.description.as_deref()),
        ("[2]", Some("described 2"))
    );
    assert_eq!((&*found.created_by, found.node_count, found.edge_count), ("ann", 3, 2));
    assert_eq!(listed(&store).await, [(2, true), (1, false)]);
    // Whoever executes or analyses a run of it reads its document.
    assert_eq!(store.load_document(second.id).await.unwrap().as_deref(), Some("[2]"));
    let documents = store.documents_of(&ann(), &[second.id]).await.unwrap();
    assert_eq!(documents, [(second.id, "[2]".to_owned())]);
    let stranger = Identity::new("other", "main", "ann");
    assert_eq!(store.documents_of(&stranger, &[second.id]).await.unwrap(), []);
}

/// What there is already is answered with its number, and a document that was published before the latest is no such.
pub async fn a_draft_of_what_is_there_adds_nothing(store: Arc<dyn Store>) {
    let old = publish(&store, 1).await;
    let latest = publish(&store, 2).await;
    assert_eq!(draft(&store, 2).await, Published { created: false, ..latest });
    let third = draft(&store, 3).await;
    assert_eq!(draft(&store, 3).await, Published { created: false, ..third });
    let again = draft(&store, 1).await;
    assert!(again.created && again.draft && again.id != old.id);
    assert_eq!(again.version, 4);
    assert_eq!(publish(&store, 5).await.version, 5, "there is one count");
    assert_eq!(draft(&store, 3).await, Published { created: false, ..third });
    assert_eq!(listed(&store).await, [(5, false), (4, true), (3, true), (2, false), (1, false)]);
    // The same document is another draft of another workflow, and of another tenant.
    let other = NewVersion { name: "other".to_owned(), ..document(3) };
    assert_eq!(store.store_draft(&ann(), &other).await.unwrap().version, 1);
    let stranger = Identity::new("acme", "side", "ann");
    assert_eq!(store.store_draft(&stranger, &document(3)).await.unwrap().version, 1);
}

/// Publishing what is a draft above the latest version makes that the latest version; below it, it is news.
pub async fn publishing_promotes_a_draft_above_the_latest_version(store: Arc<dyn Store>) {
    let (one, two, three) =
        (draft(&store, 1).await, draft(&store, 2).await, draft(&store, 3).await);
    let by = Identity::new("acme", "main", "bob");
    let published = store.publish_workflow(&by, &document(2)).await.unwrap();
    assert_eq!(published, Published { created: false, promoted: true, draft: false, ..two });
    let latest = store.find_workflow(&ann(), NAME, None).await.unwrap().unwrap();
    assert_eq!((latest.id, latest.version, latest.draft), (two.id, 2, false));
    assert_eq!((&*latest.created_by, latest.document.as_str()), ("bob", "[2]"));
    let summary = store.list_workflows(&ann(), &PAGE).await.unwrap().items.remove(0);
    assert_eq!((summary.version, summary.description.as_deref()), (Some(2), Some("described 2")));
    assert_eq!(store.load_document(two.id).await.unwrap().as_deref(), Some("[2]"));
    assert_eq!(listed(&store).await, [(3, true), (2, false), (1, true)]);
    let again = publish(&store, 1).await;
    assert!(again.created && again.id != one.id);
    assert_eq!(again.version, 4);
    let late = publish(&store, 3).await;
    assert!(late.created && late.id != three.id);
    assert_eq!(late.version, 5);
    assert_eq!(listed(&store).await, [(5, false), (4, false), (3, true), (2, false), (1, true)]);
    assert_eq!(publish(&store, 3).await, Published { created: false, ..late });
}

/// It is listed without a version, and whoever asks for the latest finds none.
pub async fn a_workflow_may_have_drafts_alone(store: Arc<dyn Store>) {
    let only = draft(&store, 1).await;
    let listed = store.list_workflows(&ann(), &PAGE).await.unwrap().items.remove(0);
    assert_eq!((&*listed.name, listed.version, listed.description), (NAME, None, None));
    assert_eq!((listed.created_at, listed.archived_at), (listed.updated_at, None));
    assert_eq!(store.find_workflow(&ann(), NAME, None).await.unwrap(), None);
    let found = store.find_workflow(&ann(), NAME, Some(1)).await.unwrap().unwrap();
    assert_eq!((found.id, found.draft), (only.id, true));
    // Nobody takes it for the latest version, whatever they have in mind.
    let world = World { store: Arc::clone(&store), tenant: ann(), version: only.id };
    for version in [only.id, VersionId(Uuid::nil())] {
        let run = NewRun { version_id: version, ..world.run_of(&["a"]) };
        assert_eq!(accept(&store, &run).await, Acceptance::Stale);
    }
    assert_eq!(accept(&store, &run_of(&world, VersionId(Uuid::nil()))).await, Acceptance::Stale);
    let named = accept(&store, &run_of(&world, only.id)).await;
    assert!(matches!(named, Acceptance::Accepted { version: 1, .. }), "{named:?}");
    let published = publish(&store, 2).await;
    assert_eq!((published.version, published.created), (2, true));
    let now = store.list_workflows(&ann(), &PAGE).await.unwrap().items.remove(0);
    assert_eq!((now.version, now.created_at), (Some(2), listed.created_at));
}

/// A run is of the version that was asked for by its number, if that is its workflow's.
pub async fn a_run_is_of_the_version_that_was_named(store: Arc<dyn Store>) {
    let world = World::new(Arc::clone(&store)).await;
    let (first, second) = (world.version, publish(&store, 2).await.id);
    let third = draft(&store, 3).await.id;
    let elsewhere = store.publish_workflow(&ann(), &version("other", "{}")).await.unwrap().id;
    let drafted = store.store_draft(&ann(), &version("other", "[1]")).await.unwrap().id;
    let stranger = Identity::new("acme", "side", "ann");
    let theirs = |version| NewRun { identity: stranger.clone(), ..run_of(&world, version) };
    let batch = [
        run_of(&world, first),
        run_of(&world, second),
        run_of(&world, third),
        NewRun { version_id: second, ..world.run_of(&["a"]) },
        NewRun { version_id: third, ..world.run_of(&["a"]) },
        run_of(&world, elsewhere),
        run_of(&world, drafted),
        run_of(&world, VersionId::generate()),
        theirs(first),
        theirs(third),
        run_of(&world, third),
    ];
    let outcomes = store.accept_runs(&batch).await.unwrap();
    let accepted = |outcome: &Acceptance| match outcome {
        Acceptance::Accepted { version, .. } => Some(*version),
        Acceptance::Stale => None,
        other => panic!("{other:?}"),
    };
    let versions: Vec<_> = outcomes.iter().map(accepted).collect();
    let none = None;
    assert_eq!(
        versions,
        [Some(1), Some(2), Some(3), Some(2), none, none, none, none, none, none, Some(3)]
    );
    for (run, version) in batch.iter().zip(versions) {
        let found = store.find_run(&run.identity, run.id, 0).await.unwrap();
        assert_eq!(found.map(|found| found.summary.version), version);
    }
    // A repeated batch is accepted as it was.
    assert_eq!(store.accept_runs(&batch).await.unwrap(), outcomes);
    // It is claimed as what it is, and stays that when the draft is published.
    assert_eq!(publish(&store, 3).await.id, third);
    let claimed = world.won(world.lease().await, batch[2].id, "a").await;
    assert_eq!((claimed.run.version_id, claimed.run.version), (third, 3));
    assert_eq!(claimed.run.node_count, 3);
}

/// The repetition of a request finds its run, of whatever version.
pub async fn a_repeated_key_finds_the_run_of_a_draft(store: Arc<dyn Store>) {
    let world = World::new(Arc::clone(&store)).await;
    let drafted = draft(&store, 2).await.id;
    let keyed = |digest: u8, version| {
        let idempotency = Some(Idempotency { key: "k".to_owned(), digest: [digest; 32] });
        NewRun { idempotency, ..run_of(&world, version) }
    };
    let first = keyed(1, drafted);
    assert!(matches!(accept(&store, &first).await, Acceptance::Accepted { version: 2, .. }));
    assert_eq!(accept(&store, &keyed(1, drafted)).await, Acceptance::Repeated(first.id));
    assert_eq!(accept(&store, &keyed(2, world.version)).await, Acceptance::KeyReused);
    // A refused run is none: another draft that nobody else has started may go.
    let other = draft(&store, 3).await.id;
    assert_eq!(accept(&store, &keyed(3, other)).await, Acceptance::KeyReused);
    assert_eq!(store.prune_drafts(Duration::ZERO, 9).await.unwrap(), 1);
    assert_eq!(listed(&store).await, [(2, true), (1, false)]);
}

/// A draft without a run goes when it is old enough; one with a run, and what is published, stays. No number comes back.
pub async fn unused_drafts_are_pruned(store: Arc<dyn Store>) {
    let world = World { store: Arc::clone(&store), tenant: ann(), version: VersionId::generate() };
    for number in 1..=6 {
        draft(&store, number).await;
    }
    let used = draft(&store, 2).await.id;
    assert!(matches!(
        accept(&store, &run_of(&world, used)).await,
        Acceptance::Accepted { version: 2, .. }
    ));
    publish(&store, 3).await;
    assert_eq!(store.prune_drafts(HOUR, 9).await.unwrap(), 0);
    assert_eq!(store.prune_drafts(Duration::ZERO, 2).await.unwrap(), 2, "those stored first");
    assert_eq!(listed(&store).await, [(6, true), (5, true), (3, false), (2, true)]);
    assert_eq!(store.prune_drafts(Duration::ZERO, 9).await.unwrap(), 2);
    assert_eq!(store.prune_drafts(Duration::ZERO, 9).await.unwrap(), 0);
    assert_eq!(listed(&store).await, [(3, false), (2, true)]);
    assert_eq!(store.find_workflow(&ann(), NAME, Some(6)).await.unwrap(), None);
    assert_eq!(draft(&store, 6).await.version, 7);
    assert_eq!(store.load_document(used).await.unwrap().as_deref(), Some("[2]"));
}

/// Of a workflow whose drafts are all gone nothing is left but its count.
pub async fn a_workflow_without_anything_is_not_there(store: Arc<dyn Store>) {
    draft(&store, 1).await;
    publish(&store, 1).await;
    let alone = NewVersion { name: "alone".to_owned(), ..document(1) };
    store.store_draft(&ann(), &alone).await.unwrap();
    let names = async || -> Vec<String> {
        let listed = store.list_workflows(&ann(), &PAGE).await.unwrap();
        listed.items.into_iter().map(|workflow| workflow.name).collect()
    };
    assert_eq!(names().await, ["alone", NAME]);
    assert_eq!(store.prune_drafts(Duration::ZERO, 9).await.unwrap(), 1);
    assert_eq!(names().await, [NAME]);
    assert_eq!(store.archive_workflow(&ann(), "alone", true).await.unwrap(), None);
    assert_eq!(store.list_versions(&ann(), "alone", &PAGE).await.unwrap().items, []);
    let again = store.store_draft(&ann(), &alone).await.unwrap();
    assert_eq!((again.version, again.created), (2, true));
    assert_eq!(names().await, ["alone", NAME]);
}

/// Some store a draft of a document, others publish it, all at once: there is one version of it, and it is published.
pub async fn a_document_that_is_drafted_and_published_at_once_is_one_version(
    store: Arc<dyn Store>,
) {
    const WRITERS: u32 = 8;
    for round in 1..=10 {
        let barrier = Arc::new(Barrier::new(WRITERS as usize));
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..WRITERS {
            let (store, barrier) = (Arc::clone(&store), Arc::clone(&barrier));
            writers.spawn(async move {
                barrier.wait().await;
                if writer % 2 == 0 {
                    draft(&store, round).await
                } else {
                    publish(&store, round).await
                }
            });
        }
        let outcomes = writers.join_all().await;
        assert!(outcomes.iter().all(|outcome| outcome.version == round), "{outcomes:?}");
        assert_eq!(outcomes.iter().filter(|outcome| outcome.created).count(), 1, "{outcomes:?}");
        let expected: Vec<_> = (1..=round).rev().map(|number| (number, false)).collect();
        assert_eq!(listed(&store).await, expected);
        let latest = store.find_workflow(&ann(), NAME, None).await.unwrap().unwrap();
        assert!(outcomes.iter().all(|outcome| outcome.id == latest.id), "{outcomes:?}");
    }
}

/// Different documents get numbers of their own, whatever becomes of them.
pub async fn drafts_and_versions_at_once_get_consecutive_numbers(store: Arc<dyn Store>) {
    const WRITERS: u32 = 8;
    let barrier = Arc::new(Barrier::new(WRITERS as usize));
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let (store, barrier) = (Arc::clone(&store), Arc::clone(&barrier));
        writers.spawn(async move {
            barrier.wait().await;
            if writer % 2 == 0 {
                draft(&store, writer).await
            } else {
                publish(&store, writer).await
            }
        });
    }
    let mut outcomes = writers.join_all().await;
    outcomes.sort_by_key(|outcome| outcome.version);
    let numbers: Vec<_> = outcomes.iter().map(|outcome| outcome.version).collect();
    assert_eq!(numbers, (1..=WRITERS).collect::<Vec<_>>());
    let expected: Vec<_> =
        outcomes.iter().rev().map(|outcome| (outcome.version, outcome.draft)).collect();
    assert_eq!(listed(&store).await, expected);
    let last = outcomes.iter().rfind(|outcome| !outcome.draft).unwrap();
    let latest = store.find_workflow(&ann(), NAME, None).await.unwrap().unwrap();
    assert_eq!((latest.id, latest.version), (last.id, last.version));
}

/// Its first run is accepted, or it is gone and the run is told so: never both, never neither.
pub async fn a_draft_is_started_or_pruned(store: Arc<dyn Store>) {
    let world = World { store: Arc::clone(&store), tenant: ann(), version: VersionId::generate() };
    for round in 1..=30 {
        let drafted = draft(&store, round).await;
        let runs = [run_of(&world, drafted.id), run_of(&world, drafted.id)];
        let (one, other, pruned) = tokio::join!(
            accept(&store, &runs[0]),
            accept(&store, &runs[1]),
            store.prune_drafts(Duration::ZERO, 100)
        );
        let is_pruned = pruned.unwrap() == 1;
        let is_there = store.load_document(drafted.id).await.unwrap().is_some();
        assert_eq!(is_there, !is_pruned);
        for (run, outcome) in runs.iter().zip([one, other]) {
            let is_accepted = matches!(outcome, Acceptance::Accepted { .. });
            assert!(is_accepted || outcome == Acceptance::Stale, "{outcome:?}");
            assert_eq!(is_accepted, is_there, "both, or none");
            let found = store.find_run(&ann(), run.id, 0).await.unwrap();
            assert_eq!(found.is_some(), is_accepted);
        }
        assert_eq!(store.prune_drafts(Duration::ZERO, 100).await.unwrap(), 0);
    }
}

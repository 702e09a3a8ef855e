//! Drafts on PostgreSQL: with somebody at work on the same row, a week later, and beside a process that knows none.

#![expect(clippy::unwrap_used, reason = "a case that cannot go on fails, which is its purpose")]

use std::slice::from_ref;
use std::sync::Arc;
use std::time::Duration;

use skein_shared::domain::ids::VersionId;
use skein_shared::store::runs::{Acceptance, NewRun};
use skein_shared::store::workflows::Published;
use skein_shared::store::{PageRequest, StoreError};
use skein_tests::postgres::{TestDatabase, with_database};
use skein_tests::store_suite::world::{World, version};
use sqlx::{PgPool, Postgres, Row, Transaction};

use crate::migrations::wait_for_waiting;
use crate::postgres_only::world_of;

const NAME: &str = World::WORKFLOW;
const PAGE: PageRequest = PageRequest { limit: 100, cursor: None };
const WEEK: Duration = Duration::from_secs(7 * 86_400);

/// What was answered, unless somebody has held what it needs for longer than a statement waits: then it is asked again.
fn answered<T>(outcome: Result<T, StoreError>) -> Option<T> {
    match outcome {
        Err(StoreError::Locked(_)) => None,
        outcome => Some(outcome.unwrap()),
    }
}

async fn draft(world: &World, document: &str) -> Published {
    let new = version(NAME, document);
    loop {
        if let Some(stored) = answered(world.store.store_draft(&world.tenant, &new).await) {
            return stored;
        }
    }
}

async fn publish(world: &World, document: &str) -> Published {
    let new = version(NAME, document);
    loop {
        if let Some(published) = answered(world.store.publish_workflow(&world.tenant, &new).await) {
            return published;
        }
    }
}

async fn start(world: &World, version: VersionId) -> Acceptance {
    let run = NewRun { version_id: version, pinned: true, ..world.run_of(&["a"]) };
    loop {
        if let Some(mut outcomes) = answered(world.store.accept_runs(from_ref(&run)).await) {
            return outcomes.remove(0);
        }
    }
}

async fn listed(world: &World) -> Vec<(u32, bool)> {
    let listed = world.store.list_versions(&world.tenant, NAME, &PAGE).await.unwrap();
    listed.items.iter().map(|version| (version.version, version.draft)).collect()
}

/// A transaction that has changed a draft and has not ended.
async fn changing(
    pool: &PgPool,
    statement: &'static str,
    draft: VersionId,
) -> Transaction<'static, Postgres> {
    let mut holder = pool.begin().await.unwrap();
    let changed = sqlx::query(statement).bind(draft.0).execute(&mut *holder).await.unwrap();
    assert_eq!(changed.rows_affected(), 1);
    holder
}

const PRUNE: &str = "DELETE FROM workflow_drafts WHERE id = $1";
const START: &str = "UPDATE workflow_drafts SET started_at = now() WHERE id = $1";

/// Whoever starts a draft that is being pruned waits, and learns what has become of it; others are not kept by it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_waits_for_whoever_prunes_its_draft() {
    with_database(async |database: Arc<TestDatabase>| {
        let (world, pool) = world_of(&database).await;
        for is_pruned in [true, false] {
            let drafted = draft(&world, if is_pruned { "[1]" } else { "[2]" }).await.id;
            let pruning = changing(&pool, PRUNE, drafted).await;
            let starting = {
                let world = world.clone();
                tokio::spawn(async move { start(&world, drafted).await })
            };
            wait_for_waiting(&pool, &database, "Accepts a batch of runs", 1).await;
            world.accept(&["a"]).await;
            if is_pruned {
                pruning.commit().await.unwrap();
                assert_eq!(starting.await.unwrap(), Acceptance::Stale);
                assert_eq!(world.store.load_document(drafted).await.unwrap(), None);
            } else {
                pruning.rollback().await.unwrap();
                let outcome = starting.await.unwrap();
                assert!(matches!(outcome, Acceptance::Accepted { .. }), "{outcome:?}");
                assert_eq!(world.store.prune_drafts(Duration::ZERO, 9).await.unwrap(), 0);
            }
        }
    })
    .await;
}

/// Whoever prunes passes over a draft that is being started, and takes the others.
#[tokio::test]
async fn pruning_waits_for_nobody() {
    with_database(async |database: Arc<TestDatabase>| {
        let (world, pool) = world_of(&database).await;
        let held = draft(&world, "[1]").await.id;
        draft(&world, "[2]").await;
        let starting = changing(&pool, START, held).await;
        assert_eq!(world.store.prune_drafts(Duration::ZERO, 9).await.unwrap(), 1);
        starting.commit().await.unwrap();
        assert_eq!(world.store.prune_drafts(Duration::ZERO, 9).await.unwrap(), 0);
        assert_eq!(listed(&world).await, [(2, true), (1, false)]);
    })
    .await;
}

/// Two first starts at once: the second waits for the first and is accepted as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_first_starts_are_both_accepted() {
    with_database(async |database: Arc<TestDatabase>| {
        let (world, pool) = world_of(&database).await;
        let drafted = draft(&world, "[1]").await.id;
        let first = changing(&pool, START, drafted).await;
        let second = {
            let world = world.clone();
            tokio::spawn(async move { start(&world, drafted).await })
        };
        wait_for_waiting(&pool, &database, "Accepts a batch of runs", 1).await;
        first.commit().await.unwrap();
        let outcome = second.await.unwrap();
        assert!(matches!(outcome, Acceptance::Accepted { version: 2, .. }), "{outcome:?}");
    })
    .await;
}

/// A draft that was pruned while it is published becomes the version all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_draft_is_published_beside_whoever_prunes_it() {
    with_database(async |database: Arc<TestDatabase>| {
        let (world, pool) = world_of(&database).await;
        let drafted = draft(&world, "[1]").await;
        let pruning = changing(&pool, PRUNE, drafted.id).await;
        let publishing = {
            let world = world.clone();
            tokio::spawn(async move { publish(&world, "[1]").await })
        };
        wait_for_waiting(&pool, &database, "Publishes a version", 1).await;
        pruning.commit().await.unwrap();
        let expected = Published { created: false, promoted: true, draft: false, ..drafted };
        assert_eq!(publishing.await.unwrap(), expected);
        assert_eq!(listed(&world).await, [(2, false), (1, false)]);
        assert_eq!(world.store.load_document(drafted.id).await.unwrap().as_deref(), Some("[1]"));
    })
    .await;
}

/// A week after it was stored last, and not after it was stored first.
#[tokio::test]
async fn a_draft_that_is_stored_again_is_kept_for_another_week() {
    const AGE: &str = "UPDATE workflow_drafts SET stored_at = stored_at - interval '8 days'";
    with_database(async |database: Arc<TestDatabase>| {
        let (world, pool) = world_of(&database).await;
        let (one, two) = (draft(&world, "[1]").await, draft(&world, "[2]").await);
        sqlx::query(AGE).execute(&pool).await.unwrap();
        assert_eq!(draft(&world, "[1]").await, Published { created: false, ..one });
        assert_eq!(world.store.prune_drafts(WEEK, 9).await.unwrap(), 1);
        let find = |number| world.store.find_workflow(&world.tenant, NAME, Some(number));
        assert!(find(one.version).await.unwrap().is_some());
        assert!(find(two.version).await.unwrap().is_none());
        // A draft that is stored while somebody prunes it is another one.
        sqlx::query(AGE).execute(&pool).await.unwrap();
        let pruning = changing(&pool, PRUNE, one.id).await;
        let storing = {
            let world = world.clone();
            tokio::spawn(async move { draft(&world, "[1]").await })
        };
        wait_for_waiting(&pool, &database, "Stores a draft", 1).await;
        pruning.commit().await.unwrap();
        let again = storing.await.unwrap();
        assert!(again.created && again.id != one.id);
        assert_eq!((again.version, again.draft), (4, true));
    })
    .await;
}

/// What processes of the version before ask, as they do.
const LATEST: &str = "SELECT version FROM workflow_versions
    WHERE organization_id = 'acme' AND workspace_id = 'main' AND name = $1 ORDER BY version DESC LIMIT 1";
const LIST: &str = "SELECT name, latest_version FROM workflows
    WHERE organization_id = 'acme' AND workspace_id = 'main' ORDER BY name";
const PUBLISH: &str = "WITH bumped AS (
        INSERT INTO workflows AS w (organization_id, workspace_id, name, description, latest_version, latest_id)
        VALUES ('acme', 'main', $2, NULL, 1, $1)
        ON CONFLICT (organization_id, workspace_id, name) DO UPDATE
        SET latest_version = w.latest_version + 1, latest_id = $1, description = NULL, updated_at = now()
        RETURNING latest_version
    )
    INSERT INTO workflow_versions (id, organization_id, workspace_id, name, version, document, digest, node_count,
                                   edge_count, created_by)
    SELECT $1, 'acme', 'main', $2, latest_version, $3::json, $4, 3, 2, 'old' FROM bumped
    RETURNING version";

/// A process that knows no drafts takes none for the latest version, and publishes as ever.
#[tokio::test]
async fn a_process_of_the_version_before_sees_no_draft() {
    with_database(async |database: Arc<TestDatabase>| {
        let (world, pool) = world_of(&database).await;
        let latest = async |name: &str| -> Option<i32> {
            sqlx::query_scalar(LATEST).bind(name).fetch_optional(&pool).await.unwrap()
        };
        let publish_as_before = async |name: &str, document: &str| -> i32 {
            let new = version(name, document);
            let query = sqlx::query_scalar(PUBLISH).bind(new.id.0).bind(name).bind(document);
            query.bind(&new.digest[..]).fetch_one(&pool).await.unwrap()
        };
        draft(&world, "[2]").await;
        let alone = version("alone", "[1]");
        world.store.store_draft(&world.tenant, &alone).await.unwrap();
        assert_eq!((latest(NAME).await, latest("alone").await), (Some(1), None));
        let rows = sqlx::query(LIST).fetch_all(&pool).await.unwrap();
        let rows: Vec<(String, i32)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        assert_eq!(rows, [("alone".to_owned(), 0), (NAME.to_owned(), 1)]);

        // It gives the number of a draft to a version, which is found by it from then on.
        assert_eq!(publish_as_before("alone", "[9]").await, 1);
        assert_eq!(publish_as_before(NAME, "[9]").await, 2);
        let found = world.store.find_workflow(&world.tenant, NAME, Some(2)).await.unwrap().unwrap();
        assert_eq!((found.document.as_str(), found.draft), ("[9]", false));
        let found = world.store.find_workflow(&world.tenant, NAME, None).await.unwrap().unwrap();
        assert_eq!(found.document, "[9]");
        // Such a draft is not published under that number, and numbers go on above all that there are.
        let published = publish(&world, "[2]").await;
        assert_eq!((published.version, published.created), (3, true));
        assert_eq!(draft(&world, "[5]").await.version, 4);
        assert_eq!(publish_as_before(NAME, "[10]").await, 4);
        assert_eq!(publish(&world, "[11]").await.version, 5);
    })
    .await;
}

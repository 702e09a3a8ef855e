//! What is special to SQLite; everything else is in the conformance suite.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use uuid::Uuid;

use super::opening::connect_writer;
use super::rows::get;
use super::*;
use crate::domain::budget::NewBudget;
use crate::domain::ids::{ActivationKey, CallId, LeaseId, RunId, VersionId};
use crate::domain::run::RunTrace;
use crate::domain::state::NodeState;
use crate::domain::tenant::Identity;
use crate::domain::trace::{SpanId, TraceId};
use crate::store::engine::{Claim, ClaimRequest, NewLease, NodeSpec};
use crate::store::log_filter::WHOLE_LOG;
use crate::store::recovery::{DueRange, ReapScope, SweepOptions};
use crate::store::runs::{Acceptance, NewRun};
use crate::store::workflows::NewVersion;
use crate::store::{EngineStore, KeyStore, RecoveryStore, RunStore, SchemaMismatch, WorkflowStore};
use sqlx::{ConnectOptions, Connection};

const SWEEP: SweepOptions = SweepOptions {
    limit: 100,
    broker_up: true,
    queue_deep: false,
    trace_wait_max: Duration::from_secs(900),
    call: CallId(Uuid::nil()),
    range: DueRange::ALL,
};

/// A directory that is removed in the end.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("skein_sqlite_{}", Uuid::new_v4().simple())))
    }

    fn file(&self) -> PathBuf {
        self.0.join("deeper/skein.db")
    }

    async fn open(&self) -> Result<SqliteStore, StoreError> {
        SqliteStore::open(self.file().to_str().unwrap()).await
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn tenant() -> Identity {
    Identity::new("acme", "main", "ann")
}

fn span() -> SpanId {
    SpanId(fastrand::u64(1..).to_be_bytes())
}

async fn publish(store: &SqliteStore) -> VersionId {
    let version = NewVersion {
        id: VersionId::generate(),
        name: "digest".to_owned(),
        description: Some("one\0two".to_owned()),
        document: "{}".to_owned(),
        digest: [7; 32],
        node_count: 2,
        edge_count: 0,
    };
    store.publish_workflow(&tenant(), &version).await.unwrap().id
}

fn run_of(version_id: VersionId, entries: &[&str]) -> NewRun {
    let spec = |node: &&str| NodeSpec {
        node: (*node).into(),
        scope: "".into(),
        kind: "transform",
        timeout: Duration::from_secs(60),
        publish_span: span(),
    };
    NewRun {
        id: RunId::generate(),
        identity: tenant(),
        workflow: "digest".into(),
        version_id,
        pinned: false,
        input: "{}".to_owned(),
        step_mode: false,
        trace: RunTrace {
            trace: TraceId(*Uuid::new_v4().as_bytes()),
            publish: span(),
            root: span(),
            flags: 1,
            state: None,
        },
        request_span: span(),
        entries: entries.iter().map(spec).collect(),
        idempotency: None,
        budget: NewBudget::default(),
    }
}

async fn open_lease(store: &SqliteStore) -> LeaseId {
    let ttl = Duration::from_secs(3600);
    let id = LeaseId::generate();
    let lease = NewLease { id, host: "test".to_owned(), pid: 1, version: "0.0.0", slots: 4, ttl };
    store.open_lease(&lease).await.unwrap();
    id
}

async fn claim(store: &SqliteStore, lease: LeaseId, run: RunId, node: &str) -> Claim {
    let request = ClaimRequest { key: ActivationKey::root(run, node), span: span() };
    store.claim(lease, true, &[request]).await.unwrap().remove(0)
}

#[tokio::test]
async fn a_second_owner_is_refused_until_the_first_closes() {
    let directory = Directory::new();
    let store = directory.open().await.unwrap();
    let refused = directory.open().await.unwrap_err();
    assert!(matches!(refused, StoreError::Unavailable(_)), "{refused:?}");
    let reason = refused.source().unwrap().to_string();
    assert!(reason.contains("another process owns"), "{reason}");
    assert!(reason.contains("skein.db.lock"), "{reason}");
    store.ping().await.unwrap();
    store.close().await;
    store.close().await;
    assert!(store.ping().await.unwrap_err().is_retryable());
    directory.open().await.unwrap().close().await;
}

#[tokio::test]
async fn a_dropped_store_gives_its_lock_up_by_itself() {
    let directory = Directory::new();
    let store = directory.open().await.unwrap();
    let tasks = store.inner.tasks.clone();
    drop(store);
    tasks.wait().await;
    directory.open().await.unwrap().close().await;
}

#[tokio::test]
async fn a_database_in_memory_is_refused() {
    for url in ["sqlite::memory:", "sqlite://:memory:", "sqlite:x.db?mode=memory", ":memory:", ""] {
        let refused = SqliteStore::open(url).await.unwrap_err();
        assert!(matches!(refused, StoreError::Unavailable(_)), "{url}: {refused:?}");
    }
}

#[tokio::test]
async fn a_url_names_the_same_file_as_a_path() {
    let directory = Directory::new();
    let store = directory.open().await.unwrap();
    publish(&store).await;
    store.close().await;
    let file = directory.file();
    for url in
        [format!("sqlite:{}", file.display()), format!("sqlite://{}?mode=rwc", file.display())]
    {
        let store = SqliteStore::open(&url).await.unwrap();
        let found = store.find_workflow(&tenant(), "digest", None).await.unwrap();
        assert_eq!(found.unwrap().description.as_deref(), Some("one\0two"));
        store.close().await;
    }
}

#[tokio::test]
async fn a_schema_of_a_later_version_is_refused() {
    let directory = Directory::new();
    directory.open().await.unwrap().close().await;
    let mut connection = connect_writer(&directory.file()).await.unwrap();
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'from the future', 1, x'00', 0)",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    let refused = directory.open().await.unwrap_err();
    let StoreError::Schema(SchemaMismatch::Newer { found: 9999, .. }) = refused else {
        panic!("{refused:?}")
    };
}

/// Reads the settings of the connection that writes.
struct Settings;

#[async_trait]
impl Write for Settings {
    type Reply = (String, i64);
    const NAME: &'static str = "settings";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Self::Reply, StoreError> {
        let journal = tx.fetch_optional(sqlx::query("PRAGMA journal_mode")).await?.unwrap();
        let synchronous = tx.fetch_optional(sqlx::query("PRAGMA synchronous")).await?.unwrap();
        Ok((get(&journal, "journal_mode")?, get(&synchronous, "synchronous")?))
    }
}

#[tokio::test]
async fn the_writer_flushes_every_commit() {
    let directory = Directory::new();
    let store = directory.open().await.unwrap();
    assert_eq!(store.write(Settings).await.unwrap(), ("wal".to_owned(), 2));
    store.close().await;
}

#[tokio::test]
async fn readers_cannot_write() {
    let directory = Directory::new();
    let store = directory.open().await.unwrap();
    let write = sqlx::query("DELETE FROM runs").execute(store.readers()).await;
    assert!(matches!(store_error(write.unwrap_err()), StoreError::Unavailable(_)));
    store.close().await;
}

#[tokio::test]
async fn the_first_lease_takes_back_what_the_last_process_left() {
    let directory = Directory::new();
    let store = directory.open().await.unwrap();
    let lease = open_lease(&store).await;
    let run = run_of(publish(&store).await, &["a", "b"]);
    store.accept_runs(std::slice::from_ref(&run)).await.unwrap();
    assert!(matches!(claim(&store, lease, run.id, "a").await, Claim::Won(_)));
    assert_eq!(store.sweep(SWEEP).await.unwrap().wake.len(), 0);
    // A second worker of the same process takes nothing from the first.
    let second = open_lease(&store).await;
    assert!(store.heartbeat(lease, 0).await.unwrap().is_some());
    assert!(store.reap(100, ReapScope::ALL).await.unwrap().is_empty());
    store.close().await;

    // Who only reads changes nothing.
    let store = directory.open().await.unwrap();
    let before = store.find_run(&tenant(), run.id, usize::MAX).await.unwrap().unwrap();
    assert_eq!(before.nodes[0].state, NodeState::Running);
    store.close().await;

    let store = directory.open().await.unwrap();
    let third = open_lease(&store).await;
    for lease in [lease, second] {
        assert!(store.heartbeat(lease, 0).await.unwrap().is_none());
    }
    let crashed = store.reap(100, ReapScope::ALL).await.unwrap();
    assert_eq!(crashed.len(), 1);
    assert_eq!((&*crashed[0].key.node, crashed[0].attempt), ("a", 1));
    assert!(store.reap(100, ReapScope::ALL).await.unwrap().is_empty(), "each is returned once");
    let due: Vec<_> = store.sweep(SWEEP).await.unwrap().wake;
    assert!(due.iter().any(|wake| &*wake.key.node == "b"), "due at once");

    let Claim::Won(a) = claim(&store, third, run.id, "a").await else { panic!("a is queued") };
    assert_eq!((a.claim, a.attempt, a.strikes), (2, 2, 0));
    assert!(a.crashed && !a.suspect);
    store.close().await;

    let store = directory.open().await.unwrap();
    let lease = open_lease(&store).await;
    assert_eq!(store.reap(100, ReapScope::ALL).await.unwrap().len(), 1);
    let Claim::Won(a) = claim(&store, lease, run.id, "a").await else { panic!("a is queued") };
    assert_eq!((a.attempt, a.strikes, a.suspect), (3, 0, true));
    let detail = store.find_run(&tenant(), run.id, usize::MAX).await.unwrap().unwrap();
    let outcomes: Vec<_> = detail.nodes[0].earlier.iter().map(|it| it.outcome.as_str()).collect();
    assert_eq!(outcomes, ["crashed", "crashed"]);
    store.close().await;
}

#[tokio::test]
async fn attempts_that_a_reaper_has_no_room_for_are_returned_later() {
    let directory = Directory::new();
    let store = directory.open().await.unwrap();
    let run = run_of(publish(&store).await, &["a", "b", "c"]);
    store.accept_runs(std::slice::from_ref(&run)).await.unwrap();
    let lease = open_lease(&store).await;
    for node in ["a", "b", "c"] {
        claim(&store, lease, run.id, node).await;
    }
    store.close().await;
    let store = directory.open().await.unwrap();
    open_lease(&store).await;
    assert_eq!(store.reap(2, ReapScope::ALL).await.unwrap().len(), 2);
    assert_eq!(store.reap(2, ReapScope::ALL).await.unwrap().len(), 1);
    store.close().await;
}

#[tokio::test]
async fn a_dropped_caller_leaves_no_transaction_open() {
    let directory = Directory::new();
    let store = directory.open().await.unwrap();
    let version = publish(&store).await;
    let runs: Vec<_> = (0..60).map(|_| run_of(version, &["a"])).collect();
    for (yields, run) in runs.iter().enumerate() {
        let (store, batch) = (store.clone(), vec![run.clone()]);
        let caller = tokio::spawn(async move { store.accept_runs(&batch).await });
        for _ in 0..yields {
            tokio::task::yield_now().await;
        }
        caller.abort();
    }
    // Whoever comes after them finds the writer at work, and it holds no lock when it rests.
    store.ping().await.unwrap();
    let mut other =
        opening::options(&directory.file()).busy_timeout(Duration::ZERO).connect().await.unwrap();
    for statement in ["BEGIN IMMEDIATE", "ROLLBACK"] {
        sqlx::query(statement).execute(&mut other).await.unwrap();
    }
    // What was submitted has happened as a whole, the rest not at all.
    for run in &runs {
        if let Some(found) = store.find_run(&tenant(), run.id, usize::MAX).await.unwrap() {
            assert_eq!(found.nodes.len(), 1);
            assert_eq!(found.nodes[0].state, NodeState::Queued);
        }
    }
    store.close().await;
}

#[tokio::test]
async fn a_submitted_write_happens_although_its_caller_is_gone() {
    let directory = Directory::new();
    let store = directory.open().await.unwrap();
    assert!(store.ensure_key(&[1; 32], &tenant()).now_or_never().is_none());
    store.ping().await.unwrap();
    let found = store.find_key(&[1; 32]).await.unwrap();
    assert_eq!(found.map(|key| key.identity), Some(tenant()));
    store.close().await;
}

/// What is looked up on the way to a write does not wait for requests that read, however many there are.
#[tokio::test]
async fn reads_leave_connections_to_writes() {
    let directory = Directory::new();
    let store = directory.open().await.unwrap();
    let run = run_of(publish(&store).await, &["a"]);
    let mut reading = Vec::new();
    for _ in 0..opening::LISTINGS_MAX {
        reading.push(store.listings().acquire().await.unwrap());
    }
    let ann = tenant();
    let reading_too = store.find_run(&ann, run.id, 0);
    let waited = tokio::time::timeout(Duration::from_millis(100), reading_too).await;
    assert!(waited.is_err(), "there is no connection left for it");
    store.find_key(&[0; 32]).await.unwrap();
    store.find_workflow(&tenant(), "digest", None).await.unwrap();
    store.accept_runs(std::slice::from_ref(&run)).await.unwrap();
    drop(reading);
    store.close().await;
}

#[tokio::test]
async fn a_dropped_reader_leaves_no_snapshot_open() {
    let directory = Directory::new();
    let store = directory.open().await.unwrap();
    let run = run_of(publish(&store).await, &["a"]);
    store.accept_runs(std::slice::from_ref(&run)).await.unwrap();
    for yields in 0..60 {
        let (store, id) = (store.clone(), run.id);
        let caller = tokio::spawn(async move { store.find_run(&tenant(), id, usize::MAX).await });
        for _ in 0..yields {
            tokio::task::yield_now().await;
        }
        caller.abort();
    }
    let mut readers = Vec::new();
    for _ in 0..opening::LISTINGS_MAX {
        readers.push(store.listings().acquire().await.unwrap());
    }
    for reader in &mut readers {
        for statement in ["BEGIN", "ROLLBACK"] {
            sqlx::query(statement).execute(&mut **reader).await.unwrap();
        }
    }
    drop(readers);
    store.close().await;
}

#[tokio::test]
async fn a_refused_value_takes_back_only_its_own_request() {
    let directory = Directory::new();
    let store = directory.open().await.unwrap();
    let version = publish(&store).await;
    // The second has the same entry node twice, after its run was inserted; the third no JSON for input.
    let malformed = NewRun { input: "{".to_owned(), ..run_of(version, &["a"]) };
    let runs = [run_of(version, &["a"]), run_of(version, &["a", "a"]), malformed];
    let runs = runs.into_iter().chain([run_of(version, &["b"])]).collect::<Vec<_>>();
    // They wait together, so they share a transaction.
    let calls = runs.iter().map(|run| store.accept_runs(std::slice::from_ref(run)));
    let outcomes = join_all(calls).await;
    let accepted = |outcome: &Result<Vec<Acceptance>, StoreError>| match outcome {
        Ok(accepted) => matches!(accepted[..], [Acceptance::Accepted { .. }]),
        Err(StoreError::Data(_)) => false,
        Err(other) => panic!("{other:?}"),
    };
    let accepted: Vec<_> = outcomes.iter().map(accepted).collect();
    assert_eq!(accepted, [true, false, false, true]);
    for (run, accepted) in runs.iter().zip(accepted) {
        assert_eq!(
            store.find_run(&tenant(), run.id, usize::MAX).await.unwrap().is_some(),
            accepted
        );
        assert_eq!(
            store.run_logs(&tenant(), run.id, &WHOLE_LOG, &page()).await.unwrap().is_some(),
            accepted
        );
    }
    store.close().await;
}

#[tokio::test]
async fn a_commit_that_fails_is_answered_to_all_and_undone() {
    let directory = Directory::new();
    let store = directory.open().await.unwrap();
    let version = publish(&store).await;
    let (run, other) = (run_of(version, &["a"]), run_of(version, &["a"]));
    let (first, broken, last) = tokio::join!(
        store.accept_runs(std::slice::from_ref(&run)),
        store.write(EndTransaction),
        store.accept_runs(std::slice::from_ref(&other)),
    );
    assert!(first.unwrap_err().is_retryable());
    assert!(broken.is_err());
    assert!(last.unwrap_err().is_retryable());
    for run in [&run, &other] {
        assert_eq!(store.find_run(&tenant(), run.id, usize::MAX).await.unwrap(), None);
        store.accept_runs(std::slice::from_ref(run)).await.unwrap();
        assert!(store.find_run(&tenant(), run.id, usize::MAX).await.unwrap().is_some());
    }
    store.close().await;
}

/// Ends the transaction under the writer's feet, as SQLite itself does on a full disk.
struct EndTransaction;

#[async_trait]
impl Write for EndTransaction {
    type Reply = ();
    const NAME: &'static str = "end_transaction";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        tx.execute(sqlx::query("ROLLBACK")).await?;
        Err(StoreError::Unavailable("full".into()))
    }
}

fn page() -> crate::store::PageRequest {
    crate::store::PageRequest { limit: 100, cursor: None }
}

/// What ended long ago is deleted by the next check of the leases.
#[tokio::test]
async fn leases_of_long_ago_are_forgotten() {
    let directory = Directory::new();
    let store = directory.open().await.unwrap();
    let (old, young) = (open_lease(&store).await, open_lease(&store).await);
    for lease in [old, young] {
        store.close_lease(lease, &[]).await.unwrap();
    }
    store.close().await;
    let mut connection = connect_writer(&directory.file()).await.unwrap();
    sqlx::query("UPDATE worker_leases SET started_at = 0, seen_at = 0 WHERE lease_id = ?1")
        .bind(old.to_string())
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    let store = directory.open().await.unwrap();
    store.reap(10, ReapScope::ALL).await.unwrap();
    let kept: Vec<String> = sqlx::query_scalar("SELECT lease_id FROM worker_leases")
        .fetch_all(store.readers())
        .await
        .unwrap();
    assert_eq!(kept, [young.to_string()]);
    store.close().await;
}

/// What was in the queue of the process before is gone with it: no answer of this one's queue shows where it is.
#[tokio::test]
async fn what_was_queued_before_is_published_beside_a_deep_queue() {
    let directory = Directory::new();
    let store = directory.open().await.unwrap();
    open_lease(&store).await;
    let version = publish(&store).await;
    let run = run_of(version, &["a"]);
    store.accept_runs(std::slice::from_ref(&run)).await.unwrap();
    store.close().await;
    let store = directory.open().await.unwrap();
    open_lease(&store).await;
    let deep = SweepOptions { queue_deep: true, ..SWEEP };
    assert_eq!(store.sweep(deep).await.unwrap().wake.len(), 1);
    store.close().await;
}

#[tokio::test]
async fn a_row_that_cannot_be_read_drops_no_other() {
    let directory = Directory::new();
    let store = directory.open().await.unwrap();
    let version = publish(&store).await;
    let (broken, whole) = (run_of(version, &["a"]), run_of(version, &["a"]));
    store.accept_runs(&[broken.clone(), whole.clone()]).await.unwrap();
    store.close().await;
    let mut connection = connect_writer(&directory.file()).await.unwrap();
    sqlx::query("UPDATE runs SET trace_id = 'none' WHERE id = ?1")
        .bind(broken.id.to_string())
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    let store = directory.open().await.unwrap();
    open_lease(&store).await;
    let swept = store.sweep(SWEEP).await.unwrap();
    let woken: Vec<_> = swept.wake.iter().map(|wake| wake.key.run).collect();
    assert_eq!((woken, swept.deferred), (vec![whole.id], 1));
    let again = store.sweep(SWEEP).await.unwrap();
    assert_eq!((again.wake, again.deferred), (Vec::new(), 0), "it is out of the way");
    store.close().await;
}

/// For a week after it was stored last, and not after it was stored first.
#[tokio::test]
async fn a_draft_that_is_stored_again_is_kept_for_another_week() {
    let directory = Directory::new();
    let store = directory.open().await.unwrap();
    let draft = |digest: u8| NewVersion {
        id: VersionId::generate(),
        name: "digest".to_owned(),
        description: None,
        document: "{}".to_owned(),
        digest: [digest; 32],
        node_count: 1,
        edge_count: 0,
    };
    for digest in [1, 2] {
        assert!(store.store_draft(&tenant(), &draft(digest)).await.unwrap().created);
    }
    store.close().await;
    let mut connection = connect_writer(&directory.file()).await.unwrap();
    sqlx::query("UPDATE workflow_drafts SET stored_at = stored_at - 8 * 86400 * 1000000")
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();

    let store = directory.open().await.unwrap();
    let again = store.store_draft(&tenant(), &draft(1)).await.unwrap();
    assert_eq!((again.version, again.created, again.draft), (1, false, true));
    let week = Duration::from_secs(7 * 86_400);
    assert_eq!(store.prune_drafts(week, 9).await.unwrap(), 1);
    assert!(store.find_workflow(&tenant(), "digest", Some(1)).await.unwrap().is_some());
    assert!(store.find_workflow(&tenant(), "digest", Some(2)).await.unwrap().is_none());
    store.close().await;
}

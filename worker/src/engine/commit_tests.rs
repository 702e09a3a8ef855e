//! What a commit has kept is held before its worker knows of it.

use std::sync::{Mutex, OnceLock};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use skein_shared::broker::in_process::InProcess;
use skein_shared::domain::budget::NewBudget;
use skein_shared::domain::ids::{LeaseId, VersionId};
use skein_shared::domain::run::{AbandonedAttempt, RunHeader};
use skein_shared::domain::state::{NodeState, RunState};
use skein_shared::store::engine::{
    Claim, ClaimRequest, Commit, Committed, EngineStore, NewLease, NodeSpec, Upstream,
};
use skein_shared::store::runs::NewRun;
use skein_shared::store::sqlite::SqliteStore;
use skein_shared::store::workflows::NewVersion;
use skein_shared::store::{Admin, RecoveryStore, RunStore, StepStore, StoreError};
use skein_shared::telemetry::new_span_id;
use skein_shared::workflow::compile::compile;
use tokio_util::task::TaskTracker;

use super::*;
use crate::egress::{Egress, EgressConfig};
use crate::lease::LeaseTiming;
use crate::live::LivePublisher;
use crate::nodes::sample_context;
use crate::steps::ModelCaller;

/// A store that looks, between a commit and the answer to it, for what was kept and what of that the worker holds.
struct Watched {
    inner: SqliteStore,
    lease: OnceLock<Arc<Lease>>,
    /// What was kept, and whether it was held.
    kept: Mutex<Vec<(String, bool)>>,
}

#[async_trait]
impl EngineStore for Watched {
    async fn open_lease(&self, lease: &NewLease) -> Result<(), StoreError> {
        self.inner.open_lease(lease).await
    }

    async fn heartbeat(
        &self,
        lease: LeaseId,
        busy: u32,
    ) -> Result<Option<DateTime<Utc>>, StoreError> {
        self.inner.heartbeat(lease, busy).await
    }

    async fn runs_over(&self, runs: &[RunId]) -> Result<Vec<RunId>, StoreError> {
        self.inner.runs_over(runs).await
    }

    async fn release_strays(
        &self,
        lease: LeaseId,
        held: &[ActivationKey],
        claimed_until: DateTime<Utc>,
    ) -> Result<Vec<AbandonedAttempt>, StoreError> {
        self.inner.release_strays(lease, held, claimed_until).await
    }

    async fn close_lease(
        &self,
        lease: LeaseId,
        begun: &[ActivationKey],
    ) -> Result<Vec<AbandonedAttempt>, StoreError> {
        self.inner.close_lease(lease, begun).await
    }

    async fn claim(
        &self,
        lease: LeaseId,
        take_suspect: bool,
        batch: &[ClaimRequest],
    ) -> Result<Vec<Claim>, StoreError> {
        self.inner.claim(lease, take_suspect, batch).await
    }

    async fn read_upstream(&self, batch: &[ReadRequest]) -> Result<Vec<Vec<Upstream>>, StoreError> {
        self.inner.read_upstream(batch).await
    }

    async fn commit(&self, lease: LeaseId, batch: &[Commit]) -> Result<Vec<Committed>, StoreError> {
        let outcomes = self.inner.commit(lease, batch).await?;
        let held = self.lease.get().expect("it is open").held();
        for (commit, outcome) in batch.iter().zip(&outcomes) {
            for row in outcome.activated.iter().filter(|row| row.state == NodeState::Running) {
                let (node, scope) = (row.node.clone(), row.scope.clone());
                let key = ActivationKey { run: commit.key.run, node, scope };
                self.kept.lock().unwrap().push((key.node.to_string(), held.contains(&key)));
            }
        }
        Ok(outcomes)
    }
}

/// Runs a workflow on one worker, entry by entry; returns what was kept on the way, and whether it was held.
async fn kept_by(nodes: Value, edges: Value) -> Vec<(String, bool)> {
    let file = std::env::temp_dir().join(format!("skein_test_{}", RunId::generate()));
    let path = file.join("skein.db");
    let inner = SqliteStore::open(path.to_str().unwrap()).await.unwrap();
    let document = json!({ "name": "w", "nodes": nodes, "edges": edges });
    let plan = compile(&document).unwrap();
    let run = sample_context().run;
    let version = NewVersion {
        id: VersionId::generate(),
        name: plan.name.to_string(),
        description: None,
        document: document.to_string(),
        digest: [0; 32],
        node_count: 0,
        edge_count: 0,
    };
    inner.publish_workflow(&run.identity, &version).await.unwrap();
    let publish = new_span_id();
    let entries = plan.entries().map(|entry| NodeSpec::of(&plan, entry, publish));
    let RunHeader { id, identity, trace, .. } = (*run).clone();
    let new = NewRun {
        id,
        identity,
        workflow: plan.name.clone(),
        version_id: version.id,
        pinned: false,
        input: "{}".to_owned(),
        step_mode: false,
        trace,
        request_span: publish,
        entries: entries.collect(),
        idempotency: None,
        budget: NewBudget::default(),
    };
    inner.accept_runs(std::slice::from_ref(&new)).await.unwrap();

    let store = Arc::new(Watched { inner, lease: OnceLock::new(), kept: Mutex::default() });
    let stop = CancellationToken::new();
    let lease = Lease::open(&*store, LeaseTiming::default(), 1, &stop).await.unwrap();
    store.lease.set(Arc::clone(&lease)).unwrap();
    let tasks = TaskTracker::new();
    let broker = Arc::new(InProcess::new());
    let recovery: Arc<dyn RecoveryStore> = Arc::new(store.inner.clone());
    let tools = Tools {
        executors: Executors::new(
            &Egress::new(&EgressConfig::default()).unwrap(),
            &ModelCaller::default(),
            &Evaluator::new(),
        ),
        evaluator: Evaluator::new(),
        plans: Tools::plans(Arc::new(store.inner.clone())),
        dispatcher: Dispatcher::start(&tasks, broker.clone(), stop.clone()),
        finisher: Finisher::new(recovery, broker),
        timers: Timers::default(),
        live: LivePublisher::unheard(),
        server_url: None,
    };
    let engine_store: Arc<dyn EngineStore> = store.clone();
    let step_store: Arc<dyn StepStore> = Arc::new(store.inner.clone());
    let batchers = Batchers::start(&tasks, &engine_store, &step_store, &lease);
    let slots = Slots::new(1);
    let engine = Engine {
        tools,
        batchers,
        lease: Arc::clone(&lease),
        draining: stop.clone(),
        slots,
        next_suspect: Arc::default(),
    };
    for entry in &new.entries {
        let key = ActivationKey::root(id, &*entry.node);
        let held = lease.hold(&key);
        let request = ClaimRequest { key, span: new_span_id() };
        let (claim, _) = engine.batchers.claims.submit(request).await.unwrap();
        let Claim::Won(claimed) = claim else { panic!("{claim:?}") };
        engine.run(*claimed, held, None, None).await;
    }
    assert_eq!(lease.held_count(), 0, "what is done, and what was not kept, is let go of");
    let detail = store.inner.find_run(&new.identity, id, 0).await.unwrap().unwrap();
    assert_eq!(detail.summary.state, RunState::Succeeded, "{detail:#?}");
    stop.cancel();
    store.inner.close().await;
    std::fs::remove_dir_all(&file).unwrap();
    std::mem::take(&mut *store.kept.lock().unwrap())
}

fn compute(id: &str) -> Value {
    json!({ "id": id, "type": "transform", "params": { "value": 1 } })
}

#[tokio::test]
async fn a_successor_is_held_before_its_commit_is_answered() {
    // More than may be inlined.
    let nodes: Vec<_> = (0..40).map(|at| compute(&format!("n{at}"))).collect();
    let edge = |at| json!({ "from": format!("n{at}"), "to": format!("n{}", at + 1) });
    let edges: Vec<_> = (0..39).map(edge).collect();
    // Where it is kept depends on how many were computed in the time that a commit has for them.
    let kept = kept_by(json!(nodes), json!(edges)).await;
    assert!(!kept.is_empty() && kept.iter().all(|(_, is_held)| *is_held), "{kept:?}");
}

#[tokio::test]
async fn a_join_is_held_by_whoever_may_bring_its_last_token() {
    let nodes = ["a", "b", "join"].map(compute);
    let edges = ["a", "b"].map(|from| json!({ "from": from, "to": "join" }));
    assert_eq!(kept_by(json!(nodes), json!(edges)).await, [("join".to_owned(), true)]);
}

#[tokio::test]
async fn the_end_is_held_by_whoever_may_bring_its_last_token() {
    let kept = kept_by(json!(["a", "b"].map(compute)), json!([])).await;
    assert_eq!(kept, [("__end__".to_owned(), true)]);
}

/// The end of a run of which the last path is dead.
#[tokio::test]
async fn the_end_is_held_by_whoever_passes_on_a_dead_path() {
    let choose = |id: &str| json!({ "id": id, "type": "condition", "params": { "if": "false" } });
    let nodes = json!([choose("a"), choose("b"), compute("join")]);
    let edges = ["a", "b"].map(|from| json!({ "from": from, "to": "join", "branch": "true" }));
    assert_eq!(kept_by(nodes, json!(edges)).await, [("__end__".to_owned(), true)]);
}

//! A store that writes as ever and can be read a few times only: what becomes of an answer when the store goes away
//! between a write and the reading of what it did.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::json;
use skein_shared::domain::budget::{BudgetChange, BudgetPeriod, RunBudget, SpendingLimits};
use skein_shared::domain::ids::{ActivationKey, CallId, HolderId, LeaseId, RunId, VersionId};
use skein_shared::domain::key_id::KeyId;
use skein_shared::domain::open_work::OpenWork;
use skein_shared::domain::run::{AbandonedAttempt, ClosedSegment};
use skein_shared::domain::tenant::Identity;
use skein_shared::domain::traced::{
    AttemptPosition, TracedAttempt, TracedNode, TracedRun, TracedStep,
};
use skein_shared::store::analysis::{Activations, AnalysedRun, ModelCosts, RunRange};
use skein_shared::store::engine::{
    Claim, ClaimRequest, Commit, Committed, NewLease, ReadRequest, Upstream,
};
use skein_shared::store::fleet::Worker;
use skein_shared::store::keys::{
    Ensured, FoundKey, KeyCreation, KeyDigest, KeyFilter, NewKey, Revocation, StoredKey,
};
use skein_shared::store::log_filter::LogFilter;
use skein_shared::store::monitoring::CountOptions;
use skein_shared::store::recovery::{
    DueRange, DueRuns, Finished, NoWorkerTold, OpenRun, ReapScope, Sweep, SweepOptions,
};
use skein_shared::store::runs::{
    Acceptance, Cancellation, Idempotency, LogRow, NewRun, NodeRun, RunDetail, RunFilter,
    RunSummary,
};
use skein_shared::store::spending::{
    BudgetChanged, CostFilter, CostGroup, CostGrouping, Decided, Decision, OrganizationBudget,
    Spending, StepRow,
};
use skein_shared::store::steps::{
    Begun, LostSteps, RateRequest, RecordedStep, StepAnswer, StepIntent, StepWrite,
};
use skein_shared::store::workflows::{
    NewVersion, Published, VersionSummary, WorkflowSummary, WorkflowVersion,
};
use skein_shared::store::{
    Admin, AnalysisStore, EngineStore, FleetStore, KeyAdmin, KeyStore, MonitoringStore, Page,
    PageRequest, RecoveryStore, RunStore, SpendingStore, StepStore, Store, StoreError, TraceStore,
    WorkflowStore,
};

use tokio::sync::RwLock;

use crate::harness::{Parts, Server};

type Outcome<T> = Result<T, StoreError>;

pub(crate) struct FailingReads {
    inner: Arc<dyn Store>,
    reads: AtomicUsize,
    /// How often a log was read.
    pub(crate) log_reads: AtomicUsize,
    /// How often costs were asked for, or runs of some time.
    pub(crate) sums: AtomicUsize,
    /// Either is answered while nobody has it for writing.
    pub(crate) sums_open: RwLock<()>,
}

impl FailingReads {
    /// A store whose runs can be read this often.
    pub(crate) fn new(inner: Arc<dyn Store>, reads: usize) -> Self {
        Self {
            inner,
            reads: AtomicUsize::new(reads),
            log_reads: AtomicUsize::new(0),
            sums: AtomicUsize::new(0),
            sums_open: RwLock::new(()),
        }
    }

    async fn pass(&self, method: &str) {
        if ["list_costs", "runs_in", "model_costs_in"].contains(&method) {
            self.sums.fetch_add(1, Ordering::Relaxed);
            let _open = self.sums_open.read().await;
        }
    }
}

macro_rules! hand_on {
    ($part:ident: $(fn $name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {
        #[async_trait]
        impl $part for FailingReads {
            $(async fn $name(&self, $($argument: $type),*) -> $result {
                self.pass(stringify!($name)).await;
                self.inner.$name($($argument),*).await
            })*
        }
    };
}

hand_on! { KeyStore:
    fn ensure_key(digest: &KeyDigest, identity: &Identity) -> Outcome<Ensured>;
    fn find_key(digest: &KeyDigest) -> Outcome<Option<FoundKey>>;
    fn touch_keys(digests: &[KeyDigest]) -> Outcome<()>;
    fn has_good_key() -> Outcome<bool>;
}

hand_on! { KeyAdmin:
    fn create_key(key: &NewKey) -> Outcome<KeyCreation>;
    fn list_keys(tenant: &Identity, filter: &KeyFilter, page: &PageRequest) -> Outcome<Page<StoredKey>>;
    fn revoke_key(tenant: &Identity, id: KeyId) -> Outcome<Option<Revocation>>;
}

hand_on! { WorkflowStore:
    fn publish_workflow(tenant: &Identity, version: &NewVersion) -> Outcome<Published>;
    fn store_draft(tenant: &Identity, draft: &NewVersion) -> Outcome<Published>;
    fn archive_workflow(tenant: &Identity, name: &str, archived: bool) -> Outcome<Option<WorkflowSummary>>;
    fn list_workflows(tenant: &Identity, page: &PageRequest) -> Outcome<Page<WorkflowSummary>>;
    fn find_workflow(tenant: &Identity, name: &str, version: Option<u32>) -> Outcome<Option<WorkflowVersion>>;
    fn list_versions(tenant: &Identity, name: &str, page: &PageRequest) -> Outcome<Page<VersionSummary>>;
    fn load_document(version: VersionId) -> Outcome<Option<String>>;
}

hand_on! { EngineStore:
    fn open_lease(lease: &NewLease) -> Outcome<()>;
    fn heartbeat(lease: LeaseId, busy: u32) -> Outcome<Option<DateTime<Utc>>>;
    fn runs_over(runs: &[RunId]) -> Outcome<Vec<RunId>>;
    fn release_strays(lease: LeaseId, held: &[ActivationKey], claimed_until: DateTime<Utc>) -> Outcome<Vec<AbandonedAttempt>>;
    fn close_lease(lease: LeaseId, begun: &[ActivationKey]) -> Outcome<Vec<AbandonedAttempt>>;
    fn claim(lease: LeaseId, take_suspect: bool, batch: &[ClaimRequest]) -> Outcome<Vec<Claim>>;
    fn read_upstream(batch: &[ReadRequest]) -> Outcome<Vec<Vec<Upstream>>>;
    fn commit(lease: LeaseId, batch: &[Commit]) -> Outcome<Vec<Committed>>;
}

hand_on! { RecoveryStore:
    fn sweep(options: SweepOptions) -> Outcome<Sweep>;
    fn closed_segments(call: CallId) -> Outcome<Vec<ClosedSegment>>;
    fn expire_runs(limit: u32) -> Outcome<u32>;
    fn due_runs(limit: u32, range: DueRange) -> Outcome<DueRuns>;
    fn suspend(runs: &[RunId]) -> Outcome<u64>;
    fn reap(limit: u32, scope: ReapScope) -> Outcome<Vec<AbandonedAttempt>>;
    fn tell_of_no_worker(waited: Duration, after: Option<&OpenRun>, limit: u32) -> Outcome<NoWorkerTold>;
    fn finish_runs(call: CallId, runs: &[RunId]) -> Outcome<Finished>;
    fn prune_drafts(unused_for: Duration, limit: u32) -> Outcome<u32>;
}

hand_on! { StepStore:
    fn recorded_steps(key: &ActivationKey) -> Outcome<Vec<RecordedStep>>;
    fn write_steps(lease: LeaseId, batch: &[StepWrite]) -> Outcome<Vec<StepAnswer>>;
    fn room_for(key: &ActivationKey, intent: &StepIntent) -> Outcome<Begun>;
    fn lose_steps(waits_for: Option<&str>) -> Outcome<LostSteps>;
    fn grant_starts(batch: &[RateRequest]) -> Outcome<Vec<Option<Duration>>>;
}

hand_on! { SpendingStore:
    fn list_steps(tenant: &Identity, run: RunId, page: &PageRequest) -> Outcome<Option<Page<StepRow>>>;
    fn list_costs(tenant: &Identity, grouping: CostGrouping, filter: &CostFilter, page: &PageRequest) -> Outcome<Page<CostGroup>>;
    fn run_spending(tenant: &Identity, run: RunId) -> Outcome<Option<(Spending, RunBudget)>>;
    fn change_run_budget(tenant: &Identity, run: RunId, change: &BudgetChange) -> Outcome<BudgetChanged>;
    fn organization_budgets(tenant: &Identity) -> Outcome<Vec<OrganizationBudget>>;
    fn set_organization_budgets(tenant: &Identity, wanted: &[(BudgetPeriod, SpendingLimits)]) -> Outcome<()>;
    fn decide(tenant: &Identity, decision: &Decision) -> Outcome<Decided>;
}

hand_on! { MonitoringStore:
    fn take_duty(name: &'static str, holder: HolderId, term: Duration) -> Outcome<bool>;
    fn leave_duty(name: &'static str, holder: HolderId) -> Outcome<()>;
    fn count_open(options: CountOptions) -> Outcome<OpenWork>;
}

hand_on! { FleetStore:
    fn list_workers(page: &PageRequest) -> Outcome<Page<Worker>>;
}

hand_on! { TraceStore:
    fn traced_run(tenant: &Identity, run: RunId) -> Outcome<Option<TracedRun>>;
    fn traced_segments(tenant: &Identity, run: RunId, after: u32, limit: u32) -> Outcome<Vec<ClosedSegment>>;
    fn traced_attempts(tenant: &Identity, run: RunId, after: AttemptPosition, limit: u32) -> Outcome<Vec<TracedAttempt>>;
    fn traced_nodes(tenant: &Identity, run: RunId, keys: &[ActivationKey]) -> Outcome<Vec<TracedNode>>;
    fn traced_steps(tenant: &Identity, run: RunId, after: i64, limit: u32) -> Outcome<Vec<TracedStep>>;
}

hand_on! { AnalysisStore:
    fn runs_in(tenant: &Identity, workflow: Option<&str>, range: RunRange) -> Outcome<Vec<AnalysedRun>>;
    fn activations_of(tenant: &Identity, runs: &[RunId]) -> Outcome<Vec<Activations>>;
    fn documents_of(tenant: &Identity, versions: &[VersionId]) -> Outcome<Vec<(VersionId, String)>>;
    fn model_costs_in(tenant: &Identity, workflow: Option<&str>, from: DateTime<Utc>, to: DateTime<Utc>) -> Outcome<Vec<ModelCosts>>;
}

hand_on! { Admin:
    fn migrate() -> Outcome<()>;
    fn check_schema() -> Outcome<()>;
    fn ping() -> Outcome<()>;
    fn make_due(runs: &[RunId]) -> Outcome<u64>;
    fn close() -> ();
}

#[async_trait]
impl RunStore for FailingReads {
    async fn accept_runs(&self, batch: &[NewRun]) -> Outcome<Vec<Acceptance>> {
        self.inner.accept_runs(batch).await
    }

    async fn find_repeated(
        &self,
        tenant: &Identity,
        idempotency: &Idempotency,
    ) -> Outcome<Option<RunId>> {
        self.inner.find_repeated(tenant, idempotency).await
    }

    async fn list_runs(
        &self,
        tenant: &Identity,
        filter: &RunFilter,
        page: &PageRequest,
    ) -> Outcome<Page<RunSummary>> {
        self.inner.list_runs(tenant, filter, page).await
    }

    async fn find_run(
        &self,
        tenant: &Identity,
        id: RunId,
        shown: usize,
    ) -> Outcome<Option<RunDetail>> {
        let take = |left: usize| left.checked_sub(1);
        match self.reads.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            Ok(_) => self.inner.find_run(tenant, id, shown).await,
            Err(_) => Err(StoreError::Unavailable("gone".into())),
        }
    }

    async fn find_node(&self, tenant: &Identity, key: &ActivationKey) -> Outcome<Option<NodeRun>> {
        self.inner.find_node(tenant, key).await
    }

    async fn run_logs(
        &self,
        tenant: &Identity,
        id: RunId,
        filter: &LogFilter,
        page: &PageRequest,
    ) -> Outcome<Option<Page<LogRow>>> {
        self.log_reads.fetch_add(1, Ordering::Relaxed);
        self.inner.run_logs(tenant, id, filter, page).await
    }

    async fn request_cancel(&self, tenant: &Identity, id: RunId) -> Outcome<Option<Cancellation>> {
        self.inner.request_cancel(tenant, id).await
    }

    async fn ended_runs(&self, ids: &[RunId]) -> Outcome<Vec<RunId>> {
        self.inner.ended_runs(ids).await
    }
}

async fn with_reads(reads: usize) -> Server {
    let parts = Parts::default();
    let store = Arc::new(FailingReads::new(parts.store, reads));
    Server::with(Parts { store, ..parts }).await
}

#[tokio::test]
async fn a_run_that_is_being_cancelled_is_answered_though_it_cannot_be_read_again() {
    let server = with_reads(1).await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    let run = ada.run("adder").await;
    let id = run["id"].as_str().unwrap();
    let answer = ada.post(&format!("/v1/runs/{id}/cancel"), &json!({})).await;
    let cancelled = answer.expect(202);
    assert_eq!((&cancelled["id"], &cancelled["cancelling"]), (&run["id"], &json!(true)));
    assert_eq!(answer.header("location"), format!("/v1/runs/{id}"));
    let list = ada.get("/v1/runs?status=cancelled").await.expect(200);
    assert_eq!(list["items"][0]["id"], run["id"]);
}

#[tokio::test]
async fn a_cancel_that_cannot_read_the_run_has_not_begun() {
    let server = with_reads(0).await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    let run = ada.run("adder").await;
    let path = format!("/v1/runs/{}/cancel", run["id"].as_str().unwrap());
    ada.post(&path, &json!({})).await.problem(503, "unavailable");
    let list = ada.get("/v1/runs?status=queued").await.expect(200);
    assert_eq!(list["items"][0]["cancelling"], false);
}

#[tokio::test]
async fn a_repeated_request_says_where_its_run_is_though_it_cannot_be_read() {
    let server = with_reads(0).await;
    let ada = server.tenant().await;
    ada.publish("adder").await;
    let (path, body) = ("/v1/workflows/adder/runs", json!({ "input": { "n": 1 } }));
    let key = [("idempotency-key", "reads-1")];
    let first = ada.post_with(path, &body, &key).await;
    first.expect(202);
    let again = ada.post_with(path, &body, &key).await;
    again.problem(503, "unavailable");
    assert_eq!(again.header("location"), first.header("location"));
}

//! What the cases are written with: a published workflow, runs of it, workers that claim and commit.

use std::sync::Arc;
use std::time::Duration;

use skein_shared::domain::budget::NewBudget;
use skein_shared::domain::failure::Failure;
use skein_shared::domain::ids::{
    ActivationKey, CallId, END_NODE, LeaseId, RunId, SkipToken, VersionId,
};
use skein_shared::domain::limits;
use skein_shared::domain::outcome::AttemptOutcome;
use skein_shared::domain::run::{EndedRun, RunHeader, RunTrace};
use skein_shared::domain::state::{NodeState, RunState};
use skein_shared::domain::tenant::Identity;
use skein_shared::domain::trace::{SpanId, TraceId};
use skein_shared::store::engine::{
    Claim, ClaimRequest, Claimed, Commit, CommitFrom, Committed, JoinTokens, NewEvent, NewLease,
    NewRow, NewRowState, NodeSpec, ReadRequest, RunChange, Upstream,
};
use skein_shared::store::log_filter::WHOLE_LOG;
use skein_shared::store::recovery::{DueRange, Sweep, SweepOptions};
use skein_shared::store::runs::{Acceptance, LogRow, NewRun, NodeRun, RunDetail};
use skein_shared::store::workflows::NewVersion;
use skein_shared::store::{PageRequest, Store};
use uuid::Uuid;

/// How long a case waits for what must happen, before it fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A store with a published workflow, seen by one tenant.
#[derive(Clone)]
pub struct World {
    /// The store under test.
    pub store: Arc<dyn Store>,
    /// Who owns the workflow and its runs.
    pub tenant: Identity,
    /// The latest version of the workflow.
    pub version: VersionId,
}

impl World {
    /// The workflow's name.
    pub const WORKFLOW: &'static str = "digest";

    /// Publishes the workflow for a tenant named `acme`.
    pub async fn new(store: Arc<dyn Store>) -> Self {
        Self::of(store, Identity::new("acme", "main", "ann")).await
    }

    /// Publishes the workflow for `tenant`.
    pub async fn of(store: Arc<dyn Store>, tenant: Identity) -> Self {
        let version = version(Self::WORKFLOW, "{}");
        let published = store.publish_workflow(&tenant, &version).await.unwrap();
        Self { store, tenant, version: published.id }
    }

    /// A run that could be accepted, with these entry nodes.
    #[must_use]
    pub fn run_of(&self, entries: &[&str]) -> NewRun {
        NewRun {
            id: RunId::generate(),
            identity: self.tenant.clone(),
            workflow: Self::WORKFLOW.into(),
            version_id: self.version,
            pinned: false,
            input: "{}".to_owned(),
            step_mode: false,
            trace: RunTrace {
                trace: TraceId(*Uuid::new_v4().as_bytes()),
                publish: span(),
                root: span(),
                flags: 1,
                state: Some("vendor=a:1".parse().unwrap()),
            },
            request_span: span(),
            entries: entries.iter().map(|node| spec(node)).collect(),
            idempotency: None,
            budget: NewBudget::default(),
        }
    }

    /// Accepts a run with these entry nodes.
    pub async fn accept(&self, entries: &[&str]) -> RunId {
        self.accept_many(1, entries).await[0]
    }

    /// Accepts many runs at once.
    pub async fn accept_many(&self, count: usize, entries: &[&str]) -> Vec<RunId> {
        let batch: Vec<_> = (0..count).map(|_| self.run_of(entries)).collect();
        for outcome in self.store.accept_runs(&batch).await.unwrap() {
            assert!(matches!(outcome, Acceptance::Accepted { .. }), "{outcome:?}");
        }
        batch.iter().map(|run| run.id).collect()
    }

    /// A header for a run, of which only the id is right: commits look at nothing else.
    #[must_use]
    pub fn header(&self, run: RunId) -> RunHeader {
        let template = self.run_of(&[]);
        RunHeader {
            id: run,
            identity: template.identity,
            version_id: template.version_id,
            workflow: template.workflow,
            version: 1,
            input: template.input.into(),
            step_mode: false,
            node_count: 0,
            edge_count: 0,
            trace: template.trace,
            created_at: chrono::Utc::now(),
        }
    }

    /// Opens a lease that outlives the case.
    pub async fn lease(&self) -> LeaseId {
        self.lease_for(Duration::from_secs(3600)).await
    }

    /// Opens a lease that is dead after `ttl`.
    pub async fn lease_for(&self, ttl: Duration) -> LeaseId {
        let id = LeaseId::generate();
        let lease =
            NewLease { id, host: "test".to_owned(), pid: 1, version: "0.0.0", slots: 4, ttl };
        self.store.open_lease(&lease).await.unwrap();
        id
    }

    /// Tries to claim one row, as a worker that may take a suspect.
    pub async fn claim(&self, lease: LeaseId, key: &ActivationKey) -> Claim {
        let request = ClaimRequest { key: key.clone(), span: span() };
        self.store.claim(lease, true, &[request]).await.unwrap().remove(0)
    }

    /// Claims a node that must be claimable.
    pub async fn won(&self, lease: LeaseId, run: RunId, node: &str) -> Claimed {
        match self.claim(lease, &ActivationKey::root(run, node)).await {
            Claim::Won(claimed) => *claimed,
            other => panic!("{node} was not claimable: {other:?}"),
        }
    }

    /// Commits one.
    pub async fn commit(&self, lease: LeaseId, commit: Commit) -> Committed {
        self.store.commit(lease, &[commit]).await.unwrap().remove(0)
    }

    /// Commits one that must flip its row.
    pub async fn flip(&self, lease: LeaseId, commit: Commit) -> Committed {
        let outcome = self.commit(lease, commit).await;
        assert!(outcome.flipped);
        outcome
    }

    /// Claims a node, succeeds with it and hands its successors to the store.
    pub async fn pass(&self, lease: LeaseId, run: RunId, node: &str, rows: Vec<NewRow>) {
        let claimed = self.won(lease, run, node).await;
        self.flip(lease, Commit { rows, ..succeed(&claimed) }).await;
    }

    /// What is known of a node, `__end__` included, if it has a row.
    pub async fn upstream(&self, run: RunId, node: &str) -> Option<Upstream> {
        let request =
            ReadRequest { run, scope: "".into(), outputs: vec![node.into()], spans: Vec::new() };
        self.store.read_upstream(&[request]).await.unwrap().remove(0).pop()
    }

    /// Where a node is in its life, if it has a row.
    pub async fn state(&self, run: RunId, node: &str) -> Option<NodeState> {
        self.upstream(run, node).await.map(|node| node.state)
    }

    /// The run, whole.
    pub async fn detail(&self, run: RunId) -> RunDetail {
        self.store.find_run(&self.tenant, run, limits::RUN_VALUES_BYTES_MAX).await.unwrap().unwrap()
    }

    /// Where the run is in its life.
    pub async fn run_state(&self, run: RunId) -> RunState {
        self.detail(run).await.summary.state
    }

    /// A node as users see it.
    pub async fn node(&self, run: RunId, node: &str) -> NodeRun {
        let nodes = self.detail(run).await.nodes;
        nodes.into_iter().find(|row| row.node == node).unwrap()
    }

    /// The log that there is to read now. Of an open run it may lack what just happened, while
    /// somebody else's older write is unfinished.
    pub async fn log_now(&self, run: RunId) -> Vec<LogRow> {
        let mut rows = Vec::new();
        let mut page = PageRequest { limit: 100, cursor: None };
        loop {
            let read =
                self.store.run_logs(&self.tenant, run, &WHOLE_LOG, &page).await.unwrap().unwrap();
            if read.items.is_empty() {
                return rows;
            }
            rows.extend(read.items);
            page.cursor = read.next_cursor;
        }
    }

    /// The log of a run, once it has at least `count` rows.
    pub async fn log(&self, run: RunId, count: usize) -> Vec<LogRow> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let rows = self.log_now(run).await;
            if rows.len() >= count || tokio::time::Instant::now() > deadline {
                return rows;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Cancels a run and returns its whole log: nothing hides once a run has ended.
    pub async fn cancel_and_log(&self, run: RunId) -> Vec<LogRow> {
        self.cancel(run).await.expect("nothing of the run is running");
        self.log_now(run).await
    }

    /// Cancels a run, and ends it if nothing of it is running.
    pub async fn cancel(&self, run: RunId) -> Option<EndedRun> {
        self.store.request_cancel(&self.tenant, run).await.unwrap().unwrap();
        self.store.finish_runs(CallId::generate(), &[run]).await.unwrap().ended.pop()
    }

    /// Makes rows of a run due and sweeps.
    pub async fn sweep(&self, run: RunId) -> Sweep {
        self.store.make_due(&[run]).await.unwrap();
        self.store.sweep(SWEEP).await.unwrap()
    }
}

/// A sweep with the broker up and a shallow queue.
pub const SWEEP: SweepOptions = SweepOptions {
    limit: 500,
    broker_up: true,
    queue_deep: false,
    trace_wait_max: Duration::from_secs(900),
    call: CallId(Uuid::nil()),
    range: DueRange::ALL,
};

/// A random span id.
#[must_use]
pub fn span() -> SpanId {
    let random = Uuid::new_v4().as_u64_pair();
    SpanId((random.0 ^ random.1).to_be_bytes())
}

/// A version of a workflow; two documents differ in their digest.
#[must_use]
pub fn version(name: &str, document: &str) -> NewVersion {
    let mut digest = [0_u8; 32];
    for (index, byte) in document.bytes().enumerate() {
        digest[index % 32] = digest[index % 32].wrapping_mul(31).wrapping_add(byte);
    }
    NewVersion {
        id: VersionId::generate(),
        name: name.to_owned(),
        description: None,
        document: document.to_owned(),
        digest,
        node_count: 3,
        edge_count: 2,
    }
}

/// A node outside of any map.
#[must_use]
pub fn spec(node: &str) -> NodeSpec {
    NodeSpec {
        node: node.into(),
        scope: "".into(),
        kind: if node == END_NODE { "end" } else { "transform" },
        timeout: Duration::from_secs(60),
        publish_span: span(),
    }
}

/// A successor that somebody else is to run.
#[must_use]
pub fn queued(node: &str) -> NewRow {
    NewRow { spec: spec(node), span: None, state: NewRowState::Queued }
}

/// A successor that the committer goes on with.
#[must_use]
pub fn kept(node: &str) -> NewRow {
    NewRow { spec: spec(node), span: Some(span()), state: NewRowState::Claimed }
}

/// One token for a join of `fan_in`.
#[must_use]
pub fn token(join: &str, fan_in: u32, live: bool) -> JoinTokens {
    JoinTokens {
        spec: spec(join),
        fan_in,
        arrived: 1,
        live: u32::from(live),
        always: join == END_NODE,
        keep: None,
    }
}

/// A log row about a node.
#[must_use]
pub fn event(node: &str, event: &'static str) -> NewEvent {
    NewEvent {
        node: Some(node.into()),
        scope: Some("".into()),
        level: "info",
        event,
        message: format!("{node}: {event}"),
        data: None,
        span: None,
    }
}

/// A commit of claimed work without successors, with the log row `word`, if there is one.
#[must_use]
pub fn ended(claimed: &Claimed, outcome: AttemptOutcome, word: Option<&'static str>) -> Commit {
    Commit {
        key: claimed.key.clone(),
        from: CommitFrom::Running { claim: claimed.claim },
        outcome: Arc::new(outcome),
        rows: Vec::new(),
        tokens: Vec::new(),
        run: RunChange::None,
        events: word.map(|word| event(&claimed.key.node, word)).into_iter().collect(),
    }
}

/// A commit of success.
#[must_use]
pub fn succeed(claimed: &Claimed) -> Commit {
    let output = AttemptOutcome::Succeeded { input: None, output: "1".to_owned() };
    ended(claimed, output, Some("node.succeeded"))
}

/// A commit of success that delivers one token.
#[must_use]
pub fn deliver(claimed: &Claimed, token: JoinTokens) -> Commit {
    Commit { tokens: vec![token], ..succeed(claimed) }
}

/// A commit of failure that brings the run down.
#[must_use]
pub fn fail(claimed: &Claimed) -> Commit {
    let error = Failure::new("http_status", "the server answered 500");
    let outcome = AttemptOutcome::Failed { input: None, output: None, error: error.clone() };
    let run = RunChange::Fail(error.of_node(&claimed.key.node));
    Commit { run, ..ended(claimed, outcome, Some("node.failed")) }
}

/// A commit of `__end__` that ends the run.
#[must_use]
pub fn finish(claimed: &Claimed, output: &str) -> Commit {
    let events = vec![NewEvent { node: None, scope: None, ..event("run", "run.succeeded") }];
    let outcome = AttemptOutcome::Succeeded { input: None, output: output.to_owned() };
    let run = RunChange::Succeed { output: output.to_owned(), events };
    Commit { run, ..ended(claimed, outcome, None) }
}

/// A commit that passes on a dead path.
#[must_use]
pub fn skip(key: &ActivationKey) -> Commit {
    Commit {
        key: key.clone(),
        from: CommitFrom::Skipping { token: SkipToken::generate() },
        outcome: Arc::new(AttemptOutcome::Skipped),
        rows: Vec::new(),
        tokens: Vec::new(),
        run: RunChange::None,
        events: vec![event(&key.node, "node.skipped")],
    }
}

/// The events of log rows, in order.
#[must_use]
pub fn words(rows: &[LogRow]) -> Vec<&str> {
    rows.iter().map(|row| row.event.as_str()).collect()
}

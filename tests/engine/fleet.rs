//! Workers that run in this process, over a store and a broker, and what is asked of them.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use skein_shared::broker::{Broker, DEFAULT_POOL};
use skein_shared::dispatch::{Dispatcher, Handover};
use skein_shared::domain::ids::{ActivationKey, RunId, VersionId};
use skein_shared::domain::limits;
use skein_shared::domain::run::RunTrace;
use skein_shared::domain::tenant::Identity;
use skein_shared::domain::trace::TraceId;
use skein_shared::domain::wakeup::{WakeReason, Wakeup};
use skein_shared::finish::Finisher;
use skein_shared::store::engine::NodeSpec;
use skein_shared::store::log_filter::WHOLE_LOG;
use skein_shared::store::runs::{Acceptance, LogRow, NewRun, NodeRun, RunDetail};
use skein_shared::store::workflows::NewVersion;
use skein_shared::store::{PageRequest, RecoveryStore, Store};
use skein_shared::sweeper::{Sweeper, Timers};
use skein_shared::workflow::budget::BudgetTerms;
use skein_shared::workflow::compile::compile;
use skein_shared::workflow::plan::Plan;
use skein_tests::store_suite::world::span;
use skein_worker::egress::AllowRule;
use skein_worker::models::ModelSettings;
use skein_worker::models::prices::Prices;
use skein_worker::{Deps, Health, LeaseTiming, Settings};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

/// How long a run may take before the test calls it stuck. Far below the 30 s after which a sweep repeats a
/// lost message, so that nothing here passes because it was repaired.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A worker of a fleet.
struct Worker {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// Workers over one store and one broker, and the tenant whose workflows they run.
pub(crate) struct Fleet {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) tenant: Identity,
    broker: Arc<dyn Broker>,
    dispatcher: Dispatcher,
    background: TaskTracker,
    stop: CancellationToken,
    workers: Vec<Worker>,
}

/// A workflow that was published.
pub(crate) struct Published {
    pub(crate) plan: Plan,
    version: VersionId,
}

impl Fleet {
    /// `workers` workers, and a dispatcher for what the test itself publishes.
    pub(crate) fn start(store: Arc<dyn Store>, broker: Arc<dyn Broker>, workers: usize) -> Self {
        let (background, stop) = (TaskTracker::new(), CancellationToken::new());
        let dispatcher = Dispatcher::start(&background, Arc::clone(&broker), stop.clone());
        let tenant = Identity::new("acme", "main", "ann");
        let mut fleet =
            Self { store, tenant, broker, dispatcher, background, stop, workers: Vec::new() };
        for _ in 0..workers {
            fleet.add_worker(&settings());
        }
        fleet
    }

    pub(crate) fn add_worker(&mut self, settings: &Settings) {
        let stop = CancellationToken::new();
        let finisher = Finisher::new(Arc::clone(&self.store) as _, Arc::clone(&self.broker));
        let (store, broker) = (Arc::clone(&self.store), Arc::clone(&self.broker));
        let (timers, health) = (Timers::default(), Health::default());
        let deps = Deps { store, broker, finisher, timers, health };
        let work = skein_worker::run(deps, settings.clone(), stop.clone());
        let task = tokio::spawn(async move { work.await.unwrap() });
        self.workers.push(Worker { stop, task });
    }

    /// Asks the oldest worker to drain, and does not wait for it.
    pub(crate) fn drain_one(&self) {
        self.workers[0].stop.cancel();
    }

    /// Waits until the oldest worker has ended.
    pub(crate) async fn join_one(&mut self) {
        self.workers.remove(0).task.await.unwrap();
    }

    /// Stops everybody in good order; a worker that does not end fails the test.
    pub(crate) async fn stop(self) {
        for worker in &self.workers {
            worker.stop.cancel();
        }
        for worker in self.workers {
            tokio::time::timeout(PATIENCE, worker.task).await.expect("it drains").unwrap();
        }
        self.stop.cancel();
        self.background.close();
        self.background.wait().await;
        self.broker.close().await;
    }

    /// One more sweeper, which finds every row of these runs due a hundred times a second: what the passing of
    /// half-minutes would do, for brokers that lose messages.
    pub(crate) fn hurry(&self, runs: &[RunId]) -> CancellationToken {
        let stop = self.stop.child_token();
        let timers = Timers::default();
        let recovery: Arc<dyn RecoveryStore> = self.store.clone();
        let sweeper = Sweeper {
            store: Arc::clone(&recovery),
            steps: self.store.clone(),
            broker: Arc::clone(&self.broker),
            dispatcher: self.dispatcher.clone(),
            finisher: Finisher::new(recovery, Arc::clone(&self.broker)),
            timers: timers.clone(),
            reap_after: Duration::from_secs(3600),
            trace_wait_max: Duration::from_secs(900),
        };
        self.background.spawn(sweeper.run(stop.clone()));
        let (store, runs, stopped) = (Arc::clone(&self.store), runs.to_vec(), stop.clone());
        self.background.spawn(async move {
            while !stopped.is_cancelled() {
                store.make_due(&runs).await.unwrap();
                timers.due_in(Duration::ZERO);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        stop
    }

    /// Publishes a workflow.
    pub(crate) async fn publish(&self, document: &serde_json::Value) -> Published {
        self.publish_as(document, document.to_string()).await
    }

    /// Publishes a workflow whose stored document is another one: as a later release might write it.
    pub(crate) async fn publish_as(&self, document: &serde_json::Value, text: String) -> Published {
        let plan = compile(document)
            .unwrap_or_else(|diagnostics| panic!("{diagnostics:#?}\n{document:#}"));
        let id = VersionId::generate();
        let mut digest = [0; 32];
        digest[..16].copy_from_slice(id.0.as_bytes());
        let version = NewVersion {
            id,
            name: plan.name.to_string(),
            description: None,
            document: text,
            digest,
            node_count: u32::try_from(plan.nodes.len()).unwrap(),
            edge_count: plan.edge_count,
        };
        let published = self.store.publish_workflow(&self.tenant, &version).await.unwrap();
        Published { plan, version: published.id }
    }

    /// Accepts a run as the API does, and publishes its entry nodes.
    pub(crate) async fn start_run(&self, of: &Published, input: &serde_json::Value) -> RunId {
        let run = self.accept(of, input).await;
        self.dispatcher.hand_over(Handover { wakeups: run.1, producer: None });
        run.0
    }

    /// Accepts a run whose messages get lost.
    pub(crate) async fn accept_silently(&self, of: &Published, input: &serde_json::Value) -> RunId {
        self.accept(of, input).await.0
    }

    async fn accept(&self, of: &Published, input: &serde_json::Value) -> (RunId, Vec<Wakeup>) {
        let publish = span();
        let trace = RunTrace {
            trace: TraceId(*Uuid::new_v4().as_bytes()),
            publish,
            root: span(),
            flags: 1,
            state: None,
        };
        let entries = of.plan.entries().map(|entry| NodeSpec::of(&of.plan, entry, publish));
        let run = NewRun {
            id: RunId::generate(),
            identity: self.tenant.clone(),
            workflow: Arc::clone(&of.plan.name),
            version_id: of.version,
            pinned: false,
            input: input.to_string(),
            step_mode: false,
            trace,
            request_span: span(),
            entries: entries.collect(),
            idempotency: None,
            budget: BudgetTerms::default().of_run(&of.plan.budget),
        };
        let accepted = self.store.accept_runs(std::slice::from_ref(&run)).await.unwrap();
        assert!(matches!(accepted[0], Acceptance::Accepted { .. }), "{accepted:?}");
        let wakeup = |entry: &NodeSpec| Wakeup {
            key: ActivationKey::root(run.id, &*entry.node),
            identity: self.tenant.clone(),
            reason: WakeReason::Start,
            publisher: Some(run.trace.context_of(publish)),
            state: None,
            queued_at: Some(SystemTime::now()),
        };
        (run.id, run.entries.iter().map(wakeup).collect())
    }

    pub(crate) async fn detail(&self, run: RunId) -> RunDetail {
        self.store.find_run(&self.tenant, run, limits::RUN_VALUES_BYTES_MAX).await.unwrap().unwrap()
    }

    /// The run, once `holds` holds of it.
    pub(crate) async fn until(&self, run: RunId, holds: impl Fn(&RunDetail) -> bool) -> RunDetail {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let detail = self.detail(run).await;
            if holds(&detail) {
                return detail;
            }
            assert!(Instant::now() < deadline, "stuck: {detail:#?}\n{}", self.story(run).await);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The run, once it has ended.
    pub(crate) async fn ended(&self, run: RunId) -> RunDetail {
        self.until(run, |detail| detail.summary.state.is_terminal()).await
    }

    /// The run's log.
    pub(crate) async fn log(&self, run: RunId) -> Vec<LogRow> {
        let mut rows = Vec::new();
        let mut page = PageRequest { limit: 500, cursor: None };
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

    /// The run's log, for people.
    pub(crate) async fn story(&self, run: RunId) -> String {
        let rows = self.log(run).await;
        rows.iter().map(|row| format!("{} {}\n", row.at.time(), row.message)).collect()
    }

    /// Waits until no message is left.
    pub(crate) async fn drained(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.broker.depth(DEFAULT_POOL).await.unwrap() > 0 {
            assert!(Instant::now() < deadline, "messages are left in the queue");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// The row of a node, if it has one.
pub(crate) fn node<'a>(detail: &'a RunDetail, key: &str) -> Option<&'a NodeRun> {
    detail.nodes.iter().find(|row| row.node == key)
}

/// Settings of a worker that may reach this machine.
pub(crate) fn settings() -> Settings {
    Settings {
        concurrency: 8,
        allow: AllowRule::parse_list("127.0.0.1").unwrap(),
        lease: LeaseTiming { ttl: Duration::from_secs(6) },
        drain_timeout: Duration::from_secs(5),
        server_url: None,
        models: ModelSettings::default(),
        prices: Prices::default(),
        exports_content: false,
        trace_wait_max: Duration::from_secs(900),
    }
}

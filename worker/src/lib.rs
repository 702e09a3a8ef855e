//! Message in, nodes executed, checkpoints out.
//!
//! A worker lives under a lease. As long as it proves that it lives, what it has claimed is its own;
//! when it cannot, it stops by itself before anybody else takes over, and starts again under a new lease.

mod batchers;
mod config;
mod consume;
pub mod egress;
mod engine;
mod evaluate;
mod health;
pub mod journal;
mod lease;
pub mod live;
pub mod mask;
pub mod models;
pub mod nodes;
mod observe;
mod slots;
pub mod steps;
mod suspect;

use std::sync::Arc;
use std::time::Duration;

use skein_shared::abandoned::export_abandoned;
use skein_shared::broker::Broker;
use skein_shared::dispatch::Dispatcher;
use skein_shared::finish::Finisher;
use skein_shared::monitor::Monitor;
use skein_shared::store::{EngineStore, RecoveryStore, StepStore, Store, WorkflowStore};
use skein_shared::sweeper::{Sweeper, Timers};
use skein_shared::telemetry::metrics::{self, SlotCounts};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use config::{Settings, WorkerArgs};
pub use health::{Health, WorkerReady};
pub use lease::LeaseTiming;

use batchers::Batchers;
use consume::Intake;
use egress::{Egress, EgressConfig, Observer, SetupFailed};
use engine::{Engine, Tools};
use evaluate::Evaluator;
use lease::Lease;
use live::LivePublisher;
use models::Providers;
use nodes::Executors;
use observe::Telling;
use slots::Slots;
use steps::ModelCaller;

/// The pause before the closing of a lease is tried again; it doubles up to the longest.
const CLOSE_PAUSE_MIN: Duration = Duration::from_millis(100);
const CLOSE_PAUSE_MAX: Duration = Duration::from_secs(2);

/// What a worker works with.
#[derive(Clone)]
pub struct Deps {
    /// The truth.
    pub store: Arc<dyn Store>,
    /// The hints.
    pub broker: Arc<dyn Broker>,
    /// Ends runs. One a process, so that its sweeper goes on with what anybody leaves.
    pub finisher: Finisher,
    /// Those of the process's sweeper, which is the worker's. What the API of the same process wakes is set there too.
    pub timers: Timers,
    /// Told how the worker is.
    pub health: Health,
}

/// Runs a worker until `shutdown`, then drains: what runs may end within the drain timeout, what does
/// not is given back untouched.
///
/// # Errors
/// When the outbound client or that of the model providers cannot be set up.
pub async fn run(
    deps: Deps,
    settings: Settings,
    shutdown: CancellationToken,
) -> Result<(), SetupFailed> {
    let observer: Arc<dyn Observer> = Arc::new(Telling::OfProviders);
    let providers = Providers::new(&settings.models, &observer)?;
    let models = ModelCaller::new(providers, settings.prices.clone(), settings.exports_content);
    let egress = Egress::new(&EgressConfig {
        allow: settings.allow.clone(),
        observer: Arc::new(Telling::OfWorkflows),
        ..EgressConfig::default()
    })?;
    let background = TaskTracker::new();
    // Outlives the intake: what the last commits made runnable is still to be published.
    let stop_background = CancellationToken::new();
    let dispatcher =
        Dispatcher::start(&background, Arc::clone(&deps.broker), stop_background.clone());
    let recovery: Arc<dyn RecoveryStore> = deps.store.clone();
    let finisher = deps.finisher.clone();
    let timers = deps.timers.clone();
    let sweeper = Sweeper {
        store: recovery,
        steps: deps.store.clone(),
        broker: Arc::clone(&deps.broker),
        dispatcher: dispatcher.clone(),
        finisher: finisher.clone(),
        timers: timers.clone(),
        reap_after: settings.lease.ttl,
        trace_wait_max: settings.trace_wait_max,
    };
    let (sweeping, stop_sweeping) = (TaskTracker::new(), CancellationToken::new());
    sweeping.spawn(sweeper.run(stop_sweeping.clone()));
    if let Some(monitor) = Monitor::wanted(deps.store.clone(), Arc::clone(&deps.broker)) {
        sweeping.spawn(monitor.run(stop_sweeping.clone()));
    }
    let workflows: Arc<dyn WorkflowStore> = deps.store.clone();
    let evaluator = Evaluator::new();
    let tools = Tools {
        executors: Executors::new(&egress, &models, &evaluator),
        evaluator,
        plans: Tools::plans(workflows),
        dispatcher,
        finisher,
        timers,
        live: LivePublisher::start(&background, Arc::clone(&deps.broker), stop_background.clone()),
        server_url: settings.server_url.as_deref().map(Arc::from),
    };
    while !shutdown.is_cancelled() {
        live(&deps, &settings, &tools, &shutdown).await;
        deps.health.ended();
    }
    drop(tools);
    // Before the dispatcher: what the last sweep found due is still to be published.
    stop_sweeping.cancel();
    sweeping.close();
    sweeping.wait().await;
    stop_background.cancel();
    background.close();
    background.wait().await;
    Ok(())
}

/// One life: from a lease's opening to its end.
async fn live(deps: &Deps, settings: &Settings, tools: &Tools, shutdown: &CancellationToken) {
    let store: Arc<dyn EngineStore> = deps.store.clone();
    let opened = Lease::open(&*store, settings.lease, settings.concurrency, shutdown).await;
    let Some(lease) = opened else { return };
    let stop_beating = CancellationToken::new();
    let heart = TaskTracker::new();
    heart.spawn(Arc::clone(&lease).keep(Arc::clone(&store), stop_beating.clone()));
    heart.close();

    let batcher_tasks = TaskTracker::new();
    let step_store: Arc<dyn StepStore> = deps.store.clone();
    let batchers = Batchers::start(&batcher_tasks, &store, &step_store, &lease);
    batcher_tasks.close();
    let draining = shutdown.child_token();
    deps.health.living(&lease, &draining);
    let slots = Slots::new(settings.concurrency);
    let _observed = metrics::observe_slots({
        let slots = slots.clone();
        move || {
            let free = slots.free();
            SlotCounts { used: slots.count().saturating_sub(free), free }
        }
    });
    let engine = Engine {
        tools: tools.clone(),
        batchers: batchers.clone(),
        lease: Arc::clone(&lease),
        draining: draining.clone(),
        slots,
        next_suspect: Arc::new(Notify::new()),
    };
    let activations = TaskTracker::new();
    let intake = Intake { engine, broker: Arc::clone(&deps.broker), tasks: activations.clone() };
    // The intake ends by itself in either case, so that what was prefetched goes back to its queue.
    let stop_with_lease = async {
        lease.lost().cancelled().await;
        draining.cancel();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = intake.run(draining.clone()) => {}
        () = stop_with_lease => {}
    }
    activations.close();
    if lease.lost().is_cancelled() {
        // Their executors are asked to stop; what they still bring back, no batcher will take.
        activations.wait().await;
    } else if tokio::time::timeout(settings.drain_timeout, activations.wait()).await.is_err() {
        tracing::warn!(held = lease.held_count(), "gave back what did not end in time");
        lease.abandon();
        activations.wait().await;
    }
    drop(batchers);
    batcher_tasks.wait().await;
    stop_beating.cancel();
    heart.wait().await;
    close(&*store, &lease, shutdown).await;
}

/// Closes a lease, a lost one as well: a worker that lives has not crashed, and says so before anybody draws that
/// conclusion. Until the store answers, or the worker is to stop.
async fn close(store: &dyn EngineStore, lease: &Lease, shutdown: &CancellationToken) {
    let begun = lease.begun();
    let mut pause = CLOSE_PAUSE_MIN;
    loop {
        let error = match store.close_lease(lease.id(), &begun).await {
            Ok(released) => return released.iter().for_each(export_abandoned),
            Err(error) => error,
        };
        if shutdown.is_cancelled() {
            tracing::warn!(%error, "the lease could not be closed; it will expire");
            return;
        }
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64())) => {}
        }
        pause = (pause * 2).min(CLOSE_PAUSE_MAX);
    }
}

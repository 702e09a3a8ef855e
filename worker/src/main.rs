//! `skein-worker`: wires configuration, telemetry, store and broker, and runs a worker.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use skein_shared::config::{BrokerArgs, OpsArgs, StoreArgs, StoreUrl};
use skein_shared::finish::Finisher;
use skein_shared::ops::Ops;
use skein_shared::store::Store;
use skein_shared::sweeper::Timers;
use skein_shared::telemetry::{self, LogOutput, TelemetryConfig};
use skein_shared::{broker, shutdown, store};
use skein_worker::{Deps, Health, Settings, WorkerArgs, WorkerReady, run};

/// The pause before the store is tried again at the start.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// Executes the nodes of workflow runs.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    broker: BrokerArgs,
    #[command(flatten)]
    worker: WorkerArgs,
    #[command(flatten)]
    ops: OpsArgs,
}

// Two threads: one may be in a long computation while the other keeps the heartbeat going.
#[tokio::main(worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let settings = args.worker.settings()?;
    let config = TelemetryConfig { log_output: LogOutput::Stdout, ..TelemetryConfig::from_env()? };
    let config = config.with_scrape(args.ops.listen().is_some());
    let telemetry = telemetry::init("skein-worker", &config)?;
    let worked = async {
        let ops = Ops::start(args.ops.listen(), telemetry.scrape()).await?;
        let worked = work(&args, settings, &ops).await;
        ops.stop().await;
        worked
    };
    let worked = worked.await;
    telemetry.shutdown().await;
    worked
}

async fn work(args: &Args, settings: Settings, ops: &Ops) -> anyhow::Result<()> {
    let Some(url @ StoreUrl::Postgres(_)) = args.store.store()? else {
        bail!(
            "DATABASE_URL must be postgres://...: a store in a file has one owner, and that is `skein dev`"
        );
    };
    let Some(amqp_url) = args.broker.amqp()? else {
        bail!(
            "AMQP_URL must be set: a queue within the process reaches nobody, `skein dev` is for that"
        );
    };
    let shutdown = shutdown::requested();
    let store = store::open(&url, &args.store, telemetry::event_log_sink()).await?;
    let Some(usable) = shutdown.run_until_cancelled(check_sessions(&*store)).await else {
        store.close().await;
        return Ok(());
    };
    usable?;
    let broker = broker::open(Some(amqp_url), "skein-worker")?;
    let finisher = Finisher::new(Arc::clone(&store) as _, Arc::clone(&broker));
    let timers = Timers::default();
    let health = Health::default();
    let (of_worker, its_broker) = (health.clone(), Arc::clone(&broker));
    ops.is_ready_when(Arc::new(WorkerReady { health: of_worker, broker: its_broker }));
    let (its_store, its_broker) = (Arc::clone(&store), Arc::clone(&broker));
    let deps = Deps { store: its_store, broker: its_broker, finisher, timers, health };
    tracing::info!(concurrency = settings.concurrency, "worker starts");
    let ended = run(deps, settings, shutdown).await.context("the worker failed");
    broker.close().await;
    store.close().await;
    tracing::info!("worker stopped");
    ended
}

/// Finds out whether the store can be worked with; waits for one that is out of reach.
async fn check_sessions(store: &dyn Store) -> anyhow::Result<()> {
    loop {
        match store.check_sessions().await {
            Err(error) if error.is_retryable() => {
                let error = error.source().map_or_else(|| error.to_string(), ToString::to_string);
                tracing::warn!(error, "waiting for the store");
                tokio::time::sleep(STORE_PAUSE).await;
            }
            checked => return checked.context("the store cannot be worked with"),
        }
    }
}

//! `skein-worker`: wires configuration, telemetry, store and broker, and runs a worker.

use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use skein_shared::config::{BrokerArgs, OpsArgs, SecretUrl, StoreArgs, StoreUrl};
use skein_shared::finish::Finisher;
use skein_shared::ops::Ops;
use skein_shared::store::{SchemaMismatch, Store, StoreError, StoreWait};
use skein_shared::sweeper::Timers;
use skein_shared::telemetry::{self, LogOutput, TelemetryConfig};
use skein_shared::{broker, shutdown, store};
use skein_worker::{Deps, Health, Settings, WorkerArgs, WorkerReady, run};

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
    let (url, amqp) = (args.store.postgres()?, args.broker.rabbitmq()?);
    let shutdown = shutdown::requested();
    let event_logs = telemetry::event_log_sink();
    let store = store::open(&StoreUrl::Postgres(url), &args.store, event_logs).await?;
    let Some(usable) = shutdown.run_until_cancelled(until_usable(&*store, url)).await else {
        store.close().await;
        return Ok(());
    };
    usable?;
    let broker = broker::open(Some(amqp), "skein-worker")?;
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

/// Finds out whether the store can be worked with. Waits for one that is out of reach, and for whoever migrates it: API
/// and workers may be started at once. A schema of a later version has room for the workers of the version before,
/// which may start anew while an upgrade is under way.
async fn until_usable(store: &dyn Store, url: &SecretUrl) -> anyhow::Result<()> {
    let mut wait = StoreWait::default();
    loop {
        match store.check_schema().await {
            Err(StoreError::Schema(newer @ SchemaMismatch::Newer { .. })) => {
                tracing::warn!("{newer}; this worker goes on, as one of the version before may");
                return Ok(());
            }
            Err(error) if error.is_retryable() || matches!(error, StoreError::Schema(_)) => {
                wait.pause(url, &error).await;
            }
            checked => return checked.context("the store cannot be worked with"),
        }
    }
}

//! `skein-api`: configuration, telemetry, store, broker, and then [`skein_api::serve`].

use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Parser;
use skein_api::{Deps, Limits, ensure_bootstrap_key};
use skein_shared::broker::Broker;
use skein_shared::broker::rabbitmq::{RabbitMq, RabbitMqOptions};
use skein_shared::config::{BootstrapArgs, BrokerArgs, HttpArgs, StoreArgs, StoreUrl};
use skein_shared::dispatch::Dispatcher;
use skein_shared::finish::Finisher;
use skein_shared::store::postgres::PostgresStore;
use skein_shared::store::{Admin, Store};
use skein_shared::sweeper::{REAP_AFTER_DEFAULT, Sweeper, Timers};
use skein_shared::telemetry::{self, TelemetryConfig};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Accepts runs over HTTP.
#[derive(Debug, Parser)]
#[command(name = "skein-api", version)]
struct Args {
    #[command(flatten)]
    http: HttpArgs,
    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    broker: BrokerArgs,
    #[command(flatten)]
    bootstrap: BootstrapArgs,
    /// Do not bring the database's schema up to date at the start.
    #[arg(long, env = "SKEIN_NO_MIGRATE")]
    no_migrate: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    // Requests are short and mostly wait: more threads would only cost memory.
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(run(args))
}

async fn run(args: Args) -> anyhow::Result<()> {
    let telemetry = telemetry::init("skein-api", &TelemetryConfig::from_env()?)?;
    let served = serve(args).await;
    if let Err(error) = &served {
        tracing::error!(error = format!("{error:#}"), "skein-api ends");
    }
    telemetry.shutdown().await;
    served
}

async fn serve(args: Args) -> anyhow::Result<()> {
    let store = store(&args.store)?;
    let Some(amqp) = args.broker.amqp()? else {
        bail!(
            "AMQP_URL is not set: without RabbitMQ use `skein dev`, where API and worker share a process"
        );
    };
    let mut options = RabbitMqOptions::new(amqp.expose());
    options.connection_name = "skein-api".to_owned();
    let broker: Arc<dyn Broker> = Arc::new(RabbitMq::connect(options)?);
    let listen = args.http.listen.as_str();
    let listener =
        TcpListener::bind(listen).await.with_context(|| format!("cannot listen at {listen}"))?;
    let address = listener.local_addr()?;
    let shutdown = stop_signal()?;

    if !args.no_migrate {
        store.migrate().await.context("cannot bring the schema up to date")?;
    }
    if let Some((key, identity)) = args.bootstrap.key()? {
        ensure_bootstrap_key(&*store, key, &identity)
            .await
            .context("cannot store the bootstrap key")?;
    }

    let (tasks, background) = (TaskTracker::new(), CancellationToken::new());
    let dispatcher = Dispatcher::start(&tasks, Arc::clone(&broker), background.clone());
    let sweeper = Sweeper {
        store: Arc::clone(&store) as _,
        broker: Arc::clone(&broker),
        dispatcher: dispatcher.clone(),
        finisher: Finisher::new(Arc::clone(&store) as _, Arc::clone(&broker)),
        timers: Timers::default(),
        reap_after: REAP_AFTER_DEFAULT,
    };
    tasks.spawn(sweeper.run(background.clone()));
    tracing::info!(%address, "skein-api listens");
    let deps = Deps { store: Arc::clone(&store), broker: Arc::clone(&broker), dispatcher };
    skein_api::serve(listener, deps, Limits::default(), shutdown).await;

    // First what requests have left behind is published, then the connections go.
    background.cancel();
    tasks.close();
    tasks.wait().await;
    broker.close().await;
    store.close().await;
    Ok(())
}

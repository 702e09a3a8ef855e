//! `skein-api`: configuration, telemetry, store, broker, and then [`skein_api::serve`].

use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use clap::builder::BoolishValueParser;
use skein_api::{ApiReady, Deps, Hosts, Limits, TraceView, ensure_bootstrap_key};
use skein_shared::config::{
    BootstrapArgs, BrokerArgs, HttpArgs, OpsArgs, SecretUrl, StoreArgs, StoreUrl, TraceArgs,
    TraceUrlArgs,
};
use skein_shared::dispatch::Dispatcher;
use skein_shared::finish::Finisher;
use skein_shared::monitor::Monitor;
use skein_shared::ops::Ops;
use skein_shared::store::keys::Ensured;
use skein_shared::store::{Store, StoreError, StoreWait};
use skein_shared::sweeper::{REAP_AFTER_DEFAULT, Sweeper, Timers};
use skein_shared::telemetry::{self, LogOutput, TelemetryConfig};
use skein_shared::{broker, shutdown, store};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What is said where no key lets anybody in.
const NOBODY: &str = "there is no good API key, so nobody can use this API: make one with `skein keys create NAME --scope \
                      admin`, with this DATABASE_URL and without SKEIN_URL, or start the API once with \
                      SKEIN_BOOTSTRAP_KEY=$(openssl rand -hex 24)";

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
    #[command(flatten)]
    trace: TraceArgs,
    #[command(flatten)]
    trace_url: TraceUrlArgs,
    #[command(flatten)]
    ops: OpsArgs,
    /// Do not bring the database's schema up to date at the start.
    #[arg(long, env = "SKEIN_NO_MIGRATE", value_parser = BoolishValueParser::new())]
    no_migrate: bool,
}

// Two threads: requests are short and mostly wait, and more would only cost memory.
#[tokio::main(worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let config = TelemetryConfig { log_output: LogOutput::Stdout, ..TelemetryConfig::from_env()? };
    let config = config.with_scrape(args.ops.listen().is_some());
    let telemetry = telemetry::init("skein-api", &config)?;
    let served = async {
        let ops = Ops::start(args.ops.listen(), telemetry.scrape()).await?;
        let served = serve(&args, &ops).await;
        ops.stop().await;
        served
    };
    let served = served.await;
    telemetry.shutdown().await;
    served
}

async fn serve(args: &Args, ops: &Ops) -> anyhow::Result<()> {
    let (url, amqp) = (args.store.postgres()?, args.broker.rabbitmq()?);
    let traces = TraceView { url: args.trace_url.template()?, ..TraceView::default() };
    let shutdown = shutdown::requested();
    let event_logs = telemetry::event_log_sink();
    let store = store::open(&StoreUrl::Postgres(url), &args.store, event_logs).await?;
    let Some(prepared) = shutdown.run_until_cancelled(prepare(&*store, url, args)).await else {
        store.close().await;
        return Ok(());
    };
    prepared?;
    let listen = args.http.listen.as_str();
    let listener =
        TcpListener::bind(listen).await.with_context(|| format!("cannot listen at {listen}"))?;
    let address = listener.local_addr()?;
    let broker = broker::open(Some(amqp), "skein-api")?;

    let (tasks, background) = (TaskTracker::new(), CancellationToken::new());
    let dispatcher = Dispatcher::start(&tasks, Arc::clone(&broker), background.clone());
    let finisher = Finisher::new(Arc::clone(&store) as _, Arc::clone(&broker));
    let timers = Timers::default();
    let sweeper = Sweeper {
        store: Arc::clone(&store) as _,
        steps: Arc::clone(&store) as _,
        broker: Arc::clone(&broker),
        dispatcher: dispatcher.clone(),
        finisher: finisher.clone(),
        timers: timers.clone(),
        reap_after: REAP_AFTER_DEFAULT,
        trace_wait_max: args.trace.trace_wait_max,
    };
    let (sweeping, stop_sweeping) = (TaskTracker::new(), CancellationToken::new());
    sweeping.spawn(sweeper.run(stop_sweeping.clone()));
    if let Some(monitor) = Monitor::wanted(Arc::clone(&store) as _, Arc::clone(&broker)) {
        sweeping.spawn(monitor.run(stop_sweeping.clone()));
    }
    tracing::info!(%address, "the API listens");
    ops.is_ready_when(Arc::new(ApiReady {
        store: Arc::clone(&store),
        broker: Arc::clone(&broker),
        shutdown: shutdown.clone(),
    }));
    let deps = Deps {
        store: Arc::clone(&store),
        keys: Arc::clone(&store) as _,
        broker: Arc::clone(&broker),
        dispatcher,
        finisher,
        timers,
        hosts: Hosts::Any,
        traces,
    };
    skein_api::serve(listener, deps, Limits::default(), shutdown).await;

    // What requests and the last sweep have left behind is published before the connections go.
    stop_sweeping.cancel();
    sweeping.close();
    sweeping.wait().await;
    background.cancel();
    tasks.close();
    tasks.wait().await;
    broker.close().await;
    store.close().await;
    tracing::info!("the API stopped");
    Ok(())
}

/// Brings the schema up to date and stores the bootstrap key; waits for a store that is out of reach. Says so where no
/// key lets anybody in.
async fn prepare(store: &dyn Store, url: &SecretUrl, args: &Args) -> anyhow::Result<()> {
    let key = args.bootstrap.key()?;
    let mut wait = StoreWait::default();
    loop {
        let prepared = async {
            match args.no_migrate {
                true => store.check_schema().await?,
                false => store.migrate().await?,
            }
            let ensured = match &key {
                Some((key, identity)) => ensure_bootstrap_key(store, key, identity).await?,
                None => Ensured::Good,
            };
            Ok::<_, StoreError>((ensured, store.has_good_key().await?))
        };
        match prepared.await {
            Err(error) if error.is_retryable() => wait.pause(url, &error).await,
            prepared => {
                let (ensured, anybody) = prepared.context("the store cannot be prepared")?;
                if ensured == Ensured::Over {
                    tracing::warn!(
                        "SKEIN_BOOTSTRAP_KEY has been revoked or has expired, and stays so"
                    );
                }
                if !anybody {
                    tracing::warn!("{NOBODY}");
                }
                return Ok(());
            }
        }
    }
}

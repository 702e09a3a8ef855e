//! The broker that `AMQP_URL` names, past the contract: addresses, its operator's tool, tidying up.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use lapin::options::{ExchangeDeleteOptions, QueueDeleteOptions, QueuePurgeOptions};
use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties};

use crate::proxy::Far;

/// Where the broker is when `AMQP_URL` does not say.
const DEFAULT_URL: &str = "amqp://guest:guest@127.0.0.1:5672/%2f";

/// Where the broker is.
#[must_use]
pub fn amqp_url() -> String {
    std::env::var("AMQP_URL").unwrap_or_else(|_| DEFAULT_URL.to_owned())
}

/// The same broker at another port of this machine.
///
/// # Panics
/// When `AMQP_URL` is no AMQP address.
#[must_use]
pub fn amqp_url_at(port: u16) -> String {
    let mut uri: AMQPUri = amqp_url().parse().expect("AMQP_URL is an AMQP address");
    "127.0.0.1".clone_into(&mut uri.authority.host);
    uri.authority.port = port;
    uri.to_string()
}

/// Where the broker listens.
///
/// # Panics
/// When `AMQP_URL` is no AMQP address.
#[must_use]
pub fn address() -> Far {
    let uri: AMQPUri = amqp_url().parse().expect("AMQP_URL is an AMQP address");
    Far::Tcp(uri.authority.host, uri.authority.port)
}

/// Runs the broker's own tool and returns what it printed; `SKEIN_RABBITMQCTL` says how, for one in a
/// container.
///
/// # Panics
/// When the tool is not there or fails.
pub async fn rabbitmqctl(arguments: &[&str]) -> String {
    let arguments: Vec<_> = arguments.iter().map(ToString::to_string).collect();
    tokio::task::spawn_blocking(move || rabbitmqctl_now(&arguments))
        .await
        .expect("it does not panic")
        .unwrap_or_else(|error| panic!("{error:#}"))
}

fn rabbitmqctl_now(arguments: &[impl AsRef<std::ffi::OsStr>]) -> Result<String> {
    let command = std::env::var("SKEIN_RABBITMQCTL").unwrap_or_else(|_| "rabbitmqctl".to_owned());
    let mut words = command.split_whitespace();
    let mut command = Command::new(words.next().context("SKEIN_RABBITMQCTL names no command")?);
    let output =
        command.args(words).args(arguments).output().context("these tests need rabbitmqctl")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// Undoes what a test did to everybody's broker, when dropped: also when the test fails in between.
#[derive(Debug)]
pub struct Undo(Vec<String>);

impl Undo {
    /// Will call the broker's own tool with these arguments.
    #[must_use]
    pub fn with(arguments: &[&str]) -> Self {
        Self(arguments.iter().map(ToString::to_string).collect())
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        // A panic while another unwinds would end the process, and hide the first.
        if let Err(error) = rabbitmqctl_now(&self.0) {
            eprintln!("the broker stays as a test left it: {:?}: {error:#}", self.0);
        }
    }
}

/// Stops the broker for everybody until the value is dropped; it has been seen to be away.
///
/// # Panics
/// When the tool is not there or fails, or the broker still answers.
pub async fn stop_broker() -> Undo {
    let start = Undo::with(&["--quiet", "start_app"]);
    rabbitmqctl(&["--quiet", "stop_app"]).await;
    assert!(connect().await.is_err(), "the broker that was stopped takes connections");
    start
}

/// Closes all connections of one namespace as an operator would, at once. Returns how many there were.
///
/// # Panics
/// When the broker's tool is not there or fails.
pub async fn close_connections(namespace: &str) -> usize {
    // One expression for all: each call of the tool takes a second, in which the others come back.
    let close = format!(
        "length([rabbit_networking:close_connection(Pid, \"a test\") ||
           [{{pid, Pid}}, {{client_properties, Client}}] <-
             rabbit_networking:connection_info_all([pid, client_properties]),
           string:find(io_lib:format(\"~0p\", [Client]), \"{namespace}\") =/= nomatch])."
    );
    let closed = rabbitmqctl(&["--quiet", "eval", &close]).await;
    closed.trim().parse().unwrap_or_else(|_| panic!("no count: {closed}"))
}

/// Drops every message of a namespace that waits: the work of these pools, and the dead letters. Returns how many of
/// the former there were.
///
/// # Errors
/// When the broker is out of reach or has no such queues.
pub async fn purge(namespace: &str, pools: &[&str]) -> Result<u32> {
    let connection = connect().await?;
    let channel = connection.create_channel().await?;
    let mut purged = 0;
    for pool in pools {
        let queue = format!("{namespace}.work.v1.{pool}").into();
        purged += channel.queue_purge(queue, QueuePurgeOptions::default()).await?;
    }
    let dead = format!("{namespace}.dead.v1").into();
    channel.queue_purge(dead, QueuePurgeOptions::default()).await?;
    connection.close(200, "".into()).await?;
    Ok(purged)
}

async fn connect() -> Result<Connection> {
    let connected = Connection::connect(&amqp_url(), ConnectionProperties::default()).await;
    connected.context("these tests need RabbitMQ; see AMQP_URL")
}

/// Deletes the exchanges of a namespace, its dead letters and the queues of these pools.
///
/// # Errors
/// When the broker is out of reach.
pub async fn delete_namespace(namespace: &str, pools: &[&str]) -> Result<()> {
    let connection = connect().await?;
    let channel = connection.create_channel().await?;
    let mut queues: Vec<_> =
        pools.iter().map(|pool| format!("{namespace}.work.v1.{pool}")).collect();
    queues.push(format!("{namespace}.dead.v1"));
    for queue in queues {
        channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await?;
    }
    for exchange in ["work", "dlx", "events", "live"] {
        let exchange = format!("{namespace}.{exchange}.v1");
        channel.exchange_delete(exchange.into(), ExchangeDeleteOptions::default()).await?;
    }
    connection.close(200, "".into()).await?;
    Ok(())
}

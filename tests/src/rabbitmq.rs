//! The broker that `AMQP_URL` names, past the contract: addresses, its operator's tool, tidying up.

use std::process::Command;

use anyhow::{Context, Result};
use lapin::options::{ExchangeDeleteOptions, QueueDeleteOptions, QueuePurgeOptions};
use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties};

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

/// The host and the port of the broker.
///
/// # Panics
/// When `AMQP_URL` is no AMQP address.
#[must_use]
pub fn address() -> (String, u16) {
    let uri: AMQPUri = amqp_url().parse().expect("AMQP_URL is an AMQP address");
    (uri.authority.host, uri.authority.port)
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
}

/// [`rabbitmqctl`] for where nothing can be awaited.
///
/// # Panics
/// When the tool is not there or fails.
pub fn rabbitmqctl_now(arguments: &[impl AsRef<std::ffi::OsStr>]) -> String {
    let command = std::env::var("SKEIN_RABBITMQCTL").unwrap_or_else(|_| "rabbitmqctl".to_owned());
    let mut words = command.split_whitespace();
    let mut command = Command::new(words.next().expect("SKEIN_RABBITMQCTL names a command"));
    let output =
        command.args(words).args(arguments).output().expect("these tests need rabbitmqctl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("it prints text")
}

/// Closes the connections of one namespace as an operator would. Returns how many there were.
///
/// # Panics
/// When the broker's tool is not there or fails.
pub async fn close_connections(namespace: &str) -> usize {
    let listed = rabbitmqctl(&["--quiet", "list_connections", "pid", "client_properties"]).await;
    let mut closed = 0;
    for row in listed.lines().filter(|row| row.contains(namespace)) {
        let pid = row.split_whitespace().next().expect("the pid is the first column");
        rabbitmqctl(&["close_connection", pid, "a test"]).await;
        closed += 1;
    }
    closed
}

/// Drops every message that waits in the queue of a pool. Returns how many there were.
///
/// # Errors
/// When the broker is out of reach or has no such queue.
pub async fn purge(namespace: &str, pool: &str) -> Result<u32> {
    let connection = connect().await?;
    let channel = connection.create_channel().await?;
    let queue = format!("{namespace}.work.v1.{pool}").into();
    let purged = channel.queue_purge(queue, QueuePurgeOptions::default()).await?;
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
    for exchange in ["work", "dlx", "events"] {
        let exchange = format!("{namespace}.{exchange}.v1");
        channel.exchange_delete(exchange.into(), ExchangeDeleteOptions::default()).await?;
    }
    connection.close(200, "".into()).await?;
    Ok(())
}

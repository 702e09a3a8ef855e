//! Measures a broker: `cargo run --release -p skein-tests --example broker_throughput [in-process] [messages]`.
//!
//! Prints confirmed publishes a second, and messages a second that are published, consumed and acknowledged
//! at the same time. Uses RabbitMQ at `AMQP_URL`, in a namespace of its own that it leaves behind empty.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use skein_shared::broker::Broker;
use skein_shared::broker::in_process::InProcess;
use skein_shared::broker::rabbitmq::{RabbitMq, RabbitMqOptions};
use skein_tests::broker_suite::{POOL, batch, depth_becomes};
use skein_tests::rabbitmq;

/// Where in the broker, apart from everything else.
const NAMESPACE: &str = "skein-throughput";

/// Messages of a batch: what a busy batcher commits at once.
const BATCH: usize = 500;
/// Batches in flight.
const PUBLISHERS: usize = 4;
/// Unsettled deliveries.
const PREFETCH: u16 = 256;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let wanted: usize = arguments.iter().find_map(|word| word.parse().ok()).unwrap_or(50_000);
    let messages = wanted.next_multiple_of(BATCH * PUBLISHERS);
    let broker: Arc<dyn Broker> = if arguments.iter().any(|word| word == "in-process") {
        Arc::new(InProcess::with_capacity(messages))
    } else {
        let url = std::env::var("AMQP_URL");
        let url = url.unwrap_or_else(|_| "amqp://guest:guest@127.0.0.1:5672/%2f".to_owned());
        let options = RabbitMqOptions {
            namespace: NAMESPACE.to_owned(),
            publish_timeout: Duration::from_secs(30),
            ..RabbitMqOptions::new(url)
        };
        let broker = RabbitMq::connect(options)?;
        // There are queues once somebody has asked for their depth.
        broker.depth(POOL).await?;
        rabbitmq::purge(NAMESPACE, &[POOL]).await?;
        Arc::new(broker)
    };

    let started = Instant::now();
    publish(&broker, messages).await;
    report("publish, confirmed", messages, started);
    depth_becomes(&*broker, POOL, messages as u64).await;

    let started = Instant::now();
    consume(&broker, messages).await;
    report("consume, acknowledged", messages, started);

    let started = Instant::now();
    tokio::join!(publish(&broker, messages), consume(&broker, messages));
    report("publish + consume + ack", messages, started);
    depth_becomes(&*broker, POOL, 0).await;
    broker.close().await;
    Ok(())
}

async fn publish(broker: &Arc<dyn Broker>, messages: usize) {
    let publisher = |_| {
        let broker = Arc::clone(broker);
        let batch = batch(POOL, BATCH);
        tokio::spawn(async move {
            for _ in 0..messages / BATCH / PUBLISHERS {
                for outcome in broker.publish(&batch).await {
                    assert!(outcome.is_ok(), "{outcome:?}");
                }
            }
        })
    };
    for published in join_all((0..PUBLISHERS).map(publisher)).await {
        published.expect("all are accepted");
    }
}

async fn consume(broker: &Arc<dyn Broker>, messages: usize) {
    let mut consumer = broker.consume(POOL, PREFETCH).await;
    for _ in 0..messages {
        let delivery = consumer.receive().await.expect("the broker is open");
        tokio::spawn(delivery.ack());
    }
    consumer.stop().await;
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people to read")]
fn report(what: &str, messages: usize, started: Instant) {
    let elapsed = started.elapsed();
    println!("{what}: {:.0} messages/s", messages as f64 / elapsed.as_secs_f64());
}

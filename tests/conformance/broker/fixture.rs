//! A RabbitMQ with names of its own for each test, and the means to hurt it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use lapin::{Channel, Connection, ConnectionProperties};
use skein_shared::broker::Broker;
use skein_shared::broker::rabbitmq::{RabbitMq, RabbitMqOptions};
use skein_tests::broker_suite::{OTHER_POOL, POOL, depth_becomes};
pub(crate) use skein_tests::rabbitmq::{Undo, address, amqp_url, amqp_url_at, rabbitmqctl};
use skein_tests::rabbitmq::{close_connections, delete_namespace};
use tokio::sync::RwLock;
use uuid::Uuid;

/// An alarm blocks every publisher of the broker, so the test that raises it runs alone.
static ALARM: RwLock<()> = RwLock::const_new(());

/// One test's corner of the broker.
#[derive(Clone)]
pub(crate) struct Rabbit {
    pub(crate) namespace: String,
    pub(crate) broker: Arc<RabbitMq>,
}

/// Runs a case and deletes its queues afterwards, also when it fails.
pub(crate) async fn with_rabbitmq(case: impl AsyncFnOnce(Rabbit)) {
    let _together = ALARM.read().await;
    run(case).await;
}

/// The same with no other case beside it.
pub(crate) async fn with_rabbitmq_alone(case: impl AsyncFnOnce(Rabbit)) {
    let _alone = ALARM.write().await;
    run(case).await;
}

async fn run(case: impl AsyncFnOnce(Rabbit)) {
    let namespace = format!("test-{}", Uuid::new_v4().simple());
    let broker = connect(&namespace, &amqp_url());
    let rabbit = Rabbit { namespace, broker };
    // The queues have leaders before the case begins. A consumer and a publisher that declare a queue at
    // the same time may otherwise find one without, which is refused and harmless, but not the point.
    for pool in [POOL, OTHER_POOL] {
        depth_becomes(&*rabbit.broker, pool, 0).await;
    }
    let outcome = AssertUnwindSafe(case(rabbit.clone())).catch_unwind().await;
    rabbit.broker.close().await;
    rabbit.delete_everything().await;
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

/// A process of its own in a namespace.
pub(crate) fn connect(namespace: &str, url: &str) -> Arc<RabbitMq> {
    let options = RabbitMqOptions {
        namespace: namespace.to_owned(),
        connection_name: namespace.to_owned(),
        publish_timeout: Duration::from_secs(20),
        renew_after: Duration::from_secs(1),
        ..RabbitMqOptions::new(url)
    };
    Arc::new(RabbitMq::connect(options).expect("the options are legal"))
}

impl Rabbit {
    /// The queue of a pool.
    pub(crate) fn queue(&self, pool: &str) -> String {
        self.broker.address(pool).queue
    }

    /// A channel of somebody else.
    pub(crate) async fn channel(&self) -> (Connection, Channel) {
        let connection = Connection::connect(&amqp_url(), ConnectionProperties::default()).await;
        let connection = connection.expect("these tests need RabbitMQ; see AMQP_URL");
        let channel = connection.create_channel().await.expect("a fresh connection");
        (connection, channel)
    }

    /// Closes the connections of this test as an operator would. Returns how many there were.
    pub(crate) async fn close_connections(&self) -> usize {
        close_connections(&self.namespace).await
    }

    async fn delete_everything(&self) {
        let deleted = delete_namespace(&self.namespace, &[POOL, OTHER_POOL]).await;
        deleted.expect("the queues are no longer in use");
    }
}

/// Raises a memory alarm that lasts as long as the value.
pub(crate) async fn raise_memory_alarm() -> Undo {
    let status = rabbitmqctl(&["--formatter", "json", "status"]).await;
    let status: serde_json::Value = serde_json::from_str(&status).expect("it is JSON");
    let watermark = status["vm_memory_high_watermark_setting"]["relative"].to_string();
    let alarm = Undo::with(&["set_vm_memory_high_watermark", &watermark]);
    rabbitmqctl(&["set_vm_memory_high_watermark", "0.0000001"]).await;
    alarm
}

//! A RabbitMQ with names of its own for each test, and the means to hurt it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use lapin::{Channel, Connection, ConnectionProperties};
use skein_shared::broker::Broker;
use skein_shared::broker::rabbitmq::{RabbitMq, RabbitMqOptions};
use skein_tests::broker_suite::{OTHER_POOL, POOL, depth_becomes};
use skein_tests::rabbitmq::{address, close_connections, delete_namespace, rabbitmqctl_now};
pub(crate) use skein_tests::rabbitmq::{amqp_url, amqp_url_at, rabbitmqctl};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::RwLock;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;
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

/// A memory alarm that lasts as long as this value.
pub(crate) struct MemoryAlarm {
    watermark: String,
}

impl MemoryAlarm {
    pub(crate) async fn raise() -> Self {
        let status = rabbitmqctl(&["--formatter", "json", "status"]).await;
        let status: serde_json::Value = serde_json::from_str(&status).expect("it is JSON");
        let watermark = status["vm_memory_high_watermark_setting"]["relative"].to_string();
        let alarm = Self { watermark };
        rabbitmqctl(&["set_vm_memory_high_watermark", "0.0000001"]).await;
        alarm
    }
}

impl Drop for MemoryAlarm {
    fn drop(&mut self) {
        rabbitmqctl_now(&["set_vm_memory_high_watermark", &self.watermark]);
    }
}

/// A port that nobody listens at, until [`Proxy::start`] does.
pub(crate) async fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there are ports");
    listener.local_addr().expect("it is bound").port()
}

/// A way to the broker that ends when it is dropped.
pub(crate) struct Proxy {
    _task: AbortOnDropHandle<()>,
}

impl Proxy {
    pub(crate) async fn start(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("the port is free");
        let broker = address();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                let mut far = TcpStream::connect(&broker).await.expect("the broker is up");
                connections.spawn(async move { copy_bidirectional(&mut near, &mut far).await });
            }
        });
        Self { _task: AbortOnDropHandle::new(task) }
    }
}

//! The one place that knows which brokers there are.

use std::sync::Arc;

use super::Broker;
use super::in_process::InProcess;
use super::rabbitmq::{InvalidOptions, RabbitMq, RabbitMqOptions};
use crate::config::Amqp;

/// Opens a broker: RabbitMQ, or the in-process queue without it. RabbitMQ may be down: the
/// connection is made in the background, for ever.
///
/// # Errors
/// When the URL cannot be used.
pub fn open(amqp: Option<Amqp<'_>>, program: &str) -> Result<Arc<dyn Broker>, InvalidOptions> {
    Ok(match amqp {
        Some(Amqp { url, namespace }) => {
            let options = RabbitMqOptions {
                namespace: namespace.to_owned(),
                // The namespace distinguishes installations that share a broker.
                connection_name: format!("{program} {namespace}"),
                ..RabbitMqOptions::new(url.expose())
            };
            Arc::new(RabbitMq::connect(options)?)
        }
        None => Arc::new(InProcess::new()),
    })
}

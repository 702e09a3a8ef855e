//! The one place that knows which brokers there are.

use std::sync::Arc;

use super::Broker;
use super::in_process::InProcess;
use super::rabbitmq::{InvalidOptions, RabbitMq, RabbitMqOptions};
use crate::config::SecretUrl;

/// Opens a broker: RabbitMQ by its URL, or the in-process queue without one. RabbitMQ may be down: the
/// connection is made in the background, for ever.
///
/// # Errors
/// When the URL cannot be used.
pub fn open(
    amqp_url: Option<&SecretUrl>,
    program: &str,
) -> Result<Arc<dyn Broker>, InvalidOptions> {
    Ok(match amqp_url {
        Some(url) => {
            let options = RabbitMqOptions {
                connection_name: program.to_owned(),
                ..RabbitMqOptions::new(url.expose())
            };
            Arc::new(RabbitMq::connect(options)?)
        }
        None => Arc::new(InProcess::new()),
    })
}

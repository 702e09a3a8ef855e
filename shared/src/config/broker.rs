//! What carries wake-ups.

use super::{ConfigError, SecretUrl};

const VARIABLE: &str = "AMQP_URL";

/// Which broker.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct BrokerArgs {
    /// Where RabbitMQ is: amqp://user:password@host/vhost (or amqps). Without it, the queue is within the process.
    #[arg(long, env = VARIABLE, hide_env_values = true, value_name = "URL")]
    pub amqp_url: Option<SecretUrl>,
}

impl BrokerArgs {
    /// RabbitMQ's URL; `None` stands for the in-process queue.
    ///
    /// # Errors
    /// When the URL has another scheme than `amqp` and `amqps`.
    pub fn amqp(&self) -> Result<Option<&SecretUrl>, ConfigError> {
        match &self.amqp_url {
            Some(url) if !matches!(url.scheme().as_str(), "amqp" | "amqps") => {
                Err(ConfigError::new(VARIABLE, "has an unknown scheme: use amqp:// or amqps://"))
            }
            url => Ok(url.as_ref()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_amqp_urls_are_taken() {
        let amqp = |url: Option<&str>| {
            BrokerArgs { amqp_url: url.map(|url| url.parse().unwrap()) }
                .amqp()
                .map(|url| url.map(ToString::to_string))
        };
        assert_eq!(amqp(None), Ok(None));
        assert_eq!(amqp(Some("amqp://a:b@mq/")), Ok(Some("amqp://mq".to_owned())));
        assert_eq!(amqp(Some("amqps://mq:5671")), Ok(Some("amqps://mq:5671".to_owned())));
        let error = amqp(Some("http://a:s3cret@mq/")).unwrap_err();
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }
}

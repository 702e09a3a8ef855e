//! What carries wake-ups.

use super::{ConfigError, SecretUrl};

const VARIABLE: &str = "AMQP_URL";
const NAMESPACE_DEFAULT: &str = "skein";

/// Which broker.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct BrokerArgs {
    /// Where RabbitMQ is: amqp://user:password@host/vhost (or amqps). Without it, the queue is within the process.
    #[arg(long, env = VARIABLE, hide_env_values = true, value_name = "URL")]
    pub amqp_url: Option<SecretUrl>,
    /// What the names of all exchanges and queues start with: installations that share a virtual host
    /// each need their own.
    #[arg(
        long = "namespace",
        env = "SKEIN_NAMESPACE",
        default_value = NAMESPACE_DEFAULT,
        value_name = "NAME"
    )]
    pub namespace: String,
}

/// RabbitMQ as it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amqp<'a> {
    /// Where it is.
    pub url: &'a SecretUrl,
    /// What the names of all exchanges and queues start with.
    pub namespace: &'a str,
}

impl BrokerArgs {
    /// RabbitMQ; `None` stands for the in-process queue.
    ///
    /// # Errors
    /// When the URL is empty or has another scheme than `amqp` and `amqps`.
    pub fn amqp(&self) -> Result<Option<Amqp<'_>>, ConfigError> {
        match &self.amqp_url {
            Some(url) if url.expose().is_empty() => {
                Err(ConfigError::new(VARIABLE, "is empty: use amqp:// or amqps://, or unset it"))
            }
            Some(url) if !matches!(url.scheme().as_str(), "amqp" | "amqps") => {
                Err(ConfigError::new(VARIABLE, "has an unknown scheme: use amqp:// or amqps://"))
            }
            Some(url) => Ok(Some(Amqp { url, namespace: &self.namespace })),
            None => Ok(None),
        }
    }

    /// The RabbitMQ that the programs of a fleet share.
    ///
    /// # Errors
    /// When there is none, or as for [`Self::amqp`].
    pub fn rabbitmq(&self) -> Result<Amqp<'_>, ConfigError> {
        let missing = match &self.amqp_url {
            Some(url) if url.expose().is_empty() => "is empty",
            _ => match self.amqp()? {
                Some(amqp) => return Ok(amqp),
                None => "is not set",
            },
        };
        let wanted = "write amqp://user:password@host/vhost, the same for the API and all workers; a queue within the \
                      process, which `skein dev` has, reaches nobody";
        Err(ConfigError::new(VARIABLE, format!("{missing}: {wanted}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_amqp_urls_are_taken() {
        let amqp = |url: Option<&str>| {
            let amqp_url = url.map(|url| url.parse().unwrap());
            BrokerArgs { amqp_url, namespace: NAMESPACE_DEFAULT.to_owned() }
                .amqp()
                .map(|amqp| amqp.map(|amqp| amqp.url.to_string()))
        };
        assert_eq!(amqp(None), Ok(None));
        assert_eq!(amqp(Some("amqp://a:b@mq/")), Ok(Some("amqp://mq/".to_owned())));
        assert_eq!(amqp(Some("amqps://mq:5671")), Ok(Some("amqps://mq:5671".to_owned())));
        let error = amqp(Some("http://a:s3cret@mq/")).unwrap_err();
        assert!(!error.to_string().contains("s3cret"), "{error}");
        let empty = amqp(Some("")).unwrap_err().to_string();
        assert!(empty.starts_with("AMQP_URL is empty: use amqp://"), "{empty}");
    }

    #[test]
    fn a_fleet_is_told_that_it_has_no_broker() {
        let args = |url: Option<&str>| BrokerArgs {
            amqp_url: url.map(|url| url.parse().unwrap()),
            namespace: NAMESPACE_DEFAULT.to_owned(),
        };
        for (url, told) in [(None, "AMQP_URL is not set: "), (Some(" "), "AMQP_URL is empty: ")] {
            let error = args(url).rabbitmq().unwrap_err().to_string();
            assert!(error.starts_with(told) && error.contains("write amqp://"), "{error}");
        }
        let good = args(Some("amqp://mq/"));
        assert_eq!(good.rabbitmq().map(|amqp| amqp.url.expose()), Ok("amqp://mq/"));
    }
}

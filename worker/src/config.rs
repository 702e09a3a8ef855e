//! What can be configured of a worker.

use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args};
use skein_shared::config::{ConfigError, TraceArgs};
use skein_shared::domain::duration;

use crate::egress::{AllowRule, MalformedRule};
use crate::lease::LeaseTiming;
use crate::models::prices::{PriceArgs, Prices};
use crate::models::{ModelArgs, ModelSettings};

/// Settings of a worker.
#[derive(Debug, Clone, Args)]
pub struct WorkerArgs {
    /// Activations that run at the same time.
    #[arg(long, env = "SKEIN_CONCURRENCY", default_value_t = CONCURRENCY_DEFAULT,
          value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub concurrency: u16,
    /// Hosts or networks that outbound requests may reach although private, comma-separated:
    /// `host`, `host:port`, `*.example.com`, `10.0.0.0/8`, `10.1.2.3:8080`.
    #[arg(long, env = "SKEIN_HTTP_ALLOW", default_value = "")]
    pub http_allow: String,
    /// How long a worker may miss its heartbeats before others take over its work.
    #[arg(long, env = "SKEIN_LEASE_TTL", default_value = "30s", value_parser = lease_ttl)]
    pub lease_ttl: Duration,
    /// How long a worker that is asked to stop waits for the nodes that it runs.
    #[arg(long, env = "SKEIN_DRAIN_TIMEOUT", default_value = "30s", value_parser = parse_duration)]
    pub drain_timeout: Duration,
    /// The API's public address: what `run.server_url` yields in workflows.
    #[arg(long, env = "SKEIN_URL", hide_env_values = true)]
    pub server_url: Option<String>,
    /// The providers of models.
    #[command(flatten)]
    pub models: ModelArgs,
    /// The prices of models.
    #[command(flatten)]
    pub prices: PriceArgs,
    /// Whether spans carry what models are asked and what they answer, cut to 4 KiB each. Whoever reads the traces then
    /// reads the prompts.
    #[arg(long, env = "SKEIN_TELEMETRY_CONTENT", default_value_t = false, action = ArgAction::Set,
          num_args = 0..=1, default_missing_value = "true", value_parser = BoolishValueParser::new())]
    pub telemetry_content: bool,
    /// How far a trace reaches.
    #[command(flatten)]
    pub trace: TraceArgs,
}

/// Nodes mostly wait for others, so there can be many; a slot costs some kilobytes.
const CONCURRENCY_DEFAULT: u16 = 128;
/// Shorter, and a pause of the garbage-collecting kind in the database would pass for a crash.
const LEASE_TTL_MIN: Duration = Duration::from_secs(3);
/// Longer, and a crash would go unnoticed for longer than anybody waits.
const LEASE_TTL_MAX: Duration = Duration::from_secs(600);

fn parse_duration(text: &str) -> Result<Duration, String> {
    duration::parse(text).map_err(|error| error.to_string())
}

/// Every workflow can read the address, so it must hold nothing secret. Checked here and not by clap, which
/// repeats the values that it refuses.
fn check_server_url(text: &str) -> Result<(), ConfigError> {
    let url = reqwest::Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let problem = match url {
        Some(url) if url.username().is_empty() && url.password().is_none() => return Ok(()),
        Some(_) => "must hold no user and password: workflows can read it",
        None => "is no address: write http://host or https://host",
    };
    Err(ConfigError::new("SKEIN_URL", problem))
}

fn lease_ttl(text: &str) -> Result<Duration, String> {
    let ttl = parse_duration(text)?;
    if (LEASE_TTL_MIN..=LEASE_TTL_MAX).contains(&ttl) {
        Ok(ttl)
    } else {
        Err("must lie between 3s and 10m".to_owned())
    }
}

impl WorkerArgs {
    /// The settings in the form that [`crate::run`] takes.
    ///
    /// # Errors
    /// When the list of allowed hosts cannot be read, the API's address cannot be used, or providers of models or their
    /// prices are set up in a way that cannot be.
    pub fn settings(&self) -> Result<Settings, ConfigError> {
        let malformed =
            |rule: MalformedRule| ConfigError::new("SKEIN_HTTP_ALLOW", rule.to_string());
        if let Some(url) = &self.server_url {
            check_server_url(url)?;
        }
        Ok(Settings {
            concurrency: usize::from(self.concurrency),
            allow: AllowRule::parse_list(&self.http_allow).map_err(malformed)?,
            lease: LeaseTiming { ttl: self.lease_ttl },
            drain_timeout: self.drain_timeout,
            server_url: self.server_url.clone(),
            models: self.models.settings()?,
            prices: self.prices.prices()?,
            exports_content: self.telemetry_content,
            trace_wait_max: self.trace.trace_wait_max,
        })
    }
}

/// Settings of a worker, checked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Activations that run at the same time.
    pub concurrency: usize,
    /// What outbound requests may reach although private.
    pub allow: Vec<AllowRule>,
    /// How the lease keeps time.
    pub lease: LeaseTiming,
    /// How long a drain waits.
    pub drain_timeout: Duration,
    /// What `run.server_url` yields.
    pub server_url: Option<String>,
    /// The providers of models.
    pub models: ModelSettings,
    /// What their models cost.
    pub prices: Prices,
    /// Whether spans carry what models are asked and what they answer.
    pub exports_content: bool,
    /// How long a run may be suspended and still go on in the same trace.
    pub trace_wait_max: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_with_a_password_is_refused_and_not_repeated() {
        for url in ["http://127.0.0.1:8080", "https://skein.example/api"] {
            assert_eq!(check_server_url(url), Ok(()), "{url}");
        }
        for url in ["http://ada:s3cret@skein.example", "s3cret", "ftp://s3cret", "https://s3cret@a"]
        {
            let error = check_server_url(url).unwrap_err();
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }
}

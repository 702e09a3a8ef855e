//! What kind of stack a case wants.

use super::{IDENTITY, KEY, Outside};
use crate::otlp::Receiver;

/// Which form of Skein.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `skein-api` and workers over PostgreSQL and RabbitMQ.
    Distributed,
    /// `skein dev`: one process, SQLite and a queue within.
    Embedded,
}

/// What kind of stack a case wants.
#[derive(Debug, Clone)]
pub struct Setup {
    pub(super) label: String,
    pub(super) form: Form,
    pub(super) workers: usize,
    pub(super) proxied: bool,
    pub(super) clock_off_by: Option<i32>,
    collector: Option<String>,
    pub(super) environment: Vec<(String, String)>,
}

impl Setup {
    /// A stack of a form, with two workers if it is distributed. The label names the directory of its logs.
    #[must_use]
    pub fn new(form: Form, label: &str) -> Self {
        Self {
            label: format!("{label}-{}", format!("{form:?}").to_lowercase()),
            form,
            workers: 2,
            proxied: false,
            clock_off_by: None,
            collector: None,
            environment: Vec::new(),
        }
    }

    /// [`Form::Distributed`].
    #[must_use]
    pub fn distributed(label: &str) -> Self {
        Self::new(Form::Distributed, label)
    }

    /// [`Form::Embedded`].
    #[must_use]
    pub fn embedded(label: &str) -> Self {
        Self::new(Form::Embedded, label)
    }

    /// How many workers, if it is distributed.
    #[must_use]
    pub fn workers(self, workers: usize) -> Self {
        Self { workers, ..self }
    }

    /// With proxies before PostgreSQL and RabbitMQ, so that a case can cut them.
    #[must_use]
    pub fn proxied(self) -> Self {
        Self { proxied: true, ..self }
    }

    /// Over a database whose clock is ahead of that of the programs by so many seconds, if it is distributed.
    #[must_use]
    pub fn clock_off_by(self, seconds: i32) -> Self {
        Self { clock_off_by: Some(seconds), ..self }
    }

    /// Sends telemetry to another collector than the stack's own.
    #[must_use]
    pub fn collector(self, endpoint: &str) -> Self {
        Self { collector: Some(endpoint.to_owned()), ..self }
    }

    /// With leases so short that a dead worker is noticed in seconds, not in half a minute. So is one that a
    /// slow disk holds up: only cases in which workers may lose their work want this.
    #[must_use]
    pub fn short_leases(self) -> Self {
        self.env("SKEIN_LEASE_TTL", "3s")
    }

    /// Sets a variable for every program.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// What every program of the stack finds in its environment, besides what the case sets.
    pub(super) fn shared_environment(
        &self,
        collector: &Receiver,
        outside: &Outside,
        base: &str,
    ) -> Vec<(String, String)> {
        let endpoint = self.collector.clone().unwrap_or_else(|| collector.endpoint());
        let [organization, workspace, user] = IDENTITY;
        let variables = [
            ("SKEIN_BOOTSTRAP_KEY", KEY),
            ("SKEIN_BOOTSTRAP_ORGANIZATION", organization),
            ("SKEIN_BOOTSTRAP_WORKSPACE", workspace),
            ("SKEIN_BOOTSTRAP_USER", user),
            ("SKEIN_HTTP_ALLOW", &outside.allow()),
            ("SKEIN_URL", base),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
            // Tests wait for spans; the default is five seconds.
            ("OTEL_BSP_SCHEDULE_DELAY", "200"),
            ("OTEL_BLRP_SCHEDULE_DELAY", "200"),
        ];
        variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }
}

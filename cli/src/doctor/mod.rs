//! `skein doctor`: looks at everything that an installation talks to, as its processes would, and says what to do.
//!
//! A check asks one thing and MUST NOT change anything that others see, but for the telemetry that it sends. It MUST end
//! within its bound, whatever is at the other end, and MUST NOT tell a secret. What cannot be asked because of what was
//! found before is skipped, so that one cause is one failure.

mod api;
mod broker;
mod clock;
mod database;
mod embedded;
mod finding;
mod otlp;
mod settings;

use std::time::Duration;

use clap::ValueEnum;
use reqwest::Url;
use skein_shared::config::{BrokerArgs, StoreArgs, StoreUrl, TraceUrlTemplate};

use crate::arguments::ServerArgs;
use crate::data_directory::DataDirectory;
use crate::http::{base_url, is_this_machine};

pub use finding::{Finding, Outcome};
pub use settings::{Flag, Settings, TELEMETRY_VARIABLES};

/// How long one answer may take. All of what is asked takes milliseconds where it is well.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// How long a group of checks may take, whatever happens: each asks several things, one after the other.
const GROUP_MAX: Duration = Duration::from_secs(45);

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Group {
    /// Where telemetry goes.
    Otlp,
    /// RabbitMQ.
    Broker,
    /// PostgreSQL, or the directory of the embedded mode.
    Database,
    /// The API, and the key to it.
    Api,
}

impl Group {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 4] = [Self::Otlp, Self::Broker, Self::Database, Self::Api];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Otlp => "otlp",
            Self::Broker => "broker",
            Self::Database => "database",
            Self::Api => "api",
        }
    }
}

/// Where everything is.
#[derive(Debug, Clone, Copy)]
pub struct Installation<'a> {
    /// The store.
    pub store: &'a StoreArgs,
    /// The broker.
    pub broker: &'a BrokerArgs,
    /// The API, and the directory of the embedded mode.
    pub server: &'a ServerArgs,
    /// What the environment says.
    pub settings: &'a Settings,
    /// What makes a link of a trace id, if anything does.
    pub trace_url: Option<&'a TraceUrlTemplate>,
}

/// What was found, by group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What is wrong with variables as such.
    pub settings: Vec<Finding>,
    /// Each group that was asked for.
    pub groups: Vec<(Group, Vec<Finding>)>,
}

impl Report {
    /// Everything that was found.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.settings.iter().chain(self.groups.iter().flat_map(|(_, findings)| findings))
    }

    /// Findings with this outcome.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> usize {
        self.findings().filter(|finding| finding.outcome == outcome).count()
    }
}

/// Makes all checks of these groups, the groups beside each other.
pub async fn examine(installation: Installation<'_>, groups: &[Group]) -> Report {
    let checks =
        Group::ALL.into_iter().filter(|group| groups.contains(group)).map(|group| async move {
            let checked = tokio::time::timeout(GROUP_MAX, check(installation, group)).await;
            let late = |_| {
                let what = format!("not done within {} s", GROUP_MAX.as_secs());
                vec![Finding::failed("time", what, "ask for this group alone, with --only")]
            };
            (group, checked.unwrap_or_else(late))
        });
    let groups = futures_util::future::join_all(checks).await;
    Report { settings: installation.settings.findings(), groups }
}

async fn check(installation: Installation<'_>, group: Group) -> Vec<Finding> {
    let Installation { store, broker, server, settings, trace_url } = installation;
    match group {
        Group::Otlp => Box::pin(otlp::check(settings, trace_url)).await,
        Group::Broker if broker.amqp_url.is_none() && is_elsewhere(server) => {
            vec![not_looked_at(server, "AMQP_URL", "broker")]
        }
        Group::Broker => Box::pin(broker::check(broker)).await,
        Group::Database => match store.store() {
            Err(error) => vec![Finding::failed("settings", error.to_string(), "correct it")],
            Ok(Some(StoreUrl::Postgres(url))) => {
                Box::pin(database::check(url, store.database_connections)).await
            }
            Ok(Some(StoreUrl::Sqlite(file))) => embedded::check_file(&file),
            Ok(None) if is_elsewhere(server) => {
                vec![not_looked_at(server, "DATABASE_URL", "database")]
            }
            Ok(None) => embedded::check_directory(&server.data),
        },
        Group::Api => Box::pin(api::check(server)).await,
    }
}

/// Whether the server that is named is another one than that of the data directory.
fn is_elsewhere(server: &ServerArgs) -> bool {
    let Some(url) = &server.url else { return false };
    let owner = DataDirectory::new(&server.data).owner().ok().flatten();
    let base = |url: &str| base_url(url).ok();
    // This machine has several names.
    let is_one = |a: &Url, b: &Url| {
        let is_same = a.host_str() == b.host_str() || (is_this_machine(a) && is_this_machine(b));
        is_same && a.port_or_known_default() == b.port_or_known_default()
    };
    let owner = owner.and_then(|owner| base(&owner.url));
    !owner.zip(base(url.expose())).is_some_and(|(owner, named)| is_one(&owner, &named))
}

/// What a server has that is somewhere only its own settings say.
fn not_looked_at(server: &ServerArgs, variable: &str, what: &str) -> Finding {
    let url = server.url.as_ref().map(ToString::to_string).unwrap_or_default();
    let what = format!("{variable} is not set: the {what} of {url} was not looked at");
    let remedy = "run this with the settings of that server, DATABASE_URL and AMQP_URL among them";
    Finding::skipped("connection", what, Some(remedy))
}

/// Whether anybody executes runs.
fn workers(living: i64) -> Finding {
    const NAME: &str = "workers";
    match living {
        0 => Finding::warning(
            NAME,
            "none is alive",
            "start skein-worker: runs wait until there is one",
        ),
        1 => Finding::ok(NAME, "1 is alive"),
        workers => Finding::ok(NAME, format!("{workers} are alive")),
    }
}

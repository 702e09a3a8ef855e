//! Settings that several commands take.

use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::Resettable;
use clap::{Args, FromArgMatches};
use skein_shared::config::{BootstrapArgs, BrokerArgs, StoreArgs};
use skein_worker::WorkerArgs;

use crate::failure::UsageError;

/// Which server a command talks to: the named one, else the `skein dev` that owns the data directory, else
/// one that lives within the command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Server")]
pub struct ServerArgs {
    /// The server to talk to. Without it: the `skein dev` of the data directory, or one within this process.
    #[arg(long, env = "SKEIN_URL", value_name = "URL")]
    pub url: Option<String>,
    /// The API key for the named server.
    #[arg(long, env = "SKEIN_KEY", hide_env_values = true, value_name = "KEY")]
    pub key: Option<ApiKey>,
    /// Where the embedded mode keeps its store and its key.
    #[arg(long, env = "SKEIN_DATA", default_value = ".skein", value_name = "DIRECTORY")]
    pub data: PathBuf,
}

/// How a server within this process is set up.
#[derive(Debug, Clone, Args)]
// A server within the process knows its own address. The variable names one that the CLI talks to.
#[command(mut_arg("server_url", |arg| arg.env(Resettable::Reset)), next_help_heading = "Embedded server")]
pub struct EmbeddedArgs {
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    /// Leaves the schema of a PostgreSQL database alone.
    #[arg(long, env = "SKEIN_NO_MIGRATE")]
    pub(crate) no_migrate: bool,
    #[command(flatten)]
    pub(crate) broker: BrokerArgs,
    #[command(flatten)]
    pub(crate) bootstrap: BootstrapArgs,
    #[command(flatten)]
    pub(crate) worker: WorkerArgs,
}

impl EmbeddedArgs {
    /// The settings of the environment and no flags, for commands that do not have these.
    ///
    /// # Errors
    /// When a variable has a value that cannot be read.
    pub fn from_env() -> Result<Self, UsageError> {
        Self::from_flags(&[]).map_err(|error| UsageError::new(error.to_string()))
    }

    /// The settings of flags, and of the environment where there are none.
    pub(crate) fn from_flags(flags: &[&str]) -> Result<Self, clap::Error> {
        let command = Self::augment_args(clap::Command::new("environment").no_binary_name(true));
        Self::from_arg_matches(&command.try_get_matches_from(flags)?)
    }
}

/// An API key; never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// The key itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

impl FromStr for ApiKey {
    type Err = Infallible;

    /// Takes any text: clap prints what a parser refuses, and this is a secret.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.trim().to_owned()))
    }
}

impl From<String> for ApiKey {
    fn from(key: String) -> Self {
        Self(key)
    }
}

//! Settings that several commands take.

use std::path::{Path, PathBuf};

use clap::builder::{BoolishValueParser, Resettable};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, FromArgMatches};
use skein_shared::config::{BootstrapArgs, BrokerArgs, SecretUrl, StoreArgs, TraceUrlArgs};
use skein_worker::WorkerArgs;

use crate::client::ApiKey;
use crate::usage::UsageError;

/// Where the embedded mode keeps what it keeps, unless given.
pub const DATA_DIRECTORY: &str = ".skein";

/// Which server a command talks to: the named one, else the `skein dev` that owns the data directory, else
/// one that lives within the command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Server")]
pub struct ServerArgs {
    /// The server to talk to. Without it: the `skein dev` of the data directory, or one within this process.
    #[arg(long, env = "SKEIN_URL", hide_env_values = true, value_name = "URL")]
    pub url: Option<SecretUrl>,
    /// The API key for the named server.
    #[arg(long, env = "SKEIN_KEY", hide_env_values = true, value_name = "KEY")]
    pub key: Option<ApiKey>,
    /// Where the embedded mode keeps its store and its key.
    #[arg(long, env = "SKEIN_DATA", default_value = DATA_DIRECTORY, value_name = "DIRECTORY")]
    pub data: PathBuf,
}

impl ServerArgs {
    /// The flags with which another command talks to the same server, wherever it is typed. Without the key, which is
    /// never shown.
    #[must_use]
    pub fn flags(&self) -> Vec<String> {
        if let Some(url) = &self.url {
            return vec!["--url".to_owned(), url.expose().to_owned()];
        }
        data_flags(&self.data)
    }
}

/// The flags with which another command finds the same data directory.
#[must_use]
pub fn data_flags(data: &Path) -> Vec<String> {
    if data.as_os_str() == DATA_DIRECTORY {
        return Vec::new();
    }
    vec!["--data".to_owned(), data.to_string_lossy().into_owned()]
}

/// How a server within this process is set up.
#[derive(Debug, Clone, Args)]
// A server within the process knows its own address. The variable names one that the CLI talks to.
#[command(mut_arg("server_url", |arg| arg.env(Resettable::Reset)), next_help_heading = "Embedded server")]
pub struct EmbeddedArgs {
    // First: what is read after it is taken out of what clap has found.
    #[command(flatten)]
    given: GivenFlags,
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    /// Leaves the schema of a PostgreSQL database alone.
    // As skein-api reads it: one environment may be for both.
    #[arg(long, env = "SKEIN_NO_MIGRATE", value_parser = BoolishValueParser::new())]
    pub(crate) no_migrate: bool,
    #[command(flatten)]
    pub(crate) broker: BrokerArgs,
    #[command(flatten)]
    pub(crate) bootstrap: BootstrapArgs,
    #[command(flatten)]
    pub(crate) worker: WorkerArgs,
    #[command(flatten)]
    pub(crate) trace_url: TraceUrlArgs,
    /// A script that answers in place of all providers of models, so that nothing is needed and nothing is paid.
    #[arg(long, value_name = "FILE")]
    pub(crate) mock_models: Option<PathBuf>,
}

impl EmbeddedArgs {
    /// The settings of the environment and no flags, for commands that do not have these.
    ///
    /// # Errors
    /// When a variable has a value that cannot be read.
    pub fn from_env() -> Result<Self, UsageError> {
        Self::from_flags(&[]).map_err(|error| UsageError::new(error.to_string()))
    }

    /// Refuses flags that would do nothing, because the server that is used has been set up by somebody else.
    /// What the environment says is meant for whatever it fits.
    ///
    /// # Errors
    /// When there are any.
    pub fn refuse_flags(&self, server: &str) -> Result<(), UsageError> {
        let GivenFlags(flags) = &self.given;
        if flags.is_empty() {
            return Ok(());
        }
        let flags = flags.join(" and ");
        let message =
            format!("{flags} would set up a server within this command, but {server} is used");
        Err(UsageError::new(message))
    }

    /// The settings of flags, and of the environment where there are none.
    pub(crate) fn from_flags(flags: &[&str]) -> Result<Self, clap::Error> {
        let command = Self::augment_args(clap::Command::new("environment").no_binary_name(true));
        Self::from_arg_matches(&command.try_get_matches_from(flags)?)
    }
}

/// The flags of [`EmbeddedArgs`] that stand on the command line.
#[derive(Debug, Clone, Default)]
struct GivenFlags(Vec<String>);

impl FromArgMatches for GivenFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let command = EmbeddedArgs::augment_args(clap::Command::new("flags"));
        let given = command.get_arguments().filter(|argument| {
            matches.value_source(argument.get_id().as_str()) == Some(ValueSource::CommandLine)
        });
        Ok(Self(given.filter_map(Arg::get_long).map(|flag| format!("--{flag}")).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for GivenFlags {
    fn augment_args(command: clap::Command) -> clap::Command {
        command
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_command_finds_the_same_server_and_is_not_told_the_key() {
        let flags = |args: &[&str]| {
            let command = ServerArgs::augment_args(clap::Command::new("server"));
            let args = [&["server"], args].concat();
            let matches = command.try_get_matches_from(args).unwrap();
            ServerArgs::from_arg_matches(&matches).unwrap().flags()
        };
        assert_eq!(flags(&["--data", DATA_DIRECTORY]), [] as [&str; 0]);
        assert_eq!(flags(&["--data", "/srv/one"]), ["--data", "/srv/one"]);
        let named = flags(&["--url", "http://x:1", "--key", "s3cret", "--data", "two"]);
        assert_eq!(named, ["--url", "http://x:1"]);
    }

    #[test]
    fn the_flag_against_migrations_takes_no_value() {
        assert!(EmbeddedArgs::from_flags(&["--no-migrate"]).unwrap().no_migrate);
        for flag in ["--no-migrate=1", "--no-migrate=true"] {
            assert!(EmbeddedArgs::from_flags(&[flag]).is_err(), "{flag}");
        }
    }
}

//! The commands, one a file.

mod analyze;
mod bench;
mod budget;
mod cancel;
mod costs;
mod decide;
mod dev;
mod doctor;
mod keys;
mod logs;
mod migrate;
mod run;
mod run_name;
mod runs;
mod signoz;
mod steps;
mod trace;
mod traced;
mod traces;
mod validate;

use std::process::ExitCode;

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Starts a server: API and worker in one process, with nothing to install.
    Dev(Box<dev::DevArgs>),
    /// Publishes a workflow, runs it, and shows what came of it.
    Run(Box<run::RunArgs>),
    /// Says what is wrong with a workflow, without a server.
    Validate(validate::ValidateArgs),
    /// Lists runs, newest first.
    Runs(runs::RunsArgs),
    /// Shows the log of a run.
    Logs(logs::LogsArgs),
    /// Lists the calls that a run has made to models and tools.
    Steps(steps::StepsArgs),
    /// Allows or forbids what a node waits to do.
    Decide(decide::DecideArgs),
    /// Sums up what calls to models cost.
    Costs(costs::CostsArgs),
    /// Looks back at runs: what they wait for, what fails, what it costs, and which version is worse.
    Analyze(analyze::AnalyzeArgs),
    /// Shows and sets what a run or the organization may spend.
    Budget(budget::BudgetArgs),
    /// Draws the trace of a run.
    Trace(trace::TraceArgs),
    /// Sends the spans of runs to a collector once more.
    Traces(Box<traces::TracesArgs>),
    /// Asks for a run to be cancelled.
    Cancel(cancel::CancelArgs),
    /// Makes, lists and revokes API keys.
    Keys(keys::KeysArgs),
    /// Looks into an installation: where telemetry goes, broker, database and API; says what to do.
    Doctor(Box<doctor::DoctorArgs>),
    /// Brings the schema of a database up to date.
    Migrate(migrate::MigrateArgs),
    /// Puts dashboards and alert rules into SigNoz.
    Signoz(signoz::SignozArgs),
    /// Measures how many runs a server accepts and completes a second.
    Bench(bench::BenchArgs),
}

impl Command {
    /// Does it.
    ///
    /// # Errors
    /// When it cannot be done; [`crate::failure::report`] shows it.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Dev(args) => dev::dev(*args).await,
            Self::Run(args) => Box::pin(run::run(*args)).await,
            Self::Validate(args) => validate::validate(&args),
            Self::Runs(args) => runs::runs(args).await,
            Self::Logs(args) => logs::logs(args).await,
            Self::Steps(args) => steps::steps(args).await,
            Self::Decide(args) => decide::decide(args).await,
            Self::Costs(args) => costs::costs(args).await,
            Self::Analyze(args) => analyze::analyze(args).await,
            Self::Budget(args) => budget::budget(args).await,
            Self::Trace(args) => trace::trace(args).await,
            Self::Traces(args) => Box::pin(traces::traces(*args)).await,
            Self::Cancel(args) => cancel::cancel(args).await,
            Self::Keys(args) => keys::keys(args).await,
            Self::Doctor(args) => doctor::doctor(*args).await,
            Self::Migrate(args) => migrate::migrate(args).await,
            Self::Signoz(args) => signoz::signoz(args).await,
            Self::Bench(args) => Box::pin(bench::bench(args)).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{FromArgMatches, Subcommand};

    use super::*;

    fn skein() -> clap::Command {
        Command::augment_subcommands(clap::Command::new("skein"))
    }

    #[test]
    fn no_two_arguments_of_a_command_are_called_the_same() {
        skein().debug_assert();
    }

    #[test]
    fn the_server_that_commands_talk_to_is_not_what_an_embedded_one_calls_itself() {
        let dev = skein().find_subcommand("dev").unwrap().clone();
        let server_url = dev.get_arguments().find(|arg| arg.get_id() == "server_url").unwrap();
        assert_eq!(server_url.get_env(), None);
    }

    #[test]
    fn help_shows_no_variable_that_may_hold_a_secret() {
        let secret = [
            "SKEIN_URL",
            "SKEIN_KEY",
            "DATABASE_URL",
            "AMQP_URL",
            "SKEIN_BOOTSTRAP_KEY",
            "SIGNOZ_URL",
            "SIGNOZ_API_KEY",
            "TRACE_URL_TEMPLATE",
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "OTEL_EXPORTER_OTLP_HEADERS",
            "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
        ];
        let mut commands = vec![skein()];
        while let Some(command) = commands.pop() {
            for argument in command.get_arguments() {
                let name = argument.get_env().and_then(|name| name.to_str()).unwrap_or_default();
                let may_be_shown = argument.is_hide_env_values_set() || !secret.contains(&name);
                assert!(may_be_shown, "{} {}", command.get_name(), argument.get_id());
            }
            commands.extend(command.get_subcommands().cloned());
        }
    }

    #[test]
    fn keys_are_not_shown_with_the_arguments() {
        let args = ["skein", "run", "x.yaml", "--url", "http://x", "--key", "s3cret-s3cret"];
        let matches = skein().try_get_matches_from(args).unwrap();
        let command = Command::from_arg_matches(&matches).unwrap();
        assert!(!format!("{command:?}").contains("s3cret"));
    }
}

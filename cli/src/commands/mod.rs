//! The commands, one a file.

mod accepted;
mod analyze;
mod archive;
mod attach;
mod bench;
mod budget;
mod cancel;
mod completions;
mod costs;
mod decide;
mod dev;
mod doctor;
mod ending;
mod help_page;
mod keys;
mod logs;
mod looking;
mod migrate;
mod planned;
mod program;
mod publish;
mod remedy;
mod run;
mod run_name;
mod runs;
mod show;
mod signoz;
mod start;
mod starting;
mod steps;
mod trace;
mod traced;
mod traces;
mod validate;
mod workers;
mod workflow_name;
mod workflows;

use std::process::ExitCode;

pub use program::Program;

use crate::format::OutputArgs;

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Starts a server: API and worker in one process, with nothing to install.
    Dev(Box<dev::DevArgs>),
    /// Stores a workflow as a draft, runs it, and shows what came of it.
    Run(Box<run::RunArgs>),
    /// Says what is wrong with workflows, without a server.
    Validate(validate::ValidateArgs),
    /// Makes workflows the latest versions, which everybody gets who starts them.
    Publish(publish::PublishArgs),
    /// Lists workflows, or the versions of one.
    Workflows(workflows::WorkflowsArgs),
    /// Has a workflow take no new runs.
    Archive(archive::ArchiveArgs),
    /// Starts a run of a workflow that was published, or of one of its versions.
    Start(Box<start::StartArgs>),
    /// Lists runs, newest first.
    Runs(runs::RunsArgs),
    /// Shows all that is known of a run, at any time.
    Show(show::ShowArgs),
    /// Shows the log of a run.
    Logs(logs::LogsArgs),
    /// Draws the trace of a run.
    Trace(trace::TraceArgs),
    /// Asks for a run to be cancelled.
    Cancel(cancel::CancelArgs),
    /// Lists the calls that a run has made to models and tools.
    Steps(steps::StepsArgs),
    /// Allows or forbids what a node waits to do.
    Decide(decide::DecideArgs),
    /// Sums up what calls to models cost.
    Costs(costs::CostsArgs),
    /// Shows and sets what a run or the organization may spend.
    Budget(Box<budget::BudgetArgs>),
    /// Looks back at runs: what they wait for, what fails, what it costs, and which version is worse.
    Analyze(analyze::AnalyzeArgs),
    /// Sends the spans of runs to a collector once more.
    Traces(Box<traces::TracesArgs>),
    /// Lists the workers of the fleet.
    Workers(workers::WorkersArgs),
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
    /// Writes a script with which a shell completes commands and flags.
    Completions(completions::CompletionsArgs),
    /// Writes the page of all commands.
    #[command(hide = true)]
    HelpPage,
}

impl Command {
    /// Does it.
    ///
    /// # Errors
    /// When it cannot be done; [`crate::failure::report`] shows it.
    pub async fn run(self, output: OutputArgs) -> anyhow::Result<ExitCode> {
        match self {
            Self::Dev(args) => dev::dev(*args, output).await,
            Self::Run(args) => Box::pin(run::run(*args, output)).await,
            Self::Validate(args) => validate::validate(&args, output),
            Self::Publish(args) => publish::publish(args, output).await,
            Self::Workflows(args) => workflows::workflows(args, output).await,
            Self::Archive(args) => archive::archive(args, output).await,
            Self::Start(args) => Box::pin(start::start(*args, output)).await,
            Self::Runs(args) => runs::runs(args, output).await,
            Self::Show(args) => Box::pin(show::show(args, output)).await,
            Self::Logs(args) => logs::logs(args, output).await,
            Self::Trace(args) => Box::pin(trace::trace(args, output)).await,
            Self::Cancel(args) => cancel::cancel(args, output).await,
            Self::Steps(args) => steps::steps(args, output).await,
            Self::Decide(args) => decide::decide(args, output).await,
            Self::Costs(args) => costs::costs(args, output).await,
            Self::Budget(args) => budget::budget(*args, output).await,
            Self::Analyze(args) => analyze::analyze(args, output).await,
            Self::Traces(args) => Box::pin(traces::traces(*args, output)).await,
            Self::Workers(args) => workers::workers(args, output).await,
            Self::Keys(args) => keys::keys(args, output).await,
            Self::Doctor(args) => doctor::doctor(*args, output).await,
            Self::Migrate(args) => migrate::migrate(args, output).await,
            Self::Signoz(args) => signoz::signoz(args, output).await,
            Self::Bench(args) => Box::pin(bench::bench(args, output)).await,
            Self::Completions(args) => completions::completions(&args, output),
            Self::HelpPage => help_page::help_page(),
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

//! The whole command line.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches, Parser};

use super::Command;
use crate::failure;
use crate::format::OutputArgs;
use crate::output::keep_quiet;
use crate::shell::shell_words;

/// What stands below the help of the whole.
const EXIT_CODES: &str = "\
Exit codes:
  0    success
  1    it could not be done
  2    the command was not called right; nothing was done, but for the other files where one cannot be read
  3    a run did not succeed (run, start, show --follow, trace --follow, bench)
  4    a part was done, and then something went wrong (traces export, signoz apply)
  130  interrupted

Ctrl-C, and SIGTERM, detach from a run on a server that stays; it goes on. Without a server, the run is cancelled; a second
one leaves it to the next command.

Examples:
  skein run examples/api-tour.yaml        # without a server: all of Skein in one process
  skein dev                               # a server for the commands that follow
  skein publish digest.yaml               # the latest version, for everybody
  skein start digest -i url=https://example.com/feed.json
  skein show last --follow                # until it has ended; then what came of it

`skein help COMMAND` says more of one.";

/// Runs workflows: DAGs of nodes, each run one trace.
///
/// Without a server, commands work on an embedded one that keeps its store in .skein.
#[derive(Debug, Parser)]
#[command(name = "skein", version, arg_required_else_help = true, after_help = EXIT_CODES)]
pub struct Program {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    output: OutputArgs,
}

impl Program {
    /// Reads a command line, the program's name first. What is asked for of the whole process (colours, silence, the form
    /// of errors) holds from here on.
    ///
    /// # Errors
    /// With the exit code when it cannot be read, or only asks for help; what there is to say was said.
    pub fn read(words: &[OsString]) -> Result<Self, ExitCode> {
        let guessed = OutputArgs::guess(words);
        let command = Self::command().color(guessed.color.into());
        let read = command.try_get_matches_from(words);
        match read.and_then(|matches| Self::from_arg_matches(&matches)) {
            Ok(program) => {
                program.output.color.choose();
                failure::report_as(program.output.output);
                if program.output.quiet {
                    keep_quiet();
                }
                Ok(program)
            }
            Err(error) => {
                guessed.color.choose();
                failure::report_as(guessed.output);
                let error = of_command_line(error, words, guessed);
                Err(failure::refuse(&with_input_tip(error, words)))
            }
        }
    }

    /// Does what it says.
    pub async fn run(self) -> ExitCode {
        match self.command.run(self.output).await {
            Ok(code) => code,
            Err(error) => failure::report(&error),
        }
    }
}

/// The same error with the usage of what stands on the command line: with the environment, clap lists what that has given, too.
fn of_command_line(error: clap::Error, words: &[OsString], guessed: OutputArgs) -> clap::Error {
    if error.get(ContextKind::Usage).is_none() {
        return error;
    }
    let command = without_environment(Program::command()).color(guessed.color.into());
    match command.try_get_matches_from(words) {
        // What the environment gives may be what is missing now, or what was wrong.
        Err(same) if message(&same) == message(&error) => same,
        _ => error,
    }
}

fn without_environment(command: clap::Command) -> clap::Command {
    command.mut_args(|arg| arg.env(Resettable::Reset)).mut_subcommands(without_environment)
}

/// What an error says, without usage.
fn message(error: &clap::Error) -> String {
    let text = error.render().to_string();
    text.split("\n\nUsage:").next().unwrap_or_default().to_owned()
}

/// The same error with what may have been meant: who gives a command that starts a run a flag that there is not means a member
/// of its input. That of clap, to put `--` before it, would not help.
fn with_input_tip(mut error: clap::Error, words: &[OsString]) -> clap::Error {
    let is_similar_to_none = error.get(ContextKind::SuggestedArg).is_none();
    if error.kind() == ErrorKind::UnknownArgument && is_similar_to_none && starts_runs(words) {
        let flag = match error.get(ContextKind::InvalidArg) {
            Some(ContextValue::String(flag)) => flag.strip_prefix("--").map(str::to_owned),
            _ => None,
        };
        if let Some(name) = flag {
            // Not what stands behind it, which may be a secret.
            let example = shell_words(&["-i", &format!("{name}=VALUE")]);
            let example = example.unwrap_or_else(|| "-i KEY=VALUE".to_owned());
            let tip = format!("an input is given as `{example}`").into();
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip]));
        }
    }
    error
}

/// Whether the command starts runs.
fn starts_runs(words: &[OsString]) -> bool {
    let program = Program::command();
    let is_command = |word: &&OsString| program.find_subcommand(word).is_some();
    words.iter().skip(1).find(is_command).is_some_and(|word| word == "start" || word == "run")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of a command line that cannot be read.
    fn said(line: &str) -> String {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let error = Program::command().try_get_matches_from(&words).unwrap_err();
        with_input_tip(error, &words).render().to_string()
    }

    #[test]
    fn a_flag_that_there_is_not_is_taken_for_a_member_of_an_input() {
        for line in [
            "skein start receipts@2 --amount 5",
            "skein start receipts --amount=5",
            "skein -o json run w.yaml --amount",
        ] {
            let said = said(line);
            let tip = "an input is given as `-i amount=VALUE`";
            assert!(said.contains(tip) && !said.contains("'-- "), "{line}: {said}");
        }
        let secret = said("skein start receipts --password s3cret");
        assert!(secret.contains("-i password=VALUE") && !secret.contains("s3cret"), "{secret}");
        assert!(!said("skein runs --amount 5").contains("an input"));
        assert!(!said("skein start receipts --wai").contains("an input"), "it is --wait");
    }

    #[test]
    fn a_usage_is_that_of_the_command_line() {
        let command = || {
            let url = clap::Arg::new("url").long("url").default_value("x");
            clap::Command::new("skein").subcommand(clap::Command::new("show").arg(url))
        };
        let bare = without_environment(command().arg(clap::Arg::new("key").env("PATH")));
        assert!(bare.get_arguments().all(|arg| arg.get_env().is_none()));
        bare.debug_assert();
    }
}

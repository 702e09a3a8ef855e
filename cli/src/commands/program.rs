//! The whole command line.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser};

use super::Command;
use crate::failure;
use crate::format::OutputArgs;
use crate::output::keep_quiet;

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
  skein show last --follow                # until it has ended; then all that is known of it

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
    pub fn read(words: Vec<OsString>) -> Result<Self, ExitCode> {
        let guessed = OutputArgs::guess(&words);
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
                Err(failure::refuse(&error))
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

//! `skein show`: all that is known of a run, at any time.

use std::process::ExitCode;

use super::ending::{Details, Part};
use super::looking::look;
use super::run_name::RunName;
use crate::arguments::ServerArgs;
use crate::format::OutputArgs;

const HELP: &str = "\
It is what `skein run` shows at the end of a run, and each attempt of each node with its worker. With --follow, a run that is
under way is watched until it has ended, and the exit code is 3 if it did not succeed; Ctrl-C and SIGTERM detach from it, and it
goes on.

Examples:
  skein show last
  skein show 019c0000-0000-7000-8000-000000000001 --values
  skein show 4bf92f3577b34da6a3ce929d0e0e4736        # the run of this trace
  skein show last --follow
  skein show last -o json                            # with the inputs and outputs of all nodes
  skein show last -q                                 # its id";

/// Arguments of `skein show`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct ShowArgs {
    /// The run's id, its trace (32 hex digits), or `last`.
    run: RunName,
    /// Shows what the run and each node got.
    #[arg(long)]
    inputs: bool,
    /// Shows what each node yielded.
    #[arg(long)]
    outputs: bool,
    /// Shows both.
    #[arg(long)]
    values: bool,
    /// Watches the run until it has ended.
    #[arg(long, short)]
    follow: bool,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn show(args: ShowArgs, output: OutputArgs) -> anyhow::Result<ExitCode> {
    let details = Details {
        attempts: true,
        inputs: args.inputs || args.values,
        outputs: args.outputs || args.values,
        ..Details::default()
    };
    look(args.run, &args.server, args.follow, (Part::Whole(details), output)).await
}

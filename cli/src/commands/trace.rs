//! `skein trace`: draws the trace of a run.

use std::process::ExitCode;

use super::ending::Part;
use super::looking::look;
use super::run_name::RunName;
use crate::arguments::ServerArgs;
use crate::format::OutputArgs;

const HELP: &str = "\
With --follow, a run that is under way is watched until it has ended, and the exit code is 3 if it did not succeed; Ctrl-C and
SIGTERM detach from it, and it goes on. As JSON, it is the run with its nodes, their attempts and their spans; `skein traces
export` sends the spans themselves.

Examples:
  skein trace last
  skein trace 4bf92f3577b34da6a3ce929d0e0e4736       # the run of this trace
  skein trace last --follow
  skein trace last -q                                # the id of the trace";

/// Arguments of `skein trace`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct TraceArgs {
    /// The run's id, its trace (32 hex digits), or `last`.
    run: RunName,
    /// Watches the run until it has ended.
    #[arg(long, short)]
    follow: bool,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) async fn trace(args: TraceArgs, output: OutputArgs) -> anyhow::Result<ExitCode> {
    look(args.run, &args.server, args.follow, (Part::Trace, output)).await
}

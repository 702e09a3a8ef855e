//! `skein`: the command line.

use std::process::ExitCode;

use clap::Parser;
use skein::commands::Command;
use skein::failure;

/// Runs workflows: DAGs of nodes, each run one trace.
///
/// Without a server, commands work on an embedded one that keeps its store in .skein.
#[derive(Debug, Parser)]
#[command(name = "skein", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

// Two threads: one may be in a long computation while the other keeps the embedded worker's heartbeat going.
#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    match Cli::parse().command.run().await {
        Ok(code) => code,
        Err(error) => failure::report(&error),
    }
}

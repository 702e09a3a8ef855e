//! `skein`: the command line.

use std::process::ExitCode;

use skein::commands::Program;

// Two threads: one may be in a long computation while the other keeps the embedded worker's heartbeat going.
#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    match Program::read(&std::env::args_os().collect::<Vec<_>>()) {
        Ok(program) => program.run().await,
        Err(code) => code,
    }
}

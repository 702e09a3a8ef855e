//! What is counted and measured: rates, durations and states that no sampling thins out.
//!
//! Each concept has a file: its instruments, how they are set up (`install`), and the functions that record. These do
//! nothing while there are no metrics. Labels never name a tenant, a run or a workflow, because each combination of
//! labels is a series of its own. Counters whose labels are a closed set begin at 0 for each of them, so that the first
//! increase is seen.

mod batches;
mod broker;
mod budgets;
mod database;
mod exports;
mod http_client;
mod http_server;
mod live;
mod messaging;
mod model_names;
mod models;
mod nodes;
mod process;
mod queue;
mod runs;
mod runtime;
mod state;
mod steps;
mod sweeper;
mod tools;
mod workers;

use std::time::Duration;

use opentelemetry::metrics::Meter;

pub use batches::batch_applied;
pub use budgets::{budget_exhausted, budget_warned};
pub use database::{ObservedPool, PoolState, observe_pool};
pub(super) use database::{database_called, watches_database};
pub use http_client::{SentRequest, request_sent};
pub use http_server::ServedRequest;
pub use messaging::{consumed, processed, published, settled};
pub use models::ModelCall;
pub use nodes::node_ended;
pub use queue::queue_waited;
pub use runs::{run_ended, runs_accepted};
pub use state::{StateGauges, state_gauges};
pub use steps::{FinishedStep, step_finished, step_lost};
pub use sweeper::{Rescue, rescued};
pub use tools::CalledTool;
pub use workers::{ClaimResult, ObservedSlots, SlotCounts, claimed, commit_fenced, observe_slots};

/// Sets up every instrument. A second set would belong to a second provider, which
/// [`init`](super::init) has refused before. `interval` is the time between two exports.
pub(super) fn install(meter: &Meter, interval: Duration) {
    batches::install(meter);
    broker::install(meter);
    budgets::install(meter);
    database::install(meter);
    exports::install(meter);
    http_client::install(meter);
    http_server::install(meter);
    live::install(meter);
    messaging::install(meter);
    models::install(meter);
    nodes::install(meter);
    process::install(meter);
    queue::install(meter);
    runs::install(meter);
    runtime::install(meter);
    state::install(meter, interval);
    sweeper::install(meter);
    tools::install(meter);
    workers::install(meter);
}

/// Upper bounds in seconds of what may take long: a transform takes less than the first, a run may take an hour.
const LONG_SECONDS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0,
];

/// Upper bounds in seconds that the conventions give for requests and messages.
const REQUEST_SECONDS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

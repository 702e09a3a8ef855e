//! What is counted and measured: rates, durations and states that no sampling thins out.
//!
//! Each concept has a file: its instruments, how they are set up (`install`), and the functions that record. These do
//! nothing while there are no metrics. Labels never name a tenant, a run or a workflow, because each combination of
//! labels is a series of its own.

mod database;
mod live;
mod nodes;
mod queue;
mod runs;
mod state;

use std::time::Duration;

use opentelemetry::InstrumentationScope;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::metrics::SdkMeterProvider;

pub use database::{ObservedPool, PoolState, observe_pool};
pub(super) use database::{database_called, watches_database};
pub use nodes::node_ended;
pub use queue::queue_waited;
pub use runs::run_ended;
pub use state::{StateGauges, state_gauges};

/// The instrumentation scope of our own metrics.
const SCOPE: &str = "skein";

/// Sets up every instrument. A second set would belong to a second provider, which
/// [`init`](super::init) has refused before. `interval` is the time between two exports.
pub(super) fn install(provider: &SdkMeterProvider, interval: Duration) {
    let scope =
        InstrumentationScope::builder(SCOPE).with_version(env!("CARGO_PKG_VERSION")).build();
    let meter = provider.meter_with_scope(scope);
    database::install(&meter);
    live::install(&meter);
    nodes::install(&meter);
    queue::install(&meter);
    runs::install(&meter);
    state::install(&meter, interval);
}

/// Upper bounds in seconds of what may take long: a transform takes less than the first, a run may take an hour.
const LONG_SECONDS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0,
];

//! What the process asks of its database, and the connections over which it does.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram, Meter};

use crate::telemetry::semconv;
use crate::telemetry::statement::{Database, DatabaseError, Statement};

/// Upper bounds in seconds, those of the conventions and up to the time that a statement has.
const SECONDS: &[f64] = &[0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];

/// Pools that are remembered: a process has as many as its store, and a few more when it is a test.
const POOLS_MAX: usize = 64;

static INSTRUMENTS: OnceLock<Instruments> = OnceLock::new();

static POOLS: Mutex<Vec<Weak<dyn ObservedPool>>> = Mutex::new(Vec::new());

struct Instruments {
    duration: Histogram<f64>,
}

/// Connections that are looked at whenever metrics are exported.
pub trait ObservedPool: Send + Sync {
    /// Which connections: one of few names.
    fn name(&self) -> &str;

    /// How things are now. MUST NOT block.
    fn state(&self) -> PoolState;
}

/// How things are with connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolState {
    /// Those over which something is asked.
    pub used: usize,
    /// Those that rest.
    pub idle: usize,
    /// How many there may be.
    pub max: usize,
    /// How many wait for one, where that is known.
    pub pending: Option<usize>,
    /// Waits since the start that ended without one, where they are counted.
    pub timeouts: Option<u64>,
}

/// Has connections looked at for as long as they are there.
pub fn observe_pool(pool: &Arc<dyn ObservedPool>) {
    let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
    pools.retain(|pool| pool.strong_count() > 0);
    if pools.len() < POOLS_MAX {
        pools.push(Arc::downgrade(pool));
    }
}

fn each_pool(mut look: impl FnMut(&str, PoolState)) {
    let pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
    let present: Vec<_> = pools.iter().filter_map(Weak::upgrade).collect();
    drop(pools);
    for pool in present {
        look(pool.name(), pool.state());
    }
}

fn pool_label(name: &str) -> KeyValue {
    KeyValue::new(semconv::DB_POOL_NAME, name.to_owned())
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

pub(super) fn install(meter: &Meter) {
    let duration = meter
        .f64_histogram(semconv::METRIC_DB_OPERATION_DURATION)
        .with_unit("s")
        .with_description(
            "A statement, from the wait for a connection to the last row of its answer.",
        )
        .with_boundaries(SECONDS.to_vec())
        .build();
    meter
        .i64_observable_up_down_counter(semconv::METRIC_DB_CONNECTION_COUNT)
        .with_unit("{connection}")
        .with_description("Open connections.")
        .with_callback(|observer| {
            each_pool(|name, state| {
                for (word, count) in [("used", state.used), ("idle", state.idle)] {
                    let word = KeyValue::new(semconv::DB_CONNECTION_STATE, word);
                    observer.observe(signed(count), &[pool_label(name), word]);
                }
            });
        })
        .build();
    meter
        .i64_observable_up_down_counter(semconv::METRIC_DB_CONNECTION_MAX)
        .with_unit("{connection}")
        .with_description("Connections that there may be at most.")
        .with_callback(|observer| {
            each_pool(|name, state| observer.observe(signed(state.max), &[pool_label(name)]));
        })
        .build();
    meter
        .i64_observable_up_down_counter(semconv::METRIC_DB_CONNECTION_PENDING)
        .with_unit("{request}")
        .with_description("Statements that wait for a connection.")
        .with_callback(|observer| {
            each_pool(|name, state| {
                if let Some(pending) = state.pending {
                    observer.observe(signed(pending), &[pool_label(name)]);
                }
            });
        })
        .build();
    meter
        .u64_observable_counter(semconv::METRIC_DB_CONNECTION_TIMEOUTS)
        .with_unit("{timeout}")
        .with_description("Waits for a connection that ended without one.")
        .with_callback(|observer| {
            each_pool(|name, state| {
                if let Some(timeouts) = state.timeouts {
                    observer.observe(timeouts, &[pool_label(name)]);
                }
            });
        })
        .build();
    let _ = INSTRUMENTS.set(Instruments { duration });
}

/// Whether anybody wants to know of statements.
pub(in crate::telemetry) fn watches_database() -> bool {
    INSTRUMENTS.get().is_some()
}

/// Counts a statement that took so long.
pub(in crate::telemetry) fn database_called(
    database: &Database,
    statement: Statement,
    outcome: Result<(), &DatabaseError>,
    took: Duration,
) {
    let Some(instruments) = INSTRUMENTS.get() else { return };
    let labels = [
        KeyValue::new(semconv::DB_OPERATION_NAME, statement.name),
        KeyValue::new(semconv::DB_SYSTEM_NAME, database.system),
    ];
    match outcome {
        Ok(()) => instruments.duration.record(took.as_secs_f64(), &labels),
        Err(error) => {
            let [operation, system] = labels;
            let error = KeyValue::new(semconv::ERROR_TYPE, error.word.clone());
            instruments.duration.record(took.as_secs_f64(), &[operation, system, error]);
        }
    }
}

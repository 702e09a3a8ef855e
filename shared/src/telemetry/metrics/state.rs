//! What is open in the whole installation: gauges that one process at a time knows the values of.
//!
//! A number that every process counted would be there as often as there are processes. So whoever has the duty shows
//! what it has counted here, with the end of its term; the others, and one that does not come to count any more, send
//! nothing. See [`crate::monitor`].

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Meter};

use crate::domain::open_work::{OpenWork, QueueDepth};
use crate::domain::state::{NodeState, RunState};
use crate::telemetry::semconv;

/// The pause between two counts at least, however often metrics are exported: each costs the database some work.
const INTERVAL_MIN: Duration = Duration::from_secs(1);

static GAUGES: OnceLock<Arc<StateGauges>> = OnceLock::new();

/// The gauges of this process. `None` while no metrics are sent: then nobody needs to count.
#[must_use]
pub fn state_gauges() -> Option<Arc<StateGauges>> {
    GAUGES.get().cloned()
}

/// What the gauges of one process show.
#[derive(Debug)]
pub struct StateGauges {
    interval: Duration,
    shown: Mutex<Option<Shown>>,
}

#[derive(Debug)]
struct Shown {
    work: OpenWork,
    queues: Vec<QueueDepth>,
    until: Instant,
}

impl StateGauges {
    /// Gauges that show nothing yet, of metrics that are exported every `interval`.
    #[must_use]
    pub fn new(interval: Duration) -> Self {
        Self { interval: interval.max(INTERVAL_MIN), shown: Mutex::default() }
    }

    /// The pause between two counts.
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// Shows this, instead of what was shown before, and nothing at all any more from `until` on: by then another
    /// process may show what it has counted.
    pub fn show(&self, work: OpenWork, queues: Vec<QueueDepth>, until: Instant) {
        *self.lock() = Some(Shown { work, queues, until });
    }

    /// Shows nothing.
    pub fn clear(&self) {
        *self.lock() = None;
    }

    /// What is shown at that time.
    #[must_use]
    pub fn shown_at(&self, now: Instant) -> Option<(OpenWork, Vec<QueueDepth>)> {
        self.read(now, |shown| (shown.work.clone(), shown.queues.clone()))
    }

    fn read<T>(&self, now: Instant, read: impl FnOnce(&Shown) -> T) -> Option<T> {
        self.lock().as_ref().filter(|shown| now < shown.until).map(read)
    }

    /// Nothing panics while the lock is held.
    fn lock(&self) -> MutexGuard<'_, Option<Shown>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A gauge of whole numbers.
struct Count {
    name: &'static str,
    unit: &'static str,
    description: &'static str,
    observe: fn(&Shown, &dyn AsyncInstrument<u64>),
}

const COUNTS: [Count; 5] = [
    Count {
        name: semconv::METRIC_OPEN_RUNS,
        unit: "{run}",
        description: "Runs that have not ended.",
        observe: runs,
    },
    Count {
        name: semconv::METRIC_OPEN_NODES,
        unit: "{node}",
        description: "Nodes that have not ended.",
        observe: nodes,
    },
    Count {
        name: semconv::METRIC_OVERDUE_TIMERS,
        unit: "{timer}",
        description: "Delays, retries and deadlines that are due and that nobody has acted on.",
        observe: |shown, observer| observer.observe(shown.work.overdue_timers, &[]),
    },
    Count {
        name: semconv::METRIC_LIVE_WORKERS,
        unit: "{worker}",
        description: "Workers whose lease lives.",
        observe: |shown, observer| observer.observe(shown.work.live_workers, &[]),
    },
    Count {
        name: semconv::METRIC_QUEUE_DEPTH,
        unit: "{message}",
        description: "Messages that are ready in a queue.",
        observe: queues,
    },
];

/// Each sends nothing while nothing is shown.
pub(super) fn install(meter: &Meter, interval: Duration) {
    let gauges = Arc::new(StateGauges::new(interval));
    for Count { name, unit, description, observe } in COUNTS {
        let gauges = Arc::clone(&gauges);
        meter
            .u64_observable_gauge(name)
            .with_unit(unit)
            .with_description(description)
            .with_callback(move |observer| {
                gauges.read(Instant::now(), |shown| observe(shown, observer));
            })
            .build();
    }
    let shown = Arc::clone(&gauges);
    meter
        .f64_observable_gauge(semconv::METRIC_OLDEST_AGE)
        .with_unit("s")
        .with_description("How long the oldest node that could run has waited for a worker.")
        .with_callback(move |observer| {
            shown.read(Instant::now(), |shown| {
                observer.observe(shown.work.oldest_queued.as_secs_f64(), &[]);
            });
        })
        .build();
    let _ = GAUGES.set(gauges);
}

/// Every state is there, also those that no run is in: panels and rules need the zero.
fn runs(shown: &Shown, observer: &dyn AsyncInstrument<u64>) {
    for state in RunState::ALL.iter().filter(|state| !state.is_terminal()) {
        let label = KeyValue::new(semconv::WORKFLOW_STATE, state.as_str());
        observer.observe(shown.work.runs.get(state).copied().unwrap_or_default(), &[label]);
    }
}

/// As [`runs`].
fn nodes(shown: &Shown, observer: &dyn AsyncInstrument<u64>) {
    for state in NodeState::ALL.iter().filter(|state| !state.is_terminal()) {
        let label = KeyValue::new(semconv::NODE_STATE, state.as_str());
        observer.observe(shown.work.nodes.get(state).copied().unwrap_or_default(), &[label]);
    }
}

fn queues(shown: &Shown, observer: &dyn AsyncInstrument<u64>) {
    for QueueDepth { queue, ready } in &shown.queues {
        let label = KeyValue::new(semconv::MESSAGING_DESTINATION_NAME, queue.clone());
        observer.observe(*ready, &[label]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERM: Duration = Duration::from_secs(180);

    #[test]
    fn what_is_shown_is_gone_with_the_end_of_its_term() {
        let (gauges, start) = (StateGauges::new(Duration::from_secs(60)), Instant::now());
        let workers_at = |now| gauges.shown_at(now).map(|(work, _)| work.live_workers);
        assert_eq!(workers_at(start), None);
        let [first, second] =
            [1, 2].map(|live_workers| OpenWork { live_workers, ..OpenWork::default() });
        gauges.show(first, Vec::new(), start + TERM);
        assert_eq!(workers_at(start), Some(1));
        assert_eq!(workers_at(start + TERM - Duration::from_nanos(1)), Some(1));
        assert_eq!(workers_at(start + TERM), None, "another process may send its own");
        gauges.show(second, Vec::new(), start + 2 * TERM);
        assert_eq!(workers_at(start + TERM), Some(2));
        gauges.clear();
        assert_eq!(workers_at(start), None);
    }

    #[test]
    fn nobody_counts_more_often_than_once_a_second() {
        for (interval, expected) in [(1, 1_000), (1_500, 1_500), (60_000, 60_000)] {
            let gauges = StateGauges::new(Duration::from_millis(interval));
            assert_eq!(gauges.interval(), Duration::from_millis(expected));
        }
    }
}

//! What workers take, and what they have room for.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Meter};

use crate::domain::words::words;
use crate::telemetry::semconv;

static INSTRUMENTS: OnceLock<Instruments> = OnceLock::new();

struct Instruments {
    claims: Counter<u64>,
    fenced: Counter<u64>,
}

words!(
    /// What came of the claim that a message led to.
    "result of a claim" ClaimResult {
        /// The worker has the row.
        Claimed = "claimed",
        /// Somebody else has it, or it is over.
        Missed = "missed",
    }
);

/// The slots of a worker at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotCounts {
    /// Those in which something runs.
    pub used: usize,
    /// The others.
    pub free: usize,
}

type Source = dyn Fn() -> SlotCounts + Send + Sync;

/// The workers of this process: one, but in tests.
static WORKERS: Mutex<Vec<Weak<Source>>> = Mutex::new(Vec::new());

/// Dropped, the slots are not counted any more.
#[must_use]
pub struct ObservedSlots {
    _source: Arc<Source>,
}

pub(super) fn install(meter: &Meter) {
    meter
        .i64_observable_up_down_counter(semconv::METRIC_WORKER_SLOTS)
        .with_unit("{slot}")
        .with_description("Places for nodes that run, of the workers of this process.")
        .with_callback(|observer| {
            let Some(SlotCounts { used, free }) = slots() else { return };
            for (state, count) in [("used", used), ("free", free)] {
                let labels = [KeyValue::new(semconv::LABEL_SLOT_STATE, state)];
                observer.observe(i64::try_from(count).unwrap_or(i64::MAX), &labels);
            }
        })
        .build();
    let claims = meter
        .u64_counter(semconv::METRIC_WORKER_CLAIMS)
        .with_unit("{claim}")
        .with_description("Claims that messages led to.")
        .build();
    for result in ClaimResult::ALL {
        claims.add(0, &of_result(*result));
    }
    let fenced = meter
        .u64_counter(semconv::METRIC_COMMITS_FENCED)
        .with_unit("{commit}")
        .with_description("Commits that came too late: the row had been taken back.")
        .build();
    fenced.add(0, &[]);
    let _ = INSTRUMENTS.set(Instruments { claims, fenced });
}

/// Counts the slots of a worker at each export, for as long as what is returned is kept. `count` is called on the thread
/// that exports, and MUST neither block nor panic.
pub fn observe_slots(count: impl Fn() -> SlotCounts + Send + Sync + 'static) -> ObservedSlots {
    let source: Arc<Source> = Arc::new(count);
    let mut workers = workers();
    workers.retain(|worker| worker.strong_count() > 0);
    workers.push(Arc::downgrade(&source));
    ObservedSlots { _source: source }
}

/// Counts what came of a claim.
pub fn claimed(result: ClaimResult) {
    if let Some(instruments) = INSTRUMENTS.get() {
        instruments.claims.add(1, &of_result(result));
    }
}

/// Counts a commit that was fenced.
pub fn commit_fenced() {
    if let Some(instruments) = INSTRUMENTS.get() {
        instruments.fenced.add(1, &[]);
    }
}

/// The slots of all workers of this process; `None` where there are none.
fn slots() -> Option<SlotCounts> {
    let workers: Vec<_> = workers().iter().filter_map(Weak::upgrade).collect();
    workers.iter().map(|count| count()).reduce(|one, other| SlotCounts {
        used: one.used + other.used,
        free: one.free + other.free,
    })
}

fn workers() -> MutexGuard<'static, Vec<Weak<Source>>> {
    WORKERS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn of_result(result: ClaimResult) -> [KeyValue; 1] {
    [KeyValue::new(semconv::LABEL_CLAIM_RESULT, result.as_str())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_counted_as_long_as_there_is_a_worker() {
        assert_eq!(slots(), None);
        let one = observe_slots(|| SlotCounts { used: 1, free: 3 });
        let other = observe_slots(|| SlotCounts { used: 2, free: 0 });
        assert_eq!(slots(), Some(SlotCounts { used: 3, free: 3 }));
        drop(one);
        assert_eq!(slots(), Some(SlotCounts { used: 2, free: 0 }));
        drop(other);
        assert_eq!(slots(), None);
    }
}

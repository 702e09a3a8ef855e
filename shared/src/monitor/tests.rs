//! Who shows what it has counted, and when. The clock is tokio's, which stands still until everybody waits for it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{DUTY, Monitor, TERM_PAUSES};
use crate::broker::in_process::InProcess;
use crate::broker::{Broker, DEFAULT_POOL};
use crate::domain::ids::HolderId;
use crate::domain::open_work::{OpenWork, QueueDepth};
use crate::store::StoreError;
use crate::store::monitoring::{CountOptions, MonitoringStore};
use crate::telemetry::metrics::StateGauges;

const INTERVAL: Duration = Duration::from_secs(60);
const TERM: Duration = INTERVAL.saturating_mul(TERM_PAUSES);
/// How finely the tests look.
const STEP: Duration = Duration::from_secs(5);

/// A store that keeps its promise about the duty, and counts how often it has counted.
#[derive(Default)]
struct Counted {
    duty: Mutex<Option<(HolderId, Instant)>>,
    counts: AtomicU64,
    is_away: AtomicBool,
    is_slow: AtomicBool,
}

#[async_trait]
impl MonitoringStore for Counted {
    async fn take_duty(
        &self,
        name: &'static str,
        holder: HolderId,
        term: Duration,
    ) -> Result<bool, StoreError> {
        assert_eq!(name, DUTY);
        if self.is_away.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable("gone".into()));
        }
        let mut duty = self.duty.lock().unwrap();
        let now = Instant::now();
        let is_free = duty.is_none_or(|(had, until)| had == holder || until <= now);
        if is_free {
            *duty = Some((holder, now + term));
        }
        Ok(is_free)
    }

    async fn leave_duty(&self, _: &'static str, holder: HolderId) -> Result<(), StoreError> {
        self.duty.lock().unwrap().take_if(|(had, _)| *had == holder);
        Ok(())
    }

    async fn count_open(&self, _: CountOptions) -> Result<OpenWork, StoreError> {
        if self.is_slow.load(Ordering::Relaxed) {
            return Err(StoreError::TooSlow("canceling statement due to timeout".into()));
        }
        let live_workers = self.counts.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(OpenWork { live_workers, ..OpenWork::default() })
    }
}

/// A process that sends metrics.
struct Process {
    gauges: Arc<StateGauges>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Process {
    fn start(store: &Arc<Counted>, broker: &Arc<InProcess>) -> Self {
        let gauges = Arc::new(StateGauges::new(INTERVAL));
        let monitor = Monitor::new(store.clone(), broker.clone(), Arc::clone(&gauges));
        let stop = CancellationToken::new();
        Self { gauges, task: tokio::spawn(monitor.run(stop.clone())), stop }
    }

    fn shown(&self) -> Option<(OpenWork, Vec<QueueDepth>)> {
        self.gauges.shown_at(Instant::now().into_std())
    }

    /// Which count it shows.
    fn count(&self) -> Option<u64> {
        self.shown().map(|(work, _)| work.live_workers)
    }
}

async fn step() {
    tokio::time::sleep(STEP).await;
}

#[tokio::test(start_paused = true)]
async fn one_process_counts_at_the_pace_of_the_exports() {
    let (store, broker) = (Arc::<Counted>::default(), Arc::new(InProcess::new()));
    let first = Process::start(&store, &broker);
    // Between two steps, so that no look and no count fall on the same moment.
    tokio::time::sleep(STEP / 2).await;
    let second = Process::start(&store, &broker);
    for minute in 1..=10 {
        for _ in 0..INTERVAL.as_secs() / STEP.as_secs() {
            assert_eq!((first.count(), second.count()), (Some(minute), None));
            step().await;
        }
    }
    assert_eq!(store.counts.load(Ordering::Relaxed), 11);
}

#[tokio::test(start_paused = true)]
async fn another_process_follows_one_that_was_killed_and_no_two_show_at_a_time() {
    let (store, broker) = (Arc::<Counted>::default(), Arc::new(InProcess::new()));
    let first = Process::start(&store, &broker);
    step().await;
    let others = [Process::start(&store, &broker), Process::start(&store, &broker)];
    assert_eq!(first.count(), Some(1));
    // It stalls: what it shows is still there for its exporter, and nobody renews its term.
    first.task.abort();
    let start = Instant::now();
    let mut shown = Vec::new();
    while start.elapsed() < 2 * TERM {
        step().await;
        let showing = [&first, &others[0], &others[1]].map(|process| process.count().is_some());
        assert!(showing.iter().filter(|is_showing| **is_showing).count() <= 1, "{showing:?}");
        shown.push(showing);
    }
    let position = |which: usize| shown.iter().rposition(|showing| showing[which]);
    let at = |index: usize| STEP * u32::try_from(index).unwrap();
    assert!(at(position(0).unwrap()) <= TERM, "{shown:?}");
    let follower = usize::from(position(1).is_none()) + 1;
    let followed = shown.iter().position(|showing| showing[follower]).unwrap();
    assert!(at(followed) <= TERM + INTERVAL, "{shown:?}");
    assert_eq!(position(3 - follower), None, "it stays with the one that followed");
}

#[tokio::test(start_paused = true)]
async fn a_process_that_stops_gives_the_duty_up() {
    let (store, broker) = (Arc::<Counted>::default(), Arc::new(InProcess::new()));
    let first = Process::start(&store, &broker);
    step().await;
    let second = Process::start(&store, &broker);
    step().await;
    first.stop.cancel();
    first.task.await.unwrap();
    assert_eq!(first.gauges.shown_at(Instant::now().into_std()), None);
    tokio::time::sleep(INTERVAL).await;
    assert_eq!(second.count(), Some(2), "long before the term would have been over");
    second.stop.cancel();
    second.task.await.unwrap();
    assert_eq!(*store.duty.lock().unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_count_that_is_not_renewed_is_dropped_with_its_term() {
    let faults: [fn(&Counted) -> &AtomicBool; 2] = [|store| &store.is_away, |store| &store.is_slow];
    for fault in faults {
        let (store, broker) = (Arc::<Counted>::default(), Arc::new(InProcess::new()));
        let process = Process::start(&store, &broker);
        step().await;
        fault(&store).store(true, Ordering::Relaxed);
        tokio::time::sleep(TERM - 2 * STEP).await;
        assert_eq!(process.count(), Some(1), "an outage of a moment leaves no gap");
        step().await;
        assert_eq!(process.count(), None, "a number that is not true any more is none");
        step().await;
        fault(&store).store(false, Ordering::Relaxed);
        tokio::time::sleep(INTERVAL).await;
        assert_eq!(process.count(), Some(2));
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_store_says_is_shown_without_a_broker() {
    let (store, broker) = (Arc::<Counted>::default(), Arc::new(InProcess::new()));
    assert_eq!(broker.depth(DEFAULT_POOL).await, Ok(0));
    let process = Process::start(&store, &broker);
    step().await;
    let queue = broker.address(DEFAULT_POOL).queue;
    let (work, queues) = process.shown().unwrap();
    assert_eq!((work.live_workers, queues), (1, vec![QueueDepth { queue, ready: 0 }]));
    broker.close().await;
    tokio::time::sleep(INTERVAL).await;
    let (work, queues) = process.shown().unwrap();
    assert_eq!((work.live_workers, queues), (2, Vec::new()));
}

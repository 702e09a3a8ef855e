//! One sweeper in every process: timers, lost messages, dead workers, runs that are to end. There is
//! no leader; sweepers skip each other's rows.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::broker::{Broker, DEFAULT_POOL};
use crate::dispatch::{Dispatcher, Handover, Producer};
use crate::domain::wakeup::{WakeReason, Wakeup};
use crate::finish::Finisher;
use crate::store::StoreError;
use crate::store::engine::END_KIND;
use crate::store::recovery::{DueWake, RecoveryStore, SweepOptions};
use crate::telemetry::spans::crashed;
use crate::telemetry::{emit, within};

/// Rows a sweep takes at most; it goes on at once while there are more.
const ROWS_MAX: u32 = 500;
/// The pause between two sweeps when no timer is due sooner. What a sweep repairs is rare, and timers
/// that this process knows of are kept exactly.
const PAUSE: Duration = Duration::from_secs(1);
/// The pause between two looks at the leases.
const REAP_PAUSE: Duration = Duration::from_secs(2);
/// With more messages than this in the queue, rows that are queued already are not published again.
const QUEUE_DEEP: u64 = 1_000;
/// How long this process must have been in touch with the store before it may call others dead.
pub const REAP_AFTER_DEFAULT: Duration = Duration::from_secs(30);

/// Tells the sweeper of a timer that this process has just set, so that it is kept to the millisecond.
#[derive(Debug, Clone, Default)]
pub struct Timers {
    shared: Arc<TimerState>,
}

#[derive(Debug, Default)]
struct TimerState {
    next: Mutex<Option<Instant>>,
    changed: Notify,
}

impl Timers {
    /// Something is due after `delay`.
    pub fn due_in(&self, delay: Duration) {
        let at = Instant::now() + delay;
        let mut next = self.lock();
        if next.is_none_or(|known| at < known) {
            *next = Some(at);
            drop(next);
            self.shared.changed.notify_one();
        }
    }

    fn take(&self) {
        *self.lock() = None;
    }

    /// Waits for the next timer, or for `pause`.
    async fn wait(&self, pause: Duration) {
        let latest = Instant::now() + pause;
        loop {
            let until = self.lock().map_or(latest, |next| next.min(latest));
            tokio::select! {
                () = tokio::time::sleep_until(until) => return,
                () = self.shared.changed.notified() => {}
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.shared.next.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// What a sweeper works with.
#[derive(Clone)]
pub struct Sweeper {
    /// Where rows are due.
    pub store: Arc<dyn RecoveryStore>,
    /// Asked whether it takes messages.
    pub broker: Arc<dyn Broker>,
    /// Publishes what is due.
    pub dispatcher: Dispatcher,
    /// Ends runs that are to end.
    pub finisher: Finisher,
    /// Timers that this process has set.
    pub timers: Timers,
    /// How long the store must have answered without a break before this sweeper declares leases
    /// dead: at least the longest TTL in use.
    pub reap_after: Duration,
}

impl Sweeper {
    /// Sweeps until `shutdown`. An error costs a second, never more.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut in_touch_since: Option<Instant> = None;
        let mut reaped_at: Option<Instant> = None;
        while !shutdown.is_cancelled() {
            let swept = self.sweep_all().await;
            let now = Instant::now();
            match swept {
                Ok(()) => {
                    let since = *in_touch_since.get_or_insert(now);
                    let is_due = reaped_at.is_none_or(|at| now - at >= REAP_PAUSE);
                    if is_due && now - since >= self.reap_after {
                        reaped_at = Some(now);
                        if let Err(error) = self.reap().await {
                            tracing::warn!(%error, "leases could not be checked");
                            in_touch_since = None;
                        }
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "the sweep failed");
                    in_touch_since = None;
                }
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.timers.wait(PAUSE) => {}
            }
        }
    }

    async fn sweep_all(&self) -> Result<(), StoreError> {
        self.timers.take();
        self.finisher.ask_again().await?;
        let depth = self.broker.depth(DEFAULT_POOL).await;
        let options = SweepOptions {
            limit: ROWS_MAX,
            broker_up: depth.is_ok(),
            queue_deep: depth.is_ok_and(|depth| depth > QUEUE_DEEP),
        };
        loop {
            let sweep = self.store.sweep(options).await?;
            for due in sweep.wake {
                self.dispatcher.hand_over(repeated(due));
            }
            self.finisher.finish(&sweep.finish).await?;
            if let Some(delay) = sweep.next_due {
                self.timers.due_in(delay);
            }
            if !sweep.more {
                return Ok(());
            }
        }
    }

    async fn reap(&self) -> Result<(), StoreError> {
        let attempts = self.store.reap(ROWS_MAX).await?;
        for attempt in &attempts {
            let (context, identity) =
                (attempt.header.trace.context_of(attempt.span), attempt.header.identity.clone());
            within(context, identity, || {
                tracing::warn!(run.id = %attempt.key.run, node = %attempt.key.node, "took a node back from a dead worker");
            });
            // `__end__` is nobody's node.
            if &*attempt.kind != END_KIND {
                emit(crashed(attempt));
            }
        }
        // Their rows are due within a second.
        if !attempts.is_empty() {
            self.timers.due_in(Duration::from_secs(1));
        }
        Ok(())
    }
}

fn repeated(due: DueWake) -> Handover {
    let wakeup = Wakeup {
        key: due.key,
        identity: due.identity,
        reason: WakeReason::Due,
        publisher: Some(due.publisher),
        queued_at: Some(SystemTime::from(due.queued_at)),
    };
    Handover { wakeups: vec![wakeup], producer: Some(Producer { parent: Some(due.parent) }) }
}

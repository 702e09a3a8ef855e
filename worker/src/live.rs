//! Live events from within nodes: text as it comes, put together a little and published beside the run.
//!
//! A node hands over every piece that it gets. Pieces of one call are put together for a moment or up to some size, so
//! that a model of fifty tokens a second costs no more messages than that, and a thousand of them cost a bounded
//! number. Nobody waits: what the broker has no room for is lost, and its number is missing.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use skein_shared::broker::{Broker, LIVE_TEXT_BYTES_MAX, LiveEvent, LiveKind};
use skein_shared::domain::ids::ActivationKey;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a piece of text waits for the next one. Nobody sees the difference.
const FLUSH_AFTER: Duration = Duration::from_millis(20);
/// Bytes of a call's text that are published at once.
const FLUSH_BYTES: usize = 1024;
/// The pause that each event buys the broker before the next flush: a worker publishes 2,000 a second at most, besides
/// those that are large. With more calls at a time, each event has more text.
const PAUSE_PER_EVENT: Duration = Duration::from_micros(500);
/// Calls of one attempt whose numbers are remembered. Calls follow each other, and few go on at a time.
const CALLS_MAX: usize = 256;

/// Publishes live events of all attempts of a worker. Clones share it.
#[derive(Clone)]
pub struct LivePublisher {
    shared: Arc<Shared>,
}

impl fmt::Debug for LivePublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LivePublisher").finish_non_exhaustive()
    }
}

struct Shared {
    broker: Arc<dyn Broker>,
    /// Attempts with text that waits to be flushed.
    waiting: Mutex<Vec<Weak<Calls>>>,
    arrived: Notify,
}

impl LivePublisher {
    /// Starts the task that flushes. It ends with `stop`, and flushes once more then.
    #[must_use]
    pub fn start(tasks: &TaskTracker, broker: Arc<dyn Broker>, stop: CancellationToken) -> Self {
        let publisher = Self::new(broker);
        let shared = Arc::clone(&publisher.shared);
        tasks.spawn(async move {
            stop.run_until_cancelled(shared.flush_as_it_comes()).await;
            shared.flush();
        });
        publisher
    }

    fn new(broker: Arc<dyn Broker>) -> Self {
        let shared = Shared { broker, waiting: Mutex::default(), arrived: Notify::new() };
        Self { shared: Arc::new(shared) }
    }

    /// One that nobody hears.
    #[cfg(test)]
    pub(crate) fn unheard() -> Self {
        Self::new(Arc::new(skein_shared::broker::in_process::InProcess::new()))
    }

    /// The handle of one attempt, in which its calls are numbered.
    #[must_use]
    pub fn attempt(&self) -> Live {
        let calls = Calls { shared: Arc::clone(&self.shared), calls: Mutex::default() };
        Live { calls: Arc::new(calls) }
    }
}

impl Shared {
    async fn flush_as_it_comes(&self) {
        loop {
            self.arrived.notified().await;
            tokio::time::sleep(FLUSH_AFTER).await;
            let pause = PAUSE_PER_EVENT * self.flush();
            // The next pieces wait the usual time as well.
            tokio::time::sleep(pause.saturating_sub(FLUSH_AFTER)).await;
        }
    }

    /// Publishes all that waits and returns how many events that were.
    fn flush(&self) -> u32 {
        let waiting = std::mem::take(&mut *lock(&self.waiting));
        waiting.iter().filter_map(Weak::upgrade).map(|calls| calls.flush()).sum()
    }
}

/// Where one attempt publishes what it is at. Clones share it; with the last one, what is left is published.
#[derive(Clone)]
pub struct Live {
    calls: Arc<Calls>,
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").finish_non_exhaustive()
    }
}

impl Live {
    /// Publishes text that a call has yielded; `step` is the number of the call within its node. Returns at once. Text
    /// of one call arrives in the order in which it is handed over, as far as it arrives. It MUST hold no secret.
    pub fn delta(&self, key: &ActivationKey, step: u32, text: &str) {
        self.calls.add(key, step, text);
    }
}

/// The calls of one attempt.
struct Calls {
    shared: Arc<Shared>,
    calls: Mutex<Numbered>,
}

#[derive(Default)]
struct Numbered {
    by_step: BTreeMap<(ActivationKey, u32), Call>,
    /// Whether the flushing task knows that some of it waits.
    is_waiting: bool,
}

/// One call: what waits of its text, and the number of its next event.
#[derive(Default)]
struct Call {
    text: String,
    next: u64,
}

impl Calls {
    fn add(self: &Arc<Self>, key: &ActivationKey, step: u32, text: &str) {
        if text.is_empty() {
            return;
        }
        let broker = &*self.shared.broker;
        let mut numbered = lock(&self.calls);
        let id = (key.clone(), step);
        if numbered.by_step.len() >= CALLS_MAX && !numbered.by_step.contains_key(&id) {
            // The oldest one is over.
            if let Some(((key, step), mut call)) = numbered.by_step.pop_first() {
                call.flush(broker, &key, step);
            }
        }
        let call = numbered.by_step.entry(id).or_default();
        call.text.push_str(text);
        if call.text.len() >= FLUSH_BYTES {
            call.flush(broker, key, step);
            return;
        }
        if !std::mem::replace(&mut numbered.is_waiting, true) {
            drop(numbered);
            lock(&self.shared.waiting).push(Arc::downgrade(self));
            self.shared.arrived.notify_one();
        }
    }

    fn flush(&self) -> u32 {
        let broker = &*self.shared.broker;
        let mut numbered = lock(&self.calls);
        numbered.is_waiting = false;
        let calls = numbered.by_step.iter_mut();
        calls.map(|((key, step), call)| call.flush(broker, key, *step)).sum()
    }
}

impl Drop for Calls {
    /// Nobody is left who could flush it: the flushing task holds it only while it does.
    fn drop(&mut self) {
        self.flush();
    }
}

impl Call {
    /// Publishes what waits and returns in how many events. Also one that is dropped has its number.
    fn flush(&mut self, broker: &dyn Broker, key: &ActivationKey, step: u32) -> u32 {
        let text = std::mem::take(&mut self.text);
        let mut rest = text.as_str();
        let mut events = 0;
        while !rest.is_empty() {
            let end = rest.floor_char_boundary(LIVE_TEXT_BYTES_MAX);
            let (part, left) = rest.split_at(end);
            broker.publish_live(LiveEvent {
                run: key.run,
                node: Arc::clone(&key.node),
                scope: Arc::clone(&key.scope),
                step,
                seq: self.next,
                kind: LiveKind::Delta,
                text: part.to_owned(),
            });
            self.next += 1;
            events += 1;
            rest = left;
        }
        events
    }
}

/// Nothing panics while a lock is held, so a poisoned one still guards whole data.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use skein_shared::broker::LiveListener;
    use skein_shared::broker::in_process::InProcess;
    use skein_shared::domain::ids::RunId;

    use super::*;

    struct Scene {
        publisher: LivePublisher,
        listener: LiveListener,
        key: ActivationKey,
        tasks: TaskTracker,
        stop: CancellationToken,
    }

    async fn scene() -> Scene {
        let broker: Arc<dyn Broker> = Arc::new(InProcess::new());
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let key = ActivationKey::root(RunId::generate(), "write");
        let listener = broker.listen_live(key.run).await;
        let publisher = LivePublisher::start(&tasks, broker, stop.clone());
        Scene { publisher, listener, key, tasks, stop }
    }

    /// What has been published by now: step, number and text.
    fn published(listener: &mut LiveListener) -> Vec<(u32, u64, String)> {
        use futures_util::FutureExt;

        let next = || listener.receive().now_or_never()?.ok();
        let events = std::iter::from_fn(next);
        events.map(|event| (event.step, event.seq, event.text.clone())).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn pieces_of_a_moment_are_one_event_and_keep_their_order() {
        let Scene { publisher, mut listener, key, .. } = scene().await;
        let live = publisher.attempt();
        for moment in 0..3 {
            for piece in ["a", "b", "c"] {
                live.delta(&key, 7, piece);
            }
            assert!(published(&mut listener).is_empty());
            tokio::time::sleep(FLUSH_AFTER * 2).await;
            assert_eq!(published(&mut listener), [(7, moment, "abc".to_owned())]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_kilobyte_does_not_wait_and_what_is_longer_than_an_event_is_several() {
        let Scene { publisher, mut listener, key, .. } = scene().await;
        let live = publisher.attempt();
        live.delta(&key, 1, &"x".repeat(FLUSH_BYTES));
        assert_eq!(published(&mut listener), [(1, 0, "x".repeat(FLUSH_BYTES))]);
        // Three bytes a character, and no event ends within one.
        let long = "€".repeat(LIVE_TEXT_BYTES_MAX / 2);
        live.delta(&key, 1, &long);
        let events = published(&mut listener);
        assert_eq!(events.iter().map(|event| event.1).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(events.into_iter().map(|event| event.2).collect::<String>(), long);
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_is_over_leaves_nothing_behind_and_the_next_one_numbers_anew() {
        let Scene { publisher, mut listener, key, .. } = scene().await;
        for text in ["first", "second"] {
            let live = publisher.attempt();
            live.delta(&key, 0, text);
            live.delta(&key, 1, text);
            drop(live);
            assert_eq!(
                published(&mut listener),
                [(0, 0, text.to_owned()), (1, 0, text.to_owned())]
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn many_calls_share_a_bounded_number_of_events() {
        let Scene { publisher, mut listener, key, .. } = scene().await;
        let attempts: Vec<_> = (0..200).map(|_| publisher.attempt()).collect();
        let mut events = 0;
        let begun = tokio::time::Instant::now();
        while begun.elapsed() < Duration::from_secs(2) {
            for live in &attempts {
                live.delta(&key, 0, "x");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
            events += published(&mut listener).len();
        }
        assert!((1_000..=4_400).contains(&events), "{events}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_among_very_many_is_forgotten_only_when_it_was_published() {
        let Scene { publisher, mut listener, key, .. } = scene().await;
        let live = publisher.attempt();
        for step in 0..CALLS_MAX as u32 + 3 {
            live.delta(&key, step, "x");
        }
        let steps: Vec<_> = published(&mut listener).into_iter().map(|event| event.0).collect();
        assert_eq!(steps, [0, 1, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_publishes_what_waits() {
        let Scene { publisher, mut listener, key, tasks, stop } = scene().await;
        let live = publisher.attempt();
        live.delta(&key, 0, "x");
        stop.cancel();
        tasks.close();
        tasks.wait().await;
        assert_eq!(published(&mut listener), [(0, 0, "x".to_owned())]);
        // What comes later is published when its attempt ends.
        live.delta(&key, 0, "y");
        drop(live);
        assert_eq!(published(&mut listener), [(0, 1, "y".to_owned())]);
    }
}

//! Live events within the process: who listens to which run, each with a bounded buffer. Both brokers end here.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{LISTENER_BYTES_MAX, LISTENER_EVENTS_MAX, LiveEvent, LiveListener, LiveLoss};
use crate::domain::ids::RunId;

/// The listeners of a process. Clones share them.
#[derive(Debug, Clone)]
pub(in crate::broker) struct Hub {
    shared: Arc<Shared>,
    closing: CancellationToken,
}

#[derive(Debug, Default)]
struct Shared {
    runs: Mutex<Runs>,
    /// Notified when the set of runs that somebody listens to has changed.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Runs {
    next: u64,
    /// Never without listeners, once the lock is let go.
    heard: HashMap<RunId, Heard>,
}

/// A run that somebody listens to.
#[derive(Debug)]
struct Heard {
    listeners: Vec<Sink>,
    /// Whether its events come here.
    is_bound: watch::Sender<bool>,
}

/// The sending half of one listener's buffer.
#[derive(Debug)]
struct Sink {
    id: u64,
    events: mpsc::Sender<Buffered>,
    bytes: Arc<AtomicUsize>,
}

/// An event in the buffer of one listener, and what it takes there.
#[derive(Debug)]
pub(super) struct Buffered {
    event: Arc<LiveEvent>,
    bytes: Arc<AtomicUsize>,
}

impl Buffered {
    pub(super) fn take(self) -> Arc<LiveEvent> {
        Arc::clone(&self.event)
    }
}

impl Drop for Buffered {
    fn drop(&mut self) {
        self.bytes.fetch_sub(self.event.text.len(), Ordering::Relaxed);
    }
}

impl Sink {
    /// Whether there was room for the event.
    fn push(&self, event: &Arc<LiveEvent>) -> bool {
        let before = self.bytes.fetch_add(event.text.len(), Ordering::Relaxed);
        // Dropped where it is refused, it gives its bytes back.
        let buffered = Buffered { event: Arc::clone(event), bytes: Arc::clone(&self.bytes) };
        before + event.text.len() <= LISTENER_BYTES_MAX && self.events.try_send(buffered).is_ok()
    }
}

/// A listener's place among those of its run.
#[derive(Debug)]
pub(super) struct Place {
    run: RunId,
    id: u64,
    shared: Arc<Shared>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.leave(self.run, |sink| sink.id != self.id);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Runs> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps those listeners of a run only.
    fn leave(&self, run: RunId, keep: impl FnMut(&Sink) -> bool) {
        let mut runs = self.lock();
        let Some(heard) = runs.heard.get_mut(&run) else { return };
        heard.listeners.retain(keep);
        if heard.listeners.is_empty() {
            runs.heard.remove(&run);
            drop(runs);
            self.changed.notify_one();
        }
    }
}

impl Hub {
    /// A hub whose listeners end when `closing` is cancelled.
    pub(in crate::broker) fn new(closing: CancellationToken) -> Self {
        Self { shared: Arc::default(), closing }
    }

    /// Listens to a run from now on. What comes with it says when its events come here.
    pub(in crate::broker) fn listen(&self, run: RunId) -> (LiveListener, watch::Receiver<bool>) {
        let (sender, events) = mpsc::channel(LISTENER_EVENTS_MAX);
        let mut runs = self.shared.lock();
        let id = runs.next;
        runs.next += 1;
        let heard = runs.heard.entry(run).or_insert_with(|| Heard {
            listeners: Vec::with_capacity(1),
            is_bound: watch::Sender::new(false),
        });
        heard.listeners.push(Sink { id, events: sender, bytes: Arc::default() });
        let is_bound = heard.is_bound.subscribe();
        drop(runs);
        self.shared.changed.notify_one();
        let place = Place { run, id, shared: Arc::clone(&self.shared) };
        (LiveListener { events, closing: self.closing.clone(), _place: place }, is_bound)
    }

    /// Hands an event to all who listen to its run. Those who have no room for it are dropped: their buffer ends
    /// there.
    pub(in crate::broker) fn deliver(&self, event: LiveEvent) {
        let mut runs = self.shared.lock();
        let Some(heard) = runs.heard.get_mut(&event.run) else { return };
        let (run, event) = (event.run, Arc::new(event));
        let before = heard.listeners.len();
        heard.listeners.retain(|sink| sink.push(&event));
        let (dropped, is_empty) = (before - heard.listeners.len(), heard.listeners.is_empty());
        drop(runs);
        if dropped > 0 {
            LiveLoss::SlowListener.add(dropped as u64);
            tracing::debug!(workflow.execution_id = %run, dropped, "listeners did not keep up with live events");
        }
        if is_empty {
            self.shared.leave(run, |_| true);
        }
    }

    /// The runs that somebody listens to.
    pub(in crate::broker) fn wanted(&self) -> Vec<RunId> {
        self.shared.lock().heard.keys().copied().collect()
    }

    /// Says that the events of these runs come here, and of no others.
    pub(in crate::broker) fn bound(&self, is_bound: impl Fn(&RunId) -> bool) {
        for (run, heard) in &self.shared.lock().heard {
            let is_bound = is_bound(run);
            heard.is_bound.send_if_modified(|was| std::mem::replace(was, is_bound) != is_bound);
        }
    }

    /// Returns when the set of wanted runs may have changed since the last time.
    pub(in crate::broker) async fn changed(&self) {
        self.shared.changed.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::live::{LiveEnd, LiveKind};

    fn event(run: RunId, seq: u64, text: &str) -> LiveEvent {
        LiveEvent {
            run,
            node: "write".into(),
            scope: "".into(),
            step: 0,
            seq,
            kind: LiveKind::Delta,
            text: text.to_owned(),
        }
    }

    #[tokio::test]
    async fn a_listener_that_does_not_keep_up_is_dropped_and_the_others_are_not() {
        let hub = Hub::new(CancellationToken::new());
        let run = RunId::generate();
        let ((mut slow, _), (mut quick, _)) = (hub.listen(run), hub.listen(run));
        let counted = LiveLoss::SlowListener.count();
        for seq in 0..=LISTENER_EVENTS_MAX as u64 {
            hub.deliver(event(run, seq, "x"));
            assert_eq!(quick.receive().await.unwrap().seq, seq);
        }
        for seq in 0..LISTENER_EVENTS_MAX as u64 {
            assert_eq!(slow.receive().await.unwrap().seq, seq);
        }
        assert_eq!(slow.receive().await, Err(LiveEnd::TooSlow));
        assert!(LiveLoss::SlowListener.count() > counted, "the event that there was no room for");
        hub.deliver(event(run, 1_000, "x"));
        assert_eq!(slow.receive().await, Err(LiveEnd::TooSlow));
        assert_eq!(quick.receive().await.unwrap().seq, 1_000);
    }

    #[tokio::test]
    async fn what_waits_for_a_listener_has_a_bound_in_bytes_that_reading_gives_back() {
        let hub = Hub::new(CancellationToken::new());
        let run = RunId::generate();
        let (mut listener, _) = hub.listen(run);
        let text = "x".repeat(LISTENER_BYTES_MAX / 2);
        for seq in 0..10 {
            hub.deliver(event(run, seq, &text));
            assert_eq!(listener.receive().await.unwrap().seq, seq);
        }
        for seq in 10..13 {
            hub.deliver(event(run, seq, &text));
        }
        assert_eq!(listener.receive().await.unwrap().seq, 10);
        assert_eq!(listener.receive().await.unwrap().seq, 11);
        assert_eq!(listener.receive().await, Err(LiveEnd::TooSlow));
        assert!(hub.wanted().is_empty());
    }

    #[tokio::test]
    async fn a_run_is_wanted_as_long_as_anybody_listens() {
        let hub = Hub::new(CancellationToken::new());
        let run = RunId::generate();
        let ((one, mut is_bound), (two, _)) = (hub.listen(run), hub.listen(run));
        assert_eq!(hub.wanted(), [run]);
        hub.bound(|_| true);
        assert!(*is_bound.borrow_and_update());
        hub.bound(|_| false);
        assert!(!*is_bound.borrow_and_update());
        drop(one);
        assert_eq!(hub.wanted(), [run]);
        drop(two);
        assert!(hub.wanted().is_empty());
        // Each change is announced, however many there were.
        hub.changed().await;
    }
}

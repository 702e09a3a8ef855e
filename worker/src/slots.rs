//! Who runs beside whom on this worker: a slot for each activation, and all of them for one that is to run apart.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout};

/// How long a worker waits at first for what it holds to end, so that something can run apart. Most nodes take seconds;
/// no longer, because the slots that are free meanwhile do nothing.
const CLEARING_MIN: Duration = Duration::from_secs(30);
/// The longest such wait. It doubles with each one that was too short, so that where nodes take an hour the worker is
/// empty in the end.
const CLEARING_MAX: Duration = Duration::from_secs(3600);
/// How much longer a worker works for everybody than it was reserved: it spends a fifth of its time on what may crash
/// it, at most.
const REST_FACTOR: u32 = 4;

/// The slots of a worker. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Slots {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    permits: Arc<Semaphore>,
    count: usize,
    /// Whether the worker is reserved for one activation: nothing else starts.
    reserved: watch::Sender<bool>,
    clearing: Mutex<Clearing>,
}

/// What the next clearing may cost.
#[derive(Debug)]
struct Clearing {
    longest: Duration,
    not_before: Instant,
}

/// The worker is for one activation, until this is dropped.
#[derive(Debug)]
pub(crate) struct Reserved {
    slots: Slots,
    since: Instant,
    _all_others: Option<OwnedSemaphorePermit>,
}

impl Slots {
    /// So many slots, all of them free.
    pub(crate) fn new(count: usize) -> Self {
        let clearing = Clearing { longest: CLEARING_MIN, not_before: Instant::now() };
        let shared = Shared {
            permits: Arc::new(Semaphore::new(count)),
            count,
            reserved: watch::Sender::new(false),
            clearing: Mutex::new(clearing),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Waits for a slot that is free, on a worker that is not reserved.
    pub(crate) async fn take(&self) -> OwnedSemaphorePermit {
        loop {
            let mut reserved = self.shared.reserved.subscribe();
            // Neither is ever closed: `self` keeps both.
            let _is_open = reserved.wait_for(|reserved| !reserved).await.is_ok();
            let permit = Arc::clone(&self.shared.permits).acquire_owned().await;
            if let (Ok(permit), false) = (permit, self.is_reserved()) {
                return permit;
            }
        }
    }

    /// Slots that nobody has taken.
    pub(crate) fn free(&self) -> usize {
        self.shared.permits.available_permits()
    }

    /// All slots.
    pub(crate) fn count(&self) -> usize {
        self.shared.count
    }

    /// Whether the worker is reserved: what is in hand ends at its next commit.
    pub(crate) fn is_reserved(&self) -> bool {
        *self.shared.reserved.borrow()
    }

    /// Waits until the worker is reserved.
    pub(crate) async fn reserved(&self) {
        let mut reserved = self.shared.reserved.subscribe();
        let _is_reserved = reserved.wait_for(|reserved| *reserved).await.is_ok();
    }

    /// Reserves the worker for somebody who has a slot, and waits until all others are free, or for so long. `None` if
    /// it is reserved.
    pub(crate) async fn reserve_within(&self, longest: Duration) -> Option<Reserved> {
        let mut reserved = self.reserve()?;
        reserved._all_others = timeout(longest, self.all_others()).await.ok().flatten();
        Some(reserved)
    }

    fn reserve(&self) -> Option<Reserved> {
        let is_mine =
            self.shared.reserved.send_if_modified(|reserved| !std::mem::replace(reserved, true));
        is_mine.then(|| Reserved { slots: self.clone(), since: Instant::now(), _all_others: None })
    }

    /// Reserves the worker for somebody who has a slot, and waits until all others are free. `None` if it is reserved,
    /// has been lately, or what it holds takes too long: then it goes on as before.
    pub(crate) async fn clear(&self) -> Option<Reserved> {
        let longest = {
            let clearing = self.clearing();
            if clearing.not_before > Instant::now() {
                return None;
            }
            clearing.longest
        };
        let mut reserved = self.reserve()?;
        let cleared = timeout(longest, self.all_others()).await.ok().flatten();
        self.clearing().longest = match &cleared {
            Some(_) => CLEARING_MIN,
            None => (longest * 2).min(CLEARING_MAX),
        };
        reserved._all_others = Some(cleared?);
        Some(reserved)
    }

    async fn all_others(&self) -> Option<OwnedSemaphorePermit> {
        let others = u32::try_from(self.shared.count.saturating_sub(1)).unwrap_or(u32::MAX);
        Arc::clone(&self.shared.permits).acquire_many_owned(others).await.ok()
    }

    fn clearing(&self) -> MutexGuard<'_, Clearing> {
        self.shared.clearing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let rest = self.since.elapsed() * REST_FACTOR;
        self.slots.clearing().not_before = Instant::now() + rest;
        self.slots.shared.reserved.send_replace(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a slot can be had within a moment.
    async fn is_open(slots: &Slots) -> bool {
        timeout(Duration::from_millis(1), slots.take()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_is_cleared_when_what_it_holds_has_ended_and_takes_nothing_meanwhile() {
        let slots = Slots::new(3);
        let (mine, other) = (slots.take().await, slots.take().await);
        let clearing = tokio::spawn({
            let slots = slots.clone();
            async move { slots.clear().await }
        });
        slots.reserved().await;
        assert!(!is_open(&slots).await && slots.reserve().is_none());
        drop(other);
        let reserved = clearing.await.unwrap().expect("nothing else is held");
        assert!(!is_open(&slots).await);
        drop(reserved);
        assert!(is_open(&slots).await);
        drop(mine);
        assert_eq!(slots.free(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reserved_worker_takes_nothing_also_where_what_it_holds_goes_on() {
        let slots = Slots::new(2);
        let (_mine, other) = (slots.take().await, slots.take().await);
        let (longest, begun) = (Duration::from_secs(10), Instant::now());
        let reserved = slots.reserve_within(longest).await.expect("nobody else has reserved it");
        assert!(begun.elapsed() >= longest);
        drop(other);
        assert!(!is_open(&slots).await && slots.reserve_within(longest).await.is_none());
        drop(reserved);
        assert!(is_open(&slots).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_cannot_be_cleared_goes_on_and_waits_longer_the_next_time() {
        let slots = Slots::new(2);
        let (_mine, _hour_long) = (slots.take().await, slots.take().await);
        for longest in [CLEARING_MIN, CLEARING_MIN * 2] {
            let begun = Instant::now();
            assert!(slots.clear().await.is_none());
            assert!((longest..longest * 2).contains(&begun.elapsed()));
            assert!(!slots.is_reserved());
            // Not again before it has worked for longer than it has waited.
            let begun = Instant::now();
            assert!(slots.clear().await.is_none() && begun.elapsed().is_zero());
            tokio::time::advance(longest * REST_FACTOR + Duration::from_secs(1)).await;
        }
    }
}

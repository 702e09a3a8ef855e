//! Waiting for runs to end, for `?wait=SECONDS`.
//!
//! Announcements of the broker are quick and may be lost; behind them one poll of the store a quarter of
//! a second serves all that wait. So a hundred waiting requests cost the store what one does.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use skein_shared::broker::Broker;
use skein_shared::domain::ids::RunId;
use skein_shared::store::Store;
use skein_shared::store::keys::KeyDigest;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::limits::{Limits, WAIT_POLL_BATCH};
use crate::shares::{Shares, Taken};

/// Who waits for what.
#[derive(Clone)]
pub(crate) struct Waiters {
    shared: Arc<Shared>,
}

struct Shared {
    runs: Mutex<HashMap<RunId, Waited>>,
    /// Wakes the poll when the first one waits.
    first: Notify,
    waits: Arc<Shares<KeyDigest>>,
}

struct Waited {
    waiters: usize,
    ended: CancellationToken,
}

/// One of those who wait for one run. Dropping it ends the wait.
pub(crate) struct Waiter {
    run: RunId,
    ended: CancellationToken,
    shared: Arc<Shared>,
    _share: Option<Taken<KeyDigest>>,
}

impl Waiter {
    /// Returns once the run has ended, or is said to have.
    pub(crate) async fn ended(&self) {
        self.ended.cancelled().await;
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if let Entry::Occupied(mut waited) = self.shared.lock().entry(self.run) {
            waited.get_mut().waiters -= 1;
            if waited.get().waiters == 0 {
                waited.remove();
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, HashMap<RunId, Waited>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn notify(&self, ended: &[RunId]) {
        let runs = self.lock();
        for run in ended {
            if let Some(waited) = runs.get(run) {
                waited.ended.cancel();
            }
        }
    }

    fn open(&self) -> Vec<RunId> {
        let runs = self.lock();
        runs.iter()
            .filter(|(_, waited)| !waited.ended.is_cancelled())
            .map(|(run, _)| *run)
            .collect()
    }
}

impl Waiters {
    /// Starts the two tasks that learn of ends. They end with `shutdown`.
    pub(crate) fn start(
        store: &Arc<dyn Store>,
        broker: &Arc<dyn Broker>,
        limits: &Limits,
        tasks: &TaskTracker,
        shutdown: &CancellationToken,
    ) -> Self {
        let runs = Mutex::new(HashMap::new());
        let shared =
            Arc::new(Shared { runs, first: Notify::new(), waits: Shares::new(limits.waits) });
        let listen = listen(Arc::clone(&shared), Arc::clone(broker));
        let poll = poll(Arc::clone(&shared), Arc::clone(store), limits.wait_poll);
        tasks.spawn(shutdown.clone().run_until_cancelled_owned(listen));
        tasks.spawn(shutdown.clone().run_until_cancelled_owned(poll));
        Self { shared }
    }

    /// Registers a waiter for whoever holds the key. To be done before the run can end, or the announcement is missed
    /// and the next poll finds it. `None` when too many of the same key wait already.
    pub(crate) fn wait_for(&self, holder: &KeyDigest, run: RunId) -> Option<Waiter> {
        let share = self.shared.waits.take(holder, 1)?;
        Some(self.register(run, Some(share)))
    }

    /// Registers a waiter for a run that is watched; who watches has a bound elsewhere.
    pub(crate) fn watch(&self, run: RunId) -> Waiter {
        self.register(run, None)
    }

    fn register(&self, run: RunId, share: Option<Taken<KeyDigest>>) -> Waiter {
        let mut runs = self.shared.lock();
        let waited = runs
            .entry(run)
            .or_insert_with(|| Waited { waiters: 0, ended: CancellationToken::new() });
        waited.waiters += 1;
        let ended = waited.ended.clone();
        drop(runs);
        self.shared.first.notify_one();
        Waiter { run, ended, shared: Arc::clone(&self.shared), _share: share }
    }
}

async fn listen(shared: Arc<Shared>, broker: Arc<dyn Broker>) {
    let mut listener = broker.listen().await;
    while let Some(ended) = listener.receive().await {
        shared.notify(&ended);
    }
}

async fn poll(shared: Arc<Shared>, store: Arc<dyn Store>, pause: Duration) {
    loop {
        let open = shared.open();
        if open.is_empty() {
            shared.first.notified().await;
        }
        for runs in open.chunks(WAIT_POLL_BATCH) {
            match store.ended_runs(runs).await {
                Ok(ended) => shared.notify(&ended),
                Err(error) => tracing::debug!(%error, "cannot look for ended runs"),
            }
        }
        tokio::time::sleep(pause).await;
    }
}

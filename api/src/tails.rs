//! Looking for news in runs that somebody follows: one poll a run, however many follow it.
//!
//! A poll only says that there is something; whoever follows reads it from where he is. Most are at the same place: the
//! first of them reads, and the others take what he has read. What happens often is polled often, and what is silent
//! seldom. That a run has ended is learned with all others that somebody waits for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use skein_shared::domain::ids::RunId;
use skein_shared::domain::tenant::Identity;
use skein_shared::store::log_filter::WHOLE_LOG;
use skein_shared::store::runs::LogRow;
use skein_shared::store::{Page, PageRequest, Store, StoreError};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::limits::{
    LOG_ROWS_READ, STREAM_PAGE_BYTES_MAX, STREAM_POLL_MAX, STREAM_POLL_MIN, STREAM_POLLS_MAX,
};
use crate::wait::Waiters;

/// What is followed.
pub(crate) struct Tails {
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<dyn Store>,
    waiters: Waiters,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    /// Turns at polling.
    polls: Semaphore,
    runs: Mutex<HashMap<RunId, Arc<Tail>>>,
}

/// A run that is followed.
struct Tail {
    /// Counts the news, and says whether the run has ended.
    news: watch::Sender<(u64, bool)>,
    /// The cursor behind which somebody has found nothing lately.
    caught_up: Mutex<Option<String>>,
    /// What was read last. Whoever reads holds it, so that those at the same place wait for him.
    last_read: tokio::sync::Mutex<Option<Read>>,
}

/// A page that was read, as far as it is worth keeping.
struct Read {
    cursor: Option<String>,
    /// The number of the news after which it was read.
    news: u64,
    page: Arc<Page<LogRow>>,
}

/// How a run is read.
#[derive(Clone, Copy)]
pub(crate) struct Reading<'a> {
    pub(crate) store: &'a dyn Store,
    pub(crate) tenant: &'a Identity,
    pub(crate) run: RunId,
}

/// One who follows a run. Dropping it ends that.
pub(crate) struct Follower {
    tail: Arc<Tail>,
    news: watch::Receiver<(u64, bool)>,
}

impl Follower {
    /// Waits for news, and says whether the run has ended, or is said to have. The first time it returns at once: what
    /// came before is not known here. Cancel-safe.
    pub(crate) async fn news(&mut self) -> bool {
        // The sender lives in the tail that is held here.
        let _is_open = self.news.changed().await.is_ok();
        self.news.borrow_and_update().1
    }

    /// Reads the page of the log behind this cursor, `None` if the run is gone. One that somebody else has read since the
    /// last news is as good; not before there were any, and not once all rows MUST be there (`is_last`).
    ///
    /// # Errors
    /// See [`StoreError`].
    pub(crate) async fn read(
        &self,
        reading: Reading<'_>,
        cursor: Option<&str>,
        is_last: bool,
    ) -> Result<Option<Arc<Page<LogRow>>>, StoreError> {
        let Reading { store, tenant, run } = reading;
        let from_store = async || {
            let page = PageRequest { limit: LOG_ROWS_READ, cursor: cursor.map(ToOwned::to_owned) };
            Ok::<_, StoreError>(store.run_logs(tenant, run, &WHOLE_LOG, &page).await?.map(Arc::new))
        };
        let news = self.news.borrow().0;
        if news == 0 || is_last {
            return from_store().await;
        }
        let mut last = self.tail.last_read.lock().await;
        let same =
            last.as_ref().filter(|read| (read.cursor.as_deref(), read.news) == (cursor, news));
        if let Some(read) = same {
            return Ok(Some(Arc::clone(&read.page)));
        }
        let page = from_store().await?;
        *last = page.clone().filter(|page| bytes(page) <= STREAM_PAGE_BYTES_MAX).map(|page| {
            let cursor = cursor.map(ToOwned::to_owned);
            Read { cursor, news, page }
        });
        Ok(page)
    }

    /// There was nothing behind this cursor.
    pub(crate) fn caught_up(&self, cursor: Option<&str>) {
        *lock(&self.tail.caught_up) = cursor.map(ToOwned::to_owned);
    }
}

impl Tails {
    pub(crate) fn new(
        store: &Arc<dyn Store>,
        waiters: &Waiters,
        tasks: &TaskTracker,
        shutdown: &CancellationToken,
    ) -> Self {
        let shared = Shared {
            store: Arc::clone(store),
            waiters: waiters.clone(),
            tasks: tasks.clone(),
            shutdown: shutdown.clone(),
            polls: Semaphore::new(STREAM_POLLS_MAX),
            runs: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Follows a run from behind this cursor. The caller knows that it is the tenant's.
    pub(crate) fn follow(&self, tenant: &Identity, run: RunId, cursor: Option<&str>) -> Follower {
        let mut runs = lock(&self.shared.runs);
        let tail = Arc::clone(runs.entry(run).or_insert_with(|| {
            let caught_up = Mutex::new(cursor.map(ToOwned::to_owned));
            let news = watch::Sender::new((0, false));
            let tail = Arc::new(Tail { news, caught_up, last_read: tokio::sync::Mutex::default() });
            let watching = Arc::clone(&self.shared).watch(Arc::clone(&tail), tenant.clone(), run);
            let shutdown = self.shared.shutdown.clone();
            self.shared.tasks.spawn(shutdown.run_until_cancelled_owned(watching));
            tail
        }));
        let mut news = tail.news.subscribe();
        news.mark_changed();
        Follower { tail, news }
    }
}

impl Shared {
    /// Looks for news until nobody follows any more.
    async fn watch(self: Arc<Self>, tail: Arc<Tail>, tenant: Identity, run: RunId) {
        let waiter = self.waiters.watch(run);
        let (mut pause, mut has_ended) = (STREAM_POLL_MIN, false);
        loop {
            tokio::select! {
                biased;
                () = tail.news.closed() => {
                    let mut runs = lock(&self.runs);
                    // Somebody may have come at the last moment.
                    if tail.news.receiver_count() == 0 {
                        runs.remove(&run);
                        return;
                    }
                }
                () = waiter.ended(), if !has_ended => {
                    has_ended = true;
                    tail.news.send_modify(|(count, has_ended)| (*count, *has_ended) = (*count + 1, true));
                }
                () = tokio::time::sleep(pause), if !has_ended => {
                    if self.has_news(&tail, &tenant, run).await {
                        tail.news.send_modify(|(count, _)| *count += 1);
                        pause = STREAM_POLL_MIN;
                    } else {
                        pause = (pause * 2).min(STREAM_POLL_MAX);
                    }
                }
            }
        }
    }

    async fn has_news(&self, tail: &Tail, tenant: &Identity, run: RunId) -> bool {
        let _turn = self.polls.acquire().await;
        let page = PageRequest { limit: 1, cursor: lock(&tail.caught_up).clone() };
        match self.store.run_logs(tenant, run, &WHOLE_LOG, &page).await {
            Ok(found) => found.is_some_and(|page| !page.items.is_empty()),
            Err(error) => {
                tracing::debug!(workflow.execution_id = %run, %error, "cannot look for news of a run");
                false
            }
        }
    }
}

/// Bytes of the values of a page.
fn bytes(page: &Page<LogRow>) -> usize {
    let size = |row: &LogRow| row.message.len() + row.data.as_ref().map_or(0, String::len);
    page.items.iter().map(size).sum()
}

/// Nothing panics while a lock is held, so a poisoned one still guards whole data.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

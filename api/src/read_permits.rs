//! Turns at reading what is large, or takes long: so many at a time for all, and fewer for each.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// Turns. Each holder of the kind `H` queues for some of them only, so that a crowd of one is not before everybody else.
#[derive(Debug)]
pub(crate) struct ReadPermits<H: Hash + Eq> {
    all: Arc<Semaphore>,
    of_one: usize,
    by_holder: Mutex<HashMap<H, Weak<Semaphore>>>,
}

/// A turn. To be kept until what was read is of no more weight.
#[derive(Debug)]
pub(crate) struct ReadPermit {
    _own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl<H: Hash + Eq + Clone> ReadPermits<H> {
    /// So many turns at a time, of which each holder may have half.
    pub(crate) fn new(max: usize) -> Self {
        let of_one = (max / 2).max(1);
        Self { all: Arc::new(Semaphore::new(max)), of_one, by_holder: Mutex::default() }
    }

    fn of(&self, holder: &H) -> Arc<Semaphore> {
        let mut by_holder = self.by_holder.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(permits) = by_holder.get(holder).and_then(Weak::upgrade) {
            return permits;
        }
        by_holder.retain(|_, permits| permits.strong_count() > 0);
        let permits = Arc::new(Semaphore::new(self.of_one));
        by_holder.insert(holder.clone(), Arc::downgrade(&permits));
        permits
    }

    /// Waits for a turn, for as long as somebody waits for the answer to that.
    ///
    /// # Errors
    /// Never: nobody closes them.
    pub(crate) async fn take(&self, holder: &H) -> Result<ReadPermit, AcquireError> {
        let own = self.of(holder).acquire_owned().await?;
        let all = Arc::clone(&self.all).acquire_owned().await?;
        Ok(ReadPermit { _own: own, _all: all })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_holder_has_half_of_the_turns_and_nobody_is_remembered() {
        let permits = ReadPermits::new(2);
        let first = permits.take(&"ada").await.unwrap();
        assert!(futures_util::FutureExt::now_or_never(permits.take(&"ada")).is_none());
        drop(permits.take(&"bob").await.unwrap());
        drop(first);
        drop(permits.take(&"eve").await.unwrap());
        drop(permits.take(&"joe").await.unwrap());
        assert_eq!(permits.by_holder.lock().unwrap().len(), 1);
    }
}

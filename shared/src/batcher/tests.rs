//! What batchers promise their callers.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// Doubles numbers; refuses 13, is too slow for 14 in company, cannot get at 15 while that is locked, and is out of reach
/// for the first call of each scenario that says so.
#[derive(Default)]
struct Doubler {
    failures_left: Mutex<u32>,
    batches: Mutex<Vec<usize>>,
    is_locked: AtomicBool,
    /// Replies that fit into one answer, if there is a limit.
    fitting: Option<usize>,
}

#[async_trait]
impl Apply for std::sync::Arc<Doubler> {
    type Request = u32;
    type Reply = u32;
    const NAME: &'static str = "doubler";

    fn bytes(number: &u32) -> usize {
        *number as usize
    }

    async fn apply(&self, batch: &[u32]) -> Result<Vec<u32>, StoreError> {
        self.batches.lock().unwrap().push(batch.len());
        tokio::task::yield_now().await;
        let mut left = self.failures_left.lock().unwrap();
        if *left > 0 {
            *left -= 1;
            return Err(StoreError::Unavailable("down".into()));
        }
        if batch.contains(&13) {
            return Err(StoreError::Data("unlucky".into()));
        }
        if batch.contains(&14) && batch.len() > 1 {
            return Err(StoreError::TooSlow("in company".into()));
        }
        if batch.contains(&15) && self.is_locked.load(Ordering::Relaxed) {
            return Err(StoreError::Locked("by somebody else".into()));
        }
        Ok(batch.iter().map(|n| n * 2).take(self.fitting.unwrap_or(usize::MAX)).collect())
    }

    fn retry_timeout(&self) -> Duration {
        Duration::from_secs(5)
    }
}

async fn submit_all(
    doubler: &std::sync::Arc<Doubler>,
    numbers: &[u32],
) -> Vec<Result<u32, BatcherError>> {
    let batcher = Batcher::start(&TaskTracker::new(), doubler.clone(), BatcherLimits::default());
    futures_util::future::join_all(numbers.iter().map(|n| batcher.submit(*n))).await
}

#[tokio::test]
async fn what_waits_together_is_applied_together() {
    let doubler = std::sync::Arc::new(Doubler::default());
    let replies = submit_all(&doubler, &[1, 2, 3]).await;
    assert_eq!(replies, [Ok(2), Ok(4), Ok(6)]);
    assert_eq!(*doubler.batches.lock().unwrap(), [3]);
}

#[tokio::test]
async fn a_refused_value_fails_alone() {
    let doubler = std::sync::Arc::new(Doubler::default());
    let replies = submit_all(&doubler, &[1, 13, 3, 4]).await;
    assert_eq!(replies[0], Ok(2));
    assert!(matches!(replies[1], Err(BatcherError::Refused(_))));
    assert_eq!(replies[2..], [Ok(6), Ok(8)]);
}

#[tokio::test]
async fn a_batch_that_takes_too_long_is_split() {
    let doubler = std::sync::Arc::new(Doubler::default());
    assert_eq!(submit_all(&doubler, &[14, 1, 2]).await, [Ok(28), Ok(2), Ok(4)]);
}

#[tokio::test]
async fn a_batch_has_a_limit_in_bytes_and_a_large_request_goes_alone() {
    let doubler = std::sync::Arc::new(Doubler::default());
    let limits = BatcherLimits { batch_bytes_max: 10, ..BatcherLimits::default() };
    let batcher = Batcher::start(&TaskTracker::new(), doubler.clone(), limits);
    let numbers = [4, 6, 1, 50, 2, 3];
    let replies = futures_util::future::join_all(numbers.iter().map(|n| batcher.submit(*n))).await;
    assert_eq!(replies, numbers.map(|n| Ok(n * 2)));
    assert_eq!(*doubler.batches.lock().unwrap(), [2, 1, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn an_outage_shorter_than_the_patience_goes_unnoticed() {
    let doubler =
        std::sync::Arc::new(Doubler { failures_left: Mutex::new(3), ..Doubler::default() });
    assert_eq!(submit_all(&doubler, &[5]).await, [Ok(10)]);
}

#[tokio::test(start_paused = true)]
async fn an_outage_longer_than_the_patience_is_reported() {
    let doubler =
        std::sync::Arc::new(Doubler { failures_left: Mutex::new(u32::MAX), ..Doubler::default() });
    assert!(matches!(submit_all(&doubler, &[5]).await[0], Err(BatcherError::Unavailable(_))));
}

/// One request cannot be applied for long. Those that came with it and those that come later hear as soon as they are
/// applied, and it is applied when it can be.
#[tokio::test(start_paused = true)]
async fn what_is_locked_holds_nobody_up() {
    let locked = AtomicBool::new(true);
    let doubler = std::sync::Arc::new(Doubler { is_locked: locked, ..Doubler::default() });
    let batcher = Batcher::start(&TaskTracker::new(), doubler.clone(), BatcherLimits::default());
    let mut stuck = std::pin::pin!(batcher.submit(15));
    assert!(futures_util::poll!(stuck.as_mut()).is_pending());
    let with_it = futures_util::future::join_all((1..=6).map(|n| batcher.submit(n)));
    let replies = tokio::time::timeout(Duration::from_secs(1), with_it).await;
    assert_eq!(replies, Ok((1..=6).map(|n| Ok(n * 2)).collect()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let later = tokio::time::timeout(Duration::from_secs(1), batcher.submit(7)).await;
    assert_eq!(later, Ok(Ok(14)));
    assert!(futures_util::poll!(stuck.as_mut()).is_pending());
    doubler.is_locked.store(false, Ordering::Relaxed);
    assert_eq!(stuck.await, Ok(30));
}

#[tokio::test(start_paused = true)]
async fn what_is_locked_for_longer_than_the_patience_is_reported() {
    let locked = AtomicBool::new(true);
    let doubler = std::sync::Arc::new(Doubler { is_locked: locked, ..Doubler::default() });
    let replies = submit_all(&doubler, &[1, 15, 2]).await;
    assert!(matches!(replies[1], Err(BatcherError::Unavailable(_))), "{replies:?}");
    assert_eq!((&replies[0], &replies[2]), (&Ok(2), &Ok(4)));
}

#[tokio::test]
async fn a_batcher_ends_when_what_is_being_split_has_been_applied() {
    let locked = AtomicBool::new(true);
    let doubler = std::sync::Arc::new(Doubler { is_locked: locked, ..Doubler::default() });
    let tasks = TaskTracker::new();
    let batcher = Batcher::start(&tasks, doubler.clone(), BatcherLimits::default());
    tasks.close();
    let stuck = tokio::spawn(async move { batcher.submit(15).await });
    while doubler.batches.lock().unwrap().len() < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(!tasks.is_empty());
    doubler.is_locked.store(false, Ordering::Relaxed);
    assert_eq!(stuck.await.unwrap(), Ok(30));
    tasks.wait().await;
}

#[tokio::test]
async fn what_an_answer_has_no_room_for_is_asked_for_again() {
    let doubler = std::sync::Arc::new(Doubler { fitting: Some(2), ..Doubler::default() });
    let replies = submit_all(&doubler, &[1, 2, 3, 4, 5]).await;
    assert_eq!(replies, [Ok(2), Ok(4), Ok(6), Ok(8), Ok(10)]);
    assert_eq!(*doubler.batches.lock().unwrap(), [5, 3, 1]);
}

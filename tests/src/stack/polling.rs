//! Waiting for what nothing announces.

use std::time::Duration;

use super::PATIENCE;

/// The pause between two polls of a condition that nothing announces.
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(25);

/// Polls until there is something; `None` if there is nothing for that long.
pub async fn poll<T>(within: Duration, mut probe: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let probing = async {
        loop {
            if let Some(found) = probe().await {
                return found;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    tokio::time::timeout(within, probing).await.ok()
}

/// [`poll`] for what must come about.
///
/// # Panics
/// When it does not within a minute.
pub async fn eventually<T>(what: &str, probe: impl AsyncFnMut() -> Option<T>) -> T {
    match poll(PATIENCE, probe).await {
        Some(found) => found,
        None => panic!("it is not so within {PATIENCE:?} that {what}"),
    }
}

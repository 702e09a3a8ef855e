//! Waiting for what nothing announces.

use std::time::Duration;

use super::PATIENCE;

/// The pause between two polls of a condition that nothing announces.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(25);

/// Polls until there is something; `None` if there is nothing for that long.
pub async fn poll<T>(within: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(within, looking).await.ok()
}

/// [`poll`] for what must come about.
///
/// # Panics
/// When it does not within a minute.
pub async fn eventually<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    match poll(PATIENCE, look).await {
        Some(found) => found,
        None => panic!("it is not so within {PATIENCE:?} that {what}"),
    }
}

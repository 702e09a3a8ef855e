//! Waiting for a store when a process starts.

use std::error::Error as _;
use std::time::Duration;

use tokio::time::Instant;

use super::StoreError;
use crate::config::SecretUrl;

/// The pause before the store is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// How often what is waited for is said again.
const TOLD_EVERY: Duration = Duration::from_secs(30);

/// Why a process waits for its store, told to whoever reads its log: as soon as that changes, and now and then.
#[derive(Debug, Default)]
pub struct StoreWait {
    told: Option<(String, Instant)>,
}

impl StoreWait {
    /// Says that the store at `url` is waited for because of `error`, and waits for a moment.
    pub async fn pause(&mut self, url: &SecretUrl, error: &StoreError) {
        let why = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        if self.is_news(&why) {
            tracing::warn!(store = %url, error = why, "waiting for the store");
        }
        tokio::time::sleep(PAUSE).await;
    }

    fn is_news(&mut self, why: &str) -> bool {
        let now = Instant::now();
        let is_known = self
            .told
            .as_ref()
            .is_some_and(|(told, at)| told == why && now.duration_since(*at) < TOLD_EVERY);
        if !is_known {
            self.told = Some((why.to_owned(), now));
        }
        !is_known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_same_is_told_once_in_a_while_and_anything_else_at_once() {
        let mut wait = StoreWait::default();
        assert!(wait.is_news("no schema"));
        assert!(!wait.is_news("no schema"));
        assert!(wait.is_news("refused"));
        assert!(wait.is_news("no schema"));
        tokio::time::advance(TOLD_EVERY - Duration::from_millis(1)).await;
        assert!(!wait.is_news("no schema"));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(wait.is_news("no schema"));
    }
}

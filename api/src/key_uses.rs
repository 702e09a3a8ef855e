//! When keys were used last, noted beside the requests: none waits for it, and none fails by it.

use std::sync::Arc;

use skein_shared::store::KeyStore;
use skein_shared::store::keys::KeyDigest;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::limits::{KEY_USES_PAUSE, KEY_USES_WAITING_MAX};

/// The end on which uses are noted.
pub(crate) struct KeyUses {
    noted: mpsc::Sender<KeyDigest>,
}

impl KeyUses {
    /// Starts the task that writes them down. It ends with `shutdown`, and what waits then is lost: a key that stays in
    /// use is noted elsewhere.
    pub(crate) fn start(
        store: Arc<dyn KeyStore>,
        tasks: &TaskTracker,
        shutdown: &CancellationToken,
    ) -> Self {
        let (noted, waiting) = mpsc::channel(KEY_USES_WAITING_MAX);
        tasks.spawn(shutdown.clone().run_until_cancelled_owned(write_down(store, waiting)));
        Self { noted }
    }

    /// Notes that the key is in use. When too many wait already, it is left for the next time that the key is looked up.
    pub(crate) fn note(&self, digest: KeyDigest) {
        let _ = self.noted.try_send(digest);
    }
}

/// One statement for all that have come since the last one, and then a pause. The store sees to it that each key is
/// written once a minute at most, whichever process has seen it.
async fn write_down(store: Arc<dyn KeyStore>, mut waiting: mpsc::Receiver<KeyDigest>) {
    let mut digests = Vec::new();
    while waiting.recv_many(&mut digests, KEY_USES_WAITING_MAX).await > 0 {
        digests.sort_unstable();
        digests.dedup();
        if let Err(error) = store.touch_keys(&digests).await {
            tracing::debug!(%error, "the last use of some keys is not noted");
        }
        digests.clear();
        tokio::time::sleep(KEY_USES_PAUSE).await;
    }
}

//! Announcements within the process: one sender, any number of listeners. Both brokers end here.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use super::Listener;
use crate::domain::ids::RunId;

/// Announcements that a slow listener may lag behind before it loses the oldest. Best effort: who
/// waits for a run polls the store as well.
const BACKLOG_MAX: usize = 1_024;

/// The sending half.
#[derive(Debug, Clone)]
pub(super) struct Announcements {
    sender: broadcast::Sender<Arc<[RunId]>>,
    closing: CancellationToken,
}

impl Announcements {
    /// Announcements that end when `closing` is cancelled.
    pub(super) fn new(closing: CancellationToken) -> Self {
        Self { sender: broadcast::channel(BACKLOG_MAX).0, closing }
    }

    /// Delivers to every listener of this process. Nobody listening is not an error.
    pub(super) fn deliver(&self, ended: Arc<[RunId]>) {
        let _listeners = self.sender.send(ended);
    }

    /// Listens from now on.
    pub(super) fn listen(&self) -> Box<dyn Listener> {
        Box::new(LocalListener { receiver: self.sender.subscribe(), closing: self.closing.clone() })
    }
}

struct LocalListener {
    receiver: broadcast::Receiver<Arc<[RunId]>>,
    closing: CancellationToken,
}

#[async_trait]
impl Listener for LocalListener {
    async fn receive(&mut self) -> Option<Vec<RunId>> {
        loop {
            let received = tokio::select! {
                biased;
                () = self.closing.cancelled() => return None,
                received = self.receiver.recv() => received,
            };
            match received {
                Ok(ended) => return Some(ended.to_vec()),
                Err(broadcast::error::RecvError::Lagged(lost)) => {
                    tracing::debug!(lost, "a listener was too slow for the announcements");
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

//! How a worker is, for whoever asks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use skein_shared::broker::Broker;
use skein_shared::ops::Ready;
use tokio_util::sync::CancellationToken;

use crate::lease::Lease;

/// How a worker is. Clones share it; the worker writes, others read.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Mutex<Option<Life>>>);

/// A life of a worker.
#[derive(Debug)]
struct Life {
    lease: Arc<Lease>,
    draining: CancellationToken,
}

impl Health {
    pub(crate) fn living(&self, lease: &Arc<Lease>, draining: &CancellationToken) {
        *self.lock() = Some(Life { lease: Arc::clone(lease), draining: draining.clone() });
    }

    pub(crate) fn ended(&self) {
        *self.lock() = None;
    }

    /// Whether the worker may take work.
    ///
    /// # Errors
    /// Why it may not, in one line.
    pub fn check(&self) -> Result<(), &'static str> {
        match &*self.lock() {
            None => Err(
                "the worker has no lease: it starts, it has stopped, or the store is out of reach",
            ),
            // One that has lost its lease drains as well, for as long as the store is out of reach.
            Some(life) if life.lease.is_fenced() => {
                Err("the worker cannot renew its lease: the store is out of reach")
            }
            Some(life) if life.draining.is_cancelled() => Err("the worker is draining"),
            Some(_) => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Life>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A worker is ready when it has a living lease, is not draining, and receives messages.
pub struct WorkerReady {
    /// How it is.
    pub health: Health,
    /// Where its messages come from.
    pub broker: Arc<dyn Broker>,
}

#[async_trait]
impl Ready for WorkerReady {
    async fn ready(&self) -> Result<(), String> {
        self.health.check()?;
        if self.broker.connections().consuming {
            Ok(())
        } else {
            Err("there is no connection to the broker that receives".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_without_a_lease_takes_no_work() {
        let health = Health::default();
        assert!(health.check().unwrap_err().contains("no lease"));
    }
}

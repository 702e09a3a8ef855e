//! Whether requests should be sent here, as the operator's probes ask.

use std::sync::Arc;

use async_trait::async_trait;
use skein_shared::broker::Broker;
use skein_shared::ops::Ready;
use skein_shared::store::Store;
use tokio_util::sync::CancellationToken;

use crate::limits::READY_TIME_MAX;

/// The API is ready when the store answers in time, messages can be sent, and it is not shutting down. The `/readyz` of
/// the API itself does not ask for the broker: runs are accepted without one.
pub struct ApiReady {
    /// Asked whether it answers.
    pub store: Arc<dyn Store>,
    /// Asked whether it is connected.
    pub broker: Arc<dyn Broker>,
    /// Cancelled when it shuts down.
    pub shutdown: CancellationToken,
}

#[async_trait]
impl Ready for ApiReady {
    async fn ready(&self) -> Result<(), String> {
        if self.shutdown.is_cancelled() {
            return Err("the API is shutting down".to_owned());
        }
        match tokio::time::timeout(READY_TIME_MAX, self.store.ping()).await {
            Ok(Ok(())) => {}
            // What the store says may name more than whoever probes is to know.
            Ok(Err(_)) => return Err("the store is out of reach".to_owned()),
            Err(_) => return Err("the store does not answer in time".to_owned()),
        }
        if self.broker.connections().publishing {
            Ok(())
        } else {
            Err("there is no connection to the broker that sends".to_owned())
        }
    }
}

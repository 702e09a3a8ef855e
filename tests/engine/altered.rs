//! A broker within the process, over a line that does with messages what a test wants.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use skein_shared::broker::in_process::InProcess;
use skein_shared::broker::{
    Address, Broker, BrokerUnavailable, Connections, Consumer, Listener, LiveEvent, LiveListener,
    Outgoing, PublishError, Published,
};
use skein_shared::domain::ids::RunId;
use skein_shared::domain::open_work::QueueDepth;

/// What arrives of a batch that is sent.
type Line = Box<dyn Fn(&[Outgoing]) -> Vec<Outgoing> + Send + Sync>;

/// A broker that says it has taken everything, whatever its line makes of it.
pub(crate) struct Altered {
    inner: InProcess,
    line: Line,
    prefetches: Mutex<Vec<u16>>,
}

impl Altered {
    pub(crate) fn new(
        line: impl Fn(&[Outgoing]) -> Vec<Outgoing> + Send + Sync + 'static,
    ) -> Arc<Self> {
        let line = Box::new(line);
        Arc::new(Self { inner: InProcess::new(), line, prefetches: Mutex::default() })
    }

    /// How much each consumer so far has asked to fetch ahead.
    pub(crate) fn prefetches(&self) -> Vec<u16> {
        self.prefetches.lock().unwrap().clone()
    }
}

#[async_trait]
impl Broker for Altered {
    fn address(&self, pool: &str) -> Address {
        self.inner.address(pool)
    }

    fn connections(&self) -> Connections {
        self.inner.connections()
    }

    async fn publish(&self, batch: &[Outgoing]) -> Vec<Result<Published, PublishError>> {
        self.inner.publish(&(self.line)(batch)).await;
        vec![Ok(Published { number: None }); batch.len()]
    }

    async fn consume(&self, pool: &str, prefetch: u16) -> Box<dyn Consumer> {
        self.prefetches.lock().unwrap().push(prefetch);
        self.inner.consume(pool, prefetch).await
    }

    async fn depth(&self, pool: &str) -> Result<u64, BrokerUnavailable> {
        self.inner.depth(pool).await
    }

    async fn backlog(&self, pools: &[&str]) -> Result<Vec<QueueDepth>, BrokerUnavailable> {
        self.inner.backlog(pools).await
    }

    async fn announce(&self, ended: &[RunId]) {
        self.inner.announce(ended).await;
    }

    async fn listen(&self) -> Box<dyn Listener> {
        self.inner.listen().await
    }

    fn publish_live(&self, event: LiveEvent) -> bool {
        self.inner.publish_live(event)
    }

    async fn listen_live(&self, run: RunId) -> LiveListener {
        self.inner.listen_live(run).await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

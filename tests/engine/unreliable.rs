//! A broker that does everything which a broker may: it loses, doubles, delays and reorders messages.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use skein_shared::broker::in_process::InProcess;
use skein_shared::broker::{
    Address, Broker, BrokerUnavailable, Consumer, Listener, Outgoing, PublishError,
};
use skein_shared::domain::ids::RunId;

/// Of a hundred messages, how many are lost, come twice, or come later.
const LOST: u8 = 30;
const DOUBLED: u8 = 30;
const DELAYED: u8 = 20;

/// An in-process broker behind a bad line.
pub(crate) struct Unreliable {
    inner: InProcess,
    line: Mutex<Line>,
}

struct Line {
    random: fastrand::Rng,
    /// Messages that come with a later batch, if one is ever sent.
    delayed: Vec<Outgoing>,
}

impl Unreliable {
    pub(crate) fn new(seed: u64) -> Arc<Self> {
        let line = Line { random: fastrand::Rng::with_seed(seed), delayed: Vec::new() };
        Arc::new(Self { inner: InProcess::new(), line: Mutex::new(line) })
    }

    /// What really arrives when this is sent.
    fn garble(&self, batch: &[Outgoing]) -> Vec<Outgoing> {
        let mut line = self.line.lock().unwrap();
        let mut arriving = std::mem::take(&mut line.delayed);
        for message in batch {
            if line.random.u8(..100) < LOST {
                continue;
            }
            for _ in 0..=usize::from(line.random.u8(..100) < DOUBLED) {
                if line.random.u8(..100) < DELAYED {
                    line.delayed.push(message.clone());
                } else {
                    arriving.push(message.clone());
                }
            }
        }
        line.random.shuffle(&mut arriving);
        arriving
    }
}

#[async_trait]
impl Broker for Unreliable {
    fn address(&self, pool: &str) -> Address {
        self.inner.address(pool)
    }

    async fn publish(&self, batch: &[Outgoing]) -> Vec<Result<(), PublishError>> {
        self.inner.publish(&self.garble(batch)).await;
        vec![Ok(()); batch.len()]
    }

    async fn consume(&self, pool: &str, prefetch: u16) -> Box<dyn Consumer> {
        self.inner.consume(pool, prefetch).await
    }

    async fn depth(&self, pool: &str) -> Result<u64, BrokerUnavailable> {
        self.inner.depth(pool).await
    }

    async fn purge(&self, pool: &str) -> Result<u64, BrokerUnavailable> {
        self.inner.purge(pool).await
    }

    async fn announce(&self, ended: &[RunId]) {
        self.inner.announce(ended).await;
    }

    async fn listen(&self) -> Box<dyn Listener> {
        self.inner.listen().await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

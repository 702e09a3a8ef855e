//! Confirm channels, pooled over the publishing connection.

use std::sync::Arc;

use deadpool::managed::{Manager, Metrics, Pool, PoolError, RecycleError, RecycleResult};
use lapin::Channel;
use lapin::options::ConfirmSelectOptions;

use super::connection::{Link, Session};
use crate::broker::BrokerUnavailable;

/// Confirm channels, that is batches in flight at a time. They share one connection and its thread, so
/// more of them would only share the same bandwidth. A batch that waits for a slow broker keeps its
/// channel, so this also bounds what piles up.
const CHANNELS_MAX: usize = 4;

/// A channel in confirm mode. One batch uses it at a time.
pub(super) struct ConfirmChannel {
    pub(super) channel: Channel,
    pub(super) session: Arc<Session>,
    /// No confirm is outstanding. With one outstanding the channel is not used again: a late confirm
    /// could swallow a return of the next batch.
    pub(super) is_idle: bool,
}

pub(super) struct ConfirmChannels {
    link: Link,
}

/// A pool that fills up on demand.
pub(super) fn pool(link: Link) -> Pool<ConfirmChannels> {
    Pool::builder(ConfirmChannels { link })
        .max_size(CHANNELS_MAX)
        .build()
        .expect("only a pool with time limits of its own can fail: it would need a runtime")
}

impl Manager for ConfirmChannels {
    type Type = ConfirmChannel;
    type Error = BrokerUnavailable;

    async fn create(&self) -> Result<ConfirmChannel, BrokerUnavailable> {
        let session = self.link.session().await?;
        let opened = async {
            let channel = session.channel().await?;
            channel.confirm_select(ConfirmSelectOptions::default()).await?;
            lapin::Result::Ok(channel)
        };
        let channel = opened.await.map_err(|error| BrokerUnavailable(error.to_string()))?;
        Ok(ConfirmChannel { channel, session, is_idle: true })
    }

    async fn recycle(
        &self,
        pooled: &mut ConfirmChannel,
        _: &Metrics,
    ) -> RecycleResult<BrokerUnavailable> {
        let is_open = pooled.session.is_open() && pooled.channel.status().connected();
        if pooled.is_idle && is_open {
            Ok(())
        } else {
            Err(RecycleError::message("it cannot be used again"))
        }
    }
}

impl From<PoolError<BrokerUnavailable>> for BrokerUnavailable {
    fn from(error: PoolError<BrokerUnavailable>) -> Self {
        match error {
            PoolError::Backend(error) => error,
            other => Self(other.to_string()),
        }
    }
}

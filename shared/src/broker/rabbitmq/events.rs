//! Announcements over a fanout exchange: transient, unconfirmed, nobody depends on them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use lapin::options::{BasicConsumeOptions, BasicPublishOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::backoff::Backoff;
use super::connection::{Link, Session};
use super::permission::OwnQueue;
use super::topology::Topology;
use crate::broker::announcements::Announcements;
use crate::broker::{Listener, message};
use crate::domain::ids::RunId;

/// Runs in one message: 20 kB.
const RUNS_MAX: usize = 500;
/// Bytes of a message that is read. Skein's are far smaller.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// How long an announcement may hold up whoever makes it.
const ANNOUNCE_MAX: Duration = Duration::from_secs(1);
/// How long a new listener waits to be connected, so that it misses nothing while the broker is up.
const READY_MAX: Duration = Duration::from_secs(2);
/// How long it may take to declare the queue and to subscribe.
const SUBSCRIBE_MAX: Duration = Duration::from_secs(10);
/// The AMQP `type` of an announcement.
const MESSAGE_TYPE: &str = "ended.v1";
/// AMQP's number for a message that need not survive anything.
const TRANSIENT: u8 = 1;

#[derive(Serialize, Deserialize)]
struct Body<Runs> {
    v: u64,
    ended: Runs,
}

pub(super) struct Events {
    publishing: Link,
    consuming: Link,
    topology: Arc<Topology>,
    local: Announcements,
    channel: Mutex<Option<(u64, Channel)>>,
    waiting: Waiting,
    is_started: AtomicBool,
    is_ready: watch::Sender<bool>,
}

impl Events {
    pub(super) fn new(
        publishing: Link,
        consuming: Link,
        topology: Arc<Topology>,
        local: Announcements,
    ) -> Self {
        Self {
            publishing,
            consuming,
            topology,
            local,
            channel: Mutex::default(),
            waiting: Waiting::default(),
            is_started: AtomicBool::new(false),
            is_ready: watch::Sender::new(false),
        }
    }

    /// Announces runs to every process, as far as the broker takes it. Those that end in one commit go into one message:
    /// whoever adds the first lets the others add theirs, and sends them all. Returns at once for the others.
    pub(super) async fn announce(&self, ended: &[RunId]) {
        let Some(gathering) = Gathering::begin(&self.waiting, ended) else { return };
        tokio::task::yield_now().await;
        let ended = gathering.take();
        let announced = timeout(ANNOUNCE_MAX, async {
            for chunk in ended.chunks(RUNS_MAX) {
                self.send(chunk).await?;
            }
            Ok::<(), String>(())
        });
        match announced.await {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => tracing::debug!(reason, "an announcement was lost"),
            Err(_) => tracing::debug!("an announcement took too long"),
        }
    }

    async fn send(&self, ended: &[RunId]) -> Result<(), String> {
        let session = self.publishing.session().await.map_err(|error| error.to_string())?;
        if session.is_blocked() {
            return Err("the broker takes no messages".to_owned());
        }
        let body = serde_json::to_vec(&Body { v: message::VERSION, ended })
            .map_err(|error| error.to_string())?;
        let properties = BasicProperties::default()
            .with_type(MESSAGE_TYPE.into())
            .with_content_type(message::CONTENT_TYPE.into())
            .with_delivery_mode(TRANSIENT);
        // Held until the frames are written: a channel is used by one publisher at a time.
        let mut slot = self.channel.lock().await;
        let published = async {
            let channel = open_channel(&mut slot, &session).await?;
            let exchange = self.topology.events_exchange.clone();
            channel
                .basic_publish(
                    exchange,
                    "".into(),
                    BasicPublishOptions::default(),
                    &body,
                    properties,
                )
                .await
        };
        published.await.map(drop).map_err(|error| error.to_string())
    }

    /// Listens from now on. The first listener of a process subscribes for all of them.
    pub(super) async fn listen(
        self: &Arc<Self>,
        tasks: &TaskTracker,
        closing: &CancellationToken,
    ) -> Box<dyn Listener> {
        let listener = self.local.listen();
        if !self.is_started.swap(true, Ordering::SeqCst) {
            tasks.spawn(Arc::clone(self).run(closing.clone()));
        }
        let mut is_ready = self.is_ready.subscribe();
        let ready = timeout(READY_MAX, is_ready.wait_for(|is_ready| *is_ready));
        let _connected = closing.run_until_cancelled(ready).await;
        listener
    }

    async fn run(self: Arc<Self>, closing: CancellationToken) {
        let mut backoff = Backoff::default();
        let mut queue = OwnQueue::new("announcements of runs that have ended");
        while let Some(Some(session)) =
            closing.run_until_cancelled(self.consuming.wait_open()).await
        {
            let subscribed =
                closing.run_until_cancelled(timeout(SUBSCRIBE_MAX, self.subscribe(&session))).await;
            if let Some(Ok(Err(error))) = &subscribed {
                queue.failed(error);
            }
            if let Some(Ok(Ok(mut stream))) = subscribed {
                backoff.reset();
                queue.succeeded();
                self.is_ready.send_replace(true);
                while let Some(Some(Ok(delivery))) =
                    closing.run_until_cancelled(stream.next()).await
                {
                    self.hear(&delivery.data);
                }
                self.is_ready.send_replace(false);
            }
            closing.run_until_cancelled(tokio::time::sleep(backoff.wait())).await;
        }
    }

    async fn subscribe(&self, session: &Session) -> lapin::Result<lapin::Consumer> {
        let channel = session.channel().await?;
        let queue = self.topology.declare_listener(&channel).await?;
        // Without acknowledgements: what is lost is lost.
        let options = BasicConsumeOptions { no_ack: true, exclusive: true, ..Default::default() };
        channel.basic_consume(queue, "".into(), options, FieldTable::default()).await
    }

    fn hear(&self, body: &[u8]) {
        if body.len() > BODY_BYTES_MAX {
            return;
        }
        // Of a later version, or not Skein's: nothing depends on it.
        if let Ok(Body { v: message::VERSION, ended }) =
            serde_json::from_slice::<Body<Vec<RunId>>>(body)
        {
            self.local.deliver(ended.into());
        }
    }
}

/// Runs to be announced. While there are any, somebody is about to send them.
type Waiting = std::sync::Mutex<Vec<RunId>>;

/// Somebody who is about to send what waits. Dropped before that, nothing waits any more: announcements may be lost.
struct Gathering<'a>(&'a Waiting);

impl<'a> Gathering<'a> {
    /// Adds runs to those that wait; `None` when somebody else is about to send them.
    fn begin(waiting: &'a Waiting, ended: &[RunId]) -> Option<Self> {
        let mut runs = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = runs.is_empty() && !ended.is_empty();
        runs.extend_from_slice(ended);
        drop(runs);
        // Not made where it is not needed: what is dropped forgets what waits.
        is_first.then(|| Self(waiting))
    }

    fn drain(&self) -> Vec<RunId> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn take(self) -> Vec<RunId> {
        let runs = self.drain();
        // Others may be gathering by now.
        std::mem::forget(self);
        runs
    }
}

impl Drop for Gathering<'_> {
    fn drop(&mut self) {
        self.drain();
    }
}

/// The channel in the slot, opened anew where that is of a connection that is gone.
pub(super) async fn open_channel<'a>(
    slot: &'a mut Option<(u64, Channel)>,
    session: &Session,
) -> lapin::Result<&'a Channel> {
    let is_usable = slot.as_ref().is_some_and(|(generation, channel)| {
        *generation == session.generation && channel.status().connected()
    });
    if !is_usable {
        *slot = None;
    }
    match slot {
        Some((_, channel)) => Ok(channel),
        None => {
            let channel = session.channel().await?;
            Ok(&slot.insert((session.generation, channel)).1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_begins_sends_what_others_add_and_what_nobody_sends_is_forgotten() {
        let waiting = Waiting::default();
        let (one, two) = (RunId::generate(), RunId::generate());
        assert!(Gathering::begin(&waiting, &[]).is_none());
        let first = Gathering::begin(&waiting, &[one]).unwrap();
        assert!(Gathering::begin(&waiting, &[two]).is_none());
        assert_eq!(first.take(), [one, two]);
        // Dropped in the middle, it keeps nobody from announcing later.
        drop(Gathering::begin(&waiting, &[one]).unwrap());
        assert_eq!(Gathering::begin(&waiting, &[two]).unwrap().take(), [two]);
    }
}

//! Publishing wake-ups after the commit that made their rows runnable.
//!
//! The rows are durable before anything is published, so nothing here can lose a run: what cannot be
//! published now is retried while the process lives, and repeated by a sweeper otherwise. Callers
//! never wait for the broker.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::broker::{
    Address, Broker, DEFAULT_POOL, Headers, Outgoing, PublishError, Published, message,
};
use crate::domain::trace::{SpanId, TraceContext};
use crate::domain::wakeup::Wakeup;
use crate::telemetry::spans::Publish;
use crate::telemetry::{emit, is_exported, metrics, within};

/// Hand-overs that may wait. Beyond that the sweeper takes over, 30 s later.
const WAITING_MAX: usize = 65_536;
/// Messages that are in flight together.
const BATCH_MAX: usize = 512;
/// Hand-overs that are kept for another try while the broker is out of reach.
const BACKLOG_MAX: usize = 16_384;
/// The first pause before another try; it doubles.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest pause. The broker's own supervisor reconnects meanwhile.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Wake-ups of one run that share a publisher span, which their messages carry.
#[derive(Debug, Clone)]
pub struct Handover {
    /// What is to be published; at least one.
    pub wakeups: Vec<Wakeup>,
    /// Whose span the publishing is, if it is exported.
    pub producer: Option<Producer>,
}

/// Who hands over.
#[derive(Debug, Clone)]
pub struct Producer {
    /// The parent of the `publish` span: `workflow.execute`, or the request that was accepted, if that is recorded.
    pub parent: Option<SpanId>,
    /// `workflow.execute`, where that is not the parent and there may be one.
    pub link: Option<TraceContext>,
    /// The run's workflow.
    pub workflow: Arc<str>,
}

/// The sending end. Cloning it is cheap.
#[derive(Debug, Clone)]
pub struct Dispatcher {
    handovers: mpsc::Sender<Handover>,
    address: Arc<Address>,
}

impl Dispatcher {
    /// Starts to publish to `broker`. The task is tracked by `tasks`; it ends when all clones of the
    /// dispatcher are gone, or with `shutdown`, after one last try to publish what is there.
    pub fn start(
        tasks: &TaskTracker,
        broker: Arc<dyn Broker>,
        shutdown: CancellationToken,
    ) -> Self {
        let (handovers, waiting) = mpsc::channel(WAITING_MAX);
        let address = Arc::new(broker.address(DEFAULT_POOL));
        let dispatch = DispatchLoop {
            broker,
            address: Arc::clone(&address),
            backlog: VecDeque::new(),
            pause: PAUSE_MIN,
        };
        tasks.spawn(dispatch.run(waiting, shutdown));
        Self { handovers, address }
    }

    /// Publishes soon. Never waits: with too much waiting already, the sweeper will do it.
    pub fn hand_over(&self, handover: Handover) {
        if let Err(refused) = self.handovers.try_send(handover) {
            leave_to_sweeper(
                &refused.into_inner(),
                &self.address,
                "too much waits to be published",
            );
        }
    }
}

struct DispatchLoop {
    broker: Arc<dyn Broker>,
    address: Arc<Address>,
    backlog: VecDeque<Handover>,
    pause: Duration,
}

impl DispatchLoop {
    async fn run(mut self, mut waiting: mpsc::Receiver<Handover>, shutdown: CancellationToken) {
        let mut arrived = Vec::with_capacity(BATCH_MAX);
        loop {
            let stopping = tokio::select! {
                biased;
                () = shutdown.cancelled() => true,
                count = waiting.recv_many(&mut arrived, BATCH_MAX), if self.backlog.is_empty() => count == 0,
                () = tokio::time::sleep(self.jittered_pause()), if !self.backlog.is_empty() => false,
            };
            // Before the end, all that is there.
            while (stopping || arrived.len() < BATCH_MAX)
                && let Ok(handover) = waiting.try_recv()
            {
                arrived.push(handover);
            }
            for handover in arrived.drain(..) {
                self.keep(handover);
            }
            self.publish_backlog().await;
            if stopping {
                for handover in &self.backlog {
                    leave_to_sweeper(
                        handover,
                        &self.address,
                        "shut down before it could be published",
                    );
                }
                return;
            }
        }
    }

    fn keep(&mut self, handover: Handover) {
        if self.backlog.len() < BACKLOG_MAX {
            self.backlog.push_back(handover);
        } else {
            leave_to_sweeper(&handover, &self.address, "too much waits for the broker");
        }
    }

    fn jittered_pause(&self) -> Duration {
        self.pause.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// Publishes the backlog batch by batch, until it is empty or the broker is out of reach.
    async fn publish_backlog(&mut self) {
        while !self.backlog.is_empty() {
            let mut messages = 0;
            let count = self
                .backlog
                .iter()
                .take_while(|handover| {
                    let fits = messages == 0 || messages + handover.wakeups.len() <= BATCH_MAX;
                    messages += handover.wakeups.len();
                    fits
                })
                .count();
            let batch: Vec<_> = self.backlog.drain(..count).collect();
            let failed = publish(&*self.broker, &self.address, batch).await;
            if failed.is_empty() {
                self.pause = PAUSE_MIN;
            } else {
                for handover in failed.into_iter().rev() {
                    self.backlog.push_front(handover);
                }
                self.pause = (self.pause * 2).min(PAUSE_MAX);
                return;
            }
        }
    }
}

/// Publishes a batch; returns what the broker was out of reach for.
async fn publish(broker: &dyn Broker, address: &Address, batch: Vec<Handover>) -> Vec<Handover> {
    let start = SystemTime::now();
    let outgoing: Vec<_> =
        batch.iter().flat_map(|handover| &handover.wakeups).map(outgoing).collect();
    let begun = Instant::now();
    let outcomes = broker.publish(&outgoing).await;
    metrics::published(address, &outcomes, begun.elapsed());
    let mut outcomes = outcomes.into_iter();
    let end = SystemTime::now();
    let mut failed = Vec::new();
    for handover in batch {
        let outcomes: Vec<_> = outcomes.by_ref().take(handover.wakeups.len()).collect();
        let error = outcomes.iter().find_map(|outcome| outcome.as_ref().err());
        if matches!(error, Some(PublishError::Unavailable(_))) {
            failed.push(handover);
            continue;
        }
        if let Some(error) = error {
            let run = handover.wakeups[0].key.run;
            let warn = || tracing::warn!(workflow.execution_id = %run, %error, "a wake-up was refused; the sweeper will repeat it");
            match handover.wakeups[0].publisher {
                Some(context) => within(context, handover.wakeups[0].identity.clone(), warn),
                None => warn(),
            }
        }
        let published = outcomes.first().and_then(|outcome| outcome.as_ref().ok());
        export_span(&handover, address, (start, end), Outcome { published, error });
    }
    failed
}

/// Gives up publishing. The span has children all the same: it is stored with the rows, and they hang below it
/// whoever wakes them.
fn leave_to_sweeper(handover: &Handover, address: &Address, why: &str) {
    tracing::debug!(workflow.execution_id = %handover.wakeups[0].key.run, why, "the sweeper will publish it");
    let now = SystemTime::now();
    let error = PublishError::Unavailable(why.to_owned());
    let outcome = Outcome { published: None, error: Some(&error) };
    export_span(handover, address, (now, now), outcome);
}

fn export_span(
    handover: &Handover,
    address: &Address,
    (start, end): (SystemTime, SystemTime),
    outcome: Outcome<'_>,
) {
    let Handover { wakeups, producer } = handover;
    let first = &wakeups[0];
    let (Some(producer), Some(context)) = (producer, first.publisher) else { return };
    if !is_exported(context) {
        return;
    }
    let number = outcome.published.filter(|_| wakeups.len() == 1).and_then(|it| it.number);
    emit(Publish {
        context,
        state: first.state.as_ref(),
        parent: producer.parent,
        link: producer.link,
        identity: &first.identity,
        run: first.key.run,
        workflow: Some(&producer.workflow),
        address,
        messages: wakeups.len(),
        message_id: number.map(|number| message::id(&first.key, number)),
        body_bytes: Some(wakeups.iter().map(|wakeup| message::body_bytes(&wakeup.key)).sum()),
        start,
        end,
        error: outcome.error,
    });
}

/// What became of a hand-over.
#[derive(Debug, Clone, Copy)]
struct Outcome<'a> {
    /// The first of its messages, as far as that was taken.
    published: Option<&'a Published>,
    /// Why not all were.
    error: Option<&'a PublishError>,
}

fn outgoing(wakeup: &Wakeup) -> Outgoing {
    // Its trace context is part of the wake-up, and becomes headers where the message is written.
    Outgoing { pool: DEFAULT_POOL.to_owned(), wakeup: wakeup.clone(), headers: Headers::new() }
}

//! What the handlers share.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRef;
use skein_shared::batcher::{Batcher, BatcherLimits};
use skein_shared::broker::Broker;
use skein_shared::dispatch::Dispatcher;
use skein_shared::finish::Finisher;
use skein_shared::store::keys::KeyDigest;
use skein_shared::store::{KeyStore, Store};
use skein_shared::sweeper::Timers;
use skein_shared::telemetry::in_context;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accept_batch::AcceptRuns;
use crate::answers::AnswerRoom;
use crate::auth::{Caller, Entrance};
use crate::broad_reads::BroadReads;
use crate::hosts::Hosts;
use crate::key_uses::KeyUses;
use crate::known_keys::KnownKeys;
use crate::limits::{BODIES_BYTES_MAX, CHECKS_MAX, Limits};
use crate::lineage::Lineages;
use crate::plans::Plans;
use crate::problem::Problem;
use crate::server_span::RequestTrace;
use crate::shares::Shares;
use crate::tails::Tails;
use crate::trace_view::TraceView;
use crate::wait::Waiters;

/// What the API works with.
#[derive(Clone)]
pub struct Deps {
    /// The truth.
    pub store: Arc<dyn Store>,
    /// Who may come in: the store itself, unless a key is to be known to this process only.
    pub keys: Arc<dyn KeyStore>,
    /// Announces when runs end. The API never needs it to answer.
    pub broker: Arc<dyn Broker>,
    /// Publishes the wake-ups of accepted runs.
    pub dispatcher: Dispatcher,
    /// Ends cancelled runs: the one of the process's sweeper, which goes on with what a request leaves.
    pub finisher: Finisher,
    /// Those of the process's sweeper, so that what a request wakes goes on at once.
    pub timers: Timers,
    /// Which names the API answers to.
    pub hosts: Hosts,
    /// Where traces are looked at.
    pub traces: TraceView,
}

/// What the handlers share. One a process, behind an `Arc`.
pub(crate) struct App {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) entrance: Arc<Entrance>,
    pub(crate) plans: Plans,
    pub(crate) lineages: Lineages,
    pub(crate) runs: Batcher<AcceptRuns>,
    pub(crate) waiters: Waiters,
    /// What happens in runs that somebody follows.
    pub(crate) tails: Tails,
    /// Event streams that are open.
    pub(crate) streams: Arc<Shares<KeyDigest>>,
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) finisher: Finisher,
    timers: Timers,
    /// Turns at checking inputs that may take long.
    pub(crate) checks: Arc<Semaphore>,
    /// Bytes of bodies that are being received or worked on.
    pub(crate) bodies: Arc<Shares<KeyDigest>>,
    /// Turns at questions that read as much as an organization has.
    pub(crate) broad_reads: BroadReads,
    /// What is being answered.
    answers: AnswerRoom,
    pub(crate) hosts: Hosts,
    pub(crate) traces: TraceView,
    pub(crate) limits: Limits,
    pub(crate) shutdown: CancellationToken,
    tasks: TaskTracker,
}

impl App {
    /// Starts what runs beside the requests, tracked by `tasks`.
    pub(crate) fn start(
        deps: Deps,
        limits: Limits,
        tasks: &TaskTracker,
        shutdown: CancellationToken,
    ) -> Arc<Self> {
        let Deps { store, keys, broker, dispatcher, finisher, timers, hosts, traces } = deps;
        let accept = AcceptRuns { store: Arc::clone(&store), dispatcher };
        let uses = KeyUses::start(Arc::clone(&keys), tasks, &shutdown);
        let keys = KnownKeys::new(keys, uses, &limits);
        let waiters = Waiters::start(&store, &broker, &limits, tasks, &shutdown);
        let tails = Tails::new(&store, &waiters, tasks, &shutdown);
        Arc::new(Self {
            finisher,
            timers,
            store,
            entrance: Arc::new(Entrance::new(keys, limits.requests)),
            plans: Plans::new(),
            lineages: Lineages::new(),
            runs: Batcher::start(tasks, accept, BatcherLimits::default()),
            waiters,
            tails,
            streams: Shares::new(limits.streams),
            broker,
            checks: Arc::new(Semaphore::new(CHECKS_MAX)),
            bodies: Shares::new(BODIES_BYTES_MAX),
            broad_reads: BroadReads::new(limits.broad_reads, limits.broad_read_time),
            answers: AnswerRoom::new(limits.answer_bytes),
            hosts,
            traces,
            limits,
            shutdown,
            tasks: tasks.clone(),
        })
    }

    /// Lets the process's sweeper look at once for what is due: something has just been woken. Another process's sweeper
    /// would find it a moment later.
    pub(crate) fn sweep_soon(&self) {
        self.timers.due_in(Duration::ZERO);
    }

    /// Makes a write that a client who hangs up cannot cut short, or a read that the store would go on with all the same.
    pub(crate) async fn uncancelled<T: Send + 'static>(
        &self,
        trace: &RequestTrace,
        caller: &Caller,
        write: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Problem> {
        let task = self.tasks.spawn(in_context(trace.context, caller.0.clone(), write));
        task.await.map_err(Problem::internal)
    }
}

impl FromRef<Arc<App>> for AnswerRoom {
    fn from_ref(app: &Arc<App>) -> Self {
        app.answers.clone()
    }
}

//! The end of a run, whoever brings it about.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::broker::Broker;
use crate::domain::ids::{CallId, RunId};
use crate::domain::run::EndedRun;
use crate::portions::Portions;
use crate::store::recovery::Finished;
use crate::store::{RecoveryStore, StoreError};
use crate::telemetry::spans::workflow_execute;
use crate::telemetry::{RUN_LOG, emit, metrics, within};

/// Calls that are kept to be asked again. More than that fail at once only in a long outage, and then the runs
/// are still ended; only their root spans are lost.
const UNANSWERED_MAX: usize = 4_096;
/// Runs of which more is to be cancelled that are kept to be gone on with, and as many of which somebody holds something.
/// The others come due again.
const UNFINISHED_MAX: usize = 4_096;
/// How long one turn at finishing goes on starting statements: what is left of a run that is large waits for the next
/// turn, and others have theirs in between.
const TURN: Duration = Duration::from_millis(500);
/// How soon a run is tried again of which somebody holds something: a statement is mostly over by then.
const HELD_PAUSE: Duration = Duration::from_millis(20);
/// How often it is, before it is left to the next round of the sweeper.
const HELD_TRIES: u32 = 2;

/// A call, and the runs that it was to end.
type Call = (CallId, Vec<RunId>);

/// Ends runs and reports it: root spans, announcements.
///
/// No run keeps others from ending: a large one is cancelled page by page, one over which a statement fails is left
/// alone for a while, and what somebody holds is not waited for.
#[derive(Clone)]
pub struct Finisher {
    store: Arc<dyn RecoveryStore>,
    broker: Arc<dyn Broker>,
    portions: Arc<Portions>,
    left: Arc<Mutex<Left>>,
}

/// What is left to do.
#[derive(Default)]
struct Left {
    /// Calls whose reply is missing: perhaps they ended runs that nobody has reported.
    unanswered: VecDeque<Call>,
    /// Runs of which more is to be cancelled.
    unfinished: HashSet<RunId>,
    /// Runs of which somebody holds something.
    held: HashSet<RunId>,
}

impl Finisher {
    /// A finisher over a store and the broker that announces.
    pub fn new(store: Arc<dyn RecoveryStore>, broker: Arc<dyn Broker>) -> Self {
        Self { store, broker, portions: Arc::default(), left: Arc::default() }
    }

    /// Ends runs that are to end, as far as nothing of them is running any more. Idempotent; a run
    /// that this call cannot end yet is ended by whoever ends its last running node, or by a sweep.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the store is out of reach; the runs stay due. What is wrong with single runs is
    /// reported in the log.
    pub async fn finish(&self, runs: &[RunId]) -> Result<(), StoreError> {
        let until = Instant::now() + TURN;
        let (mut asked, mut tries) = (runs.to_vec(), 0);
        while !asked.is_empty() {
            let Finished { more, held, .. } = self.ask_for(&asked, until).await?;
            if Instant::now() >= until {
                self.keep_unfinished(more);
                self.keep_held(held);
                return Ok(());
            }
            asked = more;
            if asked.is_empty() && !held.is_empty() && tries < HELD_TRIES {
                tries += 1;
                tokio::time::sleep(HELD_PAUSE).await;
                asked = held;
            } else {
                self.keep_held(held);
            }
        }
        Ok(())
    }

    /// Goes on with what earlier calls have left: repeats those whose reply was lost, cancels more of runs that are large,
    /// and tries those again of which somebody held something. Says whether there is more to do at once. The sweeper
    /// calls this in each of its rounds.
    ///
    /// # Errors
    /// See [`Self::finish`]; what is left is kept.
    pub async fn go_on(&self) -> Result<bool, StoreError> {
        let calls = std::mem::take(&mut self.left().unanswered);
        let mut calls = calls.into_iter();
        while let Some(call) = calls.next() {
            if let Err(error) = self.repeat(call).await {
                self.left().unanswered.extend(calls);
                return Err(error);
            }
        }
        let (unfinished, held) = {
            let mut left = self.left();
            (std::mem::take(&mut left.unfinished), std::mem::take(&mut left.held))
        };
        let both: Vec<_> = unfinished.iter().chain(&held).copied().collect();
        if let Err(error) = self.finish(&both).await {
            self.keep_unfinished(unfinished);
            self.keep_held(held);
            return Err(error);
        }
        Ok(!self.left().unfinished.is_empty())
    }

    /// One call for each group of runs that are not left alone. What there is no time for any more is among those of
    /// which there is more.
    async fn ask_for(&self, runs: &[RunId], until: Instant) -> Result<Finished, StoreError> {
        let ready = self.portions.ready(runs);
        let mut rest = &ready[..];
        let mut left = Finished::default();
        while !rest.is_empty() {
            if Instant::now() >= until {
                left.more.extend(rest);
                break;
            }
            let (group, others) = rest.split_at(self.portions.group().min(rest.len()));
            match self.call((CallId::generate(), group.to_vec())).await {
                Ok(finished) => {
                    left.more.extend(finished.more);
                    left.held.extend(finished.held);
                    rest = others;
                }
                Err(error @ StoreError::Unavailable(_)) => return Err(error),
                Err(error) => {
                    if let Some(pause) = self.portions.failed(group) {
                        set_aside(group[0], pause, &error);
                        rest = others;
                    }
                }
            }
        }
        Ok(left)
    }

    /// Repeats a call for what it has ended.
    async fn repeat(&self, (id, runs): Call) -> Result<(), StoreError> {
        match self.call((id, runs.clone())).await {
            Ok(finished) => self.keep_unfinished(finished.more),
            Err(error @ StoreError::Unavailable(_)) => return Err(error),
            // Some of them may be answered for.
            Err(_) if runs.len() > 1 => {
                let halves = runs.chunks(runs.len().div_ceil(2)).map(|half| (id, half.to_vec()));
                self.left().unanswered.extend(halves);
            }
            Err(error) => {
                if let Some(pause) = self.portions.failed(&runs) {
                    set_aside(runs[0], pause, &error);
                }
            }
        }
        Ok(())
    }

    async fn call(&self, (id, runs): Call) -> Result<Finished, StoreError> {
        match self.store.finish_runs(id, &runs).await {
            Ok(finished) => {
                self.portions.succeeded(&runs);
                self.conclude(&finished.ended).await;
                Ok(finished)
            }
            Err(error) => {
                let mut left = self.left();
                // Of any other error it is known that nothing has ended.
                let is_lost = matches!(error, StoreError::Unavailable(_));
                if is_lost && left.unanswered.len() < UNANSWERED_MAX {
                    left.unanswered.push_back((id, runs));
                }
                Err(error)
            }
        }
    }

    fn keep_unfinished(&self, runs: impl IntoIterator<Item = RunId>) {
        keep(&mut self.left().unfinished, runs);
    }

    fn keep_held(&self, runs: impl IntoIterator<Item = RunId>) {
        keep(&mut self.left().held, runs);
    }

    fn left(&self) -> MutexGuard<'_, Left> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports runs that a statement of the caller's has just ended: exports their root spans, and
    /// announces them to whoever waits. The statement said who ended them, so each is reported once.
    pub async fn conclude(&self, ended: &[EndedRun]) {
        if ended.is_empty() {
            return;
        }
        for run in ended {
            emit(workflow_execute(run));
            metrics::run_ended(run);
            log(run);
        }
        let ids: Vec<_> = ended.iter().map(|run| run.header.id).collect();
        self.broker.announce(&ids).await;
    }
}

/// Keeps runs, as far as there is room.
fn keep(kept: &mut HashSet<RunId>, runs: impl IntoIterator<Item = RunId>) {
    let room = UNFINISHED_MAX.saturating_sub(kept.len());
    kept.extend(runs.into_iter().take(room));
}

fn set_aside(run: RunId, pause: Duration, error: &StoreError) {
    tracing::warn!(workflow.execution_id = %run, ?pause, %error, "a run cannot be finished and is left alone for a while");
}

/// One line a run in the log of the process, so that whoever reads traces finds records of each as well. What
/// happened on the way is in the run's own log.
fn log(run: &EndedRun) {
    let header = &run.header;
    let (id, workflow, state) = (header.id, &header.workflow, run.state);
    let took = run.ended_at - run.started_at.unwrap_or(header.created_at);
    let latency_ms = took.num_milliseconds();
    within(header.trace.root_context(), header.identity.clone(), || match &run.error {
        Some(error) => {
            let code = &*error.code;
            tracing::warn!(target: RUN_LOG, { workflow.execution_id = %id, workflow.id = %workflow, workflow.latency_ms = latency_ms, "error.type" = code }, "run {state}: {}", error.message);
        }
        None => {
            tracing::info!(target: RUN_LOG, { workflow.execution_id = %id, workflow.id = %workflow, workflow.latency_ms = latency_ms }, "run {state}");
        }
    });
}

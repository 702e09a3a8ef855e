//! The engine: takes a claimed activation, runs it, commits what follows, and goes on with a successor.
//!
//! It knows plans, leases and commits; it knows no node kind's business.

mod attempt;
mod commit;
#[cfg(test)]
mod commit_tests;
mod decide;
#[cfg(test)]
mod decide_tests;
mod journal;
mod judge;
mod plans;
mod prepared;
mod report;
mod run_context;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::FutureExt;
use skein_shared::batcher::BatcherError;
use skein_shared::dispatch::Dispatcher;
use skein_shared::domain::failure::Failure;
use skein_shared::domain::graph::NodeIx;
use skein_shared::domain::ids::{ActivationKey, RunId, Scope, VersionId};
use skein_shared::domain::kind::Effect;
use skein_shared::domain::limits;
use skein_shared::domain::outcome::AttemptOutcome;
use skein_shared::domain::run::RunHeader;
use skein_shared::domain::trace::TraceContext;
use skein_shared::finish::Finisher;
use skein_shared::store::engine::{Claimed, CommitFrom, ReadRequest, Skipping};
use skein_shared::store::{DatabaseClock, WorkflowStore};
use skein_shared::sweeper::Timers;
use skein_shared::telemetry::in_context;
use skein_shared::workflow::plan::Plan;
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::batchers::Batchers;
use crate::evaluate::Evaluator;
use crate::lease::{Held, Lease};
use crate::live::LivePublisher;
use crate::nodes::Executors;
use crate::slots::Slots;
use attempt::Attempt;
use decide::{Attempted, Decision, FinishedAttempt, Leave, Timing};
use journal::StoreJournal;
use plans::{NoPlan, Plans};
use prepared::Prepared;
use run_context::RunContext;

/// Everything that outlives a lease.
#[derive(Clone)]
pub(crate) struct Tools {
    pub(crate) executors: Executors,
    pub(crate) evaluator: Evaluator,
    pub(crate) plans: Plans,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) finisher: Finisher,
    pub(crate) timers: Timers,
    pub(crate) live: LivePublisher,
    /// What `run.server_url` yields.
    pub(crate) server_url: Option<Arc<str>>,
}

impl Tools {
    pub(crate) fn plans(store: Arc<dyn WorkflowStore>) -> Plans {
        Plans::new(store)
    }
}

/// The engine of one lease.
#[derive(Clone)]
pub(crate) struct Engine {
    pub(crate) tools: Tools,
    pub(crate) batchers: Batchers,
    pub(crate) lease: Arc<Lease>,
    /// Cancelled when the worker is to stop: chains end at their next node boundary.
    pub(crate) draining: CancellationToken,
    /// A worker that is reserved for one activation has its chains end likewise.
    pub(crate) slots: Slots,
    /// Notified when a suspect has committed, so that the next one may start.
    pub(crate) next_suspect: Arc<Notify>,
}

/// Why a chain stopped before its time. The rows stay claimed; the lease's end gives them back.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error("the store did not take a statement: {0}")]
    Batcher(#[from] BatcherError),
    #[error("the lease was lost or is being closed")]
    GivenUp,
    #[error("this worker's own code panicked")]
    Panicked,
}

/// An activation in hand.
struct Current {
    held: Held,
    key: ActivationKey,
    claim: u32,
    position: Position,
    /// Dropped with it, once its end is committed: a suspect keeps others away until then.
    _suspect: Option<DropGuard>,
}

enum Position {
    Node(Attempt),
    End,
}

impl Engine {
    /// Runs a claimed activation and what follows from it inline. `process` is the span of the message
    /// that led here; `suspect` is dropped at the first commit.
    pub(crate) async fn run(
        &self,
        claimed: Claimed,
        held: Held,
        process: Option<TraceContext>,
        suspect: Option<DropGuard>,
    ) {
        let context = claimed.run.trace.root_context();
        let identity = claimed.run.identity.clone();
        let key = claimed.key.clone();
        let chain = async {
            if let Err(stopped) = self.run_chain(claimed, held, process, suspect).await {
                self.lease.expect_strays();
                tracing::warn!(workflow.execution_id = %key.run, node.id = %key.node, %stopped, "left an activation behind");
            }
        };
        in_context(context, identity, chain).await;
    }

    /// Passes on the dead tokens of an activation that no live token reached.
    pub(crate) async fn skip(&self, skipping: Skipping, key: &ActivationKey) {
        let run = &skipping.run;
        let (context, identity) = (run.trace.root_context(), run.identity.clone());
        let chain = async {
            if let Err(stopped) = self.skip_chain(skipping, key).await {
                self.lease.expect_strays();
                tracing::warn!(workflow.execution_id = %key.run, node.id = %key.node, %stopped, "left a dead path behind");
            }
        };
        in_context(context, identity, chain).await;
    }

    /// Ends a run that is to end, as far as nothing of it is running.
    pub(crate) async fn finish(&self, run: RunId) {
        if let Err(error) = self.tools.finisher.finish(&[run]).await {
            tracing::warn!(workflow.execution_id = %run, %error, "a run could not be finished; the sweeper will");
        }
    }

    async fn run_chain(
        &self,
        claimed: Claimed,
        held: Held,
        process: Option<TraceContext>,
        suspect: Option<DropGuard>,
    ) -> Result<(), Stopped> {
        let prepared = match self.prepared(claimed.run.version_id).await {
            Ok(prepared) => prepared,
            Err(error) => return self.do_without_plan(&claimed, &error).await,
        };
        let current = current(&prepared.plan, &claimed, held, process);
        let current = Current { _suspect: suspect, ..current };
        let mut run = self.context(claimed.run, prepared, claimed.clock);
        self.go_on(&mut run, current).await
    }

    async fn skip_chain(&self, skipping: Skipping, key: &ActivationKey) -> Result<(), Stopped> {
        let Skipping { run: header, clock } = skipping;
        let prepared = match self.prepared(header.version_id).await {
            Ok(prepared) => prepared,
            Err(error) => {
                tracing::warn!(workflow.execution_id = %key.run, node.id = %key.node, %error, "a dead path must wait");
                return Ok(());
            }
        };
        let Some(node) = prepared.plan.find(&key.node) else { return Ok(()) };
        let mut run = self.context(header, prepared, clock);
        let activated = self.skip_all(&mut run, vec![node]).await?;
        match Self::kept(&run, activated) {
            Some(current) => self.go_on(&mut run, current).await,
            None => Ok(()),
        }
    }

    fn context(&self, header: RunHeader, prepared: Prepared, clock: DatabaseClock) -> RunContext {
        let (server_url, live) = (self.tools.server_url.as_deref(), self.tools.live.clone());
        RunContext::new(Arc::new(header), prepared, clock, server_url, live)
    }

    /// Runs an activation, and then inline what each commit has kept.
    async fn go_on(&self, run: &mut RunContext, mut current: Current) -> Result<(), Stopped> {
        for hop in 0.. {
            let is_to_end = self.draining.is_cancelled() || self.slots.is_reserved();
            let retain = hop + 1 < limits::RETAINED_NODES_MAX && !is_to_end;
            let begun = SystemTime::now();
            let hop = async {
                let decision = self.step(run, &mut current, retain).await?;
                self.commit(run, decision).await
            };
            let Ok(committed) = AssertUnwindSafe(hop).catch_unwind().await else {
                return self.after_panic(run, current, begun).await;
            };
            let committed = committed?;
            current.held.settled();
            match Self::kept(run, committed) {
                Some(next) => current = next,
                None => return Ok(()),
            }
        }
        Ok(())
    }

    /// Fails what was in hand when this worker's own code panicked. Given back, it would meet the same panic again,
    /// and a node before the one at fault would repeat its effect.
    async fn after_panic(
        &self,
        run: &mut RunContext,
        mut current: Current,
        start: SystemTime,
    ) -> Result<(), Stopped> {
        tracing::error!(workflow.execution_id = %current.key.run, node.id = %current.key.node, "panicked over an activation");
        // It may have been after a commit that kept something.
        self.lease.expect_strays();
        let failing = async {
            let decision = outright(run, &current, start, decide::panicked());
            self.commit(run, decision).await
        };
        match AssertUnwindSafe(failing).catch_unwind().await {
            Ok(Ok(_)) => {
                current.held.settled();
                Ok(())
            }
            Ok(Err(stopped)) => Err(stopped),
            Err(_) => {
                // Not given back, to panic again, but left to the reaper, who counts.
                current.held.begin();
                Err(Stopped::Panicked)
            }
        }
    }

    /// Makes the attempt in hand and decides what its commit changes.
    async fn step(
        &self,
        run: &mut RunContext,
        current: &mut Current,
        retain: bool,
    ) -> Result<Decision, Stopped> {
        let Tools { executors, evaluator, .. } = &self.tools;
        match &current.position {
            Position::End => {
                let end = run.plan.graph.end();
                self.read(run, end, &current.key.scope).await?;
                if let Some(error) = run.unreadable(end) {
                    return Ok(outright(run, current, SystemTime::now(), error));
                }
                let output = judge::output(run, evaluator, current.held.cancelled()).await;
                if self.lease.is_void() {
                    return Err(Stopped::GivenUp);
                }
                let key = current.key.clone();
                Ok(decide::after_end(run, executors, key, current.claim, output))
            }
            Position::Node(attempt) => {
                let start = SystemTime::now();
                self.read(run, attempt.node, &current.key.scope).await?;
                if self.lease.is_fenced() {
                    return Err(Stopped::GivenUp);
                }
                if let Some(error) = run.unreadable(attempt.node) {
                    return Ok(outright(run, current, start, error));
                }
                if run.plan.nodes[attempt.node].effect != Effect::Pure {
                    current.held.begin();
                }
                let span = run.header.trace.context_of(attempt.span);
                let cancelled = current.held.cancelled();
                let (batchers, lease) = (&self.batchers, &self.lease);
                let journal = StoreJournal::new(batchers, &current.key, current.claim, lease);
                let execution =
                    attempt::execute(run, attempt, executors, evaluator, &journal, cancelled);
                let execution = in_context(span, run.header.identity.clone(), execution).await;
                let timing = Timing { start, end: SystemTime::now() };
                let leave = Leave { retain, unit: fastrand::f64() };
                let concluded =
                    judge::conclude(run, attempt, execution, leave, evaluator, cancelled).await;
                if self.lease.is_void() {
                    // The spans below it are on their way. Whoever takes it back exports its own: this worker when it
                    // closes its lease, or the reaper.
                    return Err(Stopped::GivenUp);
                }
                let attempted = Attempted { attempt, timing, concluded };
                Ok(decide::after_attempt(run, executors, leave, current.claim, attempted))
            }
        }
    }

    /// Reads what the node at this index and those that may be inlined after it read, as far as it is not
    /// known. The statement starts after the claim has returned, so it sees all that came before.
    async fn read(&self, run: &mut RunContext, node: NodeIx, scope: &Scope) -> Result<(), Stopped> {
        let reads = run.reads.of_node(node);
        let outputs: Vec<_> =
            reads.outputs.iter().copied().filter(|node| !run.knows_output(*node)).collect();
        let spans = reads.spans.iter().filter(|node| !run.knows_span(**node));
        let request = ReadRequest {
            run: run.header.id,
            scope: Arc::clone(scope),
            outputs: outputs.iter().map(|node| Arc::clone(run.key(*node))).collect(),
            spans: spans.map(|node| Arc::clone(run.key(*node))).collect(),
        };
        if request.outputs.is_empty() && request.spans.is_empty() {
            return Ok(());
        }
        for found in self.batchers.reads.submit(request).await? {
            let Some(node) = run.plan.find(&found.node) else { continue };
            if let Some(span) = found.span {
                let trace = found.trace.unwrap_or(run.header.trace.trace);
                run.learn_span(node, TraceContext { trace, ..run.header.trace.context_of(span) });
            }
            if let (Some(output), true) = (found.output, found.state.is_terminal()) {
                run.learn_stored_output(node, &output);
            }
        }
        for node in outputs {
            if run.is_missing(node) {
                run.learn_absent(node);
            }
        }
        Ok(())
    }

    async fn prepared(&self, version: VersionId) -> Result<Prepared, NoPlan> {
        let is_pointless = || self.lease.is_fenced() || self.draining.is_cancelled();
        self.tools.plans.get(version, is_pointless).await
    }

    /// Puts an activation off whose workflow this worker cannot read.
    async fn do_without_plan(&self, claimed: &Claimed, error: &NoPlan) -> Result<(), Stopped> {
        tracing::error!(workflow.execution_id = %claimed.key.run, node.id = %claimed.key.node, %error, "an activation must wait");
        let pause = error.pause(claimed.claim);
        self.submit(decide::defer(claimed, pause, error)).await?;
        Ok(())
    }
}

/// Fails what is in hand, and its run, whatever had become of it; it was begun at `start`.
fn outright(run: &RunContext, current: &Current, start: SystemTime, error: Failure) -> Decision {
    let from = CommitFrom::Running { claim: current.claim };
    let finished = match &current.position {
        Position::Node(attempt) => {
            let timing = Timing { start, end: SystemTime::now() };
            Some(FinishedAttempt::of(run, attempt, timing, AttemptOutcome::Cancelled))
        }
        Position::End => None,
    };
    decide::fail_outright(current.key.clone(), from, error, finished)
}

fn current(plan: &Plan, claimed: &Claimed, held: Held, process: Option<TraceContext>) -> Current {
    let key = claimed.key.clone();
    let position = match plan.find(&key.node) {
        None => Position::End,
        Some(node) => Position::Node(Attempt {
            node,
            key: key.clone(),
            number: claimed.attempt,
            failures: claimed.failures,
            strikes: claimed.strikes,
            crashed: claimed.crashed,
            waited_until: claimed.waited_until,
            waited_for: claimed.waited_for.clone(),
            span: claimed.span,
            queued: (claimed.started_at - claimed.queued_at).to_std().ok(),
            process,
        }),
    };
    Current { held, key, claim: claimed.claim, position, _suspect: None }
}

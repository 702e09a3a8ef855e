//! From what an attempt came to, to everything that its commit changes. No I/O: `advance` decides what
//! follows, pure followers are computed at once and are part of the same commit, the rest becomes rows.

mod conclude;
mod follow;
mod log;
mod settle;

use std::collections::VecDeque;
use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;
use skein_shared::domain::advance::{Command, Event, Wave, advance};
use skein_shared::domain::failure::Failure;
use skein_shared::domain::graph::NodeIx;
use skein_shared::domain::ids::{ActivationKey, NodeKey, SkipToken};
use skein_shared::domain::kind::NodeKind;
use skein_shared::domain::outcome::AttemptOutcome;
use skein_shared::domain::trace::{SpanId, TraceContext};
use skein_shared::store::engine::{Claimed, Commit, CommitFrom, NewEvent, NewRow, RunChange};

use super::attempt::Attempt;
use super::run_context::RunContext;
use crate::nodes::{Executors, NodeError};
pub(crate) use conclude::{Concluded, Live, Way, conclude, condition_failed};
pub(crate) use follow::sink_outputs;
use log::millis;

/// What a commit may do besides ending its node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Leave {
    /// Whether the worker may go on with a successor itself.
    pub(crate) retain: bool,
    /// A random number in `[0, 1)` for the back-off.
    pub(crate) unit: f64,
}

/// When an attempt was made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    pub(crate) start: SystemTime,
    pub(crate) end: SystemTime,
}

/// An attempt that was made, and what becomes of it.
#[derive(Debug)]
pub(crate) struct Attempted<'a> {
    pub(crate) attempt: &'a Attempt,
    pub(crate) timing: Timing,
    pub(crate) concluded: Concluded,
}

/// An attempt as it is exported once its commit has happened.
#[derive(Debug)]
pub(crate) struct FinishedAttempt {
    pub(crate) key: ActivationKey,
    pub(crate) kind: NodeKind,
    pub(crate) number: u32,
    pub(crate) span: SpanId,
    pub(crate) queued: Option<Duration>,
    pub(crate) is_resumed: bool,
    pub(crate) process: Option<TraceContext>,
    pub(crate) upstream: Vec<(NodeKey, TraceContext)>,
    pub(crate) timing: Timing,
    pub(crate) outcome: Arc<AttemptOutcome>,
}

impl FinishedAttempt {
    /// An attempt at a node of this run.
    pub(crate) fn of(
        run: &RunContext,
        attempt: &Attempt,
        timing: Timing,
        outcome: impl Into<Arc<AttemptOutcome>>,
    ) -> Self {
        Self {
            key: attempt.key.clone(),
            kind: run.plan.nodes[attempt.node].kind,
            number: attempt.number,
            span: attempt.span,
            queued: attempt.queued,
            is_resumed: attempt.waited_until.is_some() || attempt.waited_for.is_some(),
            process: attempt.process,
            upstream: run.upstream(attempt.node),
            timing,
            outcome: outcome.into(),
        }
    }
}

/// A commit and what is exported once it has happened.
#[derive(Debug)]
pub(crate) struct Decision {
    pub(crate) commit: Commit,
    /// The attempts whose outcomes it holds.
    pub(crate) finished: Vec<FinishedAttempt>,
}

/// Decides what a claimed attempt's commit changes.
pub(crate) fn after_attempt(
    run: &mut RunContext,
    executors: &Executors,
    leave: Leave,
    claim: u32,
    attempted: Attempted<'_>,
) -> Decision {
    let key = attempted.attempt.key.clone();
    let mut decider = Decider::new(run, executors, leave);
    let outcome = decider.settle(attempted);
    decider.follow();
    decider.into_decision(key, CommitFrom::Running { claim }, outcome)
}

/// Decides what passing on a dead path changes.
pub(crate) fn after_skip(
    run: &mut RunContext,
    executors: &Executors,
    leave: Leave,
    node: NodeIx,
) -> Decision {
    let key = ActivationKey::root(run.header.id, Arc::clone(run.key(node)));
    let mut decider = Decider::new(run, executors, leave);
    decider.log_skipped(node);
    decider.event(Event::Skipped { node });
    decider.follow();
    let from = CommitFrom::Skipping { token: SkipToken::generate() };
    decider.into_decision(key, from, AttemptOutcome::Skipped)
}

/// Decides what ends the run, on a claimed `__end__`; its output, as JSON text, is absent when the run was cancelled
/// meanwhile.
pub(crate) fn after_end(
    run: &mut RunContext,
    executors: &Executors,
    key: ActivationKey,
    claim: u32,
    output: Option<Result<String, NodeError>>,
) -> Decision {
    let mut decider = Decider::new(run, executors, Leave { retain: false, unit: 0.0 });
    if let Some(output) = output {
        decider.end_run(output);
    }
    let outcome = match &decider.change {
        RunChange::Succeed { output, .. } => {
            AttemptOutcome::Succeeded { input: None, output: output.clone() }
        }
        RunChange::Fail(error) => {
            AttemptOutcome::Failed { input: None, output: None, error: error.clone() }
        }
        RunChange::None => AttemptOutcome::Cancelled,
    };
    decider.into_decision(key, CommitFrom::Running { claim }, outcome)
}

/// Gives up an activation that was kept by a commit after which its run was coming down: nothing of it has
/// started yet.
pub(crate) fn stand_down(run: &RunContext, key: ActivationKey, claim: u32, span: SpanId) -> Commit {
    let node = run.plan.find(&key.node).map(|node| &run.plan.nodes[node]);
    let events = node.map(|node| NewEvent {
        node: Some(key.node.clone()),
        scope: Some(key.scope.clone()),
        level: "info",
        event: "node.cancelled",
        message: format!("{} node {} cancelled", node.kind.as_str(), node.key),
        data: None,
        span: Some(span),
    });
    bare(key, CommitFrom::Running { claim }, AttemptOutcome::Cancelled, events)
}

/// Gives an activation back that cannot be read here, for `why`: perhaps another worker can. The run's log
/// says so, for until one does, the run does not move.
pub(crate) fn defer(claimed: &Claimed, delay: Duration, why: &impl Display) -> Commit {
    let key = claimed.key.clone();
    let events = NewEvent {
        node: Some(key.node.clone()),
        scope: Some(key.scope.clone()),
        level: "warn",
        event: "node.put_off",
        message: format!("node {} put off: {why}", key.node),
        data: Some(json!({ "delay_ms": millis(delay) }).to_string()),
        span: None,
    };
    let from = CommitFrom::Running { claim: claimed.claim };
    // The first time, the second, the fourth: a log that grows for ever says no more.
    let events = claimed.claim.is_power_of_two().then_some(events);
    bare(key, from, AttemptOutcome::Deferred { delay }, events)
}

/// What is wrong with an activation whose commit holds a value that the store cannot hold. What the store said
/// may quote the value.
pub(crate) fn unstorable() -> Failure {
    let message = "the store cannot hold what this node, or one that was computed with it, yielded";
    Failure::new("unstorable", message)
}

/// What is wrong with an activation in whose hands the engine itself broke.
pub(crate) fn panicked() -> Failure {
    Failure::new("internal", "the worker panicked over this node; its log tells where")
}

/// Fails a claimed activation, and its run, for a reason that makes everything else which it decided void.
/// Repeating the work would end the same way, and perhaps repeat an effect. `finished` is the
/// attempt, if it was one at a node; whatever had become of it, it has failed.
pub(crate) fn fail_outright(
    key: ActivationKey,
    from: CommitFrom,
    error: Failure,
    mut finished: Option<FinishedAttempt>,
) -> Decision {
    let events = finished.as_ref().map(|finished| NewEvent {
        node: Some(key.node.clone()),
        scope: Some(key.scope.clone()),
        level: "error",
        event: "node.failed",
        message: format!("{} node {} failed: {}", finished.kind.as_str(), key.node, error.message),
        data: Some(json!({ "attempt": finished.number, "code": &*error.code }).to_string()),
        span: Some(finished.span),
    });
    let run = match &finished {
        Some(_) => RunChange::Fail(error.clone().of_node(&key.node)),
        None => RunChange::Fail(error.clone()),
    };
    let outcome = Arc::new(AttemptOutcome::Failed { input: None, output: None, error });
    if let Some(finished) = &mut finished {
        finished.outcome = Arc::clone(&outcome);
    }
    let commit = Commit { run, ..bare(key, from, outcome, events) };
    Decision { commit, finished: finished.into_iter().collect() }
}

/// Fails a run whose end comes of passing on a dead path, when the store cannot hold that end.
pub(crate) fn fail_skipped(key: ActivationKey, from: CommitFrom) -> Commit {
    let run = RunChange::Fail(unstorable());
    Commit { run, ..bare(key, from, AttemptOutcome::Skipped, None) }
}

fn bare(
    key: ActivationKey,
    from: CommitFrom,
    outcome: impl Into<Arc<AttemptOutcome>>,
    events: impl IntoIterator<Item = NewEvent>,
) -> Commit {
    Commit {
        key,
        from,
        outcome: outcome.into(),
        rows: Vec::new(),
        tokens: Vec::new(),
        run: RunChange::None,
        events: events.into_iter().collect(),
    }
}

struct Decider<'a> {
    run: &'a mut RunContext,
    executors: &'a Executors,
    leave: Leave,
    begun: Instant,
    wave: Wave,
    commands: VecDeque<Command>,
    inlined: usize,
    rows: Vec<NewRow>,
    /// Indexes in `rows` of what this worker may go on with.
    runnable: Vec<usize>,
    change: RunChange,
    events: Vec<NewEvent>,
    finished: Vec<FinishedAttempt>,
}

impl<'a> Decider<'a> {
    fn new(run: &'a mut RunContext, executors: &'a Executors, leave: Leave) -> Self {
        Self {
            run,
            executors,
            leave,
            begun: Instant::now(),
            wave: Wave::default(),
            commands: VecDeque::new(),
            inlined: 0,
            rows: Vec::new(),
            runnable: Vec::new(),
            change: RunChange::None,
            events: Vec::new(),
            finished: Vec::new(),
        }
    }

    fn event(&mut self, event: Event<'_>) {
        self.commands.extend(advance(&self.run.plan.graph, &mut self.wave, event));
    }

    fn into_decision(
        mut self,
        key: ActivationKey,
        from: CommitFrom,
        outcome: impl Into<Arc<AttemptOutcome>>,
    ) -> Decision {
        let tokens = self.tokens();
        let commit = Commit {
            key,
            from,
            outcome: outcome.into(),
            rows: self.rows,
            tokens,
            run: self.change,
            events: self.events,
        };
        Decision { commit, finished: self.finished }
    }
}

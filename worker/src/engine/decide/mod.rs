//! From what an attempt came to, to everything that its commit changes. No I/O: `advance` decides what
//! follows, pure followers are computed at once and inlined into the same commit, the rest becomes rows.

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
use skein_shared::domain::ids::{ActivationKey, NodeKey};
use skein_shared::domain::kind::NodeKind;
use skein_shared::domain::trace::{SpanId, TraceContext};
use skein_shared::store::engine::{
    Claimed, Commit, CommitFrom, Ending, NewEvent, NewRow, RunEffect,
};
use skein_shared::telemetry::new_span_id;

use super::attempt::{Attempt, Attempted};
use super::chain::Chain;
use crate::nodes::{Executors, NodeError};
pub(crate) use follow::sink_outputs;
use log::millis;
use settle::Settled;
pub(crate) use settle::{Live, condition_failed, learn};

/// What a commit may do besides ending its node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Leave {
    /// Whether the worker may go on with a successor itself.
    pub(crate) retain: bool,
    /// A random number in `[0, 1)` for the back-off.
    pub(crate) unit: f64,
}

/// An attempt that was made, for its span.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) key: ActivationKey,
    pub(crate) kind: NodeKind,
    pub(crate) attempt: u32,
    pub(crate) span: SpanId,
    pub(crate) process: Option<TraceContext>,
    pub(crate) upstream: Vec<(NodeKey, TraceContext)>,
    pub(crate) start: SystemTime,
    pub(crate) end: SystemTime,
    pub(crate) outcome: MadeOutcome,
}

impl Made {
    /// An attempt at a node of this run.
    pub(crate) fn of(
        chain: &Chain,
        attempt: &Attempt,
        timing: Timing,
        outcome: MadeOutcome,
    ) -> Self {
        Self {
            key: attempt.key.clone(),
            kind: chain.plan.plan.nodes[attempt.node].kind,
            attempt: attempt.number,
            span: attempt.span,
            process: timing.process,
            upstream: chain.upstream(attempt.node),
            start: timing.start,
            end: timing.end,
            outcome,
        }
    }
}

/// How it ended, for its span.
#[derive(Debug)]
pub(crate) enum MadeOutcome {
    Completed,
    Failed(Failure),
    Retried(Failure),
    Waiting,
    Cancelled,
}

/// A commit and what to report once it has happened.
#[derive(Debug)]
pub(crate) struct Decision {
    pub(crate) commit: Commit,
    pub(crate) made: Vec<Made>,
    /// A timer that the commit sets.
    pub(crate) timer: Option<Duration>,
}

/// When an attempt was made, and what led to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    pub(crate) process: Option<TraceContext>,
    pub(crate) start: SystemTime,
    pub(crate) end: SystemTime,
}

/// Decides what a claimed attempt's commit changes, after [`learn`] has read it; `live` are the edges that the run
/// goes on by, if it does.
pub(crate) fn after_attempt(
    chain: &mut Chain,
    executors: &Executors,
    leave: Leave,
    (attempt, claim, attempted, live, timing): (&Attempt, u32, Attempted, Live, Timing),
) -> Decision {
    let from = CommitFrom::Running { claim };
    let mut decider = Decider::new(chain, executors, leave);
    let made_input = attempted.input.clone();
    let settled = decider.settle(attempt, attempted, live, timing);
    let ending = match settled {
        Settled::Ended { error: None, output } => Ending::Succeeded { input: made_input, output },
        Settled::Ended { error: Some(error), output } => {
            Ending::Failed { input: made_input, output: Some(output), error }
        }
        Settled::Fatal(error) => Ending::Failed { input: made_input, output: None, error },
        Settled::Retry { error, delay } => Ending::Retry { input: made_input, error, delay },
        Settled::Wait(delay) => Ending::Waiting { input: made_input, delay },
        Settled::Cancelled => Ending::Cancelled,
    };
    decider.follow();
    decider.into_decision(attempt.key.clone(), from, ending)
}

/// Decides what passing on a dead path changes.
pub(crate) fn after_skip(
    chain: &mut Chain,
    executors: &Executors,
    leave: Leave,
    node: NodeIx,
) -> Decision {
    let key = ActivationKey::root(chain.run.id, Arc::clone(chain.plan.key(node)));
    let mut decider = Decider::new(chain, executors, leave);
    decider.log_skipped(node);
    decider.event(Event::Skipped { node });
    decider.follow();
    let from = CommitFrom::Skipping { token: new_span_id() };
    decider.into_decision(key, from, Ending::Skipped)
}

/// Decides what ends the run, on a claimed `__end__`; its output, as JSON text, is absent when the run was cancelled
/// meanwhile.
pub(crate) fn after_end(
    chain: &mut Chain,
    executors: &Executors,
    key: ActivationKey,
    claim: u32,
    output: Option<Result<String, NodeError>>,
) -> Decision {
    let mut decider = Decider::new(chain, executors, Leave { retain: false, unit: 0.0 });
    if let Some(output) = output {
        decider.end_run(output);
    }
    let ending = match &decider.run {
        RunEffect::Succeed { output, .. } => {
            Ending::Succeeded { input: None, output: output.clone() }
        }
        RunEffect::Fail(error) => {
            Ending::Failed { input: None, output: None, error: error.clone() }
        }
        RunEffect::None => Ending::Cancelled,
    };
    decider.into_decision(key, CommitFrom::Running { claim }, ending)
}

/// Gives up an activation that was kept by a commit after which its run was coming down: nothing of it has
/// started yet.
pub(crate) fn stand_down(chain: &Chain, key: ActivationKey, claim: u32, span: SpanId) -> Commit {
    let node = chain.plan.plan.find(&key.node).map(|node| &chain.plan.plan.nodes[node]);
    let told = node.map(|node| NewEvent {
        node: Some(key.node.clone()),
        scope: Some(key.scope.clone()),
        level: "info",
        event: "node.cancelled",
        message: format!("{} node {} cancelled", node.kind.as_str(), node.key),
        data: None,
        span: Some(span),
    });
    bare(key, CommitFrom::Running { claim }, Ending::Cancelled, told)
}

/// Gives an activation back that cannot be read here, for `why`: perhaps another worker can. The run's log
/// says so, for until one does, the run does not move.
pub(crate) fn defer(claimed: &Claimed, delay: Duration, why: &impl Display) -> Commit {
    let key = claimed.key.clone();
    let told = NewEvent {
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
    let told = claimed.claim.is_power_of_two().then_some(told);
    bare(key, from, Ending::Released { delay }, told)
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
/// Repeating the work would end the same way, and perhaps repeat an effect. `made` is the attempt, if it
/// was one at a node.
pub(crate) fn fail_outright(
    key: ActivationKey,
    from: CommitFrom,
    error: Failure,
    mut made: Option<Made>,
) -> Decision {
    if let Some(made) = &mut made {
        made.outcome = MadeOutcome::Failed(error.clone());
    }
    let told = made.as_ref().map(|made| NewEvent {
        node: Some(key.node.clone()),
        scope: Some(key.scope.clone()),
        level: "error",
        event: "node.failed",
        message: format!("{} node {} failed: {}", made.kind.as_str(), key.node, error.message),
        data: Some(json!({ "attempt": made.attempt, "code": &*error.code }).to_string()),
        span: Some(made.span),
    });
    let run = match &made {
        Some(_) => RunEffect::Fail(error.clone().of_node(&key.node)),
        None => RunEffect::Fail(error.clone()),
    };
    let ending = Ending::Failed { input: None, output: None, error };
    let commit = Commit { run, ..bare(key, from, ending, told) };
    Decision { commit, made: made.into_iter().collect(), timer: None }
}

/// Fails a run whose end comes of passing on a dead path, when the store cannot hold that end.
pub(crate) fn fail_skipped(key: ActivationKey, from: CommitFrom) -> Commit {
    let run = RunEffect::Fail(unstorable());
    Commit { run, ..bare(key, from, Ending::Skipped, None) }
}

fn bare(
    key: ActivationKey,
    from: CommitFrom,
    ending: Ending,
    told: impl IntoIterator<Item = NewEvent>,
) -> Commit {
    Commit {
        key,
        from,
        ending,
        rows: Vec::new(),
        tokens: Vec::new(),
        run: RunEffect::None,
        events: told.into_iter().collect(),
    }
}

struct Decider<'a> {
    chain: &'a mut Chain,
    executors: &'a Executors,
    leave: Leave,
    begun: Instant,
    wave: Wave,
    commands: VecDeque<Command>,
    inlined: usize,
    rows: Vec<NewRow>,
    /// Indexes in `rows` of what this worker may go on with.
    runnable: Vec<usize>,
    run: RunEffect,
    events: Vec<NewEvent>,
    made: Vec<Made>,
    timer: Option<Duration>,
}

impl<'a> Decider<'a> {
    fn new(chain: &'a mut Chain, executors: &'a Executors, leave: Leave) -> Self {
        Self {
            chain,
            executors,
            leave,
            begun: Instant::now(),
            wave: Wave::default(),
            commands: VecDeque::new(),
            inlined: 0,
            rows: Vec::new(),
            runnable: Vec::new(),
            run: RunEffect::None,
            events: Vec::new(),
            made: Vec::new(),
            timer: None,
        }
    }

    fn event(&mut self, event: Event<'_>) {
        self.commands.extend(advance(&self.chain.plan.plan.graph, &mut self.wave, event));
    }

    fn into_decision(mut self, key: ActivationKey, from: CommitFrom, ending: Ending) -> Decision {
        let tokens = self.tokens();
        let commit = Commit {
            key,
            from,
            ending,
            rows: self.rows,
            tokens,
            run: self.run,
            events: self.events,
        };
        Decision { commit, made: self.made, timer: self.timer }
    }
}

//! From what an attempt came to, to everything that its commit changes. No I/O: `advance` decides what
//! follows, pure followers are computed at once and ride in the same commit, the rest becomes rows.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use skein_shared::domain::advance::{Command, Event, Wave, advance};
use skein_shared::domain::failure::Failure;
use skein_shared::domain::graph::NodeIx;
use skein_shared::domain::ids::{ActivationKey, NodeKey, ROOT_SCOPE, Scope};
use skein_shared::domain::kind::{Effect, NodeKind};
use skein_shared::domain::limits;
use skein_shared::domain::plan::{EdgeOn, OnError};
use skein_shared::domain::trace::{SpanId, TraceContext};
use skein_shared::store::engine::{
    Commit, CommitFrom, Ending, JoinTokens, NewEvent, NewRow, NewRowState, NodeSpec, RunEffect,
};
use skein_shared::telemetry::new_span_id;

use super::attempt::{Attempt, AttemptEnd, Attempted, json_text, ride};
use super::chain::Chain;
use crate::nodes::{Done, Executors, NodeError};

/// What a commit may do besides ending its node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Leave {
    /// Whether the worker may go on with a successor itself.
    pub(crate) inline: bool,
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

/// How it ended, for its span.
#[derive(Debug)]
pub(crate) enum MadeOutcome {
    Completed,
    Failed(Failure),
    Retried(Failure),
    Waiting,
    Cancelled,
}

/// A commit and what to tell of once it has happened.
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

/// Decides what a claimed attempt's commit changes.
pub(crate) fn after_attempt(
    chain: &mut Chain,
    executors: &Executors,
    leave: Leave,
    (attempt, claim, attempted, timing): (&Attempt, u32, Attempted, Timing),
) -> Decision {
    let from = CommitFrom::Running { claim };
    let mut decider = Decider::new(chain, executors, leave);
    let made_input = attempted.input.clone();
    let settled = decider.settle(attempt, attempted, timing);
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
    decider.into_decision(key, CommitFrom::Skipping, Ending::Skipped)
}

/// Decides what ends the run, on a claimed `__end__`.
pub(crate) fn after_end(
    chain: &mut Chain,
    executors: &Executors,
    key: ActivationKey,
    claim: u32,
) -> Decision {
    let mut decider = Decider::new(chain, executors, Leave { inline: false, unit: 0.0 });
    decider.end_run();
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

/// Fails an activation, and its run, whose commit holds a value that the store cannot hold. Repeating the
/// work would end the same way.
pub(crate) fn after_refusal(key: ActivationKey, from: CommitFrom) -> Decision {
    // What the store said may quote the value.
    let error = Failure::new(
        "unstorable",
        "the store cannot hold what this node, or one that was computed with it, yielded",
    );
    let told = NewEvent {
        node: Some(key.node.clone()),
        scope: Some(key.scope.clone()),
        level: "error",
        event: "node.failed",
        message: format!("node {} failed: {}", key.node, error.message),
        data: Some(json!({ "code": &*error.code }).to_string()),
        span: None,
    };
    let run = RunEffect::Fail(error.clone().of_node(&key.node));
    let ending = Ending::Failed { input: None, output: None, error };
    let commit = Commit { run, ..bare(key, from, ending, Some(told)) };
    Decision { commit, made: Vec::new(), timer: None }
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

/// What an attempt means for its own row.
enum Settled {
    Ended { error: Option<Failure>, output: String },
    Fatal(Failure),
    Retry { error: Failure, delay: Duration },
    Wait(Duration),
    Cancelled,
}

struct Decider<'a> {
    chain: &'a mut Chain,
    executors: &'a Executors,
    leave: Leave,
    begun: Instant,
    wave: Wave,
    commands: VecDeque<Command>,
    riders: usize,
    rows: Vec<NewRow>,
    /// Places in `rows` of what this worker may go on with.
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
            riders: 0,
            rows: Vec::new(),
            runnable: Vec::new(),
            run: RunEffect::None,
            events: Vec::new(),
            made: Vec::new(),
            timer: None,
        }
    }

    /// Settles an attempt: its log rows, its span, its tokens.
    fn settle(&mut self, attempt: &Attempt, attempted: Attempted, timing: Timing) -> Settled {
        let (settled, outcome) = match attempted.end {
            AttemptEnd::Done(done, output) => self.done(attempt, done, output, timing),
            AttemptEnd::Wait(delay) => {
                self.timer = Some(self.timer.map_or(delay, |timer| timer.min(delay)));
                self.log(
                    attempt,
                    "info",
                    "node.waiting",
                    "waits",
                    &json!({ "delay_ms": millis(delay) }),
                );
                (Settled::Wait(delay), MadeOutcome::Waiting)
            }
            AttemptEnd::Failed(error) => self.failed(attempt, error, timing),
            AttemptEnd::Cancelled => {
                self.log(attempt, "info", "node.cancelled", "cancelled", &json!({}));
                (Settled::Cancelled, MadeOutcome::Cancelled)
            }
        };
        self.chain.learn_span(attempt.node, attempt.span);
        self.made.push(Made {
            key: attempt.key.clone(),
            kind: self.chain.plan.plan.nodes[attempt.node].kind,
            attempt: attempt.number,
            span: attempt.span,
            process: timing.process,
            upstream: self.chain.upstream(attempt.node),
            start: timing.start,
            end: timing.end,
            outcome,
        });
        settled
    }

    fn done(
        &mut self,
        attempt: &Attempt,
        done: Done,
        output: String,
        timing: Timing,
    ) -> (Settled, MadeOutcome) {
        for line in done.log {
            let data = line.data.map(|data| data.to_string());
            self.events.push(NewEvent {
                node: Some(attempt.key.node.clone()),
                scope: Some(attempt.key.scope.clone()),
                level: line.level,
                event: "log",
                // PostgreSQL cannot hold NUL in text.
                message: line.message.replace('\0', "\u{fffd}"),
                data,
                span: Some(attempt.span),
            });
        }
        self.chain.learn_output(attempt.node, Arc::new(done.output));
        match self.live(attempt.node, EdgeOn::Success, done.branch.as_deref()) {
            Ok(live) => {
                let facts = json!({ "attempt": attempt.number, "latency_ms": latency_ms(timing) });
                self.log(attempt, "info", "node.succeeded", "succeeded", &facts);
                self.event(Event::Ended { node: attempt.node, live: &live });
                (Settled::Ended { error: None, output }, MadeOutcome::Completed)
            }
            Err(failure) => self.fatal(attempt, failure, timing),
        }
    }

    fn failed(
        &mut self,
        attempt: &Attempt,
        error: NodeError,
        timing: Timing,
    ) -> (Settled, MadeOutcome) {
        let plan = Arc::clone(&self.chain.plan);
        let node = &plan.plan.nodes[attempt.node];
        let delay = node.retry.delay(attempt.failures + 1, error.retry_after, self.leave.unit);
        if let (true, Some(delay)) = (error.retryable, delay) {
            self.timer = Some(self.timer.map_or(delay, |timer| timer.min(delay)));
            let facts = json!({
                "attempt": attempt.number,
                "code": &*error.failure.code,
                "delay_ms": millis(delay),
                "latency_ms": latency_ms(timing),
            });
            let what = format!("failed and is tried again: {}", error.failure.message);
            self.log(attempt, "warn", "node.retrying", &what, &facts);
            let outcome = MadeOutcome::Retried(error.failure.clone());
            return (Settled::Retry { error: error.failure, delay }, outcome);
        }
        let failure = error.failure;
        let (output, on) = match &node.on_error {
            OnError::Fail => return self.fatal(attempt, failure, timing),
            OnError::Continue(default) => (default.clone(), EdgeOn::Success),
            OnError::Branch => (
                json!({ "error": { "code": &*failure.code, "message": failure.message } }),
                EdgeOn::Error,
            ),
        };
        let text = output.to_string();
        self.chain.learn_output(attempt.node, Arc::new(output));
        match self.live(attempt.node, on, None) {
            Ok(live) => {
                self.log_failed(attempt, "warn", &failure, timing);
                self.event(Event::Ended { node: attempt.node, live: &live });
                (
                    Settled::Ended { error: Some(failure.clone()), output: text },
                    MadeOutcome::Failed(failure),
                )
            }
            Err(failure) => self.fatal(attempt, failure, timing),
        }
    }

    /// The node brings the run down.
    fn fatal(
        &mut self,
        attempt: &Attempt,
        failure: Failure,
        timing: Timing,
    ) -> (Settled, MadeOutcome) {
        self.log_failed(attempt, "error", &failure, timing);
        self.run = RunEffect::Fail(failure.clone().of_node(&attempt.key.node));
        (Settled::Fatal(failure.clone()), MadeOutcome::Failed(failure))
    }

    /// Which edges of an ended node carry a live token. A static sink's only edge always does.
    ///
    /// A condition that fails brings the run down whatever `on_error` says: the node itself is done,
    /// and neither way of going on would be what the author meant.
    fn live(&self, node: NodeIx, on: EdgeOn, branch: Option<&str>) -> Result<Vec<bool>, Failure> {
        let edges = &self.chain.plan.plan.nodes[node].edges;
        if edges.is_empty() {
            return Ok(vec![true]);
        }
        let live = edges.iter().map(|edge| {
            let chosen =
                on == EdgeOn::Error || edge.branch.as_deref() == branch || edge.branch.is_none();
            if edge.on != on || !chosen {
                return Ok(false);
            }
            edge.when.as_ref().map_or(Ok(true), |when| when.holds(&self.chain.scope)).map_err(
                |error| {
                    let to = self.chain.plan.key(edge.to);
                    Failure::new(
                        "expression",
                        format!("the condition of the edge to {to}: {}", error.message),
                    )
                },
            )
        });
        live.collect()
    }

    fn event(&mut self, event: Event<'_>) {
        self.commands.extend(advance(&self.chain.plan.plan.graph, &mut self.wave, event));
    }

    /// Carries out what follows, riders and what follows from them included.
    fn follow(&mut self) {
        while let Some(command) = self.commands.pop_front() {
            match command {
                Command::Skip(node) => {
                    self.log_skipped(node);
                    self.chain.learn_absent(node);
                    self.push_row(node, None, NewRowState::Skipped);
                }
                Command::End => self.end(),
                Command::Activate(node) if self.may_ride(node) => self.ride(node),
                Command::Activate(node) => {
                    self.runnable.push(self.rows.len());
                    self.push_row(node, None, NewRowState::Queued);
                }
            }
        }
    }

    /// Whether a node may be computed here: it needs no commit of its own, there is time, and all that
    /// it looks at was read or computed already.
    fn may_ride(&self, node: NodeIx) -> bool {
        self.chain.plan.plan.nodes[node].effect == Effect::Pure
            && self.riders < limits::RIDING_NODES_MAX
            && self.begun.elapsed() < limits::RIDING_TIME_MAX
            && matches!(self.run, RunEffect::None)
            && self.chain.knows_names(node)
    }

    fn ride(&mut self, node: NodeIx) {
        self.riders += 1;
        let key = ActivationKey::root(self.chain.run.id, Arc::clone(self.chain.plan.key(node)));
        let span = new_span_id();
        let attempt = Attempt {
            node,
            key,
            number: 1,
            failures: 0,
            strikes: 0,
            crashed: false,
            waited_until: None,
            span,
        };
        let start = SystemTime::now();
        let Some(mut attempted) = ride(self.chain, &attempt, self.executors) else {
            // A kind that declares no effect but cannot be computed: leave it to a claim of its own.
            self.push_row(node, None, NewRowState::Queued);
            return;
        };
        if let AttemptEnd::Failed(error) = &mut attempted.end {
            // The next attempt would compute the same, and a row that is new cannot be one to retry.
            error.retryable = false;
        }
        let timing = Timing { process: None, start, end: SystemTime::now() };
        let input = attempted.input.clone();
        let state = match self.settle(&attempt, attempted, timing) {
            Settled::Ended { error: None, output } => NewRowState::Succeeded { input, output },
            Settled::Ended { error: Some(error), output } => {
                NewRowState::Failed { input, output: Some(output), error }
            }
            Settled::Fatal(error) | Settled::Retry { error, .. } => {
                NewRowState::Failed { input, output: None, error }
            }
            Settled::Wait(delay) => NewRowState::Waiting { input, delay },
            // Riders are not cancelled one by one.
            Settled::Cancelled => NewRowState::Queued,
        };
        self.push_row(node, Some(span), state);
    }

    /// Ends the run, or leaves that to a claim of its own where not all that it looks at is known. A run
    /// that is coming down is ended by the finisher.
    fn end(&mut self) {
        let end = self.chain.plan.plan.graph.end();
        if !matches!(self.run, RunEffect::None) {
            return;
        }
        if self.chain.knows_names(end) {
            self.end_run();
        } else {
            self.push_row(end, Some(new_span_id()), NewRowState::Claimed);
        }
    }

    /// Renders the run's output.
    fn end_run(&mut self) {
        let plan = Arc::clone(&self.chain.plan);
        let rendered = match &plan.plan.output {
            Some(output) => output.render(&self.chain.scope).map_err(|error| {
                NodeError::fail("expression", format!("output{}: {}", error.pointer, error.message))
            }),
            None => Ok(self.sink_outputs()),
        };
        let text = rendered.and_then(|value| json_text(&value));
        self.run = match text {
            Ok(output) => RunEffect::Succeed {
                output,
                events: vec![run_event("run.succeeded", "run succeeded")],
            },
            Err(error) => RunEffect::Fail(error.failure),
        };
    }

    /// What a run without an `output` yields: the outputs of its static sinks by node.
    fn sink_outputs(&self) -> Value {
        let plan = &self.chain.plan;
        let outputs = plan.plan.sinks().filter_map(|sink| {
            let key = plan.key(sink);
            let output = self.chain.scope.nodes.get(key)?;
            Some((key.to_string(), Value::clone(output)))
        });
        Value::Object(outputs.collect())
    }

    fn push_row(&mut self, node: NodeIx, span: Option<SpanId>, state: NewRowState) {
        let spec = NodeSpec::of(&self.chain.plan.plan, node, new_span_id());
        self.rows.push(NewRow { spec, span, state });
    }

    fn log(
        &mut self,
        attempt: &Attempt,
        level: &'static str,
        event: &'static str,
        what: &str,
        facts: &Value,
    ) {
        let kind = self.chain.plan.plan.nodes[attempt.node].kind.as_str();
        self.events.push(NewEvent {
            node: Some(attempt.key.node.clone()),
            scope: Some(attempt.key.scope.clone()),
            level,
            event,
            message: format!("{kind} node {} {what}", attempt.key.node),
            data: Some(facts.to_string()),
            span: Some(attempt.span),
        });
    }

    fn log_failed(
        &mut self,
        attempt: &Attempt,
        level: &'static str,
        failure: &Failure,
        timing: Timing,
    ) {
        let facts = json!({
            "attempt": attempt.number,
            "code": &*failure.code,
            "latency_ms": latency_ms(timing),
        });
        self.log(attempt, level, "node.failed", &format!("failed: {}", failure.message), &facts);
    }

    fn log_skipped(&mut self, node: NodeIx) {
        let plan_node = &self.chain.plan.plan.nodes[node];
        self.events.push(NewEvent {
            node: Some(Arc::clone(&plan_node.key)),
            scope: Some(Scope::from(ROOT_SCOPE)),
            level: "info",
            event: "node.skipped",
            message: format!(
                "{} node {} skipped: no branch leads to it",
                plan_node.kind.as_str(),
                plan_node.key
            ),
            data: None,
            span: None,
        });
    }

    /// Chooses what this worker goes on with, and makes the tokens for joins that wait for others as well.
    ///
    /// At most one row or join is kept, and none once the run is coming down: nothing new is started then.
    /// `__end__` is always kept: when it fires, nothing else is left to do.
    fn tokens(&mut self) -> Vec<JoinTokens> {
        let mut may_keep = self.leave.inline && matches!(self.run, RunEffect::None);
        if let (true, Some(first)) = (may_keep, self.runnable.first()) {
            let row = &mut self.rows[*first];
            (row.span, row.state) = (Some(new_span_id()), NewRowState::Claimed);
            may_keep = false;
        }
        let plan = Arc::clone(&self.chain.plan);
        let graph = &plan.plan.graph;
        let tokens = self.wave.partial().map(|(node, tally)| {
            let is_end = node == graph.end();
            let keep = is_end || std::mem::take(&mut may_keep);
            JoinTokens {
                spec: NodeSpec::of(&plan.plan, node, new_span_id()),
                fan_in: graph.fan_in(node),
                arrived: tally.arrived,
                live: tally.live,
                always: is_end,
                keep: keep.then(new_span_id),
            }
        });
        tokens.collect()
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

fn run_event(event: &'static str, message: &str) -> NewEvent {
    NewEvent {
        node: None,
        scope: None,
        level: "info",
        event,
        message: message.to_owned(),
        data: None,
        span: None,
    }
}

fn latency_ms(timing: Timing) -> u64 {
    millis(timing.end.duration_since(timing.start).unwrap_or_default())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

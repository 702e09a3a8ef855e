//! What an attempt means for its own row: its tokens, its log rows, its span.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use skein_shared::domain::advance::Event;
use skein_shared::domain::duration;
use skein_shared::domain::failure::Failure;
use skein_shared::domain::graph::NodeIx;
use skein_shared::domain::retry::NextAttempt;
use skein_shared::expression::{Allowance, Cause};
use skein_shared::store::engine::{NewEvent, RunEffect};
use skein_shared::workflow::plan::{EdgeOn, OnError, PlanEdge, PlanNode};

use super::super::attempt::{Attempt, AttemptEnd, Attempted};
use super::super::chain::Chain;
use super::log::{latency_ms, millis};
use super::{Decider, Leave, Made, MadeOutcome, Timing};
use crate::nodes::{Done, NodeError};

/// What an attempt means for its own row.
pub(super) enum Settled {
    Ended { error: Option<Failure>, output: String },
    Fatal(Failure),
    Retry { error: Failure, delay: Duration },
    Wait(Duration),
    Cancelled,
}

/// How a run goes on from a node that has ended: by which of its edges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Way {
    on: EdgeOn,
    branch: Option<Arc<str>>,
}

impl Way {
    /// Whether it leads over this edge, if the edge's condition holds.
    pub(crate) fn leads_over(&self, edge: &PlanEdge) -> bool {
        let chosen =
            self.on == EdgeOn::Error || edge.branch == self.branch || edge.branch.is_none();
        edge.on == self.on && chosen
    }
}

/// Which edges of an ended node carry a live token, or why the condition of one could not be evaluated.
///
/// A condition that fails brings the run down whatever `on_error` says: the node itself is done,
/// and neither way of going on would be what the author meant.
pub(crate) type Live = Result<Vec<bool>, Failure>;

/// Learns what an attempt has left behind, and returns how the run goes on from its node: absent when the node has not
/// ended, or brings the run down. The output moves from the attempt into the chain, where conditions read it.
pub(crate) fn learn(
    chain: &mut Chain,
    attempt: &Attempt,
    attempted: &mut Attempted,
    leave: Leave,
) -> Option<Way> {
    let (output, way) = match &mut attempted.end {
        AttemptEnd::Done(done, _) => {
            let way = Way { on: EdgeOn::Success, branch: done.branch.clone() };
            (std::mem::take(&mut done.output), way)
        }
        AttemptEnd::Failed(error) => {
            let node = &chain.plan.plan.nodes[attempt.node];
            if retry_delay(node, attempt, error, leave).is_some() {
                return None;
            }
            say_if_too_late(node, attempt, error, leave);
            stand_in(&node.on_error, &error.failure)?
        }
        AttemptEnd::Wait(_) | AttemptEnd::Cancelled => return None,
    };
    chain.learn_output(attempt.node, Arc::new(output));
    Some(way)
}

/// What a condition that could not be evaluated means for the run.
pub(crate) fn condition_failed(chain: &Chain, edge: &PlanEdge, why: &str) -> Failure {
    let to = chain.plan.key(edge.to);
    Failure::new("expression", format!("the condition of the edge to {to}: {why}"))
}

/// How long to wait before the next attempt, if there is to be one.
fn retry_delay(
    node: &PlanNode,
    attempt: &Attempt,
    error: &NodeError,
    leave: Leave,
) -> Option<Duration> {
    match node.retry.next(attempt.failures + 1, error.retry_after, leave.unit) {
        NextAttempt::After(delay) if error.retryable => Some(delay),
        _ => None,
    }
}

/// Has the failure say so where there is no next attempt because of the time at which that would have to be.
fn say_if_too_late(node: &PlanNode, attempt: &Attempt, error: &mut NodeError, leave: Leave) {
    let next = node.retry.next(attempt.failures + 1, error.retry_after, leave.unit);
    if !error.retryable || !matches!(next, NextAttempt::TooLate) {
        return;
    }
    let asked = duration::format(error.retry_after.unwrap_or_default());
    let most = duration::format(node.retry.max_retry_after);
    let why = format!("a wait of {asked} is asked for, more than `max_retry_after` of {most}");
    // In front, where nothing is cut.
    let message = format!("not tried again, for {why}: {}", error.failure.message);
    error.failure = Failure::new(Arc::clone(&error.failure.code), message);
}

/// What a node that has failed yields, and where that leads; absent when it brings the run down.
fn stand_in(on_error: &OnError, failure: &Failure) -> Option<(Value, Way)> {
    match on_error {
        OnError::Fail => None,
        OnError::Continue { output, branch } => {
            Some((output.clone(), Way { on: EdgeOn::Success, branch: branch.clone() }))
        }
        OnError::Branch => {
            let output = json!({ "error": { "code": &*failure.code, "message": failure.message } });
            Some((output, Way { on: EdgeOn::Error, branch: None }))
        }
    }
}

impl Decider<'_> {
    /// Settles an attempt that [`learn`] has read: its log rows, its span, its tokens.
    pub(super) fn settle(
        &mut self,
        attempt: &Attempt,
        attempted: Attempted,
        live: Live,
        timing: Timing,
    ) -> Settled {
        let (settled, outcome) = match attempted.end {
            AttemptEnd::Done(done, output) => self.done(attempt, done, output, live, timing),
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
            AttemptEnd::Failed(error) => self.failed(attempt, error, live, timing),
            AttemptEnd::Cancelled => {
                self.log(attempt, "info", "node.cancelled", "cancelled", &json!({}));
                (Settled::Cancelled, MadeOutcome::Cancelled)
            }
        };
        let span = self.chain.run.trace.context_of(attempt.span);
        self.chain.learn_span(attempt.node, span);
        self.made.push(Made::of(self.chain, attempt, timing, outcome));
        settled
    }

    pub(super) fn done(
        &mut self,
        attempt: &Attempt,
        done: Done,
        output: String,
        live: Live,
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
        match live {
            Ok(live) => {
                let facts = json!({ "attempt": attempt.number, "latency_ms": latency_ms(timing) });
                self.log(attempt, "info", "node.succeeded", "succeeded", &facts);
                self.event(Event::Ended { node: attempt.node, live: &live });
                (Settled::Ended { error: None, output }, MadeOutcome::Completed)
            }
            Err(failure) => self.fatal(attempt, failure, timing),
        }
    }

    pub(super) fn failed(
        &mut self,
        attempt: &Attempt,
        error: NodeError,
        live: Live,
        timing: Timing,
    ) -> (Settled, MadeOutcome) {
        let plan = Arc::clone(&self.chain.plan);
        let node = &plan.plan.nodes[attempt.node];
        if let Some(delay) = retry_delay(node, attempt, &error, self.leave) {
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
        let Some((output, _)) = stand_in(&node.on_error, &failure) else {
            return self.fatal(attempt, failure, timing);
        };
        let text = output.to_string();
        match live {
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
    pub(super) fn fatal(
        &mut self,
        attempt: &Attempt,
        failure: Failure,
        timing: Timing,
    ) -> (Settled, MadeOutcome) {
        self.log_failed(attempt, "error", &failure, timing);
        self.run = RunEffect::Fail(failure.clone().of_node(&attempt.key.node));
        (Settled::Fatal(failure.clone()), MadeOutcome::Failed(failure))
    }

    /// Which edges an inlined node leads over. Absent when that takes more than may be computed while others
    /// wait.
    pub(super) fn live(&self, node: NodeIx, way: &Way) -> Option<Live> {
        let edges = &self.chain.plan.plan.nodes[node].edges;
        if edges.is_empty() {
            // A static sink's only edge always carries one.
            return Some(Ok(vec![true]));
        }
        let mut live = Vec::with_capacity(edges.len());
        for edge in edges {
            let when = edge.when.as_ref().filter(|_| way.leads_over(edge));
            let holds = when.map(|when| when.holds(&self.chain.scope, &Allowance::in_place()));
            match holds.unwrap_or_else(|| Ok(way.leads_over(edge))) {
                Ok(holds) => live.push(holds),
                Err(error) if error.cause == Cause::NotInPlace => return None,
                Err(error) => {
                    return Some(Err(condition_failed(self.chain, edge, &error.message)));
                }
            }
        }
        Some(Ok(live))
    }
}

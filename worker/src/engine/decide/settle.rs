//! What an attempt means for its own row: its tokens, its log rows, its span.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use skein_shared::domain::advance::Event;
use skein_shared::domain::failure::Failure;
use skein_shared::domain::graph::NodeIx;
use skein_shared::domain::plan::{EdgeOn, OnError};
use skein_shared::store::engine::{NewEvent, RunEffect};

use super::super::attempt::{Attempt, AttemptEnd, Attempted};
use super::log::{latency_ms, millis};
use super::{Decider, Made, MadeOutcome, Timing};
use crate::nodes::{Done, NodeError};

/// What an attempt means for its own row.
pub(super) enum Settled {
    Ended { error: Option<Failure>, output: String },
    Fatal(Failure),
    Retry { error: Failure, delay: Duration },
    Wait(Duration),
    Cancelled,
}

impl Decider<'_> {
    /// Settles an attempt: its log rows, its span, its tokens.
    pub(super) fn settle(
        &mut self,
        attempt: &Attempt,
        attempted: Attempted,
        timing: Timing,
    ) -> Settled {
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

    pub(super) fn failed(
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
        let (output, on, branch) = match &node.on_error {
            OnError::Fail => return self.fatal(attempt, failure, timing),
            OnError::Continue { output, branch } => {
                (output.clone(), EdgeOn::Success, branch.as_deref())
            }
            OnError::Branch => (
                json!({ "error": { "code": &*failure.code, "message": failure.message } }),
                EdgeOn::Error,
                None,
            ),
        };
        let text = output.to_string();
        self.chain.learn_output(attempt.node, Arc::new(output));
        match self.live(attempt.node, on, branch) {
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

    /// Which edges of an ended node carry a live token. A static sink's only edge always does.
    ///
    /// A condition that fails brings the run down whatever `on_error` says: the node itself is done,
    /// and neither way of going on would be what the author meant.
    pub(super) fn live(
        &self,
        node: NodeIx,
        on: EdgeOn,
        branch: Option<&str>,
    ) -> Result<Vec<bool>, Failure> {
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
            edge.when
                .as_ref()
                .map_or(Ok(true), |when| {
                    when.holds(&self.chain.scope, &skein_shared::expression::Allowance::whole())
                })
                .map_err(|error| {
                    let to = self.chain.plan.key(edge.to);
                    Failure::new(
                        "expression",
                        format!("the condition of the edge to {to}: {}", error.message),
                    )
                })
        });
        live.collect()
    }
}

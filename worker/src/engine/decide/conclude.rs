//! From what came of an execution to what becomes of the attempt: the node's policy, and what the run goes on with.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use skein_shared::domain::failure::Failure;
use skein_shared::domain::outcome::{AttemptOutcome, WaitFor};
use skein_shared::domain::retry::NextAttempt;
use skein_shared::domain::{duration, limits};
use skein_shared::workflow::plan::{EdgeOn, OnError, PlanEdge, PlanNode};

use super::super::attempt::{Attempt, Execution, json_text};
use super::super::run_context::RunContext;
use super::Leave;
use crate::nodes::{LogLine, NodeError, Outcome};

/// What becomes of an attempt, and of the tokens of its node.
#[derive(Debug)]
pub(crate) struct Concluded {
    pub(super) outcome: AttemptOutcome,
    /// Which of the node's edges carry a live token. Absent when the node has not ended, or brings the run down.
    pub(super) live: Option<Vec<bool>>,
    /// Lines for the run's log.
    pub(super) lines: Vec<LogLine>,
}

impl Concluded {
    fn of(outcome: AttemptOutcome) -> Self {
        Self { outcome, live: None, lines: Vec::new() }
    }

    /// An attempt whose run was cancelled: nothing goes on from it, whatever it came to.
    pub(crate) fn cancelled() -> Self {
        Self::of(AttemptOutcome::Cancelled)
    }

    /// The same with what is known of its node's edges.
    pub(crate) fn judged(self, live: Live) -> Self {
        match live {
            Ok(live) => Self { live: Some(live), ..self },
            Err(error) => {
                let input = self.outcome.into_input();
                let outcome = AttemptOutcome::Failed { input, output: None, error };
                Self { outcome, ..self }
            }
        }
    }
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

/// Decides what becomes of an attempt. Says how the run goes on from its node, of which the edges are still to be
/// [judged](Concluded::judged): not at all when the node has not ended, or brings the run down. The output moves into
/// the context, where conditions look at it.
pub(crate) fn conclude(
    run: &mut RunContext,
    attempt: &Attempt,
    Execution { input, answer }: Execution,
    leave: Leave,
) -> (Concluded, Option<Way>) {
    let Some(answer) = answer else { return (Concluded::cancelled(), None) };
    let done = match answer {
        Ok(Outcome::Wait(waiting_for)) => {
            let waiting_for = match waiting_for {
                WaitFor::Time(delay) => WaitFor::Time(delay.min(limits::DELAY_MAX)),
                other => other,
            };
            return (Concluded::of(AttemptOutcome::Waiting { input, waiting_for }), None);
        }
        Ok(Outcome::Done(done)) => json_text(&done.output).map(|output| (done, output)),
        Err(error) => Err(error),
    };
    match done {
        Ok((done, output)) => {
            run.learn_output(attempt.node, Arc::new(done.output));
            let outcome = AttemptOutcome::Succeeded { input, output };
            let concluded = Concluded { lines: done.log, ..Concluded::of(outcome) };
            (concluded, Some(Way { on: EdgeOn::Success, branch: done.branch }))
        }
        Err(error) => conclude_failed(run, attempt, input, error, leave),
    }
}

fn conclude_failed(
    run: &mut RunContext,
    attempt: &Attempt,
    input: Option<String>,
    mut error: NodeError,
    leave: Leave,
) -> (Concluded, Option<Way>) {
    let node = &run.plan.nodes[attempt.node];
    if let Some(delay) = retry_delay(node, attempt, &error, leave) {
        let outcome = AttemptOutcome::Retry { input, error: error.failure, delay };
        return (Concluded::of(outcome), None);
    }
    say_if_too_late(node, attempt, &mut error, leave);
    let error = error.failure;
    let stand_in = stand_in(&node.on_error, &error);
    let stored = stand_in.map(|(output, way)| json_text(&output).map(|text| (output, text, way)));
    let (error, output, way) = match stored.transpose() {
        Ok(Some((output, text, way))) => {
            run.learn_output(attempt.node, Arc::new(output));
            (error, Some(text), Some(way))
        }
        Ok(None) => (error, None, None),
        Err(unfit) => (unfit.failure, None, None),
    };
    (Concluded::of(AttemptOutcome::Failed { input, output, error }), way)
}

/// What a condition that could not be evaluated means for the run.
pub(crate) fn condition_failed(run: &RunContext, edge: &PlanEdge, why: &str) -> Failure {
    let to = run.key(edge.to);
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
    let Failure { code, details, .. } = error.failure.clone();
    error.failure = Failure::new(code, message).with_details(details);
}

/// What a node that has failed yields, and where that leads; absent when it brings the run down.
fn stand_in(on_error: &OnError, failure: &Failure) -> Option<(Value, Way)> {
    match on_error {
        OnError::Fail => None,
        OnError::Continue { output, branch } => {
            Some((output.clone(), Way { on: EdgeOn::Success, branch: branch.clone() }))
        }
        OnError::Branch => {
            let mut error = json!({ "code": &*failure.code, "message": failure.message });
            if let Some(details) = &failure.details {
                error["details"] = details.as_str().into();
            }
            let output = json!({ "error": error });
            Some((output, Way { on: EdgeOn::Error, branch: None }))
        }
    }
}

//! One attempt of one node: render, execute, bound.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use serde_json::Value;
use skein_shared::domain::graph::NodeIx;
use skein_shared::domain::ids::ActivationKey;
use skein_shared::domain::kind::{Effect, OnUncertain};
use skein_shared::domain::limits;
use skein_shared::domain::trace::SpanId;
use skein_shared::expression::{Allowance, Cause, ExpressionError};
use skein_shared::workflow::plan::PlanNode;
use tokio_util::sync::CancellationToken;

use super::chain::Chain;
use super::evaluate::{Evaluated, Evaluator, Unevaluated};
use crate::nodes::{Done, Executor, Executors, NodeContext, NodeError, Outcome};

/// What the engine's own timer grants on top of a node's timeout, so that an executor that keeps
/// time itself can say what it waited for.
const TIMEOUT_SLACK: Duration = Duration::from_millis(250);

/// An attempt that is to be made.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    /// The node's index.
    pub(crate) node: NodeIx,
    /// Which activation.
    pub(crate) key: ActivationKey,
    /// Which attempt, from 1.
    pub(crate) number: u32,
    /// Attempts before it that failed.
    pub(crate) failures: u32,
    /// Crashes of workers that ran nothing else.
    pub(crate) strikes: u32,
    /// Whether an earlier attempt was lost in a crash.
    pub(crate) crashed: bool,
    /// When the wait that it asked for elapsed.
    pub(crate) waited_until: Option<DateTime<Utc>>,
    /// Its reserved span.
    pub(crate) span: SpanId,
}

/// What an attempt came to.
#[derive(Debug)]
pub(crate) struct Attempted {
    /// The rendered parameters as JSON text, if it came to that.
    pub(crate) input: Option<String>,
    /// How it ended.
    pub(crate) end: AttemptEnd,
}

/// How an attempt ended.
#[derive(Debug)]
pub(crate) enum AttemptEnd {
    /// The node is done; the output as JSON text beside it.
    Done(Done, String),
    /// The node waits.
    Wait(Duration),
    /// It failed.
    Failed(NodeError),
    /// Its run was cancelled.
    Cancelled,
}

impl Attempted {
    fn failed(input: Option<String>, error: NodeError) -> Self {
        Self { input, end: AttemptEnd::Failed(error) }
    }
}

/// Makes one attempt at a node. Bounded by the node's timeout, computing its parameters included; ends early when
/// `cancelled` is.
pub(crate) async fn execute(
    chain: &Chain,
    attempt: &Attempt,
    (executors, evaluator): (&Executors, &Evaluator),
    cancelled: &CancellationToken,
) -> Attempted {
    let node = &chain.plan.plan.nodes[attempt.node];
    if let Some(refusal) = refusal(node, attempt) {
        return Attempted::failed(None, refusal);
    }
    let executor = executors.of(node.kind);
    let time = node.timeout.min(limits::EXPRESSION_TIME_MAX);
    let rendered = evaluator.render(&node.params, &chain.scope, time, chain.whose(cancelled)).await;
    let Evaluated { result: params, took } = match rendered {
        Ok(rendered) => rendered,
        Err(Unevaluated::Cancelled) => {
            return Attempted { input: None, end: AttemptEnd::Cancelled };
        }
        Err(Unevaluated::Failed(error)) => {
            return Attempted::failed(None, expression_failed(&error));
        }
        Err(Unevaluated::Late) if time == node.timeout => {
            return Attempted::failed(None, timed_out(node));
        }
        Err(Unevaluated::Late) => return Attempted::failed(None, took_too_long()),
    };
    let input = match shown(&params, &executor) {
        Ok(input) => input,
        Err(error) => return Attempted::failed(None, error),
    };
    let left = node.timeout.saturating_sub(took);
    let context = NodeContext { timeout: left, ..context(chain, node, attempt, cancelled.clone()) };
    let end = match executor {
        Executor::Pure(executor) => evaluate(|| executor.evaluate(&context, params)),
        Executor::Effect(executor) => {
            let execution = AssertUnwindSafe(executor.execute(&context, params)).catch_unwind();
            tokio::select! {
                biased;
                () = cancelled.cancelled() => AttemptEnd::Cancelled,
                outcome = tokio::time::timeout(left + TIMEOUT_SLACK, execution) => match outcome {
                    Ok(Ok(outcome)) => end(outcome),
                    Ok(Err(_)) => AttemptEnd::Failed(panicked()),
                    Err(_) => AttemptEnd::Failed(timed_out(node)),
                },
            }
        }
    };
    Attempted { input: Some(input), end }
}

/// Makes the attempt of a pure node that is inlined: no waiting, no I/O. None if it cannot be made here: its kind has
/// effects, or its parameters take more than may be computed while others wait.
pub(crate) fn inline(chain: &Chain, attempt: &Attempt, executors: &Executors) -> Option<Attempted> {
    let node = &chain.plan.plan.nodes[attempt.node];
    let executor = executors.of(node.kind);
    let Executor::Pure(pure) = &executor else { return None };
    let params = match node.params.render(&chain.scope, &Allowance::in_place()) {
        Ok(params) => params,
        Err(error) if error.cause == Cause::NotInPlace => return None,
        Err(error) => return Some(Attempted::failed(None, expression_failed(&error))),
    };
    let input = match shown(&params, &executor) {
        Ok(input) => input,
        Err(error) => return Some(Attempted::failed(None, error)),
    };
    let context = context(chain, node, attempt, CancellationToken::new());
    let end = evaluate(|| pure.evaluate(&context, params));
    Some(Attempted { input: Some(input), end })
}

/// Why an attempt is not made at all: it has crashed workers before.
fn refusal(node: &PlanNode, attempt: &Attempt) -> Option<NodeError> {
    if attempt.strikes >= limits::CRASH_STRIKES_MAX {
        let message =
            format!("crashed its worker {} times while nothing ran beside it", attempt.strikes);
        return Some(NodeError::fail("poison", message));
    }
    let uncertain =
        attempt.crashed && node.effect == Effect::Unsafe && node.on_uncertain == OnUncertain::Fail;
    uncertain.then(|| {
        NodeError::fail(
            "uncertain",
            "the worker stopped or died during an effect that must not be repeated; whether it happened is not known",
        )
    })
}

/// How the run's record shows rendered parameters, as JSON text.
fn shown(params: &Value, executor: &Executor) -> Result<String, NodeError> {
    let shown = match executor {
        Executor::Pure(_) => None,
        Executor::Effect(executor) => executor.shown(params),
    };
    json_text(shown.as_ref().unwrap_or(params))
}

/// An expression that is wrong.
pub(crate) fn expression_failed(error: &ExpressionError) -> NodeError {
    NodeError::fail("expression", format!("{}: {}", error.pointer, error.message))
}

/// Expressions that took longer than any may.
pub(crate) fn took_too_long() -> NodeError {
    let message = format!("the expressions took longer than {:?}", limits::EXPRESSION_TIME_MAX);
    NodeError::fail("expression", message)
}

fn timed_out(node: &PlanNode) -> NodeError {
    NodeError::retry("timeout", format!("took longer than {:?}", node.timeout))
}

fn context(
    chain: &Chain,
    node: &PlanNode,
    attempt: &Attempt,
    cancelled: CancellationToken,
) -> NodeContext {
    NodeContext {
        run: Arc::clone(&chain.run),
        key: attempt.key.clone(),
        attempt: attempt.number,
        now: chain.clock.now(),
        timeout: node.timeout,
        waited_until: attempt.waited_until,
        span: chain.run.trace.context_of(attempt.span),
        cancelled,
    }
}

fn evaluate(run: impl FnOnce() -> Result<Outcome, NodeError>) -> AttemptEnd {
    std::panic::catch_unwind(AssertUnwindSafe(run))
        .map_or_else(|_| AttemptEnd::Failed(panicked()), end)
}

fn panicked() -> NodeError {
    NodeError::fail("internal", "the node's executor panicked; the worker's log tells where")
}

fn end(outcome: Result<Outcome, NodeError>) -> AttemptEnd {
    match outcome {
        Ok(Outcome::Done(done)) => match json_text(&done.output) {
            Ok(output) => AttemptEnd::Done(done, output),
            Err(error) => AttemptEnd::Failed(error),
        },
        Ok(Outcome::Wait(delay)) => AttemptEnd::Wait(delay.min(limits::DELAY_MAX)),
        Err(error) => AttemptEnd::Failed(error),
    }
}

/// A value as it is stored.
pub(crate) fn json_text(value: &Value) -> Result<String, NodeError> {
    // Keys are strings, so this does not fail.
    let text = serde_json::to_string(value).unwrap_or_default();
    if text.len() > limits::OUTPUT_BYTES_MAX {
        let message =
            format!("{} bytes; at most {} are kept", text.len(), limits::OUTPUT_BYTES_MAX);
        return Err(NodeError::fail("output_too_large", message));
    }
    Ok(text)
}

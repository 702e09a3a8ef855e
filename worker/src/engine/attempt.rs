//! One attempt of one node: render, execute, bound.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use serde_json::Value;
use skein_shared::document::nests_within;
use skein_shared::domain::graph::NodeIx;
use skein_shared::domain::ids::ActivationKey;
use skein_shared::domain::kind::{Effect, OnUncertain};
use skein_shared::domain::limits;
use skein_shared::domain::trace::{SpanId, TraceContext};
use skein_shared::expression::{Allowance, Cause, ExpressionError, Scope};
use skein_shared::workflow::plan::PlanNode;
use tokio_util::sync::CancellationToken;

use super::run_context::RunContext;
use crate::evaluate::{Evaluated, Evaluator, Unevaluated};
use crate::journal::Journal;
use crate::nodes::{Executor, Executors, NodeContext, NodeError, Outcome};

/// What the engine's own timer grants on top of a node's timeout, so that an executor that keeps
/// time itself can say what it waited for.
const TIMEOUT_SLACK: Duration = Duration::from_millis(250);

/// What an executor that works in steps is granted when it is cancelled. Its call ends at once; what it knows of it is
/// one write.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// How deep an object may nest that stands around values each of which may nest as deep as any: a node's parameters, the
/// outputs of sinks.
pub(crate) const AROUND_DEPTH_MAX: usize = limits::JSON_DEPTH_MAX + 1;

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
    /// What it has waited for, as JSON text, if that was not a time alone.
    pub(crate) waited_for: Option<Arc<str>>,
    /// Its reserved span.
    pub(crate) span: SpanId,
    /// How long its row was runnable before it was claimed; absent where the worker went on by itself.
    pub(crate) queued: Option<Duration>,
    /// The `process` span of the message that led to its claim; absent where the worker went on by itself.
    pub(crate) process: Option<TraceContext>,
}

impl Attempt {
    /// The first one at a node that this worker has come to by itself.
    pub(crate) fn first(node: NodeIx, key: ActivationKey, span: SpanId) -> Self {
        Self {
            node,
            key,
            number: 1,
            failures: 0,
            strikes: 0,
            crashed: false,
            waited_until: None,
            waited_for: None,
            span,
            queued: None,
            process: None,
        }
    }
}

/// What came of executing a node once. What becomes of the attempt is decided from it.
#[derive(Debug)]
pub(crate) struct Execution {
    /// The rendered parameters as JSON text, if it came to that.
    pub(crate) input: Option<String>,
    /// What the executor answered, or what was wrong before it was asked. Absent when the run was cancelled meanwhile.
    pub(crate) answer: Option<Answer>,
}

/// What an executor answers.
pub(crate) type Answer = Result<Outcome, NodeError>;

impl Execution {
    fn failed(error: NodeError) -> Self {
        Self { input: None, answer: Some(Err(error)) }
    }
}

/// Executes a node once. Bounded by the node's timeout, computing its parameters included; ends early when
/// `cancelled` is.
pub(crate) async fn execute(
    run: &RunContext,
    attempt: &Attempt,
    executors: &Executors,
    evaluator: &Evaluator,
    journal: &dyn Journal,
    cancelled: &CancellationToken,
) -> Execution {
    let node = &run.plan.nodes[attempt.node];
    let executor = executors.of(node.kind);
    if let Some(refusal) = refusal(node, attempt, executor) {
        return Execution::failed(refusal);
    }
    let time = node.timeout.min(limits::EXPRESSION_TIME_MAX);
    let rendered = evaluator.render(&node.params, &run.scope, time, run.whose(cancelled)).await;
    let Evaluated { result: params, took } = match rendered {
        Ok(rendered) => rendered,
        Err(Unevaluated::Cancelled) => return Execution { input: None, answer: None },
        Err(Unevaluated::Failed(error)) => return Execution::failed(expression_failed(&error)),
        Err(Unevaluated::Late) if time == node.timeout => {
            return Execution::failed(timed_out(node));
        }
        Err(Unevaluated::Late) => return Execution::failed(took_too_long()),
    };
    let input = match shown(&params, executor) {
        Ok(input) => input,
        Err(error) => return Execution::failed(error),
    };
    let waited_for = match attempt.waited_for.as_deref().map(serde_json::from_str).transpose() {
        Ok(waited_for) => waited_for,
        Err(_) => return Execution::failed(unreadable("what it has waited for")),
    };
    let timeout = node.timeout.saturating_sub(took);
    let context = context(run, node, attempt, cancelled.clone());
    let context = NodeContext { timeout, waited_for, ..context };
    let answer = match executor {
        Executor::Pure(executor) => Some(contained(|| executor.evaluate(&context, params))),
        Executor::Effect(executor) => {
            let execution = AssertUnwindSafe(executor.execute(&context, params)).catch_unwind();
            tokio::select! {
                biased;
                () = cancelled.cancelled() => None,
                answer = tokio::time::timeout(timeout + TIMEOUT_SLACK, execution) => Some(match answer {
                    Ok(Ok(answer)) => answer,
                    Ok(Err(_)) => Err(panicked()),
                    Err(_) => Err(timed_out(node)),
                }),
            }
        }
        Executor::Stepped(executor) => {
            let execution = executor.execute(&context, journal, params);
            let execution = AssertUnwindSafe(execution).catch_unwind();
            let bounded = tokio::time::timeout(timeout + TIMEOUT_SLACK, execution);
            unless_cancelled(cancelled, bounded).await.map(|answer| match answer {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => Err(panicked()),
                Err(_) => Err(timed_out(node)),
            })
        }
    };
    Execution { input: Some(input), answer }
}

/// What comes of an execution, unless it is cancelled. It is not dropped at once then, but gets a moment to write down
/// what it knows of the step that is under way: what nobody knows is paid for in full.
async fn unless_cancelled<T>(
    cancelled: &CancellationToken,
    execution: impl Future<Output = T>,
) -> Option<T> {
    let mut execution = std::pin::pin!(execution);
    tokio::select! {
        biased;
        () = cancelled.cancelled() => {
            let _ = tokio::time::timeout(STOP_GRACE, execution).await;
            None
        }
        done = &mut execution => Some(done),
    }
}

/// Executes a pure node that is inlined: no waiting, no I/O. None if it cannot be made here: its kind has
/// effects, or its parameters take more than may be computed while others wait.
pub(crate) fn inline(
    run: &RunContext,
    attempt: &Attempt,
    executors: &Executors,
) -> Option<Execution> {
    let node = &run.plan.nodes[attempt.node];
    let executor = executors.of(node.kind);
    let Executor::Pure(pure) = executor else { return None };
    let params = match node.params.render(&run.scope, &Allowance::in_place()) {
        Ok(params) => params,
        Err(error) if error.cause == Cause::NotInPlace => return None,
        Err(error) => return Some(Execution::failed(expression_failed(&error))),
    };
    let input = match shown(&params, executor) {
        Ok(input) => input,
        Err(error) => return Some(Execution::failed(error)),
    };
    let context = context(run, node, attempt, CancellationToken::new());
    let answer = contained(|| pure.evaluate(&context, params));
    Some(Execution { input: Some(input), answer: Some(answer) })
}

/// Why an attempt is not made at all: it has crashed workers before.
fn refusal(node: &PlanNode, attempt: &Attempt, executor: &Executor) -> Option<NodeError> {
    if attempt.strikes >= limits::CRASH_STRIKES_MAX {
        let message =
            format!("crashed its worker {} times while nothing ran beside it", attempt.strikes);
        return Some(NodeError::fail("poison", message));
    }
    // One that works in steps knows which of them was under way.
    let is_whole = !matches!(executor, Executor::Stepped(_));
    let is_unsafe = node.effect == Effect::Unsafe && node.on_uncertain == OnUncertain::Fail;
    let uncertain = attempt.crashed && is_unsafe && is_whole;
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
        Executor::Stepped(executor) => executor.shown(params),
    };
    stored(shown.as_ref().unwrap_or(params), AROUND_DEPTH_MAX)
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

/// What is stored of the node cannot be read.
fn unreadable(what: &str) -> NodeError {
    NodeError::fail("unreadable", format!("{what} is stored and cannot be read"))
}

fn timed_out(node: &PlanNode) -> NodeError {
    NodeError::retry("timeout", format!("took longer than {:?}", node.timeout))
}

fn context(
    run: &RunContext,
    node: &PlanNode,
    attempt: &Attempt,
    cancelled: CancellationToken,
) -> NodeContext {
    NodeContext {
        run: Arc::clone(&run.header),
        key: attempt.key.clone(),
        attempt: attempt.number,
        now: run.clock.now(),
        timeout: node.timeout,
        waited_until: attempt.waited_until,
        waited_for: None,
        // What most nodes read is rendered by now.
        scope: if node.params.is_deferred() { run.scope.clone() } else { Scope::default() },
        on_uncertain: node.on_uncertain,
        span: run.header.trace.context_of(attempt.span),
        live: run.live.attempt(),
        cancelled,
    }
}

/// Has a panic of a node's executor fail the node.
fn contained(evaluate: impl FnOnce() -> Answer) -> Answer {
    std::panic::catch_unwind(AssertUnwindSafe(evaluate)).unwrap_or_else(|_| Err(panicked()))
}

fn panicked() -> NodeError {
    NodeError::fail("internal", "the node's executor panicked; the worker's log tells where")
}

/// An output as it is stored. Every output passes here.
pub(crate) fn json_text(output: &Value) -> Result<String, NodeError> {
    stored(output, limits::JSON_DEPTH_MAX)
}

/// A value that nests at most `levels` deep as it is stored. What is stored can be read again: readers count levels, and
/// whoever writes or drops a value uses the stack for each.
pub(crate) fn stored(value: &Value, levels: usize) -> Result<String, NodeError> {
    if !nests_within(value, levels) {
        let message = format!("it nests deeper than {} levels", limits::JSON_DEPTH_MAX);
        return Err(NodeError::fail("output_too_deep", message));
    }
    // Keys are strings, so this does not fail.
    let text = serde_json::to_string(value).unwrap_or_default();
    if text.len() > limits::OUTPUT_BYTES_MAX {
        let message =
            format!("{} bytes; at most {} are kept", text.len(), limits::OUTPUT_BYTES_MAX);
        return Err(NodeError::fail("output_too_large", message));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use skein_shared::domain::limits::JSON_DEPTH_MAX;

    use super::*;

    #[test]
    fn an_output_of_any_kind_nests_no_deeper_than_what_can_be_read_again() {
        let deep = |levels| (0..levels).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
        let most = json_text(&deep(JSON_DEPTH_MAX)).unwrap();
        assert!(serde_json::from_str::<Value>(&most).is_ok());
        let error = json_text(&deep(JSON_DEPTH_MAX + 1)).unwrap_err();
        assert_eq!(&*error.failure.code, "output_too_deep");
        assert!(error.failure.message.contains("64 levels") && !error.retryable, "{error:?}");
        // Deeper than any stack takes: it is refused before anything recurses over it. Dropped, it would not be.
        let bottomless = std::mem::ManuallyDrop::new(deep(100_000));
        assert_eq!(json_text(&bottomless), Err(error));
        assert!(stored(&deep(AROUND_DEPTH_MAX), AROUND_DEPTH_MAX).is_ok());
        assert!(stored(&deep(AROUND_DEPTH_MAX + 1), AROUND_DEPTH_MAX).is_err());
    }
}

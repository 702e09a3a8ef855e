//! Spans made once more from what the store has kept of them, for those that were not sampled, died with their process,
//! or found no collector. Ids, names, kinds, links and what they say are those of the first time, as the same functions
//! make them, but for what no row holds; README says what that is.

use super::agent::{AgentExecute, agent_span_of};
use super::journaled::journaled_step;
use super::node::{AroundAttempt, NodeExecute, abandoned};
use super::publish::Publish;
use super::workflow::{workflow_execute, workflow_suspended};
use crate::broker::Address;
use crate::domain::failure::Failure;
use crate::domain::kind::NodeKind;
use crate::domain::outcome::AttemptOutcome;
use crate::domain::run::{AbandonedAttempt, ClosedSegment};
use crate::domain::trace::SAMPLED;
use crate::domain::traced::{
    TracedAgent, TracedAttempt, TracedEnd, TracedNode, TracedRun, TracedStep,
};
use crate::telemetry::semconv;
use crate::telemetry::span::{Clock, FinishedSpan};

/// Codes of failures that a node meets before its executor is asked, so that an agent has not begun.
const BEFORE_IT_BEGINS: [&str; 4] = ["expression", "invalid_params", "poison", "unreadable"];

/// What an attempt says of the wait behind it.
const WAIT: [&str; 2] = [semconv::NODE_WAIT_TYPE, semconv::NODE_WAIT_MS];

/// Whose span it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Maker {
    /// The API that has accepted the run.
    Api,
    /// Some worker.
    Worker,
}

/// A span that was made once more, and marked as such.
#[derive(Debug, Clone, PartialEq)]
pub struct RebuiltSpan {
    /// Whose it is.
    pub maker: Maker,
    /// The span.
    pub span: FinishedSpan,
}

impl RebuiltSpan {
    fn of(maker: Maker, mut span: FinishedSpan) -> Self {
        span.set(semconv::SKEIN_REBUILT, true);
        // Whatever was decided about it, it is exported now.
        span.context.flags |= SAMPLED;
        span.clock = Clock::Database;
        Self { maker, span }
    }

    fn of_worker(span: FinishedSpan) -> Self {
        Self::of(Maker::Worker, span)
    }
}

/// The publishing of a run, which is the parent of all that follows, and the run itself once it has ended. `address` is
/// where its messages go.
///
/// When the broker confirmed is written down nowhere, so the publishing has no duration.
pub fn rebuilt_run(run: &TracedRun, address: &Address) -> impl Iterator<Item = RebuiltSpan> {
    let accepted = run.header.created_at.into();
    let publish = FinishedSpan::from(Publish {
        context: run.first.context_of(run.first.publish),
        state: run.first.state.as_ref(),
        parent: run.request,
        link: None,
        identity: &run.header.identity,
        run: run.header.id,
        workflow: Some(&run.header.workflow),
        address,
        messages: usize::try_from(run.entries).unwrap_or(usize::MAX),
        message_id: None,
        body_bytes: None,
        start: accepted,
        end: accepted,
        error: None,
    });
    let ended = run.ended.as_ref().map(workflow_execute).map(RebuiltSpan::of_worker);
    std::iter::once(RebuiltSpan::of(Maker::Api, publish)).chain(ended)
}

/// The span of a segment that another one follows.
#[must_use]
pub fn rebuilt_segment(segment: &ClosedSegment) -> RebuiltSpan {
    RebuiltSpan::of_worker(workflow_suspended(segment))
}

/// The span of an attempt, with that of the agent in it and that of the message that has led to it. `parents` are the
/// activations whose tokens made it runnable, in the order of the workflow.
///
/// It begins with its claim and ends with its commit, by the store's clock. Of a kind that this release does not know, there
/// is nothing.
#[must_use]
pub fn rebuilt_attempt(
    attempt: &TracedAttempt,
    parents: &[&TracedNode],
    address: &Address,
) -> Vec<RebuiltSpan> {
    let mut spans: Vec<_> = published(attempt, parents, address).into_iter().collect();
    let upstream: Vec<_> = parents
        .iter()
        .filter_map(|parent| Some((parent.key.node.clone(), parent.context()?)))
        .collect();
    match &attempt.end {
        TracedEnd::Outcome(outcome) => {
            let Ok(kind) = attempt.kind.parse::<NodeKind>() else { return Vec::new() };
            let mut span = FinishedSpan::from(NodeExecute {
                span: attempt.span,
                header: &attempt.header,
                key: &attempt.key,
                kind,
                attempt: attempt.number,
                process: None,
                upstream: &upstream,
                start: attempt.started_at.into(),
                end: attempt.ended_at.into(),
                outcome,
                around: AroundAttempt::default(),
            });
            // What a node has waited for, and for how long, is kept no longer than that.
            span.attributes.retain(|told| !WAIT.contains(&told.key.as_str()));
            spans.push(span);
            spans.extend(agent(attempt, outcome));
        }
        TracedEnd::Abandoned { is_crash } => {
            spans.extend(abandoned(&AbandonedAttempt {
                header: attempt.header.clone(),
                key: attempt.key.clone(),
                kind: attempt.kind.clone(),
                attempt: attempt.number,
                span: attempt.span,
                started_at: attempt.started_at,
                ended_at: attempt.ended_at,
                is_crash: *is_crash,
                // Whether its run was over by then is not kept.
                is_retried: true,
                upstream,
            }));
            if !is_crash {
                spans.extend(agent(attempt, &AttemptOutcome::Cancelled));
            }
        }
    }
    spans.into_iter().map(RebuiltSpan::of_worker).collect()
}

/// The span of a step.
#[must_use]
pub fn rebuilt_step(step: &TracedStep) -> RebuiltSpan {
    RebuiltSpan::of_worker(journaled_step(step))
}

/// The publishing of an activation that was claimed once only, unless the worker that made it runnable went on with it
/// itself: that one has claimed it in the statement that ended its parent, at one and the same time. Of one that was claimed
/// more often, only the id of the last publishing is kept, and not who it was.
fn published(
    attempt: &TracedAttempt,
    parents: &[&TracedNode],
    address: &Address,
) -> Option<FinishedSpan> {
    let last = parents.iter().filter(|parent| parent.ended_at.is_some());
    let last = last.max_by_key(|parent| parent.ended_at)?;
    let at = last.ended_at?;
    let is_retained = parents.iter().any(|parent| parent.ended_at == Some(attempt.started_at));
    if !attempt.is_only || is_retained || attempt.publish == attempt.header.trace.publish {
        return None;
    }
    Some(FinishedSpan::from(Publish {
        context: last.trace.context_of(attempt.publish),
        state: last.trace.state.as_ref(),
        parent: Some(last.trace.root),
        link: None,
        identity: &attempt.header.identity,
        run: attempt.header.id,
        workflow: Some(&attempt.header.workflow),
        address,
        messages: 1,
        message_id: None,
        body_bytes: None,
        start: at.into(),
        end: at.into(),
        error: None,
    }))
}

/// What an agent did in an attempt, if it has begun.
fn agent(attempt: &TracedAttempt, outcome: &AttemptOutcome) -> Option<FinishedSpan> {
    let TracedAgent { framework, provider, model, tokens_used, cost, iterations, has_steps } =
        attempt.agent.as_ref()?;
    let given_up = Failure::new("cancelled", "the attempt was given up");
    let (error, has_begun) = match outcome {
        AttemptOutcome::Cancelled => (Some(&given_up), false),
        outcome => {
            let error = outcome.error();
            let is_early = error.is_some_and(|error| BEFORE_IT_BEGINS.contains(&&*error.code));
            (error, !is_early)
        }
    };
    if !has_begun && !has_steps {
        return None;
    }
    let (header, key) = (&attempt.header, &attempt.key);
    let (start, end) = (attempt.started_at.into(), attempt.ended_at.into());
    let (Some(framework), Some(model)) = (framework, model) else {
        let mut span = agent_span_of(header, key, attempt.span, (start, end));
        error.into_iter().for_each(|error| span.fail(error));
        return Some(span);
    };
    Some(FinishedSpan::from(AgentExecute {
        attempt: attempt.span,
        header,
        key,
        framework,
        provider: provider.as_deref().unwrap_or_default(),
        model,
        tokens_used: *tokens_used,
        cost: *cost,
        iterations: *iterations,
        start,
        end,
        error,
    }))
}

#[cfg(test)]
mod tests;

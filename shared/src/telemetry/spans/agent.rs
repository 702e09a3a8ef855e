//! `agent.execute`: around the steps of an agent.

use std::time::SystemTime;

use opentelemetry::trace::SpanKind;
use sha2::{Digest, Sha256};

use super::workflow::set_run;
use crate::domain::failure::Failure;
use crate::domain::ids::ActivationKey;
use crate::domain::money::NanoDollars;
use crate::domain::run::RunHeader;
use crate::domain::trace::SpanId;
use crate::telemetry::semconv;
use crate::telemetry::span::{Clock, FinishedSpan, count};

/// The kind of nodes whose steps stand below a span of their own.
const AGENT: &str = "agent";

/// `agent.execute`: what an agent did in one attempt of its node. Its tokens and costs are those of its calls, which have
/// spans of their own: so they stand under `agent.*` here, where nobody sums them up twice.
#[derive(Debug, Clone, Copy)]
pub struct AgentExecute<'a> {
    /// The span of the attempt: its parent, and what its own id is made of.
    pub attempt: SpanId,
    /// The run.
    pub header: &'a RunHeader,
    /// Which node of it: also what the agent is called.
    pub key: &'a ActivationKey,
    /// How it goes about its goal: `react` ...
    pub framework: &'a str,
    /// Who is asked.
    pub provider: &'a str,
    /// Which model.
    pub model: &'a str,
    /// Tokens of all its calls, those of earlier attempts included.
    pub tokens_used: u64,
    /// What they cost.
    pub cost: NanoDollars,
    /// Its iterations, those of earlier attempts included.
    pub iterations: u32,
    /// When it began.
    pub start: SystemTime,
    /// When it ended.
    pub end: SystemTime,
    /// Why it failed.
    pub error: Option<&'a Failure>,
}

impl From<AgentExecute<'_>> for FinishedSpan {
    fn from(agent: AgentExecute<'_>) -> Self {
        let times = (agent.start, agent.end);
        let mut span = agent_span_of(agent.header, agent.key, agent.attempt, times);
        span.set(semconv::AGENT_FRAMEWORK, agent.framework.to_owned());
        span.set(semconv::AGENT_PROVIDER, agent.provider.to_owned());
        span.set(semconv::AGENT_MODEL, agent.model.to_owned());
        span.set(semconv::AGENT_TOKENS_USED, count(agent.tokens_used));
        span.set(semconv::AGENT_COST, agent.cost.to_dollars());
        span.set(semconv::AGENT_ITERATIONS, count(agent.iterations));
        if let Some(failure) = agent.error {
            span.fail(failure);
        }
        span
    }
}

pub(super) fn agent_span_of(
    header: &RunHeader,
    key: &ActivationKey,
    attempt: SpanId,
    times: (SystemTime, SystemTime),
) -> FinishedSpan {
    let context = header.trace.context_of(agent_span(attempt));
    let mut span =
        FinishedSpan::new(semconv::SPAN_AGENT_EXECUTE, SpanKind::Internal, context, times);
    span.state.clone_from(&header.trace.state);
    span.parent = Some(attempt);
    span.identity = Some(header.identity.clone());
    set_run(&mut span, header);
    span.set(semconv::NODE_ID, key.node.clone());
    span.set(semconv::AGENT_ID, format!("{}/{}", header.workflow, key.node));
    span.set(semconv::AGENT_TYPE, "tool_calling");
    span.set(semconv::GEN_AI_OPERATION_NAME, "invoke_agent");
    span.set(semconv::GEN_AI_AGENT_NAME, key.node.clone());
    span.set(semconv::GEN_AI_AGENT_ID, format!("{}/{}", header.workflow, key.node));
    span
}

/// The id of `agent.execute` in an attempt. It is made of the attempt's, which is stored: so whoever finds that one dead
/// can export this one too, and nothing that hangs below it is without a parent.
#[must_use]
pub fn agent_span(attempt: SpanId) -> SpanId {
    let digest: [u8; 32] =
        Sha256::new().chain_update(attempt.0).chain_update(b"agent").finalize().into();
    let [id @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = digest;
    SpanId(id)
}

/// The parent of the steps of an attempt: [`agent_span`] of an agent's, the attempt's own of others.
#[must_use]
pub fn steps_parent(kind: &str, attempt: SpanId) -> SpanId {
    if kind == AGENT { agent_span(attempt) } else { attempt }
}

/// `agent.execute` of an attempt whose worker died.
pub(super) fn agent_crashed(
    header: &RunHeader,
    key: &ActivationKey,
    attempt: SpanId,
    times: (SystemTime, SystemTime),
    failure: &Failure,
) -> FinishedSpan {
    let mut span = agent_span_of(header, key, attempt, times);
    span.clock = Clock::Database;
    span.fail(failure);
    span
}

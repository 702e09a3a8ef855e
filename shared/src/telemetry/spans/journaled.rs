//! The spans of steps as the journal has them.

use std::sync::Arc;
use std::time::SystemTime;

use opentelemetry::trace::SpanKind;

use super::agent::steps_parent;
use super::step::{
    ModelReply, ModelRequest, Settled, StepSpan, lost_step, set_model, set_reply, set_request,
    set_tool, tool_failed,
};
use crate::domain::step::{LostStep, StepKind, StepStatus};
use crate::domain::traced::TracedStep;
use crate::telemetry::semconv;
use crate::telemetry::span::FinishedSpan;

/// The span of a step as the journal has it. Of a call to a model it lacks what is recorded nowhere: the provider's host,
/// the name of the answer, and when its first token came; of a call to a tool, what the model called it.
pub(super) fn journaled_step(step: &TracedStep) -> FinishedSpan {
    if step.status == StepStatus::Lost && step.error.is_none() {
        return lost_step(&lost(step));
    }
    let attempt = step.parent.unwrap_or(step.header.trace.root);
    let start = SystemTime::from(step.started_at);
    let facts = StepSpan {
        span: step.span,
        parent: steps_parent(&step.node_kind, attempt),
        header: &step.header,
        key: &step.key,
        step: step.seq,
        attempt: step.attempt,
        start,
        // It is written down with the intent of the next one, which may be later.
        end: step.latency.map_or(step.ended_at.into(), |latency| start + latency),
        error: step.error.as_ref(),
    };
    match step.kind {
        StepKind::Model => journaled_call(step, facts),
        StepKind::Tool => {
            let error = step.error.as_ref().map(|error| tool_failed(&error.code));
            let facts = StepSpan { error: error.as_ref(), ..facts };
            let mut span = facts.span(semconv::SPAN_TOOL_EXECUTE, SpanKind::Internal);
            set_tool(&mut span, &step.name);
            if let Some(is_http) = step.is_http_tool {
                let kind = if is_http { "function" } else { "extension" };
                span.set(semconv::GEN_AI_TOOL_TYPE, kind);
            }
            span
        }
    }
}

fn journaled_call(step: &TracedStep, facts: StepSpan<'_>) -> FinishedSpan {
    let mut span = facts.span(semconv::SPAN_LLM_GENERATE, SpanKind::Client);
    let provider = step.provider.as_deref().unwrap_or_default();
    let asked = step.request.as_ref();
    let request = ModelRequest {
        provider,
        provider_name: semconv::provider_name(provider),
        model: &step.name,
        max_tokens: step.max_tokens,
        temperature: asked.and_then(|it| it.temperature),
        top_p: asked.and_then(|it| it.top_p),
        seed: asked.and_then(|it| it.seed),
        stop: asked.map_or(&[], |it| it.stop.as_slice()),
        stream: asked.is_some_and(|it| it.stream),
        is_json: asked.is_some_and(|it| it.is_json),
        server: None,
    };
    let settled = Settled { usage: step.charged, cost: step.cost, is_estimated: step.is_estimated };
    set_model(&mut span, &request, &settled);
    if asked.is_some() {
        set_request(&mut span, &request);
    }
    let reply = ModelReply {
        usage: step.usage,
        model: step.response_model.as_deref(),
        finish_reason: step.finish_reason.as_deref(),
        ..ModelReply::default()
    };
    set_reply(&mut span, &reply);
    span
}

pub(super) fn lost(step: &TracedStep) -> LostStep {
    LostStep {
        header: step.header.clone(),
        key: step.key.clone(),
        node_kind: Arc::clone(&step.node_kind),
        seq: step.seq,
        attempt: step.attempt,
        kind: step.kind,
        name: Arc::clone(&step.name),
        provider: step.provider.clone(),
        charged: step.charged,
        cost: step.cost,
        span: step.span,
        parent: step.parent,
        started_at: step.started_at,
        ended_at: step.ended_at,
    }
}

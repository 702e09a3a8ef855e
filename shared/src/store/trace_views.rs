//! What is kept of spans, from rows to what they are made of.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::StoreError;
use super::rows::{
    Columns, count, ended, failure, header, owned, parse, parse_optional, text, time, trace,
};
use super::step_views::{amount, money, optional_amount, reserved, usage};
use crate::domain::failure::Failure;
use crate::domain::ids::{ActivationKey, RunId};
use crate::domain::money::NanoDollars;
use crate::domain::outcome::{AttemptOutcome, WaitFor};
use crate::domain::run::RunTrace;
use crate::domain::state::RunState;
use crate::domain::step::{StepKind, StepStatus};
use crate::domain::trace::SpanId;
use crate::domain::traced::{
    AttemptPosition, TracedAgent, TracedAttempt, TracedEnd, TracedNode, TracedRequest, TracedRun,
    TracedStep,
};
use crate::domain::usage::Usage;

/// What a statement takes out of the parameters of a node, as one JSON object: whole, they may be large.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Parameters {
    temperature: Option<f64>,
    top_p: Option<f64>,
    seed: Option<i64>,
    /// A text or a list of them.
    stop: Value,
    stream: Option<bool>,
    has_schema: bool,
    framework: Option<String>,
    provider: Option<String>,
    model: Option<String>,
    /// The names of those tools that are called by HTTP.
    http_tools: Option<Vec<Option<String>>>,
}

/// Reads `parameters`; null where there are none, or they hold what no database takes apart. What is not of its type,
/// which no node would have taken, counts as not there.
fn parameters(row: &impl Columns) -> Result<Option<Parameters>, StoreError> {
    Ok(row.text("parameters")?.and_then(|text| serde_json::from_str(text).ok()))
}

/// Reads a run, and how it was accepted.
pub(super) fn run(row: &impl Columns) -> Result<TracedRun, StoreError> {
    let header = header(row, false)?;
    let state: RunState = parse(row, "state")?;
    let has_ended = state.is_terminal() && row.time("ended_at")?.is_some();
    let first = RunTrace {
        trace: parse(row, "first_trace_id")?,
        root: parse(row, "first_root_span_id")?,
        state: parse_optional(row, "first_trace_state")?,
        ..header.trace
    };
    // A request that is not recorded has no span: the log names the one that published the run.
    let request: Option<SpanId> = parse_optional(row, "request_span_id")?;
    let request = request.filter(|span| *span != first.publish);
    Ok(TracedRun {
        first,
        request,
        entries: count(row, "entries")?,
        ended: match has_ended {
            true => Some(ended(row, failure(row, "error")?)?),
            false => None,
        },
        header,
    })
}

/// Reads an attempt. The columns of its run have the trace that the attempt is in.
pub(super) fn attempt(row: &impl Columns) -> Result<TracedAttempt, StoreError> {
    let header = header(row, false)?;
    let ordinal = row.integer("ordinal")?.unwrap_or_default();
    Ok(TracedAttempt {
        position: AttemptPosition { ordinal, claim: count(row, "claim")? },
        key: key(row, header.id)?,
        kind: text(row, "kind")?.into(),
        number: count(row, "attempt")?,
        span: parse(row, "node_span_id")?,
        publish: parse(row, "node_publish_span_id")?,
        is_only: row.boolean("is_only")?,
        started_at: time(row, "node_started_at")?,
        ended_at: time(row, "node_ended_at")?,
        end: end(row)?,
        agent: agent(row)?,
        header,
    })
}

fn key(row: &impl Columns, run: RunId) -> Result<ActivationKey, StoreError> {
    let (node, scope) = (text(row, "node_key")?.into(), text(row, "scope")?.into());
    Ok(ActivationKey { run, node, scope })
}

fn end(row: &impl Columns) -> Result<TracedEnd, StoreError> {
    let error = || -> Result<Failure, StoreError> {
        let unsaid = || Failure::new("failed", "the node failed");
        Ok(failure(row, "node_error")?.unwrap_or_else(unsaid))
    };
    let (input, delay) = (None, Duration::ZERO);
    Ok(TracedEnd::Outcome(match text(row, "ended_as")? {
        "succeeded" => AttemptOutcome::Succeeded { input, output: String::new() },
        "failed" => AttemptOutcome::Failed { input, output: None, error: error()? },
        "retry" => AttemptOutcome::Retry { input, error: error()?, delay },
        "waiting" => AttemptOutcome::Waiting { input, waiting_for: WaitFor::Time(delay) },
        "cancelled" => AttemptOutcome::Cancelled,
        "released" => return Ok(TracedEnd::Abandoned { is_crash: false }),
        "crashed" => return Ok(TracedEnd::Abandoned { is_crash: true }),
        other => return Err(StoreError::Corrupt(format!("an attempt has ended as {other:?}"))),
    }))
}

fn agent(row: &impl Columns) -> Result<Option<TracedAgent>, StoreError> {
    if !row.boolean("is_agent")? {
        return Ok(None);
    }
    let Parameters { framework, provider, model, .. } = parameters(row)?.unwrap_or_default();
    let iterations = u32::try_from(amount(row, "agent_iterations")?).unwrap_or(u32::MAX);
    Ok(Some(TracedAgent {
        framework,
        provider: owned(row, "agent_provider")?.or(provider),
        model,
        tokens_used: amount(row, "agent_tokens")?,
        cost: money(row, "agent_nanos")?.unwrap_or(NanoDollars::ZERO),
        iterations,
        has_steps: row.boolean("agent_has_steps")?,
    }))
}

/// Reads an activation. The columns of its run's trace are those of the trace that it is in.
pub(super) fn node(row: &impl Columns, run: RunId) -> Result<TracedNode, StoreError> {
    Ok(TracedNode {
        key: key(row, run)?,
        trace: trace(row)?,
        span: parse_optional(row, "node_span_id")?,
        ended_at: row.time("node_ended_at")?,
    })
}

/// Reads a step. The columns of its run have the trace that the step is in.
pub(super) fn step(row: &impl Columns) -> Result<TracedStep, StoreError> {
    let header = header(row, false)?;
    let kind: StepKind = parse(row, "step_kind")?;
    let status: StepStatus = parse(row, "status")?;
    let is_estimated = row.boolean("estimated")?;
    let is_counted = row.integer("input_tokens")?.is_some();
    let reserved = reserved(row)?;
    let name = text(row, "name")?;
    let node_kind = text(row, "node_kind")?;
    let parameters = parameters(row)?;
    let is_http_tool = parameters.as_ref().and_then(|it| {
        let tools = it.http_tools.as_ref()?;
        Some(tools.iter().flatten().any(|tool| tool == name))
    });
    Ok(TracedStep {
        position: row.integer("step_id")?.unwrap_or_default(),
        key: key(row, header.id)?,
        seq: count(row, "step")?,
        attempt: count(row, "step_attempt")?,
        kind,
        name: name.into(),
        status,
        provider: row.text("provider")?.map(Into::into),
        response_model: owned(row, "response_model")?,
        finish_reason: owned(row, "finish_reason")?,
        // What is reserved of the output is what it may be at most.
        max_tokens: u32::try_from(reserved.output_tokens).unwrap_or(u32::MAX),
        usage: is_counted.then(|| usage(row)).transpose()?,
        charged: match (is_counted, is_estimated) {
            (true, _) => usage(row)?,
            (false, true) => reserved,
            (false, false) => Usage::default(),
        },
        cost: money(row, "cost_nanos")?,
        is_estimated,
        request: parameters.filter(|_| kind == StepKind::Model).map(request),
        is_http_tool: is_http_tool.filter(|_| kind == StepKind::Tool),
        error: failure(row, "step_error")?,
        span: parse(row, "step_span_id")?,
        parent: parse_optional(row, "parent_span_id")?,
        started_at: time(row, "step_started_at")?,
        latency: optional_amount(row, "latency_ms")?.map(Duration::from_millis),
        ended_at: time(row, "step_ended_at")?,
        node_kind: node_kind.into(),
        header,
    })
}

fn request(parameters: Parameters) -> TracedRequest {
    let Parameters { temperature, top_p, seed, stop, stream, has_schema, .. } = parameters;
    let stop = match stop {
        Value::String(text) => vec![text],
        Value::Array(texts) => texts.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    };
    let stream = stream.unwrap_or_default();
    TracedRequest { temperature, top_p, seed, stop, stream, is_json: has_schema }
}

//! The spans of steps: `llm.generate` for a call to a model, `tool.execute` for a call to a tool.

use std::sync::Arc;
use std::time::SystemTime;

use opentelemetry::trace::SpanKind;

use super::agent::steps_parent;
use super::workflow::set_run;
use crate::domain::failure::Failure;
use crate::domain::ids::ActivationKey;
use crate::domain::money::NanoDollars;
use crate::domain::run::RunHeader;
use crate::domain::step::{LostStep, StepKind};
use crate::domain::trace::SpanId;
use crate::domain::usage::Usage;
use crate::telemetry::semconv;
use crate::telemetry::span::{Clock, FinishedSpan, count, millis};

/// What every span of a step says.
#[derive(Debug, Clone, Copy)]
pub struct StepSpan<'a> {
    /// Its reserved id.
    pub span: SpanId,
    /// Its parent: the attempt's own span, or [`agent_span`](super::agent_span) of it.
    pub parent: SpanId,
    /// The run.
    pub header: &'a RunHeader,
    /// Which node of it.
    pub key: &'a ActivationKey,
    /// Its number within the activation, from 1.
    pub step: u32,
    /// Which of its tries, from 1.
    pub attempt: u32,
    /// When it began.
    pub start: SystemTime,
    /// When it ended.
    pub end: SystemTime,
    /// Why it failed.
    pub error: Option<&'a Failure>,
}

impl StepSpan<'_> {
    pub(super) fn span(&self, name: &'static str, kind: SpanKind) -> FinishedSpan {
        let context = self.header.trace.context_of(self.span);
        let mut span = FinishedSpan::new(name, kind, context, (self.start, self.end));
        span.state.clone_from(&self.header.trace.state);
        span.parent = Some(self.parent);
        span.identity = Some(self.header.identity.clone());
        set_run(&mut span, self.header);
        span.set(semconv::NODE_ID, self.key.node.clone());
        if !self.key.scope.is_empty() {
            span.set(semconv::NODE_SCOPE, self.key.scope.clone());
        }
        span.set(semconv::STEP_NUMBER, count(self.step));
        span.set(semconv::STEP_ATTEMPT, count(self.attempt));
        if let Some(failure) = self.error {
            span.fail(failure);
        }
        span
    }
}

/// What a model was asked with.
#[derive(Debug, Clone, Copy, Default)]
pub struct ModelRequest<'a> {
    /// What Skein calls the provider.
    pub provider: &'a str,
    /// What OpenTelemetry calls it: one of the values of `gen_ai.provider.name`, or the same.
    pub provider_name: &'a str,
    /// The model that was asked for.
    pub model: &'a str,
    /// Tokens that it may answer with.
    pub max_tokens: u32,
    /// How freely it chooses.
    pub temperature: Option<f64>,
    /// From how much of the probability it chooses.
    pub top_p: Option<f64>,
    /// What makes it choose the same again.
    pub seed: Option<i64>,
    /// What ends its answer.
    pub stop: &'a [String],
    /// Whether somebody may read along.
    pub stream: bool,
    /// Whether it was to answer by a schema.
    pub is_json: bool,
    /// The host that was asked.
    pub server: Option<(&'a str, u16)>,
}

/// What a model answered.
#[derive(Debug, Clone, Copy, Default)]
pub struct ModelReply<'a> {
    /// Tokens, where its provider counted them.
    pub usage: Option<Usage>,
    /// The model that answered, where it said so.
    pub model: Option<&'a str>,
    /// What the provider calls the answer.
    pub id: Option<&'a str>,
    /// Why it ended.
    pub finish_reason: Option<&'a str>,
    /// Seconds until its first token.
    pub time_to_first_token: Option<f64>,
}

/// What a call was settled for, as the cost log has it: the sum over spans is the sum over rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Settled {
    /// Tokens.
    pub usage: Usage,
    /// Money; absent where the model has no price.
    pub cost: Option<NanoDollars>,
    /// Whether that is the most that it could come to, because its provider has not counted.
    pub is_estimated: bool,
}

/// `llm.generate`: one request to the provider of a model.
#[derive(Debug, Clone, Copy)]
pub struct LlmGenerate<'a> {
    /// What every step says.
    pub step: StepSpan<'a>,
    /// What was asked.
    pub request: ModelRequest<'a>,
    /// What was answered.
    pub reply: ModelReply<'a>,
    /// What it was settled for.
    pub settled: Settled,
    /// The messages and the answer as JSON text, where somebody has asked for them to be exported.
    pub content: Option<(&'a str, &'a str)>,
}

impl From<LlmGenerate<'_>> for FinishedSpan {
    fn from(call: LlmGenerate<'_>) -> Self {
        let LlmGenerate { step, request, reply, settled, content } = call;
        let mut span = step.span(semconv::SPAN_LLM_GENERATE, SpanKind::Client);
        set_model(&mut span, &request, &settled);
        set_request(&mut span, &request);
        if let Some(time) = reply.time_to_first_token {
            span.set(semconv::GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK, time);
            span.set(semconv::GEN_AI_SERVER_TTFT, time);
        }
        if let Some((host, port)) = request.server {
            span.set(semconv::SERVER_ADDRESS, host.to_owned());
            span.set(semconv::SERVER_PORT, i64::from(port));
        }
        set_reply(&mut span, &reply);
        if let Some((input, output)) = content {
            span.set(semconv::GEN_AI_INPUT_MESSAGES, input.to_owned());
            span.set(semconv::GEN_AI_OUTPUT_MESSAGES, output.to_owned());
        }
        span
    }
}

/// What every call says, also one of which no more is known than what it had reserved.
pub(super) fn set_model(span: &mut FinishedSpan, request: &ModelRequest<'_>, settled: &Settled) {
    span.set(semconv::LLM_PROVIDER, request.provider.to_owned());
    span.set(semconv::LLM_MODEL, request.model.to_owned());
    span.set(semconv::LLM_LATENCY_MS, millis(span.duration()));
    span.set(semconv::LLM_INPUT_TOKENS, count(settled.usage.input_tokens));
    span.set(semconv::LLM_OUTPUT_TOKENS, count(settled.usage.output_tokens));
    span.set(semconv::LLM_TOTAL_TOKENS, count(settled.usage.total()));
    span.set(semconv::LLM_ESTIMATED, settled.is_estimated);
    if let Some(cost) = settled.cost {
        span.set(semconv::LLM_COST_USD, cost.to_dollars());
    }
    span.set(semconv::GEN_AI_OPERATION_NAME, "chat");
    span.set(semconv::GEN_AI_PROVIDER_NAME, request.provider_name.to_owned());
    span.set(semconv::GEN_AI_REQUEST_MODEL, request.model.to_owned());
    span.set(semconv::GEN_AI_REQUEST_MAX_TOKENS, count(request.max_tokens));
}

/// How the workflow has it asked.
pub(super) fn set_request(span: &mut FinishedSpan, request: &ModelRequest<'_>) {
    let numbers = [
        (semconv::GEN_AI_REQUEST_TEMPERATURE, request.temperature),
        (semconv::GEN_AI_REQUEST_TOP_P, request.top_p),
    ];
    for (key, number) in numbers {
        if let Some(number) = number {
            span.set(key, number);
        }
    }
    if let Some(seed) = request.seed {
        span.set(semconv::GEN_AI_REQUEST_SEED, seed);
    }
    if !request.stop.is_empty() {
        let stop = request.stop.iter().map(String::as_str);
        span.set_strings(semconv::GEN_AI_REQUEST_STOP_SEQUENCES, stop);
    }
    span.set(semconv::GEN_AI_REQUEST_STREAM, request.stream);
    span.set(semconv::GEN_AI_OUTPUT_TYPE, if request.is_json { "json" } else { "text" });
}

pub(super) fn set_reply(span: &mut FinishedSpan, reply: &ModelReply<'_>) {
    if let Some(usage) = reply.usage {
        span.set(semconv::GEN_AI_USAGE_INPUT_TOKENS, count(usage.input_tokens));
        span.set(semconv::GEN_AI_USAGE_OUTPUT_TOKENS, count(usage.output_tokens));
        span.set(semconv::GEN_AI_USAGE_CACHE_READ, count(usage.cached_tokens));
        span.set(semconv::GEN_AI_USAGE_CACHE_CREATION, count(usage.cache_write_tokens));
    }
    let texts =
        [(semconv::GEN_AI_RESPONSE_MODEL, reply.model), (semconv::GEN_AI_RESPONSE_ID, reply.id)];
    for (key, text) in texts {
        if let Some(text) = text {
            span.set(key, text.to_owned());
        }
    }
    if let Some(reason) = reply.finish_reason {
        span.set_strings(semconv::GEN_AI_RESPONSE_FINISH_REASONS, std::iter::once(reason));
    }
}

/// `tool.execute`: one call of a tool.
#[derive(Debug, Clone, Copy)]
pub struct ToolExecute<'a> {
    /// What every step says.
    pub step: StepSpan<'a>,
    /// The tool.
    pub name: &'a str,
    /// `function` for one that is called by HTTP, `extension` for one of an MCP server.
    pub kind: &'a str,
    /// What the model called the call.
    pub call_id: Option<&'a str>,
    /// Arguments and result as JSON text, where somebody has asked for them to be exported.
    pub content: Option<(&'a str, &'a str)>,
}

impl From<ToolExecute<'_>> for FinishedSpan {
    fn from(call: ToolExecute<'_>) -> Self {
        let mut span = call.step.span(semconv::SPAN_TOOL_EXECUTE, SpanKind::Internal);
        set_tool(&mut span, call.name);
        span.set(semconv::GEN_AI_TOOL_TYPE, call.kind.to_owned());
        if let Some(id) = call.call_id {
            span.set(semconv::GEN_AI_TOOL_CALL_ID, id.to_owned());
        }
        if let Some((arguments, result)) = call.content {
            span.set(semconv::GEN_AI_TOOL_CALL_ARGUMENTS, arguments.to_owned());
            span.set(semconv::GEN_AI_TOOL_CALL_RESULT, result.to_owned());
        }
        span
    }
}

/// What spans and log rows say of a tool that has failed. What its server says stays with the step.
#[must_use]
pub fn tool_failed(code: &Arc<str>) -> Failure {
    Failure::new(Arc::clone(code), "the tool failed")
}

pub(super) fn set_tool(span: &mut FinishedSpan, name: &str) {
    span.set(semconv::GEN_AI_OPERATION_NAME, "execute_tool");
    span.set(semconv::GEN_AI_TOOL_NAME, name.to_owned());
}

/// The span of a step whose attempt ended before it had a result. What it was settled for stands on it: the sum over
/// spans is the sum over rows.
#[must_use]
pub fn lost_step(step: &LostStep) -> FinishedSpan {
    let error =
        Failure::new("lost", "the attempt ended before there was a result; it may have happened");
    let attempt = step.parent.unwrap_or(step.header.trace.root);
    let facts = StepSpan {
        span: step.span,
        parent: steps_parent(&step.node_kind, attempt),
        header: &step.header,
        key: &step.key,
        step: step.seq,
        attempt: step.attempt,
        start: step.started_at.into(),
        end: step.ended_at.into(),
        error: Some(&error),
    };
    match step.kind {
        StepKind::Model => {
            let mut span = facts.span(semconv::SPAN_LLM_GENERATE, SpanKind::Client);
            let provider = step.provider.as_deref().unwrap_or_default();
            let request = ModelRequest {
                provider,
                provider_name: semconv::provider_name(provider),
                model: &step.name,
                // What is reserved of the output is what it may be at most.
                max_tokens: u32::try_from(step.charged.output_tokens).unwrap_or(u32::MAX),
                ..ModelRequest::default()
            };
            let settled = Settled { usage: step.charged, cost: step.cost, is_estimated: true };
            set_model(&mut span, &request, &settled);
            FinishedSpan { clock: Clock::Database, ..span }
        }
        StepKind::Tool => {
            let mut span = facts.span(semconv::SPAN_TOOL_EXECUTE, SpanKind::Internal);
            set_tool(&mut span, &step.name);
            FinishedSpan { clock: Clock::Database, ..span }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::super::agent::{AgentExecute, agent_span};
    use super::super::samples::{self, attributes};
    use super::*;

    fn step<'a>(header: &'a RunHeader, key: &'a ActivationKey) -> StepSpan<'a> {
        StepSpan {
            span: crate::telemetry::new_span_id(),
            parent: crate::telemetry::new_span_id(),
            header,
            key,
            step: 2,
            attempt: 1,
            start: samples::now(),
            end: samples::now() + Duration::from_millis(1500),
            error: None,
        }
    }

    const USAGE: Usage =
        Usage { input_tokens: 100, cached_tokens: 40, cache_write_tokens: 0, output_tokens: 20 };

    #[test]
    fn a_call_to_a_model_follows_the_conventions() {
        let header = samples::header();
        let key = ActivationKey::root(header.id, "summarise");
        let stop = ["END".to_owned()];
        let request = ModelRequest {
            provider: "google",
            provider_name: "gcp.gemini",
            model: "gemini-3-flash",
            max_tokens: 4096,
            temperature: Some(0.5),
            top_p: Some(0.9),
            seed: Some(7),
            stop: &stop,
            stream: true,
            is_json: true,
            server: Some(("models.example", 443)),
        };
        let reply = ModelReply {
            usage: Some(USAGE),
            model: Some("gemini-3-flash-001"),
            id: Some("r-1"),
            finish_reason: Some("stop"),
            time_to_first_token: Some(0.25),
        };
        let call = LlmGenerate {
            step: step(&header, &key),
            request,
            reply,
            settled: Settled { usage: USAGE, cost: Some(NanoDollars(12_345)), is_estimated: false },
            content: None,
        };
        let span = FinishedSpan::from(call);
        assert_eq!((span.name.as_ref(), &span.kind), ("llm.generate", &SpanKind::Client));
        assert_eq!(span.parent, Some(call.step.parent));
        assert_eq!(span.error, None);
        assert_eq!(
            attributes(&span),
            json!({
                "workflow.id": "digest",
                "workflow.version": 4,
                "workflow.execution_id": samples::RUN,
                "node.id": "summarise",
                "step.number": 2,
                "step.attempt": 1,
                "llm.provider": "google",
                "llm.model": "gemini-3-flash",
                "llm.latency_ms": 1500,
                "llm.cost_usd": 0.000012345,
                "llm.input_tokens": 100,
                "llm.output_tokens": 20,
                "llm.total_tokens": 120,
                "llm.estimated": false,
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": "gcp.gemini",
                "gen_ai.request.model": "gemini-3-flash",
                "gen_ai.request.max_tokens": 4096,
                "gen_ai.request.temperature": 0.5,
                "gen_ai.request.top_p": 0.9,
                "gen_ai.request.seed": 7,
                "gen_ai.request.stop_sequences": ["END"],
                "gen_ai.request.stream": true,
                "gen_ai.output.type": "json",
                "gen_ai.response.id": "r-1",
                "gen_ai.response.model": "gemini-3-flash-001",
                "gen_ai.response.finish_reasons": ["stop"],
                "gen_ai.response.time_to_first_chunk": 0.25,
                "gen_ai.server.ttft": 0.25,
                "gen_ai.usage.input_tokens": 100,
                "gen_ai.usage.output_tokens": 20,
                "gen_ai.usage.cache_read.input_tokens": 40,
                "gen_ai.usage.cache_creation.input_tokens": 0,
                "server.address": "models.example",
                "server.port": 443,
            })
        );
    }

    #[test]
    fn tokens_stand_on_calls_to_models_alone() {
        let header = samples::header();
        let key = ActivationKey::root(header.id, "research");
        let attempt = crate::telemetry::new_span_id();
        let agent = FinishedSpan::from(AgentExecute {
            attempt,
            header: &header,
            key: &key,
            framework: "react",
            provider: "openai",
            model: "gpt-5",
            tokens_used: 120,
            cost: NanoDollars(5),
            iterations: 3,
            start: samples::now(),
            end: samples::now(),
            error: None,
        });
        assert_eq!((agent.context.span, agent.parent), (agent_span(attempt), Some(attempt)));
        let told = attributes(&agent);
        assert_eq!(
            (&told["agent.tokens_used"], &told["agent.iterations"]),
            (&json!(120), &json!(3))
        );
        assert_eq!(told["agent.cost"], 5e-9);
        assert_eq!(told["gen_ai.operation.name"], "invoke_agent");
        let tool = FinishedSpan::from(ToolExecute {
            step: step(&header, &key),
            name: "search",
            kind: "function",
            call_id: Some("call-1"),
            content: None,
        });
        assert_eq!(attributes(&tool)["gen_ai.tool.name"], "search");
        for span in [told, attributes(&tool)] {
            let keys = span.as_object().unwrap().keys();
            let is_summed =
                |key: &&String| key.starts_with("gen_ai.usage") || key.contains("request.model");
            assert_eq!(keys.filter(is_summed).count(), 0, "{span}");
        }
    }

    #[test]
    fn a_lost_step_hangs_where_it_would_have_and_says_what_it_was_settled_for() {
        let header = samples::header();
        let attempt = crate::telemetry::new_span_id();
        let lost = |node_kind: &str, kind| LostStep {
            key: ActivationKey::root(header.id, "research"),
            header: header.clone(),
            node_kind: node_kind.into(),
            seq: 5,
            attempt: 1,
            kind,
            name: "gpt-5".into(),
            provider: Some("google".into()),
            charged: USAGE,
            cost: Some(NanoDollars(7)),
            span: crate::telemetry::new_span_id(),
            parent: Some(attempt),
            started_at: header.created_at,
            ended_at: header.created_at,
        };
        let call = lost_step(&lost("agent", StepKind::Model));
        assert_eq!((call.name.as_ref(), call.parent), ("llm.generate", Some(agent_span(attempt))));
        for (key, value) in [
            ("llm.cost_usd", json!(7e-9)),
            ("llm.total_tokens", json!(120)),
            ("llm.estimated", json!(true)),
            ("gen_ai.provider.name", json!("gcp.gemini")),
            ("gen_ai.request.max_tokens", json!(20)),
            ("error.type", json!("lost")),
        ] {
            assert_eq!(attributes(&call)[key], value, "{key}");
        }
        // Nobody has counted.
        assert_eq!(attributes(&call).get("gen_ai.usage.input_tokens"), None);
        assert_eq!(lost_step(&lost("llm", StepKind::Model)).parent, Some(attempt));
        let tool = lost_step(&lost("agent", StepKind::Tool));
        assert_eq!(tool.name.as_ref(), "tool.execute");
    }
}

//! The steps of an agent that call a tool, or ask a server for its tools.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::journal::{Begun, Charge, RecordedStep, STEP_BYTES_MAX, StepIntent, StepResult};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use skein_shared::domain::failure::Failure;
use skein_shared::domain::kind::OnUncertain;
use skein_shared::domain::outcome::WaitFor;
use skein_shared::domain::step::{StepKind, StepStatus};
use skein_shared::telemetry::metrics::{CalledTool, FinishedStep};
use skein_shared::telemetry::spans::{StepSpan, ToolExecute, tool_failed};
use skein_shared::telemetry::{FinishedSpan, new_span_id};

use super::super::ending::Stop;
use super::super::events::{self, Made};
use super::super::strategy::ToolResult;
use super::super::tools::{self, McpServer, Observation, Pinned, Tool};
use super::{Session, refusal};
use crate::models::ToolCall;
use crate::nodes::{NodeContext, NodeError};
use crate::steps::{self, Told, contended, exhausted};

/// The longest time of one call to a tool. A model waits for it, and can call it again.
const TOOL_TIME_MAX: Duration = Duration::from_secs(60);
/// What asking a server for its tools is called among the steps.
const LIST_TOOLS: &str = "tools/list";

impl Session<'_> {
    /// Calls a tool in the next step.
    pub(super) async fn call(
        &mut self,
        tool: &dyn Tool,
        call: &ToolCall,
        arguments: Value,
    ) -> Result<ToolResult, Stop> {
        let text = arguments.to_string();
        if text.len() > STEP_BYTES_MAX {
            let message = format!("the arguments take more than {STEP_BYTES_MAX} bytes");
            return Ok(refusal(message, false));
        }
        let name = &tool.spec().name;
        let step = self.steps.next();
        if self.take_up() {
            let result = self.called(step, name)?;
            // Whoever has gone on from here has said so.
            if result.is_denied && self.steps.tries().is_empty() {
                let event = events::denied(&self.steps.site, step, name, "refused");
                self.steps.log(vec![event]).await?;
            }
            return Ok(result);
        }
        self.check_steps()?;
        self.check_wall()?;
        let was_under_way = self
            .steps
            .tries()
            .last()
            .is_some_and(|last| matches!(last.status, StepStatus::Started | StepStatus::Lost));
        if was_under_way
            && !tool.is_repeatable()
            && self.means.context.on_uncertain == OnUncertain::Fail
        {
            let message = format!(
                "the worker stopped or died during a call of `{name}`, which must not be repeated; whether it happened \
                 is not known"
            );
            return Err(NodeError::fail("uncertain", message).into());
        }
        let span = new_span_id();
        let params = self.means.params;
        let timeout = Duration::from_millis(params.approval_timeout_ms);
        let intent = StepIntent {
            seq: step,
            kind: StepKind::Tool,
            name: name.as_str().into(),
            digest: digest(name, &text),
            arguments: Some(text.clone()),
            span,
            reservation: None,
            decision_within: params.approve.contains(name).then_some(timeout),
        };
        let attempt = match self.begin(intent, timeout).await? {
            Some(attempt) => attempt,
            None => return Err(Stop::Again),
        };
        let start = SystemTime::now();
        let begun = tokio::time::Instant::now();
        let time = self.time_left(TOOL_TIME_MAX);
        let context = NodeContext {
            span: self.means.context.run.trace.context_of(span),
            timeout: time,
            ..self.means.context.clone()
        };
        let key = self.steps.site.idempotency_key(step);
        let observation =
            match tokio::time::timeout(time, tool.call(&context, &key, arguments)).await {
                Ok(observation) => observation,
                Err(_) => {
                    let limit = skein_shared::domain::duration::format(time);
                    let message = format!("the tool did not answer within {limit}");
                    Observation::failed(Failure::new("timeout", message))
                }
            };
        if context.cancelled.is_cancelled() {
            // What it yielded is that it was stopped: it is still under way for whoever goes on.
            return Err(NodeError::retry("cancelled", "the attempt was cancelled").into());
        }
        let made = Made { step, attempt, span, start, latency: begun.elapsed() };
        let shown = Shown { name, kind: tool.kind(), call_id: Some(&call.id), arguments: &text };
        let is_error = observation.error.is_some();
        let content = tools::content(&observation.value).into_owned();
        self.over(&made, &shown, &observation, StepStatus::Failed);
        Ok(ToolResult { content, is_error, is_denied: false })
    }

    /// What a call came to that an earlier attempt has made.
    fn called(&mut self, step: u32, name: &str) -> Result<ToolResult, Stop> {
        let recorded = self.replayed(step, name)?;
        let observation = steps::observation(&recorded)?;
        Ok(match recorded.status {
            StepStatus::Denied => {
                let why = recorded.error.map(|error| error.message).unwrap_or_default();
                refusal(format!("the call was not allowed: {why}"), true)
            }
            status => ToolResult {
                content: tools::content(&observation).into_owned(),
                is_error: status != StepStatus::Succeeded,
                is_denied: false,
            },
        })
    }

    /// What is recorded of a step that was made. It goes on with the next one.
    fn replayed(&mut self, step: u32, name: &str) -> Result<RecordedStep, Stop> {
        let recorded = self.steps.replay();
        let texts = recorded.iter().flat_map(|it| [&it.observation, &it.arguments]);
        self.bytes += texts.flatten().map(String::len).sum::<usize>();
        recorded.filter(|it| it.kind == StepKind::Tool && it.name == name).ok_or_else(|| {
            let message = format!(
                "step {step} was another one than a call of `{name}` in an earlier attempt"
            );
            NodeError::fail("internal", message).into()
        })
    }

    /// The tools of a server: as they were written down, or, once, as it says.
    pub(super) async fn tools_of(&mut self, server: &McpServer) -> Result<Vec<Pinned>, Stop> {
        let step = self.steps.next();
        if self.take_up() {
            let recorded = self.replayed(step, LIST_TOOLS)?;
            return Ok(steps::observation(&recorded)?
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Pinned::of_json)
                .collect());
        }
        self.check_wall()?;
        let text = json!({ "url": server.url() }).to_string();
        let span = new_span_id();
        let intent = StepIntent {
            seq: step,
            kind: StepKind::Tool,
            name: LIST_TOOLS.into(),
            digest: digest(LIST_TOOLS, &text),
            arguments: Some(text.clone()),
            span,
            reservation: None,
            decision_within: None,
        };
        let Some(attempt) = self.begin(intent, Duration::ZERO).await? else {
            return Err(Stop::Again);
        };
        let (start, begun) = (SystemTime::now(), tokio::time::Instant::now());
        let time = self.time_left(TOOL_TIME_MAX);
        let context = NodeContext {
            span: self.means.context.run.trace.context_of(span),
            timeout: time,
            ..self.means.context.clone()
        };
        // For the handshake and all pages together.
        let listed = tokio::time::timeout(time, server.list(&context)).await.unwrap_or_else(|_| {
            let limit = skein_shared::domain::duration::format(time);
            let message =
                format!("the MCP server {} did not list its tools within {limit}", server.url());
            Err(NodeError::retry("timeout", message))
        });
        let made = Made { step, attempt, span, start, latency: begun.elapsed() };
        let shown = Shown { name: LIST_TOOLS, kind: "extension", call_id: None, arguments: &text };
        match listed {
            Ok(tools) => {
                let value = tools.iter().map(Pinned::to_json).collect();
                self.over(&made, &shown, &Observation::of(value), StepStatus::Failed);
                Ok(tools)
            }
            // The step is still to be made, if the node tries again.
            Err(error) => {
                let observation = Observation::failed(error.failure.clone());
                self.over(&made, &shown, &observation, StepStatus::Refused);
                self.check_wall()?;
                Err(error.into())
            }
        }
    }

    /// Begins a step of a tool. `None` if it is over meanwhile: what is recorded says how.
    async fn begin(&mut self, intent: StepIntent, within: Duration) -> Result<Option<u32>, Stop> {
        let (step, tool) = (intent.seq, Arc::clone(&intent.name));
        let arguments: Arc<str> = intent.arguments.clone().unwrap_or_default().into();
        match self.steps.begin(intent).await? {
            Begun::Started { attempt, .. } => Ok(Some(attempt)),
            Begun::Pending => {
                let expires_at = self.steps.tries().last().and_then(|last| last.expires_at);
                let now = self.steps.site.now();
                let left = expires_at.map(|at| (at - now).to_std().unwrap_or_default());
                let expires_in = left.unwrap_or(within);
                Err(Stop::Wait(WaitFor::Decision { step, tool, arguments, expires_in }))
            }
            Begun::Over(status) if status == StepStatus::Denied || status.is_final() => Ok(None),
            // Somebody was asked to decide about another call.
            Begun::Over(_) => Err(unexpected(step)),
            Begun::Contended => Err(Stop::Wait(contended(&self.steps.site, None))),
            Begun::Exhausted(facts, way) => {
                Err(Stop::Wait(exhausted(&mut self.steps, facts, way).await?))
            }
            Begun::Nothing | Begun::PriceUnknown => Err(unexpected(step)),
        }
    }

    /// A call is over; `failure` is what it is when it has failed.
    fn over(
        &mut self,
        made: &Made,
        shown: &Shown<'_>,
        observation: &Observation,
        failure: StepStatus,
    ) {
        let site = &self.steps.site;
        let value = observation.value.to_string();
        self.bytes += value.len() + shown.arguments.len();
        let said = observation.error.as_ref();
        let error = said.map(|error| tool_failed(&error.code));
        let is_exported = self.means.caller.exports_content();
        let span = FinishedSpan::from(ToolExecute {
            step: StepSpan {
                span: made.span,
                parent: site.parent,
                header: site.run,
                key: site.key,
                step: made.step,
                attempt: made.attempt,
                start: made.start,
                end: made.start + made.latency,
                error: error.as_ref(),
            },
            name: shown.name,
            kind: shown.kind,
            call_id: shown.call_id,
            content: is_exported.then_some((shown.arguments, value.as_str())),
        });
        let event = events::called(site, made, shown.name, error.as_ref());
        let result = StepResult {
            seq: made.step,
            attempt: made.attempt,
            status: if said.is_none() { StepStatus::Succeeded } else { failure },
            observation: Some(value),
            thought: None,
            error: said.cloned(),
            charge: Charge::Nothing,
            price: None,
            response_model: None,
            latency: made.latency,
        };
        let counted =
            FinishedStep::Tool(CalledTool { kind: Some(shown.kind), status: result.status });
        self.steps.finish(result, vec![event], Told { span, counted });
    }
}

/// How it is shown.
struct Shown<'a> {
    name: &'a str,
    kind: &'static str,
    call_id: Option<&'a str>,
    arguments: &'a str,
}

fn unexpected(step: u32) -> Stop {
    let message = format!("step {step} is recorded as another one than what would be made now");
    NodeError::fail("internal", message).into()
}

fn digest(name: &str, arguments: &str) -> [u8; 32] {
    Sha256::new().chain_update(name).chain_update([0]).chain_update(arguments).finalize().into()
}

//! `llm`: asks a model, others in its place where it does not answer, and once more where the answer does not fit.

use std::sync::Arc;

use serde_json::{Value, json};
use skein_shared::domain::limits::JSON_DEPTH_MAX;
use skein_shared::workflow::params::llm::LlmParams;

use super::{Done, NodeContext, NodeError, Outcome, SteppedNode};
use crate::journal::Journal;
use crate::models::{ChatRequest, Message, Provider, parse_within};
use crate::steps::{Answer, Asked, CallFailed, Deltas, ModelCaller, Question, Steps};
use schema::{AnswerSchema, Judged};

mod request;
mod schema;

#[cfg(test)]
mod tests;

/// Bytes of an answer in the failure of a node whose model does not answer by the schema. The failure's details have a
/// kilobyte, and say what is wrong first.
const SHOWN_TEXT_MAX: usize = 512;

/// How deep the arguments of a call may nest: the output, its list of calls and the call are around them.
const CALL_DEPTH_MAX: usize = JSON_DEPTH_MAX - 3;

pub(super) struct Llm {
    models: ModelCaller,
}

impl Llm {
    pub(super) fn new(models: ModelCaller) -> Self {
        Self { models }
    }
}

/// A model that may be asked.
struct Candidate<'a> {
    provider: &'a Provider,
    model: String,
}

/// Where a conversation is.
struct Conversation<'a> {
    candidates: Vec<Candidate<'a>>,
    request: ChatRequest,
    schema: Option<Arc<AnswerSchema>>,
}

impl SteppedNode for Llm {
    type Params = LlmParams;

    async fn execute(
        &self,
        context: &NodeContext,
        journal: &dyn Journal,
        params: LlmParams,
    ) -> Result<Outcome, NodeError> {
        let candidates = self.candidates(&params)?;
        let stream = params.stream;
        let schema = match params.schema.clone() {
            Some(schema) => Some(Arc::new(AnswerSchema::compile(schema).await?)),
            None => None,
        };
        let request = request::build(params)?;
        let conversation = Conversation { candidates, request, schema };
        let mut steps = Steps::open(context.site(journal, context.span.span)).await?;
        let deltas = |step: u32, text: &str| context.live.delta(&context.key, step, text);
        let deltas = stream.then_some(&deltas as &(dyn Fn(u32, &str) + Send + Sync));
        let outcome = self.converse(&mut steps, conversation, deltas).await;
        // Whatever came of it, the last call is paid for.
        steps.flush().await?;
        outcome
    }
}

impl Llm {
    /// The models that may be asked, in order. All providers are looked up before the first is asked: one that is missing
    /// is a mistake that must not wait for the day on which it is needed.
    fn candidates(&self, params: &LlmParams) -> Result<Vec<Candidate<'_>>, CallFailed> {
        let mut provider = self.models.provider(params.provider.as_deref())?;
        let mut candidates = vec![Candidate { provider, model: params.model.clone() }];
        for fallback in &params.fallback {
            if fallback.provider.is_some() {
                provider = self.models.provider(fallback.provider.as_deref())?;
            }
            candidates.push(Candidate { provider, model: fallback.model.clone() });
        }
        Ok(candidates)
    }

    async fn converse(
        &self,
        steps: &mut Steps<'_>,
        conversation: Conversation<'_>,
        deltas: Option<&Deltas<'_>>,
    ) -> Result<Outcome, NodeError> {
        let Conversation { candidates, mut request, schema } = conversation;
        let (mut at, mut is_repaired) = (0, false);
        loop {
            let Candidate { provider, model } = &candidates[at];
            request.model.clone_from(model);
            let question = Question { provider, request: &request, deltas };
            let answer = match self.models.ask(steps, question).await {
                Ok(Asked::Answered(answer)) => answer,
                Ok(Asked::Wait(wait)) => return Ok(Outcome::Wait(wait)),
                Err(failed) if failed.is_worth_another && at + 1 < candidates.len() => {
                    at += 1;
                    continue;
                }
                // That has ended an earlier attempt, and this is another one.
                Err(failed) if failed.is_replayed && failed.retryable => {
                    at = 0;
                    continue;
                }
                Err(failed) => return Err(failed.into()),
            };
            let wrong = match judge(schema.as_ref(), &answer).await? {
                Judged::Fits(json) => return Ok(done(answer, json, steps)),
                Judged::DoesNot(wrong) => wrong,
            };
            if answer.finish_reason == "length" {
                return Err(cut_off(&answer, request.max_tokens));
            }
            if is_repaired || answer.finish_reason == "content_filter" {
                return Err(invalid_output(&answer, &wrong));
            }
            is_repaired = true;
            request.messages.extend(repair(&answer, &wrong));
        }
    }
}

/// Judges an answer by the schema, if there is one and the model has not called tools instead.
async fn judge(schema: Option<&Arc<AnswerSchema>>, answer: &Answer) -> Result<Judged, NodeError> {
    match schema {
        Some(schema) if answer.tool_calls.is_empty() => {
            AnswerSchema::judge(schema, &answer.text).await
        }
        _ => Ok(Judged::Fits(None)),
    }
}

/// What the model is told of an answer that does not fit.
fn repair(answer: &Answer, wrong: &str) -> [Message; 2] {
    let asked = format!(
        "Your answer does not fit the JSON Schema that it has to match:\n{wrong}\nAnswer again, with JSON that matches the schema and nothing else."
    );
    // Providers refuse a message that is empty.
    let text = if answer.text.trim().is_empty() { "(no text)" } else { &answer.text };
    [Message::Assistant { text: text.to_owned(), tool_calls: Vec::new() }, Message::User(asked)]
}

fn done(answer: Answer, json: Option<Value>, steps: &Steps<'_>) -> Outcome {
    let totals = steps.totals();
    let mut output = json!({ "text": answer.text });
    if let Some(json) = json {
        output["json"] = json;
    }
    if !answer.tool_calls.is_empty() {
        let calls = answer.tool_calls.into_iter().map(|call| {
            let arguments = parse_within(&call.arguments, CALL_DEPTH_MAX);
            let arguments = arguments.unwrap_or(Value::String(call.arguments));
            json!({ "id": call.id, "name": call.name, "arguments": arguments })
        });
        output["tool_calls"] = calls.collect();
    }
    output["usage"] = totals.usage_json();
    output["cost_usd"] = totals.cost_json();
    output["finish_reason"] = answer.finish_reason.into();
    output["model"] = answer.model.into();
    output["provider"] = (*answer.provider).into();
    Outcome::Done(Done::with_output(output))
}

fn cut_off(answer: &Answer, max_tokens: u32) -> NodeError {
    let message = format!(
        "the answer was cut off at `max_tokens` ({max_tokens}) before its JSON was complete: raise it"
    );
    let details = format!("It begins: {}", shown(&answer.text));
    NodeError::fail("output_cut_off", message).with_details(details)
}

fn invalid_output(answer: &Answer, wrong: &str) -> NodeError {
    let wrong = wrong.replace('\n', " ");
    let wrong = &wrong[..wrong.floor_char_boundary(SHOWN_TEXT_MAX / 2)];
    let details = format!("{wrong} It is: {}", shown(&answer.text));
    NodeError::fail("invalid_output", "the answer does not match the schema").with_details(details)
}

fn shown(text: &str) -> String {
    match text.floor_char_boundary(SHOWN_TEXT_MAX) {
        end if end < text.len() => format!("{}…", &text[..end]),
        _ => text.to_owned(),
    }
}

//! One call to a model as a step: its turn, its reservation, the request, and what it is settled for.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use skein_shared::domain::failure::Failure;
use skein_shared::domain::money::{NanoDollars, Price};
use skein_shared::domain::outcome::WaitFor;
use skein_shared::domain::step::{StepKind, StepStatus};
use skein_shared::domain::trace::SpanId;
use skein_shared::domain::usage::Usage;
use skein_shared::store::steps::{Begun, Charge, RateRequest, Reservation, StepIntent, StepResult};
use skein_shared::telemetry::metrics::{FinishedStep, ModelCall};
use skein_shared::telemetry::spans::{self, LlmGenerate, ModelReply, ModelRequest, StepSpan};
use skein_shared::telemetry::{FinishedSpan, new_span_id};

use super::answer::Answer;
use super::caller::ModelCaller;
use super::digest::{answer_json, digest, request_json};
use super::events::Called;
use super::failed::CallFailed;
use super::without_budget::{contended, exhausted};
use super::{Site, Steps, Told, record, refusals};
use crate::egress::Origin;
use crate::mask::Masker;
use crate::models::prices::ModelPrice;
use crate::models::{Billing, Call, CallError, ChatReply, ChatRequest, ErrorClass, Provider};

/// A turn at a provider that comes so soon is waited for within the attempt: a wait of the node costs two commits.
const TURN_SLEEP_MAX: Duration = Duration::from_millis(250);
/// The longest wait for a first token. Models that think first, and say nothing meanwhile, take minutes.
const FIRST_TOKEN_TIMEOUT: Duration = Duration::from_secs(300);
/// What of an attempt's time is kept for writing down that a call took too long: a tenth, and no more than this.
const WRITE_TIME_MAX: Duration = Duration::from_secs(2);

/// Takes text of an answer while it comes: the step that it belongs to, and the text.
pub(crate) type Deltas<'a> = dyn Fn(u32, &str) + Send + Sync + 'a;

/// What a model is to be asked.
#[derive(Clone, Copy)]
pub(crate) struct Question<'a> {
    /// Who is asked.
    pub(crate) provider: &'a Provider,
    /// What.
    pub(crate) request: &'a ChatRequest,
    /// Takes pieces of the answer as they come, with the number of the step, where somebody may read along. MUST NOT
    /// block.
    pub(crate) deltas: Option<&'a Deltas<'a>>,
}

/// What came of asking.
#[derive(Debug)]
pub(crate) enum Asked {
    /// The model has answered, now or to an earlier attempt.
    Answered(Answer),
    /// The node is to wait, without a slot. What was over is written down.
    Wait(WaitFor),
}

/// A call whose intent is durable.
struct Begin {
    seq: u32,
    attempt: u32,
    span: SpanId,
    start: SystemTime,
    price: Option<ModelPrice>,
    input_tokens: u64,
}

/// What a call has come to, with what it is settled for.
struct Settled {
    charge: Charge,
    /// That of what was counted.
    price: Option<Price>,
    /// Tokens, where the provider counted them.
    usage: Option<Usage>,
    /// Those that it is settled for.
    charged: Usage,
    cost: Option<NanoDollars>,
    end: SystemTime,
    latency: Duration,
}

impl ModelCaller {
    /// Asks a model in the step that is to be made, unless an earlier attempt has made it.
    ///
    /// # Errors
    /// When there is no answer. What was over need not be written down then: [`Steps::flush`].
    pub(crate) async fn ask(
        &self,
        steps: &mut Steps<'_>,
        question: Question<'_>,
    ) -> Result<Asked, CallFailed> {
        if let Some(recorded) = steps.replay() {
            return record::read(&recorded).map(Asked::Answered);
        }
        let Question { provider, request, .. } = question;
        let input_tokens = u64::try_from(provider.model.request_bytes(request)).unwrap_or(u64::MAX);
        let rate = rate_request(question, input_tokens);
        let has_turn = has_turn(steps, provider);
        let price = self.prices.of(&provider.name, &request.model);
        let seq = steps.next();
        let span = new_span_id();
        let intent = StepIntent {
            seq,
            kind: StepKind::Model,
            name: request.model.as_str().into(),
            digest: digest(provider, request),
            arguments: None,
            span,
            reservation: Some(Reservation {
                provider: Arc::clone(&provider.shown),
                model: request.model.as_str().into(),
                price: price.map(|price| price.at_most(input_tokens, request.max_tokens.into())),
                input_tokens,
                output_tokens: request.max_tokens.into(),
            }),
            decision_within: None,
        };
        // A turn is not given back, and the fleet shares it: who has no room in its budget must not take one, and looks
        // again and again. But a reservation must not wait for a turn either, or what nobody spends would stand in the way
        // of others. So the budget is asked first, then the turn is taken, and what the call may take is reserved last.
        // Between the two others may have taken the room: the turn is kept then (below).
        if rate.is_some() && !has_turn {
            // What this node itself has reserved must not stand in its way.
            steps.flush().await?;
            match steps.site.journal.room_for(&intent).await? {
                Begun::Nothing => {}
                begun => return refused_by_budget(steps, question, begun, None).await,
            }
            if let Some(wait) = turn(steps, rate.as_ref(), Duration::ZERO).await? {
                return Ok(Asked::Wait(wait));
            }
        }
        let attempt = match steps.begin(intent).await? {
            Begun::Started { attempt, .. } => attempt,
            begun @ (Begun::Contended | Begun::Exhausted(..) | Begun::PriceUnknown) => {
                let turn = rate.as_ref().map(|rate| (Arc::clone(&rate.provider), seq));
                return refused_by_budget(steps, question, begun, turn).await;
            }
            begun @ (Begun::Nothing | Begun::Pending | Begun::Over(_)) => {
                let message = format!("a call to a model was answered with {begun:?}");
                return Err(CallFailed::fail("internal", message));
            }
        };
        let start = SystemTime::now();
        let begin = Begin { seq, attempt, span, start, price, input_tokens };
        match self.send(&steps.site, question, &begin).await {
            (Ok(reply), settled) => self.answered(steps, question, &begin, reply, &settled),
            (Err(error), settled) => {
                self.refused(steps, question, &begin, error, settled, rate).await
            }
        }
    }

    async fn send(
        &self,
        site: &Site<'_>,
        question: Question<'_>,
        begin: &Begin,
    ) -> (Result<ChatReply, CallError>, Settled) {
        let Question { provider, request, deltas } = question;
        let origin = Origin {
            span: site.run.trace.context_of(begin.span),
            run: Arc::clone(site.run),
            key: site.key.clone(),
            resends: begin.attempt.saturating_sub(1),
            masker: Masker::default(),
        };
        let delta = deltas.map(|deltas| move |text: &str| deltas(begin.seq, text));
        let left = site.left();
        let timeout = left.saturating_sub(WRITE_TIME_MAX.min(left / 10));
        let call = Call {
            origin: &origin,
            idempotency_key: &site.idempotency_key(begin.seq),
            first_token_timeout: FIRST_TOKEN_TIMEOUT.min(timeout),
            timeout,
            deltas: delta.as_ref().map(|delta| delta as &(dyn Fn(&str) + Send + Sync)),
            cancelled: site.cancelled,
        };
        let begun = tokio::time::Instant::now();
        let result = provider.model.chat(request, &call).await;
        let (charge, usage) = match &result {
            Ok(ChatReply { usage: Some(usage), .. }) => (Charge::Counted(*usage), Some(*usage)),
            Ok(_) => (Charge::Reserved, None),
            Err(error) => match error.billing {
                Billing::Nothing => (Charge::Nothing, None),
                Billing::Unknown => (Charge::Reserved, None),
            },
        };
        let price = usage.and_then(|usage| Some(begin.price?.at(usage.input_tokens)));
        let (input_tokens, output_tokens) = (begin.input_tokens, request.max_tokens.into());
        let charged = match charge {
            Charge::Nothing => Usage::default(),
            Charge::Counted(usage) => usage,
            Charge::Reserved => Usage { input_tokens, output_tokens, ..Usage::default() },
        };
        let cost = begin.price.map(|price| match charge {
            Charge::Nothing => NanoDollars::ZERO,
            Charge::Counted(usage) => price.at(usage.input_tokens).cost(&usage),
            Charge::Reserved => {
                price.at_most(input_tokens, output_tokens).at_most(input_tokens, output_tokens)
            }
        });
        let (end, latency) = (SystemTime::now(), begun.elapsed());
        (result, Settled { charge, price, usage, charged, cost, end, latency })
    }

    fn answered(
        &self,
        steps: &mut Steps<'_>,
        question: Question<'_>,
        begin: &Begin,
        reply: ChatReply,
        settled: &Settled,
    ) -> Result<Asked, CallFailed> {
        let Question { provider, request, .. } = question;
        steps.totals.add(settled.charged, settled.cost);
        let observation = record::of_reply(&reply, &provider.shown);
        let failure = observation.is_none().then(|| {
            let message = "the model's answer is larger than a step may hold: lower `max_tokens`";
            Failure::new("output_too_large", message)
        });
        let called = called(question, begin, settled);
        let event = match &failure {
            None => called.succeeded(&steps.site, &reply.finish_reason),
            Some(failure) => called.failed(&steps.site, failure, ErrorClass::Refused.as_str()),
        };
        let thought = Some(&reply.text).filter(|text| {
            !reply.tool_calls.is_empty() && !text.is_empty() && observation.is_some()
        });
        let result = StepResult {
            seq: begin.seq,
            attempt: begin.attempt,
            status: if failure.is_none() { StepStatus::Succeeded } else { StepStatus::Failed },
            observation,
            thought: thought.cloned(),
            error: failure.clone(),
            charge: settled.charge,
            price: settled.price,
            response_model: reply.model.clone(),
            latency: settled.latency,
        };
        let span = self.span(&steps.site, question, begin, settled, Ok(&reply), failure.as_ref());
        let counted = counted(question, settled, failure.as_ref());
        steps.finish(result, vec![event], Told { span, counted });
        if let Some(failure) = failure {
            return Err(CallFailed { failure, ..CallFailed::fail("output_too_large", "") });
        }
        Ok(Asked::Answered(Answer {
            text: reply.text,
            tool_calls: reply.tool_calls,
            finish_reason: reply.finish_reason,
            model: reply.model.unwrap_or_else(|| request.model.clone()),
            provider: Arc::clone(&provider.shown),
            usage: settled.usage,
            cost: settled.cost,
        }))
    }

    /// What becomes of a call that yielded no answer: it waits and is made again, or has failed.
    async fn refused(
        &self,
        steps: &mut Steps<'_>,
        question: Question<'_>,
        begin: &Begin,
        error: CallError,
        settled: Settled,
        rate: Option<RateRequest>,
    ) -> Result<Asked, CallFailed> {
        steps.totals.add(settled.charged, settled.cost);
        let wait = match error.class {
            ErrorClass::RateLimited => {
                refusals::wait(&steps.site, steps.tries(), error.retry_after, fastrand::f64())
            }
            _ => None,
        };
        let failed = CallFailed::of(&error);
        let event = called(question, begin, &settled).failed(
            &steps.site,
            &failed.failure,
            error.class.as_str(),
        );
        let status = match error.class {
            _ if wait.is_some() => StepStatus::Refused,
            // Whoever goes on makes the same step again: under the same key, and it counts once. That is what a crash
            // would have come to as well. Nobody goes on with a run that was cancelled.
            ErrorClass::Cancelled if steps.site.journal.is_given_back() => StepStatus::Lost,
            _ => StepStatus::Failed,
        };
        let result = StepResult {
            seq: begin.seq,
            attempt: begin.attempt,
            status,
            observation: Some(record::of_error(&error)),
            thought: None,
            error: Some(failed.failure.clone()),
            charge: settled.charge,
            price: settled.price,
            response_model: None,
            latency: settled.latency,
        };
        let failure = Some(&failed.failure);
        let span = self.span(&steps.site, question, begin, &settled, Err(&error), failure);
        let counted = counted(question, &settled, failure);
        steps.finish(result, vec![event], Told { span, counted });
        let Some(wait) = wait else { return Err(failed) };
        steps.flush().await?;
        let starts_in = match turn(steps, rate.as_ref(), wait).await? {
            Some(wait) => return Ok(Asked::Wait(wait)),
            None => wait,
        };
        let provider = Arc::clone(&question.provider.name);
        Ok(Asked::Wait(WaitFor::Rate { provider, step: begin.seq, starts_in }))
    }

    fn span(
        &self,
        site: &Site<'_>,
        question: Question<'_>,
        begin: &Begin,
        settled: &Settled,
        answer: Result<&ChatReply, &CallError>,
        error: Option<&Failure>,
    ) -> FinishedSpan {
        let Question { provider, request, deltas } = question;
        let content = self.exports_content.then(|| {
            let output = match answer {
                Ok(reply) => vec![answer_json(&reply.text, &reply.tool_calls)],
                Err(_) => Vec::new(),
            };
            (request_json(request).to_string(), Value::Array(output).to_string())
        });
        let reply = match answer {
            Ok(reply) => ModelReply {
                usage: settled.usage,
                model: reply.model.as_deref(),
                id: reply.response_id.as_deref(),
                finish_reason: Some(&reply.finish_reason),
                time_to_first_token: reply.time_to_first_token.map(|time| time.as_secs_f64()),
            },
            Err(_) => ModelReply::default(),
        };
        FinishedSpan::from(LlmGenerate {
            step: StepSpan {
                span: begin.span,
                parent: site.parent,
                header: site.run,
                key: site.key,
                step: begin.seq,
                attempt: begin.attempt,
                start: begin.start,
                end: settled.end,
                error,
            },
            request: ModelRequest {
                provider: &provider.shown,
                provider_name: &provider.semconv_name,
                model: &request.model,
                max_tokens: request.max_tokens,
                temperature: request.temperature,
                top_p: request.top_p,
                seed: request.seed,
                stop: &request.stop,
                stream: deltas.is_some(),
                is_json: request.schema.is_some(),
                server: Some((&provider.server_address, provider.server_port)),
            },
            reply,
            settled: spans::Settled {
                usage: settled.charged,
                cost: settled.cost,
                is_estimated: settled.charge == Charge::Reserved,
            },
            content: content.as_ref().map(|(input, output)| (&**input, &**output)),
        })
    }
}

fn called<'a>(question: Question<'a>, begin: &Begin, settled: &Settled) -> Called<'a> {
    Called {
        span: begin.span,
        step: begin.seq,
        attempt: begin.attempt,
        provider: &question.provider.shown,
        model: &question.request.model,
        usage: settled.usage,
        cost: settled.cost,
        latency_ms: u64::try_from(settled.latency.as_millis()).unwrap_or(u64::MAX),
    }
}

/// What is counted of a call.
fn counted(
    Question { provider, request, .. }: Question<'_>,
    settled: &Settled,
    failure: Option<&Failure>,
) -> FinishedStep {
    FinishedStep::Model(ModelCall {
        provider: Arc::clone(&provider.semconv_name),
        model: request.model.as_str().into(),
        took: settled.latency,
        usage: settled.usage,
        cost: settled.cost,
        error: failure.map(|failure| Arc::clone(&failure.code)),
    })
}

/// What a call takes of its provider's rates; absent where there are none.
fn rate_request(question: Question<'_>, input_tokens: u64) -> Option<RateRequest> {
    let Provider { name, requests_per_minute, tokens_per_minute, .. } = question.provider;
    let is_limited = requests_per_minute.is_some() || tokens_per_minute.is_some();
    is_limited.then(|| RateRequest {
        provider: Arc::clone(name),
        requests_per_minute: *requests_per_minute,
        tokens_per_minute: *tokens_per_minute,
        tokens: input_tokens.saturating_add(question.request.max_tokens.into()),
    })
}

/// What becomes of a node whose next call the budgets do not allow now. While it waits for what others have reserved it
/// keeps `turn`, which it has taken: that is a matter of seconds. Who waits for more money or another day takes a new one
/// then: all that have waited would come at once with those of long ago.
async fn refused_by_budget(
    steps: &mut Steps<'_>,
    question: Question<'_>,
    begun: Begun,
    turn: Option<(Arc<str>, u32)>,
) -> Result<Asked, CallFailed> {
    match begun {
        Begun::Exhausted(facts, way) => exhausted(steps, facts, way).await.map(Asked::Wait),
        Begun::PriceUnknown => Err(price_unknown(question)),
        _ => Ok(Asked::Wait(contended(&steps.site, turn))),
    }
}

/// Whether the node has waited for its turn for this very step, or with it: it was granted then.
fn has_turn(steps: &Steps<'_>, provider: &Provider) -> bool {
    steps.site.waited_for.is_some_and(|waited_for| {
        (waited_for["type"] == "rate" || waited_for["type"] == "budget")
            && waited_for["provider"] == *provider.name
            && waited_for["step"] == steps.next()
    })
}

/// Asks for a turn at the provider that is not before `at_least`. Yields a wait, unless the turn has come: a short one
/// is waited for here.
async fn turn(
    steps: &Steps<'_>,
    rate: Option<&RateRequest>,
    at_least: Duration,
) -> Result<Option<WaitFor>, CallFailed> {
    let Some(rate) = rate else { return Ok(None) };
    let Some(granted) = steps.site.journal.start_in(rate.clone()).await? else {
        let message =
            format!("{} has no turn within an hour: too many calls wait for it", rate.provider);
        let failed = CallFailed::fail("rate_limited", message);
        return Err(CallFailed { retryable: true, is_worth_another: true, ..failed });
    };
    let starts_in = granted.max(at_least);
    if starts_in > TURN_SLEEP_MAX {
        let provider = Arc::clone(&rate.provider);
        return Ok(Some(WaitFor::Rate { provider, step: steps.next(), starts_in }));
    }
    tokio::select! {
        biased;
        () = steps.site.cancelled.cancelled() => {}
        () = tokio::time::sleep(starts_in) => {}
    }
    Ok(None)
}

fn price_unknown(question: Question<'_>) -> CallFailed {
    let (provider, model) = (&question.provider.name, &question.request.model);
    let message = format!(
        "money is limited (`max_usd`), and {model} of {provider} has no price: give it one in the file of SKEIN_MODEL_PRICES"
    );
    CallFailed::fail("price_unknown", message)
}

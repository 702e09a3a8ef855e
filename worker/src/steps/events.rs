//! The log rows of calls to models. They hold no prompts, answers or arguments.

use serde_json::{Value, json};
use skein_shared::domain::budget::{BudgetPeriod, Exhausted, Resource};
use skein_shared::domain::failure::Failure;
use skein_shared::domain::money::NanoDollars;
use skein_shared::domain::trace::SpanId;
use skein_shared::domain::usage::Usage;
use skein_shared::store::engine::NewEvent;

use super::Site;

/// A call that is over.
pub(super) struct Called<'a> {
    pub(super) span: SpanId,
    pub(super) step: u32,
    pub(super) attempt: u32,
    pub(super) provider: &'a str,
    pub(super) model: &'a str,
    pub(super) usage: Option<Usage>,
    pub(super) cost: Option<NanoDollars>,
    pub(super) latency_ms: u64,
}

impl Called<'_> {
    fn facts(&self) -> Value {
        json!({
            "step": self.step,
            "attempt": self.attempt,
            "provider": self.provider,
            "model": self.model,
            "input_tokens": self.usage.map(|usage| usage.input_tokens),
            "output_tokens": self.usage.map(|usage| usage.output_tokens),
            "cost_usd": self.cost.map(NanoDollars::to_dollars),
            "latency_ms": self.latency_ms,
        })
    }

    /// `llm.called`.
    pub(super) fn succeeded(&self, site: &Site<'_>, finish_reason: &str) -> NewEvent {
        let mut facts = self.facts();
        facts["finish_reason"] = finish_reason.into();
        let tokens = match self.usage {
            Some(usage) => format!("{} tokens", usage.total()),
            None => "uncounted tokens".to_owned(),
        };
        let cost = match self.cost {
            Some(cost) => cost.to_string(),
            None => "no price".to_owned(),
        };
        let message = format!("{} {} answered: {tokens}, {cost}", self.provider, self.model);
        event(site, self.span, "info", "llm.called", &message, &facts)
    }

    /// `llm.failed`.
    pub(super) fn failed(&self, site: &Site<'_>, failure: &Failure, class: &str) -> NewEvent {
        let mut facts = self.facts();
        facts["code"] = (*failure.code).into();
        facts["class"] = class.into();
        let message =
            format!("{} {} did not answer: {}", self.provider, self.model, failure.message);
        event(site, self.span, "warn", "llm.failed", &message, &facts)
    }
}

/// `budget.exhausted`.
pub(super) fn exhausted(site: &Site<'_>, step: u32, exhausted: &Exhausted) -> NewEvent {
    let mut facts = exhausted_json(exhausted);
    facts["step"] = step.into();
    event(site, site.parent, "warn", "budget.exhausted", &in_words(exhausted), &facts)
}

fn exhausted_json(exhausted: &Exhausted) -> Value {
    json!({
        "period": exhausted.period.as_str(),
        "resource": exhausted.resource.as_str(),
        "limit": amount(exhausted.resource, exhausted.limit),
        "spent": amount(exhausted.resource, exhausted.spent),
        "needed": amount(exhausted.resource, exhausted.needed),
        "renews_at": exhausted.renews_at,
    })
}

/// What stands in the way, in words.
pub(super) fn in_words(exhausted: &Exhausted) -> String {
    let Exhausted { period, resource, limit, spent, needed, .. } = *exhausted;
    let whose = match period {
        BudgetPeriod::Run => "the run's budget",
        BudgetPeriod::Day => "the organization's budget for the day",
        BudgetPeriod::Month => "the organization's budget for the month",
    };
    let shown = |amount: u64| match resource {
        Resource::Usd => nanos(amount).to_string(),
        Resource::Tokens | Resource::Steps => format!("{amount} {resource}"),
    };
    let (limit, spent, needed) = (shown(limit), shown(spent), shown(needed));
    format!(
        "{whose} of {limit} has no room: {spent} are spent, and the next step may take {needed}"
    )
}

fn amount(resource: Resource, amount: u64) -> Value {
    match resource {
        Resource::Usd => json!(nanos(amount).to_dollars()),
        Resource::Tokens | Resource::Steps => json!(amount),
    }
}

fn nanos(amount: u64) -> NanoDollars {
    NanoDollars(i64::try_from(amount).unwrap_or(i64::MAX))
}

fn event(
    site: &Site<'_>,
    span: SpanId,
    level: &'static str,
    event: &'static str,
    message: &str,
    facts: &Value,
) -> NewEvent {
    NewEvent {
        node: Some(site.key.node.clone()),
        scope: Some(site.key.scope.clone()),
        level,
        event,
        // PostgreSQL cannot hold NUL in text.
        message: message.replace('\0', "\u{fffd}"),
        data: Some(facts.to_string()),
        span: Some(span),
    }
}

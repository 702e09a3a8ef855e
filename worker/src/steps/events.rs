//! The log rows of calls to models. They hold no prompts, answers or arguments.

use serde_json::{Value, json};
use skein_shared::domain::budget::{BudgetPeriod, Exhausted, Resource};
use skein_shared::domain::failure::Failure;
use skein_shared::domain::money::NanoDollars;
use skein_shared::domain::trace::SpanId;
use skein_shared::domain::usage::Usage;

use super::Site;
use crate::journal::NewEvent;

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
        site.event(self.span, "info", "llm.called", &message, &facts)
    }

    /// `llm.failed`.
    pub(super) fn failed(&self, site: &Site<'_>, failure: &Failure, class: &str) -> NewEvent {
        let mut facts = self.facts();
        facts["code"] = (*failure.code).into();
        facts["class"] = class.into();
        let message =
            format!("{} {} did not answer: {}", self.provider, self.model, failure.message);
        site.event(self.span, "warn", "llm.failed", &message, &facts)
    }
}

/// `budget.exhausted`.
pub(super) fn exhausted(site: &Site<'_>, step: u32, exhausted: &Exhausted) -> NewEvent {
    let mut facts = exhausted.to_json();
    facts["step"] = step.into();
    site.event(site.parent, "warn", "budget.exhausted", &in_words(exhausted), &facts)
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
        Resource::Usd => NanoDollars::of(amount).to_string(),
        Resource::Tokens | Resource::Steps => format!("{amount} {resource}"),
    };
    let (limit, spent, needed) = (shown(limit), shown(spent), shown(needed));
    format!(
        "{whose} of {limit} has no room: {spent} are spent, and the next step may take {needed}"
    )
}

//! What the steps of an activation took together.

use serde_json::{Value, json};
use skein_shared::domain::money::NanoDollars;
use skein_shared::domain::step::{LostStep, StepKind, StepStatus};
use skein_shared::domain::usage::Usage;
use skein_shared::store::steps::RecordedStep;

/// Tokens and money of all calls to models, refused, failed and lost ones too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Tokens that they were settled for: counted by their providers, or what was reserved where nobody has counted. So a
    /// limit holds whatever a provider tells, and the run and its costs say the same.
    pub(crate) usage: Usage,
    /// What those calls cost that have a price.
    pub(crate) cost: NanoDollars,
    /// Calls that have none.
    pub(crate) unpriced: u32,
}

impl Totals {
    /// Adds a call.
    pub(super) fn add(&mut self, charged: Usage, cost: Option<NanoDollars>) {
        self.usage = self.usage.plus(&charged);
        match cost {
            Some(cost) => self.cost = self.cost.plus(cost),
            None => self.unpriced += 1,
        }
    }

    /// Adds what an earlier attempt has left. What is still under way there is added when it is known to be lost.
    pub(super) fn add_recorded(&mut self, step: &RecordedStep) {
        if step.kind == StepKind::Model && step.status != StepStatus::Started {
            self.add(step.charged, step.cost);
        }
    }

    /// Adds a step that is lost.
    pub(super) fn add_lost(&mut self, step: &LostStep) {
        if step.kind == StepKind::Model {
            self.add(step.charged, step.cost);
        }
    }

    /// The tokens, as outputs show them.
    pub(crate) fn usage_json(&self) -> Value {
        json!({
            "input_tokens": self.usage.input_tokens,
            "output_tokens": self.usage.output_tokens,
            "cached_tokens": self.usage.cached_tokens,
            "total_tokens": self.usage.total(),
        })
    }

    /// The dollars, as outputs show them: null when nobody knows what one of the calls cost.
    pub(crate) fn cost_json(&self) -> Value {
        match self.unpriced {
            0 => json!(self.cost.to_dollars()),
            _ => Value::Null,
        }
    }
}

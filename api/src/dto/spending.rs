//! Steps, what they cost, and what may be spent.

use chrono::{DateTime, Utc};
use serde::Serialize;
use skein_shared::domain::budget::{BudgetPeriod, RunBudget, SpendingLimits};
use skein_shared::domain::money::NanoDollars;
use skein_shared::domain::usage;
use skein_shared::store::spending::{self, CostGrouping, StepRow};
use utoipa::ToSchema;

use super::{RunError, StoredJson, stored_optional};
use crate::problem::Problem;
use crate::words::{OnExhausted, StepKind, StepStatus};

/// Tokens of calls to models.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Usage {
    /// Tokens of the inputs, cached ones included.
    input_tokens: u64,
    /// Those that were read from the provider's cache.
    cached_tokens: u64,
    /// Tokens of the outputs.
    output_tokens: u64,
    /// Tokens of inputs and outputs.
    total_tokens: u64,
}

impl From<usage::Usage> for Usage {
    fn from(usage: usage::Usage) -> Self {
        Self {
            input_tokens: usage.input_tokens,
            cached_tokens: usage.cached_tokens,
            output_tokens: usage.output_tokens,
            total_tokens: usage.total(),
        }
    }
}

/// A try of a step: a call to a model or to a tool.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Step {
    /// The node.
    node: String,
    /// Which repetition of it.
    scope: String,
    /// The number of the step within the node, from 1.
    index: u32,
    /// Which of its tries, from 1.
    attempt: u32,
    /// What it does.
    #[schema(value_type = StepKind)]
    kind: &'static str,
    /// The model or the tool.
    name: String,
    /// Where it is in its life.
    #[schema(value_type = StepStatus)]
    status: &'static str,
    /// What a tool was called with.
    #[schema(value_type = serde_json::Value, required, nullable)]
    arguments: Option<StoredJson>,
    /// What came back.
    #[schema(value_type = serde_json::Value, required, nullable)]
    observation: Option<StoredJson>,
    /// What the model said before it called tools.
    #[schema(required)]
    thought: Option<String>,
    /// Why it failed, or was denied.
    #[schema(required)]
    error: Option<RunError>,
    /// Tokens, where the provider counted them.
    #[schema(required)]
    usage: Option<Usage>,
    /// What it cost in US dollars; null where the model has no price, and of a tool.
    #[schema(required)]
    cost_usd: Option<f64>,
    /// How long it took, in milliseconds.
    #[schema(required)]
    latency_ms: Option<u64>,
    /// The trace of its span.
    #[schema(pattern = "^[0-9a-f]{32}$")]
    trace_id: String,
    /// Its span.
    #[schema(pattern = "^[0-9a-f]{16}$")]
    span_id: String,
    /// When it began.
    started_at: DateTime<Utc>,
    /// When the decision about it is due.
    #[schema(required)]
    expires_at: Option<DateTime<Utc>>,
}

impl TryFrom<StepRow> for Step {
    type Error = Problem;

    fn try_from(row: StepRow) -> Result<Self, Problem> {
        let StepRow { node, scope, trace, step } = row;
        Ok(Self {
            node,
            scope,
            index: step.seq,
            attempt: step.attempt,
            kind: step.kind.as_str(),
            name: step.name,
            status: step.status.as_str(),
            arguments: stored_optional(step.arguments)?,
            observation: stored_optional(step.observation)?,
            thought: step.thought,
            error: step.error.map(RunError::from),
            usage: step.usage.map(Usage::from),
            cost_usd: step.cost.map(NanoDollars::to_dollars),
            latency_ms: step
                .latency
                .map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
            trace_id: trace.to_string(),
            span_id: step.span.to_string(),
            started_at: step.started_at,
            expires_at: step.expires_at,
        })
    }
}

/// Steps of a run, in the order of their beginning.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StepList {
    pub(crate) items: Vec<Step>,
    /// Where the next page starts; null on the last one.
    #[schema(required)]
    pub(crate) next_cursor: Option<String>,
}

/// What calls to models came to.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Spending {
    /// Requests to providers; refused, failed and abandoned ones too.
    calls: u64,
    /// Those that cost nobody knows what, because the model has no price.
    unpriced_calls: u64,
    /// Steps that were begun.
    steps: u64,
    /// Tokens.
    #[serde(flatten)]
    usage: Usage,
    /// What those cost that have a price, in US dollars; null where none of them has one.
    #[schema(required)]
    cost_usd: Option<f64>,
}

/// What calls cost, in US dollars: nobody knows where none of them has a price, and then it is not nothing.
pub(crate) fn cost_usd(spent: &spending::Spending) -> Option<f64> {
    let is_unknown = spent.calls > 0 && spent.calls == spent.unpriced_calls;
    (!is_unknown).then(|| spent.cost.to_dollars())
}

impl From<spending::Spending> for Spending {
    fn from(spent: spending::Spending) -> Self {
        Self {
            calls: spent.calls,
            unpriced_calls: spent.unpriced_calls,
            steps: spent.steps,
            usage: spent.usage.into(),
            cost_usd: cost_usd(&spent),
        }
    }
}

/// What calls that have something in common came to. One of its members says what that is: the one that `group_by` names.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct CostKey {
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    workflow: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = "uuid")]
    run: Option<String>,
    /// `workflow/node`.
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    /// A day in UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    day: Option<String>,
}

impl CostKey {
    fn of(grouping: CostGrouping, key: String) -> Self {
        let (none, key) = (Self::default(), Some(key));
        match grouping {
            CostGrouping::Model => Self { model: key, ..none },
            CostGrouping::Provider => Self { provider: key, ..none },
            CostGrouping::Workflow => Self { workflow: key, ..none },
            CostGrouping::Run => Self { run: key, ..none },
            CostGrouping::Node => Self { node: key, ..none },
            CostGrouping::User => Self { user: key, ..none },
            CostGrouping::Day => Self { day: key, ..none },
        }
    }
}

/// What calls that have something in common came to.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Cost {
    #[serde(flatten)]
    key: CostKey,
    #[serde(flatten)]
    spent: Spending,
}

impl Cost {
    pub(crate) fn new(grouping: CostGrouping, group: spending::CostGroup) -> Self {
        Self { key: CostKey::of(grouping, group.key), spent: group.spending.into() }
    }
}

/// Costs, in the order of what they have in common.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CostList {
    pub(crate) items: Vec<Cost>,
    /// Where the next page starts; null on the last one.
    #[schema(required)]
    pub(crate) next_cursor: Option<String>,
}

/// How much may be spent. What is null is not limited.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Limits {
    /// US dollars.
    #[schema(required)]
    max_usd: Option<f64>,
    /// Tokens of inputs and outputs.
    #[schema(required)]
    max_tokens: Option<u64>,
    /// Calls to models and tools.
    #[schema(required)]
    max_steps: Option<u64>,
}

impl From<SpendingLimits> for Limits {
    fn from(limits: SpendingLimits) -> Self {
        Self {
            max_usd: limits.max_usd.map(NanoDollars::to_dollars),
            max_tokens: limits.max_tokens,
            max_steps: limits.max_steps,
        }
    }
}

/// What a run may spend, and until when.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RunLimits {
    #[serde(flatten)]
    limits: Limits,
    /// When the run ends as `timed_out`.
    #[schema(required)]
    deadline: Option<DateTime<Utc>>,
    /// What becomes of a node whose next call the limits do not allow.
    #[schema(value_type = OnExhausted)]
    on_exhausted: &'static str,
}

impl From<RunBudget> for RunLimits {
    fn from(budget: RunBudget) -> Self {
        Self {
            limits: budget.limits.into(),
            deadline: budget.deadline,
            on_exhausted: budget.on_exhausted.as_str(),
        }
    }
}

impl RunLimits {
    /// Those of a run that is limited at all.
    pub(crate) fn of(budget: RunBudget) -> Option<Self> {
        let is_limited = !budget.limits.is_none() || budget.deadline.is_some();
        is_limited.then(|| budget.into())
    }
}

/// What a run may spend, and has spent.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RunSpending {
    #[serde(flatten)]
    budget: RunLimits,
    /// What has been spent.
    spent: Spending,
}

impl RunSpending {
    pub(crate) fn new(spent: spending::Spending, budget: RunBudget) -> Self {
        Self { budget: budget.into(), spent: spent.into() }
    }
}

/// The budget of an organization for a day or a month, and what it has spent of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OrganizationBudget {
    /// For which time it is.
    #[schema(value_type = crate::words::BudgetPeriod)]
    period: &'static str,
    #[serde(flatten)]
    limits: Limits,
    /// What has been spent in the present one.
    spent: Spending,
    /// What calls that are under way may take of it at most, in US dollars.
    reserved_usd: f64,
    /// When the present one is over.
    renews_at: DateTime<Utc>,
}

impl From<spending::OrganizationBudget> for OrganizationBudget {
    fn from(budget: spending::OrganizationBudget) -> Self {
        let period: BudgetPeriod = budget.period;
        Self {
            period: period.as_str(),
            limits: budget.limits.into(),
            spent: budget.spent.into(),
            reserved_usd: budget.reserved.to_dollars(),
            renews_at: budget.renews_at,
        }
    }
}

/// The budgets of an organization: one for each period that has limits.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OrganizationBudgets {
    pub(crate) items: Vec<OrganizationBudget>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_price_costs_nobody_knows_what_and_never_nothing() {
        let spent = |calls, unpriced_calls, nanos| spending::Spending {
            calls,
            unpriced_calls,
            cost: NanoDollars(nanos),
            ..spending::Spending::default()
        };
        assert_eq!(cost_usd(&spent(0, 0, 0)), Some(0.0));
        assert_eq!(cost_usd(&spent(2, 0, 0)), Some(0.0));
        assert_eq!(cost_usd(&spent(2, 1, 7)), Some(7e-9));
        assert_eq!(cost_usd(&spent(2, 2, 0)), None);
    }
}

//! What the API reads of steps and costs, and how budgets are set.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use super::steps::RecordedStep;
use super::{Page, PageRequest, StoreError};
use crate::domain::budget::{BudgetChange, BudgetPeriod, LimitChange, RunBudget, SpendingLimits};
use crate::domain::failure::Failure;
use crate::domain::ids::RunId;
use crate::domain::money::NanoDollars;
use crate::domain::tenant::Identity;
use crate::domain::trace::TraceId;
use crate::domain::usage::Usage;
use crate::domain::words::words;

/// What calls to models came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spending {
    /// Requests that were sent, refused, failed and abandoned ones too.
    pub calls: u64,
    /// Those of them that cost nobody knows what, because the model has no price.
    pub unpriced_calls: u64,
    /// Tokens.
    pub usage: Usage,
    /// What those cost that have a price.
    pub cost: NanoDollars,
    /// Steps that were made.
    pub steps: u64,
}

words!(
    /// What costs are summed up by.
    "grouping" CostGrouping {
        /// By model, of whatever provider.
        Model = "model",
        /// By provider.
        Provider = "provider",
        /// By workflow.
        Workflow = "workflow",
        /// By run.
        Run = "run",
        /// By node of a workflow: `workflow/node`.
        Node = "node",
        /// By who started the run.
        User = "user",
        /// By day in UTC.
        Day = "day",
    }
);

/// Which costs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CostFilter {
    /// Of this run only.
    pub run: Option<RunId>,
    /// Of this workflow only.
    pub workflow: Option<String>,
    /// From this time on.
    pub from: Option<DateTime<Utc>>,
    /// Before this time.
    pub to: Option<DateTime<Utc>>,
}

/// A group of costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CostGroup {
    /// What they have in common.
    pub key: String,
    /// What they come to.
    pub spending: Spending,
}

/// A step with what it belongs to.
#[derive(Debug, Clone, PartialEq)]
pub struct StepRow {
    /// The node.
    pub node: String,
    /// The repetition of it.
    pub scope: String,
    /// The trace of its span.
    pub trace: TraceId,
    /// The step.
    pub step: RecordedStep,
}

/// Somebody's decision about a step that waits for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The run.
    pub run: RunId,
    /// The node.
    pub node: String,
    /// The repetition of it.
    pub scope: String,
    /// The step.
    pub step: u32,
    /// Whether it may be made.
    pub approved: bool,
    /// Why, for the record and for the model.
    pub reason: Option<String>,
}

/// What became of a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decided {
    /// It is recorded, and the node goes on.
    Recorded,
    /// That step waits for no decision: it never did, was decided about before, or its time is over.
    NotPending {
        /// The step that does, if there is one.
        pending: Option<u32>,
    },
    /// There is no such node of such a run of this tenant.
    NotFound,
}

/// What became of a budget that was to be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BudgetChanged {
    /// It is in force, and what waited for it tries again. Beside it, what the run had spent of it.
    InForce(Spending, RunBudget),
    /// The run has ended.
    Ended,
    /// There is no such run of this tenant.
    NotFound,
}

/// The budget of an organization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrganizationBudget {
    /// For how long: [`BudgetPeriod::Day`] or [`BudgetPeriod::Month`].
    pub period: BudgetPeriod,
    /// What it may spend in that time.
    pub limits: SpendingLimits,
    /// What it has spent in the present one.
    pub spent: Spending,
    /// What calls that are under way may take of it at most.
    pub reserved: NanoDollars,
    /// When the present one is over.
    pub renews_at: DateTime<Utc>,
}

/// What the API reads of steps and costs, and how budgets are set. Every method sees the tenant's rows only.
#[async_trait]
pub trait SpendingStore: Send + Sync + 'static {
    /// The steps of a run, in the order of their beginning. `None` if there is no such run.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn list_steps(
        &self,
        tenant: &Identity,
        run: RunId,
        page: &PageRequest,
    ) -> Result<Option<Page<StepRow>>, StoreError>;

    /// Sums of costs of the workspace, by what they are grouped by, in the order of their keys; runs with the latest first.
    /// A step counts where its first try is. Every page reads all rows of the time that is asked for, but one of runs those
    /// of its runs, and of the time that of runs which are older than that.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn list_costs(
        &self,
        tenant: &Identity,
        grouping: CostGrouping,
        filter: &CostFilter,
        page: &PageRequest,
    ) -> Result<Page<CostGroup>, StoreError>;

    /// What a run has spent, and its budget. `None` if there is no such run.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn run_spending(
        &self,
        tenant: &Identity,
        run: RunId,
    ) -> Result<Option<(Spending, RunBudget)>, StoreError>;

    /// Changes limits and the deadline of a run that has not ended and is not to end, and wakes what waits for them, or is
    /// about to. Logs `budget.changed`, with what was named. A budget that was warned of is warned of again.
    ///
    /// What is not named MUST stay as it is at that moment, not as anybody has read it before: of several changes at a time
    /// that name different limits, all hold. A limit may also be lifted, whoever has set it: only the organization's own
    /// budgets hold then.
    ///
    /// # Errors
    /// See [`StoreError`]. Repeating it does no harm, and wakes what a call that failed in the middle has left.
    async fn change_run_budget(
        &self,
        tenant: &Identity,
        run: RunId,
        change: &BudgetChange,
    ) -> Result<BudgetChanged, StoreError>;

    /// The budgets of the organization: one for each period that has limits.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn organization_budgets(
        &self,
        tenant: &Identity,
    ) -> Result<Vec<OrganizationBudget>, StoreError>;

    /// Sets the limits of the organization for these periods, all of them or none; limits of nothing take a budget away. Then
    /// it wakes what waits for them. What is about to wait when it is called, or is held by somebody, is not woken: whatever waits for such a budget
    /// MUST try again by itself: within a minute of its first refusal, and at least hourly later.
    ///
    /// # Errors
    /// See [`StoreError`]; [`StoreError::Data`] for [`BudgetPeriod::Run`]. Repeating it does no harm, and wakes what a call
    /// that failed in the middle has left.
    async fn set_organization_budgets(
        &self,
        tenant: &Identity,
        wanted: &[(BudgetPeriod, SpendingLimits)],
    ) -> Result<(), StoreError>;

    /// Records a decision, if that very step waits for one, and wakes its node in the same step. Of several at once one
    /// is recorded. Logs `node.decided`.
    ///
    /// # Errors
    /// See [`StoreError`]. Repeating one whose reply was lost answers [`Decided::NotPending`].
    async fn decide(&self, tenant: &Identity, decision: &Decision) -> Result<Decided, StoreError>;
}

impl Decision {
    /// What is kept with a step that may not be made.
    pub(super) fn error(&self) -> Option<Failure> {
        let because = || self.reason.as_deref().unwrap_or("somebody has forbidden it");
        (!self.approved).then(|| Failure::new("denied", because()))
    }

    /// What is logged of it, before the name of the tool.
    pub(super) fn message(&self) -> String {
        let what = if self.approved { "allowed" } else { "forbidden" };
        format!("step {} was {what}: ", self.step)
    }

    /// The reason as every store can hold it.
    pub(super) fn shown_reason(&self) -> Option<String> {
        self.reason.as_deref().map(|reason| Failure::new("", reason).message)
    }
}

/// What is logged of a change of a run's budget, as JSON text: what it names, null for a limit that is lifted. Not the
/// budget that it led to, which others may have a part in.
pub(super) fn change_data(change: &BudgetChange, by: &str) -> String {
    fn named<T>(change: LimitChange<T>, json: impl FnOnce(T) -> Value) -> Option<Value> {
        change.is_named().then(|| change.set().map_or(Value::Null, json))
    }
    let BudgetChange { max_usd, max_tokens, max_steps, deadline, on_exhausted } = *change;
    let parts = [
        ("max_usd", named(max_usd, |nanos| json!(nanos.to_dollars()))),
        ("max_tokens", named(max_tokens, Value::from)),
        ("max_steps", named(max_steps, Value::from)),
        ("deadline", named(deadline, |at| json!(at))),
        ("on_exhausted", on_exhausted.map(|way| json!(way.as_str()))),
        ("by", Some(json!(by))),
    ];
    let parts = parts.into_iter().filter_map(|(name, part)| Some((name.to_owned(), part?)));
    Value::Object(parts.collect::<Map<_, _>>()).to_string()
}

/// Whether a limit is to be another, and what the column is to hold then.
pub(super) fn column<T, C>(
    change: LimitChange<T>,
    column: impl FnOnce(T) -> C,
) -> (bool, Option<C>) {
    (change.is_named(), change.set().map(column))
}

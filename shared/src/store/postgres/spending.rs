//! What the API reads of steps and costs, and how budgets are set, on PostgreSQL.

use async_trait::async_trait;
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::event_logs::Logging;
use super::rows::get;
use super::{PostgresStore, store_error};
use crate::domain::budget::{BudgetChange, BudgetPeriod, OnExhausted, RunBudget, SpendingLimits};
use crate::domain::ids::RunId;
use crate::domain::limits::RUN_VALUES_BYTES_MAX;
use crate::domain::money::NanoDollars;
use crate::domain::tenant::Identity;
use crate::store::costs::{self, After, Dialect, Question};
use crate::store::row_values::failure_json;
use crate::store::rows::count;
use crate::store::spending::{
    BudgetChanged, CostFilter, CostGroup, CostGrouping, Decided, Decision, OrganizationBudget,
    Spending, SpendingStore, StepRow, change_data, column,
};
use crate::store::step_views::{organization_budget, run_budget, spending, steps_page};
use crate::store::{Page, PageRequest, StoreError};

/// Pages of nodes that are woken when the budget of an organization is set: a hundred thousand nodes. The others try
/// again by themselves.
const WAKE_PAGES_MAX: usize = 200;
/// Nodes that are told at a time that the budget of their run has changed. All of a page are locked together, and whoever
/// commits one of them waits.
const SIGNAL_PAGE: i64 = 64;
/// Pages of them: a hundred thousand nodes. The others look again by themselves.
const SIGNAL_PAGES_MAX: usize = 1_600;

static CHANGE_RUN_BUDGET: Logging = Logging::of(|| include_str!("sql/change_run_budget.sql"));
static DECIDE: Logging = Logging::of(|| include_str!("sql/decide.sql"));

pub(super) const DIALECT: Dialect = Dialect {
    parameter: '$',
    day: "to_char(ts AT TIME ZONE 'UTC', 'YYYY-MM-DD')",
    run: "run_id::text",
    collation: " COLLATE \"C\"",
    sum: |column| format!("least(coalesce(sum({column}), 0), 9223372036854775807)::bigint"),
};

/// The statements that a page of costs is made of.
#[must_use]
pub fn costs_statements(grouping: CostGrouping, filter: &CostFilter) -> Vec<String> {
    let first_page = PageRequest { limit: 1, cursor: None };
    let questions = costs::questions(grouping, filter, &first_page);
    let statement = |question: &Question| {
        costs::statement(&DIALECT, grouping, filter, question.way, question.first.is_some())
    };
    questions.iter().map(statement).collect()
}

#[async_trait]
impl SpendingStore for PostgresStore {
    async fn list_steps(
        &self,
        tenant: &Identity,
        run: RunId,
        page: &PageRequest,
    ) -> Result<Option<Page<StepRow>>, StoreError> {
        let after = page.cursor.as_deref().and_then(|cursor| cursor.parse().ok()).unwrap_or(0_i64);
        let rows = sqlx::query(include_str!("sql/list_steps.sql"))
            .bind(&*tenant.organization)
            .bind(&*tenant.workspace)
            .bind(run.0)
            .bind(after)
            .bind(i64::from(page.limit) + 1)
            .bind(i64::try_from(RUN_VALUES_BYTES_MAX).unwrap_or(i64::MAX))
            .fetch_all(self.reads.named("list_steps"))
            .await
            .map_err(store_error)?;
        steps_page(&rows, page.limit, "step_id", |row| get(row, "digest"))
    }

    async fn list_costs(
        &self,
        tenant: &Identity,
        grouping: CostGrouping,
        filter: &CostFilter,
        page: &PageRequest,
    ) -> Result<Page<CostGroup>, StoreError> {
        let mut found = Vec::new();
        for Question { way, after, first } in costs::questions(grouping, filter, page) {
            if found.len() > page.limit as usize {
                break;
            }
            let statement = costs::statement(&DIALECT, grouping, filter, way, first.is_some());
            let query = sqlx::query(AssertSqlSafe(statement))
                .bind(&*tenant.organization)
                .bind(&*tenant.workspace);
            let query = match after {
                After::Key(key) => query.bind(key),
                After::Run(run) => query.bind(run.0),
            };
            let mut query = query.bind(i64::from(page.limit) + 1);
            if let Some(run) = filter.run {
                query = query.bind(run.0);
            }
            if let Some(workflow) = &filter.workflow {
                query = query.bind(workflow);
            }
            for time in filter.from.iter().chain(&filter.to) {
                query = query.bind(time);
            }
            if let Some(run) = first {
                query = query.bind(run.0);
            }
            let rows =
                query.fetch_all(self.reads.named("list_costs")).await.map_err(store_error)?;
            found.extend(costs::groups(&rows)?);
        }
        Ok(costs::page(found, page.limit))
    }

    async fn run_spending(
        &self,
        tenant: &Identity,
        run: RunId,
    ) -> Result<Option<(Spending, RunBudget)>, StoreError> {
        let row = sqlx::query(
            "SELECT r.max_nanos, r.max_tokens, r.max_steps, r.on_exhausted, r.deadline_at, t.spent_nanos, t.input_tokens,
                    t.cached_tokens, t.cache_write_tokens, t.output_tokens, t.calls, t.unpriced_calls, t.steps
             FROM runs r
             LEFT JOIN budget_totals t ON t.organization_id = $1 AND t.bucket = 'run:' || $3::uuid
             WHERE r.id = $3 AND r.organization_id = $1 AND r.workspace_id = $2",
        )
        .bind(&*tenant.organization)
        .bind(&*tenant.workspace)
        .bind(run.0)
        .fetch_optional(self.reads.named("run_spending"))
        .await
        .map_err(store_error)?;
        row.map(|row| Ok((spending(&row)?, run_budget(&row)?))).transpose()
    }

    async fn change_run_budget(
        &self,
        tenant: &Identity,
        run: RunId,
        change: &BudgetChange,
    ) -> Result<BudgetChanged, StoreError> {
        let (names_usd, max_nanos) = column(change.max_usd, |NanoDollars(nanos)| nanos);
        let (names_tokens, max_tokens) = column(change.max_tokens, whole);
        let (names_steps, max_steps) = column(change.max_steps, whole);
        let (names_deadline, deadline) = column(change.deadline, |at| at);
        let statement = sqlx::query(CHANGE_RUN_BUDGET.text(self))
            .bind(&*tenant.organization)
            .bind(&*tenant.workspace)
            .bind(run.0)
            .bind(change_data(change, &tenant.user))
            .bind(names_usd)
            .bind(max_nanos)
            .bind(names_tokens)
            .bind(max_tokens)
            .bind(names_steps)
            .bind(max_steps)
            .bind(names_deadline)
            .bind(deadline)
            .bind(change.on_exhausted.map(OnExhausted::as_str));
        let rows = self.fetch_logging(statement, self.pool.named("change_run_budget")).await?;
        let Some(row) = rows.first() else { return Ok(BudgetChanged::NotFound) };
        if !get::<bool>(row, "is_changed")? {
            return Ok(BudgetChanged::Ended);
        }
        self.signal_nodes(run).await?;
        Ok(BudgetChanged::InForce(spending(row)?, run_budget(row)?))
    }

    async fn organization_budgets(
        &self,
        tenant: &Identity,
    ) -> Result<Vec<OrganizationBudget>, StoreError> {
        let rows = sqlx::query(
            "SELECT b.period, b.max_nanos, b.max_tokens, b.max_steps, t.spent_nanos, t.open_nanos, t.input_tokens,
                    t.cached_tokens, t.cache_write_tokens, t.output_tokens, t.calls, t.unpriced_calls, t.steps,
                    now() AS answered_at
             FROM organization_budgets b
             LEFT JOIN budget_totals t
                 ON t.organization_id = b.organization_id
                    AND t.bucket = CASE b.period WHEN 'day' THEN 'day:' || to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD')
                                                 ELSE 'month:' || to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM') END
             WHERE b.organization_id = $1
             ORDER BY b.period",
        )
        .bind(&*tenant.organization)
        .fetch_all(self.reads.named("organization_budgets"))
        .await
        .map_err(store_error)?;
        rows.iter().map(organization_budget).collect()
    }

    async fn set_organization_budgets(
        &self,
        tenant: &Identity,
        wanted: &[(BudgetPeriod, SpendingLimits)],
    ) -> Result<(), StoreError> {
        if wanted.iter().any(|(period, _)| *period == BudgetPeriod::Run) {
            return Err(StoreError::Data("the budget of a run is set with the run".into()));
        }
        let column = |at: usize| wanted.iter().map(|(_, it)| columns(it)[at]).collect::<Vec<_>>();
        sqlx::query(include_str!("sql/set_organization_budgets.sql"))
            .bind(&*tenant.organization)
            .bind(&*tenant.user)
            .bind(wanted.iter().map(|(period, _)| period.as_str()).collect::<Vec<_>>())
            .bind(column(0))
            .bind(column(1))
            .bind(column(2))
            .execute(self.pool.named("set_organization_budgets"))
            .await
            .map_err(store_error)?;
        self.wake_for_budget(&tenant.organization).await
    }

    async fn decide(&self, tenant: &Identity, decision: &Decision) -> Result<Decided, StoreError> {
        let statement = sqlx::query(DECIDE.text(self))
            .bind(&*tenant.organization)
            .bind(&*tenant.workspace)
            .bind(decision.run.0)
            .bind(&decision.node)
            .bind(&decision.scope)
            .bind(i64::from(decision.step))
            .bind(decision.approved)
            .bind(decision.error().as_ref().map(failure_json))
            .bind(&*tenant.user)
            .bind(decision.message())
            .bind(decision.shown_reason());
        let rows = self.fetch_logging(statement, self.pool.named("decide")).await?;
        let Some(row) = rows.first() else { return Ok(Decided::NotFound) };
        if get(row, "is_recorded")? {
            return Ok(Decided::Recorded);
        }
        let is_pending = get::<Option<i32>>(row, "pending_step")?.is_some();
        let pending = is_pending.then(|| count(row, "pending_step")).transpose()?;
        Ok(Decided::NotPending { pending })
    }
}

impl PostgresStore {
    /// Tells the nodes of a run that its budget has changed. What is left, because somebody holds it for longer than a lock is
    /// waited for or because this process ends, looks again by itself, only later.
    async fn signal_nodes(&self, run: RunId) -> Result<(), StoreError> {
        let (mut node, mut scope) = (String::new(), String::new());
        for _ in 0..SIGNAL_PAGES_MAX {
            let page = sqlx::query(include_str!("sql/signal_nodes.sql"))
                .bind(run.0)
                .bind(&node)
                .bind(&scope)
                .bind(SIGNAL_PAGE)
                .fetch_optional(self.pool.named("signal_nodes"))
                .await
                .map_err(store_error)?;
            let Some(row) = page else { break };
            (node, scope) = (get(&row, "node_key")?, get(&row, "scope")?);
        }
        Ok(())
    }

    /// Wakes nodes of an organization that wait for a budget.
    async fn wake_for_budget(&self, organization: &str) -> Result<(), StoreError> {
        let mut last = (Uuid::nil(), String::new(), String::new());
        for _ in 0..WAKE_PAGES_MAX {
            let row = sqlx::query(include_str!("sql/wake_waiting.sql"))
                .bind(organization)
                .bind(last.0)
                .bind(&last.1)
                .bind(&last.2)
                .fetch_optional(self.pool.named("wake_waiting"))
                .await
                .map_err(store_error)?;
            let Some(row) = row else { break };
            last = (get(&row, "run_id")?, get(&row, "node_key")?, get(&row, "scope")?);
        }
        Ok(())
    }
}

/// A number as a column holds it.
fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The limits as the columns hold them.
fn columns(limits: &SpendingLimits) -> [Option<i64>; 3] {
    [
        limits.max_usd.map(|NanoDollars(nanos)| nanos),
        limits.max_tokens.map(whole),
        limits.max_steps.map(whole),
    ]
}

//! What the API reads of steps and costs, and how budgets are set, on SQLite.

use async_trait::async_trait;
use serde_json::json;
use sqlx::AssertSqlSafe;

use super::log;
use super::rows::{Input, get, load_run};
use super::runs::spending_columns;
use super::writer::{Tx, Write};
use super::{SqliteStore, store_error};
use crate::domain::budget::{BudgetChange, BudgetPeriod, OnExhausted, RunBudget, SpendingLimits};
use crate::domain::ids::{ActivationKey, RunId};
use crate::domain::limits::RUN_VALUES_BYTES_MAX;
use crate::domain::money::NanoDollars;
use crate::domain::tenant::Identity;
use crate::store::costs::{self, After, Dialect, Question};
use crate::store::log_entry::Entry;
use crate::store::row_values::failure_json;
use crate::store::rows::{count, text};
use crate::store::spending::{
    BudgetChanged, CostFilter, CostGroup, CostGrouping, Decided, Decision, OrganizationBudget,
    Spending, SpendingStore, StepRow, change_data, column,
};
use crate::store::step_views::{organization_budget, run_budget, spending, steps_page};
use crate::store::{Page, PageRequest, StoreError};

pub(super) const DIALECT: Dialect = Dialect {
    parameter: '?',
    day: "strftime('%Y-%m-%d', ts / 1000000, 'unixepoch')",
    run: "run_id",
    collation: "",
    sum: saturating_sum,
};

/// What a run may spend, and has spent.
const RUN_SPENDING: &str = concat!(
    "SELECT ",
    spending_columns!(),
    " WHERE r.id = ?3 AND r.organization_id = ?1 AND r.workspace_id = ?2"
);
/// The sum of a column of numbers that are not negative, or the largest number where it is more: `sum` would fail. Halves of
/// 32 bits are summed up for themselves, and put together if the upper one, with what the lower one carries over, still has
/// room.
fn saturating_sum(column: &str) -> String {
    format!(
        "CASE WHEN sum({column} >> 32) + (sum({column} & 4294967295) >> 32) > 2147483647 THEN 9223372036854775807
              ELSE coalesce((sum({column} >> 32) << 32) + sum({column} & 4294967295), 0) END"
    )
}

#[async_trait]
impl SpendingStore for SqliteStore {
    async fn list_steps(
        &self,
        tenant: &Identity,
        run: RunId,
        page: &PageRequest,
    ) -> Result<Option<Page<StepRow>>, StoreError> {
        let after = page.cursor.as_deref().and_then(|cursor| cursor.parse().ok()).unwrap_or(0_i64);
        let rows = sqlx::query(
            "WITH page AS (
                 SELECT h.*, count(*) OVER () AS found,
                        coalesce(sum(coalesce(octet_length(arguments), 0) + coalesce(octet_length(observation), 0)
                                     + coalesce(octet_length(thought), 0))
                                     OVER (ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS bytes_before
                 FROM (SELECT * FROM agent_trace_history INDEXED BY agent_trace_history_of_run
                       WHERE run_id = ?3 AND id > ?4 ORDER BY id LIMIT ?5) h
             )
             SELECT p.*, r.ended_at IS NOT NULL AS has_ended FROM runs r LEFT JOIN page p ON p.bytes_before < ?6
             WHERE r.id = ?3 AND r.organization_id = ?1 AND r.workspace_id = ?2
             ORDER BY p.id",
        )
        .bind(&*tenant.organization)
        .bind(&*tenant.workspace)
        .bind(run.to_string())
        .bind(after)
        .bind(i64::from(page.limit) + 1)
        .bind(i64::try_from(RUN_VALUES_BYTES_MAX).unwrap_or(i64::MAX))
        .fetch_all(self.listing("list_steps"))
        .await
        .map_err(store_error)?;
        steps_page(&rows, page.limit, "id", |row| get(row, "digest"))
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
                After::Run(run) => query.bind(run.to_string()),
            };
            let mut query = query.bind(i64::from(page.limit) + 1);
            if let Some(run) = filter.run {
                query = query.bind(run.to_string());
            }
            if let Some(workflow) = &filter.workflow {
                query = query.bind(workflow);
            }
            for time in filter.from.iter().chain(&filter.to) {
                query = query.bind(time.timestamp_micros());
            }
            if let Some(run) = first {
                query = query.bind(run.to_string());
            }
            let rows = query.fetch_all(self.listing("list_costs")).await.map_err(store_error)?;
            found.extend(costs::groups(&rows)?);
        }
        Ok(costs::page(found, page.limit))
    }

    async fn run_spending(
        &self,
        tenant: &Identity,
        run: RunId,
    ) -> Result<Option<(Spending, RunBudget)>, StoreError> {
        let row = sqlx::query(RUN_SPENDING)
            .bind(&*tenant.organization)
            .bind(&*tenant.workspace)
            .bind(run.to_string())
            .fetch_optional(self.reading("run_spending"))
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
        self.write(ChangeRunBudget { tenant: tenant.clone(), run, change: *change }).await
    }

    async fn organization_budgets(
        &self,
        tenant: &Identity,
    ) -> Result<Vec<OrganizationBudget>, StoreError> {
        let rows = sqlx::query(
            "SELECT b.period, b.max_nanos, b.max_tokens, b.max_steps, t.spent_nanos, t.open_nanos, t.input_tokens,
                    t.cached_tokens, t.cache_write_tokens, t.output_tokens, t.calls, t.unpriced_calls, t.steps,
                    unixepoch('now') * 1000000 AS answered_at
             FROM organization_budgets b
             LEFT JOIN budget_totals t
                 ON t.organization_id = b.organization_id
                    AND t.bucket = CASE b.period WHEN 'day' THEN strftime('day:%Y-%m-%d', 'now')
                                                 ELSE strftime('month:%Y-%m', 'now') END
             WHERE b.organization_id = ?1
             ORDER BY b.period",
        )
        .bind(&*tenant.organization)
        .fetch_all(self.reading("organization_budgets"))
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
        self.write(SetOrganizationBudgets { tenant: tenant.clone(), wanted: wanted.to_vec() }).await
    }

    async fn decide(&self, tenant: &Identity, decision: &Decision) -> Result<Decided, StoreError> {
        self.write(Decide { tenant: tenant.clone(), decision: decision.clone() }).await
    }
}

/// A number as a column holds it.
fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The limits as the columns hold them.
fn columns(limits: &SpendingLimits) -> [Option<i64>; 3] {
    let nanos = limits.max_usd.map(|NanoDollars(nanos)| nanos);
    [nanos, limits.max_tokens.map(whole), limits.max_steps.map(whole)]
}

/// Whether a run is the tenant's.
fn is_of(tenant: &Identity, whose: &Identity) -> bool {
    (&tenant.organization, &tenant.workspace) == (&whose.organization, &whose.workspace)
}

struct ChangeRunBudget {
    tenant: Identity,
    run: RunId,
    change: BudgetChange,
}

#[async_trait]
impl Write for ChangeRunBudget {
    type Reply = BudgetChanged;
    const NAME: &'static str = "change_run_budget";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<BudgetChanged, StoreError> {
        let run = load_run(tx, self.run, Input::Leave).await?;
        let Some(run) = run.filter(|run| is_of(&self.tenant, &run.header.identity)) else {
            return Ok(BudgetChanged::NotFound);
        };
        if run.is_over() {
            return Ok(BudgetChanged::Ended);
        }
        tx.execute(
            sqlx::query(
                r#"UPDATE node_runs
                   SET signalled = 1,
                       wake_at = CASE WHEN state = 'waiting' AND waiting_for LIKE '{"type":"budget"%' THEN ?2 ELSE wake_at END
                   WHERE run_id = ?1 AND state IN ('running', 'waiting')"#,
            )
            .bind(self.run.to_string())
            .bind(tx.now),
        )
        .await?;
        let change = &self.change;
        let (names_usd, max_nanos) = column(change.max_usd, |NanoDollars(nanos)| nanos);
        let (names_tokens, max_tokens) = column(change.max_tokens, whole);
        let (names_steps, max_steps) = column(change.max_steps, whole);
        let (names_deadline, deadline) = column(change.deadline, |at| at.timestamp_micros());
        tx.execute(
            sqlx::query(
                "UPDATE runs SET max_nanos = CASE WHEN ?2 THEN ?3 ELSE max_nanos END,
                                 max_tokens = CASE WHEN ?4 THEN ?5 ELSE max_tokens END,
                                 max_steps = CASE WHEN ?6 THEN ?7 ELSE max_steps END,
                                 deadline_at = CASE WHEN ?8 THEN ?9 ELSE deadline_at END,
                                 deadline_due_at = CASE WHEN ?8 THEN ?9 ELSE deadline_due_at END,
                                 on_exhausted = coalesce(?10, on_exhausted)
                 WHERE id = ?1",
            )
            .bind(self.run.to_string())
            .bind(names_usd)
            .bind(max_nanos)
            .bind(names_tokens)
            .bind(max_tokens)
            .bind(names_steps)
            .bind(max_steps)
            .bind(names_deadline)
            .bind(deadline)
            .bind(change.on_exhausted.map(OnExhausted::as_str)),
        )
        .await?;
        let organization = &run.header.identity.organization;
        warn_anew(tx, organization, &format!("run:{}", self.run)).await?;
        let data = change_data(change, &self.tenant.user);
        log::write(tx, &run.header, Entry::budget_changed(data)).await?;
        let select = sqlx::query(RUN_SPENDING)
            .bind(organization.to_string())
            .bind(run.header.identity.workspace.to_string())
            .bind(self.run.to_string());
        let Some(row) = tx.fetch_optional(select).await? else {
            return Ok(BudgetChanged::NotFound);
        };
        Ok(BudgetChanged::InForce(spending(&row)?, run_budget(&row)?))
    }
}

/// Forgets that a total was warned of.
async fn warn_anew(tx: &mut Tx<'_>, organization: &str, bucket: &str) -> Result<(), StoreError> {
    tx.execute(
        sqlx::query(
            "UPDATE budget_totals SET warned = 0 WHERE organization_id = ?1 AND bucket = ?2",
        )
        .bind(organization)
        .bind(bucket),
    )
    .await?;
    Ok(())
}

struct SetOrganizationBudgets {
    tenant: Identity,
    wanted: Vec<(BudgetPeriod, SpendingLimits)>,
}

#[async_trait]
impl Write for SetOrganizationBudgets {
    type Reply = ();
    const NAME: &'static str = "set_organization_budgets";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let organization = &*self.tenant.organization;
        for (period, limits) in &self.wanted {
            set_budget(tx, &self.tenant, *period, limits).await?;
            let format = if *period == BudgetPeriod::Day { "%Y-%m-%d" } else { "%Y-%m" };
            let bucket = format!("{period}:{}", tx.time()?.format(format));
            warn_anew(tx, organization, &bucket).await?;
        }
        tx.execute(
            sqlx::query(
                r#"UPDATE node_runs INDEXED BY node_runs_waiting
                   SET signalled = 1, wake_at = ?2
                   WHERE organization_id = ?1 AND state = 'waiting' AND waiting_for IS NOT NULL
                     AND waiting_for LIKE '{"type":"budget"%'"#,
            )
            .bind(organization)
            .bind(tx.now),
        )
        .await?;
        Ok(())
    }
}

/// Writes the budget of an organization for a period, in the place of the one that is there.
async fn set_budget(
    tx: &mut Tx<'_>,
    tenant: &Identity,
    period: BudgetPeriod,
    limits: &SpendingLimits,
) -> Result<(), StoreError> {
    tx.execute(
        sqlx::query("DELETE FROM organization_budgets WHERE organization_id = ?1 AND period = ?2")
            .bind(&*tenant.organization)
            .bind(period.as_str()),
    )
    .await?;
    if limits.is_none() {
        return Ok(());
    }
    let [max_nanos, max_tokens, max_steps] = columns(limits);
    tx.execute(
        sqlx::query(
            "INSERT INTO organization_budgets (organization_id, period, max_nanos, max_tokens, max_steps, set_by, set_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )
        .bind(&*tenant.organization)
        .bind(period.as_str())
        .bind(max_nanos)
        .bind(max_tokens)
        .bind(max_steps)
        .bind(&*tenant.user)
        .bind(tx.now),
    )
    .await?;
    Ok(())
}

struct Decide {
    tenant: Identity,
    decision: Decision,
}

#[async_trait]
impl Write for Decide {
    type Reply = Decided;
    const NAME: &'static str = "decide";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Decided, StoreError> {
        let Decision { run, node, scope, step, approved, .. } = &self.decision;
        let found = load_run(tx, *run, Input::Leave).await?;
        let Some(run) = found.filter(|run| is_of(&self.tenant, &run.header.identity)) else {
            return Ok(Decided::NotFound);
        };
        let (node, scope) = (node.as_str().into(), scope.as_str().into());
        let key = ActivationKey { run: run.header.id, node, scope };
        if super::nodes::load(tx, key.run, &key.node, &key.scope).await?.is_none() {
            return Ok(Decided::NotFound);
        }
        if run.is_over() {
            return Ok(Decided::NotPending { pending: None });
        }
        let pending = tx
            .fetch_all(
                sqlx::query(
                    "SELECT id, step, name FROM agent_trace_history
                     WHERE run_id = ?1 AND node_key = ?2 AND scope = ?3 AND status = 'pending' AND expires_at > ?4
                     ORDER BY step",
                )
                .bind(key.run.to_string())
                .bind(&*key.node)
                .bind(&*key.scope)
                .bind(tx.now),
            )
            .await?;
        let mut asked = None;
        for row in &pending {
            if count(row, "step")? == *step {
                asked = Some(row);
            }
        }
        let Some(asked) = asked else {
            let pending = pending.first().map(|row| count(row, "step")).transpose()?;
            return Ok(Decided::NotPending { pending });
        };
        tx.execute(
            sqlx::query(
                "UPDATE agent_trace_history SET status = ?2, decided_by = ?3, error = ?4, ended_at = ?5 WHERE id = ?1",
            )
            .bind(get::<i64>(asked, "id")?)
            .bind(if *approved { "approved" } else { "denied" })
            .bind(&*self.tenant.user)
            .bind(self.decision.error().as_ref().map(failure_json))
            .bind((!approved).then_some(tx.now)),
        )
        .await?;
        tx.execute(
            sqlx::query(
                r#"UPDATE node_runs
                   SET signalled = 1,
                       wake_at = CASE WHEN state = 'waiting' AND waiting_for LIKE '{"type":"decision"%' THEN ?4
                                      ELSE wake_at END
                   WHERE run_id = ?1 AND node_key = ?2 AND scope = ?3"#,
            )
            .bind(key.run.to_string())
            .bind(&*key.node)
            .bind(&*key.scope)
            .bind(tx.now),
        )
        .await?;
        let tool = text(asked, "name")?;
        let message = self.decision.message() + tool;
        // Not what the tool would be called with.
        let data = json!({
            "step": self.decision.step,
            "tool": tool,
            "approved": self.decision.approved,
            "by": &*self.tenant.user,
            "reason": self.decision.shown_reason(),
        })
        .to_string();
        log::write(tx, &run.header, Entry::node_decided(&key, message, data)).await?;
        Ok(Decided::Recorded)
    }
}

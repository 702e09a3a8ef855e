//! Steps and sums of costs, from rows to what callers see.

use std::sync::Arc;
use std::time::Duration;

use super::rows::{Columns, count, failure, header, owned, parse, parse_optional, text, time};
use super::spending::{OrganizationBudget, Spending, StepRow};
use super::steps::RecordedStep;
use super::{Page, StoreError};
use crate::domain::budget::{
    Amounts, BudgetPeriod, OnExhausted, RunBudget, SpendingLimits, Standing, Wish,
};
use crate::domain::failure::Failure;
use crate::domain::ids::ActivationKey;
use crate::domain::money::NanoDollars;
use crate::domain::run::{RunHeader, RunTrace};
use crate::domain::step::{LostStep, StepStatus};
use crate::domain::usage::Usage;

/// Reads a sum that is never null, and never negative.
pub(super) fn amount(row: &impl Columns, column: &'static str) -> Result<u64, StoreError> {
    Ok(optional_amount(row, column)?.unwrap_or_default())
}

/// Reads a sum that may be null.
pub(super) fn optional_amount(
    row: &impl Columns,
    column: &'static str,
) -> Result<Option<u64>, StoreError> {
    Ok(row.integer(column)?.map(|number| u64::try_from(number).unwrap_or_default()))
}

/// Reads an amount of money that may be null.
pub(super) fn money(
    row: &impl Columns,
    column: &'static str,
) -> Result<Option<NanoDollars>, StoreError> {
    Ok(row.integer(column)?.map(NanoDollars))
}

/// Reads the columns of a usage.
pub(super) fn usage(row: &impl Columns) -> Result<Usage, StoreError> {
    Ok(Usage {
        input_tokens: amount(row, "input_tokens")?,
        cached_tokens: amount(row, "cached_tokens")?,
        cache_write_tokens: amount(row, "cache_write_tokens")?,
        output_tokens: amount(row, "output_tokens")?,
    })
}

/// Reads what a step has reserved, as tokens that it is settled for in full.
pub(super) fn reserved(row: &impl Columns) -> Result<Usage, StoreError> {
    Ok(Usage {
        input_tokens: amount(row, "reserved_input_tokens")?,
        output_tokens: amount(row, "reserved_output_tokens")?,
        ..Usage::default()
    })
}

/// Reads `max_nanos`, `max_tokens` and `max_steps`.
pub(super) fn limits(row: &impl Columns) -> Result<SpendingLimits, StoreError> {
    Ok(SpendingLimits {
        max_usd: money(row, "max_nanos")?,
        max_tokens: optional_amount(row, "max_tokens")?,
        max_steps: optional_amount(row, "max_steps")?,
    })
}

/// Reads a step. The digest is read by the caller: it is of another type than everything else.
pub(super) fn recorded(row: &impl Columns, digest: Vec<u8>) -> Result<RecordedStep, StoreError> {
    let is_counted = row.integer("input_tokens")?.is_some();
    let status: StepStatus = parse(row, "status")?;
    let charged = match is_counted {
        true => usage(row)?,
        false if status == StepStatus::Started || row.boolean("estimated")? => reserved(row)?,
        false => Usage::default(),
    };
    Ok(RecordedStep {
        seq: count(row, "step")?,
        attempt: count(row, "attempt")?,
        kind: parse(row, "kind")?,
        name: text(row, "name")?.to_owned(),
        status,
        digest,
        arguments: owned(row, "arguments")?,
        observation: owned(row, "observation")?,
        thought: owned(row, "thought")?,
        error: failure(row, "error")?,
        usage: is_counted.then(|| usage(row)).transpose()?,
        charged,
        cost: money(row, "cost_nanos")?,
        latency: optional_amount(row, "latency_ms")?.map(Duration::from_millis),
        span: parse(row, "span_id")?,
        started_at: time(row, "started_at")?,
        expires_at: row.time("expires_at")?,
    })
}

/// Reads a step that is lost, beside its run. The trace is that of the step: its run may be in another one by now.
pub(super) fn lost(row: &impl Columns) -> Result<LostStep, StoreError> {
    let header = header(row, false)?;
    let trace = RunTrace { trace: parse(row, "trace_id")?, ..header.trace.clone() };
    Ok(LostStep {
        key: ActivationKey {
            run: header.id,
            node: text(row, "node_key")?.into(),
            scope: text(row, "scope")?.into(),
        },
        header: RunHeader { trace, ..header },
        node_kind: text(row, "node_kind")?.into(),
        seq: count(row, "step")?,
        attempt: count(row, "attempt")?,
        kind: parse(row, "kind")?,
        name: text(row, "name")?.into(),
        provider: row.text("provider")?.map(Arc::from),
        charged: reserved(row)?,
        cost: money(row, "cost_nanos")?,
        span: parse(row, "span_id")?,
        parent: parse_optional(row, "parent_span_id")?,
        started_at: time(row, "started_at")?,
        ended_at: time(row, "ended_at")?,
    })
}

/// Reads a budget as it stood when a wish was judged by it, and that wish.
pub(super) fn standing(row: &impl Columns) -> Result<(Wish, Standing), StoreError> {
    let [spent, taken] = [
        ["spent_nanos", "spent_tokens", "spent_steps"],
        ["taken_nanos", "taken_tokens", "taken_steps"],
    ]
    .map(|columns| {
        let [nanos, tokens, steps] = columns.map(|column| amount(row, column));
        Ok::<_, StoreError>(Amounts { nanos: nanos?, tokens: tokens?, steps: steps? })
    });
    let wish = Wish {
        nanos: optional_amount(row, "wish_nanos")?,
        tokens: amount(row, "wish_tokens")?,
        steps: amount(row, "wish_steps")?,
    };
    let period: BudgetPeriod = parse(row, "period")?;
    let standing = Standing {
        period,
        limits: limits(row)?,
        spent: spent?,
        reserved: taken?,
        renews_at: period.renews_at(time(row, "answered_at")?),
    };
    Ok((wish, standing))
}

/// Reads a step with what it belongs to.
fn step_row(row: &impl Columns, digest: Vec<u8>) -> Result<StepRow, StoreError> {
    let mut step = recorded(row, digest)?;
    // Nobody decides about a step of a run that has ended, and nothing was sent. The row says what was asked for: it is
    // not worth a lock of its own when the run ends.
    if step.status == StepStatus::Pending && row.boolean("has_ended")? {
        step.status = StepStatus::Denied;
        step.error = Some(Failure::new("cancelled", "the run ended before anybody decided"));
        step.expires_at = None;
    }
    Ok(StepRow {
        node: text(row, "node_key")?.to_owned(),
        scope: text(row, "scope")?.to_owned(),
        trace: parse(row, "trace_id")?,
        step,
    })
}

/// Reads a page of a run's steps, each with its position in the column `id`, out of rows of which the first says how
/// many were `found`: one more than the page holds where there is a next one. Without a row there is no such run.
pub(super) fn steps_page<R: Columns>(
    rows: &[R],
    limit: u32,
    id: &'static str,
    digest: impl Fn(&R) -> Result<Vec<u8>, StoreError>,
) -> Result<Option<Page<StepRow>>, StoreError> {
    let Some(first) = rows.first() else { return Ok(None) };
    let found = usize::try_from(first.integer("found")?.unwrap_or_default());
    let mut items = Vec::with_capacity(rows.len());
    let mut last = None;
    for row in rows.iter().take(limit as usize) {
        let Some(id) = row.integer(id)? else { continue };
        last = Some(id.to_string());
        items.push(step_row(row, digest(row)?)?);
    }
    let next_cursor = last.filter(|_| found.is_ok_and(|found| found > items.len()));
    Ok(Some(Page { items, next_cursor }))
}

/// Reads the columns of sums; those of a total that there is not are null.
pub(super) fn spending(row: &impl Columns) -> Result<Spending, StoreError> {
    Ok(Spending {
        calls: amount(row, "calls")?,
        unpriced_calls: amount(row, "unpriced_calls")?,
        usage: usage(row)?,
        cost: money(row, "spent_nanos")?.unwrap_or_default(),
        steps: amount(row, "steps")?,
    })
}

/// Reads what a run's budget says of a node whose next call it does not allow.
pub(super) fn on_exhausted(row: &impl Columns) -> Result<OnExhausted, StoreError> {
    Ok(parse_optional(row, "on_exhausted")?.unwrap_or_default())
}

/// Reads the budget of a run.
pub(super) fn run_budget(row: &impl Columns) -> Result<RunBudget, StoreError> {
    Ok(RunBudget {
        limits: limits(row)?,
        deadline: row.time("deadline_at")?,
        on_exhausted: on_exhausted(row)?,
    })
}

/// Reads the budget of an organization.
pub(super) fn organization_budget(row: &impl Columns) -> Result<OrganizationBudget, StoreError> {
    let period: BudgetPeriod = parse(row, "period")?;
    let now = time(row, "answered_at")?;
    Ok(OrganizationBudget {
        period,
        limits: limits(row)?,
        spent: spending(row)?,
        reserved: money(row, "open_nanos")?.unwrap_or_default(),
        renews_at: period.renews_at(now).unwrap_or(now),
    })
}

//! What is spent and reserved of budgets: a write loads the totals that it changes, and saves them at its end.

use sqlx::sqlite::SqliteRow;

use super::log;
use super::rows::{Run, get};
use super::writer::Tx;
use crate::domain::budget::{Amounts, BudgetPeriod, SpendingLimits, Standing, spent_to};
use crate::domain::ids::{ActivationKey, RunId};
use crate::domain::money::NanoDollars;
use crate::domain::usage::Usage;
use crate::store::StoreError;
use crate::store::log_entry::Entry;
use crate::store::step_views::{amount, limits, usage};
use crate::store::steps::WARNING_PERCENT;
use crate::telemetry::metrics;

/// What a step that is over came to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settlement {
    /// Absent where the model has no price.
    pub(super) cost: Option<NanoDollars>,
    /// Tokens.
    pub(super) usage: Usage,
}

/// What a step has reserved.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Reserved {
    pub(super) nanos: u64,
    pub(super) tokens: u64,
}

/// What is spent and reserved of a budget.
#[derive(Debug, Clone)]
struct Total {
    organization: String,
    period: BudgetPeriod,
    bucket: String,
    spent_nanos: u64,
    open: Reserved,
    usage: Usage,
    calls: u64,
    unpriced_calls: u64,
    steps: u64,
    warned: bool,
}

impl Total {
    fn spent(&self) -> Amounts {
        Amounts { nanos: self.spent_nanos, tokens: self.usage.total(), steps: self.steps }
    }
}

/// The totals that a write changes.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    totals: Vec<Total>,
}

impl Ledger {
    /// The three totals of a step that reserves, or has reserved, something on `day`: of its run, the day and the month.
    async fn of(
        &mut self,
        tx: &mut Tx<'_>,
        organization: &str,
        run: RunId,
        day: &str,
    ) -> Result<[usize; 3], StoreError> {
        let month = day.get(..7).unwrap_or(day);
        let mut places = [0; 3];
        for (place, (period, bucket)) in places.iter_mut().zip([
            (BudgetPeriod::Run, format!("run:{run}")),
            (BudgetPeriod::Day, format!("day:{day}")),
            (BudgetPeriod::Month, format!("month:{month}")),
        ]) {
            let known = self
                .totals
                .iter()
                .position(|total| total.organization == organization && total.bucket == bucket);
            *place = match known {
                Some(known) => known,
                None => {
                    self.totals.push(load(tx, organization, period, bucket).await?);
                    self.totals.len() - 1
                }
            };
        }
        Ok(places)
    }

    /// Counts what is over, and frees what it had reserved.
    pub(super) async fn settle(
        &mut self,
        tx: &mut Tx<'_>,
        (organization, run, day): (&str, RunId, &str),
        reserved: Reserved,
        settlement: Settlement,
    ) -> Result<(), StoreError> {
        for place in self.of(tx, organization, run, day).await? {
            let total = &mut self.totals[place];
            let cost = settlement.cost.map_or(0, |cost| u64::try_from(cost.0).unwrap_or_default());
            total.spent_nanos = total.spent_nanos.saturating_add(cost).min(i64::MAX.unsigned_abs());
            total.usage = total.usage.plus(&settlement.usage);
            total.calls += 1;
            total.unpriced_calls += u64::from(settlement.cost.is_none());
            total.open.nanos = total.open.nanos.saturating_sub(reserved.nanos);
            total.open.tokens = total.open.tokens.saturating_sub(reserved.tokens);
        }
        Ok(())
    }

    /// Counts a step that begins, and what it reserves.
    pub(super) async fn reserve(
        &mut self,
        tx: &mut Tx<'_>,
        (organization, run, day): (&str, RunId, &str),
        reserved: Reserved,
        steps: u64,
    ) -> Result<(), StoreError> {
        for place in self.of(tx, organization, run, day).await? {
            let total = &mut self.totals[place];
            total.open.nanos = total.open.nanos.saturating_add(reserved.nanos);
            total.open.tokens = total.open.tokens.saturating_add(reserved.tokens);
            total.steps += steps;
        }
        Ok(())
    }

    /// The budgets that hold for a run now, as they stand.
    pub(super) async fn standings(
        &mut self,
        tx: &mut Tx<'_>,
        run: &Run,
        day: &str,
    ) -> Result<Vec<Standing>, StoreError> {
        let organization = &*run.header.identity.organization;
        let mut standings = Vec::with_capacity(3);
        for place in self.of(tx, organization, run.header.id, day).await? {
            let total = self.totals[place].clone();
            let limits = limits_of(tx, &total, run.header.id).await?;
            let Reserved { nanos, tokens } = total.open;
            standings.push(Standing {
                period: total.period,
                limits,
                spent: total.spent(),
                reserved: Amounts { nanos, tokens, steps: 0 },
                renews_at: total.period.renews_at(tx.time()?),
            });
        }
        Ok(standings)
    }

    /// Writes all of them, and logs in the run those budgets that are to be warned of.
    pub(super) async fn save(
        self,
        tx: &mut Tx<'_>,
        run: &Run,
        key: &ActivationKey,
    ) -> Result<(), StoreError> {
        for mut total in self.totals {
            if !total.warned {
                let limits = limits_of(tx, &total, key.run).await?;
                if let Some(reached) = spent_to(&limits, &total.spent(), WARNING_PERCENT) {
                    total.warned = true;
                    let entry = Entry::budget_warning(key, total.period, reached);
                    log::write(tx, &run.header, entry).await?;
                    // Should the transaction fail, the next one who writes warns of it again: rare, and counted twice.
                    metrics::budget_warned(total.period);
                }
            }
            store(tx, &total).await?;
        }
        Ok(())
    }

    /// Writes all of them, and leaves the warning to the next one who writes.
    pub(super) async fn save_quietly(self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        for total in self.totals {
            store(tx, &total).await?;
        }
        Ok(())
    }
}

async fn load(
    tx: &mut Tx<'_>,
    organization: &str,
    period: BudgetPeriod,
    bucket: String,
) -> Result<Total, StoreError> {
    let row = tx
        .fetch_optional(
            sqlx::query("SELECT * FROM budget_totals WHERE organization_id = ?1 AND bucket = ?2")
                .bind(organization)
                .bind(&bucket),
        )
        .await?;
    let mut total = Total {
        organization: organization.to_owned(),
        period,
        bucket,
        spent_nanos: 0,
        open: Reserved::default(),
        usage: Usage::default(),
        calls: 0,
        unpriced_calls: 0,
        steps: 0,
        warned: false,
    };
    if let Some(row) = row {
        read(&mut total, &row)?;
    }
    Ok(total)
}

fn read(total: &mut Total, row: &SqliteRow) -> Result<(), StoreError> {
    total.spent_nanos = amount(row, "spent_nanos")?;
    total.open =
        Reserved { nanos: amount(row, "open_nanos")?, tokens: amount(row, "open_tokens")? };
    total.usage = usage(row)?;
    total.calls = amount(row, "calls")?;
    total.unpriced_calls = amount(row, "unpriced_calls")?;
    total.steps = amount(row, "steps")?;
    total.warned = get(row, "warned")?;
    Ok(())
}

async fn store(tx: &mut Tx<'_>, total: &Total) -> Result<(), StoreError> {
    let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    tx.execute(
        sqlx::query(
            "INSERT OR REPLACE INTO budget_totals (organization_id, bucket, spent_nanos, open_nanos, open_tokens, input_tokens,
                 cached_tokens, cache_write_tokens, output_tokens, calls, unpriced_calls, steps, warned)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        )
        .bind(&total.organization)
        .bind(&total.bucket)
        .bind(whole(total.spent_nanos))
        .bind(whole(total.open.nanos))
        .bind(whole(total.open.tokens))
        .bind(whole(total.usage.input_tokens))
        .bind(whole(total.usage.cached_tokens))
        .bind(whole(total.usage.cache_write_tokens))
        .bind(whole(total.usage.output_tokens))
        .bind(whole(total.calls))
        .bind(whole(total.unpriced_calls))
        .bind(whole(total.steps))
        .bind(total.warned),
    )
    .await?;
    Ok(())
}

/// The limits of a total: those of its run, or those of its organization for the period.
async fn limits_of(
    tx: &mut Tx<'_>,
    total: &Total,
    run: RunId,
) -> Result<SpendingLimits, StoreError> {
    let statement = match total.period {
        BudgetPeriod::Run => {
            sqlx::query("SELECT max_nanos, max_tokens, max_steps FROM runs WHERE id = ?1")
                .bind(run.to_string())
        }
        BudgetPeriod::Day | BudgetPeriod::Month => sqlx::query(
            "SELECT max_nanos, max_tokens, max_steps FROM organization_budgets
             WHERE organization_id = ?1 AND period = ?2",
        )
        .bind(&total.organization)
        .bind(total.period.as_str()),
    };
    let row = tx.fetch_optional(statement).await?;
    row.map_or(Ok(SpendingLimits::default()), |row| limits(&row))
}

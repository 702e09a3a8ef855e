//! The contract of steps, on PostgreSQL.

use async_trait::async_trait;
use sqlx::postgres::PgRow;

use super::commit_rows::integer;
use super::event_logs::Logging;
use super::rows::{get, place};
use super::step_rows::WriteSteps;
use super::{PostgresStore, store_error};
use crate::domain::budget::{BudgetPeriod, Verdict, judge};
use crate::domain::ids::{ActivationKey, LeaseId, RunId};
use crate::domain::step::LostStep;
use crate::store::StoreError;
use crate::store::rows::{Columns, count, each, parse};
use crate::store::step_views::{self, lost, on_exhausted, standing};
use crate::store::steps::{
    Begun, JOURNAL_BYTES_MAX, LOST_STEPS_MAX, LostSteps, RateRequest, RecordedStep, StepAnswer,
    StepIntent, StepStore, StepWrite,
};
use crate::telemetry::metrics;

/// How often a batch is asked for again of which something could not be answered: totals that are missing, at the turn
/// of a day as well, or a row that a first try of the same call has written meanwhile, or may have.
const ROUNDS_MAX: usize = 4;

static WRITE_STEPS: Logging = Logging::of(WriteSteps::text);

#[async_trait]
impl StepStore for PostgresStore {
    async fn recorded_steps(&self, key: &ActivationKey) -> Result<Vec<RecordedStep>, StoreError> {
        let rows = sqlx::query(include_str!("sql/recorded_steps.sql"))
            .bind(key.run.0)
            .bind(&*key.node)
            .bind(&*key.scope)
            .bind(i64::try_from(JOURNAL_BYTES_MAX).unwrap_or(i64::MAX))
            .fetch_all(self.pool.named("recorded_steps"))
            .await
            .map_err(store_error)?;
        rows.iter()
            .map(|row| {
                if !get::<bool>(row, "fits")? {
                    return Err(StoreError::Data(
                        format!("the steps of {key} hold more than {JOURNAL_BYTES_MAX} bytes")
                            .into(),
                    ));
                }
                step_views::recorded(row, get(row, "digest")?)
            })
            .collect()
    }

    async fn write_steps(
        &self,
        lease: LeaseId,
        batch: &[StepWrite],
    ) -> Result<Vec<StepAnswer>, StoreError> {
        batch.iter().try_for_each(StepWrite::check)?;
        let mut answers: Vec<_> = batch.iter().map(|_| StepAnswer::Fenced).collect();
        let mut lost_before: Vec<_> = batch.iter().map(|_| Vec::new()).collect();
        let mut open: Vec<usize> = (0..batch.len()).collect();
        for _ in 0..ROUNDS_MAX {
            if open.is_empty() {
                return Ok(answers);
            }
            let writes: Vec<_> = open.iter().map(|place| &batch[*place]).collect();
            let writing = WriteSteps::of(lease, &writes).query(WRITE_STEPS.text(self))?;
            let mut left = Vec::new();
            for (place, mut answer) in read_answers(
                &self
                    .fetch_logging(writing, self.pool.serving(writes.len(), "write_steps"))
                    .await?,
            )? {
                let place = open[place];
                answer.warned.iter().copied().for_each(metrics::budget_warned);
                lost_before[place].append(&mut answer.lost);
                match answer.begun {
                    Some(begun) => answers[place] = StepAnswer::Written(begun),
                    None => left.push(place),
                }
            }
            for place in &open {
                if let StepAnswer::Written(Begun::Started { lost, .. }) = &mut answers[*place] {
                    lost.append(&mut lost_before[*place]);
                }
            }
            if !left.is_empty() {
                self.prepare_totals(left.iter().map(|place| batch[*place].key.run)).await?;
            }
            open = left;
        }
        match open.is_empty() {
            true => Ok(answers),
            false => Err(StoreError::Unavailable("steps could not be told from others".into())),
        }
    }

    async fn room_for(
        &self,
        key: &ActivationKey,
        intent: &StepIntent,
    ) -> Result<Begun, StoreError> {
        let wish = intent.wish(true);
        let whole = |amount: u64| i64::try_from(amount).unwrap_or(i64::MAX);
        let rows = sqlx::query(include_str!("sql/room_for.sql"))
            .bind(key.run.0)
            .bind(&*key.node)
            .bind(&*key.scope)
            .bind(integer(intent.seq))
            .bind(wish.nanos.map(whole))
            .bind(whole(wish.tokens))
            .fetch_all(self.pool.named("room_for"))
            .await
            .map_err(store_error)?;
        judged(&rows)
    }

    async fn lose_steps(&self, waits_for: Option<&str>) -> Result<LostSteps, StoreError> {
        let rows = sqlx::query(include_str!("sql/lose_steps.sql"))
            .bind(i64::from(LOST_STEPS_MAX))
            .bind(waits_for)
            .fetch_all(self.pool.named("lose_steps"))
            .await
            .map_err(store_error)?;
        let held = rows.first().map(|row| get::<Option<Vec<String>>>(row, "organizations"));
        let steps = rows.iter().filter(|row| matches!(row.integer("step"), Ok(Some(_))));
        Ok(LostSteps {
            steps: each(steps, lost_of),
            held: held.transpose()?.flatten().unwrap_or_default(),
        })
    }

    async fn grant_starts(
        &self,
        batch: &[RateRequest],
    ) -> Result<Vec<Option<std::time::Duration>>, StoreError> {
        self.grant(batch).await
    }
}

/// What a statement says of a write.
struct Answer {
    /// `None` if it is to be asked again.
    begun: Option<Begun>,
    lost: Vec<LostStep>,
    /// Budgets that are nearly spent since this write.
    warned: Vec<BudgetPeriod>,
}

/// Reads the answers to those writes that were not fenced, with their places. Each has one row, or one for each budget that
/// it was judged by and refused, or one for each step that was lost.
fn read_answers(rows: &[PgRow]) -> Result<Vec<(usize, Answer)>, StoreError> {
    let mut answers = Vec::new();
    let groups = rows.chunk_by(|one, other| {
        // A row that cannot be read is reported below.
        get::<i64>(one, "ord").ok() == get::<i64>(other, "ord").ok()
    });
    for group in groups {
        let first = &group[0];
        let lost = group.iter().filter(|row| matches!(row.integer("step"), Ok(Some(_))));
        let lost = each(lost, lost_of);
        let begun = match get::<&str>(first, "begun")? {
            "nothing" => Some(Begun::Nothing),
            "started" | "again" => {
                Some(Begun::Started { attempt: count(first, "try")?, lost: Vec::new() })
            }
            "pending" => Some(Begun::Pending),
            "over" => Some(Begun::Over(parse(first, "status")?)),
            "refused" => Some(refused(group)?),
            "unprepared" | "unresolved" => None,
            other => return Err(StoreError::Corrupt(format!("a step has {other:?}"))),
        };
        let warned = get::<Option<Vec<String>>>(first, "warned")?.unwrap_or_default();
        // A word that cannot be read is of a later version.
        let warned = warned.iter().filter_map(|period| period.parse().ok()).collect();
        answers.push((place(first)?, Answer { begun, lost, warned }));
    }
    Ok(answers)
}

fn lost_of(row: &PgRow) -> Result<LostStep, StoreError> {
    lost(row)
}

fn refused(group: &[PgRow]) -> Result<Begun, StoreError> {
    match judged(group)? {
        Begun::Nothing => {
            Err(StoreError::Corrupt("a step was refused that fits its budgets".to_owned()))
        }
        begun => Ok(begun),
    }
}

/// What budgets say of a step, a row a budget: nothing where they have room for it.
fn judged(group: &[PgRow]) -> Result<Begun, StoreError> {
    let mut wish = None;
    let mut standings = Vec::with_capacity(group.len());
    for row in group {
        let (wished, standing) = standing(row)?;
        wish = Some(wished);
        standings.push(standing);
    }
    let verdict = wish.map_or(Verdict::Contended, |wish| judge(&wish, &standings));
    Ok(match verdict {
        Verdict::Exhausted(exhausted) => Begun::Exhausted(exhausted, on_exhausted(&group[0])?),
        Verdict::PriceUnknown => Begun::PriceUnknown,
        Verdict::Contended => Begun::Contended,
        Verdict::Granted => Begun::Nothing,
    })
}

impl PostgresStore {
    /// Makes the totals exist that steps of these runs count in.
    async fn prepare_totals(&self, runs: impl Iterator<Item = RunId>) -> Result<(), StoreError> {
        sqlx::query(include_str!("sql/prepare_totals.sql"))
            .bind(runs.map(|run| run.0).collect::<Vec<_>>())
            .execute(self.pool.named("prepare_totals"))
            .await
            .map_err(store_error)?;
        Ok(())
    }
}

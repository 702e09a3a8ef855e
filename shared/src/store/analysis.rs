//! What is read of runs for those who look back at many of them.
//!
//! It may be much, and nobody waits for it who does work: so a store reads it over connections of its own, few, which can
//! write nothing, and each call reads a part that takes it some milliseconds.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::StoreError;
use super::costs::Dialect;
use super::rows::{Columns, count, parse, parse_optional, text, time};
use super::spending::Spending;
use super::step_views::{amount, money, spending};
use crate::domain::analysis::phases::{AttemptEnd, Awaited, EarlierAttempt};
use crate::domain::ids::{RunId, VersionId};
use crate::domain::money::NanoDollars;
use crate::domain::state::{NodeState, RunState};
use crate::domain::tenant::Identity;
use crate::domain::trace::TraceId;

/// Runs that are read in one call at most.
pub const RUNS_READ_MAX: usize = 250;
/// Rows of activations and attempts that are read in one call, but for those of one run that has more.
pub const ROWS_READ_MAX: usize = 4_000;
/// Activations of one run that are read. Of a run that has more of them it is said that it has.
pub const ACTIVATIONS_READ_MAX: usize = 2_000;
/// Attempts of one activation that are read before the last. What was between those and the last counts as the last wait of
/// those.
pub const ATTEMPTS_READ_MAX: usize = 100;
/// Documents that are read in one call at most: four megabytes.
pub const DOCUMENTS_READ_MAX: usize = 8;
/// Groups of costs that are read in one call at most, those that cost most.
pub const COST_GROUPS_MAX: usize = 500;

/// Bits of a run's id behind its milliseconds.
const ID_RANDOM_BITS: u32 = 80;
/// Ids hold milliseconds in their first 48 bits.
const ID_MILLIS_MAX: i64 = (1 << 48) - 1;
/// Digits of a cost as text, so that of two texts the larger number is the larger one.
pub(super) const COST_DIGITS: usize = 20;

/// Runs by the time at which the API took them in, which their ids begin with: from one to before another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunRange {
    from: u128,
    before: u128,
}

impl RunRange {
    /// Runs from one time on and before another, to the millisecond.
    #[must_use]
    pub fn between(from: DateTime<Utc>, to: DateTime<Utc>) -> Self {
        let first = |at: DateTime<Utc>| {
            let millis = at.timestamp_millis().clamp(0, ID_MILLIS_MAX);
            u128::from(millis.unsigned_abs()) << ID_RANDOM_BITS
        };
        Self { from: first(from), before: first(to).max(first(from)) }
    }

    /// The first id.
    pub(super) fn first(&self) -> Uuid {
        Uuid::from_u128(self.from)
    }

    /// The id that it ends before.
    pub(super) fn end(&self) -> Uuid {
        Uuid::from_u128(self.before)
    }

    /// Whether no run can be in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.from >= self.before
    }

    /// What of it is behind a run.
    #[must_use]
    pub fn behind(&self, run: RunId) -> Self {
        Self { from: run.0.as_u128().saturating_add(1).max(self.from), before: self.before }
    }

    /// As many parts of the same length in time, the first ones first.
    #[must_use]
    pub fn split(&self, parts: u32) -> Vec<Self> {
        let width = self.before.saturating_sub(self.from) / u128::from(parts.max(1)) + 1;
        let starts = (0..u128::from(parts)).map(|part| self.from.saturating_add(width * part));
        let parts =
            starts.map(|from| Self { from, before: from.saturating_add(width).min(self.before) });
        parts.filter(|part| !part.is_empty()).collect()
    }

    /// Which part of it is before what of it is `left`, in time: from 0 to 1.
    #[must_use]
    pub fn read_before(&self, left: &Self) -> f64 {
        let whole = self.before.saturating_sub(self.from) as f64;
        if whole > 0.0 { left.from.saturating_sub(self.from) as f64 / whole } else { 1.0 }
    }
}

/// A run as far as it is looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct AnalysedRun {
    /// Its id.
    pub id: RunId,
    /// The workflow's name.
    pub workflow: Arc<str>,
    /// The version that it is pinned to.
    pub version: u32,
    /// That version.
    pub version_id: VersionId,
    /// Where it is in its life.
    pub state: RunState,
    /// The trace that it has now.
    pub trace: TraceId,
    /// When it was accepted.
    pub created_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// Its calls to models.
    pub calls: u64,
    /// Those of them without a price.
    pub unpriced_calls: u64,
    /// What the others cost.
    pub cost: NanoDollars,
}

/// An activation as far as it is looked at; `__end__` is none.
#[derive(Debug, Clone, PartialEq)]
pub struct AnalysedActivation {
    /// The node.
    pub node: Arc<str>,
    /// The repetition of it.
    pub scope: Arc<str>,
    /// Its kind.
    pub kind: Arc<str>,
    /// Where it is in its life.
    pub state: NodeState,
    /// The code of its error.
    pub code: Option<Arc<str>>,
    /// When it became runnable for the last time.
    pub queued_at: Option<DateTime<Utc>>,
    /// When its last attempt began.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// Attempts before the last one, in order.
    pub earlier: Vec<EarlierAttempt>,
}

/// What a run has done.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Activations {
    /// By node and repetition.
    pub activations: Vec<AnalysedActivation>,
    /// Whether there are more of them than are read.
    pub are_cut: bool,
}

/// What calls of a workflow to a model came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelCosts {
    /// The workflow's name.
    pub workflow: String,
    /// Who serves the model.
    pub provider: String,
    /// The model.
    pub model: String,
    /// What they come to.
    pub spending: Spending,
    /// What the dearest call cost.
    pub dearest: NanoDollars,
    /// The run that has made it.
    pub run: RunId,
    /// The trace that it is in.
    pub trace: TraceId,
}

/// What is read of runs for those who look back at many of them. Every method sees the tenant's rows only, and MUST read over
/// connections that nothing else needs, within a time of their own: whoever asks for much holds nobody up.
#[async_trait]
pub trait AnalysisStore: Send + Sync + 'static {
    /// The first runs of a range, oldest first, up to [`RUNS_READ_MAX`]; of one workflow, if one is named. What is behind the
    /// last of them is the next page; fewer are the last one. MUST NOT read what is before the range, and no more than a page
    /// of what is behind it.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn runs_in(
        &self,
        tenant: &Identity,
        workflow: Option<&str>,
        range: RunRange,
    ) -> Result<Vec<AnalysedRun>, StoreError>;

    /// What these runs have done: of as many of them, from the first on and in their order, as [`ROWS_READ_MAX`] rows are
    /// enough for, but of one at least. A run without activations, or of another tenant, has done nothing.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn activations_of(
        &self,
        tenant: &Identity,
        runs: &[RunId],
    ) -> Result<Vec<Activations>, StoreError>;

    /// The documents of these versions that are there, in no order, of [`DOCUMENTS_READ_MAX`] versions at most.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn documents_of(
        &self,
        tenant: &Identity,
        versions: &[VersionId],
    ) -> Result<Vec<(VersionId, String)>, StoreError>;

    /// What calls to models came to that ended from one time on and before another, by workflow, provider and model: the
    /// [`COST_GROUPS_MAX`] that cost most. Reads all rows of that time.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn model_costs_in(
        &self,
        tenant: &Identity,
        workflow: Option<&str>,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Result<Vec<ModelCosts>, StoreError>;
}

/// Reads a run.
pub(super) fn run(row: &impl Columns) -> Result<AnalysedRun, StoreError> {
    Ok(AnalysedRun {
        id: RunId(row.uuid("id")?),
        workflow: Arc::from(text(row, "workflow")?),
        version: count(row, "version")?,
        version_id: VersionId(row.uuid("version_id")?),
        state: parse(row, "state")?,
        trace: parse(row, "trace_id")?,
        created_at: time(row, "created_at")?,
        ended_at: row.time("ended_at")?,
        calls: amount(row, "calls")?,
        unpriced_calls: amount(row, "unpriced_calls")?,
        cost: money(row, "spent_nanos")?.unwrap_or_default(),
    })
}

/// Reads what runs have done out of a row for each attempt, in the order of the runs: `most` and one more where there are
/// more, so that the last run is not whole.
pub(super) fn activations(
    rows: &[impl Columns],
    runs: &[RunId],
    most: usize,
) -> Result<Vec<Activations>, StoreError> {
    let mut all = Vec::with_capacity(runs.len());
    let mut rest = rows;
    for run in runs {
        let mut length = 0;
        while rest.get(length).map(|row| row.uuid("run_id")).transpose()? == Some(run.0) {
            length += 1;
        }
        let (of_run, behind) = rest.split_at(length);
        let is_cut_off = rows.len() > most && behind.is_empty();
        if is_cut_off && !all.is_empty() {
            break;
        }
        let mut found = of_one(of_run)?;
        found.are_cut |= is_cut_off;
        all.push(found);
        if is_cut_off {
            break;
        }
        rest = behind;
    }
    Ok(all)
}

fn of_one(rows: &[impl Columns]) -> Result<Activations, StoreError> {
    let mut found = Activations::default();
    for row in rows {
        let key = (text(row, "node_key")?, text(row, "scope")?);
        let all = &mut found.activations;
        if let Some(last) = all.last_mut().filter(|last| (&*last.node, &*last.scope) == key) {
            last.earlier.extend(earlier_attempt(row)?);
        } else if all.len() == ACTIVATIONS_READ_MAX {
            found.are_cut = true;
            break;
        } else {
            all.push(activation(row)?);
        }
    }
    Ok(found)
}

fn activation(row: &impl Columns) -> Result<AnalysedActivation, StoreError> {
    Ok(AnalysedActivation {
        node: Arc::from(text(row, "node_key")?),
        scope: Arc::from(text(row, "scope")?),
        kind: Arc::from(text(row, "kind")?),
        state: parse(row, "state")?,
        code: row.text("code")?.map(Arc::from),
        queued_at: row.time("queued_at")?,
        started_at: row.time("started_at")?,
        ended_at: row.time("ended_at")?,
        earlier: earlier_attempt(row)?.into_iter().collect(),
    })
}

/// Reads the attempt of a row that has one.
fn earlier_attempt(row: &impl Columns) -> Result<Option<EarlierAttempt>, StoreError> {
    let Some(outcome) = parse_optional::<AttemptEnd>(row, "outcome")? else { return Ok(None) };
    // A later version may know of other waits.
    let awaited = row.text("awaited")?.and_then(|word| word.parse::<Awaited>().ok());
    Ok(Some(EarlierAttempt {
        outcome,
        awaited,
        code: row.text("attempt_code")?.map(Arc::from),
        started_at: time(row, "attempt_started_at")?,
        ended_at: time(row, "attempt_ended_at")?,
    }))
}

/// The statement that sums up costs: parameters 1 and 2 are the tenant, 3 and 4 the times, 5 how many groups, and 6 the
/// workflow if there is one. `cost_digits` is the cost as so many digits that texts compare as their numbers do.
pub(super) fn costs_statement(
    dialect: &Dialect,
    cost_digits: &str,
    is_of_workflow: bool,
) -> String {
    let Dialect { parameter: p, run, sum, .. } = dialect;
    let of_workflow = if is_of_workflow { format!(" AND workflow = {p}6") } else { String::new() };
    let sums = ["input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens"];
    let sums: String = sums.map(|column| format!("{} AS {column}, ", sum(column))).concat();
    format!(
        "SELECT workflow, provider, model, count(*) AS calls, count(*) FILTER (WHERE cost_nanos IS NULL) AS unpriced_calls,
                count(*) FILTER (WHERE attempt = 1) AS steps, {sums}{} AS spent_nanos,
                max({cost_digits} || {run} || trace_id) AS dearest
         FROM model_cost_logs
         WHERE organization_id = {p}1 AND workspace_id = {p}2 AND ts >= {p}3 AND ts < {p}4{of_workflow}
         GROUP BY workflow, provider, model ORDER BY spent_nanos DESC, calls DESC LIMIT {p}5",
        sum("cost_nanos")
    )
}

/// Reads what that found.
pub(super) fn model_costs(row: &impl Columns) -> Result<ModelCosts, StoreError> {
    let dearest = text(row, "dearest")?;
    let corrupt = || StoreError::Corrupt("a cost has no run or no trace".to_owned());
    let (cost, ids) = dearest.split_at_checked(COST_DIGITS).ok_or_else(corrupt)?;
    let (run, trace) = ids.split_at_checked(36).ok_or_else(corrupt)?;
    Ok(ModelCosts {
        workflow: text(row, "workflow")?.to_owned(),
        provider: text(row, "provider")?.to_owned(),
        model: text(row, "model")?.to_owned(),
        spending: spending(row)?,
        dearest: NanoDollars(cost.parse().map_err(|_| corrupt())?),
        run: run.parse().map_err(|_| corrupt())?,
        trace: trace.parse().map_err(|_| corrupt())?,
    })
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn at(run: RunId) -> DateTime<Utc> {
        let millis = i64::try_from(run.0.as_u128() >> ID_RANDOM_BITS).unwrap();
        DateTime::from_timestamp_millis(millis).unwrap()
    }

    fn holds(range: RunRange, run: RunId) -> bool {
        (range.first()..range.end()).contains(&run.0)
    }

    #[test]
    fn a_range_holds_the_runs_of_its_time() {
        let run = RunId::generate();
        let milli = TimeDelta::milliseconds(1);
        assert!(holds(RunRange::between(at(run), at(run) + milli), run));
        assert!(!holds(RunRange::between(at(run) - milli, at(run)), run));
        assert!(!holds(RunRange::between(at(run) + milli, at(run) + milli * 9), run));
        assert!(RunRange::between(at(run), at(run) - milli).is_empty());
        let all = RunRange::between(DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC);
        assert!(holds(all, run) && !holds(all.behind(run), run));
    }

    #[test]
    fn parts_of_a_range_are_all_of_it() {
        let start = at(RunId::generate());
        for (seconds, parts) in [(0, 7), (1, 7), (86_400, 64)] {
            let range = RunRange::between(start, start + TimeDelta::seconds(seconds));
            let split = range.split(parts);
            assert_eq!(split.len(), if seconds == 0 { 0 } else { parts as usize });
            assert_eq!(split.first().map_or(range.from, |part| part.from), range.from);
            assert_eq!(split.last().map_or(range.before, |part| part.before), range.before);
            assert!(split.windows(2).all(|two| two[0].before == two[1].from));
        }
        let range = RunRange::between(start, start + TimeDelta::seconds(4));
        let left = RunRange::between(start + TimeDelta::seconds(1), start + TimeDelta::seconds(4));
        assert!((range.read_before(&left) - 0.25).abs() < 1e-9);
    }
}

//! What the stores' sums of costs have in common. Each combination of filters has a statement of its own, so that a
//! database plans for what is asked and not for what might be.
//!
//! Groups are of rows of all the time that is asked for, whose rows are read whole, for each page. Only runs are many, and
//! have an index that a page of them is a range of. Their ids are in the order of their acceptance: those of before the time
//! that is asked for have few rows in it, and many outside, so these rows are found by their time.

use std::fmt::Write;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::rows::{Columns, text};
use super::spending::{CostFilter, CostGroup, CostGrouping};
use super::{Page, PageRequest, StoreError, step_views};
use crate::domain::ids::RunId;

/// How much later than the store's the clock of a process may be that accepts runs. A run has no costs before that.
const CLOCKS_APART_MAX: TimeDelta = TimeDelta::days(1);

/// What differs between databases.
pub(super) struct Dialect {
    /// What a parameter's number follows.
    pub(super) parameter: char,
    /// The day of `ts` in UTC.
    pub(super) day: &'static str,
    /// The run's id as text.
    pub(super) run: &'static str,
    /// How texts are compared, so that a page follows on another: byte by byte.
    pub(super) collation: &'static str,
    /// A sum of a column, as a whole number of 64 bits; the largest of them where it is more.
    pub(super) sum: fn(&str) -> String,
}

/// A statement that finds groups, and what it is asked with beside the tenant and the filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    /// How its rows are found.
    pub(super) way: Way,
    /// The key that the first group follows on.
    pub(super) after: After,
    /// The first run, where it is not to begin with any.
    pub(super) first: Option<RunId>,
}

/// What a group follows on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum After {
    /// A text.
    Key(String),
    /// A run; runs go backwards.
    Run(RunId),
}

/// How rows are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// By their time: all of them.
    Time,
    /// By their runs, the latest first: until the page is full.
    Runs,
}

/// What is asked for a page, in order: the next one only if those before have not filled it.
pub(super) fn questions(
    grouping: CostGrouping,
    filter: &CostFilter,
    page: &PageRequest,
) -> Vec<Question> {
    let cursor = page.cursor.as_deref();
    if grouping != CostGrouping::Run {
        let after = After::Key(cursor.unwrap_or_default().to_owned());
        return vec![Question { way: Way::Time, after, first: None }];
    }
    let cursor = cursor.and_then(|cursor| cursor.parse().ok());
    let end = filter.to.and_then(|to| to.checked_add_signed(CLOCKS_APART_MAX)).map(first_run_at);
    let after = cursor.into_iter().chain(end).min().unwrap_or(RunId(Uuid::max()));
    let first = filter.from.filter(|_| filter.run.is_none()).map(first_run_at);
    let mut questions = Vec::with_capacity(2);
    if first.is_none_or(|first| first < after) {
        questions.push(Question { way: Way::Runs, after: After::Run(after), first });
    }
    if let Some(first) = first {
        let after = After::Key(first.min(after).to_string());
        questions.push(Question { way: Way::Time, after, first: None });
    }
    questions
}

/// The least id of a run that may have been accepted then.
fn first_run_at(time: DateTime<Utc>) -> RunId {
    let millis = u64::try_from(time.timestamp_millis()).unwrap_or_default();
    let mut least = [0; 16];
    // A UUIDv7 begins with 48 bits of milliseconds.
    least[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
    RunId(Uuid::from_bytes(least))
}

/// Makes the statement: parameters 1 and 2 are the tenant, 3 is what the first group follows on, 4 how many groups; the set
/// filters follow in the order of [`CostFilter`], and then the first run.
pub(super) fn statement(
    dialect: &Dialect,
    grouping: CostGrouping,
    filter: &CostFilter,
    way: Way,
    has_first: bool,
) -> String {
    let key = match grouping {
        CostGrouping::Model => "model",
        CostGrouping::Provider => "provider",
        CostGrouping::Workflow => "workflow",
        CostGrouping::Run => dialect.run,
        CostGrouping::Node => "workflow || '/' || node_key",
        CostGrouping::User => "user_id",
        CostGrouping::Day => dialect.day,
    };
    let Dialect { parameter, collation, sum, .. } = dialect;
    let mut filters = String::new();
    let set = [
        ("run_id =", filter.run.is_some()),
        ("workflow =", filter.workflow.is_some()),
        ("ts >=", filter.from.is_some()),
        ("ts <", filter.to.is_some()),
        ("run_id >=", has_first),
    ];
    let set = set.into_iter().filter_map(|(condition, is_set)| is_set.then_some(condition));
    for (condition, number) in set.zip(5..) {
        // Writing to a text does not fail.
        let _written = write!(filters, " AND {condition} {parameter}{number}");
    }
    let mut sums =
        "count(*) AS calls, count(*) FILTER (WHERE cost_nanos IS NULL) AS unpriced_calls,
                    count(*) FILTER (WHERE attempt = 1) AS steps"
            .to_owned();
    for (column, name) in [
        ("input_tokens", "input_tokens"),
        ("cached_tokens", "cached_tokens"),
        ("cache_write_tokens", "cache_write_tokens"),
        ("output_tokens", "output_tokens"),
        ("cost_nanos", "spent_nanos"),
    ] {
        let _written = write!(sums, ", {} AS {name}", sum(column));
    }
    let of_tenant = format!(
        "model_cost_logs WHERE organization_id = {parameter}1 AND workspace_id = {parameter}2{filters}"
    );
    if way == Way::Runs {
        return format!(
            "SELECT {key} AS key, {sums}
             FROM {of_tenant} AND run_id < {parameter}3
             GROUP BY run_id ORDER BY run_id DESC LIMIT {parameter}4"
        );
    }
    let (follows, order) = match grouping {
        CostGrouping::Run => ("<", "DESC"),
        _ => (">", "ASC"),
    };
    format!(
        "SELECT key, {sums}
         FROM (SELECT ({key}){collation} AS key, attempt, cost_nanos, input_tokens, cached_tokens, cache_write_tokens,
                      output_tokens
               FROM {of_tenant}) found
         WHERE key {follows} {parameter}3
         GROUP BY key ORDER BY key {order} LIMIT {parameter}4"
    )
}

/// Reads what that found.
pub(super) fn groups(rows: &[impl Columns]) -> Result<Vec<CostGroup>, StoreError> {
    let group = rows.iter().map(|row| {
        Ok(CostGroup { key: text(row, "key")?.to_owned(), spending: step_views::spending(row)? })
    });
    group.collect()
}

/// Makes a page of all that was found.
pub(super) fn page(groups: Vec<CostGroup>, limit: u32) -> Page<CostGroup> {
    Page::cut(groups, limit, |last| last.key.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_before_the_time_that_is_asked_for_are_looked_for_last_and_by_their_time() {
        let from = Utc::now();
        let (before, run) = (RunId(Uuid::nil()), RunId::generate());
        let first = first_run_at(from - TimeDelta::seconds(60));
        assert!(first < run && run < first_run_at(from + TimeDelta::seconds(60)));
        let ways = |filter: &CostFilter, cursor: Option<RunId>| {
            let cursor = cursor.map(|run| run.to_string());
            let found = questions(CostGrouping::Run, filter, &PageRequest { limit: 1, cursor });
            found.iter().map(|question| question.way).collect::<Vec<_>>()
        };
        let all = CostFilter::default();
        let some = CostFilter { from: Some(from), ..CostFilter::default() };
        let of_run = CostFilter { run: Some(run), ..some.clone() };
        assert_eq!(ways(&all, None), [Way::Runs]);
        assert_eq!(ways(&some, None), [Way::Runs, Way::Time]);
        assert_eq!(ways(&some, Some(before)), [Way::Time]);
        assert_eq!(ways(&of_run, None), [Way::Runs]);
        // Runs that were accepted later than that are not looked at.
        let until = CostFilter { to: Some(from), ..CostFilter::default() };
        let found = questions(CostGrouping::Run, &until, &PageRequest { limit: 1, cursor: None });
        let After::Run(after) = found[0].after else { panic!("{found:?}") };
        assert!(run < after && after < RunId(Uuid::max()));
    }
}

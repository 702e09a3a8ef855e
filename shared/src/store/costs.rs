//! What the stores' sums of costs have in common. Each combination of filters has a statement of its own, so that a
//! database plans for what is asked and not for what might be.

use std::fmt::Write;

use super::rows::{Columns, text};
use super::spending::{CostFilter, CostGroup, CostGrouping};
use super::{Page, StoreError, step_views};

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

/// Makes the statement: parameters 1 and 2 are the tenant, 3 is the key of the last group seen, 4 how many groups; the set
/// filters follow in the order of [`CostFilter`].
pub(super) fn statement(dialect: &Dialect, grouping: CostGrouping, filter: &CostFilter) -> String {
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
    ];
    let set = set.into_iter().filter_map(|(condition, is_set)| is_set.then_some(condition));
    for (condition, number) in set.zip(5..) {
        // Writing to a text does not fail.
        let _written = write!(filters, " AND {condition} {parameter}{number}");
    }
    let mut sums = String::new();
    for column in ["input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens"] {
        let _written = write!(sums, ", {} AS {column}", sum(column));
    }
    format!(
        "SELECT key, count(*) AS calls, count(*) FILTER (WHERE cost_nanos IS NULL) AS unpriced_calls{sums},
                {} AS spent_nanos, count(*) FILTER (WHERE attempt = 1) AS steps
         FROM (SELECT ({key}){collation} AS key, attempt, cost_nanos, input_tokens, cached_tokens, cache_write_tokens,
                      output_tokens
               FROM model_cost_logs
               WHERE organization_id = {parameter}1 AND workspace_id = {parameter}2{filters}) of_tenant
         WHERE key > {parameter}3
         GROUP BY key ORDER BY key LIMIT {parameter}4",
        sum("cost_nanos")
    )
}

/// Makes a page of what that found.
pub(super) fn page(rows: &[impl Columns], limit: u32) -> Result<Page<CostGroup>, StoreError> {
    let group = rows.iter().map(|row| {
        Ok(CostGroup { key: text(row, "key")?.to_owned(), spending: step_views::spending(row)? })
    });
    let groups: Vec<CostGroup> = group.collect::<Result<_, StoreError>>()?;
    Ok(Page::cut(groups, limit, |last| last.key.clone()))
}

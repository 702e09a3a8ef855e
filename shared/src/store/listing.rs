//! What the stores' listings of runs have in common. Each combination of filters has a statement of its own, so that a
//! database plans for what is asked and not for what might be.

use std::fmt::Write;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::rows::Columns;
use super::runs::{RunFilter, RunSummary};
use super::{Page, PageRequest, StoreError, views};
use crate::domain::ids::RunId;
use crate::domain::state::RunState;

/// Rows that a page reads at most, whatever it finds among them: some milliseconds. No index holds every combination of
/// filters, so what is asked for may be few rows among very many; a page that has read as much ends there, with what it
/// has found and a cursor.
pub(super) const READ_ROWS_MAX: u32 = 2_000;

/// By how much the time in a run's id and the time at which it was accepted may differ: the former comes from the clock
/// of the host that took the request in, the latter from the database's, and in between a request may have waited.
const ID_CLOCK_SLACK: TimeDelta = TimeDelta::minutes(15);
/// Ids hold milliseconds in their first 48 bits.
const ID_MILLIS_MAX: i64 = (1 << 48) - 1;
/// Bits of an id behind those.
const ID_RANDOM_BITS: u32 = 80;

/// Between which ids a page lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IdRange {
    /// Inclusive.
    pub(super) from: Uuid,
    /// Exclusive.
    pub(super) before: Uuid,
}

impl IdRange {
    /// The range behind the cursor of a page. Ids are ordered by time, so that a filter by time narrows it as well; the
    /// exact times are still to be compared.
    pub(super) fn of(filter: &RunFilter, page: &PageRequest) -> Self {
        let cursor = page.cursor.as_deref().and_then(|cursor| cursor.parse().ok());
        let earliest = filter.created_after.map(|at| first_id(at, -ID_CLOCK_SLACK));
        let latest = filter.created_before.map(|at| first_id(at, ID_CLOCK_SLACK));
        Self {
            from: earliest.unwrap_or(Uuid::nil()),
            before: cursor.into_iter().chain(latest).min().unwrap_or(Uuid::max()),
        }
    }
}

/// The smallest id of the millisecond that is `slack` from a time.
fn first_id(at: DateTime<Utc>, slack: TimeDelta) -> Uuid {
    let millis = at.timestamp_millis().saturating_add(slack.num_milliseconds());
    let millis = millis.clamp(0, ID_MILLIS_MAX).unsigned_abs();
    Uuid::from_u128(u128::from(millis) << ID_RANDOM_BITS)
}

/// Makes a page out of the rows of a listing, newest first. `matches` says whether the filters let a row through, and
/// `is_last` whether it is the last one of its index that may be read, which is there whether it matches or not: what is
/// older may be missing.
pub(super) fn page(rows: &[impl Columns], limit: u32) -> Result<Page<RunSummary>, StoreError> {
    let mut items = Vec::with_capacity(rows.len());
    let mut read_to = None;
    for row in rows {
        if row.boolean("matches")? {
            items.push(views::run(row)?);
        }
        if row.boolean("is_last")? {
            read_to = Some(RunId(row.uuid("id")?).to_string());
            break;
        }
    }
    let page = Page::cut(items, limit, |last| last.id.to_string());
    Ok(Page { next_cursor: page.next_cursor.or(read_to), ..page })
}

/// The number of the first parameter that is a filter's. The workflow comes first, if that is filtered by.
pub(super) const FIRST_FILTER: usize = 6;

/// The filters that are compared row by row, as the left sides of conditions; parameters are bound in the same order.
fn compared(filter: &RunFilter) -> impl Iterator<Item = &'static str> {
    let all = [
        ("workflow =", filter.workflow.is_some()),
        ("created_at >=", filter.created_after.is_some()),
        ("created_at <", filter.created_before.is_some()),
        ("ended_at IS NOT NULL AND ended_at >=", filter.ended_after.is_some()),
        ("ended_at IS NOT NULL AND ended_at <", filter.ended_before.is_some()),
    ];
    all.into_iter().filter_map(|(condition, is_set)| is_set.then_some(condition))
}

/// The times of a filter, in the order of their conditions.
pub(super) fn times(filter: &RunFilter) -> impl Iterator<Item = DateTime<Utc>> {
    let all =
        [filter.created_after, filter.created_before, filter.ended_after, filter.ended_before];
    all.into_iter().flatten()
}

/// The number of the parameter that is the trace, if that is filtered by: the last one.
pub(super) fn trace_number(filter: &RunFilter) -> usize {
    FIRST_FILTER + compared(filter).count()
}

/// A part of the runs that a filter lets through, which one index holds. A page is merged from its sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    /// Which runs it goes by.
    pub(super) index: Index,
    /// The states of those that are wanted; any if there are none.
    states: Vec<RunState>,
}

/// Which index holds the runs that a filter lets through, and as few others as can be: they may be few among very many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Index {
    /// All runs of the tenant.
    All,
    /// Those of a workflow.
    OfWorkflow,
    /// Those that were brought down, by the state that this leads to.
    BroughtDown(RunState),
    /// Those of a workflow that were.
    OfWorkflowBroughtDown(RunState),
    /// Those of which everything waits.
    Suspended,
    /// Those that have neither ended nor wait.
    Open,
    /// Those that are in a trace.
    OfTrace,
    /// Those that were in it before, and are in another one now.
    OnceOfTrace,
}

impl Source {
    /// Where the runs for a filter are. No run is wanted of two of them.
    pub(super) fn all(filter: &RunFilter) -> Vec<Self> {
        let whole = |index| Self { index, states: filter.states.clone() };
        if filter.trace.is_some() {
            return vec![whole(Index::OfTrace), whole(Index::OnceOfTrace)];
        }
        let of_workflow = filter.workflow.is_some();
        // Those that have succeeded are most of them anyway.
        if filter.states.is_empty() || filter.states.contains(&RunState::Succeeded) {
            return vec![whole(if of_workflow { Index::OfWorkflow } else { Index::All })];
        }
        let mut sources: Vec<Self> = Vec::with_capacity(filter.states.len());
        for state in filter.states.iter().copied() {
            let index = match state {
                RunState::Queued | RunState::Running => Index::Open,
                RunState::Suspended => Index::Suspended,
                _ if of_workflow => Index::OfWorkflowBroughtDown(state),
                _ => Index::BroughtDown(state),
            };
            match sources.iter_mut().find(|source| source.index == index) {
                Some(source) => source.states.push(state),
                None => sources.push(Self { index, states: vec![state] }),
            }
        }
        sources
    }

    /// The filters that are set, each behind an AND. `parameter` is what the number of a parameter follows.
    pub(super) fn conditions(&self, filter: &RunFilter, parameter: char) -> String {
        let mut conditions = String::new();
        if !self.states.is_empty() {
            // Words of ours, and so few combinations that each may have a statement.
            let words: Vec<_> = self.states.iter().map(|state| format!("'{state}'")).collect();
            conditions = format!(" AND state IN ({})", words.join(", "));
        }
        for (condition, number) in compared(filter).zip(FIRST_FILTER..) {
            // Writing to a string cannot fail.
            let _written = write!(conditions, " AND {condition} {parameter}{number}");
        }
        conditions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(cursor: Option<Uuid>) -> PageRequest {
        PageRequest { limit: 10, cursor: cursor.map(|id| id.to_string()) }
    }

    #[test]
    fn without_a_cursor_and_times_every_id_is_in_range() {
        let all = IdRange { from: Uuid::nil(), before: Uuid::max() };
        assert_eq!(IdRange::of(&RunFilter::default(), &page(None)), all);
    }

    #[test]
    fn every_state_has_one_source_and_those_that_share_an_index_share_it() {
        use RunState::{Cancelled, Failed, Queued, Running, Succeeded, Suspended};
        let sources = |states: &[RunState]| {
            let filter = RunFilter { states: states.to_vec(), ..RunFilter::default() };
            let sources = Source::all(&filter).into_iter();
            sources.map(|source| (source.index, source.states)).collect::<Vec<_>>()
        };
        assert_eq!(sources(&[]), [(Index::All, vec![])]);
        assert_eq!(sources(&[Queued, Succeeded]), [(Index::All, vec![Queued, Succeeded])]);
        assert_eq!(
            sources(&[Queued, Running, Suspended, Failed, Cancelled]),
            [
                (Index::Open, vec![Queued, Running]),
                (Index::Suspended, vec![Suspended]),
                (Index::BroughtDown(Failed), vec![Failed]),
                (Index::BroughtDown(Cancelled), vec![Cancelled]),
            ]
        );
    }

    #[test]
    fn parameters_are_counted_in_the_order_in_which_they_are_bound() {
        let filter = RunFilter {
            workflow: Some("a".to_owned()),
            states: vec![RunState::Failed],
            ended_before: Some(DateTime::<Utc>::MIN_UTC),
            ..RunFilter::default()
        };
        assert_eq!(
            Source::all(&filter)[0].conditions(&filter, '$'),
            " AND state IN ('failed') AND workflow = $6 AND ended_at IS NOT NULL AND ended_at < $7"
        );
        assert_eq!(trace_number(&filter), 8);
    }

    #[test]
    fn times_narrow_the_range_with_room_for_clocks_that_differ() {
        let id = Uuid::now_v7();
        let millis = i64::try_from(id.as_u128() >> ID_RANDOM_BITS).unwrap();
        let within = |after: i64, before: i64, cursor| {
            let time = |offset| DateTime::from_timestamp_millis(millis + offset);
            let filter = RunFilter {
                created_after: time(after),
                created_before: time(before),
                ..RunFilter::default()
            };
            let IdRange { from, before } = IdRange::of(&filter, &page(cursor));
            (from..before).contains(&id)
        };
        let slack = ID_CLOCK_SLACK.num_milliseconds();
        assert!(within(0, 0, None));
        assert!(within(slack, slack, None) && !within(slack + 1, slack + 2, None));
        assert!(within(-slack, 1 - slack, None) && !within(-slack, -slack, None));
        assert!(!within(0, 0, Some(id)), "the cursor itself was on the page before");
        assert!(within(0, 0, Some(Uuid::max())));
    }

    #[test]
    fn times_beyond_what_ids_can_say_are_as_good_as_none() {
        let filter = RunFilter {
            created_after: Some(DateTime::<Utc>::MIN_UTC),
            created_before: Some(DateTime::<Utc>::MAX_UTC),
            ..RunFilter::default()
        };
        let IdRange { from, before } = IdRange::of(&filter, &page(None));
        assert!((from..before).contains(&Uuid::now_v7()));
    }
}

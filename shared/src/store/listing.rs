//! What the stores' listings of runs have in common. Each combination of filters has a statement of its own, so that a
//! database plans for what is asked and not for what might be.

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
/// `is_last` whether it is the last one that may be read, which is there whether it matches or not.
pub(super) fn page(rows: &[impl Columns], limit: u32) -> Result<Page<RunSummary>, StoreError> {
    let mut items = Vec::with_capacity(rows.len());
    let mut read_to = None;
    for row in rows {
        if row.boolean("matches")? {
            items.push(views::run(row)?);
        }
        if row.boolean("is_last")? {
            read_to = Some(RunId(row.uuid("id")?).to_string());
        }
    }
    let page = Page::cut(items, limit, |last| last.id.to_string());
    Ok(Page { next_cursor: page.next_cursor.or(read_to), ..page })
}

/// The number of the first parameter that is a filter's.
pub(super) const FIRST_FILTER: usize = 6;

/// The number of the parameter that is the workflow, if that is filtered by.
pub(super) fn workflow_number(filter: &RunFilter) -> usize {
    FIRST_FILTER + usize::from(filter.state.is_some())
}

/// The filters that are set, as the left sides of conditions; parameters are bound in the same order.
pub(super) fn conditions(filter: &RunFilter) -> impl Iterator<Item = &'static str> {
    let all = [
        ("state =", filter.state.is_some()),
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

/// Which index holds the runs that a filter lets through, and as few others as can be: they may be few among very many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Index {
    /// All runs of the tenant.
    All,
    /// Those of a workflow.
    OfWorkflow,
    /// Those that were brought down, by the state that this leads to.
    BroughtDown,
    /// Those of a workflow that were.
    OfWorkflowBroughtDown,
    /// Those of which everything waits.
    Suspended,
    /// Those that have neither ended nor wait.
    Open,
}

impl Index {
    /// The index for a filter.
    pub(super) fn of(filter: &RunFilter) -> Self {
        match (filter.state, &filter.workflow) {
            (Some(RunState::Failed | RunState::Cancelled | RunState::TimedOut), None) => {
                Self::BroughtDown
            }
            (Some(RunState::Failed | RunState::Cancelled | RunState::TimedOut), Some(_)) => {
                Self::OfWorkflowBroughtDown
            }
            (Some(RunState::Suspended), _) => Self::Suspended,
            (Some(RunState::Queued | RunState::Running), _) => Self::Open,
            (Some(RunState::Succeeded) | None, Some(_)) => Self::OfWorkflow,
            (Some(RunState::Succeeded) | None, None) => Self::All,
        }
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

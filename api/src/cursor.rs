//! Cursors of listings: the store's own, with a checksum that names the listing and what it lists.
//!
//! Stores take any text for a cursor and start from the top when they cannot read it, so a damaged cursor, or one of
//! another listing, would silently show the wrong page. The checksum guards against mistakes, not against
//! intent: every query is filtered by tenant, whatever the cursor, and what could not be a cursor is not handed on.

use sha2::{Digest, Sha256};
use skein_shared::domain::ids::{LeaseId, RunId};
use skein_shared::domain::key_id::KeyId;
use skein_shared::store::keys::KeyFilter;
use skein_shared::store::log_filter::{LogFilter, WHOLE_LOG};
use skein_shared::store::runs::RunFilter;
use skein_shared::store::spending::{CostFilter, CostGrouping};

use crate::path_parameters::may_be_workflow;
use crate::span_position::SpanPosition;

/// Hex digits of the checksum.
const CHECK_CHARS: usize = 8;
/// Bytes of a cursor. The name of a model is the longest that there is.
pub(crate) const CURSOR_CHARS_MAX: usize = 2048;

/// A listing, and what it is of.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Listing<'a> {
    /// The workflows of a workspace.
    Workflows,
    /// The versions of this workflow.
    Versions(&'a str),
    /// The runs that pass this filter.
    Runs(&'a RunFilter),
    /// The rows of this run's log that pass this filter.
    Logs(RunId, &'a LogFilter),
    /// The workers.
    Workers,
    /// The keys of an organization that pass this filter.
    Keys(&'a KeyFilter),
    /// The steps of this run.
    Steps(RunId),
    /// The spans of this run, made once more.
    Spans(RunId),
    /// The costs that pass this filter, grouped.
    Costs(CostGrouping, &'a CostFilter),
}

impl Listing<'_> {
    /// What distinguishes it from the others. Neither names nor states hold a NUL. A filter that is not set leaves no trace in it
    /// that it did not leave before there was that filter: clients come back with cursors of servers of another version.
    fn identity(self) -> String {
        match self {
            Self::Workflows => "workflows".to_owned(),
            Self::Versions(workflow) => format!("versions\0{workflow}"),
            Self::Runs(filter) => {
                let RunFilter { workflow, states, trace, created_after, created_before, .. } =
                    filter;
                let workflow = workflow.as_deref().unwrap_or_default();
                let states: Vec<_> = states.iter().map(|state| state.as_str()).collect();
                let trace = trace.map_or_else(String::new, |trace| format!("\0{trace}"));
                let times =
                    [created_after, created_before, &filter.ended_after, &filter.ended_before]
                        .map(|time| time.map_or_else(String::new, |time| time.to_rfc3339()));
                format!("runs\0{workflow}\0{}\0{}{trace}", states.join(","), times.join("\0"))
            }
            Self::Logs(run, filter) if *filter == WHOLE_LOG => format!("logs\0{run}"),
            Self::Logs(run, LogFilter { level, node, since }) => {
                let level = level.map_or("", |level| level.as_str());
                let node = node.as_deref().unwrap_or_default();
                let since = since.map_or_else(String::new, |since| since.to_rfc3339());
                format!("logs\0{run}\0{level}\0{node}\0{since}")
            }
            Self::Workers => "workers".to_owned(),
            Self::Steps(run) => format!("steps\0{run}"),
            Self::Spans(run) => format!("spans\0{run}"),
            Self::Costs(grouping, CostFilter { run, workflow, from, to }) => {
                let run = run.map_or_else(String::new, |run| run.to_string());
                let workflow = workflow.as_deref().unwrap_or_default();
                let times =
                    [from, to].map(|time| time.map_or_else(String::new, |time| time.to_rfc3339()));
                format!("costs\0{grouping}\0{run}\0{workflow}\0{}\0{}", times[0], times[1])
            }
            Self::Keys(KeyFilter { workspace, user }) => {
                // Names hold no control characters, so these say whether there is a filter as well.
                let [workspace, user] =
                    [workspace, user].map(|name| name.as_deref().unwrap_or("\u{1}"));
                format!("keys\0{workspace}\0{user}")
            }
        }
    }

    /// The cursor as clients see it.
    pub(crate) fn seal(self, cursor: &str) -> String {
        format!("{cursor}~{}", self.check(cursor))
    }

    /// The store's cursor, if the text was sealed for this listing.
    pub(crate) fn open(self, text: &str) -> Option<String> {
        if text.len() > CURSOR_CHARS_MAX {
            return None;
        }
        let (cursor, check) = text.rsplit_once('~')?;
        (self.may_be(cursor) && check == self.check(cursor)).then(|| cursor.to_owned())
    }

    /// Whether a store may have made this cursor.
    fn may_be(self, cursor: &str) -> bool {
        let is_number = |text: &str| text.parse::<u64>().is_ok();
        match self {
            Self::Workflows => may_be_workflow(cursor),
            Self::Versions(_) => cursor.parse::<u32>().is_ok(),
            Self::Runs(_) => cursor.parse::<RunId>().is_ok(),
            // A position in the log, on PostgreSQL behind the transaction that wrote it.
            Self::Logs(..) => {
                let (transaction, position) = cursor.split_once('.').unwrap_or(("0", cursor));
                is_number(transaction) && position.parse::<i64>().is_ok()
            }
            Self::Steps(_) => is_number(cursor),
            Self::Spans(_) => cursor.parse::<SpanPosition>().is_ok(),
            // From when on, in microseconds, and what the last group has in common: any text that a name may be.
            Self::Costs(..) => cursor.split_once('.').is_some_and(|(from, key)| {
                let is_time = from.is_empty() || from.parse::<i64>().is_ok();
                is_time && !key.is_empty() && !key.contains('\0')
            }),
            // When a worker had started, and its lease.
            Self::Workers => cursor.split_once('.').is_some_and(|(micros, id)| {
                micros.parse::<i64>().is_ok() && id.parse::<LeaseId>().is_ok()
            }),
            // When a key was made, and its id.
            Self::Keys(_) => cursor.split_once('.').is_some_and(|(micros, id)| {
                micros.parse::<i64>().is_ok() && id.parse::<KeyId>().is_ok()
            }),
        }
    }

    fn check(self, cursor: &str) -> String {
        let digest =
            Sha256::new().chain_update(self.identity()).chain_update([0]).chain_update(cursor);
        let mut hex = String::with_capacity(CHECK_CHARS);
        for byte in digest.finalize().iter().take(CHECK_CHARS / 2) {
            hex.push_str(&format!("{byte:02x}"));
        }
        hex
    }
}

#[cfg(test)]
mod tests {
    use skein_shared::domain::state::RunState;
    use skein_shared::domain::trace::TraceId;
    use skein_shared::workflow::params::log::Level;

    use super::*;

    #[test]
    fn a_cursor_opens_for_its_own_listing_only() {
        let (run, other) = (RunId::generate(), RunId::generate());
        let log = |run| Listing::Logs(run, &WHOLE_LOG);
        let sealed = log(run).seal("812.44");
        assert_eq!(log(run).open(&sealed).as_deref(), Some("812.44"));
        assert_eq!(log(other).open(&sealed), None);
        assert_eq!(Listing::Runs(&RunFilter::default()).open(&sealed), None);
        assert_eq!(log(run).open("812.44"), None);
        assert_eq!(log(run).open(&sealed.replace("812", "813")), None);
        assert_eq!(log(run).open(""), None);
        let versions = Listing::Versions("a").seal("3");
        assert_eq!(Listing::Versions("a").open(&versions).as_deref(), Some("3"));
        assert_eq!(Listing::Versions("b").open(&versions), None);
    }

    #[test]
    fn cursors_of_servers_without_the_newer_filters_are_still_good() {
        let run: RunId = "019c0000-0000-7000-8000-000000000001".parse().unwrap();
        assert_eq!(Listing::Logs(run, &WHOLE_LOG).identity(), format!("logs\0{run}"));
        let failed = RunFilter { states: vec![RunState::Failed], ..RunFilter::default() };
        assert_eq!(Listing::Runs(&failed).identity(), "runs\0\0failed\0\0\0\0");
    }

    #[test]
    fn a_cursor_opens_for_its_own_filter_only() {
        let none = RunFilter::default();
        let now = Some(chrono::Utc::now());
        let filters = [
            none.clone(),
            RunFilter { workflow: Some("a".into()), ..none.clone() },
            RunFilter { states: vec![RunState::Failed], ..none.clone() },
            RunFilter { states: vec![RunState::Failed, RunState::Cancelled], ..none.clone() },
            RunFilter { trace: Some(TraceId([7; 16])), ..none.clone() },
            RunFilter { created_after: now, ..none.clone() },
            RunFilter { created_before: now, ..none.clone() },
            RunFilter { ended_after: now, ..none.clone() },
            RunFilter { ended_before: now, ..none },
        ];
        let cursor = RunId::generate().to_string();
        for (made, filter) in filters.iter().enumerate() {
            let sealed = Listing::Runs(filter).seal(&cursor);
            for (used, filter) in filters.iter().enumerate() {
                assert_eq!(Listing::Runs(filter).open(&sealed).is_some(), made == used);
            }
        }
    }

    #[test]
    fn a_cursor_of_a_log_opens_for_its_own_filter_only() {
        let none = WHOLE_LOG.clone();
        let filters = [
            none.clone(),
            LogFilter { level: Some(Level::Warn), ..none.clone() },
            LogFilter { level: Some(Level::Error), ..none.clone() },
            LogFilter { node: Some("warn".into()), ..none.clone() },
            LogFilter { since: Some(chrono::Utc::now()), ..none },
        ];
        let run = RunId::generate();
        for (made, filter) in filters.iter().enumerate() {
            let sealed = Listing::Logs(run, filter).seal("812.44");
            for (used, filter) in filters.iter().enumerate() {
                assert_eq!(Listing::Logs(run, filter).open(&sealed).is_some(), made == used);
            }
        }
    }

    #[test]
    fn what_no_store_has_made_is_not_opened_though_it_is_sealed() {
        let filter = RunFilter::default();
        for (listing, cursors) in [
            (Listing::Workflows, ["a\0b", "", "a\nb"]),
            (Listing::Versions("a"), ["-1", "x", "4294967296"]),
            (Listing::Runs(&filter), ["17", "\0", "x~y"]),
            (Listing::Logs(RunId::generate(), &WHOLE_LOG), ["1.2.3", "-1.2", "1.\0"]),
            (Listing::Workers, ["17", "17.x", "\0"]),
            (Listing::Steps(RunId::generate()), ["1.2", "x", "\0"]),
            (Listing::Spans(RunId::generate()), ["1.2", "a.1", "\0"]),
            (Listing::Costs(CostGrouping::Model, &CostFilter::default()), ["", "a\0", "\0"]),
        ] {
            for cursor in cursors {
                assert_eq!(listing.open(&listing.seal(cursor)), None, "{listing:?} {cursor:?}");
            }
        }
    }
}

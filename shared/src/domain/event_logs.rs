//! What a store says of the rows that it has written to `event_logs`, for whoever shows them elsewhere as well.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::ids::{NodeKey, RunId, Scope};
use super::tenant::Identity;
use super::trace::{SpanId, TraceId};

/// Characters of [`WrittenLog::data`]: what nobody shows need not come back from the database. A column of it may hold
/// a hundred times as much.
pub const DATA_CHARS_MAX: usize = 4_096;

/// The words of [`WrittenLog::event`], all that there are.
pub const EVENTS: &[&str] = &[
    "run.accepted",
    "run.started",
    "run.suspended",
    "run.resumed",
    "run.no_worker",
    "run.cancel_requested",
    "run.succeeded",
    "run.failed",
    "run.cancelled",
    "run.timed_out",
    "node.started",
    "node.succeeded",
    "node.failed",
    "node.retrying",
    "node.waiting",
    "node.decided",
    "node.skipped",
    "node.cancelled",
    "node.put_off",
    "node.released",
    "node.crashed",
    "log",
    "llm.called",
    "llm.failed",
    "agent.step",
    "tool.called",
    "tool.denied",
    "budget.changed",
    "budget.warning",
    "budget.exhausted",
];

/// A row of `event_logs` that is durable.
#[derive(Debug, Clone, PartialEq)]
pub struct WrittenLog {
    /// Its id. Only with the run is it unique in all databases.
    pub id: i64,
    /// When the thing happened: the time of the row.
    pub at: DateTime<Utc>,
    /// Whose run it is.
    pub identity: Identity,
    /// The run that it is about.
    pub run: RunId,
    /// The name of its workflow.
    pub workflow: Option<Arc<str>>,
    /// The node that it is about, if it is about one.
    pub node: Option<NodeKey>,
    /// The repetition of the node.
    pub scope: Option<Scope>,
    /// `debug`, `info`, `warn` or `error`.
    pub level: Cow<'static, str>,
    /// A stable dotted word: `run.accepted`, `node.failed` ...
    pub event: Cow<'static, str>,
    /// What happened, for people.
    pub message: Cow<'static, str>,
    /// What goes with it, as JSON text; of a long one the first [`DATA_CHARS_MAX`] characters and one more.
    pub data: Option<String>,
    /// The trace that the run had then.
    pub trace: TraceId,
    /// The span that it belongs to.
    pub span: SpanId,
}

/// Who is told of rows of `event_logs`.
///
/// Each row is told of once, by the process whose statement has written it, when that is durable and the process knows it: a
/// statement whose reply is lost is told of by nobody, though its rows are there. A store that was given none asks its
/// database for nothing more than without.
pub trait EventLogSink: fmt::Debug + Send + Sync + 'static {
    /// The rows of one or several statements, in the order of each. MUST NOT block: whoever waits for the statement waits
    /// for this as well.
    fn written(&self, rows: Vec<WrittenLog>);
}

/// The start of a text that is long, so that it can be told from one that is not.
pub(crate) fn start_of(data: &str) -> &str {
    let end = data.char_indices().nth(DATA_CHARS_MAX + 1).map_or(data.len(), |(end, _)| end);
    &data[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_text_one_character_more_than_is_shown_is_kept() {
        assert_eq!(start_of("{}"), "{}");
        let text = "é".repeat(DATA_CHARS_MAX);
        assert_eq!(start_of(&text), text);
        assert_eq!(start_of(&format!("{text}ab")), format!("{text}a"));
    }
}

//! Statements as telemetry sees them: how long each takes, and for whom it was made.
//!
//! A store says which statement it is about to run ([`Database::begin`]) and what became of it ([`Running::end`]). One that
//! is made for a request, or for one run, is a span below that. One that many share has nobody whom it belongs to, so it
//! is in a trace of its own; of those that come by the hundred in a second, one is shown now and then.

use std::sync::PoisonError;
use std::time::{Duration, Instant, SystemTime};

use super::spans::DatabaseCall;
use super::statement::{Database, DatabaseError, Statement};
use super::{metrics, pipeline, span};
use crate::domain::trace::{SAMPLED, TraceContext};

/// The pause between two spans of the same statement that serves many: what a trace is to show of them, one shows as well
/// as a hundred.
const BATCH_SPAN_PAUSE: Duration = Duration::from_secs(1);

/// A statement under way. Dropped before [`Self::end`] it was given up.
#[must_use]
pub struct Running<'a> {
    /// Absent while nobody watches.
    watched: Option<Watched<'a>>,
}

struct Watched<'a> {
    database: &'a Database,
    statement: Statement,
    start: SystemTime,
    since: Instant,
    caller: Option<TraceContext>,
}

impl Database {
    /// A statement begins, for whoever the current task works for.
    pub fn begin(&self, statement: Statement) -> Running<'_> {
        let watched = (metrics::watches_database() || pipeline::exports_spans()).then(|| Watched {
            database: self,
            statement,
            start: SystemTime::now(),
            since: Instant::now(),
            caller: span::current(),
        });
        Running { watched }
    }

    /// The context for a span of a statement that serves many, if it is time for one.
    fn own_trace(&self, statement: Statement) -> Option<TraceContext> {
        statement.requests?;
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let last = shown.get(statement.name);
        if last.is_some_and(|last| last.elapsed() < BATCH_SPAN_PAUSE) {
            return None;
        }
        shown.insert(statement.name, Instant::now());
        pipeline::samples_own_trace().then(|| {
            let (trace, span) = (span::new_trace_id(), span::new_span_id());
            TraceContext { trace, span, flags: SAMPLED }
        })
    }
}

impl Running<'_> {
    /// It is over.
    pub fn end(mut self, outcome: Result<(), DatabaseError>) {
        if let Some(watched) = self.watched.take() {
            match outcome {
                Ok(()) => watched.end(Ok(())),
                Err(error) => watched.end(Err(&error)),
            }
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Some(watched) = self.watched.take() {
            watched.end(Err(&DatabaseError::given_up()));
        }
    }
}

impl Watched<'_> {
    fn end(self, outcome: Result<(), &DatabaseError>) {
        let Self { database, statement, start, since, caller } = self;
        let took = since.elapsed();
        metrics::database_called(database, statement, outcome, took);
        let (context, parent) = match caller {
            Some(caller) => (caller.with_span(span::new_span_id()), Some(caller.span)),
            None if !pipeline::exports_spans() => return,
            None => match database.own_trace(statement) {
                Some(context) => (context, None),
                None => return,
            },
        };
        // Of most traces, where few are sampled, nobody would look at what is described here.
        if pipeline::is_exported(context) {
            let end = start + took;
            let call = DatabaseCall { context, parent, database, statement, start, end, outcome };
            pipeline::emit(call);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_kept_of_a_statement_while_nobody_watches() {
        let database = Database::new("sqlite", "skein.db", None);
        let running = database.begin(Statement::named("commit").serving(7));
        assert!(running.watched.is_none());
        running.end(Ok(()));
        assert!(database.shown.lock().unwrap().is_empty());
    }
}

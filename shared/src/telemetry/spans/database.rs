//! A statement that a store has the database run.

use std::time::SystemTime;

use opentelemetry::trace::SpanKind;

use crate::domain::trace::{SpanId, TraceContext};
use crate::telemetry::semconv;
use crate::telemetry::span::{FinishedSpan, count};
use crate::telemetry::statement::{Database, DatabaseError, Statement};

/// One statement, from the wait for a connection to the last row of its answer.
#[derive(Debug, Clone, Copy)]
pub(in crate::telemetry) struct DatabaseCall<'a> {
    /// Its own ids.
    pub(in crate::telemetry) context: TraceContext,
    /// What it was made for: a request, or one run. Without that it serves many at a time, in a trace of its own.
    pub(in crate::telemetry) parent: Option<SpanId>,
    /// Where it ran.
    pub(in crate::telemetry) database: &'a Database,
    /// Which statement.
    pub(in crate::telemetry) statement: Statement,
    /// When it began.
    pub(in crate::telemetry) start: SystemTime,
    /// When it ended.
    pub(in crate::telemetry) end: SystemTime,
    /// What became of it.
    pub(in crate::telemetry) outcome: Result<(), &'a DatabaseError>,
}

impl From<DatabaseCall<'_>> for FinishedSpan {
    fn from(call: DatabaseCall<'_>) -> Self {
        let DatabaseCall { database, statement, .. } = call;
        let name = match call.parent {
            Some(_) => format!("{} {}", statement.name, database.namespace),
            None => format!("{} {} {}", semconv::SPAN_BATCH, statement.name, database.namespace),
        };
        let times = (call.start, call.end);
        let mut span = Self::new(name, SpanKind::Client, call.context, times);
        span.parent = call.parent;
        for key in [semconv::DB_SYSTEM_NAME, semconv::DB_SYSTEM] {
            span.set(key, database.system);
        }
        for key in [semconv::DB_NAMESPACE, semconv::DB_NAME] {
            span.set(key, database.namespace.clone());
        }
        for key in [semconv::DB_OPERATION_NAME, semconv::DB_OPERATION, semconv::DB_QUERY_SUMMARY] {
            span.set(key, statement.name);
        }
        if let Some((host, port)) = &database.server {
            span.set(semconv::SERVER_ADDRESS, host.clone());
            span.set(semconv::SERVER_PORT, i64::from(*port));
        }
        if let Some(requests) = statement.requests.filter(|requests| *requests > 1) {
            span.set(semconv::DB_OPERATION_BATCH_SIZE, count(requests));
        }
        if let Err(error) = call.outcome {
            span.fail_with(&error.word);
            if error.is_code {
                span.set(semconv::DB_RESPONSE_STATUS_CODE, error.word.to_string());
            }
        }
        span
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{self, attributes};
    use super::*;

    fn database() -> Database {
        Database::new("postgresql", "skein", Some(("db.example", 5432)))
    }

    fn call<'a>(database: &'a Database, context: TraceContext) -> DatabaseCall<'a> {
        DatabaseCall {
            context,
            parent: Some(crate::telemetry::new_span_id()),
            database,
            statement: Statement::named("find_run"),
            start: samples::now(),
            end: samples::now(),
            outcome: Ok(()),
        }
    }

    #[test]
    fn a_statement_follows_the_database_conventions_and_shows_nothing_of_its_text() {
        let database = database();
        let context = samples::context();
        let call = call(&database, context);
        let span = FinishedSpan::from(call);
        assert_eq!((span.name.as_ref(), &span.kind), ("find_run skein", &SpanKind::Client));
        assert_eq!((span.context, span.parent, &span.error), (context, call.parent, &None));
        assert_eq!(
            attributes(&span),
            serde_json::json!({
                "db.system.name": "postgresql",
                "db.system": "postgresql",
                "db.namespace": "skein",
                "db.name": "skein",
                "db.operation.name": "find_run",
                "db.operation": "find_run",
                "db.query.summary": "find_run",
                "server.address": "db.example",
                "server.port": 5432,
            })
        );
    }

    #[test]
    fn one_for_many_is_a_root_with_their_number_and_without_an_identity() {
        let database = database();
        let statement = Statement::named("commit").serving(40);
        let call = DatabaseCall { parent: None, statement, ..call(&database, samples::context()) };
        let span = FinishedSpan::from(call);
        assert_eq!((span.name.as_ref(), span.parent), ("BATCH commit skein", None));
        assert_eq!(attributes(&span)["db.operation.name"], "commit");
        assert_eq!(attributes(&span)["db.operation.batch.size"], 40);
        assert_eq!((span.identity, span.links), (None, Vec::new()));
    }

    #[test]
    fn what_the_database_refuses_has_its_code_and_what_was_given_up_is_no_error() {
        let database = database();
        for (error, kind, code) in [
            (DatabaseError { word: "57014".into(), is_code: true }, "57014", Some("57014")),
            (
                DatabaseError { word: "connection_refused".into(), is_code: false },
                "connection_refused",
                None,
            ),
        ] {
            let call = DatabaseCall { outcome: Err(&error), ..call(&database, samples::context()) };
            let span = FinishedSpan::from(call);
            assert_eq!(span.error.as_deref(), Some(kind));
            assert_eq!(attributes(&span)["error.type"], kind);
            assert_eq!(attributes(&span)["db.response.status_code"].as_str(), code);
        }
        let error = DatabaseError::given_up();
        let call = DatabaseCall { outcome: Err(&error), ..call(&database, samples::context()) };
        let span = FinishedSpan::from(call);
        assert_eq!((span.error, &*span.events[0].name), (None, semconv::EVENT_CANCELLED));
    }
}

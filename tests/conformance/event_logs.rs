//! What a store tells of the rows that it writes to the log: the whole suite runs over stores that tell, and after each
//! case what was told is what is there.

use std::future::Future;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use skein_shared::domain::event_logs::{EVENTS, EventLogSink, WrittenLog};
use skein_shared::domain::ids::RunId;
use skein_shared::domain::tenant::Identity;
use skein_shared::store::Store;
use skein_tests::postgres::{TestDatabase, with_database};
use skein_tests::sqlite::with_telling_store;
use skein_tests::stack::workspace;
use sqlx::postgres::PgRow;
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{ConnectOptions, Row};

/// Keeps what it is told.
#[derive(Debug, Default)]
struct Told(Mutex<Vec<WrittenLog>>);

impl EventLogSink for Told {
    fn written(&self, mut rows: Vec<WrittenLog>) {
        assert!(!rows.is_empty(), "there is nothing to tell");
        self.0.lock().unwrap_or_else(PoisonError::into_inner).append(&mut rows);
    }
}

impl Told {
    fn assert_is(&self, there: &[WrittenLog]) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        told.sort_by_key(|row| row.id);
        let differs = told.iter().zip(there).find(|(told, there)| told != there);
        assert_eq!(differs, None, "told, and what is there");
        assert_eq!(told.len(), there.len(), "rows that were told of, and rows");
    }
}

/// Runs a case over a PostgreSQL store that tells.
pub(crate) async fn postgres<F, Fut>(case: F)
where
    F: FnOnce(Arc<dyn Store>) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    with_database(|database| {
        let told = Arc::new(Told::default());
        let case = case(database.store_telling(Arc::clone(&told) as _));
        async move {
            case.await;
            told.assert_is(&of_postgres(&database).await);
        }
    })
    .await;
}

/// Runs a case over a SQLite store that tells.
pub(crate) async fn sqlite<F, Fut>(case: F)
where
    F: FnOnce(Arc<dyn Store>) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let told = Arc::new(Told::default());
    let check = async |file: &Path| told.assert_is(&of_sqlite(file).await);
    with_telling_store(Some(Arc::clone(&told) as _), case, check).await;
}

async fn of_postgres(database: &TestDatabase) -> Vec<WrittenLog> {
    let raw = database.raw().await.expect("a server for tests");
    let rows = sqlx::query(
        "SELECT l.*, left(l.data::text, 4097) AS start_of_data, r.workflow
         FROM event_logs l LEFT JOIN runs r ON r.id = l.run_id ORDER BY l.id",
    );
    let rows = rows.fetch_all(&raw).await.expect("rows");
    raw.close().await;
    let read = |row: &PgRow| WrittenLog {
        id: row.get("id"),
        at: row.get("ts"),
        identity: Identity::new(
            row.get::<&str, _>("organization_id"),
            row.get::<&str, _>("workspace_id"),
            row.get::<&str, _>("user_id"),
        ),
        run: RunId(row.get("run_id")),
        workflow: row.get::<Option<&str>, _>("workflow").map(Arc::from),
        node: row.get::<Option<&str>, _>("node_key").map(Arc::from),
        scope: row.get::<Option<&str>, _>("scope").map(Arc::from),
        level: row.get::<String, _>("level").into(),
        event: row.get::<String, _>("event").into(),
        message: row.get::<String, _>("message").into(),
        data: row.get("start_of_data"),
        trace: row.get::<&str, _>("trace_id").parse().expect("a trace id"),
        span: row.get::<&str, _>("span_id").parse().expect("a span id"),
    };
    rows.iter().map(read).collect()
}

async fn of_sqlite(file: &Path) -> Vec<WrittenLog> {
    let options = SqliteConnectOptions::new().filename(file).read_only(true);
    let mut connection = options.connect().await.expect("the file is there");
    let rows = sqlx::query(
        "SELECT l.*, substr(l.data, 1, 4097) AS start_of_data, r.workflow
         FROM event_logs l LEFT JOIN runs r ON r.id = l.run_id ORDER BY l.id",
    );
    let rows = rows.fetch_all(&mut connection).await.expect("rows");
    let read = |row: &SqliteRow| WrittenLog {
        id: row.get("id"),
        at: DateTime::<Utc>::from_timestamp_micros(row.get("ts")).expect("a time"),
        identity: Identity::new(
            row.get::<&str, _>("organization_id"),
            row.get::<&str, _>("workspace_id"),
            row.get::<&str, _>("user_id"),
        ),
        run: RunId(row.get::<&str, _>("run_id").parse().expect("an id")),
        workflow: row.get::<Option<&str>, _>("workflow").map(Arc::from),
        node: row.get::<Option<&str>, _>("node_key").map(Arc::from),
        scope: row.get::<Option<&str>, _>("scope").map(Arc::from),
        level: row.get::<String, _>("level").into(),
        event: row.get::<String, _>("event").into(),
        message: row.get::<String, _>("message").into(),
        data: row.get("start_of_data"),
        trace: row.get::<&str, _>("trace_id").parse().expect("a trace id"),
        span: row.get::<&str, _>("span_id").parse().expect("a span id"),
    };
    rows.iter().map(read).collect()
}

/// A log record has no name that is not listed.
#[test]
fn every_event_that_a_statement_writes_is_listed() {
    let folder = workspace().join("shared/src/store/postgres/sql");
    let subjects = ["run.", "node.", "budget."];
    let mut found = 0;
    for file in std::fs::read_dir(folder).expect("the statements are there") {
        let text = std::fs::read_to_string(file.expect("a file").path()).expect("a text");
        for subject in subjects {
            for rest in text.split(&format!("'{subject}")).skip(1) {
                let word = format!("{subject}{}", rest.split('\'').next().unwrap_or_default());
                // What follows is the state that the run has ended in.
                let is_listed = EVENTS.contains(&word.as_str()) || word == "run.";
                assert!(is_listed, "{word} is not listed in EVENTS");
                found += 1;
            }
        }
    }
    assert!(found > 10, "only {found} events were found");
}

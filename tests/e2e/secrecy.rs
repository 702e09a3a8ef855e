//! Where a secret must not be: the tables, what the programs print, and what the collector got.

use std::path::Path;

use skein_tests::stack::{Form, Stack};

/// Checks that a secret, which is made of what no escaping changes, stands in no table, in no line that a program of the
/// stack has printed, and in no span and no log record.
///
/// # Panics
/// When it does; says where.
pub(crate) async fn assert_nowhere(stack: &Stack, secret: &str) {
    let mut found = match stack.form {
        Form::Distributed => tables_with(stack, secret).await,
        Form::Embedded => files_with(stack.data(), secret),
    };
    for program in std::iter::once(&stack.api).chain(&stack.workers) {
        if program.log().contains(secret) {
            found.push(format!("the log of {}", program.name()));
        }
    }
    let exported =
        [format!("{:?}", stack.collector.spans()), format!("{:?}", stack.collector.logs())];
    for (exported, what) in exported.iter().zip(["a span", "a log record"]) {
        if exported.contains(secret) {
            found.push(what.to_owned());
        }
    }
    assert!(found.is_empty(), "the secret is in {}", found.join(", "));
}

async fn tables_with(stack: &Stack, secret: &str) -> Vec<String> {
    let pool = stack.database().raw().await.expect("the PostgreSQL for tests");
    let query = "SELECT table_name::text FROM information_schema.tables WHERE table_schema = current_schema()";
    let tables: Vec<String> =
        sqlx::query_scalar(query).fetch_all(&pool).await.expect("a list of tables");
    assert!(tables.len() > 10, "only {tables:?}");
    let mut found = Vec::new();
    for table in tables {
        let query = format!(r#"SELECT count(*) FROM "{table}" t WHERE strpos(t::text, $1) > 0"#);
        let query = sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(query)).bind(secret);
        if query.fetch_one(&pool).await.expect("a table can be read") > 0 {
            found.push(table);
        }
    }
    pool.close().await;
    found
}

/// The files below a folder that hold it; those of SQLite hold texts as they are.
fn files_with(folder: &Path, secret: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files_with(&path, secret));
        } else if let Ok(bytes) = std::fs::read(&path)
            && bytes.windows(secret.len()).any(|part| part == secret.as_bytes())
        {
            found.push(path.display().to_string());
        }
    }
    found
}

//! The files of `migrations/`, which are part of the program. The build script lists them: sqlx's own `migrate!` needs
//! both drivers, their runtime and SQLite once more, compiled for the compiler.

use std::sync::LazyLock;

use sqlx::SqlStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

/// PostgreSQL's.
pub(super) static POSTGRES: LazyLock<Migrator> =
    LazyLock::new(|| migrator(include!(concat!(env!("OUT_DIR"), "/postgres_migrations.rs"))));

/// SQLite's.
pub(super) static SQLITE: LazyLock<Migrator> =
    LazyLock::new(|| migrator(include!(concat!(env!("OUT_DIR"), "/sqlite_migrations.rs"))));

/// What sqlx makes of such files: version, description and statements of each.
fn migrator(files: &[(i64, &'static str, &'static str)]) -> Migrator {
    let migrations = files.iter().map(|&(version, description, statements)| {
        let without_transaction = statements.starts_with("-- no-transaction");
        let sql = SqlStr::from_static(statements);
        let kind = MigrationType::Simple;
        Migration::new(version, description.into(), kind, sql, without_transaction)
    });
    Migrator::with_migrations(migrations.collect())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Databases in the field hold the checksums; one that differed would not be migrated.
    #[tokio::test]
    async fn what_is_embedded_is_what_sqlx_reads_from_the_folders() {
        let files = |migrator: &Migrator| -> Vec<_> {
            let file = |it: &Migration| {
                let statements = it.sql.as_str().to_owned();
                (it.version, it.description.clone(), it.checksum.clone(), it.no_tx, statements)
            };
            migrator.iter().map(file).collect()
        };
        for (embedded, folder) in [(&POSTGRES, "postgres"), (&SQLITE, "sqlite")] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations").join(folder);
            let read = Migrator::new(path).await.unwrap();
            assert!(read.iter().next().is_some(), "{folder} is empty");
            assert_eq!(files(embedded), files(&read), "{folder}");
        }
    }
}

//! Which schema a database holds, and whether this program can work with it.

use sqlx::migrate::{MigrateError, Migrator};

use super::StoreError;

/// The version that a set of migrations leads to.
fn version(migrations: &Migrator) -> i64 {
    migrations.iter().map(|migration| migration.version).max().unwrap_or_default()
}

/// Compares the version that a database has, if it has one, with the one that is needed.
pub(super) fn check(found: Option<i64>, migrations: &Migrator) -> Result<(), StoreError> {
    let needed = version(migrations);
    let diagnostic = match found {
        Some(found) if found == needed => return Ok(()),
        Some(found) if found > needed => return Err(newer(found, needed)),
        Some(found) => format!("the database has schema version {found}, and {needed} is needed"),
        None => "the database has no schema yet".to_owned(),
    };
    Err(StoreError::Setup(format!("{diagnostic}: run `skein migrate`")))
}

fn newer(found: i64, needed: i64) -> StoreError {
    StoreError::Setup(format!(
        "the database has schema version {found}, which is newer than this program's ({needed}): use a newer release"
    ))
}

/// What a failed migration means; `store_error` sorts the errors of statements.
pub(super) fn migrate_error(
    error: MigrateError,
    migrations: &Migrator,
    store_error: impl FnOnce(sqlx::Error) -> StoreError,
) -> StoreError {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
            store_error(error)
        }
        MigrateError::VersionMissing(found) => newer(found, version(migrations)),
        MigrateError::VersionMismatch(found) => StoreError::Setup(format!(
            "migration {found} of the database is not the one of this program: another build has made it"
        )),
        other => StoreError::Corrupt(format!("migration failed: {other}")),
    }
}

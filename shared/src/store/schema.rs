//! Which schema a database holds, and whether this program can work with it.

use std::fmt;

use sqlx::migrate::{MigrateError, Migrator};

use super::StoreError;

/// How the schema of a database is not the one that this program is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaMismatch {
    /// There is none.
    Missing,
    /// One of an earlier version: something that the program's statements use is not there.
    Older {
        /// The version that the database has.
        found: i64,
        /// The one that is needed.
        needed: i64,
    },
    /// One of a later version. Its migrations have left room for programs of the version before, and for no others.
    Newer {
        /// The version that the database has.
        found: i64,
        /// The one that is needed.
        needed: i64,
    },
}

impl SchemaMismatch {
    /// What is wrong.
    #[must_use]
    pub fn what(self) -> String {
        match self {
            Self::Missing => "the database has no schema yet".to_owned(),
            Self::Older { found, needed } => {
                format!("the database has schema version {found}, and {needed} is needed")
            }
            Self::Newer { found, needed } => format!(
                "the database has schema version {found}, which is newer than this program's ({needed})"
            ),
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Missing | Self::Older { .. } => {
                "run `skein migrate` of this release, with the same DATABASE_URL"
            }
            Self::Newer { .. } => "use a newer release",
        }
    }
}

impl fmt::Display for SchemaMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what(), self.remedy())
    }
}

/// The version that a set of migrations leads to.
fn version(migrations: &Migrator) -> i64 {
    migrations.iter().map(|migration| migration.version).max().unwrap_or_default()
}

/// Compares the version that a database has, if it has one, with the one that is needed.
pub(super) fn check(found: Option<i64>, migrations: &Migrator) -> Result<(), StoreError> {
    let needed = version(migrations);
    let mismatch = match found {
        Some(found) if found == needed => return Ok(()),
        Some(found) if found > needed => SchemaMismatch::Newer { found, needed },
        Some(found) => SchemaMismatch::Older { found, needed },
        None => SchemaMismatch::Missing,
    };
    Err(StoreError::Schema(mismatch))
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
        MigrateError::VersionMissing(found) => {
            StoreError::Schema(SchemaMismatch::Newer { found, needed: version(migrations) })
        }
        MigrateError::VersionMismatch(found) => StoreError::Setup(format!(
            "migration {found} of the database is not the one of this program: another build has made it"
        )),
        other => StoreError::Corrupt(format!("migration failed: {other}")),
    }
}

//! Bringing the schema up to date while the fleet works.
//!
//! What a migration locks, it locks for a moment. A change of a table waits for its lock no longer than the statements
//! behind it can bear, and is tried again. An index is built outside of a transaction, beside the writes: a file that
//! begins with `-- no-transaction` holds one statement, `CREATE INDEX CONCURRENTLY name ON table` or
//! `DROP INDEX CONCURRENTLY IF EXISTS name`. A build that was aborted, by a crash in the middle as well, leaves an
//! index behind that is kept up to date and never used; whoever migrates next drops it and builds it again.

use std::time::Duration;

use sqlx::error::DatabaseError;
use sqlx::migrate::{Migrate, MigrateError, Migration, Migrator};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Executor};

use super::{said, store_error};
use crate::store::StoreError;

/// How long a migration waits for a table: every statement that comes after it waits behind it.
const TABLE_LOCK_MAX: Duration = Duration::from_millis(500);
/// The pause before a table is asked for again, or an index built again.
const TRY_PAUSE: Duration = Duration::from_secs(1);
/// How often that is done before it is given up.
const TRIES: u32 = 30;
/// How long the lock that keeps migrating processes apart is waited for at a time. Who waits has a snapshot, for which
/// the build of an index waits in its turn; so it is asked for again and again, and not waited for.
const TURN_LOCK_MAX: Duration = Duration::from_millis(10);
/// The pause before it is asked for again; it doubles up to the longest.
const TURN_PAUSE_MIN: Duration = Duration::from_millis(10);
const TURN_PAUSE_MAX: Duration = Duration::from_secs(1);

/// PostgreSQL's code for a lock that was not to be had in time.
const LOCK_NOT_AVAILABLE: &str = "55P03";
/// And for one that would never have been.
const DEADLOCK_DETECTED: &str = "40P01";
/// And for what the role may not do.
const INSUFFICIENT_PRIVILEGE: &str = "42501";

/// Refuses to begin in a database in which not every text can be kept.
pub(super) async fn check_encoding(session: &mut PgConnection) -> Result<(), StoreError> {
    // What has gone well so far may go on.
    const OTHER: &str =
        "SELECT format('the database %s has the encoding %s', current_database(), e)
        FROM current_setting('server_encoding') e
        WHERE e <> 'UTF8' AND to_regclass('_sqlx_migrations') IS NULL";
    let query = sqlx::query_scalar(OTHER);
    let found: Option<String> = query.fetch_optional(session).await.map_err(store_error)?;
    match found {
        None => Ok(()),
        Some(other) => Err(StoreError::Setup(format!(
            "{other}; Skein needs UTF8: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
        ))),
    }
}

/// What to do where the role may not do what a migration does; nothing where something else went wrong.
pub(super) fn denied(error: &MigrateError) -> Option<StoreError> {
    let error = answered(error)?;
    (error.code().as_deref() == Some(INSUFFICIENT_PRIVILEGE)).then(|| {
        StoreError::Setup(format!(
            "{}: the role of DATABASE_URL is to own the database (ALTER DATABASE … OWNER TO …) or to have CREATE on the schema, and to own the tables in it",
            said(error)
        ))
    })
}

/// Applies what is missing. Of many processes at once, one does; the others wait for their turn and find it done.
pub(super) async fn run(
    session: &mut PgConnection,
    migrations: &Migrator,
) -> Result<(), MigrateError> {
    // An index on a table that has grown takes longer than any request may.
    session.execute("SET statement_timeout = 0").await?;
    if is_tracked(session, migrations).await? && pending(session, migrations).await?.is_empty() {
        return Ok(());
    }
    take_turn(session).await?;
    session.ensure_migrations_table(&migrations.table_name).await?;
    for migration in pending(session, migrations).await? {
        tracing::info!(version = migration.version, "migrating: {}", migration.description);
        patiently(session, &migrations.table_name, migration).await?;
    }
    session.unlock().await
}

async fn is_tracked(
    session: &mut PgConnection,
    migrations: &Migrator,
) -> Result<bool, MigrateError> {
    let query = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL");
    Ok(query.bind(&*migrations.table_name).fetch_one(session).await?)
}

/// What the database does not have yet.
async fn pending<'m>(
    session: &mut PgConnection,
    migrations: &'m Migrator,
) -> Result<Vec<&'m Migration>, MigrateError> {
    let applied = session.list_applied_migrations(&migrations.table_name).await?;
    for found in &applied {
        match migrations.iter().find(|migration| migration.version == found.version) {
            None => return Err(MigrateError::VersionMissing(found.version)),
            Some(known) if known.checksum != found.checksum => {
                return Err(MigrateError::VersionMismatch(found.version));
            }
            Some(_) => {}
        }
    }
    let is_applied = |version| applied.iter().any(|found| found.version == version);
    Ok(migrations.iter().filter(|migration| !is_applied(migration.version)).collect())
}

/// Waits until nobody else migrates this database: as long as it takes, for an index may take long.
async fn take_turn(session: &mut PgConnection) -> Result<(), MigrateError> {
    let mut pause = TURN_PAUSE_MIN;
    lock_for(session, TURN_LOCK_MAX).await?;
    loop {
        match session.lock().await {
            Err(error) if code(&error).as_deref() == Some(LOCK_NOT_AVAILABLE) => {}
            locked => return locked,
        }
        tokio::time::sleep(pause).await;
        if pause < TURN_PAUSE_MAX && pause * 2 >= TURN_PAUSE_MAX {
            tracing::info!("another process migrates the database; waiting for it");
        }
        pause = (pause * 2).min(TURN_PAUSE_MAX);
    }
}

/// Applies a migration, and does so again when others stood in its way.
async fn patiently(
    session: &mut PgConnection,
    table: &str,
    migration: &Migration,
) -> Result<(), MigrateError> {
    let mut tries = 1;
    loop {
        match apply(session, table, migration).await {
            Err(error) if tries < TRIES && is_in_the_way(&error) => {
                tracing::info!(version = migration.version, %error, "trying the migration again");
            }
            ended => return ended,
        }
        tries += 1;
        tokio::time::sleep(TRY_PAUSE).await;
    }
}

async fn apply(
    session: &mut PgConnection,
    table: &str,
    migration: &Migration,
) -> Result<(), MigrateError> {
    if migration.no_tx {
        apply_apart(session, migration.sql.as_str()).await?;
        return session.skip(table, migration).await;
    }
    lock_for(session, TABLE_LOCK_MAX).await?;
    session.apply(table, migration).await?;
    Ok(())
}

/// A deadlock: a process of an earlier version waits for its turn, with a snapshot that the build of an index waits for.
fn is_in_the_way(error: &MigrateError) -> bool {
    matches!(code(error).as_deref(), Some(LOCK_NOT_AVAILABLE | DEADLOCK_DETECTED))
}

fn code(error: &MigrateError) -> Option<String> {
    answered(error)?.code().map(Into::into)
}

/// What the server has answered, if that is what went wrong.
fn answered(error: &MigrateError) -> Option<&(dyn DatabaseError + 'static)> {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
            error.as_database_error()
        }
        _ => None,
    }
}

/// How long the statements that follow wait for a lock; zero is for ever.
async fn lock_for(session: &mut PgConnection, most: Duration) -> Result<(), MigrateError> {
    let set = format!("SET lock_timeout = {}", most.as_millis());
    session.execute(AssertSqlSafe(set)).await?;
    Ok(())
}

/// Runs the statement of a file without a transaction.
async fn apply_apart(session: &mut PgConnection, text: &str) -> Result<(), MigrateError> {
    let Some((index, table)) = built(text) else {
        lock_for(session, Duration::ZERO).await?;
        session.execute(AssertSqlSafe(text.to_owned())).await?;
        return Ok(());
    };
    let query = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)";
    match sqlx::query_scalar(query).bind(index).fetch_optional(&mut *session).await? {
        // Whoever built it has not lived to say so.
        Some(true) => return Ok(()),
        Some(false) => {
            tracing::info!(index, "dropping what an aborted build has left");
            lock_for(session, Duration::ZERO).await?;
            let drop = format!("DROP INDEX CONCURRENTLY {index}");
            session.execute(AssertSqlSafe(drop)).await?;
        }
        None => {}
    }
    let query = sqlx::query_scalar("SELECT pg_relation_size(to_regclass($1)) = 0");
    if query.bind(table).fetch_one(&mut *session).await? {
        // There is nothing to read, so the lock is for a moment. Beside the writes, it would be waited for everybody
        // who has a snapshot in this database.
        lock_for(session, TABLE_LOCK_MAX).await?;
        session.execute(AssertSqlSafe(text.replacen(CONCURRENTLY, "", 1))).await?;
    } else {
        lock_for(session, Duration::ZERO).await?;
        session.execute(AssertSqlSafe(text.to_owned())).await?;
    }
    Ok(())
}

const CONCURRENTLY: &str = " CONCURRENTLY";

/// The index that a file builds, and the table that it is on.
fn built(text: &str) -> Option<(&str, &str)> {
    let (start, rest) = text.split_once(CONCURRENTLY)?;
    let mut words = rest.split([' ', '\n', '(']).filter(|word| !word.is_empty());
    let (index, on, table) = (words.next()?, words.next()?, words.next()?);
    (start.ends_with("INDEX") && !start.ends_with("DROP INDEX") && on == "ON")
        .then_some((index, table))
}

#[cfg(test)]
mod tests {
    use super::built;

    #[test]
    fn a_file_says_which_index_it_builds() {
        let text = "-- no-transaction\n-- Why.\nCREATE UNIQUE INDEX CONCURRENTLY some ON runs (a,\n b) WHERE c;\n";
        assert_eq!(built(text), Some(("some", "runs")));
        assert_eq!(built("CREATE INDEX CONCURRENTLY some\n    ON runs(a)"), Some(("some", "runs")));
        assert_eq!(built("-- no-transaction\nDROP INDEX CONCURRENTLY IF EXISTS some;\n"), None);
    }
}

//! Whether a session is one's own for as long as the connection is open.
//!
//! A pooler may hand its sessions out for a transaction or for a statement. Settings, prepared statements and advisory
//! locks then belong to whoever is next, and statements fail or, worse, do not end in time. That is found out at the
//! start and refused, rather than met now and then.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection, Error, Executor, Row, raw_sql};

use super::session;
use crate::store::StoreError;

/// How long the whole check may take.
const CHECK_MAX: Duration = Duration::from_secs(5);
/// How often two sessions are compared. Once is enough where the pooler has nobody else to serve; among others that
/// come and go, a session may by chance be the one that it was.
const ROUNDS: u32 = 3;

/// Makes sure that a session and a second one beside it have nothing to do with each other.
///
/// # Errors
/// [`StoreError::Setup`] when they do; [`StoreError::Unavailable`] when no second one is to be had.
pub(super) async fn check(
    options: &PgConnectOptions,
    session: &mut PgConnection,
) -> Result<(), StoreError> {
    let compared = async {
        let mut other = session::open(options).await?;
        for round in 0..ROUNDS {
            if is_shared(session, &mut other, round).await?
                || is_shared(&mut other, session, round).await?
            {
                return Ok(true);
            }
        }
        other.close().await?;
        Ok(false)
    };
    match session::within(CHECK_MAX, compared).await? {
        false => Ok(()),
        true => Err(StoreError::Setup(
            "the database's URL leads to a pooler that hands its sessions out for a transaction or a statement: \
             set `pool_mode = session` for this database, or name the database's own server"
                .to_owned(),
        )),
    }
}

/// Whether the session has lost its own mark, to the other one or by moving on to another server.
async fn is_shared(
    session: &mut PgConnection,
    other: &mut PgConnection,
    round: u32,
) -> Result<bool, Error> {
    let own = format!("own {round}");
    mark(session, &own).await?;
    mark(other, "another").await?;
    if marked(session).await? != own {
        return Ok(true);
    }
    // The other one holds on to its server, so that a session that has none of its own gets a different one.
    match other.execute("BEGIN").await {
        Ok(_) => {}
        // A pooler's refusal: it hands sessions out for a statement.
        Err(Error::Database(error)) if error.code().as_deref() == Some("08P01") => return Ok(true),
        Err(error) => return Err(error),
    }
    other.execute("SELECT 1").await?;
    let found = marked(session).await?;
    other.execute("ROLLBACK").await?;
    Ok(found != own)
}

async fn mark(session: &mut PgConnection, mark: &str) -> Result<(), Error> {
    session.execute(AssertSqlSafe(format!("SET skein.session = '{mark}'"))).await?;
    Ok(())
}

async fn marked(session: &mut PgConnection) -> Result<String, Error> {
    let query = raw_sql("SELECT coalesce(current_setting('skein.session', true), '')");
    query.fetch_one(session).await?.try_get(0)
}

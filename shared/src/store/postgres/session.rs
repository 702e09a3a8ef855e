//! One session with the database: how it is opened, and what makes it one that can be worked with.
//!
//! A server that answers may still be of no use: a primary that was demoted, a standby, a session whose settings a
//! pooler has reset. So nothing is taken for granted that was not asked for.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Connection, Error, Row, raw_sql};

use super::{ANALYSIS_TIMEOUT, SESSION_OPTIONS, STATEMENT_TIMEOUT, store_error};
use crate::store::StoreError;

/// How long opening a session for one errand may take.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// What shows whether a session can be worked with, and what [`judge`] reads.
const CONDITION: &str = "current_setting('transaction_read_only') AS read_only, \
                         current_setting('statement_timeout') AS statement_timeout";

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Everything that writes, and what is read beside it.
    Work,
    /// Looking back at much. It can write nothing, and has a time of its own for a statement.
    Analysis,
}

impl Purpose {
    fn statement_timeout(self) -> &'static str {
        match self {
            Self::Work => STATEMENT_TIMEOUT,
            Self::Analysis => ANALYSIS_TIMEOUT,
        }
    }

    /// What it sets once it is known what the server is, instead of what all sessions are set to.
    fn settings(self) -> String {
        match self {
            Self::Work => String::new(),
            Self::Analysis => format!(
                "SET statement_timeout = '{ANALYSIS_TIMEOUT}'; SET default_transaction_read_only = on"
            ),
        }
    }

    /// What `transaction_read_only` says where the server takes writes.
    fn read_only(self) -> &'static str {
        match self {
            Self::Work => "off",
            Self::Analysis => "on",
        }
    }
}

/// Connects, sets what our sessions have, and makes sure that the server takes writes.
///
/// The settings go in a statement of their own, not in the start-up message: a pooler refuses what it does not know
/// there, or drops it without a word.
pub(super) async fn open(options: &PgConnectOptions) -> Result<PgConnection, Error> {
    let mut session = PgConnection::connect_with(options).await?;
    let settings =
        SESSION_OPTIONS.map(|(name, value)| format!("SET {name} = '{value}'; ")).concat();
    let row = raw_sql(AssertSqlSafe(format!("{settings}SELECT {CONDITION}")));
    judge(&row.fetch_one(&mut session).await?, Purpose::Work)?;
    Ok(session)
}

/// The same for a purpose.
pub(super) async fn open_for(
    options: &PgConnectOptions,
    purpose: Purpose,
) -> Result<PgConnection, Error> {
    let mut session = open(options).await?;
    let settings = purpose.settings();
    if !settings.is_empty() {
        raw_sql(AssertSqlSafe(settings)).execute(&mut session).await?;
    }
    Ok(session)
}

/// Makes sure that a session still is what [`open_for`] has made of it.
pub(super) async fn check(session: &mut PgConnection, purpose: Purpose) -> Result<(), Error> {
    let query = AssertSqlSafe(format!("SELECT {CONDITION}"));
    judge(&raw_sql(query).fetch_one(session).await?, purpose)
}

fn judge(row: &PgRow, purpose: Purpose) -> Result<(), Error> {
    if row.try_get::<&str, _>("read_only")? != purpose.read_only() {
        return Err(unusable("the database takes no writes: it is a standby, or was demoted"));
    }
    if row.try_get::<&str, _>("statement_timeout")? != purpose.statement_timeout() {
        return Err(unusable("the settings of the session were lost"));
    }
    Ok(())
}

fn unusable(reason: &'static str) -> Error {
    Error::Io(std::io::Error::other(reason))
}

/// A session of its own, and if there is none, the reason: the pool tries again until its time is up and
/// then says no more than that.
pub(super) async fn connect(options: &PgConnectOptions) -> Result<PgConnection, StoreError> {
    within(CONNECT_MAX, open(options)).await
}

/// Bounds what the database is asked outside of the pool.
pub(super) async fn within<T>(
    most: Duration,
    asked: impl Future<Output = Result<T, Error>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(most, asked).await {
        Ok(answered) => answered.map_err(store_error),
        Err(_) => Err(StoreError::Unavailable("the database does not answer".into())),
    }
}

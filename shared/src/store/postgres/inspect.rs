//! What can be found out about a PostgreSQL server without changing anything: for whoever looks into an installation by
//! hand.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection, Error, Row};

use super::{check_schema, options, pooling, session};
use crate::store::StoreError;

/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// How a server is set up, as a session of Skein's meets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// `15.14`, with what its distribution adds.
    pub version: String,
    /// `150014`.
    pub version_number: i32,
    /// How it encodes text: `UTF8`.
    pub encoding: String,
    /// What a server that loses its power would lose, by setting: `fsync`, `full_page_writes` and
    /// `synchronous_commit`, each with its value.
    pub durability: [(&'static str, String); 3],
    /// Connections that it takes from users without privileges.
    pub connections_max: i64,
    /// Connections that it has now.
    pub connections: i64,
    /// How long a session may be idle, in milliseconds; 0 for ever. From version 14 on.
    pub idle_session_timeout_ms: i64,
}

/// One session, over which questions are asked.
pub struct Inspector {
    options: PgConnectOptions,
    session: PgConnection,
}

impl Inspector {
    /// Connects as every process does.
    ///
    /// # Errors
    /// [`StoreError::Setup`] when the URL is not one of PostgreSQL, [`StoreError::Unavailable`] when there is no session
    /// within 5 s, or the server takes no writes.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        let options = options(url)?;
        let session = session::connect(&options).await?;
        Ok(Self { options, session })
    }

    /// Whether sessions are one's own, for as long as they last.
    ///
    /// # Errors
    /// [`StoreError::Setup`] when a pooler hands them out for less than that.
    pub async fn check_sessions(&mut self) -> Result<(), StoreError> {
        pooling::check(&self.options, &mut self.session).await
    }

    /// Whether the schema is this program's.
    ///
    /// # Errors
    /// [`StoreError::Schema`] when there is none, or another.
    pub async fn check_schema(&mut self) -> Result<(), StoreError> {
        match tokio::time::timeout(ANSWER_MAX, check_schema(&mut self.session)).await {
            Ok(checked) => checked,
            Err(_) => Err(StoreError::Unavailable("the database does not answer".into())),
        }
    }

    /// How the server is set up.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn server(&mut self) -> Result<Server, StoreError> {
        session::within(ANSWER_MAX, server(&mut self.session)).await
    }

    /// What the server's clock shows.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn clock(&mut self) -> Result<DateTime<Utc>, StoreError> {
        let asked = sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(&mut self.session);
        session::within(ANSWER_MAX, asked).await
    }

    /// Workers that live now. Needs the schema.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn workers(&mut self) -> Result<i64, StoreError> {
        let query = sqlx::query_scalar(
            "SELECT count(*) FROM worker_leases
             WHERE state = 'live' AND seen_at > now() - ttl_ms * interval '1 millisecond'",
        );
        session::within(ANSWER_MAX, query.fetch_one(&mut self.session)).await
    }

    /// Says goodbye. Nothing depends on it.
    pub async fn close(self) {
        let _closed = tokio::time::timeout(ANSWER_MAX, self.session.close()).await;
    }
}

async fn server(session: &mut PgConnection) -> Result<Server, Error> {
    let row = sqlx::query(
        "SELECT current_setting('server_version') AS version,
                current_setting('server_version_num')::int4 AS version_number,
                current_setting('server_encoding') AS encoding,
                current_setting('fsync') AS fsync,
                current_setting('full_page_writes') AS full_page_writes,
                current_setting('synchronous_commit') AS synchronous_commit,
                current_setting('max_connections')::int8
                    - current_setting('superuser_reserved_connections')::int8
                    -- From version 16 on.
                    - coalesce(current_setting('reserved_connections', true), '0')::int8 AS connections_max,
                (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS connections,
                coalesce((SELECT setting FROM pg_settings WHERE name = 'idle_session_timeout'), '0')::int8
                    AS idle_session_timeout_ms",
    )
    .fetch_one(session)
    .await?;
    let setting = |name: &'static str| Ok::<_, Error>((name, row.try_get::<String, _>(name)?));
    Ok(Server {
        version: row.try_get("version")?,
        version_number: row.try_get("version_number")?,
        encoding: row.try_get("encoding")?,
        durability: [
            setting("fsync")?,
            setting("full_page_writes")?,
            setting("synchronous_commit")?,
        ],
        connections_max: row.try_get("connections_max")?,
        connections: row.try_get("connections")?,
        idle_session_timeout_ms: row.try_get("idle_session_timeout_ms")?,
    })
}

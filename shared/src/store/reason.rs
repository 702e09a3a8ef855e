//! What is wrong with the store in a word: for spans and metrics, which must neither quote anybody's value nor have a word
//! for each of many causes.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::io::ErrorKind;
use std::sync::Arc;

use super::StoreError;
use crate::telemetry::DatabaseError;

/// What the server said, and its code for that.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) message: String,
    pub(super) code: Option<String>,
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.code {
            Some(code) => write!(f, "{} ({code})", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl Error for Said {}

/// The word for an error of the driver: what the database calls it, or what has become of the connection.
pub(super) fn of_driver(error: &sqlx::Error) -> Cow<'static, str> {
    match error {
        sqlx::Error::Database(database) => match database.code() {
            Some(code) => Cow::Owned(code.into_owned()),
            None => Cow::Borrowed("database"),
        },
        sqlx::Error::Io(error) => Cow::Borrowed(of_io(error.kind())),
        sqlx::Error::Tls(_) => Cow::Borrowed("tls"),
        sqlx::Error::Protocol(_) => Cow::Borrowed("protocol"),
        sqlx::Error::PoolTimedOut => Cow::Borrowed("no_connection_in_time"),
        sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => Cow::Borrowed("closed"),
        _ => Cow::Borrowed("client"),
    }
}

fn of_io(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::ConnectionRefused => "connection_refused",
        ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe
        | ErrorKind::NotConnected
        | ErrorKind::UnexpectedEof => "connection_lost",
        ErrorKind::TimedOut => "no_answer_in_time",
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => "unreachable",
        _ => "io",
    }
}

/// What telemetry is told of a statement that the driver has an error for.
pub(super) fn of_statement(error: &sqlx::Error) -> DatabaseError {
    let is_code = error.as_database_error().is_some_and(|error| error.code().is_some());
    DatabaseError { word: of_driver(error), is_code }
}

/// The word for what is behind an error of the store, if it says so.
fn of_source(source: &(dyn Error + 'static)) -> Option<Cow<'static, str>> {
    let mut next = Some(source);
    while let Some(error) = next {
        if let Some(said) = error.downcast_ref::<Said>() {
            return Some(said.code.clone().map_or(Cow::Borrowed("database"), Cow::Owned));
        }
        let shared = error.downcast_ref::<Arc<sqlx::Error>>().map(|shared| &**shared);
        if let Some(error) = shared.or_else(|| error.downcast_ref::<sqlx::Error>()) {
            return Some(of_driver(error));
        }
        next = error.source();
    }
    None
}

impl StoreError {
    /// What is wrong in a word, as `connection_refused`, or by the code that the database has answered with, as `57P01`.
    /// Holds no secret, and nobody's value.
    #[must_use]
    pub fn reason(&self) -> Cow<'static, str> {
        let (source, word) = match self {
            Self::Unavailable(source) => (source, "unavailable"),
            Self::TooSlow(source) => (source, "too_slow"),
            Self::Locked(source) => (source, "locked"),
            Self::Data(source) => (source, "data"),
            Self::Setup(_) => return Cow::Borrowed("setup"),
            Self::Schema(_) => return Cow::Borrowed("schema"),
            Self::Corrupt(_) => return Cow::Borrowed("corrupt"),
        };
        of_source(&**source).unwrap_or(Cow::Borrowed(word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::SchemaMismatch;

    #[test]
    fn the_word_is_what_is_behind_it_or_else_what_it_is() {
        let refused = || sqlx::Error::Io(ErrorKind::ConnectionRefused.into());
        let said = Said { message: "key (secret) exists".to_owned(), code: Some("23505".into()) };
        for (error, word) in [
            (StoreError::Unavailable(refused().into()), "connection_refused"),
            (StoreError::Unavailable(Arc::new(refused()).into()), "connection_refused"),
            (StoreError::Unavailable(sqlx::Error::PoolTimedOut.into()), "no_connection_in_time"),
            (StoreError::Unavailable("the lease is fenced".into()), "unavailable"),
            (StoreError::Data(Box::new(said)), "23505"),
            (StoreError::Locked("a row".into()), "locked"),
            (StoreError::Setup("postgres://ada:pw@h".to_owned()), "setup"),
            (StoreError::Schema(SchemaMismatch::Missing), "schema"),
        ] {
            assert_eq!(error.reason(), word);
        }
    }
}

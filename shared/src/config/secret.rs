//! A URL that may hold a password.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

/// A URL that may hold a password: shown as its scheme, host and path only.
///
/// Reading one never fails, because clap prints a value that it cannot read. What the URL is for
/// checks it, and reports on it without showing it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(String);

impl SecretUrl {
    /// The URL with everything in it, for the client library that connects.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What stands before the colon, in lower case; empty when there is no colon.
    #[must_use]
    pub fn scheme(&self) -> String {
        self.0.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase()).unwrap_or_default()
    }
}

impl FromStr for SecretUrl {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.trim().to_owned()))
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((scheme, rest)) = self.0.split_once("://") else { return f.write_str("(hidden)") };
        match host_and_path(rest) {
            Some((host, path)) => write!(f, "{scheme}://{host}{path}"),
            None => write!(f, "{scheme}://(hidden)"),
        }
    }
}

/// Host and path of what stands behind the scheme, unless it is open to doubt which part is the password: in one
/// that is not escaped, any character may stand.
fn host_and_path(rest: &str) -> Option<(&str, &str)> {
    let (authority, more) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let host = match authority.split_once('@') {
        Some((_, host)) if !host.contains('@') => host,
        Some(_) => return None,
        None => authority,
    };
    let port = host.rsplit_once(':').filter(|_| !host.ends_with(']')).map_or("", |(_, port)| port);
    let is_plain = port.bytes().all(|byte| byte.is_ascii_digit()) && !more.contains('@');
    is_plain.then(|| (host, more.split(['?', '#']).next().unwrap_or_default()))
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_user_password_and_query() {
        for (url, shown) in [
            (
                "postgres://ada:s3cret@db.example:5432/skein?password=s3cret",
                "postgres://db.example:5432/skein",
            ),
            ("postgres:///skein?host=/var/run/postgresql&password=s3cret", "postgres:///skein"),
            ("postgres://ada:s3cret@[::1]:5432/skein", "postgres://[::1]:5432/skein"),
            ("postgres://127.0.0.1/", "postgres://127.0.0.1/"),
            ("amqp://ada:s3cret@mq.example/%2f", "amqp://mq.example/%2f"),
            ("amqp://ada:s3@cr/et@mq.example/%2f", "amqp://(hidden)"),
            ("amqp://ada:s3#cr@mq.example", "amqp://(hidden)"),
            ("postgres://ada:s3@cret@db", "postgres://(hidden)"),
            ("postgres://db/skein?user=ada&password=s3@cret", "postgres://(hidden)"),
            ("postgres://ada:s3cret", "postgres://(hidden)"),
            ("host=db password=s3cret", "(hidden)"),
            ("sqlite:s3cret.db", "(hidden)"),
        ] {
            let url: SecretUrl = url.parse().unwrap();
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), shown);
        }
    }

    #[test]
    fn schemes_are_read_in_any_case() {
        assert_eq!("PostgreSQL://db/".parse::<SecretUrl>().unwrap().scheme(), "postgresql");
        assert_eq!("no colon".parse::<SecretUrl>().unwrap().scheme(), "");
    }
}

//! Where the truth is kept.

use std::fmt;
use std::path::PathBuf;

use super::{ConfigError, SecretUrl};

const VARIABLE: &str = "DATABASE_URL";
const WANTED: &str = "use postgres://user:password@host/database or sqlite:FILE";

/// Which store, and how much of it.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct StoreArgs {
    /// Where the store is: postgres://user:password@host/database, or sqlite:FILE in the embedded mode.
    #[arg(long, env = VARIABLE, hide_env_values = true, value_name = "URL")]
    pub database_url: Option<SecretUrl>,
    /// Connections to PostgreSQL at most. What requests read may have half of them; all are there for writes.
    #[arg(
        long,
        env = "SKEIN_DATABASE_CONNECTIONS",
        default_value_t = 8,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=1000)
    )]
    pub database_connections: u32,
}

/// A store by the scheme of its URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreUrl<'a> {
    /// `postgres://` or `postgresql://`.
    Postgres(&'a SecretUrl),
    /// `sqlite:`.
    Sqlite(PathBuf),
}

impl fmt::Display for StoreUrl<'_> {
    /// Without a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postgres(url) => write!(f, "{url}"),
            Self::Sqlite(path) => write!(f, "{}", path.display()),
        }
    }
}

impl StoreArgs {
    /// The store that was asked for, if one was.
    ///
    /// # Errors
    /// When the URL is empty, has another scheme, or names no file.
    pub fn store(&self) -> Result<Option<StoreUrl<'_>>, ConfigError> {
        let Some(url) = &self.database_url else { return Ok(None) };
        match url.scheme().as_str() {
            _ if url.expose().is_empty() => {
                Err(ConfigError::new(VARIABLE, format!("is empty: {WANTED}, or unset it")))
            }
            "postgres" | "postgresql" => Ok(Some(StoreUrl::Postgres(url))),
            "sqlite" => {
                let path = &url.expose()["sqlite:".len()..];
                let path = path.strip_prefix("//").unwrap_or(path);
                let path = path.split('?').next().unwrap_or_default();
                if path.is_empty() {
                    return Err(ConfigError::new(VARIABLE, "names no file: use sqlite:FILE"));
                }
                Ok(Some(StoreUrl::Sqlite(PathBuf::from(path))))
            }
            _ => Err(ConfigError::new(VARIABLE, format!("has an unknown scheme: {WANTED}"))),
        }
    }

    /// The database that the programs of a fleet share.
    ///
    /// # Errors
    /// When there is none, or it is not PostgreSQL.
    pub fn postgres(&self) -> Result<&SecretUrl, ConfigError> {
        let missing = match &self.database_url {
            Some(url) if url.expose().is_empty() => "is empty",
            Some(_) => match self.store()? {
                Some(StoreUrl::Postgres(url)) => return Ok(url),
                _ => "names a file, which has one owner, and that is `skein dev`",
            },
            None => "is not set",
        };
        let wanted =
            "write postgres://user:password@host/database, the same for the API and all workers";
        Err(ConfigError::new(VARIABLE, format!("{missing}: {wanted}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(url: &str) -> StoreArgs {
        StoreArgs { database_url: Some(url.parse().unwrap()), database_connections: 1 }
    }

    #[test]
    fn the_scheme_chooses_the_store() {
        assert!(matches!(args("postgres://db/x").store(), Ok(Some(StoreUrl::Postgres(_)))));
        assert!(matches!(args("PostgreSQL://db/x").store(), Ok(Some(StoreUrl::Postgres(_)))));
        for url in ["sqlite:data/s.db", "sqlite://data/s.db", "SQLITE:data/s.db?mode=rwc"] {
            assert_eq!(args(url).store(), Ok(Some(StoreUrl::Sqlite("data/s.db".into()))), "{url}");
            assert_eq!(args(url).store().unwrap().unwrap().to_string(), "data/s.db");
        }
        let secret = args("postgres://ada:s3cret@db:5432/x");
        assert_eq!(secret.store().unwrap().unwrap().to_string(), "postgres://db:5432/x");
        assert_eq!(
            StoreArgs { database_url: None, database_connections: 1 }.store(),
            Ok(None),
            "the program decides what no URL means"
        );
    }

    #[test]
    fn a_fleet_is_told_what_is_missing_and_what_it_cannot_share() {
        let told = |args: StoreArgs| args.postgres().unwrap_err().to_string();
        let unset = told(StoreArgs { database_url: None, database_connections: 1 });
        assert!(unset.starts_with("DATABASE_URL is not set: write postgres://"), "{unset}");
        for blank in ["", " "] {
            let empty = told(args(blank));
            assert!(empty.starts_with("DATABASE_URL is empty: write postgres://"), "{empty}");
        }
        let file = told(args("sqlite:skein.db"));
        assert!(file.contains("postgres://") && file.contains("`skein dev`"), "{file}");
        assert_eq!(args("postgres://db/x").postgres().unwrap().expose(), "postgres://db/x");
    }

    #[test]
    fn an_unusable_url_is_refused_without_being_shown() {
        for url in ["mysql://ada:s3cret@db/x", "s3cret", "sqlite:", ""] {
            let error = args(url).store().unwrap_err();
            assert_eq!(error.name, "DATABASE_URL");
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }
}

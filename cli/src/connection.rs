//! Finding the server that a command talks to.

use std::time::Duration;

use anyhow::{Context, bail};
use skein_shared::telemetry::{self, Telemetry, TelemetryConfig};
use tokio::time::Instant;

use crate::arguments::{EmbeddedArgs, ServerArgs, data_flags};
use crate::client::Client;
use crate::data_directory::{DataDirectory, DirectoryClaim, Owner};
use crate::embedded::{Embedded, Role, SERVICE, StoreAccess};
use crate::http::{base_url, is_this_machine};
use crate::render::clean;
use crate::shell::hint;
use crate::usage::UsageError;

/// How long a command waits for another one that has the data directory for a moment.
const OWNER_PATIENCE: Duration = Duration::from_secs(5);
/// The pause between two polls of the directory.
const OWNER_POLL: Duration = Duration::from_millis(50);

/// A server and the way to it. To be closed with [`Self::close`].
pub struct Connection {
    /// The way to it.
    pub client: Client,
    server: Server,
}

/// What is at the other end.
enum Server {
    /// One within this process.
    Embedded(Box<Embedded>, Telemetry),
    /// One within another command, which ends when that has done its work.
    Passing,
    /// One that stays.
    Staying,
}

impl Connection {
    /// Finds the server: the one that is named, else the one that owns the data directory, else a new one
    /// within the process. `role` says what the command needs. One that does not execute leaves a database that
    /// `DATABASE_URL` names as it is.
    ///
    /// # Errors
    /// When there is no server and none can be started.
    pub async fn open(
        server: &ServerArgs,
        embedded: &EmbeddedArgs,
        role: Role,
    ) -> anyhow::Result<Self> {
        telemetry::install_crypto_provider();
        let directory = DataDirectory::new(&server.data);
        if let Some(url) = &server.url {
            let client = named(server, url.expose(), &directory)?;
            embedded.refuse_flags(&format!("the one at {}", client.url()))?;
            return Ok(Self { client, server: Server::Staying });
        }
        if role.is_guest() && embedded.store.database_url.is_some() {
            return match directory.owner()? {
                Some(owner) => Self::join(&directory, &owner, embedded),
                None => Self::start(StoreAccess::Guest, embedded, role).await,
            };
        }
        if role == Role::Reads && !directory.exists() {
            let here = data_flags(directory.path());
            let message = format!(
                "there is no server and nothing in {}: start {}, run something with {}, publish something with {}, or name a server with SKEIN_URL or its database with DATABASE_URL",
                directory.path().display(),
                hint(&["dev"], &here),
                hint(&["run", "FILE"], &here),
                hint(&["publish", "FILE"], &here)
            );
            return Err(UsageError::new(message).into());
        }
        let deadline = Instant::now() + OWNER_PATIENCE;
        loop {
            match directory.claim()? {
                DirectoryClaim::Owned(ownership) => {
                    return Self::start(StoreAccess::Owner(ownership), embedded, role).await;
                }
                DirectoryClaim::Taken(Some(owner)) if owner.stays || role.is_guest() => {
                    return Self::join(&directory, &owner, embedded);
                }
                DirectoryClaim::Taken(owner) if Instant::now() >= deadline => {
                    bail!(occupied(&directory, owner.as_ref()));
                }
                DirectoryClaim::Taken(_) => tokio::time::sleep(OWNER_POLL).await,
            }
        }
    }

    async fn start(access: StoreAccess, args: &EmbeddedArgs, role: Role) -> anyhow::Result<Self> {
        let telemetry = quiet_telemetry()?;
        let embedded = Embedded::start(access, args, "127.0.0.1:0", role).await?;
        let client = Client::new(embedded.url(), embedded.key())?;
        Ok(Self { client, server: Server::Embedded(Box::new(embedded), telemetry) })
    }

    fn join(
        directory: &DataDirectory,
        owner: &Owner,
        embedded: &EmbeddedArgs,
    ) -> anyhow::Result<Self> {
        let path = directory.path().display();
        if !is_this_machine(&base_url(&owner.url)?) {
            bail!(
                "the server that owns {path} listens at {}, which others may be: name it with SKEIN_URL, and the key in {path}",
                clean(&owner.url)
            );
        }
        embedded.refuse_flags(&format!("the one at {} that owns {path}", clean(&owner.url)))?;
        let key = directory.key()?.context("the server has no key in its directory")?;
        let server = if owner.stays { Server::Staying } else { Server::Passing };
        Ok(Self { client: Client::new(&owner.url, &key.into())?, server })
    }

    /// Whether the server ends with this command.
    #[must_use]
    pub fn is_embedded(&self) -> bool {
        matches!(self.server, Server::Embedded(..))
    }

    /// Whether the server ends with another command, after which a new connection finds the next one.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self.server, Server::Passing)
    }

    /// Whether it is a server that goes on with its work when the command ends.
    #[must_use]
    pub fn stays(&self) -> bool {
        matches!(self.server, Server::Staying)
    }

    /// Makes a server within the process execute what is runnable, where nobody else would.
    pub fn execute(&mut self) {
        if let Server::Embedded(embedded, _) = &mut self.server {
            embedded.execute();
        }
    }

    /// Ends a server within the process; leaves any other alone.
    ///
    /// # Errors
    /// When a part of the server within the process had failed.
    pub async fn close(self) -> anyhow::Result<()> {
        let Server::Embedded(embedded, telemetry) = self.server else { return Ok(()) };
        let ended = embedded.stop().await;
        telemetry.shutdown().await;
        ended
    }
}

/// The server that was named. Its key may be left out when it is the one of the data directory.
fn named(server: &ServerArgs, url: &str, directory: &DataDirectory) -> anyhow::Result<Client> {
    base_url(url)?;
    if let Some(key) = &server.key {
        return Client::new(url, key);
    }
    let is_owner = directory
        .owner()?
        .is_some_and(|owner| owner.url.trim_end_matches('/') == url.trim_end_matches('/'));
    match directory.key()? {
        Some(key) if is_owner => Client::new(url, &key.into()),
        _ => Err(UsageError::new(format!("{url} needs a key: set SKEIN_KEY or --key")).into()),
    }
}

fn occupied(directory: &DataDirectory, owner: Option<&Owner>) -> String {
    let process = owner.map_or_else(String::new, |owner| format!(" (process {})", owner.pid));
    format!(
        "another skein command{process} is using {} and ends with what it does; start {} once and every command uses it, or name another directory with --data",
        directory.path().display(),
        hint(&["dev"], &data_flags(directory.path()))
    )
}

/// What a command shows of its server's log. As ever without the AMQP client, which has three errors for each attempt
/// to reach a broker that is down.
const QUIET: &str = "error,lapin=off";

/// Telemetry as the environment wants it, but the terminal belongs to the command: the log lines of a
/// server that lives for one run are shown when something is wrong, or `RUST_LOG` asks for more.
fn quiet_telemetry() -> anyhow::Result<Telemetry> {
    let mut config = TelemetryConfig::from_env()?;
    keep_log_quiet(&mut config);
    Ok(telemetry::init(SERVICE, &config)?)
}

/// Has the log hold errors alone, unless `RUST_LOG` says what it holds.
pub fn keep_log_quiet(config: &mut TelemetryConfig) {
    if std::env::var_os("RUST_LOG").is_none_or(|filter| filter.is_empty()) {
        QUIET.clone_into(&mut config.log_filter);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::test_directory::TestDirectory;

    fn server(data: &Path) -> ServerArgs {
        ServerArgs { url: None, key: None, data: data.to_owned() }
    }

    /// Settings for the store in the directory, whatever the environment says.
    fn embedded() -> EmbeddedArgs {
        let mut args = EmbeddedArgs::from_flags(&[]).unwrap();
        args.store.database_url = None;
        args.broker.amqp_url = None;
        args
    }

    #[tokio::test]
    async fn a_reader_joins_an_owner_that_ends_with_its_command() {
        let temp = TestDirectory::new();
        let DirectoryClaim::Owned(mut ownership) = DataDirectory::new(temp.path()).claim().unwrap()
        else {
            panic!("nobody else has it");
        };
        ownership.key().unwrap();
        ownership.announce("http://127.0.0.1:9", false).unwrap();
        let joined = Connection::open(&server(temp.path()), &embedded(), Role::Reads).await;
        let joined = joined.ok().unwrap();
        assert_eq!(joined.client.url(), "http://127.0.0.1:9");
        assert!(joined.is_passing() && !joined.is_embedded());
    }

    #[tokio::test]
    async fn an_owner_elsewhere_is_not_joined() {
        let temp = TestDirectory::new();
        let DirectoryClaim::Owned(mut ownership) = DataDirectory::new(temp.path()).claim().unwrap()
        else {
            panic!("nobody else has it");
        };
        ownership.key().unwrap();
        ownership.announce("http://192.0.2.1:8080", true).unwrap();
        let refused = Connection::open(&server(temp.path()), &embedded(), Role::Executes).await;
        let message = refused.err().unwrap().to_string();
        assert!(
            message.contains("listens at http://192.0.2.1:8080") && message.contains("SKEIN_URL"),
            "{message}"
        );
    }

    #[tokio::test]
    async fn flags_for_a_server_that_is_not_started_are_refused() {
        let temp = TestDirectory::new();
        let mut server = server(temp.path());
        server.url = Some("http://127.0.0.1:9".parse().unwrap());
        server.key = Some("a-key".to_owned().into());
        let open = async |flags: &[&str]| {
            let embedded = EmbeddedArgs::from_flags(flags).unwrap();
            Connection::open(&server, &embedded, Role::Executes).await.err()
        };
        assert!(open(&[]).await.is_none());
        let refused = open(&["--concurrency", "4", "--database-url", "sqlite:x.db"]).await;
        let message = refused.unwrap().to_string();
        assert!(message.starts_with("--database-url and --concurrency would "), "{message}");
    }

    #[tokio::test]
    async fn a_reader_makes_no_directory() {
        let temp = TestDirectory::new();
        let data = temp.path().join("data");
        let refused = Connection::open(&server(&data), &embedded(), Role::Reads).await;
        let refused = refused.err().unwrap();
        assert!(refused.downcast_ref::<UsageError>().is_some(), "{refused}");
        let message = refused.to_string();
        assert!(message.contains("SKEIN_URL") && message.contains("DATABASE_URL"), "{message}");
        assert!(!data.exists());
    }

    #[tokio::test]
    async fn who_keeps_something_makes_the_directory_and_executes_nothing() {
        let temp = TestDirectory::new();
        let data = temp.path().join("data");
        let opened = Connection::open(&server(&data), &embedded(), Role::Keeps).await.unwrap();
        assert!(opened.is_embedded() && !opened.stays() && data.exists());
        opened.close().await.unwrap();
    }
}

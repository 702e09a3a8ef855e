//! The whole of Skein in one process: API and worker over one store and one broker.
//!
//! A SQLite file and a queue within the process, unless the settings name PostgreSQL and RabbitMQ. What it
//! accepts is durable: a process that is killed goes on where it was when it is started again.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use skein_api::ensure_bootstrap_key;
use skein_shared::broker::Broker;
use skein_shared::config::{BootstrapKey, StoreUrl};
use skein_shared::dispatch::Dispatcher;
use skein_shared::domain::tenant::Identity;
use skein_shared::store::Store;
use skein_shared::{broker, store};
use skein_worker::Settings;
use skein_worker::egress::AllowRule;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::arguments::{ApiKey, EmbeddedArgs};
use crate::data_directory::Ownership;

/// How long a server that ends with its command waits for nodes that it runs: somebody sits in front of it.
/// What does not end in time is given back and goes on the next time.
const BRIEF_DRAIN: Duration = Duration::from_secs(3);

/// What a server within the process is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `skein dev`: it stays, and other commands may rely on it.
    Stays,
    /// It executes runs until its command ends.
    Executes,
    /// It answers questions and starts nothing.
    Reads,
}

/// A running server. Ends only with [`Self::stop`]; dropping it leaves its work to the next start.
pub struct Embedded {
    url: String,
    key: ApiKey,
    store: Arc<dyn Store>,
    broker: Arc<dyn Broker>,
    parts: JoinSet<anyhow::Result<()>>,
    stop: CancellationToken,
    background: TaskTracker,
    stop_background: CancellationToken,
    /// Let go after all else: the directory is this process's until the store is closed.
    ownership: Ownership,
}

impl Embedded {
    /// Opens and migrates the store, makes sure of the keys, and serves at `listen` (`HOST:PORT`).
    ///
    /// # Errors
    /// When a setting cannot be used, the store cannot be opened, or the address is taken.
    pub async fn start(
        ownership: Ownership,
        args: &EmbeddedArgs,
        listen: &str,
        role: Role,
    ) -> anyhow::Result<Self> {
        let mut settings = args.worker.settings()?;
        let amqp = args.broker.amqp()?;
        let store = open_store(&ownership, args).await?;
        let key = ensure_keys(&ownership, args, &*store).await?;
        let listener = TcpListener::bind(listen).await.with_context(|| {
            format!("cannot listen at {listen} (--listen 127.0.0.1:0 takes any free port)")
        })?;
        let address = listener.local_addr()?;
        let url = url_of(address);
        settings.allow.extend(own_addresses(address)?);
        settings.server_url.get_or_insert_with(|| url.clone());
        if role != Role::Stays {
            settings.drain_timeout = settings.drain_timeout.min(BRIEF_DRAIN);
        }
        let mut embedded = Self {
            url,
            key,
            store,
            broker: broker::open(amqp, "skein")?,
            parts: JoinSet::new(),
            stop: CancellationToken::new(),
            background: TaskTracker::new(),
            stop_background: CancellationToken::new(),
            ownership,
        };
        embedded.start_api(listener);
        if role != Role::Reads {
            embedded.start_worker(settings);
        }
        // Others come now, and are to find it at work.
        embedded.ownership.announce(&embedded.url, role == Role::Stays)?;
        Ok(embedded)
    }

    fn start_api(&mut self, listener: TcpListener) {
        let broker = Arc::clone(&self.broker);
        let dispatcher =
            Dispatcher::start(&self.background, Arc::clone(&broker), self.stop_background.clone());
        let deps = skein_api::Deps { store: Arc::clone(&self.store), broker, dispatcher };
        let limits = skein_api::Limits::default();
        let api = skein_api::serve(listener, deps, limits, self.stop.clone());
        self.parts.spawn(async move {
            api.await;
            Ok(())
        });
    }

    fn start_worker(&mut self, settings: Settings) {
        let deps =
            skein_worker::Deps { store: Arc::clone(&self.store), broker: Arc::clone(&self.broker) };
        let worker = skein_worker::run(deps, settings, self.stop.clone());
        self.parts.spawn(async move { worker.await.context("the worker failed") });
    }

    /// Where it listens, as clients on this machine reach it.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A key that it takes.
    #[must_use]
    pub fn key(&self) -> &ApiKey {
        &self.key
    }

    /// Returns when a part of it has ended by itself, which none should.
    ///
    /// # Errors
    /// Why it ended.
    pub async fn failed(&mut self) -> anyhow::Result<()> {
        match self.parts.join_next().await {
            Some(Ok(ended)) => ended,
            Some(Err(error)) => Err(error).context("a part of the server crashed"),
            None => Ok(()),
        }
    }

    /// Ends it in order: requests and nodes that are under way may end within their bounds, what they
    /// made runnable is published, and the store is closed last.
    ///
    /// # Errors
    /// When a part had failed.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        let mut ended = Ok(());
        while !self.parts.is_empty() {
            ended = ended.and(self.failed().await);
        }
        self.stop_background.cancel();
        self.background.close();
        self.background.wait().await;
        self.broker.close().await;
        self.store.close().await;
        drop(self.ownership);
        ended
    }
}

async fn open_store(ownership: &Ownership, args: &EmbeddedArgs) -> anyhow::Result<Arc<dyn Store>> {
    let own = StoreUrl::Sqlite(ownership.directory().database());
    let url = args.store.store()?.unwrap_or(own);
    if matches!(url, StoreUrl::Sqlite(_)) && args.broker.amqp()?.is_some() {
        bail!(
            "AMQP_URL is set and DATABASE_URL is not PostgreSQL: workers elsewhere cannot reach a store in a file"
        );
    }
    let store = store::open(&url, &args.store).await.context("cannot open the store")?;
    store.migrate().await.context("cannot migrate the store")?;
    Ok(store)
}

/// Makes sure of the directory's own key, and of the bootstrap key if there is one; both stand for the same
/// identity. Returns the directory's.
async fn ensure_keys(
    ownership: &Ownership,
    args: &EmbeddedArgs,
    store: &dyn Store,
) -> anyhow::Result<ApiKey> {
    let names = &args.bootstrap;
    let identity = Identity::new(
        names.bootstrap_organization.as_str(),
        names.bootstrap_workspace.as_str(),
        names.bootstrap_user.as_str(),
    );
    if let Some((key, identity)) = names.key()? {
        ensure_bootstrap_key(store, key, &identity).await?;
    }
    let key = ownership.key()?;
    ensure_bootstrap_key(store, &BootstrapKey::new(key.as_str()), &identity).await?;
    Ok(key.into())
}

/// How a client on this machine reaches a listener.
fn url_of(address: SocketAddr) -> String {
    let reachable = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(reachable, address.port()))
}

/// The ways in which a workflow may write the server's own address. Nothing else on this machine is opened.
fn own_addresses(address: SocketAddr) -> anyhow::Result<Vec<AllowRule>> {
    let port = address.port();
    let mut rules = format!("localhost:{port},127.0.0.1:{port},[::1]:{port}");
    if !address.ip().is_unspecified() && !address.ip().is_loopback() {
        rules = format!("{rules},{address}");
    }
    Ok(AllowRule::parse_list(&rules)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_reached_on_this_machine() {
        for (address, url) in [
            ("127.0.0.1:80", "http://127.0.0.1:80"),
            ("0.0.0.0:8080", "http://127.0.0.1:8080"),
            ("[::]:8080", "http://[::1]:8080"),
            ("10.1.2.3:1", "http://10.1.2.3:1"),
        ] {
            assert_eq!(url_of(address.parse().unwrap()), url);
        }
    }

    #[test]
    fn only_the_own_port_is_opened() {
        let rules = |address: &str| {
            let rules = own_addresses(address.parse().unwrap()).unwrap();
            rules.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let loopback = rules("0.0.0.0:8080");
        assert_eq!(loopback.len(), 3);
        assert!(loopback.iter().all(|rule| rule.ends_with(":8080")), "{loopback:?}");
        assert_eq!(rules("10.1.2.3:80").len(), 4);
    }
}

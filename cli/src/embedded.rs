//! The whole of Skein in one process: API and worker over one store and one broker.
//!
//! A SQLite file and a queue within the process, unless the settings name PostgreSQL and RabbitMQ. What it
//! accepts is durable: a process that is killed goes on where it was when it is started again.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use skein_api::{ApiReady, Hosts, TraceView, digest, ensure_bootstrap_key};
use skein_shared::broker::Broker;
use skein_shared::config::{BootstrapKey, StoreUrl};
use skein_shared::dispatch::Dispatcher;
use skein_shared::domain::tenant::Identity;
use skein_shared::finish::Finisher;
use skein_shared::ops::{AllReady, Ready};
use skein_shared::store::keys::Ensured;
use skein_shared::store::{KeyStore, Store};
use skein_shared::sweeper::Timers;
use skein_shared::telemetry::ServiceNames;
use skein_shared::{broker, store, telemetry};
use skein_worker::egress::AllowRule;
use skein_worker::{Health, Settings, WorkerReady};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::arguments::EmbeddedArgs;
use crate::client::ApiKey;
use crate::data_directory::{Ownership, random_key};
use crate::guest_key::GuestKey;
use crate::http::base_url;
use crate::mock_models::MockModels;
use crate::output::print_to_stderr;

/// What telemetry calls a process that is all of Skein.
pub const SERVICE: &str = "skein";
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
    /// It answers questions and starts nothing, unless [`Embedded::execute`] asks for it.
    Reads,
    /// As [`Self::Reads`], for what is to be kept: where there is nothing yet, it is made.
    Keeps,
}

impl Role {
    /// Whether it leaves runs alone, so that any server will do and a database that somebody names stays as it is.
    #[must_use]
    pub fn is_guest(self) -> bool {
        matches!(self, Self::Reads | Self::Keeps)
    }
}

/// Whose store a server works on.
#[derive(Debug)]
pub enum StoreAccess {
    /// The directory is this process's: what is missing in the store, schema and keys, is made.
    Owner(Ownership),
    /// A store that `DATABASE_URL` names is looked into. No key is put there, the schema of a server is left as
    /// it is, and no directory is used.
    Guest,
}

/// A running server. Ends only with [`Self::stop`]; dropping it leaves its work to the next start.
pub struct Embedded {
    url: String,
    key: ApiKey,
    store: Arc<dyn Store>,
    keys: Arc<dyn KeyStore>,
    broker: Arc<dyn Broker>,
    finisher: Finisher,
    /// Those of the worker's sweeper.
    timers: Timers,
    health: Health,
    /// What a worker that has not been started would go by.
    idle: Option<Settings>,
    parts: JoinSet<anyhow::Result<()>>,
    stop: CancellationToken,
    background: TaskTracker,
    stop_background: CancellationToken,
    /// Let go after all else: a directory is this process's until the store is closed.
    access: StoreAccess,
}

impl Embedded {
    /// Opens the store, makes sure of schema and keys where they are its to make, and serves at `listen`
    /// (`HOST:PORT`).
    ///
    /// # Errors
    /// When a setting cannot be used, the store cannot be opened, or the address is taken.
    pub async fn start(
        access: StoreAccess,
        args: &EmbeddedArgs,
        listen: &str,
        role: Role,
    ) -> anyhow::Result<Self> {
        let mut settings = args.worker.settings()?;
        let mock_models = match &args.mock_models {
            Some(script) => Some(MockModels::from_file(script).await?),
            None => None,
        };
        if let Some(mock) = &mock_models {
            settings.models = settings.models.mocked(mock.address());
        }
        let amqp = args.broker.amqp()?;
        let traces =
            TraceView { url: args.trace_url.template()?, services: ServiceNames::same(SERVICE) };
        let (store, keys, key) = match &access {
            StoreAccess::Owner(ownership) => {
                let (store, key) = owned_store(ownership, args).await?;
                (Arc::clone(&store), store as Arc<dyn KeyStore>, key)
            }
            StoreAccess::Guest => {
                let key = random_key()?;
                let keys = GuestKey::new(digest(&key), identity(args));
                (guest_store(args).await?, Arc::new(keys) as _, key.into())
            }
        };
        let listener = TcpListener::bind(listen).await.with_context(|| {
            format!("cannot listen at {listen} (--listen 127.0.0.1:0 takes any free port)")
        })?;
        let address = listener.local_addr()?;
        let url = url_of(address);
        settings.allow.extend(own_addresses(address)?);
        let hosts = own_names(listen, settings.server_url.as_deref());
        settings.server_url.get_or_insert_with(|| url.clone());
        if role != Role::Stays {
            settings.drain_timeout = settings.drain_timeout.min(BRIEF_DRAIN);
        }
        let broker = broker::open(amqp, "skein")?;
        let mut embedded = Self {
            url,
            key,
            finisher: Finisher::new(Arc::clone(&store) as _, Arc::clone(&broker)),
            timers: Timers::default(),
            health: Health::default(),
            store,
            keys,
            broker,
            idle: Some(settings),
            parts: JoinSet::new(),
            stop: CancellationToken::new(),
            background: TaskTracker::new(),
            stop_background: CancellationToken::new(),
            access,
        };
        if let Some(mock) = mock_models {
            // Outlives the worker, whose last nodes may still ask.
            embedded.background.spawn(mock.serve(embedded.stop_background.clone()));
        }
        embedded.start_api(listener, hosts, traces);
        if !role.is_guest() {
            embedded.execute();
        }
        // Others come now, and are to find it at work.
        if let StoreAccess::Owner(ownership) = &mut embedded.access {
            ownership.announce(&embedded.url, role == Role::Stays)?;
        }
        Ok(embedded)
    }

    fn start_api(&mut self, listener: TcpListener, hosts: Hosts, traces: TraceView) {
        let broker = Arc::clone(&self.broker);
        let dispatcher =
            Dispatcher::start(&self.background, Arc::clone(&broker), self.stop_background.clone());
        let (store, keys) = (Arc::clone(&self.store), Arc::clone(&self.keys));
        let finisher = self.finisher.clone();
        let timers = self.timers.clone();
        let deps =
            skein_api::Deps { store, keys, broker, dispatcher, finisher, timers, hosts, traces };
        let limits = skein_api::Limits::default();
        let api = skein_api::serve(listener, deps, limits, self.stop.clone());
        self.parts.spawn(async move {
            api.await;
            Ok(())
        });
    }

    /// Starts executing what is runnable, unless it does already or the store is somebody else's.
    pub fn execute(&mut self) {
        if matches!(self.access, StoreAccess::Guest) {
            return;
        }
        let Some(settings) = self.idle.take() else { return };
        let deps = skein_worker::Deps {
            store: Arc::clone(&self.store),
            broker: Arc::clone(&self.broker),
            finisher: self.finisher.clone(),
            timers: self.timers.clone(),
            health: self.health.clone(),
        };
        let worker = skein_worker::run(deps, settings, self.stop.clone());
        self.parts.spawn(async move { worker.await.context("the worker failed") });
    }

    /// Whether it takes runs and executes them.
    #[must_use]
    pub fn ready(&self) -> Arc<dyn Ready> {
        let api = ApiReady {
            store: Arc::clone(&self.store),
            broker: Arc::clone(&self.broker),
            shutdown: self.stop.clone(),
        };
        let worker = WorkerReady { health: self.health.clone(), broker: Arc::clone(&self.broker) };
        Arc::new(AllReady(vec![Arc::new(api), Arc::new(worker)]))
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
        drop(self.access);
        ended
    }
}

/// The store that `DATABASE_URL` names or else the one in the directory, with its schema and its keys.
async fn owned_store(
    ownership: &Ownership,
    args: &EmbeddedArgs,
) -> anyhow::Result<(Arc<dyn Store>, ApiKey)> {
    let own = StoreUrl::Sqlite(ownership.directory().database());
    let named = args.store.store()?;
    // Nobody else would bring the schema of the directory's own file up to date.
    let is_left_alone = args.no_migrate && named.is_some();
    let url = named.unwrap_or(own);
    let store = open_store(&url, args).await?;
    if is_left_alone {
        store.check_schema().await.with_context(|| format!("cannot use {url}"))?;
    } else {
        store.migrate().await.with_context(|| format!("cannot migrate {url}"))?;
    }
    let key = ensure_keys(ownership, args, &*store).await?;
    Ok((store, key))
}

/// The store that `DATABASE_URL` names, as it is.
async fn guest_store(args: &EmbeddedArgs) -> anyhow::Result<Arc<dyn Store>> {
    let url = args.store.store()?.context("a guest needs a store to look into")?;
    if let StoreUrl::Sqlite(path) = &url
        && !path.exists()
    {
        // To open it would be to make it.
        bail!("there is no {}", path.display());
    }
    let store = open_store(&url, args).await?;
    store.check_schema().await.with_context(|| format!("cannot use {url}"))?;
    Ok(store)
}

async fn open_store(url: &StoreUrl<'_>, args: &EmbeddedArgs) -> anyhow::Result<Arc<dyn Store>> {
    if matches!(url, StoreUrl::Sqlite(_)) && args.broker.amqp()?.is_some() {
        bail!(
            "AMQP_URL is set and DATABASE_URL is not PostgreSQL: workers elsewhere cannot reach a store in a file"
        );
    }
    let event_logs = telemetry::event_log_sink();
    store::open(url, &args.store, event_logs).await.with_context(|| format!("cannot open {url}"))
}

/// Makes sure of the directory's own key, and of the bootstrap key if there is one; both stand for the same
/// identity. Returns the directory's, a new one if the one that it had was revoked.
async fn ensure_keys(
    ownership: &Ownership,
    args: &EmbeddedArgs,
    store: &dyn Store,
) -> anyhow::Result<ApiKey> {
    if let Some((key, identity)) = args.bootstrap.key()?
        && ensure_bootstrap_key(store, key, &identity).await? == Ensured::Over
    {
        print_to_stderr("SKEIN_BOOTSTRAP_KEY has been revoked or has expired, and stays so\n");
    }
    let key = ownership.key()?;
    let ensure = async |key: &str| {
        ensure_bootstrap_key(store, &BootstrapKey::new(key), &identity(args)).await
    };
    if ensure(&key).await? == Ensured::Good {
        return Ok(key.into());
    }
    // Whoever owns the directory owns the store; only what somebody else has of the old key is worth nothing.
    let key = ownership.new_key()?;
    ensure(&key).await?;
    Ok(key.into())
}

/// What the keys of the embedded server stand for.
fn identity(args: &EmbeddedArgs) -> Identity {
    let names = &args.bootstrap;
    Identity::new(
        names.bootstrap_organization.as_str(),
        names.bootstrap_workspace.as_str(),
        names.bootstrap_user.as_str(),
    )
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

/// The names under which the server may be called besides its addresses: those that its user has given it.
fn own_names(listen: &str, server_url: Option<&str>) -> Hosts {
    let listen = listen.rsplit_once(':').map(|(host, _)| host.to_owned());
    let public = server_url.and_then(|url| Some(base_url(url).ok()?.host_str()?.to_owned()));
    Hosts::Local(listen.into_iter().chain(public).collect())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::test_directory::TestDirectory;

    /// Settings for a store in a file, whatever the environment says.
    fn args_for(file: &Path) -> EmbeddedArgs {
        let url = format!("sqlite:{}", file.display());
        let mut args = EmbeddedArgs::from_flags(&["--database-url", &url]).unwrap();
        args.broker.amqp_url = None;
        args
    }

    async fn guest(args: &EmbeddedArgs) -> anyhow::Result<Embedded> {
        Embedded::start(StoreAccess::Guest, args, "127.0.0.1:0", Role::Reads).await
    }

    #[tokio::test]
    async fn a_guest_leaves_no_key_behind() {
        let temp = TestDirectory::new();
        let args = args_for(&temp.path().join("theirs.db"));
        let url = args.store.store().unwrap().unwrap();
        let theirs = store::open(&url, &args.store, None).await.unwrap();
        theirs.migrate().await.unwrap();
        theirs.close().await;

        let embedded = guest(&args).await.unwrap();
        let key = digest(embedded.key().expose());
        let found = embedded.keys.find_key(&key).await.unwrap();
        assert_eq!(found.map(|key| key.identity), Some(identity(&args)));
        embedded.stop().await.unwrap();

        let theirs = store::open(&url, &args.store, None).await.unwrap();
        assert_eq!(theirs.find_key(&key).await.unwrap(), None);
        theirs.close().await;
    }

    #[tokio::test]
    async fn a_guest_makes_no_database() {
        let temp = TestDirectory::new();
        let file = temp.path().join("theirs.db");
        let message = guest(&args_for(&file)).await.err().unwrap().to_string();
        assert!(message.starts_with("there is no ") && !file.exists(), "{message}");
    }

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
    fn a_server_has_the_names_that_it_was_given() {
        let names = |names: &[&str]| Hosts::Local(names.iter().map(ToString::to_string).collect());
        assert_eq!(own_names("build-7:8080", None), names(&["build-7"]));
        let both = own_names("0.0.0.0:80", Some("https://skein.example/x"));
        assert_eq!(both, names(&["0.0.0.0", "skein.example"]));
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

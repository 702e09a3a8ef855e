//! Skein as its users run it: its programs as OS processes, with everything that they talk to.
//!
//! [`with_stack`] starts one, runs a case over it and removes every trace, whether the case passes or not. If it
//! does not, the ends of all logs are printed; whole they lie in `target/e2e-logs/{label}`.

mod client;
pub mod invariants;
pub mod load;
mod outside;
mod places;
mod polling;
mod program;
mod setup;
mod tap;
pub mod traces;

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::FutureExt as _;
use tokio::sync::RwLock;

pub use client::{Answer, Client, Run, is_end};
pub use outside::{Hit, Outside};
pub use places::{free_port, workspace};
pub use polling::{eventually, poll};
pub use program::{Memory, Program};
pub use setup::{Form, Setup};
pub use tap::Tap;

use places::log_directory;

use crate::otlp::Receiver;
use crate::postgres::TestDatabase;
use crate::proxy::Proxy;
use crate::rabbitmq;

/// How long anything may take that does not wait for time to pass: two orders of magnitude above what
/// it takes on an idle machine.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How long a case may take, start and removal of its stack included.
const CASE_MAX: Duration = Duration::from_secs(240);
/// The key of every stack.
pub const KEY: &str = "e2e-key-0123456789abcdef";
/// Whom the key stands for: organization, workspace, user.
pub const IDENTITY: [&str; 3] = ["acme", "research", "ada"];
/// The pools whose queues a stack has.
pub const POOLS: &[&str] = &["default"];
/// Lines of each log that are shown when a case fails.
const TAIL_LINES: usize = 40;

/// A running Skein and what it talks to.
#[derive(Debug)]
pub struct Stack {
    /// Which form.
    pub form: Form,
    /// `skein-api`, or `skein dev`.
    pub api: Program,
    /// `skein-worker`s; none when embedded.
    pub workers: Vec<Program>,
    /// Calls the API with the stack's key.
    pub client: Client,
    /// Where telemetry goes.
    pub collector: Receiver,
    /// The world that http nodes may call.
    pub outside: Outside,
    /// Before RabbitMQ, if the setup asked for it.
    pub amqp: Option<Proxy>,
    /// Before PostgreSQL, if the setup asked for it.
    pub postgres: Option<Proxy>,
    /// The API's address.
    pub base: String,
    /// The prefix of the names of queues and exchanges.
    pub namespace: String,
    database: Option<TestDatabase>,
    data: PathBuf,
    environment: Vec<(String, String)>,
    log_directory: PathBuf,
}

/// Held for writing by a case that hurts the broker for everybody.
static TOGETHER: RwLock<()> = RwLock::const_new(());

/// Runs a case over a stack of its own.
///
/// # Panics
/// When the case does or takes longer than four minutes, or when there is no PostgreSQL or RabbitMQ.
pub async fn with_stack(setup: Setup, case: impl AsyncFnOnce(&mut Stack)) {
    let _together = TOGETHER.read().await;
    run(setup, case).await;
}

/// [`with_stack`] with no other case of this process beside it.
///
/// # Panics
/// As [`with_stack`].
pub async fn with_stack_alone(setup: Setup, case: impl AsyncFnOnce(&mut Stack)) {
    let _alone = TOGETHER.write().await;
    run(setup, case).await;
}

async fn run(setup: Setup, case: impl AsyncFnOnce(&mut Stack)) {
    let label = setup.label.clone();
    let mut stack = Stack::prepare(setup).await;
    let run = async {
        stack.start().await;
        case(&mut stack).await;
    };
    let outcome = AssertUnwindSafe(tokio::time::timeout(CASE_MAX, run)).catch_unwind().await;
    if !matches!(outcome, Ok(Ok(()))) {
        eprintln!("{}", stack.logs());
    }
    let removed = stack.remove().await;
    // What the case has to say comes before what its removal has.
    match outcome {
        Ok(Ok(())) => {
            removed.unwrap_or_else(|error| panic!("{label} cannot be removed: {error:#}"));
        }
        Ok(Err(_)) => panic!("{label} takes longer than {CASE_MAX:?}"),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

impl Stack {
    async fn prepare(setup: Setup) -> Self {
        let collector = Receiver::start().await;
        let outside = Outside::start().await;
        let unique = uuid::Uuid::new_v4().simple().to_string();
        let namespace = format!("e2e-{unique}");
        let data = std::env::temp_dir().join(format!("skein_e2e_{unique}"));
        let address = format!("127.0.0.1:{}", free_port());
        let base = format!("http://{address}");
        let logs = log_directory(&setup.label);
        let mut environment = setup.shared_environment(&collector, &outside, &base);
        environment.push(("SKEIN_LISTEN".to_owned(), address));
        let (mut amqp, mut postgres, mut database) = (None, None, None);
        if setup.form == Form::Distributed {
            let created = TestDatabase::create().await.expect("a PostgreSQL for tests");
            let mut urls = (created.url(), rabbitmq::amqp_url());
            if let Some(seconds) = setup.clock_off_by {
                urls.0 = created.url_with_clock_off_by(seconds).await.expect("a PostgreSQL");
            }
            if setup.proxied {
                let (to_amqp, to_postgres) = (
                    Proxy::start(rabbitmq::address()).await,
                    Proxy::start(created.address()).await,
                );
                urls = (created.url_at(to_postgres.port()), rabbitmq::amqp_url_at(to_amqp.port()));
                (amqp, postgres) = (Some(to_amqp), Some(to_postgres));
            }
            environment.extend([
                ("DATABASE_URL".to_owned(), urls.0),
                ("AMQP_URL".to_owned(), urls.1),
                ("SKEIN_NAMESPACE".to_owned(), namespace.clone()),
                // Several stacks live beside each other, and the server has 100 connections.
                ("SKEIN_DATABASE_CONNECTIONS".to_owned(), "6".to_owned()),
            ]);
            database = Some(created);
        } else {
            environment.push(("SKEIN_DATA".to_owned(), data.to_string_lossy().into_owned()));
        }
        environment.extend(setup.environment);
        let program =
            |name: &str, command: &[&str]| Program::new(name, command, environment.clone(), &logs);
        let (api, workers) = match setup.form {
            Form::Embedded => (program("skein-dev", &["skein", "dev"]), Vec::new()),
            Form::Distributed => (
                program("skein-api", &["skein-api"]),
                (1..=setup.workers)
                    .map(|n| program(&format!("skein-worker-{n}"), &["skein-worker"]))
                    .collect(),
            ),
        };
        let client = Client::new(&base, KEY);
        Self {
            form: setup.form,
            api,
            workers,
            client,
            collector,
            outside,
            amqp,
            postgres,
            base,
            namespace,
            database,
            data,
            environment,
            log_directory: logs,
        }
    }

    /// Starts everything and waits until the API serves and every worker has its lease.
    async fn start(&mut self) {
        self.api.start();
        for worker in &mut self.workers {
            worker.start();
        }
        self.api_serves().await;
        for worker in 0..self.workers.len() {
            self.worker_works(worker).await;
        }
    }

    /// Waits until the API is ready.
    ///
    /// # Panics
    /// When it is not within a minute, or ends.
    pub async fn api_serves(&mut self) {
        let (client, api) = (self.client.clone(), &mut self.api);
        let ready = poll(PATIENCE, async || {
            assert!(api.is_running(), "the API ended:\n{}", api.tail(TAIL_LINES));
            client.get("/readyz").await.ok().filter(|answer| answer.status.is_success())
        });
        let ready = ready.await.is_some();
        assert!(ready, "the API does not serve:\n{}", self.api.tail(TAIL_LINES));
    }

    /// Waits until a worker that has just been started has opened a lease.
    ///
    /// # Panics
    /// When it has none within a minute, or ends.
    pub async fn worker_works(&mut self, worker: usize) {
        let worker = &mut self.workers[worker];
        worker.prints("lease opened", 0).await;
    }

    /// Starts a worker that was killed or stopped, and waits until it works.
    ///
    /// # Panics
    /// When it runs, or does not come up.
    pub async fn restart_worker(&mut self, worker: usize) {
        let worker = &mut self.workers[worker];
        let before = worker.log().matches("lease opened").count();
        worker.start();
        worker.prints("lease opened", before).await;
    }

    /// Another program in the environment of this stack, not started yet.
    #[must_use]
    pub fn program(&self, name: &str, command: &[&str]) -> Program {
        Program::new(name, command, self.environment.clone(), &self.log_directory)
    }

    /// Asks every program that runs to stop, and waits until they have. Returns the exit code of each, `None`
    /// for one that a signal ended.
    ///
    /// # Panics
    /// When one does not stop within a minute.
    pub async fn stop(&mut self) -> Vec<Option<i32>> {
        let mut running: Vec<_> = std::iter::once(&mut self.api)
            .chain(&mut self.workers)
            .filter_map(|program| program.is_running().then_some(program))
            .collect();
        for program in &mut running {
            program.terminate().await;
        }
        let mut codes = Vec::new();
        for program in running {
            codes.push(program.ended().await.code());
        }
        codes
    }

    /// The database past the API.
    ///
    /// # Panics
    /// When the stack is embedded.
    #[must_use]
    pub fn database(&self) -> &TestDatabase {
        self.database.as_ref().expect("only the distributed stack has a database server")
    }

    /// The directory of the embedded stack.
    #[must_use]
    pub fn data(&self) -> &std::path::Path {
        &self.data
    }

    /// The ends of all logs.
    #[must_use]
    pub fn logs(&self) -> String {
        let programs = std::iter::once(&self.api).chain(&self.workers);
        programs.map(|program| program.tail(TAIL_LINES)).collect()
    }

    async fn remove(mut self) -> anyhow::Result<()> {
        for program in std::iter::once(&mut self.api).chain(&mut self.workers) {
            if program.is_running() {
                program.kill().await;
            }
        }
        if let Some(database) = self.database.take() {
            let deleted = rabbitmq::delete_namespace(&self.namespace, POOLS).await;
            database.remove().await.context("the PostgreSQL for tests")?;
            deleted?;
        }
        // Only now: who is killed writes no more. There is none if nothing was started.
        let _ = std::fs::remove_dir_all(&self.data);
        Ok(())
    }
}

//! `skein doctor` tells what is well from what is not, says what to do, and tells no secret.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use lapin::options::{QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties};
use serde_json::{Value, json};
use skein_shared::broker::{self, DEFAULT_POOL};
use skein_shared::config::{Amqp, SecretUrl};
use skein_shared::domain::trace::TraceId;
use skein_shared::store::Admin as _;
use skein_shared::store::postgres::PostgresStore;
use skein_tests::otlp::{Mode, Receiver};
use skein_tests::pooler::Pooler;
use skein_tests::postgres::{OwnDatabase, with_own_database};
use skein_tests::rabbitmq::{self, Undo, rabbitmqctl};
use skein_tests::stack::{KEY, PATIENCE, Program, Setup, Stack, load, with_stack};
use skein_tests::tls::Terminator;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

/// Where nobody listens: the discard service is off, and an unprivileged process cannot take its port.
const NOBODY: &str = "127.0.0.1:9";
/// A password that is not to be seen anywhere.
const SECRET: &str = "s3cret-w0rd";

/// What `skein doctor` has found.
struct Found {
    code: Option<i32>,
    report: Value,
}

impl Found {
    /// Runs a program that is to print a report.
    async fn by(mut skein: Program) -> Self {
        skein.start();
        let code = skein.ended().await.code();
        let log = skein.log();
        for secret in [KEY, SECRET] {
            assert!(!log.contains(secret), "{log}");
        }
        let report = serde_json::from_str(&log).unwrap_or_else(|error| panic!("{error}: {log}"));
        Self { code, report }
    }

    /// Runs it in the environment of a stack, with some of it changed.
    async fn of(stack: &Stack, words: &[&str], changes: &[(&str, &str)]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("doctor-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let mut skein = stack.program(&name, &[&["skein", "doctor", "-o", "json"], words].concat());
        skein.set("SKEIN_KEY", KEY);
        for (name, value) in changes {
            skein.set(name, value);
        }
        Self::by(skein).await
    }

    /// Runs it with nothing but this environment.
    async fn apart(label: &str, words: &[&str], environment: &[(&str, &str)]) -> Self {
        let command = [&["skein", "doctor", "-o", "json"], words].concat();
        Self::by(Program::apart(&format!("doctor_{label}"), &command, environment)).await
    }

    fn checks(&self) -> impl Iterator<Item = &Value> {
        self.report["checks"].as_array().expect("a list").iter()
    }

    /// The names of all checks with an outcome, by group.
    fn with(&self, outcome: &str) -> Vec<String> {
        let those = self.checks().filter(|check| check["outcome"] == outcome);
        let name = |check: &Value| format!("{} {}", check["group"], check["name"]).replace('"', "");
        those.map(name).collect()
    }

    fn check(&self, name: &str) -> &Value {
        let (group, name) = name.split_once(' ').expect("a group and a name");
        let mut those = self.checks().filter(|it| it["group"] == group && it["name"] == name);
        those.next().unwrap_or_else(|| panic!("no {group} {name}: {:#}", self.report))
    }

    /// Only this is wrong, and `part` of what is said of it says what to do.
    fn assert_only(&self, failed: &str, part: &str) {
        assert_eq!(self.with("failed"), [failed], "{:#}", self.report);
        assert_eq!((self.code, &self.report["ok"]), (Some(1), &json!(false)));
        let remedy = self.check(failed)["remedy"].as_str().expect("a remedy");
        assert!(remedy.contains(part), "{remedy}");
    }

    fn assert_well(&self) {
        assert_eq!(self.with("failed"), [] as [&str; 0], "{:#}", self.report);
        assert_eq!((self.code, &self.report["ok"]), (Some(0), &json!(true)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_installation_that_is_well_is_said_to_be_and_gets_a_test_span() {
    with_stack(Setup::distributed("doctor_well"), async |stack| {
        // Whoever has run something consumes.
        load::publish(stack).await;
        let run = stack.client.start_surely(load::WORKFLOW, &json!({ "n": 1 }), "one").await;
        load::finish(&stack.client, &[run], PATIENCE).await;

        let template = [("TRACE_URL_TEMPLATE", "https://signoz.example/trace/{trace_id}")];
        let found = Found::of(stack, &[], &template).await;
        found.assert_well();
        let ok = found.with("ok");
        for name in [
            "otlp connection",
            "otlp key",
            "otlp traces",
            "otlp metrics",
            "otlp logs",
            "otlp clock",
            "broker connection",
            "broker version",
            "broker login",
            "broker topology",
            "broker configure",
            "broker write",
            "broker read",
            "broker alarms",
            "broker queue",
            "database connection",
            "database version",
            "database clock",
            "database sessions",
            "database schema",
            "database workers",
            "database connections",
            "api connection",
            "api release",
            "api key",
            "api workers",
        ] {
            assert!(ok.iter().any(|it| it == name), "{name} is not ok: {:#}", found.report);
        }
        assert_eq!(found.with("skipped"), ["broker policies"]);
        assert_eq!(found.check("database workers")["what"], "2 are alive");
        let settings = &found.report["settings"];
        assert_eq!(settings["SKEIN_KEY"], "(hidden)");
        assert_eq!(settings["SKEIN_NAMESPACE"], json!(stack.namespace));

        let told = found.check("otlp traces")["what"].as_str().expect("a text");
        let (_, link) = told.rsplit_once(' ').expect("a link");
        let trace = link.strip_prefix("https://signoz.example/trace/").expect("the template's");
        let trace: TraceId = trace.parse().expect("an id");
        let spans = stack.collector.trace(trace);
        assert_eq!(spans.len(), 1, "{}", stack.collector.tree());
        assert_eq!((&*spans[0].name, spans[0].service()), ("skein.doctor", "skein-doctor"));
        let logs = stack.collector.logs();
        assert_eq!(logs.iter().filter(|log| log.trace_id == Some(trace)).count(), 1);
        let counters = stack.collector.counters();
        let own = counters.iter().filter(|it| it.name == "workflow.live.lost" && it.value == 0);
        assert!(own.count() > 0, "{counters:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_embedded_instance_is_found_through_its_directory() {
    with_stack(Setup::embedded("doctor_embedded"), async |stack| {
        let found = Found::of(stack, &[], &[]).await;
        found.assert_well();
        assert_eq!(found.with("skipped"), ["broker connection"]);

        let data = stack.data().to_string_lossy().into_owned();
        let only = ["--only", "database,api"];
        let found = Found::apart("directory", &only, &[("SKEIN_DATA", &data)]).await;
        found.assert_well();
        let expected = [
            "database directory",
            "database key",
            "database file system",
            "database disk",
            "api connection",
            "api release",
            "api key",
            "api workers",
        ];
        assert_eq!(found.with("ok"), expected, "{:#}", found.report);
        let text = found.check("database directory")["what"].as_str().expect("a text");
        assert!(text.contains(&format!("process {}", stack.api.pid())), "{text}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_not_well_is_told_with_what_to_change() {
    let only = ["--only", "otlp"];
    let receiver = Receiver::start().await;
    let endpoint = receiver.endpoint();
    let header = format!("signoz-ingestion-key={SECRET}");
    let environment =
        [("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint), ("OTEL_EXPORTER_OTLP_HEADERS", &*header)];
    Found::apart("collector", &only, &environment).await.assert_well();
    let keyed = |request: &skein_tests::otlp::Request| {
        request.headers.get("signoz-ingestion-key").is_some_and(|key| key == SECRET)
    };
    assert!(receiver.requests().iter().all(keyed));

    for status in [401, 403] {
        receiver.set_mode(Mode::Status(status));
        let found = Found::apart("key", &only, &environment).await;
        found.assert_only("otlp key", "OTEL_EXPORTER_OTLP_HEADERS");
        assert_eq!(found.with("skipped"), ["otlp traces", "otlp metrics", "otlp logs"]);
    }
    receiver.set_mode(Mode::Status(404));
    let found = Found::apart("path", &only, &environment).await;
    assert_eq!(found.with("failed"), ["otlp traces", "otlp metrics", "otlp logs"]);
    for signal in ["traces", "metrics", "logs"] {
        let remedy = &found.check(&format!("otlp {signal}"))["remedy"];
        let part = format!("OTEL_EXPORTER_OTLP_{}_ENDPOINT", signal.to_uppercase());
        assert!(remedy.as_str().is_some_and(|it| it.contains(&part)), "{remedy}");
    }
    receiver.set_mode(Mode::Hang);
    let found = Found::apart("hanging", &only, &environment).await;
    found.assert_only("otlp connection", "does not answer");
    receiver.set_mode(Mode::Normal);

    // One signal's own endpoint, without its path.
    let bare = [environment[0], ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &*endpoint)];
    let found = Found::apart("bare", &only, &bare).await;
    found.assert_only("otlp traces", "/v1/traces");

    // What a server of gRPC says first, to whoever comes.
    let grpc = TcpListener::bind("127.0.0.1:0").await.expect("a free loopback port");
    let endpoint = format!("http://{}", grpc.local_addr().expect("it is bound"));
    let _server = AbortOnDropHandle::new(tokio::spawn(async move {
        while let Ok((mut stream, _)) = grpc.accept().await {
            let _sent = stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await;
        }
    }));
    let found = Found::apart("grpc", &only, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint)]).await;
    found.assert_only("otlp connection", "4318");

    let absent = format!("http://{NOBODY}");
    let found = Found::apart("absent", &only, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &*absent)]).await;
    found.assert_only("otlp connection", "nobody listens at 127.0.0.1:9");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_nobody_trusts_is_told_with_the_variable_for_its_ca() {
    let only = ["--only", "otlp"];
    let receiver = Receiver::start().await;
    let terminator = Terminator::start(receiver.address()).await;
    let endpoint = format!("https://localhost:{}", terminator.port());
    let mut environment = vec![("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint)];
    let found = Found::apart("stranger", &only, &environment).await;
    found.assert_only("otlp connection", "SSL_CERT_FILE");

    let file = std::env::temp_dir().join(format!("skein-doctor-{}.pem", std::process::id()));
    fs::write(&file, terminator.certificate()).expect("a temporary file");
    let trusted = file.to_string_lossy();
    environment.push(("SSL_CERT_FILE", &trusted));
    let found = Found::apart("trusted", &only, &environment).await;
    let _removed = fs::remove_file(&file);
    found.assert_well();
    let told = found.check("otlp connection")["what"].as_str().expect("a text");
    assert!(told.contains("SSL_CERT_FILE"), "{told}");

    // The other way round: TLS where none is spoken.
    let plain = endpoint_of(&receiver, "https");
    let found = Found::apart("plain", &only, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &*plain)]).await;
    found.assert_only("otlp connection", "http://");
}

fn endpoint_of(receiver: &Receiver, scheme: &str) -> String {
    format!("{scheme}://{}", receiver.address())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_cannot_be_worked_with_is_told_and_nothing_is_made_there() {
    let only = ["--only", "broker"];
    let namespace = format!("doctor-{}", uuid::Uuid::new_v4().simple());
    let broker = async |label: &str, url: &str| {
        let environment = [("AMQP_URL", url), ("SKEIN_NAMESPACE", &*namespace)];
        Found::apart(label, &only, &environment).await
    };
    let good = rabbitmq::amqp_url();
    let absent = format!("amqp://guest:{SECRET}@{NOBODY}/%2f");
    broker("no_broker", &absent).await.assert_only("broker connection", "start RabbitMQ");

    let receiver = Receiver::start().await;
    let foreign = format!("amqp://guest:{SECRET}@{}/%2f", receiver.address());
    broker("foreign", &foreign).await.assert_only("broker connection", "5672");

    let mut uri: lapin::uri::AMQPUri = good.parse().expect("AMQP_URL is an AMQP address");
    SECRET.clone_into(&mut uri.authority.userinfo.password);
    broker("login", &uri.to_string())
        .await
        .assert_only("broker login", "correct user and password");

    let mut uri: lapin::uri::AMQPUri = good.parse().expect("AMQP_URL is an AMQP address");
    uri.vhost = namespace.clone();
    broker("vhost", &uri.to_string()).await.assert_only("broker login", "virtual host");

    // Where nothing is yet, that is no failure, and it stays so.
    for label in ["first", "second"] {
        let found = broker(label, &good).await;
        found.assert_well();
        assert_eq!(found.with("warning"), ["broker topology"], "{:#}", found.report);
        let told = found.check("broker topology")["what"].as_str().expect("a text");
        assert!(told.contains(&format!("{namespace}.work.v1.default")), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queues_and_permissions_that_would_break_us_are_told() {
    let namespace = format!("doctor-{}", uuid::Uuid::new_v4().simple());
    let broker = async |label: &str, url: &str| {
        let environment = [("AMQP_URL", url), ("SKEIN_NAMESPACE", &*namespace)];
        Found::apart(label, &["--only", "broker"], &environment).await
    };
    let good = rabbitmq::amqp_url();
    // As a process does at its start.
    let url: SecretUrl = good.parse().expect("reading one never fails");
    let amqp = Amqp { url: &url, namespace: &namespace };
    let own = broker::open(Some(amqp), "test").expect("AMQP_URL is an AMQP address");
    own.depth(DEFAULT_POOL).await.expect("a broker for tests");
    own.close().await;
    let found = broker("idle", &good).await;
    found.assert_well();
    assert_eq!(found.with("warning"), ["broker queue"], "nobody consumes: {:#}", found.report);

    let user = format!("user-{namespace}");
    rabbitmqctl(&["--quiet", "add_user", &user, SECRET]).await;
    let _delete = Undo::with(&["--quiet", "delete_user", &user]);
    let names = format!("^({namespace}\\..*|amq\\.gen.*)$");
    rabbitmqctl(&["--quiet", "set_permissions", &user, "^amq\\.gen.*$", "^amq\\.gen.*$", &names])
        .await;
    let mut uri: lapin::uri::AMQPUri = good.parse().expect("AMQP_URL is an AMQP address");
    user.clone_into(&mut uri.authority.userinfo.username);
    SECRET.clone_into(&mut uri.authority.userinfo.password);
    let found = broker("permissions", &uri.to_string()).await;
    assert_eq!(found.with("failed"), ["broker configure", "broker write"], "{:#}", found.report);
    let remedy = found.check("broker write")["remedy"].as_str().expect("a remedy");
    assert!(remedy.contains("set_permissions"), "{remedy}");

    let queue = format!("{namespace}.work.v1.{DEFAULT_POOL}");
    let connection = Connection::connect(&good, ConnectionProperties::default()).await;
    let connection = connection.expect("a broker for tests");
    let channel = connection.create_channel().await.expect("a channel");
    let delete = QueueDeleteOptions::default();
    channel.queue_delete(queue.clone().into(), delete).await.expect("it is there");
    let options = QueueDeclareOptions { durable: true, ..Default::default() };
    let classic = channel.queue_declare(queue.into(), options, FieldTable::default());
    classic.await.expect("a queue of the default type");
    let found = broker("classic", &good).await;
    found.assert_only("broker configure", "other arguments");
    connection.close(200, "".into()).await.expect("it is open");
    rabbitmq::delete_namespace(&namespace, &[DEFAULT_POOL]).await.expect("a broker for tests");
}

async fn doctor(label: &str, url: &str) -> Found {
    Found::apart(label, &["--only", "database"], &[("DATABASE_URL", url)]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_cannot_be_worked_with_is_told() {
    with_own_database(async |database: Arc<OwnDatabase>| {
        let absent = format!("postgres://me:{SECRET}@{NOBODY}/skein");
        let found = doctor("no_database", &absent).await;
        found.assert_only("database connection", "start PostgreSQL");

        let url = database.url();
        let nowhere = url.replace(database.name(), "there_is_no_such_database");
        doctor("nowhere", &nowhere).await.assert_only("database connection", "create the database");

        doctor("empty", &url).await.assert_only("database schema", "skein migrate");
        let store = PostgresStore::connect(&url, 1).expect("a URL");
        store.migrate().await.expect("an empty database");
        store.close().await;
        let found = doctor("migrated", &url).await;
        found.assert_well();
        assert!(found.with("warning").iter().any(|it| it == "database workers"));
        database
            .execute("DELETE FROM _sqlx_migrations WHERE version = (SELECT max(version) FROM _sqlx_migrations)")
            .await;
        doctor("older", &url).await.assert_only("database schema", "skein migrate");
        database
            .execute("UPDATE _sqlx_migrations SET version = 9999 WHERE version = (SELECT max(version) FROM _sqlx_migrations)")
            .await;
        doctor("newer", &url).await.assert_only("database schema", "newer release");

        let pooler = Pooler::start(&database, "transaction").await;
        let found = doctor("pooler", &pooler.url()).await;
        found.assert_only("database sessions", "pool_mode = session");

        let all = format!("ALTER DATABASE {} SET default_transaction_read_only", database.name());
        database.execute(&format!("{all} = on")).await;
        doctor("standby", &url).await.assert_only("database connection", "primary");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_or_a_key_that_is_not_well_is_told() {
    with_stack(Setup::embedded("doctor_api"), async |stack| {
        let only = ["--only", "api"];
        let found = Found::of(stack, &only, &[("SKEIN_KEY", SECRET)]).await;
        found.assert_only("api key", "SKEIN_KEY");
        let absent = format!("http://{NOBODY}");
        let found = Found::of(stack, &only, &[("SKEIN_URL", &absent)]).await;
        found.assert_only("api connection", "start skein-api");
        let found = Found::of(stack, &only, &[("SKEIN_URL", &stack.collector.endpoint())]).await;
        found.assert_only("api connection", "no skein-api");
    })
    .await;
}

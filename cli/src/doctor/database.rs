//! PostgreSQL: whether it is there, keeps what it has confirmed, has our schema, and has room for all processes.

use std::error::Error as _;

use chrono::Utc;
use skein_shared::config::SecretUrl;
use skein_shared::store::StoreError;
use skein_shared::store::postgres::ANALYSIS_CONNECTIONS_MAX;
use skein_shared::store::postgres::inspect::{Inspector, Server};

use super::{Finding, clock, workers as fleet};

/// The first version that has everything that our statements use.
const VERSION_MIN: i32 = 140_000;
/// The last version that the tests have run on, as its first number.
const VERSION_TESTED: i32 = 17;
/// Sessions that rest for that long are given up by the server before we do, where it is told to. Ours close after ten
/// minutes.
const IDLE_MIN_MS: i64 = 60_000;

pub(super) async fn check(url: &SecretUrl, connections: u32) -> Vec<Finding> {
    let mut inspector = match Inspector::connect(url.expose()).await {
        Ok(inspector) => inspector,
        Err(error) => return vec![unreachable(url, &error)],
    };
    let mut findings = vec![Finding::ok("connection", format!("{url} answers and takes writes"))];
    if let Err(error) = ask(&mut inspector, connections, &mut findings).await {
        let remedy = "see the database's log, and whether it is overloaded";
        findings.push(Finding::failed("answers", text(&error), remedy));
    }
    inspector.close().await;
    findings
}

/// Asks one thing after the other, until the database does not answer.
async fn ask(
    inspector: &mut Inspector,
    connections: u32,
    findings: &mut Vec<Finding>,
) -> Result<(), StoreError> {
    // First: over sessions that are shared, nothing else may be asked.
    match inspector.check_sessions().await {
        Ok(()) => {
            findings.push(Finding::ok("sessions", "no pooler hands them to others in between"));
        }
        Err(StoreError::Setup(what)) => {
            let (what, remedy) = what.split_once(": ").unwrap_or((&what, "go past the pooler"));
            findings.push(Finding::failed("sessions", what, remedy));
            findings.push(Finding::skipped("schema", "not asked over such sessions", None));
            return Ok(());
        }
        // No second one beside the first, most often.
        Err(error) => {
            findings.push(Finding::failed("sessions", text(&error), "leave room for connections"));
        }
    }
    let server = inspector.server().await?;
    findings.extend(judge(&server));
    let before = Utc::now();
    let shown = inspector.clock().await?;
    findings.push(clock::check("the database's clock", shown, (before, Utc::now())));
    match inspector.check_schema().await {
        Ok(()) => findings.push(Finding::ok("schema", "it is this release's")),
        Err(StoreError::Schema(mismatch)) => {
            findings.push(Finding::failed("schema", mismatch.what(), mismatch.remedy()));
            return Ok(());
        }
        Err(error) => return Err(error),
    }
    let workers = inspector.workers().await?;
    findings.push(fleet(workers));
    findings.push(room(&server, workers, connections));
    Ok(())
}

fn unreachable(url: &SecretUrl, error: &StoreError) -> Finding {
    let text = text(error);
    let says = |word: &str| text.to_ascii_lowercase().contains(word);
    let remedy = if says("(28") {
        "correct user and password in DATABASE_URL (percent-encoded), or let the user in: pg_hba.conf"
    } else if says("(3d000)") {
        "create the database, or correct its name in DATABASE_URL"
    } else if says("(53300)") || says("too many") {
        "raise max_connections, or lower SKEIN_DATABASE_CONNECTIONS: every process has as many"
    } else if says("takes no writes") {
        "name the primary in DATABASE_URL: a standby will not do"
    } else if says("settings of the session") {
        "set pool_mode = session for this database in the pooler, or go past it"
    } else if says("lookup") || says("name or service") {
        "correct the host in DATABASE_URL"
    } else if says("refused") || says("no such file") {
        "start PostgreSQL, or correct host and port in DATABASE_URL (in a container, localhost is the container itself)"
    } else if says("certificate") || says("tls") {
        "name a file with the CA's certificate in SSL_CERT_FILE or as ?sslrootcert=, or see to ?sslmode="
    } else if says("answer") || says("timed out") {
        "see to network and firewall, and whether the database is overloaded"
    } else {
        "correct DATABASE_URL, or see the database's log"
    };
    Finding::failed("connection", format!("{url}: {text}"), remedy)
}

/// What an error of the store is about: its cause, if it has one.
fn text(error: &StoreError) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

fn judge(server: &Server) -> Vec<Finding> {
    let mut findings = vec![version(server)];
    if server.encoding != "UTF8" {
        findings.push(Finding::failed(
            "encoding",
            format!("text is kept as {}", server.encoding),
            "create the database with ENCODING 'UTF8'",
        ));
    }
    // Any other value of `synchronous_commit` waits for the disk of this server at least.
    let off = server.durability.iter().filter(|(_, value)| value == "off");
    let off: Vec<_> = off.map(|(name, _)| *name).collect();
    findings.push(if off.is_empty() {
        Finding::ok("durability", "what is confirmed is on the disk")
    } else {
        Finding::warning(
            "durability",
            format!(
                "{} is off: what was confirmed may be lost in a crash of the server",
                off.join(", ")
            ),
            "set it to on: a run that was accepted may be gone otherwise",
        )
    });
    let idle = server.idle_session_timeout_ms;
    if (1..IDLE_MIN_MS).contains(&idle) {
        findings.push(Finding::warning(
            "timeouts",
            format!("idle_session_timeout ends sessions after {idle} ms"),
            "set it to 0 for this user: each is dialled anew otherwise",
        ));
    }
    findings
}

fn version(server: &Server) -> Finding {
    const NAME: &str = "version";
    let what = format!("PostgreSQL {}", server.version);
    if server.version_number < VERSION_MIN {
        return Finding::failed(NAME, what, "upgrade it: 14 or later will do");
    }
    if server.version_number / 10_000 > VERSION_TESTED {
        let what = format!("{what} is newer than what this release was tested with");
        return Finding::warning(NAME, what, format!("14 to {VERSION_TESTED} have been"));
    }
    Finding::ok(NAME, what)
}

/// Whether all processes may have all of their connections at once.
fn room(server: &Server, workers: i64, connections: u32) -> Finding {
    const NAME: &str = "connections";
    // There is one API at least; how many, nobody knows.
    let processes = workers + 1;
    let wanted = processes * i64::from(connections) + i64::from(ANALYSIS_CONNECTIONS_MAX);
    let (used, most) = (server.connections, server.connections_max);
    let what = format!("{used} of {most} are in use; {processes} processes may want {wanted}");
    if wanted > most {
        let remedy = "raise max_connections, lower SKEIN_DATABASE_CONNECTIONS, or put a pooler in between (pool_mode = session)";
        return Finding::warning(NAME, what, remedy);
    }
    Finding::ok(NAME, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Outcome;

    fn well() -> Server {
        let on = || "on".to_owned();
        Server {
            version: "17.2".to_owned(),
            version_number: 170_002,
            encoding: "UTF8".to_owned(),
            durability: [("fsync", on()), ("full_page_writes", on()), ("synchronous_commit", on())],
            connections_max: 97,
            connections: 5,
            idle_session_timeout_ms: 0,
        }
    }

    fn trouble(server: &Server) -> Vec<(&'static str, Outcome)> {
        let findings = judge(server).into_iter().filter(|it| it.outcome != Outcome::Ok);
        findings.map(|it| (it.name, it.outcome)).collect()
    }

    #[test]
    fn settings_that_lose_what_was_confirmed_are_warned_of() {
        assert_eq!(trouble(&well()), []);
        for place in 0..3 {
            let mut server = well();
            server.durability[place].1 = "off".to_owned();
            assert_eq!(trouble(&server), [("durability", Outcome::Warning)], "{server:?}");
        }
        let mut standby = well();
        standby.durability[2].1 = "remote_apply".to_owned();
        assert_eq!(trouble(&standby), []);
    }

    #[test]
    fn versions_encodings_and_timeouts_are_judged() {
        let with = |change: fn(&mut Server)| {
            let mut server = well();
            change(&mut server);
            trouble(&server)
        };
        assert_eq!(with(|it| it.version_number = 130_018), [("version", Outcome::Failed)]);
        assert_eq!(with(|it| it.version_number = 180_000), [("version", Outcome::Warning)]);
        assert_eq!(
            with(|it| it.encoding = "SQL_ASCII".to_owned()),
            [("encoding", Outcome::Failed)]
        );
        assert_eq!(with(|it| it.idle_session_timeout_ms = 500), [("timeouts", Outcome::Warning)]);
    }

    #[test]
    fn every_process_is_to_have_its_connections() {
        assert_eq!(room(&well(), 3, 8).outcome, Outcome::Ok);
        let short = room(&well(), 12, 8);
        assert_eq!(short.outcome, Outcome::Warning);
        assert_eq!(short.what, "5 of 97 are in use; 13 processes may want 106");
    }

    #[test]
    fn what_keeps_us_out_has_a_remedy() {
        let url: SecretUrl = "postgres://me:s3cret@db:5432/skein".parse().unwrap();
        for (cause, part) in [
            ("password authentication failed for user \"me\" (28P01)", "percent-encoded"),
            ("database \"skein\" does not exist (3D000)", "create the database"),
            ("sorry, too many clients already (53300)", "max_connections"),
            ("the database takes no writes: it is a standby, or was demoted", "primary"),
            (
                "error communicating with database: Connection refused (os error 111)",
                "start PostgreSQL",
            ),
            ("failed to lookup address information", "correct the host"),
            ("the database does not answer", "firewall"),
        ] {
            let finding = unreachable(&url, &StoreError::Unavailable(cause.into()));
            assert!(finding.remedy.as_ref().unwrap().contains(part), "{finding:?}");
            assert!(!format!("{finding:?}").contains("s3cret"), "{finding:?}");
        }
    }
}

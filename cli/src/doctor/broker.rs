//! RabbitMQ: whether it is there, is a version that will do, lets us in, and lets us do what processes do.

use skein_shared::broker::DEFAULT_POOL;
use skein_shared::broker::rabbitmq::inspect::{Greeting, Inspector, Obstacle, Survey, Trial};
use skein_shared::config::{Amqp, BrokerArgs};

use super::{ANSWER_MAX, Finding};

/// The first version whose quorum queues have everything that we declare, as major and minor number.
const VERSION_MIN: (u32, u32) = (3, 10);
/// The last version that the topology was made for.
const VERSION_MAX: (u32, u32) = (4, 3);

/// What to do about one that does not answer in time.
const OVERLOADED: &str = "see whether the broker is overloaded: its log says";

pub(super) async fn check(args: &BrokerArgs) -> Vec<Finding> {
    let amqp = match args.amqp() {
        Ok(Some(amqp)) => amqp,
        Ok(None) => {
            let what = "AMQP_URL is not set: the queue is within the process";
            return vec![Finding::skipped("connection", what, None)];
        }
        Err(error) => return vec![Finding::failed("settings", error.to_string(), "correct it")],
    };
    let inspector = match Inspector::new(amqp, ANSWER_MAX) {
        Ok(inspector) => inspector,
        Err(error) => {
            let remedy = "write amqp://user:password@host:5672/vhost, with %2f for the host `/`";
            return vec![Finding::failed("settings", error.to_string(), remedy)];
        }
    };
    let mut findings = Vec::new();
    match inspector.greeting().await {
        Ok(greeting) => {
            findings.push(Finding::ok("connection", format!("{} answers", amqp.url)));
            findings.push(version(&greeting));
        }
        Err(obstacle) => {
            findings.push(unreachable(amqp, &obstacle));
            return findings;
        }
    }
    let session = match inspector.login().await {
        Ok(session) => session,
        Err(obstacle) => {
            findings.push(shut_out(&obstacle));
            return findings;
        }
    };
    findings.push(Finding::ok("login", "user, password and virtual host are accepted"));
    match session.survey(DEFAULT_POOL).await {
        Ok(survey) => findings.extend(judge(&survey, amqp.namespace)),
        Err(obstacle) => {
            findings.push(Finding::failed("answers", obstacle.to_string(), OVERLOADED));
        }
    }
    findings
}

fn unreachable(amqp: Amqp<'_>, obstacle: &Obstacle) -> Finding {
    let text = obstacle.to_string();
    let says = |word: &str| text.to_ascii_lowercase().contains(word);
    let is_tls = amqp.url.scheme() == "amqps";
    let remedy = if *obstacle == Obstacle::Foreign {
        "write the port for AMQP, 5672 or with amqps:// 5671; 15672 is that of the management page, 5552 of streams"
    } else if says("unknownissuer") {
        "nobody here trusts the issuer of its certificate: name a file with the CA's certificate in SSL_CERT_FILE"
    } else if says("certificate") {
        "write the name that its certificate is for, and see that it is not over"
    } else if says("corrupt message") || (is_tls && says("tls")) {
        "write amqp:// where no TLS is spoken"
    } else if says("lookup") || says("name or service") {
        "correct the host in AMQP_URL"
    } else if says("refused") {
        "start RabbitMQ, or correct host and port in AMQP_URL (in a container, localhost is the container itself)"
    } else if says("answer") || says("timed out") {
        "see to network and firewall, and whether the broker is overloaded; with TLS, write amqps:// and its port"
    } else {
        "correct AMQP_URL, or see the broker's log"
    };
    Finding::failed("connection", format!("{}: {text}", amqp.url), remedy)
}

fn version(greeting: &Greeting) -> Finding {
    const NAME: &str = "version";
    let what = format!("{} {}", greeting.product, greeting.version);
    let (min, max) = (dotted(VERSION_MIN), dotted(VERSION_MAX));
    match numbers(&greeting.version) {
        _ if greeting.product != "RabbitMQ" => Finding::warning(
            NAME,
            format!("{what} is no RabbitMQ"),
            format!("use RabbitMQ {min} to {max}: quorum queues and confirms of others differ"),
        ),
        None => Finding::warning(NAME, what, format!("RabbitMQ {min} to {max} will do")),
        Some(version) if version < VERSION_MIN => {
            Finding::failed(NAME, what, format!("upgrade it: {min} to {max} will do"))
        }
        Some(version) if version > VERSION_MAX => Finding::warning(
            NAME,
            format!("{what} is newer than what this release was made for"),
            format!("{min} to {max} will do; look for a newer release of Skein"),
        ),
        Some(_) => Finding::ok(NAME, what),
    }
}

fn dotted((major, minor): (u32, u32)) -> String {
    format!("{major}.{minor}")
}

/// Major and minor number.
fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}

/// Why there is no session although the broker is there.
fn shut_out(obstacle: &Obstacle) -> Finding {
    const NAME: &str = "login";
    let remedy = match obstacle {
        Obstacle::Refused { code: 403, .. } => {
            "correct user and password in AMQP_URL (percent-encoded); `guest` may log in from the broker's own machine only"
        }
        Obstacle::Refused { code: 530, .. } => {
            "correct the virtual host at the end of AMQP_URL (`/` is written %2f), or let the user in: rabbitmqctl set_permissions"
        }
        Obstacle::Late(_) => OVERLOADED,
        _ => "the broker's log says why; a wrong user or password may end like this",
    };
    Finding::failed(NAME, obstacle.to_string(), remedy)
}

fn judge(survey: &Survey, namespace: &str) -> Vec<Finding> {
    let mut findings = vec![topology(survey)];
    if let Trial::Granted = survey.declaring {
        let what = "everything may be declared, and is as this release declares it";
        findings.push(Finding::ok("configure", what));
    } else if let Trial::Refused(obstacle) = &survey.declaring {
        findings.push(not_declared(obstacle, namespace));
    }
    findings.extend(permitted(
        "write",
        "messages may be published",
        &survey.publishing,
        survey,
        namespace,
    ));
    findings.extend(permitted(
        "read",
        "messages may be taken",
        &survey.consuming,
        survey,
        namespace,
    ));
    if survey.is_blocked {
        findings.push(Finding::failed(
            "alarms",
            "the broker takes no messages: it is short of memory or disk",
            "rabbitmq-diagnostics alarms says which; give it more, or see what fills its queues",
        ));
    } else if survey.publishing == Trial::Granted {
        findings.push(Finding::ok("alarms", "it takes messages"));
    }
    findings.extend(backlog(survey));
    let dead = survey.dead.map_or(0, |dead| dead.messages);
    if dead > 0 {
        findings.push(Finding::warning(
            "dead letters",
            format!("{dead} messages in {namespace}.dead.v1"),
            "deploy/signoz/runbooks.md says how to find out why; a purge loses no run",
        ));
    }
    let remedy = format!(
        "see that none matches {namespace}. with message-ttl, expires, max-length or a dead-letter-exchange: rabbitmqctl list_policies -p VHOST"
    );
    findings.push(Finding::skipped("policies", "they cannot be seen over AMQP", Some(&remedy)));
    findings
}

fn topology(survey: &Survey) -> Finding {
    const NAME: &str = "topology";
    if survey.missing.is_empty() {
        return Finding::ok(NAME, "exchanges and queues are there");
    }
    Finding::warning(
        NAME,
        format!("not there: {}", survey.missing.join(", ")),
        "skein-api and skein-worker make them when they start; if they run, SKEIN_NAMESPACE or the virtual host differs",
    )
}

fn not_declared(obstacle: &Obstacle, namespace: &str) -> Finding {
    let remedy = match obstacle {
        Obstacle::Refused { code: 406, .. } => format!(
            "it was made with other arguments: delete it (that loses no run) and it is made anew, or use another SKEIN_NAMESPACE than {namespace}"
        ),
        _ => permissions(namespace),
    };
    Finding::failed("configure", obstacle.to_string(), remedy)
}

fn permitted(
    name: &'static str,
    granted: &str,
    trial: &Trial,
    survey: &Survey,
    namespace: &str,
) -> Option<Finding> {
    match trial {
        Trial::Granted => Some(Finding::ok(name, granted)),
        Trial::Untried => None,
        // The alarm says it.
        Trial::Refused(Obstacle::Late(_)) if survey.is_blocked => None,
        Trial::Refused(late @ Obstacle::Late(_)) => {
            Some(Finding::failed(name, late.to_string(), OVERLOADED))
        }
        Trial::Refused(obstacle) => {
            Some(Finding::failed(name, obstacle.to_string(), permissions(namespace)))
        }
    }
}

fn permissions(namespace: &str) -> String {
    let names = format!("^({}\\..*|amq\\.gen.*)$", namespace.replace('.', "\\."));
    format!("rabbitmqctl set_permissions -p VHOST USER '{names}' '{names}' '{names}'")
}

/// Whether anybody takes what waits.
fn backlog(survey: &Survey) -> Option<Finding> {
    const NAME: &str = "queue";
    let waiting = survey.waiting?;
    let what = format!("{} messages, {} consumers", waiting.messages, waiting.consumers);
    Some(if waiting.consumers == 0 {
        Finding::warning(NAME, what, "no worker takes messages: start skein-worker")
    } else {
        Finding::ok(NAME, what)
    })
}

#[cfg(test)]
mod tests {
    use skein_shared::broker::rabbitmq::inspect::Backlog;

    use super::*;
    use crate::doctor::Outcome;

    fn well() -> Survey {
        Survey {
            missing: Vec::new(),
            waiting: Some(Backlog { messages: 0, consumers: 2 }),
            dead: Some(Backlog { messages: 0, consumers: 0 }),
            declaring: Trial::Granted,
            publishing: Trial::Granted,
            consuming: Trial::Granted,
            is_blocked: false,
        }
    }

    fn refused(code: u16, text: &str) -> Trial {
        Trial::Refused(Obstacle::Refused { code, text: text.to_owned() })
    }

    /// The only finding that is not well, besides what cannot be seen.
    fn trouble(survey: &Survey) -> Finding {
        let findings = judge(survey, "skein");
        let of = |it: &Finding| matches!(it.outcome, Outcome::Failed | Outcome::Warning);
        let mut found: Vec<_> = findings.into_iter().filter(of).collect();
        assert_eq!(found.len(), 1, "{found:#?}");
        found.remove(0)
    }

    #[test]
    fn versions_are_judged_by_their_numbers() {
        for (version_text, outcome) in [
            ("3.9.29", Outcome::Failed),
            ("3.10.8", Outcome::Ok),
            ("3.13.7", Outcome::Ok),
            ("4.3.0", Outcome::Ok),
            ("4.4.0-rc.1", Outcome::Warning),
            ("10.0", Outcome::Warning),
            ("", Outcome::Warning),
        ] {
            let (product, text) = ("RabbitMQ".to_owned(), version_text.to_owned());
            let finding = version(&Greeting { product, version: text });
            assert_eq!(finding.outcome, outcome, "{version_text}");
        }
        let other = Greeting { product: "Other".to_owned(), version: "3.13.0".to_owned() };
        assert_eq!(version(&other).outcome, Outcome::Warning);
    }

    #[test]
    fn what_is_well_is_ok_and_policies_are_left_to_the_operator() {
        let findings = judge(&well(), "skein");
        let (ok, rest): (Vec<_>, Vec<_>) =
            findings.iter().partition(|it| it.outcome == Outcome::Ok);
        let names: Vec<_> = ok.iter().map(|it| it.name).collect();
        assert_eq!(names, ["topology", "configure", "write", "read", "alarms", "queue"]);
        assert_eq!(rest.len(), 1);
        assert!(rest[0].remedy.as_ref().unwrap().contains("list_policies"));
    }

    #[test]
    fn each_trouble_is_told_once_with_what_to_do() {
        let blocked = Trial::Refused(Obstacle::Late(ANSWER_MAX));
        for (survey, name, part) in [
            (Survey { declaring: refused(403, "no"), ..well() }, "configure", "^(skein\\..*"),
            (Survey { declaring: refused(406, "no"), ..well() }, "configure", "other arguments"),
            (Survey { publishing: refused(403, "no"), ..well() }, "write", "set_permissions"),
            (Survey { consuming: refused(403, "no"), ..well() }, "read", "set_permissions"),
            (Survey { publishing: blocked, is_blocked: true, ..well() }, "alarms", "alarms"),
            (
                Survey { dead: Some(Backlog { messages: 3, consumers: 0 }), ..well() },
                "dead letters",
                "runbooks.md",
            ),
            (
                Survey { waiting: Some(Backlog { messages: 9, consumers: 0 }), ..well() },
                "queue",
                "start skein-worker",
            ),
        ] {
            let found = trouble(&survey);
            assert_eq!(found.name, name);
            assert!(found.remedy.as_ref().unwrap().contains(part), "{found:?}");
        }
    }

    #[test]
    fn a_new_installation_is_told_that_nothing_is_there_yet() {
        let survey = Survey {
            missing: vec!["skein.work.v1".to_owned(), "skein.dead.v1".to_owned()],
            waiting: None,
            dead: None,
            declaring: Trial::Untried,
            publishing: Trial::Untried,
            consuming: Trial::Untried,
            is_blocked: false,
        };
        let found = trouble(&survey);
        assert_eq!((found.name, found.outcome), ("topology", Outcome::Warning));
        assert_eq!(found.what, "not there: skein.work.v1, skein.dead.v1");
    }
}

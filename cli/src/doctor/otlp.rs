//! Where telemetry goes: one span, one log record and one point of a metric are sent there.

use chrono::{DateTime, Utc};
use reqwest::Url;
use skein_shared::config::TraceUrlTemplate;
use skein_shared::domain::trace::TraceId;
use skein_shared::telemetry::probe::{Answer, Probe, Prober};
use skein_shared::telemetry::{Sampling, TelemetryConfig, TelemetryError, remedy};

use super::{ANSWER_MAX, Finding, Settings, clock};

/// What the telemetry of this command says of its source, unless the environment gives another name.
const SERVICE: &str = "skein-doctor";
/// What nobody knows a better remedy for.
const LOOK: &str = "see the collector's log";

/// What came of sending one signal.
struct Sent {
    signal: &'static str,
    probe: Probe,
}

pub(super) async fn check(
    settings: &Settings,
    trace_url: Option<&TraceUrlTemplate>,
) -> Vec<Finding> {
    let config = match TelemetryConfig::from_env() {
        Ok(config) => config,
        Err(error) => {
            return vec![Finding::failed(
                "settings",
                chain(&error),
                "no program starts with it: correct it",
            )];
        }
    };
    let export = config.export;
    if !export.traces && !export.metrics && !export.logs {
        return vec![off(settings)];
    }
    let mut findings: Vec<_> = left_out(&config).into_iter().collect();
    let prober = match Prober::new(SERVICE, &config, ANSWER_MAX) {
        Ok(prober) => prober,
        Err(cause) => {
            let remedy = remedy("", None, &cause).unwrap_or_else(|| LOOK.to_owned());
            findings.push(Finding::failed("connection", cause, remedy));
            return findings;
        }
    };
    let before = Utc::now();
    let (traces, metrics, logs) = tokio::join!(
        sent("traces", export.traces, prober.traces()),
        sent("metrics", export.metrics, prober.metrics()),
        sent("logs", export.logs, prober.logs()),
    );
    let after = Utc::now();
    let mut all = Vec::new();
    for sent in [traces, metrics, logs].into_iter().flatten() {
        match sent {
            Ok(sent) => all.push(sent),
            Err(error) => {
                let remedy = "write http://HOST:4318 or https://HOST, with the path for one signal's own variable";
                findings.push(Finding::failed("settings", chain(&error), remedy));
            }
        }
    }
    findings.extend(judge(&all, prober.trace(), settings, trace_url));
    let mut dates = all.iter().filter_map(|sent| sent.probe.answer.as_ref().ok()?.date.as_deref());
    if let Some(shown) = dates.find_map(|date| DateTime::parse_from_rfc2822(date).ok()) {
        findings.push(clock::check("the collector's clock", shown.to_utc(), (before, after)));
    }
    findings
}

async fn sent(
    signal: &'static str,
    is_exported: bool,
    probing: impl Future<Output = Result<Probe, TelemetryError>>,
) -> Option<Result<Sent, TelemetryError>> {
    if !is_exported {
        return None;
    }
    Some(probing.await.map(|probe| Sent { signal, probe }))
}

fn off(settings: &Settings) -> Finding {
    let switches = ["OTEL_ENABLED", "OTEL_SDK_DISABLED"];
    let switch = switches.into_iter().find_map(|name| Some((name, settings.get(name)?)));
    match switch {
        Some((name, value)) => {
            Finding::skipped("export", format!("telemetry is off: {name} is {value}"), None)
        }
        None => Finding::skipped(
            "export",
            "telemetry is off: no endpoint is set",
            Some("set OTEL_EXPORTER_OTLP_ENDPOINT to have traces, metrics and logs"),
        ),
    }
}

/// What is not exported although telemetry is on.
fn left_out(config: &TelemetryConfig) -> Option<Finding> {
    const NAME: &str = "export";
    let export = config.export;
    let signals = [("traces", export.traces), ("metrics", export.metrics), ("logs", export.logs)];
    let off: Vec<_> = signals.into_iter().filter(|(_, on)| !on).map(|(name, _)| name).collect();
    if !off.is_empty() {
        let what = format!("{} stay here", off.join(" and "));
        let remedy = "set OTEL_EXPORTER_OTLP_ENDPOINT for all three, and no exporter to none";
        return Some(Finding::warning(NAME, what, remedy));
    }
    match config.sampling {
        Sampling::Never => Some(Finding::warning(
            NAME,
            "no new trace is sampled",
            "set OTEL_TRACES_SAMPLER to parentbased_always_on",
        )),
        Sampling::Ratio(ratio) => {
            let what = format!(
                "{:.1} % of new traces are sampled; counts of spans are of those",
                ratio * 100.0
            );
            Some(Finding::ok(NAME, what))
        }
        Sampling::Always => None,
    }
}

/// One cause is one failure: what every signal met at one address is told of that address.
fn judge(
    all: &[Sent],
    trace: TraceId,
    settings: &Settings,
    trace_url: Option<&TraceUrlTemplate>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for address in addresses(all) {
        let here: Vec<_> = all.iter().filter(|sent| origin(&sent.probe.url) == address).collect();
        let answers: Vec<_> =
            here.iter().filter_map(|sent| sent.probe.answer.as_ref().ok()).collect();
        if let (true, Some(Sent { probe: Probe { url, answer: Err(cause) }, .. })) =
            (answers.is_empty(), here.first())
        {
            let remedy = remedy(url, None, cause).unwrap_or_else(|| LOOK.to_owned());
            findings.push(Finding::failed("connection", format!("{address}: {cause}"), remedy));
            findings.extend(here.iter().map(|sent| not_sent(sent, "no connection")));
            continue;
        }
        findings.push(Finding::ok(
            "connection",
            format!("{address} answers{}", by(&address, settings)),
        ));
        if answers.len() == here.len() && answers.iter().all(|answer| is_of_key(answer)) {
            let status = answers[0].status;
            let what = format!("{address} refuses it with HTTP {status}");
            let remedy = remedy(&here[0].probe.url, Some(status), "").unwrap_or_default();
            findings.push(Finding::failed("key", what, remedy));
            findings.extend(here.iter().map(|sent| not_sent(sent, "no key")));
            continue;
        }
        if !answers.iter().any(|answer| is_of_key(answer)) {
            findings.push(Finding::ok("key", "what is sent of one is accepted"));
        }
        findings.extend(here.iter().map(|sent| delivered(sent, trace, trace_url)));
    }
    findings
}

fn is_of_key(answer: &Answer) -> bool {
    matches!(answer.status, 401 | 403)
}

fn not_sent(sent: &Sent, why: &str) -> Finding {
    Finding::skipped(sent.signal, format!("not delivered: {why}"), None)
}

fn delivered(sent: &Sent, trace: TraceId, trace_url: Option<&TraceUrlTemplate>) -> Finding {
    let Sent { signal, probe: Probe { url, answer } } = sent;
    let failed = |what: String, status: Option<u16>, cause: &str| {
        let remedy = remedy(url, status, cause).unwrap_or_else(|| LOOK.to_owned());
        Finding::failed(signal, what, remedy)
    };
    match answer {
        Err(cause) => failed(format!("{url}: {cause}"), None, cause),
        Ok(Answer { status, .. }) if !(200..300).contains(status) => {
            failed(format!("{url} answers HTTP {status}"), Some(*status), "")
        }
        Ok(Answer { rejected: Some(said), .. }) => {
            Finding::warning(signal, format!("{url} takes a part only: {said}"), LOOK)
        }
        Ok(_) if *signal == "traces" => {
            let link = trace_url.map(|template| template.link(trace));
            let link = link.map_or_else(String::new, |link| format!(" {link}"));
            Finding::ok(signal, format!("a test span is delivered: trace {trace}{link}"))
        }
        Ok(_) => Finding::ok(signal, format!("delivered to {url}")),
    }
}

/// The addresses that something was sent to, each once.
fn addresses(all: &[Sent]) -> Vec<String> {
    let mut addresses: Vec<String> = Vec::new();
    for sent in all {
        let address = origin(&sent.probe.url);
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

/// Scheme, host and port.
fn origin(url: &str) -> String {
    match Url::parse(url) {
        Ok(url) => url.origin().ascii_serialization(),
        Err(_) => url.to_owned(),
    }
}

/// Whose word is taken for who the collector is.
fn by(address: &str, settings: &Settings) -> String {
    if !address.starts_with("https:") {
        return String::new();
    }
    let own = ["SSL_CERT_FILE", "SSL_CERT_DIR"];
    match own.into_iter().find_map(|name| Some((name, settings.get(name)?))) {
        Some((name, value)) => format!(", by TLS; {name} ({value}) says whom to trust"),
        None => ", by TLS; the system says whom to trust".to_owned(),
    }
}

/// An error and what it was caused by.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use skein_shared::config::TraceUrlArgs;

    use super::*;
    use crate::doctor::Outcome;

    const TRACE: TraceId = TraceId([7; 16]);

    fn sent(signal: &'static str, url: &str, answer: Result<u16, &str>) -> Sent {
        let answer = match answer {
            Ok(status) => Ok(Answer { status, date: None, rejected: None }),
            Err(cause) => Err(cause.to_owned()),
        };
        Sent { signal, probe: Probe { url: url.to_owned(), answer } }
    }

    /// What came of sending all three to one address.
    fn judged(answers: [Result<u16, &str>; 3]) -> Vec<Finding> {
        let [traces, metrics, logs] = answers;
        let all = [
            sent("traces", "http://c:4318/v1/traces", traces),
            sent("metrics", "http://c:4318/v1/metrics", metrics),
            sent("logs", "http://c:4318/v1/logs", logs),
        ];
        judge(&all, TRACE, &Settings::default(), None)
    }

    fn names(findings: &[Finding], outcome: Outcome) -> Vec<&'static str> {
        let those = findings.iter().filter(|finding| finding.outcome == outcome);
        those.map(|finding| finding.name).collect()
    }

    #[test]
    fn a_collector_that_is_well_gets_all_three() {
        let findings = judged([Ok(200), Ok(202), Ok(200)]);
        let all = ["connection", "key", "traces", "metrics", "logs"];
        assert_eq!(names(&findings, Outcome::Ok), all);
        assert!(findings[2].what.contains(&TRACE.to_string()), "{findings:?}");
    }

    #[test]
    fn one_cause_is_one_failure() {
        for (answers, name, part) in [
            ([Err("Connection refused"); 3], "connection", "nobody listens at c:4318"),
            ([Ok(401); 3], "key", "OTEL_EXPORTER_OTLP_HEADERS"),
            ([Ok(200), Ok(404), Ok(200)], "metrics", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"),
            ([Ok(200), Ok(200), Err("operation timed out")], "logs", "does not answer"),
            ([Ok(403), Ok(200), Ok(200)], "traces", "signoz-ingestion-key"),
        ] {
            let findings = judged(answers);
            assert_eq!(names(&findings, Outcome::Failed), [name], "{findings:#?}");
            let failed = findings.iter().find(|it| it.outcome == Outcome::Failed).unwrap();
            assert!(failed.remedy.as_ref().unwrap().contains(part), "{failed:?}");
        }
    }

    #[test]
    fn addresses_are_judged_apart() {
        let all = [
            sent("traces", "http://a:1/v1/traces", Ok(200)),
            sent("logs", "https://b/x/v1/logs", Err("invalid peer certificate: UnknownIssuer")),
            sent("metrics", "http://a:1/v1/metrics", Ok(200)),
        ];
        assert_eq!(addresses(&all).len(), 2);
        let url = "https://s/trace/{trace_id}".parse().unwrap();
        let url = TraceUrlArgs { trace_url_template: Some(url) }.template().unwrap();
        let findings = judge(&all, TRACE, &Settings::default(), url.as_ref());
        assert_eq!(names(&findings, Outcome::Failed), ["connection"]);
        assert_eq!(names(&findings, Outcome::Skipped), ["logs"]);
        assert!(findings.iter().any(|it| it.what.ends_with(&format!("https://s/trace/{TRACE}"))));
    }
}

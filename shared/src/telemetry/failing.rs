//! Exports that fail, told once and with what to change. The SDK says of every export of metrics that it has failed, and
//! neither where to nor why.

use std::error::Error;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use url::Url;

use super::redact;
use super::remedy::remedy;
use super::tally::Signal;

/// While a collector does not take what it is sent, this is how often that is said.
const REPEAT: Duration = Duration::from_secs(60);

static COLLECTORS: Mutex<Collectors> = Mutex::new(Collectors::new());

/// Takes note of a request to a collector that has failed. Whether its export has, is known later: requests are repeated.
pub(super) fn request_failed(signal: Signal, failure: Failure) {
    lock().attempts[signal as usize] = Some(failure);
}

/// Takes note of an export that has ended, and logs what is new about it. Called on the thread that exports.
pub(super) fn export_ended(signal: Signal, result: &OTelSdkResult) {
    let news = {
        let mut collectors = lock();
        let attempt = collectors.attempts[signal as usize].take();
        match result {
            Ok(()) => collectors.took(signal, Instant::now()),
            // What is exported while the process ends comes too late, and nobody has refused it.
            Err(OTelSdkError::AlreadyShutdown) => None,
            Err(error) => {
                let failure = attempt.unwrap_or_else(|| Failure::unsent(error));
                collectors.failed(signal, failure, Instant::now())
            }
        }
    };
    if let Some(news) = news {
        news.log(signal);
    }
}

fn lock() -> std::sync::MutexGuard<'static, Collectors> {
    COLLECTORS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why an export failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// Where to, as it may be shown; `None` if nothing was sent.
    url: Option<String>,
    /// Host and port: who it was that did not take it.
    place: String,
    /// Of the answer, if there was one.
    status: Option<u16>,
    /// What is behind it.
    cause: String,
    /// What to change, if anybody can say.
    remedy: Option<String>,
}

impl Failure {
    /// The collector answered, and not that it had taken it.
    pub(super) fn answered(url: &str, status: u16) -> Self {
        Self {
            url: Some(shown(url)),
            place: place(url),
            status: Some(status),
            cause: format!("HTTP status {status}"),
            remedy: remedy(url, Some(status), ""),
        }
    }

    /// There was no answer.
    pub(super) fn unanswered(url: &str, error: &(dyn Error + 'static)) -> Self {
        let cause = cause(error);
        let remedy = remedy(url, None, &cause);
        Self { url: Some(shown(url)), place: place(url), status: None, cause, remedy }
    }

    /// It was not even sent.
    fn unsent(error: &OTelSdkError) -> Self {
        Self {
            url: None,
            place: String::new(),
            status: None,
            cause: redact::credentials(error.to_string()),
            remedy: None,
        }
    }

    /// Whether whoever was told of the other one knows of this.
    fn is_like(&self, other: &Self) -> bool {
        self.url.is_some()
            && (&self.place, self.status, &self.cause) == (&other.place, other.status, &other.cause)
    }
}

/// The text of an error by its causes. The outermost of a client says no more than that a request failed, and repeats
/// its URL.
pub(super) fn cause(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    let causes = causes.map(ToString::to_string).filter(|text| !text.starts_with("client error"));
    let text = causes.collect::<Vec<_>>().join(": ");
    redact::credentials(if text.is_empty() { error.to_string() } else { text })
}

/// A URL as it may be shown: without credentials and without what else may be one.
pub(super) fn shown(url: &str) -> String {
    let Ok(mut parsed) = Url::parse(url) else { return redact::url(url) };
    // Unlike that of a node's request, its query says nothing about what is at it.
    parsed.set_query(None);
    redact::url(parsed.as_str())
}

fn place(url: &str) -> String {
    Url::parse(url).map_or_else(
        |_| String::new(),
        |url| {
            let port = url.port_or_known_default().unwrap_or_default();
            format!("{}:{port}", url.host_str().unwrap_or_default())
        },
    )
}

/// What is new about a collector.
#[derive(Debug, PartialEq, Eq)]
enum News {
    /// It does not take what it is sent.
    Failing(Failure),
    /// Nor does it since then: after so many exports, for so long.
    StillFailing(Failure, u64, Duration),
    /// It does again, after so many exports that failed, for so long.
    Recovered(String, u64, Duration),
}

impl News {
    fn log(self, signal: Signal) {
        let signal = signal.as_str();
        let seconds = |duration: Duration| duration.as_secs();
        match self {
            Self::Failing(Failure { url, cause, remedy, .. }) => tracing::warn!(
                telemetry.signal = signal,
                url,
                cause,
                remedy,
                "the collector does not take telemetry: what is sent meanwhile is lost"
            ),
            Self::StillFailing(Failure { url, cause, remedy, .. }, exports, lasted) => {
                tracing::warn!(
                    telemetry.signal = signal,
                    url,
                    cause,
                    remedy,
                    failed_exports = exports,
                    for_s = seconds(lasted),
                    "the collector still does not take telemetry"
                );
            }
            Self::Recovered(url, exports, lasted) => tracing::info!(
                telemetry.signal = signal,
                url,
                failed_exports = exports,
                for_s = seconds(lasted),
                "the collector takes telemetry again"
            ),
        }
    }
}

/// What is known of the collectors of the signals, which may be one.
#[derive(Debug)]
struct Collectors {
    /// The last request that failed, of an export that is under way.
    attempts: [Option<Failure>; Signal::ALL.len()],
    outages: [Option<Outage>; Signal::ALL.len()],
    /// When it was last told that exports of a signal fail, whether they did well in between or not: one that fails now and
    /// then is no news each time.
    told: [Option<Instant>; Signal::ALL.len()],
}

/// Exports of a signal that fail.
#[derive(Debug)]
struct Outage {
    latest: Failure,
    exports: u64,
    since: Instant,
    /// When it was last told of. `None` while it is told of by that of another signal.
    told: Option<Instant>,
}

impl Collectors {
    const fn new() -> Self {
        Self {
            attempts: [const { None }; Signal::ALL.len()],
            outages: [const { None }; Signal::ALL.len()],
            told: [None; Signal::ALL.len()],
        }
    }

    fn failed(&mut self, signal: Signal, failure: Failure, now: Instant) -> Option<News> {
        // One collector that is down is one line, not one for each of what it is sent.
        let others = self.outages.iter().enumerate().filter(|(other, _)| *other != signal as usize);
        let is_known = others
            .filter_map(|(_, outage)| outage.as_ref().filter(|outage| outage.told.is_some()))
            .any(|told| told.latest.is_like(&failure));
        let told = &mut self.told[signal as usize];
        let is_recent = told.is_some_and(|told| now.duration_since(told) < REPEAT);
        let outage = self.outages[signal as usize].get_or_insert_with(|| Outage {
            latest: failure.clone(),
            exports: 0,
            since: now,
            told: None,
        });
        outage.exports += 1;
        outage.latest = failure;
        match outage.told {
            None if is_known || is_recent => None,
            None => {
                (*told, outage.told) = (Some(now), Some(now));
                Some(News::Failing(outage.latest.clone()))
            }
            Some(last) if now.duration_since(last) < REPEAT => None,
            Some(_) => {
                (*told, outage.told) = (Some(now), Some(now));
                let lasted = now.duration_since(outage.since);
                Some(News::StillFailing(outage.latest.clone(), outage.exports, lasted))
            }
        }
    }

    fn took(&mut self, signal: Signal, now: Instant) -> Option<News> {
        let outage = self.outages[signal as usize].take()?;
        outage.told?;
        let lasted = now.duration_since(outage.since);
        Some(News::Recovered(outage.latest.url.unwrap_or_default(), outage.exports, lasted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACES: &str = "http://ada:s3cret@collector:4318/v1/traces?token=s3cret";
    const LOGS: &str = "http://ada:s3cret@collector:4318/v1/logs";

    struct Played {
        collectors: Collectors,
        start: Instant,
    }

    impl Played {
        fn new() -> Self {
            Self { collectors: Collectors::new(), start: Instant::now() }
        }

        fn failed(&mut self, second: u64, signal: Signal, failure: &Failure) -> Option<News> {
            self.collectors.failed(signal, failure.clone(), self.at(second))
        }

        fn took(&mut self, second: u64, signal: Signal) -> Option<News> {
            self.collectors.took(signal, self.at(second))
        }

        fn at(&self, second: u64) -> Instant {
            self.start + Duration::from_secs(second)
        }
    }

    #[test]
    fn a_failure_is_told_at_once_then_once_a_minute_and_so_is_its_end() {
        let mut played = Played::new();
        let refused = Failure::answered(TRACES, 401);
        let traces = Signal::Traces;
        assert_eq!(played.took(0, traces), None);
        assert_eq!(played.failed(1, traces, &refused), Some(News::Failing(refused.clone())));
        for second in 2..61 {
            assert_eq!(played.failed(second, traces, &refused), None);
        }
        // Its cause may be another one by then.
        let missing = Failure::answered(TRACES, 404);
        let minute = Duration::from_secs(60);
        let told = played.failed(61, traces, &missing);
        assert_eq!(told, Some(News::StillFailing(missing.clone(), 61, minute)));
        assert_eq!(played.failed(120, traces, &missing), None);
        let url = "http://REDACTED@collector:4318/v1/traces".to_owned();
        let recovered = News::Recovered(url, 62, Duration::from_secs(121));
        assert_eq!(played.took(122, traces), Some(recovered));
        assert_eq!(played.took(123, traces), None);
        assert_eq!(played.failed(124, traces, &missing), Some(News::Failing(missing)));
    }

    #[test]
    fn one_collector_that_takes_nothing_is_told_of_once_whatever_it_is_sent() {
        let mut played = Played::new();
        let [traces, logs] = [TRACES, LOGS].map(|url| Failure::answered(url, 401));
        assert!(played.failed(0, Signal::Traces, &traces).is_some());
        assert_eq!(played.failed(1, Signal::Logs, &logs), None);
        // It takes one of them again: about the other one nobody knows yet.
        assert!(played.took(2, Signal::Traces).is_some());
        assert_eq!(played.failed(3, Signal::Logs, &logs), Some(News::Failing(logs.clone())));
        // Another cause, or another collector, is news.
        let other = Failure::answered(TRACES, 503);
        assert!(played.failed(64, Signal::Traces, &other).is_some());
        let elsewhere = Failure::answered("http://elsewhere:4318/v1/metrics", 401);
        assert!(played.failed(65, Signal::Metrics, &elsewhere).is_some());
    }

    #[test]
    fn exports_that_fail_now_and_then_are_told_of_once_a_minute() {
        let mut played = Played::new();
        let busy = Failure::answered(TRACES, 429);
        let mut lines = 0;
        for second in 0..180 {
            lines += u32::from(played.failed(second, Signal::Traces, &busy).is_some());
            lines += u32::from(played.took(second, Signal::Traces).is_some());
        }
        assert_eq!(lines, 6, "a failure and its end, a minute");
    }

    #[test]
    fn an_outage_that_nobody_was_told_of_ends_in_silence() {
        let mut played = Played::new();
        let [traces, logs] = [TRACES, LOGS].map(|url| Failure::answered(url, 401));
        assert!(played.failed(0, Signal::Traces, &traces).is_some());
        assert_eq!(played.failed(1, Signal::Logs, &logs), None);
        assert_eq!(played.took(2, Signal::Logs), None);
    }

    #[test]
    fn the_cause_is_what_is_behind_it_and_no_secret_is_shown() {
        #[derive(Debug, thiserror::Error)]
        #[error("error sending request for url (http://ada:s3cret@collector:4318/v1/traces)")]
        struct Outer(#[source] std::io::Error);
        let inner = std::io::Error::other("Connection refused (os error 111)");
        let failure = Failure::unanswered(TRACES, &Outer(inner));
        assert_eq!(failure.cause, "Connection refused (os error 111)");
        assert_eq!(failure.url.as_deref(), Some("http://REDACTED@collector:4318/v1/traces"));
        let remedy = failure.remedy.clone().expect("it is known");
        assert!(remedy.contains("nobody listens at collector:4318"), "{remedy}");
        let unsent = Failure::unsent(&OTelSdkError::InternalFailure("to http://a:b@c".to_owned()));
        for failure in [failure, unsent, Failure::answered(TRACES, 403)] {
            assert!(!format!("{failure:?}").contains("s3cret"), "{failure:?}");
            assert!(!format!("{failure:?}").contains("a:b@"), "{failure:?}");
        }
    }

    #[test]
    fn a_cause_is_told_without_the_url() {
        #[derive(Debug, thiserror::Error)]
        #[error("{0}")]
        struct Failed(&'static str, #[source] Option<Box<Self>>);
        let refused = Box::new(Failed("Connection refused (os error 111)", None));
        let dialed = Box::new(Failed("client error (Connect)", Some(refused)));
        let sent = Failed("error sending request for url (http://me:s3cret@x/)", Some(dialed));
        assert_eq!(cause(&sent), "Connection refused (os error 111)");
        let alone = Failed("no way to http://me:s3cret@x/", None);
        assert_eq!(cause(&alone), "no way to http://REDACTED@x/");
    }
}

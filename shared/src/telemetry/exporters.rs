//! What the environment says about exporters. That of metrics reads it by itself, and passes over what it cannot read; here
//! it is read before, so that what will not happen is said at the start.

use std::fmt;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use reqwest::header::{HeaderName, HeaderValue};
use url::Url;

use super::tally::Signal;
use super::{TelemetryError, failing};

/// Where variables come from.
pub(super) type Lookup<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// Where exporters send to unless told otherwise.
const ENDPOINT_DEFAULT: &str = "http://localhost:4318";
/// Milliseconds that an export may take, repetitions included: the specification's default.
const TIMEOUT_MS_DEFAULT: u64 = 10_000;
/// Milliseconds that an operator may let it take. What is queued meanwhile is lost.
const TIMEOUT_MS_MAX: u64 = 600_000;

/// Where a signal goes.
#[derive(Clone, PartialEq, Eq)]
pub struct Destination {
    /// What goes there.
    pub signal: Signal,
    /// The URL that it is posted to, as it may be shown: without credentials and query.
    pub url: String,
    /// How long a request may take.
    pub timeout: Duration,
    /// The whole URL.
    endpoint: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    is_compressed: bool,
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { signal, url, timeout, is_compressed, .. } = self;
        let mut shown = f.debug_struct("Destination");
        shown.field("signal", signal).field("url", url).field("timeout", timeout);
        shown.field("is_compressed", is_compressed).finish_non_exhaustive()
    }
}

impl Destination {
    /// Reads where a signal goes.
    ///
    /// # Errors
    /// When its timeout is none, or its headers cannot be read.
    pub(super) fn of(signal: Signal, var: &Lookup<'_>) -> Result<Self, TelemetryError> {
        let own = format!("OTEL_EXPORTER_OTLP_{}", signal.as_str().to_ascii_uppercase());
        let url = var(&format!("{own}_ENDPOINT")).unwrap_or_else(|| {
            let base = var("OTEL_EXPORTER_OTLP_ENDPOINT");
            let base = base.unwrap_or_else(|| ENDPOINT_DEFAULT.to_owned());
            format!("{}/v1/{signal}", base.strip_suffix('/').unwrap_or(&base))
        });
        let mut timeout = TIMEOUT_MS_DEFAULT;
        for name in [format!("{own}_TIMEOUT"), "OTEL_EXPORTER_OTLP_TIMEOUT".to_owned()] {
            if let Some(value) = var(&name) {
                let number = value.parse().ok().filter(|ms| (1..=TIMEOUT_MS_MAX).contains(ms));
                let invalid =
                    || TelemetryError::invalid(&name, &value, "milliseconds from 1 to 600000");
                timeout = number.ok_or_else(invalid)?;
                break;
            }
        }
        let first = |what: &str| {
            let names = [format!("{own}_{what}"), format!("OTEL_EXPORTER_OTLP_{what}")];
            names.into_iter().find_map(|name| var(&name).map(|value| (name, value)))
        };
        let headers = first("HEADERS").map(|(name, list)| headers(&name, &list)).transpose()?;
        Ok(Self {
            signal,
            url: failing::shown(&url),
            timeout: Duration::from_millis(timeout),
            endpoint: url,
            headers: headers.unwrap_or_default(),
            is_compressed: first("COMPRESSION").is_some_and(|(_, value)| value == "gzip"),
        })
    }

    /// The same place, with headers of its own: none.
    pub(super) fn without_headers(self) -> Self {
        Self { headers: Vec::new(), ..self }
    }

    /// The whole URL, with what is secret in it.
    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The headers that an operator has given, their values marked as secret.
    pub(super) fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.headers
    }

    /// Whether bodies are compressed, by gzip.
    pub(super) fn is_compressed(&self) -> bool {
        self.is_compressed
    }

    /// What about it can hardly be meant.
    pub(super) fn doubt(&self) -> Option<String> {
        let path_is_missing = Url::parse(&self.url).is_ok_and(|url| url.path() == "/");
        path_is_missing.then(|| {
            let name = self.signal.as_str().to_ascii_uppercase();
            format!(
                "OTEL_EXPORTER_OTLP_{name}_ENDPOINT is taken as it stands and has no path: it usually ends with /v1/{}",
                self.signal
            )
        })
    }
}

/// Refuses lists of headers that an exporter would read a part of. What they hold may be keys, and is not shown.
pub(super) fn check_headers(name: &str, list: &str) -> Result<(), TelemetryError> {
    headers(name, list).map(drop)
}

fn headers(name: &str, list: &str) -> Result<Vec<(HeaderName, HeaderValue)>, TelemetryError> {
    pairs(name, list, |key, value| {
        let name = HeaderName::from_bytes(key.as_bytes());
        let name = name.map_err(|_| "has a name that is none of a header")?;
        if value.is_empty() {
            return Err("has no value");
        }
        let value = HeaderValue::from_str(&value);
        let mut value = value.map_err(|_| "has a value that cannot be one of a header")?;
        value.set_sensitive(true);
        Ok((name, value))
    })
}

/// Reads a list of attributes of the resource.
pub(super) fn attributes(name: &str, list: &str) -> Result<Vec<(String, String)>, TelemetryError> {
    pairs(name, list, |key, value| match key.is_empty() {
        true => Err("has no name"),
        false => Ok((key.to_owned(), value)),
    })
}

/// Reads `name=value,name=value`, values percent-encoded, as the W3C's baggage writes it.
fn pairs<T>(
    name: &str,
    list: &str,
    read: impl Fn(&str, String) -> Result<T, &'static str>,
) -> Result<Vec<T>, TelemetryError> {
    let pair = |(number, pair): (usize, &str)| {
        let read = || {
            let (key, value) = pair.split_once('=').ok_or("has no \"=\"")?;
            read(key.trim(), decoded(value.trim())?)
        };
        read().map_err(|problem| TelemetryError::Malformed {
            name: name.to_owned(),
            problem: format!(
                "entry {number} {problem}; expected name=value,name=value with values percent-encoded"
            ),
        })
    };
    (1..).zip(list.split_terminator(',')).map(pair).collect()
}

fn decoded(value: &str) -> Result<String, &'static str> {
    let follows = |part: &str| {
        let digits = part.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if !value.split('%').skip(1).all(follows) {
        return Err("has a \"%\" without two hexadecimal digits behind it (a percent sign is %25)");
    }
    let decoded = percent_decode_str(value).decode_utf8();
    decoded.map(Into::into).map_err(|_| "is not UTF-8 once it is decoded")
}

/// Refuses formats of trace contexts that are neither read nor written. The W3C's is, whatever the list says: messages
/// between the processes of one run carry it.
pub(super) fn check_propagators(var: &Lookup<'_>) -> Result<(), TelemetryError> {
    const NAME: &str = "OTEL_PROPAGATORS";
    let Some(list) = var(NAME) else { return Ok(()) };
    let is_known = |word: &str| ["tracecontext", "baggage", "none", ""].contains(&word.trim());
    if list.split(',').all(is_known) {
        return Ok(());
    }
    Err(TelemetryError::invalid(NAME, &list, "tracecontext: no other format is supported"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(signal: Signal, vars: &[(&str, &str)]) -> Result<Destination, TelemetryError> {
        Destination::of(signal, &|name| {
            vars.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn a_signal_goes_where_its_own_variable_says_or_below_the_common_one() {
        const BASE: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
        const TRACES: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
        let cases: &[(&[(&str, &str)], &str)] = &[
            (&[], "http://localhost:4318/v1/traces"),
            (&[(BASE, "http://c:4318")], "http://c:4318/v1/traces"),
            (&[(BASE, "https://c/otlp/")], "https://c/otlp/v1/traces"),
            (&[(BASE, "http://c:4318"), (TRACES, "http://t/x")], "http://t/x"),
            (&[(TRACES, "https://a:b@t/x?key=1")], "https://REDACTED@t/x"),
        ];
        for (vars, url) in cases {
            let destination = of(Signal::Traces, vars).unwrap();
            assert_eq!((destination.url.as_str(), destination.doubt()), (*url, None));
        }
        let bare = of(Signal::Traces, &[(TRACES, "http://c:4318")]).unwrap().doubt().unwrap();
        assert!(bare.contains("/v1/traces"), "{bare}");
    }

    #[test]
    fn a_timeout_is_a_number_of_milliseconds() {
        let timeout =
            |vars: &[(&str, &str)]| of(Signal::Logs, vars).map(|it| it.timeout.as_millis());
        let (general, own) = ("OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT");
        assert_eq!(timeout(&[]).unwrap(), 10_000);
        assert_eq!(timeout(&[(general, "2000")]).unwrap(), 2_000);
        assert_eq!(timeout(&[(general, "2000"), (own, "30")]).unwrap(), 30);
        for wrong in ["10s", "0", "600001", "-1"] {
            let error = timeout(&[(own, wrong)]).unwrap_err().to_string();
            assert!(error.contains(own) && error.contains("milliseconds"), "{error}");
        }
    }

    #[test]
    fn headers_and_compression_are_those_of_the_signal_or_the_common_ones() {
        let headers = |vars: &[(&str, &str)]| {
            let destination = of(Signal::Logs, vars).unwrap();
            let pairs = destination.headers().iter();
            let text = |(name, value): &(HeaderName, HeaderValue)| {
                format!("{name}={}", value.to_str().unwrap())
            };
            assert!(!format!("{destination:?}").contains("s3cret"), "{destination:?}");
            pairs.map(text).collect::<Vec<_>>().join(",")
        };
        let common = ("OTEL_EXPORTER_OTLP_HEADERS", "Key=s3cret%20one,other=2");
        let own = ("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "key=s3cret3");
        assert_eq!(headers(&[]), "");
        assert_eq!(headers(&[common]), "key=s3cret one,other=2");
        assert_eq!(headers(&[common, own]), "key=s3cret3");
        assert!(of(Signal::Logs, &[("OTEL_EXPORTER_OTLP_HEADERS", "s3cret")]).is_err());
        let gzip = |vars: &[(&str, &str)]| of(Signal::Logs, vars).unwrap().is_compressed();
        let common = ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip");
        let own = ("OTEL_EXPORTER_OTLP_LOGS_COMPRESSION", "none");
        assert_eq!([gzip(&[]), gzip(&[common]), gzip(&[common, own])], [false, true, false]);
    }

    #[test]
    fn a_list_of_headers_is_read_whole_or_refused_without_being_shown() {
        for list in ["signoz-ingestion-key=s3cret", "a=1, b=x%20y ,", "a=b=c", ""] {
            assert!(check_headers("X", list).is_ok(), "{list}");
        }
        for (list, problem) in [
            ("s3cret", "entry 1 has no \"=\""),
            ("a=1,s3cret", "entry 2 has no \"=\""),
            ("s3 cret=1", "a name that is none"),
            ("=s3cret", "a name that is none"),
            ("a=", "no value"),
            ("a=s3cret%2", "%25"),
            ("a=s3cret%ff", "UTF-8"),
            ("a=s3cret%0a", "cannot be one of a header"),
        ] {
            let error = check_headers("OTEL_EXPORTER_OTLP_HEADERS", list).unwrap_err().to_string();
            assert!(error.contains(problem), "{list}: {error}");
            assert!(error.contains("OTEL_EXPORTER_OTLP_HEADERS"), "{error}");
            assert!(!error.contains("s3"), "{error}");
        }
    }

    #[test]
    fn attributes_of_the_resource_are_decoded() {
        let read = attributes("X", "team=a%2Cb, site=K%C3%B6ln,empty=").unwrap();
        let expected = [("team", "a,b"), ("site", "Köln"), ("empty", "")];
        assert_eq!(read, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
        assert!(attributes("X", "team").unwrap_err().to_string().contains("entry 1"));
    }

    #[test]
    fn only_the_context_of_the_w3c_is_carried() {
        let check = |list: &str| check_propagators(&|_| Some(list.to_owned()));
        for list in ["tracecontext", "tracecontext,baggage", "none"] {
            assert!(check(list).is_ok(), "{list}");
        }
        for list in ["b3", "tracecontext,b3multi", "jaeger"] {
            assert!(check(list).unwrap_err().to_string().contains("tracecontext"), "{list}");
        }
    }
}

//! Where spans are sent, and with what headers.

use percent_encoding::percent_decode_str;
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use skein_shared::config::SecretUrl;

use crate::http::base_url;
use crate::usage::UsageError;

/// Where a collector takes spans, below its address.
const PATH: [&str; 2] = ["v1", "traces"];

/// What is said of it: by flags, which win, and by the variables that exporters go by.
#[derive(Debug, Clone, Copy, Default)]
pub struct Given<'a> {
    /// `--to`: the collector's address.
    pub to: Option<&'a SecretUrl>,
    /// `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`: the whole URL.
    pub traces_endpoint: Option<&'a SecretUrl>,
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`: the collector's address.
    pub endpoint: Option<&'a SecretUrl>,
    /// `--header`s: `name=value` each.
    pub headers: &'a [String],
    /// `OTEL_EXPORTER_OTLP_TRACES_HEADERS`, which replaces the other variable.
    pub traces_header_list: Option<&'a str>,
    /// `OTEL_EXPORTER_OTLP_HEADERS`.
    pub header_list: Option<&'a str>,
}

/// Where spans are sent, and with what headers.
#[derive(Debug, Clone)]
pub struct Destination {
    /// The whole URL.
    pub url: Url,
    /// What goes with each request; the values are not shown.
    pub headers: HeaderMap,
}

impl Destination {
    /// Puts together what is said.
    ///
    /// # Errors
    /// When nothing is said, or what is said cannot be used. The error repeats no header and no password.
    pub fn new(given: &Given<'_>) -> Result<Self, UsageError> {
        let named = |url: Option<&SecretUrl>| {
            url.map(|url| url.expose().to_owned()).filter(|url| !url.is_empty())
        };
        let url = match (named(given.to), named(given.traces_endpoint), named(given.endpoint)) {
            (Some(base), ..) | (None, None, Some(base)) => below(&base)?,
            (None, Some(whole), _) => endpoint(&whole)?,
            (None, None, None) => {
                return Err(UsageError::new(
                    "where to? name a collector with --to, or set OTEL_EXPORTER_OTLP_ENDPOINT, as http://collector:4318",
                ));
            }
        };
        let mut headers = HeaderMap::new();
        let list = [given.traces_header_list, given.header_list].into_iter().flatten();
        let mut list = list.filter(|list| !list.trim().is_empty());
        for pair in list.next().into_iter().flat_map(|list| list.split(',')) {
            insert(&mut headers, pair, "OTEL_EXPORTER_OTLP_HEADERS")?;
        }
        for pair in given.headers {
            insert(&mut headers, pair, "--header")?;
        }
        Ok(Self { url, headers })
    }
}

/// The URL as it is given.
fn endpoint(url: &str) -> Result<Url, UsageError> {
    let base = base_url(url)?;
    // What is behind the path stays: an ending slash may matter.
    Ok(Url::parse(url).unwrap_or(base))
}

/// Where a collector at this address takes spans. One that names that place already is taken as it is.
fn below(url: &str) -> Result<Url, UsageError> {
    let mut base = base_url(url)?;
    if base.path().ends_with(&format!("/{}", PATH.join("/"))) {
        return Ok(base);
    }
    if let Ok(mut segments) = base.path_segments_mut() {
        segments.pop_if_empty().extend(PATH);
    }
    Ok(base)
}

/// Adds a header that is written as `name=value`, with the value percent-encoded where it needs be.
fn insert(headers: &mut HeaderMap, pair: &str, from: &str) -> Result<(), UsageError> {
    let malformed = || UsageError::new(format!("{from}: a header is written `name=value`"));
    let (name, value) = pair.split_once('=').ok_or_else(malformed)?;
    let name: HeaderName = name.trim().parse().map_err(|_| malformed())?;
    let value = percent_decode_str(value.trim()).decode_utf8().map_err(|_| malformed())?;
    let mut value = HeaderValue::from_str(&value).map_err(|_| malformed())?;
    value.set_sensitive(true);
    headers.insert(name, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> SecretUrl {
        text.parse().unwrap()
    }

    fn shown(given: &Given<'_>) -> Result<String, String> {
        Destination::new(given).map(|it| it.url.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn an_address_gets_the_path_and_a_whole_url_stays() {
        for (text, expected) in [
            ("http://collector:4318", "http://collector:4318/v1/traces"),
            ("http://collector:4318/", "http://collector:4318/v1/traces"),
            ("https://example.com/otlp", "https://example.com/otlp/v1/traces"),
            ("http://collector:4318/v1/traces", "http://collector:4318/v1/traces"),
        ] {
            let url = url(text);
            let flag = Given { to: Some(&url), ..Given::default() };
            let variable = Given { endpoint: Some(&url), ..Given::default() };
            assert_eq!(shown(&flag).as_deref(), Ok(expected));
            assert_eq!(shown(&variable).as_deref(), Ok(expected));
        }
        let whole = url("https://example.com/traces/here");
        let given = Given { traces_endpoint: Some(&whole), ..Given::default() };
        assert_eq!(shown(&given).as_deref(), Ok("https://example.com/traces/here"));
    }

    #[test]
    fn flags_win_and_then_the_variable_of_the_signal() {
        let [flag, traces, all] = ["http://flag", "http://traces/x", "http://all"].map(url);
        let given = Given {
            to: Some(&flag),
            traces_endpoint: Some(&traces),
            endpoint: Some(&all),
            ..Given::default()
        };
        assert_eq!(shown(&given).as_deref(), Ok("http://flag/v1/traces"));
        let given = Given { to: None, ..given };
        assert_eq!(shown(&given).as_deref(), Ok("http://traces/x"));
        let empty = url("");
        let given = Given { traces_endpoint: Some(&empty), ..given };
        assert_eq!(shown(&given).as_deref(), Ok("http://all/v1/traces"));
        let nowhere = shown(&Given::default()).unwrap_err();
        assert!(nowhere.contains("--to") && nowhere.contains("4318"), "{nowhere}");
    }

    #[test]
    fn headers_are_put_together_and_not_shown() {
        let to = url("http://collector");
        let flags = ["x-own=2".to_owned()];
        let given = Given {
            to: Some(&to),
            headers: &flags,
            header_list: Some("signoz-ingestion-key=s3cret%3D, x-own=1"),
            ..Given::default()
        };
        let destination = Destination::new(&given).unwrap();
        assert_eq!(destination.headers["signoz-ingestion-key"], "s3cret=");
        assert_eq!(destination.headers["x-own"], "2");
        assert!(!format!("{destination:?}").contains("s3cret"));
        let replaced = Given { traces_header_list: Some("a=b"), ..given };
        let destination = Destination::new(&replaced).unwrap();
        assert!(!destination.headers.contains_key("signoz-ingestion-key"));
    }

    #[test]
    fn what_cannot_be_used_is_refused_and_not_repeated() {
        let to = url("http://collector");
        for list in ["s3cret", "=s3cret", "a b=s3cret", "a=s3\ncret", "a=%ff"] {
            let given = Given { to: Some(&to), header_list: Some(list), ..Given::default() };
            let error = shown(&given).unwrap_err();
            assert!(error.contains("`name=value`") && !error.contains("s3cret"), "{error}");
        }
        for text in ["http://me:s3cret@collector", "collector:4318", "ftp://collector"] {
            let url = url(text);
            let error = shown(&Given { to: Some(&url), ..Given::default() }).unwrap_err();
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}

//! What all clients of an HTTP API have in common: a checked address, and connections that carry a key to it alone.

use std::time::Duration;

use anyhow::Context;
use reqwest::Url;
use reqwest::header::{ACCEPT, HeaderMap, HeaderName, HeaderValue};

use crate::usage::UsageError;

/// How long a connection may take to come about.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

/// A client that sends these headers with each request. An answer may take as long as `answer_time_max`.
///
/// # Errors
/// When there can be no client, as without certificates.
pub fn client(
    base: &Url,
    mut headers: HeaderMap,
    answer_time_max: Duration,
) -> anyhow::Result<reqwest::Client> {
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("skein-cli/", env!("CARGO_PKG_VERSION")))
        .default_headers(headers)
        .connect_timeout(CONNECT_TIME_MAX)
        .timeout(answer_time_max)
        // The keys in the headers are for this server, wherever that would send us.
        .redirect(reqwest::redirect::Policy::none());
    if is_this_machine(base) {
        builder = builder.no_proxy();
    }
    builder.build().context("cannot set up the HTTP client")
}

/// A client that sends a key with each request. An answer may take as long as `answer_time_max`.
///
/// # Errors
/// When there can be no client, as without certificates.
pub fn keyed_client(
    base: &Url,
    (name, key): (HeaderName, HeaderValue),
    answer_time_max: Duration,
) -> anyhow::Result<reqwest::Client> {
    client(base, HeaderMap::from_iter([(name, key)]), answer_time_max)
}

/// The URL of a server, checked.
///
/// # Errors
/// When it is none, or names a user: the error repeats nothing that may hold a password.
pub fn base_url(url: &str) -> Result<Url, UsageError> {
    let refuse = || {
        let shown = if url.contains('@') { "the server's address" } else { &format!("`{url}`") };
        UsageError::new(format!("{shown} is no http URL of a server"))
    };
    let base = Url::parse(url.trim_end_matches('/')).map_err(|_| refuse())?;
    if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
        return Err(refuse());
    }
    if !base.username().is_empty() || base.password().is_some() {
        let message =
            "the URL of a server has no user and no password: the key goes into SKEIN_KEY or --key";
        return Err(UsageError::new(message));
    }
    Ok(base)
}

/// Whether a URL leads to this machine, where no proxy has any business.
#[must_use]
pub fn is_this_machine(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

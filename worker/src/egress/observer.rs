//! Who watches requests: the boundary between this client and telemetry.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use reqwest::{Method, Url, Version};
use skein_shared::domain::ids::ActivationKey;
use skein_shared::domain::run::RunHeader;
use skein_shared::domain::trace::{TraceContext, TraceState};
use skein_shared::telemetry::redact;

use super::EgressError;
use crate::mask::Masker;

/// For whom a request is made.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The span that the request belongs to.
    pub span: TraceContext,
    /// The run that makes it, and whom it is attributed to.
    pub run: Arc<RunHeader>,
    /// The node that makes it.
    pub key: ActivationKey,
    /// How often the node, or its step, has made it before in vain.
    pub resends: u32,
    /// Knows what of it must not be exported. A redirect may lead to an address with a secret in it.
    pub masker: Masker,
}

/// One request on the wire; each hop of a redirect is one.
#[derive(Debug)]
pub struct Exchange<'a> {
    /// The method.
    pub method: &'a Method,
    /// The address without credentials, fragment and what may be secret.
    pub url: &'a str,
    /// The host of it.
    pub host: &'a str,
    /// The port of it.
    pub port: u16,
    /// How many redirects led here, from 0.
    pub redirects: u32,
    /// The version of HTTP of the answer, if there was one.
    pub version: Option<&'static str>,
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
    /// What went wrong besides the status: an [`EgressError::code`], or `cancelled` when whoever
    /// waited for the answer went away.
    pub error: Option<&'static str>,
    /// When it was begun: the lookup of the name is part of it.
    pub started_at: DateTime<Utc>,
    /// When the body of the answer had been read, or the exchange failed.
    pub ended_at: DateTime<Utc>,
    /// The context that was sent along: the exchange's own span.
    pub context: TraceContext,
    /// The parent of that span, and whose it is.
    pub origin: &'a Origin,
}

/// Watches requests. Called on the path of each of them, so it MUST NOT block.
pub trait Observer: Send + Sync {
    /// The context to send along with a request that is about to be made for `origin`: a new span of its trace.
    fn begin(&self, origin: &Origin) -> TraceContext;

    /// An exchange has ended. Called exactly once for each [`Observer::begin`], also when the request
    /// was refused or abandoned.
    fn end(&self, exchange: &Exchange<'_>);
}

/// Watches nothing: requests carry on the node's own span.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn begin(&self, origin: &Origin) -> TraceContext {
        origin.span
    }

    fn end(&self, _: &Exchange<'_>) {}
}

/// An exchange in flight; reports itself when dropped, so that an abandoned one is seen as well.
pub(crate) struct InFlight<'a> {
    observer: &'a Arc<dyn Observer>,
    origin: &'a Origin,
    method: Method,
    url: Url,
    redirects: u32,
    started_at: DateTime<Utc>,
    context: TraceContext,
    version: Option<&'static str>,
    status: Option<u16>,
    error: Option<&'static str>,
}

impl<'a> InFlight<'a> {
    pub(crate) fn begin(
        observer: &'a Arc<dyn Observer>,
        origin: &'a Origin,
        method: &Method,
        url: &Url,
        redirects: u32,
    ) -> Self {
        let mut url = redacted(url);
        if origin.masker.has_left_out() {
            // There are secrets that are not looked for.
            url.set_query(None);
        }
        Self {
            observer,
            origin,
            method: method.clone(),
            url,
            redirects,
            started_at: Utc::now(),
            context: observer.begin(origin),
            version: None,
            status: None,
            error: Some("cancelled"),
        }
    }

    pub(crate) fn context(&self) -> TraceContext {
        self.context
    }

    /// What goes with that: the run's.
    pub(crate) fn state(&self) -> Option<&TraceState> {
        self.origin.run.trace.state.as_ref()
    }

    pub(crate) fn answered(&mut self, version: Version, status: u16) {
        self.version = match version {
            Version::HTTP_09 => Some("0.9"),
            Version::HTTP_10 => Some("1.0"),
            Version::HTTP_11 => Some("1.1"),
            Version::HTTP_2 => Some("2"),
            Version::HTTP_3 => Some("3"),
            _ => None,
        };
        self.status = Some(status);
    }

    /// When it was begun.
    pub(crate) fn started_at(&self) -> DateTime<Utc> {
        self.started_at
    }

    /// It has ended; `error` is a word for what went wrong besides the status.
    pub(crate) fn conclude(mut self, error: Option<&'static str>) {
        self.error = error;
    }

    pub(super) fn end<T>(self, result: &Result<T, EgressError>) {
        self.conclude(result.as_ref().err().map(EgressError::code));
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let masker = &self.origin.masker;
        self.observer.end(&Exchange {
            method: &self.method,
            url: &masker.text(self.url.as_str()),
            host: &masker.text(self.url.host_str().unwrap_or_default()),
            port: self.url.port_or_known_default().unwrap_or_default(),
            redirects: self.redirects,
            version: self.version,
            status: self.status,
            error: self.error,
            started_at: self.started_at,
            ended_at: Utc::now(),
            context: self.context,
            origin: self.origin,
        });
    }
}

/// The URL without what may be secret in it: of a query, the values that look so by themselves or by their names.
pub(super) fn redacted(url: &Url) -> Url {
    let mut url = without_credentials(url);
    // Whole: of what is cut in two, nobody finds the secret.
    let query = url.query().map(redact::form);
    url.set_query(query.as_deref());
    url
}

/// The URL without user, password and fragment.
pub(super) fn without_credentials(url: &Url) -> Url {
    let mut url = url.clone();
    // Fails for URLs without a host only, and those hold no credentials.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_fragment(None);
    url
}

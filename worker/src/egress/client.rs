//! The client itself: one hop at a time, each checked, watched and bounded.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Url, redirect::Policy};
use tokio::time::Instant;

use super::allow::AllowRule;
use super::guard::{Guard, GuardedResolver, Lookup, SystemLookup};
use super::message::{IsEnough, Request, Response};
use super::observer::{InFlight, Observer, Origin, Unobserved, without_credentials};
use super::target::Target;
use super::{
    CONNECT_TIMEOUT, EgressError, IDLE_PER_HOST_MAX, IDLE_TIMEOUT, REDIRECTS_MAX,
    RESPONSE_BYTES_MAX, RESPONSE_HEAD_BYTES_MAX, redirect,
};

/// What an [`Egress`] is made of.
#[derive(Clone)]
pub struct EgressConfig {
    /// What may be reached although it is private.
    pub allow: Vec<AllowRule>,
    /// Bytes of a body, decompressed, that are accepted.
    pub response_bytes_max: usize,
    /// Who watches.
    pub observer: Arc<dyn Observer>,
}

impl Default for EgressConfig {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            response_bytes_max: RESPONSE_BYTES_MAX,
            observer: Arc::new(Unobserved),
        }
    }
}

/// The client could not be set up: TLS or its root certificates are unusable.
#[derive(Debug, thiserror::Error)]
#[error("the client for outbound requests could not be set up")]
pub struct SetupFailed(#[source] pub(crate) reqwest::Error);

/// The one client through which nodes reach the outside world. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Egress {
    shared: Arc<Shared>,
}

struct Shared {
    /// For ports that no rule names.
    general: Pool,
    /// A resolver is given a name and no port, so each port that a rule names has its own.
    by_port: BTreeMap<u16, Pool>,
    response_bytes_max: usize,
    observer: Arc<dyn Observer>,
}

/// A connection pool with the rules that hold for it.
struct Pool {
    client: Client,
    guard: Arc<Guard>,
}

impl fmt::Debug for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Egress").finish_non_exhaustive()
    }
}

impl Egress {
    /// Sets the client up. Makes ring the process's TLS provider unless one was chosen before.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(config: &EgressConfig) -> Result<Self, SetupFailed> {
        Self::with_lookup(config, &(Arc::new(SystemLookup) as Arc<dyn Lookup>))
    }

    pub(super) fn with_lookup(
        config: &EgressConfig,
        lookup: &Arc<dyn Lookup>,
    ) -> Result<Self, SetupFailed> {
        // Fails when a provider is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let pool = |port| {
            let guard = Arc::new(Guard::for_port(&config.allow, port));
            let resolver =
                GuardedResolver { guard: Arc::clone(&guard), lookup: Arc::clone(lookup) };
            Ok(Pool { client: build(resolver)?, guard })
        };
        let named = config.allow.iter().filter_map(AllowRule::port);
        let by_port = named.map(|port| Ok((port, pool(Some(port))?))).collect::<Result<_, _>>()?;
        let shared = Shared {
            general: pool(None)?,
            by_port,
            response_bytes_max: config.response_bytes_max,
            observer: Arc::clone(&config.observer),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Sends a request, follows redirects and reads the whole answer. Any status is an answer.
    ///
    /// Dropping the future abandons the request; the other side may have acted on it, as it may have
    /// after any error that is [`EgressError::retryable`].
    ///
    /// # Errors
    /// When there is no whole answer, or the guard refused an address on the way.
    pub async fn send(&self, request: Request, origin: &Origin) -> Result<Response, EgressError> {
        self.send_until(request, origin, &mut |_, _| false).await
    }

    /// The same, and reads no more of the answer than is enough: for bodies that may not come to an end. What is left of
    /// it is abandoned with its connection.
    ///
    /// # Errors
    /// When less than that comes and no whole answer, or the guard refused an address on the way.
    pub async fn send_until(
        &self,
        request: Request,
        origin: &Origin,
        is_enough: &mut IsEnough<'_>,
    ) -> Result<Response, EgressError> {
        let deadline = Instant::now() + request.timeout;
        let mut request = request;
        for redirects in 0..=REDIRECTS_MAX {
            let observer = &self.shared.observer;
            let mut flight =
                InFlight::begin(observer, origin, &request.method, &request.url, redirects);
            let exchange = Box::pin(self.exchange(&request, &mut flight, is_enough));
            let result = match tokio::time::timeout_at(deadline, exchange).await {
                Ok(result) => result,
                Err(_) => Err(EgressError::Timeout {
                    target: Target::of(&request.url).to_string(),
                    limit: request.timeout,
                }),
            };
            flight.end(&result);
            let response = result?;
            match redirect::target(&request.url, response.status, &response.headers) {
                Some(target) => request = redirect::follow(request, response.status, target),
                None => return Ok(response),
            }
        }
        Err(EgressError::TooManyRedirects { host: Target::of(&request.url).host })
    }

    /// One request and its answer; the body of a redirect is not read.
    async fn exchange(
        &self,
        request: &Request,
        flight: &mut InFlight<'_>,
        is_enough: &mut IsEnough<'_>,
    ) -> Result<Response, EgressError> {
        let target = Target::of(&request.url);
        let pool = self.pool(&request.url)?;
        pool.guard.check_url(&request.url).map_err(EgressError::refused)?;

        let mut headers = request.headers.clone();
        inject(&mut headers, "traceparent", &flight.context().to_traceparent());
        if let Some(state) = flight.state() {
            inject(&mut headers, "tracestate", state.as_str());
        }
        let mut builder =
            pool.client.request(request.method.clone(), request.url.clone()).headers(headers);
        if let Some(body) = &request.body {
            builder = builder.body(body.clone());
        }
        let mut response =
            builder.send().await.map_err(|error| EgressError::classify(&error, &target))?;
        let received_at = Instant::now();
        flight.answered(response.version(), response.status().as_u16());

        check_head(response.headers(), &target)?;
        let is_redirect =
            redirect::target(&request.url, response.status(), response.headers()).is_some();
        let body = match is_redirect {
            true => Bytes::new(),
            false => {
                let limit = self.shared.response_bytes_max;
                read_body(&mut response, limit, &target, is_enough).await?
            }
        };
        Ok(Response {
            status: response.status(),
            headers: std::mem::take(response.headers_mut()),
            body,
            url: without_credentials(&request.url),
            received_at,
        })
    }

    fn pool(&self, url: &Url) -> Result<&Pool, EgressError> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(EgressError::Scheme { scheme: url.scheme().to_owned() });
        }
        let own = url.port_or_known_default().and_then(|port| self.shared.by_port.get(&port));
        Ok(own.unwrap_or(&self.shared.general))
    }
}

fn build(resolver: GuardedResolver) -> Result<Client, SetupFailed> {
    Client::builder()
        .dns_resolver(resolver)
        .redirect(Policy::none())
        .no_proxy()
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
        .http1_max_headers(RESPONSE_HEAD_BYTES_MAX / 32)
        .http2_max_header_list_size(u32::try_from(RESPONSE_HEAD_BYTES_MAX).unwrap_or(u32::MAX))
        .build()
        .map_err(SetupFailed)
}

fn inject(headers: &mut HeaderMap, name: &'static str, value: &str) {
    // Printable ASCII is always a valid value.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

fn check_head(headers: &HeaderMap, target: &Target) -> Result<(), EgressError> {
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if bytes > RESPONSE_HEAD_BYTES_MAX {
        let (target, limit) = (target.to_string(), RESPONSE_HEAD_BYTES_MAX);
        return Err(EgressError::TooLarge { target, part: "head", limit });
    }
    Ok(())
}

/// Reads a body piece by piece and gives up as soon as it is too large. Pieces are counted after
/// decompression, and the decoder hands out small ones, so a gzip bomb is never held.
async fn read_body(
    response: &mut reqwest::Response,
    limit: usize,
    target: &Target,
    is_enough: &mut IsEnough<'_>,
) -> Result<Bytes, EgressError> {
    let too_large = || EgressError::TooLarge { target: target.to_string(), part: "body", limit };
    let announced = response.content_length().unwrap_or(0);
    if usize::try_from(announced).map_or(true, |bytes| bytes > limit) {
        return Err(too_large());
    }
    let mut body = Vec::new();
    let mut is_read = is_enough(response.headers(), &[]);
    while !is_read {
        let piece =
            response.chunk().await.map_err(|error| EgressError::classify(&error, target))?;
        let Some(piece) = piece else { break };
        if body.len() + piece.len() > limit {
            return Err(too_large());
        }
        body.extend_from_slice(&piece);
        is_read = is_enough(response.headers(), &piece);
    }
    Ok(body.into())
}

//! One request over HTTP, whatever the wire format: sent once, streamed back within bounds, watched.
//!
//! The addresses are the operator's, so no guard looks at them. All else is as for requests of nodes: no proxy, no
//! redirect (the key goes to its own URL only), limits in bytes and time, a span that the request carries on.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, Response, StatusCode, Url, redirect::Policy};
use serde_json::{Value, json};
use skein_shared::domain::duration;
use skein_shared::domain::limits::NODE_TIMEOUT_MAX;
use tokio::time::Instant;

use super::answer::Answer;
use super::error::{Billing, CallError, ErrorClass};
use super::key::ProviderKey;
use super::lenient::{parse_event, parse_json};
use super::pace::Pace;
use super::refusal::Refuser;
use super::reply::ChatReply;
use super::request::{ChatRequest, ToolCall};
use super::sse::{Event, EventReader};
use super::{
    ANSWER_BYTES_MAX, CONNECT_TIMEOUT, Call, ChatModel, ERROR_BODY_BYTES_MAX, EVENT_BYTES_MAX,
};
use crate::egress::{EgressError, InFlight, Observer, SetupFailed, Target};
use crate::mask::Masker;

/// Bytes of a request at most: a few of the largest prompts. Providers take up to 32 MiB.
const REQUEST_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Idle connections kept to one provider: more than a worker usually has calls in flight to it.
const IDLE_PER_HOST_MAX: usize = 64;
/// How long an idle connection is kept: shorter than the timeouts of usual servers.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Header fields of an answer at most.
const HEADERS_MAX: usize = 256;
/// How long a complete answer is waited on for its usage and the end of its stream, which servers send at once. Some leave
/// the connection open without a word.
const TAIL_WAIT: Duration = Duration::from_secs(2);
/// Tokens that providers put around the messages of any request, beyond the JSON that stands around them in ours.
const FRAME_TOKENS_MAX: usize = 64;
/// Tokens of what providers tell a model about tools and formats; Anthropic's text has up to 800.
const INSTRUCTION_TOKENS_MAX: usize = 1024;

/// A wire format: how a request is written, and how an answer is read.
pub(super) trait Dialect: Send + Sync + 'static {
    /// Reads one answer.
    type Decoder: Decoder;

    /// Where the request goes, below the base URL.
    fn url(&self, base: &Url, request: &ChatRequest) -> Result<Url, CallError>;

    /// The header that shows the key: its name, and what stands before the key.
    fn key_header(&self) -> (HeaderName, &'static str);

    /// Headers that every request has.
    fn add_headers(&self, _headers: &mut HeaderMap) {}

    /// The body, which asks for a stream.
    fn body(&self, request: &ChatRequest) -> Value;

    /// A reader of the answer to `request`.
    fn decoder(&self, request: &ChatRequest) -> Self::Decoder;
}

/// Reads the events of one answer.
pub(super) trait Decoder: Send {
    /// Reads one event, or a whole answer from a server that does not stream. Returns whether it was the last.
    ///
    /// # Errors
    /// When it makes no sense, is too large, or says that there will be no answer.
    fn event(
        &mut self,
        event: &Value,
        answer: &mut Answer<'_>,
        refuser: &Refuser<'_>,
    ) -> Result<bool, CallError>;

    /// The stream has ended. What is still held back goes into the answer.
    ///
    /// # Errors
    /// When what was held back is too large.
    fn end(&mut self, _answer: &mut Answer<'_>) -> Result<(), CallError> {
        Ok(())
    }
}

/// What OpenAI's streams end in; no JSON.
const DONE: &str = "[DONE]";

/// The client for all providers: their URLs are as trusted as the program's own settings.
pub(super) fn client() -> Result<Client, SetupFailed> {
    // Fails when a provider of TLS is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .redirect(Policy::none())
        .no_proxy()
        .referer(false)
        .user_agent(concat!("skein/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
        .http1_max_headers(HEADERS_MAX)
        .build()
        .map_err(SetupFailed)
}

/// A provider over HTTP.
pub(super) struct Remote<D> {
    dialect: D,
    client: Client,
    base: Url,
    /// Name and value of the header that shows the key.
    key: Option<(HeaderName, HeaderValue)>,
    masker: Masker,
    /// Host and port, as messages name it.
    target: Target,
    observer: Arc<dyn Observer>,
}

impl<D: Dialect> Remote<D> {
    /// A provider at `base`. `key` has been found to fit into a header.
    pub(super) fn new(
        dialect: D,
        client: &Client,
        base: &Url,
        key: Option<&ProviderKey>,
        observer: &Arc<dyn Observer>,
    ) -> Self {
        let (name, scheme) = dialect.key_header();
        Self {
            dialect,
            client: client.clone(),
            base: base.clone(),
            key: key.and_then(|key| Some((name, key.header(scheme)?))),
            masker: key.map_or_else(Masker::default, |key| Masker::of_key(key.expose())),
            target: Target::of(base),
            observer: Arc::clone(observer),
        }
    }

    fn headers(&self, call: &Call<'_>, flight: &InFlight<'_>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let mut set = |name: &'static str, value: &str| {
            // An idempotency key that cannot be sent is left out: providers may ignore it anyway.
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        };
        set("content-type", "application/json");
        set("accept", "text/event-stream");
        set("idempotency-key", call.idempotency_key);
        set("traceparent", &flight.context().to_traceparent());
        if let Some(state) = flight.state() {
            set("tracestate", state.as_str());
        }
        self.dialect.add_headers(&mut headers);
        if let Some((name, value)) = &self.key {
            headers.insert(name, value.clone());
        }
        headers
    }

    /// The request as it is sent.
    fn bytes(&self, request: &ChatRequest) -> Vec<u8> {
        // A value with text for names is always JSON.
        serde_json::to_vec(&self.dialect.body(request)).unwrap_or_default()
    }

    /// Sends the request and reads the answer into `answer`.
    async fn exchange(
        &self,
        parts: (Url, HeaderMap, Vec<u8>),
        request: &ChatRequest,
        answer: &mut Answer<'_>,
        clock: &Clock,
        flight: &mut InFlight<'_>,
    ) -> Result<(), CallError> {
        let (url, headers, body) = parts;
        let sent = self.client.post(url).headers(headers).body(body).send();
        let mut response = clock
            .within(false, sent, &self.target)
            .await?
            .map_err(|error| transport(&EgressError::classify(&error, &self.target)))?;
        let status = response.status();
        flight.answered(response.version(), status.as_u16());
        let refuser = Refuser { target: &self.target.to_string(), masker: &self.masker };
        if !status.is_success() {
            let received_at = SystemTime::from(flight.started_at()) + clock.begun.elapsed();
            let body = self.error_body(&mut response, clock).await;
            return Err(refuser.by_status(status, response.headers(), &body, received_at));
        }
        let mut decoder = self.dialect.decoder(request);
        let read = self.read(response, &mut decoder, answer, clock, &refuser).await;
        // The status is known to whoever reads the error, though it says nothing of what went wrong.
        read.map_err(|error| CallError { status: Some(status.as_u16()), ..error })
    }

    async fn read(
        &self,
        mut response: Response,
        decoder: &mut D::Decoder,
        answer: &mut Answer<'_>,
        clock: &Clock,
        refuser: &Refuser<'_>,
    ) -> Result<(), CallError> {
        let media = response.headers().get(header::CONTENT_TYPE);
        let media = media.and_then(|media| media.to_str().ok()).unwrap_or_default();
        let media = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let is_whole = media == "application/json";
        let mut reader = EventReader::new(EVENT_BYTES_MAX);
        let (mut whole, mut total, mut pace) = (Vec::new(), 0, Pace::default());
        let mut is_over = false;
        'stream: while let Some(piece) = self.piece(&mut response, answer, clock).await? {
            total += piece.len();
            if total > ANSWER_BYTES_MAX {
                return Err(CallError::too_large("stream", ANSWER_BYTES_MAX));
            }
            if is_whole {
                if whole.len() + piece.len() > EVENT_BYTES_MAX {
                    return Err(CallError::too_large("body", EVENT_BYTES_MAX));
                }
                whole.extend_from_slice(&piece);
                continue;
            }
            pace.piece(piece.len()).await;
            let mut bytes: &[u8] = &piece;
            while let Some(event) = reader
                .next(&mut bytes)
                .map_err(|_| CallError::too_large("event", EVENT_BYTES_MAX))?
            {
                pace.event().await?;
                is_over = event_of(&event, decoder, answer, refuser)?;
                if is_over {
                    break 'stream;
                }
            }
        }
        if is_whole {
            let body =
                parse_event(&String::from_utf8_lossy(&whole)).map_err(|error| not_json(&error))?;
            match body {
                Value::Array(events) => {
                    for event in &events {
                        pace.event().await?;
                        decoder.event(event, answer, refuser)?;
                    }
                }
                body => {
                    decoder.event(&body, answer, refuser)?;
                }
            }
        } else if !is_over && let Some(event) = reader.end() {
            let read = event_of(&event, decoder, answer, refuser);
            // Behind a complete answer, half an event is no loss.
            if !answer.is_finished() {
                read?;
            }
        }
        decoder.end(answer)?;
        if answer.is_finished() {
            return Ok(());
        }
        let message = match total {
            0 => "the answer has no body".to_owned(),
            _ if answer.has_begun() || media == "text/event-stream" => {
                "the answer ended before it was complete".to_owned()
            }
            _ => "what came is no answer of a model: is the base URL right?".to_owned(),
        };
        Err(CallError::malformed(message))
    }

    /// The next piece of the body, decompressed; none when it has ended. That of a complete answer has ended when nothing
    /// follows, however that comes: nobody is to pay for one that is thrown away.
    async fn piece(
        &self,
        response: &mut Response,
        answer: &Answer<'_>,
        clock: &Clock,
    ) -> Result<Option<bytes::Bytes>, CallError> {
        let chunk = response.chunk();
        if let Some(finished_at) = answer.finished_at() {
            let deadline = clock.end.min(finished_at + TAIL_WAIT);
            // What keeps a connection open may come without end.
            if Instant::now() >= deadline {
                return Ok(None);
            }
            let piece = tokio::time::timeout_at(deadline, chunk).await;
            return Ok(piece.ok().and_then(Result::ok).flatten());
        }
        let piece = clock.within(answer.has_begun(), chunk, &self.target).await?;
        piece.map_err(|error| {
            let error = transport(&EgressError::classify(&error, &self.target));
            // There was a connection, so somebody may have worked on it.
            let (class, billing) = (ErrorClass::Cut, Billing::Unknown);
            CallError { code: "interrupted", class, billing, ..error }
        })
    }

    /// The beginning of the body of an error; what cannot be read of it is left out.
    async fn error_body(&self, response: &mut Response, clock: &Clock) -> Vec<u8> {
        let mut body = Vec::new();
        while body.len() < ERROR_BODY_BYTES_MAX {
            match clock.within(false, response.chunk(), &self.target).await {
                Ok(Ok(Some(piece))) => {
                    let room = ERROR_BODY_BYTES_MAX - body.len();
                    body.extend_from_slice(&piece[..piece.len().min(room)]);
                }
                _ => break,
            }
        }
        body
    }
}

#[async_trait]
impl<D: Dialect> ChatModel for Remote<D> {
    async fn chat(&self, request: &ChatRequest, call: &Call<'_>) -> Result<ChatReply, CallError> {
        if call.cancelled.is_cancelled() {
            return Err(cancelled().unbilled());
        }
        let url = self.dialect.url(&self.base, request)?;
        let body = self.bytes(request);
        if body.len() > REQUEST_BYTES_MAX {
            let message = format!("the request is larger than {REQUEST_BYTES_MAX} bytes");
            let error = CallError::new("invalid_request", ErrorClass::Refused, message);
            return Err(error.unbilled());
        }
        let clock = Clock::new(call);
        let input_tokens = input_tokens_max(request, body.len());
        let mut answer = Answer::new(request, input_tokens, call.deltas);
        let mut flight = InFlight::begin(&self.observer, call.origin, &Method::POST, &url, 0);
        let headers = self.headers(call, &flight);
        let exchange = Box::pin(self.exchange(
            (url, headers, body),
            request,
            &mut answer,
            &clock,
            &mut flight,
        ));
        let exchanged = tokio::select! {
            biased;
            () = call.cancelled.cancelled() => Err(cancelled()),
            exchanged = exchange => exchanged,
        };
        flight.conclude(
            exchanged.as_ref().err().filter(|error| !is_by_status(error)).map(|it| it.code),
        );
        match exchanged {
            Ok(()) => Ok(answer.into_reply()),
            Err(error) => Err(CallError { usage: answer.usage_so_far(), ..error }),
        }
    }

    fn request_bytes(&self, request: &ChatRequest) -> usize {
        input_tokens_max(request, self.bytes(request).len())
    }
}

/// More tokens than the input of a request can have that is so many bytes long.
fn input_tokens_max(request: &ChatRequest, bytes: usize) -> usize {
    let has_instructions = !request.tools.is_empty() || request.schema.is_some();
    let instructions = if has_instructions { INSTRUCTION_TOKENS_MAX } else { 0 };
    bytes + FRAME_TOKENS_MAX + instructions
}

/// The times of one call.
struct Clock {
    begun: Instant,
    first_token: Instant,
    end: Instant,
    limits: (Duration, Duration),
}

impl Clock {
    fn new(call: &Call<'_>) -> Self {
        let begun = Instant::now();
        // What is longer than a node may take would not fit into the clock.
        let whole = call.timeout.min(NODE_TIMEOUT_MAX);
        let limits = (call.first_token_timeout.min(whole), whole);
        Self { begun, first_token: begun + limits.0, end: begun + limits.1, limits }
    }

    /// What comes of the work, if it comes in time: before the first token that is sooner.
    async fn within<T>(
        &self,
        has_begun: bool,
        work: impl Future<Output = T>,
        target: &Target,
    ) -> Result<T, CallError> {
        let is_first = !has_begun && self.first_token < self.end;
        let deadline = if is_first { self.first_token } else { self.end };
        tokio::time::timeout_at(deadline, work).await.map_err(|_| {
            let (code, what, limit) = match is_first {
                true => ("first_token_timeout", "first token", self.limits.0),
                false => ("timeout", "whole answer", self.limits.1),
            };
            let message = format!("no {what} from {target} within {}", duration::format(limit));
            CallError::new(code, ErrorClass::Timeout, message)
        })
    }
}

fn event_of(
    event: &Event,
    decoder: &mut impl Decoder,
    answer: &mut Answer<'_>,
    refuser: &Refuser<'_>,
) -> Result<bool, CallError> {
    if event.data.trim() == DONE {
        return Ok(true);
    }
    if event.data.trim().is_empty() {
        return Ok(false);
    }
    let value = parse_event(&event.data).map_err(|error| not_json(&error))?;
    decoder.event(&value, answer, refuser)
}

fn not_json(error: &str) -> CallError {
    CallError::malformed(format!("a part of the model's answer is no JSON: {error}"))
}

fn cancelled() -> CallError {
    CallError::new("cancelled", ErrorClass::Cancelled, "the call was cancelled")
}

/// Whether the status says all: then the span's error is the status.
fn is_by_status(error: &CallError) -> bool {
    error
        .status
        .is_some_and(|status| StatusCode::from_u16(status).is_ok_and(|status| !status.is_success()))
}

/// An error of the connection, before there was an answer.
fn transport(error: &EgressError) -> CallError {
    let class = match error {
        EgressError::Interrupted { .. } | EgressError::TooLarge { .. } => ErrorClass::Cut,
        EgressError::Unsendable { .. } | EgressError::Scheme { .. } => ErrorClass::Refused,
        _ => ErrorClass::Unavailable,
    };
    let code = match error {
        // The only timer of the client's own is that for the connection.
        EgressError::Timeout { .. } => "connect",
        error => error.code(),
    };
    let failed = CallError::new(code, class, error.to_string());
    if class == ErrorClass::Cut { failed } else { failed.unbilled() }
}

/// The arguments of a call as an object, which is all that providers take back. What is none goes back to the model as
/// it was, under a name that says so.
pub(super) fn arguments_of(call: &ToolCall) -> Value {
    match parse_json(&call.arguments) {
        Ok(arguments @ Value::Object(_)) => arguments,
        _ => json!({"malformed_arguments": call.arguments}),
    }
}

//! The server: one request in, the reply that fits it out, with the mishaps that the script asks for.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::{StreamExt as _, stream};
use serde_json::Value;
use tokio::net::TcpListener;

use super::asked::{Asked, Form, Wire};
use super::frame::{Answer, Frame};
use super::script::{Reply, Script};
use super::seen::{Log, SeenRequest};
use super::wires;

/// Bytes of a request at most: as large as the worker's own.
const REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;
const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";

/// Answers for good.
pub(super) async fn serve(listener: TcpListener, script: Arc<Script>, log: Arc<Log>) {
    let handler = move |request: Request| {
        let (script, log) = (Arc::clone(&script), Arc::clone(&log));
        async move { answer(request, &script, &log).await }
    };
    // It accepts for good: what goes wrong with a connection ends that connection.
    let _ = axum::serve(listener, Router::new().fallback(handler)).await;
}

async fn answer(request: Request, script: &Script, log: &Log) -> Response {
    let (head, body) = request.into_parts();
    let Ok(bytes) = to_bytes(body, REQUEST_BYTES_MAX).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let query = head.uri.query().unwrap_or_default();
    let Some(asked) = Asked::read(head.uri.path(), query, &body, bytes.len()) else {
        return (StatusCode::NOT_FOUND, "mock models serve no such path\n").into_response();
    };
    let text = |name: &str| head.headers.get(name)?.to_str().ok().map(str::to_owned);
    let key = text("idempotency-key");
    let chosen = script.fitting(&asked).find(|(index, entry)| {
        entry.times.is_none_or(|times| log.take(*index, key.as_deref().unwrap_or_default(), times))
    });
    let keys = ["authorization", "x-api-key", "x-goog-api-key"];
    let number = log.add(SeenRequest {
        wire: asked.wire,
        model: asked.model.clone(),
        traceparent: text("traceparent"),
        tracestate: text("tracestate"),
        authorization: keys.into_iter().find_map(text),
        idempotency_key: key,
        bytes: bytes.len(),
        body: Some(body),
        reply: chosen.map(|(index, _)| index),
    });
    let Some((_, entry)) = chosen else {
        let message = format!(
            "the script of mock models has no reply for model `{}` at turn {} after `{}`",
            asked.model,
            asked.turn,
            &asked.last[..asked.last.floor_char_boundary(80)]
        );
        return failed(asked.wire, 404, &message, HeaderMap::new());
    };
    let reply = &entry.reply;
    tokio::time::sleep(reply.delay).await;
    let mut headers = HeaderMap::new();
    for (name, value) in &reply.headers {
        // Checked when the script was read.
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
            headers.insert(name, value);
        }
    }
    if let Some(raw) = &reply.raw {
        return raw_answer(raw, reply, &asked, headers);
    }
    if let Some(status) = reply.status.filter(|status| *status >= 300) {
        let message = reply.error.as_deref().unwrap_or("the script says so");
        return failed(asked.wire, status, message, headers);
    }
    let answer = Answer::new(reply, &asked, number);
    match asked.form {
        Form::Whole => {
            let body = answer.escape(&wires::whole(&asked, &answer));
            respond(200, JSON, headers, body.into())
        }
        Form::List => {
            let frames = wires::frames(&asked, &answer);
            let list: Vec<_> = frames.iter().map(|frame| answer.escape(&frame.data)).collect();
            respond(200, JSON, headers, format!("[{}]", list.join(",\n")).into())
        }
        Form::Events => {
            let frames = wires::frames(&asked, &answer);
            respond(200, EVENTS, headers, streamed(frames, &answer, reply, asked.wire))
        }
    }
}

fn failed(wire: Wire, status: u16, message: &str, headers: HeaderMap) -> Response {
    respond(status, JSON, headers, wires::error(wire, status, message).to_string().into())
}

/// The body as the script has it, as often as it says.
fn raw_answer(raw: &str, reply: &Reply, asked: &Asked, headers: HeaderMap) -> Response {
    let media = if asked.form == Form::Events { EVENTS } else { JSON };
    let piece = Bytes::from(raw.to_owned());
    let times = usize::try_from(reply.repeat.unwrap_or(1)).unwrap_or(usize::MAX);
    let pieces = stream::repeat(piece).take(times).map(Ok::<_, Infallible>);
    respond(reply.status.unwrap_or(200), media, headers, Body::from_stream(pieces))
}

fn respond(status: u16, media: &'static str, headers: HeaderMap, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    response.headers_mut().extend(headers);
    response
}

/// What happens next in a stream.
enum Step {
    Send(String),
    Wait,
    Cut,
    Hang,
}

/// The stream, with its waits and its end.
fn streamed(frames: Vec<Frame>, answer: &Answer, reply: &Reply, wire: Wire) -> Body {
    let (mut steps, mut contents) = (Vec::new(), 0);
    let is_after = |limit: Option<usize>, contents: usize| limit.is_some_and(|at| contents >= at);
    let mut last = Step::Send(wires::trailer(wire).to_owned());
    for frame in frames {
        if is_after(reply.cut_after, contents) {
            last = Step::Cut;
            break;
        }
        if is_after(reply.hang_after, contents) {
            last = Step::Hang;
            break;
        }
        if frame.is_content {
            if contents > 0 {
                steps.push(Step::Wait);
            }
            contents += 1;
        }
        steps.push(Step::Send(frame.event_text(answer)));
    }
    steps.push(last);
    let pause = reply.chunk_delay;
    let pieces = stream::iter(steps).filter_map(move |step| async move {
        match step {
            Step::Send(text) => Some(Ok(Bytes::from(text))),
            Step::Wait => {
                tokio::time::sleep(pause).await;
                None
            }
            // Waited for, so that what came before it is sent.
            Step::Cut => {
                tokio::task::yield_now().await;
                Some(Err(io::Error::other("the script cuts the answer here")))
            }
            Step::Hang => std::future::pending().await,
        }
    });
    Body::from_stream(pieces)
}

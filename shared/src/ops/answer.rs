//! What is answered.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Response, StatusCode};

use super::Shared;

/// The format of Prometheus that every collector reads.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

pub(super) async fn answer(shared: &Shared, method: &Method, path: &str) -> Response<Full<Bytes>> {
    let is_known = matches!(path, "/livez" | "/readyz" | "/metrics");
    if is_known && method != Method::GET && method != Method::HEAD {
        let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered");
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match path {
        "/livez" => text(StatusCode::OK, "ok"),
        "/readyz" => match shared.ready().await {
            Ok(()) => text(StatusCode::OK, "ok"),
            Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, &reason),
        },
        "/metrics" => metrics(shared).await,
        _ => text(StatusCode::NOT_FOUND, "there are /livez, /readyz and /metrics"),
    }
}

async fn metrics(shared: &Shared) -> Response<Full<Bytes>> {
    let Some(scrape) = shared.scrape.clone() else {
        return text(StatusCode::NOT_FOUND, "this process has no metrics");
    };
    // It reads files and waits for locks.
    match tokio::task::spawn_blocking(move || scrape.text()).await {
        Ok(Ok(metrics)) => response(StatusCode::OK, METRICS, metrics),
        Ok(Err(error)) => text(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
        Err(_) => text(StatusCode::SERVICE_UNAVAILABLE, "the metrics cannot be read"),
    }
}

/// One line.
fn text(status: StatusCode, line: &str) -> Response<Full<Bytes>> {
    response(status, TEXT, format!("{line}\n"))
}

fn response(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

//! Reading a request's body: bounded in size and time, UTF-8, of a type that the route takes.

use std::sync::Arc;

use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use futures_util::StreamExt;
use serde_json::{Map, Value};
use skein_shared::document::{self, Format};
use skein_shared::domain::diagnostic::Diagnostic;
use skein_shared::domain::limits::JSON_DEPTH_MAX;
use skein_shared::store::keys::KeyDigest;

use crate::app::App;
use crate::auth::Holder;
use crate::limits::BODY_BYTES_MAX;
use crate::problem::{Problem, ProblemKind};
use crate::shares::Taken;

/// A body, read whole.
#[derive(Debug)]
pub(crate) struct Text {
    /// What was sent.
    pub(crate) text: String,
    /// How it is written; `None` only without a body.
    pub(crate) format: Option<Format>,
    /// Its room among all bodies. To be kept as long as what was made of it is.
    pub(crate) room: Taken<KeyDigest>,
}

impl FromRequest<Arc<App>> for Text {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        let format = format_of(request.headers());
        check_encoding(request.headers())?;
        let Holder(holder) = Holder::of(request.extensions())?;
        let mut room = app.bodies.take(&holder, 0).ok_or_else(too_many)?;
        let read = tokio::time::timeout(app.limits.body_time, read(request, &mut room)).await;
        let bytes = read.map_err(|_| {
            let detail = format!("the body did not arrive within {:?}", app.limits.body_time);
            Problem::new(ProblemKind::SlowBody, detail)
        })??;
        if bytes.is_empty() && format.is_none() {
            return Ok(Self { text: String::new(), format: None, room });
        }
        let format = format.ok_or_else(unsupported)?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let offset = error.utf8_error().valid_up_to();
            Problem::new(
                ProblemKind::MalformedBody,
                format!("the body is not UTF-8 at byte {offset}"),
            )
        })?;
        Ok(Self { text, format: Some(format), room })
    }
}

/// What the routes that take no YAML answer to it.
pub(crate) fn only_json(body: &Text) -> Result<(), Problem> {
    match body.format {
        Some(Format::Yaml) => Err(Problem::new(
            ProblemKind::UnsupportedMediaType,
            "the Content-Type must be application/json",
        )),
        Some(Format::Json) | None => Ok(()),
    }
}

/// The fields of a body that is an object. One without content stands for `{}`; `known` says which fields there are.
pub(crate) fn fields(text: &str, known: &str) -> Result<Map<String, Value>, Problem> {
    if text.trim_start_matches('\u{feff}').trim().is_empty() {
        return Ok(Map::new());
    }
    // What a body carries stands one level down.
    let body = document::json::parse(text, JSON_DEPTH_MAX + 1)
        .map_err(|diagnostic| unreadable(diagnostic, ProblemKind::InvalidRequest))?;
    match body {
        Value::Object(fields) => Ok(fields),
        _ => {
            let diagnostic = Diagnostic::new("", "is not an object", known);
            Err(Problem::with_diagnostics(ProblemKind::InvalidRequest, vec![diagnostic.into()]))
        }
    }
}

/// The answer to a text that cannot be read. One that is no JSON or YAML is malformed. One that is, and holds what is not
/// taken (a number beyond all bounds, a key twice), is `invalid` as it is with any other value: only then the diagnostic
/// points to one.
pub(crate) fn unreadable(diagnostic: Diagnostic, invalid: ProblemKind) -> Problem {
    let is_value = !diagnostic.pointer.is_empty();
    let kind = if is_value { invalid } else { ProblemKind::MalformedBody };
    Problem::with_diagnostics(kind, vec![diagnostic.into()])
}

/// Nothing is guessed from the text: a body that claims to be something else is refused.
fn format_of(headers: &HeaderMap) -> Option<Format> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let (value, None) = (values.next()?.to_str().ok()?, values.next()) else { return None };
    let mut parts = value.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
    for parameter in parts {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let is_charset = name.trim().eq_ignore_ascii_case("charset");
        if is_charset && !value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8") {
            return None;
        }
    }
    match essence.as_str() {
        "application/json" => Some(Format::Json),
        // RFC 9512 and the names that it retires.
        "application/yaml" | "application/x-yaml" | "text/yaml" | "text/x-yaml" => {
            Some(Format::Yaml)
        }
        _ => None,
    }
}

fn unsupported() -> Problem {
    Problem::new(
        ProblemKind::UnsupportedMediaType,
        "the Content-Type must be application/json (or application/yaml, for a workflow), in UTF-8",
    )
}

fn check_encoding(headers: &HeaderMap) -> Result<(), Problem> {
    let is_plain = headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .all(|value| value.as_bytes().eq_ignore_ascii_case(b"identity"));
    if is_plain {
        return Ok(());
    }
    Err(Problem::new(ProblemKind::UnsupportedMediaType, "compressed bodies are not taken"))
}

/// Reads the body. Room is taken for what has come, not for what was announced.
async fn read(request: Request, room: &mut Taken<KeyDigest>) -> Result<Vec<u8>, Problem> {
    let declared = request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    // Refused before a byte of it is read.
    if declared.is_some_and(|length| length > BODY_BYTES_MAX) {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    let mut chunks = request.into_body().into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| {
            tracing::debug!(%error, "a body broke off");
            Problem::new(ProblemKind::MalformedBody, "the body broke off")
        })?;
        if bytes.len() + chunk.len() > BODY_BYTES_MAX {
            return Err(too_large());
        }
        if !room.grow(chunk.len()) {
            return Err(too_many());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn too_many() -> Problem {
    let detail = "requests of this key that are being worked on take all of the room for bodies; send fewer at a time";
    Problem::new(ProblemKind::Overloaded, detail)
}

fn too_large() -> Problem {
    Problem::new(ProblemKind::TooLarge, format!("a body may have {BODY_BYTES_MAX} bytes"))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn format(content_type: &str) -> Option<Format> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_str(content_type).unwrap());
        format_of(&headers)
    }

    #[test]
    fn only_the_registered_types_are_taken() {
        for json in [
            "application/json",
            "Application/JSON",
            "application/json; charset=UTF-8",
            "application/json;charset=\"utf-8\"",
        ] {
            assert_eq!(format(json), Some(Format::Json), "{json}");
        }
        for yaml in ["application/yaml", "application/x-yaml", "text/yaml; charset=utf-8"] {
            assert_eq!(format(yaml), Some(Format::Yaml), "{yaml}");
        }
        for other in [
            "",
            "text/plain",
            "application/xml",
            "application/json; charset=latin1",
            "json",
            "application/jsonp",
        ] {
            assert_eq!(format(other), None, "{other}");
        }
    }
}

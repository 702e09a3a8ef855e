//! What a provider says when it does not answer: errors by their status and body, and errors within a stream.

use std::time::{Duration, SystemTime};

use reqwest::StatusCode;
use reqwest::header::{self, HeaderMap};
use serde_json::Value;
use skein_shared::domain::text::is_active;

use super::ERROR_TEXT_BYTES_MAX;
use super::error::{Billing, CallError, ErrorClass};
use super::lenient::parse_event;
use crate::mask::Masker;

/// Who refuses, as messages name it.
pub(super) struct Refuser<'a> {
    /// Host and port.
    pub(super) target: &'a str,
    /// Knows the key.
    pub(super) masker: &'a Masker,
}

impl Refuser<'_> {
    /// The error of an answer whose status is no success.
    pub(super) fn by_status(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
        received_at: SystemTime,
    ) -> CallError {
        let number = status.as_u16();
        let body = parse_event(&String::from_utf8_lossy(body)).unwrap_or_default();
        let error = &body["error"];
        let is_quota = ["code", "type"].iter().any(|field| error[field] == "insufficient_quota");
        let (code, class, billing) = match number {
            300..=399 => ("redirected", ErrorClass::Refused, Billing::Nothing),
            401 | 403 => ("provider_auth", ErrorClass::Refused, Billing::Nothing),
            // No wait helps: somebody has to pay.
            429 if is_quota => ("provider_quota", ErrorClass::Refused, Billing::Nothing),
            429 => ("rate_limited", ErrorClass::RateLimited, Billing::Nothing),
            529 => ("overloaded", ErrorClass::RateLimited, Billing::Nothing),
            // Said by gateways, whose provider may have worked on it.
            408 | 499 => ("provider_unavailable", ErrorClass::Unavailable, Billing::Unknown),
            400..=499 => ("provider_refused", ErrorClass::Refused, Billing::Nothing),
            _ => ("provider_unavailable", ErrorClass::Unavailable, Billing::Unknown),
        };
        let does = match number {
            300..=399 => "redirects, which is not followed: set its base URL to where it is",
            401 => "does not take the key",
            403 => "does not allow this with the key",
            429 if is_quota => "has no quota left for the key",
            429 => "asks for fewer requests or tokens",
            529 => "is overloaded",
            400..=499 => "refuses the request",
            _ => "fails",
        };
        let message = format!("{} {does} (status {number})", self.target);
        // What is said about a wrong key often holds a part of it.
        let details = if number == 401 { None } else { self.words(&body) };
        let retry_after = retry_after(headers, received_at).or_else(|| retry_delay(error));
        CallError {
            status: Some(number),
            retry_after,
            billing,
            details,
            ..CallError::new(code, class, message)
        }
    }

    /// The error that a stream holds instead of a part of the answer: work has begun, so it may be billed.
    pub(super) fn in_stream(&self, body: &Value) -> CallError {
        let error = &body["error"];
        let word = |field: &str| error[field].as_str().unwrap_or_default().to_ascii_lowercase();
        let words = [word("type"), word("code"), word("status")];
        let number = error["code"].as_u64().unwrap_or_default();
        let says = |sought: &[&str]| words.iter().any(|word| sought.contains(&word.as_str()));
        let (code, class) = if number == 429
            || says(&["rate_limit_error", "rate_limit_exceeded", "resource_exhausted"])
        {
            ("rate_limited", ErrorClass::RateLimited)
        } else if number == 529 || says(&["overloaded_error"]) {
            ("overloaded", ErrorClass::RateLimited)
        } else if says(&["invalid_request_error", "invalid_argument"]) {
            ("provider_refused", ErrorClass::Refused)
        } else {
            ("provider_error", ErrorClass::Cut)
        };
        let message = format!("{} broke its answer off with an error", self.target);
        let (retry_after, details) = (retry_delay(error), self.words(body));
        CallError { retry_after, details, ..CallError::new(code, class, message) }
    }

    /// The provider's own words, on one line, cut, without the key.
    fn words(&self, body: &Value) -> Option<Box<str>> {
        let error = &body["error"];
        let all = [
            &error["message"],
            error,
            &body["message"],
            &body["detail"],
            &body[0]["error"]["message"],
        ];
        let text = all.into_iter().find_map(Value::as_str)?;
        // Before it is cut: half a key would not be recognized.
        let masked = self.masker.text(text);
        let mut words = String::new();
        for word in masked.split(|char: char| char.is_whitespace() || is_active(char)) {
            if word.is_empty() {
                continue;
            }
            if words.len() + word.len() >= ERROR_TEXT_BYTES_MAX {
                let room = ERROR_TEXT_BYTES_MAX.saturating_sub(words.len());
                words.push_str(&word[..word.floor_char_boundary(room)]);
                words.push('…');
                break;
            }
            if !words.is_empty() {
                words.push(' ');
            }
            words.push_str(word);
        }
        Some(words.into_boxed_str()).filter(|words| !words.is_empty())
    }
}

/// What `Retry-After` asks for: seconds, or a date, which is compared with the server's own `Date` where there is one, so
/// that our clocks need not agree. OpenAI adds one in milliseconds, which is the more exact.
fn retry_after(headers: &HeaderMap, received_at: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let millis = text("retry-after-ms").and_then(|millis| millis.parse::<f64>().ok());
    if let Some(wait) = millis.and_then(|millis| Duration::try_from_secs_f64(millis / 1000.0).ok())
    {
        return Some(wait);
    }
    let wanted = text(header::RETRY_AFTER.as_str()).filter(|wanted| !wanted.is_empty())?;
    if wanted.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit are a longer wait than anybody has time for.
        return Some(Duration::from_secs(wanted.parse().unwrap_or(u64::MAX)));
    }
    if let Ok(seconds) = wanted.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = httpdate::parse_http_date(wanted).ok()?;
    let sent_at = text("date").and_then(|date| httpdate::parse_http_date(date).ok());
    Some(date.duration_since(sent_at.unwrap_or(received_at)).unwrap_or_default())
}

/// What Google asks for in the body of an error, in place of a header: `{"retryDelay": "37s"}`.
fn retry_delay(error: &Value) -> Option<Duration> {
    let details = error["details"].as_array()?;
    let delay = details.iter().find_map(|detail| detail["retryDelay"].as_str())?;
    Duration::try_from_secs_f64(delay.strip_suffix('s')?.parse().ok()?).ok()
}

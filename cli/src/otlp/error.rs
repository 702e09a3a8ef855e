//! What can go wrong between Skein and a collector.

use crate::render::clean_lines;

/// Characters that are shown of an answer: what a collector complains of, or enough to recognise a proxy's page.
const SAID_CHARS_MAX: usize = 400;

/// Why a collector did not take spans.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Nobody answers there, after some tries. What was sent last may have arrived.
    #[error("no collector answers at {url}, after {tries} tries{hint}")]
    Unanswered {
        /// Where.
        url: String,
        /// How often it was tried.
        tries: u32,
        /// What would be right, if that is known.
        hint: &'static str,
        /// What went wrong the last time.
        source: reqwest::Error,
    },
    /// It said no.
    #[error("the collector at {url} answers {status}: {said}{hint}")]
    Refused {
        /// Where.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What it said.
        said: String,
        /// What would be right, if that is known.
        hint: &'static str,
    },
}

/// What an answer says, as far as it is shown.
pub(super) fn said(body: &[u8]) -> String {
    let own = serde_json::from_slice::<serde_json::Value>(body).ok();
    let own = own.and_then(|answer| answer["message"].as_str().map(str::to_owned));
    let text = own.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    let text = clean_lines(text.trim());
    if text.is_empty() {
        "nothing more".to_owned()
    } else {
        text.chars().take(SAID_CHARS_MAX).collect()
    }
}

/// What would be right where a collector says no with this status.
pub(super) fn hint(status: u16) -> &'static str {
    match status {
        401 | 403 => {
            ": it wants another key. Set OTEL_EXPORTER_OTLP_HEADERS or --header, for SigNoz Cloud signoz-ingestion-key=KEY"
        }
        404 | 405 => {
            ": it takes no spans there. Give the address of its OTLP/HTTP port, 4318 unless changed; /v1/traces is put behind it"
        }
        415 => ": it does not take OTLP in JSON",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collectors_own_words_are_shown_and_the_beginning_of_anything_else() {
        assert_eq!(said(br#"{"code": 16, "message": "bad key"}"#), "bad key");
        assert_eq!(said(b"<html>Bad Gateway</html>\n"), "<html>Bad Gateway</html>");
        assert_eq!(said(b""), "nothing more");
        assert_eq!(said(&[b'x'; 10_000]).len(), SAID_CHARS_MAX);
        assert_eq!(said(b"a\x1b[31mb"), "a [31mb");
    }

    #[test]
    fn what_would_be_right_is_said_where_it_is_known() {
        assert!(hint(401).contains("signoz-ingestion-key"));
        assert!(hint(404).contains("4318"));
        assert_eq!(hint(500), "");
    }
}

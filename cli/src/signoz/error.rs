//! What can go wrong between Skein and SigNoz.

use serde_json::Value;

use crate::render::clean_lines;

/// Characters that are shown of an answer: what SigNoz complains of at once, or enough to recognise a proxy's page.
const SAID_CHARS_MAX: usize = 800;

/// Why SigNoz did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum SignozError {
    /// No answer, or only a part of one. What was asked for may have been done.
    #[error(
        "no answer from SigNoz at {url} within its time, or only a part of one; what was asked may have been done"
    )]
    Unanswered {
        /// Its address.
        url: String,
        /// What went wrong.
        source: reqwest::Error,
    },
    /// Nobody listens there.
    #[error("SigNoz at {url} cannot be reached")]
    Unreachable {
        /// Its address.
        url: String,
        /// What went wrong.
        source: reqwest::Error,
    },
    /// The key is none of its keys.
    #[error(
        "SigNoz at {url} does not know the API key ({said}): make one in its settings (service accounts, API keys), and give that, not the ingestion key"
    )]
    UnknownKey {
        /// Its address.
        url: String,
        /// What it said.
        said: String,
    },
    /// The key may not do this.
    #[error("the API key may not do this at {url} ({said}): it needs the role of an editor")]
    Forbidden {
        /// Its address.
        url: String,
        /// What it said.
        said: String,
    },
    /// There is no such route.
    #[error(
        "{url} has no {path} ({said}): SigNoz has it since 0.135; the URL is that of its page, port 8080 unless changed, not that of its collector"
    )]
    NoSuchRoute {
        /// Its address.
        url: String,
        /// What is not there.
        path: String,
        /// What was said.
        said: String,
    },
    /// There is one already, which was not listed.
    #[error("SigNoz has one of that name already ({said}), made by somebody else or this moment")]
    Taken {
        /// What it said.
        said: String,
    },
    /// It said no.
    #[error("SigNoz answers {status}: {said}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it said.
        said: String,
    },
    /// An answer that is none of SigNoz's.
    #[error("{url} does not answer like SigNoz: {why}")]
    Malformed {
        /// Its address.
        url: String,
        /// What is wrong with it.
        why: String,
    },
}

/// What an answer that says no says: SigNoz's own words, or the beginning of whatever it is.
pub(super) fn said(status: u16, body: &[u8]) -> String {
    let own = serde_json::from_slice::<Value>(body).ok().and_then(|answer| {
        let error = &answer["error"];
        let message = error["message"].as_str().or(error.as_str())?.to_owned();
        let details = error["errors"].as_array().map_or(&[] as &[_], Vec::as_slice);
        let details = details.iter().filter_map(|detail| detail["message"].as_str());
        Some(std::iter::once(message.as_str()).chain(details).collect::<Vec<_>>().join("; "))
    });
    let text = own.unwrap_or_else(|| {
        let text = String::from_utf8_lossy(body);
        let text = text.trim();
        if text.is_empty() { format!("status {status}") } else { text.to_owned() }
    });
    clean_lines(&text).chars().take(SAID_CHARS_MAX).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signozs_own_words_are_shown_and_the_beginning_of_anything_else() {
        let own = br#"{"status": "error", "error": {"code": "dashboard_invalid_input", "message": "bad request",
            "errors": [{"message": "unknown field \"x\""}, {"message": "panel must have one query"}]}}"#;
        assert_eq!(said(400, own), "bad request; unknown field \"x\"; panel must have one query");
        assert_eq!(
            said(401, br#"{"status": "error", "error": "unauthenticated"}"#),
            "unauthenticated"
        );
        assert_eq!(said(502, b"<html>Bad Gateway</html>\n"), "<html>Bad Gateway</html>");
        assert_eq!(said(502, b""), "status 502");
        assert_eq!(said(502, &[b'x'; 10_000]).len(), 800);
        assert_eq!(said(502, b"a\x1b[31mb"), "a [31mb");
    }
}

//! Takes secrets out of URLs before they become attributes or are shown.
//!
//! Guesses on the safe side: a harmless value that looks like a secret is lost, which costs little.

use url::Url;
use url::form_urlencoded;

/// What stands where a secret was; the word that the HTTP conventions ask for.
pub const REDACTED: &str = "REDACTED";

/// Bytes of a URL that is traced; longer ones are cut. Browsers and proxies stop at about the same.
pub const URL_BYTES_MAX: usize = 2048;

/// Parts of the names of query parameters and headers whose values are secret.
const SECRET_NAMES: &[&str] = &[
    "auth",
    "code",
    "cookie",
    "credential",
    "jwt",
    "key",
    "nonce",
    "pass",
    "pwd",
    "secret",
    "session",
    "sig",
    "state",
    "token",
];

/// A path segment of that many characters that mixes cases and digits is taken for a token. Webhook
/// URLs carry theirs in the path; UUIDs, hashes and words do not mix cases.
const TOKEN_CHARS_MIN: usize = 20;

/// A URL without user, password, fragment and secrets. One that cannot be parsed is left out altogether.
#[must_use]
pub fn url(text: &str) -> String {
    let Ok(mut url) = Url::parse(text) else { return REDACTED.to_owned() };
    clean(&mut url);
    cut(url.into())
}

/// As [`url()`], for one that is parsed already.
pub(super) fn clean(url: &mut Url) {
    if !url.username().is_empty() || url.password().is_some() {
        // Both fail only for URLs that cannot have credentials.
        let _ = url.set_username(REDACTED);
        let _ = url.set_password(None);
    }
    url.set_fragment(None);
    let query = url.query().map(query);
    url.set_query(query.as_deref());
    let path = path(url.path());
    url.set_path(&path);
}

/// A text of some library, without the user information of the URLs and authorities in it, and without what it calls a
/// password.
pub(super) fn credentials(mut text: String) -> String {
    let mut from = 0;
    while let Some(at) = text[from..].find('@').map(|at| from + at) {
        let before = &text[..at];
        let start = before.rfind(|char: char| char.is_whitespace() || "/\"'(<,".contains(char));
        let start = start
            .map_or(0, |start| start + before[start..].chars().next().map_or(0, char::len_utf8));
        let user = &before[start..];
        // An authority by itself looks like an address of mail, unless there is a password.
        let is_secret =
            !user.is_empty() && (before[..start].ends_with("://") || user.contains(':'));
        from = at + 1;
        if is_secret {
            text.replace_range(start..at, REDACTED);
            from = start + REDACTED.len() + 1;
        }
    }
    for mark in ["password: Some(\"", "password: \"", "password="] {
        let mut from = 0;
        while let Some(start) = text[from..].find(mark).map(|at| from + at + mark.len()) {
            let end =
                text[start..].find(|char: char| char.is_whitespace() || "\"'&)".contains(char));
            let end = end.map_or(text.len(), |end| start + end);
            text.replace_range(start..end, REDACTED);
            from = start + REDACTED.len();
        }
    }
    text
}

/// A query, without its question mark, with the values of secret parameters replaced.
#[must_use]
pub fn query(raw: &str) -> String {
    cut(form(raw))
}

/// As [`query`], of any length: the body of a form.
#[must_use]
pub fn form(raw: &str) -> String {
    let parts = raw.split('&').map(|part| {
        let Some((name, _)) = part.split_once('=') else {
            return if is_token(part) { REDACTED.to_owned() } else { part.to_owned() };
        };
        let (decoded, value) = form_urlencoded::parse(part.as_bytes()).next().unwrap_or_default();
        let is_secret = is_secret_name(&decoded) || is_token(&value);
        if is_secret { format!("{name}={REDACTED}") } else { part.to_owned() }
    });
    parts.collect::<Vec<_>>().join("&")
}

/// Whether a query parameter or header of this name holds a secret.
#[must_use]
pub fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_NAMES.iter().any(|word| name.contains(word))
}

/// A path with the segments that look like tokens replaced.
#[must_use]
pub fn path(raw: &str) -> String {
    let segments = raw.split('/').map(|part| if is_token(part) { REDACTED } else { part });
    cut(segments.collect::<Vec<_>>().join("/"))
}

/// Whether a text looks as if it had been made by a machine in order not to be guessed.
#[must_use]
pub fn is_token(segment: &str) -> bool {
    let has = |test: fn(&u8) -> bool| segment.as_bytes().iter().any(test);
    segment.len() >= TOKEN_CHARS_MIN
        && has(u8::is_ascii_digit)
        && has(u8::is_ascii_uppercase)
        && has(u8::is_ascii_lowercase)
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(URL_BYTES_MAX));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn harmless_urls_are_left_alone() {
        for text in [
            "https://example.com/",
            "https://example.com:8443/a/b?page=2&limit=50",
            "https://example.com/runs/0199f3a2-5d1c-7cc4-9f6e-8d7a1c2b3e4f",
            "http://[::1]:9000/x?q=caf%C3%A9",
            "https://example.com/commit/4bf92f3577b34da6a3ce929d0e0e4736",
        ] {
            assert_eq!(url(text), text);
        }
    }

    #[test]
    fn secrets_do_not_survive() {
        for (text, expected) in [
            ("https://me:pw@example.com/", "https://REDACTED@example.com/"),
            ("https://me@example.com/x", "https://REDACTED@example.com/x"),
            ("https://e.com/?access_token=abc&n=1", "https://e.com/?access_token=REDACTED&n=1"),
            ("https://e.com/?%74oken=abc", "https://e.com/?%74oken=REDACTED"),
            ("https://e.com/?X-Amz-Signature=abc", "https://e.com/?X-Amz-Signature=REDACTED"),
            ("https://e.com/?api_key=abc", "https://e.com/?api_key=REDACTED"),
            ("https://e.com/?q=sk9AbcdEfGhIjKlMnOpQrSt", "https://e.com/?q=REDACTED"),
            (
                "https://e.com/hooks/T0/B0/a1B2c3D4e5F6g7H8i9J0kL",
                "https://e.com/hooks/T0/B0/REDACTED",
            ),
            ("https://e.com/bot12345:AAbbCCddEEffGGhh/send", "https://e.com/REDACTED/send"),
            ("https://e.com/a#id_token=abc", "https://e.com/a"),
            ("not a url with pass=word", "REDACTED"),
        ] {
            assert_eq!(url(text), expected);
        }
    }

    #[test]
    fn credentials_in_a_text_do_not_survive() {
        for (text, expected) in [
            (
                "cannot send to http://ada:pw@[::1]:1/a, nor (amqp://bob@mq/%2f)",
                "cannot send to http://REDACTED@[::1]:1/a, nor (amqp://REDACTED@mq/%2f)",
            ),
            (
                r#"checkout for ("http", ada:pw@é.example:1)"#,
                r#"checkout for ("http", REDACTED@é.example:1)"#,
            ),
            (
                r#"Url { username: "ada", password: Some("pw") }"#,
                r#"Url { username: "ada", password: Some("REDACTED") }"#,
            ),
            (r#"AMQPUserInfo { password: "pw" }"#, r#"AMQPUserInfo { password: "REDACTED" }"#),
            ("host=db password=pw user=ada", "host=db password=REDACTED user=ada"),
            ("https://REDACTED@example.com/", "https://REDACTED@example.com/"),
            ("mail ada@example.com, @ada, a@", "mail ada@example.com, @ada, a@"),
            ("https://example.com/@ada/x", "https://example.com/@ada/x"),
            ("password: None @", "password: None @"),
        ] {
            assert_eq!(credentials(text.to_owned()), expected);
        }
    }

    #[test]
    fn long_urls_are_cut() {
        let long = format!("https://example.com/{}", "é".repeat(URL_BYTES_MAX));
        assert!(url(&long).len() <= URL_BYTES_MAX);
    }
}

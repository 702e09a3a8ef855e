//! What of a request nobody else may read: the credentials in its URL, headers, query, form and body. They go to
//! the server that they are for, and neither into the run's record nor into its errors.

use std::borrow::Cow;

use reqwest::header::HeaderMap;
use serde_json::{Map, Value};
use skein_shared::telemetry::redact::{self, REDACTED};

/// Parts of the names of body fields whose values are secret. Fewer than for queries and headers: a body is what
/// the node is about, and `state` or `key` in it are ordinary words.
const SECRET_FIELDS: &[&str] = &[
    "api_key",
    "apikey",
    "authorization",
    "credential",
    "passphrase",
    "passwd",
    "password",
    "private_key",
    "secret",
    "token",
];
/// Bytes of a secret at least that is looked for in answers. A shorter one is a word, and would tear holes into text.
const SCRUBBED_BYTES_MIN: usize = 6;

/// The parameters as they may be stored and shown.
pub(super) fn conceal(mut params: Value) -> Value {
    let Value::Object(fields) = &mut params else { return params };
    if let Some(Value::String(url)) = fields.get_mut("url")
        && url::Url::parse(url).is_ok()
    {
        *url = redact::url(url);
    }
    for group in ["headers", "query", "form"] {
        if let Some(Value::Object(entries)) = fields.get_mut(group) {
            mask(entries, redact::is_secret_name);
        }
    }
    if let Some(body) = fields.get_mut("body") {
        conceal_body(body);
    }
    params
}

fn conceal_body(body: &mut Value) {
    match body {
        Value::Object(entries) => {
            mask(entries, |name| {
                let name = name.to_ascii_lowercase();
                SECRET_FIELDS.iter().any(|word| name.contains(word))
            });
            entries.values_mut().for_each(conceal_body);
        }
        Value::Array(items) => items.iter_mut().for_each(conceal_body),
        _ => {}
    }
}

fn mask(entries: &mut Map<String, Value>, is_secret: impl Fn(&str) -> bool) {
    for (name, value) in entries {
        if !value.is_null() && is_secret(name) {
            *value = REDACTED.into();
        }
    }
}

/// The secret header values of a request, to be taken out of what its server answered: some repeat what they
/// were sent.
pub(super) struct Sent(Vec<String>);

impl Sent {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let secret = headers.iter().filter(|(name, _)| redact::is_secret_name(name.as_str()));
        let texts = secret.filter_map(|(_, value)| value.to_str().ok()).flat_map(|text| {
            // Of `Bearer abc` the server may repeat either.
            let credential = text.split_once(' ').map(|(_, credential)| credential);
            [Some(text), credential].into_iter().flatten()
        });
        let long = texts.filter(|text| text.len() >= SCRUBBED_BYTES_MIN);
        Self(long.map(str::to_owned).collect())
    }

    pub(super) fn scrub<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.0.iter().fold(Cow::Borrowed(text), |text, secret| match text.contains(&**secret) {
            true => Cow::Owned(text.replace(&**secret, REDACTED)),
            false => text,
        })
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;
    use serde_json::json;

    use super::*;

    #[test]
    fn credentials_are_concealed_wherever_a_request_carries_them() {
        let params = json!({
            "method": "POST",
            "url": "https://me:pw@api.example/v1?api_key=abc&page=2",
            "headers": { "Authorization": "Bearer abc", "X-Api-Key": "abc", "Accept": "text/plain" },
            "query": { "access_token": "abc", "limit": 5 },
            "form": { "client_secret": "abc", "grant_type": "password" },
            "body": { "state": "open", "login": [{ "Password": "abc", "user": "me", "token": null }] },
        });
        let shown = json!({
            "method": "POST",
            "url": "https://REDACTED@api.example/v1?api_key=REDACTED&page=2",
            "headers": { "Authorization": "REDACTED", "X-Api-Key": "REDACTED", "Accept": "text/plain" },
            "query": { "access_token": "REDACTED", "limit": 5 },
            "form": { "client_secret": "REDACTED", "grant_type": "password" },
            "body": { "state": "open", "login": [{ "Password": "REDACTED", "user": "me", "token": null }] },
        });
        assert_eq!(conceal(params), shown);
        let harmless =
            json!({ "url": "not an address", "headers": "nor headers", "body": "token" });
        assert_eq!(conceal(harmless.clone()), harmless);
    }

    #[test]
    fn what_was_sent_in_confidence_is_scrubbed_from_what_comes_back() {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", HeaderValue::from_static("Bearer TOPSECRET-123"));
        headers.insert("x-api-key", HeaderValue::from_static("a"));
        headers.insert("accept", HeaderValue::from_static("application/json"));
        let sent = Sent::of(&headers);
        let text = "got Bearer TOPSECRET-123 (TOPSECRET-123) for application/json, a pity";
        assert_eq!(sent.scrub(text), "got REDACTED (REDACTED) for application/json, a pity");
    }
}

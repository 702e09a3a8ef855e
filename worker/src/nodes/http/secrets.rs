//! What of a request nobody else may read: the credentials in its URL, headers, query, form and body. They go to
//! the server that they are for, and neither into the run's record nor into its errors.
//!
//! They are known by their names, and from then on by their values, wherever a server repeats them. What a server
//! yields by itself is another matter: its body is data, which the nodes that follow may need.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};
use skein_shared::telemetry::redact::{self, REDACTED};
use skein_shared::workflow::params::Entries;
use skein_shared::workflow::params::http::HttpParams;
use url::form_urlencoded;

use crate::mask::Masker;

/// Parts of the names, without hyphens and underscores, whose values are surely secret. Fewer than for queries and
/// headers: a body is what the node is about, and `state` or `key` in it are ordinary words.
const SURE_NAMES: &[&str] = &[
    "accesskey",
    "apikey",
    "authorization",
    "credential",
    "passphrase",
    "passwd",
    "password",
    "privatekey",
    "secret",
    "token",
];
/// The same for headers, which carry credentials under more names.
const SURE_HEADERS: &[&str] = &["authent", "cookie", "jwt", "key", "session", "signature"];
/// Parts of the names of tokens and keys that open nothing: they lead to the next page, name a limit or a kind, or are
/// what a thing is found by. Results hold such values, and the nodes that follow need them.
const HARMLESS_NAMES: &[&str] = &[
    "cache",
    "continuation",
    "cursor",
    "expir",
    "idempotency",
    "limit",
    "next",
    "page",
    "partition",
    "policy",
    "routing",
    "sort",
    "surrogate",
    "ttl",
    "type",
];
/// Parts of the names of an answer's headers whose values are secret. Its challenges, as `WWW-Authenticate`, are not.
const ANSWERED_HEADERS: &[&str] = &["cookie", "jwt", "session"];

/// The parameters as they may be stored and shown.
pub(in crate::nodes) fn conceal(params: &Value) -> Value {
    let mut shown = params.clone();
    let is_form = is_form(params);
    if let Value::Object(fields) = &mut shown {
        if let Some(Value::String(url)) = fields.get_mut("url") {
            conceal_url(url);
        }
        for group in ["headers", "query", "form"] {
            if let Some(Value::Object(entries)) = fields.get_mut(group) {
                mask(entries, |name, _| redact::is_secret_name(name));
            }
        }
        match fields.get_mut("body") {
            Some(Value::String(text)) => match json_of(text) {
                Some(body) => {
                    let mut concealed = body.clone();
                    conceal_body(&mut concealed);
                    // Unless there is something to hide, the text stays as it was written.
                    if concealed != body {
                        *text = concealed.to_string();
                    }
                }
                None if is_form => *text = redact::form(text),
                None => {}
            },
            Some(body) => conceal_body(body),
            None => {}
        }
    }
    Secrets::among(params).sure.value(shown)
}

fn conceal_url(url: &mut String) {
    if url::Url::parse(url).is_ok() {
        *url = redact::url(url);
    } else if url.contains(['@', '?']) {
        REDACTED.clone_into(url);
    }
}

/// Masks the fields of a JSON body whose names say that they are secret, at any depth.
pub(super) fn conceal_body(body: &mut Value) {
    match body {
        Value::Object(entries) => {
            mask(entries, is_secret_field);
            entries.values_mut().for_each(conceal_body);
        }
        Value::Array(items) => items.iter_mut().for_each(conceal_body),
        _ => {}
    }
}

fn mask(entries: &mut Map<String, Value>, is_secret: impl Fn(&str, &Value) -> bool) {
    for (name, value) in entries {
        if !value.is_null() && is_secret(name, value) {
            *value = REDACTED.into();
        }
    }
}

/// Whether an answer's header is a credential of its own.
pub(super) fn is_answered_credential(name: &str) -> bool {
    is_sure_name(name) || contains(name, ANSWERED_HEADERS)
}

fn is_secret_field(name: &str, value: &Value) -> bool {
    // `max_tokens: 4096` is a count.
    let is_count = value.is_number() && name.to_ascii_lowercase().ends_with("tokens");
    contains(name, SURE_NAMES) && !is_count
}

fn is_sure_name(name: &str) -> bool {
    contains(name, SURE_NAMES) && !contains(name, HARMLESS_NAMES)
}

fn contains(name: &str, words: &[&str]) -> bool {
    let mut name = name.to_ascii_lowercase();
    name.retain(|c| c != '-' && c != '_');
    words.iter().any(|word| name.contains(word))
}

fn json_of(text: &str) -> Option<Value> {
    text.trim_start().starts_with(['{', '[']).then(|| serde_json::from_str(text).ok()).flatten()
}

fn is_form(params: &Value) -> bool {
    let headers = params.get("headers").and_then(Value::as_object);
    headers
        .into_iter()
        .flatten()
        .any(|(name, value)| says_form(name, value.as_str().unwrap_or_default()))
}

/// Whether a header says that the body is a form.
fn says_form(name: &str, value: &str) -> bool {
    name.eq_ignore_ascii_case("content-type")
        && value.to_ascii_lowercase().starts_with("application/x-www-form-urlencoded")
}

/// The secrets of a request, to be taken out of what its server answered: some repeat what they were sent.
#[derive(Debug)]
pub(super) struct Secrets {
    /// What is surely a credential.
    sure: Masker,
    /// And what only may be one: `?key=orders`.
    all: Masker,
}

impl Secrets {
    /// The secrets of a request.
    pub(super) fn of(params: &HttpParams) -> Self {
        let mut found = Found::default();
        found.url(&params.url);
        for (name, value) in &params.headers.0 {
            found.header(name, value);
        }
        for (name, text) in params.query.pairs().chain(params.form.iter().flat_map(Entries::pairs))
        {
            found.pair(name, text.to_owned());
        }
        if let Some(body) = &params.body {
            let is_form = params.headers.0.iter().any(|(name, value)| says_form(name, value));
            found.sent(body, is_form);
        }
        found.masked()
    }

    /// The secrets among rendered parameters that may be no request at all.
    pub(super) fn among(params: &Value) -> Self {
        let mut found = Found::default();
        if let Some(url) = params.get("url").and_then(Value::as_str) {
            found.url(url);
        }
        let group = |name: &str| params.get(name).and_then(Value::as_object).into_iter().flatten();
        for (name, value) in group("headers") {
            each_scalar(value, &mut |text| found.header(name, &text));
        }
        for (name, value) in group("query").chain(group("form")) {
            each_scalar(value, &mut |text| found.pair(name, text));
        }
        if let Some(body) = params.get("body") {
            found.sent(body, is_form(params));
        }
        found.masked()
    }

    /// What is surely secret: to be taken out of results and addresses, which must otherwise stay as they are.
    pub(super) fn sure(&self) -> &Masker {
        &self.sure
    }

    /// A text about a failure, without anything that may be secret. Nothing, if more was sent in confidence than is
    /// looked for.
    pub(super) fn quote<'t>(&self, text: &'t str) -> Option<Cow<'t, str>> {
        (!self.all.has_left_out()).then(|| self.all.text(text))
    }
}

/// Values that were sent in confidence.
#[derive(Default)]
struct Found {
    sure: Vec<String>,
    likely: Vec<String>,
}

impl Found {
    fn masked(self) -> Secrets {
        let sure = Masker::of(self.sure.iter().cloned());
        let all = match self.likely.is_empty() {
            true => sure.clone(),
            false => Masker::of(self.sure.into_iter().chain(self.likely)),
        };
        Secrets { sure, all }
    }

    fn url(&mut self, text: &str) {
        let Ok(url) = url::Url::parse(text.trim()) else { return };
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let user = decoded(url.username());
        match url.password().map(decoded) {
            Some(password) => {
                // It is sent so, in base64.
                self.sure.push(format!("{user}:{password}"));
                self.sure.push(password);
                self.likely.push(user);
            }
            None => {
                self.sure.push(format!("{user}:"));
                self.sure.push(user);
            }
        }
        self.pairs(url.query().unwrap_or_default());
        let parts = url.path_segments().into_iter().flatten();
        self.sure.extend(parts.filter(|part| redact::is_token(part)).map(decoded));
    }

    fn pairs(&mut self, text: &str) {
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            self.pair(&name, value.into_owned());
        }
    }

    fn pair(&mut self, name: &str, value: String) {
        if is_sure_name(name) || redact::is_token(&value) {
            self.sure.push(value);
        } else if redact::is_secret_name(name) {
            self.likely.push(value);
        }
    }

    fn header(&mut self, name: &str, text: &str) {
        if !redact::is_secret_name(name) {
            return;
        }
        // Of `Bearer abc` the server may repeat either.
        let (scheme, credential) = text.split_once(' ').unwrap_or(("", text));
        if scheme.eq_ignore_ascii_case("basic")
            && let Ok(pair) = STANDARD.decode(credential.trim())
            && let Ok(pair) = String::from_utf8(pair)
        {
            self.sure.extend(pair.split_once(':').map(|(_, password)| password.to_owned()));
            self.sure.push(pair);
        }
        for part in text.split([',', ';', ' ']) {
            if let Some((name, value)) = part.split_once('=') {
                self.part(name.trim(), value.trim().trim_matches('"'));
            }
        }
        let is_sure = is_sure_name(name)
            || redact::is_token(credential)
            || (contains(name, SURE_HEADERS) && !contains(name, HARMLESS_NAMES));
        let credential = credential.to_owned();
        if is_sure { &mut self.sure } else { &mut self.likely }
            .extend([text.to_owned(), credential]);
    }

    /// A part of a header's value: a cookie, a parameter of an authorization.
    fn part(&mut self, name: &str, value: &str) {
        let is_session = redact::is_secret_name(name) && contains(name, ANSWERED_HEADERS);
        let is_sure = is_session || is_sure_name(name) || redact::is_token(value);
        if is_sure { &mut self.sure } else { &mut self.likely }.push(value.to_owned());
    }

    /// A body as it was sent: text may be JSON or a form itself.
    fn sent(&mut self, body: &Value, is_form: bool) {
        match body {
            Value::String(text) => match json_of(text) {
                Some(body) => self.body(&body),
                None if is_form => self.pairs(text),
                None => {}
            },
            body => self.body(body),
        }
    }

    fn body(&mut self, body: &Value) {
        match body {
            Value::Object(entries) => {
                for (name, value) in entries {
                    if !is_secret_field(name, value) {
                        self.body(value);
                    } else if is_sure_name(name) {
                        each_scalar(value, &mut |text| self.sure.push(text));
                    } else {
                        each_scalar(value, &mut |text| self.likely.push(text));
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.body(item)),
            _ => {}
        }
    }
}

/// The texts and numbers within a value.
fn each_scalar(value: &Value, take: &mut impl FnMut(String)) {
    match value {
        Value::String(text) => take(text.clone()),
        Value::Number(number) => take(number.to_string()),
        Value::Array(items) => items.iter().for_each(|item| each_scalar(item, take)),
        Value::Object(entries) => entries.values().for_each(|value| each_scalar(value, take)),
        Value::Null | Value::Bool(_) => {}
    }
}

#[cfg(test)]
mod tests {
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
        assert_eq!(conceal(&params), shown);
        let harmless =
            json!({ "url": "not an address", "headers": "nor headers", "body": "token" });
        assert_eq!(conceal(&harmless), harmless);
    }

    #[test]
    fn what_was_sent_in_confidence_is_scrubbed_from_what_comes_back() {
        let secrets = Secrets::among(&json!({ "headers": {
            "authorization": "Bearer TOPSECRET-123", "x-api-key": "a", "accept": "application/json",
        } }));
        let text = "got Bearer TOPSECRET-123 (TOPSECRET-123) for application/json, a pity";
        let scrubbed = "got REDACTED (REDACTED) for application/json, a pity";
        assert_eq!(secrets.quote(text).unwrap(), scrubbed);
        assert_eq!(secrets.sure().text(text), scrubbed);
    }

    #[test]
    fn the_parts_of_a_credential_are_secrets_of_their_own() {
        let basic = format!("Basic {}", STANDARD.encode("clerk-17:HUSH-hush"));
        let secrets = Secrets::among(&json!({
            "headers": { "authorization": basic, "cookie": "theme=dark-blue; sid=QUIET-1; session=QUIET-2" },
        }));
        let text = "HUSH-hush QUIET-2 dark-blue QUIET-1";
        assert_eq!(secrets.sure().text(text), "REDACTED REDACTED dark-blue QUIET-1");
        assert_eq!(secrets.quote(text).unwrap(), "REDACTED REDACTED REDACTED REDACTED");
    }

    #[test]
    fn counts_cursors_and_kinds_are_no_credentials_of_which_results_are_cleaned() {
        let secrets = Secrets::among(&json!({
            "headers": { "Idempotency-Key": "order-17", "X-Author": "Jane Roe" },
            "query": { "page_token": "CURSOR-1" },
            "form": { "token": "HUSH-hush", "token_type_hint": "access_token" },
            "body": { "max_tokens": 128_000, "next_token": "CURSOR-2" },
        }));
        let text = "128000 CURSOR-1 CURSOR-2 order-17 Jane Roe access_token HUSH-hush";
        assert_eq!(secrets.sure().text(text), text.replace("HUSH-hush", REDACTED));
        assert_eq!(secrets.quote("128000 CURSOR-1 CURSOR-2").unwrap(), "128000 REDACTED REDACTED");
    }

    #[test]
    fn what_holds_too_many_secrets_is_not_quoted() {
        let users: Vec<_> =
            (0..2_000).map(|at| json!({ "password": format!("HUSH-{at}") })).collect();
        let secrets = Secrets::among(&json!({ "body": users }));
        assert_eq!(secrets.quote("anything"), None);
        assert_eq!(secrets.sure().text("HUSH-17"), "REDACTED");
    }
}

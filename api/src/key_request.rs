//! A request to make a key, read from its body.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use skein_shared::domain::diagnostic::{Diagnostic, join_pointer};
use skein_shared::domain::duration;
use skein_shared::domain::key_scopes::{KeyScope, KeyScopes};
use skein_shared::domain::limits::{IDENTITY_CHARS_MAX, KEY_LIFE_MAX, KEY_NAME_CHARS_MAX};
use skein_shared::domain::tenant::Identity;
use skein_shared::store::keys::{FoundKey, KeyExpiry};
use utoipa::ToSchema;

use crate::body::{Text, fields, only_json};
use crate::problem::{Problem, ProblemDiagnostic, ProblemKind};
use crate::words;

const FIELDS: &str = "known fields: name, scopes, workspace, user, expires_in, expires_at";

/// A request to make a key. It stands for the organization of the key that makes it, and ends with that at the latest.
#[derive(Debug, ToSchema)]
#[schema(as = CreateKey)]
#[expect(
    dead_code,
    reason = "it is read by hand, so that every diagnostic has its pointer; this documents it"
)]
pub(crate) struct CreateKeyBody {
    /// What it is called, for people.
    #[schema(
        min_length = 1,
        max_length = 64,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    name: String,
    /// What it may do, at least one. No more than the key that makes it may; `admin` includes all others.
    #[schema(value_type = words::KeyScopes)]
    scopes: Vec<String>,
    /// The workspace that it stands for; that of the key that makes it if absent.
    #[schema(value_type = String, required = false, min_length = 1, max_length = 255, pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$")]
    workspace: Option<String>,
    /// The user that it stands for; that of the key that makes it if absent.
    #[schema(value_type = String, required = false, min_length = 1, max_length = 255, pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$")]
    user: Option<String>,
    /// How long it is good, `12h` or `30d` for instance; ten years at most. Without it and `expires_at`, as long as the
    /// key that makes it.
    #[schema(value_type = String, required = false, example = "30d", min_length = 2, pattern = r"^\s*([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?\s*$")]
    expires_in: Option<String>,
    /// When it ends, instead of `expires_in`.
    #[schema(value_type = DateTime<Utc>, required = false)]
    expires_at: Option<DateTime<Utc>>,
}

/// A key that somebody wants.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct WantedKey {
    pub(crate) name: String,
    pub(crate) identity: Identity,
    pub(crate) scopes: KeyScopes,
    pub(crate) expiry: Option<KeyExpiry>,
}

/// Reads the body for the holder of `maker`; all diagnostics are reported at once. What is well-formed and more than the
/// maker has is forbidden.
pub(crate) fn read(body: &Text, maker: &FoundKey) -> Result<WantedKey, Problem> {
    only_json(body)?;
    read_text(&body.text, maker)
}

fn read_text(text: &str, maker: &FoundKey) -> Result<WantedKey, Problem> {
    let mut reader = Reader { fields: fields(text, FIELDS)?, diagnostics: Vec::new() };
    let name = reader.required("name");
    let name = name.and_then(|name| reader.name("name", &name, KEY_NAME_CHARS_MAX));
    let scopes = reader.required("scopes");
    let scopes = scopes.map(|scopes| reader.scopes(&scopes)).unwrap_or_default();
    let workspace = reader.identity("workspace");
    let user = reader.identity("user");
    let expiry = reader.expiry();
    let diagnostics = reader.finish();
    if !diagnostics.is_empty() {
        return Err(refuse(ProblemKind::InvalidRequest, diagnostics));
    }
    let wider = scopes.iter().filter(|(_, scope)| !maker.scopes.allow(*scope));
    let wider: Vec<_> = wider
        .map(|(index, scope)| {
            let message = format!("the key that makes it lacks the scope `{scope}`");
            Diagnostic::new(format!("/scopes/{index}"), message, "no more than it has itself")
        })
        .collect();
    if !wider.is_empty() {
        return Err(refuse(ProblemKind::Forbidden, wider));
    }
    let Identity { organization, workspace: own_workspace, user: own_user } = &maker.identity;
    Ok(WantedKey {
        name: name.unwrap_or_default(),
        identity: Identity {
            organization: organization.clone(),
            workspace: workspace.map_or_else(|| own_workspace.clone(), Into::into),
            user: user.map_or_else(|| own_user.clone(), Into::into),
        },
        scopes: scopes.into_iter().map(|(_, scope)| scope).collect(),
        expiry,
    })
}

fn refuse(kind: ProblemKind, diagnostics: Vec<Diagnostic>) -> Problem {
    let diagnostics = diagnostics.into_iter().map(ProblemDiagnostic::from).collect();
    Problem::with_diagnostics(kind, diagnostics)
}

/// The refusal of a key that would have ended already.
pub(crate) fn past_expiry() -> Problem {
    let diagnostic = Diagnostic::new("/expires_at", "is past", "a time that is still to come");
    refuse(ProblemKind::InvalidRequest, vec![diagnostic])
}

/// Whether it can be the name of a key, a workspace or a user.
pub(crate) fn is_name(text: &str, chars_max: usize) -> bool {
    !text.trim().is_empty()
        && !text.chars().any(char::is_control)
        && text.chars().count() <= chars_max
}

struct Reader {
    fields: Map<String, Value>,
    diagnostics: Vec<Diagnostic>,
}

impl Reader {
    fn refuse(&mut self, field: &str, message: &str, hint: impl Into<String>) {
        self.diagnostics.push(Diagnostic::new(join_pointer("", field), message, hint));
    }

    fn required(&mut self, field: &str) -> Option<Value> {
        let value = self.fields.shift_remove(field);
        if value.is_none() {
            self.refuse(field, "is missing", FIELDS);
        }
        value
    }

    fn name(&mut self, field: &str, value: &Value, chars_max: usize) -> Option<String> {
        let text = value.as_str().filter(|text| is_name(text, chars_max));
        if text.is_none() {
            let hint = format!("a text of 1 to {chars_max} characters, without control characters");
            self.refuse(field, "is no name", hint);
        }
        text.map(str::to_owned)
    }

    fn identity(&mut self, field: &str) -> Option<String> {
        let value = self.fields.shift_remove(field)?;
        self.name(field, &value, IDENTITY_CHARS_MAX)
    }

    /// The scopes, each with its place.
    fn scopes(&mut self, value: &Value) -> Vec<(usize, KeyScope)> {
        let hint = || format!("one or more of {}", KeyScope::WORDS.join(", "));
        let Some(words) = value.as_array().filter(|words| !words.is_empty()) else {
            self.refuse("scopes", "is not a list of scopes", hint());
            return Vec::new();
        };
        let mut scopes: Vec<(usize, KeyScope)> = Vec::new();
        for (index, word) in words.iter().enumerate() {
            let scope = word.as_str().and_then(|word| word.parse().ok());
            let message = match scope {
                None => "is no scope",
                Some(scope) if scopes.iter().any(|(_, known)| *known == scope) => "is there twice",
                Some(scope) => {
                    scopes.push((index, scope));
                    continue;
                }
            };
            let pointer = format!("/scopes/{index}");
            self.diagnostics.push(Diagnostic::new(pointer, message, hint()));
        }
        scopes
    }

    fn expiry(&mut self) -> Option<KeyExpiry> {
        let (time, at) =
            (self.fields.shift_remove("expires_in"), self.fields.shift_remove("expires_at"));
        if time.is_some() && at.is_some() {
            self.refuse("expires_in", "stands beside `expires_at`", "one of the two");
        }
        if let Some(at) = at {
            let read = at.as_str().and_then(|text| DateTime::parse_from_rfc3339(text).ok());
            if read.is_none() {
                self.refuse("expires_at", "is no time", "an RFC 3339 time: 2030-01-31T12:00:00Z");
            }
            return read.map(|at| KeyExpiry::At(at.with_timezone(&Utc)));
        }
        let read = time?.as_str().and_then(|text| duration::parse(text).ok());
        let read = read.filter(|time| !time.is_zero() && *time <= KEY_LIFE_MAX);
        if read.is_none() {
            let hint = format!("a duration of up to {}: 30d", duration::format(KEY_LIFE_MAX));
            self.refuse("expires_in", "is no such duration", hint);
        }
        read.map(KeyExpiry::In)
    }

    fn finish(self) -> Vec<Diagnostic> {
        let Self { fields, mut diagnostics } = self;
        let unknown = fields.keys();
        let unknown =
            unknown.map(|name| Diagnostic::new(join_pointer("", name), "is not known", FIELDS));
        diagnostics.extend(unknown);
        diagnostics
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn maker(scopes: &str) -> FoundKey {
        FoundKey {
            identity: Identity::new("acme", "main", "ann"),
            scopes: KeyScopes::of_words(scopes),
            name: None,
            expires_at: None,
            expires_in: None,
        }
    }

    #[test]
    fn workspace_and_user_are_the_makers_unless_others_are_named() {
        let body = json!({ "name": "ci", "scopes": ["run", "read"] });
        let wanted = read_text(&body.to_string(), &maker("admin")).unwrap();
        assert_eq!(wanted.identity, maker("admin").identity);
        assert_eq!((wanted.scopes, wanted.expiry), (KeyScopes::of_words("read run"), None));
        let body = json!({ "name": "ci", "scopes": ["run"], "workspace": "w", "user": "u", "expires_in": "1d" });
        let wanted = read_text(&body.to_string(), &maker("admin")).unwrap();
        assert_eq!(wanted.identity, Identity::new("acme", "w", "u"));
        assert_eq!(wanted.expiry, Some(KeyExpiry::In(Duration::from_secs(24 * 3600))));
    }

    #[test]
    fn no_key_is_wider_than_its_makers() {
        let body = json!({ "name": "ci", "scopes": ["read", "write", "admin"] }).to_string();
        let problem = read_text(&body, &maker("read run")).unwrap_err();
        assert_eq!(problem.kind(), ProblemKind::Forbidden);
        let text = format!("{problem:?}");
        assert!(text.contains("/scopes/1") && text.contains("/scopes/2"), "{text}");
        assert!(!text.contains("/scopes/0"), "{text}");
        assert!(read_text(&body, &maker("admin")).is_ok());
        let body = json!({ "name": "ci", "scopes": ["read"] }).to_string();
        assert!(read_text(&body, &maker("read run")).is_ok());
    }
}

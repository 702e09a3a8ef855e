//! What mock models answer: a list of replies, each with what a request must say to get it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use skein_shared::document;
use skein_shared::domain::{diagnostic::Diagnostic, duration};

use super::asked::{Asked, Wire};

/// Replies in a script at most: each request looks at them one by one.
const REPLIES_MAX: usize = 10_000;

/// A script.
#[derive(Debug, Clone, Default)]
pub struct Script {
    pub(super) entries: Vec<Entry>,
}

/// A reply, and who gets it.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    when: When,
    pub(super) reply: Reply,
    /// How often for each `Idempotency-Key`; after that the next entry that fits is taken.
    pub(super) times: Option<u64>,
}

/// What a request must say; what is left out, any request does.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct When {
    /// The model; with `*` at its end, what its name begins with.
    model: Option<String>,
    /// The wire format.
    wire: Option<Wire>,
    /// A part of its last message.
    contains: Option<String>,
    /// A part of its system prompt.
    system: Option<String>,
    /// The tool whose result its last message is, or whether it is one at all.
    tool_result: Option<ToolResult>,
    /// How many answers of the model are in the conversation.
    turn: Option<usize>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum ToolResult {
    Any(bool),
    Of(String),
}

/// What a request gets.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reply {
    /// The text of the answer.
    pub(super) text: Option<String>,
    /// The text as it stands between the quotes of JSON: for escapes that no text can hold.
    pub(super) escaped_text: Option<String>,
    /// A value whose JSON is the text.
    pub(super) json: Option<Value>,
    /// Tools to call.
    #[serde(default)]
    pub(super) tool_calls: Vec<Call>,
    /// Why it ended, in the words of the wire format.
    pub(super) finish_reason: Option<String>,
    /// The model that answers, if it is another than was asked.
    pub(super) model: Option<String>,
    #[serde(default)]
    pub(super) usage: UsageRule,
    /// The text's pieces, or how many.
    pub(super) chunks: Option<Chunks>,
    /// The wait before the answer.
    #[serde(default, deserialize_with = "duration")]
    pub(super) delay: Duration,
    /// The wait before each piece but the first.
    #[serde(default, deserialize_with = "duration")]
    pub(super) chunk_delay: Duration,
    /// The status of an error, or of a `raw` answer.
    pub(super) status: Option<u16>,
    /// The provider's words about the error.
    pub(super) error: Option<String>,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    /// After so many pieces, the connection is cut.
    pub(super) cut_after: Option<usize>,
    /// After so many pieces, nothing more comes.
    pub(super) hang_after: Option<usize>,
    /// The body, as it is.
    pub(super) raw: Option<String>,
    /// How often `raw` is sent.
    pub(super) repeat: Option<u32>,
}

/// A tool to call.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Call {
    /// Its id; one is made where it is left out, and none is sent where it is empty.
    pub(super) id: Option<String>,
    pub(super) name: String,
    /// Its arguments; a text is sent as it is, JSON or not.
    #[serde(default)]
    pub(super) arguments: Value,
}

/// What is counted.
#[derive(Debug, Clone, Default)]
pub(super) enum UsageRule {
    /// A token for four bytes.
    #[default]
    Usual,
    /// A token for each byte, of the whole request and of what is answered.
    Bytes,
    /// Nothing is said.
    None,
    /// As it is written.
    Fixed(FixedUsage),
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FixedUsage {
    pub(super) input_tokens: u64,
    pub(super) output_tokens: u64,
    #[serde(default)]
    pub(super) cached_tokens: u64,
}

impl<'de> Deserialize<'de> for UsageRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        match value.as_str() {
            Some("bytes") => Ok(Self::Bytes),
            Some("none") => Ok(Self::None),
            Some(_) => Err(D::Error::custom("usage is `bytes`, `none` or an object")),
            None => serde_json::from_value(value).map(Self::Fixed).map_err(D::Error::custom),
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Chunks {
    Count(usize),
    Pieces(Vec<String>),
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    duration::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

impl When {
    fn fits(&self, asked: &Asked) -> bool {
        let model = self.model.as_ref().is_none_or(|model| match model.strip_suffix('*') {
            Some(start) => asked.model.starts_with(start),
            None => asked.model == *model,
        });
        let tool = self.tool_result.as_ref().is_none_or(|wanted| match wanted {
            ToolResult::Any(is_one) => asked.tool_results.is_empty() != *is_one,
            ToolResult::Of(tool) => asked.tool_results.contains(tool),
        });
        model
            && tool
            && self.wire.is_none_or(|wire| wire == asked.wire)
            && self.contains.as_ref().is_none_or(|part| asked.last.contains(part))
            && self.system.as_ref().is_none_or(|part| asked.system.contains(part))
            && self.turn.is_none_or(|turn| turn == asked.turn)
    }
}

impl Script {
    /// The replies that fit a request, in order, with their numbers.
    pub(super) fn fitting<'a>(
        &'a self,
        asked: &'a Asked,
    ) -> impl Iterator<Item = (usize, &'a Entry)> {
        self.entries.iter().enumerate().filter(|(_, entry)| entry.when.fits(asked))
    }
}

/// What is wrong with a script.
#[derive(Debug, thiserror::Error)]
pub struct MalformedScript(Vec<Diagnostic>);

impl fmt::Display for MalformedScript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.0.iter().enumerate() {
            let message = diagnostic.placed_message();
            let Diagnostic { pointer, hint, .. } = diagnostic;
            let line = if index == 0 { "" } else { "\n" };
            let place = if pointer.is_empty() { "" } else { ": " };
            write!(f, "{line}{pointer}{place}{message}")?;
            if !hint.is_empty() {
                write!(f, " ({hint})")?;
            }
        }
        Ok(())
    }
}

impl FromStr for Script {
    type Err = MalformedScript;

    fn from_str(text: &str) -> Result<Self, MalformedScript> {
        let document = document::parse(text, None).map_err(|error| MalformedScript(vec![error]))?;
        let one = |pointer: &str, message: &str, hint: &str| {
            MalformedScript(vec![Diagnostic::new(pointer, message, hint)])
        };
        let Some(list) = document["replies"].as_array() else {
            return Err(one("", "there is no list of replies", "`replies:` and a list below it"));
        };
        if list.len() > REPLIES_MAX {
            return Err(one("/replies", "too many replies", &format!("at most {REPLIES_MAX}")));
        }
        let mut diagnostics = Vec::new();
        let others = document.as_object().into_iter().flat_map(|fields| fields.keys());
        for name in others.filter(|name| *name != "replies") {
            diagnostics.push(Diagnostic::new(format!("/{name}"), "unknown field", "`replies`"));
        }
        let read = list.iter().enumerate().map(|(index, value)| entry(index, value));
        let mut entries = Vec::new();
        for read in read {
            match read {
                Ok(entry) => entries.push(entry),
                Err(found) => diagnostics.extend(found),
            }
        }
        if diagnostics.is_empty() {
            Ok(Self { entries })
        } else {
            Err(MalformedScript(diagnostics))
        }
    }
}

fn entry(index: usize, value: &Value) -> Result<Entry, Vec<Diagnostic>> {
    let at = format!("/replies/{index}");
    let mut diagnostics = Vec::new();
    let known = ["when", "reply", "times"];
    let fields = value.as_object().into_iter().flat_map(|fields| fields.keys());
    for name in fields.filter(|name| !known.contains(&name.as_str())) {
        let pointer = format!("{at}/{name}");
        diagnostics.push(Diagnostic::new(pointer, "unknown field", known.join(", ")));
    }
    let when = part(&at, value, "when", &mut diagnostics).unwrap_or_default();
    let times = part::<Option<u64>>(&at, value, "times", &mut diagnostics).flatten();
    let reply = part::<Reply>(&at, value, "reply", &mut diagnostics);
    if let Some(reply) = &reply
        && let Some(problem) = problem(reply)
    {
        diagnostics.push(Diagnostic::new(format!("{at}/reply"), problem, ""));
    } else if value["reply"].is_null() {
        diagnostics.push(Diagnostic::new(
            at,
            "no reply",
            "`reply:` with text, json, tool_calls, status or raw",
        ));
    }
    match reply {
        Some(reply) if diagnostics.is_empty() => Ok(Entry { when, reply, times }),
        _ => Err(diagnostics),
    }
}

fn part<T: DeserializeOwned>(
    at: &str,
    value: &Value,
    name: &str,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<T> {
    let part = value.get(name)?.clone();
    serde_json::from_value(part)
        .map_err(|error| {
            diagnostics.push(Diagnostic::new(format!("{at}/{name}"), error.to_string(), ""));
        })
        .ok()
}

/// What makes no sense of a reply as a whole.
fn problem(reply: &Reply) -> Option<&'static str> {
    let texts = [reply.text.is_some(), reply.escaped_text.is_some(), reply.json.is_some()];
    let texts = texts.into_iter().filter(|is_there| *is_there).count();
    if texts > 1 {
        return Some("only one of `text`, `escaped_text` and `json` can be the text");
    }
    if texts == 0 && reply.tool_calls.is_empty() && reply.status.is_none() && reply.raw.is_none() {
        return Some("one of `text`, `json`, `tool_calls`, `status` and `raw` is needed");
    }
    if reply.status.is_some_and(|status| !(200..=599).contains(&status)) {
        return Some("a `status` is a number from 200 to 599");
    }
    if reply.headers.iter().any(|(name, value)| {
        name.parse::<axum::http::HeaderName>().is_err()
            || value.parse::<axum::http::HeaderValue>().is_err()
    }) {
        return Some("`headers` has a name or a value that cannot be sent");
    }
    None
}

//! An answer before it is written in a wire format, and the pieces that it is written in.

use serde_json::Value;

use super::asked::Asked;
use super::script::{Call, Chunks, FixedUsage, Reply, UsageRule};

/// Stands for a text that is put in as it is, after JSON has been written. In no script and no language.
const ESCAPED: &str = "\u{10fffd}";

/// A piece of a stream.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    /// What is sent.
    pub(super) event: Option<&'static str>,
    /// The data of the event.
    pub(super) data: Value,
    /// Whether it carries a part of the answer: those are what is counted and delayed.
    pub(super) is_content: bool,
}

impl Frame {
    pub(super) fn content(event: Option<&'static str>, data: Value) -> Self {
        Self { event, data, is_content: true }
    }

    pub(super) fn other(event: Option<&'static str>, data: Value) -> Self {
        Self { event, data, is_content: false }
    }

    /// The bytes of it as a server-sent event.
    pub(super) fn event_text(&self, answer: &Answer) -> String {
        let name = self.event.map(|name| format!("event: {name}\n")).unwrap_or_default();
        format!("{name}data: {}\n\n", answer.escape(&self.data))
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) id: String,
    pub(super) model: String,
    /// The text in pieces.
    pub(super) pieces: Vec<String>,
    pub(super) calls: Vec<Calling>,
    pub(super) finish_reason: Option<String>,
    pub(super) usage: Option<FixedUsage>,
    escaped: Option<String>,
}

/// A tool call.
#[derive(Debug, Clone)]
pub(super) struct Calling {
    /// None when it is to be missing.
    pub(super) id: Option<String>,
    pub(super) name: String,
    pub(super) arguments: String,
}

impl Calling {
    /// The arguments as JSON, if they are.
    pub(super) fn parsed(&self) -> Value {
        serde_json::from_str(&self.arguments).unwrap_or_else(|_| self.arguments.clone().into())
    }

    /// The arguments in two pieces.
    pub(super) fn halves(&self) -> [&str; 2] {
        let (one, other) =
            self.arguments.split_at(self.arguments.floor_char_boundary(self.arguments.len() / 2));
        [one, other]
    }
}

impl Answer {
    pub(super) fn new(reply: &Reply, asked: &Asked, number: u64) -> Self {
        let text = match (&reply.text, &reply.json, &reply.escaped_text) {
            (Some(text), ..) => text.clone(),
            (_, Some(json), _) => json.to_string(),
            (.., Some(_)) => ESCAPED.to_owned(),
            _ => String::new(),
        };
        let calls: Vec<_> = reply
            .tool_calls
            .iter()
            .enumerate()
            .map(|(at, call)| calling(call, at, asked))
            .collect();
        let usage = usage(
            reply,
            asked,
            text.len() + calls.iter().map(|it| it.arguments.len()).sum::<usize>(),
        );
        Self {
            id: format!("mock-{number}"),
            model: reply.model.clone().unwrap_or_else(|| asked.model.clone()),
            pieces: pieces(reply.chunks.as_ref(), &text),
            calls,
            finish_reason: reply.finish_reason.clone(),
            usage,
            escaped: reply.escaped_text.clone(),
        }
    }

    pub(super) fn text(&self) -> String {
        self.pieces.concat()
    }

    /// The JSON of a value, with the text that is put in as it is.
    pub(super) fn escape(&self, value: &Value) -> String {
        let json = value.to_string();
        match &self.escaped {
            Some(text) => json.replace(ESCAPED, text),
            None => json,
        }
    }
}

fn calling(call: &Call, at: usize, asked: &Asked) -> Calling {
    let own = || format!("call_mock_{}_{at}", asked.turn);
    let arguments = match &call.arguments {
        Value::String(text) => text.clone(),
        Value::Null => "{}".to_owned(),
        value => value.to_string(),
    };
    let id = call.id.clone().unwrap_or_else(own);
    Calling { id: Some(id).filter(|id| !id.is_empty()), name: call.name.clone(), arguments }
}

fn usage(reply: &Reply, asked: &Asked, output_bytes: usize) -> Option<FixedUsage> {
    let tokens = |bytes: usize, each: usize| bytes.div_ceil(each) as u64;
    let each = match &reply.usage {
        UsageRule::None => return None,
        UsageRule::Fixed(usage) => return Some(*usage),
        UsageRule::Bytes => 1,
        UsageRule::Usual => 4,
    };
    Some(FixedUsage {
        input_tokens: tokens(asked.bytes, each),
        output_tokens: tokens(output_bytes, each),
        cached_tokens: 0,
    })
}

/// The text in pieces: those that the script lists, as many as it says, or its words.
fn pieces(chunks: Option<&Chunks>, text: &str) -> Vec<String> {
    match chunks {
        Some(Chunks::Pieces(pieces)) => pieces.clone(),
        Some(Chunks::Count(count)) => {
            let chars: Vec<char> = text.chars().collect();
            let each = chars.len().div_ceil((*count).max(1)).max(1);
            chars.chunks(each).map(|piece| piece.iter().collect()).collect()
        }
        None => text.split_inclusive(' ').map(str::to_owned).collect(),
    }
}

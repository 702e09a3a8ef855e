//! An answer on its way: pieces put together within bounds, whatever the wire format.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::Value;
use skein_shared::domain::usage::Usage;
use tokio::time::Instant;

use super::error::CallError;
use super::lenient::clean;
use super::reply::ChatReply;
use super::request::{ChatRequest, Message, ToolCall};
use super::{
    ARGUMENTS_BYTES_MAX, NAME_BYTES_MAX, SCHEMA_TEXT_BYTES_MAX, TEXT_BYTES_MAX, TOOL_CALLS_MAX,
};

/// Characters of a call's id at most: what OpenAI takes back.
const CALL_ID_CHARS_MAX: usize = 40;

/// How many times what was reserved for a call its provider may count, on top of [`COUNT_SPARE`]. Both limits are kept by
/// sound providers; servers that leave a limit or reasoning aside are believed that far, slips and lies are not.
const COUNT_FACTOR_MAX: u64 = 8;
/// Tokens that are believed beside those that were asked for: of prompts that gateways put in front, of reasoning that a
/// server counts beside the limit.
const COUNT_SPARE: u64 = 32 * 1024;

/// An answer on its way.
pub(super) struct Answer<'a> {
    deltas: Option<&'a (dyn Fn(&str) + Send + Sync)>,
    /// Tokens of the input and of the output that are believed.
    believed: (u64, u64),
    begun: Instant,
    first_token: Option<Duration>,
    text: String,
    /// As they are recorded.
    text_bytes: usize,
    text_bytes_max: usize,
    calls: Vec<PartialCall>,
    /// As they are recorded.
    arguments_bytes: usize,
    /// The ids of the conversation so far, and of this answer.
    ids: HashSet<String>,
    finish_reason: Option<String>,
    /// When that was said last: some servers say it with each piece.
    finished_at: Option<Instant>,
    usage: Option<Usage>,
    is_usage_final: bool,
    model: Option<String>,
    response_id: Option<String>,
}

/// A tool call on its way.
struct PartialCall {
    /// As the provider named it.
    given: Option<String>,
    name: String,
    arguments: String,
    signature: Option<String>,
}

impl<'a> Answer<'a> {
    /// The answer to a request whose input has `input_tokens` at most.
    pub(super) fn new(
        request: &ChatRequest,
        input_tokens: usize,
        deltas: Option<&'a (dyn Fn(&str) + Send + Sync)>,
    ) -> Self {
        let calls = request.messages.iter().flat_map(|message| match message {
            Message::Assistant { tool_calls, .. } => tool_calls.as_slice(),
            Message::User(_) | Message::ToolResult { .. } => &[],
        });
        Self {
            deltas,
            believed: (believed(input_tokens as u64), believed(request.max_tokens.into())),
            begun: Instant::now(),
            first_token: None,
            text: String::new(),
            text_bytes: 0,
            text_bytes_max: match request.schema {
                Some(_) => SCHEMA_TEXT_BYTES_MAX,
                None => TEXT_BYTES_MAX,
            },
            ids: calls.map(|call| call.id.clone()).collect(),
            calls: Vec::new(),
            arguments_bytes: 0,
            finish_reason: None,
            finished_at: None,
            usage: None,
            is_usage_final: false,
            model: None,
            response_id: None,
        }
    }

    /// Whether a token of any kind has come.
    pub(super) fn has_begun(&self) -> bool {
        self.first_token.is_some()
    }

    /// A token has come that is not part of the answer: of hidden reasoning.
    pub(super) fn hidden(&mut self) {
        if self.first_token.is_none() {
            self.first_token = Some(self.begun.elapsed());
        }
    }

    /// A piece of the text.
    pub(super) fn text(&mut self, piece: &str) -> Result<(), CallError> {
        if piece.is_empty() {
            return Ok(());
        }
        self.hidden();
        let piece = clean(piece);
        self.text_bytes += recorded_len(&piece);
        if self.text_bytes > self.text_bytes_max {
            return Err(CallError::too_large("text", self.text_bytes_max));
        }
        self.text.push_str(&piece);
        if let Some(deltas) = self.deltas {
            deltas(&piece);
        }
        Ok(())
    }

    /// A tool call begins. Returns its place, for what follows of it.
    pub(super) fn begin_call(&mut self, id: Option<&str>, name: &str) -> Result<usize, CallError> {
        self.hidden();
        if self.calls.len() == TOOL_CALLS_MAX {
            let message = format!("the model's answer has more than {TOOL_CALLS_MAX} tool calls");
            return Err(CallError { message, ..CallError::too_large("list", TOOL_CALLS_MAX) });
        }
        self.calls.push(PartialCall {
            given: id.filter(|id| !id.is_empty()).map(name_of),
            name: name_of(name),
            arguments: String::new(),
            signature: None,
        });
        Ok(self.calls.len() - 1)
    }

    /// A piece of a call's name. Some servers send it behind the beginning.
    pub(super) fn call_name(&mut self, at: usize, piece: &str) {
        if let Some(call) = self.calls.get_mut(at) {
            call.name = name_of(format!("{}{piece}", call.name));
        }
    }

    /// A piece of a call's arguments.
    pub(super) fn arguments(&mut self, at: usize, piece: &str) -> Result<(), CallError> {
        self.hidden();
        let piece = clean(piece);
        self.count_arguments(recorded_len(&piece))?;
        if let Some(call) = self.calls.get_mut(at) {
            call.arguments.push_str(&piece);
        }
        Ok(())
    }

    /// What is to be sent back with a call.
    pub(super) fn signature(&mut self, at: usize, signature: &str) -> Result<(), CallError> {
        self.count_arguments(recorded_len(signature))?;
        if let Some(call) = self.calls.get_mut(at) {
            call.signature = Some(signature.to_owned());
        }
        Ok(())
    }

    fn count_arguments(&mut self, bytes: usize) -> Result<(), CallError> {
        self.arguments_bytes += bytes;
        if self.arguments_bytes > ARGUMENTS_BYTES_MAX {
            return Err(CallError::too_large("tool arguments", ARGUMENTS_BYTES_MAX));
        }
        Ok(())
    }

    /// Whether a call that has begun has this id.
    pub(super) fn is_call(&self, at: usize, id: &str) -> bool {
        self.calls.get(at).is_some_and(|call| call.given.as_deref() == Some(&name_of(id)))
    }

    /// The answer is complete but for what is counted; `reason` in the neutral words where there is one.
    pub(super) fn finish(&mut self, reason: impl Into<String>) {
        self.finish_reason = Some(name_of(reason.into()));
        self.finished_at = Some(Instant::now());
    }

    /// When the answer was said to be complete, the last time that it was.
    pub(super) fn finished_at(&self) -> Option<Instant> {
        self.finished_at
    }

    /// Whether the answer is complete but for what is counted.
    pub(super) fn is_finished(&self) -> bool {
        self.finish_reason.is_some()
    }

    /// What has been counted so far; counts only grow.
    pub(super) fn usage(&mut self, usage: Usage) {
        // Before the end, tokens are yet to come.
        self.is_usage_final = self.is_finished();
        self.usage = Some(usage);
    }

    /// What has been counted so far, if that can be.
    pub(super) fn usage_so_far(&self) -> Option<Usage> {
        let (input, output) = self.believed;
        self.usage.filter(|it| it.input_tokens <= input && it.output_tokens <= output)
    }

    /// What the answer says of itself.
    pub(super) fn names(&mut self, model: Option<&Value>, response_id: Option<&Value>) {
        let read = |value: Option<&Value>| {
            value.and_then(Value::as_str).filter(|name| !name.is_empty()).map(name_of)
        };
        self.model = self.model.take().or_else(|| read(model));
        self.response_id = self.response_id.take().or_else(|| read(response_id));
    }

    /// The whole answer, for one that is finished.
    pub(super) fn into_reply(mut self) -> ChatReply {
        let usage = self.usage_so_far().filter(|_| self.is_usage_final);
        let calls = std::mem::take(&mut self.calls);
        let tool_calls: Vec<_> = calls.into_iter().map(|call| self.complete(call)).collect();
        let mut finish_reason = self.finish_reason.unwrap_or_default();
        // Some servers end an answer with tool calls as any other.
        if !tool_calls.is_empty() && finish_reason == "stop" {
            "tool_calls".clone_into(&mut finish_reason);
        }
        ChatReply {
            text: self.text,
            tool_calls,
            usage,
            finish_reason,
            model: self.model,
            response_id: self.response_id,
            time_to_first_token: self.first_token,
        }
    }

    /// A call with an id that no other one has. An own id depends on the conversation alone: whoever asks again gets the
    /// same.
    fn complete(&mut self, call: PartialCall) -> ToolCall {
        let usual = |id: &String| {
            id.len() <= CALL_ID_CHARS_MAX
                && id.chars().all(|char| char.is_ascii_alphanumeric() || "_-".contains(char))
        };
        let id =
            call.given.filter(usual).filter(|id| !self.ids.contains(id)).unwrap_or_else(|| {
                let mut number = self.ids.len() + 1;
                while self.ids.contains(&format!("call_{number}")) {
                    number += 1;
                }
                format!("call_{number}")
            });
        self.ids.insert(id.clone());
        let is_empty = call.arguments.trim().is_empty();
        let arguments = if is_empty { "{}".to_owned() } else { call.arguments };
        ToolCall { id, name: call.name, arguments, signature: call.signature }
    }
}

/// The bytes that a text takes within JSON.
fn recorded_len(text: &str) -> usize {
    let len = |byte| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0..0x20 => 6,
        _ => 1,
    };
    text.bytes().map(len).sum()
}

/// A name that somebody else has chosen, cut.
fn name_of(text: impl AsRef<str>) -> String {
    let text = text.as_ref();
    clean(&text[..text.floor_char_boundary(NAME_BYTES_MAX)]).into_owned()
}

/// The tokens that are believed where so many were reserved.
fn believed(reserved: u64) -> u64 {
    reserved.saturating_mul(COUNT_FACTOR_MAX).saturating_add(COUNT_SPARE)
}

/// Counts as they come: a count that is missing, negative or no integer is none.
pub(super) fn count(value: &Value) -> Option<u64> {
    /// Counts are added up before they are judged, and stay far from overflow.
    const TOKENS_MAX: u64 = 1 << 50;
    value.as_u64().filter(|count| *count <= TOKENS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_counted_as_it_is_recorded() {
        let all: String =
            (0..0x100).filter_map(char::from_u32).chain("\u{2028}😀".chars()).collect();
        for text in [&*all, "", "plain", "\"\n\u{1}"] {
            assert_eq!(recorded_len(text) + 2, serde_json::to_string(text).unwrap().len());
        }
    }
}

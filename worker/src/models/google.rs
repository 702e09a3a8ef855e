//! `streamGenerateContent`, as Google's Gemini API speaks it.
//!
//! From Gemini 3 on, a call of a function carries a signature that has to come back with it
//! ([`ToolCall::signature`](super::ToolCall)); for a call that has none, because another model made it, Google documents a
//! word that stands for one. Models before Gemini 3 take no schema beside tools: there it becomes an instruction.

use reqwest::Url;
use reqwest::header::HeaderName;
use serde_json::{Map, Value, json};
use skein_shared::domain::usage::Usage;

use super::answer::{Answer, count};
use super::error::{CallError, ErrorClass};
use super::refusal::Refuser;
use super::request::{ChatRequest, Message, ToolCall};
use super::wire::{Decoder, Dialect, arguments_of};

/// Stands for the signature of a call that no Gemini model has made.
const NO_SIGNATURE: &str = "skip_thought_signature_validator";

/// The Gemini API.
pub(super) struct Google;

impl Dialect for Google {
    type Decoder = Candidates;

    fn url(&self, base: &Url, request: &ChatRequest) -> Result<Url, CallError> {
        let mut url = base.clone();
        let model = request.model.strip_prefix("models/").unwrap_or(&request.model);
        let is_sound = !model.is_empty()
            && model.chars().all(|char| char.is_ascii_alphanumeric() || "-._:@".contains(char))
            && !model.starts_with('.');
        let mut path = url.path_segments_mut().ok().filter(|_| is_sound).ok_or_else(|| {
            let message = "a model of Google's is a name of letters, digits, `-`, `.` and `_`";
            CallError::new("invalid_request", ErrorClass::Refused, message).unbilled()
        })?;
        path.pop_if_empty().push("models").push(&format!("{model}:streamGenerateContent"));
        drop(path);
        url.set_query(Some("alt=sse"));
        Ok(url)
    }

    fn key_header(&self) -> (HeaderName, &'static str) {
        (HeaderName::from_static("x-goog-api-key"), "")
    }

    fn body(&self, request: &ChatRequest) -> Value {
        let mut settings = Map::new();
        let mut set = |name: &str, value: Value| {
            if !value.is_null() {
                settings.insert(name.to_owned(), value);
            }
        };
        set("maxOutputTokens", json!(request.max_tokens));
        set("temperature", json!(request.temperature));
        set("topP", json!(request.top_p));
        set("seed", json!(request.seed));
        if !request.stop.is_empty() {
            set("stopSequences", json!(request.stop));
        }
        let mut system = request.system.clone().unwrap_or_default();
        match &request.schema {
            Some(schema) if !request.tools.is_empty() && !is_signing(&request.model) => {
                system = format!(
                    "{system}\n\nAnswer with nothing but JSON that matches this JSON Schema: {schema}"
                );
            }
            Some(schema) => {
                set("responseMimeType", json!("application/json"));
                set("responseJsonSchema", schema.clone());
            }
            None => {}
        }
        let mut body = Map::new();
        body.insert("contents".to_owned(), contents(request));
        if !system.is_empty() {
            body.insert(
                "systemInstruction".to_owned(),
                json!({"parts": [{"text": system.trim_start()}]}),
            );
        }
        if !request.tools.is_empty() {
            let tools: Vec<_> = request.tools.iter().map(|tool| json!({
                "name": tool.name, "description": tool.description, "parametersJsonSchema": tool.parameters,
            })).collect();
            body.insert("tools".to_owned(), json!([{"functionDeclarations": tools}]));
        }
        body.insert("generationConfig".to_owned(), Value::Object(settings));
        Value::Object(body)
    }

    fn decoder(&self, _: &ChatRequest) -> Candidates {
        Candidates::default()
    }
}

/// Whether a model is from Gemini 3 on: it signs its calls, and takes a schema beside tools.
fn is_signing(model: &str) -> bool {
    let name = model.strip_prefix("models/").unwrap_or(model);
    let rest = name.strip_prefix("gemini-").unwrap_or_default();
    rest.split(['.', '-'])
        .next()
        .and_then(|major| major.parse::<u32>().ok())
        .is_some_and(|major| major >= 3)
}

/// The conversation, what belongs to the same side in one content.
fn contents(request: &ChatRequest) -> Value {
    let signs = is_signing(&request.model);
    let mut all: Vec<(&str, Vec<Value>)> = Vec::new();
    for message in &request.messages {
        let (role, mut parts) = match message {
            Message::User(text) => ("user", vec![json!({"text": text})]),
            Message::Assistant { text, tool_calls } => {
                let text = (!text.is_empty()).then(|| json!({"text": text}));
                let calls =
                    tool_calls.iter().enumerate().map(|(at, it)| call(it, signs && at == 0));
                ("model", text.into_iter().chain(calls).collect())
            }
            Message::ToolResult { call_id, name, content, is_error } => {
                let field = if *is_error { "error" } else { "output" };
                let response = json!({"id": call_id, "name": name, "response": {field: content}});
                ("user", vec![json!({"functionResponse": response})])
            }
        };
        match all.last_mut() {
            Some((of, last)) if *of == role => last.append(&mut parts),
            _ if parts.is_empty() => {}
            _ => all.push((role, parts)),
        }
    }
    all.into_iter().map(|(role, parts)| json!({"role": role, "parts": parts})).collect()
}

/// A call as it is sent back. Of parallel calls, only the first is signed.
fn call(call: &ToolCall, must_be_signed: bool) -> Value {
    let mut part =
        json!({"functionCall": {"id": call.id, "name": call.name, "args": arguments_of(call)}});
    let none = must_be_signed.then_some(NO_SIGNATURE);
    if let Some(signature) = call.signature.as_deref().or(none) {
        part["thoughtSignature"] = json!(signature);
    }
    part
}

/// What Google streams: candidates with parts.
#[derive(Default)]
pub(super) struct Candidates {
    has_called: bool,
}

impl Decoder for Candidates {
    fn event(
        &mut self,
        event: &Value,
        answer: &mut Answer<'_>,
        refuser: &Refuser<'_>,
    ) -> Result<bool, CallError> {
        if event["error"].is_object() {
            return Err(refuser.in_stream(event));
        }
        answer.names(event.get("modelVersion"), event.get("responseId"));
        let candidate = &event["candidates"][0];
        for part in candidate["content"]["parts"].as_array().into_iter().flatten() {
            self.part(part, answer)?;
        }
        if let Some(reason) = candidate["finishReason"].as_str() {
            answer.finish(self.finish_reason(reason));
        } else if event["promptFeedback"]["blockReason"].is_string() {
            answer.finish("content_filter");
        }
        if let Some(usage) = usage(&event["usageMetadata"]) {
            answer.usage(usage);
        }
        Ok(false)
    }
}

impl Candidates {
    fn part(&mut self, part: &Value, answer: &mut Answer<'_>) -> Result<(), CallError> {
        if part["thought"] == true {
            answer.hidden();
            return Ok(());
        }
        if let Some(text) = part["text"].as_str() {
            answer.text(text)?;
        }
        let call = &part["functionCall"];
        if call.is_object() {
            self.has_called = true;
            let name = call["name"].as_str().unwrap_or_default();
            let place = answer.begin_call(call["id"].as_str(), name)?;
            match &call["args"] {
                Value::Null => {}
                Value::String(text) => answer.arguments(place, text)?,
                args => answer.arguments(place, &args.to_string())?,
            }
            if let Some(signature) = part["thoughtSignature"].as_str() {
                answer.signature(place, signature)?;
            }
        }
        Ok(())
    }

    fn finish_reason(&self, reason: &str) -> String {
        match reason {
            "STOP" | "FINISH_REASON_UNSPECIFIED" if self.has_called => "tool_calls".to_owned(),
            "STOP" | "FINISH_REASON_UNSPECIFIED" => "stop".to_owned(),
            "MAX_TOKENS" => "length".to_owned(),
            "SAFETY" | "RECITATION" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII"
            | "IMAGE_SAFETY" => "content_filter".to_owned(),
            other => other.to_ascii_lowercase(),
        }
    }
}

/// What was counted; thoughts are output that is counted apart. A prompt that was blocked has no output.
fn usage(value: &Value) -> Option<Usage> {
    let optional = |name: &str| match &value[name] {
        Value::Null => Some(0),
        value => count(value),
    };
    let cached_tokens = optional("cachedContentTokenCount")?;
    let input_tokens = count(&value["promptTokenCount"])? + optional("toolUsePromptTokenCount")?;
    let output_tokens = optional("candidatesTokenCount")? + optional("thoughtsTokenCount")?;
    let total = optional("totalTokenCount")?;
    Some(Usage {
        input_tokens: input_tokens.max(cached_tokens),
        cached_tokens,
        cache_write_tokens: 0,
        output_tokens: output_tokens.max(total.saturating_sub(input_tokens)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_from_gemini_3_on_sign_their_calls() {
        for model in ["gemini-3-pro", "gemini-3.1-flash", "models/gemini-4-argon", "gemini-12"] {
            assert!(is_signing(model), "{model}");
        }
        for model in ["gemini-2.5-pro", "gemini-1.5-flash", "gemma-3", "gemini-flash-latest", ""] {
            assert!(!is_signing(model), "{model}");
        }
    }
}

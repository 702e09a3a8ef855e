//! What a server answers: messages of JSON-RPC, and what a tool yielded in one.

use serde_json::{Value, json};
use skein_shared::document;
use skein_shared::domain::failure::Failure;
use skein_shared::domain::limits::JSON_DEPTH_MAX;

use super::super::Observation;
use crate::models::EventReader;

/// The answer to the request with that id in a body: one message, or a stream of events of which one has it. What else
/// the server says is passed over.
pub(super) fn find(body: &str, is_stream: bool, id: u64) -> Option<Value> {
    if !is_stream {
        return messages(body).into_iter().find(|message| message["id"] == id);
    }
    let lines = body.split(['\n', '\r']).chain([""]);
    let mut data = String::new();
    for line in lines {
        if let Some(text) = line.strip_prefix("data:") {
            if !data.is_empty() {
                data.push('\n');
            }
            data.push_str(text.strip_prefix(' ').unwrap_or(text));
        } else if line.is_empty() && !data.is_empty() {
            let found = messages(&data).into_iter().find(|message| message["id"] == id);
            if found.is_some() {
                return found;
            }
            data.clear();
        }
    }
    None
}

/// Watches a stream of events for the answer to a request.
pub(super) struct AnswerWatch {
    events: EventReader,
    id: u64,
}

impl AnswerWatch {
    /// Watches for the answer to the request with that id.
    pub(super) fn new(id: u64) -> Self {
        // The body has a limit of its own.
        Self { events: EventReader::new(usize::MAX), id }
    }

    /// Whether the answer is complete with this piece.
    pub(super) fn is_answered_by(&mut self, mut piece: &[u8]) -> bool {
        while let Ok(Some(event)) = self.events.next(&mut piece) {
            if messages(&event.data).iter().any(|message| message["id"] == self.id) {
                return true;
            }
        }
        false
    }
}

/// An error in a body that names no request.
pub(super) fn find_error(body: &str) -> Option<Value> {
    messages(body).into_iter().find(|message| message["error"].is_object())
}

fn messages(text: &str) -> Vec<Value> {
    // As strict as other answers are read: what cannot be kept exactly is none.
    match document::json::parse(text, JSON_DEPTH_MAX) {
        Ok(Value::Array(messages)) => messages,
        Ok(message) => vec![message],
        Err(_) => Vec::new(),
    }
}

/// What a tool yielded, as the model reads it.
pub(super) fn observation(result: &Value) -> Observation {
    let parts = result["content"].as_array().map(Vec::as_slice).unwrap_or_default();
    let text: Vec<_> = parts.iter().map(part).collect();
    let value = match (text.is_empty(), result.get("structuredContent")) {
        (true, Some(structured)) => structured.clone(),
        _ => Value::from(text.join("\n")),
    };
    // A revision in which a tool may ask back has the word for it here.
    if result["resultType"].as_str().is_some_and(|word| word != "complete") {
        let message = "the tool asks for something that an agent cannot give";
        return Observation::failed(Failure::new("tool_error", message));
    }
    let failure = || Failure::new("tool_error", "the tool says that it has failed");
    Observation { value, error: (result["isError"] == true).then(failure) }
}

fn part(part: &Value) -> String {
    let text = match part["type"].as_str() {
        Some("text") => part["text"].as_str(),
        Some("resource") => part["resource"]["text"].as_str(),
        Some("resource_link") => part["uri"].as_str(),
        _ => None,
    };
    match (text, part["type"].as_str()) {
        (Some(text), _) => text.to_owned(),
        (None, kind) => json!({ "left_out": kind.unwrap_or("unknown") }).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_found_among_what_else_a_server_says() {
        let answer = json!({ "jsonrpc": "2.0", "id": 2, "result": {} });
        let stream = "event: message\r\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\"}\r\n\r\n\
                      : comment\n\ndata:{\"jsonrpc\":\"2.0\",\ndata:\"id\":2,\"result\":{}}\n\n";
        assert_eq!(find(stream, true, 2), Some(answer.clone()));
        assert_eq!(find(stream, true, 3), None);
        assert_eq!(
            find("data: {\"id\":2,\"jsonrpc\":\"2.0\",\"result\":{}}", true, 2),
            Some(answer.clone())
        );
        assert_eq!(find(&answer.to_string(), false, 2), Some(answer.clone()));
        assert_eq!(find(&json!([answer]).to_string(), false, 2), Some(answer));
        for text in ["", "{", "{\"id\":2,\"id\":2}", "<html>", "7"] {
            assert_eq!((find(text, false, 2), find(text, true, 2)), (None, None), "{text}");
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(find(&deep, false, 2), None);
    }

    #[test]
    fn what_a_tool_yields_is_text_to_a_model() {
        let result = json!({ "content": [
            { "type": "text", "text": "a" }, { "type": "image", "data": "AAAA", "mimeType": "image/png" },
            { "type": "resource", "resource": { "uri": "file:///x", "text": "b" } },
        ] });
        assert_eq!(observation(&result), Observation::of("a\n{\"left_out\":\"image\"}\nb".into()));
        let structured = json!({ "content": [], "structuredContent": { "sum": 3 } });
        assert_eq!(observation(&structured), Observation::of(json!({ "sum": 3 })));
        let failed =
            observation(&json!({ "content": [{ "type": "text", "text": "no" }], "isError": true }));
        assert_eq!((failed.value, &*failed.error.unwrap().code), ("no".into(), "tool_error"));
        let asks = observation(&json!({ "resultType": "input_required", "content": [] }));
        assert!(asks.error.is_some());
        assert_eq!(observation(&Value::Null), Observation::of("".into()));
    }
}

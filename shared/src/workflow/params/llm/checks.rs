//! What is checked of an `llm` node when its workflow is published: all that holds no expression.

use serde_json::{Map, Value, json};

use super::super::{Reader, constant};
use super::{
    FALLBACKS_MAX, MAX_TOKENS_DEFAULT, MESSAGES_MAX, STOPS_MAX, TOOLS_MAX,
    values::{self, ChatRole},
};
use crate::domain::diagnostic::{point_into, quoted};
use crate::expression::{Roots, Template};
use crate::workflow::fields::{Fields, type_of};
use crate::workflow::input::InputSchema;

pub(super) fn compile(reader: &mut Reader<'_, '_>) {
    reader.take(&["provider", "model", "system", "prompt", "stream"]);
    for (name, value) in [("max_tokens", json!(MAX_TOKENS_DEFAULT)), ("stream", json!(false))] {
        if !reader.fields.has(name) {
            reader.put_constant(name, value);
        }
    }
    for name in ["model", "provider"] {
        if reader.constant_text(name).is_some_and(|text| !values::is_name(text)) {
            let message = format!("`{name}` is no name");
            reader.diagnostic(name, message, "a name of up to 128 bytes, without line breaks");
        }
    }
    question(reader);
    schema(reader);
    tools(reader);
    number(reader, "max_tokens", values::is_max_tokens, values::MAX_TOKENS);
    number(reader, "temperature", values::is_temperature, values::TEMPERATURE);
    number(reader, "top_p", values::is_top_p, values::TOP_P);
    number(reader, "seed", |value| value.as_i64().is_some(), "a whole number");
    stop(reader);
    fallback(reader);
}

/// A text that may render to anything.
fn is_expression(value: &Value) -> bool {
    value.as_str().is_some_and(|text| constant(text).is_none())
}

/// Compiles a parameter that may be one expression or hold some, and says whether it is written out.
fn dynamic<'a>(reader: &mut Reader<'a, '_>, name: &str) -> Option<&'a Value> {
    let value = reader.fields.get(name)?;
    let pointer = reader.fields.at(name);
    let template = Template::read(value, &pointer, Roots::Run, reader.diagnostics);
    reader.put(name, template);
    (!is_expression(value)).then_some(value)
}

fn number(reader: &mut Reader<'_, '_>, name: &str, is_right: fn(&Value) -> bool, expected: &str) {
    let Some(value) = dynamic(reader, name) else { return };
    if !is_right(value) {
        let found = match value {
            Value::Number(number) => number.to_string(),
            other => type_of(other).to_owned(),
        };
        reader.diagnostic(name, format!("`{name}` is {found}"), expected);
    }
}

/// The entries of a list that is written out, each an object with no fields but these, with its pointer.
fn entries<'a>(
    reader: &mut Reader<'a, '_>,
    name: &str,
    max: usize,
    expected: &str,
    fields: &[&str],
) -> Vec<Fields<'a>> {
    let Some(value) = dynamic(reader, name) else { return Vec::new() };
    let Some(entries) = value.as_array() else {
        let message = format!("`{name}` is {}, not a list", type_of(value));
        reader.diagnostic(name, message, expected);
        return Vec::new();
    };
    if entries.len() > max {
        let message = format!("`{name}` has {} entries", entries.len());
        reader.diagnostic(name, message, format!("at most {max}"));
    }
    let pointer = reader.fields.at(name);
    let entries = entries.iter().enumerate().filter(|(_, entry)| !is_expression(entry));
    let open =
        |(at, entry)| Fields::open(entry, format!("{pointer}/{at}"), fields, reader.diagnostics);
    entries.filter_map(open).collect()
}

fn question(reader: &mut Reader<'_, '_>) {
    match (reader.fields.has("prompt"), reader.fields.has("messages")) {
        (true, true) => {
            let hint = "a node has one of the two";
            reader.diagnostic("messages", "`messages` beside `prompt`", hint);
        }
        (false, false) => reader.diagnostics.add(
            reader.fields.pointer.clone(),
            "`prompt` or `messages` is missing",
            "write what the model is asked",
        ),
        _ => {}
    }
    if reader.fields.get("messages").is_some_and(|value| *value == json!([])) {
        reader.diagnostic("messages", "`messages` is empty", values::MESSAGES);
    }
    let messages =
        entries(reader, "messages", MESSAGES_MAX, values::MESSAGES, &["role", "content"]);
    for message in messages {
        message.required("role", "user, assistant or system", reader.diagnostics);
        message.required("content", "what is said", reader.diagnostics);
        if !message.get("role").is_some_and(is_expression) {
            let words: Vec<_> = ChatRole::WORDS.iter().map(|word| (*word, ())).collect();
            message.word("role", &words, reader.diagnostics);
        }
        if message.get("content").is_some_and(Value::is_null) {
            reader.diagnostics.add(message.at("content"), "`content` is null", "write text");
        }
    }
}

/// Checks a schema that holds no expression.
fn check_schema(reader: &mut Reader<'_, '_>, schema: &Value, pointer: &str) {
    let is_constant = Template::parse(schema, "").is_ok_and(|template| template.is_constant());
    if is_constant && let Err(diagnostic) = InputSchema::compile(schema, pointer) {
        reader.diagnostics.0.push(diagnostic);
    }
}

fn schema(reader: &mut Reader<'_, '_>) {
    let Some(schema) = dynamic(reader, "schema") else { return };
    let pointer = reader.fields.at("schema");
    check_schema(reader, schema, &pointer);
}

fn tools(reader: &mut Reader<'_, '_>) {
    let fields = ["name", "description", "parameters"];
    let tools = entries(reader, "tools", TOOLS_MAX, values::TOOLS, &fields);
    let mut seen = Map::new();
    for tool in tools {
        tool.required("name", values::TOOL_NAME, reader.diagnostics);
        if let Some(description) = tool.get("description")
            && !description.is_string()
        {
            tool.text("description", reader.diagnostics);
        }
        if let Some(parameters) = tool.get("parameters")
            && !is_expression(parameters)
        {
            check_schema(reader, parameters, &tool.at("parameters"));
        }
        let Some(name) = tool.get("name").filter(|name| !is_expression(name)) else { continue };
        let Some(text) = tool.text("name", reader.diagnostics) else { continue };
        if !values::is_tool_name(text) {
            let message = format!("{} is no name of a tool", quoted(text));
            reader.diagnostics.add(tool.at("name"), message, values::TOOL_NAME);
        } else if seen.insert(text.to_owned(), name.clone()).is_some() {
            let message = format!("a second tool {}", quoted(text));
            reader.diagnostics.add(tool.at("name"), message, "give each tool its own name");
        }
    }
}

fn stop(reader: &mut Reader<'_, '_>) {
    let Some(value) = dynamic(reader, "stop") else { return };
    let texts = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    if texts.len() > STOPS_MAX {
        let message = format!("`stop` has {} entries", texts.len());
        reader.diagnostic("stop", message, format!("at most {STOPS_MAX}"));
    }
    let pointer = reader.fields.at("stop");
    for (at, text) in texts.iter().enumerate() {
        if text.as_str().is_none_or(str::is_empty) {
            let pointer = if value.is_array() {
                point_into(&pointer, &at.to_string())
            } else {
                pointer.clone()
            };
            reader.diagnostics.add(pointer, "no text that could end an answer", values::STOP);
        }
    }
}

fn fallback(reader: &mut Reader<'_, '_>) {
    let models =
        entries(reader, "fallback", FALLBACKS_MAX, values::FALLBACK, &["provider", "model"]);
    for model in models {
        model.required("model", values::NAME, reader.diagnostics);
        for name in ["model", "provider"] {
            let text = model.text(name, reader.diagnostics).and_then(constant);
            if text.is_some_and(|text| !values::is_name(text)) {
                let message = format!("`{name}` is no name");
                reader.diagnostics.add(model.at(name), message, values::NAME);
            }
        }
    }
}

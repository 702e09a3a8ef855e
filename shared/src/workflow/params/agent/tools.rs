//! The tools of an agent, as they are written and as its executor gets them.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::http::{self, Method};
use super::super::values::Entries;
use super::super::{Reader, constant};
use crate::domain::diagnostic::{Diagnostics, point_into, quoted};
use crate::domain::kind::Effect;
use crate::domain::limits::DESCRIPTION_CHARS_MAX;
use crate::expression::{Roots, Template, find_outside};
use crate::workflow::fields::{Fields, type_of};
use crate::workflow::input::InputSchema;
use crate::workflow::json_schema::{closed, identifier, texts, words};

/// The tool that every agent has: the model calls it with its answer.
pub const FINISH: &str = "finish";
/// Tools of an agent. Each stands in every request to the model; with more of them models choose badly.
const TOOLS_MAX: usize = 64;
/// Characters of a tool's name: what all providers take.
const NAME_CHARS_MAX: usize = 64;
/// Bytes of the schema of a tool's arguments. It stands in every request to the model.
const SCHEMA_BYTES_MAX: usize = 16 * 1024;

const NAME_HINT: &str = "letters, digits, `_` and `-`, up to 64, as models are given it";

/// A tool, or several of one server. Rendered, but for what is rendered when the tool is called.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolParams {
    /// A request.
    Http(HttpToolParams),
    /// Tools of an MCP server.
    Mcp(McpParams),
}

/// A tool that is a request. Its templates are those of the document.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpToolParams {
    /// Its name.
    pub name: String,
    /// What it is for, to the model.
    pub description: String,
    /// A JSON Schema of its arguments.
    pub parameters: Value,
    /// The method.
    #[serde(default)]
    pub method: Method,
    /// What to call; a template. Up to [`authority_end`] it does not read `args`.
    pub url: String,
    /// Request headers by name; templates.
    #[serde(default)]
    pub headers: Entries<String>,
    /// The request's body; a template.
    pub body: Option<Value>,
    /// Whether a request that is not idempotent carries an `Idempotency-Key`. Yes, unless given.
    pub idempotency_key: Option<bool>,
}

impl HttpToolParams {
    /// What sending the request twice would do.
    #[must_use]
    pub fn effect(&self) -> Effect {
        self.method.effect(self.idempotency_key)
    }
}

/// An MCP server that is spoken to by HTTP.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct McpParams {
    /// Where it is.
    pub url: String,
    /// Request headers by name.
    #[serde(default)]
    pub headers: Entries<String>,
    /// The tools of it that exist.
    pub allow: Vec<String>,
}

/// Where the scheme, the host and the port of a URL end that is written as a template: before the first `/`, `?` or `#`
/// behind them that no expression writes.
#[must_use]
pub fn authority_end(url: &str) -> usize {
    // What stands in a comment is neither the author's own nor written by an expression.
    if url.contains("{#") {
        return url.len();
    }
    let scheme = ["http://", "https://"].into_iter().find(|scheme| {
        url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    });
    let next = |from| find_outside(url, from, &['/', '?', '#']).unwrap_or(url.len());
    let end = next(scheme.map_or(0, str::len));
    // The scheme is written by an expression.
    let is_scheme = scheme.is_none() && url[..end].ends_with(':') && url[end..].starts_with("//");
    if is_scheme { next(end + 2) } else { end }
}

/// The schema of the list, as it is written.
pub(super) fn schema() -> Value {
    let (text, any) = (json!({ "type": "string" }), json!({}));
    let parameters = json!({
        "type": "object", "required": ["type"], "properties": { "type": { "const": "object" } },
        "description": "A JSON Schema of the arguments.",
    });
    let description = json!({ "type": "string", "maxLength": DESCRIPTION_CHARS_MAX });
    let http = closed(
        [
            ("name", identifier(NAME_CHARS_MAX)),
            ("description", description),
            ("parameters", parameters),
            ("method", words(Method::WORDS)),
            ("url", text.clone()),
            ("headers", texts()),
            ("body", any),
            ("idempotency_key", json!({ "type": "boolean" })),
        ],
        &["name", "description", "url"],
    );
    let names = json!({ "type": "array", "minItems": 1, "items": identifier(NAME_CHARS_MAX) });
    let mcp = closed([("url", text), ("headers", texts()), ("allow", names)], &["url", "allow"]);
    let tool = json!({
        "oneOf": [closed([("http", http)], &["http"]), closed([("mcp", mcp)], &["mcp"])],
    });
    json!({ "type": "array", "maxItems": TOOLS_MAX, "items": tool })
}

/// What calling a tool twice would do, as it is written.
pub(super) fn effect(tool: &Value) -> Effect {
    match (tool.get("http"), tool.get("mcp")) {
        (_, Some(_)) => Effect::Unsafe,
        (Some(http), None) => http::effect(http),
        (None, None) => Effect::Idempotent,
    }
}

/// Compiles all tools, and returns their names.
pub(super) fn compile(reader: &mut Reader<'_, '_>) -> Vec<String> {
    let entries = reader.fields.list("tools", reader.diagnostics).unwrap_or_default();
    let mut names = Names { taken: vec![FINISH.to_owned()] };
    let mut tools = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        let pointer = format!("{}/{at}", reader.fields.at("tools"));
        let tool = tool(entry, pointer, &mut names, reader.diagnostics);
        tools.extend(tool.map(|(word, tool)| Template::object(vec![(word.to_owned(), tool)])));
    }
    names.taken.remove(0);
    if names.taken.len() > TOOLS_MAX {
        let message = format!("{} tools", names.taken.len());
        reader.diagnostic("tools", message, format!("at most {TOOLS_MAX}"));
    }
    reader.put("tools", Template::list(tools));
    names.taken
}

fn tool(
    entry: &Value,
    pointer: String,
    names: &mut Names,
    diagnostics: &mut Diagnostics,
) -> Option<(&'static str, Template)> {
    let fields = Fields::open(entry, pointer, &["http", "mcp"], diagnostics)?;
    match (fields.get("http"), fields.get("mcp")) {
        (Some(http), None) => {
            Some(("http", http_tool(http, fields.at("http"), names, diagnostics)?))
        }
        (None, Some(mcp)) => Some(("mcp", mcp_server(mcp, fields.at("mcp"), names, diagnostics)?)),
        _ => {
            let hint = "write `{http: {name, description, url, ...}}` or `{mcp: {url, allow}}`";
            diagnostics.add(&fields.pointer, "a tool is one of `http` and `mcp`", hint);
            None
        }
    }
}

/// The names of tools so far: one names one.
struct Names {
    taken: Vec<String>,
}

impl Names {
    fn take(&mut self, name: &str, pointer: String, diagnostics: &mut Diagnostics) {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.is_empty() || name.len() > NAME_CHARS_MAX || !name.chars().all(is_part) {
            let message = format!("{} is no name of a tool", quoted(name));
            diagnostics.add(pointer, message, NAME_HINT);
            return;
        }
        if self.taken.iter().any(|taken| taken == name) {
            let message = format!("a second tool `{name}`");
            let hint = match name {
                FINISH => "every agent has one of that name: the model calls it with its answer",
                _ => "a name names one tool, also of those of several servers",
            };
            diagnostics.add(pointer, message, hint);
        }
        self.taken.push(name.to_owned());
    }
}

fn http_tool(
    value: &Value,
    pointer: String,
    names: &mut Names,
    diagnostics: &mut Diagnostics,
) -> Option<Template> {
    const KNOWN: &[&str] = &[
        "name",
        "description",
        "parameters",
        "method",
        "url",
        "headers",
        "body",
        "idempotency_key",
    ];
    let fields = Fields::open(value, pointer, KNOWN, diagnostics)?;
    fields.required("name", NAME_HINT, diagnostics);
    if let Some(name) = fields.text("name", diagnostics) {
        names.take(name, fields.at("name"), diagnostics);
    }
    let description = description(&fields, diagnostics);
    let parameters = parameters(&fields, diagnostics);
    let words: Vec<_> = Method::WORDS.iter().map(|word| (*word, *word)).collect();
    fields.word("method", &words, diagnostics);
    fields.boolean("idempotency_key", diagnostics);
    fields.required("url", "an http or https URL", diagnostics);
    let parts =
        [url(&fields, diagnostics), headers(&fields, diagnostics), body(&fields, diagnostics)];
    http::check_url(&fields, diagnostics);
    http::check_headers(&fields, http::effect(value) == Effect::Keyed, diagnostics);
    let method = http::method_of(fields.get("method"));
    http::check_bodies(&fields, &["body"], method, diagnostics);
    let mut tool = Map::new();
    for name in KNOWN {
        tool.extend(fields.get(name).map(|value| ((*name).to_owned(), value.clone())));
    }
    tool.insert("description".to_owned(), description.into());
    tool.insert("parameters".to_owned(), parameters);
    let parts: Vec<_> = parts.into_iter().flatten().flatten().collect();
    Some(Template::unrendered(Value::Object(tool), &parts))
}

fn description(fields: &Fields<'_>, diagnostics: &mut Diagnostics) -> String {
    fields.required("description", "what the tool is for, to the model", diagnostics);
    let text = fields.text("description", diagnostics).unwrap_or_default();
    if text.chars().count() > DESCRIPTION_CHARS_MAX {
        let message = format!("`description` has {} characters", text.chars().count());
        let hint = format!("at most {DESCRIPTION_CHARS_MAX}");
        diagnostics.add(fields.at("description"), message, hint);
    }
    if constant(text).is_none() {
        let message = "`description` cannot hold expressions";
        diagnostics.add(fields.at("description"), message, "write it out, for the model to read");
    }
    text.to_owned()
}

/// The schema of the arguments.
fn parameters(fields: &Fields<'_>, diagnostics: &mut Diagnostics) -> Value {
    let Some(schema) = fields.get("parameters") else {
        return json!({ "type": "object", "properties": {} });
    };
    let pointer = fields.at("parameters");
    if !schema.is_object() {
        let message = format!("`parameters` is {}, not a JSON Schema", type_of(schema));
        let hint = "like `{type: object, properties: {q: {type: string}}, required: [q]}`";
        diagnostics.add(pointer, message, hint);
        return Value::Null;
    }
    if schema.get("type").and_then(Value::as_str) != Some("object") {
        let message = "`parameters` is no schema of an object";
        diagnostics.add(&pointer, message, "arguments have names: write `type: object`");
    }
    if schema.to_string().len() > SCHEMA_BYTES_MAX {
        let message = format!("`parameters` takes more than {SCHEMA_BYTES_MAX} bytes");
        diagnostics.add(&pointer, message, "it stands in every request to the model");
    }
    diagnostics.keep(InputSchema::compile(schema, &pointer).map_err(|diagnostic| vec![diagnostic]));
    schema.clone()
}

/// In two parts, of which the first is no business of the model.
fn url(fields: &Fields<'_>, diagnostics: &mut Diagnostics) -> Option<Vec<Template>> {
    let source = fields.text("url", diagnostics)?;
    let pointer = fields.at("url");
    let (authority, _) = source.split_at(authority_end(source));
    let from = authority.len();
    let authority = Template::read_text(authority, &pointer, Roots::Call, diagnostics);
    let rest = Template::read_rest(source, from, &pointer, Roots::Call, diagnostics);
    let parts = [authority, rest];
    if parts[0].references().args {
        let message = "`args` in the scheme, the host or the port of `url`";
        let hint = "what a model says cannot choose whom to call: write it out, or take it from `input`; `args` may stand behind the first `/`";
        diagnostics.add(pointer, message, hint);
    }
    Some(parts.into())
}

fn headers(fields: &Fields<'_>, diagnostics: &mut Diagnostics) -> Option<Vec<Template>> {
    let entries = fields.object("headers", diagnostics)?;
    let mut parts = Vec::new();
    for (name, value) in entries {
        let pointer = point_into(&fields.at("headers"), name);
        match value.as_str() {
            Some(text) => {
                parts.push(Template::read_text(text, &pointer, Roots::Call, diagnostics));
            }
            None => {
                let message = format!("`{name}` is {}, not text", type_of(value));
                diagnostics.add(pointer, message, "write text, which may hold `{{ expressions }}`");
            }
        }
    }
    Some(parts)
}

fn body(fields: &Fields<'_>, diagnostics: &mut Diagnostics) -> Option<Vec<Template>> {
    let body = fields.get("body")?;
    Some(vec![Template::read(body, &fields.at("body"), Roots::Call, diagnostics)])
}

fn mcp_server(
    value: &Value,
    pointer: String,
    names: &mut Names,
    diagnostics: &mut Diagnostics,
) -> Option<Template> {
    let fields = Fields::open(value, pointer, &["url", "headers", "allow"], diagnostics)?;
    fields.required("url", "an http or https URL", diagnostics);
    let url = fields.text("url", diagnostics);
    let url = url.map(|url| Template::read_text(url, &fields.at("url"), Roots::Run, diagnostics));
    http::check_url(&fields, diagnostics);
    http::check_headers(&fields, false, diagnostics);
    let mut headers = Vec::new();
    for (name, value) in fields.object("headers", diagnostics).into_iter().flatten() {
        let pointer = point_into(&fields.at("headers"), name);
        match value.as_str() {
            Some(text) => {
                let text = Template::read_text(text, &pointer, Roots::Run, diagnostics);
                headers.push((name.clone(), text));
            }
            None => {
                let message = format!("`{name}` is {}, not text", type_of(value));
                diagnostics.add(pointer, message, "write text, which may hold `{{ expressions }}`");
            }
        }
    }
    let hint = "the names of its tools that the model may call";
    fields.required("allow", hint, diagnostics);
    let allow = fields.list("allow", diagnostics).unwrap_or_default();
    if allow.is_empty() && fields.has("allow") {
        diagnostics.add(fields.at("allow"), "`allow` is empty", hint);
    }
    for (at, name) in allow.iter().enumerate() {
        let pointer = format!("{}/{at}", fields.at("allow"));
        match name.as_str() {
            Some(name) => names.take(name, pointer, diagnostics),
            None => {
                let message = format!("{} where the name of a tool is due", type_of(name));
                diagnostics.add(pointer, message, hint);
            }
        }
    }
    let fields = vec![
        ("url".to_owned(), url?),
        ("headers".to_owned(), Template::object(headers)),
        ("allow".to_owned(), Template::constant(allow.to_vec().into())),
    ];
    Some(Template::object(fields))
}

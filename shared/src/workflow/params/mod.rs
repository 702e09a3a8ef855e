//! What each node kind is to whoever writes workflows: one file a kind.
//!
//! Each has the list of its parameters as they are written, a check that makes a template of them in which the defaults
//! are filled in, and the struct that comes out when the template is rendered: what the kind's executor takes.

pub mod agent;
pub mod condition;
pub mod delay;
pub mod fail;
pub mod http;
pub mod llm;
pub mod log;
pub mod transform;

mod read;
mod values;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::domain::diagnostic::Diagnostics;
use crate::domain::diagnostic::point_into;
use crate::domain::kind::{Effect, NodeKind};
use crate::expression::{Roots, Template};
use crate::workflow::fields::{Fields, type_of};
use crate::workflow::json_schema;

pub use read::{InvalidParams, Rendered};
pub use values::{Entries, Texts};

/// The definition of a kind.
fn definition(kind: NodeKind) -> Definition {
    match kind {
        NodeKind::Http => http::DEFINITION,
        NodeKind::Transform => transform::DEFINITION,
        NodeKind::Condition => condition::DEFINITION,
        NodeKind::Delay => delay::DEFINITION,
        NodeKind::Log => log::DEFINITION,
        NodeKind::Llm => llm::DEFINITION,
        NodeKind::Agent => agent::DEFINITION,
        NodeKind::Fail => fail::DEFINITION,
    }
}

/// What must be known of a kind before its nodes can be checked and compiled.
struct Definition {
    /// Its parameters.
    parameters: &'static [Parameter],
    /// Whether its nodes choose one of the branches that edges name.
    chooses_branch: bool,
    /// Whether its nodes are there to fail, so that nothing comes after them.
    always_fails: bool,
    /// What running a node twice would do. Gets the parameters as written; what is missing or malformed in them counts
    /// as its default.
    effect: fn(&Value) -> Effect,
    /// How long an attempt may take when the document does not say.
    timeout: Duration,
    /// What a node of it yields.
    output: Output,
    /// Makes the template, and says what is wrong.
    compile: fn(&mut Reader<'_, '_>),
}

/// What nodes of a kind yield, as far as that is the same for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Output {
    /// An object with some of these members, and no others.
    Members(&'static [&'static str]),
    /// Null.
    Nothing,
    /// What its parameter of this name renders to.
    Parameter(&'static str),
}

/// One parameter of a kind.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// What it takes.
    pub shape: Shape,
    /// Whether it must be given.
    pub required: bool,
    /// What it means.
    pub doc: &'static str,
}

/// What a parameter takes, and what it is rendered to.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// Text, which may hold expressions: a `String`.
    Text,
    /// Any JSON, in which strings may hold expressions: a `Value`, or less if the kind takes less.
    Any,
    /// An object of [`Shape::Text`]: [`Entries`] of `String`.
    Texts,
    /// An object of [`Shape::Any`], or an expression that may yield anything: [`Entries`] or null, if all goes well.
    Object,
    /// True or false; no expressions, because it is decided when the workflow is saved.
    Boolean,
    /// One of some words; no expressions: an enum made by `words!`.
    Word(&'static [&'static str]),
    /// Like [`Shape::Any`], but the kind says what of it makes sense: with the JSON Schema of that.
    Checked(fn() -> Value),
    /// Something of the kind's own, with the JSON Schema of what is written.
    Special(fn() -> Value),
}

/// The parameters of one node, checked.
#[derive(Debug)]
pub struct NodeParams {
    /// What the executor gets, before expressions are evaluated.
    pub template: Template,
    /// What running the node twice would do.
    pub effect: Effect,
    /// The branches that edges may name, in order; empty for kinds that choose none.
    pub branches: Vec<Arc<str>>,
}

/// The parameters that a kind has.
#[must_use]
pub fn of(kind: NodeKind) -> &'static [Parameter] {
    definition(kind).parameters
}

/// Parameters of a kind of which exactly one is given.
pub(super) fn alternatives(kind: NodeKind) -> Option<[&'static str; 2]> {
    match kind {
        NodeKind::Condition => Some(["if", "branches"]),
        NodeKind::Delay => Some(["for", "until"]),
        NodeKind::Llm => Some(["prompt", "messages"]),
        NodeKind::Agent => Some(["goal", "prompt"]),
        NodeKind::Http | NodeKind::Transform | NodeKind::Log | NodeKind::Fail => None,
    }
}

/// The schema of what a parameter takes.
pub(super) fn schema(parameter: &Parameter) -> Value {
    let schema = match parameter.shape {
        Shape::Text => json!({ "type": "string" }),
        Shape::Any => json!({}),
        Shape::Texts => json_schema::texts(),
        Shape::Object => json_schema::or_expression(json!({ "type": "object" })),
        Shape::Boolean => json!({ "type": "boolean" }),
        Shape::Word(words) => json_schema::words(words),
        Shape::Checked(schema) | Shape::Special(schema) => schema(),
    };
    json_schema::described(schema, parameter.doc)
}

/// Whether nodes of the kind choose one of the branches that the edges out of them name.
pub(super) fn chooses_branch(kind: NodeKind) -> bool {
    definition(kind).chooses_branch
}

/// Whether nodes of the kind are there to fail: nothing stands in for what they yield, and nothing comes after them.
pub(super) fn always_fails(kind: NodeKind) -> bool {
    definition(kind).always_fails
}

/// How long an attempt at a node of the kind may take when the document does not say.
pub(super) fn default_timeout(kind: NodeKind) -> Duration {
    definition(kind).timeout
}

/// What nodes of the kind yield.
pub(super) fn output(kind: NodeKind) -> Output {
    definition(kind).output
}

/// What running a node of that kind with those parameters twice would do. `params` are as written in
/// the document; what is missing or malformed counts as its default.
#[must_use]
pub fn effect(kind: NodeKind, params: &Value) -> Effect {
    (definition(kind).effect)(params)
}

/// Checks the parameters of a node and compiles them.
pub(super) fn compile(
    kind: NodeKind,
    params: &Value,
    pointer: &str,
    diagnostics: &mut Diagnostics,
) -> Option<NodeParams> {
    let Definition { parameters, effect, compile, .. } = definition(kind);
    let known: Vec<&str> = parameters.iter().map(|parameter| parameter.name).collect();
    let fields = Fields::open(params, pointer.to_owned(), &known, diagnostics)?;
    for parameter in parameters.iter().filter(|it| it.required) {
        fields.required(parameter.name, parameter.doc, diagnostics);
    }
    let (done, branches) = (Vec::new(), Vec::new());
    let mut reader = Reader { parameters, fields, diagnostics, done, branches };
    compile(&mut reader);
    Some(NodeParams {
        template: Template::object(reader.done),
        effect: effect(params),
        branches: reader.branches,
    })
}

/// What a kind reads its parameters with.
struct Reader<'a, 'f> {
    parameters: &'static [Parameter],
    fields: Fields<'a>,
    diagnostics: &'f mut Diagnostics,
    /// The rendered parameters, in order.
    done: Vec<(String, Template)>,
    /// The branches that edges may name, in order.
    branches: Vec<Arc<str>>,
}

impl<'a> Reader<'a, '_> {
    fn put(&mut self, name: &str, template: Template) {
        self.done.push((name.to_owned(), template));
    }

    fn put_constant(&mut self, name: &str, value: impl Into<Value>) {
        self.put(name, Template::constant(value.into()));
    }

    fn diagnostic(&mut self, name: &str, message: impl Into<String>, hint: impl Into<String>) {
        let pointer = self.fields.at(name);
        self.diagnostics.add(pointer, message, hint);
    }

    /// Compiles those of the parameters that need nothing special, and whose shape says how.
    fn take(&mut self, names: &[&str]) {
        for parameter in self.parameters.iter().filter(|it| names.contains(&it.name)) {
            let name = parameter.name;
            let Some(value) = self.fields.get(name) else { continue };
            let pointer = self.fields.at(name);
            let template = match parameter.shape {
                Shape::Text => self.text(name, value, &pointer),
                Shape::Any | Shape::Checked(_) => Some(self.template(value, &pointer)),
                Shape::Texts => self.texts(name, &pointer),
                Shape::Object => self.object(name, value, &pointer),
                Shape::Boolean => self
                    .fields
                    .boolean(name, self.diagnostics)
                    .map(|it| Template::constant(it.into())),
                Shape::Word(words) => {
                    let words: Vec<(&str, &str)> = words.iter().map(|it| (*it, *it)).collect();
                    let word = self.fields.word(name, &words, self.diagnostics);
                    word.map(|it| Template::constant(it.into()))
                }
                Shape::Special(_) => None,
            };
            if let Some(template) = template {
                self.put(name, template);
            }
        }
    }

    fn template(&mut self, value: &Value, pointer: &str) -> Template {
        Template::read(value, pointer, Roots::Run, self.diagnostics)
    }

    fn text(&mut self, name: &str, value: &Value, pointer: &str) -> Option<Template> {
        let Value::String(source) = value else {
            let message = format!("`{name}` is {}, not text", type_of(value));
            self.diagnostics.add(
                pointer,
                message,
                "write text, which may hold `{{ expressions }}`",
            );
            return None;
        };
        Some(Template::read_text(source, pointer, Roots::Run, self.diagnostics))
    }

    fn texts(&mut self, name: &str, pointer: &str) -> Option<Template> {
        let map = self.fields.object(name, self.diagnostics)?;
        let mut fields = Vec::new();
        for (key, value) in map {
            let text = self.text(key, value, &point_into(pointer, key));
            fields.extend(text.map(|text| (key.clone(), text)));
        }
        Some(Template::object(fields))
    }

    /// An object, or one expression that yields it.
    fn object(&mut self, name: &str, value: &Value, pointer: &str) -> Option<Template> {
        let is_expression = value.as_str().is_some_and(|text| text.contains("{{"));
        if !is_expression {
            self.fields.object(name, self.diagnostics)?;
        }
        Some(self.template(value, pointer))
    }

    /// The text of a parameter that has no expressions in it, for checks that need its value.
    fn constant_text(&self, name: &str) -> Option<&'a str> {
        self.fields.get(name)?.as_str().and_then(constant)
    }
}

/// A text, if it has no expressions in it.
fn constant(text: &str) -> Option<&str> {
    let is_dynamic = ["{{", "{%", "{#"].iter().any(|start| text.contains(start));
    (!is_dynamic).then_some(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::expression::{Allowance, Scope};

    type Read = fn(Value) -> Result<(), InvalidParams>;

    /// Parameters of a kind, as written and all of them, and whether what is rendered of them can be read.
    fn samples(kind: NodeKind) -> (Vec<Value>, Read) {
        fn reads<P: Rendered>(rendered: Value) -> Result<(), InvalidParams> {
            P::read(rendered).map(drop)
        }
        match kind {
            NodeKind::Http => {
                let http = |body: &str| {
                    json!({
                        "method": "POST", "url": "https://h/", "headers": {"X-A": "{{ 1 }}"},
                        "query": {"q": ["{{ 1 }}", 2], "none": null}, body: {"a": "{{ 2 }}"},
                        "accept_status": [404, "5xx"], "idempotency_key": false,
                    })
                };
                let least = json!({"url": "{{ 1 }}", "query": "{{ none }}"});
                (vec![http("body"), http("form"), least], reads::<http::HttpParams>)
            }
            NodeKind::Transform => {
                let values = vec![json!({"value": null}), json!({"value": [{"a": "{{ 1 }}"}]})];
                (values, reads::<transform::TransformParams>)
            }
            NodeKind::Condition => {
                let branches = json!([{"name": "a", "when": "1 > 2"}]);
                let params = vec![
                    json!({"if": true}),
                    json!({"branches": branches, "default": "b"}),
                    json!({"branches": branches}),
                ];
                (params, reads::<condition::ConditionParams>)
            }
            NodeKind::Delay => {
                let params = vec![
                    json!({"for": "5s"}),
                    json!({"for": "{{ 1 / 2 }}"}),
                    json!({"until": "2030-01-31T12:00:00Z"}),
                ];
                (params, reads::<delay::DelayParams>)
            }
            NodeKind::Log => {
                let params = vec![
                    json!({"message": "{{ none }}"}),
                    json!({"level": "warn", "message": "{{ 1 }}", "data": {"a": 1}}),
                ];
                (params, reads::<log::LogParams>)
            }
            NodeKind::Llm => {
                let tools =
                    json!([{"name": "t", "description": "d", "parameters": {"type": "object"}}]);
                let params = vec![
                    json!({"model": "m", "prompt": "{{ 1 }}"}),
                    json!({
                        "provider": "openai", "model": "m", "system": "{{ 1 }}",
                        "messages": [{"role": "user", "content": "{{ [1] }}"}], "schema": {"type": "object"},
                        "tools": tools, "max_tokens": "{{ 2 }}", "temperature": 0.5, "top_p": 1, "seed": 7,
                        "stop": ["a"], "stream": true, "fallback": [{"model": "n"}, {"provider": "p", "model": "o"}],
                    }),
                    json!({"model": "m", "messages": "{{ [{'role': 'user', 'content': 'x'}] }}", "stop": "a"}),
                ];
                (params, reads::<llm::LlmParams>)
            }
            NodeKind::Agent => {
                let tools = json!([
                    {"http": {"name": "a", "description": "d", "method": "POST", "url": "https://h/{{ args.q }}",
                              "parameters": {"type": "object"}, "headers": {"X-A": "{{ 1 }}"}, "body": {"a": 1},
                              "idempotency_key": false}},
                    {"mcp": {"url": "https://h/{{ 1 }}", "headers": {"X-A": "{{ 1 }}"}, "allow": ["b"]}},
                ]);
                let params = vec![
                    json!({"prompt": "{{ 1 }}", "model": "m"}),
                    json!({
                        "framework": "autogpt", "goal": "g", "system": "{{ 1 }}", "provider": "p", "model": "m",
                        "tools": tools, "approve": ["b"], "approval_timeout": "1h", "on_exhausted": "fail",
                        "limits": {"iterations": 3, "tokens": 100, "usd": 0.1, "wall": "1m"},
                        "max_tokens": "{{ 2 }}", "temperature": 0.5,
                    }),
                ];
                (params, reads::<agent::AgentParams>)
            }
            NodeKind::Fail => {
                let params = vec![
                    json!({"code": "out_of_stock", "message": "none is left"}),
                    json!({"code": "{{ 'http' ~ '_status' }}", "message": "{{ none }}"}),
                ];
                (params, reads::<fail::FailParams>)
            }
        }
    }

    #[test]
    fn what_a_kind_renders_its_executor_can_read() {
        for kind in NodeKind::ALL {
            let (samples, reads) = samples(*kind);
            let mut given = samples.iter().flat_map(|params| params.as_object().unwrap().keys());
            let unseen = of(*kind).iter().find(|it| !given.clone().any(|name| *name == it.name));
            assert!(unseen.is_none(), "{kind}: {unseen:?}");
            assert!(given.all(|name| of(*kind).iter().any(|it| *name == it.name)), "{kind}");
            for params in samples {
                let mut diagnostics = Diagnostics::default();
                let compiled = compile(*kind, &params, "", &mut diagnostics).unwrap();
                assert_eq!(diagnostics.0, [], "{kind}: {params}");
                assert_eq!(
                    compiled.branches.is_empty(),
                    !chooses_branch(*kind),
                    "{kind}: {params}"
                );
                let rendered = compiled.template.render(&Scope::default(), &Allowance::whole());
                assert_eq!(reads(rendered.unwrap()), Ok(()), "{kind}: {params}");
            }
        }
    }

    #[test]
    fn every_kind_documents_each_parameter_once() {
        for kind in NodeKind::ALL {
            let mut names: Vec<&str> = of(*kind).iter().map(|it| it.name).collect();
            assert!(of(*kind).iter().all(|it| !it.doc.is_empty()), "{kind:?}");
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), of(*kind).len(), "{kind:?}");
        }
    }
}

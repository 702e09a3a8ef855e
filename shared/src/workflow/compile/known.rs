//! What can be known of a value before there is one.

use std::collections::HashMap;

use serde_json::Value;

use super::nodes::DraftNode;
use crate::domain::kind::NodeKind;
use crate::expression::{RUN_MEMBERS, Step};
use crate::workflow::params::{self, Output};
use crate::workflow::plan::OnError;

/// The members of what an edge with `on: error` is for.
const FAILURE: [&str; 2] = ["code", "message"];

/// What can be known of a value.
#[derive(Debug, Clone)]
pub(super) enum Known<'a> {
    /// Nothing.
    Anything,
    /// It is an object, if it is anything, with some of these members, and no others unless it is open.
    Object { members: HashMap<&'a str, Known<'a>>, names: Vec<&'a str>, is_open: bool },
    /// It is a list of such values.
    List(Box<Known<'a>>),
    /// It is a text.
    Text,
    /// It is something with nothing in it, in these words.
    Simple(&'static str),
    /// It is one of these.
    Either(Vec<Known<'a>>),
}

/// A step that leads to nothing, whatever the value is.
#[derive(Debug)]
pub(super) struct Astray<'k, 'a> {
    /// How many steps there are before it.
    pub(super) at: usize,
    /// What is known of where it starts from.
    pub(super) from: &'k Known<'a>,
}

impl<'a> Known<'a> {
    /// An object with some of these members, of which no more is known.
    fn closed(names: &[&'a str]) -> Self {
        Self::object(names.iter().map(|name| (*name, Self::Anything)), false)
    }

    fn object(members: impl Iterator<Item = (&'a str, Self)>, is_open: bool) -> Self {
        let (mut names, mut all) = (Vec::new(), HashMap::new());
        for (name, known) in members {
            names.push(name);
            all.insert(name, known);
        }
        Self::Object { members: all, names, is_open }
    }

    /// What is known of a run.
    pub(super) fn of_run() -> Self {
        let known = |name: &str| match name {
            "version" => Self::Simple("a number"),
            _ => Self::Text,
        };
        Self::object(RUN_MEMBERS.iter().map(|&name| (name, known(name))), false)
    }

    /// What nodes of a kind yield whose output has these members.
    fn of_members(kind: NodeKind, names: &[&'a str]) -> Self {
        let known = |name: &str| match (kind, name) {
            (NodeKind::Condition, "branch") => Self::Text,
            (NodeKind::Http, "status") => Self::Simple("a number"),
            _ => Self::Anything,
        };
        Self::object(names.iter().map(|&name| (name, known(name))), false)
    }

    /// A value that matches a JSON Schema.
    pub(super) fn of_schema(schema: &'a Value) -> Self {
        let Some(fields) = schema.as_object() else { return Self::Anything };
        if fields.contains_key("$ref") || fields.contains_key("$dynamicRef") {
            return Self::Anything;
        }
        let is_closed = fields.get("additionalProperties") == Some(&Value::Bool(false))
            && !fields.contains_key("patternProperties");
        let properties = fields.get("properties").and_then(Value::as_object);
        match fields.get("type").and_then(Value::as_str) {
            Some("string") => Self::Text,
            Some("number" | "integer") => Self::Simple("a number"),
            Some("boolean") => Self::Simple("a boolean"),
            Some("null") => Self::Simple("none"),
            Some("array") => {
                let items = fields.get("items").filter(|_| !fields.contains_key("prefixItems"));
                Self::List(Box::new(items.map_or(Self::Anything, Self::of_schema)))
            }
            _ if properties.is_some() || is_closed => {
                let members = properties.into_iter().flatten();
                let members = members.map(|(name, it)| (name.as_str(), Self::of_schema(it)));
                Self::object(members, !is_closed)
            }
            _ => Self::Anything,
        }
    }

    /// What a value with expressions renders to.
    fn of_template(value: &'a Value) -> Self {
        match value {
            Value::Object(fields) => {
                let members = fields.iter();
                let members = members.map(|(name, it)| (name.as_str(), Self::of_template(it)));
                Self::object(members, false)
            }
            Value::Array(_) => Self::List(Box::new(Self::Anything)),
            Value::String(text) if text.contains("{{") || text.contains("{%") => Self::Anything,
            Value::String(_) => Self::Text,
            Value::Number(_) => Self::Simple("a number"),
            Value::Bool(_) => Self::Simple("a boolean"),
            Value::Null => Self::Simple("none"),
        }
    }

    /// What a node yields that is written like this.
    pub(super) fn of_node(node: &DraftNode, written: &'a Value) -> Self {
        let Some(kind) = node.kind else { return Self::Anything };
        let output = match params::output(kind) {
            Output::Members(names) => Self::of_members(kind, names),
            Output::Nothing => Self::Simple("none"),
            Output::Parameter(name) => {
                let value = written.get("params").and_then(|params| params.get(name));
                value.map_or(Self::Anything, Self::of_template)
            }
        };
        match &node.on_error {
            None => Self::Anything,
            Some(OnError::Fail) => output,
            Some(OnError::Continue { .. }) => {
                let default = written.get("default").map_or(Self::Anything, Self::of_template);
                Self::Either(vec![output, default])
            }
            Some(OnError::Branch) => {
                let failure = [("error", Self::closed(&FAILURE))];
                Self::Either(vec![output, Self::object(failure.into_iter(), false)])
            }
        }
    }

    /// What a step leads to, unless that is nothing.
    fn step(&self, step: &Step) -> Result<&Self, ()> {
        match (self, step) {
            (Self::Object { members, is_open, .. }, Step::Member(name, _) | Step::Key(name, _)) => {
                match members.get(&**name) {
                    Some(known) => Ok(known),
                    None if *is_open => Ok(&Self::Anything),
                    None => Err(()),
                }
            }
            (Self::List(items), Step::Item) => Ok(items),
            // A character.
            (Self::Text, Step::Item) | (Self::Anything, _) => Ok(&Self::Anything),
            (Self::Object { is_open: true, .. }, Step::Item) => Ok(&Self::Anything),
            (Self::Object { .. } | Self::List(_) | Self::Text | Self::Simple(_), _) => Err(()),
            (Self::Either(_), _) => Ok(&Self::Anything),
        }
    }

    /// The first step of a path that leads to nothing.
    pub(super) fn astray(&self, path: &[Step]) -> Option<Astray<'_, 'a>> {
        self.astray_from(path, 0)
    }

    fn astray_from(&self, path: &[Step], at: usize) -> Option<Astray<'_, 'a>> {
        let step = path.get(at)?;
        if let Self::Either(all) = self {
            let found: Option<Vec<_>> =
                all.iter().map(|known| known.astray_from(path, at)).collect();
            // That which leads farthest is probably meant.
            return found?.into_iter().reduce(|a, b| if b.at > a.at { b } else { a });
        }
        match self.step(step) {
            Ok(next) => next.astray_from(path, at + 1),
            Err(()) => Some(Astray { at, from: self }),
        }
    }

    /// What is known of what a path leads to, unless that is nothing.
    pub(super) fn at(&self, path: &[Step]) -> Option<&Self> {
        path.iter().try_fold(self, |known, step| known.step(step).ok())
    }

    /// Whether nothing is known of what a path leads to.
    pub(super) fn is_unknown(&self, path: &[Step]) -> bool {
        match (self, path) {
            (Self::Anything | Self::Either(_), _) => true,
            (_, []) => false,
            (known, [step, rest @ ..]) => known.step(step).is_ok_and(|next| next.is_unknown(rest)),
        }
    }
}

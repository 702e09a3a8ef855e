//! A schema taken apart: its subschemas, and which of them read the same value or a part of it.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::bounds;
use super::patterns::Patterns;
use super::references::{Anchors, target};
use super::weight::weight;
use crate::domain::diagnostic::{Diagnostic, join_pointer};

/// A part of a value that a subschema reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Step<'a> {
    /// The property of this name.
    Property(&'a str),
    /// Any other property.
    OtherProperty,
    /// The item at this index.
    Item(usize),
    /// Any other item.
    OtherItem,
    /// A property's name.
    Name,
}

/// A subschema. Others are named by their indexes in the list.
#[derive(Debug)]
pub(super) struct Subschema<'a> {
    /// Where it stands in the schema.
    pub(super) pointer: String,
    /// What it costs by itself.
    pub(super) weight: u64,
    /// Bytes of its compiled patterns: each byte of a text may take time that grows with them.
    pub(super) patterns: u64,
    /// Whether it compares the items of a list with each other, as 1 or 0.
    pub(super) unique: u64,
    /// Those that read the same value.
    pub(super) beside: Vec<usize>,
    /// Those that read a part of it.
    pub(super) below: HashMap<Step<'a>, Vec<usize>>,
}

/// The subschemas that a validation may come to.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    /// The schema itself first.
    pub(super) all: Vec<Subschema<'a>>,
    /// Whether `unevaluatedProperties` or `unevaluatedItems` is among them.
    pub(super) unevaluated: bool,
    /// Whether `anyOf` or `oneOf` is among them.
    pub(super) alternatives: bool,
}

/// How often `unevaluated*` makes a validator read the same: to check it, to learn whether it held, and for what it
/// has evaluated.
pub(super) const UNEVALUATED_READS: usize = 3;

const OUTSIDE: &str = "a JSON Schema that refers to nothing outside of itself, by `#/$defs/NAME`";

/// Draft 4 calls `id` what later ones call `$id`; the validator would follow it and the count would not.
fn check_draft(schema: &Value) -> Result<(), Diagnostic> {
    let draft = schema.get("$schema").and_then(Value::as_str).unwrap_or_default();
    if !draft.contains("draft-04") {
        return Ok(());
    }
    let hint = "https://json-schema.org/draft/2020-12/schema, or none, which means the same";
    Err(Diagnostic::new("/$schema", "draft 4 of JSON Schema is not available here", hint))
}

/// Takes a schema apart, as far as it can be reached from its top.
pub(super) fn take_apart(schema: &Value) -> Result<Parts<'_>, Diagnostic> {
    check_draft(schema)?;
    let anchors = bounds::walk(schema)?;
    let mut reader = Reader {
        schema,
        anchors,
        known: HashMap::new(),
        patterns: Patterns::default(),
        open: Vec::new(),
        parts: Parts { all: Vec::new(), unevaluated: false, alternatives: false },
    };
    reader.part(String::new(), schema);
    while let Some((index, value)) = reader.open.pop() {
        reader.read(index, value)?;
    }
    Ok(reader.parts)
}

struct Reader<'a> {
    schema: &'a Value,
    anchors: Anchors,
    /// By their addresses, because pointers may be long.
    known: HashMap<*const Value, usize>,
    patterns: Patterns<'a>,
    open: Vec<(usize, &'a Value)>,
    parts: Parts<'a>,
}

impl<'a> Reader<'a> {
    /// The index of a subschema in the list.
    fn part(&mut self, pointer: String, value: &'a Value) -> usize {
        if let Some(index) = self.known.get(&std::ptr::from_ref(value)) {
            return *index;
        }
        let index = self.parts.all.len();
        self.known.insert(std::ptr::from_ref(value), index);
        let below = HashMap::new();
        self.parts.all.push(Subschema {
            pointer,
            weight: 1,
            patterns: 0,
            unique: 0,
            beside: Vec::new(),
            below,
        });
        self.open.push((index, value));
        index
    }

    fn read(&mut self, index: usize, value: &'a Value) -> Result<(), Diagnostic> {
        let Value::Object(fields) = value else { return Ok(()) };
        let pointer = self.parts.all[index].pointer.clone();
        for (keyword, value) in fields {
            let at = join_pointer(&pointer, keyword);
            match (keyword.as_str(), value) {
                ("$ref", Value::String(reference)) => {
                    let (target, value) = target(self.schema, &self.anchors, reference)
                        .ok_or_else(|| outside(&at, reference))?;
                    let target = self.part(target, value);
                    self.beside(index, target);
                }
                ("$dynamicRef" | "$recursiveRef", _) => {
                    let message = format!("`{keyword}` is not available here");
                    return Err(Diagnostic::new(at, message, "a `$ref`, which leads to one place"));
                }
                ("allOf" | "anyOf" | "oneOf", Value::Array(items)) => {
                    self.parts.alternatives |= keyword != "allOf";
                    for (number, item) in items.iter().enumerate() {
                        let part = self.part(format!("{at}/{number}"), item);
                        self.beside(index, part);
                    }
                }
                ("not" | "if" | "then" | "else", value) => {
                    let part = self.part(at, value);
                    self.beside(index, part);
                }
                ("dependentSchemas" | "dependencies", Value::Object(schemas)) => {
                    self.parts.all[index].weight += weight(keyword, value);
                    for (name, schema) in schemas.iter().filter(|(_, it)| !it.is_array()) {
                        let part = self.part(join_pointer(&at, name), schema);
                        self.beside(index, part);
                    }
                }
                (_, value) => {
                    let patterns = self.patterns.bytes(keyword, value, &at)?;
                    let part = &mut self.parts.all[index];
                    part.patterns += patterns;
                    part.unique |= u64::from(keyword == "uniqueItems" && *value == true);
                    part.weight += weight(keyword, value);
                }
            }
        }
        self.properties(index, &pointer, fields);
        self.items(index, &pointer, fields);
        Ok(())
    }

    fn beside(&mut self, index: usize, other: usize) {
        self.parts.all[index].beside.push(other);
    }

    fn below(&mut self, index: usize, step: Step<'a>, parts: &[usize]) {
        if parts.is_empty() {
            return;
        }
        self.parts.all[index].below.entry(step).or_default().extend_from_slice(parts);
    }

    /// The subschemas of one keyword that holds one.
    fn single(
        &mut self,
        pointer: &str,
        fields: &'a Map<String, Value>,
        keyword: &str,
    ) -> Vec<usize> {
        let schema = fields.get(keyword).filter(|it| it.is_object() || it.is_boolean());
        schema.map(|it| self.part(join_pointer(pointer, keyword), it)).into_iter().collect()
    }

    fn unevaluated(
        &mut self,
        pointer: &str,
        fields: &'a Map<String, Value>,
        keyword: &str,
        others: &mut Vec<usize>,
    ) {
        self.parts.unevaluated |= fields.contains_key(keyword);
        others.extend(self.single(pointer, fields, keyword).repeat(UNEVALUATED_READS));
    }

    fn properties(&mut self, index: usize, pointer: &str, fields: &'a Map<String, Value>) {
        // Any pattern may match any name.
        let mut others = Vec::new();
        if let Some(Value::Object(schemas)) = fields.get("patternProperties") {
            let at = join_pointer(pointer, "patternProperties");
            for (pattern, schema) in schemas {
                others.push(self.part(join_pointer(&at, pattern), schema));
            }
        }
        self.unevaluated(pointer, fields, "unevaluatedProperties", &mut others);
        if let Some(Value::Object(schemas)) = fields.get("properties") {
            let at = join_pointer(pointer, "properties");
            for (name, schema) in schemas {
                let part = self.part(join_pointer(&at, name), schema);
                self.below(index, Step::Property(name), &[part]);
                self.below(index, Step::Property(name), &others);
            }
        }
        others.extend(self.single(pointer, fields, "additionalProperties"));
        self.below(index, Step::OtherProperty, &others);
        let names = self.single(pointer, fields, "propertyNames");
        self.below(index, Step::Name, &names);
    }

    fn items(&mut self, index: usize, pointer: &str, fields: &'a Map<String, Value>) {
        let mut others = self.single(pointer, fields, "contains").repeat(UNEVALUATED_READS);
        self.unevaluated(pointer, fields, "unevaluatedItems", &mut others);
        // The list of schemas for the first items is `items` up to draft 7.
        for keyword in ["prefixItems", "items"] {
            if let Some(Value::Array(schemas)) = fields.get(keyword) {
                let at = join_pointer(pointer, keyword);
                for (number, schema) in schemas.iter().enumerate() {
                    let part = self.part(format!("{at}/{number}"), schema);
                    self.below(index, Step::Item(number), &[part]);
                    self.below(index, Step::Item(number), &others);
                }
            }
        }
        others.extend(self.single(pointer, fields, "items"));
        others.extend(self.single(pointer, fields, "additionalItems"));
        self.below(index, Step::OtherItem, &others);
    }
}

fn outside(pointer: &str, reference: &str) -> Diagnostic {
    let shown: String = reference.chars().take(100).collect();
    Diagnostic::new(pointer, format!("`{shown}` leads to no place in this schema"), OUTSIDE)
}

impl Parts<'_> {
    /// The subschemas right beside and below one.
    pub(super) fn next(&self, index: usize) -> impl Iterator<Item = usize> + '_ {
        let part = &self.all[index];
        part.beside.iter().chain(part.below.values().flatten()).copied()
    }

    /// An order in which those beside a subschema come before it, or a subschema that comes back to itself with the
    /// same value.
    pub(super) fn order(&self) -> Result<Vec<usize>, usize> {
        let mut waiting: Vec<usize> = self.all.iter().map(|part| part.beside.len()).collect();
        let mut users: Vec<Vec<usize>> = vec![Vec::new(); self.all.len()];
        for (index, part) in self.all.iter().enumerate() {
            part.beside.iter().for_each(|other| users[*other].push(index));
        }
        let mut order: Vec<usize> = Vec::with_capacity(self.all.len());
        order.extend((0..self.all.len()).filter(|index| waiting[*index] == 0));
        let mut done = 0;
        while let Some(index) = order.get(done).copied() {
            done += 1;
            for user in &users[index] {
                waiting[*user] -= 1;
                if waiting[*user] == 0 {
                    order.push(*user);
                }
            }
        }
        let Some(mut index) = (0..self.all.len()).find(|index| waiting[*index] > 0) else {
            return Ok(order);
        };
        // Each one that is left has one beside it that is left: following them ends in the circle.
        let mut seen = HashSet::new();
        while seen.insert(index) {
            let beside = &self.all[index].beside;
            index = beside.iter().copied().find(|other| waiting[*other] > 0).unwrap_or(index);
        }
        Err(index)
    }
}

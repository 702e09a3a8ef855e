//! The defaults of a schema, put where an input says nothing.
//!
//! A property that is absent gets the `default` of its schema, and so on inside of what was there or has been put there:
//! through `properties`, `additionalProperties`, `items`, `prefixItems`, `$ref` and `allOf`. Where a schema has
//! alternatives or conditions, which of them holds may depend on the defaults, so theirs are left alone.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::bounds;
use super::references::{Anchors, target};
use crate::document::nests_within;
use crate::domain::diagnostic::Diagnostic;
use crate::domain::limits::{INPUT_BYTES_MAX, JSON_DEPTH_MAX};

/// The subschemas that may hold defaults, the schema itself first. Empty where there are none.
#[derive(Debug)]
pub(super) struct Defaults {
    parts: Vec<Subschema>,
}

/// A subschema. Others are named by their indexes in the list.
#[derive(Debug, Default)]
struct Subschema {
    absent: Vec<Absent>,
    properties: HashMap<String, usize>,
    other_properties: Option<usize>,
    first_items: Vec<usize>,
    other_items: Option<usize>,
    /// Those that read the same value.
    beside: Vec<usize>,
}

/// What a property is when it is absent.
#[derive(Debug)]
struct Absent {
    property: String,
    value: Value,
    /// What it adds to an input, about.
    bytes: usize,
}

impl Defaults {
    /// The defaults of a schema that has been found to be valid.
    pub(super) fn of(schema: &Value) -> Result<Self, Diagnostic> {
        let mut reader = Reader {
            schema,
            anchors: bounds::walk(schema)?,
            known: HashMap::new(),
            open: Vec::new(),
            parts: Vec::new(),
        };
        reader.part(schema);
        while let Some((index, fields)) = reader.open.pop() {
            reader.read(index, fields);
        }
        let is_any = reader.parts.iter().any(|part| !part.absent.is_empty());
        Ok(Self { parts: if is_any { reader.parts } else { Vec::new() } })
    }

    /// The input with its defaults, if that is another one.
    ///
    /// # Errors
    /// When they make it larger or deeper than an input may be.
    pub(super) fn complete(&self, input: &Value) -> Result<Option<Value>, Diagnostic> {
        if self.parts.is_empty() {
            return Ok(None);
        }
        let mut filling = Filling { parts: &self.parts, room: INPUT_BYTES_MAX, changed: false };
        let mut completed = input.clone();
        filling.fill(vec![0], &mut completed, 1)?;
        if !filling.changed {
            return Ok(None);
        }
        if !nests_within(&completed, JSON_DEPTH_MAX) {
            return Err(too_deep());
        }
        Ok(Some(completed))
    }
}

fn too_deep() -> Diagnostic {
    let message =
        format!("with the schema's defaults it nests deeper than {JSON_DEPTH_MAX} levels");
    Diagnostic::new("", message, "defaults that do not call for more of themselves")
}

fn too_large() -> Diagnostic {
    let message = format!("with the schema's defaults it has more than {INPUT_BYTES_MAX} bytes");
    Diagnostic::new("", message, "a smaller input, or smaller defaults")
}

struct Reader<'a> {
    schema: &'a Value,
    anchors: Anchors,
    /// By their addresses, because pointers may be long.
    known: HashMap<*const Value, usize>,
    open: Vec<(usize, &'a Map<String, Value>)>,
    parts: Vec<Subschema>,
}

impl<'a> Reader<'a> {
    /// The index of a subschema in the list.
    fn part(&mut self, schema: &'a Value) -> usize {
        if let Some(index) = self.known.get(&std::ptr::from_ref(schema)) {
            return *index;
        }
        let index = self.parts.len();
        self.known.insert(std::ptr::from_ref(schema), index);
        self.parts.push(Subschema::default());
        if let Value::Object(fields) = schema {
            self.open.push((index, fields));
        }
        index
    }

    fn read(&mut self, index: usize, fields: &'a Map<String, Value>) {
        let mut part = Subschema::default();
        if let Some(Value::Object(properties)) = fields.get("properties") {
            for (name, schema) in properties {
                part.properties.insert(name.clone(), self.part(schema));
                if let Some(default) = self.default_of(schema) {
                    let bytes = name.len() + default.to_string().len();
                    let (property, value) = (name.clone(), default.clone());
                    part.absent.push(Absent { property, value, bytes });
                }
            }
        }
        let schema = |keyword: &str| fields.get(keyword).filter(|it| it.is_object());
        // Which names are others is for the patterns to say.
        if !fields.contains_key("patternProperties") {
            part.other_properties = schema("additionalProperties").map(|it| self.part(it));
        }
        // The list of schemas for the first items is `items` up to draft 7.
        for keyword in ["prefixItems", "items"] {
            if let Some(Value::Array(schemas)) = fields.get(keyword) {
                part.first_items = schemas.iter().map(|it| self.part(it)).collect();
            }
        }
        let rest = schema("items").or_else(|| schema("additionalItems"));
        part.other_items = rest.map(|it| self.part(it));
        part.beside.extend(self.referred(fields).map(|it| self.part(it)));
        if let Some(Value::Array(schemas)) = fields.get("allOf") {
            part.beside.extend(schemas.iter().map(|it| self.part(it)));
        }
        self.parts[index] = part;
    }

    fn referred(&self, fields: &Map<String, Value>) -> Option<&'a Value> {
        let reference = fields.get("$ref")?.as_str()?;
        target(self.schema, &self.anchors, reference).map(|(_, value)| value)
    }

    /// What a schema or, if it is silent, those that it refers to say that an absent value is.
    fn default_of(&self, schema: &'a Value) -> Option<&'a Value> {
        let mut schema = schema.as_object()?;
        // A schema that comes back to itself has been refused; this is for whoever changes that.
        for _ in 0..JSON_DEPTH_MAX {
            if let Some(default) = schema.get("default") {
                return Some(default);
            }
            schema = self.referred(schema)?.as_object()?;
        }
        None
    }
}

struct Filling<'p> {
    parts: &'p [Subschema],
    /// Bytes that may still be added.
    room: usize,
    changed: bool,
}

impl Filling<'_> {
    /// Completes a value that these subschemas read.
    fn fill(
        &mut self,
        subschemas: Vec<usize>,
        value: &mut Value,
        level: usize,
    ) -> Result<(), Diagnostic> {
        if level > JSON_DEPTH_MAX {
            // A value this deep was put there: what was sent is less deep, or has a scalar here.
            return if value.is_object() || value.is_array() { Err(too_deep()) } else { Ok(()) };
        }
        let subschemas = self.with_beside(subschemas);
        let all = self.parts;
        let parts = || subschemas.iter().map(|index| &all[*index]);
        match value {
            Value::Object(fields) => {
                for absent in parts().flat_map(|part| &part.absent) {
                    if !fields.contains_key(&absent.property) {
                        self.room = self.room.checked_sub(absent.bytes).ok_or_else(too_large)?;
                        self.changed = true;
                        fields.insert(absent.property.clone(), absent.value.clone());
                    }
                }
                for (name, value) in fields {
                    let part = |index: &usize| {
                        let part = &all[*index];
                        part.properties.get(name).copied().or(part.other_properties)
                    };
                    let next: Vec<usize> = subschemas.iter().filter_map(part).collect();
                    if !next.is_empty() {
                        self.fill(next, value, level + 1)?;
                    }
                }
            }
            Value::Array(items) => {
                for (at, value) in items.iter_mut().enumerate() {
                    let part = |index: &usize| {
                        let part = &all[*index];
                        part.first_items.get(at).copied().or(part.other_items)
                    };
                    let next: Vec<usize> = subschemas.iter().filter_map(part).collect();
                    if !next.is_empty() {
                        self.fill(next, value, level + 1)?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn with_beside(&self, mut subschemas: Vec<usize>) -> Vec<usize> {
        let mut at = 0;
        while let Some(index) = subschemas.get(at) {
            at += 1;
            for other in &self.parts[*index].beside {
                if !subschemas.contains(other) {
                    subschemas.push(*other);
                }
            }
        }
        subschemas
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn completed(schema: &Value, input: &Value) -> Result<Value, Diagnostic> {
        let completed = Defaults::of(schema).unwrap().complete(input);
        completed.map(|it| it.unwrap_or_else(|| input.clone()))
    }

    #[test]
    fn what_is_absent_becomes_its_default_and_what_is_there_stays() {
        let schema = json!({"properties": {
            "n": {"default": 5},
            "list": {"default": [1]},
            "nothing": {"default": null},
            "plain": {"type": "string"},
        }});
        for (input, expected) in [
            (json!({}), json!({"n": 5, "list": [1], "nothing": null})),
            (json!({"n": null, "x": 1}), json!({"n": null, "x": 1, "list": [1], "nothing": null})),
            (json!([]), json!([])),
            (json!("n"), json!("n")),
        ] {
            assert_eq!(completed(&schema, &input), Ok(expected));
        }
    }

    #[test]
    fn defaults_are_found_wherever_a_value_is_or_is_put() {
        let point = json!({"properties": {"x": {"default": 0}, "y": {"default": 0}}});
        let schema = json!({
            "$defs": {"point": point, "seven": {"$anchor": "seven", "default": 7}},
            "properties": {
                "inside": {"properties": {"deep": {"properties": {"n": {"default": 1}}}}},
                "put": {"$ref": "#/$defs/point", "default": {"x": 3}},
                "by_reference": {"$ref": "#seven"},
                "points": {"items": {"$ref": "#/$defs/point"}},
                "pair": {"prefixItems": [{"$ref": "#/$defs/point"}], "items": false},
            },
            "additionalProperties": {"$ref": "#/$defs/point"},
            "allOf": [{"properties": {"put": {"properties": {"z": {"default": 9}}}, "last": {"default": true}}}],
        });
        let input = json!({"inside": {"deep": {}}, "points": [{"x": 1}, 2, {}], "pair": [{}, {}], "other": {}});
        assert_eq!(
            completed(&schema, &input),
            Ok(json!({
                "inside": {"deep": {"n": 1}},
                "points": [{"x": 1, "y": 0}, 2, {"x": 0, "y": 0}],
                "pair": [{"x": 0, "y": 0}, {}],
                "other": {"x": 0, "y": 0},
                "put": {"x": 3, "y": 0, "z": 9},
                "by_reference": 7,
                "last": true,
            }))
        );
        // There is nothing that the inner default could stand in.
        assert_eq!(completed(&schema, &json!({})).unwrap().get("inside"), None);
    }

    #[test]
    fn defaults_of_alternatives_and_patterns_are_left_alone() {
        let schema = json!({
            "anyOf": [{"properties": {"a": {"default": 1}}}],
            "if": {}, "then": {"properties": {"b": {"default": 1}}},
            "patternProperties": {"^x": {"properties": {"c": {"default": 1}}}},
            "additionalProperties": {"properties": {"d": {"default": 1}}},
            "properties": {"e": {"default": 1}},
        });
        let input = json!({"x1": {}, "y": {}});
        assert_eq!(completed(&schema, &input), Ok(json!({"x1": {}, "y": {}, "e": 1})));
    }

    #[test]
    fn defaults_that_call_for_more_of_themselves_are_bounded() {
        let tree = json!({"properties": {"left": {"$ref": "#", "default": {}}, "right": {"$ref": "#", "default": {}}}});
        assert_eq!(completed(&tree, &json!({})), Err(too_deep()));
        assert_eq!(completed(&tree, &json!(1)), Ok(json!(1)));
        let large = json!({"items": {"properties": {"text": {"default": "x".repeat(1000)}}}});
        assert_eq!(completed(&large, &json!(vec![json!({}); 300])), Err(too_large()));
        assert!(completed(&large, &json!(vec![json!({}); 200])).is_ok());
        let deep = (0..JSON_DEPTH_MAX).fold(json!(1), |inner, _| json!([inner]));
        let schema = json!({"properties": {"a": {"default": deep}}});
        assert_eq!(completed(&schema, &json!({})), Err(too_deep()));
    }
}

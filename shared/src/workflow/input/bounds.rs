//! The size of a schema, measured in one walk before it is taken apart: what that takes grows faster than the schema.

use std::collections::{HashSet, VecDeque};

use serde_json::Value;

use super::references::{Anchors, local_pointer};
use crate::domain::diagnostic::{Diagnostic, join_pointer};
use crate::domain::limits::{
    PATTERN_PROPERTIES_MAX, PATTERN_TEXT_BYTES_MAX, SCHEMA_NAME_BYTES_MAX, SCHEMA_PARTS_MAX,
};

/// Keywords that hold a schema, or a list of them.
const SCHEMAS: [&str; 17] = [
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "items",
    "prefixItems",
    "additionalItems",
    "contains",
    "additionalProperties",
    "propertyNames",
    "unevaluatedItems",
    "unevaluatedProperties",
    "contentSchema",
    "extends",
];
/// Keywords that hold a schema for each name.
const BY_NAME: [&str; 6] =
    ["properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies"];

/// Walks a schema through the keywords that hold schemas, and to where references lead, so that a text in an example
/// is nothing but a text.
///
/// # Errors
/// When it is too large, or a part of it would be a schema of its own: there `#` would not mean the whole, nor a
/// keyword what it means elsewhere.
pub(super) fn walk(schema: &Value) -> Result<Anchors, Diagnostic> {
    let mut walk = Walk {
        schema,
        seen: HashSet::from([std::ptr::from_ref(schema)]),
        open: VecDeque::from([(String::new(), schema)]),
        anchors: Anchors::new(),
    };
    while let Some((pointer, value)) = walk.open.pop_front() {
        walk.schema(&pointer, value)?;
    }
    Ok(walk.anchors)
}

struct Walk<'a> {
    schema: &'a Value,
    /// By their addresses, because pointers may be long.
    seen: HashSet<*const Value>,
    open: VecDeque<(String, &'a Value)>,
    anchors: Anchors,
}

impl<'a> Walk<'a> {
    fn open(&mut self, pointer: String, value: &'a Value) -> Result<(), Diagnostic> {
        if self.seen.insert(std::ptr::from_ref(value)) {
            if self.seen.len() > SCHEMA_PARTS_MAX {
                return Err(too_many_parts());
            }
            self.open.push_back((pointer, value));
        }
        Ok(())
    }

    fn schema(&mut self, pointer: &str, value: &'a Value) -> Result<(), Diagnostic> {
        let Value::Object(fields) = value else { return Ok(()) };
        for (keyword, value) in fields {
            let at = || join_pointer(pointer, keyword);
            match (keyword.as_str(), value) {
                ("$anchor" | "$dynamicAnchor", Value::String(name)) => {
                    self.anchor(name, pointer, at)?;
                }
                ("$id" | "$schema", Value::String(_)) if !pointer.is_empty() => {
                    let message = format!("`{keyword}` inside of a schema");
                    let hint = format!("one `{keyword}` at the top of the schema, or none");
                    return Err(Diagnostic::new(at(), message, hint));
                }
                ("$ref", Value::String(reference)) => {
                    // One by an anchor leads to what is walked anyway, and a wrong one is reported later.
                    let target = local_pointer(self.schema, reference)
                        .and_then(|to| self.schema.pointer(&to).map(|value| (to, value)));
                    if let Some((to, value)) = target {
                        self.open(to, value)?;
                    }
                }
                ("pattern", Value::String(pattern)) => check_pattern(pattern, at)?,
                (keyword, Value::Object(schemas)) if BY_NAME.contains(&keyword) => {
                    self.by_name(&at(), keyword, schemas)?;
                }
                (keyword, Value::Array(items)) if SCHEMAS.contains(&keyword) => {
                    let at = at();
                    for (index, item) in items.iter().enumerate() {
                        self.open(format!("{at}/{index}"), item)?;
                    }
                }
                (keyword, value) if SCHEMAS.contains(&keyword) => self.open(at(), value)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn anchor(
        &mut self,
        name: &str,
        pointer: &str,
        at: impl Fn() -> String,
    ) -> Result<(), Diagnostic> {
        if self.anchors.insert(name.to_owned(), pointer.to_owned()).is_none() {
            return Ok(());
        }
        Err(Diagnostic::new(at(), "a second anchor of this name", "another name"))
    }

    fn by_name(
        &mut self,
        at: &str,
        keyword: &str,
        schemas: &'a serde_json::Map<String, Value>,
    ) -> Result<(), Diagnostic> {
        let patterns = keyword == "patternProperties";
        if patterns && schemas.len() > PATTERN_PROPERTIES_MAX {
            let message = format!("more than {PATTERN_PROPERTIES_MAX} patterns");
            return Err(Diagnostic::new(
                at,
                message,
                "one pattern with alternatives, as in `^(a|b)`",
            ));
        }
        for (name, schema) in schemas {
            if patterns {
                check_pattern(name, || at.to_owned())?;
            } else if name.len() > SCHEMA_NAME_BYTES_MAX {
                let message = format!("a name of more than {SCHEMA_NAME_BYTES_MAX} bytes");
                return Err(Diagnostic::new(at, message, "a shorter name"));
            }
            // Names that another one depends on, in `dependencies`.
            if !schema.is_array() {
                self.open(join_pointer(at, name), schema)?;
            }
        }
        Ok(())
    }
}

fn too_many_parts() -> Diagnostic {
    let message = format!("more than {SCHEMA_PARTS_MAX} subschemas");
    Diagnostic::new("", message, "a smaller schema, or one `$ref` in place of repeated parts")
}

fn check_pattern(pattern: &str, at: impl Fn() -> String) -> Result<(), Diagnostic> {
    if pattern.len() <= PATTERN_TEXT_BYTES_MAX {
        return Ok(());
    }
    let message = format!("a pattern of more than {PATTERN_TEXT_BYTES_MAX} bytes");
    Err(Diagnostic::new(
        at(),
        message,
        "a shorter regular expression, or `enum` for a list of texts",
    ))
}

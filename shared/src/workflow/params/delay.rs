//! `delay`: waits without holding a worker.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::values::{mistyped, unfit};
use super::{Definition, Output, Parameter, Reader, Rendered, Shape};
use crate::domain::diagnostic::{Diagnostic, Severity};
use crate::domain::duration;
use crate::domain::kind::Effect;
use crate::domain::limits::{DELAY_MAX, NODE_TIMEOUT_DEFAULT};
use crate::workflow::fields::{checked_duration, type_of};
use crate::workflow::json_schema::{self, EXPRESSION};

/// Rendered: one of the two.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DelayParams {
    /// How long to wait. What is constant is at most [`DELAY_MAX`]; what comes out of an expression may be longer.
    #[serde(rename = "for")]
    pub length: Option<Length>,
    /// Until when to wait, which may have passed.
    pub until: Option<Moment>,
}

impl Rendered for DelayParams {}

/// A length of time, as [`duration`] reads it or as a number of seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Length(pub Duration);

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const EXPECTED: &str = "a length of time like `5s`, or a number of seconds";
        let length = match Value::deserialize(deserializer)? {
            Value::String(text) => duration::parse(&text).ok(),
            Value::Number(seconds) => {
                seconds.as_f64().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            }
            other => return Err(mistyped(&other, EXPECTED)),
        };
        length.map(Self).ok_or_else(|| unfit(EXPECTED))
    }
}

/// A time stamp of RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment(pub DateTime<Utc>);

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let moment = DateTime::parse_from_rfc3339(&text);
        moment
            .map(|moment| Self(moment.to_utc()))
            .map_err(|_| unfit("a time like 2030-01-31T12:00:00Z"))
    }
}

pub(super) const DEFINITION: Definition = Definition {
    parameters: &[
        Parameter {
            name: "for",
            shape: Shape::Checked(length_schema),
            required: false,
            doc: "How long to wait, like `5s` or `2h`, or a number of seconds.",
        },
        Parameter {
            name: "until",
            shape: Shape::Text,
            required: false,
            doc: "When to go on, like `2030-01-31T09:00:00Z`. A time that has passed does not wait.",
        },
    ],
    chooses_branch: false,
    always_fails: false,
    effect: |_| Effect::Pure,
    timeout: NODE_TIMEOUT_DEFAULT,
    output: Output::Members(&["waited_until"]),
    compile,
};

fn length_schema() -> Value {
    json!({ "anyOf": [
        json_schema::duration(DELAY_MAX), json_schema::reference(EXPRESSION),
        { "type": "number", "description": "Seconds." },
    ] })
}

fn compile(reader: &mut Reader<'_, '_>) {
    reader.take(&["for", "until"]);
    match (reader.fields.has("for"), reader.fields.has("until")) {
        (true, true) => {
            reader.diagnostic("until", "`until` beside `for`", "a delay has one of the two");
        }
        (false, false) => reader.diagnostics.add(
            reader.fields.pointer.clone(),
            "`for` or `until` is missing",
            "write how long to wait, or until when",
        ),
        _ => {}
    }
    if let Some(value) = reader.fields.get("for").filter(|it| !it.is_string() && !it.is_number()) {
        let message = format!("`for` is {}, not a length of time", type_of(value));
        let diagnostic =
            Diagnostic::new(reader.fields.at("for"), message, "like `5s`, or a number of seconds");
        reader.diagnostics.0.push(Diagnostic { severity: Severity::Mistake, ..diagnostic });
    }
    if let Some(text) = reader.constant_text("for")
        && let Err((message, hint)) = checked_duration(text, "for", DELAY_MAX)
    {
        reader.diagnostic("for", message, hint);
    }
    if let Some(text) = reader.constant_text("until")
        && DateTime::parse_from_rfc3339(text).is_err()
    {
        reader.diagnostic("until", "`until` is no time", "like `2030-01-31T09:00:00Z`");
    }
}

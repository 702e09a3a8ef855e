//! What an agent may take.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Number, Value, json};

use super::super::Reader;
use crate::domain::duration;
use crate::domain::money::{DOLLARS_MAX, NanoDollars};
use crate::workflow::fields::{Fields, type_of};
use crate::workflow::json_schema::{self, closed};

/// Answers of the model, unless given.
const ITERATIONS_DEFAULT: u32 = 20;
/// Answers that can be given: as many as an agent may have steps.
const ITERATIONS_MAX: u32 = 1_000;
/// Time of work, unless given.
const WALL_DEFAULT: Duration = Duration::from_secs(3600);
/// Time of work that can be given.
const WALL_MAX: Duration = Duration::from_secs(24 * 3600);
/// Tokens that can be given: more than anybody pays for.
const TOKENS_MAX: u64 = 1_000_000_000_000;

/// What an agent may take, rendered.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentLimits {
    /// Answers of the model.
    pub iterations: u32,
    /// Tokens of all calls to the model together.
    pub tokens: Option<u64>,
    /// What they cost together.
    pub usd: Option<Number>,
    /// How long it works, in milliseconds. What it waits does not count.
    pub wall_ms: u64,
}

impl AgentLimits {
    /// What calls to the model may cost together.
    #[must_use]
    pub fn max_cost(&self) -> Option<NanoDollars> {
        // It was checked when the workflow was saved.
        self.usd.as_ref().and_then(|usd| NanoDollars::from_dollars(usd).ok())
    }

    /// How long it works.
    #[must_use]
    pub fn wall(&self) -> Duration {
        Duration::from_millis(self.wall_ms)
    }
}

/// The schema of what is written.
pub(super) fn schema() -> Value {
    let whole = |max: u64| json!({ "type": "integer", "minimum": 1, "maximum": max });
    let limits = [
        ("iterations", whole(ITERATIONS_MAX.into())),
        ("tokens", whole(TOKENS_MAX)),
        ("usd", json!({ "type": "number", "exclusiveMinimum": 0, "maximum": DOLLARS_MAX })),
        ("wall", json_schema::duration(WALL_MAX)),
    ];
    closed(limits, &[])
}

pub(super) fn compile(reader: &mut Reader<'_, '_>) {
    let mut limits = json!({ "iterations": ITERATIONS_DEFAULT });
    let mut wall = WALL_DEFAULT;
    if let Some(value) = reader.fields.get("limits") {
        let pointer = reader.fields.at("limits");
        let known = ["iterations", "tokens", "usd", "wall"];
        let Some(fields) = Fields::open(value, pointer, &known, reader.diagnostics) else { return };
        if let Some(number) = fields.number("iterations", (1, ITERATIONS_MAX), reader.diagnostics) {
            limits["iterations"] = number.into();
        }
        if let Some(value) = fields.get("tokens") {
            match value.as_u64().filter(|tokens| (1..=TOKENS_MAX).contains(tokens)) {
                Some(tokens) => limits["tokens"] = tokens.into(),
                None => {
                    let hint = format!("a whole number from 1 to {TOKENS_MAX}");
                    let message = "`tokens` is no number of tokens";
                    reader.diagnostics.add(fields.at("tokens"), message, hint);
                }
            }
        }
        if let Some(value) = fields.get("usd") {
            match dollars(value) {
                Ok(number) => limits["usd"] = Value::Number(number),
                Err(message) => {
                    let hint = "a number of US dollars like 0.5";
                    reader.diagnostics.add(fields.at("usd"), message, hint);
                }
            }
        }
        match fields.duration("wall", WALL_MAX, reader.diagnostics) {
            Some(Duration::ZERO) => {
                let hint = format!("at most {}", duration::format(WALL_MAX));
                reader.diagnostics.add(fields.at("wall"), "`wall` is nothing", hint);
            }
            Some(time) => wall = time,
            None => {}
        }
    }
    limits["wall_ms"] = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX).into();
    reader.put_constant("limits", limits);
}

fn dollars(value: &Value) -> Result<Number, String> {
    let Value::Number(number) = value else {
        return Err(format!("`usd` is {}, not a number", type_of(value)));
    };
    match NanoDollars::from_dollars(number) {
        Ok(NanoDollars::ZERO) => Err("`usd` is nothing".to_owned()),
        Ok(_) => Ok(number.clone()),
        Err(error) => Err(format!("`usd`: {error}")),
    }
}

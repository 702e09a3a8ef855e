//! `finish`: ends the agent. It is no step, because nothing outside happens.

use serde_json::{Value, json};
use skein_shared::workflow::params::agent::FINISH;

use crate::models::ToolSpec;

pub(super) const NAME: &str = FINISH;

/// How models are shown it.
pub(super) fn spec() -> ToolSpec {
    ToolSpec {
        name: NAME.to_owned(),
        description: "Ends your work with the final answer to the goal.".to_owned(),
        parameters: json!({
            "type": "object",
            "properties": {
                "answer": { "type": "string", "description": "The complete answer to the goal." },
            },
            "required": ["answer"],
        }),
    }
}

/// The answer in its arguments.
pub(super) fn answer(arguments: &Value) -> Result<String, String> {
    match &arguments["answer"] {
        Value::String(text) => Ok(text.clone()),
        Value::Null => Err("`answer` is missing: call it with the final answer".to_owned()),
        // Some models answer with what they were asked to find.
        other => Ok(other.to_string()),
    }
}

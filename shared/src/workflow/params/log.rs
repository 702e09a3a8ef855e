//! `log`: writes a line into the run's log.

use serde::Deserialize;
use serde_json::Value;

use super::read::read_around;
use super::{Definition, InvalidParams, Output, Parameter, Reader, Rendered, Shape};
use crate::domain::kind::Effect;
use crate::domain::limits::NODE_TIMEOUT_DEFAULT;
use crate::domain::words::words;

words!(
    /// How important a line is.
    #[derive(Default)]
    "level" Level {
        /// Of use to whoever looks for a mistake.
        Debug = "debug",
        /// Worth knowing.
        #[default]
        Info = "info",
        /// Something may be wrong.
        Warn = "warn",
        /// Something is wrong.
        Error = "error",
    }
);

/// Rendered.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogParams {
    /// How important it is.
    #[serde(default)]
    pub level: Level,
    /// What the line says.
    pub message: String,
    /// Anything that goes with it.
    pub data: Option<Value>,
}

impl Rendered for LogParams {
    fn read(rendered: Value) -> Result<Self, InvalidParams> {
        read_around(rendered, "data", |params: &mut Self, data| params.data = Some(data))
    }
}

pub(super) const DEFINITION: Definition = Definition {
    parameters: &[
        Parameter {
            name: "level",
            shape: Shape::Word(Level::WORDS),
            required: false,
            doc: "How important it is, info unless given.",
        },
        Parameter {
            name: "message",
            shape: Shape::Text,
            required: true,
            doc: "What the line says.",
        },
        Parameter {
            name: "data",
            shape: Shape::Any,
            required: false,
            doc: "Anything that goes with it.",
        },
    ],
    chooses_branch: false,
    always_fails: false,
    effect: |_| Effect::Pure,
    timeout: NODE_TIMEOUT_DEFAULT,
    output: Output::Nothing,
    compile,
};

fn compile(reader: &mut Reader<'_, '_>) {
    if !reader.fields.has("level") {
        reader.put_constant("level", Level::default().as_str());
    }
    reader.take(&["level", "message", "data"]);
}

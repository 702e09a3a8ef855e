//! `transform`: computes a value from other values.

use serde::Deserialize;
use serde_json::Value;

use super::read::read_around;
use super::{Definition, InvalidParams, Output, Parameter, Reader, Rendered, Shape};
use crate::domain::kind::Effect;
use crate::domain::limits::NODE_TIMEOUT_DEFAULT;

/// Rendered.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransformParams {
    /// What the node yields.
    pub value: Value,
}

impl Rendered for TransformParams {
    fn read(rendered: Value) -> Result<Self, InvalidParams> {
        read_around(rendered, "value", |params: &mut Self, value| params.value = value)
    }
}

pub(super) const DEFINITION: Definition = Definition {
    parameters: &[Parameter {
        name: "value",
        shape: Shape::Any,
        required: true,
        doc: "The value that the node yields.",
    }],
    chooses_branch: false,
    always_fails: false,
    effect: |_| Effect::Pure,
    timeout: NODE_TIMEOUT_DEFAULT,
    output: Output::Parameter("value"),
    compile,
};

fn compile(reader: &mut Reader<'_, '_>) {
    reader.take(&["value"]);
}

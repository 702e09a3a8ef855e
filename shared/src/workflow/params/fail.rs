//! `fail`: fails, and its run with it.

use std::sync::Arc;

use serde::{Deserialize, Deserializer};

use super::values::unfit;
use super::{Definition, Output, Parameter, Reader, Rendered, Shape};
use crate::domain::diagnostic::quoted;
use crate::domain::failure::is_own_code;
use crate::domain::kind::Effect;
use crate::domain::limits::{ERROR_BYTES_MAX, NODE_TIMEOUT_DEFAULT};

const CODE_HINT: &str = "a small letter, then small letters, digits and `_`, 64 characters at most, like \
                         `payment_declined`; `cancelled` is what was stopped, which has not failed";

/// Rendered.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailParams {
    /// What went wrong, as a word: the code of the node's error, and of its run's.
    pub code: Code,
    /// What went wrong, in words. What comes out of an expression may be longer than a message is kept.
    pub message: String,
}

impl Rendered for FailParams {}

/// The code of an error that a workflow makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Code(pub Arc<str>);

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if is_own_code(&text) { Ok(Self(text.into())) } else { Err(unfit(CODE_HINT)) }
    }
}

pub(super) const DEFINITION: Definition = Definition {
    parameters: &[
        Parameter {
            name: "code",
            shape: Shape::Text,
            required: true,
            doc: "What went wrong, as a word: the code of the node's error and of its run's.",
        },
        Parameter {
            name: "message",
            shape: Shape::Text,
            required: true,
            doc: "What went wrong, in words.",
        },
    ],
    chooses_branch: false,
    always_fails: true,
    effect: |_| Effect::Pure,
    timeout: NODE_TIMEOUT_DEFAULT,
    output: Output::Nothing,
    compile,
};

fn compile(reader: &mut Reader<'_, '_>) {
    reader.take(&["code", "message"]);
    if let Some(code) = reader.constant_text("code")
        && !is_own_code(code)
    {
        reader.diagnostic("code", format!("{} is no code of an error", quoted(code)), CODE_HINT);
    }
    let Some(message) = reader.constant_text("message") else { return };
    if message.trim().is_empty() {
        reader.diagnostic("message", "`message` is empty", "say what went wrong");
    } else if message.len() > ERROR_BYTES_MAX {
        let found = format!("`message` has {} bytes", message.len());
        reader.diagnostic("message", found, format!("at most {ERROR_BYTES_MAX} are kept"));
    }
}

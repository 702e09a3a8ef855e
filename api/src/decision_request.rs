//! A decision about a step, read from its body.

use serde_json::Value;
use skein_shared::domain::diagnostic::{Diagnostic, join_pointer};
use skein_shared::domain::limits::ERROR_BYTES_MAX;
use utoipa::ToSchema;

use crate::body::{Text, fields, only_json};
use crate::problem::{Problem, ProblemDiagnostic, ProblemKind};

const FIELDS: &str = "known fields: step, approved, reason";

/// Somebody's decision about a step that waits for one.
#[derive(Debug, ToSchema)]
#[schema(as = Decision)]
pub(crate) struct DecisionBody {
    /// The step, as `waiting_for` of its node names it.
    #[schema(minimum = 1, maximum = 4_294_967_295u32)]
    pub(crate) step: u32,
    /// Whether it may be made.
    pub(crate) approved: bool,
    /// Why, for the record and for the model; at most 1,024 bytes.
    #[schema(value_type = String, required = false, max_length = 1024)]
    pub(crate) reason: Option<String>,
}

/// Reads it; all diagnostics are reported at once.
pub(crate) fn read(body: &Text) -> Result<DecisionBody, Problem> {
    only_json(body)?;
    let mut fields = fields(&body.text, FIELDS)?;
    let mut diagnostics = Vec::new();
    let mut wrong = |name: &str, message: &str, hint: &str| {
        diagnostics.push(Diagnostic::new(join_pointer("", name), message, hint));
    };
    let step = fields.shift_remove("step");
    let step = step.as_ref().and_then(Value::as_u64).and_then(|step| u32::try_from(step).ok());
    if step.is_none_or(|step| step == 0) {
        wrong("step", "is no number of a step", "a whole number from 1, as `waiting_for` has it");
    }
    let approved = fields.shift_remove("approved");
    let approved = approved.as_ref().and_then(Value::as_bool);
    if approved.is_none() {
        wrong("approved", "is neither true nor false", "`true` to allow it, `false` to forbid it");
    }
    let given = fields.shift_remove("reason");
    let reason = given
        .as_ref()
        .and_then(Value::as_str)
        .filter(|text| text.len() <= ERROR_BYTES_MAX && !text.contains('\0'));
    if given.is_some() && reason.is_none() {
        wrong("reason", "is no text that can be kept", "text of at most 1024 bytes without NUL");
    }
    for name in fields.keys() {
        wrong(name, "is not known", FIELDS);
    }
    match (step, approved) {
        (Some(step), Some(approved)) if diagnostics.is_empty() => {
            Ok(DecisionBody { step, approved, reason: reason.map(str::to_owned) })
        }
        _ => {
            let diagnostics = diagnostics.into_iter().map(ProblemDiagnostic::from).collect();
            Err(Problem::with_diagnostics(ProblemKind::InvalidRequest, diagnostics))
        }
    }
}

//! Reading the body of a request to start a run.

use serde_json::{Map, Value};
use skein_shared::document;
use skein_shared::domain::diagnostic::{Diagnostic, join_pointer};
use skein_shared::domain::ids::RunId;
use skein_shared::domain::limits::{INPUT_BYTES_MAX, JSON_DEPTH_MAX};
use skein_shared::store::runs::Idempotency;

use crate::accept::StartRun;
use crate::body::{Text, only_json};
use crate::fingerprint::fingerprint;
use crate::problem::{Problem, ProblemDiagnostic, ProblemKind};
use crate::server_span::RequestTrace;

const FIELDS: &str = "known fields: input, step_mode, trace";

/// Reads the body; all diagnostics of its shape are reported at once. No body at all stands for `{}`.
pub(crate) fn read(
    body: &Text,
    workflow: String,
    idempotency_key: Option<String>,
    trace: &RequestTrace,
) -> Result<StartRun, Problem> {
    only_json(body)?;
    let mut fields = fields(&body.text)?;
    let mut diagnostics = Vec::new();
    let input = fields.shift_remove("input").unwrap_or_else(|| Value::Object(Map::new()));
    let step_mode = flag(&mut fields, "step_mode", &mut diagnostics);
    if step_mode == Some(true) {
        // Nothing would hold the run, and whoever asked would find it ended.
        let hint = "leave it out; step mode is not available yet";
        diagnostics.push(Diagnostic::new("/step_mode", "is true", hint));
    }
    let record = flag(&mut fields, "trace", &mut diagnostics);
    for name in fields.keys() {
        diagnostics.push(Diagnostic::new(join_pointer("", name), "is not known", FIELDS));
    }
    if !diagnostics.is_empty() {
        let diagnostics = diagnostics.into_iter().map(ProblemDiagnostic::from).collect();
        return Err(Problem::with_diagnostics(ProblemKind::InvalidRequest, diagnostics));
    }
    let text = input.to_string();
    check_size(&text)?;
    let step_mode = step_mode.unwrap_or(false);
    let idempotency = idempotency_key
        .map(|key| Idempotency { key, digest: fingerprint(&workflow, &input, step_mode, record) });
    Ok(StartRun {
        id: RunId::generate(),
        workflow,
        input: text,
        step_mode,
        record,
        idempotency,
        request: trace.context,
        state: trace.state.clone(),
    })
}

fn fields(text: &str) -> Result<Map<String, Value>, Problem> {
    if text.trim_start_matches('\u{feff}').trim().is_empty() {
        return Ok(Map::new());
    }
    // The input stands one level down.
    let body = document::json::parse(text, JSON_DEPTH_MAX + 1).map_err(|diagnostic| {
        Problem::with_diagnostics(ProblemKind::MalformedBody, vec![diagnostic.into()])
    })?;
    match body {
        Value::Object(fields) => Ok(fields),
        _ => {
            let diagnostic = Diagnostic::new("", "is not an object", FIELDS);
            Err(Problem::with_diagnostics(ProblemKind::InvalidRequest, vec![diagnostic.into()]))
        }
    }
}

fn flag(
    fields: &mut Map<String, Value>,
    name: &str,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<bool> {
    let value = fields.shift_remove(name)?;
    if value.as_bool().is_none() {
        diagnostics.push(Diagnostic::new(join_pointer("", name), "is neither true nor false", ""));
    }
    value.as_bool()
}

fn check_size(input: &str) -> Result<(), Problem> {
    if input.len() <= INPUT_BYTES_MAX {
        return Ok(());
    }
    let hint = format!("at most {INPUT_BYTES_MAX} bytes as compact JSON");
    let diagnostic = Diagnostic::new("/input", format!("has {} bytes", input.len()), hint);
    Err(Problem::with_diagnostics(ProblemKind::TooLarge, vec![diagnostic.into()]))
}

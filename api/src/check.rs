//! Checking inputs against their schemas, beside the requests.
//!
//! A schema that is let in may still take a second of a core for the largest input, and the runtime has few threads. What
//! may take long goes to other threads, few at a time; the common small check stays where it is.

use std::sync::Arc;

use serde_json::Value;
use skein_shared::domain::diagnostic::Diagnostic;
use skein_shared::domain::limits::INPUT_BYTES_MAX;
use skein_shared::workflow::input::InputSchema;

use crate::app::App;
use crate::limits::{CHECK_PATIENCE, CHECK_STEPS_IN_PLACE_MAX};
use crate::plans::StartPlan;
use crate::problem::{Problem, ProblemDiagnostic, ProblemKind};

/// What became of checking an input.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    /// What is wrong with it; pointers lead into the request's body.
    pub(crate) diagnostics: Vec<ProblemDiagnostic>,
    /// The input that the run gets, as compact JSON, where the schema's defaults make another one of what was sent.
    pub(crate) completed: Option<String>,
}

/// Completes the input by the schema's defaults and checks the result. It is text while it waits for its turn.
pub(crate) async fn check_input(
    app: &App,
    plan: &Arc<StartPlan>,
    input: &str,
) -> Result<Checked, Problem> {
    let Some(schema) = &plan.schema else { return Ok(Checked::default()) };
    if let Some(checked) = check_inline(schema, &parse(input)?) {
        return Ok(checked);
    }
    let turn = Arc::clone(&app.checks).acquire_owned();
    let Ok(turn) = tokio::time::timeout(CHECK_PATIENCE, turn).await else {
        return Err(Problem::new(
            ProblemKind::Overloaded,
            "other inputs are being checked; try again",
        ));
    };
    let turn = turn.map_err(Problem::internal)?;
    let (plan, input) = (Arc::clone(plan), input.to_owned());
    let checked = move || {
        // Given back when the check ends, not when its client goes away.
        let _turn = turn;
        let input = parse(&input)?;
        let check = |schema: &InputSchema| check(schema, &input, schema.complete(&input));
        Ok(plan.schema.as_ref().map_or_else(Checked::default, check))
    };
    tokio::task::spawn_blocking(checked).await.map_err(Problem::internal)?
}

/// What has been written from a value can be read again.
fn parse(input: &str) -> Result<Value, Problem> {
    serde_json::from_str(input).map_err(Problem::internal)
}

/// Checks an input whose check is short.
fn check_inline(schema: &InputSchema, input: &Value) -> Option<Checked> {
    let is_short = |input: &Value| schema.steps(input) <= CHECK_STEPS_IN_PLACE_MAX;
    if !is_short(input) {
        return None;
    }
    let completed = schema.complete(input);
    let is_whole_short = match &completed {
        Ok(Some(completed)) => is_short(completed),
        Ok(None) | Err(_) => true,
    };
    is_whole_short.then(|| check(schema, input, completed))
}

fn check(
    schema: &InputSchema,
    input: &Value,
    completed: Result<Option<Value>, Diagnostic>,
) -> Checked {
    let checked = completed.map_err(|diagnostic| vec![diagnostic]).and_then(|completed| {
        schema.validate(completed.as_ref().unwrap_or(input))?;
        let completed = completed.map(|it| it.to_string());
        match completed.as_ref().filter(|text| text.len() > INPUT_BYTES_MAX) {
            Some(text) => {
                let message = format!("with the schema's defaults it has {} bytes", text.len());
                let hint = format!("at most {INPUT_BYTES_MAX} bytes as compact JSON");
                Err(vec![Diagnostic::new("", message, hint)])
            }
            None => Ok(completed),
        }
    });
    let shown = |diagnostic: Diagnostic| {
        Diagnostic { pointer: format!("/input{}", diagnostic.pointer), ..diagnostic }.into()
    };
    match checked {
        Ok(completed) => Checked { diagnostics: Vec::new(), completed },
        Err(diagnostics) => {
            Checked { diagnostics: diagnostics.into_iter().map(shown).collect(), completed: None }
        }
    }
}

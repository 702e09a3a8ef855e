//! A request to start a run, read from its body.

use serde_json::{Map, Value};
use skein_shared::domain::diagnostic::{Diagnostic, join_pointer};
use skein_shared::domain::ids::RunId;
use skein_shared::domain::limits::INPUT_BYTES_MAX;
use skein_shared::domain::trace::{TraceContext, TraceState};
use skein_shared::store::runs::Idempotency;
use skein_shared::workflow::budget::BudgetTerms;
use utoipa::ToSchema;

use crate::body::{Text, fields, only_json};
use crate::budget_request::Budget;
use crate::fingerprint::fingerprint;
use crate::problem::{Problem, ProblemDiagnostic, ProblemKind};
use crate::server_span::RequestTrace;

const FIELDS: &str = "known fields: input, step_mode, trace, budget";

/// A request to start a run. A body without content stands for `{}`.
#[derive(Debug, ToSchema)]
#[schema(as = StartRun)]
pub(crate) struct StartRunBody {
    /// What the run works on; `{}` if absent. Properties that are absent get the `default` that the workflow's `input`
    /// schema names, and the result must match the schema.
    #[schema(value_type = Value, required = false)]
    input: Option<Value>,
    /// Whether the run is to stop before every node; not unless given. Not available yet: `true` is refused.
    #[schema(value_type = bool, required = false)]
    step_mode: Option<bool>,
    /// Whether the run's trace is recorded. Without it, the sampler's decision on the request holds.
    #[schema(value_type = bool, required = false)]
    trace: Option<bool>,
    /// What the run may spend at most; the workflow's own `budget` can only be lowered by it.
    #[schema(value_type = Budget, required = false)]
    budget: Option<Value>,
}

/// A run that somebody wants.
#[derive(Debug)]
pub(crate) struct StartRun {
    /// The id that it will have.
    pub(crate) id: RunId,
    pub(crate) workflow: String,
    /// Which version is asked for; the latest if none is.
    pub(crate) version: Option<u32>,
    /// As it was sent, as compact JSON. Parsed, it may take fifty times as much, and the store may let us wait.
    pub(crate) input: String,
    pub(crate) step_mode: bool,
    /// Whether its trace is recorded, where that is not left to the sampler.
    pub(crate) record: Option<bool>,
    /// Does not depend on the schema's defaults.
    pub(crate) idempotency: Option<Idempotency>,
    pub(crate) budget: BudgetTerms,
    /// The server span.
    pub(crate) request: TraceContext,
    /// What the caller's systems have added to its context.
    pub(crate) state: Option<TraceState>,
}

/// Reads the body; all diagnostics of its shape are reported at once. No body at all stands for `{}`.
pub(crate) fn read(
    body: &Text,
    workflow: String,
    version: Option<u32>,
    idempotency_key: Option<String>,
    trace: &RequestTrace,
) -> Result<StartRun, Problem> {
    only_json(body)?;
    let StartRunBody { input, step_mode, trace: record, budget } = StartRunBody::read(&body.text)?;
    let input = input.unwrap_or_else(|| Value::Object(Map::new()));
    let text = input.to_string();
    check_size(&text)?;
    let step_mode = step_mode.unwrap_or(false);
    let idempotency = idempotency_key.map(|key| Idempotency {
        key,
        digest: fingerprint(&workflow, version, &input, step_mode, record, budget.as_ref()),
    });
    let budget = budget.map(|terms| BudgetTerms::parse(&terms, "/budget")).transpose();
    let budget = budget.map_err(|diagnostics| {
        let diagnostics = diagnostics.into_iter().map(ProblemDiagnostic::from).collect();
        Problem::with_diagnostics(ProblemKind::InvalidRequest, diagnostics)
    })?;
    Ok(StartRun {
        id: RunId::generate(),
        workflow,
        version,
        input: text,
        step_mode,
        record,
        idempotency,
        budget: budget.unwrap_or_default(),
        request: trace.context,
        state: trace.state.clone(),
    })
}

impl StartRunBody {
    fn read(text: &str) -> Result<Self, Problem> {
        let mut fields = fields(text, FIELDS)?;
        let mut diagnostics = Vec::new();
        let input = fields.shift_remove("input");
        let step_mode = flag(&mut fields, "step_mode", &mut diagnostics);
        if step_mode == Some(true) {
            // Nothing would hold the run, and whoever asked would find it ended.
            let hint = "leave it out; step mode is not available yet";
            diagnostics.push(Diagnostic::new("/step_mode", "is true", hint));
        }
        let trace = flag(&mut fields, "trace", &mut diagnostics);
        let budget = fields.shift_remove("budget");
        for name in fields.keys() {
            diagnostics.push(Diagnostic::new(join_pointer("", name), "is not known", FIELDS));
        }
        if diagnostics.is_empty() {
            return Ok(Self { input, step_mode, trace, budget });
        }
        let diagnostics = diagnostics.into_iter().map(ProblemDiagnostic::from).collect();
        Err(Problem::with_diagnostics(ProblemKind::InvalidRequest, diagnostics))
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

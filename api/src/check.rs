//! Checking inputs against their schemas, beside the requests.
//!
//! A schema that is let in may still take a second of a core for the largest input, and the runtime has few threads. What
//! may take long goes to other threads, few at a time; the common small check stays where it is.

use std::sync::Arc;

use serde_json::Value;
use skein_shared::domain::fault::Fault;
use skein_shared::domain::input::InputSchema;

use crate::app::App;
use crate::limits::{CHECK_PATIENCE, CHECK_STEPS_INLINE_MAX};
use crate::plans::StartPlan;
use crate::problem::{Kind, Problem, ProblemFault};

/// What is wrong with the input; pointers lead into the request's body.
pub(crate) async fn check_input(
    app: &App,
    plan: &Arc<StartPlan>,
    input: &Arc<Value>,
) -> Result<Vec<ProblemFault>, Problem> {
    let Some(schema) = &plan.schema else { return Ok(Vec::new()) };
    if schema.steps(input) <= CHECK_STEPS_INLINE_MAX {
        return Ok(faults(schema, input));
    }
    let turn = Arc::clone(&app.checks).acquire_owned();
    let Ok(turn) = tokio::time::timeout(CHECK_PATIENCE, turn).await else {
        return Err(Problem::new(Kind::Overloaded, "other inputs are being checked; try again"));
    };
    let turn = turn.map_err(Problem::internal)?;
    let (plan, input) = (Arc::clone(plan), Arc::clone(input));
    let check = move || {
        // Given back when the check ends, not when its client goes away.
        let _turn = turn;
        plan.schema.as_ref().map_or_else(Vec::new, |schema| faults(schema, &input))
    };
    tokio::task::spawn_blocking(check).await.map_err(Problem::internal)
}

fn faults(schema: &InputSchema, input: &Value) -> Vec<ProblemFault> {
    let faults = schema.validate(input).err().unwrap_or_default().into_iter();
    faults
        .map(|fault| Fault { pointer: format!("/input{}", fault.pointer), ..fault }.into())
        .collect()
}

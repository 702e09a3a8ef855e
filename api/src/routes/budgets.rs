//! What runs and organizations may spend.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use skein_shared::domain::tenant::Identity;
use skein_shared::store::spending::BudgetChanged;
use skein_shared::store::{Store, StoreError};

use crate::answers::Answers;
use crate::app::App;
use crate::auth::Caller;
use crate::body::Text;
use crate::budget_request::{self, PeriodBudgets, RunBudgetChange};
use crate::dto::spending::{OrganizationBudgets, RunSpending};
use crate::parameters::Parameters;
use crate::path_parameters::{RunPath, no_run};
use crate::problem::{Problem, ProblemKind};
use crate::server_span::RequestTrace;

/// What a run may spend, and has spent.
#[utoipa::path(
    get, path = "/runs/{id}/budget", operation_id = "getRunBudget", tag = "costs",
    params(RunPath),
    responses((status = 200, body = RunSpending),
              (status = 404, description = "run-not-found"))
)]
pub(crate) async fn of_run(
    State(app): State<Arc<App>>,
    answers: Answers,
    Caller(tenant): Caller,
    RunPath(id): RunPath,
    parameters: Parameters,
) -> Result<Response, Problem> {
    parameters.finish()?;
    let found = app.store.run_spending(&tenant, id).await?.ok_or_else(|| no_run(id))?;
    answers.json(StatusCode::OK, &RunSpending::new(found.0, found.1))
}

/// Sets what a run may spend from now on, in absolute amounts; what is left out stays as it is, also if somebody else
/// changes it at the same time. Null takes a limit away, or the deadline. Neither that nor a larger limit is bound by what
/// the workflow's document allows, which is why it needs the scope `admin`: whoever may only start runs cannot lift what a
/// workflow's author has set. The budgets of the organization hold all the same. What waits for the budget tries again.
#[utoipa::path(
    post, path = "/runs/{id}/budget", operation_id = "changeRunBudget", tag = "costs",
    params(RunPath),
    request_body(content = RunBudgetChange, content_type = "application/json"),
    responses((status = 200, body = RunSpending, description = "It is in force"),
              (status = 404, description = "run-not-found"),
              (status = 409, description = "run-ended"))
)]
pub(crate) async fn change_of_run(
    State(app): State<Arc<App>>,
    answers: Answers,
    (caller, trace): (Caller, RequestTrace),
    RunPath(id): RunPath,
    parameters: Parameters,
    body: Text,
) -> Result<Response, Problem> {
    parameters.finish()?;
    let change = budget_request::of_run(&body)?;
    let (store, tenant) = (Arc::clone(&app.store), caller.0.clone());
    let write = async move { store.change_run_budget(&tenant, id, &change).await };
    match app.uncancelled(&trace, &caller, write).await?? {
        BudgetChanged::InForce(spent, budget) => {
            // What the run waited for may be there now.
            app.sweep_soon();
            answers.json(StatusCode::OK, &RunSpending::new(spent, budget))
        }
        BudgetChanged::Ended => {
            Err(Problem::new(ProblemKind::RunEnded, "a run that has ended spends nothing more"))
        }
        BudgetChanged::NotFound => Err(no_run(id)),
    }
}

/// The budgets of the organization, for all its workspaces: one for each period that has limits.
#[utoipa::path(
    get, path = "/budgets", operation_id = "listBudgets", tag = "costs",
    responses((status = 200, body = OrganizationBudgets))
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    answers: Answers,
    Caller(tenant): Caller,
    parameters: Parameters,
) -> Result<Response, Problem> {
    parameters.finish()?;
    answers.json(StatusCode::OK, &budgets(&*app.store, &tenant).await?)
}

/// Sets what the organization may spend in a day or a month, for all its workspaces. A period that is left out stays as it
/// is, null takes its limits away. What was spent in the present period counts, also what was spent before there were
/// limits. What waits for a budget tries again: as a rule at once, and what was about to wait for it just then within an hour.
#[utoipa::path(
    put, path = "/budgets", operation_id = "setBudgets", tag = "costs",
    request_body(content = PeriodBudgets, content_type = "application/json"),
    responses((status = 200, body = OrganizationBudgets, description = "They are in force"))
)]
pub(crate) async fn set(
    State(app): State<Arc<App>>,
    answers: Answers,
    (caller, trace): (Caller, RequestTrace),
    parameters: Parameters,
    body: Text,
) -> Result<Response, Problem> {
    parameters.finish()?;
    let wanted = budget_request::of_periods(&body)?;
    let (store, tenant) = (Arc::clone(&app.store), caller.0.clone());
    let write = async move {
        if !wanted.is_empty() {
            store.set_organization_budgets(&tenant, &wanted).await?;
        }
        budgets(&*store, &tenant).await
    };
    let found = app.uncancelled(&trace, &caller, write).await??;
    app.sweep_soon();
    answers.json(StatusCode::OK, &found)
}

async fn budgets(store: &dyn Store, tenant: &Identity) -> Result<OrganizationBudgets, StoreError> {
    let found = store.organization_budgets(tenant).await?;
    Ok(OrganizationBudgets { items: found.into_iter().map(Into::into).collect() })
}

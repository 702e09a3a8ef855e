//! THE step: a request becomes a run.
//!
//! Input checked, ids of its trace reserved, row written, wake-ups handed over: in this order. From the
//! commit on the run happens, whatever becomes of client, broker or process; a crash before the
//! hand-over costs the 30 s until a sweeper repeats it.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use skein_shared::domain::ids::{ROOT_SCOPE, RunId};
use skein_shared::domain::run::RunTrace;
use skein_shared::domain::tenant::Identity;
use skein_shared::domain::trace::SAMPLED;
use skein_shared::store::engine::NodeSpec;
use skein_shared::store::runs::{Acceptance, Idempotency, NewRun};
use skein_shared::telemetry::new_span_id;

use crate::app::App;
use crate::auth::Caller;
use crate::check::{Checked, check_input};
use crate::limits::REPLANS_MAX;
use crate::path_parameters::{no_version, no_workflow};
use crate::plans::StartPlan;
use crate::problem::{Problem, ProblemKind};
use crate::start_request::StartRun;
use crate::unpublished::newest_draft;

/// What became of a run that somebody wants.
pub(crate) enum Started {
    /// It is a run now.
    Accepted(Box<AcceptedRun>),
    /// The same request has made this run before.
    Repeated(RunId),
}

impl Started {
    /// The run.
    pub(crate) fn id(&self) -> RunId {
        match self {
            Self::Accepted(accepted) => accepted.run.id,
            Self::Repeated(id) => *id,
        }
    }
}

/// A run that has just been accepted.
pub(crate) struct AcceptedRun {
    pub(crate) run: NewRun,
    pub(crate) version: u32,
    pub(crate) created_at: DateTime<Utc>,
}

/// Accepts a run. Dropping the future changes nothing about a run that was submitted.
pub(crate) async fn accept(
    app: &App,
    caller: &Caller,
    start: StartRun,
) -> Result<Started, Problem> {
    let tenant = &caller.0;
    let (store, workflow, version) = (&*app.store, &*start.workflow, start.version);
    let Some(mut plan) = app.plans.find(store, tenant, workflow, version).await? else {
        return Err(no_plan(app, tenant, &start).await);
    };
    for _ in 0..REPLANS_MAX {
        let Checked { diagnostics, completed } = check_input(app, &plan, &start.input).await?;
        let outcome = if diagnostics.is_empty() {
            let input = completed.unwrap_or_else(|| start.input.clone());
            let run = new_run(caller, &start, input, &plan);
            app.runs.submit(run.clone()).await.map(|acceptance| (acceptance, Some(run)))?
        } else {
            // Perhaps the schema has changed since this version was looked at.
            (Acceptance::Stale, None)
        };
        match outcome {
            (Acceptance::Accepted { version, created_at }, Some(run)) => {
                return Ok(Started::Accepted(Box::new(AcceptedRun { run, version, created_at })));
            }
            (Acceptance::Repeated(id), _) => return Ok(Started::Repeated(id)),
            (Acceptance::KeyReused, _) => {
                let detail =
                    "the Idempotency-Key was used with another workflow, version, input or option";
                return Err(Problem::new(ProblemKind::KeyReused, detail));
            }
            (Acceptance::Archived, _) => return Err(archived(workflow)),
            (Acceptance::Stale | Acceptance::Accepted { .. }, _) => {
                let known = plan.version_id;
                let found = app.plans.look_up(store, tenant, workflow, version, Some(known));
                let Some(found) = found.await? else {
                    return Err(no_plan(app, tenant, &start).await);
                };
                plan = found;
                if plan.version_id == known && !diagnostics.is_empty() {
                    return repeated(app, tenant, start.idempotency.as_ref()).await?.ok_or_else(
                        || Problem::with_diagnostics(ProblemKind::InvalidInput, diagnostics),
                    );
                }
            }
        }
    }
    let detail = format!("`{}` is being published too often to be started", start.workflow);
    Err(Problem::new(ProblemKind::WorkflowChanging, detail))
}

/// Why there is nothing to start.
async fn no_plan(app: &App, tenant: &Identity, start: &StartRun) -> Problem {
    let workflow = &start.workflow;
    if let Some(version) = start.version {
        return no_version(workflow, version);
    }
    match newest_draft(&*app.store, tenant, workflow).await {
        Ok(Some(draft)) => {
            let detail = format!(
                "of `{workflow}` there are drafts alone: publish it, or start a draft by its number, as with \
                 ?version={draft}"
            );
            Problem::new(ProblemKind::NoPublishedVersion, detail)
        }
        Ok(None) => no_workflow(workflow),
        Err(error) => error.into(),
    }
}

fn archived(workflow: &str) -> Problem {
    let detail = format!(
        "`{workflow}` takes no new runs until it is unarchived: POST /v1/workflows/{workflow}/unarchive"
    );
    Problem::new(ProblemKind::Archived, detail)
}

/// What the same request has made before, perhaps by an older schema.
async fn repeated(
    app: &App,
    tenant: &Identity,
    idempotency: Option<&Idempotency>,
) -> Result<Option<Started>, Problem> {
    let Some(idempotency) = idempotency else { return Ok(None) };
    Ok(app.store.find_repeated(tenant, idempotency).await?.map(Started::Repeated))
}

fn is_sampled(flags: u8) -> bool {
    flags & SAMPLED != 0
}

fn new_run(caller: &Caller, start: &StartRun, input: String, plan: &StartPlan) -> NewRun {
    let flags = match start.record {
        Some(true) => start.request.flags | SAMPLED,
        Some(false) => start.request.flags & !SAMPLED,
        None => start.request.flags,
    };
    let publish = new_span_id();
    let trace = RunTrace {
        trace: start.request.trace,
        publish,
        root: new_span_id(),
        flags,
        state: start.state.clone(),
    };
    let entries = plan.entries.iter().map(|entry| NodeSpec {
        node: Arc::clone(&entry.node),
        scope: ROOT_SCOPE.into(),
        kind: entry.kind,
        timeout: entry.timeout,
        publish_span: publish,
    });
    NewRun {
        id: start.id,
        identity: caller.0.clone(),
        workflow: Arc::clone(&plan.workflow),
        version_id: plan.version_id,
        pinned: start.version.is_some(),
        input,
        step_mode: start.step_mode,
        trace,
        // A request that is not recorded leaves no span that anything could hang from.
        request_span: if is_sampled(flags) && !is_sampled(start.request.flags) {
            publish
        } else {
            start.request.span
        },
        entries: entries.collect(),
        idempotency: start.idempotency.clone(),
        budget: start.budget.of_run(&plan.budget),
    }
}

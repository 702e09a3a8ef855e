//! Runs: start, read, cancel.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use chrono::{DateTime, Utc};
use skein_shared::domain::ids::RunId;
use skein_shared::domain::limits::{IDEMPOTENCY_KEY_CHARS_MAX, RUN_VALUES_BYTES_MAX};
use skein_shared::domain::state::RunState;
use skein_shared::domain::tenant::Identity;
use skein_shared::domain::trace::TraceId;
use skein_shared::store::runs::{self as stored, Cancellation, RunDetail, RunFilter};
use tokio::time::Instant;
use utoipa::IntoParams;

use crate::accept::{Started, accept};
use crate::answers::Answers;
use crate::app::App;
use crate::auth::Caller;
use crate::body::Text;
use crate::cursor::Listing;
use crate::dto::run::{Run, RunList, RunSummary};
use crate::guard::TimeBound;
use crate::limits::{READ_BACK_TIME_MAX, WAIT_POLL, WAIT_SECONDS_MAX};
use crate::parameters::{
    CURSOR, FLAG, LIMIT, Parameters, Query as _, Reading, TIME, VERSION, WORKFLOW, query,
};
use crate::path_parameters::{RunPath, WorkflowName, no_run};
use crate::problem::{Problem, ProblemKind};
use crate::read_permits::ReadPermit;
use crate::server_span::RequestTrace;
use crate::start_request::{self, StartRunBody};
use crate::wait::Waiter;
use crate::words::RunStatus;

const IDEMPOTENCY_KEY: &str = "idempotency-key";
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

const WAIT: Reading<Duration> = Reading {
    hint: || format!("seconds from 0 to {WAIT_SECONDS_MAX}"),
    read: |text| {
        let seconds =
            text.parse().ok().filter(|it| (0.0..=f64::from(WAIT_SECONDS_MAX)).contains(it));
        seconds.map(Duration::from_secs_f64)
    },
};

const STATUSES: Reading<Vec<RunState>> = Reading {
    hint: || format!("one or several of {}, with commas in between", RunState::WORDS.join(", ")),
    read: |text| {
        let named: Option<Vec<RunState>> = text.split(',').map(|word| word.parse().ok()).collect();
        let named = named?;
        // Each once, in one order: the same filter however it is written.
        Some(RunState::ALL.iter().copied().filter(|state| named.contains(state)).collect())
    },
};

const TRACE: Reading<TraceId> = Reading {
    hint: || "the id of a trace: 32 hex digits in lower case".to_owned(),
    read: |text| text.parse().ok(),
};

query! {
    /// How a run is started.
    pub(crate) struct StartQuery {
        /// The number of a version or of a draft; the latest version if absent.
        #[param(value_type = u32, required = false, minimum = 1, maximum = 4_294_967_295u32)]
        version: u32 = VERSION,
        /// Seconds to wait for the end of the run; fractions are fine.
        #[param(value_type = f64, required = false, minimum = 0, maximum = 60)]
        wait: Duration = WAIT,
    }
}

/// The headers of [`start`].
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct StartHeaders {
    /// Makes repeating the request harmless: the same key with the same request gives the first run. 1 to 255
    /// printable ASCII characters.
    #[param(rename = "Idempotency-Key", value_type = String, required = false, min_length = 1, max_length = 255,
        pattern = "^[!-~]([ -~]*[!-~])?$")]
    idempotency_key: Option<String>,
}

query! {
    /// Which runs are listed.
    pub(crate) struct RunsQuery {
        /// Runs of this workflow only.
        #[param(value_type = String, required = false, min_length = 1, max_length = 64, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$")]
        workflow: String = WORKFLOW,
        /// Runs with this status only, or with one of several: `failed,cancelled`.
        #[param(value_type = Vec<RunStatus>, inline, style = Form, explode = false, required = false, min_items = 1)]
        status: Vec<RunState> = STATUSES,
        /// Runs only that are in this trace, or were in it before they went on in another one.
        #[param(value_type = String, required = false, min_length = 32, max_length = 32,
            pattern = "^[0-9a-f]*[1-9a-f][0-9a-f]*$")]
        trace_id: TraceId = TRACE,
        /// Runs accepted at or after this time only, RFC 3339.
        #[param(value_type = DateTime<Utc>, required = false)]
        created_after: DateTime<Utc> = TIME,
        /// Runs accepted before this time only, RFC 3339.
        #[param(value_type = DateTime<Utc>, required = false)]
        created_before: DateTime<Utc> = TIME,
        /// Runs that have ended, at or after this time only, RFC 3339.
        #[param(value_type = DateTime<Utc>, required = false)]
        ended_after: DateTime<Utc> = TIME,
        /// Runs that have ended, before this time only, RFC 3339.
        #[param(value_type = DateTime<Utc>, required = false)]
        ended_before: DateTime<Utc> = TIME,
        /// The `next_cursor` of the page before, which must have had the same filters.
        #[param(value_type = String, required = false, min_length = 1, max_length = 2048)]
        cursor: String = CURSOR,
        /// Rows at most.
        #[param(value_type = u32, required = false, minimum = 1, maximum = 500, default = 50)]
        limit: u32 = LIMIT,
    }
}

/// Starts a run of the latest version of a workflow, or of the one that is named: a published one, or a draft. The answer is the accepted run, or, with `wait`, the run as
/// soon as it has ended. From the answer on, the run happens.
#[utoipa::path(
    post, path = "/workflows/{name}/runs", operation_id = "startRun", tag = "runs",
    params(WorkflowName, StartQuery, StartHeaders),
    request_body(content = StartRunBody, content_type = "application/json"),
    responses(
        (status = 202, body = Run, description = "Accepted. It had not ended when the wait was over, and is shown as it was then; without `wait` it is not looked whether it had, \
             so a repeated request is answered with its run as it is, which may have ended",
         headers(("Location" = String, description = "The run"),
                 ("Idempotency-Replayed" = String, description = "`true` if an earlier request made the run"))),
        (status = 200, body = Run, description = "It ended while the request waited",
         headers(("Location" = String, description = "The run"),
                 ("Idempotency-Replayed" = String, description = "`true` if an earlier request made the run"))),
        (status = 404, description = "workflow-not-found"),
        (status = 409, description = "workflow-archived no-published-version"),
        (status = 422, description = "invalid-input idempotency-key-reused"),
        (status = 503, description = "workflow-changing")
    )
)]
pub(crate) async fn start(
    State(app): State<Arc<App>>,
    answers: Answers,
    (caller, trace, bound): (Caller, RequestTrace, TimeBound),
    WorkflowName(workflow): WorkflowName,
    parameters: Parameters,
    headers: HeaderMap,
    body: Text,
) -> Result<Response, Problem> {
    let StartQuery { version, wait } = parameters.read()?;
    let StartHeaders { idempotency_key } = StartHeaders::read(&headers)?;
    let start = start_request::read(&body, workflow, version, idempotency_key, &trace)?;
    // The input is kept until the answer, what it was read from is not.
    let Text { text, room: mut kept, .. } = body;
    drop(text);
    kept.shrink_to(start.input.len());
    // What cannot be answered is not begun.
    answers.check_room()?;
    let until = wait.map(|wait| Instant::now() + wait);

    // The waiter is registered before the run can end, so that its announcement is not missed.
    let waiter = until.and_then(|_| app.waiters.wait_for(answers.holder(), start.id));
    let tenant = caller.0.clone();
    let started = accept(&app, &caller, start).await?;
    trace.concerns_run(started.id());
    // There is a run now: what goes wrong from here on must not hide it.
    bound.leave(wait.unwrap_or_default() + 2 * READ_BACK_TIME_MAX);
    let at = |id| move |problem: Problem| problem.with_header(LOCATION, location(id));
    let (id, answer, replayed) = match started {
        Started::Accepted(accepted) => {
            let id = accepted.run.id;
            // Defaults may have made the input larger than what was sent.
            let more = accepted.run.input.len().saturating_sub(kept.amount());
            let waiter = waiter.zip(until).filter(|_| kept.grow(more));
            let has_waited = waiter.is_some();
            let mut found = await_end(&app, &answers, &tenant, id, waiter).await.map_err(at(id))?;
            // A wait that is over says where the run has come to by now.
            if found.is_none() && has_waited {
                found = read_back(&app, &answers, &tenant, id).await.ok();
            }
            let answer = match found.map(RunAnswer::try_from) {
                Some(Ok(answer)) => answer,
                Some(Err(_)) | None => {
                    RunAnswer { ended: false, run: Run::try_from(*accepted)?, _permit: None }
                }
            };
            (id, answer, false)
        }
        Started::Repeated(id) => {
            let mut found = read_back(&app, &answers, &tenant, id).await.map_err(at(id))?;
            let waiter = app.waiters.wait_for(answers.holder(), id).zip(until);
            if !found.run.summary.state.is_terminal() && waiter.is_some() {
                // It may be large, and is another one after the wait.
                drop(found);
                let ended = await_end(&app, &answers, &tenant, id, waiter).await;
                found = match ended.map_err(at(id))? {
                    Some(ended) => ended,
                    None => read_back(&app, &answers, &tenant, id).await.map_err(at(id))?,
                };
            }
            (id, RunAnswer::try_from(found).map_err(at(id))?, true)
        }
    };
    let ended = answer.ended && wait.is_some();
    let status = if ended { StatusCode::OK } else { StatusCode::ACCEPTED };
    let run = answer.run.linked(&app.traces);
    let mut response = answers.json(status, &run).map_err(at(id))?;
    response.headers_mut().insert(LOCATION, location(id));
    if replayed {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// Where a run is found.
fn location(id: RunId) -> HeaderValue {
    HeaderValue::try_from(format!("/v1/runs/{id}")).expect("a UUID is ASCII")
}

/// A run as it was read, whole.
struct ReadRun {
    run: RunDetail,
    permit: ReadPermit,
}

/// A run as it is to be answered.
struct RunAnswer {
    run: Run,
    ended: bool,
    /// Absent where nothing was read.
    _permit: Option<ReadPermit>,
}

impl TryFrom<ReadRun> for RunAnswer {
    type Error = Problem;

    fn try_from(ReadRun { run, permit }: ReadRun) -> Result<Self, Problem> {
        let ended = run.summary.state.is_terminal();
        Ok(Self { run: Run::try_from(run)?, ended, _permit: Some(permit) })
    }
}

impl StartHeaders {
    fn read(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
        let Some(value) = values.next() else { return Ok(Self { idempotency_key: None }) };
        let hint =
            format!("one header with 1 to {IDEMPOTENCY_KEY_CHARS_MAX} printable ASCII characters");
        let text = value.to_str().ok().filter(|text| {
            (1..=IDEMPOTENCY_KEY_CHARS_MAX).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
        });
        match (text, values.next()) {
            (Some(text), None) => Ok(Self { idempotency_key: Some(text.to_owned()) }),
            _ => Err(Problem::header("Idempotency-Key", "cannot be read", &hint)),
        }
    }
}

/// Waits for a run to end, until a point in time or the shutdown; `None` if it was not known to have ended by then, or
/// there is no waiter. The client may go away: nothing depends on the wait. Nor may the store: it is asked again.
///
/// # Errors
/// When the key does not let its request in any more: the wait may outlast the trust in it.
async fn await_end(
    app: &App,
    answers: &Answers,
    tenant: &Identity,
    id: RunId,
    waiter: Option<(Waiter, Instant)>,
) -> Result<Option<ReadRun>, Problem> {
    let Some((waiter, until)) = waiter else { return Ok(None) };
    let ended = async {
        waiter.ended().await;
        loop {
            match find_whole(app, answers, tenant, id).await {
                Ok(found) if found.run.summary.state.is_terminal() => return found,
                // Announced before this replica of the store could see it.
                Ok(_) => {}
                Err(problem) => {
                    tracing::debug!(workflow.execution_id = %id, ?problem, "looked for in vain");
                }
            }
            tokio::time::sleep(WAIT_POLL).await;
        }
    };
    let waited = app.shutdown.run_until_cancelled(tokio::time::timeout_at(until, ended));
    tokio::select! {
        waited = waited => Ok(waited.and_then(Result::ok)),
        refusal = app.entrance.refusal(answers.holder()) => Err(refusal),
    }
}

/// A run with up to this many bytes of its nodes' inputs and outputs.
async fn find(
    app: &App,
    tenant: &Identity,
    id: RunId,
    answer_bytes: usize,
) -> Result<RunDetail, Problem> {
    app.store.find_run(tenant, id, answer_bytes).await?.ok_or_else(|| no_run(id))
}

/// A run with as many of these bytes as are shown, once it is the request's turn.
async fn find_whole(
    app: &App,
    answers: &Answers,
    tenant: &Identity,
    id: RunId,
) -> Result<ReadRun, Problem> {
    let permit = answers.permit().await?;
    Ok(ReadRun { run: find(app, tenant, id, RUN_VALUES_BYTES_MAX).await?, permit })
}

/// A run that something has been written about: the answer does not depend on reading it.
async fn read_back(
    app: &App,
    answers: &Answers,
    tenant: &Identity,
    id: RunId,
) -> Result<ReadRun, Problem> {
    let found = find_whole(app, answers, tenant, id);
    let late =
        |_| Problem::new(ProblemKind::TimedOut, "the run could not be read in time; try again");
    tokio::time::timeout(READ_BACK_TIME_MAX, found).await.map_err(late)?
}

fn shown(run: stored::RunSummary, app: &App) -> RunSummary {
    RunSummary::from(run).linked(&app.traces)
}

/// The runs of the workspace, newest first. Where a page would have to read very many runs to find those that pass the
/// filters, it ends early, with fewer than asked for or none, and its `next_cursor` goes on from there.
#[utoipa::path(
    get, path = "/runs", operation_id = "listRuns", tag = "runs", params(RunsQuery),
    responses((status = 200, body = RunList))
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    answers: Answers,
    Caller(tenant): Caller,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let RunsQuery {
        workflow,
        status,
        trace_id,
        created_after,
        created_before,
        ended_after,
        ended_before,
        cursor,
        limit,
    } = RunsQuery::take(&mut parameters);
    let filter = RunFilter {
        workflow,
        states: status.unwrap_or_default(),
        trace: trace_id,
        created_after,
        created_before,
        ended_after,
        ended_before,
    };
    let listing = Listing::Runs(&filter);
    let page = parameters.page(listing, limit, cursor.as_deref());
    parameters.finish()?;
    let found = app.store.list_runs(&tenant, &filter, &page).await?;
    let list = RunList {
        items: found.items.into_iter().map(|run| shown(run, &app)).collect(),
        next_cursor: found.next_cursor.map(|cursor| listing.seal(&cursor)),
    };
    answers.json(StatusCode::OK, &list)
}

query! {
    /// What of a run is shown.
    pub(crate) struct RunQuery {
        /// Whether inputs and outputs of the nodes are shown. Without them the answer stays small, which is kinder to
        /// whoever asks often; the run's own are there all the same.
        #[param(value_type = bool, required = false, default = true)]
        values: bool = FLAG,
    }
}

/// One run with its nodes, as of one moment.
#[utoipa::path(
    get, path = "/runs/{id}", operation_id = "getRun", tag = "runs",
    params(RunPath, RunQuery),
    responses((status = 200, body = Run),
              (status = 404, description = "run-not-found"))
)]
pub(crate) async fn read(
    State(app): State<Arc<App>>,
    answers: Answers,
    Caller(tenant): Caller,
    RunPath(id): RunPath,
    parameters: Parameters,
) -> Result<Response, Problem> {
    let RunQuery { values } = parameters.read()?;
    if values == Some(false) {
        let run = find(&app, &tenant, id, 0).await?;
        return answers.json(StatusCode::OK, &Run::try_from(run)?.linked(&app.traces));
    }
    let answer = RunAnswer::try_from(find_whole(&app, &answers, &tenant, id).await?)?;
    answers.json(StatusCode::OK, &answer.run.linked(&app.traces))
}

/// Asks for a run to be cancelled. What runs is asked to stop, the rest does not start any more; asking again changes
/// nothing.
#[utoipa::path(
    post, path = "/runs/{id}/cancel", operation_id = "cancelRun", tag = "runs",
    params(RunPath),
    responses((status = 202, body = Run, description = "It will end soon, or has just ended",
               headers(("Location" = String, description = "The run"))),
              (status = 404, description = "run-not-found"),
              (status = 409, description = "run-ended"))
)]
pub(crate) async fn cancel(
    State(app): State<Arc<App>>,
    answers: Answers,
    (caller, trace, bound): (Caller, RequestTrace, TimeBound),
    RunPath(id): RunPath,
    parameters: Parameters,
) -> Result<Response, Problem> {
    parameters.finish()?;
    // What cannot be answered is not begun.
    answers.check_room()?;
    // What is answered should the store be gone when it is to be read again.
    let mut before = find(&app, &caller.0, id, 0).await?;
    let (store, finisher, tenant) =
        (Arc::clone(&app.store), app.finisher.clone(), caller.0.clone());
    let write = async move {
        let cancellation = store.request_cancel(&tenant, id).await?;
        if cancellation == Some(Cancellation::Requested)
            && let Err(error) = finisher.finish(&[id]).await
        {
            tracing::warn!(workflow.execution_id = %id, %error, "a sweep will end the run");
        }
        Ok::<_, Problem>(cancellation)
    };
    match app.uncancelled(&trace, &caller, write).await?? {
        None => Err(no_run(id)),
        Some(Cancellation::AlreadyEnded(state)) => {
            Err(Problem::new(ProblemKind::RunEnded, format!("the run has ended: {state}")))
        }
        Some(Cancellation::Requested) => {
            bound.leave(2 * READ_BACK_TIME_MAX);
            let answer = match read_back(&app, &answers, &caller.0, id).await {
                Ok(found) => RunAnswer::try_from(found)?,
                Err(_) => {
                    before.summary.cancelling = true;
                    let run = Run::try_from(before)?;
                    RunAnswer { run, ended: false, _permit: None }
                }
            };
            let run = answer.run.linked(&app.traces);
            let mut response = answers.json(StatusCode::ACCEPTED, &run)?;
            response.headers_mut().insert(LOCATION, location(id));
            Ok(response)
        }
    }
}

//! Looking back at runs.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use chrono::{DateTime, TimeDelta, Utc};

use crate::analysis::{Question, Section, Sections, VersionPair, answer};
use crate::answers::Answers;
use crate::app::App;
use crate::auth::Caller;
use crate::dto::analysis::Analysis;
use crate::parameters::{Parameters, Query as _, Reading, TIME, WORKFLOW, query};
use crate::problem::{Problem, ProblemDiagnostic, ProblemKind};
use crate::server_span::RequestTrace;

/// How far back is looked unless the request says so.
const HOURS_DEFAULT: i64 = 24;
/// The longest time that is looked at in one answer: a month.
const DAYS_MAX: i64 = 31;

const SECTIONS: Reading<Sections> = Reading {
    hint: || {
        format!("some of {}, with commas between", Section::ALL.map(Section::as_str).join(", "))
    },
    read: Sections::read,
};

const VERSIONS: Reading<VersionPair> = Reading {
    hint: || "the numbers of two versions, the one to compare with first: `1,2`".to_owned(),
    read: VersionPair::read,
};

query! {
    /// What is looked back at.
    pub(crate) struct AnalysisQuery {
        /// At runs that were accepted at or after this time, and calls to models that ended then, RFC 3339: 24 hours before `to`,
        /// or before now, unless given. From there to `to`, or to now, may be 31 days.
        #[param(value_type = DateTime<Utc>, required = false)]
        from: DateTime<Utc> = TIME,
        /// Before this time, RFC 3339; up to now unless given.
        #[param(value_type = DateTime<Utc>, required = false)]
        to: DateTime<Utc> = TIME,
        /// Of this workflow only.
        #[param(value_type = String, required = false, min_length = 1, max_length = 64, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$")]
        workflow: String = WORKFLOW,
        /// Of these two versions of `workflow` only, which are compared: `1,2`; costs and `coverage` are of all its versions.
        /// Unless given, the latest two that have 20 runs.
        #[param(value_type = String, required = false, example = "1,2", pattern = "^[1-9][0-9]{0,8},[1-9][0-9]{0,8}$")]
        versions: VersionPair = VERSIONS,
        /// What is told, with commas between: `critical_path`, `waiting`, `hot_spots`, `costs`, `regressions`; all unless given.
        #[param(value_type = String, required = false, example = "critical_path,waiting",
            pattern = "^(critical_path|waiting|hot_spots|costs|regressions)(,(critical_path|waiting|hot_spots|costs|regressions))*$")]
        sections: Sections = SECTIONS,
    }
}

/// What the runs of a stretch of time tell: which nodes decide how long they take, what they wait for, what fails, what calls
/// to models cost, and whether a version is worse than the one before. At most 100,000 runs are looked at for 15 seconds: of
/// more, a sample that is spread evenly over the time, and `coverage` says so.
#[utoipa::path(
    get, path = "/analysis", operation_id = "getAnalysis", tag = "analysis", params(AnalysisQuery),
    responses((status = 200, body = Analysis))
)]
pub(crate) async fn read(
    State(app): State<Arc<App>>,
    answers: Answers,
    (caller, trace): (Caller, RequestTrace),
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let query = AnalysisQuery::take(&mut parameters);
    parameters.finish()?;
    let question = asked(query, Utc::now())?;
    let turn = app.broad_reads.permit(&caller.0.organization).await?;
    answers.check_room()?;
    // Without the client, or when the process is to end, the statement that is under way is the last one.
    let stop = app.shutdown.child_token();
    let _stops = stop.clone().drop_guard();
    let (store, tenant) = (Arc::clone(&app.store), caller.0.clone());
    let read = async move {
        let found = answer(&*store, &tenant, &question, &stop).await;
        drop(turn);
        found
    };
    let mut found = app.uncancelled(&trace, &caller, read).await??;
    found.link_to_traces(|trace| app.traces.link(trace));
    answers.json(StatusCode::OK, &found)
}

/// The question of a request that came at `now`.
fn asked(query: AnalysisQuery, now: DateTime<Utc>) -> Result<Question, Problem> {
    let AnalysisQuery { from, to, workflow, versions, sections } = query;
    let refuse = |name, message: &str, hint: &str| {
        let diagnostic = ProblemDiagnostic::parameter(name, message.to_owned(), hint);
        Problem::with_diagnostics(ProblemKind::InvalidRequest, vec![diagnostic])
    };
    if versions.is_some() && workflow.is_none() {
        let hint = "name it in `workflow`";
        return Err(refuse("versions", "are of no workflow", hint));
    }
    if versions.is_some_and(|pair| pair.before == pair.after) {
        return Err(refuse("versions", "are the same", "two versions to compare: `1,2`"));
    }
    // There are no runs of the future.
    let to = to.map_or(now, |to| to.min(now));
    let default = || to.checked_sub_signed(TimeDelta::hours(HOURS_DEFAULT));
    let from = from.or_else(default).unwrap_or(DateTime::UNIX_EPOCH);
    if from >= to {
        let hint = "an earlier time; the last 24 hours are looked at unless it is given";
        return Err(refuse("from", "is not before `to`, or before now", hint));
    }
    if to.signed_duration_since(from) > TimeDelta::days(DAYS_MAX) {
        let message = format!("is more than {DAYS_MAX} days before `to`, or before now");
        let hint = "a time that is nearer; what is longer ago is to be asked for in parts";
        return Err(refuse("from", &message, hint));
    }
    let sections = sections.unwrap_or(Sections::ALL);
    Ok(Question { from, to, workflow, versions, sections })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_of_the_last_day_unless_it_says_so_and_of_a_month_at_most() {
        let now = Utc::now();
        let days = |days| Some(now - TimeDelta::days(days));
        let of = |from, to| {
            let none = AnalysisQuery { from, to, workflow: None, versions: None, sections: None };
            asked(none, now).map(|question| (Some(question.from), Some(question.to)))
        };
        for (from, to, expected) in [
            (None, None, (days(1), days(0))),
            (None, days(5), (days(6), days(5))),
            (days(31), None, (days(31), days(0))),
            (days(100), days(70), (days(100), days(70))),
            (days(3), days(-3), (days(3), days(0))),
        ] {
            assert_eq!(of(from, to).unwrap(), expected);
        }
        for (from, to) in [
            (days(32), None),
            (days(0), None),
            (days(-1), None),
            (days(2), days(2)),
            (Some(DateTime::<Utc>::MIN_UTC), None),
            (None, Some(DateTime::<Utc>::MIN_UTC)),
        ] {
            assert_eq!(of(from, to).unwrap_err().kind(), ProblemKind::InvalidRequest);
        }
    }
}

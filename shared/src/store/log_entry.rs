//! What stands in rows of the log, for the store that writes them itself and for the one that tells of what a statement
//! has written.

use std::borrow::Cow;
use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, Utc};

use super::engine::NewEvent;
use crate::domain::budget::{BudgetPeriod, Resource};
use crate::domain::event_logs::{WrittenLog, start_of};
use crate::domain::ids::{ActivationKey, NodeKey, RunId, Scope};
use crate::domain::money::NanoDollars;
use crate::domain::run::RunHeader;
use crate::domain::state::RunState;
use crate::domain::tenant::Identity;
use crate::domain::trace::{SpanId, TraceId};

/// What each row of a run's log has of the run.
#[derive(Debug, Clone)]
pub(super) struct LoggedRun {
    pub(super) id: RunId,
    pub(super) identity: Identity,
    pub(super) workflow: Arc<str>,
    pub(super) trace: TraceId,
    /// What a row belongs to that names no span of its own.
    pub(super) root: SpanId,
}

impl From<&RunHeader> for LoggedRun {
    fn from(run: &RunHeader) -> Self {
        Self {
            id: run.id,
            identity: run.identity.clone(),
            workflow: Arc::clone(&run.workflow),
            trace: run.trace.trace,
            root: run.trace.root,
        }
    }
}

/// A log row, without what its run's row knows.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) node: Option<NodeKey>,
    pub(super) scope: Option<Scope>,
    pub(super) level: &'static str,
    pub(super) event: Cow<'static, str>,
    pub(super) message: Cow<'static, str>,
    pub(super) data: Option<String>,
    pub(super) span: Option<SpanId>,
}

impl Entry {
    fn of_run(
        level: &'static str,
        event: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            node: None,
            scope: None,
            level,
            event: event.into(),
            message: message.into(),
            data: None,
            span: None,
        }
    }

    fn of_node(
        level: &'static str,
        event: &'static str,
        key: &ActivationKey,
        message: String,
    ) -> Self {
        Self {
            node: Some(Arc::clone(&key.node)),
            scope: Some(Arc::clone(&key.scope)),
            ..Self::of_run(level, event, message)
        }
    }

    /// A run was accepted; `span` is that of the request.
    pub(super) fn run_accepted(workflow: &str, version: u32, span: SpanId) -> Self {
        let message = format!("run of {workflow} version {version} accepted");
        Self { span: Some(span), ..Self::of_run("info", "run.accepted", message) }
    }

    /// The first node of a run was claimed.
    pub(super) fn run_started() -> Self {
        Self::of_run("info", "run.started", "run started")
    }

    /// Everything of the run that is open waits.
    pub(super) fn run_suspended(until: Option<DateTime<Utc>>) -> Self {
        let until = until.map(|until| until.to_rfc3339_opts(SecondsFormat::Millis, true));
        let message = match &until {
            Some(until) => format!("run suspended until {until}"),
            None => "run suspended".to_owned(),
        };
        let data = Some(serde_json::json!({ "until": until }).to_string());
        Self { data, ..Self::of_run("info", "run.suspended", message) }
    }

    /// No worker lives, and the run waits for one.
    pub(super) fn run_has_no_worker() -> Self {
        let message = "no worker lives: the run waits until one starts";
        Self::of_run("warn", "run.no_worker", message)
    }

    /// A wait of a suspended run is over. `earlier` is the number of the new segment and the trace of the one before,
    /// if that has ended.
    pub(super) fn run_resumed(earlier: Option<(u32, TraceId)>) -> Self {
        let Some((segment, trace)) = earlier else {
            return Self::of_run("info", "run.resumed", "run resumed");
        };
        let data = serde_json::json!({ "segment": segment, "earlier_trace_id": trace.to_string() });
        let entry = Self::of_run("info", "run.resumed", "run resumed in a new trace");
        Self { data: Some(data.to_string()), ..entry }
    }

    /// Somebody asked for the run to be cancelled.
    pub(super) fn run_cancel_requested() -> Self {
        Self::of_run("warn", "run.cancel_requested", "cancellation requested")
    }

    /// The finisher ended a run. `error` is the failure as message and as JSON text.
    pub(super) fn run_ended(state: RunState, error: Option<(&str, String)>) -> Self {
        let level = if state == RunState::Cancelled { "warn" } else { "error" };
        let (message, data) = match error {
            Some((message, json)) => (format!("run {state}: {message}"), Some(json)),
            None => (format!("run {state}"), None),
        };
        Self { data, ..Self::of_run(level, format!("run.{state}"), message) }
    }

    /// An attempt of a node started.
    pub(super) fn node_started(
        kind: &str,
        key: &ActivationKey,
        attempt: u32,
        span: Option<SpanId>,
    ) -> Self {
        let message = format!("{kind} node {} started", key.node);
        Self {
            data: Some(attempt_json(attempt)),
            span,
            ..Self::of_node("info", "node.started", key, message)
        }
    }

    /// A node was cancelled, because its run is.
    pub(super) fn node_cancelled(kind: &str, key: &ActivationKey, span: Option<SpanId>) -> Self {
        let message = format!("{kind} node {} cancelled", key.node);
        Self { span, ..Self::of_node("info", "node.cancelled", key, message) }
    }

    /// A worker gave a node back that it had claimed.
    pub(super) fn node_released(
        kind: &str,
        key: &ActivationKey,
        attempt: u32,
        span: Option<SpanId>,
    ) -> Self {
        let message = format!("{kind} node {} given back by its worker", key.node);
        Self {
            data: Some(attempt_json(attempt)),
            span,
            ..Self::of_node("info", "node.released", key, message)
        }
    }

    /// Somebody has set the budget of the run.
    pub(super) fn budget_changed(data: String) -> Self {
        let message = "the budget of the run was changed";
        Self { data: Some(data), ..Self::of_run("info", "budget.changed", message) }
    }

    /// Somebody has decided about a step.
    pub(super) fn node_decided(key: &ActivationKey, message: String, data: String) -> Self {
        Self { data: Some(data), ..Self::of_node("info", "node.decided", key, message) }
    }

    /// So much of a budget is spent: of what, how much there is, and how much is spent.
    pub(super) fn budget_warning(
        key: &ActivationKey,
        period: BudgetPeriod,
        (resource, limit, spent): (Resource, u64, u64),
    ) -> Self {
        let share = match (u128::from(spent) * 100).checked_div(limit.into()) {
            Some(percent) => format!("{percent} percent"),
            None => "all".to_owned(),
        };
        let message = match period {
            BudgetPeriod::Run => format!("the run has spent {share} of its {resource}"),
            BudgetPeriod::Day | BudgetPeriod::Month => {
                format!("the organization has spent {share} of its {resource} for the {period}")
            }
        };
        let data = serde_json::json!({
            "period": period.as_str(),
            "resource": resource.as_str(),
            "limit": shown(resource, limit),
            "spent": shown(resource, spent),
        });
        Self {
            data: Some(data.to_string()),
            ..Self::of_node("warn", "budget.warning", key, message)
        }
    }

    /// The worker that ran a node is gone.
    pub(super) fn node_crashed(
        kind: &str,
        key: &ActivationKey,
        attempt: u32,
        span: Option<SpanId>,
    ) -> Self {
        let message = format!("{kind} node {} lost its worker", key.node);
        Self {
            data: Some(attempt_json(attempt)),
            span,
            ..Self::of_node("warn", "node.crashed", key, message)
        }
    }

    /// The row, when it is there: under this id, of this time.
    pub(super) fn written(self, id: i64, at: DateTime<Utc>, run: LoggedRun) -> WrittenLog {
        WrittenLog {
            id,
            at,
            identity: run.identity,
            run: run.id,
            workflow: Some(run.workflow),
            node: self.node,
            scope: self.scope,
            level: self.level.into(),
            event: self.event,
            message: self.message,
            data: self.data.map(|data| match start_of(&data) {
                start if start.len() < data.len() => start.to_owned(),
                _ => data,
            }),
            trace: run.trace,
            span: self.span.unwrap_or(run.root),
        }
    }
}

impl From<&NewEvent> for Entry {
    fn from(event: &NewEvent) -> Self {
        Self {
            node: event.node.clone(),
            scope: event.scope.clone(),
            level: event.level,
            event: event.event.into(),
            message: event.message.clone().into(),
            data: event.data.clone(),
            span: event.span,
        }
    }
}

/// What is shown of an amount.
fn shown(resource: Resource, amount: u64) -> serde_json::Value {
    match resource {
        Resource::Usd => NanoDollars(i64::try_from(amount).unwrap_or(i64::MAX)).to_dollars().into(),
        Resource::Tokens | Resource::Steps => amount.into(),
    }
}

fn attempt_json(attempt: u32) -> String {
    format!(r#"{{"attempt":{attempt}}}"#)
}

//! Log rows, written in the transaction of the change that they report.

use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, Utc};

use super::writer::Tx;
use crate::domain::budget::{BudgetPeriod, Resource};
use crate::domain::event_logs::{WrittenLog, start_of};
use crate::domain::ids::ActivationKey;
use crate::domain::money::NanoDollars;
use crate::domain::run::RunHeader;
use crate::domain::state::RunState;
use crate::domain::trace::{SpanId, TraceId};
use crate::store::StoreError;
use crate::store::engine::NewEvent;

/// A log row, without what its run's row knows.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    node: Option<String>,
    scope: Option<String>,
    level: &'static str,
    event: String,
    message: String,
    data: Option<String>,
    span: Option<SpanId>,
}

impl Entry {
    fn of_run(level: &'static str, event: impl Into<String>, message: impl Into<String>) -> Self {
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

    fn of_node(level: &'static str, event: &str, key: &ActivationKey, message: String) -> Self {
        Self {
            node: Some(key.node.to_string()),
            scope: Some(key.scope.to_string()),
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
}

impl From<&NewEvent> for Entry {
    fn from(event: &NewEvent) -> Self {
        Self {
            node: event.node.as_deref().map(str::to_owned),
            scope: event.scope.as_deref().map(str::to_owned),
            level: event.level,
            event: event.event.to_owned(),
            message: event.message.clone(),
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

/// Writes a log row of a run.
pub(super) async fn write(
    tx: &mut Tx<'_>,
    run: &RunHeader,
    entry: Entry,
) -> Result<(), StoreError> {
    let span = entry.span.unwrap_or(run.trace.root);
    let at = tx.time()?;
    let statement = sqlx::query(
        "INSERT INTO event_logs (ts, organization_id, workspace_id, user_id, run_id, node_key, scope, level, event,
                                 message, data, trace_id, span_id)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
    )
    .bind(tx.now)
    .bind(&*run.identity.organization)
    .bind(&*run.identity.workspace)
    .bind(&*run.identity.user)
    .bind(run.id.to_string())
    .bind(entry.node.as_deref())
    .bind(entry.scope.as_deref())
    .bind(entry.level)
    .bind(entry.event.as_str())
    .bind(entry.message.as_str())
    .bind(entry.data.as_deref())
    .bind(run.trace.trace.to_string())
    .bind(span.to_string());
    let id = tx.insert(statement).await?;
    tx.tell(|| WrittenLog {
        id,
        at,
        identity: run.identity.clone(),
        run: run.id,
        workflow: Some(Arc::clone(&run.workflow)),
        node: entry.node,
        scope: entry.scope,
        level: entry.level.to_owned(),
        event: entry.event,
        message: entry.message,
        data: entry.data.as_deref().map(|data| start_of(data).to_owned()),
        trace: run.trace.trace,
        span,
    });
    Ok(())
}

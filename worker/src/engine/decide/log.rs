//! The log rows of a decision.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use skein_shared::domain::graph::NodeIx;
use skein_shared::domain::ids::{ROOT_SCOPE, Scope};
use skein_shared::domain::outcome::{AttemptOutcome, WaitFor};
use skein_shared::store::engine::NewEvent;

use super::super::attempt::Attempt;
use super::{Decider, Timing};
use crate::nodes::LogLine;

impl Decider<'_> {
    fn log(
        &mut self,
        attempt: &Attempt,
        level: &'static str,
        event: &'static str,
        what: &str,
        facts: &Value,
    ) {
        let kind = self.run.plan.nodes[attempt.node].kind.as_str();
        self.events.push(NewEvent {
            node: Some(attempt.key.node.clone()),
            scope: Some(attempt.key.scope.clone()),
            level,
            event,
            message: format!("{kind} node {} {what}", attempt.key.node),
            data: Some(facts.to_string()),
            span: Some(attempt.span),
        });
    }

    /// The row that says what became of an attempt.
    pub(super) fn log_outcome(
        &mut self,
        attempt: &Attempt,
        outcome: &AttemptOutcome,
        goes_on: bool,
        timing: Timing,
    ) {
        let (number, execution_ms) = (attempt.number, execution_ms(timing));
        match outcome {
            AttemptOutcome::Succeeded { .. } => {
                let facts = json!({ "attempt": number, "execution_ms": execution_ms });
                self.log(attempt, "info", "node.succeeded", "succeeded", &facts);
            }
            AttemptOutcome::Failed { error, .. } => {
                let code = &*error.code;
                let facts =
                    json!({ "attempt": number, "code": code, "execution_ms": execution_ms });
                let level = if goes_on { "warn" } else { "error" };
                let what = format!("failed: {}", error.message);
                self.log(attempt, level, "node.failed", &what, &facts);
            }
            AttemptOutcome::Retry { error, delay, .. } => {
                let facts = json!({
                    "attempt": number,
                    "code": &*error.code,
                    "delay_ms": millis(*delay),
                    "execution_ms": execution_ms,
                });
                let what = format!("failed and is tried again: {}", error.message);
                self.log(attempt, "warn", "node.retrying", &what, &facts);
            }
            AttemptOutcome::Waiting { waiting_for, .. } => {
                let mut facts = waiting_facts(waiting_for);
                if let Some(delay) = waiting_for.due_in() {
                    facts["delay_ms"] = millis(delay).into();
                }
                self.log(attempt, "info", "node.waiting", "waits", &facts);
            }
            AttemptOutcome::Cancelled => {
                self.log(attempt, "info", "node.cancelled", "cancelled", &json!({}));
            }
            // No attempt was made.
            AttemptOutcome::Deferred { .. } | AttemptOutcome::Skipped => {}
        }
    }

    /// The lines that a node writes itself.
    pub(super) fn log_lines(&mut self, attempt: &Attempt, lines: Vec<LogLine>) {
        self.events.extend(lines.into_iter().map(|line| NewEvent {
            node: Some(attempt.key.node.clone()),
            scope: Some(attempt.key.scope.clone()),
            level: line.level.as_str(),
            event: "log",
            // PostgreSQL cannot hold NUL in text.
            message: line.message.replace('\0', "\u{fffd}"),
            data: line.data.map(|data| data.to_string()),
            span: Some(attempt.span),
        }));
    }

    pub(super) fn log_skipped(&mut self, node: NodeIx) {
        let plan_node = &self.run.plan.nodes[node];
        self.events.push(NewEvent {
            node: Some(Arc::clone(&plan_node.key)),
            scope: Some(Scope::from(ROOT_SCOPE)),
            level: "info",
            event: "node.skipped",
            message: format!(
                "{} node {} skipped: no branch leads to it",
                plan_node.kind.as_str(),
                plan_node.key
            ),
            data: None,
            span: None,
        });
    }
}

pub(super) fn run_event(event: &'static str, message: &str) -> NewEvent {
    NewEvent {
        node: None,
        scope: None,
        level: "info",
        event,
        message: message.to_owned(),
        data: None,
        span: None,
    }
}

/// What the log says of a wait. What a tool would be called with is for those alone who may decide about it.
fn waiting_facts(waiting_for: &WaitFor) -> Value {
    if let WaitFor::Time(_) = waiting_for {
        return json!({});
    }
    let mut facts = waiting_for.to_json();
    if let Some(facts) = facts.as_object_mut() {
        facts.remove("arguments");
    }
    json!({ "waiting_for": facts })
}

/// How long the attempt was at work on this worker, to a tenth of a millisecond: what the metric
/// `node.execution.duration` counts. From the claim to the commit, which the rows of nodes have, is longer.
fn execution_ms(timing: Timing) -> f64 {
    let took = timing.end.duration_since(timing.start).unwrap_or_default();
    (took.as_secs_f64() * 10_000.0).round() / 10.0
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn an_attempt_of_a_moment_took_a_part_of_a_millisecond() {
        let start = SystemTime::UNIX_EPOCH;
        let of =
            |micros| execution_ms(Timing { start, end: start + Duration::from_micros(micros) });
        assert_eq!([0, 49, 1_949, 3_200, 60_000_000].map(of), [0.0, 0.0, 1.9, 3.2, 60_000.0]);
        let back = Timing { start: start + Duration::from_secs(1), end: start };
        assert!(execution_ms(back) <= 0.0, "a clock that was set back");
    }
}

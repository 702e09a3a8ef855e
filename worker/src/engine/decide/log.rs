//! The log rows of a decision.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use skein_shared::domain::failure::Failure;
use skein_shared::domain::graph::NodeIx;
use skein_shared::domain::ids::{ROOT_SCOPE, Scope};
use skein_shared::store::engine::NewEvent;

use super::super::attempt::Attempt;
use super::{Decider, Timing};

impl Decider<'_> {
    pub(super) fn log(
        &mut self,
        attempt: &Attempt,
        level: &'static str,
        event: &'static str,
        what: &str,
        facts: &Value,
    ) {
        let kind = self.chain.plan.plan.nodes[attempt.node].kind.as_str();
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

    pub(super) fn log_failed(
        &mut self,
        attempt: &Attempt,
        level: &'static str,
        failure: &Failure,
        timing: Timing,
    ) {
        let facts = json!({
            "attempt": attempt.number,
            "code": &*failure.code,
            "latency_ms": latency_ms(timing),
        });
        self.log(attempt, level, "node.failed", &format!("failed: {}", failure.message), &facts);
    }

    pub(super) fn log_skipped(&mut self, node: NodeIx) {
        let plan_node = &self.chain.plan.plan.nodes[node];
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

pub(super) fn latency_ms(timing: Timing) -> u64 {
    millis(timing.end.duration_since(timing.start).unwrap_or_default())
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

//! The log rows of an agent. They hold no prompts, arguments or observations.

use std::time::{Duration, SystemTime};

use serde_json::json;
use skein_shared::domain::failure::Failure;
use skein_shared::domain::trace::SpanId;

use crate::journal::NewEvent;
use crate::steps::Site;

/// A call of a tool that was made.
pub(super) struct Made {
    pub(super) step: u32,
    pub(super) attempt: u32,
    pub(super) span: SpanId,
    pub(super) start: SystemTime,
    pub(super) latency: Duration,
}

/// `agent.step`: the model has answered.
pub(super) fn step(site: &Site<'_>, step: u32, iteration: u32, calls: usize) -> NewEvent {
    let message = match calls {
        0 => format!("iteration {iteration}: the model answered"),
        1 => format!("iteration {iteration}: the model calls a tool"),
        many => format!("iteration {iteration}: the model calls {many} tools"),
    };
    let facts = json!({ "step": step, "iteration": iteration, "calls": calls });
    site.event(site.parent, "info", "agent.step", &message, &facts)
}

/// `tool.called`.
pub(super) fn called(
    site: &Site<'_>,
    made: &Made,
    tool: &str,
    error: Option<&Failure>,
) -> NewEvent {
    let latency_ms = u64::try_from(made.latency.as_millis()).unwrap_or(u64::MAX);
    let facts = json!({
        "step": made.step,
        "attempt": made.attempt,
        "tool": tool,
        "latency_ms": latency_ms,
        "code": error.map(|error| &*error.code),
    });
    match error {
        None => {
            let message = format!("called `{tool}`");
            site.event(made.span, "info", "tool.called", &message, &facts)
        }
        Some(error) => {
            let message = format!("called `{tool}`, which failed: {}", error.code);
            site.event(made.span, "warn", "tool.called", &message, &facts)
        }
    }
}

/// `tool.denied`: a call was not made. `reason` is a word.
pub(super) fn denied(site: &Site<'_>, step: u32, tool: &str, reason: &'static str) -> NewEvent {
    let message = match reason {
        "unknown" => format!("the model called `{tool}`, which is none of its tools"),
        _ => format!("the call of `{tool}` was not allowed"),
    };
    let facts = json!({ "step": step, "tool": tool, "reason": reason });
    site.event(site.parent, "warn", "tool.denied", &message, &facts)
}

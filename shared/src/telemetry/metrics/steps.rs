//! Steps that are over: calls to models and to tools.

use std::sync::Arc;

use super::models::{self, ModelCall};
use super::tools::{self, CalledTool};
use crate::domain::step::{LostStep, StepKind, StepStatus};
use crate::telemetry::semconv;

/// What is counted of a step.
#[derive(Debug, Clone)]
pub enum FinishedStep {
    /// A call to a model.
    Model(ModelCall),
    /// A call to a tool.
    Tool(CalledTool),
}

/// Counts a step whose result is written down.
pub fn step_finished(step: &FinishedStep) {
    match step {
        FinishedStep::Model(call) => models::called(call),
        FinishedStep::Tool(call) => tools::called(call),
    }
}

/// Counts a step that was settled without a result: MUST be called by whoever exports its span.
pub fn step_lost(step: &LostStep) {
    match step.kind {
        StepKind::Model => models::called(&ModelCall {
            provider: semconv::provider_name(step.provider.as_deref().unwrap_or_default()).into(),
            model: Arc::clone(&step.name),
            took: (step.ended_at - step.started_at).to_std().unwrap_or_default(),
            usage: None,
            cost: step.cost,
            error: Some("lost".into()),
        }),
        StepKind::Tool => tools::called(&CalledTool { kind: None, status: StepStatus::Lost }),
    }
}

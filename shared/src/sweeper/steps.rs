//! Steps that nobody goes on with: settled, so that no budget stays reserved for them.

use super::Sweeper;
use crate::domain::step::LostStep;
use crate::store::StoreError;
use crate::store::steps::LOST_STEPS_MAX;
use crate::telemetry::within;

impl Sweeper {
    /// Settles steps whose attempt ended before they had a result; says whether there may be more.
    pub(super) async fn lose_steps(&self) -> Result<bool, StoreError> {
        let lost = self.steps.lose_steps().await?;
        lost.iter().for_each(report);
        Ok(lost.len() >= LOST_STEPS_MAX as usize)
    }
}

/// The one place that exports what a sweep has found lost.
fn report(step: &LostStep) {
    let context = step.header.trace.context_of(step.span);
    within(context, step.header.identity.clone(), || {
        tracing::warn!(
            run.id = %step.key.run, node = %step.key.node, step = step.seq,
            "a step was lost with its worker"
        );
    });
    // the span
}

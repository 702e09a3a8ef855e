//! Steps that nobody goes on with: settled, so that no budget stays reserved for them.

use super::held_steps::HeldSteps;
use super::{Sweeper, both};
use crate::domain::step::LostStep;
use crate::store::StoreError;
use crate::store::steps::{LOST_STEPS_MAX, LostSteps};
use crate::telemetry::spans::lost_step;
use crate::telemetry::{emit, within};

impl Sweeper {
    /// Settles steps whose attempt ended before they had a result; says whether there may be more.
    pub(super) async fn lose_steps(&self, held: &mut HeldSteps) -> Result<bool, StoreError> {
        let free = self.steps.lose_steps(None).await;
        let mut outcome = free.map(|LostSteps { steps, held: organizations }| {
            held.left(organizations);
            report_all(&steps)
        });
        // One in a sweep: it may wait for as long as a lock may be waited for, and all that is due waits for the sweep.
        if let Some(organization) = held.take_overdue() {
            let waited = match self.steps.lose_steps(Some(&organization)).await {
                Ok(LostSteps { steps, .. }) => Ok(report_all(&steps)),
                Err(error @ StoreError::Locked(_)) => {
                    tracing::warn!(
                        organization.id = organization, %error,
                        "steps that are lost cannot be settled: somebody holds the totals of their organization"
                    );
                    Ok(false)
                }
                Err(error) => Err(error),
            };
            outcome = both(outcome, waited);
        }
        outcome
    }
}

/// Reports steps that one call has settled; says whether there may be more.
fn report_all(steps: &[LostStep]) -> bool {
    steps.iter().for_each(report);
    steps.len() >= LOST_STEPS_MAX as usize
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
    emit(lost_step(step));
}
